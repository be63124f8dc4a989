"""Predictions route attempts; new cut-offs and models route anew what is undecided, and only that."""

import math

import pytest

from inference.triage import CLASSES, ThresholdPolicy
from reviews import actions
from reviews.models import Attempt, AuditEvent, ModelVersion, ThresholdSet, TriageRecord
from reviews.states import Status
from reviews.threshold_evidence import consequences
from tests.conftest import BRAIN, FACE, RENDER, SURE, UNCLEAR, classify, judge, now

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("probabilities", "status"), [(SURE, Status.VERIFY), (UNCLEAR, Status.REFER), (BRAIN, Status.FAILED)]
)
def test_routes(make, model, probabilities, status):
    attempt = make(Status.TO_CLASSIFY)
    classify(attempt, model, probabilities)
    assert now(attempt).status == status
    record = TriageRecord.objects.get(attempt=attempt)
    assert (record.threshold_set.version, record.prediction.model_version) == (1, model)
    assert now(attempt).confidence == probabilities["pass"]


def test_a_confident_failure_goes_straight_to_the_attempt_that_fits(make, model):
    attempt = make(Status.TO_CLASSIFY)
    classify(attempt, model, BRAIN)
    assert attempt.scan.attempts.get(number=2).plan == "smaller"


@pytest.mark.parametrize(
    "rest",
    [{"in_distribution": False}, {"render_version": "other"}, {"probabilities": {**SURE, "pass": math.nan}}],
)
def test_fail_closed(make, model, rest):
    attempt = make(Status.TO_CLASSIFY)
    classify(attempt, model, **rest)
    assert now(attempt).status == Status.REFER


def test_a_measured_problem_forbids_the_fast_way(make, model):
    attempt = make(Status.TO_CLASSIFY, problems=["measured against the original: brain"])
    classify(attempt, model, SURE)
    assert (now(attempt).status, now(attempt).route_reason) == (Status.REFER, "physical_check")


def test_a_wrong_class_order_is_referred(make):
    other = actions.register_model(
        actor=None, version="x", render_version=RENDER, class_order=list(reversed(CLASSES))
    )
    attempt = make(Status.TO_CLASSIFY)
    classify(attempt, other, SURE)
    assert now(attempt).status == Status.REFER


def test_no_model_no_pass(make):
    attempt = make(Status.TO_CLASSIFY)
    actions.record_no_prediction(actor=None, attempt=attempt)
    assert (now(attempt).status, now(attempt).route_reason) == (Status.REFER, "no_prediction")


def test_ears_count_where_the_standard_asks_for_them(make, model, cast, dataset):
    actions.configure_dataset(actor=cast.owner, dataset=dataset, ears_required=True)
    attempt = make(Status.TO_CLASSIFY)
    finding = actions.Finding(SURE, attributes={"ears": 0.9}, in_distribution=True, render_version=RENDER)
    attempt.dataset.refresh_from_db()
    actions.record_prediction(actor=None, attempt=attempt, model=model, finding=finding)
    assert now(attempt).status == Status.REFER


def test_the_models_own_word_on_ears_goes_first(make, model, cast, dataset):
    actions.configure_dataset(actor=cast.owner, dataset=dataset, ears_required=True)
    attempt = make(Status.TO_CLASSIFY)
    finding = actions.Finding(
        SURE, with_ears=FACE, attributes={"ears": 0.0}, in_distribution=True, render_version=RENDER
    )
    attempt.dataset.refresh_from_db()
    actions.record_prediction(actor=None, attempt=attempt, model=model, finding=finding)
    assert now(attempt).status == Status.FAILED


def seen(make, model, with_ears):
    """An attempt that is a sure pass without ears, and this with them."""
    attempt = make(Status.TO_CLASSIFY)
    finding = actions.Finding(SURE, with_ears=with_ears, in_distribution=True, render_version=RENDER)
    return actions.record_prediction(actor=None, attempt=attempt, model=model, finding=finding)


def configure(cast, dataset, callbacks, **settings):
    with callbacks(execute=True):
        actions.configure_dataset(actor=cast.owner, dataset=dataset, **settings)


