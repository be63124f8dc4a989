"""Simulated defacings: truth is measured on cases made by hand, seeds repeat, maps lie where the damage is."""

from dataclasses import replace

import numpy as np
import pytest

from inference import classes
from inference.projections.network_input import CELL, CELLS, PARTS
from inference.regions import BRAIN_AT, GRID, REGIONS, by_region
from inference.training.simulate import masks
from inference.training.simulate.deformed_head import make_instance
from inference.training.simulate.generate import Task, make_shard
from inference.training.simulate.heads import Head
from inference.training.simulate.intensities import CONTRASTS, fill_removed, thick_slices
from inference.training.simulate.mixtures import HARD, MIXES, USUAL
from inference.training.simulate.negatives import MAKERS
from inference.training.simulate.sample import VOXEL_ML, regions_kept, simulate
from tests.heads import simple_head


@pytest.fixture(scope="module")
def plain():
    return make_instance(simple_head(), np.random.default_rng(0), plain=True)


def kept(instance, gone):
    return by_region(regions_kept(instance, gone, np.ones(GRID, bool)))


def test_the_brain_is_put_in_its_place_and_keeps_its_size(plain):
    cells = np.argwhere(plain.brain > 0.5)
    assert np.abs(cells.mean(axis=0) - BRAIN_AT).max() < 1
    expected_ml = 4 / 3 * np.pi * 56 * 78 * 68 / 1000  # eroded by 1 mm
    assert plain.brain.sum() * VOXEL_ML == pytest.approx(expected_ml, rel=0.03)


def test_what_is_derived_of_a_head_is_not_written_with_it(tmp_path):
    head = simple_head()
    assert head.inner_brain.sum() < head.brain.sum()
    assert np.abs(head.middle - np.argwhere(head.brain).mean(axis=0)).max() < 1e-6
    head.save(tmp_path / "simple.npz")
    again = Head.load(tmp_path / "simple.npz")
    assert np.array_equal(again.brain, head.brain)
    assert np.array_equal(again.inner_brain, head.inner_brain)


def test_nothing_removed_keeps_every_region(plain):
    assert all(v == 1.0 for v in kept(plain, np.zeros(GRID, np.float32)).values())


def test_cutting_the_front_below_the_brow_takes_the_face_and_spares_brain_and_ears(plain):
    gone = np.zeros(GRID, np.float32)
    eye = plain.landmarks[0].astype(int)
    gone[:, eye[1] - 4 :, : eye[2] + 6] = 1
    shares = kept(plain, gone)
    assert max(shares[r] for r in classes.FACE_REGIONS) < 0.1
    assert min(shares["left_ear"], shares["right_ear"]) == 1.0
    assert classes.class_of(float((plain.brain * gone).sum() * VOXEL_ML), shares) == "pass"


def test_leaving_the_nose_alone_is_a_face(plain):
    gone = np.ones(GRID, np.float32)
    gone[plain.regions["nose"]] = 0
    assert classes.face_remains(kept(plain, gone)) is True
    assert kept(plain, gone)["eyes"] == 0.0


@pytest.mark.parametrize("behind", [4, 3])  # cells of 3 mm from the skin to the landmark
def test_an_eye_keeps_its_lower_lid_whose_skin_lies_further_back(plain, behind):
    landmarks = plain.landmarks.copy()
    landmarks[:2, 1] -= behind
    head = plain.head_mask.copy()
    eye = plain.landmarks[:2].mean(axis=0).round().astype(int)
    skin = np.flatnonzero(head[int(plain.landmarks[0, 0]), :, eye[2]])[-1]
    head[:, skin - 2 :, eye[2] - 5 : eye[2]] = False  # 6 mm behind the brow
    deep = replace(plain, landmarks=landmarks)
    deep.__dict__["head_mask"] = head
    columns = deep.regions["eyes"].sum(axis=1)  # seen from the front
    assert columns.max() == 1
    assert columns[:, : eye[2]].sum() > 0.6 * columns[:, eye[2] :].sum()
    gone = np.zeros(GRID, np.float32)
    gone[:, :, : eye[2] + 3] = 1  # all but the brow
    assert kept(deep, gone)["eyes"] < classes.KEPT_CLEAR


def test_removed_brain_is_counted_in_ml(plain):
    gone = np.zeros(GRID, np.float32)
    x, y, z = (int(v) for v in BRAIN_AT)
    gone[x - 5 : x + 5, y - 5 : y + 5, z - 5 : z + 5] = 1
    assert (plain.brain * gone).sum() * VOXEL_ML == pytest.approx(27.0)


def test_regions_out_of_view_do_not_count(plain):
    view = np.ones(GRID, bool)
    view[:, :, : int(plain.landmarks[2, 2]) + 12] = False
    shares = regions_kept(plain, np.zeros(GRID, np.float32), view)
    assert np.isnan(shares[REGIONS.index("mouth")])
    assert shares[REGIONS.index("eyes")] == 1.0


@pytest.mark.parametrize("family", sorted(masks.FAMILIES))
def test_every_family_gives_shares_and_repeats_from_its_seed(plain, family):
    first, second = (masks.FAMILIES[family](plain, np.random.default_rng(7)) for _ in range(2))
    assert np.broadcast_to(first, GRID).shape == GRID
    assert first.min() >= 0
    assert first.max() <= 1
    np.testing.assert_array_equal(first, second)


