"""Defacing: what an engine removes, what it leaves alone, and how it refuses."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from inference import demo_heads
from inference.deface import PLANS, SCRATCH, DefaceError, run
from inference.deface.engines import ENGINES, Engine, MaskEngine, _carried_back, external_engines
from inference.deface.template import block_affine, block_mean, removal, template_brain, template_head
from inference.volumes import from_array, read_volume
from tests.test_supervisor import alive

SHAPE = (9, 11, 13)
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A synthetic head with a face."""
    data, affine = demo_heads.head(demo_heads.Person(1, 7))
    path = tmp_path_factory.mktemp("heads") / "sub-01_T1w.nii.gz"
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


@pytest.fixture
def small(tmp_path):
    """A tiny scaled volume in an unusual axis order."""
    data = np.random.default_rng(3).integers(-50, 900, SHAPE).astype(np.int16)
    affine = np.array([[0, 0, 2.0, -9], [-1.5, 0, 0, 7], [0, 1.0, 0, 3], [0, 0, 0, 1]])
    image = nib.Nifti1Image(data, affine)
    image.header.set_slope_inter(0.5, -3)
    path = tmp_path / "small.nii.gz"
    nib.save(image, path)
    return path


@pytest.fixture
def site_engine(tmp_path, monkeypatch):
    """Describe an external engine that runs a Python program; returns a function of the program's text."""

    def described(program, *extra):
        words = [sys.executable, "-c", program, "{source}", "{target}", *extra]
        file = tmp_path / "engines.json"
        file.write_text(json.dumps({"ours": {"argv": words, "version": "7", "plans": {"larger": ["wide"]}}}))
        monkeypatch.setenv("QC_ENGINES", str(file))
        return "ours"

    return described


CHANGE = """
import sys, nibabel as nib, numpy as np
image = nib.load(sys.argv[1]); raw = np.array(image.dataobj.get_unscaled()); raw{where} = {value}
copy = nib.Nifti1Image(raw, image.affine, image.header)
copy.header.set_slope_inter(image.dataobj.slope, image.dataobj.inter)
nib.save(copy, sys.argv[2])
"""


