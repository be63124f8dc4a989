"""What counts as a failure: the limits on measured quantities, and the class that follows. One definition.

brain: ml removed inside the brain mask of the original, eroded by 1 mm.
face: share of the original's surface in a region (eyes, nose, mouth; ears where the standard asks) still there.
Where a field of view ends above nose and mouth, eyes that are left are ambiguous: a person says whether that is a face.
Between a clear pass and a clear failure lies a band that is ambiguous: neither trained nor scored as if clear.
"""

from __future__ import annotations

from collections.abc import Mapping

from inference.problems import Problem, problem

CLASSES = ("pass", "face", "brain", "both")
FACE_REGIONS = ("eyes", "nose", "mouth")
EAR_REGIONS = ("left_ear", "right_ear")
BRAIN_CLEAR_ML, BRAIN_LIMIT_ML, BRAIN_SURE_ML = 0.5, 1.0, 2.0
WHOLE_BRAIN_ML = (600.0, 2300.0)  # a mask of another size is not the brain of a person
KEPT_CLEAR, KEPT_LIMIT, KEPT_SURE = 0.35, 0.50, 0.65


def plausible_brain(ml: float) -> bool:
    """Whether what was found in a head can be a whole brain, by its size."""
    return WHOLE_BRAIN_ML[0] <= ml <= WHOLE_BRAIN_ML[1]


def side_of(value: float, clear: float, sure: float) -> bool | None:
    """False at or below `clear`, True at or above `sure`, None between them."""
    if value <= clear:
        return False
    return True if value >= sure else None


def brain_removed(ml: float) -> bool | None:
    """Whether brain was removed; None where the amount is ambiguous."""
    return side_of(ml, BRAIN_CLEAR_ML, BRAIN_SURE_ML)


def regions_remain(kept: Mapping[str, float | None], regions: tuple[str, ...]) -> bool | None:
    """Whether any of `regions` remains: one that surely does decides, else one that is ambiguous."""
    sides = [side_of(v, KEPT_CLEAR, KEPT_SURE) for r in regions if (v := kept.get(r)) is not None]
    if True in sides:
        return True
    return None if None in sides else False


def face_remains(kept: Mapping[str, float | None], *, ears: bool = False) -> bool | None:
    """Whether something recognisable remains under the standard; regions out of view do not count.

    Where neither nose nor mouth is in view, eyes that are left are ambiguous.
    """
    beside = EAR_REGIONS if ears else ()
    remains = regions_remain(kept, FACE_REGIONS + beside)
    eyes_alone = all(kept.get(r) is None for r in ("nose", "mouth"))
    return None if remains and eyes_alone and not regions_remain(kept, beside) else remains


def still_there(kept: Mapping[str, float | None], regions: tuple[str, ...]) -> list[Problem]:
    """Those of the regions that are left."""
    shares = {name: share for name in regions if (share := kept.get(name)) is not None}
    return [
        problem("region_left", region=name, share=float(share))
        for name, share in shares.items()
        if share >= KEPT_LIMIT
    ]


def class_name(face: bool, brain: bool) -> str:
    """The class of two answers."""
    return CLASSES[int(face) + 2 * int(brain)]


def class_of(brain_ml: float, kept: Mapping[str, float | None], *, ears: bool = False) -> str | None:
    """One of the four classes, or None where either answer is ambiguous."""
    face, brain = face_remains(kept, ears=ears), brain_removed(brain_ml)
    return None if face is None or brain is None else class_name(face, brain)
