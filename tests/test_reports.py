"""Figures are about what people decided, and about scans where people count scans."""

import pytest

from reviews import reports
from reviews.export.pdf import count_scan
from reviews.states import Status
from tests.conftest import judge

pytestmark = pytest.mark.django_db


def test_how_a_plan_has_done_is_counted_from_peoples_verdicts(make, cast, dataset):
    make(Status.FAILED)  # by the machine: nobody decided anything
    judge(cast.reviewer, make())
    judge(cast.reviewer, make(), "face")
    (row,) = reports.plans([dataset])
    assert (row["plan"], row["passed"], row["decided"]) == ("standard", 1, 2)
    assert (row["share"].count, row["share"].total) == (1, 2)


def test_a_scan_stands_where_its_latest_attempt_does():
    standing: dict[str, str] = {}
    for scan, status in (
        ("a", "failed"),
        ("a", "passed"),
        ("b", "verify"),
        ("b", "withdrawn"),
        ("c", "withdrawn"),
    ):
        count_scan(standing, {"source_sha256": scan, "status": status})
    assert standing == {"a": "passed", "b": "verify", "c": "withdrawn"}
