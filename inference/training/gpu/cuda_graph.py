"""A step of a training, recorded once and replayed on a GPU, which then need not be asked for every part of it."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from inference.training.run import Run
    from inference.training.shards import Batch

UNRECORDED = 3  # steps after which nothing is set up any more


class Recorded:
    """The steps of a run on a GPU; the first few are made as anywhere, then one is recorded for all to come.

    All batches must have one size; another raises ValueError.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.made = run, 0
        self.stream = torch.cuda.Stream()
        self.graph = torch.cuda.CUDAGraph()
        self.batch: Batch | None = None
        self.found: dict[str, Tensor] = {}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """`Run.step`; what it returns is overwritten by the next."""
        if self.made < UNRECORDED:
            self.made += 1
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                found = self.run.step(batch)
            torch.cuda.current_stream().wait_stream(self.stream)
            return found
        if self.batch is None:
            self.record(batch)
        else:
            self.fill(batch)
        self.run.optimiser.prepare()
        self.graph.replay()
        self.run.average.update(self.run.model)
        return self.found

    def record(self, batch: Batch) -> None:
        """Keep the arrays of this batch as those that every replay reads."""
        self.batch = replace(batch)
        with torch.cuda.graph(self.graph):
            self.found = self.run.move(self.batch)

    def fill(self, batch: Batch) -> None:
        """Put another batch into the arrays."""
        assert self.batch is not None
        if len(batch.odd) != len(self.batch.odd):
            raise ValueError(f"a batch of {len(batch.odd)} where {len(self.batch.odd)} were recorded")
        for field in fields(batch):
            value = getattr(batch, field.name)
            if isinstance(value, Tensor):
                getattr(self.batch, field.name).copy_(value)
