"""Write a trained network: the training twin (.pt) and the quantised graph (.onnx) that the application runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from inference.projections.network_input import (
    RENDER_VERSION,
    NetworkInput,
)

if TYPE_CHECKING:
    from torch import Tensor

    from inference.training.network import DefacingNet
from inference.checkpoint import INPUTS, OUTPUTS, CheckpointError, Facts, file_hash

IN_FULL = ("volume/stem", "surfaces/stem/stem.0", "maps", "evidence")  # layers that are not quantised


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
    from inference.training.network import DefacingNet

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

    changes: to its config; where they ask for larger sizes the network grows (`inference.training.widen`).
    """
    from inference.training.network import ModelConfig
    from inference.training.widen import grown

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
    from inference.training.network import DefacingNet, ModelConfig

    try:
        model = DefacingNet(ModelConfig.of(config))
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(path, f"cannot be read ({type(error).__name__})") from error
    return model
