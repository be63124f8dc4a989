"""The web server's processes end with the supervisor, and no slow client holds them."""

import signal

from qcsite.worker import die_with_parent

worker_class = "qcsite.patient.PatientWorker"
threads = 8
worker_connections = 512
timeout = 60
graceful_timeout = 5
accesslog = None
loglevel = "warning"
proc_name = "defacing-qc"


def post_fork(server, worker):
    """Called by gunicorn in each new process."""
    die_with_parent(signal.SIGKILL)
