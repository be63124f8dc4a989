"""What the review pages ask for: items, verdicts, undo, leases. JSON in, JSON out."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_POST

from reviews import actions, originals, reports
from reviews.models import Attempt, Dataset, Mode, Verdict
from reviews.models.decisions import CLASS_LABELS
from reviews.views import review_items
from reviews.views.access import get_attempt, get_given, get_judged, json_view, login_required, number, words

MOST_ITEMS = 48
UNDO_MOST = 48


@json_view
def take(request: HttpRequest, body: dict, slug: str, mode: str) -> JsonResponse:
    """Lease the next items for this person; a manager gets none of a queue that is assigned to others."""
    dataset = get_judged(request.user, slug, mode)
    count = number(body.get("count"), 1, MOST_ITEMS)
    there = actions.attempts_given(words(body.get("exclude", [])), actor=request.user).values()
    asked = {"actor": request.user, "dataset": dataset, "count": count, "exclude": set(there)}
    practising = mode == Mode.PRACTICE
    found = actions.practice_batch(**asked) if practising else actions.lease_batch(mode=mode, **asked)
    rights = originals.rights_of(request.user, dataset.pk)
    shown_items = [shown(attempt, mode, request.user, rights) for attempt in found]
    return JsonResponse({"items": shown_items, "left": reports.left(request.user, dataset, mode)})


@json_view
def take_one(request: HttpRequest, body: dict, pk: int) -> JsonResponse:
    """Lease one chosen attempt for visual QC."""
    attempt = actions.lease_one(actor=request.user, attempt_id=get_attempt(request.user, pk).pk)
    rights = originals.rights_of(request.user, attempt.dataset_id)
    item = review_items.full(attempt, request.user, rights)
    return JsonResponse({"items": [item], "left": reports.left(request.user, attempt.dataset, Mode.VISUAL)})


def shown(attempt: Attempt, mode: str, user, rights: originals.Rights) -> dict:
    """One item as its page needs it."""
    if mode == Mode.PRACTICE:
        return review_items.sealed(attempt, rights)
    return (
        review_items.card(attempt, rights)
        if mode == Mode.VERIFY
        else review_items.full(attempt, user, rights)
    )


@json_view
def verdicts(request: HttpRequest, body: dict) -> JsonResponse:
    """Save verdicts, each by itself; a nonce seen before counts once."""
    sent = body.get("verdicts")
    if not isinstance(sent, list) or not 0 < len(sent) <= MOST_ITEMS:
        raise ValueError(f"From 1 to {MOST_ITEMS} verdicts are needed.")
    if not all(isinstance(row, dict) for row in sent):
        raise ValueError("A verdict is not an object.")
    given = actions.attempts_given({str(row.get("handle", "")) for row in sent}, actor=request.user)
    judged = [judgement(row, given.get(str(row.get("handle", "")), actions.NOBODYS)) for row in sent]
    outcomes = actions.accept_page(actor=request.user, items=judged)
    pairs = zip(judged, outcomes, strict=True)
    return JsonResponse({"results": [result(outcome, said.mode, request.user) for said, outcome in pairs]})


def judgement(row: dict, attempt_id: int) -> actions.Judgement:
    """One verdict as the page sends it."""
    reasons = row.get("reasons", [])
    if not isinstance(reasons, list) or not all(isinstance(reason, str) for reason in reasons):
        raise ValueError("Reasons are a list of words.")
    return actions.Judgement(
        attempt_id=attempt_id,
        klass=str(row.get("class", "")),
        nonce=str(row.get("nonce", "")),
        mode=str(row.get("mode", "")),
        exposure_ms=number(row.get("exposure_ms", 0), 0, 2**31),
        active_ms=number(row.get("active_ms", 0), 0, 2**31),
        reasons=reasons,
        note=str(row.get("note", "")),
    )


def result(outcome: actions.Outcome, mode: str, user) -> dict:
    """What became of one verdict; after visual QC the scan's page and the model's opinion are no secret any more."""
    names = ("nonce", "code", "message", "remaining_ms")
    answer = {name: getattr(outcome, name) for name in names} | {"ok": outcome.code == "saved"}
    if answer["ok"] and mode == Mode.VISUAL:
        attempt = get_attempt(user, outcome.attempt_id)
        answer |= {"opinion": review_items.opinion(attempt), "scan": attempt.scan_id}
    return answer


@json_view
def undo(request: HttpRequest, body: dict, slug: str, mode: str) -> JsonResponse:
    """Take back what the last key press decided, as far as nothing has followed from it."""
    dataset = get_judged(request.user, slug, mode)
    undone, refusals = [], []
    rights = originals.rights_of(request.user, dataset.pk)
    for verdict in last_press(request.user, dataset, mode):
        try:
            actions.undo_verdict(actor=request.user, verdict_id=verdict.pk, nonce=f"undo-{verdict.pk}")
        except actions.Refused as error:
            refusals.append(f"sub-{verdict.attempt.scan.subject}: {error}")
            continue
        attempt = Attempt.objects.select_related("scan", "dataset", "lease").get(pk=verdict.attempt_id)
        attempt.given = attempt.lease.handle
        item = shown(attempt, mode, request.user, rights)
        undone.append({"item": item, "mark": verdict.klass or "unsure"})
    return JsonResponse(
        {
            "undone": undone,
            "message": undo_words(len(undone), refusals),
            "left": reports.left(request.user, dataset, mode),
        }
    )


def last_press(user, dataset: Dataset, mode: str) -> list[Verdict]:
    """The verdicts of the last key press, in the order of the page; one press shares the nonce's beginning."""
    recent = [v for v in actions.undoable(actor=user, dataset=dataset, limit=UNDO_MOST) if v.mode == mode]
    if not recent:
        return []
    press = recent[0].nonce.rpartition("-")[0] or recent[0].nonce
    same = [v for v in recent if (v.nonce.rpartition("-")[0] or v.nonce) == press]
    return sorted(same, key=lambda verdict: verdict.pk)


