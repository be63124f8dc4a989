"""Which standard a dataset had when: a verdict does not keep it, the audit trail does."""

from collections.abc import Callable
from datetime import datetime

from reviews.models import AuditEvent, Dataset


def ears_counted(dataset: Dataset) -> Callable[[datetime], bool]:
    """Whether ears had to be removed too at a given time."""
    rows = AuditEvent.objects.filter(action="dataset_configured", dataset=dataset.pk).order_by("seq")
    settings = [(datetime.fromisoformat(at), before) for at, before in rows.values_list("at", "before")]

    def counted(when: datetime) -> bool:
        later = (before["ears_required"] for at, before in settings if at > when)
        return next(later, dataset.ears_required)

    return counted
