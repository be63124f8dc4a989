"""Background jobs: deface, render, classify. They take ids, claim attempts, and tolerate running twice.

The only file of the inference side that knows Django. A claim is a compare-and-swap with a heartbeat: a
second run of a job finds nothing to claim; a worker that was given up cannot finish what another took over.
"""

import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from django.db import close_old_connections, connection

from inference.files import beside, plain, put
from inference.opening import open_regular, stamp_of
from inference.processes import gone, host_name, worker_name
from inference.projections.network_input import NetworkInput, network_inputs, save_inputs, stored_inputs
from inference.volumes import Volume, VolumeError
from reviews import actions
from reviews.models import Attempt, ModelVersion
from reviews.states import Status
from reviews.stored_files import data_folder

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 20
BATCH = 16
NETWORK_FILE = "network.npz"


def deface_attempt(attempt_id: int) -> bool:
    """Deface the original with the attempt's engine and plan; True when this run did it."""
    return _one(attempt_id, Status.TO_DEFACE, _deface)


def render_attempt(attempt_id: int) -> bool:
    """Make the pictures, the measurements and the network's input; True when this run did it."""
    return _one(attempt_id, Status.TO_RENDER, _render)


def classify_attempts(attempt_ids: Sequence[int]) -> int:
    """Classify and route these attempts and, in the same batch, others that wait; returns how many."""
    worker = worker_name()
    claimed = _claim_batch(attempt_ids, worker)
    with _alive([attempt.pk for attempt in claimed], worker):
        ready = [
            (attempt, inputs) for attempt in claimed if (inputs := _inputs_or_error(attempt)) is not None
        ]
        return _predict(ready) if ready else 0


def route_anew(threshold_set_id: int) -> None:
    """Route undecided attempts under the cut-offs in force; newer ones than those asked for are as good."""
    log.info("cut-offs %s: %s", threshold_set_id, actions.retriage())


def classify_anew(model_id: int) -> None:
    """Have the current model classify what is undecided; a newer one than the one asked for is as good."""
    log.info("model %s: %s attempts are classified again", model_id, actions.reclassify())


def work_off(dataset_id: int, *, tell: Callable[[str], object] = log.info) -> int:
    """Do a dataset's waiting work here, without a queue, until nothing waits; returns the steps done."""
    steps, lost = 0, {pid for pid in actions.claiming_processes(host_name()) if gone(pid)}
    actions.give_up_claims(host_name(), lost)
    while True:
        waiting = Attempt.objects.filter(dataset_id=dataset_id).working().order_by("pk")
        rows = list(waiting.values_list("pk", "status", "scan__name", "number"))
        done = 0
        for pk, status, name, number in rows:
            if status == Status.TO_DEFACE:
                done += _step(deface_attempt(pk), f"{name} attempt {number}: defaced", tell)
            elif status == Status.TO_RENDER:
                done += _step(render_attempt(pk), f"{name} attempt {number}: pictures made", tell)
        to_classify = [pk for pk, status, *_ in rows if status == Status.TO_CLASSIFY]
        for start in range(0, len(to_classify), BATCH):
            count = classify_attempts(to_classify[start : start + BATCH])
            done += _step(count, f"{count} attempts classified", tell)
        steps += done
        if not done:
            return steps


def _step(count: int, words: str, tell: Callable[[str], object]) -> int:
    if count:
        tell(words)
    return int(count)


# --- claiming ---------------------------------------------------------------------------------------


def _one(attempt_id: int, status: Status, work: Callable[[Attempt], None]) -> bool:
    worker = worker_name()
    attempt = actions.claim(attempt_id, status, worker=worker)
    if attempt is None:
        log.info("attempt %s is not waiting for this job (%s)", attempt_id, status)
        return False
    with _alive([attempt.pk], worker):
        return _guarded(attempt, work)


def _guarded(attempt: Attempt, work: Callable[[Attempt], None]) -> bool:
    """Run one step; whatever goes wrong becomes a visible, retryable ERROR."""
    try:
        work(attempt)
        return True
    except actions.StaleState:
        log.warning("attempt %s was taken over by another worker", attempt.pk)
    except VolumeError as error:
        _fail(attempt, "volume", f"{Path(error.path).name}: {error.reason}")
    except Exception as error:  # a job must never leave its attempt silently stuck
        log.exception("attempt %s broke", attempt.pk)
        _fail(attempt, type(error).__name__, f"{attempt.scan.name}: {error or type(error).__name__}")
    return False


