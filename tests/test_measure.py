"""Physical checks on (original, defaced): what was removed, whatever it was filled with, and what must not change."""

from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from inference.anatomy import (
    Anatomy,
    AnatomyError,
    find_anatomy,
    fit_brain,
    stored_anatomy,
    template,
)
from inference.classes import EAR_REGIONS, FACE_REGIONS, still_there
from inference.physical_checks import class_of, eroded, geometry_problems, measure
from inference.projections.frame import resample
from inference.regions import LANDMARKS, TEMPLATE_LANDMARKS
from inference.removal import changed
from inference.volumes import Stored, from_array, read_volume
from reviews.wording import problems_words
from tests.test_projections import painted_head

ZOOMS = (2.0, 2.5, 3.0)
SCALE = np.array(ZOOMS)


@pytest.fixture(scope="module")
def head():
    """A toy head with noise, as integers: an egg with a nose in front and an ear on the right."""
    return from_array(np.round(painted_head(ZOOMS, noise=12)[0]).astype(np.int16), ZOOMS)


@pytest.fixture(scope="module")
def anatomy(head):
    """Brain and landmarks of the toy head, known from how it is painted (centre 100, 110, 105 mm)."""
    x, y, z = (np.indices(head.data.shape) + 0.5) * SCALE[:, None, None, None] - [
        [[[100]]],
        [[[110]]],
        [[[105]]],
    ]
    brain = (x / 58) ** 2 + ((y + 14) / 66) ** 2 + ((z - 25) / 60) ** 2 < 1
    places = {
        "right_eye": (130, 185, 105),
        "left_eye": (70, 185, 105),
        "nose": (100, 218, 80),
        "mouth": (100, 185, 52),
        "right_ear": (172, 105, 85),
        "left_ear": (30, 105, 85),
    }
    return Anatomy(brain, {k: np.array(v, float) for k, v in places.items()}, 1.0)


def without(head, box_mm, fill=0):
    """The head with a box, ((x, x), (y, y), (z, z)) in mm, overwritten."""
    data = head.data.copy()
    box = tuple(slice(round(a / s), round(b / s)) for (a, b), s in zip(box_mm, ZOOMS, strict=True))
    data[box] = fill if np.isscalar(fill) else fill[box]
    return replace(head, data=data)


FACE = ((0, 200), (168, 230), (0, 125))
DEEP = ((0, 200), (135, 230), (0, 140))


@pytest.fixture(scope="module")
def fills(head):
    from scipy import ndimage as ndi

    rng = np.random.default_rng(3)
    return {
        "zero": 0,
        "minimum": int(head.data.min()),
        "constant": 333,
        "noise": rng.integers(0, 60, head.data.shape).astype(np.int16),
        "blur": np.round(ndi.gaussian_filter(head.data.astype(float), 4)).astype(np.int16),
    }


@pytest.mark.parametrize("name", ["zero", "minimum", "constant", "noise", "blur"])
def test_a_good_defacing_passes_whatever_it_is_filled_with(head, anatomy, fills, name):
    found = measure(head, without(head, FACE, fills[name]), anatomy)

    assert found.geometry_unchanged
    assert found.problems == []
    assert found.brain_removed_ml < 0.5
    assert max(found.kept[k] for k in ("eyes", "nose", "mouth")) < 0.3
    assert min(found.kept[k] for k in ("left_ear", "right_ear")) > 0.95
    assert class_of(found) == "pass"
    assert class_of(found, ears=True) == "face"


@pytest.mark.parametrize("name", ["zero", "constant", "noise"])
def test_brain_removed_is_measured_in_ml(head, anatomy, fills, name):
    defaced = without(head, DEEP, fills[name])
    found = measure(head, defaced, anatomy)
    cut = np.zeros(head.data.shape, bool)
    cut[:, round(135 / 2.5) : round(230 / 2.5), : round(140 / 3)] = True
    truth_ml = (cut & eroded(anatomy.brain, head.zooms)).sum() * np.prod(ZOOMS) / 1000

    assert truth_ml > 20
    assert found.brain_removed_ml == pytest.approx(truth_ml, rel=0.03)
    assert f"{found.brain_removed_ml:.1f} ml of brain removed" in problems_words(found.problems)
    assert class_of(found) == "brain"


