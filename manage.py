#!/usr/bin/env python3
"""Run a command of the site. On a fresh machine it first makes .venv and installs the pinned requirements."""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
RUN_TIME = ROOT / "requirements.txt"
DEVELOPMENT = ROOT / "requirements-dev.txt"
NEEDED = ("django", "django_rq", "niimath", "openvino")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main() -> None:
    if sys.argv[1:2] == ["test"]:
        sys.exit(run_tests(sys.argv[2:]))
    inside = Path(sys.prefix).resolve() == VENV.resolve()
    ready = installed(RUN_TIME) if inside else all(map(importlib.util.find_spec, NEEDED))
    if not ready:
        install(RUN_TIME)
        os.execv(PYTHON, [str(PYTHON), str(ROOT / "manage.py"), *sys.argv[1:]])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qcsite.settings")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # small matrices: threads that wait for each other only cost time
    choose_data(sys.argv)
    from django.core.management import execute_from_command_line

    from reviews import acting

    acting.by_command("".join(sys.argv[1:2]))
    execute_from_command_line(sys.argv)


def choose_data(arguments: list[str]) -> None:
    """`demo --data DIR` decides where everything is kept before the settings are read."""
    for position, word in enumerate(arguments):
        if arguments[1:2] == ["demo"] and word.split("=")[0] == "--data":
            given = word.partition("=")[2] or "".join(arguments[position + 1 : position + 2])
            os.environ["QC_DATA_DIR"] = str(Path(given).expanduser().absolute())


def say(text: str) -> None:
    """Progress belongs to stderr; stdout carries results alone."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def give_up(text: str) -> None:
    say(f"manage.py: {text}")
    sys.exit(1)


# --- the virtual environment --------------------------------------------------------------------------


def contents(requirements: Path) -> bytes:
    """A requirements file with those it names by -r."""
    text = requirements.read_bytes()
    named = [line.split()[1].decode() for line in text.splitlines() if line.startswith(b"-r ")]
    return text + b"".join(contents(requirements.parent / name) for name in named)


def stamp_of(requirements: Path) -> tuple[Path, str]:
    digest = hashlib.sha256(contents(requirements) + sys.version[:4].encode()).hexdigest()
    return VENV / f".installed-{requirements.stem}", digest


def installed(requirements: Path) -> bool:
    """Whether these requirements were installed to the end."""
    stamp, digest = stamp_of(requirements)
    return PYTHON.exists() and stamp.exists() and stamp.read_text() == digest


def install(requirements: Path) -> None:
    """Make or repair .venv and install into it; of two that start at once, the second waits."""
    python = python_311()
    with open(ROOT / ".venv.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if installed(requirements):
            return
        if not works(PYTHON, "import pip"):
            say(f"Making a virtual environment in {VENV} …")
            clear = ["--clear"] if VENV.exists() else []
            if subprocess.call([python, "-m", "venv", *clear, str(VENV)], stdout=sys.stderr) != 0:
                give_up(
                    "the virtual environment could not be made; on Debian: apt-get install python3.11-venv"
                )
        say(f"Installing {requirements.name} (once; takes a few minutes) …")
        if pip_install(requirements) != 0:
            give_up("the installation failed, see above; the next start goes on from here")
        stamp, digest = stamp_of(requirements)
        stamp.write_text(digest)


def pip_install(requirements: Path) -> int:
    """Install, telling what is fetched; returns pip's exit status."""
    argv = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-r", requirements]
    with subprocess.Popen(list(map(str, argv)), stdout=subprocess.PIPE, text=True, cwd=ROOT) as pip:
        for line in pip.stdout or ():
            if line.startswith(("Collecting", "Installing", "Successfully")):
                say("  " + line.split(" (from")[0].strip()[:110])
    return pip.returncode


def python_311() -> str:
    """An interpreter of the version all pins were tried on."""
    if sys.version_info[:2] == (3, 11):
        return sys.executable
    other = shutil.which("python3.11")
    if other is None or not works(other, "import venv"):
        give_up(
            f"Python 3.11 is needed, this is {sys.version.split()[0]} and there is no python3.11 beside it"
        )
    return other


def works(python, statement: str) -> bool:
    """Whether an interpreter is there and can run a statement."""
    try:
        done = subprocess.run(
            [str(python), "-c", statement], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except OSError:
        return False
    return done.returncode == 0


# --- tests --------------------------------------------------------------------------------------------


def run_tests(arguments: list[str]) -> int:
    """Install what tests need, then run pytest on data of its own; the exit status is pytest's."""
    if not installed(DEVELOPMENT):
        install(DEVELOPMENT)
    chromium = find_chromium()
    with tempfile.TemporaryDirectory(prefix="qc-test-") as folder:
        environment = {**os.environ, "QC_DATA_DIR": folder, "QC_CHROMIUM": chromium}
        argv = [str(PYTHON), "-m", "pytest", *in_parallel(arguments), *arguments]
        return subprocess.call(argv, cwd=ROOT, env=environment)


def in_parallel(arguments: list[str]) -> list[str]:
    """Options that spread test files over the cores, unless the caller says how or asks for one file."""
    chosen = any(word.startswith(("-n", "--numprocesses", "--dist")) for word in arguments)
    off = "no:xdist" in arguments or "-pno:xdist" in arguments
    paths = [word for word in arguments if Path(ROOT, word.partition("::")[0]).exists()]
    one_file = bool(paths) and len({word.partition("::")[0] for word in paths}) == 1 and ".py" in paths[0]
    return [] if chosen or off or one_file else ["-n", "auto", "--dist", "loadfile"]


def find_chromium() -> str:
    """A Chromium for the browser tests; installed by apt when there is none and we are root."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found:
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        give_up("the tests need Chromium: install it (Debian: sudo apt-get install chromium) and run again")
    say("Installing Chromium …")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update"],
        ["apt-get", "install", "-y", "--no-install-recommends", "chromium"],
    ):
        if subprocess.call(command, stdout=sys.stderr, env=quiet) != 0:
            give_up(f"'{' '.join(command)}' failed, see above")
    return shutil.which("chromium") or give_up("Chromium is still not there") or ""


if __name__ == "__main__":
    main()
