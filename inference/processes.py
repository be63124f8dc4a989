"""Which process works here: claims carry its machine and number, so that others can tell whether it is gone."""

import os
import socket
import uuid


def host_name() -> str:
    """This machine, as claims name it."""
    return socket.gethostname()[:30].replace(":", "-")


def worker_name() -> str:
    """A name for one run of a job."""
    return f"{host_name()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"


def gone(pid: int) -> bool:
    """Whether no process of this machine has that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
