"""Training: what is ambiguous is summed out, calibration helps, a run goes on where it was cut off."""

import argparse
import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

from inference import checkpoint, classes
from inference.classifier import Classifier
from inference.metrics import evidence
from inference.regions import REGIONS
from inference.runtime import Graph
from inference.training import augment, calibration, export, muon, run, shards, train
from inference.training.evaluate import (
    CUTS,
    apart,
    at_one_cut,
    auroc,
    by_amount,
    by_cut,
    by_question,
    by_share,
    calibration_error,
    choose_policy,
    one_cut,
    risk_coverage,
)
from inference.training.evaluation_cases import Case
from inference.training.losses import joint_loss, losses
from inference.training.muon import DECAY, Optimiser
from inference.training.network import DefacingNet
from inference.triage import Context, ThresholdPolicy, triage
from tests.heads import make_shards
from tests.test_predict import SMALL

ALONE = Context.of_network_alone(in_distribution=True)


def test_an_ambiguous_answer_is_summed_out_of_the_likelihood():
    logits = torch.log(torch.tensor([[0.1, 0.2, 0.05, 0.15, 0.1, 0.2, 0.05, 0.15]]))
    known, _ = joint_loss(logits, torch.tensor([[1, 0, 1]]))
    half, _ = joint_loss(logits, torch.tensor([[1, -1, 1]]))
    nothing, _ = joint_loss(logits, torch.tensor([[-1, -1, -1]]))
    assert known.item() == pytest.approx(-np.log(0.2), abs=1e-5)
    assert half.item() == pytest.approx(-np.log(0.35), abs=1e-5)
    assert nothing.item() == pytest.approx(0, abs=1e-5)


def test_calibration_tames_overconfident_logits():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 8, 600)
    logits = rng.normal(0, 1, (600, 8)).astype(np.float32)
    logits[np.arange(600), truth] += 1.5
    attributes = np.stack([truth & 1, truth >> 1 & 1, truth >> 2 & 1], axis=1)
    found = calibration.calibrate(logits * 6, attributes)
    assert found["temperature"] == pytest.approx(6 / 1.5, rel=0.2), "unit noise around a step of 1.5"


def test_ambiguous_measurements_become_unknown_targets():
    kept = np.array([[0, 0, 0, 1, 1], [0.5, 0, 0, 0, 0], [1, np.nan, np.nan, np.nan, np.nan]], np.float32)
    found = shards.targets(np.array([0.0, 1.0, np.nan], np.float32), kept)
    np.testing.assert_array_equal(found, [[0, 1, 0], [-1, 0, -1], [-1, -1, -1]])


@pytest.fixture(scope="module")
def shard_folder(tmp_path_factory):
    people = ("somebody", shards.CALIBRATION[0], shards.TEST[0])
    return make_shards(tmp_path_factory.mktemp("shards"), people, samples=12)


def test_people_are_split_and_mirroring_twice_changes_nothing(shard_folder):
    parts = shards.split(shards.shards(shard_folder))
    assert [[s.person for s in parts[p]] for p in ("train", "calibration", "test")] == [
        ["somebody"],
        [shards.CALIBRATION[0]],
        [shards.TEST[0]],
    ]
    batch = next(shards.batches(parts["train"], 4, None))
    once, twice = augment.mirror(batch), augment.mirror(augment.mirror(batch))
    assert not torch.equal(once.surfaces, batch.surfaces)
    for name in ("surfaces", "volumes", "evidence", "blocks"):
        assert torch.equal(getattr(twice, name), getattr(batch, name))


