"""Generate the training data: one shard of simulated defacings a deformed head; seeded, parallel, resumable."""

from __future__ import annotations

import argparse
import os
import sys
import time
import zlib
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.files import save_arrays
from inference.projections.frame import SHAPE
from inference.projections.network_input import CELLS, LAYERS, PARTS, POOL, SIDE, SURFACES
from inference.regions import REGIONS
from inference.training.simulate.deformed_head import make_instance
from inference.training.simulate.heads import Head
from inference.training.simulate.intensities import CONTRASTS
from inference.training.simulate.mixtures import MIXES, Mix
from inference.training.simulate.negatives import odd_sample
from inference.training.simulate.sample import simulate

ODD_EVERY = 12  # one sample in so many is not a defaced head
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Task:
    """One shard to make: the `index`-th deformation of a head."""

    head: Path
    index: int
    samples: int
    out: Path
    seed: int
    mix: str = "usual"

    @property
    def target(self) -> Path:
        """Where the shard goes."""
        return self.out / f"{self.head.stem}_{self.index:03d}.npz"


def make_shard(task: Task) -> str:
    """Write one shard; the same task gives the same bytes."""
    head = Head.load(task.head)
    rng = np.random.default_rng([task.seed, zlib.crc32(head.name.encode()), task.index])
    made = attempts_of(head, rng, task.samples, MIXES[task.mix])
    save_arrays(task.target, **made, person=head.person, labels=head.labels)
    return task.target.name


def attempts_of(head: Head, rng: np.random.Generator, count: int, mix: Mix) -> Arrays:
    """Deform a head and make `count` attempts of it, every twelfth no defaced head: the arrays of a shard.

    surfaces (N, 6, 6, 80, 80) uint8, volumes (N, 64, 80, 80) uint8, evidence (N, 6, 2, 10, 10) bool,
    blocks (N, 10, 16, 20, 20) uint8, brain_ml (N,) and kept (N, 5) float32, NaN where unknown, names (N, 3).
    """
    instance = make_instance(head, rng, proportions=mix.proportions)
    surfaces = np.zeros((count, len(SURFACES), LAYERS, SIDE, SIDE), np.uint8)
    volumes = np.zeros((count, *SHAPE), np.uint8)
    evidence = np.zeros((count, len(SURFACES), 2, SIDE // POOL, SIDE // POOL), bool)
    blocks = np.zeros((count, len(PARTS), *CELLS), np.uint8)
    brain_ml = np.full(count, np.nan, np.float32)
    kept = np.full((count, len(REGIONS)), np.nan, np.float32)
    names: list[tuple[str, str, str]] = []
    for n in range(count):
        if n % ODD_EVERY == ODD_EVERY - 1:
            kind, network = odd_sample(instance, rng, CONTRASTS)
            names.append(("odd", kind, ""))
        else:
            sample = simulate(instance, rng, CONTRASTS, mix)
            network, evidence[n], blocks[n] = sample.network, sample.evidence, sample.blocks
            brain_ml[n], kept[n] = sample.brain_ml, sample.kept
            names.append((sample.family, sample.fill, sample.contrast))
        surfaces[n], volumes[n] = network.surfaces, network.volume
    return {
        "surfaces": surfaces, "volumes": volumes, "evidence": evidence, "blocks": blocks,
        "brain_ml": brain_ml, "kept": kept, "names": np.array(names),
    }  # fmt: skip


def people_in(heads: Path) -> dict[str, list[Path]]:
    """The prepared heads of every person, without those that are being written."""
    people: dict[str, list[Path]] = {}
    for path in sorted(heads.glob("*.npz")):
        if ".part" not in path.name:
            with np.load(path) as z:
                people.setdefault(str(z["person"]), []).append(path)
    return people


def plan(heads: Path, out: Path, per_person: int, samples: int, seed: int, mix: str = "usual") -> list[Task]:
    """All shards, evenly over persons, so that any beginning of the list is a fair sample."""
    people = people_in(heads)
    return [
        Task(paths[index % len(paths)], index // len(paths), samples, out, seed, mix)
        for index in range(per_person)
        for paths in people.values()
    ]


def one_thread_each() -> None:
    """Have the processes that are spawned from now on work with one thread each, as many as there are cores."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def main() -> None:
    """`python -m inference.training.simulate.generate HEADS OUT`: make what is missing of the training data."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "heads", type=Path, help="folder of prepared heads (inference.training.simulate.heads)"
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--per-person", type=int, default=30)
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--mix", choices=list(MIXES), default="usual", help="which masks and fillings are drawn how often"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tasks = plan(options.heads, options.out, options.per_person, options.samples, options.seed, options.mix)
    todo = [task for task in tasks if not task.target.exists()]
    started = time.monotonic()
    one_thread_each()
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        for done, future in enumerate(as_completed([pool.submit(make_shard, t) for t in todo]), start=1):
            left = (time.monotonic() - started) / done * (len(todo) - done)
            sys.stderr.write(
                f"{len(tasks) - len(todo) + done}/{len(tasks)} {future.result()} {left / 60:.0f} min left\n"
            )


if __name__ == "__main__":
    main()
