"""The stored slices stay below their limit; what was not shown for longest goes first."""

import os

from django.core.management import load_command_class

from inference.projections import slice_sheet


def stored(folder, name, size, age):
    path = folder / f"{name}.webp"
    path.write_bytes(b"x" * size)
    path.with_suffix(".txt").write_text("1,1,1,1,1,1")
    os.utime(path, (1_000_000 - age, 1_000_000 - age))
    return path


def test_the_longest_unseen_goes_first_with_its_note(tmp_path):
    old, middle, new = (stored(tmp_path, name, 400, age) for name, age in (("b", 30), ("a", 20), ("c", 10)))
    assert slice_sheet.prune(tmp_path, 800) == 1
    assert not old.exists()
    assert not old.with_suffix(".txt").exists()
    assert middle.exists()
    assert new.with_suffix(".txt").exists()


def test_a_sheet_that_is_shown_again_stays(tmp_path):
    seen, unseen = stored(tmp_path, "seen", 400, 30), stored(tmp_path, "unseen", 400, 20)
    slice_sheet.sheet(seen, "axial", "after", after=None).file.close()
    assert slice_sheet.prune(tmp_path, 400) == 1
    assert seen.exists()
    assert not unseen.exists()
    assert slice_sheet.prune(tmp_path / "missing", 0) == 0


def test_upkeep_prunes_by_the_setting(tmp_path, settings):
    settings.DATA_DIR, settings.SLICES_CACHE_MB = tmp_path, 1
    (tmp_path / "slices").mkdir()
    old, new = (stored(tmp_path / "slices", name, 700_000, age) for name, age in (("old", 9), ("new", 1)))
    load_command_class("reviews", "upkeep").prune_slices()
    assert not old.exists()
    assert new.exists()
