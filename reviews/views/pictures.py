"""Protected files: pictures, slices and volumes, each behind the right to its dataset."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.crypto import constant_time_compare, salted_hmac
from django.views.decorators.http import require_GET

from inference.projections import slice_sheet
from inference.volumes import VolumeError
from reviews import actions, originals
from reviews.models import Attempt, Dataset, Mode, Verdict
from reviews.stored_files import data_folder, open_own
from reviews.views.access import (
    get_attempt,
    get_given,
    get_many_given,
    get_pictured,
    json_view,
    login_required,
)

YEAR = 365 * 24 * 3600
VIEW_LABELS = {
    "front": "Front",
    "left": "Left",
    "right": "Right",
    "oblique_left": "Oblique left",
    "oblique_right": "Oblique right",
    "edge": "Brain edge",
    "sagittal_mid": "Sagittal, middle",
    "sagittal_left": "Sagittal, left",
    "sagittal_right": "Sagittal, right",
    "axial_orbit": "Axial, eyes",
    "axial_temporal": "Axial, temporal",
    "coronal_front": "Coronal, frontal",
    "coronal_temporal": "Coronal, temporal",
}
SALIENCY = "saliency"
SMALL = "-thumb"
MOST_BUNDLE_ITEMS = 48
MOST_BUNDLE_VIEWS = 24


def token(attempt: Attempt) -> str:
    """Changes whenever the pictures do, so that a browser may keep what it has; keyed, so that none is guessed."""
    named = f"{attempt.pk}:{attempt.views_dir}:{attempt.render_version}:{attempt.output_sha256}"
    return salted_hmac("reviews.pictures", named, algorithm="sha256").hexdigest()[:32]


def fits(version: str, attempt: Attempt) -> bool:
    """Whether an address names the pictures as they are now."""
    return constant_time_compare(version, token(attempt))


def picture_url(attempt: Attempt, view: str, *, small: bool = False) -> str:
    """The address of one view, or of its thumbnail: by the handle under which the attempt was given, if it was."""
    name = view + (SMALL if small else "")
    if attempt.given:
        return reverse("picture-given", args=[attempt.given, name])
    return reverse("picture", args=[attempt.pk, token(attempt), name])


def base_url(kind: str, attempt: Attempt) -> str:
    """Where the slices or volumes of an attempt begin, named as its pictures are."""
    return f"/{kind}/h/{attempt.given}/" if attempt.given else f"/{kind}/{attempt.pk}/{token(attempt)}/"


def views_of(attempt: Attempt, rights: originals.Rights = originals.NONE) -> list[dict]:
    """The views a reviewer steps through, in order: {name, label, url, small, original}.

    One that shows the original is there for whom that is open to, and `original` tells the page not to fetch it ahead.
    """
    present = set(attempt.view_names)
    return [
        {
            "name": name,
            "label": label,
            "url": picture_url(attempt, name),
            "small": picture_url(attempt, name, small=True),
            "original": originals.shown_in(attempt, name),
        }
        for name, label in VIEW_LABELS.items()
        if name in present and (rights.sees or not originals.shown_in(attempt, name))
    ]


def removed_views(attempt: Attempt, rights: originals.Rights = originals.NONE) -> dict[str, str]:
    """Views that show what was removed, for whom originals are open to: plain name -> address."""
    names = [name for name in attempt.view_names if rights.sees and name.startswith(originals.REMOVED)]
    return {name.removeprefix(originals.REMOVED): picture_url(attempt, name) for name in names}


def look(user, attempt: Attempt, what: str, *, download: bool = False) -> None:
    """Called before something of an original is sent: into the log, or 403."""
    try:
        actions.look_at_original(actor=user, attempt=attempt, what=what, download=download)
    except actions.NotAllowed as error:
        raise PermissionDenied(str(error)) from error


def opinion_is_open(user, attempt: Attempt) -> bool:
    """Whether this person may see what the model thought: by the dataset's setting, after judging, or as an auditor."""
    if not attempt.dataset.opinion_after_judgement or not attempt.judgeable:
        return True
    if Verdict.objects.filter(attempt=attempt, user_id=user.pk).exists():
        return True
    return Dataset.objects.seen_freely_by(user).filter(pk=attempt.dataset_id).exists()


