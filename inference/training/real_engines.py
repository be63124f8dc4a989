"""A model on files defaced by real engines: `python -m inference.training.real_engines MODEL HEADS WORK`.

HEADS holds prepared heads (inference.training.simulate.heads). Every engine runs on whole 1 mm files, reads them back
through the one reader, and truth is measured on the voxels that changed. Nothing of this was trained on:
neither these people, nor these engines' own masks. Cut-offs are chosen on the calibration people, everything is
judged on the test people, at the start cut-offs too. Runs are kept in WORK and not made again.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import niimath
import numpy as np
from scipy import ndimage as ndi

from inference import classes, deface
from inference.classifier import Classifier
from inference.deface import register as registration
from inference.deface.template import FACE_MASK
from inference.deface.template import HEAD as TEMPLATE
from inference.projections.frame import VOXEL_MM
from inference.projections.network_input import network_inputs
from inference.regions import BRAIN_AT, GRID, by_region
from inference.removal import changed
from inference.training import deepdefacer, shards
from inference.training.evaluate import HEAD, by, choose_policy, confusion, row
from inference.training.evaluation_cases import Case
from inference.training.simulate.deformed_head import make_instance, smooth_field
from inference.training.simulate.heads import Head
from inference.training.simulate.intensities import _TYPICAL
from inference.training.simulate.sample import regions_kept
from inference.triage import ThresholdPolicy
from inference.volumes import read_volume

STANDARD = deface.PLANS["standard"]
PLANS = {
    "niimath standard": STANDARD,
    "niimath larger": deface.PLANS["larger"],
    "niimath smaller": deface.PLANS["smaller"],
    "niimath too high": replace(STANDARD, name="f1", shift_mm=(0, -12, 22)),
    "niimath too low": replace(STANDARD, name="f2", shift_mm=(0, 6, -32)),
    "niimath sideways": replace(STANDARD, name="f3", shift_mm=(38, 0, 0)),
    "niimath tilted": replace(STANDARD, name="f4", tilt_deg=28),
    "niimath far back": replace(STANDARD, name="f5", shift_mm=(0, -60, 70)),
}
REFACES = {"niimath reface": 0, "niimath reface too high": 24}  # mm that the artificial face is raised by
SHEARS = {"quickshear 10": 10, "quickshear 2": 2, "quickshear 28": 28, "quickshear -12": -12}


def paint(head, contrast, rng):
    """(X, Y, Z) int16 picture of a prepared head at 1 mm."""
    if not head.labels:
        return head.data.astype(np.int16) * 4
    levels = np.array(_TYPICAL[contrast], np.float32) * np.exp(rng.normal(0, 0.1, 16))
    image = ndi.gaussian_filter(levels.astype(np.float32)[head.data], 0.6)
    image = image * np.exp(smooth_field(rng, image.shape, 4) * 0.12)
    noise = rng.standard_normal((2, *image.shape)).astype(np.float32) * 0.02
    return (np.hypot(image + noise[0], noise[1]) * 400).astype(np.int16)


def once(register):
    """The same registration of the same file is found once: the plans differ in what they do with it."""
    known = {}

    def found(volume, starts, folder, timeout):
        key = volume.path, tuple(starts)
        if key not in known:
            known[key] = register(volume, starts, folder, timeout)
        return known[key]

    return found


def sources(heads, folder, people):
    """(name, person, contrast, head, file) of every original of some people, written once."""
    for path in sorted(heads.glob("*.npz")):
        head = Head.load(path)
        if head.person not in people:
            continue
        for contrast in ("T1w", "T2w", "FLAIR") if head.labels else (head.modality,):
            name = f"{head.name}_{contrast}"
            file = folder / f"{name}.nii.gz"
            if not file.exists():
                picture = paint(head, contrast, np.random.default_rng(sum(map(ord, name))))
                affine = np.eye(4)
                affine[:3, 3] = -np.array(picture.shape) / 2
                nib.save(nib.Nifti1Image(picture, affine), file)
            yield name, head.person, contrast, head, file


@lru_cache(maxsize=4)
def shell(raised_mm, folder):
    """Files of an artificial face for niimath: the average head where its mask removes, nothing in the air there."""
    template = nib.load(TEMPLATE)
    data = np.asarray(template.dataobj, np.float32)
    kept = np.asarray(nib.load(FACE_MASK).dataobj) >= 0.5
    face = np.where(kept, 0, np.where(data > 0.15 * np.percentile(data, 99), data, -1)).astype(np.float32)
    axis = int(np.abs(template.affine[2, :3]).argmax())
    face = np.roll(face, round(raised_mm / template.affine[2, axis]), axis)
    files = [folder / f"shell_{raised_mm}.nii.gz", folder / "weight.nii.gz"]
    for file, values in zip(files, (face, kept.astype(np.float32)), strict=True):
        nib.save(nib.Nifti1Image(values, template.affine), file)
    return [str(file) for file in files]


def run(engine, head, source, target, network):
    """One defacing; the real engines as their users call them."""
    if engine == "none":
        target.write_bytes(source.read_bytes())
    elif engine == "deepdefacer":
        deepdefacer.deface(source, target, network)
    elif engine == "niimath -deface":
        masks = [str(TEMPLATE), str(FACE_MASK)]
        subprocess.run(
            [niimath.bin, str(source), "-deface", *masks, str(target)], check=True, capture_output=True
        )
    elif engine in REFACES:
        parts = [str(TEMPLATE), *shell(REFACES[engine], source.parent)]
        subprocess.run(
            [niimath.bin, str(source), "-reface", *parts, str(target)], check=True, capture_output=True
        )
    elif engine in SHEARS:
        mask = target.with_name("brain.nii.gz")
        nib.save(nib.Nifti1Image(head.brain.astype(np.uint8), nib.load(source).affine), mask)
        command = [str(Path(sys.executable).with_name("quickshear")), str(source), str(mask), str(target)]
        subprocess.run([*command, "--", str(SHEARS[engine])] if SHEARS[engine] < 0 else [*command, str(SHEARS[engine])],
                       check=True, capture_output=True)  # fmt: skip
    else:
        deface.run_plan(source, target, "niimath", PLANS[engine])


def measured(head, source, target):
    """(brain ml, kept shares) from the voxels that changed, with the head's own brain and landmarks."""
    gone = changed(read_volume(source), read_volume(target)).astype(np.float32)
    brain = ndi.binary_erosion(head.brain, ndi.generate_binary_structure(3, 1))
    instance = make_instance(head, np.random.default_rng(0), plain=True)
    middle = np.array(ndi.center_of_mass(head.brain))
    smooth = ndi.uniform_filter(gone, 3)
    share = ndi.affine_transform(
        smooth, np.eye(3) * VOXEL_MM, middle - VOXEL_MM * np.array(BRAIN_AT), GRID, order=1
    )
    kept = regions_kept(instance, share, np.ones(GRID, bool))
    return float((gone * brain).sum() / 1000), by_region(kept)


