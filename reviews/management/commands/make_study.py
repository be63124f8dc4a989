"""Make the synthetic people of the demo study and take each scan in as soon as it is there."""

import os
import signal
import time

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import close_old_connections

from reviews import actions, ingest
from reviews.models import Attempt, Dataset
from reviews.states import Status

HASTE = 2  # so many people are made at full speed, the others when workers leave room
EVERY = 4
PATIENCE_SECONDS = 1800
UNMEASURED = [Status.TO_DEFACE, Status.TO_RENDER]
CLASS_OF = {
    "site": None,
    "none": "pass",
    "face": "face",
    "eyes": "face",
    "brain": "brain",
    "both": "both",
}
EXPLAINED = {
    "pass": "Eyes, nose and mouth are gone; the cut stays off the brain.",
    "face": "The mask lies too far forward or too low: something recognisable is left.",
    "brain": "The mask lies too far back: the face is gone, and brain with it.",
    "both": "The mask is tilted: it took brain from the forehead and left the face.",
}


class Command(BaseCommand):
    help = "Make synthetic people, deface some of them badly on purpose, and take them into a dataset."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser) -> None:
        parser.add_argument("--dataset", required=True)
        parser.add_argument("--people", type=int, default=48)
        parser.add_argument("--seed", type=int, default=1)

    def handle(self, *args, **options) -> None:
        from inference import demo_heads
        from qcsite.worker import die_with_parent

        die_with_parent(signal.SIGTERM)
        dataset = Dataset.objects.filter(slug=options["dataset"]).first()
        if dataset is None:
            raise CommandError(f"--dataset {options['dataset']}: there is no such dataset")
        count = options["people"]
        for person in demo_heads.people(count, options["seed"]):
            if person.number == HASTE + 1:
                os.nice(5)
            self._take(person, dataset)
            close_old_connections()
            if person.number % EVERY == 0 or person.number in (1, count):
                self._tell(person.number, count, dataset)
        self._declare_practice(demo_heads.people(count, options["seed"]), dataset)
        self.stdout.write("The study is complete.")

    def _take(self, person, dataset) -> None:
        from inference import demo_heads

        root = settings.DATA_DIR / "study"
        original, defaced = demo_heads.make(person, root)
        parts = tuple(person.name.split("/"))
        if defaced is None:
            candidate = ingest.Candidate(original, parts)
        else:
            candidate = ingest.Candidate(defaced, parts, original, defaced=True)
        line = ingest.take(candidate, dataset, actor=None)
        if line.outcome == "failed":
            self.stderr.write(f"{line.path}: {line.reason}")

    def _declare_practice(self, people, dataset) -> None:
        """First attempts whose measured class is the one that was meant become practice cases."""
        mine = Attempt.objects.filter(dataset=dataset, number=1)
        limit = time.monotonic() + PATIENCE_SECONDS
        while mine.filter(status__in=UNMEASURED).exists() and time.monotonic() < limit:
            time.sleep(2)
        meant = {person.name.rsplit("/", 1)[-1]: CLASS_OF[person.fault] for person in people}
        for attempt in mine.filter(known_case__isnull=True).select_related("scan"):
            truth = meant.get(attempt.scan.name)
            if truth is not None and attempt.measurements.get("class") == truth:
                actions.declare_known_case(
                    actor=None,
                    attempt_id=attempt.pk,
                    truth=truth,
                    practice=True,
                    explanation=EXPLAINED[truth],
                )

    def _tell(self, done: int, count: int, dataset) -> None:
        mine = Attempt.objects.filter(dataset=dataset)
        waiting = mine.filter(status__in=[Status.VERIFY, Status.REFER]).count()
        self.stdout.write(
            f"{done} of {count} people made, {waiting} scans ready for review, {mine.working().count()} in work"
        )
        self.stdout.flush()
