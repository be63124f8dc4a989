"""The table of rights is the whole of it: each address of the URL conf is in it and answers as it says."""

import logging

import pytest

from tests import matrix

ROUTE = "scans/<int:pk>/"


@pytest.fixture
def quiet():
    """Thousands of refusals are not worth a line each."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.django_db
def test_every_answer_is_the_tables(tmp_path, quiet, settings):
    found = list(matrix.cells(tmp_path))
    assert matrix.differences(matrix.table(), found) == []
    assert len(found) > 5000


def test_every_address_is_in_the_table():
    rows = matrix.table()
    for route in matrix.routes():
        for name in matrix.variants(route):
            for method in ("GET", "POST"):
                assert matrix.expected(rows, matrix.Cell(name, method, "no role", "own", "")), name


def test_no_row_gives_anything_to_the_anonymous_or_of_a_dataset_to_strangers():
    given = {"shown", "back", "changes"}
    for (address, method), row in matrix.table().items():
        if address.startswith((*matrix.THEIRS, "api/v1/healthz", "api/v1/openapi")):
            continue
        assert not given & set(row["anonymous"].split("/")), (address, method)
        if "<" in address and not address.startswith(("work/", "thresholds/", "setup/models/", "account/")):
            assert not given & set(row["no role"].split("/")), (address, method)
            assert not given & set(row[matrix.ELSEWHERE].split("/")), (address, method)


@pytest.mark.parametrize(
    ("outcome", "role", "method", "differs"),
    [
        ("none", "no role", "GET", False),
        ("shown", "no role", "GET", True),
        ("shown", "manager", "GET", False),
        ("shown", "manager", "POST", True),
        ("changes", "manager", "DELETE", True),
        ("method", "manager", "DELETE", False),
        ("shown", "no role", "HEAD", True),
        ("500", "superuser", "GET", True),
    ],
)
def test_an_answer_that_is_not_the_tables_is_told(outcome, role, method, differs):
    rows = {key: row for key, row in matrix.table().items() if key[0] == ROUTE}
    cells = [matrix.Cell(ROUTE, method, role, "own", outcome)]
    told = [line for line in matrix.differences(rows, cells) if "not in the URL conf" not in line]
    assert bool(told) == differs


def test_an_address_without_a_row_and_a_row_without_an_address_are_told():
    cells = [matrix.Cell("new/page/", "GET", "no role", "own", "shown")]
    (told,) = matrix.differences({}, cells)
    assert "new/page/" in told
    assert "no row" in told
    rows = {("gone/", "GET"): dict.fromkeys((*matrix.ROLES, matrix.ELSEWHERE), "shown")}
    assert any("not in the URL conf" in line for line in matrix.differences(rows, []))
