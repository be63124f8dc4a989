"""A practice case keeps back what gives its answer away until the answer is there."""

import json

import pytest
from django.test import Client
from django.urls import reverse

from reviews import actions
from reviews.models import Attempt
from reviews.states import Status
from tests.conftest import bring, judge

pytestmark = pytest.mark.django_db
PROBLEM = "Brain removed: 5.2 ml, more than the limit of 2 ml"
MEASURED = {"brain_removed_ml": 5.2, "kept": {"eyes": 0.4}, "geometry_unchanged": True}
TELLING = (
    "measurements",
    "problems",
    "earlier",
    "opinion",
    "plan",
    "status",
    "5.2",
    "Face remains",
    "Eyes kept",
)


@pytest.fixture
def case(make, cast, model):
    """A second attempt of a scan whose first kept a face; measured, and now a practice case."""
    first = make()
    judge(cast.colleague, first, "face")
    second = first.scan.attempts.get(number=2)
    bring(second, Status.PASSED, model)
    Attempt.objects.filter(pk=second.pk).update(measurements=MEASURED, problems=[PROBLEM])
    actions.declare_known_case(
        actor=cast.manager, attempt_id=second.pk, truth="brain", practice=True, explanation="See the crown."
    )
    return second


@pytest.fixture
def client(cast):
    client = Client()
    client.force_login(cast.reviewer)
    return client


def post(client, url, body):
    return client.post(url, json.dumps(body), content_type="application/json").json()


def test_nothing_tells_before_the_answer(client, case):
    slug = case.dataset.slug
    page = client.get(reverse("practice", args=[slug])).content.decode()
    (item,) = post(client, reverse("review-items", args=[slug, "practice"]), {"count": 6})["items"]
    assert item["name"] == f"sub-{case.scan.subject}"
    assert item["number"] is None
    for words in (PROBLEM, "5.2", "See the crown."):
        assert words not in page
    assert '<div id="found" hidden>' in page
    said = json.dumps({name: value for name, value in item.items() if name not in ("views", "slices")})
    assert [words for words in (*TELLING, "crown", *(case.plan,)) if words in said] == []


def test_everything_is_told_with_the_answer(client, case):
    url = reverse("review-items", args=[case.dataset.slug, "practice"])
    (item,) = post(client, url, {"count": 6})["items"]
    body = {"handle": item["handle"], "class": "face", "nonce": "a-0"}
    answer = post(client, reverse("review-practise"), body)
    assert (answer["correct"], answer["truth"], answer["explanation"]) == (False, "brain", "See the crown.")
    assert {"label": "Brain removed", "value": "5.2 ml"} in answer["measurements"]
    assert answer["problems"] == [PROBLEM]
    assert [earlier["words"] for earlier in answer["earlier"]] == ["Face remains"]
    assert answer["opinion"]["classes"][0]["name"] == "pass"


def test_visual_qc_still_shows_the_measurements(client, case, make):
    referred = make(Status.REFER)
    Attempt.objects.filter(pk=referred.pk).update(measurements=MEASURED)
    items = post(client, reverse("review-items", args=[case.dataset.slug, "visual"]), {"count": 1})["items"]
    assert items[0]["measurements"]
    page = client.get(reverse("visual", args=[case.dataset.slug])).content.decode()
    assert '<div id="found">' in page
