"""The site on one machine: queue, workers, upkeep and web server under one supervisor."""

from django.core.management.base import BaseCommand, CommandError

from qcsite import run_site
from qcsite.supervisor import SupervisorError


class Command(BaseCommand):
    help = "Run the whole site on this machine until Ctrl-C."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser) -> None:
        add_shape(parser)

    def handle(self, *args, **options) -> None:
        shape = shape_of(options)
        try:
            run_site.run(shape, announce=lambda: self.stdout.write(f"Ready at {shape.address}"))
        except SupervisorError as error:
            raise CommandError(str(error), returncode=1) from error
        self.stdout.write("Stopped.")


def add_shape(parser) -> None:
    """The options of every command that runs a site."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="default 8000")
    parser.add_argument("--workers", type=int, default=2, help="background workers (default 2)")
    parser.add_argument("--web-processes", type=int, default=1, help="web server processes (default 1)")


def shape_of(options: dict) -> run_site.Shape:
    """The options as a Shape; CommandError for values that make no sense."""
    for name, low, high in (("port", 1, 65535), ("workers", 1, 256), ("web_processes", 1, 64)):
        if not low <= options[name] <= high:
            raise CommandError(f"--{name.replace('_', '-')} {options[name]}: must be from {low} to {high}")
    return run_site.Shape(**{name: options[name] for name in ("host", "port", "workers", "web_processes")})
