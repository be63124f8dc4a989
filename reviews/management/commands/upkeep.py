"""Look after the work again and again: find what got lost, wake it."""

import signal
import time

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import DatabaseError, close_old_connections


class Command(BaseCommand):
    help = "Run requeue_stalled again and again; one such process a site."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser) -> None:
        parser.add_argument("--every", type=float, default=30.0, help="seconds between rounds (default 30)")

    def handle(self, *args, **options) -> None:
        from qcsite.worker import die_with_parent

        die_with_parent(signal.SIGTERM)
        self.swept = 0
        while True:
            try:
                call_command("requeue_stalled", stdout=_Silent())
            except DatabaseError as error:
                self.stderr.write(f"the database did not answer, trying again: {error}")
            self.seal_looks()
            self.prune_slices()
            self.sweep_leftovers()
            close_old_connections()
            time.sleep(options["every"])

    def seal_looks(self) -> None:
        """Once an hour: the digest of who looked at originals."""
        from reviews import actions

        try:
            actions.seal_looks()
        except DatabaseError as error:
            self.stderr.write(f"looks at originals could not be sealed, trying again: {error}")

    def prune_slices(self) -> None:
        """Keep the stored slices below their limit; a disk that refuses must not end the upkeep."""
        from inference.projections import slice_sheet
        from reviews.stored_files import data_folder

        try:
            slice_sheet.prune(data_folder() / "slices", settings.SLICES_CACHE_MB * 1_000_000)
        except OSError as error:
            self.stderr.write(f"stored slices could not be pruned: {error}")

    def sweep_leftovers(self) -> None:
        """Remove what workers that were given up left behind, some attempts a round."""
        from reviews import leftovers

        try:
            self.swept = leftovers.sweep(self.swept)
        except (DatabaseError, OSError) as error:
            self.swept += leftovers.AT_ONCE  # the next round goes on behind what cannot be removed
            self.stderr.write(f"what was left behind could not be removed: {error}")


class _Silent:
    def write(self, text: str) -> None:
        """Rounds are not worth a line each."""