def test_intensities_vary_but_depth_and_what_is_gone_do_not(shard_folder):
    plain = next(shards.batches(shards.shards(shard_folder), 12, None))
    before = copy.deepcopy(plain)
    mirrored, noisy = 0, []
    for seed in range(6):
        varied = augment.vary(plain, np.random.default_rng(seed))
        for name in ("surfaces", "volumes", "evidence", "blocks", "kept"):
            assert torch.equal(getattr(plain, name).nan_to_num(), getattr(before, name).nan_to_num()), (
                "the samples stay as they are, to be varied again"
            )
        turned = not torch.equal(varied.surfaces[:, :, 0], plain.surfaces[:, :, 0])
        mirrored += turned
        like = augment.mirror(plain) if turned else plain
        assert torch.equal(varied.surfaces[:, :, 0], like.surfaces[:, :, 0]), "a depth is no intensity"
        assert not varied.volumes[like.volumes == 0].any(), "nothing appears where nothing was"
        became = [v[p == 60] for v, p in zip(varied.volumes, like.volumes, strict=True)]
        noisy += [torch.unique(values).numel() > 1 for values in became]
        assert len({int(values[0]) for values in became}) > 4, "every head its own tone"
        same = augment.vary(plain, np.random.default_rng(seed))
        assert torch.equal(varied.volumes, same.volumes)
        assert torch.equal(varied.surfaces, same.surfaces)
    assert 0 < mirrored < 6
    assert 0.2 < np.mean(noisy) < 0.5, "noise in a third"


def test_noise_is_even_within_its_reach():
    data = torch.full((2, 64, 80, 80), 100, dtype=torch.uint8)
    data[:, 0] = 0
    data[:, 1] = 3
    found = augment.with_noise(data, torch.tensor([2, 9]), torch.Generator().manual_seed(1))
    assert not found[:, 0].any()
    for head, reach in zip(found, (2, 9), strict=True):
        values, counts = torch.unique(head[2:], return_counts=True)
        assert values.tolist() == list(range(100 - reach, 101 + reach))
        assert counts.max() < 1.15 * counts.min()
    assert found[1, 1].min() == 1, "what is there stays above nothing"


def test_bytes_go_through_the_table_of_their_head():
    rng = np.random.default_rng(0)
    tables = augment.tones(3, rng)
    data = torch.from_numpy(rng.integers(0, 256, (3, 6, 6, 80, 80), np.uint8))
    peels = data[:, :, 1:]
    by_index = np.stack([t[d] for t, d in zip(tables, peels.numpy(), strict=True)])
    np.testing.assert_array_equal(augment.through(peels, tables).numpy(), by_index)


def test_what_is_no_head_teaches_only_that_it_is_none(shard_folder):
    batch = next(shards.batches(shards.shards(shard_folder), 12, None))
    torch.manual_seed(0)
    network = DefacingNet(SMALL)
    out = network(batch.surfaces, batch.volumes)
    found = losses(out, batch)
    assert all(torch.isfinite(v) for v in found.values())
    real = ~batch.odd
    assert 0 < real.sum() < 12
    heads = shards.Batch(**{k: v[real.numpy()] if k == "names" else v[real] for k, v in vars(batch).items()})
    alone = losses({k: v[real] for k, v in out.items()}, heads)
    for key in alone.keys() - {"valid"}:
        torch.testing.assert_close(found[key], alone[key])
    torch.stack(list(found.values())).sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())


def test_kinds_left_out_of_a_training_are_in_no_batch_of_it(shard_folder):
    parts = shards.split(shards.shards(shard_folder))
    every = np.concatenate([b.names for b in shards.batches(parts["train"], 4, None)])
    family = next(f for f, *_ in every if f != "odd")
    rest = np.concatenate([b.names for b in shards.batches(parts["train"], 4, None, without=[family])])
    assert len(rest) == (every[:, 0] != family).sum()
    assert family not in rest[:, 0]
    assert sum(shards.size(s, [family]) for s in parts["train"]) == len(rest)


def share_one(rank, meeting, folder):
    """One of two processes, whose gradients are 1 and 2."""
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    model = torch.nn.Linear(3, 2)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, rank + 1.0)
    run.share_gradients(model)
    torch.save([p.grad for p in model.parameters()], folder / f"{rank}.pt")
    distributed.destroy_process_group()


def test_processes_go_on_with_the_mean_of_their_gradients(tmp_path):
    multiprocessing.spawn(share_one, args=(tmp_path / "meeting", tmp_path), nprocs=2)
    for rank in (0, 1):
        weight, bias = torch.load(tmp_path / f"{rank}.pt")
        assert torch.equal(weight, torch.full((2, 3), 1.5))
        assert torch.equal(bias, torch.full((2,), 1.5))