def test_the_standard_plan_removes_the_face_and_leaves_the_rest_as_it_was(original, tmp_path):
    before = original.read_bytes()
    target = tmp_path / "out" / "sub-01_T1w.nii.gz"
    record = run(original, target, "niimath", "standard")
    assert original.read_bytes() == before
    assert record.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    assert (record.engine, record.plan) == ("niimath", "standard")
    assert record.parameters["start"] == "header"
    assert list(target.parent.iterdir()) == [target]  # no scratch files stay
    one, two = nib.load(original), nib.load(target)
    assert two.shape == one.shape
    assert two.get_data_dtype() == one.get_data_dtype()
    np.testing.assert_array_equal(two.affine, one.affine)
    was, now = (np.asarray(image.dataobj) for image in (one, two))
    gone = was != now
    assert np.all(now[gone] == was.min())
    along = np.argwhere(gone & (was > 100)).mean(0) / was.shape
    assert along[1] > 0.6  # in front
    assert along[2] < 0.5  # below
    middle = tuple(slice(n // 3, n // 2) for n in was.shape)
    assert not gone[middle].any()


def test_masks_grow_and_shrink_as_their_plans_say():
    standard, larger = removal(PLANS["standard"].mask) > 0.5, removal(PLANS["larger"].mask) > 0.5
    smaller, largest = removal(PLANS["smaller"].mask) > 0.5, removal(PLANS["largest"].mask) > 0.5
    assert standard.sum() < larger.sum() < largest.sum()
    assert smaller.sum() < standard.sum()
    assert not (standard & ~larger).any()
    assert not (smaller & ~standard).any()
    for mask in (smaller, standard, larger, largest):
        assert not (mask & template_brain()).any()


def test_only_larger_masks_take_the_ears():
    left_ear, right_ear = np.s_[6:9, 50:60, 30:40], np.s_[80:83, 50:60, 30:40]
    for ear in (left_ear, right_ear):
        assert template_head()[0][ear].max() > 40  # there is an ear in the template
        assert removal(PLANS["larger"].mask)[ear].mean() > 0.9
        assert removal(PLANS["standard"].mask)[ear].max() == 0


def test_a_mask_lands_on_the_same_places_whatever_the_order_of_axes():
    _, affine = template_head()
    shape, zooms = (40, 50, 45), (4.0, 4.4, 5.0)
    upright = np.diag([*zooms, 1.0])
    upright[:3, 3] = affine[:3, 3]
    mask = removal(PLANS["standard"].mask)
    expected = _carried_back(
        mask, np.eye(4), from_array(np.arange(np.prod(shape)).reshape(shape), affine=upright)
    )
    stored = np.array([[0, 0, -zooms[0], 0], [zooms[1], 0, 0, 0], [0, -zooms[2], 0, 0], [0, 0, 0, 1.0]])
    stored[:3, 3] = upright[:3, 3] + [zooms[0] * (shape[0] - 1), 0, zooms[2] * (shape[2] - 1)]
    turned = np.arange(np.prod(shape)).reshape(shape[1], shape[2], shape[0])
    found = _carried_back(mask, np.eye(4), from_array(turned, affine=stored))
    np.testing.assert_allclose(found[:, ::-1, ::-1].transpose(2, 0, 1), expected, atol=1e-4)


def test_averaged_blocks_stay_where_their_voxels_were():
    data = np.indices((8, 9, 7)).astype(float)[0]
    affine = np.array([[2.0, 0, 0, 5], [0, 3, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    block = block_mean(data, (2, 3, 1))
    assert block.shape == (4, 3, 7)
    where = block_affine(affine, (2, 3, 1)) @ [1, 0, 0, 1]
    assert where[0] == pytest.approx(affine[0, 0] * block[1, 0, 0] + 5)


def test_an_external_engine_keeps_geometry_scaling_and_type(small, site_engine, tmp_path):
    engine = site_engine(CHANGE.format(where="[:4]", value="-50"))
    record = run(small, tmp_path / "out.nii.gz", engine, "standard")
    assert (record.engine, record.version) == ("ours", "7")
    one, two = read_volume(small), read_volume(tmp_path / "out.nii.gz")
    assert 0 < (one.data != two.data).mean() < 0.5


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])", "identical to the original"),
        ("pass", "wrote no output"),
        (CHANGE.format(where="[:]", value="0"), "unusable"),
        ("import sys; sys.exit('licence expired')", "licence expired"),
        ("import time; time.sleep(20)", "took longer than"),
        ("import sys; open(sys.argv[2], 'w').write('no volume')", "unusable"),
        (CHANGE.format(where="[0]", value="0; raw = raw[1:]"), "voxels, not"),
        (CHANGE.format(where="[0]", value="0; image.affine[0, 3] += 4"), "position in space"),
    ],
)
def test_useless_output_is_refused_with_its_reason(small, site_engine, tmp_path, program, reason):
    engine, target = site_engine(program), tmp_path / "out.nii.gz"
    with pytest.raises(DefaceError, match=reason) as refused:
        run(small, target, engine, "standard", timeout=4)
    assert str(small) in str(refused.value)
    assert not target.exists()
    assert not list(tmp_path.glob(".deface-*"))


def test_scratch_files_of_a_killed_run_go_with_a_later_one(small, site_engine, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old, new, other = (tmp_path / name for name in (f"{SCRATCH}old", f"{SCRATCH}new", "deface-mine"))
    for folder in (old, new, other):
        folder.mkdir()
        (folder / "head.nii").write_text("a head that was not defaced yet")
    for folder in (old, other):
        os.utime(folder, (time.time() - 4000,) * 2)
    with pytest.raises(DefaceError, match="licence"):
        run(
            small, tmp_path / "out.nii.gz", site_engine("import sys; sys.exit('licence expired')"), "standard"
        )
    assert [folder.exists() for folder in (old, new, other)] == [False, True, True]


HELPER = """
import subprocess, sys, time
helper = subprocess.Popen(["sleep", "60"], start_new_session={apart})
open({note!r}, "w").write(str(helper.pid))
{then}
"""


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("then", ["time.sleep(60)", "sys.exit('licence expired')"])
def test_no_program_that_an_engine_started_outlives_it(small, site_engine, tmp_path, apart, then):
    note = tmp_path / "helper"
    engine = site_engine(HELPER.format(apart=apart, note=str(note), then=then))
    started = time.monotonic()
    with pytest.raises(DefaceError, match=r"took longer than|licence expired"):
        run(small, tmp_path / "out.nii.gz", engine, "standard", timeout=3)
    assert time.monotonic() - started < 30
    assert not alive(int(note.read_text()))


def test_a_program_of_another_user_is_not_waited_for():
    program = """
import os, subprocess, sys, time
from inference.deface import guard
ours, theirs = (subprocess.Popen(["sleep", "60"]) for _ in range(2))
kill = os.kill
def refusing(pid, signum):
    if pid == theirs.pid:
        raise PermissionError
    kill(pid, signum)
os.kill = refusing
guard.end_children()
print(ours.poll() is None, theirs.poll() is None)
kill(theirs.pid, 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, cwd=ROOT
    )
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_a_program_that_is_not_there_is_told(small, tmp_path, monkeypatch):
    file = tmp_path / "engines.json"
    file.write_text(json.dumps({"gone": {"argv": [str(tmp_path / "gone"), "{source}"], "version": "1"}}))
    monkeypatch.setenv("QC_ENGINES", str(file))
    with pytest.raises(DefaceError, match=r"gone cannot be run \(No such file"):
        run(small, tmp_path / "out.nii.gz", "gone", "standard")


def test_a_plan_may_add_arguments_to_an_external_engine(small, site_engine, tmp_path):
    engine = site_engine("import sys; sys.exit(' '.join(sys.argv[3:]) or 'nothing more')")
    with pytest.raises(DefaceError, match="wide"):
        run(small, tmp_path / "out.nii.gz", engine, "larger")
    with pytest.raises(DefaceError, match="nothing more"):
        run(small, tmp_path / "out.nii.gz", engine, "standard")


def test_the_original_is_never_the_output(small):
    before = small.read_bytes()
    with pytest.raises(DefaceError, match="original itself"):
        run(small, small)
    assert small.read_bytes() == before


def test_names_that_do_not_exist_are_refused(small, tmp_path):
    with pytest.raises(DefaceError, match="no engine called 'scissors'"):
        run(small, tmp_path / "out.nii.gz", "scissors", "standard")
    with pytest.raises(DefaceError, match="no plan called 'gently'"):
        run(small, tmp_path / "out.nii.gz", "niimath", "gently")
    with pytest.raises(DefaceError, match=r"must end in \.nii\.gz"):
        run(small, tmp_path / "out.nii", "niimath", "standard")


def test_every_engine_keeps_to_the_protocol(tmp_path):
    file = tmp_path / "engines.json"
    file.write_text(json.dumps({"site": {"argv": ["true"], "version": "1"}}))
    for engine in (*ENGINES.values(), *external_engines(file).values()):
        assert isinstance(engine, Engine)


class Corner(MaskEngine):
    """An engine of our own that takes one corner away, and leaves a note of where its scratch folder was."""

    name, version = "corner", "1"

    def mask(self, work, plan):
        removed = np.zeros(work.volume.stored.shape, bool)
        removed[:3, :3, :3] = True
        return removed, {"scratch": str(work.folder)}


@pytest.fixture
def corner(monkeypatch):
    monkeypatch.setattr("inference.deface.engine_called", lambda name: Corner())


def test_removed_voxels_are_the_darkest_whatever_the_scaling_says(corner, tmp_path):
    data = np.random.default_rng(3).integers(5, 900, SHAPE).astype(np.int16)
    image = nib.Nifti1Image(data, np.eye(4))
    image.header.set_slope_inter(-1, 1000)
    nib.save(image, tmp_path / "negative.nii")
    run(tmp_path / "negative.nii", tmp_path / "out.nii", "corner", "standard")
    before, after = (nib.load(tmp_path / name).get_fdata() for name in ("negative.nii", "out.nii"))
    assert (after[:3, :3, :3] == before.min()).all()
    assert np.array_equal(after[3:], before[3:])


def test_a_header_that_would_move_the_voxels_is_refused(corner, tmp_path):
    data = np.random.default_rng(3).integers(0, 900, SHAPE).astype(np.int16)
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "whole.nii")
    blob = bytearray((tmp_path / "whole.nii").read_bytes())
    blob[108:112] = np.float32(0).tobytes()  # vox_offset: readers differ in what they make of it
    (tmp_path / "zero.nii").write_bytes(blob)
    with pytest.raises(DefaceError, match=r"zero\.nii.*outside the mask"):
        run(tmp_path / "zero.nii", tmp_path / "out.nii", "corner", "standard")
    assert not (tmp_path / "out.nii").exists()


def test_no_scratch_file_lies_beside_the_output(corner, small, tmp_path):
    place = tmp_path / "derivatives"
    record = run(small, place / "out.nii.gz", "corner", "standard")
    assert place not in Path(record.parameters["scratch"]).parents
    assert [path.name for path in place.iterdir()] == ["out.nii.gz"]
