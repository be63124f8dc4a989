"""The working frame and the projections of many heads at once, in torch, on any device.

What `frame.head_frame` at 3 mm, `network.network_input` and `simulate.sample.evidence_maps` make of one head in
numpy is made here of a batch. Placement and head mask are the same; bytes may differ by one where a power or a
mean is rounded another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from inference.projections.frame import MARGIN_MM, SHAPE, UPPER_HEAD_MM, VOXEL_MM
from inference.projections.network_input import (
    BYTES_PER_MEDIAN,
    GAMMA,
    LAYERS,
    PEELS_MM,
    POOL,
    SIDE,
    SURFACES,
)
from inference.training.gpu.connected import largest_opened, per_sample

Corner = tuple[int, int, int]
View = tuple[slice, slice, slice]

BINS = 128
# How each view turns (B, x, y, z): flipped axes, then the order (away from the viewer, row, column).
_TURNS = {
    "front": ((2, 3), (2, 3, 1)),
    "back": ((3,), (2, 3, 1)),
    "left": ((2, 3), (1, 3, 2)),
    "right": ((1, 2, 3), (1, 3, 2)),
    "top": ((2, 3), (3, 2, 1)),
    "bottom": ((2,), (3, 2, 1)),
}


@dataclass(frozen=True)
class Frames:
    """Heads in the working frame, as `frame.HeadFrame`.

    data: (B, 64, 80, 80) float32. head: (B, 64, 80, 80) bool. air: (B,) float32.
    starts: corner of each frame in the grid of the whole images (may be negative).
    """

    data: Tensor
    head: Tensor
    air: Tensor
    starts: list[Corner]


def _sorted_half(images: Tensor, bounds: Tensor) -> Tensor:
    """(B, n) ascending: every second cell of each view along each axis; ends with inf where a view is smaller."""
    indices, inside = [], []
    for axis, count in enumerate(images.shape[1:]):
        at = bounds[:, axis, :1] + 2 * torch.arange((count + 1) // 2, device=images.device)
        inside.append(at < bounds[:, axis, 1:])
        indices.append(at.clamp(max=count - 1))
    x, y, z = indices
    sample = torch.arange(len(images), device=images.device)
    half = images[per_sample(sample), x[:, :, None, None], y[:, None, :, None], z[:, None, None, :]]
    x, y, z = inside
    half = half.masked_fill(~(x[:, :, None, None] & y[:, None, :, None] & z[:, None, None, :]), torch.inf)
    return half.flatten(1).sort(dim=1).values


def _percentile(ascending: Tensor, counts: Sequence[int], percent: float) -> Tensor:
    """(B,) float32 percentiles of the first `counts` of each row, between two values linearly, as numpy."""
    at = [(n - 1) * (percent / 100) for n in counts]
    low = torch.tensor([int(a) for a in at], device=ascending.device)[:, None]
    part = [a - int(a) for a in at]
    weight = ascending.new_tensor([p if p < 0.5 else 1 - p for p in part])
    upper = torch.tensor([p >= 0.5 for p in part], device=ascending.device)
    last = torch.tensor(counts, device=ascending.device)[:, None] - 1
    first, second = (ascending.gather(1, torch.minimum(low + n, last))[:, 0] for n in (0, 1))
    step = (second - first) * weight
    return torch.where(upper, second - step, first + step)


def _otsu(ascending: Tensor, counts: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(B,) float64: `frame.otsu` of the first `counts` values of each row, clipped to `low` and `high`."""
    step = (high - low)[:, None] / BINS
    edges = torch.arange(BINS + 1, device=low.device, dtype=torch.float32) * step + low[:, None]
    edges[:, -1] = high
    below = torch.searchsorted(ascending, edges.contiguous())
    below[:, 0], below[:, -1] = 0, counts  # clipped values lie in the first and the last bin
    filled = below.diff(dim=1)
    centres = ((edges[:, :-1] + edges[:, 1:]) / 2).double()
    weight = below[:, 1:]
    total = (filled * centres).cumsum(dim=1)
    rest = counts[:, None] - weight
    between = weight * rest * (total / weight - (total[:, -1:] - total) / rest) ** 2
    # An empty bin has the value of the bin before it, but for the order in which a device adds up.
    between = torch.where(between.isfinite() & (filled > 0), between, -1.0)
    return centres.gather(1, between.argmax(dim=1, keepdim=True))[:, 0]


