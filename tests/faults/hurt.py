"""Harm to files: each is removed, cut short or replaced, and most are put back after some seconds."""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.ledger import Damage, Ledger
from tests.faults.place import Place
from tests.faults.stock import Stock

DEEDS = ("removed", "cut short", "replaced")
AHEAD = 80  # files that are harmed belong to scans that are judged soon
FOR_GOOD = 0.3
MARK = ".hurt-"


class Files:
    """Harms files of one place and knows what it did."""

    def __init__(self, place: Place, stock: Stock, ledger: Ledger) -> None:
        self.place, self.stock, self.ledger = place, stock, ledger

    def victims(self, kind: str) -> list[Path]:
        """Files of one kind: originals and outputs of the scans next in the queue, pictures and slices of any."""
        if kind in ("original", "output"):
            front = int(self.ledger.saved() * 1.1)
            near = self.stock.pairs[front : front + AHEAD] + self.stock.pairs[-5:]
            named = [pair[kind == "output"] for pair in near]
            made = sorted((self.place.data / "defaced").rglob("*.nii*")) if kind == "output" else []
            return [path for path in [*named, *made[-AHEAD:]] if path is not None and usable(path)]
        folder, ends = ("slices", ".webp") if kind == "slices" else ("views", (".webp", ".npz"))
        return sorted(
            path
            for path in (self.place.data / folder).rglob("*")
            if path.name.endswith(ends) and usable(path)
        )

    def harm(self, path: Path, drawn: random.Random) -> Damage:
        """Do one deed to a file; its content waits beside it under a hidden name."""
        deed = drawn.choice(DEEDS)
        content = path.read_bytes()
        damage = Damage(path, deed, time.monotonic())
        path.rename(hidden(path))
        if deed == "cut short":
            path.write_bytes(content[: len(content) // 2])
        elif deed == "replaced":
            path.write_bytes(drawn.randbytes(min(len(content), 20_000)))
        damage.begun = time.monotonic()
        self.ledger.damages.append(damage)
        return damage

    def mend(self, damage: Damage) -> None:
        """Put the content back, unless the site has written a new file there meanwhile."""
        path, kept = damage.path, hidden(damage.path)
        if kept.exists() and not self._written_anew(damage):
            os.replace(kept, path)
        kept.unlink(missing_ok=True)
        damage.ended = time.monotonic()

    def _written_anew(self, damage: Damage) -> bool:
        if damage.deed == "removed":
            return damage.path.exists()
        if not damage.path.exists():
            return True
        return damage.path.stat().st_mtime_ns > hidden(damage.path).stat().st_ctime_ns + 500_000_000


def hidden(path: Path) -> Path:
    return path.with_name(f"{MARK}{path.name}")


def usable(path: Path) -> bool:
    """A whole file that nobody harms at the moment."""
    return path.is_file() and not path.name.startswith(".") and not hidden(path).exists()


def damaged(damages: list[Damage], path: str) -> Iterator[Damage]:
    """What was done to a file, or to one in the folder `path`."""
    for damage in damages:
        if str(damage.path) == path or (path and str(damage.path).startswith(path + os.sep)):
            yield damage
