"""What other cut-offs would do, counted at once, is what triage does one by one."""

import pytest

from inference.triage import CLASSES, ThresholdPolicy
from reviews import actions
from reviews.actions.triage import decide, retriageable
from reviews.models import Attempt, ModelVersion, Prediction
from reviews.states import Status
from reviews.threshold_evidence import consequences
from tests.conftest import BRAIN, FACE, RENDER, SURE, UNCLEAR, judge

pytestmark = pytest.mark.django_db
POLICIES = [ThresholdPolicy(), ThresholdPolicy(0.55, 0.55, 0.55), ThresholdPolicy(0.995, 0.98, 0.98)]


def one_by_one(policy) -> dict[str, int]:
    counts = {"verify": 0, "refer": 0, "fail": 0}
    for attempt in retriageable():
        said = attempt.predictions.filter(shadow=False).select_related("model_version").first()
        counts[decide(attempt, said, policy).route.value] += 1
    return counts


def said_of(attempt, **columns):
    """The model says something else of an attempt since; predictions are only ever added."""
    old = attempt.predictions.first()
    copied = {
        name: getattr(old, name)
        for name in ("attempt", "model_version", "in_distribution", "render_version", "attributes")
    }
    shares = {f"p_{name}": getattr(old, f"p_{name}") for name in CLASSES}
    return Prediction.objects.create(**(copied | shares | columns))


@pytest.fixture
def crowd(make, cast, model):
    """One undecided attempt for each thing that can be the matter with a prediction."""
    for said in (SURE, UNCLEAR, FACE, BRAIN):
        attempt = make(Status.REFER)
        said_of(attempt, **{f"p_{name}": said[name] for name in CLASSES})
    said_of(make(), in_distribution=False)
    said_of(make(), p_face=None)
    said_of(make(), p_pass=0.5)
    said_of(make(), render_version="another")
    Attempt.objects.filter(pk=make().pk).update(problems=["brain removed"])
    other = ModelVersion.objects.create(version="o", render_version=RENDER, class_order=[*CLASSES][::-1])
    said_of(make(), model_version=other)
    judge(cast.reviewer, make())
    actions.lease_one(actor=cast.colleague, attempt_id=make().pk, mode="verify")


@pytest.fixture
def twice(make):
    """An attempt of which the model has said something else since, and one in the shadow too."""
    attempt = make()
    said_of(attempt, **{f"p_{name}": UNCLEAR[name] for name in CLASSES})
    said_of(attempt, **{f"p_{name}": FACE[name] for name in CLASSES}, shadow=True)
    return attempt


@pytest.mark.parametrize("policy", POLICIES)
def test_all_kinds_of_doubt(crowd, twice, policy):
    found = consequences(policy).routes
    assert found == one_by_one(policy)
    assert sum(found.values()) == 11


@pytest.mark.parametrize("policy", POLICIES)
def test_where_ears_count_too(make, cast, dataset, crowd, model, policy):
    actions.configure_dataset(actor=cast.owner, dataset=dataset, ears_required=True)
    told = ({}, {}), (FACE, {"ears": 0.0}), ({}, {"ears": 0.9}), (SURE, {}), ({"pass": 1.0}, {})
    for stored, attributes in told:
        said_of(make(), with_ears=stored, attributes=attributes)
    assert consequences(policy).routes == one_by_one(policy)


def test_nothing_waits(model):
    assert consequences(ThresholdPolicy()).routes == {"verify": 0, "refer": 0, "fail": 0}


def test_the_newest_word_counts(twice):
    assert consequences(ThresholdPolicy()).routes == {"verify": 0, "refer": 1, "fail": 0}
