"""Check an exported audit trail with nothing but Python: python verify_chain.py TRAIL.jsonl

Every line is one event. Its digest is SHA-256 over the previous digest and the digest of its content, so a
changed, removed, inserted or reordered event breaks every later digest. An event of another dataset is
exported with its digests alone ('withheld'): its place in the chain is checked, its content is not shown.
"""

import hashlib
import json
import sys

START = "0" * 64
CONTENT = ("seq", "at", "actor", "action", "dataset", "object_kind", "object_id", "before", "after")


def content_digest(event: dict) -> str:
    """SHA-256 of the event's content as canonical JSON."""
    content = {name: event[name] for name in CONTENT}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def link(previous: str, content: str) -> str:
    """The digest that ties one event to all before it."""
    return hashlib.sha256(f"{previous}{content}".encode()).hexdigest()


def check(events) -> list[str]:
    """What is wrong with the chain, in words; nothing when it is whole."""
    problems, previous, expected = [], START, 1
    for event in events:
        name = f"event {event.get('seq')}"
        if event.get("seq") != expected:
            problems.append(f"{name}: expected number {expected}")
        if event.get("previous_digest") != previous:
            problems.append(f"{name}: does not follow the event before it")
        if not event.get("withheld") and content_digest(event) != event.get("content_digest"):
            problems.append(f"{name}: its content was changed")
        if link(event.get("previous_digest", ""), event.get("content_digest", "")) != event.get("digest"):
            problems.append(f"{name}: its digest does not fit")
        previous, expected = event.get("digest", ""), (event.get("seq") or expected) + 1
    return problems


def main(arguments: list[str]) -> int:
    """Command line: exit 0 when the chain is whole."""
    if len(arguments) not in (1, 2):
        sys.stderr.write("usage: python verify_chain.py TRAIL.jsonl [LAST_DIGEST]\n")
        return 2
    with open(arguments[0], encoding="utf-8") as lines:
        events = [json.loads(line) for line in lines if line.strip()]
    problems = check(events)
    last = events[-1]["digest"] if events else START
    if len(arguments) == 2 and arguments[1] != last:
        problems.append(f"the trail ends in {last}, not in {arguments[1]}: events are missing at the end")
    for problem in problems:
        sys.stdout.write(problem + "\n")
    sys.stdout.write(f"{len(events)} events, last digest {last}: {'BROKEN' if problems else 'whole'}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
