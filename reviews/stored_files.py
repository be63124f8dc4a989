"""The one way to stored files: originals and results by what was taken in, our own below the data folder."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from inference.opening import copied, open_below, stamp_of
from inference.volumes import MAX_FILE_BYTES, Volume, VolumeError, bytes_of, os_reason, read_volume

CHANGED = "the file has changed since it was taken in"
WRITTEN = "the file is being written to"


def data_folder() -> Path:
    """The data folder without links: the site may lead to it over one."""
    return Path(os.path.realpath(settings.DATA_DIR))


def open_own(path: str | Path) -> BinaryIO:
    """A file of ours by its path from the data folder on. Raises OSError."""
    folder = data_folder()
    return open_below(folder, folder / path)


def open_volume(path: str | Path, root: str) -> BinaryIO:
    """A volume by its stored path and root. Raises VolumeError."""
    path, named = Path(path), Path(settings.DATA_DIR)
    try:
        if root:
            return open_below(root, path)
        return open_own(path.relative_to(named)) if named in path.parents else open_below(data_folder(), path)
    except OSError as error:
        raise VolumeError(path, os_reason(error)) from error


def root_of(path: Path, roots: list[Path]) -> str:
    """Which of the folders a path without links lies below; '' for the data folder. Raises VolumeError."""
    own = data_folder()
    for root in map(Path, map(os.path.realpath, roots)):
        if root in path.parents:
            return "" if root == own or own in root.parents else str(root)
    raise VolumeError(path, "a link leads out of the folder that is taken in")


@dataclass(frozen=True)
class StoredFile:
    """A file that was taken in or made: below which folder ('': the data folder), its SHA-256 and last stamp.

    What is opened, read or copied holds exactly that content; anything else is a VolumeError.
    """

    path: str
    root: str
    sha256: str
    stamp: str
    renew: Callable[[str], object]

    def seen(self) -> str:
        """The stamp it bears now; nothing of it is read."""
        with self._opened() as file:
            return stamp_of(file, own=True)

    def open(self) -> BinaryIO:
        """The file, read anew only where size, times or inode differ."""
        file = self._opened()
        try:
            if not self.stamp or self._stamp(file) != self.stamp:
                self._compare(file)
            return file
        except BaseException:
            file.close()
            raise

    def content(self) -> bytes:
        """All bytes, each of them hashed."""
        with self._opened() as file:
            stamp = self._stamp(file)
            content = bytes_of(self.path, file)
        self._require(hashlib.sha256(content).hexdigest())
        self._keep(stamp)
        return content

    def volume(self) -> Volume:
        """The volume in it."""
        return read_volume(self.path, file=BytesIO(self.content()))

    def copy(self, folder: Path) -> Path:
        """A copy of the same name in a private folder, for programs that want a path."""
        target = folder / Path(self.path).name
        copied(BytesIO(self.content()), target)
        return target

    def _opened(self) -> BinaryIO:
        return open_volume(self.path, self.root)

    def _stamp(self, file: BinaryIO) -> str:
        return stamp_of(file, own=not self.root)

    def _compare(self, file: BinaryIO) -> None:
        """Hash it, and know it again next time."""
        if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
            raise VolumeError(self.path, CHANGED)
        stamp = self._stamp(file)
        self._require(hashlib.file_digest(file, "sha256").hexdigest())
        if stamp != self._stamp(file):
            raise VolumeError(self.path, WRITTEN)
        file.seek(0)
        self._keep(stamp)

    def _require(self, digest: str) -> None:
        if digest != self.sha256:
            raise VolumeError(self.path, CHANGED)

    def _keep(self, stamp: str) -> None:
        if stamp and stamp != self.stamp:
            self.renew(stamp)
