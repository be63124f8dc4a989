"""The upkeep: what got lost is found again, and looking for it makes no work of its own."""

import os
import subprocess
from datetime import timedelta
from io import StringIO
from types import SimpleNamespace

import django_rq
import pytest
import redis
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone
from rq import Queue

from inference.processes import host_name
from inference.triage import CLASSES
from qcsite import run_site
from qcsite.supervisor import Child, Supervisor, queue_answers, queue_child
from reviews import actions, alarms, queue
from reviews.actions.models import switch_model
from reviews.actions.triage import retriageable
from reviews.jobs import _claim_batch, work_off
from reviews.models import Attempt, Lease, ModelVersion
from reviews.queue import enqueue
from reviews.states import Status
from tests.conftest import RENDER, classify, deface, now, render

pytestmark = pytest.mark.django_db


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """A queue of its own, to which jobs are really given."""
    supervisor, place = Supervisor([]), tmp_path / "q"
    supervisor.start(queue_child(place, tmp_path / "queue"))
    supervisor.wait_until(lambda: queue_answers(f"unix://{place}"), "the queue")
    jobs = Queue(queue.QUEUE, connection=redis.Redis.from_url(f"unix://{place}"))
    monkeypatch.setattr(django_rq, "get_queue", lambda name: jobs)
    monkeypatch.setattr(queue, "enqueue", enqueue)
    yield jobs
    supervisor.stop()


@pytest.fixture
def upkeep(jobs, django_capture_on_commit_callbacks):
    """One round after a long silence; returns how many were found."""

    def round_() -> int:
        silent = timezone.now() - timedelta(minutes=10)
        Attempt.objects.update(updated_at=silent)
        Attempt.objects.exclude(claimed_by="").update(claimed_at=silent)
        with django_capture_on_commit_callbacks(execute=True):
            return sum(actions.requeue_stalled().values())

    return round_


def test_what_waits_has_one_job_and_a_lost_one_is_given_again(make, jobs, upkeep):
    waiting = [make(status) for status in (Status.TO_DEFACE, Status.TO_RENDER, Status.TO_CLASSIFY)]
    names = {f"{kind}-{attempt.pk}" for kind, attempt in zip(queue.KIND_OF.values(), waiting, strict=True)}
    assert [upkeep(), upkeep()] == [3, 0]
    assert sorted(jobs.job_ids) == sorted(names)
    jobs.empty()
    assert upkeep() == 3
    broken = jobs.fetch_job(f"render-{waiting[1].pk}")
    jobs.remove(broken)
    broken.set_status("failed")
    jobs.failed_job_registry.add(broken)
    assert [upkeep(), upkeep()] == [1, 0]
    assert sorted(jobs.job_ids) == sorted(names)
    assert jobs.fetch_job(broken.id).get_status() == "queued"


def lose(*attempts, times=1, upkeep):
    """One job takes them all and is killed."""
    for _ in range(times):
        for attempt in attempts:
            assert actions.claim(attempt.pk, Status(attempt.status), worker="killed") is not None
        upkeep()


def test_what_is_killed_again_and_again_becomes_an_error(make, cast, upkeep):
    attempt = make(Status.TO_RENDER)
    for _ in range(2):
        lose(attempt, times=2, upkeep=upkeep)
        assert (now(attempt).status, now(attempt).claimed_by) == (Status.TO_RENDER, "")
        lose(attempt, upkeep=upkeep)
        broken = now(attempt)
        assert (broken.status, broken.error_code, broken.error_from) == ("error", "killed", "to_render")
        assert "killed, perhaps because memory ran out" in broken.error_text
        assert upkeep() == 0
        actions.retry(actor=cast.manager, attempt_id=attempt.pk)


