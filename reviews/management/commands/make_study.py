"""Make the synthetic people of the demo study and take each scan in as soon as it is there."""

import os
import signal

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import close_old_connections

from reviews import ingest
from reviews.models import Attempt, Dataset
from reviews.states import Status

HASTE = 2  # so many people are made at full speed, the others when workers leave room
EVERY = 4


class Command(BaseCommand):
    help = "Make synthetic people, deface some of them badly on purpose, and take them into a dataset."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser) -> None:
        parser.add_argument("--dataset", required=True)
        parser.add_argument("--people", type=int, default=48)
        parser.add_argument("--seed", type=int, default=1)

    def handle(self, *args, **options) -> None:
        from inference import study
        from qcsite.worker import die_with_parent

        die_with_parent(signal.SIGTERM)
        dataset = Dataset.objects.filter(slug=options["dataset"]).first()
        if dataset is None:
            raise CommandError(f"--dataset {options['dataset']}: there is no such dataset")
        count = options["people"]
        for person in study.people(count, options["seed"]):
            if person.number == HASTE + 1:
                os.nice(5)
            self._take(person, study, dataset)
            close_old_connections()
            if person.number % EVERY == 0 or person.number in (1, count):
                self._tell(person.number, count, dataset)
        self.stdout.write("The study is complete.")

    def _take(self, person, study, dataset) -> None:
        root = settings.DATA_DIR / "study"
        original, defaced = study.make(person, root)
        parts = tuple(person.name.split("/"))
        if defaced is None:
            candidate = ingest.Candidate(original, parts)
        else:
            candidate = ingest.Candidate(defaced, parts, original, defaced=True)
        line = ingest.take(candidate, dataset, actor=None)
        if line.outcome == "failed":
            self.stderr.write(f"{line.path}: {line.reason}")

    def _tell(self, done: int, count: int, dataset) -> None:
        mine = Attempt.objects.filter(dataset=dataset)
        waiting = mine.filter(status__in=[Status.VERIFY, Status.REFER]).count()
        self.stdout.write(
            f"{done} of {count} people made, {waiting} scans ready for review, {mine.working().count()} in work"
        )
        self.stdout.flush()
