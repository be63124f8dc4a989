"""Every slice of a volume in one picture, so that a slider moves without asking the server."""

import contextlib
import hashlib
import math
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from inference.opening import open_below
from inference.volumes import Volume, VolumeError

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
LONGEST_SIDE = 256
MOST_TILES = 224
REMOVED_COLOUR = np.array([214, 48, 49], np.float32)
REMOVED_WEIGHT = 0.6
CHANGED_SHARE = 0.02
QUALITY = 72
DRAWING = "1"  # raised whenever the same volumes would give another sheet
ONE_AT_A_TIME = threading.Lock()
Read = Callable[[], Volume]


@dataclass(frozen=True)
class Layout:
    """`count` tiles of `width` x `height` px in `columns`; mm between tiles and mm a pixel."""

    count: int
    columns: int
    width: int
    height: int
    step: float
    pixel: float

    def header(self) -> str:
        """count,columns,width,height,step,pixel as sent to the page."""
        return f"{self.count},{self.columns},{self.width},{self.height},{self.step:.3f},{self.pixel:.4f}"


@dataclass(frozen=True)
class Sheet:
    """A finished sheet, opened, and its layout."""

    file: BinaryIO
    header: str


def name_of(plane: str, layer: str, *hashes: str) -> str:
    """The file's name: by the content it shows, so that it can be neither stale nor another's."""
    told = ":".join((DRAWING, plane, layer, *hashes))
    return f"{hashlib.sha256(told.encode()).hexdigest()[:40]}.webp"


def sheet(path: Path, plane: str, layer: str, *, after: Read, before: Read | None = None) -> Sheet:
    """The stored sheet, made first where it is missing. Raises VolumeError, OSError."""
    found = _stored(path)
    if found is None:
        with ONE_AT_A_TIME:  # a person who hurries through a queue must not fill the memory with volumes
            found = _stored(path)
            if found is None:
                _make(path, path.with_suffix(".txt"), plane, layer, after, before)
                found = _stored(path)
    if found is None:
        raise OSError("the sheet is gone again")
    os.utime(found.file.fileno())  # pruned is what nobody has looked at for longest
    return found


def _stored(path: Path) -> Sheet | None:
    """The sheet and its note where both are regular files."""
    try:
        with open_below(path.parent, path.with_suffix(".txt")) as note:
            header = note.read(200).decode("ascii")
        return Sheet(open_below(path.parent, path), header)
    except (OSError, UnicodeDecodeError):
        return None


def prune(folder: Path, most_bytes: int) -> int:
    """Delete the sheets not shown for longest until the folder holds at most `most_bytes`; returns how many went."""
    sheets = []
    for path in folder.glob("*.webp"):
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            sheets.append((stat.st_mtime, stat.st_size, path))
    excess, gone = sum(size for _, size, _ in sheets) - most_bytes, 0
    for _, size, path in sorted(sheets):
        if excess <= 0:
            break
        path.unlink(missing_ok=True)
        path.with_suffix(".txt").unlink(missing_ok=True)
        excess, gone = excess - size, gone + 1
    return gone


def _make(path: Path, note: Path, plane: str, layer: str, after: Read, before: Read | None) -> None:
    image, layout = draw(plane, layer, after=after, before=before)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, lambda handle: image.save(handle, "WEBP", quality=QUALITY, method=0))
    _write(note, lambda handle: handle.write(layout.header().encode()))


def draw(plane: str, layer: str, *, after: Read, before: Read | None = None) -> tuple[Image.Image, Layout]:
    """Read the volumes and lay out the slices of one layer: after, before or removed."""
    defaced = after()
    original = before() if before is not None and layer != "after" else None
    if original is not None and original.data.shape != defaced.data.shape:
        raise VolumeError(
            defaced.path, f"its grid {defaced.data.shape} is not that of its original {original.data.shape}"
        )
    window = _window(defaced)
    shown = defaced if original is None else original
    grey = Planes(shown.data.shape, lambda at: _grey(shown.data[at], window))
    changed = None
    if layer == "removed" and original is not None:
        changed = Planes(shown.data.shape, lambda at: _changed(original.data[at], defaced.data[at], window))
    return mosaic(grey, changed, plane, shown.zooms)


