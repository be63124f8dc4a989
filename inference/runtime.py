"""Running an exported network: OpenVINO, the only place that knows it."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

# OpenVINO reports its use to a web address as it is imported, unless this package of its is missing.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
import openvino  # noqa: E402

from inference.checkpoint import INPUTS, OUTPUTS  # noqa: E402
from inference.projections.network_input import NetworkInput  # noqa: E402
from inference.test_time_mirror import looks, together  # noqa: E402

if TYPE_CHECKING:
    from openvino import CompiledModel, Core


@cache
def core() -> Core:
    """OpenVINO itself; a process needs one."""
    return openvino.Core()


class Graph:
    """An exported network in one process: a head in, logits out.

    It answers one head at a time: so a head gets the same answer whatever else is asked about. It may be loaded before a
    process forks and used in both.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Raises RuntimeError, ValueError or KeyError where the file is no such network."""
        model = core().read_model(path)
        self.facts = described(model)
        model.reshape({name: [1, *shape] for name, shape in INPUTS.items()})
        self._run: CompiledModel = core().compile_model(model, "CPU", {
            "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": "f32",  # the same answers on every processor
        })  # fmt: skip
        for name, shape in OUTPUTS.items():
            found = tuple(self._run.output(name).shape)
            if found != (1, *shape):
                raise ValueError(f"{name} has the shape {found}")

    def __call__(
        self, surfaces: NDArray[np.uint8], volume: NDArray[np.uint8]
    ) -> dict[str, NDArray[np.float32]]:
        """The OUTPUTS, each with an axis of length 1 before it, for (1, 6, 6, 80, 80) and (1, 64, 80, 80)."""
        found = self._run(
            {"surfaces": np.ascontiguousarray(surfaces), "volume": np.ascontiguousarray(volume)}
        )
        return {name: found[name] for name in OUTPUTS}

    def answers(self, head: NetworkInput, *, both_ways: bool) -> dict[str, NDArray[np.float32]]:
        """Logits of a head, from one way or both: joint (8,), regions (5,), valid (), blocks (10, 16, 20, 20)."""
        shown = looks(head.surfaces[None], head.volume[None], both_ways=both_ways)
        return {name: value[0] for name, value in together([self(*look) for look in shown]).items()}


def described(model: Any) -> str:
    """What the file says of itself under 'facts'; empty where it says nothing."""
    try:
        return str(model.get_rt_info(["framework", "facts"]).value)
    except RuntimeError:
        return ""
