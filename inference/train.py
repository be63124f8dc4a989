"""Train the network on simulated defacings: `python -m inference.train DATA OUT`. Seeded, resumable, no Django.

With `--fresh HEADS` it learns from attempts that are made meanwhile (`inference.fresh`); DATA is then only calibrated on,
and who is interrupted goes on from the weights left, under a new schedule.
"""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, multiprocessing, nn

from inference import checkpoint, dataset, fresh, training_options
from inference.calibration import accuracy, by_graph, by_network, calibrate, outputs
from inference.losses import losses
from inference.model import DefacingNet, ModelConfig
from inference.optimiser import Optimiser

log = logging.getLogger("train")
SAVE_EVERY = 100  # steps


class Average:
    """An exponential moving average of the weights; one that warms up forgets the first of them soon."""

    def __init__(self, model: nn.Module, decay: float = 0.995, *, warm: bool = False) -> None:
        self.decay, self.warm, self.count = decay, warm, 0
        self.values = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move a little towards the present weights."""
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count)) if self.warm else self.decay
        present = model.state_dict()
        moving = [k for k, v in present.items() if v.dtype.is_floating_point]
        torch._foreach_lerp_([self.values[k] for k in moving], [present[k] for k in moving], 1 - decay)
        for key in present.keys() - set(moving):
            self.values[key].copy_(present[key])


def begin(options: argparse.Namespace) -> tuple[DefacingNet, dict[str, Any]]:
    """The network to train: from nothing, from other weights, or from between two; on its device.

    Also what is known of how its weights were trained.
    """
    known: dict[str, Any] = {}
    if not options.start:
        model = DefacingNet(ModelConfig.of(options.config))
    else:
        model, known = checkpoint.load_network(options.start, **options.config)
    if options.average:
        other, later = checkpoint.load_network(options.average, **options.config)
        if other.config != model.config:
            raise checkpoint.CheckpointError(
                options.average, "has other sizes than the weights to begin with"
            )
        between = Average(model, decay=1 - options.share)
        between.update(other)
        model.load_state_dict(between.values)
        known = both_known(known, later)
    model = model.to(options.device)
    model.surfaces.to(memory_format=torch.channels_last)
    return model, known


def both_known(known: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of weights between two: the history of those trained on from the others, the people of both."""
    first, last = known.get("fresh"), later.get("fresh")
    if not (first and last):
        return {"fresh": last or first}
    return {"fresh": {**last, "people": sorted({*first["people"], *last["people"]})}}


@dataclass
class Run:
    """A training under way: what is saved after every epoch and found again after an interruption."""

    model: DefacingNet
    optimiser: Optimiser
    average: Average
    state: Path
    known: dict[str, Any]  # how the weights were trained that it begins with
    epoch: int = 0
    batch: int = 0  # done in this epoch

    @classmethod
    def start(cls, options: argparse.Namespace, steps: int) -> Run:
        """A new run, or the one that was cut off."""
        model, known = begin(options)
        optimiser = Optimiser(model, options.rate, steps)
        run = cls(model, optimiser, Average(model), options.out.with_suffix(".state"), known)
        if options.epochs and run.state.exists():
            try:
                saved = torch.load(run.state, weights_only=True)
                model.load_state_dict(saved["model"])
                optimiser.load_state_dict(saved["optimiser"])
                run.average.values, run.epoch, run.batch = saved["average"], saved["epoch"], saved["batch"]
            except (OSError, RuntimeError, TypeError, KeyError, ValueError) as error:
                reason = "is not of this training; remove it to begin anew"
                raise checkpoint.CheckpointError(run.state, reason) from error
        return run

    def save(self) -> None:
        """Write the state, whole or not at all; not that of a training that went astray."""
        self.weights()
        part = self.state.with_suffix(".part")
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "average": self.average.values,
                "epoch": self.epoch,
                "batch": self.batch,
            },
            part,
        )
        part.replace(self.state)

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights, on the CPU. Raises FloatingPointError where the training went astray."""
        values = {key: value.cpu().contiguous() for key, value in self.average.values.items()}
        if not all(value.isfinite().all() for value in values.values()):
            raise FloatingPointError(f"the training went astray before step {self.optimiser.step_count}")
        return values

    def averaged(self) -> DefacingNet:
        """The network with the averaged weights, on the CPU."""
        model = DefacingNet(self.model.config)
        model.load_state_dict(self.weights())
        return model

    def step(self, batch: dataset.Batch) -> dict[str, Tensor]:
        """Learn from one batch, which lies where the network does; the parts of the loss."""
        self.optimiser.prepare()
        found = self.move(batch)
        self.average.update(self.model)
        return found

    def move(self, batch: dataset.Batch) -> dict[str, Tensor]:
        """Of a step what always does the same with the same arrays: nothing here waits for the device."""
        with torch.autocast(batch.volumes.device.type, dtype=torch.bfloat16, cache_enabled=False):
            out = self.model(batch.surfaces, batch.volumes)
        found = losses(out, batch)
        self.model.zero_grad(set_to_none=True)
        torch.stack(list(found.values())).sum().backward()
        share_gradients(self.model)
        nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        self.optimiser.move()
        return {key: value.detach() for key, value in found.items()}


def share_gradients(model: nn.Module) -> None:
    """Every process goes on with the mean of all gradients; alone, with its own."""
    if not distributed.is_initialized():
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    together = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(together)
    together /= distributed.get_world_size()
    for gradient, part in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view(gradient.shape))


def train(options: argparse.Namespace) -> Path:
    """Train in one or several processes (see `work`), or on fresh attempts (see `work_fresh`)."""
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        work_fresh(options)
    elif options.processes == 1:
        work(0, options, None)
    else:
        with tempfile.TemporaryDirectory() as folder:
            multiprocessing.spawn(work, args=(options, Path(folder) / "meeting"), nprocs=options.processes)
    return Path(options.out)


def work_fresh(options: argparse.Namespace) -> None:
    """Train on attempts made meanwhile, leave the weights, calibrate where there are people to calibrate on."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    model, known = begin(options)
    if options.device != "cpu":
        fresh.lay_out(model)
    run = Run(
        model,
        Optimiser(model, options.rate, options.steps),
        Average(model, fresh.decay_for(options.steps), warm=True),
        options.out.with_suffix(".state"),
        known,
    )
    weights = options.out.with_suffix(".weights.pt")
    history = fresh.learn(run, options, weights)
    parts = dataset.split(dataset.shards(options.data))
    if options.weights_only or not parts["calibration"]:
        log.info("wrote %s; calibrate with --start %s --epochs 0", weights, weights.name)
        return
    finish(run.averaged(), parts, history["samples"], options, history)


