"""One defacing run from the command line; no database is touched."""

import json
from dataclasses import asdict
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Deface IN to OUT with one engine and plan; prints JSON of what was done. IN is never written to."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser) -> None:
        parser.add_argument("source", type=Path, metavar="IN")
        parser.add_argument("target", type=Path, metavar="OUT")
        parser.add_argument("--engine", required=True)
        parser.add_argument("--plan", default="standard")
        parser.add_argument("--force", action="store_true", help="replace OUT where it exists")

    def handle(self, *args, **options) -> None:
        from inference.deface import PLANS, run
        from inference.deface.engines import engine_names
        from inference.files import plain

        source, target = options["source"], options["target"]
        for kind, known in (("engine", engine_names()), ("plan", PLANS)):
            if options[kind] not in known:
                raise CommandError(f"--{kind} {options[kind]}: not one of {', '.join(sorted(known))}")
        if target.exists() and (target.samefile(source) or not options["force"]):
            raise CommandError(f"{target}: exists already; --force replaces it, the input never")
        try:
            record = run(source, target, engine=options["engine"], plan=options["plan"])
        except Exception as error:  # whatever an engine says belongs to the file's name
            raise CommandError(f"{source}: {error}", returncode=1) from error
        self.stdout.write(json.dumps({"in": str(source), "out": str(target), **plain(asdict(record))}))
