"""Hold the audit trail, the kept rows and every status against each other; exit code 1 where they do not agree."""

from django.core.management.base import BaseCommand, CommandError

from reviews import wholeness
from reviews.models import AuditHead


class Command(BaseCommand):
    help = "Check the audit trail, the kept rows against its events, and the status of every attempt."

    def handle(self, *args, **options) -> None:
        with wholeness.one_moment():
            head = AuditHead.objects.filter(pk=1).first() or AuditHead()
            found = wholeness.problems()
        for problem in found:
            self.stdout.write(problem)
        if found:
            raise CommandError("the audit trail is BROKEN", returncode=1)
        self.stdout.write(
            f"audit trail: {head.seq} events, whole up to digest {head.digest}: "
            "compare it with one you were given before"
        )
