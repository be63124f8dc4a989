"""Everything embedded: a study of synthetic people, the site that reviews it, and log-ins to try it with."""

import secrets
from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from qcsite import run_site
from qcsite.supervisor import SupervisorError, manage_child
from reviews import actions
from reviews.management.commands.supervise import add_shape, shape_of
from reviews.models import Dataset, Membership, Role

SLUG = "demo"
PEOPLE = (
    ("admin", Role.ADMIN, True),
    ("manager", Role.MANAGER, False),
    ("reviewer1", Role.REVIEWER, False),
    ("reviewer2", Role.REVIEWER, False),
)


class Command(BaseCommand):
    help = "Build a small study of synthetic people and run the whole site on it until Ctrl-C."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser) -> None:
        add_shape(parser)
        parser.add_argument("--people", type=int, default=48, help="synthetic people (default 48)")
        parser.add_argument("--seed", type=int, default=1, help="which people (default 1)")
        parser.add_argument(
            "--data", type=Path, help="folder for everything (default: data beside manage.py)"
        )
        parser.add_argument("--new-passwords", action="store_true", help="new passwords for the demo log-ins")

    def handle(self, *args, **options) -> None:
        shape = shape_of(options)
        if not 1 <= options["people"] <= 10_000:
            raise CommandError(f"--people {options['people']}: must be from 1 to 10000")
        self.stdout.write(
            "Starting the queue, two workers and the web server …" if shape.workers == 2 else "Starting …"
        )
        self.stdout.flush()
        self.passwords: dict[str, str] = {}

        def prepare():
            self.passwords = log_ins(renew=options["new_passwords"])
            arguments = ["--dataset", SLUG, f"--people={options['people']}", f"--seed={options['seed']}"]
            return [manage_child("study", "make_study", *arguments, once=True, patience=1.0)]

        try:
            run_site.run(shape, prepare=prepare, announce=lambda: self._announce(shape))
        except (SupervisorError, actions.Refused) as error:
            raise CommandError(str(error), returncode=1) from error
        self.stdout.write("Stopped. The next start goes on from here.")

    def _announce(self, shape) -> None:
        self.stdout.write(f"\nOpen {shape.address} and log in:")
        for name, password in self.passwords.items():
            self.stdout.write(f"  {name:<10} {password}")
        kept = [name for name, _, _ in PEOPLE if name not in self.passwords]
        if kept:
            self.stdout.write(
                f"  {', '.join(kept)}: with the passwords shown at the first start "
                "(--new-passwords makes new ones)"
            )
        if self.passwords:
            self.stdout.write("These passwords are shown this once and kept nowhere.")
        self.stdout.write("Scans appear as they are made. Ctrl-C ends everything.\n")
        self.stdout.flush()


@transaction.atomic
def log_ins(*, renew: bool) -> dict[str, str]:
    """Make the demo's dataset and people where they are missing; the passwords that were set, by name."""
    users, made = get_user_model().objects, {}
    dataset = Dataset.objects.filter(slug=SLUG).first()
    for name, role, is_root in PEOPLE:
        user, new = users.get_or_create(
            username=name, defaults={"is_staff": is_root, "is_superuser": is_root}
        )
        if new or renew:
            made[name] = secrets.token_urlsafe(12)
            user.set_password(made[name])
            user.save()
        first = dataset is None
        if first:
            dataset = actions.create_dataset(actor=user, slug=SLUG, title="Demo study", ears_required=False)
        if first or not Membership.objects.filter(user=user, dataset=dataset).exists():
            actions.grant(actor=None, dataset=dataset, user=user, role=role, sees_originals=True)
    return made
