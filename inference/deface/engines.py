"""Defacing engines: each turns a head into a mask of what to remove, or writes a finished file itself."""

import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, runtime_checkable

import nibabel as nib
import numpy as np
import quickshear
from scipy.ndimage import affine_transform, distance_transform_edt

from inference.classes import plausible_brain
from inference.deface import register
from inference.deface.plans import Plan
from inference.deface.template import removal, template_brain, template_head
from inference.volumes import Volume

log = logging.getLogger(__name__)
GUARD = Path(__file__).with_name("guard.py")


class EngineError(Exception):
    """The engine could not do its work; the text is the reason in plain words."""


@dataclass(frozen=True)
class Work:
    """One head to deface: the volume as read, a folder for scratch files, the seconds a single step may take."""

    volume: Volume
    source: Path
    folder: Path
    timeout: float

    @property
    def zooms(self) -> np.ndarray:
        """Voxel sizes in file order, (3,) mm."""
        return np.linalg.norm(self.volume.stored.affine[:3, :3], axis=0)


@runtime_checkable
class Engine(Protocol):
    """What takes a face away: ours, or a program of the site."""

    name: str
    version: str

    def run(self, work: Work, plan: Plan, target: Path) -> tuple[dict, int | None]:
        """Write the defaced file; what is worth recording, and how many voxels may have changed (None: unknown)."""


class MaskEngine:
    """An engine that says what to remove; the rest of the file stays as it is."""

    def mask(self, work: Work, plan: Plan) -> tuple[np.ndarray, dict]:
        """What to remove, bool in file order, and what is worth recording about how it came about."""
        raise NotImplementedError

    def run(self, work: Work, plan: Plan, target: Path) -> tuple[dict, int]:
        """Set what the mask covers to the darkest value of the file."""
        removed, notes = self.mask(work, plan)
        image = nib.load(work.source)
        raw = np.array(image.dataobj.get_unscaled())
        darkest = np.max if (getattr(image.dataobj, "slope", 1) or 1) < 0 else np.min
        raw[removed.reshape(raw.shape)] = darkest(raw[np.isfinite(raw)])
        copy = image.__class__(raw, image.affine, image.header)
        if isinstance(image, nib.Nifti1Image):
            copy.header.set_slope_inter(
                image.dataobj.slope, image.dataobj.inter
            )  # raw values keep their scaling
        nib.save(copy, target)
        millilitres = float(removed.sum() * np.prod(work.zooms) / 1000)
        return notes | {"removed_ml": round(millilitres, 1)}, int(removed.sum())


class Niimath(MaskEngine):
    """niimath registers the head to the template; the template's mask is carried back to the head's voxels."""

    name = "niimath"
    version = register.VERSION

    def mask(self, work: Work, plan: Plan) -> tuple[np.ndarray, dict]:
        """What to remove, bool in file order, and what is worth recording about how it came about."""
        fit = register.register(work.volume, plan.starts, work.folder, work.timeout)
        to_template = _misplaced(plan) @ fit.matrix
        removed = _carried_back(removal(plan.mask), to_template, work.volume) > 0.5
        notes = {"start": fit.start, "agreement": round(fit.score, 4), "matrix": fit.matrix.round(4).tolist()}
        if plan.spare_brain_mm is not None:
            brain, notes["brain"] = _brain(work, fit)
            removed &= distance_transform_edt(~brain, sampling=work.zooms) > plan.spare_brain_mm
        return removed, notes


class Quickshear(MaskEngine):
    """quickshear cuts along a plane in front of and below the brain found in the head."""

    name = "quickshear"
    version = version("quickshear")

    def mask(self, work: Work, plan: Plan) -> tuple[np.ndarray, dict]:
        """What lies beyond the cutting plane, bool in file order, and which brain mask was used."""
        brain, how = _brain(work, None)
        affine = work.volume.stored.affine
        kept = quickshear.quickshear(
            nib.Nifti1Image(np.ones(brain.shape, np.uint8), affine),
            nib.Nifti1Image(brain.astype(np.uint8), affine),
            plan.shear_margin_mm / float(self._step_up(affine)),
        )
        return np.asarray(kept.dataobj) == 0, {"brain": how, "margin_mm": plan.shear_margin_mm}

    @staticmethod
    def _step_up(affine):
        order = nib.io_orientation(affine)[:, 0]
        return np.linalg.norm(affine[:3, :3], axis=0)[list(order).index(2)]


