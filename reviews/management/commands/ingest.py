"""Take a BIDS tree or any folder of volumes into a dataset; can be interrupted and run again."""

from collections import Counter
from contextlib import nullcontext
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from reviews import actions, ingest, queue
from reviews.models import Attempt, Dataset

EVERY = 25


class Command(BaseCommand):
    help = (
        "Take volumes (.nii, .nii.gz, .mgz, .mgh) below DIR into a dataset. A second run adds nothing twice "
        "and takes what could not be read before. Originals are never written to."
    )

    def add_arguments(self, parser) -> None:
        parser.add_argument("dir", type=Path, help="a BIDS tree or any folder, or one file")
        parser.add_argument("--dataset", required=True, help="short name; made when it does not exist")
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--originals", type=Path, help="DIR holds defaced files; their originals are here")
        group.add_argument("--defaced", action="store_true", help="DIR holds defaced files without originals")
        parser.add_argument(
            "--now", action="store_true", help="do the background work here and now, without a queue"
        )

    def handle(self, *args, **options) -> None:
        for folder in (options["dir"], options["originals"]):
            if folder is not None and not folder.exists():
                raise CommandError(f"{folder}: there is no such file or folder")
        dataset = self._dataset(options["dataset"])
        self.counts: Counter[str] = Counter()
        candidates = self._candidates(options)
        if not candidates and not self.counts:
            raise CommandError(f"{options['dir']}: no volumes (.nii, .nii.gz, .mgz, .mgh) were found here")
        with queue.without() if options["now"] else nullcontext():
            for done, candidate in enumerate(candidates, start=1):
                self._tell(ingest.take(candidate, dataset, actor=None))
                if done % EVERY == 0:
                    self.stdout.write(f"{done} of {len(candidates)} files")
            if options["now"]:
                self._work(dataset)
        self._sum_up(dataset)

    def _dataset(self, slug: str) -> Dataset:
        found = Dataset.objects.filter(slug=slug).first()
        try:
            return found or actions.create_dataset(actor=None, slug=slug)
        except actions.Refused as error:
            raise CommandError(f"--dataset {slug}: {error}") from error

    def _candidates(self, options) -> list[ingest.Candidate]:
        root, originals = options["dir"].resolve(), options["originals"] and options["originals"].resolve()
        if root.is_file():
            return [ingest.Candidate(root, (root.name,), defaced=options["defaced"])]
        return ingest.find(root, originals=originals, defaced=options["defaced"], tell=self._tell)

    def _tell(self, line: ingest.Line) -> None:
        self.counts[line.outcome] += 1
        if line.outcome == "failed":
            self.stderr.write(f"{line.path}: {line.reason}")
        elif line.reason and line.outcome != "known":
            self.stdout.write(f"{line.path}: {line.outcome}, {line.reason}")

    def _work(self, dataset: Dataset) -> None:
        from reviews.jobs import work_off

        done = work_off(dataset.pk, tell=self.stdout.write)
        self.stdout.write(f"{done} steps of background work done")
        left = Attempt.objects.filter(dataset=dataset).working().count()
        if left:
            self.stderr.write(
                f"{left} scans still wait: another worker has them, or had them and was lost. Run this again in "
                "two minutes."
            )

    def _sum_up(self, dataset: Dataset) -> None:
        words = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.counts.items()))
        self.stdout.write(f"{dataset.slug}: {words or 'nothing to take in'}")
        in_error = Attempt.objects.filter(dataset=dataset).in_error().count()
        if in_error:
            self.stdout.write(f"{in_error} attempts stand in ERROR; the reasons are on their pages")
        if self.counts["failed"]:
            raise CommandError(
                f"{self.counts['failed']} could not be taken in; they are named above", returncode=1
            )
