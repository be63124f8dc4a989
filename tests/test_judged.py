"""Judging a network: every sample is asked about once, in order, and what is kept is not asked for again."""

import shutil

import numpy as np
import pytest

from inference import classes
from inference.classifier import DEFAULT, Classifier
from inference.training import evaluate, evaluation_cases, shards
from tests.heads import make_shards

PEOPLE = (shards.CALIBRATION[0], shards.TEST[0], shards.TEST[1])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A shard of each of three people; the twelfth sample of every shard is no head."""
    return make_shards(tmp_path_factory.mktemp("shards"), PEOPLE, samples=12)


@pytest.fixture
def asked(monkeypatch):
    """The shards of which the network was really asked."""
    seen = []
    really = evaluation_cases.asked

    def note(model, shard):
        seen.append(shard.path.name)
        return really(model, shard)

    monkeypatch.setattr(evaluation_cases, "asked", note)
    return seen


def test_several_processes_say_what_one_says(data, tmp_path, capsys):
    chosen = shards.split(shards.shards(data))["test"]
    found = evaluation_cases.predictions(DEFAULT, chosen, tmp_path / "kept")
    alone = [evaluation_cases.answers(DEFAULT, None, shard) for shard in chosen]
    assert [c for part in alone for c in part.cases] == found.cases
    assert [o for part in alone for o in part.odd] == found.odd
    assert len(found.odd) == 2
    assert 0 < len(found.cases) <= 22
    assert [c.person for c in found.cases] == sorted(c.person for c in found.cases), (
        "in the order of the shards"
    )
    assert capsys.readouterr().err.endswith("2/2 shards\n")


def test_what_is_kept_is_used_for_the_same_network_and_the_same_pictures_alone(data, asked, tmp_path):
    shard, other, _ = shards.shards(data)
    first = evaluation_cases.answers(DEFAULT, tmp_path, shard)
    assert evaluation_cases.answers(DEFAULT, tmp_path, shard) == first
    elsewhere = shards.Shard(tmp_path / "elsewhere.npz", shard.person)
    shutil.copy(shard.path, elsewhere.path)
    assert evaluation_cases.answers(DEFAULT, tmp_path, elsewhere) == first, "whatever the file is called"
    assert asked == [shard.path.name]
    (file,) = tmp_path.glob("*/*")
    assert Classifier.load(DEFAULT).version in file.parent.name
    shutil.copy(other.path, elsewhere.path)
    evaluation_cases.answers(DEFAULT, tmp_path, elsewhere)
    assert asked[1:] == ["elsewhere.npz"]
    for damage in (b"", b"[]", file.read_bytes()[:-20]):
        file.write_bytes(damage)
        assert evaluation_cases.answers(DEFAULT, tmp_path, shard) == first
    assert len(asked) == 5, "what is damaged is asked for again"
    assert not list(tmp_path.glob("*/*.part")), "nothing half-written is left"


def test_truth_is_of_today_whatever_is_kept(data, asked, tmp_path, monkeypatch):
    shard = shards.shards(data)[0]
    before = evaluation_cases.answers(DEFAULT, tmp_path, shard)
    monkeypatch.setattr(classes, "BRAIN_CLEAR_ML", 1e6)
    after = evaluation_cases.answers(DEFAULT, tmp_path, shard)
    assert len(asked) == 1
    assert {c.truth for c in before.cases} & {"brain", "both"}
    assert not {c.truth for c in after.cases} & {"brain", "both"}, "no bite is too large any more"
    probabilities = {tuple(c.probabilities.values()) for c in before.cases}
    assert probabilities <= {tuple(c.probabilities.values()) for c in after.cases}


def run(monkeypatch, data, kept, out):
    monkeypatch.setattr(
        "sys.argv", ["evaluate", str(DEFAULT), str(data), "--keep", str(kept), "--out", str(out)]
    )
    evaluate.main()
    return out.read_text()


def test_all_tables_are_made_of_what_is_kept(data, tmp_path, capsys, monkeypatch):
    text = run(monkeypatch, data, tmp_path / "kept", tmp_path / "out.md")
    assert capsys.readouterr().out == text
    assert f"Calibration people: {PEOPLE[0]}. Test people: {PEOPLE[1]}, {PEOPLE[2]}." in text
    usable = [line.split("|")[2].strip() for line in text.splitlines() if line.startswith("| test people")]
    assert len(usable) == 2
    assert len(set(usable)) == 1, "the same people at the cut-offs chosen and at the start cut-offs"
    files = list((tmp_path / "kept").glob("*/*.npz"))
    assert len(files) == 3
    assert run(monkeypatch, data, tmp_path / "kept", tmp_path / "again.md") == text
    for file in files:
        with np.load(file) as stored:
            changed = dict(stored) | {"in_distribution": np.zeros(12)}
        np.savez(file, **changed)
    nothing = run(monkeypatch, data, tmp_path / "kept", tmp_path / "nothing.md")
    assert "| test people | 0 |" in nothing, "nothing that is kept was taken for a head"


def test_data_without_people_to_choose_cut_offs_on_is_refused_before_anything_is_asked(
    data, tmp_path, capsys, monkeypatch
):
    shutil.copy(shards.split(shards.shards(data))["test"][0].path, tmp_path)
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, tmp_path / "kept", tmp_path / "out.md")
    assert f"{tmp_path}: no shard of the calibration people" in capsys.readouterr().err
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_shard_is_named(data, tmp_path, capsys, monkeypatch, content):
    shutil.copytree(data, tmp_path / "data")
    bad = tmp_path / "data" / "zz.npz"
    bad.write_bytes(content)
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path / "data", tmp_path / "kept", tmp_path / "out.md")
    assert f"{bad}: not a shard of samples" in capsys.readouterr().err
