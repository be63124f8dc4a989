"""The pipelines' interface: hand in a scan, ask what became of it. Every call but health needs a token."""

import functools
from pathlib import Path
from typing import Annotated, Any

from django.conf import settings
from django.db import connection
from django.http import HttpRequest
from django.urls import path
from ninja import File, Form, NinjaAPI, Schema, Status
from ninja.decorators import decorate_view
from ninja.errors import HttpError
from ninja.files import UploadedFile
from ninja.parser import Parser
from ninja.security import HttpBearer
from pydantic import Field

from reviews import actions, handing_in
from reviews.models import Attempt, Dataset, Intake, Scan, Verdict
from reviews.models.people import FEEDING
from reviews.plausible import LARGEST, Implausible, read_json, require_text
from reviews.stored_files import data_folder
from reviews.wording import problem_codes, problems_words

OUTSIDE = "The path is not a file below an intake folder of this server (QC_INTAKE_ROOTS)."

Id = Annotated[int, Field(ge=0, le=LARGEST)]
Slug = Annotated[str, Field(max_length=64)]


class Token(HttpBearer):
    """Authorization: Bearer KEY, as issued to a person whose role has a use for it."""

    def authenticate(self, request: HttpRequest, token: str):
        user = actions.user_of_token(token)
        if user is None:
            return None
        request.user = user
        if request.path_info == settings.UPLOAD_ADDRESS:  # before anything of the body is read
            request.turn = handing_in.Turn(user.pk)
            if request.turn.held is None:
                raise HttpError(
                    429, "Another upload of yours, or too many of others, goes on. Try again after it."
                )
        return user


def one_at_a_time(view):
    """The turn that was given with the key ends with the answer."""

    @functools.wraps(view)
    def wrapped(request: HttpRequest, *args, **kwargs):
        try:
            return view(request, *args, **kwargs)
        finally:
            if hasattr(request, "turn"):
                request.turn.end()

    return wrapped


class Reader(Parser):
    """Reads bodies and forms by the rule of the whole site."""

    def parse_body(self, request: HttpRequest):
        """JSON that can be meant."""
        return read_json(request.body)

    def parse_querydict(self, data, list_fields, request: HttpRequest):
        """Texts that a database takes."""
        require_text(text for text in data.values() if isinstance(text, str))
        return super().parse_querydict(data, list_fields, request)


api = NinjaAPI(
    title="Defacing quality control",
    version="1",
    auth=Token(),
    urls_namespace="api",
    docs_url=None,
    parser=Reader(),
)


@api.exception_handler(actions.TooMany)
def too_many(request: HttpRequest, error: actions.TooMany):
    """The key was used too often."""
    answer = api.create_response(request, {"detail": str(error)}, status=429)
    answer["Retry-After"] = str(error.seconds)
    return answer


@api.exception_handler(Implausible)
def implausible(request: HttpRequest, error: Implausible):
    """What nobody can mean."""
    return api.create_response(request, {"detail": str(error)}, status=400)


class ScanIn(Schema):
    """A file that the server can see below one of its intake folders."""

    dataset: str = Field(max_length=64)
    path: str = Field(max_length=4096)
    original_path: str | None = Field(default=None, max_length=4096)
    defaced: bool = False


class AttemptOut(Schema):
    """Where one attempt stands; `verdict` is a person's, never the model's; `problem_codes` are `problems` for machines."""

    id: int
    number: int
    status: str
    engine: str
    plan: str
    output_sha256: str
    route: str
    verdict: str | None
    problems: list[str]
    problem_codes: list[dict[str, Any]]
    error: str


class ScanOut(Schema):
    """A scan and its attempts, the latest last."""

    id: int
    dataset: str
    subject: str
    session: str
    suffix: str
    file: str
    source_sha256: str
    passed: bool
    attempts: list[AttemptOut]


class IntakeOut(Schema):
    """A file that was handed in: `state` waiting, taken, known or refused (with its reason).

    `outcome`: new, known, repaired, another attempt or failed; empty while it waits to be read.
    """

    id: int
    state: str
    outcome: str
    reason: str
    file: str
    sha256: str
    status_url: str
    scan: ScanOut | None


class Problem(Schema):
    """Why a call was refused."""

    detail: str


REFUSALS = {
    400: Problem,
    401: Problem,
    403: Problem,
    404: Problem,
    409: Problem,
    413: Problem,
    422: Problem,
    429: Problem,
}


