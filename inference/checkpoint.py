"""A trained network as files: weights with config, class order, projection version and a hash, for training and for use.

`NAME.pt` is for training on; `NAME.onnx` is what the application runs: its convolutions have 8 bits, its metadata has the
same facts. Both look at a head both ways or one way, as their config says. `NAME.weights.pt` is what a training on fresh
attempts leaves: config and weights, no facts.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from inference.projections.frame import SHAPE
from inference.projections.network import CELLS, LAYERS, RENDER_VERSION, SIDE, SURFACES, NetworkInput
from inference.simulate.parts import PARTS
from inference.truth import CLASSES, EAR_REGIONS, FACE_REGIONS

if TYPE_CHECKING:
    from torch import Tensor

    from inference.model import DefacingNet

FORMAT = 3
READABLE = (2, FORMAT)  # graphs of format 2 have in them whether they look both ways
WEIGHTS = Path(__file__).parent / "weights"
DEFAULT = WEIGHTS / "default.onnx"
INPUTS = {"surfaces": (len(SURFACES), LAYERS, SIDE, SIDE), "volume": SHAPE}  # of one head, in bytes
OUTPUTS = {
    "joint": (8,),
    "regions": (len(FACE_REGIONS + EAR_REGIONS),),
    "valid": (),
    "blocks": (len(PARTS), *CELLS),
}
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

    @property
    def both_ways(self) -> bool:
        """Must the graph be asked about a head and about its mirror image (`ModelConfig.both_ways`)?"""
        return self.format >= 3 and bool(self.config.get("both_ways", True))

    @classmethod
    def parse(cls, text: str, path: Path) -> Facts:
        """Read and check; raises CheckpointError where the weights do not fit this software."""
        try:
            values = json.loads(text)
            facts = cls(**{**values, "classes": tuple(values["classes"])})
            facts.check()
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError(path, f"its description cannot be read ({error})") from error
        if facts.format not in READABLE:
            raise CheckpointError(path, f"format {facts.format}, this software reads {FORMAT}")
        if facts.classes != CLASSES:
            raise CheckpointError(path, f"class order {facts.classes}, expected {CLASSES}")
        if facts.render_version != RENDER_VERSION:
            raise CheckpointError(
                path, f"made for projections {facts.render_version}, this software renders {RENDER_VERSION}"
            )
        return facts

    def check(self) -> None:
        """Raises ValueError, TypeError or KeyError where what answers are made with is not of its kind."""
        numbers = [
            float(self.calibration["temperature"]),
            float(self.valid_below),
            *map(float, self.calibration["bias"]),
        ]
        if len(numbers) != 2 + OUTPUTS["joint"][0] or not all(map(math.isfinite, numbers)) or numbers[0] <= 0:
            raise ValueError("its calibration is not one")
        if not isinstance(self.config, dict):
            raise TypeError("its sizes are no list of names and values")

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), sort_keys=True)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def origin(start: Path | None, average: Path | None, share: float) -> dict[str, Any]:
    """Hashes of the weights that a training begins with; of two, the share of `average`."""
    found = {
        "trained_on_from": file_hash(start)[:16] if start else None,
        "averaged_with": file_hash(average)[:16] if average else None,
    }
    return {**found, "share": share} if average else found


def save(
    model: DefacingNet, facts: Facts | Callable[[Path], Facts], path: Path, examples: Sequence[NetworkInput]
) -> None:
    """Write `path` (.onnx) and its training twin (.pt), each whole or not at all; both of weights rounded to 16 bits.

    facts: those of the network, or what finds them with the finished graph, a file that has none yet.
    examples: some heads as the network sees them, from which the ranges of its 8-bit convolutions are taken.
    """
    import onnx  # needed to make a model, not to run one
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    twin = path.with_suffix(".pt")
    model = rounded(model, path)
    with TemporaryDirectory(dir=path.parent, prefix=".making-") as folder:
        plain, small, training = (Path(folder) / name for name in ("plain.onnx", "small.onnx", "twin.pt"))
        export(model, plain)
        quantise(plain, small, examples)
        facts = facts(small) if callable(facts) else facts
        graph = onnx.load(str(small))
        onnx.helper.set_model_props(graph, {"facts": facts.text()})
        onnx.save(graph, str(small))
        torch.save({"facts": facts.text(), "weights": narrow(model)}, training)
        small.replace(path)
        training.replace(twin)


def narrow(model: DefacingNet) -> dict[str, Tensor]:
    """Its parameters in 16 bits; what counts something stays as it is."""
    return {k: v.half() if v.dtype.is_floating_point else v for k, v in model.state_dict().items()}


def rounded(model: DefacingNet, path: Path) -> DefacingNet:
    """A copy whose weights 16 bits can hold, to be written to `path`; raises CheckpointError where they cannot."""
    from inference.model import DefacingNet

    weights = narrow(model)
    if not all(value.isfinite().all() for value in weights.values()):
        raise CheckpointError(path, "weights too large for 16 bits")
    copy = DefacingNet(model.config)
    copy.load_state_dict(weights)
    return copy.eval()


def export(model: DefacingNet, path: Path) -> None:
    """The network, looking one way, as an ONNX graph of 32-bit numbers."""
    import torch
    from torch import nn

    class Ordered(nn.Module):
        """The answers as a tuple, as an exported graph needs them."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model.eval().float()

        def forward(self, surfaces: Tensor, volume: Tensor) -> tuple[Tensor, ...]:
            out = self.model(surfaces, volume)
            return tuple(out[n] for n in OUTPUTS)

    example = tuple(torch.zeros(1, *shape, dtype=torch.uint8) for shape in INPUTS.values())
    torch.onnx.export(
        Ordered().eval(), example, str(path), input_names=list(INPUTS), output_names=list(OUTPUTS),
        dynamic_axes={n: {0: "batch"} for n in [*INPUTS, *OUTPUTS]}, dynamo=False, opset_version=17,
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
    stored = stored_in(path)
    if "facts" not in stored:
        raise CheckpointError(path, "has no facts")
    facts = Facts.parse(stored["facts"], path)
    return network_of(facts.config, stored["weights"], path), facts


def load_network(path: Path, **changes: Any) -> tuple[DefacingNet, dict[str, Any]]:
    """The network, and what is known of its training, from a .pt or .weights.pt file.

    changes: to its config; where they ask for larger sizes the network grows (`inference.grow`).
    """
    from inference.grow import grown
    from inference.model import ModelConfig

    stored = stored_in(path)
    known = Facts.parse(stored["facts"], path) if "facts" in stored else None
    if known is None and stored.get("render_version") != RENDER_VERSION:
        made_for = stored.get("render_version")
        raise CheckpointError(
            path, f"made for projections {made_for}, this software renders {RENDER_VERSION}"
        )
    network = network_of(known.config if known else stored["config"], stored["weights"], path)
    data = known.data if known else stored.get("data", {})
    if not changes:
        return network, data
    try:
        return grown(network, ModelConfig.of({**asdict(network.config), **changes})), data
    except (TypeError, ValueError) as error:
        raise CheckpointError(path, f"cannot become the network asked for ({error})") from error


def save_weights(
    config: Mapping[str, Any], weights: Mapping[str, Tensor], data: Mapping[str, Any], path: Path
) -> None:
    """Config and weights without facts, whole or not at all; data is for people to read."""
    import torch

    part = path.with_suffix(".part")
    stored = {
        "config": dict(config),
        "weights": dict(weights),
        "data": dict(data),
        "render_version": RENDER_VERSION,
    }
    torch.save(stored, part)
    part.replace(path)


def stored_in(path: Path) -> dict[str, Any]:
    """What a .pt file holds: weights, and facts or a config."""
    import torch

    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, UnpicklingError) as error:
        raise CheckpointError(path, f"cannot be read ({type(error).__name__})") from error
    if not isinstance(stored, dict) or "weights" not in stored or not {"facts", "config"} & stored.keys():
        raise CheckpointError(path, "cannot be read (no weights in it)")
    return stored


def network_of(config: Mapping[str, Any], weights: Mapping[str, Tensor], path: Path) -> DefacingNet:
    """A network of these sizes with these weights."""
    from inference.model import DefacingNet, ModelConfig

    try:
        model = DefacingNet(ModelConfig.of(config))
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(path, f"cannot be read ({type(error).__name__})") from error
    return model
