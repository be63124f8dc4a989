"""Training on attempts made meanwhile: what is kept, what is drawn, what is left when it ends."""

import argparse
import multiprocessing
from dataclasses import asdict
from itertools import islice

import numpy as np
import pytest
import torch

from inference.checkpoint import CheckpointError
from inference.projections.frame import SHAPE
from inference.projections.network_input import CELLS, LAYERS, PARTS, POOL, SIDE, SURFACES
from inference.training import export, online, run, shards, train
from inference.training.network import DefacingNet
from inference.training.simulate.mixtures import MIXES
from tests.heads import simple_head
from tests.test_predict import SMALL

SHAPES = {
    "surfaces": (len(SURFACES), LAYERS, SIDE, SIDE), "volumes": SHAPE,
    "evidence": (len(SURFACES), 2, SIDE // POOL, SIDE // POOL), "blocks": (len(PARTS), *CELLS),
}  # fmt: skip


def made(count, first=0):
    """`count` samples that carry their number in every array."""
    number = np.arange(first, first + count)
    like = {
        key: np.broadcast_to(number.reshape(-1, *[1] * len(shape)), (count, *shape))
        for key, shape in SHAPES.items()
    }
    names = np.array([["odd" if n % 5 == 4 else "plane", "zero", "T1w"] for n in number])
    brain_ml = np.where(names[:, 0] == "odd", np.nan, number).astype(np.float32)
    return {
        **{key: value.astype(bool if key == "evidence" else np.uint8) for key, value in like.items()},
        "brain_ml": brain_ml, "kept": np.full((count, 5), np.nan, np.float32), "names": names,
    }  # fmt: skip


def test_the_replay_buffer_keeps_the_latest_samples_and_draws_none_twice():
    buffer = online.ReplayBuffer(10)
    rng = np.random.default_rng(0)
    buffer.add(made(4))
    assert sorted(buffer.draw(4, rng).volumes[:, 0, 0, 0].tolist()) == [0, 1, 2, 3]
    buffer.add(made(4, 4))
    buffer.add(made(4, 8))  # over the end
    batch = buffer.draw(10, rng)
    numbers = batch.volumes[:, 0, 0, 0]
    assert sorted(numbers.tolist()) == list(range(2, 12))
    for key in ("surfaces", "blocks"):
        assert torch.equal(getattr(batch, key).flatten(1)[:, -1], numbers)
    assert torch.equal(batch.odd, numbers % 5 == 4)
    assert ((batch.names[:, 0] == "odd") == batch.odd.numpy()).all()
    assert torch.equal(batch.brain_ml[~batch.odd], numbers[~batch.odd].float())
    assert (batch.attributes[batch.odd] == -1).all()
    assert batch.attributes[~batch.odd][:, 2].tolist() == [
        int(n > 1) if n not in (1,) else -1 for n in numbers[~batch.odd].tolist()
    ]
    batch.volumes.zero_()
    assert buffer.tensors["volumes"].any(), "a copy"


@pytest.fixture
def heads(tmp_path):
    folder = tmp_path / "heads"
    folder.mkdir()
    for name, person in (
        ("a1", "a"),
        ("a2", "a"),
        ("b", "b"),
        ("c", shards.CALIBRATION[0]),
        ("t", shards.TEST[0]),
    ):
        np.savez(folder / f"{name}.npz", person=person)
    return folder


def test_heads_take_turns_by_person_and_people_left_out_have_none(heads):
    assert [p.stem for p in islice(online.plan(heads), 6)] == ["a1", "b", "a2", "b", "a1", "b"]
    for path in heads.glob("[ab]*"):
        path.unlink()
    with pytest.raises(ValueError, match="no heads"):
        next(online.plan(heads))


def options(heads, out, **changes):
    sizes = {**asdict(SMALL), "both_ways": False, "fine": True}
    values = {
        "data": heads.parent / "none", "out": out, "fresh": heads, "steps": 6, "seconds": None, "mixes": list(MIXES),
        "workers": 0, "each": 5, "pool": 12, "least": 8, "round": 2, "weights_only": True, "batch": 4, "rate": 1e-3,
        "seed": 1, "threads": 1, "start": None, "average": None, "share": 0.5,
        "config": sizes,
    }  # fmt: skip
    return argparse.Namespace(**{**values, **changes})


@pytest.fixture
def stand_in(monkeypatch):
    """Samples of noise in place of simulated ones, which take long; the heads that were asked for."""
    asked = []

    def make(head, rng, count, mix):
        noise = made(count, count * len(asked))
        asked.append(head)
        for key in ("surfaces", "volumes"):
            noise[key] = rng.integers(0, 256, noise[key].shape, np.uint8)
        return noise

    monkeypatch.setattr(online, "head_of", lambda path: path.stem)
    monkeypatch.setattr(online, "attempts_of", make)
    return asked


def test_it_learns_from_what_is_made_meanwhile_and_leaves_its_weights(heads, tmp_path, stand_in, monkeypatch):
    out = tmp_path / "net.onnx"
    train.train(options(heads, out))
    assert stand_in == ["a1", "b", "a2", "b", "a1"], "two to begin with, one every two steps"
    assert not out.exists()
    weights = tmp_path / "net.weights.pt"
    network, known = export.load_network(weights)
    assert network.config.fine
    assert not network.config.both_ways
    assert known["fresh"]["steps"] == 6
    assert known["fresh"]["samples"] == 25
    with pytest.raises(CheckpointError, match="no facts"):
        export.load_for_training(weights)
    stand_in.clear()
    train.train(options(heads, tmp_path / "again.onnx"))
    again = export.load_network(tmp_path / "again.weights.pt")[0]
    for one, other in zip(network.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other), "the seed decides"


def test_the_steps_are_lowered_to_what_fits_and_an_error_leaves_the_weights(
    heads, tmp_path, stand_in, monkeypatch
):
    monkeypatch.setattr(online, "FIT_EVERY", 2)
    out = tmp_path / "net.onnx"
    train.train(options(heads, out, steps=100000, seconds=online.RESERVE + 6))
    steps = export.load_network(out.with_suffix(".weights.pt"))[1]["fresh"]["steps"]
    assert 2 <= steps < 1000
    broken = tmp_path / "broken.onnx"

    def fail(*_):
        if len(stand_in) > 3:
            raise RuntimeError("no more")
        return kept(*_)

    stand_in.clear()
    kept = online.attempts_of
    monkeypatch.setattr(online, "attempts_of", fail)
    with pytest.raises(RuntimeError, match="no more"):
        train.train(options(heads, broken))
    assert export.load_network(broken.with_suffix(".weights.pt"))[1]["fresh"]["steps"] == 4


def test_a_training_that_went_astray_ends_and_leaves_the_weights_before(
    heads, tmp_path, stand_in, monkeypatch
):
    monkeypatch.setattr(online, "SAVE_EVERY", 2)
    out = tmp_path / "net.onnx"
    whole = run.Run.step

    def stray(run, batch):
        found = whole(run, batch)
        if run.optimiser.step_count == 5:
            run.average.values["answers.weight"].fill_(torch.nan)
        return found

    monkeypatch.setattr(run.Run, "step", stray)
    with pytest.raises(FloatingPointError, match="astray before step 6"):
        train.train(options(heads, out))
    assert export.load_network(out.with_suffix(".weights.pt"))[1]["fresh"]["steps"] == 4


def test_processes_make_attempts_in_order_and_are_gone_after(tmp_path):
    simple_head("one", "somebody").save(tmp_path / "one.npz")
    asked = options(tmp_path, tmp_path / "net.onnx", workers=1, each=2)
    stream = online.stream(asked)
    found = [next(stream) for _ in range(2)]
    stream.close()
    assert not multiprocessing.active_children()
    here = online.attempts(online.Task(tmp_path / "one.npz", 1, 1, 2, tuple(MIXES)))
    assert np.array_equal(found[1]["volumes"], here["volumes"])
    assert not np.array_equal(found[0]["volumes"], here["volumes"])


def test_an_average_that_warms_up_forgets_the_beginning():
    model = torch.nn.Linear(2, 2)
    cold, warm = run.Average(model, 0.999), run.Average(model, 0.999, warm=True)
    start = model.weight.detach().clone()
    with torch.no_grad():
        model.weight += 1
    for _ in range(30):
        cold.update(model)
        warm.update(model)
    assert (cold.values["weight"] - start).max() < 0.05
    assert (warm.values["weight"] - start).min() > 0.9


def test_weights_of_other_sizes_are_refused(tmp_path):
    path = tmp_path / "x.weights.pt"
    network = DefacingNet(SMALL)
    export.save_weights(asdict(SMALL), network.state_dict(), {}, path)
    changed, known = export.load_network(path, both_ways=False)
    assert known == {}
    assert not changed.config.both_ways
    with pytest.raises(CheckpointError, match="cannot become"):
        export.load_network(path, stem=2)
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"x\.weights\.pt"):
        export.load_network(path)
