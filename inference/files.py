"""What jobs leave on the disk: whole or not at all, under a name of its own; the network's input, numbers."""

import os
import shutil
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike

# What reading a damaged .npz raises.
DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile, zlib.error)


@contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """A new empty folder where `folder` will be; whoever finished renames it, otherwise it goes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}"
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def put(file: Path, folder: Path) -> Path:
    """Move a finished file into a folder named by its content: what is there already holds the same."""
    folder.mkdir(exist_ok=True)
    return file.replace(folder / file.name)


def save_arrays(path: Path, *, compressed: bool = False, **arrays: ArrayLike) -> None:
    """Write an .npz whole or not at all, also where several processes write the same one."""
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as handle:
        (np.savez_compressed if compressed else np.savez)(handle, **arrays)
    part.replace(path)


def plain(value):
    """Numbers, texts, lists and dicts that JSON can hold; what is not finite becomes None."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if isinstance(value, str | int | bool) or value is None else str(value)