def test_restarts_of_the_site_are_no_kills(make, upkeep):
    attempt = make(Status.TO_RENDER)
    for _ in range(5):
        assert actions.claim(attempt.pk, Status.TO_RENDER, worker="of the last run")
        actions.requeue_stalled(older_than=timedelta(), restarted=True)
        assert actions.claim(attempt.pk, Status.TO_RENDER, worker="here:7:x")
        assert [actions.give_up_claims("here", [8]), actions.give_up_claims("here", [7])] == [0, 1]
    assert (now(attempt).status, now(attempt).claimed_by) == (Status.TO_RENDER, "")
    lose(attempt, upkeep=upkeep)
    actions.claim(attempt.pk, Status.TO_RENDER, worker="of the last run")
    actions.requeue_stalled(older_than=timedelta(), restarted=True)
    lose(attempt, times=2, upkeep=upkeep)
    assert now(attempt).error_code == "killed"  # three kills, a restart between them


@pytest.mark.parametrize("ahead", [timedelta(hours=3), timedelta(days=4000)])
def test_stamps_of_a_clock_that_was_ahead_block_nothing(make, cast, jobs, ahead):
    claimed, waiting, leased = make(Status.TO_RENDER), make(Status.TO_DEFACE), make()
    actions.lease_one(actor=cast.colleague, attempt_id=leased.pk, mode="verify")
    future = timezone.now() + ahead
    Lease.objects.update(until=future, granted_at=future)
    Attempt.objects.filter(pk=claimed.pk).update(claimed_by="gone", claimed_at=future)
    Attempt.objects.filter(pk=waiting.pk).update(updated_at=future)
    assert actions.claim(claimed.pk, Status.TO_RENDER, worker="new") is not None
    Attempt.objects.filter(pk=claimed.pk).update(claimed_by="gone", claimed_at=future)
    assert actions.requeue_stalled() == {"to_deface": 1, "to_render": 1, "to_classify": 0}
    assert leased in retriageable()
    assert actions.lease_one(actor=cast.reviewer, attempt_id=leased.pk, mode="verify") == leased


def test_a_lease_of_the_greatest_length_holds(make, cast, dataset):
    attempt = make()
    type(dataset).objects.filter(pk=dataset.pk).update(lease_seconds=3600)
    actions.lease_one(actor=cast.colleague, attempt_id=attempt.pk, mode="verify")
    with pytest.raises(actions.NotLeased):
        actions.lease_one(actor=cast.reviewer, attempt_id=attempt.pk, mode="verify")
    assert attempt not in retriageable()


def test_what_a_process_left_that_is_gone_is_done_here_and_now(make, monkeypatch, dataset):
    attempt, dead = make(Status.TO_RENDER), subprocess.Popen(["true"])
    dead.wait()
    actions.claim(attempt.pk, Status.TO_RENDER, worker=f"{host_name()}:{dead.pid}:x")
    monkeypatch.setattr("reviews.jobs._render", render)
    monkeypatch.setattr("reviews.jobs.classify_attempts", lambda ids: 0)
    assert work_off(dataset.pk) == 1
    assert now(attempt).status == Status.TO_CLASSIFY


def test_ingest_now_tells_what_another_worker_has(make, tmp_path, dataset):
    attempt = make(Status.TO_RENDER)
    actions.claim(attempt.pk, Status.TO_RENDER, worker=f"{host_name()}:{os.getpid()}:x")
    (tmp_path / "notes_T1w.nii").write_bytes(b"x")
    errors = StringIO()
    with pytest.raises(CommandError):
        call_command(
            "ingest", str(tmp_path), dataset=dataset.slug, now=True, stderr=errors, stdout=StringIO()
        )
    assert "1 scans still wait" in errors.getvalue()


def test_an_attempt_that_went_on_is_counted_anew(make, upkeep):
    attempt = make(Status.TO_DEFACE)
    lose(attempt, times=2, upkeep=upkeep)
    attempt = deface(now(attempt))
    lose(attempt, times=2, upkeep=upkeep)
    assert now(attempt).status == Status.TO_RENDER