def test_the_hard_mix_draws_more_of_what_is_got_wrong_and_the_usual_one_stays_the_default(plain):
    def fills(*mix):
        blank = np.ones(GRID, np.float32)
        drawn = [fill_removed(blank, blank, plain, np.random.default_rng(n), *mix)[0] for n in range(60)]
        return drawn.count("zero")

    assert fills() == fills(USUAL) > fills(HARD) > 0
    for mix in MIXES.values():
        assert set(mix.masks) == set(masks.FAMILIES)
    assert set(HARD.fills) == set(USUAL.fills)


def test_half_of_the_slabs_are_scans_of_the_brain_alone_that_nobody_defaced(plain):
    only = replace(USUAL, slabs=1.0)
    samples = [simulate(plain, np.random.default_rng(n), CONTRASTS, only) for n in range(12)]
    untouched = [s for s in samples if s.family == "nothing"]
    assert 3 <= len(untouched) < 12
    assert all(np.isnan(s.kept[REGIONS.index("mouth")]) for s in samples)
    found = [classes.class_of(s.brain_ml, by_region(s.kept)) for s in untouched]
    assert "pass" in found
    assert found.count("face") < len(untouched) / 2


def test_families_make_all_four_classes(plain):
    rng = np.random.default_rng(3)
    found = set()
    for _ in range(60):
        _, gone = masks.random_mask(plain, rng)
        gone = np.broadcast_to(gone, GRID)
        found.add(classes.class_of(float((plain.brain * gone).sum() * VOXEL_ML), kept(plain, gone)))
    assert found >= set(classes.CLASSES)


@pytest.fixture
def bitten(plain, monkeypatch):
    """A sample whose mask is a ball at the front of the brain, in full view."""
    x, y, z = np.ogrid[: GRID[0], : GRID[1], : GRID[2]]
    ball = ((x - 38) ** 2 + (y - 66) ** 2 + (z - 60) ** 2 < 12**2).astype(np.float32)
    monkeypatch.setattr("inference.training.simulate.sample.random_mask", lambda *_: ("hand-made", ball))
    monkeypatch.setattr(
        "inference.training.simulate.sample.crop_view", lambda *_: tuple(slice(0, n) for n in GRID)
    )
    return simulate(plain, np.random.default_rng(0), CONTRASTS)


def test_evidence_lies_where_brain_is_missing(bitten):
    front, back = bitten.evidence[0, 0], bitten.evidence[1, 0]
    assert bitten.brain_ml > 10
    assert front[1:5, 2:6].any()
    assert not back.any()


def test_blocks_hold_what_was_removed_and_what_is_left(plain, bitten):
    shares = dict(zip(PARTS, bitten.blocks / 255, strict=True))
    block_ml = VOXEL_ML * CELL**3
    assert shares["missing"].sum() * block_ml == pytest.approx(bitten.brain_ml, rel=0.02)
    whole = plain.brain.sum() * VOXEL_ML
    assert shares["brain"].sum() * block_ml == pytest.approx(whole, rel=0.02)
    assert not shares["missing"][:, : CELLS[1] // 2].any(), "the back of the head is whole"
    for region, kept in zip(("eyes", "nose", "mouth"), bitten.kept, strict=False):
        left, gone = shares[f"{region}_left"].sum(), shares[f"{region}_gone"].sum()
        assert left / (left + gone) == pytest.approx(kept, abs=0.05)


def test_a_new_face_is_no_old_one(plain):
    """Refacing paints the average head into the mask, and nothing outside it."""
    gone = np.zeros(GRID, np.float32)
    gone[:, 70:, :60] = 1
    image = plain.fractions[1:].sum(axis=0)
    for seed in range(200):
        kind, filled = fill_removed(image, gone, plain, np.random.default_rng(seed))
        if kind == "reface":
            np.testing.assert_array_equal(filled[gone == 0], image[gone == 0])
            assert not np.array_equal(filled, image)
            assert np.isfinite(filled).all()
            return
    pytest.fail("no seed refaced")


def test_slices_of_5_mm_keep_the_mean(plain):
    image = plain.fractions[1:].sum(axis=0)
    thick = thick_slices(image, np.random.default_rng(1))
    assert thick.shape == GRID
    assert thick.mean() == pytest.approx(image.mean(), rel=0.03)
    assert not np.array_equal(thick, image)


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_what_is_no_head_is_made_in_the_grid(plain, kind):
    image = plain.fractions[1:].sum(axis=0)
    assert MAKERS[kind](plain, np.random.default_rng(2), image).size == np.prod(GRID)


def test_the_same_task_writes_the_same_shard(tmp_path):
    simple_head().save(tmp_path / "simple.npz")
    arrays = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        make_shard(Task(tmp_path / "simple.npz", 3, 2, tmp_path / name, seed=5))
        with np.load(tmp_path / name / "simple_003.npz") as z:
            arrays.append({key: z[key] for key in z.files})
    for key, value in arrays[0].items():
        np.testing.assert_array_equal(value, arrays[1][key])