@dataclass(frozen=True)
class External:
    """A program of the site: an argument list with {source}, {target} and {plan}, run without a shell."""

    name: str
    argv: tuple[str, ...]
    version: str
    plans: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def run(self, work: Work, plan: Plan, target: Path) -> tuple[dict, None]:
        """Run the program on the original itself; the caller checks what it wrote."""
        words = {"{source}": str(work.source), "{target}": str(target), "{plan}": plan.name}
        argv = [_filled(word, words) for word in (*self.argv, *self.plans.get(plan.name, ()))]
        _run(argv, work.timeout, cwd=work.folder)
        return {"argv": [Path(argv[0]).name, *self.argv[1:], *self.plans.get(plan.name, ())]}, None


def external_engines(path: str | os.PathLike | None) -> dict[str, External]:
    """Engines described in a JSON file: {name: {argv: […], version: "…", plans: {plan: [extra arguments]}}}."""
    if not path:
        return {}
    try:
        described = json.loads(Path(path).read_text())
        return {
            name: External(
                name,
                tuple(map(str, entry["argv"])),
                str(entry["version"]),
                {plan: tuple(map(str, extra)) for plan, extra in entry.get("plans", {}).items()},
            )
            for name, entry in described.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"{path}: engines cannot be read ({type(error).__name__}: {error})") from error


ENGINES: dict[str, Engine] = {engine.name: engine for engine in (Niimath(), Quickshear())}


def engine_names() -> list[str]:
    """Every engine that can be used here."""
    return sorted(_engines())


def engine_called(name: str) -> Engine:
    """The engine of this name: embedded, or described in the file named by QC_ENGINES."""
    engines = _engines()
    if name not in engines:
        raise EngineError(f"no engine called {name!r} (there are {', '.join(sorted(engines))})")
    return engines[name]


def _engines() -> dict[str, Engine]:
    return external_engines(os.environ.get("QC_ENGINES")) | ENGINES


def _filled(word, words):
    for mark, value in words.items():
        word = word.replace(mark, value)
    return word


def _run(argv, timeout, cwd):
    """Run a program; none that it started is left afterwards, nor when this process is killed."""
    theirs, ours = map(os.fdopen, os.pipe(), "rw")  # closing ours, however that happens, ends all of it
    guard = subprocess.Popen(
        [sys.executable, "-IS", str(GUARD), *argv],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd=cwd,
        start_new_session=True,  # who ends the group of a job does not end the guard
    )
    with guard, theirs, ours:
        try:
            out, err = guard.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise EngineError(
                f"{Path(argv[0]).name} took longer than {timeout:g} s and was stopped"
            ) from error
    if guard.returncode:
        last = (err or out).strip().splitlines()[-1:] or ["no message"]
        raise EngineError(f"{Path(argv[0]).name} ended with {guard.returncode}: {last[0][:300]}")


def _misplaced(plan):
    """The plan's deliberate error as a (4, 4) map of template mm; the identity for every real plan."""
    angle = -np.radians(plan.tilt_deg)
    matrix = np.eye(4)
    matrix[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = -np.asarray(plan.shift_mm)
    return matrix


def _carried_back(template_image, to_template, volume):
    """A template-space image at the head's voxels in file order; beyond the template its edge goes on."""
    _, affine = template_head()
    voxels = np.linalg.inv(affine) @ to_template @ volume.stored.affine
    image = template_image.astype(np.float32)
    return affine_transform(
        image, voxels[:3, :3], voxels[:3, 3], volume.stored.shape, np.float32, order=1, mode="nearest"
    )


def _brain(work, fit):
    """Brain of this head, bool in file order, and how it was found: by deepbet, else from the template."""
    found, reason = _deepbet(work)
    if found is not None:
        return found, "deepbet " + version("deepbet")
    log.warning("%s: %s; the template's brain is used", work.source.name, reason)
    fit = fit or register.register(work.volume, ("header", "centre_of_mass"), work.folder, work.timeout)
    return _carried_back(template_brain(), fit.matrix, work.volume) > 0.5, f"template ({reason})"


def _deepbet(work):
    source, target = work.folder / "for_brain.nii.gz", work.folder / "brain.nii.gz"
    data, affine = work.volume.data, work.volume.affine
    nib.save(nib.Nifti1Image(np.asarray(data, np.float32), affine), source)
    program = "import sys, deepbet; deepbet.run_bet([sys.argv[1]], mask_paths=[sys.argv[2]], no_gpu=True)"
    try:
        _run([sys.executable, "-c", program, str(source), str(target)], work.timeout, work.folder)
        brain = np.asarray(nib.load(target).dataobj) > 0.5
    except (EngineError, OSError) as error:
        return None, f"no brain mask: {error}"
    ml = brain.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000
    if not plausible_brain(ml):
        return None, f"a brain of {ml:.0f} ml is not believed"
    stored = work.volume.stored
    back = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.io_orientation(stored.affine))
    return nib.orientations.apply_orientation(brain, back), ""
