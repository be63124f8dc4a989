"""Job names, and the wake-up call on commit; the database stays the truth."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import django_rq
from django.db import transaction
from redis.exceptions import RedisError

from reviews.states import Status

log = logging.getLogger(__name__)

QUEUE = "default"
JOB_SECONDS = 900
DEFACE = "reviews.jobs.deface_attempt"
RENDER = "reviews.jobs.render_attempt"
CLASSIFY = "reviews.jobs.classify_attempts"
ROUTE_ANEW = "reviews.jobs.route_anew"
CLASSIFY_ANEW = "reviews.jobs.classify_anew"
TAKE_IN = "reviews.handing_in.take_in"
JOB_OF = {Status.TO_DEFACE: DEFACE, Status.TO_RENDER: RENDER, Status.TO_CLASSIFY: CLASSIFY}
KIND_OF = {DEFACE: "deface", RENDER: "render", CLASSIFY: "classify"}


_here = ContextVar("work is done here, without the queue", default=False)


@contextmanager
def without() -> Iterator[None]:
    """Nothing is enqueued inside: the caller works the waiting attempts off itself."""
    token = _here.set(True)
    try:
        yield
    finally:
        _here.reset(token)


def wake(status: Status, attempt_id: int) -> None:
    """Call the job that moves an attempt on, once the transaction is committed."""
    job = JOB_OF.get(status)
    if job is not None and not _here.get():
        argument: int | Sequence[int] = [attempt_id] if job == CLASSIFY else attempt_id
        transaction.on_commit(lambda: enqueue(job, argument))


def enqueue(job: str, argument: int | Sequence[int]) -> bool:
    """Put one job on the queue; a queue that is down is logged and found again by requeue_stalled."""
    try:
        ahead = job != DEFACE  # what is begun is finished first: people can start before all is defaced
        django_rq.get_queue(QUEUE).enqueue(
            job,
            argument,
            job_id=id_of(job, argument),
            job_timeout=JOB_SECONDS,
            result_ttl=0,
            at_front=ahead,
        )
    except (RedisError, OSError) as error:
        log.warning("queue unreachable, %s for %s waits for requeue_stalled: %s", job, argument, error)
        return False
    return True


def id_of(job: str, argument: int | Sequence[int]) -> str | None:
    """The id of the job of one attempt or intake, the same whenever it is enqueued; None for what concerns all."""
    if job == TAKE_IN:
        return f"take-in-{argument}"
    if job not in KIND_OF:
        return None
    attempt_ids = [argument] if isinstance(argument, int) else argument
    return "-".join((KIND_OF[job], *map(str, attempt_ids)))


def queued() -> set[str]:
    """The ids of all jobs that wait on the queue; none where it cannot be reached."""
    try:
        return set(django_rq.get_queue(QUEUE).job_ids)
    except (RedisError, OSError) as error:
        log.warning("queue unreachable: %s", error)
        return set()
