"""Try candidates and the current model on the frozen test sets, and keep the figures with the candidates."""

from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from inference.promotion import Answer, Figures, figures
from reviews import actions
from reviews.models import FrozenCase, ModelVersion

BATCH = 16


class Command(BaseCommand):
    help = (
        "Test candidates beside the current model on all frozen cases. A candidate can only be promoted with "
        "such a result."
    )

    def add_arguments(self, parser) -> None:
        parser.add_argument("versions", nargs="*", help="names or hashes; every candidate without")

    def handle(self, *args, **options) -> None:
        from inference.classifier import CheckpointError

        current = ModelVersion.objects.filter(state=ModelVersion.State.CURRENT).first()
        if current is None:
            raise CommandError("no model is in use yet, so there is nothing to compare with")
        chosen = _chosen(options["versions"])
        cases = list(FrozenCase.objects.select_related("attempt__scan", "frozen_set"))
        if not cases:
            raise CommandError("no test set has been frozen yet: see manage.py freeze_testset", returncode=1)
        try:
            found = {model.pk: _tested(model, cases) for model in [current, *chosen]}
        except CheckpointError as error:
            raise CommandError(str(error), returncode=1) from error
        for model in chosen:
            actions.record_frozen_test(
                actor=None,
                model=model,
                figures=found[model.pk],
                current=current,
                current_figures=found[current.pk],
            )
            verdict = actions.objection_to(model)
            self.stdout.write(
                f"{model}: {_words(found[model.pk])}; current: {_words(found[current.pk])}. "
                + (f"It cannot be promoted: {verdict}." if verdict else "It may be promoted.")
            )


def _chosen(names: list[str]) -> list[ModelVersion]:
    candidates = ModelVersion.objects.filter(
        state__in=[ModelVersion.State.CANDIDATE, ModelVersion.State.SHADOW]
    )
    if not names:
        return list(candidates.order_by("pk"))
    chosen = []
    for name in names:
        model = (candidates.filter(version=name) or candidates.filter(name=name)).first()
        if model is None:
            raise CommandError(f"there is no candidate '{name}'")
        chosen.append(model)
    return chosen


def _tested(model: ModelVersion, cases: list[FrozenCase]) -> Figures:
    from inference.classifier import DEFAULT, CheckpointError, Classifier

    path = Path(model.weights_path) if model.weights_path else DEFAULT
    network = Classifier.load(path)
    if network.version != model.version:
        raise CheckpointError(path, f"its hash is {network.version}, registered is {model.version}")
    answers = []
    for start in range(0, len(cases), BATCH):
        batch = cases[start : start + BATCH]
        results = network.predict([_inputs(case) for case in batch])
        for case, result in zip(batch, results, strict=True):
            shares = result.probabilities_for(ears=case.frozen_set.ears_required)
            answers.append(Answer(shares, case.truth, bool(result.in_distribution)))
    return figures(answers, actions.active_thresholds().cutoffs)


def _inputs(case: FrozenCase):
    """What the network sees of a frozen case; the case must still be the one that was frozen."""
    from inference.projections.network_input import load_inputs, network_inputs
    from inference.volumes import VolumeError

    attempt = case.attempt
    if attempt.output_sha256 != case.output_sha256:
        raise CommandError(f"{attempt.scan.name}: the attempt's file is not the one that was frozen")
    stored = load_inputs(attempt.views_path / "network.npz")
    if stored is not None:
        return stored
    try:
        return network_inputs(actions.output_of(attempt).volume())
    except VolumeError as error:
        raise CommandError(f"{error.path}: {error.reason}") from error


def _words(found: Figures) -> str:
    parts = [f"{found['cases']} cases"]
    for name, words in (
        ("accuracy", "right"),
        ("coverage", "decided"),
        ("selective_accuracy", "rightly decided"),
        ("false_pass", "false passes"),
    ):
        parts.append(f"{words} {found[name]['count']}/{found[name]['total']}")
    return ", ".join(parts)
