"""A trained network as files: weights with config, class order, projection version and a hash, for training and for use.

`NAME.pt` is for training on; `NAME.onnx` is what the application runs: it looks at a head both ways, its convolutions have
8 bits, its metadata has the same facts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from inference.projections.network import RENDER_VERSION, NetworkInput
from inference.truth import CLASSES

if TYPE_CHECKING:
    from inference.model import DefacingNet

FORMAT = 2
WEIGHTS = Path(__file__).parent / "weights"
DEFAULT = WEIGHTS / "default.onnx"
OUTPUTS = ["joint", "regions", "valid", "blocks"]
IN_FULL = ("volume/stem", "surfaces/stem/stem.0", "maps", "evidence")  # layers that are not quantised


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


def save(model: DefacingNet, facts: Facts, path: Path, examples: Sequence[NetworkInput]) -> None:
    """Write `path` (.onnx) and its training twin (.pt), each whole or not at all.

    examples: some heads as the network sees them, from which the ranges of its 8-bit convolutions are taken.
    """
    import onnx  # needed to make a model, not to run one
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    twin = path.with_suffix(".pt")
    with TemporaryDirectory(dir=path.parent, prefix=".making-") as folder:
        plain, small, training = (Path(folder) / name for name in ("plain.onnx", "small.onnx", "twin.pt"))
        export(model, plain)
        quantise(plain, small, examples)
        graph = onnx.load(str(small))
        onnx.helper.set_model_props(graph, {"facts": facts.text()})
        onnx.save(graph, str(small))
        torch.save({"facts": facts.text(), "weights": model.state_dict()}, training)
        small.replace(path)
        training.replace(twin)


def export(model: DefacingNet, path: Path) -> None:
    """The network that looks at a head both ways, as an ONNX graph of 32-bit numbers."""
    import torch
    from torch import Tensor, nn

    from inference.mirror import BothWays

    class Ordered(nn.Module):
        """The answers as a tuple, as an exported graph needs them."""

        def __init__(self) -> None:
            super().__init__()
            self.both = BothWays(model.eval().float())

        def forward(self, surfaces: Tensor, volume: Tensor) -> tuple[Tensor, ...]:
            out = self.both(surfaces, volume)
            return tuple(out[n] for n in OUTPUTS)

    example = (torch.zeros(1, 6, 6, 80, 80, dtype=torch.uint8), torch.zeros(1, 64, 80, 80, dtype=torch.uint8))
    torch.onnx.export(
        Ordered().eval(), example, str(path), input_names=["surfaces", "volume"], output_names=OUTPUTS,
        dynamic_axes={n: {0: "batch"} for n in ["surfaces", "volume", *OUTPUTS]}, dynamo=False, opset_version=17,
    )  # fmt: skip


def quantise(plain: Path, path: Path, examples: Sequence[NetworkInput]) -> None:
    """Its convolutions in 8 bits: nearly twice as fast. Weights have 7, so that every processor computes the same.

    The first layers stay as they are (in 8 bits they are slower), and so do those that draw the maps.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(examples)

        def get_next(self) -> dict[str, Any] | None:
            head = next(self.rest, None)
            return head and {"surfaces": head.surfaces[None], "volume": head.volume[None]}

    prepared = plain.with_name("prepared.onnx")
    quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
    convolutions = [n.name for n in onnx.load(str(prepared)).graph.node if n.op_type == "Conv"]
    quantize_static(
        str(prepared), str(path), Reader(), per_channel=True, reduce_range=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        nodes_to_quantize=[n for n in convolutions if not any(f"/{part}/" in n for part in IN_FULL)],
    )  # fmt: skip


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