@dataclass(frozen=True)
class Planes:
    """What would be an array of this shape, made plane by plane: beside the volumes nothing of their size is held."""

    shape: tuple[int, ...]
    make: Callable[[tuple], np.ndarray]

    def __getitem__(self, at: tuple) -> np.ndarray:
        return self.make(at)


def mosaic(
    grey: np.ndarray | Planes, changed: np.ndarray | Planes | None, plane: str, zooms
) -> tuple[Image.Image, Layout]:
    """uint8 (X, Y, Z) RAS+ and an optional mask -> one picture of upright slices with square pixels."""
    axis = PLANES[plane]
    layout, chosen = plan(grey.shape, zooms, plane)
    rows = math.ceil(layout.count / layout.columns)
    mode = "L" if changed is None else "RGB"
    page = Image.new(mode, (layout.columns * layout.width, rows * layout.height))
    for place, index in enumerate(chosen):
        at = (slice(None),) * axis + (index,)  # a view: np.take would copy the whole volume for each slice
        tile = upright(grey[at])
        if changed is not None:
            tile = reddened(tile, upright(changed[at]))
        picture = Image.fromarray(tile).resize((layout.width, layout.height), Image.Resampling.BILINEAR)
        page.paste(picture, (place % layout.columns * layout.width, place // layout.columns * layout.height))
    return page, layout


def plan(shape: tuple[int, ...], zooms, plane: str) -> tuple[Layout, list[int]]:
    """Tile size in proportion to mm, and which slices are shown."""
    axis = PLANES[plane]
    across, up = [other for other in range(3) if other != axis]
    millimetres = shape[across] * float(zooms[across]), shape[up] * float(zooms[up])
    scale = LONGEST_SIDE / max(millimetres)
    width, height = (max(1, round(side * scale)) for side in millimetres)
    step = max(1, math.ceil(shape[axis] / MOST_TILES))
    chosen = list(range(0, shape[axis], step))
    columns = math.ceil(math.sqrt(len(chosen) * height / width))
    return Layout(len(chosen), columns, width, height, step * float(zooms[axis]), 1 / scale), chosen


def upright(plane_data: np.ndarray) -> np.ndarray:
    """(across, up) in RAS+ -> picture rows from the top: head up, the person's right or front on the left."""
    return np.ascontiguousarray(plane_data.T[::-1, ::-1])


def reddened(tile: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Grey (rows, columns) uint8 with the masked pixels tinted -> RGB uint8."""
    colour = np.repeat(tile[..., None], 3, axis=2).astype(np.float32)
    colour[mask] = colour[mask] * (1 - REMOVED_WEIGHT) + REMOVED_COLOUR * REMOVED_WEIGHT
    return colour.astype(np.uint8)


def _window(volume: Volume) -> tuple[float, float]:
    """The grey window: up to the 99.5th percentile of what is not background."""
    sample = np.asarray(volume.data)[::3, ::3, ::3].astype(np.float32)
    low = float(np.percentile(sample, 1))
    head = sample[sample > low]
    high = float(np.percentile(head, 99.5)) if head.size else low + 1
    return low, max(high, low + 1e-6)


def _grey(data: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    low, high = window
    return (np.clip((data.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _changed(original: np.ndarray, defaced: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Voxels that lost their signal: changed by more than 2 % of the grey window."""
    lost = original.astype(np.float32) - defaced.astype(np.float32)
    return np.abs(lost) > CHANGED_SHARE * (window[1] - window[0])


def _write(path: Path, save) -> None:
    """Write beside and rename, so that a reader never sees half a file."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as handle:
        save(handle)
    os.replace(handle.name, path)
