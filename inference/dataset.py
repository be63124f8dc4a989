"""Training data: shards of simulated defacings, split by person, mixed, mirrored and varied in intensity."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference import truth
from inference.mirror import SWAPPED_REGIONS, mirrored, mirrored_views
from inference.projections.frame import SHAPE
from inference.projections.network import NetworkInput
from inference.simulate.sample import POOL, by_region

# People the training never sees. The rest is trained on. Split by person, never by file.
CALIBRATION = ("head04", "synthseg_12", "synthseg_13", "synthseg_06")
TEST = ("head02", "head06", "synthseg_02", "synthseg_08", "synthseg_17", "synthseg_20")


@dataclass(frozen=True)
class Shard:
    """One file of samples and whose head it is."""

    path: Path
    person: str


def shards(folder: Path) -> list[Shard]:
    """All shards of a folder, by name."""
    out = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as z:
            out.append(Shard(path, str(z["person"])))
    return out


def split(all_shards: list[Shard]) -> dict[str, list[Shard]]:
    """train, calibration and test shards."""
    out: dict[str, list[Shard]] = {"train": [], "calibration": [], "test": []}
    for shard in all_shards:
        part = "calibration" if shard.person in CALIBRATION else "test" if shard.person in TEST else "train"
        out[part].append(shard)
    return out


def targets(brain_ml: NDArray[np.float32], kept: NDArray[np.float32]) -> NDArray[np.int8]:
    """(N, 3) face, ears, brain as 0, 1, or -1 where ambiguous; inputs (N,) ml and (N, 5) shares, NaN out of view."""
    out = np.full((len(brain_ml), 3), -1, np.int8)
    for n, (ml, shares) in enumerate(zip(brain_ml, kept, strict=True)):
        if np.isnan(ml):
            continue
        by_name = by_region(shares)
        answers = (
            truth.face_remains(by_name),
            truth.regions_remain(by_name, truth.EAR_REGIONS),
            truth.brain_removed(float(ml)),
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
    parts = []
    for path in paths:
        with np.load(path) as z:
            parts.append({key: z[key] for key in keys})
    return {key: np.concatenate([p[key] for p in parts]) for key in keys}


def size(shard: Shard, without: Collection[str] = ()) -> int:
    """How many samples of a shard a training without these kinds of mask, fillings and contrasts draws."""
    with np.load(shard.path) as z:
        return len(chosen_from(z["names"], without))


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
        arrays = load([s.path for s in order[start : start + mix]])
        index = chosen_from(arrays["names"], without)
        index = index if rng is None else rng.permutation(index)
        for first in range(0, len(index), size):
            at = index[first : first + size]
            if rng is None or len(at) > size // 2:
                yield Batch.of({key: value[at] for key, value in arrays.items()})


def examples(chosen: list[Shard], count: int = 96) -> list[NetworkInput]:
    """Some heads out of all these shards, evenly."""
    each = -(-count // len(chosen))
    found = []
    for shard in chosen:
        arrays = load([shard.path])
        heads = np.flatnonzero(arrays["names"][:, 0] != "odd")[:each]
        found += [NetworkInput(arrays["surfaces"][n], arrays["volumes"][n]) for n in heads]
    return found[:count]


def mirror(batch: Batch) -> Batch:
    """Left becomes right, in the pictures and in the maps."""
    surfaces, volumes = mirrored(batch.surfaces, batch.volumes)
    evidence = mirrored_views(batch.evidence, SHAPE[0] // POOL)
    return Batch(surfaces, volumes, evidence, batch.blocks.flip(2), batch.attributes,
                 batch.kept[:, SWAPPED_REGIONS], batch.brain_ml, batch.odd, batch.names)  # fmt: skip


CURVE_AT = (0, 24, 48, 72, 96, 128, 176, 255)  # bytes between which a curve of intensities is straight


def tone(rng: np.random.Generator) -> NDArray[np.uint8]:
    """(256,) what becomes of every byte: another gamma and gain, now and then another contrast; 0 stays 0."""
    table = 255 * np.exp(rng.normal(0, 0.1)) * (np.arange(256) / 255) ** np.exp(rng.normal(0, 0.15))
    if rng.random() < 0.3:
        table *= np.interp(np.arange(256), CURVE_AT, np.exp(rng.normal(0, 0.25, len(CURVE_AT))))
    return table.clip(0, 255).astype(np.uint8)


def with_noise(data: NDArray[np.uint8], reach: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Even noise of up to `reach` bytes either way on what is not 0."""
    noisy = rng.integers(-reach, reach + 1, data.shape, dtype=np.int16)
    noisy += data
    np.clip(noisy, 1, 255, out=noisy)
    return noisy.astype(np.uint8) * (data > 0)


def through(data: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every byte replaced by its entry in a table of 256; many times as fast as indexing."""
    return np.frombuffer(data.tobytes().translate(table.tobytes()), np.uint8).reshape(data.shape)


def vary(batch: Batch, rng: np.random.Generator) -> Batch:
    """Half of the batches mirrored; the intensities of every head changed, with more noise in a third of them."""
    if rng.random() < 0.5:
        batch = mirror(batch)
    volumes, surfaces = batch.volumes.numpy(), batch.surfaces.numpy()
    for n in range(len(batch.brain_ml)):
        table = tone(rng)
        volumes[n] = through(volumes[n], table)
        surfaces[n, :, 1:] = through(surfaces[n, :, 1:], table)  # layer 0 is a depth
        if rng.random() < 0.35:
            reach = int(rng.integers(2, 11))
            volumes[n] = with_noise(volumes[n], reach, rng)
            surfaces[n, :, 1:] = with_noise(surfaces[n, :, 1:], reach, rng)
    return batch
