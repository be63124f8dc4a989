"""What no attempt refers to any more: outputs and pictures of workers that were given up, or of an earlier run."""

import shutil
import time
from pathlib import Path

from reviews.models import Attempt
from reviews.stored_files import data_folder

DAY = 24 * 3600
AT_ONCE = 500


def sweep(after: int, most: int = AT_ONCE) -> int:
    """Remove what the next attempts left behind; returns where to go on, 0 at the end. Raises OSError."""
    fields = ("pk", "scan_id", "number", "views_dir", "output_path")
    rows = list(Attempt.objects.filter(pk__gt=after).order_by("pk").values_list(*fields)[:most])
    own = data_folder()
    for pk, scan_id, number, views_dir, output_path in rows:
        clear(own / f"views/{pk // 1000:04d}/{pk}", Path(views_dir).parts)
        clear(own / f"defaced/{scan_id}/attempt-{number}", Path(output_path).parts)
    return rows[-1][0] if len(rows) == most else 0


def clear(folder: Path, kept: tuple[str, ...]) -> None:
    """Remove what lies in an attempt's folder for a day and is not on the path, given by its parts, to what is kept."""
    if folder.is_symlink() or not folder.is_dir() or kept[-1:] == (folder.name,):
        return
    for entry in folder.iterdir():
        if entry.name in kept or time.time() - max(entry.lstat().st_mtime, entry.lstat().st_ctime) < DAY:
            continue  # its worker may be about to finish
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