def work(rank: int, options: argparse.Namespace, meeting: Path | None) -> None:
    """One process's part: train, resume where a run was cut off, calibrate, write the checkpoint.

    Several processes draw the same batches, each learns from its share of the samples, all move by the mean gradient. They
    wait for each other once a step, the threads of one process many times. Only the first one writes.
    """
    if meeting is not None:
        distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=options.processes
        )
    logging.basicConfig(
        level=logging.INFO if rank == 0 else logging.WARNING, format="%(asctime)s %(message)s"
    )
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    parts = dataset.split(dataset.shards(options.data))
    if options.everyone:
        parts["train"] += parts["test"]
    samples = sum(dataset.size(s, options.without) for s in parts["train"])
    steps = options.epochs * samples // options.batch
    run = Run.start(options, steps)
    log.info(
        "train %d, calibration %d, test %d shards", *(len(parts[k]) for k in ("train", "calibration", "test"))
    )
    started, step = time.monotonic(), run.optimiser.step_count
    while run.epoch < options.epochs:
        rng = np.random.default_rng([options.seed, run.epoch])
        run.model.train()
        for position, batch in enumerate(
            dataset.batches(parts["train"], options.batch, rng, without=options.without)
        ):
            if position < run.batch:  # done before the interruption
                continue
            seed = (options.seed * 1_000_003 + step) * options.processes + rank
            torch.manual_seed(seed)  # the same whether or not the run was cut off
            mine = batch.share(rank, options.processes).to(options.device)
            found = run.step(dataset.vary(mine, np.random.default_rng(seed)))
            run.batch, step = position + 1, step + 1
            if step % 25 == 0:
                shown = " ".join(f"{k} {v.item():.3f}" for k, v in found.items())
                log.info(
                    "epoch %d step %d/%d %s %.0f s", run.epoch, step, steps, shown, time.monotonic() - started
                )
            if step % SAVE_EVERY == 0 and rank == 0:
                run.save()
        run.epoch, run.batch = run.epoch + 1, 0
        if rank > 0:
            continue
        run.save()
        if parts["calibration"] and run.epoch % options.check_every == 0:
            log.info(
                "people left out: %s",
                accuracy(outputs(by_network(run.averaged()), parts["calibration"][:20])),
            )
    if rank == 0:
        made = None if options.epochs else run.known.get("fresh")
        finish(run.averaged(), parts, samples if options.epochs else 0, options, made)
        run.state.unlink(missing_ok=True)
    if meeting is not None:
        distributed.destroy_process_group()


def finish(
    model: DefacingNet,
    parts: dict[str, list[dataset.Shard]],
    samples: int,
    options: argparse.Namespace,
    made: Mapping[str, Any] | None,
) -> None:
    """Calibrate on people left out of the training and write the checkpoint; made: how fresh attempts were made."""
    people = {part: sorted({s.person for s in chosen}) for part, chosen in parts.items()}
    if made:
        people = {**people, "train": made["people"], "test": sorted({*people["test"]} - {*made["people"]})}

    def facts(graph: Path) -> checkpoint.Facts:
        from inference.runtime import Graph  # needed at the end alone, not where only weights are trained

        answers = by_graph(Graph(graph, options.threads), both_ways=model.config.both_ways)
        result = outputs(answers, parts["calibration"])
        real = ~result["odd"]
        found = checkpoint.Facts(
            config=asdict(model.config), calibration=calibrate(result["joint"][real], result["attributes"][real]),
            valid_below=float(np.quantile(result["valid"][real], 0.005)),
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            data={"shards": {k: len(v) for k, v in parts.items()}, "samples": samples, "seed": options.seed,
                  **checkpoint.origin(options.start, options.average, options.share), "fresh": made,
                  "without": sorted(options.without), "people": people,
                  **({} if made else {"processes": options.processes, "epochs": options.epochs})},
            metrics={"calibration_people": accuracy(result)},
        )  # fmt: skip
        log.info("%s %s", options.out, json.dumps(found.metrics))
        return found

    checkpoint.save(model, facts, options.out, dataset.examples(parts["calibration"]))


def main() -> None:
    """Command line."""
    train(training_options.parsed(__doc__))


if __name__ == "__main__":
    main()
