"""Defacing: run one engine under one plan on one file, check the result, and record what was done.

The original is only read. The output appears under its name whole or not at all, on the original's voxel
grid and in its voxel type; voxels that stay are bit-identical, removed ones hold the image's minimum.
"""

import hashlib
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from nibabel.spatialimages import HeaderDataError

from inference.deface.engines import ENGINES, EngineError, Work, engine_called
from inference.deface.plans import PLANS, Plan
from inference.deface.register import RegistrationError
from inference.volumes import VolumeError, read_volume

__all__ = ["ENGINES", "PLANS", "DefaceError", "DefaceRecord", "Plan", "run", "run_plan"]

TIMEOUT_SECONDS = 600.0
SCRATCH = "qc-deface-scratch-"  # the folders for scratch files begin so, where temporary files lie


class DefaceError(Exception):
    """A defacing run that gave no usable output; names the file and the reason."""

    def __init__(self, path, reason):
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self):
        return type(self), (self.path, self.reason)


@dataclass(frozen=True)
class DefaceRecord:
    """What was done: engine and version, plan and every parameter, wall seconds, SHA-256 of the output file."""

    engine: str
    version: str
    plan: str
    parameters: dict
    seconds: float
    sha256: str

    def as_dict(self) -> dict:
        """The record as plain JSON values."""
        return asdict(self)


def run(
    source, target, engine: str = "niimath", plan: str = "standard", timeout=TIMEOUT_SECONDS
) -> DefaceRecord:
    """Deface `source` into `target` by a named engine and plan; raise DefaceError with the reason otherwise."""
    if plan not in PLANS:
        raise DefaceError(source, f"no plan called {plan!r} (there are {', '.join(PLANS)})")
    return run_plan(source, target, engine, PLANS[plan], timeout)


def run_plan(source, target, engine: str, plan: Plan, timeout=TIMEOUT_SECONDS) -> DefaceRecord:
    """As `run`, with a plan that need not be among PLANS."""
    source, target = Path(source).absolute(), Path(target).absolute()
    started = time.monotonic()
    try:
        if target.exists() and target.samefile(source):
            raise DefaceError(source, "the output must not be the original itself")
        chosen = engine_called(engine)
        volume = read_volume(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        _forget_scratch(6 * timeout)
        with (  # scratch files may hold the undefaced head: they never lie beside the output
            tempfile.TemporaryDirectory(prefix=SCRATCH) as scratch,
            tempfile.TemporaryDirectory(prefix=".deface-", dir=target.parent) as folder,
        ):
            work = Work(volume, source, Path(scratch), timeout)
            written = Path(folder) / ("defaced" + _suffix(source, target))
            notes, most = chosen.run(work, plan, written)
            _check(source, written, most)
            digest = hashlib.sha256(written.read_bytes()).hexdigest()
            os.replace(written, target)
    except VolumeError as error:
        raise DefaceError(error.path, error.reason) from error
    except (EngineError, RegistrationError) as error:
        raise DefaceError(source, str(error)) from error
    except HeaderDataError as error:
        raise DefaceError(source, f"its header cannot be written again ({error})") from error
    except OSError as error:
        raise DefaceError(target, f"cannot be written ({error.strerror or error})") from error
    seconds = round(time.monotonic() - started, 2)
    return DefaceRecord(chosen.name, chosen.version, plan.name, plan.parameters() | notes, seconds, digest)


def _forget_scratch(seconds):
    """Remove what runs that were killed left: scratch folders of this user that nothing touched for so long."""
    for folder in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        with suppress(OSError):
            last = folder.lstat()
            if last.st_uid == os.getuid() and time.time() - last.st_mtime > seconds:
                shutil.rmtree(folder, ignore_errors=True)


def _suffix(source, target):
    """The common extension of both names; engines keep the file format."""
    for suffix in (".nii.gz", ".nii", ".mgz", ".mgh"):
        if source.name.lower().endswith(suffix):
            if not target.name.lower().endswith(suffix):
                raise DefaceError(target, f"the output must end in {suffix}, like the original")
            return suffix
    raise DefaceError(source, "not a supported file type")


def _check(source, written, most=None):
    """Same grid and voxel type, something removed, something left; at most `most` voxels changed."""
    if not written.is_file():
        raise DefaceError(source, "the engine wrote no output")
    before, after = read_volume(source), _readable(source, written)
    if before.stored.shape != after.stored.shape:
        raise DefaceError(source, f"the output has {after.stored.shape} voxels, not {before.stored.shape}")
    if not np.allclose(before.stored.affine, after.stored.affine, atol=1e-3):
        raise DefaceError(source, "the output's position in space differs from the original's")
    if before.stored.dtype != after.stored.dtype:
        raise DefaceError(source, f"the output is {after.stored.dtype}, not {before.stored.dtype}")
    changed = np.count_nonzero(before.data != after.data)
    if not changed:
        raise DefaceError(source, "the output is identical to the original: nothing was removed")
    if most is not None and changed > most:
        raise DefaceError(source, "voxels outside the mask would change; its header may be misleading")


def _readable(source, written):
    try:
        return read_volume(written)
    except VolumeError as error:
        raise DefaceError(source, f"the engine's output is unusable: {error.reason}") from error