@login_required
@require_GET
def picture(request: HttpRequest, pk: int, version: str, view: str) -> HttpResponse:
    """One view as WebP."""
    attempt = get_pictured(request.user, pk)
    if not fits(version, attempt):
        raise Http404("There is no such picture of this attempt.")
    return picture_of(request, attempt, view)


@login_required
@require_GET
def picture_given(request: HttpRequest, handle: str, view: str) -> HttpResponse:
    """One view of what the person was given under this handle; in verification never what the model thought."""
    given = get_given(request.user, handle)
    if given.mode == Mode.VERIFY and view.startswith(SALIENCY):
        raise Http404("There is no such picture of this attempt.")
    return picture_of(request, given.attempt, view)


def picture_of(request: HttpRequest, attempt: Attempt, view: str) -> HttpResponse:
    """The file of one view, if this person may see it."""
    name, view = view, view.removesuffix(SMALL)
    if view not in attempt.view_names:
        raise Http404("There is no such picture of this attempt.")
    if view.startswith(SALIENCY) and not opinion_is_open(request.user, attempt):
        raise Http404("The model's opinion is shown after the first judgement.")
    seen = originals.shown_in(attempt, view)
    try:
        sent = send(open_own(path_of(attempt, name)), "image/webp", keep=not seen)
    except OSError:
        raise Http404("The picture is missing.") from None
    if seen:
        look(request.user, attempt, view)
    return sent


@json_view
def picture_bundle(request: HttpRequest, body: dict) -> HttpResponse:
    """Many pictures in one answer: 4 bytes of length, an index in JSON, then the WebP files one after the other.

    A picture that is missing or not for this person is left out; the page then asks for it alone and is told why.
    So is what shows an original: it is sent when it is shown, never ahead.
    """
    wanted = body.get("wanted")
    if not isinstance(wanted, list) or not 0 < len(wanted) <= MOST_BUNDLE_ITEMS:
        raise ValueError(f"From 1 to {MOST_BUNDLE_ITEMS} items are needed.")
    names = {str(row.get("handle", "")): row.get("names") for row in wanted if isinstance(row, dict)}
    index, contents = [], []
    for handle, given in get_many_given(request.user, list(names)).items():
        for name, content in contents_of(given.attempt, names[handle]):
            index.append({"handle": handle, "name": name, "bytes": len(content)})
            contents.append(content)
    head = json.dumps(index).encode()
    response = HttpResponse(
        len(head).to_bytes(4, "big") + head + b"".join(contents), "application/octet-stream"
    )
    response["Cache-Control"] = "private, no-store"
    return response


def contents_of(attempt: Attempt, names: object) -> Iterator[tuple[str, bytes]]:
    """The files of the named views that are there."""
    for name in names[:MOST_BUNDLE_VIEWS] if isinstance(names, list) else ():
        view = str(name).removesuffix(SMALL)
        if view not in attempt.view_names or view.startswith(SALIENCY) or originals.shown_in(attempt, view):
            continue
        try:
            with open_own(path_of(attempt, str(name))) as file:
                yield name, file.read()
        except OSError:
            continue  # asked for alone it ends in a 404 that the page shows


def path_of(attempt: Attempt, name: str) -> Path:
    """The file of a view, or of its thumbnail, from the data folder on."""
    return Path(attempt.views_dir) / (
        f"{name.removesuffix(SMALL)}.thumb.webp" if name.endswith(SMALL) else f"{name}.webp"
    )


@login_required
@require_GET
def slices(request: HttpRequest, pk: int, version: str, plane: str, layer: str) -> HttpResponse:
    """All slices of one plane in one WebP; the X-Tiles header says how they lie in it."""
    attempt = get_attempt(request.user, pk)
    if not fits(version, attempt):
        raise Http404("There are no such slices of this attempt.")
    return slices_of(request, attempt, plane, layer)


@login_required
@require_GET
def slices_given(request: HttpRequest, handle: str, plane: str, layer: str) -> HttpResponse:
    """The same of what the person was given under this handle."""
    return slices_of(request, get_whole(request.user, handle), plane, layer)