def test_what_a_batch_was_lost_with_is_not_taken_by_the_next(make, upkeep):
    bad, neighbour, fresh = (make(Status.TO_CLASSIFY) for _ in range(3))
    lose(bad, neighbour, upkeep=upkeep)
    taken = _claim_batch([bad.pk], "again")
    assert {attempt.pk for attempt in taken} == {bad.pk, fresh.pk}
    assert upkeep() == 2
    assert [attempt.pk for attempt in _claim_batch([neighbour.pk], "alone")] == [neighbour.pk]


def test_a_backlog_that_is_worked_on_raises_no_alarm(make, cast, dataset):
    waiting, other = make(Status.TO_DEFACE), make(Status.TO_RENDER)
    long_ago = timezone.now() - timedelta(minutes=11)
    Attempt.objects.update(updated_at=long_ago)

    def stalled():
        return [alarm.count for alarm in alarms.alarms(cast.manager, [dataset])]

    assert stalled() == [2]
    actions.claim(other.pk, Status.TO_RENDER, worker="alive")
    assert stalled() == []
    Attempt.objects.filter(pk=waiting.pk).update(claimed_by="silent", claimed_at=long_ago)
    assert stalled() == [1]


@pytest.fixture
def promoted(model):
    """Make a new model the current one; the job that has it classify what is undecided gets lost."""

    def made(version: str) -> ModelVersion:
        new = actions.register_model(
            actor=None, version=version, render_version=RENDER, class_order=list(CLASSES)
        )
        with transaction.atomic():
            switch_model(new, actor=None)
        return new

    return made


def test_a_promotion_whose_job_got_lost_is_completed(make, promoted, jobs):
    waiting, passed = make(), make(Status.REFER)
    Attempt.objects.filter(pk=passed.pk).update(status=Status.PASSED)
    new = promoted("n" * 64)
    call_command("requeue_stalled")
    assert [now(waiting).status, now(passed).status] == ["to_classify", "passed"]
    classify(now(waiting), new)
    call_command("requeue_stalled")
    assert now(waiting).status == Status.VERIFY


def test_a_model_without_usable_weights_is_asked_once(make, promoted, jobs):
    attempt = make()
    for version in "no":
        promoted(version * 64)
        call_command("requeue_stalled")
        actions.record_no_prediction(actor=None, attempt=now(attempt))
        call_command("requeue_stalled")
        assert now(attempt).status == Status.REFER


def test_without_a_model_nothing_is_classified_again(make, jobs):
    attempt = make(Status.TO_CLASSIFY)
    ModelVersion.objects.all().delete()
    actions.record_no_prediction(actor=None, attempt=attempt)
    call_command("requeue_stalled")
    assert now(attempt).status == Status.REFER


@pytest.mark.parametrize(("embedded", "left"), [(True, ""), (False, "of the last run")])
def test_a_new_start_frees_claims_before_there_are_workers_and_never_again(
    make, jobs, settings, monkeypatch, embedded, left
):
    attempt = make(Status.TO_RENDER)
    actions.claim(attempt.pk, Status.TO_RENDER, worker="of the last run")
    settings.QUEUE_URL = f"unix://{settings.QUEUE_SOCKET}" if embedded else "redis://elsewhere"
    claimed_by, argv = {}, {}

    def start(child):
        claimed_by[child.name], argv[child.name] = now(attempt).claimed_by, child.argv

    done = SimpleNamespace(wait=lambda: 0)
    supervisor = SimpleNamespace(start=start, wait_until=lambda ready, what: True)
    monkeypatch.setattr(run_site, "_collect_static", lambda: done)
    monkeypatch.setattr(run_site, "call_command", lambda *arguments, **options: None)
    monkeypatch.setattr(run_site, "queue_child", lambda socket, folder: Child("queue", []))
    monkeypatch.setattr(run_site, "connections", SimpleNamespace(close_all=lambda: None))
    run_site._start(supervisor, run_site.Shape(workers=1), tuple, lambda: None)
    assert claimed_by["worker 1"] == left
    assert argv["upkeep"][-1] == "upkeep"
