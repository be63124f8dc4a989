"""Facts in words: the one place where problems and reasons, kept as codes with numbers, become sentences."""

from collections.abc import Callable, Iterable

from inference.problems import DETAILS, Problem, code_of
from inference.triage import Reason

REGIONS = {name: name.replace("_", " ") for name in ("eyes", "nose", "mouth", "left_ear", "right_ear")}
NOT_LOCATED = "brain and face could not be located in the original: "
PROBLEMS: dict[str, Callable[[Problem], str]] = {
    "brain_removed": lambda p: f"{p['ml']:.1f} ml of brain removed",
    "region_left": lambda p: (
        f"{REGIONS.get(p['region'], p['region'])} still there ({p['share']:.0%} of the surface)"
    ),
    "class_measured": lambda p: f"measured against the original: {p['class']}",
    "unchanged": lambda p: "the output is identical to the original",
    "voxels_changed": lambda p: (
        f"geometry changed: {_size(p['before'])} voxels before, {_size(p['after'])} after"
    ),
    "voxel_size_changed": lambda p: "geometry changed: the voxel size is another one",
    "place_changed": lambda p: "geometry changed: position or orientation in the header is another one",
    "axes_changed": lambda p: "geometry changed: the axes are stored in another order",
    "range_shrank": lambda p: "the range of values shrank: intensities were lost",
    "another_image": lambda p: "most of the head was changed: another image, or a resampled one",
    "skull_stripped": lambda p: "skull-stripped: the scalp behind and above the face was removed too",
    "brain_finder_missing": lambda p: f"{NOT_LOCATED}deepbet is not installed ({p['error']})",
    "brain_not_found": lambda p: f"{NOT_LOCATED}no brain was found ({p['error']})",
    "brain_not_whole": lambda p: f"{NOT_LOCATED}no whole brain was found ({p['ml']:.0f} ml)",
    "brain_shape_off": lambda p: (
        f"{NOT_LOCATED}what was found does not have the shape of a brain ({p['mm']:.1f} mm off)"
    ),
}
REASONS = {
    Reason.CONFIDENT_PASS: "The model is confident that this passes.",
    Reason.CONFIDENT_FAIL: "The model is confident that this fails.",
    Reason.BETWEEN_CUTOFFS: "The model is not confident enough either way.",
    Reason.NO_PREDICTION: "The model gave no prediction.",
    Reason.BAD_PROBABILITIES: "The model's probabilities are missing, not finite or do not add up to one.",
    Reason.CLASS_ORDER_MISMATCH: "The model's classes are not those of this software.",
    Reason.RENDER_VERSION_MISMATCH: "The pictures were made by another renderer version than the model's.",
    Reason.OUT_OF_DISTRIBUTION: "The scan does not look like what the model was made for.",
    Reason.PHYSICAL_CHECK: "A measurement against the original found a problem.",
}


def problem_words(found: Problem | str) -> str:
    """One stored problem in words: a sentence from before there were codes as it is, what has no words by its names."""
    if isinstance(found, str):
        return found
    code = code_of(found)
    if code in PROBLEMS and DETAILS[code] <= found.keys():
        return PROBLEMS[code](found)
    return ", ".join(f"{name} {value}" for name, value in found.items())


def problems_words(found: Iterable[Problem | str]) -> list[str]:
    """Stored problems in words, in their order."""
    return [problem_words(one) for one in found]


def problem_codes(found: Iterable[Problem | str]) -> list[Problem]:
    """Stored problems for machines; an older sentence has the code 'text'."""
    return [{"code": "text", "text": one} if isinstance(one, str) else one for one in found]


def reason_words(reason: str) -> str:
    """Why triage chose the route; nothing for what is no reason."""
    return REASONS[Reason(reason)] if reason in Reason._value2member_map_ else ""


def _size(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))
