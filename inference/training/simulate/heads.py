"""Prepare source heads once: 1 mm arrays with brain mask, landmarks and the way to template space.

Sources are tissue label maps (any contrast can be made of them, the brain is known) and real volumes (the brain
is found by deepbet). One .npz a head is written; a head that is there already is not made again.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from inference.deface.template import HEAD
from inference.files import save_arrays
from inference.projections.frame import resample
from inference.regions import TEMPLATE_LANDMARKS

# Tissue groups that a contrast gives one intensity each. Index 0 is air.
GROUPS = (
    "air", "white", "grey", "deep_grey", "fluid", "stem", "vessel", "eye", "muscle", "soft", "fat", "mucosa", "skin",
    "cord", "bone", "marrow",
)  # fmt: skip
_LABELS = {
    "white": (2, 41, 7, 46, 85, 77),
    "grey": (3, 42, 8, 47, 17, 18, 53, 54, 26, 58),
    "deep_grey": (10, 49, 11, 50, 12, 51, 13, 52, 28, 60, 136, 137, 163, 164),
    "fluid": (4, 5, 14, 15, 24, 43, 44, 72, 31, 63),
    "stem": (16,),
    "vessel": (30, 62, 502, 514, 530),
    "eye": (506,),
    "muscle": (508,),
    "soft": (507,),
    "mucosa": (509,),
    "skin": (511,),
    "cord": (512,),
    "bone": (515,),
    "marrow": (516, 25, 57),
}
BRAIN_GROUPS = ("white", "grey", "deep_grey", "stem")
# Heads whose registration was seen to be off; landmarks set by eye, in 1 mm index coordinates.
LANDMARKS_BY_EYE = {
    "faces/head06_flair.nii.gz": np.array(
        [[119, 190, 62], [57, 190, 62], [88, 231, 28], [88, 226, -2], [166, 108, 40], [8, 108, 40]], float
    ),
}


@dataclass
class Head:
    """One source head on a 1 mm grid, axes right, front, up.

    data: (X, Y, Z) uint8, tissue group (labels) or intensity 0-255 (images). brain: (X, Y, Z) bool.
    landmarks: (6, 3) index coordinates in the order of LANDMARKS.
    to_template: (4, 4) from index coordinates to voxels of the template's canonical array.
    """

    name: str
    person: str
    modality: str
    labels: bool
    data: NDArray[np.uint8]
    brain: NDArray[np.bool_]
    landmarks: NDArray[np.float64]
    to_template: NDArray[np.float64]

    def save(self, path: Path) -> None:
        """Write to an .npz, whole or not at all."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        save_arrays(path, compressed=True, **values)

    @classmethod
    def load(cls, path: Path) -> Head:
        """Read what `save` wrote."""
        with np.load(path) as z:
            values: dict[str, Any] = {key: z[key] for key in z.files}
        for key in ("name", "person", "modality"):
            values[key] = str(values[key])
        values["labels"] = bool(values["labels"])
        return cls(**values)

    @cached_property
    def inner_brain(self) -> NDArray[np.bool_]:
        """The brain without its outermost mm."""
        return np.asarray(ndi.binary_erosion(self.brain, ndi.generate_binary_structure(3, 1)))

    @cached_property
    def middle(self) -> NDArray[np.float64]:
        """The middle of the brain, of the volume where there is none; index coordinates."""
        return np.array(ndi.center_of_mass(self.brain) if self.brain.any() else np.array(self.data.shape) / 2)


def group_table() -> NDArray[np.uint8]:
    """(1024,) from label to tissue group; unknown brain labels count as grey, unknown others as soft tissue."""
    table = np.full(1024, GROUPS.index("soft"), np.uint8)
    table[:500] = GROUPS.index("grey")
    table[0] = 0
    for group, labels in _LABELS.items():
        table[list(labels)] = GROUPS.index(group)
    return table


