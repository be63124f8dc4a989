"""A server of its own for the benchmarks: temporary data folder, a study of any size, gunicorn."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.verdict_time import study
from tests.painted import paint

ROOT = Path(__file__).resolve().parent.parent.parent
CHUNK = 500


@contextmanager
def workbench(attempts: int, *, waiting: int, workers: int = 2) -> Iterator[tuple[str, object]]:
    """(address, dataset) of a running server whose study has `waiting` scans in each of the two queues."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "QC_DATA_DIR": folder,
            "DJANGO_SETTINGS_MODULE": "qcsite.settings",
            "DJANGO_ALLOW_ASYNC_UNSAFE": "true",
            "QC_LOG_LEVEL": "ERROR",
        }
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0, skip_checks=True)
        dataset, _ = study(attempts)
        queue_up(dataset, waiting, Path(folder))
        with gunicorn(workers) as address:
            yield address, dataset


def queue_up(dataset, waiting: int, folder: Path) -> None:
    """Let exactly `waiting` scans wait in each queue, all with the same painted pictures."""
    from reviews.models import Attempt
    from reviews.views.pictures import VIEW_LABELS

    paint(folder / "views", VIEW_LABELS)
    ids = list(Attempt.objects.filter(dataset=dataset).order_by("pk").values_list("pk", flat=True))
    names = list(VIEW_LABELS)
    Attempt.objects.filter(status__in=["verify", "refer"]).update(status="passed")
    for status, part in (("verify", ids[:waiting]), ("refer", ids[waiting : 2 * waiting])):
        for start in range(0, len(part), CHUNK):
            Attempt.objects.filter(pk__in=part[start : start + CHUNK]).update(
                status=status, views_dir="views", view_names=names
            )


def refill(dataset, count: int) -> None:
    """Let `count` further scans, not yet judged by anybody, wait for verification."""
    from reviews.models import Attempt
    from reviews.views.pictures import VIEW_LABELS

    fresh = Attempt.objects.filter(dataset=dataset, status="passed", verdicts__isnull=True)
    ids = list(fresh.values_list("pk", flat=True)[:count])
    for start in range(0, len(ids), CHUNK):
        Attempt.objects.filter(pk__in=ids[start : start + CHUNK]).update(
            status="verify", views_dir="views", view_names=list(VIEW_LABELS)
        )


@contextmanager
def gunicorn(workers: int) -> Iterator[str]:
    """The web server as the supervisor starts it, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "qcsite.wsgi", "-k", "gthread", "--no-control-socket"]
    command += ["-w", str(workers), "--threads", "4", "-b", f"127.0.0.1:{port}", "--log-level", "error"]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(address)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


def wait_for(address: str, patience: float = 90.0) -> None:
    """Until the log-in page answers."""
    end = time.monotonic() + patience
    while True:
        try:
            urllib.request.urlopen(f"{address}/accounts/login/", timeout=20).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def spread(times: Sequence[float]) -> str:
    """Median, p95 and worst in ms."""
    ordered = sorted(times)
    if not ordered:
        return "nothing measured"
    at = [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.95)]
    return f"median {at[0]:6.1f} ms, p95 {at[1]:6.1f} ms, worst {ordered[-1]:6.1f} ms of {len(ordered)}"


def load() -> str:
    """How busy the machine is with other things; figures of a busy machine are not the software's."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start"


def say(words: str) -> None:
    """A line on the terminal."""
    sys.stdout.write(words + "\n")
    sys.stdout.flush()
