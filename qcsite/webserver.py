"""The web server's processes end with the supervisor."""

import signal

from qcsite.worker import die_with_parent

worker_class = "gthread"
threads = 8
timeout = 60
graceful_timeout = 5
accesslog = None
loglevel = "warning"
proc_name = "defacing-qc"


def post_fork(server, worker):
    """Called by gunicorn in each new process."""
    die_with_parent(signal.SIGKILL)
