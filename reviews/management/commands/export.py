"""Write a dataset's audit report: every attempt with its decisions, and the trail with its verifier."""

from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from reviews import export
from reviews.models import Dataset


class Command(BaseCommand):
    help = "Write FILE with every attempt; beside it .trail.jsonl, .looks.jsonl (who saw originals) and verify_chain.py."

    def add_arguments(self, parser) -> None:
        parser.add_argument("--dataset", required=True)
        parser.add_argument("--format", required=True, choices=sorted(export.FORMATS))
        parser.add_argument("--out", required=True, type=Path)

    def handle(self, *args, **options) -> None:
        dataset = Dataset.objects.filter(slug=options["dataset"]).first()
        if dataset is None:
            known = ", ".join(Dataset.objects.values_list("slug", flat=True)) or "none yet"
            raise CommandError(f"there is no dataset '{options['dataset']}' (known: {known})")
        if not options["out"].parent.is_dir():
            raise CommandError(f"{options['out'].parent}: there is no such folder")
        paths, chain = export.write_with_summary(dataset, options["format"], options["out"])
        for path in paths:
            self.stdout.write(str(path))
        if not chain["whole"]:
            raise CommandError("the audit trail is BROKEN: " + "; ".join(chain["problems"]), returncode=1)
        self.stdout.write(f"audit trail: {chain['events']} events, whole, last digest {chain['last_digest']}")
