"""Set cases apart that models are tested on and never trained on."""

from collections import Counter

from django.core.management.base import BaseCommand, CommandError

from reviews import actions
from reviews.models import Dataset


class Command(BaseCommand):
    help = (
        "Freeze a dated, unchangeable test set: adjudicated cases of subjects held back from all training. "
        "Candidates and the current model are tested on all frozen sets together."
    )

    def add_arguments(self, parser) -> None:
        parser.add_argument("--dataset", required=True)
        parser.add_argument("--share", type=float, default=0.2, help="of the judged subjects, at most 0.2")
        parser.add_argument(
            "--single-readings", action="store_true", help="take cases that one person has read too"
        )

    def handle(self, *args, **options) -> None:
        dataset = Dataset.objects.filter(slug=options["dataset"]).first()
        if dataset is None:
            raise CommandError(f"there is no dataset '{options['dataset']}'")
        try:
            made = actions.freeze_testset(
                actor=None,
                dataset=dataset,
                share=options["share"],
                single_readings=options["single_readings"],
            )
        except actions.Refused as error:
            raise CommandError(str(error), returncode=1) from error
        classes = Counter(made.cases.values_list("truth", flat=True))
        counted = ", ".join(f"{name} {count}" for name, count in sorted(classes.items()))
        self.stdout.write(f"{made}: {made.cases.count()} cases ({counted}), digest {made.digest}")