def _fail(attempt: Attempt, code: str, text: str) -> None:
    try:
        actions.report_error(actor=None, attempt=attempt, code=code[:64], text=text)
    except actions.StaleState:
        log.warning("attempt %s was taken over by another worker", attempt.pk)


@contextmanager
def _alive(attempt_ids: list[int], worker: str) -> Iterator[None]:
    """Keep the claims fresh from a thread while the work goes on."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            try:
                for attempt_id in attempt_ids:
                    actions.heartbeat(attempt_id, worker=worker)
            except Exception:  # a missed beat is made up by the next one
                log.warning("heartbeat missed", exc_info=True)
            finally:
                close_old_connections()
        connection.close()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


# --- deface -----------------------------------------------------------------------------------------


def _deface(attempt: Attempt) -> None:
    from inference.deface import SCRATCH, DefaceError, run

    folder = data_folder() / "defaced" / str(attempt.scan_id) / f"attempt-{attempt.number}"
    with TemporaryDirectory(prefix=SCRATCH) as private:
        original = actions.original_of(attempt.scan).copy(Path(private))
        with beside(folder / "output") as temporary:
            made = temporary / original.name
            try:
                record = run(original, made, engine=attempt.engine, plan=attempt.plan)
            except DefaceError as error:
                raise VolumeError(error.path, error.reason) from error
            actions.require_claim(attempt)
            target = put(made, folder / record.sha256[:16])
    with open_regular(target) as file:
        stamp = stamp_of(file, own=True)
    actions.finish_deface(
        actor=None,
        attempt=attempt,
        engine_version=str(record.version)[:128],
        parameters=plain({"plan": record.plan, "seconds": record.seconds, "parameters": record.parameters}),
        output_path=str(target),
        output_sha256=record.sha256,
        output_stamp=stamp,
    )


# --- render -----------------------------------------------------------------------------------------


def _render(attempt: Attempt) -> None:
    from inference.projections import RENDER_VERSION, render_views, save_views

    defaced = _defaced(attempt)
    original = actions.original_of(attempt.scan).volume() if attempt.scan.has_original else None
    found = _examined(attempt, original, defaced)
    pictures = render_views(defaced, original=original, brain=found.brain)
    views_dir = f"views/{attempt.pk // 1000:04d}/{attempt.pk}/{uuid.uuid4().hex[:12]}"
    folder = data_folder() / views_dir
    with beside(folder) as temporary:
        save_views(temporary, pictures)
        save_inputs(temporary / NETWORK_FILE, network_inputs(defaced))
        actions.require_claim(attempt)
        temporary.rename(folder)
    actions.finish_render(
        actor=None,
        attempt=attempt,
        views_dir=views_dir,
        view_names=list(pictures),
        render_version=RENDER_VERSION,
        measurements=found.measurements,
        problems=found.problems,
    )


def _defaced(attempt: Attempt) -> Volume:
    """The defaced file, still the one that was taken in."""
    return actions.output_of(attempt).volume()


def _examined(attempt: Attempt, original, defaced):
    from inference.anatomy import ANATOMY_VERSION
    from inference.physical_checks import Examined, examine

    if original is None:
        return Examined()
    name = attempt.scan.original_hash  # one original may be in several datasets
    kept = data_folder() / "anatomy" / ANATOMY_VERSION / name[:2] / f"{name}.npz"
    return examine(original, defaced, ears=attempt.dataset.ears_required, anatomy_file=kept)


# --- classify ---------------------------------------------------------------------------------------


@cache
def load_classifier(path: str):
    """The weights of a file, or those that come with the software; loaded once in a worker."""
    from inference.classifier import Classifier

    return Classifier.load(Path(path)) if path else Classifier.load()


def classifier():
    """The current model; called before a worker forks it is warm for every job."""
    current = _trained_here()
    return registered_classifier(current) if current else load_classifier("")


def registered_classifier(model: ModelVersion):
    """The network of a model trained here; raises CheckpointError where its file is not the one registered."""
    from inference.checkpoint import CheckpointError

    network = load_classifier(model.weights_path)
    if network.version != model.version:
        raise CheckpointError(network.path, f"its hash is {network.version}, registered is {model.version}")
    return network


def _trained_here() -> ModelVersion | None:
    """The current model where it is not the one that comes with the software."""
    current = ModelVersion.objects.filter(state=ModelVersion.State.CURRENT)
    return current.exclude(weights_path="").first()


def _claim_batch(attempt_ids: Sequence[int], worker: str) -> list[Attempt]:
    """The named attempts and others that wait, up to one batch."""
    waiting = Attempt.objects.filter(status=Status.TO_CLASSIFY).exclude(pk__in=attempt_ids).order_by("pk")
    room = max(0, BATCH - len(attempt_ids))
    ids = [*attempt_ids, *waiting.filter(claimed_at__isnull=True).values_list("pk", flat=True)[:room]]
    found = (actions.claim(pk, Status.TO_CLASSIFY, worker=worker) for pk in ids)
    return [attempt for attempt in found if attempt is not None]


def _inputs_or_error(attempt: Attempt) -> NetworkInput | None:
    kept: list[NetworkInput] = []

    def work(attempt: Attempt) -> None:
        kept.append(stored_inputs(attempt.views_path / NETWORK_FILE, lambda: _defaced(attempt)))

    return kept[0] if _guarded(attempt, work) else None


def _predict(ready: list[tuple[Attempt, NetworkInput]]) -> int:
    """One batch through the network. Bad weights: nothing is known, so every attempt of it is referred."""
    from inference.checkpoint import CheckpointError

    try:
        network = classifier()
        results = network.predict([inputs for _, inputs in ready])
    except CheckpointError as error:
        log.error("the model cannot be used, its attempts are referred: %s", error)
        return sum(_guarded(attempt, _refer_unseen) for attempt, _ in ready)
    except Exception as error:  # every attempt of the batch must show what happened
        log.exception("classification broke")
        for attempt, _ in ready:
            _fail(attempt, type(error).__name__, f"{attempt.scan.name}: {error or type(error).__name__}")
        return 0
    model = known_model(network)
    _predict_in_the_shadow(ready)
    pairs = zip(ready, results, strict=True)
    return sum(_guarded(attempt, _recorder(model, inputs, result)) for (attempt, inputs), result in pairs)


def _predict_in_the_shadow(ready: list[tuple[Attempt, NetworkInput]]) -> None:
    """Candidates answer too; what they say is kept and routes nothing, and their failure stops nothing."""
    for model in ModelVersion.objects.filter(state=ModelVersion.State.SHADOW):
        try:
            results = registered_classifier(model).predict([inputs for _, inputs in ready])
            for (attempt, inputs), result in zip(ready, results, strict=True):
                finding = _finding(inputs, result)
                actions.record_shadow(actor=None, attempt=attempt, model=model, finding=finding)
        except Exception:
            log.exception("model %s cannot run in the shadow", model.version)


def known_model(network) -> ModelVersion:
    """The row of the loaded weights; newer weights that come with the software take over from older ones."""
    model = actions.register_model(
        actor=None,
        version=network.version,
        render_version=network.render_version,
        class_order=list(network.class_order),
        name=network.version[:12],
    )
    if model.state != ModelVersion.State.CURRENT and _trained_here() is None:
        actions.adopt_model(actor=None, model=model)
    return model


def _recorder(model: ModelVersion, inputs, result) -> Callable[[Attempt], None]:
    from inference.saliency import save_pictures

    def work(attempt: Attempt) -> None:
        pictures = save_pictures(attempt.views_path, inputs, result, model.version[:8])
        actions.record_prediction(
            actor=None, attempt=attempt, model=model, finding=_finding(inputs, result), saliency=pictures
        )

    return work


def _finding(inputs: NetworkInput, result) -> actions.Finding:
    return actions.Finding(
        probabilities=result.probabilities,
        with_ears=result.probabilities_for(ears=True),
        attributes=result.attributes,
        remains=result.remains,
        in_distribution=bool(result.in_distribution),
        render_version=inputs.render_version,
    )


def _refer_unseen(attempt: Attempt) -> None:
    actions.record_no_prediction(actor=None, attempt=attempt)
