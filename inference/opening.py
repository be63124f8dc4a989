"""Opening stored files: through no link, below the folder they belong to, regular files alone; knowing them again."""

import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a FIFO cannot make it wait
SETTLED_SECONDS = 1.0  # clocks of file systems are coarse: what changed just now may change again unseen


class NotOpened(OSError):
    """The file is not one that may be opened; the message is the reason, without the path."""


def open_below(root: str | Path, path: str | Path) -> BinaryIO:
    """Open `path` below the folder `root`, both absolute and without links. Raises OSError."""
    root, path = Path(root), Path(path)
    if not root.is_absolute() or ".." in path.parts or root not in path.parents:
        raise NotOpened("lies outside of the folder it was taken in from")
    return open_regular(path)


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file by an absolute path of which no component is a link. Raises OSError."""
    path = Path(path)
    if not path.is_absolute() or not path.name:
        raise NotOpened("is not named by a whole path")
    folder = _folder(path.parent.parts)
    try:
        _require_regular(
            os.stat(path.name, dir_fd=folder, follow_symlinks=False)
        )  # devices are not even opened
        descriptor = os.open(path.name, FILE, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        _require_regular(os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _folder(parts: tuple[str, ...]) -> int:
    """A descriptor of the folder, reached step by step from the top."""
    folder = os.open(parts[0], FOLDER)
    for name in parts[1:]:
        try:
            below = os.open(name, FOLDER, dir_fd=folder)
        except NotADirectoryError:
            raise NotOpened("a folder on the way to it is a link or no folder") from None
        finally:
            os.close(folder)
        folder = below
    return folder


def _require_regular(found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise NotOpened("is a link, not a file")
    if stat.S_ISDIR(found.st_mode):
        raise NotOpened("is a folder, not a file")
    if not stat.S_ISREG(found.st_mode):
        raise NotOpened("is not a regular file")


def stamp_of(file: BinaryIO, *, own: bool = False) -> str:
    """Size, times and inode, by which an unchanged file is known again; '' while it is too fresh to tell.

    own: in our data folder, where nobody else writes.
    """
    found = os.fstat(file.fileno())
    if not own and time.time_ns() - found.st_ctime_ns < SETTLED_SECONDS * 1e9:
        return ""
    return f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}:{found.st_ino}"


def copied(source: BinaryIO, target: Path) -> None:
    """Write what is read from `source` to the new file `target`, for this user alone; half of it is never left."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            while piece := source.read(1 << 20):
                out.write(piece)
    except BaseException:
        with suppress(OSError):
            target.unlink()
        raise