def with_fat(groups: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Part the unspecific soft tissue into muscle and fat by a smooth random field."""
    rng = np.random.default_rng(seed)
    field = ndi.zoom(rng.standard_normal([n // 6 + 2 for n in groups.shape]), 6, order=1)
    field = field[tuple(slice(0, n) for n in groups.shape)]
    out = groups.copy()
    out[(groups == GROUPS.index("soft")) & (field > 0.15)] = GROUPS.index("fat")
    return out


def _one_mm(image: nib.spatialimages.SpatialImage, labels: bool) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Array on a 1 mm grid and (4, 4) from its indices to world mm."""
    image = nib.as_closest_canonical(image)
    data = np.asanyarray(image.dataobj).squeeze()
    zooms = np.asarray(image.header.get_zooms()[:3], float)
    fits = labels or np.allclose(zooms, 1, atol=0.02)
    out = data if fits else resample(data, tuple(zooms), 1.0)
    scale = np.asarray(data.shape) / np.asarray(out.shape)
    grid = np.diag([*scale, 1.0])
    grid[:3, 3] = (scale - 1) / 2
    return out, image.affine @ grid


def _t1_like(groups: NDArray[np.uint8]) -> NDArray[np.int16]:
    """A plain T1w-looking picture of a label map, for the registration."""
    level = {
        "white": 105, "grey": 72, "deep_grey": 85, "fluid": 22, "stem": 98, "vessel": 50, "eye": 28, "muscle": 60,
        "soft": 70, "fat": 115, "mucosa": 70, "skin": 95, "cord": 90, "bone": 12, "marrow": 75, "air": 0,
    }  # fmt: skip
    table = np.array([level[g] for g in GROUPS], np.float32)
    noise = np.random.default_rng(0).standard_normal(groups.shape).astype(np.float32)
    return (ndi.gaussian_filter(table[groups], 0.6) + np.abs(noise) * 2).astype(np.int16)


def register(image: Path, folder: Path) -> NDArray[np.float64]:
    """(4, 4) from the image's world mm to the template's world mm, by niimath's affine registration."""
    matrix = folder / "affine.json"
    command = [str(Path(sys.executable).with_name("niimath")), str(HEAD), "-allineate", str(image)]
    command += ["-savemat", str(matrix), str(folder / "moved.nii.gz")]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return np.asarray(json.loads(matrix.read_text())["fixed_to_moving"], float)


def _brain_of_image(image: nib.spatialimages.SpatialImage) -> NDArray[np.bool_]:
    from deepbet.bet import BrainExtraction  # only real volumes need it, and it loads torch

    return np.asarray(BrainExtraction(no_gpu=True).run(image)[1].dataobj) > 0


def brain_of_labels(groups: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Brain tissue with its sulci closed, without the fluid around it."""
    tissue = np.isin(groups, [GROUPS.index(g) for g in BRAIN_GROUPS])
    closed = ndi.distance_transform_edt(~tissue) <= 7
    return np.asarray(ndi.distance_transform_edt(closed) > 7)


def eyes_of_labels(groups: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """(2, 3) centres of the right and the left eyeball, or None where they are not both marked."""
    labels, count = ndi.label(groups == GROUPS.index("eye"))
    if count < 2:
        return None
    largest = np.argsort(np.bincount(labels.ravel())[1:])[-2:] + 1
    centres = np.array(ndi.center_of_mass(labels > 0, labels, largest))
    centres = centres[np.argsort(-centres[:, 0])]
    return centres if 45 < centres[0, 0] - centres[1, 0] < 90 else None


def prepare(path: Path, row: dict[str, str]) -> Head:
    """Make one source head of a volume and its row in the manifest."""
    labels = row["modality"].startswith("LABEL")
    image = nib.load(path)
    data, to_world = _one_mm(image, labels)
    with tempfile.TemporaryDirectory() as name:
        folder, source = Path(name), path
        if labels:
            groups = with_fat(group_table()[np.asarray(data, np.int64)], seed=sum(map(ord, path.name)))
            source = folder / "t1.nii.gz"
            nib.save(nib.Nifti1Image(_t1_like(groups), to_world), source)
            brain = brain_of_labels(groups)
        else:
            mask = _brain_of_image(image)
            brain = _one_mm(nib.Nifti1Image(mask.astype(np.float32), image.affine), False)[0] > 0.5
        world = register(source, folder)
    template = nib.as_closest_canonical(nib.load(HEAD)).affine
    to_template = np.linalg.inv(template) @ world @ to_world
    back = np.linalg.inv(to_template)
    points = TEMPLATE_LANDMARKS @ back[:3, :3].T + back[:3, 3]
    if labels:
        eyes = eyes_of_labels(groups)
        if eyes is not None:
            points = points + (eyes - points[:2]).mean(axis=0)
            points[:2] = eyes
        values = groups
    else:
        top = float(np.percentile(data, 99.7))
        values = np.clip(np.asarray(data, np.float32) / top * 230, 0, 255).astype(np.uint8)
    if row["file"] in LANDMARKS_BY_EYE:
        shift = LANDMARKS_BY_EYE[row["file"]] - points
        points = points + shift
        to_template[:3, 3] -= to_template[:3, :3] @ shift[:3].mean(axis=0)
    return Head(path.name.removesuffix(".nii.gz"), row["person"], "label" if labels else row["modality"], labels, values,
                brain, points, to_template)  # fmt: skip


def main() -> None:
    """`python -m inference.training.simulate.heads HEADS OUT`: prepare all heads of a folder that has a manifest.csv."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("heads", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folders", nargs="+", default=["labels", "faces", "templates"])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.heads / "manifest.csv").open() as handle:
        rows = [r for r in csv.DictReader(handle) if r["file"].split("/")[0] in options.folders]
    for row in rows:
        path = options.heads / row["file"]
        target = options.out / (path.name.removesuffix(".nii.gz") + ".npz")
        if not target.exists():
            prepare(path, row).save(target)
            sys.stderr.write(f"{target.name}\n")


if __name__ == "__main__":
    main()
