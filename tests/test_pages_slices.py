"""Sheets of slices: upright, in proportion, every slice there, the removed voxels red."""

import tracemalloc
from functools import partial

import nibabel as nib
import numpy as np
import pytest

from inference.projections import slice_sheet
from inference.volumes import VolumeError, read_volume


def save(path, data, affine):
    nib.save(nib.Nifti1Image(data, affine), path)
    return str(path)


def tile(image, layout, index):
    column, row = index % layout.columns, index // layout.columns
    box = (column * layout.width, row * layout.height, (column + 1) * layout.width, (row + 1) * layout.height)
    return np.asarray(image.crop(box))


@pytest.mark.parametrize(("plane", "axis"), list(slice_sheet.PLANES.items()))
def test_every_slice_is_there_in_proportion(plane, axis):
    shape, zooms = (10, 20, 15), (1.0, 1.0, 3.0)
    layout, chosen = slice_sheet.plan(shape, zooms, plane)
    assert chosen == list(range(shape[axis]))
    across, up = [other for other in range(3) if other != axis]
    wanted = shape[across] * zooms[across] / (shape[up] * zooms[up])
    assert layout.width / layout.height == pytest.approx(wanted, rel=0.02)
    assert max(layout.width, layout.height) == slice_sheet.LONGEST_SIDE


def test_a_huge_volume_is_thinned_but_spans_the_head():
    layout, chosen = slice_sheet.plan((700, 10, 10), (0.3, 1, 1), "sagittal")
    assert layout.count == len(chosen) <= slice_sheet.MOST_TILES
    assert chosen[-1] >= 690
    assert layout.step == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("plane", "corner", "where"),
    [
        ("coronal", (-1, slice(None), -1), (0, 0)),  # the person's upper right: top left of the picture
        ("axial", (-1, -1, slice(None)), (0, 0)),  # right front: top left
        ("sagittal", (slice(None), -1, -1), (0, 0)),  # upper front: top left, the face looks to the left
        ("coronal", (0, slice(None), 0), (-1, -1)),
    ],
)
def test_pictures_are_upright(plane, corner, where):
    grey = np.zeros((4, 5, 6), np.uint8)
    grey[corner] = 255
    image, layout = slice_sheet.mosaic(grey, None, plane, (1, 1, 1))
    assert tile(image, layout, 0)[where] > 200
    assert tile(image, layout, 0)[-1 - where[0], -1 - where[1]] < 50


def test_removed_voxels_are_red_and_others_grey(tmp_path):
    before = np.full((8, 9, 10), 500, np.int16)
    before[0, 0, 0] = 0
    after = before.copy()
    after[:, 6:, :] = 0
    paths = {
        n: save(tmp_path / f"{n}.nii.gz", d, np.eye(4)) for n, d in (("before", before), ("after", after))
    }
    image, layout = slice_sheet.draw(
        "sagittal", "removed", **{name: partial(read_volume, path) for name, path in paths.items()}
    )
    picture = tile(image, layout, 4).astype(int)
    red = picture[..., 0] - picture[..., 1]
    third = layout.width // 3
    assert red[:, : third - 4].min() > 50
    assert abs(red[:, third + layout.width // 6 :]).max() < 5


def test_grids_that_differ_are_refused_by_name(tmp_path):
    before = save(tmp_path / "before.nii.gz", np.ones((8, 9, 10), np.int16), np.eye(4))
    varied = np.arange(8 * 9 * 11, dtype=np.int16).reshape(8, 9, 11)
    after = save(tmp_path / "after.nii.gz", varied, np.eye(4))
    before = save(tmp_path / "before.nii.gz", varied[:, :, :10].copy(), np.eye(4))
    with pytest.raises(VolumeError, match="grid"):
        slice_sheet.draw(
            "axial", "removed", after=lambda: read_volume(after), before=lambda: read_volume(before)
        )


def test_a_sheet_is_made_once(tmp_path, monkeypatch):
    data = np.arange(8 * 9 * 10, dtype=np.int16).reshape(8, 9, 10)
    after = save(tmp_path / "after.nii.gz", data, np.eye(4))
    where = (tmp_path / "slices" / "a.webp", "axial", "after")
    first = slice_sheet.sheet(*where, after=lambda: read_volume(after))
    monkeypatch.setattr(slice_sheet, "draw", None)
    again = slice_sheet.sheet(*where, after=lambda: read_volume(after))
    assert (again.file.read(), again.header) == (first.file.read(), first.header)
    assert first.header.split(",")[0] == "10"


@pytest.mark.parametrize("plane", list(slice_sheet.PLANES))
def test_drawing_holds_little_beside_the_volumes(tmp_path, plane):
    varied = np.arange(128 * 128 * 64, dtype=np.int32).astype(np.int16).reshape(128, 128, 64)
    after, before = (
        save(tmp_path / f"{n}.nii", data, np.eye(4)) for n, data in (("a", varied), ("b", -varied))
    )
    tracemalloc.start()
    slice_sheet.draw(plane, "removed", after=partial(read_volume, after), before=partial(read_volume, before))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2.5 * 2 * varied.nbytes  # both volumes and, for a moment, the bytes of one
