"""The API against its own description: whatever is sent, with a key or without one, is never answered by a 500."""

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, settings

from qcsite.wsgi import application
from reviews import actions
from reviews.states import Status

SCHEMA = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", application)
SIGNALS = (request_started, request_finished)
EVERY = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def key(cast, dataset, make, settings, tmp_path, monkeypatch):
    """A pipeline's key, in a dataset that holds something; the connection of the test outlives its requests."""
    settings.DATA_DIR, settings.INTAKE_ROOTS, settings.ALLOWED_HOSTS = tmp_path, [str(tmp_path)], ["*"]
    settings.API_CALLS_A_MINUTE = 100_000
    for status in (Status.PASSED, Status.ERROR):
        make(status)
    for signal in SIGNALS:
        signal.disconnect(close_old_connections)
    yield actions.issue_token(actor=cast.pipeline, user=cast.pipeline, name="k")
    for signal in SIGNALS:
        signal.connect(close_old_connections)


@SCHEMA.parametrize()
@EVERY
def test_nothing_breaks_the_api(case, key):
    for headers in ({"Authorization": f"Bearer {key}"}, {}):
        answer = case.call(headers=headers)
        assert answer.status_code < 500, case.as_curl_command()
