"""classify and deface from the command line: JSON, no database, on after a bad file."""

import io
import json

import nibabel as nib
import numpy as np
import pytest
from django.core.management import CommandError, call_command

from inference import checkpoint
from tests.heads import ball
from tests.weights import sure_of

KEYS = {"path", "probabilities", "attributes", "predicted", "route", "model", "render_version", "seconds"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """An untrained network that is sure of a pass."""
    return sure_of("pass", tmp_path_factory.mktemp("weights"))


@pytest.fixture
def use(monkeypatch):
    """Make a file the weights that come with the software."""
    return lambda path: monkeypatch.setattr(
        "inference.classifier.Classifier.load.__func__.__defaults__", (path, 1)
    )


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A head of shapes as a file."""
    values = ball((88, 110, 135), (74, 98, 92)) * 300.0 + ball((88, 108, 140), (60, 82, 72)) * 400.0
    path = tmp_path_factory.mktemp("head") / "head.nii.gz"
    nib.save(nib.Nifti1Image(values[::2, ::2, ::2].astype(np.float32), np.diag([2.0, 2.0, 2.0, 1])), path)
    return path


def run(*arguments):
    """Lines of JSON, and the exit status."""
    out, code = io.StringIO(), 0
    try:
        call_command(*map(str, arguments), stdout=out)
    except CommandError as error:
        code = error.returncode
    return [json.loads(line) for line in out.getvalue().splitlines()], code


def test_classify_without_a_database(use, weights, head, tmp_path):
    use(weights)
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"x")
    (first, second), code = run("classify", bad, head, "--format", "jsonl")
    assert code == 1
    assert set(first) == {"path", "error"}
    assert "bad.nii.gz" in first["error"]
    assert set(second) >= KEYS
    assert sum(second["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert (second["predicted"], second["route"], second["path"]) == ("pass", "verify", str(head))
    assert set(second["attributes"]) == {"face", "ears", "brain"}
    assert set(second["seconds"]) == {"read", "render", "classify"}
    assert all(value > 0 for value in second["seconds"].values())


def test_classify_a_folder(use, weights, head):
    use(weights)
    lines, code = run("classify", head.parent)
    assert (len(lines), code) == (1, 0)


def test_an_original_of_another_shape_forbids_the_pass(use, weights, head, tmp_path):
    use(weights)
    other = tmp_path / "original.nii.gz"
    nib.save(nib.Nifti1Image(np.arange(20**3, dtype=np.int16).reshape(20, 20, 20), np.eye(4)), other)
    (line,), code = run("classify", head, "--original", other)
    assert (line["route"], line["reason"], code) == ("refer", "physical_check", 0)
    assert [found["code"] for found in line["problem_codes"]] == ["voxels_changed"]
    assert line["problems"] == line["measured"]["problems"]
    assert line["problems"][0].startswith("geometry changed: 20 x 20 x 20 voxels before")


def test_originals_go_with_paths(use, weights, head):
    use(weights)
    with pytest.raises(CommandError, match="once for each"):
        call_command("classify", str(head), str(head), "--original", str(head))
    with pytest.raises(CommandError, match="not with folders"):
        call_command("classify", str(head.parent), "--original", str(head))


def test_bad_weights_are_refused_by_name(use, head, tmp_path):
    use(tmp_path / "none.onnx")
    with pytest.raises(CommandError, match=r"none\.onnx"):
        call_command("classify", str(head))


def test_deface_refuses_what_it_must(head, tmp_path):
    target = tmp_path / "out.nii.gz"
    for arguments, words in (
        ((head, target, "--engine", "nonesuch"), "not one of"),
        ((head, target, "--engine", "niimath", "--plan", "nonesuch"), "not one of"),
        ((head, head, "--engine", "niimath", "--force"), "the input never"),
    ):
        with pytest.raises(CommandError, match=words):
            call_command("deface", *map(str, arguments))
    target.write_bytes(b"mine")
    with pytest.raises(CommandError, match="--force"):
        call_command("deface", str(head), str(target), "--engine", "niimath")
    assert target.read_bytes() == b"mine"


def test_deface_really(tmp_path):
    from inference.deface.template import HEAD

    source, target = HEAD, tmp_path / "out.nii.gz"
    source_bytes = source.read_bytes()
    (line,), code = run("deface", source, target, "--engine", "niimath", "--plan", "standard")
    assert (code, line["engine"], line["plan"]) == (0, "niimath", "standard")
    assert line["sha256"] == checkpoint.file_hash(target)
    before, after = (np.asarray(nib.load(path).dataobj) for path in (source, target))
    assert 0.005 < np.mean(before != after) < 0.5
    assert source.read_bytes() == source_bytes
