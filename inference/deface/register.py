"""Registration of a head to the template by niimath, from one or several starts, the best one kept."""

import itertools
import json
import os
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import niimath
import numpy as np
from scipy.ndimage import affine_transform

from inference.deface.template import block_affine, block_mean, template_head
from inference.volumes import Volume

VERSION = version("niimath")
REGISTRATION_MM = 2.0  # niimath's own finest stage
SCALE_RANGE = (0.6, 1.6)  # a fit that shrinks or grows a head more than this is no fit


class RegistrationError(Exception):
    """No start gave a usable fit; the text is niimath's own reason or ours."""


@dataclass(frozen=True)
class Fit:
    """`matrix` (4, 4) takes the head's world mm to the template's; `score` is mutual information, higher is better."""

    matrix: np.ndarray
    start: str
    score: float


def register(volume: Volume, starts, folder: Path, timeout: float) -> Fit:
    """The best fit of a head to the template over the named starts; files go to `folder`, seconds are a start's."""
    steps = np.maximum(1, np.floor(REGISTRATION_MM / np.asarray(volume.zooms) + 0.01)).astype(int)
    head, affine = block_mean(volume.data, steps), block_affine(volume.affine, steps)
    template, template_affine = template_head()
    base = folder / "template.nii"
    nib.save(nib.Nifti1Image(template, template_affine), base)
    fits, refused = [], []
    for name, turn, options in itertools.chain.from_iterable(STARTS[start](head, affine) for start in starts):
        try:
            matrix = _niimath(head, turn @ affine, base, options, folder, timeout) @ turn
            fits.append(Fit(matrix, name, _score(head, affine, matrix)))
        except RegistrationError as error:
            refused.append(f"{name}: {error}")
    if not fits:
        raise RegistrationError("; ".join(refused))
    return max(fits, key=lambda fit: fit.score)


def _niimath(head, affine, base, options, folder, timeout):
    source, saved = folder / "head.nii", folder / "fit.json"
    saved.unlink(missing_ok=True)
    nib.save(nib.Nifti1Image(head, affine), source)
    command = [niimath.bin, source, "-allineate", base, *options, "-nearest", "-savemat", saved]
    environment = {"OMP_NUM_THREADS": "1"} | os.environ
    try:
        done = subprocess.run(
            [*map(str, command), str(folder / "fitted.nii"), "-odt", "char"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=environment,
            cwd=folder,
        )
    except subprocess.TimeoutExpired as error:
        raise RegistrationError(f"niimath took longer than {timeout:g} s and was stopped") from error
    if done.returncode or not saved.exists():
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise RegistrationError(f"niimath ended with {done.returncode}: {last[0]}")
    matrix = np.array(json.loads(saved.read_text())["moving_to_fixed"], float)
    scales = np.linalg.svd(matrix[:3, :3], compute_uv=False)
    if not np.all(np.isfinite(matrix)) or scales.min() < SCALE_RANGE[0] or scales.max() > SCALE_RANGE[1]:
        raise RegistrationError(f"the fit is implausible (scales {np.round(scales, 2).tolist()})")
    return matrix


def _score(head, affine, matrix):
    """Normalised mutual information of template and fitted head, over the template's head and around it."""
    template, template_affine = template_head()
    every = 2
    coarse = template_affine @ np.diag([every, every, every, 1.0])
    to_head = np.linalg.inv(affine) @ np.linalg.inv(matrix) @ coarse
    fixed = template[::every, ::every, ::every]
    moved = affine_transform(head, to_head[:3, :3], to_head[:3, 3], fixed.shape, order=1, cval=np.nan)
    seen = np.isfinite(moved)
    if seen.mean() < 0.2:
        return 0.0
    joint = np.histogram2d(_graded(fixed[seen]), _graded(moved[seen]), bins=32)[0]
    return _entropy(joint.sum(0)) / _entropy(joint) + _entropy(joint.sum(1)) / _entropy(joint)


def _graded(values):
    low, high = np.percentile(values, (1, 99))
    return np.clip((values - low) / max(high - low, 1e-6), 0, 1)


def _entropy(counts):
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


# --- starts: each gives (name, turn of the head in world mm, niimath options) ----------------------------


def _header(head, affine):
    yield "header", np.eye(4), ()


def _centre_of_mass(head, affine):
    yield "centre of mass", np.eye(4), ("-com",)


def _other_costs(head, affine):
    yield "centre of mass, Hellinger", np.eye(4), ("-com", "-cost", "fasthel")
    yield "centre of mass, correlation ratio", np.eye(4), ("-com", "-cost", "fastcr")


def _likely_turns(head, affine):
    """The five turned readings of the axes that agree best with the template before any fitting."""
    ranked = sorted(_quarter_turns(head, affine), key=lambda start: -_unfitted(head, affine, start[1]))
    return ranked[:5]


def _quarter_turns(head, affine):
    """The 23 other ways a header can name the axes of a head without mirroring it."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            turn = np.eye(4)
            turn[:3, :3] = np.eye(3)[list(order)] * np.array(signs)[:, None]
            if np.linalg.det(turn) > 0 and not np.array_equal(turn, np.eye(4)):
                yield f"axes turned {order} {signs}", turn, ("-com",)


def _unfitted(head, affine, turn):
    """Agreement with the template when only the turned head's centre of mass is brought to the template's."""
    template, template_affine = template_head()
    moved = turn @ affine
    matrix = turn.copy()
    matrix[:3, 3] += _centre(template, template_affine) - _centre(head, moved)
    return _score(head, affine, matrix)


def _centre(image, affine):
    weights = np.clip(image, 0, np.percentile(image, 98))
    axes = [weights.sum(tuple({0, 1, 2} - {axis})) for axis in range(3)]
    voxel = [float((np.arange(len(sums)) * sums).sum() / sums.sum()) for sums in axes]
    return affine[:3, :3] @ voxel + affine[:3, 3]


STARTS = {
    "header": _header,
    "centre_of_mass": _centre_of_mass,
    "other_costs": _other_costs,
    "likely_turns": _likely_turns,
    "quarter_turns": _quarter_turns,
}
