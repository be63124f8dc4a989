"""Comparing what was told with what is stored; plain rows in, findings out. Nothing here asks the database."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tests.faults.hurt import damaged
from tests.faults.ledger import FOREVER, Damage, Told

JUDGED = {"judged_pass", "judged_fail", "doubted", "known_case_judged"}
WORKING = {"to_deface", "to_render", "to_classify"}
SET_ASIDE = "withdrawn"
SAVED = "saved"


@dataclass(frozen=True)
class Row:
    """A stored verdict. `said`: class, 'unsure' or 'undo'; `standing`: not taken back; `known`: on a known case."""

    pk: int
    user: int
    nonce: str
    attempt: int
    said: str
    standing: bool = True
    known: bool = False


@dataclass(frozen=True)
class Happened:
    """An audit event about an attempt."""

    attempt: int
    action: str
    before: str | None = None
    after: str | None = None
    verdict: int | None = None


@dataclass(frozen=True)
class Stood:
    """An attempt as it is stored at the end; `sha256` is of the output file now, empty where there is none."""

    pk: int
    scan: int
    number: int
    status: str
    output: str = ""
    recorded: str = ""
    sha256: str = ""
    files: tuple[str, ...] = ()


@dataclass
class Evidence:
    """Everything that is compared."""

    told: list[Told]
    undone: Mapping[int, int]
    taken: set[int]
    damages: list[Damage]
    rows: list[Row] = field(default_factory=list)
    events: list[Happened] = field(default_factory=list)
    attempts: list[Stood] = field(default_factory=list)
    trail: list[str] = field(default_factory=list)
    store: list[str] = field(default_factory=list)


def findings(seen: Evidence) -> dict[str, list[str]]:
    """What must not be, by kind; every list is empty where all is well."""
    checks: dict[str, Callable[[Evidence], Iterable[str]]] = {
        "acknowledged, but lost": lost,
        "acknowledged, but stored otherwise": altered,
        "told refused, yet counted": refused_yet_counted,
        "undo acknowledged, but lost": undo_lost,
        "taken in, but lost": taken_lost,
        "counted twice": doubled,
        "verdicts without an event": without_event,
        "statuses that events do not explain": unexplained,
        "problems of the chain": lambda seen: seen.trail,
        "problems of the database file": lambda seen: seen.store,
        "passed without a person": passed_by_nobody,
        "passed with another file than recorded": passed_otherwise,
        "not finished, and no file explains it": unfinished,
    }
    return {kind: sorted(check(seen)) for kind, check in checks.items()}


def _stored(seen: Evidence) -> dict[tuple[int, str], Row]:
    return {(row.user, row.nonce): row for row in seen.rows}


def lost(seen: Evidence) -> Iterable[str]:
    """A robot was told 'saved', and there is no such row."""
    stored = _stored(seen)
    return [
        _name(told) for told in seen.told if told.answer == SAVED and (told.user, told.nonce) not in stored
    ]


def altered(seen: Evidence) -> Iterable[str]:
    """The row says something else than the robot did."""
    stored = _stored(seen)
    for told in seen.told:
        row = stored.get((told.user, told.nonce))
        if row is not None and row.said != told.klass:
            yield f"{_name(told)}: said {told.klass}, stored {row.said}"


def refused_yet_counted(seen: Evidence) -> Iterable[str]:
    """The last word to the robot was a refusal, and yet there is a row."""
    stored = _stored(seen)
    for told in seen.told:
        if told.answer not in ("", SAVED) and (told.user, told.nonce) in stored:
            yield f"{_name(told)}: told {told.answer}"


def undo_lost(seen: Evidence) -> Iterable[str]:
    """Fewer retractions are stored than a robot was told of."""
    stored = Counter(row.user for row in seen.rows if row.said == "undo")
    for user, count in seen.undone.items():
        yield from [f"user {user}"] * max(0, count - stored[user])


def taken_lost(seen: Evidence) -> Iterable[str]:
    """A scan was told taken in, and its attempt is not there."""
    return [f"attempt {pk}" for pk in seen.taken - {stood.pk for stood in seen.attempts}]


def doubled(seen: Evidence) -> Iterable[str]:
    """One nonce with several rows, or one verdict that moved its attempt more than once."""
    nonces = Counter((row.user, row.nonce) for row in seen.rows)
    yield from (f"nonce {nonce} of user {user}" for (user, nonce), count in nonces.items() if count > 1)
    counted = Counter(event.verdict for event in seen.events if event.action in JUDGED)
    yield from (f"verdict {pk}" for pk, count in counted.items() if count > 1)


def without_event(seen: Evidence) -> Iterable[str]:
    """A verdict's row that the trail does not know."""
    known = {event.verdict for event in seen.events if event.action in JUDGED}
    return [f"verdict {row.pk}" for row in seen.rows if row.said != "undo" and row.pk not in known]