def undo_words(count: int, refusals: list[str]) -> str:
    """What the status line says."""
    if not count and not refusals:
        return f"Nothing to take back from the last {actions.UNDO_HOURS} hours."
    done = f"{count} verdict{'' if count == 1 else 's'} taken back." if count else ""
    return " ".join([done, *refusals]).strip()


@json_view
def renew(request: HttpRequest, body: dict) -> JsonResponse:
    """Prolong the leases of a page that is in use; says which are still held."""
    given = actions.attempts_given(words(body.get("handles", [])), actor=request.user)
    held = actions.renew_leases(actor=request.user, attempt_ids=given.values())
    return JsonResponse({"held": [handle for handle, pk in given.items() if pk in held]})


@login_required
@require_POST
def release(request: HttpRequest) -> HttpResponse:
    """Give leases back when a page is left; a form post because browsers send it on the way out."""
    given = actions.attempts_given(request.POST.get("handles", "").split(",")[:500], actor=request.user)
    actions.release_leases(actor=request.user, attempt_ids=given.values())
    return HttpResponse(status=204)


@json_view
def practise(request: HttpRequest, body: dict) -> JsonResponse:
    """An answer in practice, with the truth as feedback."""
    given = get_given(request.user, str(body.get("handle", "")))
    attempt = given.attempt
    attempt.given = given.handle
    verdict = actions.record_practice(
        actor=request.user,
        attempt_id=attempt.pk,
        klass=str(body.get("class", "")),
        nonce=str(body.get("nonce", "")),
        active_ms=number(body.get("active_ms", 0), 0, 2**31),
    )
    truth = attempt.known_case.truth
    return JsonResponse(
        {
            "correct": verdict.correct,
            "truth": truth,
            "words": CLASS_LABELS[truth],
            "explanation": attempt.known_case.explanation,
            **review_items.unsealed(attempt, originals.rights_of(request.user, attempt.dataset_id)),
        }
    )
