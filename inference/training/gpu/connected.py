"""The largest connected thing in each of many masks, opened before, in torch on any device: as scipy finds it one by one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

WORD = 32  # samples in one int32
SEED_BLOCK = 4  # cells; divides the grid
ROUNDS = 6  # connected things looked at for the largest
SPANS = (1, 2, 4)  # cells that a flood goes at once, each twice the one before; more takes longer for a head
SWEEPS = 2  # between two looks whether a flood has ended


def largest_opened(masks: Tensor) -> Tensor:
    """(B, X, Y, Z) bool: of each mask, opened, the largest 6-connected thing."""
    return torch.cat([_largest(_opened(_packed(part)), len(part)) for part in masks.split(WORD)])


def per_sample(values: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1)."""
    return values[:, None, None, None]


def _packed(masks: Tensor) -> Tensor:
    """(B, X, Y, Z) bool -> (X, Y, Z) int32 with one bit a sample; B at most WORD."""
    bits = torch.arange(len(masks), device=masks.device, dtype=torch.int32)
    return (masks.int() << per_sample(bits)).sum(dim=0, dtype=torch.int32)


def _unpacked(words: Tensor, count: int) -> Tensor:
    """Undo `_packed`."""
    bits = torch.arange(count, device=words.device, dtype=torch.int32)
    return (words >> per_sample(bits)) & 1 != 0


def _opened(words: Tensor) -> Tensor:
    """Binary opening by the cell and its six neighbours; what is beyond the grid is empty."""
    kept = words.clone()
    for axis, count in enumerate(words.shape):
        kept.narrow(axis, 1, count - 1).bitwise_and_(words.narrow(axis, 0, count - 1))
        kept.narrow(axis, 0, count - 1).bitwise_and_(words.narrow(axis, 1, count - 1))
        kept.select(axis, 0).zero_()
        kept.select(axis, count - 1).zero_()
    out = kept.clone()
    for axis, count in enumerate(words.shape):
        out.narrow(axis, 1, count - 1).bitwise_or_(kept.narrow(axis, 0, count - 1))
        out.narrow(axis, 0, count - 1).bitwise_or_(kept.narrow(axis, 1, count - 1))
    return out


def _links(words: Tensor) -> list[tuple[int, int, Tensor]]:
    """(axis, s, bits) for s in SPANS: where a cell and the s cells after it are all set."""
    out = []
    for axis, count in enumerate(words.shape):
        link = words.narrow(axis, 0, count - 1) & words.narrow(axis, 1, count - 1)
        for span in SPANS:
            if span > 1:
                length = link.shape[axis] - span // 2
                link = link.narrow(axis, 0, length) & link.narrow(axis, span // 2, length)
            out.append((axis, span, link))
    return out


def _flooded(reached: Tensor, links: list[tuple[int, int, Tensor]]) -> Tensor:
    """All that is connected with `reached`: sweeps along the axes, up to seven cells at a time, to the end."""
    reached = reached.clone()
    while True:
        before = reached.clone()
        for _ in range(SWEEPS):
            for axis, span, link in links:
                rest = reached.shape[axis] - span
                reached.narrow(axis, span, rest).bitwise_or_(reached.narrow(axis, 0, rest) & link)
                reached.narrow(axis, 0, rest).bitwise_or_(reached.narrow(axis, span, rest) & link)
        if torch.equal(reached, before):
            return reached


def _seeds(masks: Tensor) -> Tensor:
    """(X, Y, Z) int32, one cell of each mask (B, X, Y, Z): where the mask is densest."""
    n, size = SEED_BLOCK, masks.shape[1:]
    counts = [c // n for c in size]
    dense = F.avg_pool3d(masks[:, None].float(), n)
    wide = F.avg_pool3d(dense, 3, stride=1, padding=1)
    best = torch.where(dense > 0, wide, -1.0).flatten(1).argmax(dim=1)
    x, y, z = best // (counts[1] * counts[2]), best // counts[2] % counts[1], best % counts[2]
    sample = torch.arange(len(masks), device=masks.device)
    blocks = masks.view(-1, counts[0], n, counts[1], n, counts[2], n).permute(0, 1, 3, 5, 2, 4, 6)
    cells = blocks[sample, x, y, z].flatten(1).int()
    first = cells.argmax(dim=1)
    x, y, z = x * n + first // n**2, y * n + first // n % n, z * n + first % n
    bits = cells.amax(dim=1) << sample.int()
    return torch.zeros(size, dtype=torch.int32, device=masks.device).index_put_(
        (x, y, z), bits, accumulate=True
    )


def _largest(words: Tensor, count: int) -> Tensor:
    """(B, X, Y, Z) bool: the largest 6-connected thing in each of `count` samples (X, Y, Z).

    The densest thing is flooded first, and others while what is left could hold a larger one, up to ROUNDS:
    only where a mask falls into so many large things, or the two largest are of one size, may scipy find another.
    """
    links = _links(words)
    left = _unpacked(words, count)
    out, size = torch.zeros_like(left), torch.zeros(count, dtype=torch.int64, device=words.device)
    for _ in range(ROUNDS):
        found = _unpacked(_flooded(_seeds(left), links), count)
        cells = found.sum(dim=(1, 2, 3))
        better = cells > size
        out, size = torch.where(per_sample(better), found, out), torch.where(better, cells, size)
        left = left & ~found
        left = left & per_sample(left.sum(dim=(1, 2, 3)) > size)
        if not left.any():
            break
    return out
