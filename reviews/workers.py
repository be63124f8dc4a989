"""Whether the queue and its workers are there, for the set-up page."""

import logging
from dataclasses import dataclass, field

import django_rq
from redis.exceptions import RedisError
from rq import Worker

from reviews.queue import QUEUE

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """`reachable` False: the queue does not answer and nothing is worked on."""

    reachable: bool
    waiting: int = 0
    failed: int = 0
    workers: list[dict] = field(default_factory=list)


def state() -> State:
    """What the queue says now."""
    try:
        queue = django_rq.get_queue(QUEUE)
        found = Worker.all(connection=queue.connection)
        return State(
            True, len(queue), len(queue.failed_job_registry), [described(worker) for worker in found]
        )
    except (RedisError, OSError) as error:
        log.warning("queue unreachable: %s", error)
        return State(False)


def described(worker: Worker) -> dict:
    """One worker's line."""
    return {
        "name": worker.name,
        "state": str(worker.get_state()),
        "seen": worker.last_heartbeat,
        "done": worker.successful_job_count,
        "failed": worker.failed_job_count,
    }
