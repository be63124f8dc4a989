"""A candidate takes over only on evidence, by an administrator; the Models page shows why or why not."""

import pytest
from django.test import Client
from django.urls import reverse

from inference import checkpoint
from inference.promotion import Answer, figures, objection
from inference.triage import CLASSES, ThresholdPolicy
from reviews import actions, shadow_comparison
from reviews.models import AuditEvent, FrozenCase, FrozenSet, ModelVersion
from reviews.states import Status
from tests.conftest import BRAIN, FACE, RENDER, SURE, UNCLEAR, classify, digest, judge, now

POLICY = ThresholdPolicy()


def answers(*groups):
    """(count, what the model says, truth, in distribution) -> answers."""
    return [Answer(said, truth, known) for count, said, truth, known in groups for _ in range(count)]


def test_the_figures_of_a_frozen_test():
    found = figures(
        answers(
            (6, SURE, "pass", True),
            (1, SURE, "face", True),  # a false pass
            (2, FACE, "face", True),
            (1, BRAIN, "both", True),  # decided, wrongly
            (3, UNCLEAR, "pass", True),  # right, and referred
            (2, SURE, "pass", False),  # unlike a head: referred however sure
        ),
        POLICY,
    )
    counts = {name: (value["count"], value["total"]) for name, value in found.items() if name != "cases"}
    assert found["cases"] == 15
    assert counts == {
        "accuracy": (13, 15),
        "coverage": (10, 15),
        "selective_accuracy": (8, 10),
        "false_pass": (1, 7),
    }
    assert 0 < found["false_pass"]["low"] < 1 / 7 < found["false_pass"]["high"] < 1


GOOD = figures(answers((20, SURE, "pass", True), (20, FACE, "face", True)), POLICY)


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (answers((20, SURE, "pass", True), (20, FACE, "face", True)), ""),
        (answers((20, SURE, "pass", True), (1, BRAIN, "face", True), (19, FACE, "face", True)), ""),
        (answers((20, SURE, "pass", True), (1, SURE, "face", True), (19, FACE, "face", True)), "false-pass"),
        (answers((5, SURE, "pass", True), (35, UNCLEAR, "pass", True)), "false-pass"),  # too few to tell
        (answers((20, SURE, "pass", True), (20, BRAIN, "face", True)), "rightly, the current"),
        (answers((20, SURE, "pass", False), (20, FACE, "face", False)), "decides none"),
    ],
)
def test_no_worse_than_the_current_one(candidate, reason):
    found = objection(figures(candidate, POLICY), GOOD)
    assert reason in found
    assert bool(reason) == bool(found)


@pytest.fixture
def frozen(make, dataset):
    """One frozen case."""
    return freeze(make(Status.FAILED), dataset)


def freeze(attempt, dataset):
    made = FrozenSet.objects.create(
        dataset=dataset, share=0.2, ears_required=False, digest=digest(f"set {attempt.pk}")
    )
    return FrozenCase.objects.create(
        frozen_set=made,
        attempt=attempt,
        truth="face",
        adjudicated=True,
        output_sha256=attempt.output_sha256,
    )


@pytest.fixture
def candidate(model):
    """A model trained here, in the shadow."""
    made = actions.register_model(
        actor=None,
        version="c" * 64,
        render_version=RENDER,
        class_order=list(CLASSES),
        name="second",
        weights_path="/models/second.onnx",
        data_summary={"verdicts": {"train": 1200, "calibration": 300}},
    )
    actions.shadow_model(actor=None, model=made)
    made.refresh_from_db()
    return made


def put_to_test(candidate, model, new=GOOD, old=GOOD):
    actions.record_frozen_test(actor=None, model=candidate, figures=new, current=model, current_figures=old)


@pytest.mark.django_db
def test_with_evidence_an_administrator_promotes_and_nothing_decided_moves(
    make, cast, model, candidate, frozen, monkeypatch
):
    waiting, passed = make(), make()
    judge(cast.reviewer, passed)
    put_to_test(candidate, model)
    for person in (cast.owner, cast.manager, cast.reviewer, cast.stranger, None):
        with pytest.raises(actions.NotAllowed):
            actions.promote_model(actor=person, model=candidate)
    assert actions.promote_model(actor=cast.root, model=candidate) == 1
    assert [now(attempt).status for attempt in (waiting, passed)] == ["to_classify", "passed"]
    event = AuditEvent.objects.get(action="model_activated")
    assert (event.actor, event.before, event.after["model"]) == (
        f"user:{cast.root.pk}",
        {"model": model.version},
        candidate.version,
    )
    assert AuditEvent.objects.get(action="model_tested").after["false_pass"] == [0, 20]
    model.refresh_from_db()
    assert model.state == ModelVersion.State.RETIRED
    monkeypatch.setattr("reviews.actions.models.shipped_version", lambda: model.version)
    assert actions.promote_model(actor=cast.root, model=model) == 0  # and back again


@pytest.mark.django_db
def test_many_are_classified_again_in_the_background(
    make, cast, model, candidate, frozen, monkeypatch, enqueued
):
    waiting, held = [make() for _ in range(3)], make()
    actions.lease_one(actor=cast.reviewer, attempt_id=held.pk, mode="verify")
    put_to_test(candidate, model)
    monkeypatch.setattr("reviews.actions.models.AT_ONCE", 2)
    enqueued.clear()
    assert actions.promote_model(actor=cast.root, model=candidate) == 3
    assert enqueued == [("reviews.jobs.classify_anew", candidate.pk)]
    assert {now(attempt).status for attempt in waiting} == {Status.VERIFY}
    assert actions.reclassify() == 3
    assert {now(attempt).status for attempt in waiting} == {Status.TO_CLASSIFY}
    assert now(held).status == Status.VERIFY  # somebody is looking at it
    classify(now(waiting[0]), candidate, SURE)
    assert actions.reclassify() == 0  # the current model has seen it


