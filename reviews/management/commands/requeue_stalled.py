"""Find work that got lost: claims of silent workers, jobs that are gone, what new cut-offs or models left behind."""

from datetime import timedelta

from django.core.management.base import BaseCommand

from reviews import actions


class Command(BaseCommand):
    help = "Wake attempts that wait without a living worker; route and classify what new cut-offs and models left."

    def add_arguments(self, parser) -> None:
        parser.add_argument(
            "--older-than", type=float, default=120.0, help="seconds of silence (default 120)"
        )

    def handle(self, *args, **options) -> None:
        found = actions.requeue_stalled(older_than=timedelta(seconds=options["older_than"]))
        actions.requeue_intakes(older_than=timedelta(seconds=options["older_than"]))
        routed, sent = actions.retriage(), actions.reclassify()
        self.stdout.write(", ".join(f"{count} {status}" for status, count in found.items()) + " woken again")
        moved = {route: count for route, count in routed.items() if count}
        if moved:
            self.stdout.write(
                "routed anew: " + ", ".join(f"{count} {route}" for route, count in moved.items())
            )
        if sent:
            self.stdout.write(f"to be classified by the current model: {sent}")
