"""Writing exports: whole or not at all, with the audit trail and its verifier beside each."""

import csv
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path

from django.utils import timezone

from reviews import audit, verify_chain
from reviews.export import pdf
from reviews.export.rows import COLUMNS, attempts, moment
from reviews.models import AuditHead, Dataset

VERIFIER = Path(verify_chain.__file__)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def write(dataset: Dataset, kind: str, target: Path) -> list[Path]:
    """Write FILE, its .trail.jsonl and verify_chain.py; returns the paths. The trail is read before the rows."""
    trail = target.with_name(target.stem + ".trail.jsonl")
    verifier = target.with_name(VERIFIER.name)
    with whole(trail) as temporary:
        _write_trail(dataset, temporary)
    with whole(verifier) as temporary:
        temporary.write_bytes(VERIFIER.read_bytes())
    with whole(target) as temporary:
        FORMATS[kind](dataset, temporary)
    return [target, trail, verifier]


def bundle(dataset: Dataset, kind: str, folder: Path) -> Path:
    """The same three files in one archive, for a download."""
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


def _write_trail(dataset: Dataset, path: Path) -> None:
    with path.open("w", encoding="utf-8") as out:
        for event in audit.rows(dataset=dataset.pk):
            out.write(json.dumps(event, ensure_ascii=True) + "\n")


def chain_summary() -> dict:
    """How long the chain is, where it ends, and whether it is whole."""
    head = AuditHead.objects.filter(pk=1).first()
    problems = audit.problems()
    return {
        "events": head.seq if head else 0,
        "last_digest": head.digest if head else verify_chain.START,
        "whole": not problems,
        "problems": problems[:20],
    }


def _write_json(dataset: Dataset, path: Path) -> None:
    facts = {
        "dataset": dataset.slug,
        "title": dataset.title,
        "ears_required": dataset.ears_required,
        "exported_at": moment(timezone.now()),
        "audit_chain": chain_summary(),
    }
    with path.open("w", encoding="utf-8") as out:
        out.write(json.dumps(facts, indent=1)[:-2] + ',\n "attempts": [')
        for number, row in enumerate(attempts(dataset)):
            out.write(("," if number else "") + "\n  " + json.dumps(row, allow_nan=False))
        out.write("\n ]\n}\n")


def _write_csv(dataset: Dataset, path: Path) -> None:
    _write_table(path, attempts(dataset), delimiter=",")


def _write_tsv(dataset: Dataset, path: Path) -> None:
    _write_table(path, attempts(dataset), delimiter="\t")


def _write_table(path: Path, rows: Iterable[dict], delimiter: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out, delimiter=delimiter, lineterminator="\n")
        table.writerow(COLUMNS)
        for row in rows:
            table.writerow([cell(row[name]) for name in COLUMNS])


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


def _write_pdf(dataset: Dataset, path: Path) -> None:
    pdf.write(dataset, path, attempts(dataset), chain_summary())


FORMATS: dict[str, Callable[[Dataset, Path], None]] = {
    "csv": _write_csv,
    "tsv": _write_tsv,
    "json": _write_json,
    "pdf": _write_pdf,
}
