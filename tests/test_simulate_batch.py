"""Attempts made many at once on a device are those of `sample.simulate`: masks, fillings, truth, one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.projections.frame import SHAPE, head_frame
from inference.regions import GRID
from inference.training.gpu import batch, on_device
from inference.training.simulate import masks, negatives, sample
from inference.training.simulate.deformed_head import make_instance
from inference.training.simulate.intensities import CONTRASTS, fill_removed, paint, thick_slices, tone_curve
from inference.training.simulate.mixtures import HARD, USUAL, Mix
from tests.heads import simple_head


@pytest.fixture(scope="module")
def instance():
    return make_instance(simple_head(), np.random.default_rng(3))


@pytest.fixture(scope="module")
def scene(instance):
    return on_device.Scene.of(instance).to("cpu")


def maker(scene, seed, mix=USUAL):
    return batch.Maker(scene, np.random.default_rng(seed), mix)


@pytest.mark.parametrize(
    "family", ["template", "plane", "margin", "box", "shell", "spheres", "half", "leave"]
)
def test_the_same_choices_give_the_same_mask(instance, scene, family):
    for seed in range(6):
        made = batch.Maker(scene, np.random.default_rng(seed), USUAL)
        again = made.rng.bit_generator.state  # the maker has drawn a seed for its noise
        rng = np.random.default_rng()
        rng.bit_generator.state = again
        expected = np.broadcast_to(masks.FAMILIES[family](instance, rng), GRID)
        assert np.abs(made.family(family).expand(GRID).numpy() - expected).max() < 0.02
        assert made.rng.bit_generator.state == rng.bit_generator.state


def test_a_bite_takes_brain_or_what_lies_beside_it(scene):
    shares = [maker(scene, seed).bitten() for seed in range(12)]
    taken = [float((scene.brain * share).sum() * sample.VOXEL_ML) for share in shares]
    assert sum(ml > 0.5 for ml in taken) >= 8


@pytest.mark.parametrize("kind", ["zero", "minimum", "constant", "reface", "blur", "average"])
def test_the_same_choices_give_the_same_filling(instance, scene, kind):
    only = Mix(masks={"plane": 1.0}, fills={kind: 1.0}, reface_gain=(0.5, 0.9))
    _, image = paint(instance, np.random.default_rng(5), CONTRASTS)
    share = masks.plane(instance, np.random.default_rng(6))
    made = batch.Maker(scene, np.random.default_rng(7), only)
    rng = np.random.default_rng()
    rng.bit_generator.state = made.rng.bit_generator.state
    name, expected = fill_removed(image, share, instance, rng, only)
    found_name, found = made.fill(torch.from_numpy(image), torch.from_numpy(share))
    off = np.abs(found.numpy() - expected)
    assert (name, found_name) == (kind, kind)
    assert np.quantile(off, 0.999) < 0.01  # at the edge of the average head interpolation differs


def test_the_same_removal_gives_the_same_truth(instance, scene):
    rng = np.random.default_rng(2)
    shares = np.array([np.broadcast_to(masks.random_mask(instance, rng)[1], GRID) for _ in range(6)])
    views = [sample.crop_view(instance.landmarks, rng) for _ in shares]
    seen = np.zeros((len(shares), *GRID), bool)
    for n, view in enumerate(views):
        seen[(n, *view)] = True
    kept = batch.regions_kept(scene, torch.from_numpy(shares), torch.from_numpy(seen)).numpy()
    expected = [sample.regions_kept(instance, *pair) for pair in zip(shares, seen, strict=True)]
    np.testing.assert_allclose(kept, expected, atol=1e-5)
    starts = [(6, 7, 10), (3, 0, 12), (8, -2, 5), (6, 6, 6), (-1, 7, 12), (6, 9, 12)]
    blocks = batch.blocks_of(scene, torch.from_numpy(shares), torch.from_numpy(seen), starts).numpy()
    for n, start in enumerate(starts):
        truth = sample.blocks_of(instance, shares[n], seen[n], start)
        assert np.abs(blocks[n].astype(int) - truth).max() <= 1


def test_paint_and_noise_have_the_levels_of_one_head_at_a_time(instance, scene):
    rng = np.random.default_rng(1)
    single = [paint(instance, rng, CONTRASTS)[1] for _ in range(24)]
    names, images = maker(scene, 4).paint(24)
    inside = instance.head_mask
    one, many = (np.array([np.median(i[inside]) for i in group]) for group in (single, images.numpy()))
    assert set(names) <= set(CONTRASTS)
    assert abs(one.mean() - many.mean()) < 3 * one.std() / np.sqrt(12)
    noisy = maker(scene, 5).acquire(images)
    assert noisy.min() >= 0
    assert 0.005 < float((noisy - images).std()) < 0.1


@pytest.fixture(scope="module")
def scanned(instance):
    """The same head as if a scanner had seen it: intensities in place of tissues."""
    image = np.rint(paint(instance, np.random.default_rng(9), ("T1w",))[1].clip(0, 1) * 2040) / 2040
    return replace(instance, fractions=None, image=image.astype(np.float32), modality="T1w")


def same_choices(made):
    """A generator in the state of a maker's."""
    rng = np.random.default_rng()
    rng.bit_generator.state = made.rng.bit_generator.state
    return rng