@pytest.mark.parametrize(
    ("conv", "memory"),
    [(torch.nn.Conv2d, torch.channels_last), (torch.nn.Conv3d, torch.channels_last_3d)],
)
def test_a_convolution_is_moved_as_the_matrix_it_is_in_either_memory_format(conv, memory):
    torch.manual_seed(0)
    plain = torch.nn.Sequential(conv(3, 4, 3), conv(4, 2, 3))
    last = copy.deepcopy(plain).to(memory_format=memory)
    picture = torch.rand(2, 3, *[8] * (plain[0].weight.ndim - 2))
    before = plain[0].weight.clone()
    for model in (plain, last):
        optimiser = Optimiser(model, 1e-2, 10)
        model(picture).square().mean().backward()
        optimiser.step()
    assert not torch.equal(before, plain[0].weight), "the step reached the layer itself"
    torch.testing.assert_close(plain[0].weight, last[0].weight, atol=1e-4, rtol=0)
    moved = (plain[0].weight - before).flatten(1)
    steps = torch.linalg.svdvals(moved)
    assert steps.max() / steps.min() < 3, "orthogonal steps: no direction is favoured"


def test_matrices_of_one_shape_are_moved_together_as_each_would_be_alone(monkeypatch):
    torch.manual_seed(0)
    together = torch.nn.ModuleList([torch.nn.Linear(5, 7) for _ in range(3)])
    alone = copy.deepcopy(together)
    reference = torch.optim.Muon(
        [layer.weight for layer in alone], lr=1e-2, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"
    )
    optimiser = Optimiser(together, 1e-2, 1000)
    monkeypatch.setattr(muon, "lr_schedule", lambda step, steps: 1.0)
    for _ in range(3):
        for one, other in zip(together, alone, strict=True):
            one.weight.grad = torch.randn(7, 5)
            other.weight.grad = one.weight.grad.clone()
        optimiser.step()
        reference.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.weight, other.weight, atol=3e-4, rtol=0)


def test_the_rate_warms_up_and_falls_to_nothing():
    shares = [muon.lr_schedule(step, 100) for step in range(120)]
    assert shares[0] == pytest.approx(0.25)
    assert max(shares) == pytest.approx(1.0, abs=0.02)
    assert shares[50] == pytest.approx(50 / 96, abs=0.02)
    assert shares[-1] == 0


def options(folder, out, epochs):
    return argparse.Namespace(
        data=folder, out=out, epochs=epochs, batch=6, rate=1e-3, seed=1, threads=1, check_every=9,
        start=None, average=None, share=0.25, processes=1, without=(), config={}, fresh=None,
    )  # fmt: skip


def weights_of(path):
    return export.load_for_training(path.with_suffix(".pt"))[0].state_dict().values()


def test_a_run_that_was_cut_off_goes_on_and_gives_usable_weights(shard_folder, tmp_path, monkeypatch, caplog):
    out = tmp_path / "net.onnx"
    steps = []
    step = run.Run.step
    monkeypatch.setattr(run.Run, "step", lambda *a: steps.append(1) or step(*a))
    save = run.Run.save

    def cut_off(run):
        save(run)
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "SAVE_EVERY", 1)
    with monkeypatch.context() as patch:
        patch.setattr(run.Run, "save", cut_off)
        with pytest.raises(KeyboardInterrupt):
            train.train(options(shard_folder, out, 2))
    assert len(steps) == 1, "cut off within the first epoch"
    train.train(options(shard_folder, out, 2))
    assert len(steps) == 4, "nothing was done again"
    whole = tmp_path / "whole.onnx"
    checked = options(shard_folder, whole, 2)
    checked.check_every = 1
    caplog.set_level("INFO", "train")
    train.train(checked)
    assert caplog.text.count("people left out") == 2
    for one, other in zip(weights_of(out), weights_of(whole), strict=True):
        assert torch.equal(one, other), "the interruption left no trace"
    again = tmp_path / "two.onnx"
    two = options(shard_folder, again, 2)
    two.processes = 2
    train.train(two)
    network = Classifier.load(again)
    assert network.facts.data["processes"] == 2
    middle = tmp_path / "middle.onnx"
    none = options(shard_folder, middle, 0)
    none.start, none.average = out.with_suffix(".pt"), again.with_suffix(".pt")
    train.train(none)
    for between, one, other in zip(weights_of(middle), weights_of(out), weights_of(again), strict=True):
        if between.dtype.is_floating_point:
            torch.testing.assert_close(
                between.float(), one.float() * 0.75 + other.float() * 0.25, rtol=2e-3, atol=1e-5
            )
    assert Classifier.load(middle).facts.data["share"] == 0.25
    assert Classifier.load(middle).facts.data["averaged_with"] == checkpoint.file_hash(none.average)[:16]
    network = Classifier.load(out)
    assert network.facts.data["people"]["calibration"] == [shards.CALIBRATION[0]]
    answers = calibration.by_graph(Graph(out), both_ways=True)
    said = calibration.outputs(answers, shards.split(shards.shards(shard_folder))["calibration"])
    heads = ~said["odd"]
    assert network.facts.valid_below == pytest.approx(np.quantile(said["valid"][heads], 0.005))
    wanted = calibration.calibrate(said["joint"][heads], said["attributes"][heads])
    assert network.facts.calibration["temperature"] == pytest.approx(wanted["temperature"])
    assert network.facts.calibration["bias"] == pytest.approx(wanted["bias"])


