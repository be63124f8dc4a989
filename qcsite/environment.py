"""Reading the environment strictly: a value that cannot be meant stops the start and names its variable."""

import hashlib
import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

YES = {"1", "true", "yes", "on"}
NO = {"0", "false", "no", "off", ""}
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


def folder(name: str, default: Path) -> Path:
    """An absolute folder that exists afterwards and can be written to."""
    path = Path(text(name) or default).expanduser().absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"{name}={path}: the folder cannot be made ({error.strerror})") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(f"{name}={path}: no permission to write into the folder")
    return path


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