def cases(classifier, heads, work, people, network):
    """Every run on some people as a judged case; ambiguous ones are left out, failed ones are named."""
    engines = [*PLANS, *SHEARS, *REFACES, "niimath -deface", "none", *(["deepdefacer"] if network else [])]
    for name, person, contrast, head, source in sources(heads, work, people):
        for engine in engines:
            folder = work / name / engine.replace(" ", "_")
            folder.mkdir(parents=True, exist_ok=True)
            target, notes = folder / "defaced.nii.gz", folder / "truth.json"
            if not notes.exists():
                try:
                    run(engine, head, source, target, network)
                    ml, kept = measured(head, source, target)
                    notes.write_text(json.dumps({"ml": ml, "kept": kept}))
                except (deface.DefaceError, subprocess.CalledProcessError) as error:
                    sys.stderr.write(f"{name} {engine}: {error}\n")
                    notes.write_text("{}")
            known = json.loads(notes.read_text())
            if not known:
                continue
            result = classifier.predict([network_inputs(read_volume(target))])[0]
            label = classes.class_of(known["ml"], known["kept"])
            shown = {k: round(v, 2) for k, v in result.probabilities.items()}
            sys.stderr.write(f"{name} {engine}: truth {label} ({known['ml']:.1f} ml) model {shown}\n")
            if label is not None:
                yield Case(result.probabilities, label, person, engine, "", contrast, result.in_distribution)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "heads", "work"):
        parser.add_argument(name, type=Path)
    parser.add_argument(
        "--deepdefacer", type=Path, help="that tool's model.hdf5: see inference.training.deepdefacer"
    )
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    classifier = Classifier.load(options.model)
    registration.register = once(registration.register)
    tuned, found = (list(cases(classifier, options.heads, options.work, people, options.deepdefacer))
                    for people in (shards.CALIBRATION, shards.TEST))  # fmt: skip
    usable, others = ([c for c in part if c.in_distribution] for part in (found, tuned))
    policy, chosen = ThresholdPolicy(), choose_policy(others)
    lines = [f"{len(found)} clear cases, {len(found) - len(usable)} referred as unlike a head; start cut-offs.",
             f"Chosen on {len(others)} runs on the calibration people: {chosen}.", "",
             HEAD, row("test people", usable, policy), row("calibration people", others, policy),
             row("test people at the cut-offs chosen", usable, chosen), "",
             *confusion(usable), "", *by(usable, "family", policy), "",
             *by(usable, "contrast", policy), "", *by(usable, "person", policy), ""]  # fmt: skip
    sys.stdout.write("\n".join(lines))


if __name__ == "__main__":
    main()
