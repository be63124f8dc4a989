"""A worker that was given up harms nothing, and nobody passes a file that is not the one that was taken in."""

import hashlib
import os
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import load_command_class
from django.utils import timezone

from inference.deface import DefaceRecord
from inference.physical_checks import Examined
from inference.volumes import content_hash
from reviews import actions, jobs, leftovers
from reviews.export.rows import attempts as exported
from reviews.models import Attempt, Lease, Mode, Verdict
from reviews.states import Status
from tests.conftest import bring, judge, now

pytestmark = pytest.mark.django_db


@pytest.fixture
def engine(monkeypatch, settings, tmp_path):
    """An engine of which each run writes other bytes; `between` is done while the first one works."""
    settings.DATA_DIR = tmp_path / "data"
    runs = []

    def run(source, target, *, engine, plan):
        runs.append(content := f"run {len(runs)}".encode())
        if len(runs) == 1 and run.between:
            run.between()
        target.write_bytes(content)
        return DefaceRecord(engine, "1", plan, {}, 0.1, hashlib.sha256(content).hexdigest())

    run.between = None
    monkeypatch.setattr("inference.deface.run", run)
    return run


def take_over(attempt, job):
    """The first worker falls silent, and another does its work."""
    Attempt.objects.filter(pk=attempt.pk).update(claimed_at=timezone.now() - timedelta(minutes=10))
    assert job(attempt.pk) is True


def is_whole(attempt) -> bool:
    done = now(attempt)
    return content_hash(done.output_path) == done.output_sha256


def test_a_worker_that_was_given_up_leaves_the_committed_file_alone(make, engine):
    attempt = make(Status.TO_DEFACE)
    engine.between = lambda: take_over(attempt, jobs.deface_attempt)
    assert jobs.deface_attempt(attempt.pk) is False
    assert Path(now(attempt).output_path).read_bytes() == b"run 1"
    assert is_whole(attempt)


def test_nor_does_one_that_was_given_up_at_the_very_end(make, engine, monkeypatch):
    attempt = make(Status.TO_DEFACE)
    asked = []

    def too_late(worker):
        asked.append(worker)
        if len(asked) == 1:
            take_over(attempt, jobs.deface_attempt)

    monkeypatch.setattr(actions, "require_claim", too_late)
    assert jobs.deface_attempt(attempt.pk) is False
    assert Path(now(attempt).output_path).read_bytes() == b"run 1"
    assert is_whole(attempt)


def test_pictures_of_a_worker_that_was_given_up_are_never_shown(make, settings, tmp_path, monkeypatch):
    settings.DATA_DIR = tmp_path / "data"
    attempt = make(Status.TO_RENDER)
    drawn = []

    def save_views(folder, pictures):
        drawn.append(folder)
        (folder / "front.webp").write_text(f"run {len(drawn)}")
        if len(drawn) == 1:
            take_over(attempt, jobs.render_attempt)

    monkeypatch.setattr("inference.projections.save_views", save_views)
    monkeypatch.setattr("inference.projections.render_views", lambda *args, **kwargs: {"front": None})
    for name in ("network_inputs", "save_inputs", "_defaced", "_examined"):
        monkeypatch.setattr(jobs, name, lambda *args, **kwargs: Examined())
    monkeypatch.setattr("reviews.stored_files.StoredFile.volume", lambda file: None)
    assert jobs.render_attempt(attempt.pk) is False
    assert (now(attempt).views_path / "front.webp").read_text() == "run 2"
    assert len(list(now(attempt).views_path.parent.iterdir())) == 1


def spoil(attempt, how):
    path = Path(attempt.output_path)
    content = path.read_bytes()
    match how:
        case "changed":
            path.write_bytes(content + b"!")
        case "same size and time":
            before = path.stat()
            path.write_bytes(b"x" * len(content))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        case "link":
            path.rename(f"{path}.was")
            path.symlink_to(f"{path}.was")
        case "missing":
            path.unlink()


@pytest.mark.parametrize("how", ["changed", "same size and time", "link", "missing"])
@pytest.mark.parametrize(("status", "mode"), [(Status.VERIFY, Mode.VERIFY), (Status.REFER, Mode.VISUAL)])
def test_nobody_passes_a_file_that_is_not_the_one_taken_in(make, cast, status, mode, how):
    attempt = make(status)
    judged = judge(cast.colleague, make(status), mode=mode)  # the way is open
    assert now(judged.attempt).status == Status.PASSED
    spoil(now(attempt), how)
    with pytest.raises(actions.FileChanged, match=r"cannot be passed: .*file"):
        judge(cast.reviewer, attempt, mode=mode)
    assert now(attempt).status == status
    assert not Verdict.objects.filter(attempt=attempt).exists()
    assert Lease.objects.filter(attempt=attempt).exists()  # it can still fail, or be referred
    judge(cast.reviewer, attempt, "face", mode=mode)
    assert now(attempt).status == Status.FAILED


