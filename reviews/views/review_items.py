"""What a review page is told about an attempt."""

from inference.triage import CLASSES
from reviews import originals
from reviews.actions.triage import probabilities_of
from reviews.models import Attempt, Prediction
from reviews.models.decisions import CLASS_LABELS
from reviews.states import Status
from reviews.templatetags.qc import LETTERS
from reviews.views.pictures import (
    SALIENCY,
    base_url,
    layers_of,
    opinion_is_open,
    picture_url,
    removed_views,
    views_of,
    volume_name,
)
from reviews.wording import REGIONS, problems_words

SHORT = 6  # letters of a handle that a person reads


def card(attempt: Attempt, rights: originals.Rights = originals.NONE) -> dict:
    """Enough for the grid, and nothing but the handle, the pictures and what they show: a known case looks like any."""
    return {
        "handle": attempt.given,
        "name": attempt.given[:SHORT],
        "modality": attempt.scan.suffix or "scan",
        "views": views_of(attempt, rights),
        "removed": removed_views(attempt, rights),
    }


def named(attempt: Attempt) -> dict:
    """Whose scan it is, where no known case is among the others."""
    scan = attempt.scan
    return {"name": "sub-" + scan.subject + (f" ses-{scan.session}" if scan.session else "")}


def full(attempt: Attempt, user, rights: originals.Rights = originals.NONE) -> dict:
    """Everything the visual QC page shows of one attempt."""
    return card(attempt, rights) | {
        **named(attempt),
        "status": attempt.state.label,
        "minimum_ms": attempt.dataset.min_exposure_ms if attempt.state is Status.VERIFY else 0,
        **run_of(attempt),
        "measurements": measurements(attempt),
        "problems": problems_words(attempt.problems),
        "earlier": [earlier(other, rights) for other in others(attempt)],
        "slices": slices(attempt, rights),
        "volumes": volumes(attempt, rights),
        "opinion": opinion(attempt) if opinion_is_open(user, attempt) else None,
    }


def sealed(attempt: Attempt, rights: originals.Rights = originals.NONE) -> dict:
    """A practice case before the answer: the pictures, and nothing that says what was found in them."""
    shown = {"slices": slices(attempt, rights), "volumes": volumes(attempt, rights)}
    return card(attempt, rights) | named(attempt) | {"number": None} | shown


def unsealed(attempt: Attempt, rights: originals.Rights = originals.NONE) -> dict:
    """What a practice case keeps back until it is answered."""
    return {
        **run_of(attempt),
        "measurements": measurements(attempt),
        "problems": problems_words(attempt.problems),
        "earlier": [earlier(other, rights) for other in others(attempt)],
        "opinion": opinion(attempt),
    }


def others(attempt: Attempt) -> list[Attempt]:
    """The earlier attempts of the same scan, newest first."""
    if attempt.number == 1:
        return []
    found = list(attempt.scan.attempts.filter(number__lt=attempt.number).order_by("-number"))
    for other in found:
        other.given = f"{attempt.given}.{other.number}" if attempt.given else ""
    return found


def run_of(attempt: Attempt) -> dict:
    """Which run of which engine after which plan made it."""
    return {"number": attempt.number, "engine": attempt.engine, "plan": attempt.plan or "as received"}


def earlier(attempt: Attempt, rights: originals.Rights) -> dict:
    """An earlier attempt: how it was made, how it ended, and every view of it."""
    verdict = attempt.verdicts.standing().filter(kind="decision", on_known_case=False).first()
    return run_of(attempt) | {
        "class": verdict.klass if verdict else "",
        "letter": LETTERS[verdict.klass] if verdict else "",
        "words": CLASS_LABELS[verdict.klass] if verdict else attempt.state.label,
        "views": views_of(attempt, rights),
    }


def slices(attempt: Attempt, rights: originals.Rights) -> dict:
    """Where the page finds slices; {plane} and {layer} are filled in there. `closed` says why there is no original."""
    if not attempt.output_path:
        return {"layers": [], "closed": "", "base": ""}
    layers = layers_of(attempt)
    closed = "" if rights.sees or layers == ["after"] else originals.CLOSED
    layers = ["after"] if closed else layers
    return {"layers": layers, "closed": closed, "base": base_url("slices", attempt)}


def volumes(attempt: Attempt, rights: originals.Rights) -> dict[str, str]:
    """Addresses of the volumes by layer: the result for the 3-D viewer, the original for whoever may download it."""
    paths = {"after": attempt.output_path}
    if rights.downloads:
        paths["before"] = attempt.scan.original_path
    base = base_url("volumes", attempt)
    return {layer: f"{base}{layer}/{volume_name(path)}" for layer, path in paths.items() if path}


def measurements(attempt: Attempt) -> list[dict]:
    """Label and value of each physical measurement, in words."""
    measured = attempt.measurements or {}
    rows = []
    removed = measured.get("brain_removed_ml")
    if isinstance(removed, int | float):
        rows.append({"label": "Brain removed", "value": f"{removed:.1f} ml"})
    for region, share in (measured.get("kept") or {}).items():
        value = "not in view" if share is None else f"{100 * share:.0f} %"
        rows.append({"label": f"{REGIONS.get(region, region).capitalize()} kept", "value": value})
    if "geometry_unchanged" in measured:
        value = "unchanged" if measured["geometry_unchanged"] else "changed"
        rows.append({"label": "Geometry", "value": value})
    return rows


def opinion(attempt: Attempt) -> dict | None:
    """The model's probabilities under the dataset's standard and saliency pictures; None when it said nothing usable."""
    said = Prediction.objects.filter(attempt=attempt, shadow=False).select_related("model_version").first()
    shares = probabilities_of(said, attempt.dataset.ears_required) if said else None
    if said is None or shares is None:
        return None
    return {
        "model": str(said.model_version),
        "classes": [
            {"name": name, "words": CLASS_LABELS[name], "share": round(shares[name], 4)} for name in CLASSES
        ],
        "saliency": [picture_url(attempt, name) for name in attempt.view_names if name.startswith(SALIENCY)],
    }
