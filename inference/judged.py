"""What a model says of shards of attempts whose truth is known: by several processes, kept when asked for. No Django."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

from inference import dataset, truth
from inference.predict import Classifier
from inference.simulate.generate import one_thread_each
from inference.simulate.instance import REGIONS
from reviews.thresholds import Judged

BATCH = 24


@dataclass(frozen=True)
class Case(Judged):
    """A judged sample and where it comes from."""

    person: str = ""
    family: str = ""
    fill: str = ""
    contrast: str = ""
    in_distribution: bool = True
    attributes: Mapping[str, float] = field(default_factory=dict)  # predicted: face, ears, brain
    remains: Mapping[str, float] = field(default_factory=dict)  # predicted share of each region
    kept: Mapping[str, float] = field(default_factory=dict)  # true share of each region in view
    brain_ml: float = 0.0  # truly removed


@dataclass(frozen=True)
class Answers:
    """cases: the unambiguous attempts. odd: of each thing that is no defaced head, whether it was taken for one."""

    cases: list[Case]
    odd: list[bool]


@lru_cache(maxsize=1)
def model_of(path: Path) -> Classifier:
    """One network a process, with one thread."""
    return Classifier.load(path)


def answers(model: Path, shard: dataset.Shard) -> Answers:
    """What the network says of every sample of one shard."""
    classifier = model_of(model)
    cases: list[Case] = []
    odd: list[bool] = []
    for batch in dataset.batches([shard], BATCH, None):
        for n, result in enumerate(classifier.predict(dataset.heads(batch))):
            face, _, brain = batch.attributes[n].tolist()
            family, fill, contrast = map(str, batch.names[n])
            if batch.odd[n]:
                odd.append(result.in_distribution)
            elif face >= 0 and brain >= 0:
                name = truth.class_name(bool(face), bool(brain))
                shares = {r: float(v) for r, v in zip(REGIONS, batch.kept[n], strict=True) if not v.isnan()}
                cases.append(Case(result.probabilities, name, shard.person, family, fill, contrast,
                                  result.in_distribution, result.attributes, result.remains, shares,
                                  float(batch.brain_ml[n])))  # fmt: skip
    return Answers(cases, odd)


def kept_answers(model: Path, keep: Path | None, shard: dataset.Shard) -> Answers:
    """`answers`, from the file in `keep` if this network has been asked about this very shard."""
    if keep is None:
        return answers(model, shard)
    facts = shard.path.stat()
    known = {"shard": [facts.st_size, facts.st_mtime_ns]}
    file = keep / model_of(model).version / f"{shard.path.stem}.json"
    try:
        stored = json.loads(file.read_text())
    except (OSError, ValueError):
        stored = {}
    if stored.get("shard") == known["shard"]:
        return Answers([Case(**case) for case in stored["cases"]], stored["odd"])
    found = answers(model, shard)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(known | asdict(found)))
    part.replace(file)
    return found


def predictions(model: Path, chosen: Sequence[dataset.Shard], keep: Path | None = None) -> Answers:
    """What the network says of all these shards, in their order; how far it is goes to standard error."""
    one_thread_each()
    cases: list[Case] = []
    odd: list[bool] = []
    with ProcessPoolExecutor(min(os.cpu_count() or 1, max(1, len(chosen))), get_context("spawn")) as pool:
        for done, found in enumerate(pool.map(partial(kept_answers, model, keep), chosen), start=1):
            cases.extend(found.cases)
            odd.extend(found.odd)
            sys.stderr.write(f"{done}/{len(chosen)} shards\n")
    return Answers(cases, odd)
