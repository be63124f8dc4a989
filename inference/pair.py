"""A pair (original, defaced) examined once: measurements to keep, problems to tell, the brain for the pictures."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from inference.anatomy import AnatomyError, find_anatomy, stored_anatomy
from inference.measure import class_of, measure
from inference.storage import plain
from inference.truth import EAR_REGIONS, still_there
from inference.volumes import Volume


@dataclass(frozen=True)
class Examined:
    """`measurements` as JSON can hold them; `problems` in words; `brain` (X, Y, Z) bool of the original or None."""

    measurements: dict = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    brain: np.ndarray | None = None


def examine(original: Volume, defaced: Volume, *, ears: bool, anatomy_file: Path | None = None) -> Examined:
    """The physical checks, under a standard with or without ears; any failing class is a problem.

    anatomy_file: where brain and landmarks of this original are kept from one attempt to the next; None keeps nothing.
    """
    try:
        anatomy = stored_anatomy(original, anatomy_file) if anatomy_file else find_anatomy(original)
    except AnatomyError:
        anatomy = None  # measuring says what that means
    found = measure(original, defaced, anatomy)
    klass = class_of(found, ears=ears)
    problems = [str(problem) for problem in found.problems]
    problems += still_there(found.kept, EAR_REGIONS) if ears else []
    if klass not in (None, "pass") and not problems:
        problems.append(f"measured against the original: {klass}")
    brain = anatomy.brain if anatomy is not None and anatomy.brain.shape == defaced.data.shape else None
    return Examined({**plain(asdict(found)), "class": klass}, problems, brain)
