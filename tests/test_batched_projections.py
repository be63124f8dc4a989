"""The renderer for many heads at once gives what the one for a single head gives."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from inference.projections import frame
from inference.projections.network_input import network_input, seen_from
from inference.regions import GRID
from inference.training.gpu import batched_frames, connected
from inference.training.simulate.deformed_head import make_instance
from inference.training.simulate.intensities import CONTRASTS, acquire, fill_removed, paint
from inference.training.simulate.masks import random_mask
from inference.training.simulate.mixtures import USUAL
from inference.training.simulate.sample import evidence_maps
from tests.heads import simple_head

FILLS = tuple(USUAL.fills)
WHOLE = tuple(slice(0, n) for n in GRID)


@dataclass
class Batch:
    """Images, their views, and two arrays of cells to look for."""

    images: np.ndarray
    views: list
    missing: np.ndarray
    left: np.ndarray


def defaced(instance, seed):
    """(image, view, missing, left) of a head defaced at random, with a filling by turns."""
    rng = np.random.default_rng(seed)
    image = acquire(paint(instance, rng, CONTRASTS)[1], rng)
    share = np.broadcast_to(random_mask(instance, rng)[1], GRID)
    only = replace(USUAL, fills={FILLS[seed % len(FILLS)]: 1.0})
    image = fill_removed(image, share, instance, rng, only)[1]
    low, high = rng.integers(0, 16, (2, 3)) * (seed % 4 > 0)  # one in four is seen whole
    view = tuple(slice(int(a), n - int(b)) for a, b, n in zip(low, high, GRID, strict=True))
    region = instance.regions["eyes"] | instance.regions["nose"] | instance.regions["mouth"]
    return image, view, instance.brain * share > 0.5, region & (share < 0.5)


@pytest.fixture(scope="module")
def batch():
    head = simple_head()
    instances = [make_instance(head, np.random.default_rng(n)) for n in range(2)]
    made = [defaced(instances[n % 2], n) for n in range(14)]
    made.append((np.full(GRID, 0.5, np.float32), WHOLE, *made[0][2:]))  # no contrast at all
    noise = np.random.default_rng(1).random(GRID, dtype=np.float32)
    made.append((noise, (slice(3, 76), *WHOLE[1:]), *made[0][2:]))
    images, views, missing, left = zip(*made, strict=True)
    return Batch(np.stack(images), list(views), np.stack(missing), np.stack(left))


@pytest.fixture(scope="module")
def one_by_one(batch):
    return [
        frame.head_frame(image[view], (frame.VOXEL_MM,) * 3)
        for image, view in zip(batch.images, batch.views, strict=True)
    ]


@pytest.fixture(scope="module")
def together(batch):
    return batched_frames.frames(torch.from_numpy(batch.images), batch.views)


def test_heads_are_found_and_placed_alike(batch, one_by_one, together):
    for index, (alone, view) in enumerate(zip(one_by_one, batch.views, strict=True)):
        start = tuple(o + v.start for o, v in zip(alone.origin, view, strict=True))
        assert together.starts[index] == start
        np.testing.assert_array_equal(together.head[index].numpy(), alone.head)
        np.testing.assert_allclose(together.data[index].numpy(), alone.data, atol=1e-6)
        assert float(together.air[index]) == pytest.approx(alone.air, abs=1e-6)
    assert sum(alone.head.any() for alone in one_by_one) >= 14


def test_projections_are_alike(one_by_one, together):
    surfaces, volumes = batched_frames.network_inputs(together)
    alone = [network_input(f) for f in one_by_one]
    off = np.abs(volumes.numpy().astype(int) - np.stack([a.volume for a in alone]))
    assert off.max() <= 1
    assert (off == 0).mean() > 0.999
    off = np.abs(surfaces.numpy().astype(int) - np.stack([a.surfaces for a in alone]))
    assert (off[:, :, 0] <= 1).mean() > 0.999
    assert (off == 0).mean() > 0.999


def test_evidence_is_alike(batch, one_by_one, together):
    missing, left = (
        batched_frames.cropped(torch.from_numpy(cells), together.starts)
        for cells in (batch.missing, batch.left)
    )
    maps = batched_frames.evidence_maps(missing, left, together).numpy()
    for index, alone in enumerate(one_by_one):
        pair = missing[index].numpy(), left[index].numpy()
        np.testing.assert_array_equal(maps[index], evidence_maps(*pair, alone))
    assert maps[:, :, 0].any()
    assert maps[:, :, 1].any()


def test_crops_fill_what_lies_outside():
    grids = np.random.default_rng(0).random((2, 3, *GRID), dtype=np.float32)
    starts = [(-5, 3, 20), (9, 30, -70)]
    cut = batched_frames.cropped(torch.from_numpy(grids), starts, fill=2.0).numpy()
    for index, start in enumerate(starts):
        for part in range(3):
            np.testing.assert_array_equal(cut[index, part], frame.crop(grids[index, part], start, 2.0))


@pytest.mark.parametrize("view", batched_frames.SURFACES)
def test_views_turn_alike(view):
    volume = np.arange(np.prod(frame.SHAPE)).reshape(frame.SHAPE)
    turned = batched_frames._turned(torch.from_numpy(volume)[None], view)[0].numpy()
    np.testing.assert_array_equal(turned, seen_from(volume, view))


def test_more_heads_than_bits_in_a_word(batch, together, monkeypatch):
    monkeypatch.setattr(connected, "WORD", 3)
    some = [5, 0, 14, 9]
    many = batched_frames.frames(torch.from_numpy(batch.images[some]), [batch.views[n] for n in some])
    assert many.starts == [together.starts[n] for n in some]
    assert torch.equal(many.head, together.head[some])


def test_all_bits_of_a_word_are_told_apart():
    cells = torch.from_numpy(np.random.default_rng(3).random((connected.WORD, 4, 5, 6)) < 0.5)
    assert torch.equal(connected._unpacked(connected._packed(cells), connected.WORD), cells)
    grown = torch.zeros((connected.WORD, *GRID), dtype=torch.bool)
    grown[:, 3:9, 3:9, 3:9] = True
    assert torch.equal(connected._largest(connected._packed(grown), connected.WORD), grown)


def test_the_largest_thing_need_not_be_the_densest():
    cells = np.zeros((2, *GRID), bool)
    cells[:, 10:22, 10:22, 10:22] = True  # a block, and a thin sheet with more cells
    cells[:, 40:43] = True
    cells[1, 40:43] = False
    words = connected._packed(torch.from_numpy(cells))
    found = connected._largest(words, 2).numpy()
    assert found[0].sum() == 3 * 92 * 92
    assert found[1].sum() == 12**3