@pytest.mark.django_db
def test_without_evidence_nobody_promotes(cast, model, candidate, frozen):
    refused(cast, candidate, "no result from a frozen test set")
    worse = figures(answers((19, SURE, "pass", True), (1, SURE, "both", True)), POLICY)
    put_to_test(candidate, model, new=worse)
    refused(cast, candidate, "false-pass rate may be as high as")
    model.refresh_from_db()
    assert model.state == ModelVersion.State.CURRENT
    refused(cast, model, "it is the current model")


@pytest.mark.django_db
def test_nobody_goes_back_to_weights_that_came_with_earlier_software(cast, model):
    newer = actions.register_model(
        actor=None,
        version=checkpoint.file_hash(checkpoint.DEFAULT)[:16],
        render_version=RENDER,
        class_order=list(CLASSES),
    )
    actions.adopt_model(actor=None, model=newer)
    model.refresh_from_db()
    refused(cast, model, "came with another version of the software")
    newer.refresh_from_db()
    assert newer.state == ModelVersion.State.CURRENT
    ModelVersion.objects.filter(pk=newer.pk).update(state=ModelVersion.State.RETIRED)
    assert actions.objection_to(ModelVersion.objects.get(pk=newer.pk)) == ""


def refused(cast, candidate, reason):
    with pytest.raises(actions.Refused, match=reason):
        actions.promote_model(actor=cast.root, model=candidate)


@pytest.mark.django_db
def test_evidence_that_is_out_of_date_is_none(cast, make, dataset, model, candidate, frozen):
    put_to_test(candidate, model)
    freeze(make(Status.FAILED), dataset)
    refused(cast, candidate, "cases have been frozen since")
    put_to_test(candidate, model)
    actions.save_thresholds(actor=cast.root, policy=ThresholdPolicy(0.97))
    refused(cast, candidate, "cut-offs have changed since")
    put_to_test(candidate, model)
    ModelVersion.objects.filter(pk=model.pk).update(state=ModelVersion.State.RETIRED)
    refused(cast, candidate, "another model has become current")


@pytest.mark.django_db
def test_the_candidate_beside_the_current_model(make, model, candidate):
    saw = [(Status.VERIFY, SURE), (Status.VERIFY, FACE), (Status.REFER, UNCLEAR), (Status.REFER, SURE)]
    for status, said in saw:
        attempt = make(status)
        finding = actions.Finding(said, in_distribution=True, render_version=RENDER)
        actions.record_shadow(actor=None, attempt=attempt, model=candidate, finding=finding)
        assert now(attempt).status == status
    actions.record_shadow(  # seen once more: the latest answer counts
        actor=None, attempt=attempt, model=candidate, finding=actions.Finding(None, render_version=RENDER)
    )
    found = shadow_comparison.compare(candidate, POLICY)
    assert (found.seen, found.both_usable, found.same_class, found.same_route) == (4, 3, 2, 3)
    assert found.rows == [("verify", [1, 0, 1]), ("refer", [0, 2, 0]), ("fail", [0, 0, 0])]


@pytest.fixture
def browse():
    """A client logged in as a user."""

    def logged_in(user) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return logged_in


@pytest.mark.django_db
def test_the_models_page_is_for_administrators(browse, cast, model, candidate, frozen):
    for person in (cast.owner, cast.manager, cast.reviewer, cast.stranger):
        assert browse(person).get(reverse("models")).status_code == 403
        assert browse(person).post(reverse("model-promote", args=[candidate.pk])).status_code == 403
    assert Client().get(reverse("models")).status_code == 302
    assert "Evidence and promotion" not in browse(cast.owner).get(reverse("setup")).content.decode()
    assert "Evidence and promotion" in browse(cast.root).get(reverse("setup")).content.decode()
    candidate.refresh_from_db()
    assert candidate.state == ModelVersion.State.SHADOW


@pytest.mark.django_db
def test_the_models_page_promotes_only_what_may_be(browse, cast, make, model, candidate, frozen, monkeypatch):
    monkeypatch.setattr("reviews.actions.models.shipped_version", lambda: model.version)
    attempt = make()
    actions.record_shadow(
        actor=None,
        attempt=attempt,
        model=candidate,
        finding=actions.Finding(FACE, in_distribution=True, render_version=RENDER),
    )
    client, page = browse(cast.root), reverse("models")
    before = client.get(page).content.decode()
    assert "It cannot be promoted: it has no result from a frozen test set" in before
    assert "the same class in 0 of 1" in before
    assert reverse("model-promote", args=[candidate.pk]) not in before
    answer = client.post(reverse("model-promote", args=[candidate.pk]), follow=True).content.decode()
    assert "second cannot be promoted: it has no result" in answer
    put_to_test(candidate, model)
    shown = client.get(page).content.decode()
    assert "On 40 frozen cases" in shown
    assert "0 of 20, 0.0 %" in shown
    assert reverse("model-promote", args=[candidate.pk]) in shown
    answer = client.post(reverse("model-promote", args=[candidate.pk]), follow=True).content.decode()
    assert "second is the current model. Undecided scans to be classified again: 1" in answer
    assert now(attempt).status == Status.TO_CLASSIFY
    assert "Go back to this model" in answer
    monkeypatch.setattr("reviews.actions.models.shipped_version", lambda: "newer")
    upgraded = client.get(page).content.decode()
    assert "came with another version of the software" in upgraded
    assert "Go back to this model" not in upgraded