def test_a_mask_in_the_wrong_place_is_both(head, anatomy):
    found = measure(head, without(head, ((0, 200), (0, 60), (60, 210))), anatomy)
    assert class_of(found) == "both"
    assert any(text.startswith("nose still there (100%") for text in problems_words(found.problems))


def test_an_untouched_copy_is_named(head, anatomy):
    found = measure(head, head, anatomy)
    assert "the output is identical to the original" in problems_words(found.problems)
    assert class_of(found) == "face"


def test_a_scan_without_the_nose_in_view_has_none(head, anatomy):
    low = round(110 / 3)
    moved = {k: v - [0, 0, low * 3.0] for k, v in anatomy.landmarks.items()}
    upper = from_array(head.data[:, :, low:], ZOOMS)
    found = measure(
        upper, without(upper, ((0, 200), (168, 230), (0, 15))), Anatomy(anatomy.brain[:, :, low:], moved, 1.0)
    )
    assert found.kept["nose"] is None
    assert found.kept["mouth"] is None


def test_another_scale_of_the_whole_file_is_not_a_removal(head, anatomy):
    defaced = without(head, FACE)
    scaled = replace(defaced, data=(defaced.data * np.float32(0.37) + 5).astype(np.float32))
    found = measure(head, scaled, anatomy)
    assert found.brain_removed_ml < 0.5
    assert class_of(found) == "pass"
    tissue = head.data > 300
    assert np.mean((changed(head, scaled) != changed(head, defaced))[tissue]) < 0.001


def test_skull_stripping_is_not_a_defacing(head, anatomy):
    stripped = replace(head, data=np.where(anatomy.brain, head.data, 0).astype(np.int16))
    found = measure(head, stripped, anatomy)
    assert any(text.startswith("skull-stripped") for text in problems_words(found.problems))


def test_another_image_is_not_a_defacing(head, anatomy):
    other = replace(head, data=np.roll(head.data, 5, axis=1))
    assert any("another image" in text for text in problems_words(measure(head, other, anatomy).problems))


def test_geometry_must_not_change(head, anatomy):
    cropped = from_array(head.data[1:], ZOOMS)
    moved = replace(
        head, affine=head.affine + np.eye(4)[[3, 0, 1, 2]] * 0 + np.array([[0, 0, 0, 2.0]] + [[0.0] * 4] * 3)
    )
    assert "voxels before" in problems_words(geometry_problems(head, cropped))[0]
    assert "position or orientation" in problems_words(geometry_problems(head, moved))[0]
    found = measure(head, cropped, anatomy)
    assert not found.geometry_unchanged
    assert class_of(found) is None
    flipped = Stored(head.stored.shape, head.stored.affine @ np.diag([-1, 1, 1, 1]), head.stored.dtype)
    assert "another order" in problems_words(geometry_problems(head, replace(head, stored=flipped)))[0]


