"""The options of a training, from its command line."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from inference.simulate.generate import ODD_EVERY
from inference.simulate.mix import MIXES


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
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--without", nargs="+", default=(), metavar="NAME",
        help="kinds of mask, fillings and contrasts to leave out of the training, to be judged on them",
    )  # fmt: skip
    parser.add_argument("--everyone", action="store_true", help="train on the test people too")
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
