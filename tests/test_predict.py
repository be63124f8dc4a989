"""Weights and answers: the exported network equals the trained one, and weights that do not fit are refused."""

import dataclasses
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inference import checkpoint, classes
from inference.checkpoint import CheckpointError, Facts
from inference.classifier import Classifier
from inference.projections.network_input import PARTS, VIEW_NAMES, NetworkInput
from inference.runtime import Graph
from inference.saliency import as_shown
from inference.test_time_mirror import mirrored
from inference.training import export
from inference.training.network import DefacingNet, ModelConfig, as_used

ROOT = Path(__file__).parent.parent
SMALL = ModelConfig(widths=(4, 6, 8), view_features=3, stem=4, blocks=8, deep=8, hidden=16)
CALIBRATION = {"temperature": 1.5, "bias": [0.1, 0, 0, 0, 0, 0, 0, -0.1]}


def facts(**changes):
    base = Facts(
        config=dataclasses.asdict(SMALL),
        calibration=CALIBRATION,
        valid_below=-50.0,
        created="2026-01-01",
    )
    return dataclasses.replace(base, **changes)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return DefacingNet(SMALL).eval()


def some_inputs(count):
    rng = np.random.default_rng(0)
    return [
        NetworkInput(
            rng.integers(0, 255, (6, 6, 80, 80), np.uint8), rng.integers(0, 255, (64, 80, 80), np.uint8), "1"
        )
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def inputs():
    return some_inputs(3)


@pytest.fixture
def weights(network, inputs, tmp_path):
    path = tmp_path / "small.onnx"
    export.save(network, facts(), path, inputs)
    return path


def tensors(inputs):
    return torch.from_numpy(np.stack([i.surfaces for i in inputs])), torch.from_numpy(
        np.stack([i.volume for i in inputs])
    )


@pytest.mark.parametrize("larger", [{}, {"fine": True}])
def test_the_exported_graph_says_what_the_trained_network_says(larger, inputs, tmp_path):
    torch.manual_seed(0)
    network = DefacingNet(replace(SMALL, **larger)).eval()
    export.export(network, tmp_path / "plain.onnx")
    graph = Graph(tmp_path / "plain.onnx")
    with torch.no_grad():
        out = network(*tensors(inputs))
    for n, head in enumerate(inputs):
        for name, value in graph(head.surfaces[None], head.volume[None]).items():
            np.testing.assert_allclose(value[0], out[name][n].numpy(), atol=1e-4)


@pytest.mark.parametrize("both_ways", [True, False])
def test_it_looks_at_a_head_and_at_its_mirror_image_where_its_config_says_so(both_ways, inputs, tmp_path):
    torch.manual_seed(0)
    network = DefacingNet(replace(SMALL, both_ways=both_ways)).eval()
    export.export(network, tmp_path / "plain.onnx")
    with torch.no_grad():
        plain = network(*tensors(inputs))
        turned = network(*mirrored(*tensors(inputs)))
        used = as_used(network, *tensors(inputs))
    wanted = (plain["blocks"] + turned["blocks"].flip(2)) / 2 if both_ways else plain["blocks"]
    torch.testing.assert_close(used["blocks"], wanted)
    answers = Graph(tmp_path / "plain.onnx").answers(inputs[0], both_ways=both_ways)
    for name, shape in checkpoint.OUTPUTS.items():
        assert answers[name].shape == shape
        np.testing.assert_allclose(answers[name], used[name][0].numpy(), atol=1e-4)


def test_a_graph_of_the_former_format_has_both_ways_in_it_and_is_asked_once(network, inputs, tmp_path):
    old = tmp_path / "old.onnx"
    export.save(network, facts(format=2), old, inputs)
    classifier = Classifier.load(old)
    once = Graph(old).answers(inputs[0], both_ways=False)
    np.testing.assert_array_equal(classifier.predict(inputs[:1])[0].valid, once["valid"])
    assert not classifier.facts.both_ways
    assert facts().both_ways


def test_answering_reports_to_nobody(weights):
    program = f"""
import os, sys
def refuse(event, details):
    if event.startswith("socket."):
        os.write(2, f"{{event}} {{details}}".encode())
        os._exit(1)
sys.addaudithook(refuse)
import pathlib, numpy, time
from inference.classifier import Classifier
from inference.projections.network_input import NetworkInput
head = NetworkInput(numpy.zeros((6, 6, 80, 80), "uint8"), numpy.zeros((64, 80, 80), "uint8"), "1")
print(len(Classifier.load(pathlib.Path({str(weights)!r})).predict([head])))
assert sys.modules["openvino_telemetry"] is None
time.sleep(0.5)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout.strip(), done.stderr) == ("1", "")


def test_it_answers_in_a_process_that_was_forked_after_loading(inputs, weights):
    classifier = Classifier.load(weights)
    before = classifier.predict(inputs[:1])[0].joint
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(20)
            os.write(write, classifier.predict(inputs[:1])[0].joint.tobytes())
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(np.frombuffer(os.read(read, 64)), before)


def test_in_8_bits_it_says_nearly_the_same(network, inputs, weights):
    with torch.no_grad():
        out = as_used(network, *tensors(inputs))
    logits = out["joint"] / CALIBRATION["temperature"] + torch.tensor(CALIBRATION["bias"])
    found = Classifier.load(weights).predict(inputs)
    np.testing.assert_allclose([r.joint for r in found], logits.softmax(1).numpy(), atol=0.01)
    np.testing.assert_allclose([r.regions for r in found], out["regions"].sigmoid().numpy(), atol=0.02)
    np.testing.assert_allclose([r.blocks for r in found], out["blocks"].sigmoid().numpy(), atol=0.02)


def test_the_mirrored_head_is_answered_alike_with_left_and_right_exchanged(inputs, weights):
    other = [
        NetworkInput(s.numpy(), v.numpy(), "1") for s, v in zip(*mirrored(*tensors(inputs)), strict=True)
    ]
    assert not np.array_equal(other[0].surfaces, inputs[0].surfaces)
    classifier = Classifier.load(weights)
    for plain, turned in zip(classifier.predict(inputs), classifier.predict(other), strict=True):
        np.testing.assert_allclose(turned.joint, plain.joint, atol=1e-5)
        np.testing.assert_allclose(turned.regions, plain.regions[[0, 1, 2, 4, 3]], atol=1e-5)
        np.testing.assert_allclose(turned.blocks, plain.blocks[:, ::-1], atol=1e-5)


def test_a_pack_shows_the_blocks_within_it(inputs, weights):
    found = Classifier.load(weights).predict(inputs)[0]
    blocks = np.zeros_like(found.blocks)
    blocks[PARTS.index("missing"), 5, 6, 7] = 0.9  # cells 20-23 across, 24-27 to the front, 28-31 up
    blocks[PARTS.index("nose_left"), 8, 18, 4] = 0.8
    known = replace(found, blocks=blocks)
    assert known.saliency("sagittal_14", "brain")[6, 7] == pytest.approx(0.9)
    assert known.saliency("sagittal_26", "brain").max() == 0
    assert known.saliency("coronal_68", "face")[8, 4] == pytest.approx(0.8)
    assert known.saliency("axial_20", "brain")[5, 6] == pytest.approx(0.9)
    # From outside only the nearer half: rows and columns as in the view; narrow ones padded at the end.
    front = known.saliency("front", "face")
    assert front.shape == (20, 20)
    assert np.argwhere(front > 0.7).tolist() == [[15, 8]]
    assert known.saliency("back", "face").max() == 0
    assert np.argwhere(known.saliency("left", "brain") > 0.7).tolist() == [[12, 13]]
    assert known.saliency("right", "brain").max() == 0
    for view in VIEW_NAMES:
        assert known.saliency(view, "face").ndim == 2


def test_a_batch_says_what_single_calls_say(inputs, weights):
    classifier = Classifier.load(weights)
    together = classifier.predict(inputs)
    for one, answer in zip(inputs, together, strict=True):
        np.testing.assert_allclose(classifier.predict([one])[0].joint, answer.joint, atol=1e-5)
    assert classifier.predict([]) == []


def test_probabilities_add_up_under_both_standards_and_ears_only_add_failures(inputs, weights):
    for result in Classifier.load(weights).predict(inputs):
        without, with_ears = result.probabilities, result.probabilities_for(ears=True)
        assert tuple(without) == classes.CLASSES
        assert sum(without.values()) == pytest.approx(1)
        assert sum(with_ears.values()) == pytest.approx(1)
        assert with_ears["pass"] < without["pass"]
        assert result.attributes["face"] == pytest.approx(without["face"] + without["both"])
        assert result.saliency(VIEW_NAMES[3], "face").shape == (20, 20)


def test_an_input_unlike_a_head_is_marked(network, inputs, tmp_path):
    path = tmp_path / "strict.onnx"
    export.save(network, facts(valid_below=1e6), path, inputs)
    assert not any(r.in_distribution for r in Classifier.load(path).predict(inputs))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"classes": ("face", "pass", "brain", "both")}, "class order"),
        ({"render_version": "0"}, "projections 0"),
        ({"format": 99}, "format 99"),
        ({"calibration": {}}, "description"),
        ({"calibration": {"temperature": 0.0, "bias": [0] * 8}}, "calibration"),
        ({"calibration": {"temperature": 1.0, "bias": [0] * 4}}, "calibration"),
        ({"calibration": {"temperature": 1.0, "bias": [float("nan")] * 8}}, "calibration"),
        ({"config": []}, "sizes"),
        ({"valid_below": None}, "description"),
    ],
)
def test_weights_made_for_something_else_are_refused(network, tmp_path, change, reason):
    path = tmp_path / "other.onnx"
    export.save(network, facts(**change), path, some_inputs(1))
    for load in (Classifier.load, lambda p: export.load_for_training(p.with_suffix(".pt"))):
        with pytest.raises(CheckpointError, match=reason) as error:
            load(path)
        assert path.stem in str(error.value)


@pytest.mark.parametrize("damage", [b"", b"not a network", None])
def test_missing_or_damaged_weights_are_refused(tmp_path, damage):
    path = tmp_path / "damaged.onnx"
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(CheckpointError, match=r"damaged\.onnx"):
        Classifier.load(path)


def test_a_network_without_a_description_is_refused(weights):
    import onnx

    graph = onnx.load(str(weights))
    del graph.metadata_props[:]
    onnx.save(graph, str(weights))
    with pytest.raises(CheckpointError, match="description"):
        Classifier.load(weights)


def test_a_network_that_answers_something_else_is_refused(weights):
    import onnx

    graph = onnx.load(str(weights))
    names = [output.name for output in graph.graph.output]
    one, other = names.index("joint"), names.index("regions")
    graph.graph.output[one].name, graph.graph.output[other].name = "regions", "joint"
    for node in graph.graph.node:
        for n, name in enumerate(node.output):
            node.output[n] = {"joint": "regions", "regions": "joint"}.get(name, name)
    onnx.save(graph, str(weights))
    with pytest.raises(CheckpointError, match="not a usable network"):
        Classifier.load(weights)


def test_training_weights_come_back_as_they_were(network, weights):
    loaded, found = export.load_for_training(weights.with_suffix(".pt"))
    assert found.text() == facts().text()
    for key, value in export.rounded(network, weights).state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)


def test_evidence_lies_on_the_side_where_reviewers_see_it():
    seen = np.zeros((80, 80), np.float32)
    seen[10, 3] = 1  # the network's view from the front: low columns are the person's left
    assert np.argwhere(as_shown(seen, "front")).tolist() == [[10, 60]]
    assert np.argwhere(as_shown(seen[:20, :20], "front")).tolist() == [[10, 12]]
    assert np.argwhere(as_shown(seen, "right")).tolist() == [[10, 76]]
    assert np.argwhere(as_shown(seen, "left")).tolist() == [[10, 3]]


def test_weights_lie_in_16_bits_and_what_they_cannot_hold_is_refused(tmp_path):
    torch.manual_seed(1)
    network = DefacingNet(SMALL).eval()
    export.save(network, facts(), tmp_path / "net.onnx", some_inputs(2))
    stored = torch.load(tmp_path / "net.pt", weights_only=True)["weights"]
    assert {v.dtype for v in stored.values()} <= {torch.float16, torch.int64}
    with torch.no_grad():
        network.answers.weight[0, 0] = 1e6
    with pytest.raises(CheckpointError, match="16 bits"):
        export.save(network, facts(), tmp_path / "large.onnx", some_inputs(2))
    assert not (tmp_path / "large.onnx").exists()


def test_weights_that_name_a_size_which_no_network_had_are_read():
    values = dataclasses.asdict(SMALL)
    assert ModelConfig.of({**values, "extra": 0}) == SMALL
    with pytest.raises(TypeError):
        ModelConfig.of({**values, "extra": 1})
    network, shipped = export.load_for_training(checkpoint.DEFAULT.with_suffix(".pt"))
    assert shipped.config["extra"] == 0
    assert network.config.fine