def unexplained(seen: Evidence) -> Iterable[str]:
    """An attempt whose events do not lead to its status one after the other."""
    now: dict[int, str] = {}
    torn: set[int] = set()
    for event in seen.events:
        if event.after is None:
            continue
        if now.get(event.attempt, event.before) != (event.before or now.get(event.attempt)):
            torn.add(event.attempt)
        now[event.attempt] = event.after
    for stood in seen.attempts:
        if now.get(stood.pk) != stood.status:
            yield f"attempt {stood.pk}: events say {now.get(stood.pk)}, stored is {stood.status}"
        elif stood.pk in torn:
            yield f"attempt {stood.pk}: its events do not follow each other"


def passed_by_nobody(seen: Evidence) -> Iterable[str]:
    """A passed attempt without a person's standing verdict 'pass'."""
    passed = {row.attempt for row in seen.rows if row.said == "pass" and row.standing and not row.known}
    return [f"attempt {stood.pk}" for stood in seen.attempts if _is_passed(stood) and stood.pk not in passed]


def passed_otherwise(seen: Evidence) -> Iterable[str]:
    """Passed while its file was not the recorded one; what was done to the file after the verdict explains it."""
    told = {(one.user, one.nonce): one for one in seen.told}
    passes = [row for row in seen.rows if row.said == "pass" and row.standing and not row.known]
    spoken = {row.attempt: told.get((row.user, row.nonce)) for row in passes}
    for stood in filter(_is_passed, seen.attempts):
        verdict, harm = spoken.get(stood.pk), list(damaged(seen.damages, stood.output))
        if verdict and any(d.begun < verdict.sent and verdict.answered < d.ended for d in harm):
            yield f"attempt {stood.pk}: passed while its file was {harm[-1].deed}"
        elif stood.sha256 != stood.recorded and not any(d.ended == FOREVER for d in harm):
            yield f"attempt {stood.pk}: its file is another and nobody harmed it"


def unfinished(seen: Evidence) -> Iterable[str]:
    """The last attempt of a scan still waits for a machine, or is in ERROR or FAILED, with no harm to its files."""
    for stood in last_attempts(seen.attempts):
        if stood.status in WORKING or stood.status == "failed":
            yield f"attempt {stood.pk}: {stood.status}"
        elif stood.status == "error" and not _harmed(seen.damages, stood):
            yield f"attempt {stood.pk}: in error, its files are whole"


def last_attempts(attempts: Iterable[Stood]) -> Iterable[Stood]:
    """Of each scan the newest attempt that was not set aside."""
    last: dict[int, Stood] = {}
    for stood in sorted(attempts, key=lambda one: one.number):
        if stood.status != SET_ASIDE:
            last[stood.scan] = stood
    return last.values()


def _harmed(damages: list[Damage], stood: Stood) -> bool:
    """Whether a file of it was harmed for good."""
    return any(
        damage.ended == FOREVER for path in (stood.output, *stood.files) for damage in damaged(damages, path)
    )


def _is_passed(stood: Stood) -> bool:
    return stood.status == "passed"


def _name(told: Told) -> str:
    return f"nonce {told.nonce} of user {told.user}"
