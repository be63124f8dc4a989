"""Learning from verdicts: a candidate in the shadow, promoted only on a frozen test it is no worse on."""

import io

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from inference import checkpoint, jobs
from inference.projections.network import NetworkInput
from inference.retrain import Case, TooLittle, part_of, retrain
from inference.storage import save_inputs
from reviews import actions
from reviews.models import ModelVersion, Prediction
from reviews.states import Status
from tests.conftest import judge, now
from tests.weights import sure_of


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
    save_inputs(path, NetworkInput(surfaces, volume))
    return path


ANSWERS = {"pass": (0, -1, 0), "face": (1, -1, 0), "brain": (0, -1, 1)}
KLASSES = ("pass", "face", "brain")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Weights that call everything a pass, not too loudly to learn better."""
    return sure_of("pass", tmp_path_factory.mktemp("base"), loud=3.0)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    return [
        Case(stored(folder / f"{n}.npz", KLASSES[n % 3], n), f"subject {n}", ANSWERS[KLASSES[n % 3]])
        for n in range(90)
    ]


def test_a_subject_stays_in_its_part():
    parts = [part_of(f"1/{number:04d}") for number in range(1000)]
    assert parts == [part_of(f"1/{number:04d}") for number in range(1000)]
    assert 120 < parts.count("test") < 280
    assert 120 < parts.count("calibration") < 280


def test_it_learns_what_people_said(base, cases, tmp_path):
    metrics = retrain(base.with_suffix(".pt"), cases, tmp_path / "new.onnx", epochs=60)
    assert metrics["frozen_test"]["accuracy"] > metrics["current_on_frozen_test"]["accuracy"] + 0.3
    assert metrics["frozen_test"]["cases"] == sum(part_of(case.subject) == "test" for case in cases)
    _, facts = checkpoint.load_for_training(tmp_path / "new.pt")
    assert facts.metrics["frozen_test"] == metrics["frozen_test"]
    assert facts.data["trained_on_from"] == checkpoint.file_hash(base.with_suffix(".pt"))[:16]


def test_too_little_is_refused(base, cases, tmp_path):
    with pytest.raises(TooLittle, match="at least"):
        retrain(base.with_suffix(".pt"), cases[:6], tmp_path / "new.onnx")
    assert not (tmp_path / "new.onnx").exists()


@pytest.fixture
def judged(make, cast, settings, tmp_path):
    """Ninety scans that people judged, with their stored projections."""
    settings.DATA_DIR = tmp_path
    for number in range(90):
        attempt, klass = make(Status.REFER), KLASSES[number % 3]
        stored(attempt.views_path / "network.npz", klass, number)
        judge(cast.reviewer, attempt, klass, mode="visual")


@pytest.mark.django_db
def test_the_candidate_runs_in_the_shadow_until_an_administrator_promotes_it(
    judged, base, cast, make, model, tmp_path
):
    ModelVersion.objects.filter(pk=model.pk).update(
        weights_path=str(base), render_version=checkpoint.RENDER_VERSION
    )
    out = io.StringIO()
    call_command("retrain", "--epochs", "60", stdout=out)
    assert "90 verdicts" in out.getvalue()
    candidate = ModelVersion.objects.get(state=ModelVersion.State.SHADOW)
    assert candidate.metrics["frozen_test"]["cases"] >= 5
    waiting = make(Status.TO_CLASSIFY)
    stored(waiting.views_path / "network.npz", "face", 1000)
    jobs.classify_attempts([waiting.pk])
    assert now(waiting).confidence > 0.5  # the current model still decides, and sees a pass
    said = Prediction.objects.get(attempt=waiting, shadow=True)
    assert (said.model_version, said.p_face > 0.5) == (candidate, True)
    with pytest.raises(actions.NotAllowed):
        actions.activate_model(actor=cast.owner, model=candidate)
    actions.activate_model(actor=cast.root, model=candidate)
    jobs.classify_attempts([waiting.pk])
    assert now(waiting).confidence < 0.5


@pytest.mark.django_db
@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {
            "frozen_test": {"cases": 50, "accuracy": 0.8, "missed_failures": 1},
            "current_on_frozen_test": {"cases": 50, "accuracy": 0.9, "missed_failures": 1},
        },
        {
            "frozen_test": {"cases": 50, "accuracy": 0.95, "missed_failures": 3},
            "current_on_frozen_test": {"cases": 50, "accuracy": 0.9, "missed_failures": 1},
        },
    ],
)
def test_a_model_without_good_evidence_is_not_promoted(cast, model, metrics):
    worse = actions.register_model(
        actor=None, version="w", render_version="1", class_order=[], metrics=metrics, weights_path="/w.onnx"
    )
    with pytest.raises(actions.Refused, match="cannot be promoted"):
        actions.activate_model(actor=cast.root, model=worse)
    model.refresh_from_db()
    assert model.state == ModelVersion.State.CURRENT


@pytest.mark.django_db
def test_known_cases_and_practice_are_left_out(make, cast, settings, tmp_path):
    from reviews.management.commands.retrain import Command

    settings.DATA_DIR = tmp_path
    learnt, known = make(Status.REFER), make(Status.REFER)
    for attempt in (learnt, known):
        stored(attempt.views_path / "network.npz", "pass", attempt.pk)
        judge(cast.reviewer, attempt, "face", mode="visual", reasons=["left ear"])
    actions.make_gold(actor=cast.manager, attempt_id=known.pk, truth="face")
    found = list(Command()._cases([]))
    assert [path.parent for path, *_ in found] == [learnt.views_path]
    assert found[0][2] == (1, 1, 0)
    with pytest.raises(CommandError, match="no dataset 'nope'"):
        list(Command()._cases(["nope"]))
