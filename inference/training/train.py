"""Train the network on simulated defacings: `python -m inference.training.train DATA OUT`. Seeded, resumable, no Django.

With `--fresh HEADS` it learns from attempts that are made meanwhile (`inference.training.online`); DATA is then
only calibrated on, and who is interrupted goes on from the weights left, under a new schedule.
"""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, multiprocessing

from inference import checkpoint
from inference.training import augment, export, online, shards
from inference.training.calibration import accuracy, by_graph, by_network, calibrate, outputs
from inference.training.muon import Optimiser
from inference.training.network import DefacingNet
from inference.training.run import Average, Run, begin
from inference.training.simulate.generate import ODD_EVERY
from inference.training.simulate.mixtures import MIXES

log = logging.getLogger("train")
SAVE_EVERY = 100  # steps


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
    model, known = begin(options)
    run = Run(
        model,
        Optimiser(model, options.rate, options.steps),
        Average(model, online.decay_for(options.steps), warm=True),
        options.out.with_suffix(".state"),
        known,
    )
    weights = options.out.with_suffix(".weights.pt")
    history = online.learn(run, options, weights)
    parts = shards.split(shards.shards(options.data))
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
    parts = shards.split(shards.shards(options.data))
    samples = sum(shards.size(s, options.without) for s in parts["train"])
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
            shards.batches(parts["train"], options.batch, rng, without=options.without)
        ):
            if position < run.batch:  # done before the interruption
                continue
            seed = (options.seed * 1_000_003 + step) * options.processes + rank
            torch.manual_seed(seed)  # the same whether or not the run was cut off
            mine = batch.share(rank, options.processes)
            found = run.step(augment.vary(mine, np.random.default_rng(seed)))
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
    parts: dict[str, list[shards.Shard]],
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
                  **export.origin(options.start, options.average, options.share), "fresh": made,
                  "without": sorted(options.without), "people": people,
                  **({} if made else {"processes": options.processes, "epochs": options.epochs})},
            metrics={"calibration_people": accuracy(result)},
        )  # fmt: skip
        log.info("%s %s", options.out, json.dumps(found.metrics))
        return found

    export.save(model, facts, options.out, shards.examples(parts["calibration"]))


def main() -> None:
    """Command line."""
    train(parsed(__doc__))


def config_values(texts: list[str]) -> dict[str, Any]:
    """From NAME=VALUE, values in JSON."""
    return {name: json.loads(value) for name, value in (text.split("=", 1) for text in texts)}


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """What the command line takes, but for what fresh attempts need."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "out", type=Path, help="NAME.onnx; NAME.pt and, while it runs, NAME.state lie beside it"
    )
    parser.add_argument(
        "--start", type=Path, help="weights (NAME.pt or NAME.weights.pt) to train on from; else from nothing"
    )
    parser.add_argument(
        "--average", type=Path, help="weights trained on from those of --start: begin between both"
    )
    parser.add_argument(
        "--share", type=float, help="of --average in what it begins with, 0 to 1; else a half"
    )
    parser.add_argument(
        "--epochs", type=int, default=6, help="0: only calibrate and write what it begins with"
    )
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--check-every", type=int, default=1)
    parser.add_argument(
        "--without", nargs="+", default=(), metavar="NAME",
        help="kinds of mask, fillings and contrasts to leave out of the training, to be judged on them",
    )  # fmt: skip
    parser.add_argument(
        "--config", nargs="+", default=[], metavar="NAME=VALUE",
        help="sizes of the network, values in JSON; one that is begun with --start can only grow",
    )  # fmt: skip
    return parser


def add_fresh(parser: argparse.ArgumentParser) -> None:
    """The options of a training on fresh attempts."""
    among = parser.add_argument_group(
        "fresh attempts, made while the network learns from them (without --epochs, --processes, --check-every)"
    )
    among.add_argument("--fresh", type=Path, metavar="HEADS", help="folder of prepared heads")
    among.add_argument("--steps", type=int, default=10000)
    among.add_argument("--seconds", type=float, help="make it fewer steps if so many do not fit in this time")
    among.add_argument("--mixes", nargs="+", choices=list(MIXES), default=["usual"])
    among.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help="processes that make attempts; 0: none but this one",
    )
    among.add_argument("--each", type=int, default=24, help="samples of a deformed head")
    among.add_argument(
        "--pool", type=int, default=60000, help="samples that are kept to draw from, 0.7 MB each"
    )
    among.add_argument("--least", type=int, default=480, help="samples without which no step is made")
    among.add_argument("--round", type=int, default=1, help="steps for every deformed head")
    among.add_argument("--weights-only", action="store_true", help="calibrate later, elsewhere")


def parsed(description: str | None) -> argparse.Namespace:
    """The options of the command line; ends the program where they do not go together."""
    parser = parser_of(description)
    add_fresh(parser)
    options = parser.parse_args()
    try:
        options.config = config_values(options.config)
    except ValueError:
        parser.error(f"--config takes NAME=VALUE with values in JSON, not {' '.join(options.config)}")
    if options.fresh and (options.without or not options.epochs):
        parser.error("--fresh goes without --without, and trains: --epochs 0 goes without --fresh")
    if options.fresh and max(options.least, options.batch, options.each) > options.pool:
        parser.error("--least, --batch and --each must fit into --pool")
    if options.fresh and options.each < ODD_EVERY:
        parser.error(f"--each: at least {ODD_EVERY}, one of which is no head")
    if options.average and not options.start:
        parser.error("--average needs --start: between which two?")
    if options.share is not None and not options.average:
        parser.error("--share needs --average")
    options.share = 0.5 if options.share is None else options.share
    if not 0 < options.share < 1:
        parser.error(f"--share: between 0 and 1, not {options.share}")
    return options


if __name__ == "__main__":
    main()
