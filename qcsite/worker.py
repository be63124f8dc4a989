"""The background worker: notices dead colleagues within seconds, never outlives its parent, starts jobs warm."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from rq import Worker

PR_SET_PDEATHSIG = 1
BEAT_SECONDS = 5
SILENT_SECONDS = 15


def die_with_parent(signum: int) -> None:
    """Ask the kernel to signal this process when its parent ends, however it ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signum)


class QuickWorker(Worker):
    """RQ's defaults notice a dead worker after nine minutes; this one's jobs are given up after 20 s."""

    def __init__(self, *args, **options):
        timing = {"worker_ttl": 25, "job_monitoring_interval": BEAT_SECONDS, "maintenance_interval": 10}
        super().__init__(*args, **(options | timing))

    def get_heartbeat_ttl(self, job, working_time: float = 0.0) -> int:
        """Seconds until a job whose worker is silent is given up."""
        return BEAT_SECONDS + SILENT_SECONDS

    def setup_work_horse_signals(self) -> None:
        """The process of one job ends with its worker."""
        super().setup_work_horse_signals()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        die_with_parent(signal.SIGKILL)
        if os.getppid() != self.pid:  # it ended before the kernel was asked
            os._exit(1)

    def kill_horse(self, sig=signal.SIGKILL) -> None:
        """End the job and the programs it started, and nothing else.

        RQ signals whatever group the process is in; one that was forked a moment ago is still in its worker's, and
        that may be its supervisor's too.
        """
        for kill in (os.killpg, os.kill):
            with suppress(ProcessLookupError):
                kill(self.horse_pid, sig)
                return

    given_up: Callable[[int], object] = staticmethod(lambda pid: None)

    def end_with_supervisor(self) -> None:
        """When the supervisor is gone, end at once, with the running job and the programs it started.

        `given_up` is told the process of a job that ends so: it was not the job's fault.
        """

        def orphaned(signum, frame):
            if self.horse_pid:
                self.kill_horse(signal.SIGKILL)
                with suppress(Exception):
                    self.given_up(self.horse_pid)
            os._exit(1)

        signal.signal(signal.SIGHUP, orphaned)
        die_with_parent(signal.SIGHUP)
