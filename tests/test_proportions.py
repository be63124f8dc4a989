"""Faces of other proportions: only the face changes, smoothly, and what is known of the head follows."""

import numpy as np
import pytest

from inference.regions import LANDMARKS
from inference.training.simulate.deformed_head import make_instance
from inference.training.simulate.mixtures import MIXES
from inference.training.simulate.proportions import FEATURES, change_proportions
from tests.heads import simple_head

HEAD = simple_head()
STEP = 2.0  # mm


def moved(seed):
    """(3, X, Y, Z) where the places of a whole head are taken from, mm."""
    grid = np.stack(np.meshgrid(*(np.arange(0, n, STEP) for n in HEAD.data.shape), indexing="ij"))
    at = grid.reshape(3, -1).astype(np.float32)
    change_proportions(at, HEAD.landmarks, np.random.default_rng(seed))
    return at.reshape(grid.shape), grid


@pytest.mark.parametrize("seed", range(8))
def test_a_face_changes_without_folding_and_the_back_of_the_head_stays(seed):
    at, grid = moved(seed)
    change = np.linalg.norm(at - grid, axis=0)
    assert 2 < change.max() < 25
    jacobian = np.stack([np.stack(np.gradient(axis, STEP)) for axis in at])
    assert np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1))).min() > 0.05, "nothing is turned inside out"
    ears = HEAD.landmarks[[LANDMARKS.index("left_ear"), LANDMARKS.index("right_ear")], 1]
    behind = grid[1] < ears.min() - 60
    below = HEAD.landmarks[LANDMARKS.index("mouth"), 2]
    assert change[behind & (grid[2] > below + 60)].max() < 0.5


def test_both_sides_of_a_face_change_alike():
    middle = (HEAD.data.shape[0] - 1) / 2
    landmarks = HEAD.landmarks.copy()
    landmarks[:, 0] = middle + np.array([30, -30, 0, 0, 70, -70])
    landmarks[[1, 5], 1:] = landmarks[[0, 4], 1:]
    points = np.array([[20, 35, 70], [60, 70, 5], [40, 40, 0]], np.float32)  # beside, front, up
    right = points + np.array([[middle], [80], [40]], np.float32)
    left = right.copy()
    left[0] = 2 * middle - right[0]
    change_proportions(right, landmarks, np.random.default_rng(1))
    change_proportions(left, landmarks, np.random.default_rng(1))
    np.testing.assert_allclose(right[0] + left[0], 2 * middle, atol=1e-3)
    np.testing.assert_allclose(right[1:], left[1:], atol=1e-3)


def test_no_two_faces_are_alike_and_without_them_a_seed_gives_the_head_of_before():
    heads = [
        make_instance(HEAD, np.random.default_rng(5)),
        *(make_instance(HEAD, np.random.default_rng(5), proportions=p) for p in (True, True, False)),
    ]
    assert np.array_equal(heads[1].fractions, heads[2].fractions), "the seed decides"
    assert np.array_equal(heads[0].fractions, heads[3].fractions)
    ways = [moved(seed)[0] for seed in range(3)]
    assert min(np.abs(ways[a] - ways[b]).max() for a, b in ((0, 1), (0, 2), (1, 2))) > 3, "no two are alike"
    assert np.abs(heads[0].brain - heads[1].brain).mean() < 0.01 < np.abs(heads[0].brain).mean()
    face = heads[0].near_face
    assert np.abs(heads[0].fractions[0] - heads[1].fractions[0])[face].mean() > 0.02
    nose = LANDMARKS.index("nose")
    surface = np.argwhere(heads[1].regions["nose"])
    assert np.linalg.norm(surface - heads[1].landmarks[nose], axis=1).min() < 3, (
        "the landmark is on the new nose"
    )


def test_every_feature_hangs_on_a_landmark_and_only_mixes_to_train_on_change_faces():
    known = {name.removeprefix("right_").removeprefix("left_") for name in LANDMARKS}
    assert {name for name, *_ in FEATURES} <= known
    assert {name for name, mix in MIXES.items() if mix.proportions} == {"varied", "hard-varied"}
