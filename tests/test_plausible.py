"""What nobody can mean, at every address: never a 500, on both databases."""

import json

import pytest
from django.urls import URLPattern, get_resolver

from reviews import actions
from reviews.plausible import DEEPEST, Implausible, read_json, whole_number

HUGE = (2**63, 2**64, 10**30, -(10**30))
DEEP = b"[" * 100_000
TEXTS = ("\0", "a\0b")


def patterns(resolver, front=""):
    for pattern in resolver.url_patterns:
        where = front + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield where, pattern
        else:
            yield from patterns(pattern, where)


def addresses(number: str, word: str):
    """Every address of the site with its numbers and its words filled in."""
    for where, pattern in patterns(get_resolver()):
        if where.startswith(("admin/", "^")) or "(?P" in where:
            continue
        parts = where
        for name, converter in pattern.pattern.converters.items():
            kind = type(converter).__name__
            value = number if kind == "IntConverter" or name.endswith("_id") else word
            for text in (f"<int:{name}>", f"<slug:{name}>", f"<str:{name}>", f"<{name}>", f"<path:{name}>"):
                parts = parts.replace(text, value)
        yield "/" + parts


@pytest.fixture
def root(client, cast, make):
    make()
    client.force_login(cast.root)
    client.raise_request_exception = False
    return client


@pytest.fixture
def key(cast, dataset):
    return {
        "Authorization": f"Bearer {actions.issue_token(actor=cast.pipeline, user=cast.pipeline, name='k')}"
    }


@pytest.mark.parametrize("number", [str(2**63), "9" * 4500])
def test_ids_that_no_row_can_have(root, key, number):
    for address in addresses(number, "trial"):
        for ask in (root.get, root.post):
            answer = ask(address, headers=key if address.startswith("/api/") else {})
            assert answer.status_code < 500, (ask, address)
        if number in address:
            assert root.get(address, headers=key).status_code in (400, 404, 405, 422), address


def test_numbers_in_the_query(root, key):
    for number in HUGE:
        for address in (
            "/scans/?after=~{}",
            "/scans/?sort=changed&after=0001-01-01T00:00:00%2B14:00~{}",
            "/scans/?sort=subject&after=x~{}",
            "/reports/trail/?before={}",
            "/reports/?dataset={}",
            "/api/v1/datasets/trial/scans?after={}",
            "/api/v1/datasets/trial/scans?limit={}",
        ):
            answer = root.get(address.format(number), headers=key)
            assert answer.status_code < 500, (address, number)


@pytest.mark.parametrize("text", TEXTS)
def test_nul_anywhere_is_400(root, key, text):
    for address in addresses("1", text.replace("\0", "%00")):
        answer = root.get(address, headers=key)
        assert answer.status_code in ((400, 404) if "%00" in address else range(500)), address
    for address in addresses("1", "trial"):
        assert root.get(f"{address}?q=%00", headers=key).status_code == 400, address
        if not address.startswith(("/api/", "/metrics")):
            assert root.post(address, {"title": text}).status_code == 400, address


@pytest.mark.parametrize(
    "body",
    [
        *(DEEP, b'{"a":' * 50_000, b"[1", b"NaN", b"\xff"),
        *(b'{"nonce": "\\u0000"}', b'{"class": "\\ud800"}'),
        *(b'{"attempts": [%d]}' % 10**30, b'{"attempts": [1e999]}', b'{"attempts": [' + b"9" * 5000 + b"]}"),
    ],
    ids=range(10),
)
def test_json_that_nobody_can_mean_is_400(root, key, body):
    for address in ("/work/renew/", "/work/verdicts/", "/work/pictures/", "/work/practise/", "/work/one/1/"):
        answer = root.post(address, body, content_type="application/json")
        assert answer.status_code == 400, address
    answer = root.post("/api/v1/scans", body, content_type="application/json", headers=key)
    assert answer.status_code in (400, 422)


def test_leases_given_back_by_ids_that_no_row_can_have(root):
    assert root.post("/work/release/", {"attempts": f"{2**63},1,{'9' * 5000},x,²"}).status_code == 204


def test_an_upload_whose_form_holds_a_nul(root, key):
    for data in ({"dataset": "a\0"}, {"dataset": "trial", "defaced": "\0"}):
        answer = root.post("/api/v1/scans/upload", data, headers=key)
        assert answer.status_code in (400, 422)


def test_what_is_meant_is_read():
    meant = {"ids": [1, 2**63 - 1], "text": "ä \\u0000", "deep": json.loads("[" * 9 + "]" * 9), "x": 0.5}
    assert read_json(json.dumps(meant).encode()) == meant
    with pytest.raises(Implausible):
        read_json(b"[" * (DEEPEST + 2) + b"]" * (DEEPEST + 2))
    assert [whole_number(t) for t in ("7", "-7", str(2**63), "", "x", "²", "1_0", " 1")] == [
        7,
        -7,
        *[None] * 6,
    ]
