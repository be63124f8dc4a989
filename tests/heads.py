"""A head made of simple shapes, for tests: no person, but a brain, a face and ears in the right places."""

import numpy as np
from scipy import ndimage as ndi

from inference.regions import TEMPLATE_LANDMARKS
from inference.training.simulate.generate import Task, make_shard
from inference.training.simulate.heads import GROUPS, Head

SIZE = (176, 230, 240)
POINTS = np.array(
    [[119, 196, 112], [57, 196, 112], [88, 222, 78], [88, 211, 48], [164, 110, 96], [12, 110, 96]], float
)


def ball(centre, radii):
    """Bool array of SIZE: an ellipsoid."""
    x, y, z = np.ogrid[: SIZE[0], : SIZE[1], : SIZE[2]]
    return sum(((a - c) / r) ** 2 for a, c, r in zip((x, y, z), centre, radii, strict=True)) < 1


def simple_head(name="simple", person="nobody"):
    """A label head on a 1 mm grid."""
    groups = np.zeros(SIZE, np.uint8)
    skin = (
        ball((88, 110, 135), (74, 98, 92))
        | ball((88, 130, 70), (58, 82, 80))
        | ball((88, 195, 80), (16, 26, 22))
    )
    for x in (164, 12):
        skin |= ball((x, 110, 96), (9, 16, 30))
    skin[:, :, :6] = False
    groups[skin] = GROUPS.index("soft")
    groups[skin & ~ndi.binary_erosion(skin, iterations=3)] = GROUPS.index("skin")
    groups[ball((88, 108, 140), (66, 88, 78))] = GROUPS.index("bone")
    groups[ball((88, 108, 140), (60, 82, 72))] = GROUPS.index("fluid")
    groups[ball((88, 108, 140), (57, 79, 69))] = GROUPS.index("grey")
    groups[ball((88, 108, 140), (50, 70, 60))] = GROUPS.index("white")
    for x in (119, 57):
        groups[ball((x, 196, 112), (12, 12, 12)) & skin] = GROUPS.index("eye")
    brain = np.isin(groups, [GROUPS.index("grey"), GROUPS.index("white")])
    to_template = np.eye(4)
    to_template[:3, 3] = (TEMPLATE_LANDMARKS - POINTS).mean(axis=0)
    return Head(name, person, "label", True, groups, brain, POINTS.copy(), to_template)


def make_shards(folder, people, samples):
    """The folder below `folder` with one shard of simulated attempts of each of these people."""
    out = folder / "data"
    out.mkdir()
    for person in people:
        head = folder / f"head_{person}.npz"
        simple_head(head.stem, person).save(head)
        make_shard(Task(head, 0, samples, out, seed=1))
    return out
