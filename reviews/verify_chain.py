"""Check an exported audit trail with nothing but Python: python verify_chain.py TRAIL.jsonl [DIGEST]

The first line names the dataset that the trail was exported for; every further line is one event. Its digest
is SHA-256 over the digest before it, its number, its dataset and the digest of its content, so a changed,
removed, inserted or reordered event breaks every later digest. An event of another dataset is 'withheld': it
carries what links the chain and nothing else. Whoever writes the whole chain anew, or cuts off its end, can
only be seen with a DIGEST that you were given before: an earlier one is looked for in the chain.
"""

import hashlib
import json
import re
import sys

START = "0" * 64
FORMAT = 2  # of the events; 1 has no dataset in its link and no salt
TURN = "trail_format"  # the event in which format 1 ended: it fixes the datasets of all events before it
CONTENT = ("seq", "at", "actor", "action", "dataset", "object_kind", "object_id", "before", "after")
ADDED = ("format", "salt")
LINKED = ("format", "seq", "dataset", "previous_digest", "content_digest")
DIGESTS = ("content_digest", "previous_digest", "digest")
HEADER = {"trail", "dataset"}
LONGEST = 16 << 20  # bytes of a line
MOST = 50  # problems told one by one
ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical(value) -> str:
    """The one way to write a value as JSON."""
    return ENCODER.encode(value)


