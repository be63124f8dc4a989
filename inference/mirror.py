"""A head with left and right exchanged, and a network that looks at it both ways."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inference.model import DefacingNet
from inference.projections.frame import SHAPE
from inference.projections.network import SURFACES
from inference.simulate.instance import REGIONS

SWAPPED_REGIONS = [
    REGIONS.index({"left_ear": "right_ear", "right_ear": "left_ear"}.get(r, r)) for r in REGIONS
]
_SWAPPED = [SURFACES.index({"left": "right", "right": "left"}.get(v, v)) for v in SURFACES]
_ACROSS = ("front", "back", "top", "bottom")  # in these the columns run across the head


def mirrored_views(maps: Tensor, width: int) -> Tensor:
    """(B, 6, C, rows, columns) of the mirrored head; the head takes the first `width` columns of a view."""
    swapped = [maps[:, n] for n in _SWAPPED]
    for n in map(SURFACES.index, _ACROSS):
        swapped[n] = torch.cat([swapped[n][..., :width].flip(-1), swapped[n][..., width:]], dim=-1)
    return torch.stack(swapped, dim=1)


def mirrored(surfaces: Tensor, volume: Tensor) -> tuple[Tensor, Tensor]:
    """The network's input (B, 6, 6, 80, 80), (B, 64, 80, 80) of the mirrored head."""
    return mirrored_views(surfaces, SHAPE[0]), volume.flip(1)


class BothWays(nn.Module):
    """The mean of what a network says of a head and of the mirrored head: `joint`, `regions`, `valid`, `blocks`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, surfaces: Tensor, volume: Tensor) -> dict[str, Tensor]:
        """Logits as of `DefacingNet`, for (B, 6, 6, 80, 80) and (B, 64, 80, 80) bytes."""
        other = mirrored(surfaces, volume)
        out = self.model(torch.cat([surfaces, other[0]]), torch.cat([volume, other[1]]))
        plain, turned = ({k: v.unflatten(0, (2, -1))[side] for k, v in out.items()} for side in (0, 1))
        return {
            "joint": (plain["joint"] + turned["joint"]) / 2,
            "regions": (plain["regions"] + turned["regions"][:, SWAPPED_REGIONS]) / 2,
            "valid": (plain["valid"] + turned["valid"]) / 2,
            "blocks": (plain["blocks"] + turned["blocks"].flip(2)) / 2,
        }


def looks(model: DefacingNet, surfaces: Tensor, volume: Tensor) -> list[tuple[Tensor, Tensor]]:
    """What a network in use is shown of a batch: the heads and, where it looks both ways, their mirror images."""
    plain = (surfaces, volume)
    return [plain, mirrored(*plain)] if model.config.both_ways else [plain]


def looking(model: DefacingNet) -> nn.Module:
    """The network as it is used: both ways, or as it is where its config says so."""
    return BothWays(model) if model.config.both_ways else model
