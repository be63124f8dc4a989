"""The network's projections: the same head gives the same pictures however its file is laid out."""

import itertools
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from inference.projections.frame import SHAPE, VOXEL_MM, box_matrix, head_frame, resample
from inference.projections.network_input import SURFACES, network_input, network_inputs
from inference.test_time_mirror import mirrored
from inference.volumes import read_volume
from tests.heads import simple_head

LEVELS = np.array([0, 105, 72, 85, 22, 98, 50, 28, 60, 70, 115, 70, 95, 90, 12, 75], np.int16)


@pytest.fixture(scope="module")
def picture():
    groups = simple_head().data[::2, ::2, ::2].copy()
    groups[8:20, 30:60, 90:100] = 10  # a mark on one side, so that a swapped axis cannot pass
    return LEVELS[groups]


@pytest.fixture(scope="module")
def expected(picture):
    return network_input(head_frame(picture, (2.0, 2.0, 2.0)))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1), (1, -1, 1), (-1, -1, -1)])
def test_axis_order_and_direction_do_not_matter(tmp_path, picture, expected, order, flips):
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    image = nib.Nifti1Image(picture, affine)
    turn = np.column_stack([order, flips])
    nib.save(image.as_reoriented(turn), tmp_path / "head.nii")
    found = network_inputs(read_volume(tmp_path / "head.nii"))
    np.testing.assert_array_equal(found.volume, expected.volume)
    np.testing.assert_array_equal(found.surfaces, expected.surfaces)


def test_anisotropic_voxels_show_the_same_head(expected, picture):
    thick = (
        resample(picture, (2.0, 2.0, 2.0), 2.0)
        .reshape(picture.shape[0], picture.shape[1], -1, 2)
        .mean(axis=3)
    )
    found = network_input(head_frame(thick, (2.0, 2.0, 4.0)))
    difference = np.abs(found.volume.astype(int) - expected.volume.astype(int))
    assert np.median(difference[expected.volume > 20]) < 12


def test_a_mirrored_head_looks_as_if_it_had_been_acquired_so(picture):
    frame = head_frame(picture, (2.0, 2.0, 2.0))
    turned = replace(frame, data=frame.data[::-1], head=frame.head[::-1])
    plain = network_input(frame)
    wanted = network_input(turned)
    assert not np.array_equal(wanted.surfaces, plain.surfaces), "one side has a mark"
    for arrays in (np.asarray, torch.from_numpy):
        surfaces, volume = mirrored(arrays(plain.surfaces)[None], arrays(plain.volume)[None])
        np.testing.assert_array_equal(np.asarray(surfaces[0]), wanted.surfaces)
        np.testing.assert_array_equal(np.asarray(volume[0]), wanted.volume)


def test_surface_views_look_from_where_they_say():
    data = np.zeros(SHAPE, np.float32)
    data[12:52, 10:70, 10:74] = 1.0
    data[28:36, 70:76, 38:46] = 1.0  # a nose
    data[6:12, 20:26, 50:56] = 1.0  # something on the left, towards the back, high up
    frame = head_frame(np.kron(data, np.ones((1, 1, 1), np.float32)), (VOXEL_MM,) * 3)
    depth = network_input(frame).surfaces[:, 0].astype(int)
    front, left, right = (depth[SURFACES.index(v)] for v in ("front", "left", "right"))
    nose = np.argwhere(front == front.max())
    assert abs(nose[:, 1].mean() - 31.5) < 1.5, "the nose is in the middle of the front view"
    bump = np.argwhere(left == left.max()).mean(axis=0)
    assert bump[1] > 40, "in the left view the front is on the left, so what lies at the back is on the right"
    assert bump[0] < 40, "up is up"
    assert right.max() < left.max()


def test_removing_the_face_changes_the_front_and_not_the_frame(expected, picture):
    defaced = picture.copy()
    defaced[:, 92:, :58] = 0
    found = network_input(head_frame(defaced, (2.0, 2.0, 2.0)))
    assert np.abs(found.surfaces[0, 0].astype(int) - expected.surfaces[0, 0]).max() > 20
    np.testing.assert_array_equal(found.surfaces[1, 0], expected.surfaces[1, 0])


@pytest.mark.parametrize("zoom", [0.5, 0.9, 1.0, 2.0, 3.0, 4.8])
def test_box_weights_add_up(zoom):
    matrix = box_matrix(50, zoom)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)
    assert matrix.shape[0] == round(50 * zoom / VOXEL_MM)


def test_an_empty_volume_gives_an_empty_frame_and_no_error():
    frame = head_frame(np.zeros((40, 50, 60), np.float32), (3.0, 3.0, 3.0))
    assert not frame.head.any()
    assert network_input(frame).surfaces.max() == 0