def sha256(text: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def content_digest(event: dict) -> str:
    """Of what the event says; the salt keeps a withheld one from being guessed."""
    names = CONTENT if event.get("format", 1) == 1 else CONTENT + ADDED
    return sha256(canonical({name: event[name] for name in names}))


def link(event: dict) -> str:
    """The digest that ties one event to all before it."""
    if event.get("format", 1) == 1:
        return sha256(f"{event['previous_digest']}{event['content_digest']}")
    return sha256(canonical([event[name] for name in LINKED]))


class Chain:
    """Follows events one by one and notes what is wrong; keeps nothing of them."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.count, self.more, self.older = 0, 0, 0
        self.digest, self.expected, self.format = START, 1, 0
        self.datasets = hashlib.sha256()

    def note(self, problem: str) -> None:
        """Keep a problem; of very many only how many."""
        if len(self.problems) < MOST:
            self.problems.append(problem)
        else:
            self.more += 1

    def add(self, event: dict, withheld: bool = False) -> None:
        """The next event."""
        name = f"event {event['seq']}"
        if event["seq"] != self.expected:
            self.note(f"{name}: expected number {self.expected}")
        if event["previous_digest"] != self.digest:
            self.note(f"{name}: does not follow the event before it")
        self._look_at_format(event, name)
        try:
            changed = not withheld and content_digest(event) != event["content_digest"]
        except (ValueError, RecursionError):
            changed = True
        if changed:
            self.note(f"{name}: its content was changed")
        if link(event) != event["digest"]:
            self.note(f"{name}: its digest does not fit")
        self.digest, self.expected, self.count = event["digest"], event["seq"] + 1, self.count + 1

    def _look_at_format(self, event: dict, name: str) -> None:
        """The format never goes back, and where it goes on the older part is fixed."""
        now = event.get("format", 1)
        if now not in (1, FORMAT):
            self.note(f"{name}: format {now} is not known")
        elif now < self.format:
            self.note(f"{name}: an older format after a newer one")
        elif now > self.format == 1:
            self._look_at_turn(event, name)
        if now == 1:
            self.older += 1
            self.datasets.update(f"{event['seq']} {event.get('dataset')}\n".encode())
        self.format = max(self.format, now)

    def _look_at_turn(self, event: dict, name: str) -> None:
        after = event.get("after")
        said = after if isinstance(after, dict) and event.get("action") == TURN else {}
        if said.get("until") != event["seq"] - 1:
            self.note(f"{name}: a newer format begins without the event that says so")
        elif said.get("datasets") != self.datasets.hexdigest():
            self.note(f"{name}: the dataset of an event before it was changed")

    def told(self) -> list[str]:
        """The problems in words."""
        return self.problems + ([f"and {self.more} more problems"] if self.more else [])


def check(events) -> list[str]:
    """What is wrong with events that are all shown, in words; nothing when they are whole."""
    chain = Chain()
    for event in events:
        chain.add(event)
    return chain.told()


class Trail:
    """An exported trail, read line by line."""

    def __init__(self, digest: str = "") -> None:
        self.chain = Chain()
        self.wanted, self.found = digest, 0
        self.dataset: object = None
        self.old = False  # exported before trails had a first line that names the dataset
        self.own = self.site = self.withheld = 0

    def line(self, number: int, raw: bytes) -> None:
        """The next line."""
        try:
            value = parsed(raw)
            if number == 1 and "trail" in value:
                self._header(value)
                return
            self.old = self.old or number == 1
            self._event(value)
        except (ValueError, RecursionError) as error:
            words = "is nested too deeply" if isinstance(error, RecursionError) else str(error)
            self.chain.note(f"line {number} {words}")

    def _header(self, value: dict) -> None:
        require_keys(value, HEADER)
        if value["trail"] != FORMAT or not is_number(value["trail"]) or not is_number(value["dataset"]):
            raise ValueError("is no first line that this verifier knows")
        self.dataset = value["dataset"]

    def _event(self, event: dict) -> None:
        withheld = "withheld" in event
        extra = () if self.old else ("format",)
        if withheld:
            linked = ("seq", *DIGESTS) if self.old else (*LINKED, "digest")
            require_keys(event, {*linked, "withheld"})
        else:
            salted = ADDED if not self.old and event.get("format") != 1 else extra
            require_keys(event, {*CONTENT, *DIGESTS, *salted})
        require_types(event)
        self._place(event, withheld)
        self.chain.add(event, withheld)
        if self.wanted and event["digest"] == self.wanted:
            self.found = event["seq"]

    def _place(self, event: dict, withheld: bool) -> None:
        """Whose event it is: this dataset's and the site's are shown, only those of other datasets withheld."""
        name, dataset = f"event {event['seq']}", event.get("dataset")
        if self.old and self.dataset is None:
            self.dataset = dataset
        if withheld:
            self.withheld += 1
            if not self.old and dataset in (None, self.dataset):
                self.chain.note(f"{name}: is withheld, but is not of another dataset")
        elif dataset is None:
            self.site += 1
        else:
            self.own += 1
            if dataset != self.dataset:
                self.chain.note(f"{name}: is shown, but is of dataset {dataset}")

    def end(self) -> list[str]:
        """All problems, once the last line is read."""
        chain = self.chain
        if not chain.count:
            chain.note("the file holds no event")
        elif not self.own:
            chain.note("no event of the dataset is shown")
        if not self.old and chain.count and chain.format != FORMAT:
            chain.note("its first line is of the new format and its events are of the old one")
        if self.wanted and not self.found:
            chain.note(f"the digest {self.wanted} is not in it: events are missing at the end, or are others")
        return chain.told()


def parsed(raw: bytes) -> dict:
    """One line as an object; a ValueError says in words what is wrong with it."""
    if len(raw) > LONGEST:
        raise ValueError("is too long")
    if not raw.strip():
        raise ValueError("is blank")
    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=once, parse_constant=no_number, parse_float=finite
        )
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON ({error.msg})") from None
    if not isinstance(value, dict):
        raise ValueError("is no object")
    return value


def once(pairs: list) -> dict:
    """An object whose names come once."""
    found: dict = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"has {name!a} twice")
        found[name] = value
    return found


def no_number(text: str):
    """NaN and the infinities are no JSON."""
    raise ValueError(f"holds {text}, which is no number")


def finite(text: str) -> float:
    """A number that a float can hold."""
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("holds a number that is too large")
    return value


def is_number(value) -> bool:
    """A whole number, and no boolean."""
    return type(value) is int and 0 <= value < 1 << 63


def require_keys(value: dict, wanted: set) -> None:
    """Refuse another set of names."""
    missing, extra = sorted(wanted - set(value)), sorted(set(value) - wanted)
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")
    if extra:
        raise ValueError(f"holds what does not belong there: {', '.join(ascii(name) for name in extra[:3])}")


def require_types(event: dict) -> None:
    """Refuse a value of another type than the trail has."""
    for name, value in event.items():
        if name in DIGESTS:
            right = isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)
        elif name == "withheld":
            right = value is True
        elif name in ("before", "after"):
            right = value is None or isinstance(value, dict)
        elif name in ("dataset", "object_id"):
            right = value is None or is_number(value)
        else:
            right = is_number(value) if name in ("seq", "format") else isinstance(value, str)
        if not right:
            raise ValueError(f"has a wrong '{name}'")


def read(path: str, digest: str = "") -> Trail:
    """Go through a file, a line at a time."""
    trail = Trail(digest)
    with open(path, "rb") as file:
        number = 0
        while raw := file.readline(LONGEST + 1):
            number += 1
            trail.line(number, raw)
    return trail


def main(arguments: list[str]) -> int:
    """Command line: exit 0 when the chain is whole, 1 when it is not, 2 when nothing was checked."""
    if len(arguments) not in (1, 2) or not re.fullmatch("([0-9a-f]{64})?", "".join(arguments[1:])):
        sys.stderr.write("usage: python verify_chain.py TRAIL.jsonl [DIGEST of 64 characters]\n")
        return 2
    try:
        trail = read(*arguments)
    except OSError as error:
        sys.stderr.write(f"{arguments[0]} cannot be read: {error.strerror}\n")
        return 2
    problems = trail.end()
    for words in [*problems, *summary(trail), verdict(trail, bool(problems))]:
        sys.stdout.write(words + "\n")
    return 1 if problems else 0


def summary(trail: Trail) -> list[str]:
    """What the file holds."""
    chain = trail.chain
    dataset = "" if trail.dataset is None else f" of dataset {trail.dataset}"
    found = [
        f"{chain.count} events: {trail.own}{dataset}, {trail.site} of no dataset, "
        f"{trail.withheld} withheld as those of other datasets"
    ]
    if trail.old:
        found.append("old format: withheld events cannot be bound to a dataset; export the trail anew")
    if trail.found:
        found.append(
            f"the digest you gave is that of event {trail.found}; {chain.expected - 1 - trail.found} follow"
        )
    return found


def verdict(trail: Trail, broken: bool) -> str:
    """The last words."""
    end = trail.chain.digest
    if broken:
        return f"BROKEN; its last digest is {end}"
    return f"whole up to digest {end}: compare it with one you were given before"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
