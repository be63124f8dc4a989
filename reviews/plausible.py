"""What a request may hold at all: no NUL, no number beyond the ids of a database, no JSON nested without end.

Asked by the middleware (path, query, form) and by whatever reads JSON, so that no view has to think of it.
"""

import json
import re
from collections.abc import Iterable

LARGEST = 2**63 - 1  # what both databases hold as an id
DEEPEST = 32
LONGEST_NUMBER = 20
WHOLE = re.compile(r"-?[0-9]+\Z", re.ASCII)


class Implausible(ValueError):
    """Nobody means this; the text says what is wrong."""


def require_text(texts: Iterable[str]) -> None:
    """Refuse texts that no database takes."""
    for text in texts:
        if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise Implausible("The request holds a NUL or half a character.")


def whole_number(text: str) -> int | None:
    """The number that a text names; None where it names none that could be an id."""
    if not WHOLE.match(text) or len(text) > LONGEST_NUMBER:
        return None
    return number if -LARGEST <= (number := int(text)) <= LARGEST else None


def names_too_much(value: object) -> bool:
    """Whether a part of an address is a number that no row can have."""
    text = str(value) if isinstance(value, int | str) else ""
    return bool(WHOLE.match(text)) and whole_number(text) is None


def read_json(body: bytes) -> object:
    """JSON whose texts, numbers and depth can be meant; raises Implausible."""
    try:
        found = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # a number of thousands of digits is a ValueError too
        raise Implausible("The request is not JSON.") from None
    _require(found, 0)
    return found


def _no_constant(name: str) -> float:
    raise Implausible(f"{name} is not JSON.")


def _require(value: object, depth: int) -> None:
    if depth > DEEPEST:
        raise Implausible("The JSON is nested too deeply.")
    if isinstance(value, str):
        require_text([value])
    elif isinstance(value, int | float) and not -LARGEST <= value <= LARGEST:
        raise Implausible("A number is too large.")
    elif isinstance(value, dict):
        require_text(value)
        for item in value.values():
            _require(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _require(item, depth + 1)
