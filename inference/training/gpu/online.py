"""Training on attempts that are made while the network learns: no two are alike, so nothing can be learnt by heart.

Processes deform heads (`simulate.instance`) and make attempts of each on a CPU or with CUDA (`simulate.batch`). The latest
of them are kept in a ring, from which the batches are drawn. The seed decides what is made and in which order.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, multiprocessing, nn

from inference.projections.frame import SHAPE
from inference.projections.network_input import CELLS, LAYERS, PARTS, POOL, SIDE, SURFACES
from inference.regions import REGIONS
from inference.training import augment, export, shards
from inference.training.gpu import batch as simulated
from inference.training.gpu.conv3d_as_2d import by_slices
from inference.training.gpu.cuda_graph import Recorded
from inference.training.gpu.on_device import Scene
from inference.training.simulate.deformed_head import make_instance
from inference.training.simulate.generate import one_thread_each, people_in
from inference.training.simulate.heads import Head
from inference.training.simulate.mixtures import MIXES

if TYPE_CHECKING:
    from inference.training.network import DefacingNet
    from inference.training.run import Run

log = logging.getLogger("train")
AHEAD = 64  # deformed heads under way or waiting
PATIENCE = 300  # seconds for a deformed head, after which a process must have died
LOG_EVERY, SAVE_EVERY = 50, 200  # steps
TIMED = 100  # steps whose parts are timed, the device waited for after each
JUDGED = 150  # steps after which, and in intervals of which, the number of steps is fitted to the time
RESERVE = 6.0  # seconds for what comes after the last step
MAPS = (len(SURFACES), 2, SIDE // POOL, SIDE // POOL)
# What a sample consists of, as in a shard.
SHAPES: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
    "surfaces": ((len(SURFACES), LAYERS, SIDE, SIDE), torch.uint8),
    "volumes": (SHAPE, torch.uint8),
    "evidence": (MAPS, torch.bool),
    "blocks": ((len(PARTS), *CELLS), torch.uint8),
    "attributes": ((3,), torch.long),
    "kept": ((len(REGIONS),), torch.float32),
    "brain_ml": ((), torch.float32),
    "odd": ((), torch.bool),
}


class Pool:
    """The latest samples on the device; the oldest make room for new ones."""

    def __init__(self, capacity: int, device: str) -> None:
        self.capacity, self.held, self.next = capacity, 0, 0
        self.arrays = {
            key: torch.empty((capacity, *shape), dtype=dtype, device=device)
            for key, (shape, dtype) in SHAPES.items()
        }
        self.names = np.empty((capacity, 3), "U24")

    def add(self, made: dict[str, Any]) -> None:
        """Take in what `simulate.batch.make` gives, no more samples than the pool has room for."""
        names = np.asarray(made["names"])
        added = {
            **{key: made[key] for key in ("surfaces", "volumes", "evidence", "blocks")},
            "attributes": torch.from_numpy(shards.targets(made["brain_ml"], made["kept"])),
            "kept": torch.from_numpy(made["kept"]),
            "brain_ml": torch.from_numpy(made["brain_ml"]),
            "odd": torch.from_numpy(names[:, 0] == "odd"),
        }
        start, room = 0, self.capacity - self.next
        for stop in (min(room, len(names)), len(names)):
            to = slice(self.next, self.next + stop - start)
            for key, array in self.arrays.items():
                array[to].copy_(added[key][start:stop], non_blocking=True)
            self.names[to] = names[start:stop]
            self.next, start = to.stop % self.capacity, stop
        self.held = min(self.capacity, self.held + len(names))

    def draw(self, size: int, rng: np.random.Generator) -> shards.Batch:
        """A batch of samples, none of them twice; a copy."""
        chosen = rng.choice(self.held, size, replace=False)
        at = torch.from_numpy(chosen).to(self.arrays["volumes"].device, non_blocking=True)
        return shards.Batch(
            **{key: array.index_select(0, at) for key, array in self.arrays.items()}, names=self.names[chosen]
        )


def trainable(heads: Path, everyone: bool) -> dict[str, list[Path]]:
    """The prepared heads of every person that may be trained on."""
    parts = ("train", "test") if everyone else ("train",)
    people = {p: paths for p, paths in people_in(heads).items() if shards.part_of(p) in parts}
    if not people:
        raise ValueError(f"{heads}: no heads of people that may be trained on")
    return people


def plan(heads: Path, everyone: bool) -> Iterator[Path]:
    """Heads to deform, person after person, without end."""
    people = trainable(heads, everyone)
    for turn in count():
        for paths in people.values():
            yield paths[turn % len(paths)]


head_of = lru_cache(maxsize=None)(Head.load)


def scene(head: Path, seed: int, index: int, *, proportions: bool, device: str = "cpu") -> Scene:
    """The `index`-th deformed head."""
    rng = np.random.default_rng([seed, 7, index])
    return Scene.of(make_instance(head_of(head), rng, proportions=proportions, device=device))


@dataclass(frozen=True)
class Task:
    """Attempts to make of the `index`-th deformed head."""

    head: Path
    index: int
    seed: int
    each: int
    mixes: tuple[str, ...]
    device: str


def attempts(task: Task) -> simulated.Made:
    """What the device makes of one deformed head, with tensors that another process can take over."""
    rng = np.random.default_rng([task.seed, 8, task.index])
    mix = MIXES[task.mixes[int(rng.integers(len(task.mixes)))]]
    found = scene(task.head, task.seed, task.index, proportions=mix.proportions, device=task.device)
    made = simulated.make(found.to(task.device), task.each, rng, mix)
    return {key: value.cpu() if isinstance(value, Tensor) else value for key, value in made.items()}


def stream(options: argparse.Namespace) -> Generator[simulated.Made]:
    """Attempts in the order of their heads, made by processes, a bounded number ahead; without workers made here."""
    heads = plan(options.fresh, options.everyone)
    rest = (options.seed, options.each, tuple(options.mixes), options.device)
    tasks = (Task(head, index, *rest) for index, head in enumerate(heads))
    if options.workers == 0:
        yield from map(attempts, tasks)
    one_thread_each()
    context = multiprocessing.get_context("spawn")  # torch hands tensors over in shared memory
    with context.Pool(options.workers) as processes:
        waiting = deque(processes.apply_async(attempts, [task]) for task in islice(tasks, AHEAD))
        for task in tasks:
            try:
                found = waiting.popleft().get(PATIENCE)
            except multiprocessing.TimeoutError as error:
                raise RuntimeError(f"no attempts for {PATIENCE} s: has a process died?") from error
            waiting.append(processes.apply_async(attempts, [task]))
            yield found


def lay_out(model: DefacingNet) -> None:
    """Put the 3-D filters into the order in memory in which a GPU learns faster, and have them work by slices."""
    for module in model.volume.modules():
        if isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    by_slices(model.volume)


def decay_for(steps: int) -> float:
    """Of the average of the weights: over about the last twenty-fifth of the training."""
    return min(0.999, 1 - 25 / max(steps, 50))


def described(options: argparse.Namespace) -> dict[str, Any]:
    """How a network is trained on fresh attempts, for people to read; steps and samples come with its weights."""
    return {
        "batch": options.batch, "rate": options.rate, "seed": options.seed,
        "each": options.each, "round": options.round, "pool": options.pool,
        "mixes": list(options.mixes), "everyone": options.everyone, "device": options.device,
        "people": sorted(trainable(options.fresh, options.everyone)),
        **export.origin(options.start, options.average, options.share),
    }  # fmt: skip


@dataclass
class Times:
    """Seconds spent, by kind; on the device where it is waited for."""

    device: str
    spent: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=time.monotonic)

    def mark(self, kind: str, *, wait: bool = False) -> None:
        """What went by since the last mark was spent on this."""
        if wait and self.device != "cpu":
            torch.cuda.synchronize()
        now = time.monotonic()
        self.spent[kind] = self.spent.get(kind, 0.0) + now - self.last
        self.last = now


class Making:
    """Attempts of one head after another are taken into the pool."""

    def __init__(self, options: argparse.Namespace, times: Times) -> None:
        self.options, self.times, self.index = options, times, 0
        self.pool = Pool(options.pool, options.device)
        self.stream = stream(options)

    @property
    def samples(self) -> int:
        """Made so far."""
        return self.index * int(self.options.each)

    def add(self, *, timed: bool) -> None:
        """Take in the attempts made of the next head."""
        self.times.mark("rest")
        found = next(self.stream)
        self.times.mark("wait")
        self.pool.add(found)
        self.index += 1
        self.times.mark("add", wait=timed)


def learn(run: Run, options: argparse.Namespace, weights: Path) -> dict[str, Any]:
    """All steps; the averaged weights are in `weights` every so often and at the end. How it was trained."""
    began = time.monotonic()
    history = described(options)
    times = Times(options.device)
    making = Making(options, times)
    while making.pool.held < max(options.least, options.batch):
        making.add(timed=True)
    log.info("%d samples to begin with, %.0f s", making.samples, time.monotonic() - began)
    times.spent.clear()
    progress = Progress(run, options, making, times, began)
    step = Recorded(run).step if options.device == "cuda" else run.step
    run.model.train()
    try:
        while not progress.over():
            making.add(timed=progress.timed)
            for _ in range(options.round):
                rng = np.random.default_rng([options.seed, 9, run.optimiser.step_count])
                found = step(augment.vary(making.pool.draw(options.batch, rng), rng))
                times.mark("step", wait=progress.timed)
                progress.after(found)
                if run.optimiser.step_count % SAVE_EVERY == 0:
                    save(run, history, making.samples, weights)
    finally:
        making.stream.close()
        history = save(run, history, making.samples, weights)
    return history


def save(run: Run, history: dict[str, Any], samples: int, weights: Path) -> dict[str, Any]:
    """Write the averaged weights, and return how they were trained so far.

    Raises FloatingPointError where the training went astray; the weights saved before stay.
    """
    values = run.weights()
    so_far = {**history, "steps": run.optimiser.step_count, "samples": samples}
    export.save_weights(asdict(run.model.config), values, {"fresh": so_far}, weights)
    return so_far


@dataclass
class Progress:
    """What is told of a training under way, and whether the rest of it fits into the time."""

    run: Run
    options: argparse.Namespace
    making: Making
    times: Times
    began: float
    shown: tuple[float, int, int] = (0.0, 0, 0)  # when, step and samples of the last line
    judged: tuple[float, int] = (0.0, 0)  # when and at which step the rate was looked at last

    def __post_init__(self) -> None:
        self.shown = (time.monotonic(), 0, self.making.samples)

    @property
    def timed(self) -> bool:
        """Is the device waited for after every part?"""
        return self.run.optimiser.step_count < TIMED

    def over(self) -> bool:
        """Are all steps done, or is the time up?"""
        late = self.options.seconds is not None and self.left() <= 0
        if late:
            log.info("time is up")
        return late or self.run.optimiser.step_count >= self.run.optimiser.steps

    def left(self) -> float:
        """Seconds for further steps."""
        return float(self.began + self.options.seconds - RESERVE - time.monotonic())

    def after(self, found: dict[str, Tensor]) -> None:
        """Of a step: log, and lower the number of steps where they do not fit."""
        step = self.run.optimiser.step_count
        if step % LOG_EVERY == 0:
            self.show(found)
        if step == TIMED:
            self.judged = (time.monotonic(), step)
        elif step % JUDGED == 0 and self.options.seconds is not None:
            self.fit(step)

    def fit(self, step: int) -> None:
        """As many steps as fit at the rate since the last look, but no more than asked for."""
        now = time.monotonic()
        rate = (step - self.judged[1]) / (now - self.judged[0])
        self.judged = (now, step)
        fits = min(self.options.steps, step + max(0, int(0.98 * rate * self.left())))
        if fits != self.run.optimiser.steps:
            log.info("%.2f steps/s: %d steps", rate, fits)
            self.run.optimiser.steps = fits
            self.run.average.decay = decay_for(fits)

    def show(self, found: dict[str, Tensor]) -> None:
        """A line of how it goes."""
        losses = " ".join(f"{key} {value:.3f}" for key, value in zip(found, self.listed(found), strict=True))
        now, step, samples = time.monotonic(), self.run.optimiser.step_count, self.making.samples
        span, steps, more = (b - a for a, b in zip(self.shown, (now, step, samples), strict=True))
        spent = " ".join(f"{kind} {seconds:.1f}" for kind, seconds in self.times.spent.items())
        memory = 0.0 if self.options.device == "cpu" else torch.cuda.max_memory_allocated() / 2**30
        log.info(
            "step %d/%d %s | %.2f steps/s %.0f views/s %.0f new/s | s: %s | pool %d, %.1f GiB, %.0f s",
            step, self.run.optimiser.steps, losses, steps / span, steps * self.options.batch / span, more / span,
            spent, self.making.pool.held, memory, now - self.began,
        )  # fmt: skip
        self.shown = (now, step, samples)
        self.times.spent.clear()

    @staticmethod
    def listed(found: dict[str, Tensor]) -> list[float]:
        """All losses in one copy from the device."""
        return [float(v) for v in torch.stack(list(found.values())).tolist()]
