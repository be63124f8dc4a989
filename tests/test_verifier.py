"""The offline verifier: every forgery of an exported trail is named, older trails verify as what they are."""

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from reviews import audit, verify_chain

OWN, OTHER = 3, 4
OF_TWO = (OWN, OTHER, None, OWN, OTHER)


def event(last, form, **said):
    """The next event of a chain, as the software of that format made it."""
    made = {
        "seq": last["seq"] + 1,
        "at": "2026-11-28T10:00:00.000+00:00",
        "actor": "user:7",
        "action": "judged_pass",
        "dataset": OWN,
        "object_kind": "attempt",
        "object_id": 12,
        "before": {"status": "verify", "share": 0.25, "n": 1},
        "after": {"status": "passed", "name": "Zoë"},
        "format": form,
        "salt": "" if form == 1 else "5" * 32,
        "previous_digest": last["digest"],
        **said,
    }
    return sealed(made)


def sealed(made):
    made["content_digest"] = verify_chain.content_digest(made)
    made["digest"] = verify_chain.link(made)
    return made


def chain(*, older=5, newer=5, **first):
    """Events of two datasets and of none: some of the old format, the turn, some of the new one."""
    found, last = [], {"seq": 0, "digest": verify_chain.START}
    for number in range(older):
        found.append(event(last, 1, dataset=OF_TWO[number % 5]))
        last = found[-1]
    if older and newer:
        found.append(event(last, 2, dataset=None, action=verify_chain.TURN, after=turn(found)))
        last = found[-1]
    for number in range(newer):
        found.append(event(last, 2, dataset=OF_TWO[number % 5]))
        last = found[-1]
    return found


def turn(older):
    lines = "".join(f"{made['seq']} {made['dataset']}\n" for made in older)
    return {"until": len(older), "datasets": hashlib.sha256(lines.encode()).hexdigest()}


def exported(events, dataset=OWN):
    return [audit.first_line(dataset), *(audit.shown(made, dataset) for made in events)]


def old_export(events):
    """As the software wrote it before trails had a first line."""
    lines = []
    for made in events:
        digests = {name: made[name] for name in verify_chain.DIGESTS}
        whole = {name: made[name] for name in verify_chain.CONTENT} | digests
        withheld = {"seq": made["seq"], "withheld": True, **digests}
        lines.append(whole if made["dataset"] in (None, OWN) else withheld)
    return lines


def text_of(lines):
    return "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)


def verify(tmp_path, content, *digest):
    """Exit code and words, from the file by itself."""
    (tmp_path / "trail").write_bytes(content if isinstance(content, bytes) else content.encode())
    command = [sys.executable, "-I", verify_chain.__file__, "trail", *digest]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("older", [0, 5])
def test_a_whole_trail(tmp_path, older):
    events = chain(older=older)
    code, words = verify(tmp_path, text_of(exported(events)))
    assert code == 0
    assert words.endswith(
        f"whole up to digest {events[-1]['digest']}: compare it with one you were given before\n"
    )
    assert f"{4 if older else 2} withheld as those of other datasets" in words
    assert "old format" not in words


def test_a_withheld_event_carries_nothing_else():
    for line in exported(chain()):
        if line.get("withheld"):
            assert set(line) == {*verify_chain.LINKED, "digest", "withheld"}


def test_an_old_trail_verifies_as_what_it_is(tmp_path):
    events = chain(newer=0)
    code, words = verify(tmp_path, text_of(old_export(events)), events[-1]["digest"])
    assert (code, "whole up to digest" in words) == (0, True)
    assert "old format: withheld events cannot be bound to a dataset" in words
    assert "2 withheld" in words


def changed(number, **values):
    def change(lines):
        lines[number] |= values

    return change


def without(number, name):
    return lambda lines: lines[number].pop(name)


def withheld(line, **more):
    return {name: line[name] for name in (*verify_chain.LINKED, "digest")} | {"withheld": True} | more


def withhold(*numbers, **more):
    def change(lines):
        for number in numbers:
            lines[number] = withheld(lines[number], **more)

    return change


