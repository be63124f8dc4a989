"""What robots were told, and what was done to the site: the side of the story that the site cannot change."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

FOREVER = float("inf")


@dataclass
class Told:
    """One verdict as its robot knows it; times are of the monotonic clock. `answer`: saved, a refusal, or nothing."""

    user: int
    nonce: str
    klass: str
    sent: float
    answer: str = ""
    answered: float = FOREVER


@dataclass
class Damage:
    """What was done to one file, from when to when."""

    path: Path
    deed: str
    begun: float
    ended: float = FOREVER


@dataclass
class Ledger:
    """Filled by all robots and by whoever injects faults."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    told: dict[tuple[int, str], Told] = field(default_factory=dict)
    undone: Counter[int] = field(default_factory=Counter)
    taken: set[int] = field(default_factory=set)
    damages: list[Damage] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    drops: int = 0
    few_failures: bool = True

    def sent(self, user: int, nonce: str, klass: str) -> None:
        """A robot is about to say it for the first time."""
        with self.lock:
            self.told[user, nonce] = Told(user, nonce, klass, time.monotonic())

    def answered(self, user: int, nonce: str, answer: str) -> None:
        """The last word that the robot heard."""
        with self.lock:
            told = self.told[user, nonce]
            told.answer, told.answered = answer, time.monotonic()

    def saved(self) -> int:
        """How many verdicts were acknowledged up to now."""
        with self.lock:
            return sum(told.answer == "saved" for told in self.told.values())

    def count(self, counter: Counter, key, by: int = 1) -> None:
        """Count something seen by one of the threads."""
        with self.lock:
            counter[key] += by

    def drop_one(self) -> bool:
        """Whether this robot is the one whose connection breaks now."""
        with self.lock:
            if not self.drops:
                return False
            self.drops -= 1
            self.faults["connection dropped"] += 1
            return True
