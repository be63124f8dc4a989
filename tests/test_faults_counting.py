"""The counting of tests.faults: each thing that must not be is seen, and nothing is seen where all is well."""

import os
import random
from pathlib import Path

import pytest

from tests.faults.counting import SAVED, Evidence, Happened, Row, Stood, findings
from tests.faults.hurt import Files, hidden
from tests.faults.ledger import Damage, Ledger, Told

USER = 7


def well() -> Evidence:
    """One scan that a person passed, one that failed and was defaced again, one verdict taken back."""
    return Evidence(
        told=[
            Told(USER, "a-0", "pass", 10.0, SAVED, 11.0),
            Told(USER, "a-1", "face", 10.0, SAVED, 11.0),
            Told(USER, "a-2", "unsure", 10.0, "stale", 11.0),
            Told(USER, "a-3", "pass", 10.0),
        ],
        undone={USER: 1},
        taken={1, 2},
        damages=[],
        rows=[
            Row(1, USER, "a-0", 1, "pass"),
            Row(2, USER, "a-1", 2, "face", standing=False),
            Row(3, USER, "undo-2", 2, "undo"),
        ],
        events=[
            Happened(1, "attempt_added", None, "verify"),
            Happened(2, "attempt_added", None, "verify"),
            Happened(1, "judged_pass", "verify", "passed", 1),
            Happened(2, "judged_fail", "verify", "failed", 2),
            Happened(2, "undone_to_verify", "failed", "verify"),
        ],
        attempts=[Stood(1, 1, 1, "passed", "/o/1", "aa", "aa"), Stood(2, 2, 1, "verify", "/o/2", "bb")],
    )


def kinds(seen: Evidence) -> set[str]:
    return {kind for kind, names in findings(seen).items() if names}


def test_where_all_is_well_nothing_is_found():
    assert kinds(well()) == set()


def drop_row(seen):
    del seen.rows[0]
    seen.attempts[0] = Stood(1, 1, 1, "verify")
    seen.events[2] = Happened(1, "noted")


def harmed_while_judged(seen):
    seen.damages.append(Damage(Path("/o/1"), "replaced", 9.0, 12.0))


def harmed_afterwards_and_overwritten(seen):
    seen.damages.append(Damage(Path("/o/1"), "replaced", 20.0, 22.0))
    seen.attempts[0] = Stood(1, 1, 1, "passed", "/o/1", "aa", "xx")


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("acknowledged, but lost", drop_row),
        ("acknowledged, but stored otherwise", lambda seen: setattr(seen.told[0], "klass", "brain")),
        ("told refused, yet counted", lambda seen: setattr(seen.told[0], "answer", "not_leased")),
        ("undo acknowledged, but lost", lambda seen: setattr(seen, "undone", {USER: 2})),
        ("taken in, but lost", lambda seen: seen.taken.add(3)),
        ("counted twice", lambda seen: seen.rows.append(seen.rows[0])),
        ("counted twice", lambda seen: seen.events.append(seen.events[2])),
        (
            "verdicts without an event",
            lambda seen: seen.events.__setitem__(2, Happened(1, "x", "verify", "passed")),
        ),
        ("statuses that events do not explain", lambda seen: seen.events.pop()),
        ("statuses that events do not explain", lambda seen: seen.events.pop(3)),
        ("problems of the chain", lambda seen: seen.trail.append("event 3: its content was changed")),
        (
            "passed without a person",
            lambda seen: seen.rows.__setitem__(0, Row(1, USER, "a-0", 1, "pass", known=True)),
        ),
        ("passed with another file than recorded", harmed_while_judged),
        ("passed with another file than recorded", harmed_afterwards_and_overwritten),
        ("not finished, and no file explains it", lambda seen: seen.attempts.append(Stood(3, 3, 1, "error"))),
        (
            "not finished, and no file explains it",
            lambda seen: seen.attempts.append(Stood(3, 3, 1, "to_render")),
        ),
    ],
)
def test_each_thing_that_must_not_be_is_found(kind, change):
    seen = well()
    change(seen)
    assert kind in kinds(seen)


def test_a_file_harmed_for_good_explains_an_error_and_another_content():
    seen = well()
    seen.damages.append(Damage(Path("/o/1"), "cut short", 20.0))
    seen.damages.append(Damage(Path("/views/4/front.webp"), "removed", 5.0))
    seen.attempts[0] = Stood(1, 1, 1, "passed", "/o/1", "aa", "xx")
    seen.attempts.append(Stood(4, 4, 1, "error", files=("/in/4", "/views/4")))
    seen.events.append(Happened(4, "broke", None, "error"))
    assert kinds(seen) == set()


def test_a_follow_up_set_aside_leaves_the_failure_unfinished():
    seen = well()
    seen.attempts += [Stood(5, 5, 1, "failed"), Stood(6, 5, 2, "withdrawn")]
    seen.events += [Happened(5, "broke", None, "failed"), Happened(6, "withdrawn", None, "withdrawn")]
    assert kinds(seen) == {"not finished, and no file explains it"}


@pytest.mark.parametrize("deed", ["removed", "cut short", "replaced"])
def test_a_harmed_file_comes_back_unless_the_site_wrote_a_new_one(tmp_path, monkeypatch, deed):
    monkeypatch.setattr("tests.faults.hurt.DEEDS", (deed,))
    files, path = Files(None, None, Ledger()), tmp_path / "output.nii"
    path.write_bytes(b"the content" * 100)
    damage = files.harm(path, random.Random(1))
    assert not path.exists() or path.read_bytes() != b"the content" * 100
    files.mend(damage)
    assert path.read_bytes() == b"the content" * 100
    assert damage.ended < float("inf")
    again = files.harm(path, random.Random(1))
    path.unlink(missing_ok=True)
    path.write_bytes(b"made anew")
    os.utime(path, (path.stat().st_mtime + 60,) * 2)
    files.mend(again)
    assert path.read_bytes() == b"made anew"
    assert not hidden(path).exists()