def test_another_standard_routes_anew_what_is_undecided(
    make, model, cast, dataset, django_capture_on_commit_callbacks
):
    waiting, surer = seen(make, model, UNCLEAR), seen(make, model, {**SURE, "pass": 0.992, "face": 0.005})
    held, passed = seen(make, model, UNCLEAR), seen(make, model, UNCLEAR)
    judge(cast.reviewer, passed)
    actions.lease_one(actor=cast.colleague, attempt_id=held.pk, mode="verify")
    everything = waiting, surer, held, passed
    configure(cast, dataset, django_capture_on_commit_callbacks, ears_required=True)
    assert [now(a).status for a in everything] == ["refer", "verify", "verify", "passed"]
    assert [now(a).confidence for a in (waiting, surer)] == [0.6, 0.992]
    actions.release_leases(actor=cast.colleague)
    actions.retriage()  # what the upkeep does
    assert now(held).status == Status.REFER
    configure(cast, dataset, django_capture_on_commit_callbacks, ears_required=False)
    assert [now(a).status for a in everything] == ["verify", "verify", "verify", "passed"]
    assert now(surer).confidence == SURE["pass"]


def test_another_setting_or_another_dataset_routes_nothing_anew(
    make, model, cast, dataset, enqueued, django_capture_on_commit_callbacks
):
    attempt = seen(make, model, UNCLEAR)
    other = actions.create_dataset(actor=cast.owner, slug="other")
    configure(cast, other, django_capture_on_commit_callbacks, ears_required=True)
    configure(cast, dataset, django_capture_on_commit_callbacks, ears_required=False, max_attempts=3)
    assert now(attempt).status == Status.VERIFY
    assert now(attempt).triaged_under is not None
    assert TriageRecord.objects.filter(attempt=attempt).count() == 1


def test_a_standard_that_changes_under_a_job_counts(make, model, cast, dataset):
    attempt = make(Status.TO_CLASSIFY)  # claimed by a worker before the change
    actions.configure_dataset(actor=cast.owner, dataset=dataset, ears_required=True)
    finding = actions.Finding(SURE, with_ears=UNCLEAR, in_distribution=True, render_version=RENDER)
    actions.record_prediction(actor=None, attempt=attempt, model=model, finding=finding)
    assert now(attempt).status == Status.REFER


def test_measured_ears_are_a_problem_under_the_standard_that_asks_for_them(
    make, model, cast, dataset, django_capture_on_commit_callbacks
):
    attempt = seen(make, model, SURE)
    measured = {"brain_removed_ml": 0.0, "kept": {"eyes": 0.1, "left_ear": 0.9}, "class": "pass"}
    Attempt.objects.filter(pk=attempt.pk).update(measurements=measured)
    ears = [{"code": "region_left", "region": "left_ear", "share": 0.9}]
    for required, status, problems, klass in ((True, "refer", ears, "face"), (False, "verify", [], "pass")):
        configure(cast, dataset, django_capture_on_commit_callbacks, ears_required=required)
        found = now(attempt)
        assert (found.status, found.problems, found.measurements["class"]) == (status, problems, klass)


def test_measured_ears_count_where_the_standard_changed_under_a_job(make, model, cast, dataset):
    attempt = make(Status.TO_CLASSIFY)
    Attempt.objects.filter(pk=attempt.pk).update(measurements={"kept": {"right_ear": 0.6}, "class": None})
    attempt.refresh_from_db()
    actions.configure_dataset(actor=cast.owner, dataset=dataset, ears_required=True)
    finding = actions.Finding(SURE, with_ears=SURE, in_distribution=True, render_version=RENDER)
    actions.record_prediction(actor=None, attempt=attempt, model=model, finding=finding)
    assert (now(attempt).status, len(now(attempt).problems)) == (Status.REFER, 1)


def test_new_cutoffs_route_anew_only_what_is_undecided(make, cast, dataset):
    waiting, passed, held, doubted = make(), make(), make(), make()
    judge(cast.reviewer, passed)
    actions.lease_one(actor=cast.colleague, attempt_id=held.pk, mode="verify")
    actions.lease_one(actor=cast.reviewer, attempt_id=doubted.pk, mode="verify")
    actions.refer(actor=cast.reviewer, attempt_id=doubted.pk, nonce="u")
    strict = ThresholdPolicy(verify_min=0.999)
    assert consequences(strict).routes == {"verify": 0, "refer": 1, "fail": 0}
    new = actions.save_thresholds(actor=cast.root, policy=strict, evidence={"scans": 400}, note="stricter")
    assert [now(a).status for a in (waiting, passed, held, doubted)] == ["refer", "passed", "verify", "refer"]
    assert (new.version, new.active, ThresholdSet.objects.filter(active=True).count()) == (2, True, 1)
    actions.activate_thresholds(actor=cast.root, threshold_set=ThresholdSet.objects.get(version=1))
    assert [now(a).status for a in (waiting, doubted)] == ["verify", "refer"]
    assert TriageRecord.objects.filter(attempt=waiting).count() == 3


