"""Judging a network: every sample is asked once, in order, and answers that are kept are not asked for again."""

import json
import os

import pytest

from inference import dataset, evaluate, judged
from inference.predict import DEFAULT, Classifier
from tests.heads import make_shards


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    people = (dataset.CALIBRATION[0], dataset.TEST[0], dataset.TEST[1])
    return make_shards(tmp_path_factory.mktemp("shards"), people, samples=6)


@pytest.fixture
def asked(monkeypatch):
    """The shards of which the network was really asked."""
    seen = []
    really = judged.answers

    def note(model, shard):
        seen.append(shard.path.name)
        return really(model, shard)

    monkeypatch.setattr(judged, "answers", note)
    return seen


def test_several_processes_say_what_one_says(data, capsys):
    chosen = dataset.split(dataset.shards(data))["test"]
    found = judged.predictions(DEFAULT, chosen)
    alone = [judged.answers(DEFAULT, shard) for shard in chosen]
    assert [c for part in alone for c in part.cases] == found.cases
    assert [o for part in alone for o in part.odd] == found.odd
    assert [c.person for c in found.cases] == sorted(c.person for c in found.cases), (
        "in the order of the shards"
    )
    assert 0 < len(found.cases) + len(found.odd) <= 12
    assert capsys.readouterr().err.endswith("2/2 shards\n")


def test_kept_answers_are_used_for_the_same_network_and_the_same_shard_alone(data, asked, tmp_path):
    shard = dataset.shards(data)[0]
    first = judged.kept_answers(DEFAULT, tmp_path, shard)
    assert judged.kept_answers(DEFAULT, tmp_path, shard) == first
    assert asked == [shard.path.name]
    (file,) = tmp_path.glob("*/*")
    assert file.parent.name == Classifier.load(DEFAULT).version
    file.write_text(file.read_text()[:-20])
    assert judged.kept_answers(DEFAULT, tmp_path, shard) == first, "a damaged file is made again"
    os.utime(shard.path, ns=(1, 1))
    assert judged.kept_answers(DEFAULT, tmp_path, shard) == first
    assert len(asked) == 3, "another file of that name"
    assert json.loads(file.read_text())["shard"][1] == 1
    assert [p.name for p in tmp_path.glob("*/*")] == [file.name], "nothing half-written is left"


def test_all_tables_are_made_of_what_is_kept(data, tmp_path, capsys, monkeypatch):
    arguments = [
        "evaluate",
        str(DEFAULT),
        str(data),
        "--keep",
        str(tmp_path / "kept"),
        "--out",
        str(tmp_path / "out.md"),
    ]
    monkeypatch.setattr("sys.argv", arguments)
    evaluate.main()
    said = capsys.readouterr().out
    assert (tmp_path / "out.md").read_text() == said
    assert (
        f"Calibration people: {dataset.CALIBRATION[0]}. Test people: {dataset.TEST[0]}, {dataset.TEST[1]}."
        in said
    )
    assert len(list((tmp_path / "kept").glob("*/*.json"))) == 3
    evaluate.main()
    assert capsys.readouterr().out == said