def test_the_same_choices_give_a_scanned_head_the_same_curve(scanned):
    scene = on_device.Scene.of(scanned).to("cpu")
    for seed in range(30):  # one in twelve is inverted
        made = maker(scene, seed)
        expected = tone_curve(scanned.image, same_choices(made))
        np.testing.assert_allclose(made.tone_curve().numpy(), expected, atol=1e-4)
    names, images = maker(scene, 1).paint(3)
    assert names == ["T1w"] * 3
    assert images.shape == (3, *GRID)


def test_the_same_choices_give_the_same_thick_slices(scene):
    image = maker(scene, 1).paint(1)[1][0]
    for seed in range(9):
        made = maker(scene, seed)
        expected = thick_slices(image.numpy(), same_choices(made))
        np.testing.assert_allclose(made.thick_slices(image).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["stripped", "animal", "turned", "phantom", "body", "noise"])
def test_the_same_choices_give_the_same_thing_that_is_no_head(instance, scene, kind):
    image = maker(scene, 1).paint(1)[1][0]
    for seed in range(8):
        made = maker(scene, seed)
        expected = negatives.MAKERS[kind](instance, same_choices(made), image.numpy())
        found = made.odd(kind, image)
        assert found.shape == GRID
        if expected.shape != GRID:  # crown to one side: cut to the size of all
            expected = np.pad(expected[8:-8], ((0, 0), (0, 0), (8, 8)))
        assert np.mean(np.abs(found.numpy() - expected) > 0.02) < 0.002


def test_a_batch_is_a_shard(instance, scene):
    made = batch.make(scene, 24, np.random.default_rng(8), HARD)
    assert made["surfaces"].shape == (24, 6, 6, 80, 80)
    assert made["volumes"].shape == (24, *SHAPE)
    assert [n for n, name in enumerate(made["names"][:, 0]) if name == "odd"] == [11, 23]
    is_odd = made["names"][:, 0] == "odd"
    assert (np.isnan(made["brain_ml"]) == is_odd).all()
    assert np.isnan(made["kept"][is_odd]).all()
    assert int(made["blocks"][torch.from_numpy(is_odd)].sum()) == 0
    bad = made["brain_ml"] > 8
    lost = made["blocks"][:, 0].float().sum(dim=(1, 2, 3)).numpy()
    assert bad.any()
    assert lost[bad].min() > lost[~bad & ~is_odd].max() * 0.5
    again = batch.make(scene, 24, np.random.default_rng(8), HARD)
    assert all(torch.equal(made[key], again[key]) for key in ("surfaces", "volumes", "evidence", "blocks"))


def test_nothing_removed_shows_the_head_as_the_application_sees_it(instance, scene):
    only = Mix(masks={"nothing": 1.0}, fills={"zero": 1.0})
    made = batch.make(scene, 4, np.random.default_rng(3), only)
    assert (made["brain_ml"] == 0).all()
    assert np.nanmin(made["kept"]) == 1.0
    frame = head_frame(paint(instance, np.random.default_rng(1), CONTRASTS)[1], (3.0,) * 3)
    tissue = made["volumes"].numpy() > 20
    assert (tissue.mean(axis=0)[frame.head] > 0.5).mean() > 0.7
