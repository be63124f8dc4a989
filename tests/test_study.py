"""The synthetic study: the same seed gives the same people, contrasts look like themselves."""

import numpy as np
import pytest
from scipy.ndimage import zoom

from inference import demo_heads
from inference.classifier import Classifier
from inference.deface.template import template_brain
from inference.projections.network_input import network_inputs
from inference.triage import Context, Route, ThresholdPolicy, triage
from inference.volumes import read_volume


@pytest.fixture(scope="module")
def first():
    return demo_heads.head(demo_heads.Person(3, 5))


def test_a_person_follows_from_seed_and_number_alone(first):
    again, affine = demo_heads.head(demo_heads.Person(3, 5))
    np.testing.assert_array_equal(again, first[0])
    np.testing.assert_array_equal(affine, first[1])


def test_other_people_are_other_people(first):
    other, _ = demo_heads.head(demo_heads.Person(7, 5))  # the same contrast
    assert other.shape == first[0].shape
    assert np.corrcoef(other.ravel()[::7].astype(float), first[0].ravel()[::7].astype(float))[0, 1] < 0.98


def test_a_study_has_every_kind_of_outcome():
    made = list(demo_heads.people(48))
    assert len(made) == 48
    assert {person.suffix for person in made} == {"T1w", "T2w", "FLAIR"}
    assert {person.fault for person in made} == {*demo_heads.FAULTS, "site"}
    assert made[0].fault == "site"  # the first scan goes the whole way


def test_fluid_is_bright_in_t2w_and_dark_in_flair():
    template, brain = demo_heads._sources()
    ventricle = zoom(template_brain(), 2, order=0) & (template < 120) & (brain > 0.99)
    white = (template > 340) & (brain > 0.99)
    rng = np.random.default_rng(0)
    for suffix, brighter in (("T1w", False), ("T2w", True), ("FLAIR", False)):
        image = demo_heads._contrast(template, brain, suffix, rng)
        assert bool(image[ventricle].mean() > image[white].mean()) is brighter


@pytest.mark.parametrize("number", [2, 7])
def test_a_good_defacing_of_the_study_is_a_confident_pass_of_a_new_site(tmp_path, number):
    person = demo_heads.Person(number, 1)
    assert person.fault == "none"
    _, defaced = demo_heads.make(person, tmp_path)
    (said,) = Classifier.load().predict([network_inputs(read_volume(defaced))])
    assert (
        triage(said.probabilities, ThresholdPolicy(), Context.of_network_alone(said.in_distribution)).route
        is Route.VERIFY
    )