def test_many_are_routed_anew_in_the_background(make, monkeypatch, enqueued):
    from reviews.jobs import route_anew

    attempts = [make() for _ in range(3)]
    monkeypatch.setattr("reviews.actions.thresholds.AT_ONCE", 2)
    enqueued.clear()
    new = actions.save_thresholds(actor=None, policy=ThresholdPolicy(verify_min=0.999))
    assert enqueued == [("reviews.jobs.route_anew", new.pk)]
    assert {now(attempt).status for attempt in attempts} == {"verify"}
    route_anew(new.pk)
    assert {now(attempt).status for attempt in attempts} == {"refer"}
    assert actions.retriage() == {"verify": 0, "refer": 0, "fail": 0, "unchanged": 0}


def test_what_stays_is_recorded_once_under_the_new_cutoffs(make):
    attempt = make()
    actions.save_thresholds(actor=None, policy=ThresholdPolicy(verify_min=0.96))
    actions.retriage()
    records = TriageRecord.objects.filter(attempt=attempt).order_by("pk")
    assert [record.threshold_set.version for record in records] == [1, 2]
    assert now(attempt).triaged_under.version == 2


def test_only_an_administrator_changes_cutoffs_and_models(make, cast, model):
    attempt = make()
    for person in (cast.owner, cast.manager, cast.reviewer, cast.stranger):
        with pytest.raises(actions.NotAllowed):
            actions.save_thresholds(actor=person, policy=ThresholdPolicy(0.999))
        with pytest.raises(actions.NotAllowed):
            actions.promote_model(actor=person, model=model)
    assert now(attempt).status == Status.VERIFY
    assert ThresholdSet.objects.count() == 1


def test_newer_weights_of_the_software_classify_the_undecided_again(make, cast, model):
    waiting, passed = make(), make()
    judge(cast.reviewer, passed)
    new = actions.register_model(actor=None, version="n", render_version=RENDER, class_order=list(CLASSES))
    assert new.state == ModelVersion.State.CANDIDATE
    with pytest.raises(actions.NotAllowed):
        actions.adopt_model(actor=cast.root, model=new)
    assert actions.adopt_model(actor=None, model=new) == 1
    assert [now(a).status for a in (waiting, passed)] == ["to_classify", "passed"]
    model.refresh_from_db()
    assert model.state == ModelVersion.State.RETIRED
    classify(now(waiting), new, FACE)
    assert now(waiting).status == Status.FAILED


def test_a_model_in_the_shadow_routes_nothing(make, model):
    attempt = make()
    shadow = actions.register_model(actor=None, version="s", render_version=RENDER, class_order=list(CLASSES))
    finding = actions.Finding(FACE, in_distribution=True, render_version=RENDER)
    actions.record_shadow(actor=None, attempt=attempt, model=shadow, finding=finding)
    actions.save_thresholds(actor=None, policy=ThresholdPolicy(0.96))
    assert now(attempt).status == Status.VERIFY
    assert consequences(ThresholdPolicy()).routes == {"verify": 1, "refer": 0, "fail": 0}


def test_every_version_is_in_the_trail(make, cast):
    make()
    actions.save_thresholds(actor=cast.root, policy=ThresholdPolicy(0.99))
    events = AuditEvent.objects.filter(action="thresholds_saved").order_by("seq")
    assert [event.after["policy"]["verify_min"] for event in events] == [ThresholdPolicy().verify_min, 0.99]


def test_a_verdict_of_another_standard_taken_back_is_routed_anew(
    make, model, cast, dataset, django_capture_on_commit_callbacks
):
    attempt = seen(make, model, UNCLEAR)
    verdict = judge(cast.reviewer, attempt)
    configure(cast, dataset, django_capture_on_commit_callbacks, ears_required=True)
    actions.undo_verdict(actor=cast.reviewer, verdict_id=verdict.pk, nonce="undo")
    assert now(attempt).status == Status.VERIFY
    actions.release_leases(actor=cast.reviewer)
    actions.retriage()  # what the upkeep does
    assert now(attempt).status == Status.REFER
