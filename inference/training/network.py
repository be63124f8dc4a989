"""The CNN: surface views through a 2-D encoder, the whole head through a small 3-D one, fused into the answers.

The 3-D part draws, for every block of 12 mm, where brain is missing and where each region of the face is left or gone.
It is trained on where the evidence lies, not only on what follows from it; the answers are read from these maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inference.projections.network_input import CELLS, LAYERS, PARTS, SIDE, SURFACES
from inference.test_time_mirror import looks, together

ATTRIBUTES = ("face", "ears", "brain")
REGION_COUNT = 5
RARE = -4.5  # the logit from which the maps start: nearly every block is empty


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network.

    fine: a convolution at 6 mm more.
    both_ways: the network in use looks at a head and at its mirror image (`mirror.looks`).
    """

    widths: tuple[int, int, int] = (40, 80, 112)
    view_features: int = 32
    stem: int = 16
    blocks: int = 48
    deep: int = 128
    hidden: int = 192
    dropout: float = 0.2
    fine: bool = False
    both_ways: bool = True

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> ModelConfig:
        """From what JSON can hold; what is missing has its default."""
        sizes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        if sizes.get("extra") == 0:  # older weights name this size, which no network had
            del sizes["extra"]
        return cls(**sizes)


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


def down(inputs: int, outputs: int) -> nn.Sequential:
    """A convolution that halves the resolution."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class SurfaceEncoder(nn.Module):
    """Surface views -> features and evidence maps; each view knows its place by a learnt map."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        low, middle, high = config.widths
        self.stem = nn.Sequential(  # overlapping patches of 8 x 8, one every 4
            nn.Conv2d(LAYERS, low, 8, stride=4, padding=2, bias=False), nn.BatchNorm2d(low), nn.ReLU(), Residual(low)
        )  # fmt: skip
        self.place = nn.Parameter(torch.zeros(len(SURFACES), middle, SIDE // 8, SIDE // 8))
        self.enter = down(low, middle)
        self.body = Residual(middle)
        self.evidence = nn.Conv2d(middle, 2, 1)
        self.leave = down(middle, high)
        self.project = nn.Linear(2 * high, config.view_features)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        batch, views = x.shape[:2]  # x: (B, V, 6, 80, 80)
        x = self.enter(self.stem(x.flatten(0, 1)))  # (B*V, middle, 10, 10)
        x = x.unflatten(0, (batch, views)) + self.place
        x = self.body(x.flatten(0, 1))
        maps = self.evidence(x)  # (B*V, 2, 10, 10)
        x = self.leave(x).flatten(2)  # (B*V, high, 25)
        x = self.project(torch.cat([x.mean(2), x.amax(2)], dim=1))
        strongest = maps.flatten(2).amax(2)  # (B*V, 2)
        features = torch.cat([x, strongest], dim=1).unflatten(0, (batch, views))
        return features.flatten(1), maps.unflatten(0, (batch, views))


def conv3d(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, normalisation, ReLU; the resolution is divided by `stride`."""
    padding = (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU(),
    )


class Bottleneck(nn.Module):
    """A 3x3x3 convolution of half the width beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv3d(width, width // 2, 1), conv3d(width // 2, width // 2, 3),
            nn.Conv3d(width // 2, width, 1, bias=False), nn.BatchNorm3d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


def doubled(coarse: Tensor) -> Tensor:
    """(B, C, X, Y, Z) -> (B, C, 2X, 2Y, 2Z), every cell eight times; what stands for this in ONNX is slow."""
    if not torch.onnx.is_in_onnx_export():
        return nn.functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
    for axis in (-1, -2, -3):
        coarse = coarse.index_select(axis, torch.arange(2 * coarse.shape[axis]) // 2)
    return coarse


class VolumeEncoder(nn.Module):
    """The whole head -> maps of blocks of 12 mm, and features of the head as a whole."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, deep = config.blocks, config.deep
        # no normalisation at full resolution: it would cost more than the convolution
        self.stem = nn.Sequential(nn.Conv3d(1, config.stem, 4, stride=2, padding=1), nn.ReLU())
        self.fine = nn.Conv3d(config.stem, config.stem, 3, padding=1) if config.fine else None
        self.enter = conv3d(config.stem, width, 3, 2)
        self.place = nn.Parameter(torch.zeros(width, *CELLS))
        self.before = Bottleneck(width)
        self.leave = conv3d(width, deep, 3, 2)
        self.middle = nn.Sequential(Bottleneck(deep), Bottleneck(deep))
        self.back = nn.Conv3d(deep, width, 1)
        self.after = Bottleneck(width)
        self.maps = nn.Conv3d(width, len(PARTS), 1)
        nn.init.constant_(self.maps.bias, RARE)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)  # (B, stem, 32, 40, 40)
        if self.fine is not None:
            x = torch.relu(x + self.fine(x))
        x = self.enter(x) + self.place  # (B, width, 16, 20, 20)
        x = self.before(x)
        deep = self.middle(self.leave(x))  # (B, deep, 8, 10, 10)
        x = self.after(x + doubled(self.back(deep)))
        maps = self.maps(x)  # (B, 10, 16, 20, 20)
        deep = deep.flatten(2)
        return maps, torch.cat([deep.mean(2), deep.amax(2)], dim=1)


def readings(maps: Tensor) -> Tensor:
    """(B, 10, 16, 20, 20) logits -> (B, 34): of every part how much and how clearly, of every region the share left."""
    chance = maps.float().sigmoid()
    firm = (
        (chance * chance).flatten(2).sum(2)
    )  # squared: what is nearly nothing everywhere adds up to nothing
    half = CELLS[0] // 2
    sides = (
        (chance[:, -2:] * chance[:, -2:]).unflatten(2, (2, half)).flatten(3).sum(3)
    )  # (B, 2, 2): ears by side
    left = torch.cat([firm[:, 2::2][:, :3], sides[:, 0]], dim=1)
    gone = torch.cat([firm[:, 3::2][:, :3], sides[:, 1]], dim=1)
    parts = [torch.log(firm + 0.02), maps.float().flatten(2).amax(2).clamp(min=-8) / 4, left / (left + gone + 0.05),
             torch.log(left + gone + 0.02), torch.log(left + 0.02)[:, 3:], torch.log(gone + 0.02)[:, 3:]]  # fmt: skip
    return torch.cat(parts, dim=1)


READINGS = 2 * len(PARTS) + 2 * REGION_COUNT + 4


class DefacingNet(nn.Module):
    """bytes in, logits out.

    forward(surfaces (B, 6, 6, 80, 80) uint8, volume (B, 64, 80, 80) uint8) ->
    joint (B, 8): index face + 2 * ears + 4 * brain; regions (B, 5); amount (B,) log1p of ml of brain removed;
    valid (B,): is this a head at all; evidence (B, 6, 2, 10, 10): brain missing, face left, in the surface views;
    blocks (B, 10, 16, 20, 20): the shares of PARTS in every block of 12 mm.
    """

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or ModelConfig()
        self.surfaces = SurfaceEncoder(self.config)
        self.volume = VolumeEncoder(self.config)
        self.context = nn.Sequential(nn.Linear(2 * self.config.deep, 64), nn.ReLU())
        count = len(SURFACES) * (self.config.view_features + 2) + 64 + READINGS
        self.fuse = nn.Sequential(
            nn.Linear(count, self.config.hidden), nn.ReLU(), nn.Dropout(self.config.dropout),
            nn.Linear(self.config.hidden, self.config.hidden // 2), nn.ReLU(),
        )  # fmt: skip
        self.answers = nn.Linear(self.config.hidden // 2, 8 + REGION_COUNT + 2)

    def features(self, surfaces: Tensor, volume: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """((B, F) what the last layers see, (B, 6, 2, 10, 10) maps of the surfaces, (B, 10, 16, 20, 20) blocks)."""
        outer, outer_maps = self.surfaces(surfaces.float() / 128 - 1)
        blocks, deep = self.volume(volume.float().unsqueeze(1) / 128 - 1)
        features = torch.cat([outer.float(), self.context(deep).float(), readings(blocks)], dim=1)
        return features, outer_maps, blocks

    def forward(self, surfaces: Tensor, volume: Tensor) -> dict[str, Tensor]:
        features, outer_maps, blocks = self.features(surfaces, volume)
        answers = self.answers(self.fuse(features))
        return {
            "joint": answers[:, :8],
            "regions": answers[:, 8 : 8 + REGION_COUNT],
            "amount": answers[:, -2],
            "valid": answers[:, -1],
            "evidence": outer_maps,
            "blocks": blocks,
        }


def as_used(model: DefacingNet, surfaces: Tensor, volume: Tensor) -> dict[str, Tensor]:
    """What the network in use says of a batch: `joint`, `regions`, `valid`, `blocks`, from both ways or one."""
    shown = looks(surfaces, volume, both_ways=model.config.both_ways)
    answers = model(*(torch.cat(parts) for parts in zip(*shown, strict=True)))
    return together(
        [{k: v.unflatten(0, (len(shown), -1))[n] for k, v in answers.items()} for n in range(len(shown))]
    )