@api.get("/healthz", auth=None, response={200: dict[str, str]})
def healthz(request: HttpRequest) -> dict[str, str]:
    """Whether the server and its database answer."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return {"status": "ok"}


@api.post("/scans", response={200: IntakeOut, 202: IntakeOut, **REFUSALS})
def take_path(request: HttpRequest, body: ScanIn):
    """Hand in a file below an intake folder. It is read in the background: ask for the outcome by its id."""
    dataset = dataset_to_feed(request.user, body.dataset)
    found = handing_in.allowed(body.path)
    original = handing_in.allowed(body.original_path) if body.original_path else None
    if found is None or (body.original_path and original is None):
        raise HttpError(422, OUTSIDE)
    return handed_in(request, dataset, found, original, body.defaced or original is not None)


@api.post("/scans/upload", response={200: IntakeOut, 202: IntakeOut, **REFUSALS})
@decorate_view(one_at_a_time)
def take_upload(
    request: HttpRequest, dataset: Form[Slug], file: File[UploadedFile], defaced: Form[bool] = False
):
    """Hand in a volume. It is read in the background: ask for the outcome by its id; the same bytes have one id."""
    target = dataset_to_feed(request.user, dataset)
    try:
        kept, sha256 = handing_in.keep(file, data_folder() / "uploads" / target.slug)
    except ValueError as error:
        raise HttpError(422, str(error)) from error
    return handed_in(request, target, kept, None, defaced, sha256)


@api.get("/intakes/{intake_id}", response={200: IntakeOut, **REFUSALS})
def get_intake(request: HttpRequest, intake_id: Id):
    """What became of a file that this key's user handed in."""
    mine = Intake.objects.filter(dataset__in=Dataset.objects.called_by(request.user), user=request.user)
    intake = mine.select_related("scan__dataset").filter(pk=intake_id).first()
    if intake is None:
        raise HttpError(404, "There is no such intake.")
    return intake_described(intake)


@api.get("/scans/{scan_id}", response={200: ScanOut, **REFUSALS})
def get_scan(request: HttpRequest, scan_id: Id):
    """One scan with its attempts."""
    reached = Scan.objects.filter(dataset__in=Dataset.objects.called_by(request.user))
    scan = reached.select_related("dataset").filter(pk=scan_id).first()
    if scan is None:
        raise HttpError(404, "There is no such scan.")
    return described(scan)


@api.get("/attempts/{attempt_id}", response={200: AttemptOut, **REFUSALS})
def get_attempt(request: HttpRequest, attempt_id: Id):
    """One attempt."""
    reached = Attempt.objects.filter(dataset__in=Dataset.objects.called_by(request.user))
    attempt = reached.filter(pk=attempt_id).first()
    if attempt is None:
        raise HttpError(404, "There is no such attempt.")
    return attempt_described(attempt)


@api.get("/datasets/{slug}/scans", response={200: list[ScanOut], **REFUSALS})
def list_scans(request: HttpRequest, slug: str, after: Id = 0, limit: Id = 100):
    """Scans of a dataset in the order they came, from `after` (an id) on."""
    dataset = Dataset.objects.called_by(request.user).filter(slug=slug).first()
    if dataset is None:
        raise HttpError(404, "There is no such dataset.")
    scans = dataset.scans.filter(pk__gt=after).select_related("dataset").order_by("pk")
    return [described(scan) for scan in scans[: max(1, min(limit, 500))]]


# --- rights and files -------------------------------------------------------------------------------


def dataset_to_feed(user, slug: str) -> Dataset:
    """A dataset this user may hand scans in to; others do not exist for them."""
    dataset = Dataset.objects.called_by(user).filter(slug=slug).first()
    if dataset is None:
        raise HttpError(404, "There is no such dataset.")
    if not Dataset.objects.filter(pk=dataset.pk).of_member(user, FEEDING).exists():
        raise HttpError(403, "Your role in this dataset may not hand scans in.")
    return dataset


def handed_in(request: HttpRequest, dataset: Dataset, found: Path, original, defaced: bool, sha256: str = ""):
    """Note it for the job that reads it."""
    intake, new = actions.hand_in(
        actor=request.user, dataset=dataset, path=found, original=original, defaced=defaced, sha256=sha256
    )
    if sha256 and str(found) != intake.path:
        handing_in.discard(found)  # the same bytes are there under their first name
    return Status(202 if new else 200, intake_described(intake))


def intake_described(intake: Intake) -> dict:
    """As in IntakeOut."""
    return {
        "id": intake.pk,
        "state": intake.state,
        "outcome": intake.outcome,
        "reason": intake.reason,
        "file": Path(intake.path).name,
        "sha256": intake.sha256,
        "status_url": f"/api/v1/intakes/{intake.pk}",
        "scan": described(intake.scan) if intake.scan else None,
    }


def described(scan: Scan) -> dict:
    """As in ScanOut."""
    attempts = [attempt_described(attempt) for attempt in scan.attempts.order_by("number")]
    return {
        "id": scan.pk,
        "dataset": scan.dataset.slug,
        "subject": scan.subject,
        "session": scan.session,
        "suffix": scan.suffix,
        "file": scan.name,
        "source_sha256": scan.content_hash,
        "passed": any(attempt["status"] == "passed" for attempt in attempts),
        "attempts": attempts,
    }


def attempt_described(attempt: Attempt) -> dict:
    """As in AttemptOut."""
    decisions = attempt.verdicts.standing().filter(kind=Verdict.Kind.DECISION, on_known_case=False)
    return {
        "id": attempt.pk,
        "number": attempt.number,
        "status": attempt.status,
        "engine": attempt.engine,
        "plan": attempt.plan,
        "output_sha256": attempt.output_sha256,
        "route": attempt.route,
        "verdict": decisions.values_list("klass", flat=True).first(),
        "problems": problems_words(attempt.problems),
        "problem_codes": problem_codes(attempt.problems),
        "error": attempt.error_text,
    }


urlpatterns = [path("api/v1/", api.urls)]
for pattern in api.urls[0]:
    pattern.callback.login_required = False  # the API answers 401 itself instead of a redirect to a page
