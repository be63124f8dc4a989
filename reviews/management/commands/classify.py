"""Classify volumes from the command line; no database is touched."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from inference.problems import Problem
from inference.triage import Context, ThresholdPolicy, predicted_class, triage
from reviews.bids import split_extension
from reviews.ingest import walk
from reviews.wording import problems_words


class Command(BaseCommand):
    help = "Read, render and classify volumes; one JSON object a line. Goes on after a bad file, exit 1 if any failed."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser) -> None:
        parser.add_argument(
            "paths", nargs="+", type=Path, metavar="PATH", help="a volume, or a folder of volumes"
        )
        parser.add_argument(
            "--original",
            action="append",
            type=Path,
            default=[],
            help="the original of each PATH, in their order",
        )
        parser.add_argument("--ears", action="store_true", help="the standard asks for ears too")
        parser.add_argument("--format", choices=["jsonl"], default="jsonl")

    def handle(self, *args, **options) -> None:
        from inference.classifier import CheckpointError, Classifier

        pairs = list(self._pairs(options["paths"], options["original"]))
        try:
            self.network = Classifier.load()
        except CheckpointError as error:
            raise CommandError(str(error)) from error
        failed = 0
        for path, original in pairs:
            answer = self._answer(path, original, ears=options["ears"])
            failed += "error" in answer
            self.stdout.write(json.dumps(answer, allow_nan=False))
            self.stdout.flush()
        if failed:
            raise CommandError(f"{failed} of {len(pairs)} files could not be classified", returncode=1)

    def _pairs(self, paths: list[Path], originals: list[Path]) -> Iterator[tuple[Path, Path | None]]:
        if originals and len(originals) != len(paths):
            raise CommandError("give --original once for each PATH, or not at all")
        for number, path in enumerate(paths):
            if not path.is_dir():
                yield path, originals[number] if originals else None
            elif originals:
                raise CommandError(f"{path}: --original works with files, not with folders")
            else:
                yield from (
                    (file, None) for file in walk(path, self._unreadable) if split_extension(file.name)[1]
                )

    def _unreadable(self, error: OSError) -> None:
        raise CommandError(f"{error.filename}: the folder cannot be read ({error.strerror})")

    def _answer(self, path: Path, original: Path | None, *, ears: bool) -> dict:
        from inference.volumes import VolumeError

        try:
            return self._classified(path, original, ears=ears)
        except VolumeError as error:
            return {"path": str(path), "error": str(error)}
        except Exception as error:  # noqa: BLE001 - one file must not end the run
            return {"path": str(path), "error": f"{path}: {type(error).__name__}: {error}"}

    def _classified(self, path: Path, original: Path | None, *, ears: bool) -> dict:
        from inference.projections.network_input import RENDER_VERSION, network_inputs
        from inference.volumes import read_volume

        seconds: dict[str, float] = {}
        with clock(seconds, "read"):
            volume = read_volume(path)
        with clock(seconds, "render"):
            inputs = network_inputs(volume)
        with clock(seconds, "classify"):
            result = self.network.predict([inputs])[0]
        measured, problems = self._examined(original, volume, ears=ears)
        probabilities = result.probabilities_for(ears=ears)
        context = Context(
            in_distribution=result.in_distribution,
            class_order=self.network.class_order,
            model_render_version=self.network.render_version,
            attempt_render_version=RENDER_VERSION,
            problems=problems,
        )
        decision = triage(probabilities, ThresholdPolicy(), context)
        return {
            "path": str(path),
            "probabilities": rounded(probabilities),
            "attributes": rounded(result.attributes),
            "predicted": predicted_class(probabilities),
            "route": decision.route.value,
            "reason": decision.reason.value,
            "model": self.network.version,
            "render_version": self.network.render_version,
            "seconds": rounded(seconds, 4),
            **measured,
        }

    def _examined(self, original: Path | None, defaced, *, ears: bool) -> tuple[dict, list[Problem]]:
        if original is None:
            return {}, []
        from inference.physical_checks import examine
        from inference.volumes import read_volume

        found = examine(read_volume(original), defaced, ears=ears)
        measured = found.measurements | {"problems": problems_words(found.measurements["problems"])}
        told = {"problems": problems_words(found.problems), "problem_codes": found.problems}
        return {"measured": measured, **told}, found.problems


@contextmanager
def clock(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Note how long the block took."""
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def rounded(values: dict[str, float], digits: int = 6) -> dict[str, float]:
    """Short numbers for people and logs."""
    return {name: round(float(value), digits) for name, value in values.items()}
