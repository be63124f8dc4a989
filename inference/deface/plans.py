"""What a defacing plan means: a mask, the starts of the registration, and whether the head's own brain is spared."""

from dataclasses import asdict, dataclass

from inference.deface.template import MaskShape


@dataclass(frozen=True)
class Plan:
    """Parameters of one run. `spare_brain_mm` keeps off the brain found in the head itself, in mm.

    `shift_mm` (right, front, up) and `tilt_deg` (towards the forehead) misplace the mask on purpose: studies and tests of
    the checks use them, no plan in PLANS does.
    """

    name: str
    mask: MaskShape
    starts: tuple[str, ...] = ("header",)
    spare_brain_mm: float | None = None
    shear_margin_mm: float = 10.0  # quickshear's distance of the cutting plane from the brain
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tilt_deg: float = 0.0

    def parameters(self) -> dict:
        """Everything that shaped the run, for the record."""
        return asdict(self)


FACE = MaskShape(up_mm=16, brain_margin_mm=5)
WIDE = MaskShape(up_mm=22, back_mm=12, brain_margin_mm=3, ears=True)
WIDEST = MaskShape(up_mm=28, back_mm=20, brain_margin_mm=1, ears=True)
NARROW = MaskShape(up_mm=12, brain_margin_mm=12)

SEARCH = ("header", "centre_of_mass", "other_costs", "likely_turns")

PLANS = {
    plan.name: plan
    for plan in (
        Plan("standard", FACE),
        Plan("larger", WIDE, shear_margin_mm=5),
        Plan("largest", WIDEST, ("header", "centre_of_mass", "other_costs"), shear_margin_mm=2),
        Plan("smaller", NARROW, shear_margin_mm=16),
        Plan("spare_brain", FACE, ("header", "centre_of_mass"), spare_brain_mm=4, shear_margin_mm=20),
        Plan("register_anew", FACE, SEARCH),
        Plan("every_orientation", FACE, ("header", "other_costs", "quarter_turns")),
    )
}