def raw(number, old, new):
    def change(lines):
        text = json.dumps(lines[number])
        assert old in text
        lines[number] = text.replace(old, new, 1)

    return change


def rehashed(number, **values):
    def change(lines):
        lines[number] |= values
        sealed(lines[number])

    return change


def everything_withheld(lines):
    for number, line in enumerate(lines[1:], 1):
        lines[number] = withheld(line)


def made_old(lines):
    """The tail of the new format is told as one of the old format, with fitting digests."""
    last = lines[6]
    for number in range(7, 12):
        lines[number] = event(last, 1, dataset=OWN)
        lines[number].pop("salt")
        last = lines[number]


def without_turn(lines):
    """What comes after the turn follows the last event of the old format."""
    del lines[6]
    lines[6] = event(lines[5] | {"seq": 5}, 2)
    del lines[7:]


def another_dataset_before(lines):
    """An event of the old format is withheld as if it were of another dataset."""
    lines[1] = withheld(lines[1], dataset=OTHER)


# The lines: 0 the first, 1-5 old format (2 and 5 of another dataset), 6 the turn, 7-11 new (8 and 11 of another, 9 of none).
ATTACKS = {
    "content altered": (changed(7, after={"status": "failed"}), "event 7: its content was changed"),
    "old content altered": (changed(1, actor="user:9"), "event 1: its content was changed"),
    "content altered and hashed anew": (rehashed(7, actor="user:9"), "event 8: does not follow"),
    "withheld beside content": (changed(7, withheld=True, actor="user:9"), "line 8 holds what does not belong"),
    "withheld that says more": (withhold(8, actor="user:9"), "line 9 holds what does not belong there: 'actor'"),
    "withheld false": (changed(8, withheld=False), "line 9 has a wrong 'withheld'"),
    "withheld 1": (changed(8, withheld=1), "line 9 has a wrong 'withheld'"),
    "own event withheld": (withhold(7), "event 7: is withheld, but is not of another dataset"),
    "event of no dataset withheld": (withhold(9), "event 9: is withheld, but is not of another dataset"),
    "the turn withheld": (withhold(6), "event 6: is withheld, but is not of another dataset"),
    "own old event withheld": (withhold(1), "event 1: is withheld, but is not of another dataset"),
    "all withheld": (everything_withheld, "event 7: is withheld, but is not of another dataset"),
    "withheld under another dataset": (withhold(7, dataset=OTHER), "event 7: its digest does not fit"),
    "old event withheld under another dataset": (another_dataset_before, "event 6: the dataset of an event before"),
    "dataset changed": (changed(7, dataset=None), "event 7: its content was changed"),
    "dataset of a withheld event changed": (changed(8, dataset=99), "event 8: its digest does not fit"),
    "other first line": (changed(0, dataset=OTHER), "event 7: is shown, but is of dataset 3"),
    "first line of a third dataset": (changed(0, dataset=9), "event 7: is shown, but is of dataset 3"),
    "first line with more": (changed(0, events=11), "line 1 holds what does not belong there: 'events'"),
    "first line of a later software": (changed(0, trail=3), "line 1 is no first line that this verifier knows"),
    "first line true": (changed(0, dataset=True), "line 1 is no first line that this verifier knows"),
    "first line missing": (lambda lines: lines.pop(0), "line 1 holds what does not belong there: 'format'"),
    "first line twice": (lambda lines: lines.insert(1, lines[0]), "line 2 lacks"),
    "event removed": (lambda lines: lines.pop(8), "event 9: expected number 8"),
    "first event removed": (lambda lines: lines.pop(1), "event 2: expected number 1"),
    "event twice": (lambda lines: lines.insert(8, lines[7]), "event 7: expected number 8"),
    "events reordered": (lambda lines: lines.insert(8, lines.pop(7)), "event 8: expected number 7"),
    "event inserted": (lambda lines: lines.insert(8, event(lines[7], 2)), "event 8: expected number 9"),
    "extra key": (changed(7, note="x"), "line 8 holds what does not belong there: 'note'"),
    "missing key": (without(7, "salt"), "line 8 lacks salt"),
    "digest missing": (without(8, "digest"), "line 9 lacks digest"),
    "key twice": (raw(7, '{"seq"', '{"actor": "user:9", "seq"'), "line 8 has 'actor' twice"),
    "key twice, escaped": (
        raw(7, '"actor"', '"\\u0061ctor": "user:9", "actor"'),
        "line 8 has 'actor' twice",
    ),
    "key twice, deep": (raw(7, '"n": 1', '"n": 2, "n": 1'), "line 8 has 'n' twice"),
    "look-alike key": (raw(7, '"actor"', '"\\u0430ctor"'), "line 8 lacks actor"),
    "look-alike value": (raw(7, "Zo\\u00eb", "Zoe\\u0308"), "event 7: its content was changed"),
    "lone surrogate": (raw(7, "Zo\\u00eb", "\\ud800"), "event 7: its content was changed"),
    "1 as 1.0": (raw(7, '"n": 1', '"n": 1.0'), "event 7: its content was changed"),
    "1 as true": (raw(7, '"n": 1', '"n": true'), "event 7: its content was changed"),
    "number 7.0": (changed(7, seq=7.0), "line 8 has a wrong 'seq'"),
    "number true": (changed(1, seq=True), "line 2 has a wrong 'seq'"),
    "number as text": (changed(7, seq="7"), "line 8 has a wrong 'seq'"),
    "dataset 3.0": (changed(7, dataset=3.0), "line 8 has a wrong 'dataset'"),
    "dataset true": (changed(8, dataset=True), "line 9 has a wrong 'dataset'"),
    "negative number": (changed(7, seq=-1), "line 8 has a wrong 'seq'"),
    "number above 2^63": (changed(7, seq=1 << 63), "line 8 has a wrong 'seq'"),
    "digest in capitals": (raw(7, '"digest": "', '"digest": "A'), "line 8 has a wrong 'digest'"),
    "digest with a line end": (changed(7, digest="0" * 64 + "\n"), "line 8 has a wrong 'digest'"),
    "digest null": (changed(8, content_digest=None), "line 9 has a wrong 'content_digest'"),
    "NaN": (raw(7, "0.25", "NaN"), "line 8 holds NaN, which is no number"),
    "infinity": (raw(7, "0.25", "1e999"), "line 8 holds a number that is too large"),
    "huge whole number": (raw(7, "0.25", "1" * 5000), "line 8"),
    "deeply nested": (raw(7, "0.25", "[" * 100_000 + "]" * 100_000), "line 8"),
    "no object": (lambda lines: lines.insert(8, "[1]"), "line 9 is no object"),
    "no JSON": (lambda lines: lines.insert(8, "{"), "line 9 is no JSON"),
    "two on a line": (raw(7, "}", "} {}"), "line 8 is no JSON"),
    "blank line": (lambda lines: lines.insert(8, " "), "line 9 is blank"),
    "byte order mark": (lambda lines: lines.insert(0, "\ufeff" + json.dumps(lines.pop(0))), "line 1 is no JSON"),
    "format lowered": (changed(7, format=1), "line 8 holds what does not belong there: 'salt'"),
    "format 3": (changed(7, format=3), "event 7: format 3 is not known"),
    "format true": (changed(1, format=True), "line 2 has a wrong 'format'"),
    "new events told as old ones": (made_old, "event 7: an older format after a newer one"),
    "the turn left out": (without_turn, "event 6: a newer format begins without the event that says so"),
    "new first line before old events": (lambda lines: lines.__delitem__(slice(6, None)), "of the new format"),
    "only the first line": (lambda lines: lines.__delitem__(slice(1, None)), "the file holds no event"),
    "nothing of the dataset": (
        lambda lines: (lines.__setitem__(0, audit.first_line(9)), [lines.__setitem__(n, withheld(lines[n]))
        for n in (1, 4, 7, 10)]),
        "no event of the dataset is shown",
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_named(tmp_path, attack):
    change, named = ATTACKS[attack]
    lines = exported(chain())
    assert verify(tmp_path, text_of(lines))[0] == 0
    change(lines)
    code, words = verify(tmp_path, text_of(lines))
    assert code == 1
    assert named in words
    assert "BROKEN" in words


OLD_ATTACKS = {
    "content altered": (changed(0, actor="user:9"), "event 1: its content was changed"),
    "withheld beside altered content": (changed(0, withheld=True, actor="user:9"), "line 1 holds what does not"),
    "all withheld": (
        lambda lines: [
            lines.__setitem__(number, {k: line[k] for k in ("seq", *verify_chain.DIGESTS)} | {"withheld": True})
            for number, line in enumerate(lines)
        ],
        "no event of the dataset is shown",
    ),
    "extra key": (changed(0, note="x"), "line 1 holds what does not belong there: 'note'"),
    "new first line put before": (lambda lines: lines.insert(0, audit.first_line(OWN)), "line 2 lacks format"),
}  # fmt: skip


@pytest.mark.parametrize("attack", OLD_ATTACKS)
def test_an_attack_on_an_old_trail_is_named(tmp_path, attack):
    change, named = OLD_ATTACKS[attack]
    lines = old_export(chain(newer=0))
    change(lines)
    code, words = verify(tmp_path, text_of(lines))
    assert (code, named in words) == (1, True), words


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "the file holds no event"),
        (b"\n\n", "line 1 is blank"),
        (b"\xff\xfe\x00", "line 1 is not UTF-8"),
        (b"\0" * 100, "line 1 is no JSON"),
    ],
)
def test_what_is_no_trail(tmp_path, content, named):
    code, words = verify(tmp_path, content)
    assert (code, named in words) == (1, True)


