"""The pipelines' interface: hand in a scan, ask what became of it. Every call but health needs a token."""

import hashlib
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from django.conf import settings
from django.db import connection
from django.http import HttpRequest
from django.urls import path
from ninja import File, Form, NinjaAPI, Schema, Status
from ninja.errors import HttpError
from ninja.files import UploadedFile
from ninja.parser import Parser
from ninja.security import HttpBearer
from pydantic import Field

from inference.volumes import VolumeError, read_volume
from reviews import actions, ingest
from reviews.bids import split_extension
from reviews.models import Attempt, Dataset, Scan, Verdict
from reviews.models.people import FEEDING
from reviews.plausible import LARGEST, Implausible, read_json, require_text

MOST_UPLOAD_BYTES = 512 << 20

Id = Annotated[int, Field(ge=0, le=LARGEST)]


class Token(HttpBearer):
    """Authorization: Bearer KEY, as issued to a person whose role has a use for it."""

    def authenticate(self, request: HttpRequest, token: str):
        user = actions.user_of_token(token)
        if user is not None:
            request.user = user
        return user


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
    """Where one attempt stands; `verdict` is a person's, never the model's."""

    id: int
    number: int
    status: str
    engine: str
    plan: str
    output_sha256: str
    route: str
    verdict: str | None
    problems: list[str]
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


class TakenOut(Schema):
    """`outcome`: new, known, repaired or another attempt."""

    outcome: str
    scan: ScanOut


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


@api.post("/scans", response={200: TakenOut, 201: TakenOut, **REFUSALS})
def take_path(request: HttpRequest, body: ScanIn):
    """Take in a file below an intake folder."""
    dataset = dataset_to_feed(request.user, body.dataset)
    found = allowed(body.path)
    original = allowed(body.original_path) if body.original_path else None
    return taken(
        dataset, candidate(found, original, defaced=body.defaced or original is not None), request.user
    )


@api.post("/scans/upload", response={200: TakenOut, 201: TakenOut, **REFUSALS})
def take_upload(
    request: HttpRequest, dataset: Form[str], file: File[UploadedFile], defaced: Form[bool] = False
):
    """Take in an uploaded volume; a file that is not one is refused and not kept."""
    target = dataset_to_feed(request.user, dataset)
    if file.size is None or file.size > MOST_UPLOAD_BYTES:
        raise HttpError(413, f"A file may have at most {MOST_UPLOAD_BYTES >> 20} MiB.")
    kept, new = keep(file, settings.DATA_DIR / "uploads" / target.slug)
    try:
        require_volume(kept)
    except BaseException:
        if new:
            discard(kept)
        raise
    return taken(target, candidate(kept, None, defaced=defaced), request.user)


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


def allowed(text: str) -> Path:
    """A regular file below an intake folder, links resolved; anything else is not told apart."""
    refused = HttpError(
        422, "The path is not a file below an intake folder of this server (QC_INTAKE_ROOTS)."
    )
    try:
        found = Path(text).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        raise refused from None
    roots = [Path(root).resolve() for root in settings.INTAKE_ROOTS]
    if not found.is_file() or not any(found.is_relative_to(root) for root in roots):
        raise refused
    return found


def keep(file: UploadedFile, folder: Path) -> tuple[Path, bool]:
    """The upload below `folder`, named by its content; its own name is cleaned. Says whether it is new."""
    name = clean(file.name or "")
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as out:
        for chunk in file.chunks():
            digest.update(chunk)
            out.write(chunk)
    temporary, target = Path(out.name), folder / digest.hexdigest() / name
    try:
        if target.exists():
            return target, False
        target.parent.mkdir(exist_ok=True)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target, True


def require_volume(kept: Path) -> None:
    """Refuse an upload that cannot be read as a volume."""
    try:
        read_volume(kept)
    except VolumeError as error:
        raise HttpError(422, f"{kept.name}: {error.reason}") from error


def discard(kept: Path) -> None:
    """Remove one upload; the same content kept under another name may be a scan's only original."""
    kept.unlink(missing_ok=True)
    with suppress(OSError):
        kept.parent.rmdir()


def clean(name: str) -> str:
    """A harmless file name with the extension of a volume; refused without one."""
    stem, extension = split_extension(re.split(r"[/\\]", name)[-1])
    if not extension:
        raise HttpError(422, "The file's name must end in .nii, .nii.gz, .mgz or .mgh.")
    harmless = re.sub(r"[^A-Za-z0-9._-]", "_", stem).strip("._-")[:120] or "upload"
    return harmless + extension.lower()


def candidate(found: Path, original: Path | None, *, defaced: bool) -> ingest.Candidate:
    """With its folders' names, which may say subject and session."""
    source = original or found
    return ingest.Candidate(
        found, source.parts[-4:] if source.parent != Path("/") else (source.name,), original, defaced
    )


def taken(dataset: Dataset, found: ingest.Candidate, user):
    """Register and describe it; what cannot be read is refused here but stays visible in the dataset."""
    line = ingest.take(found, dataset, actor=user)
    if line.outcome == "failed":
        raise HttpError(409 if line.attempt_id is None else 422, f"{line.path.name}: {line.reason}")
    scan = scan_of(line, found, dataset)
    return Status(201 if line.outcome == "new" else 200, {"outcome": line.outcome, "scan": described(scan)})


def scan_of(line: ingest.Line, found: ingest.Candidate, dataset: Dataset) -> Scan:
    """The scan a line is about; an unchanged file is known by its path."""
    scans = Scan.objects.select_related("dataset")
    if line.attempt_id is not None:
        return scans.get(attempts__pk=line.attempt_id)
    return scans.filter(dataset=dataset, source_path=str(found.key_path)).latest("pk")


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
    decisions = attempt.verdicts.standing().filter(kind=Verdict.Kind.DECISION, gold=False)
    return {
        "id": attempt.pk,
        "number": attempt.number,
        "status": attempt.status,
        "engine": attempt.engine,
        "plan": attempt.plan,
        "output_sha256": attempt.output_sha256,
        "route": attempt.route,
        "verdict": decisions.values_list("klass", flat=True).first(),
        "problems": attempt.problems,
        "error": attempt.error_text,
    }


urlpatterns = [path("api/v1/", api.urls)]
for pattern in api.urls[0]:
    pattern.callback.login_required = False  # the API answers 401 itself instead of a redirect to a page
