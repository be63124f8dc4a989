"""Training data: shards of simulated defacings, split by person, mixed, mirrored and varied in intensity."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference import classes
from inference.files import DAMAGED
from inference.projections.network_input import RENDER_VERSION, NetworkInput
from inference.regions import by_region

# People the training never sees. The rest is trained on. Split by person, never by file.
CALIBRATION = ("head04", "synthseg_12", "synthseg_13", "synthseg_06")
TEST = ("head02", "head06", "synthseg_02", "synthseg_08", "synthseg_17", "synthseg_20")


class ShardError(Exception):
    """A file that is no shard of samples, with the reason."""

    def __init__(self, path: Path, error: Exception) -> None:
        super().__init__(f"{path}: not a shard of samples ({error})")


@dataclass(frozen=True)
class Shard:
    """One file of samples and whose head it is."""

    path: Path
    person: str


def shards(folder: Path) -> list[Shard]:
    """All shards of a folder, by name; raises ShardError where a file is none."""
    return [Shard(path, str(arrays(path, "person")["person"])) for path in sorted(folder.glob("*.npz"))]


def arrays(path: Path, *names: str) -> dict[str, NDArray[np.generic]]:
    """Some arrays of one shard; raises ShardError where they cannot be read."""
    try:
        with np.load(path) as z:
            return {name: z[name] for name in names}
    except DAMAGED as error:
        raise ShardError(path, error) from error


def split(all_shards: list[Shard]) -> dict[str, list[Shard]]:
    """train, calibration and test shards."""
    out: dict[str, list[Shard]] = {"train": [], "calibration": [], "test": []}
    for shard in all_shards:
        out[part_of(shard.person)].append(shard)
    return out


def part_of(person: str) -> str:
    """train, calibration or test."""
    return "calibration" if person in CALIBRATION else "test" if person in TEST else "train"


def targets(brain_ml: NDArray[np.float32], kept: NDArray[np.float32]) -> NDArray[np.int8]:
    """(N, 3) face, ears, brain as 0, 1, or -1 where ambiguous; inputs (N,) ml and (N, 5) shares, NaN out of view."""
    out = np.full((len(brain_ml), 3), -1, np.int8)
    for n, (ml, shares) in enumerate(zip(brain_ml, kept, strict=True)):
        if np.isnan(ml):
            continue
        by_name = by_region(shares)
        answers = (
            classes.face_remains(by_name),
            classes.regions_remain(by_name, classes.EAR_REGIONS),
            classes.brain_removed(float(ml)),
        )
        out[n] = [-1 if a is None else int(a) for a in answers]
    return out


@dataclass
class Batch:
    """Tensors of one batch; odd marks what is not a head, attributes -1 what is ambiguous."""

    surfaces: Tensor
    volumes: Tensor
    evidence: Tensor
    blocks: Tensor
    attributes: Tensor
    kept: Tensor
    brain_ml: Tensor
    odd: Tensor
    names: NDArray[np.str_]

    def tensors(self) -> dict[str, Tensor]:
        """All but the names."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "names"}

    def share(self, number: int, of: int) -> Batch:
        """Every `of`-th sample, from `number` on."""
        return Batch(**{field.name: getattr(self, field.name)[number::of] for field in fields(self)})

    @classmethod
    def of(cls, arrays: dict[str, NDArray[np.generic]]) -> Batch:
        """From the arrays of shards."""
        tensor = {key: torch.from_numpy(value) for key, value in arrays.items() if key != "names"}
        return cls(
            surfaces=tensor["surfaces"],
            volumes=tensor["volumes"],
            evidence=tensor["evidence"],
            blocks=tensor["blocks"],
            attributes=torch.from_numpy(targets(arrays["brain_ml"], arrays["kept"])).long(),
            kept=tensor["kept"],
            brain_ml=tensor["brain_ml"],
            odd=torch.from_numpy(arrays["names"][:, 0] == "odd"),
            names=arrays["names"],
        )


def load(paths: list[Path]) -> dict[str, NDArray[np.generic]]:
    """The arrays of several shards, one after another."""
    keys = ("surfaces", "volumes", "evidence", "blocks", "brain_ml", "kept", "names")
    parts = [arrays(path, *keys) for path in paths]
    return {key: np.concatenate([p[key] for p in parts]) for key in keys}


def size(shard: Shard, without: Collection[str] = ()) -> int:
    """How many samples of a shard a training without these kinds of mask, fillings and contrasts draws."""
    return len(chosen_from(arrays(shard.path, "names")["names"], without))


def chosen_from(names: NDArray[np.generic], without: Collection[str]) -> NDArray[np.intp]:
    """The samples in whose (N, 3) names none of `without` occurs."""
    return np.flatnonzero(~np.isin(names, list(without)).any(axis=1))


def batches(
    chosen: list[Shard],
    size: int,
    rng: np.random.Generator | None,
    mix: int = 10,
    without: Collection[str] = (),
) -> Iterator[Batch]:
    """Batches over all samples; shuffled over `mix` shards at a time when a generator is given.

    without: kinds of mask, fillings and contrasts whose samples are left out.
    """
    order = list(chosen) if rng is None else [chosen[i] for i in rng.permutation(len(chosen))]
    for start in range(0, len(order), mix):
        loaded = load([s.path for s in order[start : start + mix]])
        index = chosen_from(loaded["names"], without)
        index = index if rng is None else rng.permutation(index)
        for first in range(0, len(index), size):
            at = index[first : first + size]
            if rng is None or len(at) > size // 2:
                yield Batch.of({key: value[at] for key, value in loaded.items()})


def examples(chosen: list[Shard], count: int = 96) -> list[NetworkInput]:
    """Some heads out of all these shards, evenly."""
    each = -(-count // len(chosen))
    found = []
    for shard in chosen:
        loaded = load([shard.path])
        heads = np.flatnonzero(loaded["names"][:, 0] != "odd")[:each]
        found += [NetworkInput(loaded["surfaces"][n], loaded["volumes"][n], RENDER_VERSION) for n in heads]
    return found[:count]


def heads(batch: Batch) -> list[NetworkInput]:
    """Every head of a batch as the application has it."""
    pairs = zip(batch.surfaces.numpy(), batch.volumes.numpy(), strict=True)
    return [NetworkInput(surfaces, volume, RENDER_VERSION) for surfaces, volume in pairs]
