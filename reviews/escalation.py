"""Which plan a re-defacing follows after each kind of failure; the engines know what the names mean. Imports nothing."""

from collections.abc import Sequence

STANDARD = "standard"
LADDERS: dict[str, tuple[str, ...]] = {
    "face": ("larger", "largest", "register_anew"),
    "brain": ("smaller", "spare_brain", "register_anew"),
    "both": ("register_anew", "every_orientation", "spare_brain"),
}


def plan_after(failed_class: str, tried: Sequence[str]) -> str | None:
    """The next plan for this failure that the scan has not had; None when a person must decide."""
    return next((plan for plan in LADDERS[failed_class] if plan not in tried), None)