def case(p, truth):
    rest = (1 - p) / 3
    return Case({"pass": p, "face": rest, "brain": rest, "both": rest}, truth)


def test_chosen_cut_offs_keep_false_passes_within_the_limit():
    cases = [case(0.997, "pass")] * 300 + [case(0.93, "face")] * 10 + [case(0.3, "face")] * 30
    policy = choose_policy(cases)
    assert policy.verify_min > 0.93
    decided = [c for c in cases if triage(c.probabilities, policy, ALONE).route == "fail"]
    assert decided == [], "0.23 for each failure decides for none of them"
    sure = Case({"pass": 0.02, "face": 0.9, "brain": 0.05, "both": 0.03}, "face")
    wrong = Case({"pass": 0.02, "face": 0.7, "brain": 0.2, "both": 0.08}, "brain")
    assert (
        triage(wrong.probabilities, choose_policy([*cases, *[sure] * 60, *[wrong] * 5]), ALONE).route
        == "fail"
    ), "5 errors in 365 decisions are within 2 %"
    policy = choose_policy([*cases, *[sure] * 60, *[wrong] * 10])
    assert triage(sure.probabilities, policy, ALONE).route == "fail"
    assert triage(wrong.probabilities, policy, ALONE).route == "refer"
    assert all(triage(c.probabilities, policy, ALONE).route != "verify" for c in cases if c.truth != "pass")


def test_few_false_passes_do_not_hide_what_the_probabilities_expect():
    sure, less = case(0.998, "pass"), case(0.98, "pass")
    assert choose_policy([sure] * 100).verify_min == 0.998
    assert choose_policy([sure] * 100 + [less] * 100).verify_min == 0.998, (
        "none is false, 0.011 are expected to be"
    )
    assert choose_policy([sure] * 800 + [less] * 100).verify_min == 0.98, "0.004 are expected"
    assert choose_policy([sure] * 100 + [case(0.998, "face")]).verify_min == 1.0, "one of a hundred is false"
    assert choose_policy([less] * 100).verify_min == 1.0, "nobody is sure enough"
    assert choose_policy([]) == ThresholdPolicy(1.0, 0.995, 0.995), "nobody was asked"
    many = [case(1.0, "pass")] * 1388 + [case(0.65, "face")] * 7 + [case(0.5999, "pass")] * 20
    assert choose_policy(many).verify_min > 0.65, (
        "0.0050 without those below 0.6 who are no pass to be verified"
    )
    assert choose_policy([case(1.0, "pass")] * 200 + [case(0.3, "pass")]).verify_min == 0.6, (
        "more likely than not"
    )


