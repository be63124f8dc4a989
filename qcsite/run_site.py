"""The whole site on one machine, from the embedded queue to the web server, until it is asked to stop."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import connections

from qcsite.supervisor import (
    MANAGE,
    Child,
    Lock,
    Supervisor,
    SupervisorError,
    manage_child,
    queue_answers,
    queue_child,
    web_answers,
    web_child,
)


@dataclass(frozen=True)
class Shape:
    """Where the site listens and how many processes it has."""

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 2
    web_processes: int = 1

    @property
    def address(self) -> str:
        """The address to open."""
        return f"http://{self.host}:{self.port}/"


def run(
    shape: Shape, *, prepare: Callable[[], Iterable[Child]] = tuple, announce: Callable[[], None]
) -> None:
    """Start everything, call `prepare` once the tables exist and `announce` once pages answer, then look after it.

    `prepare` may return further children; returns when SIGINT or SIGTERM was received and all has ended.
    """
    _environment()
    with Lock(settings.DATA_DIR / "supervisor.lock"):
        _probe(shape)
        supervisor = Supervisor([])
        supervisor.stop_on_signals()
        try:
            _start(supervisor, shape, prepare, announce)
            supervisor.run()
        finally:
            supervisor.stop()


def _probe(shape):
    """Say at once, and in plain words, that the address cannot be had."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((shape.host, shape.port))
        except OSError as error:
            raise SupervisorError(
                f"{shape.host}:{shape.port} cannot be listened on ({error.strerror}); choose another --port"
            ) from error


def _environment():
    os.environ["QC_DATA_DIR"] = str(settings.DATA_DIR)
    os.environ["QC_HASHED_STATIC"] = "yes"


def _start(supervisor, shape, prepare, announce):
    embedded = f"unix://{settings.QUEUE_SOCKET}" == settings.QUEUE_URL
    collecting = _collect_static()
    if embedded:
        supervisor.start(queue_child(Path(settings.QUEUE_SOCKET), settings.DATA_DIR / "queue"))
    call_command("migrate", interactive=False, verbosity=0)
    if not supervisor.wait_until(
        lambda: queue_answers(settings.QUEUE_URL), f"the queue at {settings.QUEUE_URL}"
    ):
        return
    if embedded:
        _free_claims()
    extra = list(prepare())
    connections.close_all()
    for number in range(1, shape.workers + 1):
        supervisor.start(manage_child(f"worker {number}", "work", patience=8.0))
    if collecting.wait() != 0:
        raise SupervisorError(f"the static files could not be collected:\n{collecting.stderr.read()[-800:]}")
    supervisor.start(web_child(shape.host, shape.port, shape.web_processes))
    for child in extra:
        supervisor.start(child)
    supervisor.start(manage_child("upkeep", "upkeep", patience=1.0))
    host = "127.0.0.1" if shape.host == "0.0.0.0" else shape.host
    if supervisor.wait_until(lambda: web_answers(host, shape.port), "the web server"):
        announce()


def _free_claims():
    """What the workers of the last run were at is given to the first new ones, not after minutes of silence.

    Only before there are workers. An `ingest --now` at work meanwhile loses the one step it is at, which is done
    again; other workers cannot be there, for a queue that is not embedded is left alone.
    """
    from reviews import actions

    actions.requeue_stalled(older_than=timedelta(), restarted=True)


def _collect_static():
    command = [
        sys.executable,
        str(MANAGE),
        "collectstatic",
        "--noinput",
        "--ignore",
        "ext",
        "--verbosity",
        "0",
    ]
    return subprocess.Popen(command, cwd=MANAGE.parent, stderr=subprocess.PIPE, text=True)