def get_whole(user, handle: str) -> Attempt:
    """An attempt given with its volume: verification shows pictures alone."""
    given = get_given(user, handle)
    if given.mode == Mode.VERIFY:
        raise Http404("Verification shows no volume.")
    return given.attempt


def slices_of(request: HttpRequest, attempt: Attempt, plane: str, layer: str) -> HttpResponse:
    """The sheet of one plane and layer, made when it is asked for first."""
    if plane not in slice_sheet.PLANES or layer not in layers_of(attempt):
        raise Http404("There are no such slices of this attempt.")
    if layer in originals.LAYERS:
        require_sight(request.user, attempt)
    after, before = actions.output_of(attempt), actions.original_of(attempt.scan)
    hashes = (after.sha256,) if layer == "after" else (after.sha256, before.sha256)
    path = data_folder() / "slices" / slice_sheet.name_of(plane, layer, *hashes)
    try:
        sheet = slice_sheet.sheet(path, plane, layer, after=after.volume, before=before.volume)
    except (VolumeError, OSError) as error:
        return HttpResponse(
            f"The slices could not be made: {said(error)}", status=422, content_type="text/plain"
        )
    response = send(sheet.file, "image/webp", keep=layer not in originals.LAYERS)
    response["X-Tiles"] = sheet.header
    if layer in originals.LAYERS:
        look(request.user, attempt, f"{plane}-{layer}")
    return response


@login_required
@require_GET
def volume(request: HttpRequest, pk: int, version: str, layer: str, name: str) -> FileResponse:
    """The volume itself, for the 3-D viewer; `name` only tells the viewer the file type."""
    attempt = get_attempt(request.user, pk)
    if not fits(version, attempt):
        raise Http404("There is no such volume.")
    return volume_of(request, attempt, layer, name)


@login_required
@require_GET
def volume_given(request: HttpRequest, handle: str, layer: str, name: str) -> FileResponse:
    """The same of what the person was given under this handle."""
    return volume_of(request, get_whole(request.user, handle), layer, name)


def volume_of(request: HttpRequest, attempt: Attempt, layer: str, name: str) -> FileResponse:
    """The file of one layer."""
    if layer not in ("after", "before"):
        raise Http404("There is no such volume.")
    file = actions.output_of(attempt) if layer == "after" else actions.original_of(attempt.scan)
    if not file.path or name != volume_name(file.path):
        raise Http404("There is no such volume.")
    if layer == "before":
        require_sight(request.user, attempt, download=True)
    try:
        sent = send(file.open(), "application/octet-stream", keep=layer == "after")
    except VolumeError as error:
        raise Http404(said(error)) from error
    if layer == "before":
        look(request.user, attempt, "volume", download=True)
    return sent


def require_sight(user, attempt: Attempt, *, download: bool = False) -> None:
    """403 for whom the originals of the dataset are not open to, before any work is done for them."""
    rights = originals.rights_of(user, attempt.dataset_id)
    if not (rights.downloads if download else rights.sees):
        raise PermissionDenied(originals.CLOSED)


def said(error: OSError | VolumeError) -> str:
    """What is wrong with a file, without the folders of the server."""
    if isinstance(error, VolumeError):
        return f"{Path(error.path).name}: {error.reason}"
    return str(error.strerror or error)


def layers_of(attempt: Attempt) -> list[str]:
    """Which slices there are: the result, and with an original also before and removed."""
    return ["after", *originals.LAYERS] if attempt.scan.original_path else ["after"]


def volume_name(path: str) -> str:
    """A name without any identity that keeps the file type."""
    return "volume.nii.gz" if path.endswith(".gz") else "volume" + Path(path).suffix


def send(file: BinaryIO, content_type: str, *, keep: bool = True) -> FileResponse:
    """A file for this person's browser alone; what may be kept has an address that changes with its content."""
    response = FileResponse(file, content_type=content_type)
    response["Cache-Control"] = f"private, max-age={YEAR}, immutable" if keep else "private, no-store"
    response["Vary"] = "Cookie"
    response["X-Content-Type-Options"] = "nosniff"
    return response
