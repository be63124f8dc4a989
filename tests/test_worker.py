"""The background worker: jobs never outlive it, and it never outlives the supervisor."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
from rq import Queue

from qcsite.supervisor import Supervisor, queue_answers, queue_child
from qcsite.worker import QuickWorker
from tests.test_supervisor import alive, wait_for

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = """
import sys, redis
from qcsite.worker import QuickWorker
worker = QuickWorker(["jobs"], connection=redis.Redis.from_url(sys.argv[1]))
worker.end_with_supervisor()
worker.work(logging_level="WARNING")
"""
SLOW_TO_LEAVE = """
import os, time
from qcsite.worker import QuickWorker
worker = QuickWorker.__new__(QuickWorker)
worker._horse_pid = os.fork() or time.sleep(60)
worker.kill_horse()
os.waitpid(worker.horse_pid, 0)
print("the worker goes on")
"""
BETWEEN = "import subprocess, sys, time; subprocess.Popen([sys.executable, *sys.argv[1:]]); time.sleep(60)"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def jobs(tmp_path):
    """A queue on a socket, and its address."""
    supervisor, place = Supervisor([]), tmp_path / "q"
    supervisor.start(queue_child(place, tmp_path / "queue"))
    url = f"unix://{place}"
    supervisor.wait_until(lambda: queue_answers(url), "the queue")
    yield Queue("jobs", connection=redis.Redis.from_url(url)), url
    supervisor.stop()


def children(pid: int) -> list[int]:
    """Running children of a process."""
    found = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in found if alive(child)]


def test_the_running_job_ends_with_a_killed_worker(jobs):
    queue, url = jobs
    queue.enqueue("time.sleep", 60)
    worker = subprocess.Popen([sys.executable, "-c", PROGRAM, url], cwd=ROOT)
    wait_for(lambda: children(worker.pid), 30)
    horse = children(worker.pid)[0]
    worker.kill()
    worker.wait()
    wait_for(lambda: not alive(horse))


def test_worker_and_job_end_when_the_supervisor_is_killed(jobs):
    queue, url = jobs
    queue.enqueue("time.sleep", 60)
    parent = subprocess.Popen([sys.executable, "-c", BETWEEN, "-c", PROGRAM, url], cwd=ROOT)
    wait_for(lambda: children(parent.pid), 30)
    worker = children(parent.pid)[0]
    wait_for(lambda: children(worker), 30)
    horse = children(worker)[0]
    parent.kill()
    parent.wait()
    wait_for(lambda: not alive(worker) and not alive(horse))


def test_asked_to_hurry_it_gives_its_job_up(jobs):
    queue, url = jobs
    queue.enqueue("time.sleep", 60)
    worker = subprocess.Popen([sys.executable, "-c", PROGRAM, url], cwd=ROOT)
    wait_for(lambda: children(worker.pid), 30)
    horse = children(worker.pid)[0]
    started = time.monotonic()
    os.kill(worker.pid, signal.SIGHUP)
    worker.wait(10)
    wait_for(lambda: not alive(horse))
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGHUP])
def test_an_engine_and_what_it_started_end_with_their_job(jobs, tmp_path, signum):
    queue, url = jobs
    note = tmp_path / "started"
    program = (
        f"sleep 60 & one=$!; setsid sleep 60 & echo $$ $one $! >{note}.part; mv {note}.part {note}; wait"
    )
    engine = ["sh", "-c", program]
    queue.enqueue("inference.deface.engines._run", engine, 60, str(tmp_path))
    worker = subprocess.Popen([sys.executable, "-c", PROGRAM, url], cwd=ROOT)
    wait_for(note.exists, 30)
    started = [int(word) for word in note.read_text().split()]
    assert all(map(alive, started))
    worker.send_signal(signum)
    worker.wait(10)
    wait_for(lambda: not any(map(alive, started)))


def test_a_job_killed_before_it_has_its_own_group_takes_no_one_along():
    command = [sys.executable, "-c", SLOW_TO_LEAVE]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, start_new_session=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "the worker goes on\n"), done.stderr


def test_a_silent_worker_is_noticed_within_seconds(jobs):
    queue, _ = jobs
    worker = QuickWorker([queue], connection=queue.connection)
    job = queue.enqueue("time.sleep", 1, job_timeout=900)
    assert worker.get_heartbeat_ttl(job) <= 20
    assert worker.maintenance_interval <= 10