def _median(images: Tensor, masks: Tensor) -> Tensor:
    """(B,) medians of the cells in the masks; 0 where a mask is empty."""
    count = masks.sum(dim=(1, 2, 3))
    inside = images[masks].split(count.tolist())
    ascending = (
        pad_sequence([F.pad(cells, (0, 1), value=torch.inf) for cells in inside], True, torch.inf)
        .sort(dim=1)
        .values
    )
    ranks = torch.stack([(count - 1).clamp(min=0) // 2, count // 2], dim=1)
    return torch.where(count > 0, ascending.gather(1, ranks).sum(dim=1) / 2, 0.0)


def _first(profiles: Tensor, least: float) -> Tensor:
    """(B,) the first index of each (B, n) whose value reaches `least`, or of the largest value."""
    above = profiles >= least
    return torch.where(above.any(dim=1, keepdim=True), above.double(), profiles).argmax(dim=1)


def _anchors(masks: Tensor, views: Sequence[View]) -> list[Corner]:
    """`frame.anchor` of each mask (B, X, Y, Z), in the grid of the whole images."""
    cell = VOXEL_MM**2 / 100  # cm2
    side, front = masks.sum(dim=1), masks.sum(dim=2)  # (B, y, z), (B, x, z)
    per_slice = side.sum(dim=1) * cell
    count = per_slice.shape[1]
    top = count - 1 - _first(per_slice.double().flip(1), 15.0)
    z = torch.arange(count, device=masks.device)
    upper = ((z <= top[:, None]) & (z >= top[:, None] - round(UPPER_HEAD_MM / VOXEL_MM)))[:, None]
    back = _first((side * upper).sum(dim=2).double() * cell, 10.0)
    across = ((front * upper).sum(dim=2).double() * cell >= 5.0).int()
    left, right = across.argmax(dim=1), across.shape[1] - 1 - across.flip(1).argmax(dim=1)
    empty = per_slice.sum(dim=1) == 0
    found = torch.stack(
        [empty, top, back, across.any(dim=1), left, right], dim=1
    ).tolist()  # to the host, once
    margin = round(MARGIN_MM / VOXEL_MM)
    out: list[Corner] = []
    for (nothing, vertex, rear, wide, first, last), view in zip(found, views, strict=True):
        start = [v.start for v in view]
        sizes = [v.stop - v.start for v in view]
        if nothing:
            x, y, z_ = (a + (n - s) // 2 for a, n, s in zip(start, sizes, SHAPE, strict=True))
        else:
            middle = (first + last + 1) / 2 - start[0] if wide else sizes[0] / 2
            x = round(middle - SHAPE[0] / 2) + start[0]  # rounds as seen from the view
            y, z_ = rear - margin, vertex + 1 + margin - SHAPE[2]
        out.append((x, y, z_))
    return out


def cropped(grids: Tensor, starts: Sequence[Corner], fill: float | bool = 0) -> Tensor:
    """(B, ..., X, Y, Z) -> (B, ..., 64, 80, 80): cut out as `frame.crop`, each at its start."""
    out = grids.new_full((*grids.shape[:-3], *SHAPE), fill)
    for index, corner in enumerate(starts):
        source, target = [], []
        for start, size, count in zip(corner, SHAPE, grids.shape[-3:], strict=True):
            first, last = max(0, start), min(count, start + size)
            source.append(slice(first, max(first, last)))
            target.append(slice(first - start, max(first, last) - start))
        out[index][..., target[0], target[1], target[2]] = grids[index][..., source[0], source[1], source[2]]
    return out


def frames(images: Tensor, views: Sequence[View]) -> Frames:
    """`frame.head_frame` of each image's view; images (B, 76, 92, 92) float32, cells of 3 mm."""
    shape = images.shape[1:]
    views = [tuple(slice(*v.indices(n)[:2]) for v, n in zip(view, shape, strict=True)) for view in views]  # type: ignore[misc]
    device = images.device
    bounds = torch.tensor([[[v.start, v.stop] for v in view] for view in views], device=device)
    counts = [1] * len(views)
    for axis in range(3):
        counts = [c * ((v[axis].stop - v[axis].start + 1) // 2) for c, v in zip(counts, views, strict=True)]
    ascending = _sorted_half(images, bounds)
    low, high = _percentile(ascending, counts, 1), _percentile(ascending, counts, 99.5)
    clear = high > low
    dark = low.double()  # thresholds are found in double precision, as the one-head way does
    level = _otsu(ascending, torch.tensor(counts, device=device), low, high)
    threshold = torch.where(clear, dark + 0.45 * (level - dark), dark)
    x, y, z = (
        (at >= bounds[:, axis, :1]) & (at < bounds[:, axis, 1:])
        for axis, at in enumerate(torch.arange(n, device=device) for n in shape)
    )
    in_view = x[:, :, None, None] & y[:, None, :, None] & z[:, None, None, :]
    above = (images > per_sample(threshold.float())) & in_view & per_sample(clear)
    masks = largest_opened(above)
    scale = _median(images, masks).double() - dark
    scale = torch.where(masks.flatten(1).any(dim=1) & (scale > 0), scale, 1.0)
    starts = _anchors(masks, views)
    data = ((cropped(images, starts) - per_sample(low)) / per_sample(scale.float())).clamp(0, 4) * cropped(
        in_view, starts
    )
    return Frames(
        data=data, head=cropped(masks, starts), air=((threshold - dark) / scale).float(), starts=starts
    )


def _turned(volumes: Tensor, view: str) -> Tensor:
    """`network.seen_from` of (B, 64, 80, 80)."""
    flips, order = _TURNS[view]
    return volumes.flip(flips).permute(0, *order)


def _crossing(seen: Tensor, solid: Tensor, air: Tensor) -> tuple[Tensor, Tensor]:
    """`network.crossing`: depth (B, rows, columns) float32 and whether a ray meets the head."""
    count = seen.shape[1]
    at = torch.arange(count, device=seen.device, dtype=torch.int16)[:, None, None]
    hit = torch.where(solid, at, count).amin(dim=1).long()
    there = hit < count
    hit = torch.where(there, hit, 0)[:, None]
    inner = seen.gather(1, hit)[:, 0]
    outer = seen.gather(1, (hit - 1).clamp(min=0))[:, 0]
    hit = hit[:, 0]
    step = (inner - air[:, None, None]) / (inner - outer).clamp(min=1e-6)
    step = torch.where((hit > 0) & (inner > outer), step, 0.0)
    return hit - step.clamp(0, 1), there


def _as_bytes(data: Tensor) -> Tensor:
    """`network.as_bytes`."""
    return (data.pow(GAMMA) * BYTES_PER_MEDIAN).clamp(0, 255).to(torch.uint8)


def _surface_view(seen: Tensor, depth: Tensor, there: Tensor) -> Tensor:
    """`network.surface_view`: (B, 6, 80, 80) uint8."""
    rows, columns = depth.shape[1:]
    start = depth.floor()
    fraction = (depth - start)[:, None]
    cells = start.long()[:, None] + torch.arange(8, device=seen.device)[:, None, None]
    samples = seen.gather(1, cells.clamp(max=seen.shape[1] - 1))
    beneath = samples[:, 1:] * fraction + samples[:, :-1] * (1 - fraction)
    steps = (beneath[:, :-1] + beneath[:, 1:]) / 2
    peels = [steps[:, first // 3 : last // 3].mean(dim=1) for first, last in PEELS_MM]
    layers = torch.cat(
        [(255 - depth * 3).to(torch.uint8)[:, None], _as_bytes(torch.stack(peels, dim=1))], dim=1
    )
    out = seen.new_zeros((len(seen), LAYERS, SIDE, SIDE), dtype=torch.uint8)
    out[:, :, :rows, :columns] = layers * there[:, None]
    return out


def network_inputs(frames: Frames) -> tuple[Tensor, Tensor]:
    """`network.network_input` of each: surfaces (B, 6, 6, 80, 80) uint8, volumes (B, 64, 80, 80) uint8."""
    surfaces = []
    for view in SURFACES:
        seen = _turned(frames.data, view)
        surfaces.append(_surface_view(seen, *_crossing(seen, _turned(frames.head, view), frames.air)))
    return torch.stack(surfaces, dim=1), _as_bytes(frames.data)


def evidence_maps(missing: Tensor, left: Tensor, frames: Frames) -> Tensor:
    """(B, 6, 2, 10, 10) bool, `simulate.sample.evidence_maps` of each; inputs (B, 64, 80, 80) bool."""
    maps = []
    for view in SURFACES:
        depth, there = _crossing(_turned(frames.data, view), _turned(frames.head, view), frames.air)
        reach = torch.where(there, depth + 2, 999.0)[:, None]
        for cells in (missing, left):
            seen = _turned(cells, view)
            at = torch.arange(seen.shape[1], device=seen.device)[:, None, None]
            shown = (seen & (at <= reach)).any(dim=1)
            padded = F.pad(shown, (0, SIDE - shown.shape[2], 0, SIDE - shown.shape[1]))
            maps.append(padded.view(-1, SIDE // POOL, POOL, SIDE // POOL, POOL).any(dim=4).any(dim=2))
    return torch.stack(maps, dim=1).unflatten(1, (len(SURFACES), 2))
