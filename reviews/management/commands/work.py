"""One background worker; the supervisor starts as many as the machine should have."""

import logging

import django_rq
from django.core.management.base import BaseCommand
from django.db import connections

from reviews import actions
from reviews.queue import QUEUE

log = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Work jobs off the queue: deface, render, classify. Ends with Ctrl-C after the running job."
    requires_system_checks: list[str] = []

    def handle(self, *args, **options) -> None:
        from inference.processes import host_name
        from qcsite.worker import QuickWorker

        worker = django_rq.get_worker(QUEUE, worker_class=QuickWorker)
        worker.given_up = lambda pid: actions.give_up_claims(host_name(), [pid])
        worker.end_with_supervisor()
        self._warm_up()
        worker.work(logging_level="WARNING")

    def _warm_up(self) -> None:
        """What every job needs is loaded once, before the fork; a broken model shows in the jobs, not here."""
        from inference import anatomy, deface, physical_checks, projections
        from inference.checkpoint import CheckpointError
        from reviews import jobs

        log.debug("loaded %s", [module.__name__ for module in (deface, physical_checks, projections)])
        try:
            anatomy.warm_up()
            jobs.classifier()
        except (CheckpointError, ImportError) as error:
            self.stderr.write(f"a model cannot be loaded, attempts will be referred: {error}")
        connections.close_all()
