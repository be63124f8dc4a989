"""Seconds to read, render and classify a scan on one core, and the ratio to nibabel's `get_fdata` alone.

    python -m tests.benchmarks.classify_speed FILE_OR_FOLDER... [--repeat N] [--pictures]

Both are timed on the same files in the same run, in turn, each by its best of N repeats.
"""

import argparse
import os
import sys
import time
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
ENDINGS = (".nii", ".nii.gz", ".mgz", ".mgh")
STAGES = ("read", "render", "classify")


def on_one_core() -> None:
    """Bind this process to one core before any numerical library starts its threads."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def volumes_in(paths: list[Path]) -> list[Path]:
    found = [f for p in paths for f in (sorted(p.rglob("*")) if p.is_dir() else [p])]
    return [f for f in found if f.name.lower().endswith(ENDINGS)]


def timed(work, clock):
    """(result, seconds)."""
    start = clock()
    result = work()
    return result, clock() - start


def measure_file(path: Path, network, clock) -> dict[str, float]:
    """Seconds of each stage for one file, and of nibabel alone."""
    import nibabel as nib

    from inference.projections.network_input import network_inputs
    from inference.volumes import read_volume

    volume, read = timed(lambda: read_volume(path), clock)
    inputs, render = timed(lambda: network_inputs(volume), clock)
    classify = timed(lambda: network.predict([inputs]), clock)[1] if network else float("nan")
    _, alone = timed(lambda: nib.load(path).get_fdata(), clock)
    return {"read": read, "render": render, "classify": classify, "nibabel": alone}


def picture_seconds(path: Path, clock) -> float:
    """Seconds to draw all pictures that a person sees of one volume."""
    from inference.projections import render_views
    from inference.volumes import read_volume

    volume = read_volume(path)
    return timed(lambda: render_views(volume), clock)[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument(
        "--weights", type=Path, nargs=1, default=[], help="another model than the current one"
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--pictures", action="store_true", help="also time the pictures that a person sees")
    parser.add_argument("--cpu", action="store_true", help="processor time instead of time on the wall")
    options = parser.parse_args()
    on_one_core()
    from inference.classifier import CheckpointError, Classifier

    clock = time.process_time if options.cpu else time.perf_counter
    files = volumes_in(options.paths)
    if not files:
        parser.error("no volumes found")
    out = sys.stdout.write
    try:
        network, load = timed(lambda: Classifier.load(*options.weights), clock)
        out(f"model {network.version[:12]}, loaded once in {load:.2f} s\n")
    except CheckpointError as error:
        network = None
        out(f"not classified, and the sums are without it: {error}\n")
    measure_file(files[0], network, clock)  # warm: imports, caches of the file system
    out(f"{len(files)} files, one core, best of {options.repeat}\n")
    out(f"{'file':32} {'read':>8} {'render':>8} {'classify':>8} {'sum':>8} {'nibabel':>8} {'ratio':>6}\n")
    total = dict.fromkeys((*STAGES, "nibabel"), 0.0)
    for path in files:
        runs = [measure_file(path, network, clock) for _ in range(options.repeat)]
        best = {stage: min(run[stage] for run in runs) for stage in total}
        total = {stage: total[stage] + best[stage] for stage in total}
        out(line(path.name, best))
    out(line(f"mean of {len(files)}", {stage: value / len(files) for stage, value in total.items()}))
    if options.pictures:
        drawn = sum(picture_seconds(path, clock) for path in files) / len(files)
        out(f"all pictures of a scan: {drawn:.2f} s on average\n")
    return 0


def line(name: str, seconds: dict[str, float]) -> str:
    whole = sum(seconds[stage] for stage in STAGES if seconds[stage] == seconds[stage])  # nan: not done
    columns = " ".join(f"{seconds[stage]:8.3f}" for stage in STAGES)
    return (
        f"{name[:32]:32} {columns} {whole:8.3f} {seconds['nibabel']:8.3f} {whole / seconds['nibabel']:6.2f}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
