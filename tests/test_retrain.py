"""Learning from verdicts: reproducible, resumable, from nobody who is tested on; a candidate that routes nothing."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from django.core.management import CommandError, call_command

from inference import checkpoint
from inference.projections.network_input import CELLS, PARTS, RENDER_VERSION, NetworkInput, save_inputs
from inference.training import export
from inference.training import finetune as learning_on
from inference.training.finetune import Case, TooLittle, retrain
from inference.triage import ThresholdPolicy
from reviews import actions, jobs, labels
from reviews.management.commands.retrain import cases_of
from reviews.models import FrozenCase, ModelVersion, Prediction
from reviews.states import Status
from tests.conftest import judge, now
from tests.test_predict import SMALL, some_inputs
from tests.weights import sure_of

ANSWERS = {"pass": (0, -1, 0), "face": (1, -1, 0), "brain": (0, -1, 1)}
KLASSES = ("pass", "face", "brain")


def stored(path, klass, seed):
    """A network input in which what was judged can be seen: a face is rough below, missing brain is a gap."""
    rng = np.random.default_rng(seed)
    surfaces = rng.integers(60, 90, (6, 6, 80, 80)).astype(np.uint8)
    volume = rng.integers(100, 140, (64, 80, 80)).astype(np.uint8)
    if klass == "face":
        surfaces[..., 40:, :] = rng.integers(0, 250, (6, 6, 40, 80))
    if klass == "brain":
        volume[:, 30:60] //= 40
    path.parent.mkdir(parents=True, exist_ok=True)
    save_inputs(path, NetworkInput(surfaces, volume, "1"))
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Weights that call everything a pass, not too loudly to learn better."""
    return sure_of("pass", tmp_path_factory.mktemp("base"), loud=3.0)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Stored inputs of known classes."""
    folder = tmp_path_factory.mktemp("cases")
    return [(stored(folder / f"{n}.npz", KLASSES[n % 3], n), KLASSES[n % 3]) for n in range(48)]


@pytest.fixture(scope="module")
def cases(pictures):
    return [
        Case(path, "calibration" if n % 3 == n // 3 % 3 else "train", ANSWERS[klass])
        for n, (path, klass) in enumerate(pictures)
    ]


def weights_of(path):
    return torch.load(path.with_suffix(".pt"), weights_only=True)["weights"]


@pytest.fixture(scope="module")
def learnt(base, cases, tmp_path_factory):
    out = tmp_path_factory.mktemp("learnt") / "new.onnx"
    return out, retrain(base.with_suffix(".pt"), cases, out, epochs=200)


def test_it_learns_what_people_said(learnt, base, cases):
    out, facts = learnt
    before, after = facts.metrics["calibration_before"], facts.metrics["calibration_after"]
    assert before["missed_failures"] == before["failures"] > 0
    assert after["accuracy"] > before["accuracy"] + 0.3
    assert facts.data["trained_on_from"] == checkpoint.file_hash(base.with_suffix(".pt"))[:16]
    assert facts.data["verdicts"] == {"train": 32, "calibration": 16}
    _, read = export.load_for_training(out.with_suffix(".pt"))
    assert read == facts


def test_a_network_that_looks_one_way_learns_from_what_it_sees(cases, tmp_path):
    one_way = dataclasses.replace(SMALL, both_ways=False)
    base = sure_of("pass", tmp_path, loud=3.0, config=one_way).with_suffix(".pt")
    facts = retrain(base, cases, tmp_path / "new.onnx", epochs=60)
    before, after = facts.metrics["calibration_before"], facts.metrics["calibration_after"]
    assert after["log_loss"] < before["log_loss"]
    network, _ = export.load_for_training(tmp_path / "new.pt")
    assert not network.config.both_ways
    assert learning_on.gathered(network.eval(), cases[:2], tmp_path / "kept").features.shape[:2] == (2, 1)


def test_everything_before_the_last_layers_stays(learnt, base):
    old, new = weights_of(base), weights_of(learnt[0])
    changed = {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert changed == {"fuse", "answers"}


@pytest.mark.parametrize("at", ["train/5.pt", "epoch.pt"])
def test_a_run_that_was_cut_off_ends_in_the_same_weights(
    base, cases, learnt_in_four, tmp_path, monkeypatch, at
):
    monkeypatch.setattr(learning_on, "CHUNK", 5)
    cut, kept, computed = tmp_path / "cut.onnx", learning_on.keep, []

    def cut_off(value, path):
        kept(value, path)
        if path.as_posix().endswith(at):
            raise KeyboardInterrupt

    monkeypatch.setattr(learning_on, "keep", cut_off)
    with pytest.raises(KeyboardInterrupt):
        retrain(base.with_suffix(".pt"), cases, cut, epochs=4)
    assert not cut.exists()
    monkeypatch.setattr(
        learning_on, "keep", lambda value, path: (computed.append(path.name), kept(value, path))
    )
    retrain(base.with_suffix(".pt"), cases, cut, epochs=4)
    assert computed.count("epoch.pt") == (4 if at.startswith("train") else 3)
    assert "0.pt" not in computed or computed.count("0.pt") == at.startswith(
        "train"
    )  # the calibration part's
    one, other = weights_of(learnt_in_four), weights_of(cut)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.onnx", "cut.pt"]


@pytest.fixture(scope="module")
def learnt_in_four(base, cases, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "whole.onnx"
    retrain(base.with_suffix(".pt"), cases, out, epochs=4)
    return out


def test_what_does_not_fit_is_not_gone_on_with(base, cases, tmp_path):
    out, weights = tmp_path / "new.onnx", base.with_suffix(".pt")
    work = learning_on.work_folder(out, learning_on.fingerprint(weights, cases, None, 4, 1))
    learning_on.keep({"epoch": 1}, work / "epoch.pt")
    assert learning_on.work_folder(out, learning_on.fingerprint(weights, cases, None, 4, 1)) == work
    assert learning_on.found(work / "epoch.pt") == {"epoch": 1}
    (work / "epoch.pt").write_bytes(b"no state")
    assert learning_on.found(work / "epoch.pt") is None
    other = learning_on.work_folder(out, learning_on.fingerprint(weights, cases, None, 4, 2))
    assert other != work
    assert not work.exists()


def test_too_little_is_refused(base, cases, tmp_path):
    with pytest.raises(TooLittle, match="at least"):
        retrain(base.with_suffix(".pt"), cases[:6], tmp_path / "new.onnx")
    assert not list(tmp_path.iterdir())


def shard(folder, person, count=4):
    """A file of simulated samples as the generator writes it; the last is no head."""
    rng = np.random.default_rng(0)
    names = np.array([["good", "zero", "t1"]] * (count - 1) + [["odd", "", ""]])
    np.savez(
        folder / f"{person}.npz",
        person=person,
        surfaces=rng.integers(0, 255, (count, 6, 6, 80, 80), np.uint8),
        volumes=rng.integers(0, 255, (count, 64, 80, 80), np.uint8),
        evidence=np.zeros((count, 6, 2, 10, 10), np.uint8),
        blocks=np.zeros((count, len(PARTS), *CELLS), np.uint8),
        brain_ml=np.zeros(count, np.float32),
        kept=np.zeros((count, 5), np.float32),
        names=names,
    )


def test_simulated_heads_are_rehearsed_but_none_that_is_tested_on(base, cases, tmp_path):
    for person in ("somebody", "head02", "head04"):  # the latter are kept for tests and calibration
        shard(tmp_path, person)
    out = tmp_path / "out" / "new.onnx"
    facts = retrain(base.with_suffix(".pt"), cases, out, simulated=tmp_path, epochs=1)
    assert facts.data["simulated"] == 3
    model, _ = export.load_for_training(base.with_suffix(".pt"))
    train = learning_on.gathered(
        model, [case for case in cases if case.part == "train"][:2], tmp_path / "kept"
    )
    both = learning_on.joined(train, learning_on.rehearsed(model.eval(), tmp_path))
    assert float(both.weights[2:].sum()) == pytest.approx(2.0)


# --- from the database ------------------------------------------------------------------------------


@pytest.fixture
def current(base, db):
    """The model in use is one whose weights can be trained on from."""
    return ModelVersion.objects.create(
        version=checkpoint.file_hash(base)[:16],
        render_version=RENDER_VERSION,
        class_order=list(checkpoint.CLASSES),
        weights_path=str(base),
        state=ModelVersion.State.CURRENT,
    )


@pytest.fixture
def model(current):
    """What the stage classifies with."""
    return current


@pytest.fixture
def study(current, make, cast, settings, tmp_path, pictures, dataset):
    """Judged scans with stored projections: subjects of all three parts, the held-back ones read twice."""
    settings.DATA_DIR = tmp_path

    def judged(count, part, start):
        names = (f"{part}{number}" for number in range(10000))
        chosen = (name for name in names if labels.part_of(f"{dataset.pk}/{name}") == part)
        for number in range(start, start + count):
            attempt = make(Status.REFER, original=False, subject=next(chosen))
            path, klass = pictures[number % 48]
            copy(path, attempt)
            judge(cast.reviewer, attempt, "face" if part == "test" else klass, mode="visual")
            if part == "test":  # a failure without an original needs a person: somebody else looks again
                judge(cast.colleague, attempt, klass, mode="visual")

    judged(33, "train", 0)
    judged(12, "test", 33)
    judged(9, "calibration", 36)
    return dataset


def copy(path, attempt):
    attempt.views_path.mkdir(parents=True)
    (attempt.views_path / "network.npz").write_bytes(Path(path).read_bytes())


def run(*words) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def test_nobody_who_is_tested_on_is_learnt_from(study, cast):
    made = actions.freeze_testset(actor=None, dataset=study)
    found = list(cases_of([study.slug]))
    assert len(found) == 42
    folders = {path.parent for path, *_ in found}
    assert not folders & {case.attempt.views_path for case in made.cases.select_related("attempt")}
    parts = {part for _, part, *_ in found}
    assert parts == {"train", "calibration"}


def test_known_cases_and_practice_are_left_out(make, cast, study):
    before = len(list(cases_of([])))
    for attempt in labels.judged():
        if labels.part_of(labels.subject_of(attempt[0])) == "train":
            actions.declare_known_case(actor=cast.manager, attempt_id=attempt[0].pk, truth="pass")
            break
    assert len(list(cases_of([]))) == before - 1
    with pytest.raises(CommandError, match="no dataset 'nope'"):
        list(cases_of(["nope"]))


def test_what_two_people_read_counts_for_more(make, cast, study, pictures, dataset):
    attempt = make(Status.REFER, original=False, subject="train0")
    name = next(n for n in range(999) if labels.part_of(f"{dataset.pk}/again{n}") == "train")
    type(attempt.scan).objects.filter(pk=attempt.scan_id).update(subject=f"again{name}")
    copy(pictures[0][0], attempt)
    judge(cast.reviewer, attempt, "face", mode="visual", reasons=["nose"])
    judge(cast.colleague, attempt, "brain", mode="visual")
    weights = {path.parent: (answers, weight) for path, _, answers, weight in cases_of([])}
    assert weights[now(attempt).views_path] == ((0, -1, 1), 2.0)
    assert {weight for folder, (_, weight) in weights.items() if folder != attempt.views_path} == {1.0}


def test_the_whole_way_of_a_candidate(study, cast, make, current, pictures):
    actions.save_thresholds(
        actor=None, policy=ThresholdPolicy(0.51, 0.51, 0.51)
    )  # so that a short training decides
    run("freeze_testset", "--dataset", study.slug)
    told = run("retrain", "--dataset", study.slug, "--name", "second", "--epochs", "200")
    assert "42 judged attempts" in told
    candidate = ModelVersion.objects.get(name="second")
    assert candidate.state == ModelVersion.State.SHADOW
    assert candidate.version == checkpoint.file_hash(Path(candidate.weights_path))[:16]
    assert candidate.data_summary["verdicts"] == {"train": 33, "calibration": 9}
    tested = candidate.metrics["frozen"]
    assert tested["candidate"]["cases"] == FrozenCase.objects.count() >= 10
    assert tested["candidate"]["false_pass"]["high"] < tested["current"]["false_pass"]["high"]
    assert "It may be promoted" in told
    assert tested["candidate"]["accuracy"]["count"] > tested["current"]["accuracy"]["count"]
    # it answers beside the current model and routes nothing
    waiting = make(Status.TO_CLASSIFY, original=False)
    copy(pictures[1][0], waiting)
    jobs.classify_attempts([waiting.pk])
    assert now(waiting).confidence > 0.5  # the current model sees a pass
    said = Prediction.objects.get(attempt=waiting, shadow=True)
    assert (said.model_version, said.p_face > 0.5) == (candidate, True)
    routed = now(waiting).triages.get()
    assert routed.prediction.model_version == current
    # promoted by an administrator alone
    decided = now(FrozenCase.objects.first().attempt).status
    with pytest.raises(actions.NotAllowed):
        actions.promote_model(actor=cast.owner, model=candidate)
    assert actions.promote_model(actor=cast.root, model=candidate) == 1
    assert now(waiting).status == Status.TO_CLASSIFY
    assert now(FrozenCase.objects.first().attempt).status == decided
    jobs.classify_attempts([waiting.pk])
    assert now(waiting).confidence < 0.5


def test_the_same_name_is_not_used_twice_and_a_lost_registration_is_made_up(study, current):
    run("retrain", "--name", "one", "--epochs", "1")
    with pytest.raises(CommandError, match="already a model 'one'"):
        run("retrain", "--name", "one", "--epochs", "1")
    made = ModelVersion.objects.get(name="one")
    summary = made.data_summary
    made.delete()
    run("retrain", "--name", "one", "--epochs", "1")
    assert ModelVersion.objects.get(name="one").data_summary == summary
    for bad in ("../x", "", "a b"):
        with pytest.raises(CommandError, match=r"letters, digits|usable"):
            run("retrain", "--name", bad or " ")


def test_a_candidate_never_becomes_current_by_being_the_first(study, current):
    ModelVersion.objects.update(state=ModelVersion.State.RETIRED)
    run(
        "retrain",
        "--name",
        "one",
        "--epochs",
        "1",
        "--base",
        str(Path(current.weights_path).with_suffix(".pt")),
    )
    assert ModelVersion.objects.get(name="one").state == ModelVersion.State.SHADOW


def test_weights_that_are_not_there_are_named(study, current, tmp_path):
    ModelVersion.objects.update(weights_path=str(tmp_path / "gone.onnx"))
    with pytest.raises(CommandError, match=r"gone\.pt: the weights to train on from are not there"):
        run("retrain")
    with pytest.raises(CommandError, match="no simulated shards"):
        run("retrain", "--base", __file__, "--data", str(tmp_path))


def test_swapped_weights_refer_and_are_never_used(study, current, make, pictures, tmp_path):
    """The file of the current model is replaced by another sound one: nothing of it is believed."""
    other = sure_of("brain", tmp_path / "other")
    ModelVersion.objects.update(weights_path=str(other))
    waiting = make(Status.TO_CLASSIFY, original=False)
    copy(pictures[0][0], waiting)
    assert jobs.classify_attempts([waiting.pk]) == 1
    assert (now(waiting).status, now(waiting).route_reason) == (Status.REFER, "no_prediction")
    assert not Prediction.objects.filter(attempt=waiting).exists()
    assert ModelVersion.objects.count() == 1


def test_weights_for_other_projections_refer(study, current, make, pictures, tmp_path):
    model, facts = export.load_for_training(Path(current.weights_path).with_suffix(".pt"))
    old = tmp_path / "old.onnx"
    export.save(model, dataclasses.replace(facts, render_version="0"), old, some_inputs(1))
    ModelVersion.objects.update(weights_path=str(old), version=checkpoint.file_hash(old)[:16])
    waiting = make(Status.TO_CLASSIFY, original=False)
    copy(pictures[0][0], waiting)
    assert jobs.classify_attempts([waiting.pk]) == 1
    assert (now(waiting).status, now(waiting).route_reason) == (Status.REFER, "no_prediction")


def test_a_broken_candidate_stops_nothing(study, current, make, pictures, tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"no network")
    bad = actions.register_model(
        actor=None, version="bad", render_version=RENDER_VERSION, class_order=[], weights_path=str(path)
    )
    actions.shadow_model(actor=None, model=bad)
    waiting = make(Status.TO_CLASSIFY, original=False)
    copy(pictures[0][0], waiting)
    assert jobs.classify_attempts([waiting.pk]) == 1
    assert now(waiting).triages.get().prediction.model_version == current
    assert not Prediction.objects.filter(model_version=bad).exists()
    actions.freeze_testset(actor=None, dataset=study)
    with pytest.raises(CommandError, match=r"bad\.onnx: not a usable network"):
        run("evaluate_model")
