"""File names: BIDS there and back, a fair guess elsewhere, pairs that meet."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reviews.bids import EXTENSIONS, Entities, entities_of, guess, pair_keys, parse, split_extension

value = st.text("abcXYZ0189", min_size=1, max_size=6)
entities = st.builds(
    Entities,
    subject=value,
    suffix=st.sampled_from(["T1w", "T2w", "FLAIR", "PDw", "angio"]),
    session=value | st.just(""),
    acquisition=value | st.just(""),
    run=st.sampled_from(["", "1", "02"]),
    others=st.lists(st.tuples(st.sampled_from(["rec", "ce", "desc"]), value), unique_by=lambda p: p[0]).map(
        lambda pairs: tuple(sorted(pairs, key=lambda pair: ["ce", "rec", "desc"].index(pair[0])))
    ),
    extension=st.sampled_from(EXTENSIONS),
)


@given(entities)
def test_name_and_entities_are_the_same(original):
    assert parse(original.name) == original
    assert parse(original.name).name == original.name


@given(st.text(max_size=40))
@example("/")
def test_no_name_breaks_it(name):
    found = entities_of(["folder", name])
    assert "/" not in found.subject
    if parse(name):
        assert name.startswith("sub-")


def test_fields_carry_no_prefix():
    found = parse("sub-01_ses-pre_acq-hires_rec-norm_run-2_T1w.nii.gz")
    assert (found.subject, found.session, found.acquisition, found.run) == ("01", "pre", "hires", "2")
    assert (found.suffix, found.others) == ("T1w", (("rec", "norm"),))


@pytest.mark.parametrize(
    "name",
    [
        "T1w.nii.gz",
        "01_T1w.nii.gz",
        "sub-01.nii.gz",
        "sub-01_T1w.txt",
        "sub-01_sub-02_T1w.nii",
        "ses-1_T1w.nii",
    ],
)
def test_what_is_not_bids(name):
    assert parse(name) is None


@pytest.mark.parametrize(
    ("parts", "subject", "suffix"),
    [
        (["head01_t1.nii.gz"], "head01_t1", "T1w"),
        (["head06_flair.nii.gz"], "head06_flair", "FLAIR"),
        (["p7", "MPRAGE.nii"], "MPRAGE", "T1w"),
        (["sub-9", "ses-2", "scan_t2.mgz"], "9", "T2w"),
        (["head03.nii.gz"], "head03", "unknown"),
        (["subject12_T2star.nii"], "subject12_T2star", "T2starw"),
        (["t1_defaced.nii.gz"], "t1", "T1w"),
    ],
)
def test_a_plain_folder(parts, subject, suffix):
    found = guess(parts)
    assert (found.subject, found.suffix) == (subject, suffix)


@pytest.mark.parametrize(
    "name", ["sub-1_T1w_mask.nii.gz", "sub-1_task-rest_bold.nii.gz", "sub-1_label-GM_probseg.nii.gz"]
)
def test_what_shows_no_head(name):
    found = parse(name)
    assert found is None or not found.is_anatomy


def test_a_defaced_file_meets_its_original():
    def meet(defaced, original):
        return bool(set(pair_keys(defaced)) & set(pair_keys(original)))

    assert meet(["sub-1", "anat", "sub-1_T1w.nii.gz"], ["sub-1", "anat", "sub-1_T1w.nii"])
    assert meet(["derivatives", "x", "sub-1_desc-defaced_T1w.nii.gz"], ["sub-1", "anat", "sub-1_T1w.nii.gz"])
    assert meet(["head01_defaced.nii.gz"], ["head01.nii.gz"])
    assert not meet(["sub-1", "anat", "sub-1_T1w.nii.gz"], ["sub-1", "anat", "sub-1_T2w.nii.gz"])
    assert not meet(["sub-1_run-1_T1w.nii.gz"], ["sub-1_run-2_T1w.nii.gz"])
    assert not meet(["sub-1_ses-1_T1w.nii.gz"], ["sub-1_ses-2_T1w.nii.gz"])


def test_extensions():
    assert split_extension("a.nii.gz") == ("a", ".nii.gz")
    assert split_extension("a.b.NII") == ("a.b", ".NII")
    assert split_extension("a.txt") == ("a.txt", "")
    assert split_extension(".nii") == (".nii", "")
