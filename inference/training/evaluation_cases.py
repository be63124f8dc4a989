"""What a model says of shards of attempts whose truth is known: by several processes, kept when asked for. No Django."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference import classes
from inference.classifier import Classifier, Result
from inference.files import DAMAGED, save_arrays
from inference.regions import REGIONS
from inference.training import shards
from inference.training.simulate.generate import one_thread_each
from inference.triage import Context

BATCH = 24
KEPT = 1  # raise it when a Result means something else
SAID = ("joint", "regions", "valid", "in_distribution")  # what is kept of a Result
Said = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Case:
    """A judged sample and where it comes from; it is routed as `inference.metrics.Judged` is."""

    probabilities: Mapping[str, float]
    truth: str
    person: str = ""
    family: str = ""
    fill: str = ""
    contrast: str = ""
    in_distribution: bool = True
    attributes: Mapping[str, float] = field(default_factory=dict)  # predicted: face, ears, brain
    remains: Mapping[str, float] = field(default_factory=dict)  # predicted share of each region
    kept: Mapping[str, float] = field(default_factory=dict)  # true share of each region in view
    brain_ml: float = 0.0  # truly removed

    @property
    def context(self) -> Context:
        """No original is at hand in an evaluation of the network."""
        return Context.of_network_alone(self.in_distribution)


@dataclass(frozen=True)
class Answers:
    """cases: the unambiguous attempts. odd: of each thing that is no defaced head, whether it was taken for one."""

    cases: list[Case]
    odd: list[bool]


@lru_cache(maxsize=1)
def model_of(path: Path) -> Classifier:
    """One network a process, with one thread."""
    return Classifier.load(path)


def asked(model: Path, shard: shards.Shard) -> Said:
    """What the network says of every sample of a shard: joint (N, 8), regions (N, 5), valid and in_distribution (N,)."""
    results = [
        result
        for batch in shards.batches([shard], BATCH, None)
        for result in model_of(model).predict(shards.heads(batch))
    ]
    return {name: np.array([getattr(r, name) for r in results], np.float64) for name in SAID}


def said(model: Path, shard: shards.Shard, keep: Path | None) -> Said:
    """`asked`, from the file in `keep` if this network has been asked about these very pictures."""
    if keep is None:
        return asked(model, shard)
    with zipfile.ZipFile(shard.path) as parts:
        sums = [parts.getinfo(f"{name}.npy").CRC for name in ("surfaces", "volumes")]
    folder = keep / f"{model_of(model).version}-{KEPT}"
    file = folder / ("".join(f"{value:08x}" for value in sums) + ".npz")
    try:
        with np.load(file) as stored:
            return {name: stored[name] for name in SAID}
    except DAMAGED:
        found = asked(model, shard)
    folder.mkdir(parents=True, exist_ok=True)
    save_arrays(file, **found)
    return found


def answers(model: Path, keep: Path | None, shard: shards.Shard) -> Answers:
    """What the network says of a shard beside the truth of it."""
    heard = said(model, shard, keep)
    names, brain_ml, kept = shards.arrays(shard.path, "names", "brain_ml", "kept").values()
    cases: list[Case] = []
    odd: list[bool] = []
    for n, (face, _, brain) in enumerate(shards.targets(brain_ml, kept).tolist()):
        result = Result(heard["joint"][n], heard["regions"][n], np.empty(0, np.float32),
                        float(heard["valid"][n]), bool(heard["in_distribution"][n]))  # fmt: skip
        family, fill, contrast = map(str, names[n])
        if family == "odd":
            odd.append(result.in_distribution)
        elif face >= 0 and brain >= 0:
            shares = {r: float(v) for r, v in zip(REGIONS, kept[n], strict=True) if not np.isnan(v)}
            cases.append(Case(result.probabilities, classes.class_name(bool(face), bool(brain)), shard.person,
                              family, fill, contrast, result.in_distribution, result.attributes, result.remains,
                              shares, float(brain_ml[n])))  # fmt: skip
    return Answers(cases, odd)


def predictions(model: Path, chosen: Sequence[shards.Shard], keep: Path | None = None) -> Answers:
    """What the network says of all these shards, in their order; how far it is goes to standard error."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    one_thread_each()
    cases: list[Case] = []
    odd: list[bool] = []
    with ProcessPoolExecutor(min(os.cpu_count() or 1, max(1, len(chosen))), get_context("spawn")) as pool:
        for done, found in enumerate(pool.map(partial(answers, model, keep), chosen), start=1):
            cases.extend(found.cases)
            odd.extend(found.odd)
            sys.stderr.write(f"{done}/{len(chosen)} shards\n")
    return Answers(cases, odd)
