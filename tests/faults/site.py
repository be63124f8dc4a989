"""The running site: one real `manage.py supervise`, started again whenever it is gone, and its processes by role."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from qcsite.supervisor import web_answers

ROOT = Path(__file__).resolve().parent.parent.parent
HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


class Site:
    """`starts` counts how often the supervisor was started."""

    def __init__(self, environment: dict[str, str], log: Path, *, workers: int = 2, web: int = 2) -> None:
        self.port = free_port()
        self.address = f"http://{HOST}:{self.port}"
        self.environment, self.log = {**os.environ, **environment}, log
        self.shape = ["--port", str(self.port), "--workers", str(workers), "--web-processes", str(web)]
        self.starts = 0
        self.process: subprocess.Popen | None = None
        self.ending = threading.Event()
        self.keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def open(self, patience: float = 180.0) -> None:
        """Start it, keep it started, return once it answers."""
        self._start()
        self.keeper.start()
        self.wait_for_answers(patience)

    def wait_for_answers(self, patience: float) -> None:
        end = time.monotonic() + patience
        while not web_answers(HOST, self.port):
            if time.monotonic() > end:
                raise TimeoutError(f"the site does not answer, see {self.log}")
            time.sleep(0.3)

    def restart(self, patience: float = 180.0) -> None:
        """As an operator does after trouble: stop it properly; the keeper starts it again."""
        before = self.starts
        self._stop()
        end = time.monotonic() + patience
        while self.starts == before and time.monotonic() < end:
            time.sleep(0.1)
        self.wait_for_answers(patience)

    def close(self) -> None:
        """Stop it for good."""
        self.ending.set()
        self.keeper.join()
        self._stop()

    def pids(self, role: str) -> list[int]:
        """Its processes of one role: supervisor, queue, worker, horse, web server, web process, upkeep."""
        process = self.process
        if process is None or process.poll() is not None:
            return []
        return [process.pid] if role == "supervisor" else roles(process.pid).get(role, [])

    def _start(self) -> None:
        command = [sys.executable, "manage.py", "supervise", *self.shape]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self.starts += 1

    def _keep(self) -> None:
        while not self.ending.wait(0.5):
            if self.process.poll() is not None:
                self._start()

    def _stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=40)
        self.process.kill()
        self.process.wait()


def roles(supervisor: int) -> dict[str, list[int]]:
    """The living descendants of a supervisor by what they do."""
    children = _children()
    found: dict[str, list[int]] = {}
    for pid in children.get(supervisor, []):
        role = _role(pid)
        if role is None:
            continue
        found.setdefault(role, []).append(pid)
        below = {"worker": "horse", "web server": "web process"}.get(role)
        if below and children.get(pid):
            found.setdefault(below, []).extend(children[pid])
    return found


def _children() -> dict[int, list[int]]:
    """Process numbers by their parent; the dead that nobody collected are left out."""
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError):
            state, parent = entry.read_text().rsplit(")", 1)[1].split()[:2]
            if state != "Z":
                found.setdefault(int(parent), []).append(int(entry.parent.name))
    return found


def _role(pid: int) -> str | None:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    if words[0].endswith("valkey-server"):
        return "queue"
    if "gunicorn" in words:
        return "web server"
    return {"work": "worker", "upkeep": "upkeep"}.get(words[2] if len(words) > 2 else "")