def test_chosen_cut_offs_decide_as_much_as_any_within_the_limits():
    rng = np.random.default_rng(5)
    cases = []
    for klass in rng.integers(0, 4, 400):
        logits = rng.normal(0, 2.2, 4) + 4 * (np.arange(4) == klass)
        shares = np.exp(logits) / np.exp(logits).sum()
        cases.append(
            Case(dict(zip(classes.CLASSES, map(float, shares), strict=True)), classes.CLASSES[klass])
        )
    policy = choose_policy(cases, false_pass=0.02, accuracy=0.96)
    found = evidence(cases, policy)
    assert found.false_pass.total > 20
    assert found.false_pass.share <= 0.02
    assert found.selective_accuracy.share >= 0.96
    others = [
        evidence(cases, replace(policy, fail_min=fail, class_min=one))
        for fail in CUTS[::4].tolist()
        for one in CUTS[::4].tolist()
    ]
    allowed = [e.coverage.count for e in others if e.selective_accuracy.share >= 0.96]
    assert 0 < len(allowed) < len(others)
    assert found.coverage.count >= max(allowed)
    lower = replace(policy, verify_min=policy.verify_min - 0.0001)
    passing = [c.probabilities["pass"] for c in cases if c.probabilities["pass"] >= lower.verify_min]
    wrong = evidence(cases, lower).false_pass.count, sum(1 - p for p in passing)
    assert max(wrong) > 0.02 * len(passing), "no lower cut-off keeps within the limit"


def test_one_cut_off_decides_as_much_as_the_people_it_is_taken_from_allow():
    cases = [case(0.95, "pass")] * 98 + [case(0.9, "face")] * 2 + [case(0.8, "face")]
    assert one_cut(cases) == 0.9, "2 errors of 100 are allowed, 3 of 101 are not"
    assert one_cut([case(0.9, "face")]) == 1.0
    told = at_one_cut([*cases, case(0.1, "face")], 0.9)
    assert "coverage 0.980" in told
    assert "selective accuracy 0.980" in told
    assert "false passes 2/100" in told


def test_other_cut_offs_are_told_with_what_they_would_let_pass():
    cases = [case(0.999, "pass")] * 8 + [case(0.982, "face"), case(0.96, "face")]
    told = by_cut(cases, [case(0.96, "pass")], ThresholdPolicy(0.9, 0.99, 0.9))
    rows = {
        line.split("|")[1].strip(): [cell.split()[0] for cell in line.split("|")[2:-1]] for line in told[2:]
    }
    assert list(rows) == ["0.9", "0.95", "0.97", "0.98", "0.985", "0.99", "0.995"], (
        "the chosen one among them"
    )
    assert rows["0.95"] == ["1.000", "0.800", "2/10", "0.0066", "0/1", "0.0400"]
    assert rows["0.98"] == ["0.900", "0.889", "1/9", "0.0029", "0/0", "-"]
    assert rows["0.985"] == rows["0.995"] == ["0.800", "1.000", "0/8", "0.0010", "0/0", "-"]


def test_figures_of_a_perfect_and_of_a_blind_model():
    scores, good = np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False])
    assert auroc(scores, good) == 1.0
    assert auroc(np.ones(4), good) == 0.5
    assert calibration_error([case(1.0, "pass")] * 5) == pytest.approx(0)
    assert risk_coverage([case(0.9, "pass")] * 9 + [case(0.8, "face")])[-1] == "| 1.00 | 0.1000 |"


def test_bites_are_scored_by_how_much_was_removed():
    def case(ml, predicted):
        return Case({}, "brain" if ml > 1 else "pass", attributes={"brain": predicted}, brain_ml=ml)

    cases = [case(0, 0.1), case(0, 0.7), case(0.3, 0.2), case(3, 0.4), case(4, 0.6), case(90, 0.9)]
    rows = {line.split("|")[1].strip(): line.split("|")[2:4] for line in by_amount(cases)[2:]}
    assert {name: (int(n), right.split()[0]) for name, (n, right) in rows.items()} == {
        "none": (2, "0.500"),
        "0 to 0.5": (1, "1.000"),
        "2 to 4": (2, "0.500"),
        "over 40": (1, "1.000"),
    }


def test_faces_are_scored_by_how_much_is_left_of_the_region_of_which_most_is():
    def case(predicted, **kept):
        left = "face" if max(kept.values()) > 0.5 else "pass"
        return Case({}, left, attributes={"face": predicted}, kept=kept)

    cases = [
        case(0.1, eyes=0.0, nose=0.0), case(0.1, eyes=0.3, nose=0.1), case(0.6, mouth=0.2), case(0.4, eyes=0.7, nose=0.0),
        case(0.6, nose=0.72, left_ear=1.0), case(0.9, eyes=1.0),
    ]  # fmt: skip
    found = [line.split("|")[1:4] for line in by_share(cases)[2:]]
    assert [(name.strip(), int(n), right.split()[0]) for name, n, right in found] == [
        ("none", 1, "1.000"), ("0.1 to 0.35", 2, "0.500"), ("0.65 to 0.75", 2, "0.500"), ("0.95 to 1", 1, "1.000"),
    ]  # fmt: skip


