"""Figures for a monitoring system, at /metrics, for a superuser or the bearer of QC_METRICS_TOKEN."""

import hmac

from django.conf import settings
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from prometheus_client.core import GaugeMetricFamily

from reviews import workers
from reviews.models import Attempt


def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text; 401 for anyone else."""
    if not _allowed(request):
        return HttpResponse("Unauthorized", status=401, headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(generate_latest(REGISTRY) + _own(), content_type=CONTENT_TYPE_LATEST)


def _allowed(request):
    if request.user.is_authenticated and request.user.is_superuser:
        return True
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return bool(settings.METRICS_TOKEN) and hmac.compare_digest(
        given.encode(), settings.METRICS_TOKEN.encode()
    )


class _Now:
    """The state of the work, counted when asked."""

    def collect(self):
        attempts = GaugeMetricFamily("qc_attempts", "Defacing attempts by status", labels=["status"])
        for row in Attempt.objects.order_by().values("status").annotate(count=Count("pk")):
            attempts.add_metric([row["status"]], row["count"])
        state = workers.state()
        yield attempts
        yield GaugeMetricFamily("qc_queue_reachable", "Whether the queue answers", value=int(state.reachable))
        yield GaugeMetricFamily("qc_queue_waiting", "Jobs that wait in the queue", value=state.waiting)
        yield GaugeMetricFamily("qc_queue_failed", "Jobs the queue has given up", value=state.failed)
        yield GaugeMetricFamily("qc_workers", "Workers that are registered", value=len(state.workers))


def _own():
    return generate_latest(_Now())
