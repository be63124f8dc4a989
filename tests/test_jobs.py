"""Background jobs as plain calls: they do their step once, survive a second run, and never fail in silence."""

from datetime import timedelta
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from django.core.management import call_command
from django.utils import timezone

from inference import checkpoint
from inference.anatomy import Anatomy
from inference.projections import VIEW_NAMES
from inference.projections.network_input import load_inputs
from inference.regions import LANDMARKS
from inference.volumes import read_volume
from reviews import actions, jobs
from reviews.models import Attempt, ModelVersion, Prediction
from reviews.states import Status
from tests.conftest import now
from tests.heads import ball
from tests.weights import sure_of

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Untrained networks that are sure of one answer each."""
    folder = tmp_path_factory.mktemp("weights")
    return {klass: sure_of(klass, folder) for klass in ("pass", "face", "brain")}


@pytest.fixture
def model(db, weights):
    """The current model is the one that passes everything."""
    return use(weights["pass"])


def use(path):
    version = checkpoint.file_hash(path)[:16] if path.exists() else path.name
    ModelVersion.objects.update(state=ModelVersion.State.RETIRED)
    return ModelVersion.objects.create(
        version=version,
        render_version=checkpoint.RENDER_VERSION,
        class_order=list(checkpoint.CLASSES),
        weights_path=str(path),
        state=ModelVersion.State.CURRENT,
    )


@pytest.fixture(scope="module")
def head():
    """A head of shapes on a 2.5 mm grid."""
    values = ball((88, 110, 135), (74, 98, 92)) * 300.0 + ball((88, 108, 140), (60, 82, 72)) * 400.0
    values += (ball((88, 130, 70), (58, 82, 80)) | ball((88, 195, 80), (16, 26, 22))) * 250.0
    noise = np.random.default_rng(0).normal(0, 4, values.shape)
    return nib.Nifti1Image((values + noise)[::2, ::2, ::2].astype(np.float32), np.diag([2.0, 2.0, 2.0, 1]))


@pytest.fixture
def defaced(head, dataset, tmp_path, settings):
    """An attempt on a really existing file that waits for its pictures."""
    settings.DATA_DIR = tmp_path / "data"
    path = tmp_path / "in" / "sub-1_T1w.nii.gz"
    path.parent.mkdir()
    nib.save(head, path)
    call_command("ingest", str(path.parent), "--dataset", dataset.slug, "--defaced", verbosity=0)
    return Attempt.objects.get()


def test_pictures_and_the_networks_input_are_made_once(defaced, enqueued, django_capture_on_commit_callbacks):
    enqueued.clear()
    with django_capture_on_commit_callbacks(execute=True):
        assert jobs.render_attempt(defaced.pk) is True
    attempt = now(defaced)
    assert (attempt.status, attempt.claimed_by) == (Status.TO_CLASSIFY, "")
    assert set(attempt.view_names) == set(VIEW_NAMES)
    assert all((attempt.views_path / f"{name}.webp").stat().st_size > 500 for name in VIEW_NAMES)
    assert (attempt.views_path / jobs.NETWORK_FILE).exists()
    assert enqueued == [("reviews.jobs.classify_attempts", [attempt.pk])]
    before = sorted(path.stat().st_mtime_ns for path in attempt.views_path.iterdir())
    assert jobs.render_attempt(defaced.pk) is False
    assert before == sorted(path.stat().st_mtime_ns for path in attempt.views_path.iterdir())


@pytest.mark.parametrize(
    ("sure", "status"),
    [("pass", Status.VERIFY), ("face", Status.NEEDS_PERSON), ("brain", Status.NEEDS_PERSON)],
)
def test_the_network_routes(defaced, weights, sure, status):
    model = use(weights[sure])
    jobs.render_attempt(defaced.pk)
    assert jobs.classify_attempts([defaced.pk]) == 1
    assert now(defaced).status == status
    said = Prediction.objects.get()
    assert (said.model_version, said.in_distribution) == (model, True)
    assert said.probabilities[sure] > 0.99
    assert set(said.remains) == {"eyes", "nose", "mouth", "left_ear", "right_ear"}
    assert jobs.classify_attempts([defaced.pk]) == 0
    assert Prediction.objects.count() == 1


@pytest.mark.parametrize("damage", ["cut off", "empty", "no zip", "a bit", "older", "missing"])
def test_a_stored_network_input_that_cannot_be_used_is_made_anew(defaced, model, damage):
    jobs.render_attempt(defaced.pk)
    stored = now(defaced).views_path / jobs.NETWORK_FILE
    whole, was = stored.read_bytes(), load_inputs(stored)
    stored.unlink()
    match damage:
        case "cut off":
            stored.write_bytes(whole[:-300])
        case "empty" | "no zip":
            stored.write_bytes(b"" if damage == "empty" else b"text")
        case "a bit":
            stored.write_bytes(whole[:3000] + bytes([whole[3000] ^ 8]) + whole[3001:])
        case "older":
            np.savez(stored, surfaces=was.surfaces, volume=was.volume, version="0")
    assert jobs.classify_attempts([defaced.pk]) == 1
    assert (now(defaced).status, now(defaced).error_text) == (Status.VERIFY, "")
    anew = load_inputs(stored)
    assert np.array_equal(anew.surfaces, was.surfaces)
    assert np.array_equal(anew.volume, was.volume)


def test_a_network_input_is_not_made_anew_of_another_file(defaced, model, head):
    jobs.render_attempt(defaced.pk)
    (now(defaced).views_path / jobs.NETWORK_FILE).write_bytes(b"damaged")
    nib.save(nib.Nifti1Image(head.get_fdata() + 1, head.affine), defaced.output_path)
    assert jobs.classify_attempts([defaced.pk]) == 0
    assert now(defaced).status == Status.ERROR
    assert "has changed since it was taken in" in now(defaced).error_text


def test_evidence_is_shown_beside_the_other_pictures(defaced, weights, monkeypatch):
    monkeypatch.setattr("inference.saliency.LEAST", 0.0)  # an untrained network has no strong evidence
    for klass in ("pass", "brain"):
        model = use(weights[klass])
        Attempt.objects.update(status=Status.TO_RENDER)
        jobs.render_attempt(defaced.pk)
        jobs.classify_attempts([defaced.pk])
        attempt = now(defaced)
        shown = [name for name in attempt.view_names if name.startswith("saliency_")]
        assert len(shown) == 6
        assert all(name.endswith(model.version[:8]) for name in shown)
        assert all((attempt.views_path / f"{name}.webp").stat().st_size > 300 for name in shown)
        assert set(VIEW_NAMES) < set(attempt.view_names)


def test_a_batch_takes_others_that_wait(defaced, model, make):
    jobs.render_attempt(defaced.pk)
    other = make(Status.TO_CLASSIFY)
    Path(other.output_path).unlink()
    jobs.classify_attempts([defaced.pk])
    assert now(defaced).status == Status.VERIFY
    assert now(other).status == Status.ERROR  # its file does not exist, and that is visible
    assert now(other).error_text == f"{other.pk}.nii.gz: the file does not exist"


@pytest.mark.parametrize("content", [None, b"not a network"])
def test_bad_weights_refer_and_never_pass(defaced, tmp_path, content):
    path = tmp_path / "bad.onnx"
    if content:
        path.write_bytes(content)
    use(path)
    jobs.render_attempt(defaced.pk)
    assert jobs.classify_attempts([defaced.pk]) == 1
    assert (now(defaced).status, now(defaced).route_reason) == (Status.REFER, "no_prediction")


def test_newer_weights_with_the_software_take_over(defaced, weights, monkeypatch):
    old = use(weights["face"])
    ModelVersion.objects.update(weights_path="")
    monkeypatch.setattr("inference.classifier.Classifier.load.__func__.__defaults__", (weights["pass"], 1))
    jobs.load_classifier.cache_clear()
    jobs.render_attempt(defaced.pk)
    jobs.classify_attempts([defaced.pk])
    jobs.load_classifier.cache_clear()
    assert now(defaced).status == Status.VERIFY
    old.refresh_from_db()
    assert old.state == ModelVersion.State.RETIRED


def test_what_broke_is_visible_and_can_be_retried(defaced, cast, head):
    whole = Path(defaced.output_path).read_bytes()
    Path(defaced.output_path).write_bytes(whole[:2000])
    assert jobs.render_attempt(defaced.pk) is False
    attempt = now(defaced)
    assert (attempt.status, attempt.error_from) == (Status.ERROR, "to_render")
    assert attempt.error_text.startswith("sub-1_T1w.nii.gz: ")
    assert not attempt.views_dir
    Path(defaced.output_path).write_bytes(whole)
    with pytest.raises(actions.NotAllowed):
        actions.retry(actor=cast.reviewer, attempt_id=attempt.pk)
    actions.retry(actor=cast.manager, attempt_id=attempt.pk)
    assert jobs.render_attempt(defaced.pk) is True
    assert now(defaced).error_text == ""


def test_a_half_made_folder_is_never_seen(defaced, monkeypatch, settings):
    def breaks(folder, pictures):
        (folder / "front.webp").write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("inference.projections.save_views", breaks)
    jobs.render_attempt(defaced.pk)
    assert "No space left" in now(defaced).error_text
    assert not [path for path in (settings.DATA_DIR / "views").rglob("*") if path.is_file()]


def test_a_changed_original_is_not_defaced(head, dataset, tmp_path, settings):
    settings.DATA_DIR = tmp_path / "data"
    path = tmp_path / "a.nii.gz"
    nib.save(head, path)
    call_command("ingest", str(path), "--dataset", dataset.slug, verbosity=0)
    path.write_bytes(path.read_bytes() + b"\0")
    attempt = Attempt.objects.get()
    assert jobs.deface_attempt(attempt.pk) is False
    assert "has changed since" in now(attempt).error_text
    assert not (tmp_path / "data" / "defaced").exists()


def test_an_engine_that_is_not_there(head, dataset, cast, tmp_path, settings):
    settings.DATA_DIR = tmp_path / "data"
    actions.configure_dataset(actor=cast.owner, dataset=dataset, engine="nonesuch")
    nib.save(head, tmp_path / "a.nii.gz")
    call_command("ingest", str(tmp_path / "a.nii.gz"), "--dataset", dataset.slug, verbosity=0)
    attempt = Attempt.objects.get()
    jobs.deface_attempt(attempt.pk)
    assert (now(attempt).status, "nonesuch" in now(attempt).error_text) == (Status.ERROR, True)
    assert now(attempt).error_text.startswith("a.nii.gz: ")


def test_a_silent_worker_loses_its_claim_and_cannot_finish(defaced):
    first = actions.claim(defaced.pk, Status.TO_RENDER, worker="first")
    assert actions.claim(defaced.pk, Status.TO_RENDER, worker="second") is None
    Attempt.objects.update(claimed_at=timezone.now() - timedelta(minutes=10))
    assert actions.claim(defaced.pk, Status.TO_RENDER, worker="second") is not None
    assert actions.heartbeat(defaced.pk, worker="first") is False
    with pytest.raises(actions.StaleState):
        actions.report_error(actor=None, attempt=first, code="x", text="x")
    assert now(defaced).claimed_by == "second"


def test_lost_work_is_found_again(defaced, enqueued, monkeypatch, django_capture_on_commit_callbacks):
    monkeypatch.setattr("reviews.queue.queued", set)
    enqueued.clear()
    with django_capture_on_commit_callbacks(execute=True):
        call_command("requeue_stalled", verbosity=0)
    assert enqueued == []
    actions.claim(defaced.pk, Status.TO_RENDER, worker="dead")
    Attempt.objects.update(claimed_at=timezone.now() - timedelta(minutes=10))
    with django_capture_on_commit_callbacks(execute=True):
        call_command("requeue_stalled", verbosity=0)
    assert enqueued == [("reviews.jobs.render_attempt", defaced.pk)]
    assert now(defaced).claimed_by == ""


def test_everything_at_once_without_a_queue(defaced, model, enqueued):
    enqueued.clear()
    call_command("ingest", defaced.scan.source_path, "--dataset", "trial", "--defaced", "--now", verbosity=0)
    assert now(defaced).status == Status.VERIFY
    assert enqueued == []


def test_the_brain_of_an_original_is_found_once_for_all_its_attempts(
    head, dataset, tmp_path, settings, monkeypatch
):
    settings.DATA_DIR = tmp_path / "data"
    for folder in ("raw", "out"):
        (tmp_path / folder).mkdir()
        nib.save(head, tmp_path / folder / "sub-1_T1w.nii.gz")
    raw, out = str(tmp_path / "raw"), str(tmp_path / "out")
    call_command("ingest", out, "--dataset", dataset.slug, "--originals", raw, verbosity=0)
    attempt = Attempt.objects.get()
    searched = []

    def find(volume):
        searched.append(volume.path)
        inside = volume.data > 500
        middle = np.array(inside.shape) * volume.zooms / 2
        return Anatomy(inside, dict.fromkeys(LANDMARKS, middle), 1.0)

    monkeypatch.setattr("inference.anatomy.find_anatomy", find)
    original, defaced = read_volume(attempt.scan.original_path), read_volume(attempt.output_path)
    first = jobs._examined(attempt, original, defaced)
    again = jobs._examined(attempt, original, defaced)
    assert len(searched) == 1
    assert first.measurements == again.measurements
    assert np.array_equal(first.brain, again.brain)
    assert first.brain.any()


def test_what_another_renderer_made_is_referred(defaced, weights, monkeypatch):
    """The version kept is that of the input that was classified, so a network made for another one passes nothing."""
    use(weights["pass"])
    jobs.render_attempt(defaced.pk)
    monkeypatch.setattr("inference.projections.network_input.RENDER_VERSION", "2")
    assert jobs.classify_attempts([defaced.pk]) == 1
    assert (now(defaced).status, now(defaced).route_reason) == (Status.REFER, "render_version_mismatch")
    assert Prediction.objects.get().render_version == "2"
