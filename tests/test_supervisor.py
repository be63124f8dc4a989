"""The supervisor: order, restarts, clean ends, and nothing left behind however it ends."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from qcsite import run_site
from qcsite.supervisor import (
    STEADY_SECONDS,
    Child,
    Lock,
    Supervisor,
    SupervisorError,
    queue_answers,
    queue_child,
    web_answers,
    web_child,
)

ROOT = Path(__file__).resolve().parent.parent
SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, sys, time; signal.signal(15, signal.SIG_IGN); signal.signal(1, signal.SIG_IGN)\n"
    "open(sys.argv[1], 'w').close(); time.sleep(60)",
]


def alive(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(truth, seconds=15.0):
    until = time.monotonic() + seconds
    while not truth() and time.monotonic() < until:
        time.sleep(0.05)
    assert truth()


@pytest.fixture
def supervised():
    """A supervisor looked after in a thread, ended with the test."""
    supervisor = Supervisor([])
    yield supervisor
    supervisor.stop()


def test_one_site_a_data_folder(tmp_path):
    taken = pytest.raises(SupervisorError, match=f"already in use.*{os.getpid()}")
    with Lock(tmp_path / "lock"), taken, Lock(tmp_path / "lock"):
        pass
    with Lock(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_a_port_that_is_taken_is_said_before_anything_starts(settings, tmp_path, monkeypatch):
    for name in ("QC_DATA_DIR", "QC_HASHED_STATIC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "")
    settings.DATA_DIR = tmp_path
    with socket.create_server(("127.0.0.1", 0)) as taken:
        shape = run_site.Shape(port=taken.getsockname()[1])
        with pytest.raises(SupervisorError, match="choose another --port"):
            run_site.run(shape, announce=pytest.fail)
    assert not (tmp_path / "queue").exists()


def test_a_child_that_dies_is_started_again(supervised):
    child = Child("sleeper", SLEEPER)
    supervised.start(child)
    first = child.process.pid
    os.kill(first, signal.SIGKILL)
    threading.Timer(6, lambda: setattr(supervised, "stopping", True)).start()
    supervised.run()
    assert child.process.pid != first
    assert child.failures >= 1


def test_a_child_that_always_dies_is_started_ever_more_slowly_and_never_given_up():
    child = Child("broken", SLEEPER, started=time.monotonic())
    assert [child.pause_after_end() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert {child.pause_after_end() for _ in range(2000)} == {30}
    child.started -= STEADY_SECONDS + 1
    assert [child.pause_after_end(), child.failures] == [1, 1]


def test_work_done_once_is_not_started_again(supervised):
    child = Child("once", [sys.executable, "-c", "pass"], once=True)
    supervised.start(child)
    first = child.process
    wait_for(lambda: not child.running)
    threading.Timer(1, lambda: setattr(supervised, "stopping", True)).start()
    supervised.run()
    assert child.process is first


def test_a_child_that_does_not_listen_is_made_to_end(tmp_path):
    supervisor, ready = Supervisor([]), tmp_path / "ready"
    supervisor.start(Child("polite", SLEEPER))
    supervisor.start(Child("stubborn", [*STUBBORN, str(ready)], patience=0.3))
    wait_for(ready.exists)
    pids = [child.process.pid for child in supervisor.children]
    supervisor.stop()
    assert not any(map(alive, pids))


def test_a_child_that_cannot_start_is_reported(supervised):
    supervised.start(Child("broken", [sys.executable, "-c", "raise SystemExit(3)"]))
    with pytest.raises(SupervisorError, match="broken ended with 3"):
        supervised.wait_until(lambda: False, "nothing", seconds=20)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux")
def test_killing_the_supervisor_leaves_nothing(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from qcsite.supervisor import *\n"
        "supervisor = Supervisor([]); supervisor.start(queue_child(Path(sys.argv[1]) / 's', Path(sys.argv[1])))\n"
        "supervisor.start(Child('sleeper', [sys.executable, '-c', 'import time; time.sleep(60)']))\n"
        "print(*(child.process.pid for child in supervisor.children), flush=True); supervisor.run()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(alive, pids))
        process.kill()
    wait_for(lambda: not any(map(alive, pids)))


def test_the_embedded_queue_listens_on_a_private_socket_and_keeps_its_jobs(supervised, tmp_path):
    place = tmp_path / "q.sock"
    url = f"unix://{place}"
    supervised.start(queue_child(place, tmp_path / "queue"))
    supervised.wait_until(lambda: queue_answers(url), "the queue")
    assert place.stat().st_mode & 0o077 == 0
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(place))
        connection.sendall(b"SET job waiting\r\n")
        assert connection.recv(100).startswith(b"+OK")
    supervised.stop()
    again = Supervisor([])
    again.start(queue_child(place, tmp_path / "queue"))
    try:
        again.wait_until(lambda: queue_answers(url), "the queue")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(place))
            connection.sendall(b"GET job\r\n")
            assert b"waiting" in connection.recv(100)
    finally:
        again.stop()


@pytest.mark.parametrize("hosts", ["qc.example.org", "127.0.0.1"])
def test_a_site_behind_a_proxy_is_seen_to_answer(tmp_path, monkeypatch, hosts):
    """It redirects this machine to https, or is not called by the address it listens on."""
    for name, value in {"QC_HTTPS": "yes", "QC_BEHIND_PROXY": "yes", "QC_ALLOWED_HOSTS": hosts}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("QC_DATA_DIR", str(tmp_path))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    supervisor = Supervisor([])
    assert not web_answers("127.0.0.1", port)
    try:
        supervisor.start(web_child("127.0.0.1", port, 1))
        assert supervisor.wait_until(lambda: web_answers("127.0.0.1", port), "the web server")
    finally:
        supervisor.stop()
