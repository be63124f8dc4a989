"""Problems are codes with numbers; one place puts them in words, and older sentences stay readable."""

import json

import pytest
from django.test import Client
from django.urls import reverse

from inference.problems import DETAILS, problem
from inference.triage import Reason
from reviews.actions.triage import count_ears
from reviews.api import attempt_described
from reviews.export.rows import attempts
from reviews.models import Attempt
from reviews.wording import PROBLEMS, REASONS, problem_codes, problem_words

OLD = "left ear still there (90% of the surface)"
NOSE = problem("region_left", region="nose", share=0.61)
EXAMPLES = {
    "ml": 412.34,
    "mm": 3.26,
    "region": "left_ear",
    "share": 0.615,
    "class": "brain",
    "before": [4, 5, 6],
    "after": [4, 5, 7],
    "error": "no file",
}


@pytest.mark.parametrize("code", sorted(DETAILS))
def test_every_code_has_words_with_its_numbers_and_is_json(code):
    found = problem(code, **{name: EXAMPLES[name] for name in DETAILS[code]})
    assert json.loads(json.dumps(found)) == found
    assert len(problem_words(found)) > 20
    assert code not in problem_words(found)


def test_no_code_and_no_reason_is_without_words_and_no_words_without_a_code():
    assert PROBLEMS.keys() == DETAILS.keys()
    assert set(REASONS) == set(Reason)


@pytest.mark.parametrize(("code", "details"), [("nose", {}), ("brain_removed", {}), ("unchanged", {"ml": 1})])
def test_a_problem_that_the_screen_has_no_words_for_cannot_be_made(code, details):
    with pytest.raises(ValueError, match="no known problem"):
        problem(code, **details)


def test_sentences_from_before_are_shown_as_they_are_and_no_code_is_silent():
    assert problem_words(OLD) == OLD
    assert problem_codes([OLD, NOSE]) == [{"code": "text", "text": OLD}, NOSE]
    assert problem_words({"code": "brain_removed", "litres": 3}) == "code brain_removed, litres 3"
    assert problem_words({"code": "of a later version", "ml": 3}) == "code of a later version, ml 3"


@pytest.mark.django_db
def test_ears_are_recounted_by_code_whatever_number_was_told(make):
    attempt = make()
    attempt.measurements = {"brain_removed_ml": 0.0, "kept": {"nose": 0.61, "left_ear": 0.9}}
    stale = problem("region_left", region="right_ear", share=0.7)
    attempt.problems = [stale, OLD, NOSE, "an old sentence"]
    attempt.dataset.ears_required = True
    count_ears(attempt)
    counted = [NOSE, "an old sentence", problem("region_left", region="left_ear", share=0.9)]
    assert attempt.problems == counted
    attempt.dataset.ears_required = False
    count_ears(attempt)
    assert attempt.problems == counted[:2]


@pytest.mark.django_db
def test_pages_lists_exports_and_the_interface_tell_words_and_machines_codes(make, cast):
    attempt = make()
    Attempt.objects.filter(pk=attempt.pk).update(problems=[NOSE, OLD])
    attempt.refresh_from_db()
    words, codes = ["nose still there (61% of the surface)", OLD], [NOSE, {"code": "text", "text": OLD}]
    (row,) = attempts(attempt.dataset)
    told = attempt_described(attempt)
    assert (row["problems"], row["problem_codes"]) == (words, codes)
    assert (told["problems"], told["problem_codes"]) == (words, codes)
    assert attempt.problem == "; ".join(words)
    client = Client()
    client.force_login(cast.owner)
    page = client.get(reverse("scan", args=[attempt.scan_id])).content.decode()
    assert all(text in page for text in words)
    assert "region_left" not in page
