"""Faults at random: which, when and how long follow from the seed; whom they hit depends on who is there."""

import heapq
import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from tests.faults.database import locked
from tests.faults.hurt import FOR_GOOD, Files
from tests.faults.ledger import Ledger
from tests.faults.place import Place
from tests.faults.site import Site

WEIGHTS = {
    "worker killed": 5,
    "horse killed": 6,
    "web process killed": 8,
    "web server killed": 0.7,
    "queue killed": 3,
    "upkeep killed": 1.5,
    "supervisor killed": 0.7,
    "worker stopped": 3,
    "web process stopped": 4,
    "queue stopped": 2,
    "worker given up": 3,
    "disk filled": 3,
    "original harmed": 8,
    "output harmed": 12,
    "picture harmed": 10,
    "slices harmed": 4,
    "database locked": 3,
    "clock moved": 3,
    "connection dropped": 12,
}
SIGNALS = {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP}
JUMPS = (-7200, -600, -45, 45, 600, 7200, 40_000)


class Injector:
    """Draws a fault, does it, undoes it when its time is over."""

    def __init__(self, seed: int, site: Site, place: Place, files: Files, ledger: Ledger) -> None:
        self.drawn = random.Random(seed)
        self.site, self.place, self.files, self.ledger = site, place, files, ledger
        self.due: list[tuple[float, int, str, Callable[[], None]]] = []
        self.order = itertools.count()
        self.going: set[str] = set()
        unable = [("disk filled", place.small_disk), ("clock moved", place.moves_clocks)]
        self.kinds = {kind: WEIGHTS[kind] for kind in WEIGHTS if (kind, False) not in unable}

    def work(self, seconds: float, pause: float) -> None:
        """Faults one after the other, `pause` seconds apart on average, for so long; then everything is undone."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            kind = self.drawn.choices(list(self.kinds), list(self.kinds.values()))[0]
            wait, length = self.drawn.expovariate(1 / pause), self.drawn.uniform(0.5, 6.0)
            inner = random.Random(self.drawn.random())
            if kind not in self.going and self._do(kind, length, inner) and kind != "connection dropped":
                self.ledger.count(self.ledger.faults, kind)
            until = time.monotonic() + wait
            while time.monotonic() < until:
                self._undo_due(time.monotonic())
                time.sleep(0.05)
        self._undo_all()

    def _undo_all(self) -> None:
        end = time.monotonic() + 30
        while self.due and time.monotonic() < end:
            self._undo_due(float("inf"))
        self.place.empty()
        if self.place.moves_clocks:
            self.place.set_clock(0)

    def _undo_due(self, now: float) -> None:
        while self.due and self.due[0][0] <= now:
            _, _, kind, undo = heapq.heappop(self.due)
            with suppress(OSError):
                undo()
            self.going.discard(kind)

    def _later(self, seconds: float, kind: str, undo: Callable[[], None], *, alone: bool = True) -> bool:
        heapq.heappush(self.due, (time.monotonic() + seconds, next(self.order), kind, undo))
        if alone:
            self.going.add(kind)
        return True

    def _do(self, kind: str, length: float, drawn: random.Random) -> bool:
        """True when there was somebody or something to hit."""
        what, how = kind.rsplit(" ", 1)
        if kind == "worker given up":
            return self._give_up(length, drawn)
        if how in SIGNALS:
            return self._signal(what, SIGNALS[how], kind, length, drawn)
        if how == "harmed":
            return self._harm(what, length, drawn)
        return {
            "disk filled": self._fill,
            "database locked": self._lock,
            "clock moved": self._jump,
            "connection dropped": self._drop,
        }[kind](kind, length, drawn)

    def _signal(self, role: str, signum: int, kind: str, length: float, drawn: random.Random) -> bool:
        pids = self.site.pids(role)
        if not pids:
            return False
        pid = drawn.choice(sorted(pids))
        with suppress(ProcessLookupError):
            os.kill(pid, signum)
            if signum == signal.SIGSTOP:
                self._later(length, kind, lambda: os.kill(pid, signal.SIGCONT))
            return True
        return False

    def _give_up(self, length: float, drawn: random.Random) -> bool:
        """A job stands still, its claim is freed as after long silence, another takes over, then it goes on."""
        if not self._signal("horse", signal.SIGSTOP, "worker given up", length + 4, drawn):
            return False
        threading.Thread(target=free_claims, daemon=True).start()  # the database may be locked by ourselves
        return True

    def _harm(self, what: str, length: float, drawn: random.Random) -> bool:
        victims = self.files.victims(what)
        if not victims:
            return False
        with suppress(OSError):
            damage = self.files.harm(drawn.choice(victims), drawn)
            if drawn.random() > FOR_GOOD:
                self._later(length, what, lambda: self.files.mend(damage), alone=False)
            return True
        return False

    def _fill(self, kind: str, length: float, drawn: random.Random) -> bool:
        self.place.fill()
        return self._later(length, kind, self.place.empty)

    def _lock(self, kind: str, length: float, drawn: random.Random) -> bool:
        release = locked(drawn)
        return release is not None and self._later(length, kind, release)

    def _jump(self, kind: str, length: float, drawn: random.Random) -> bool:
        self.place.set_clock(drawn.choice(JUMPS))
        return self._later(length + 2, kind, lambda: self.place.set_clock(0))

    def _drop(self, kind: str, length: float, drawn: random.Random) -> bool:
        """The next robot that sends verdicts breaks off; it counts the fault itself."""
        with self.ledger.lock:
            self.ledger.drops = min(8, self.ledger.drops + 1)
        return True


def free_claims() -> None:
    """All claims, as if their workers had been silent for minutes."""
    from django.db import DatabaseError, close_old_connections

    from reviews import actions

    with suppress(DatabaseError):
        actions.requeue_stalled(older_than=timedelta())
    close_old_connections()
