"""Turn reviewers' verdicts into a candidate model that runs in the shadow of the current one."""

from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from reviews import actions
from reviews.models import Attempt, Dataset, Mode, ModelVersion, Verdict

FACE_FLAGS = {"eyes", "nose", "mouth"}
EAR_FLAGS = {"left ear", "right ear"}


class Command(BaseCommand):
    help = (
        "Train the current model on with people's verdicts. The result is a candidate in the shadow; an administrator "
        "promotes it by the figures of a frozen test set. Known cases and practice are left out."
    )

    def add_arguments(self, parser) -> None:
        parser.add_argument("--dataset", action="append", default=[], help="only these; all without")
        parser.add_argument(
            "--base", type=Path, help="weights (.pt) to train on from; those of the current model"
        )
        parser.add_argument("--out", type=Path, help="folder for the new weights")
        parser.add_argument("--epochs", type=int, default=30)
        parser.add_argument("--seed", type=int, default=1)

    def handle(self, *args, **options) -> None:
        from inference.checkpoint import CheckpointError, file_hash
        from inference.retrain import Case, TooLittle, retrain

        base = options["base"] or self._current()
        if not base.is_file():
            raise CommandError(f"{base}: the weights to train on from are not there; name them with --base")
        cases = [Case(*found) for found in self._cases(options["dataset"])]
        self.stdout.write(f"{len(cases)} verdicts with stored projections")
        folder = options["out"] or Path(settings.DATA_DIR) / "models"
        folder.mkdir(parents=True, exist_ok=True)
        out = folder / f"{timezone.now():%Y%m%d-%H%M%S}.onnx"
        try:
            metrics = retrain(base, cases, out, epochs=options["epochs"], seed=options["seed"])
        except (CheckpointError, TooLittle, ImportError) as error:
            raise CommandError(str(error), returncode=1) from error
        self._register(out, file_hash(out)[:16], metrics)
        self.stdout.write(f"{out}: {metrics}")

    def _current(self) -> Path:
        from inference.predict import DEFAULT

        current = ModelVersion.objects.filter(state=ModelVersion.State.CURRENT).first()
        path = Path(current.weights_path) if current and current.weights_path else DEFAULT
        return path.with_suffix(".pt")

    def _cases(self, slugs: list[str]):
        unknown = set(slugs) - set(Dataset.objects.filter(slug__in=slugs).values_list("slug", flat=True))
        if unknown:
            raise CommandError(f"there is no dataset '{sorted(unknown)[0]}'")
        verdicts = Verdict.objects.standing().filter(kind=Verdict.Kind.DECISION, gold=False)
        verdicts = verdicts.exclude(mode=Mode.PRACTICE).exclude(attempt__gold__isnull=False)
        if slugs:
            verdicts = verdicts.filter(attempt__dataset__slug__in=slugs)
        last: dict[int, Verdict] = {}
        for verdict in verdicts.select_related("attempt__scan", "attempt__dataset").order_by("pk"):
            last[verdict.attempt_id] = verdict  # a later judgement of the same attempt is the adjudicated one
        for verdict in last.values():
            attempt, answer = verdict.attempt, attributes_of(verdict)
            stored = attempt.views_path / "network.npz"
            if answer is not None and attempt.views_dir and stored.exists():
                yield stored, subject_of(attempt), answer

    def _register(self, out: Path, version: str, metrics: dict) -> None:
        from inference.projections.network import RENDER_VERSION
        from inference.truth import CLASSES

        model = actions.register_model(
            actor=None,
            version=version,
            render_version=RENDER_VERSION,
            class_order=list(CLASSES),
            name=out.stem,
            metrics=metrics,
            data_summary={"verdicts": metrics["verdicts"]},
            weights_path=str(out),
        )
        actions.shadow_model(actor=None, model=model)


def attributes_of(verdict: Verdict) -> tuple[int, int, int] | None:
    """(face, ears, brain) as 1, 0 or -1; None where a verdict does not say which."""
    reasons, ears_required = set(verdict.reasons), verdict.attempt.dataset.ears_required
    brain = int(verdict.klass in ("brain", "both"))
    if verdict.klass not in ("face", "both"):
        return 0, 0 if ears_required else -1, brain
    ears = 1 if reasons & EAR_FLAGS else -1
    if not ears_required or reasons & FACE_FLAGS:
        return 1, ears, brain
    return (-1, 1, brain) if reasons & EAR_FLAGS else None


def subject_of(attempt: Attempt) -> str:
    """A subject keeps its part of the data in every round."""
    return f"{attempt.dataset_id}/{attempt.scan.subject}"