def test_a_cut_end_shows_with_a_digest_from_before(tmp_path):
    events = chain()
    lines, last = exported(events), events[-1]["digest"]
    assert verify(tmp_path, text_of(lines), last)[0] == 0
    assert verify(tmp_path, text_of(lines[:-2]))[0] == 0  # nothing in the file can tell
    code, words = verify(tmp_path, text_of(lines[:-2]), last)
    assert (code, "events are missing at the end" in words) == (1, True)


def test_a_digest_given_earlier_is_found_in_a_later_trail(tmp_path):
    events = chain()
    code, words = verify(tmp_path, text_of(exported(events)), events[6]["digest"])
    assert (code, "the digest you gave is that of event 7; 4 follow" in words) == (0, True)


def test_a_chain_written_anew_shows_with_a_digest_from_before(tmp_path):
    before = chain()[-1]["digest"]
    forged = old_export(chain(older=11, newer=0))
    assert "old format" in verify(tmp_path, text_of(forged))[1]
    code, words = verify(tmp_path, text_of(forged), before)
    assert (code, "BROKEN" in words) == (1, True)


@pytest.mark.parametrize("arguments", [[], ["no-such-file"], ["trail", "12"], ["trail", "0" * 64, "x"]])
def test_wrong_use_is_told(tmp_path, arguments, capsys):
    assert verify_chain.main(arguments) == 2
    assert capsys.readouterr().err


def test_words_hold_no_control_characters(tmp_path):
    lines = exported(chain())
    lines[7]["\x1b[2J"] = 1
    assert "\x1b" not in verify(tmp_path, text_of(lines))[1]


def test_random_damage_never_goes_unseen_or_ends_in_a_traceback(tmp_path):
    events, luck = chain(), random.Random(5)
    whole = text_of(exported(events)).encode()
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[luck.randrange(len(whole))] ^= 1 << luck.randrange(8)
        path = tmp_path / "damaged"
        path.write_bytes(damaged)
        trail = verify_chain.read(str(path), events[-1]["digest"])
        same = [json.loads(line) for line in whole.splitlines()]
        if trail.end() == []:
            assert [json.loads(line) for line in bytes(damaged).splitlines()] == same
    assert os.listdir(tmp_path) == ["damaged"]


def test_memory_does_not_grow_with_the_trail(tmp_path):
    import tracemalloc

    def peak(events):
        path = Path(tmp_path / "long")
        path.write_text(text_of(exported(events)))
        tracemalloc.start()
        trail = verify_chain.read(str(path))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert trail.end() == []
        return used

    assert peak(chain(newer=4000)) < peak(chain(newer=400)) + 100_000
