"""Train on attempts that are made meanwhile: no two are alike, so none can be learnt by heart.

Worker processes deform heads and make the attempts, as `simulate.generate` does for a shard. The latest of them lie in a
replay buffer, from which the batches are drawn. The seed decides what is made and in which order.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
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
from torch import Tensor

from inference.training import augment, export, shards
from inference.training.simulate.generate import Arrays, attempts_of, one_thread_each, people_in
from inference.training.simulate.heads import Head
from inference.training.simulate.mixtures import MIXES

if TYPE_CHECKING:
    from inference.training.run import Run

log = logging.getLogger("train")
AHEAD = 64  # deformed heads under way or waiting
PATIENCE = 300  # seconds for a deformed head, after which a process must have died
LOG_EVERY, SAVE_EVERY = 50, 200  # steps
FIT_EVERY = 150  # steps after which the number of steps is fitted to the time that is left
RESERVE = 6.0  # seconds for what comes after the last step


class ReplayBuffer:
    """The latest samples; the oldest make room for new ones."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.held, self.next = capacity, 0, 0
        self.tensors: dict[str, Tensor] = {}
        self.names = np.empty((capacity, 3), "U24")

    def add(self, made: Arrays) -> None:
        """Take in the arrays of a shard, no more samples than there is room for in all."""
        batch = shards.Batch.of(made)
        at = (self.next + np.arange(len(batch.names))) % self.capacity
        for name, tensor in batch.tensors().items():
            if name not in self.tensors:
                self.tensors[name] = torch.empty((self.capacity, *tensor.shape[1:]), dtype=tensor.dtype)
            self.tensors[name][torch.from_numpy(at)] = tensor
        self.names[at] = batch.names
        self.next = int(at[-1] + 1) % self.capacity
        self.held = min(self.capacity, self.held + len(at))

    def draw(self, size: int, rng: np.random.Generator) -> shards.Batch:
        """A batch of samples, none of them twice; a copy."""
        chosen = rng.choice(self.held, size, replace=False)
        at = torch.from_numpy(chosen)
        return shards.Batch(
            **{name: tensor[at] for name, tensor in self.tensors.items()}, names=self.names[chosen]
        )


def trainable(heads: Path) -> dict[str, list[Path]]:
    """The prepared heads of every person that may be trained on."""
    people = {p: paths for p, paths in people_in(heads).items() if shards.part_of(p) == "train"}
    if not people:
        raise ValueError(f"{heads}: no heads of people that may be trained on")
    return people


def plan(heads: Path) -> Iterator[Path]:
    """Heads to deform, person after person, without end."""
    people = trainable(heads)
    for turn in count():
        for paths in people.values():
            yield paths[turn % len(paths)]


head_of = lru_cache(maxsize=None)(Head.load)


@dataclass(frozen=True)
class Task:
    """Attempts to make of the `index`-th deformed head."""

    head: Path
    index: int
    seed: int
    each: int
    mixes: tuple[str, ...]


def attempts(task: Task) -> Arrays:
    """The arrays of a shard."""
    rng = np.random.default_rng([task.seed, 8, task.index])
    mix = MIXES[task.mixes[int(rng.integers(len(task.mixes)))]]
    return attempts_of(head_of(task.head), rng, task.each, mix)


def stream(options: argparse.Namespace) -> Generator[Arrays]:
    """Attempts in the order of their heads, made by processes, a bounded number ahead; without workers made here."""
    tasks = (
        Task(head, index, options.seed, options.each, tuple(options.mixes))
        for index, head in enumerate(plan(options.fresh))
    )
    if options.workers == 0:
        yield from map(attempts, tasks)
    one_thread_each()
    with multiprocessing.get_context("spawn").Pool(options.workers) as processes:
        waiting = deque(processes.apply_async(attempts, [task]) for task in islice(tasks, AHEAD))
        for task in tasks:
            try:
                found = waiting.popleft().get(PATIENCE)
            except multiprocessing.TimeoutError as error:
                raise RuntimeError(f"no attempts for {PATIENCE} s: has a process died?") from error
            waiting.append(processes.apply_async(attempts, [task]))
            yield found


