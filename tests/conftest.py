"""The cast and the stage: users with and without rights, a dataset, attempts at any station."""

import atexit
import hashlib
import itertools
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from inference.triage import CLASSES
from inference.volumes import content_hash
from reviews import actions, append_only, queue
from reviews.models import Attempt, Lease, Mode, Role, Scan
from reviews.states import Status

FILES = Path(os.path.realpath(tempfile.mkdtemp(prefix="qc-test-files-")))  # small ones, not volumes
atexit.register(shutil.rmtree, FILES, ignore_errors=True)
RENDER = "render-1"
SURE = {"pass": 0.995, "face": 0.002, "brain": 0.002, "both": 0.001}
UNCLEAR = {"pass": 0.6, "face": 0.3, "brain": 0.05, "both": 0.05}
FACE = {"pass": 0.01, "face": 0.97, "brain": 0.01, "both": 0.01}
BRAIN = {"pass": 0.01, "face": 0.01, "brain": 0.97, "both": 0.01}


@pytest.fixture(autouse=True)
def _history_can_be_emptied_after_a_test(request):
    """A test database that is flushed needs its append-only triggers gone before, back for the next."""
    flushing = {"transactional_db", "live_server"} & set(request.fixturenames)
    marker = request.node.get_closest_marker("django_db")
    if not flushing and not (marker and marker.kwargs.get("transaction")):
        yield
        return
    request.getfixturevalue("transactional_db")
    append_only.protect(connection)
    yield
    append_only.unprotect(connection)


@pytest.fixture(autouse=True)
def _no_queue(request, monkeypatch):
    """No queue runs in tests: what would be enqueued is noted instead."""
    calls: list[tuple] = []
    monkeypatch.setattr(queue, "enqueue", lambda job, argument: calls.append((job, argument)) or True)
    request.node.enqueued = calls


@pytest.fixture
def enqueued(request, _no_queue):
    """The jobs that were enqueued."""
    return request.node.enqueued


@pytest.fixture
def cast(db):
    """Owner (administers), manager, reviewer, colleague (reviews too), stranger, pipeline, auditor, root."""
    users = get_user_model().objects
    people = {
        name: users.create_user(name)
        for name in ("owner", "manager", "reviewer", "colleague", "stranger", "pipeline", "auditor")
    }
    return SimpleNamespace(**people, root=users.create_superuser("root"))


@pytest.fixture
def dataset(cast):
    """A study with its members, no minimum exposure."""
    made = actions.create_dataset(actor=cast.owner, slug="trial", title="Trial", min_exposure_seconds=0)
    for name, role in (
        ("manager", Role.MANAGER),
        ("reviewer", Role.REVIEWER),
        ("colleague", Role.REVIEWER),
        ("pipeline", Role.PIPELINE),
        ("auditor", Role.AUDITOR),
    ):
        actions.grant(actor=cast.owner, dataset=made, user=getattr(cast, name), role=role)
    return made


@pytest.fixture
def model(db):
    """The current model version."""
    return actions.register_model(
        actor=None, version="m" * 64, render_version=RENDER, class_order=list(CLASSES), name="test"
    )


@pytest.fixture
def make(dataset, model):
    """Make an attempt and bring it to a station by the real actions."""
    numbers = itertools.count(1)

    def attempt(
        status=Status.VERIFY, *, original=True, defaced=False, subject=None, problems=(), result=None
    ):
        source = a_source(next(numbers), original=original, defaced=defaced or not original, subject=subject)
        made = actions.register_scan(actor=None, dataset=dataset, source=source).attempt
        return bring(made, Status(status), model, problems, result)

    return attempt


def a_source(number, *, original=True, defaced=False, subject=None) -> actions.Source:
    """A source with small files that hold no volume."""
    path = a_file(f"sub-{number:04d}_T1w.nii.gz", f"source {number}")
    return actions.Source(
        path=path,
        root=str(FILES),
        content_hash=digest(f"source {number}"),
        name=f"sub-{number:04d}_T1w.nii.gz",
        subject=subject or f"{number:04d}",
        suffix="T1w",
        original_path=path if original else "",
        original_hash=digest(f"source {number}") if original else "",
        defaced_path=a_file(f"defaced-{number}.nii.gz", f"out {number}") if defaced else "",
        defaced_root=str(FILES),
        defaced_hash=digest(f"out {number}") if defaced else "",
        shape=(10, 11, 12),
        zooms=(1.0, 1.0, 1.0),
    )