def test_a_shrunken_range_of_values_is_named(head):
    small = (head.data // 20).astype(np.uint8)
    shrunk = replace(head, data=small, stored=Stored(head.stored.shape, head.affine, small.dtype))
    assert "range of values" in problems_words(geometry_problems(head, shrunk))[0]


def test_erosion_is_one_millimetre_in_every_direction():
    brain = np.zeros((20, 20, 20), bool)
    brain[5:15, 5:15, 5:15] = True
    assert eroded(brain, (0.6, 0.6, 2.0)).sum() == 8 * 8 * 10


# --- anatomy ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def average():
    """The average head that pydeface ships; no person."""
    return read_volume(Path(str(resources.files("pydeface") / "data" / "mean_reg2mean.nii.gz")))


@pytest.fixture(scope="module")
def average_anatomy(average):
    return find_anatomy(average)


def test_landmarks_of_the_average_head(average, average_anatomy):
    """The segmentation and the fit bring the average head's landmarks back to where they were marked."""
    assert 1300 < average_anatomy.brain.sum() * np.prod(average.zooms) / 1000 < 1500
    for name, expected in zip(LANDMARKS, (TEMPLATE_LANDMARKS + 0.5) * average.zooms, strict=True):
        away = np.linalg.norm(average_anatomy.landmarks[name] - expected)
        assert away < (18 if name in ("nose", "mouth") else 4), name  # nose and mouth move to the skin


def test_anatomy_is_kept_on_disk(tmp_path, monkeypatch, average, average_anatomy):
    monkeypatch.setattr("inference.anatomy.find_anatomy", lambda volume: average_anatomy)
    first = stored_anatomy(average, tmp_path / "a" / "one.npz")
    monkeypatch.setattr("inference.anatomy.find_anatomy", lambda volume: pytest.fail("found twice"))
    again = stored_anatomy(average, tmp_path / "a" / "one.npz")
    assert np.array_equal(first.brain, again.brain)
    assert np.allclose(first.landmarks["nose"], again.landmarks["nose"])


def test_a_damaged_file_of_the_anatomy_is_made_anew(tmp_path, monkeypatch, average, average_anatomy):
    monkeypatch.setattr("inference.anatomy.find_anatomy", lambda volume: average_anatomy)
    path = tmp_path / "one.npz"
    for damaged in (b"", b"no archive", b"PK\x03\x04 cut off"):
        path.write_bytes(damaged)
        assert np.array_equal(stored_anatomy(average, path).brain, average_anatomy.brain)
        with np.load(path) as stored:
            assert tuple(stored["shape"]) == average.data.shape


def test_the_fit_follows_a_moved_turned_and_stretched_brain(average, average_anatomy):
    from scipy import ndimage as ndi
    from scipy.spatial.transform import Rotation

    brain = resample(average_anatomy.brain, tuple(map(float, average.zooms)))
    turn = Rotation.from_euler("x", 12, degrees=True).as_matrix() * [1.05, 0.94, 1.0]
    centre = np.array(brain.shape) / 2
    moved = (
        ndi.affine_transform(brain, np.linalg.inv(turn), centre - np.linalg.inv(turn) @ centre, order=1) > 0.5
    )
    to_subject, fit_mm = fit_brain(moved)

    assert fit_mm < 2
    for point in template()["landmarks"].values():
        expected = (turn @ (point / 3 - 0.5 - centre) + centre + 0.5) * 3
        assert np.linalg.norm(to_subject(point) - expected) < 9


def test_no_brain_is_an_error_with_a_reason(head):
    noise = from_array(np.random.default_rng(0).integers(0, 50, (40, 40, 40)).astype(np.int16), (4, 4, 4))
    with pytest.raises(AnatomyError, match="brain"):
        find_anatomy(noise)
    found = measure(noise, noise)
    assert any("could not be located" in text for text in problems_words(found.problems))
    assert class_of(found) is None


@pytest.mark.parametrize("size", [1.0, 1.0000001, 1.1, 2.0])
def test_the_outermost_voxels_of_the_brain_never_count(size):
    brain = np.zeros((12, 12, 12), bool)
    brain[1:11, 1:11, 1:11] = True
    assert eroded(brain, (size, size, size)).sum() == 8**3


def test_what_is_left_of_ears_is_a_problem_where_they_count():
    kept = {"eyes": 0.1, "nose": None, "mouth": 0.0, "left_ear": 0.62, "right_ear": 0.2}
    assert still_there(kept, FACE_REGIONS) == []
    assert still_there(kept, EAR_REGIONS) == [{"code": "region_left", "region": "left_ear", "share": 0.62}]
