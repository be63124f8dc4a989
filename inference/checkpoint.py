"""A trained network as files: weights with config, class order, projection version and a hash, for training and for use.

`NAME.pt` is for training on; `NAME.onnx` is what the application runs, with the same facts in its metadata.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.projections.network import RENDER_VERSION
from inference.truth import CLASSES

if TYPE_CHECKING:
    from inference.model import DefacingNet

FORMAT = 2
WEIGHTS = Path(__file__).parent / "weights"
DEFAULT = WEIGHTS / "default.onnx"


class CheckpointError(Exception):
    """Weights that cannot be used, with the file and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


@dataclass(frozen=True)
class Facts:
    """What must be known of weights before they are used.

    calibration: temperature and eight biases for the joint logits; valid_below: logit under which an input is
    not taken for a head; data and metrics are for people to read.
    """

    config: dict[str, Any]
    calibration: dict[str, Any]
    valid_below: float
    created: str
    classes: tuple[str, ...] = CLASSES
    render_version: str = RENDER_VERSION
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    @classmethod
    def parse(cls, text: str, path: Path) -> Facts:
        """Read and check; raises CheckpointError where the weights do not fit this software."""
        try:
            values = json.loads(text)
            facts = cls(**{**values, "classes": tuple(values["classes"])})
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError(path, f"its description cannot be read ({error})") from error
        if facts.format != FORMAT:
            raise CheckpointError(path, f"format {facts.format}, this software reads {FORMAT}")
        if facts.classes != CLASSES:
            raise CheckpointError(path, f"class order {facts.classes}, expected {CLASSES}")
        if facts.render_version != RENDER_VERSION:
            raise CheckpointError(
                path, f"made for projections {facts.render_version}, this software renders {RENDER_VERSION}"
            )
        return facts

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), sort_keys=True)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save(model: DefacingNet, facts: Facts, path: Path) -> None:
    """Write `path` (.onnx) and its training twin (.pt), each whole or not at all."""
    import onnx  # needed to make a model, not to run one
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    model = model.eval().float()
    twin = path.with_suffix(".pt")
    torch.save({"facts": facts.text(), "weights": model.state_dict()}, twin.with_suffix(".pt.part"))
    example = (torch.zeros(1, 6, 6, 80, 80, dtype=torch.uint8), torch.zeros(1, 64, 80, 80, dtype=torch.uint8))
    names = ["joint", "regions", "amount", "valid", "evidence", "blocks"]
    part = path.with_suffix(".onnx.part")
    torch.onnx.export(
        _Ordered(model, names), example, str(part), input_names=["surfaces", "volume"], output_names=names,
        dynamic_axes={n: {0: "batch"} for n in ["surfaces", "volume", *names]}, dynamo=False, opset_version=17,
    )  # fmt: skip
    graph = onnx.load(str(part))
    onnx.helper.set_model_props(graph, {"facts": facts.text()})
    onnx.save(graph, str(part))
    part.replace(path)
    twin.with_suffix(".pt.part").replace(twin)


def _Ordered(model: DefacingNet, names: list[str]) -> Any:
    """The network with its outputs as a tuple, as an exported graph needs them."""
    from torch import Tensor, nn

    class Ordered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, surfaces: Tensor, volume: Tensor) -> tuple[Tensor, ...]:
            out = self.model(surfaces, volume)
            return tuple(out[n] for n in names)

    return Ordered().eval()


def load_for_training(path: Path) -> tuple[DefacingNet, Facts]:
    """The network and its facts from a .pt file; nothing but tensors is unpickled."""
    import torch

    from inference.model import DefacingNet, ModelConfig

    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        facts = Facts.parse(stored["facts"], path)
        values = {**facts.config, "widths": tuple(facts.config["widths"])}
        model = DefacingNet(ModelConfig(**values))
        model.load_state_dict(stored["weights"])
    except (OSError, RuntimeError, KeyError, EOFError, ValueError) as error:
        raise CheckpointError(path, f"cannot be read ({type(error).__name__})") from error
    return model, facts
