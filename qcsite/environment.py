"""Reading the environment strictly: a value that cannot be meant stops the start and names its variable."""

import hashlib
import logging
import os
import secrets
import stat
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

log = logging.getLogger(__name__)

YES = {"1", "true", "yes", "on"}
NO = {"0", "false", "no", "off", ""}
OURS = ("secret_key", "qc.sqlite3")  # what a data folder is known by
OTHERS = stat.S_IRWXG | stat.S_IRWXO
LONGEST_SOCKET = 95  # a Unix socket's path is limited to about 100 bytes


def text(name: str, default: str = "") -> str:
    """The variable, stripped, or its default."""
    return os.environ.get(name, default).strip()


def flag(name: str, default: bool = False) -> bool:
    """A yes or no."""
    value = text(name, "yes" if default else "no").lower()
    if value in YES:
        return True
    if value in NO:
        return False
    raise ImproperlyConfigured(f"{name}={value!r}: say yes or no")


def number(name: str, default: int, *, low: int, high: int) -> int:
    """A whole number within its range."""
    value = text(name, str(default))
    if not value.lstrip("-").isdigit() or not low <= int(value) <= high:
        raise ImproperlyConfigured(f"{name}={value!r}: must be a whole number from {low} to {high}")
    return int(value)


def words(name: str, default: str = "") -> list[str]:
    """A list separated by commas."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def one_of(name: str, choices: tuple[str, ...]) -> str:
    """One of the choices; the first is the default."""
    value = text(name, choices[0])
    if value not in choices:
        raise ImproperlyConfigured(f"{name}={value!r}: must be one of {', '.join(choices)}")
    return value


def write_privately() -> None:
    """What this process and its children write is for their user alone."""
    os.umask(0o077)


def folder(name: str, default: Path) -> Path:
    """An absolute folder that exists afterwards and can be written to."""
    path = Path(text(name) or default).expanduser().absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"{name}={path}: the folder cannot be made ({error.strerror})") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(f"{name}={path}: no permission to write into the folder")
    close_to_others(path)
    return path


def close_to_others(path: Path) -> None:
    """A data folder made under another umask, and the files in it, are for their owner alone again.

    A folder with other things in it, or of somebody else, is left as it is with a warning.
    """
    inside = list(path.iterdir())
    ours = not inside or any((path / name).exists() for name in OURS)
    if not _closed(path, may=ours and not path.stat().st_mode & stat.S_ISVTX):
        for file in inside:
            if file.is_file() and file.name.startswith(OURS):
                _closed(file, may=True)


def _closed(path: Path, *, may: bool) -> bool:
    """Whether others were shut out already; if not, shut them out where we may, and say so."""
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    if not mode & OTHERS:
        return True
    if may and found.st_uid == os.getuid():
        path.chmod(mode & ~OTHERS)
        log.warning("%s: was open to others (mode %o), is not any more", path, mode)
    else:
        log.warning("%s: is open to others (mode %o); close it: chmod go-rwx", path, mode)
    return False


def secret(name: str, path: Path) -> str:
    """The variable, else a random secret kept in a file that only its owner reads; made on first use."""
    if given := text(name):
        if len(given) < 32:
            raise ImproperlyConfigured(f"{name}: a secret needs at least 32 characters")
        return given
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        if not path.exists():
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
                handle.write(secrets.token_urlsafe(64))
            try:
                os.link(draft, path)  # of two that start at once, one wins and both read the same
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        value = path.read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{path}: the secret cannot be kept ({error.strerror})") from error
    if len(value) < 32:
        raise ImproperlyConfigured(f"{path}: the file holds no secret; remove it to have a new one made")
    return value


def address(name: str, default: str, schemes: tuple[str, ...]) -> str:
    """A URL with one of the schemes."""
    value = text(name, default)
    if urlsplit(value).scheme not in schemes:
        raise ImproperlyConfigured(f"{name}: must begin with one of {', '.join(s + '://' for s in schemes)}")
    return value


def socket_path(data: Path) -> Path:
    """Where the embedded queue listens: in the data folder, or below /tmp when that path is too long."""
    inside = data / "queue.sock"
    if len(str(inside)) <= LONGEST_SOCKET:
        return inside
    short = hashlib.sha256(str(data).encode()).hexdigest()[:16]
    return Path(f"/tmp/qc-{os.getuid()}-{short}/queue.sock")