def test_a_known_case_is_refused_in_the_same_words(make, cast):
    known, real = make(Status.PASSED), make()
    judge(cast.manager, known)
    actions.declare_known_case(actor=cast.manager, attempt_id=known.pk, truth="pass")
    words = []
    for attempt in (known, real):
        Lease.objects.create(
            attempt=attempt,
            user=cast.reviewer,
            mode=Mode.VERIFY,
            known=attempt is known,
            until=timezone.now() + timedelta(hours=1),
        )
        spoil(now(attempt), "missing")
        with pytest.raises(actions.FileChanged) as refused:
            judge(cast.reviewer, attempt, lease=False)
        words.append(str(refused.value))
    assert words[0] == words[1]


def test_a_file_that_was_only_touched_is_read_and_passes(make, cast):
    attempt = make()
    os.utime(attempt.output_path, ns=(1, 10**18))
    judge(cast.reviewer, attempt)
    assert now(attempt).status == Status.PASSED


def test_a_file_that_is_written_to_all_the_time_does_not_pass(make, cast, monkeypatch):
    from reviews.actions import verdicts

    def touched(attempt):
        os.utime(attempt.output_path)
        return "another stamp"

    attempt = make()
    monkeypatch.setattr(verdicts, "read_output", touched)
    with pytest.raises(actions.FileChanged, match="being written to"):
        judge(cast.reviewer, attempt)


def test_a_replay_is_answered_whatever_became_of_the_file(make, cast):
    attempt = make()
    first = judge(cast.reviewer, attempt, nonce="n")
    spoil(attempt, "missing")
    assert judge(cast.reviewer, attempt, nonce="n", lease=False) == first


def test_what_is_exported_as_passed_is_the_file_that_was_judged(make, cast, dataset, engine, model):
    attempt = make(Status.TO_DEFACE)
    engine.between = lambda: take_over(attempt, jobs.deface_attempt)
    jobs.deface_attempt(attempt.pk)
    bring(now(attempt), Status.VERIFY, model)
    judge(cast.reviewer, attempt)
    (row,) = exported(dataset)
    assert row["status"] == "passed"
    assert row["output_sha256"] == content_hash(now(attempt).output_path)


def old(path: Path) -> None:
    os.utime(path, ns=(1, 1))


@pytest.fixture
def left(make, settings, tmp_path, monkeypatch):
    """An attempt with what is kept and what was left behind, as if it had lain for two days."""
    settings.DATA_DIR = tmp_path / "data"
    attempt = make(Status.REFER)
    views = tmp_path / "data" / "views" / "0000" / str(attempt.pk)
    outputs = tmp_path / "data" / "defaced" / str(attempt.scan_id) / f"attempt-{attempt.number}"
    for folder in (views / "kept", views / "lost", views / ".lost.part", outputs / "kept", outputs / "lost"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("content")
    (outputs / "link").symlink_to("/etc")
    Attempt.objects.filter(pk=attempt.pk).update(
        views_dir=f"views/0000/{attempt.pk}/kept", output_path=str(outputs / "kept" / "file"), output_root=""
    )
    return views, outputs


def test_what_was_left_behind_goes_after_a_day(left, monkeypatch):
    views, outputs = left
    command = load_command_class("reviews", "upkeep")
    command.swept = 0
    command.sweep_leftovers()
    assert (len(list(views.iterdir())), len(list(outputs.iterdir()))) == (
        3,
        3,
    )  # a worker may be about to finish
    monkeypatch.setattr(leftovers, "DAY", -1)
    command.sweep_leftovers()
    assert [path.name for path in (*views.iterdir(), *outputs.iterdir())] == ["kept", "kept"]
    assert (outputs / "kept" / "file").read_text() == "content"
    assert Path("/etc/passwd").exists()


def test_folders_from_before_runs_had_names_are_kept(left, monkeypatch, settings, tmp_path):
    views, outputs = left
    (outputs / "scan.nii.gz").write_text("content")
    Attempt.objects.update(views_dir="/".join(views.parts[-3:]), output_path=str(outputs / "scan.nii.gz"))
    (tmp_path / "moved").symlink_to(settings.DATA_DIR)
    settings.DATA_DIR = tmp_path / "moved"
    monkeypatch.setattr(leftovers, "DAY", -1)
    assert leftovers.sweep(0) == 0
    assert (outputs / "scan.nii.gz").exists()
    assert len(list(views.iterdir())) == 3


def test_a_sweep_goes_on_where_it_was(make):
    made = [make().pk for _ in range(3)]
    assert leftovers.sweep(0, 2) == made[1]
    assert leftovers.sweep(made[1], 2) == 0
