"""Writing exports: whole or not at all, with the audit trail and its verifier beside each."""

import csv
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from django.utils import timezone

from reviews import audit, originals, verify_chain, wholeness
from reviews.export import pdf
from reviews.export.actors import COLUMNS as ACTOR_COLUMNS
from reviews.export.actors import Actors
from reviews.export.rows import COLUMNS, attempts, moment
from reviews.models import Dataset

VERIFIER = Path(verify_chain.__file__)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def write(dataset: Dataset, kind: str, target: Path) -> list[Path]:
    """Write FILE, its .trail.jsonl, .looks.jsonl and .actors.csv and verify_chain.py; returns the paths."""
    return write_with_summary(dataset, kind, target)[0]


def write_with_summary(dataset: Dataset, kind: str, target: Path) -> tuple[list[Path], dict]:
    """As `write`; returns the summary of the trail that was written too. It is read before the rows."""
    trail = target.with_name(target.stem + ".trail.jsonl")
    verifier = target.with_name(VERIFIER.name)
    actors = Actors(dataset)
    with whole(trail) as temporary:
        chain = _write_trail(dataset, temporary, actors)
    people = target.with_name(target.stem + ".actors.csv")
    with whole(people) as temporary:
        _write_table(temporary, actors.rows(), ",", ACTOR_COLUMNS)
    looks = target.with_name(target.stem + ".looks.jsonl")
    with whole(looks) as temporary, temporary.open("w", encoding="utf-8") as out:
        out.writelines(map(originals.line, originals.rows(dataset.pk)))
    with whole(verifier) as temporary:
        temporary.write_bytes(VERIFIER.read_bytes())
    with whole(target) as temporary:
        FORMATS[kind](dataset, temporary, chain)
    return [target, trail, looks, people, verifier], chain


def bundle(dataset: Dataset, kind: str, folder: Path) -> Path:
    """The same files in one archive, for a download."""
    name = f"{dataset.slug}-{timezone.now():%Y%m%d-%H%M%S}"
    archive = folder / f"{name}.zip"
    with tempfile.TemporaryDirectory(dir=folder) as inside, whole(archive) as temporary:
        files = write(dataset, kind, Path(inside) / f"{name}.{kind}")
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
            for path in files:
                packed.write(path, path.name)
    return archive


@contextmanager
def whole(target: Path):
    """A temporary path that takes the place of `target` only when it is finished."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o640)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _write_trail(dataset: Dataset, path: Path, actors: Actors) -> dict:
    """Write the trail; returns the summary of these very events, whatever is recorded afterwards."""
    with path.open("w", encoding="utf-8") as out, wholeness.one_moment():
        return chain_summary(_written(dataset, out, actors))


def _written(dataset: Dataset, out: TextIO, actors: Actors) -> Iterator[dict]:
    """All events, each written as the dataset's trail shows it, below a line that names the dataset."""
    out.write(json.dumps(audit.first_line(dataset.pk)) + "\n")
    for event in audit.rows():
        actors.see(event)
        out.write(json.dumps(audit.shown(event, dataset.pk), ensure_ascii=True) + "\n")
        yield event


def chain_summary(events: Iterable[dict]) -> dict:
    """How many stored `events` there are, where they end, whether the chain is whole."""
    count, last_digest = 0, verify_chain.START

    def counted() -> Iterator[dict]:
        nonlocal count, last_digest
        for event in events:
            count, last_digest = count + 1, event["digest"]
            yield event

    problems = wholeness.problems(counted())
    return {
        "events": count,
        "last_digest": last_digest,
        "whole": not problems,
        "problems": problems[:20],
    }


def _write_json(dataset: Dataset, path: Path, chain: dict) -> None:
    facts = {
        "dataset": dataset.slug,
        "title": dataset.title,
        "ears_required": dataset.ears_required,
        "exported_at": moment(timezone.now()),
        "audit_chain": chain,
    }
    with path.open("w", encoding="utf-8") as out:
        out.write(json.dumps(facts, indent=1)[:-2] + ',\n "attempts": [')
        for number, row in enumerate(attempts(dataset)):
            out.write(("," if number else "") + "\n  " + json.dumps(row, allow_nan=False))
        out.write("\n ]\n}\n")


def _write_csv(dataset: Dataset, path: Path, chain: dict) -> None:
    _write_table(path, attempts(dataset), delimiter=",")


def _write_tsv(dataset: Dataset, path: Path, chain: dict) -> None:
    _write_table(path, attempts(dataset), delimiter="\t")


def _write_table(
    path: Path, rows: Iterable[dict], delimiter: str, columns: tuple[str, ...] = COLUMNS
) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out, delimiter=delimiter, lineterminator="\n")
        table.writerow(columns)
        for row in rows:
            table.writerow([cell(row[name]) for name in columns])


def cell(value) -> str | int | float:
    """A cell that no spreadsheet takes for a formula; nothing known is n/a as in BIDS tables."""
    if value is None or value == "":
        return "n/a"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _write_pdf(dataset: Dataset, path: Path, chain: dict) -> None:
    pdf.write(dataset, path, attempts(dataset), chain)


FORMATS: dict[str, Callable[[Dataset, Path, dict], None]] = {
    "csv": _write_csv,
    "tsv": _write_tsv,
    "json": _write_json,
    "pdf": _write_pdf,
}
