"""Turn reviewers' verdicts into a candidate model that runs in the shadow of the current one."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from reviews import actions, labels
from reviews.labels import ears_counted
from reviews.models import Dataset, FrozenCase, ModelVersion

NETWORK_FILE = "network.npz"
ADJUDICATED_WEIGHT = 2.0
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Command(BaseCommand):
    help = (
        "Train the current model on with people's verdicts. The result is a candidate in the shadow; an administrator "
        "promotes it by the figures of the frozen test sets. Known cases, practice, what was taken back and the "
        "subjects held back for tests are left out. Run again under the same name, a run that was cut off goes on."
    )

    def add_arguments(self, parser) -> None:
        parser.add_argument("--dataset", action="append", default=[], help="only these; all without")
        parser.add_argument("--name", help="of the new model; the time of day without")
        parser.add_argument(
            "--data", type=Path, help="folder of simulated shards to rehearse beside the verdicts"
        )
        parser.add_argument(
            "--base", type=Path, help="weights (.pt) to train on from; those of the current model without"
        )
        parser.add_argument(
            "--out", type=Path, help="folder for the new weights; below the data folder without"
        )
        parser.add_argument("--epochs", type=int, default=30)
        parser.add_argument("--seed", type=int, default=1)

    def handle(self, *args, **options) -> None:
        name = options["name"] or f"{timezone.now():%Y%m%d-%H%M%S}"
        if not NAME.fullmatch(name):
            raise CommandError(f"--name {name!r}: letters, digits, '.', '_' and '-' only")
        out = (options["out"] or Path(settings.DATA_DIR) / "models").absolute() / f"{name}.onnx"
        if not (out.exists() and out.with_suffix(".pt").exists()):
            self._train(out, options)
        elif ModelVersion.objects.filter(weights_path=str(out)).exists():
            raise CommandError(f"there is already a model '{name}': {out}")
        model = self._register(out)
        self.stdout.write(f"{model}: {out}, learnt from {model.data_summary['verdicts']}")
        if FrozenCase.objects.exists():
            call_command("evaluate_model", model.version, stdout=self.stdout)
        else:
            self.stdout.write(
                "No test set is frozen yet, so it cannot be promoted: see manage.py freeze_testset"
            )

    def _train(self, out: Path, options) -> None:
        from inference.checkpoint import CheckpointError
        from inference.training.finetune import Case, TooLittle, retrain

        base = options["base"] or current_weights()
        if not base.is_file():
            raise CommandError(f"{base}: the weights to train on from are not there; name them with --base")
        if options["data"] and not any(options["data"].glob("*.npz")):
            raise CommandError(f"{options['data']}: there are no simulated shards in this folder")
        cases = [Case(*found) for found in cases_of(options["dataset"])]
        self.stdout.write(f"{len(cases)} judged attempts with stored projections")
        try:
            retrain(
                base, cases, out, simulated=options["data"], epochs=options["epochs"], seed=options["seed"]
            )
        except (CheckpointError, TooLittle, ImportError) as error:
            raise CommandError(str(error), returncode=1) from error

    def _register(self, out: Path) -> ModelVersion:
        from inference.checkpoint import CheckpointError
        from inference.classifier import Classifier

        try:
            network = Classifier.load(out)
        except CheckpointError as error:
            raise CommandError(str(error), returncode=1) from error
        model = actions.register_model(
            actor=None,
            version=network.version,
            render_version=network.render_version,
            class_order=list(network.class_order),
            name=out.stem,
            metrics=network.facts.metrics,
            data_summary={**network.facts.data, "created": network.facts.created},
            weights_path=str(out),
        )
        actions.shadow_model(actor=None, model=model)
        return model


def current_weights() -> Path:
    """What the current model can be trained on from."""
    from inference.classifier import DEFAULT

    current = ModelVersion.objects.filter(state=ModelVersion.State.CURRENT).first()
    path = Path(current.weights_path) if current and current.weights_path else DEFAULT
    return path.with_suffix(".pt")


def cases_of(slugs: list[str]) -> Iterator[tuple[Path, str, tuple[int, int, int], float]]:
    """(stored input, part, what people said, weight) of every attempt that may be learnt from."""
    datasets = list(Dataset.objects.filter(slug__in=slugs))
    unknown = set(slugs) - {dataset.slug for dataset in datasets}
    if unknown:
        raise CommandError(f"there is no dataset '{min(unknown)}'")
    standard = cache(ears_counted)
    for attempt, found, part in labels.to_learn_from(datasets):
        stored = attempt.views_path / NETWORK_FILE
        if stored.exists():
            counted = standard(attempt.dataset)
            answers = answers_under(found, {counted(verdict.created_at) for verdict in attempt.decisions})
            yield stored, part, answers, ADJUDICATED_WEIGHT if found.adjudicated else 1.0


def answers_under(found: labels.Agreed, standards: set[bool]) -> tuple[int, int, int]:
    """(face, ears, brain) under the standards people judged by; -1 where they tell different things."""
    told = [labels.attributes_of(found.klass, found.reasons, ears_required=ears) for ears in standards]
    face, ears, brain = (said[0] if len(set(said)) == 1 else -1 for said in zip(*told, strict=True))
    return face, ears, brain