@contextmanager
def without_triggers():
    """What somebody can do who may change the tables themselves."""
    connection.check_constraints()  # PostgreSQL changes no table that waits for a check
    append_only.unprotect(connection)
    yield
    connection.check_constraints()
    append_only.protect(connection)


def a_file(name: str, text: str) -> str:
    """A file with this text, for whatever is checked by its content."""
    path = FILES / name
    path.write_text(text)
    return str(path)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def bring(attempt, status, model, problems=(), result=None):
    """Walk an attempt to a station; VERIFY, REFER and FAILED by what the model says of it.

    result: the file that the defacing made; a small one of its own without.
    """
    if attempt.state is Status.TO_DEFACE and status is not Status.TO_DEFACE:
        deface(attempt, result)
    if status in (Status.TO_DEFACE, Status.TO_RENDER):
        return attempt
    if status is Status.ERROR:
        return actions.report_error(actor=None, attempt=attempt, code="broken", text="it broke")
    render(attempt, problems)
    said = {Status.VERIFY: SURE, Status.REFER: UNCLEAR, Status.FAILED: FACE, Status.PASSED: SURE}
    if status in said:
        classify(attempt, model, said[status])
    if status is Status.NEEDS_PERSON:
        type(attempt.dataset).objects.filter(pk=attempt.dataset_id).update(max_attempts=1)
        attempt.dataset.refresh_from_db()
        classify(attempt, model, FACE)
    return attempt


def deface(attempt, result=None):
    made = result or Path(a_file(f"{attempt.pk}.nii.gz", f"out {attempt.pk}"))
    return actions.finish_deface(
        actor=None,
        attempt=attempt,
        engine_version="1",
        parameters={"mask": "face"},
        output_path=str(made),
        output_root=str(made.parent),
        output_sha256=content_hash(made),
    )


def render(attempt, problems=()):
    return actions.finish_render(
        actor=None,
        attempt=attempt,
        views_dir=f"views/{attempt.pk}",
        view_names=["front"],
        render_version=RENDER,
        measurements={},
        problems=list(problems),
    )


def classify(attempt, model, probabilities=SURE, **rest):
    finding = actions.Finding(
        probabilities,
        attributes={"face": 0.1, "ears": 0.1, "brain": 0.1},
        in_distribution=rest.pop("in_distribution", True),
        render_version=rest.pop("render_version", RENDER),
        **rest,
    )
    return actions.record_prediction(actor=None, attempt=attempt, model=model, finding=finding)


def judge(user, attempt, klass="pass", *, mode=Mode.VERIFY, nonce=None, lease=True, **rest):
    """One verdict the way the pages do it: lease, then judge."""
    if lease and not Lease.objects.filter(attempt=attempt, user=user).exists():
        actions.lease_one(actor=user, attempt_id=attempt.pk, mode=mode)
    nonce = nonce or f"{user.pk}-{attempt.pk}-{klass}-{attempt.verdicts.count()}"
    return actions.record_verdict(
        actor=user, attempt_id=attempt.pk, klass=klass, mode=mode, nonce=nonce, **rest
    )


def with_volumes(attempt, *, after: Path, before: Path) -> None:
    """Give an attempt a result and an original that lie somewhere else."""
    Attempt.objects.filter(pk=attempt.pk).update(
        output_path=str(after),
        output_root=str(after.parent),
        output_sha256=content_hash(after),
        output_stamp="",
    )
    Scan.objects.filter(pk=attempt.scan_id).update(
        original_path=str(before),
        source_root=str(before.parent),
        original_hash=content_hash(before),
        original_stamp="",
    )


def now(attempt) -> Attempt:
    """The attempt as stored."""
    return Attempt.objects.get(pk=attempt.pk)
