"""Runs one program and ends all that it started: when it has ended, and when whoever asked for it is gone.

A process of its own, with the standard library alone: python guard.py PROGRAM [ARGUMENT…]. Its standard input is a
pipe that nobody writes to and that closes with the asking process, however that ends. Linux makes it the parent of
orphans below it, so programs in the background or in sessions of their own are found too.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
POLL_SECONDS = 0.05


def main(argv: list[str]) -> int | str:
    """The program's exit status, 128 and the signal that ended it, or the reason why it cannot be run."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        program = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    except OSError as error:
        return f"{argv[0]} cannot be run ({error.strerror})"
    while program.poll() is None and not select.select([sys.stdin], [], [], POLL_SECONDS)[0]:
        pass
    end_children()
    if program.returncode is None:
        return "ended before it was done"
    return program.returncode if program.returncode >= 0 else 128 - program.returncode


def end_children() -> None:
    """Kill children, and those that become ours by it, until none is left but those of another user."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while ended := [pid for pid in map(int, children.read_text().split()) if killed(pid)]:
        for pid in ended:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def killed(pid: int) -> bool:
    """Whether the process is gone or going; False where it is not ours to kill."""
    try:
        os.kill(pid, signal.SIGKILL)
    except PermissionError:
        return False
    except ProcessLookupError:
        pass
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