def test_what_a_training_left_out_is_judged_apart_and_so_is_what_is_asked_for():
    left_out, known = replace(case(0.9, "pass"), contrast="T2w"), replace(case(0.9, "face"), contrast="T1w")
    policy = choose_policy([left_out])
    assert apart([left_out, known], (), (), policy) == []
    for without, names, title in (
        (["T2w"], (), "Left out"),
        ((), ["T2w"], "Apart"),
        (["T2w"], ["T1w"], "Left"),
    ):
        lines = apart([left_out, known], without, names, policy)
        assert title in lines[1]
        assert [line.split("|")[1:4] for line in lines[4:]] == [
            [" T2w ", " 1 ", " 1.000 (0.207-1.000) "],
            [" none of these ", " 1 ", " 0.000 (0.000-0.793) "],
        ]


def test_regions_are_scored_where_they_are_clearly_there_or_clearly_gone():
    def case(klass, face, predicted, there):
        return Case(
            {}, klass, attributes={"face": face, "ears": 0.5, "brain": 0.1},
            remains=dict.fromkeys(REGIONS, predicted), kept={} if there is None else {"nose": there},
        )  # fmt: skip

    cases = [
        case("face", 0.9, 0.8, 1.0),
        case("face", 0.4, 0.4, 0.9),  # wrong in both
        case("pass", 0.2, 0.1, 0.0),
        case("pass", 0.1, 0.9, 0.5),  # between the limits: the region does not count
        case("pass", 0.1, 0.9, None),  # out of view
    ]
    rows = {
        line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]] for line in by_question(cases)
    }
    assert rows["face remains"][:2] == ["5", "2"]
    assert rows["face remains"][2].startswith("0.800 ")
    assert rows["face remains"][3] == "1.0000"
    assert rows["nose"][:2] == ["3", "2"]
    assert rows["nose"][2].startswith("0.667 ")
    assert rows["eyes"][0] == "0"
    assert rows["brain removed"][3] == "nan", "nothing was removed anywhere"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--share 0.2", "needs --average"),
        ("--average b.pt", "needs --start"),
        ("--start a.pt --average b.pt --share 1", "between 0 and 1"),
        ("--start a.pt --average b.pt --share nan", "between 0 and 1"),
        ("--config fine", "NAME=VALUE"),
        ("--fresh heads --epochs 0", "goes without"),
        ("--fresh heads --without T2w", "goes without"),
        ("--fresh heads --least 70000", "must fit"),
        ("--fresh heads --each 3", "at least"),
    ],
)
def test_options_that_do_not_go_together_are_refused(given, said, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["train", "data", "out.onnx", *given.split()])
    with pytest.raises(SystemExit):
        train.parsed(None)
    assert said in capsys.readouterr().err


def test_half_of_each_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train", "data", "out.onnx", "--start", "a.pt", "--average", "b.pt"])
    assert train.parsed(None).share == 0.5


def test_weights_between_two_know_the_people_of_both():
    one, other = {"fresh": {"people": ["a", "b"], "steps": 1}}, {"fresh": {"people": ["b", "c"], "steps": 2}}
    assert run.both_known(one, other) == {"fresh": {"people": ["a", "b", "c"], "steps": 2}}
    assert run.both_known(one, {})["fresh"] == one["fresh"]
    assert run.both_known({}, other)["fresh"] == other["fresh"]


def test_a_saved_optimiser_goes_on_at_the_rate_of_the_step():
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    optimiser = Optimiser(network, 1e-2, 10)
    for step in range(2):
        network(torch.ones(1, 2)).sum().backward()
        optimiser.step()
        if step == 0:
            saved = copy.deepcopy(optimiser.state_dict())
            saved["adam"]["param_groups"][0].update(lr=0.5)
            optimiser = Optimiser(network, 1e-2, 10)
            optimiser.load_state_dict(saved)
            before = network[0].bias.detach().clone()
    assert 0 < (network[0].bias - before).abs().max() < 0.1, "moved, at the rate of now"