def decay_for(steps: int) -> float:
    """Of the moving average of the weights: over about the last twenty-fifth of the training."""
    return min(0.999, 1 - 25 / max(steps, 50))


def described(options: argparse.Namespace) -> dict[str, Any]:
    """How a network is trained, for people to read; steps and samples come with its weights."""
    return {
        "batch": options.batch, "rate": options.rate, "seed": options.seed,
        "each": options.each, "round": options.round, "pool": options.pool,
        "mixes": list(options.mixes), "people": sorted(trainable(options.fresh)),
        **export.origin(options.start, options.average, options.share),
    }  # fmt: skip


@dataclass
class Times:
    """Seconds spent, by kind."""

    spent: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=time.monotonic)

    def mark(self, kind: str) -> None:
        """What went by since the last mark was spent on this."""
        now = time.monotonic()
        self.spent[kind] = self.spent.get(kind, 0.0) + now - self.last
        self.last = now


class Making:
    """Attempts of one head after another are taken into the replay buffer."""

    def __init__(self, options: argparse.Namespace, times: Times) -> None:
        self.options, self.times, self.index = options, times, 0
        self.buffer = ReplayBuffer(options.pool)
        self.stream = stream(options)

    @property
    def samples(self) -> int:
        """Made so far."""
        return self.index * int(self.options.each)

    def add(self) -> None:
        """Take in the attempts made of the next head."""
        self.times.mark("rest")
        found = next(self.stream)
        self.times.mark("wait")
        self.buffer.add(found)
        self.index += 1
        self.times.mark("add")


def learn(run: Run, options: argparse.Namespace, weights: Path) -> dict[str, Any]:
    """All steps; the averaged weights are in `weights` every so often and at the end. How it was trained."""
    began = time.monotonic()
    history = described(options)
    times = Times()
    making = Making(options, times)
    while making.buffer.held < max(options.least, options.batch):
        making.add()
    log.info("%d samples to begin with, %.0f s", making.samples, time.monotonic() - began)
    times.spent.clear()
    progress = Progress(run, options, making, times, began)
    run.model.train()
    try:
        while not progress.over():
            making.add()
            for _ in range(options.round):
                rng = np.random.default_rng([options.seed, 9, run.optimiser.step_count])
                found = run.step(augment.vary(making.buffer.draw(options.batch, rng), rng))
                times.mark("step")
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
    fitted: tuple[float, int] = (0.0, 0)  # when and at which step the speed was looked at last

    def __post_init__(self) -> None:
        self.shown = (time.monotonic(), 0, self.making.samples)
        self.fitted = (time.monotonic(), 0)

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
        if step % FIT_EVERY == 0 and self.options.seconds is not None:
            self.fit(step)

    def fit(self, step: int) -> None:
        """As many steps as fit at the speed since the last look, but no more than asked for."""
        now = time.monotonic()
        speed = (step - self.fitted[1]) / (now - self.fitted[0])
        self.fitted = (now, step)
        fits = min(self.options.steps, step + max(0, int(0.98 * speed * self.left())))
        if fits != self.run.optimiser.steps:
            log.info("%.2f steps/s: %d steps", speed, fits)
            self.run.optimiser.steps = fits
            self.run.average.decay = decay_for(fits)

    def show(self, found: dict[str, Tensor]) -> None:
        """A line of how it goes."""
        losses = " ".join(f"{key} {value.item():.3f}" for key, value in found.items())
        now, step, samples = time.monotonic(), self.run.optimiser.step_count, self.making.samples
        span, steps, more = (b - a for a, b in zip(self.shown, (now, step, samples), strict=True))
        spent = " ".join(f"{kind} {seconds:.1f}" for kind, seconds in self.times.spent.items())
        log.info(
            "step %d/%d %s | %.2f steps/s %.0f views/s %.0f new/s | s: %s | buffer %d, %.0f s",
            step, self.run.optimiser.steps, losses, steps / span, steps * self.options.batch / span, more / span,
            spent, self.making.buffer.held, now - self.began,
        )  # fmt: skip
        self.shown = (now, step, samples)
        self.times.spent.clear()
