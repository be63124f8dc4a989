"""The audit report to print: where the dataset stands, the chain, every attempt."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

from django.utils import timezone
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.platypus import LongTable, PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from reviews.models import Dataset, ThresholdSet
from reviews.models.decisions import CLASS_LABELS
from reviews.states import Status

HEADS = (
    "Subject",
    "Session",
    "File",
    "No.",
    "Plan",
    "Status",
    "p(pass)",
    "Route",
    "Verdict",
    "By",
    "At (UTC)",
    "Hash",
)
WIDTHS = [width * mm for width in (24, 15, 48, 8, 23, 27, 14, 14, 26, 23, 27, 22)]
LINE = colors.HexColor("#c8ccd0")
STYLES = getSampleStyleSheet()
SMALL = ParagraphStyle("small", parent=STYLES["BodyText"], fontSize=7, leading=8.5, wordWrap="CJK")
GRID = TableStyle(
    [
        ("FONTSIZE", (0, 0), (-1, -1), 7),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LINEBELOW", (0, 0), (-1, -1), 0.25, LINE),
        ("BACKGROUND", (0, 0), (-1, 0), colors.HexColor("#eceff1")),
        ("FONTNAME", (0, 0), (-1, 0), "Helvetica-Bold"),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
    ]
)


def write(dataset: Dataset, path: Path, rows: Iterable[dict], chain: dict) -> None:
    """Write the report; rows as of `export.rows.attempts`."""
    standing: dict[str, str] = {}
    lines = [HEADS]
    for row in rows:
        count_scan(standing, row)
        lines.append(line(row))
    counts = Counter(standing.values())
    story = [*cover(dataset, chain, counts, len(lines) - 1), PageBreak(), attempts_table(lines)]
    document = SimpleDocTemplate(
        str(path),
        pagesize=landscape(A4),
        title=f"Defacing quality control: {dataset.title}",
        author="Defacing quality control",
        leftMargin=12 * mm,
        rightMargin=12 * mm,
        topMargin=14 * mm,
        bottomMargin=14 * mm,
    )
    document.build(story, onFirstPage=footer, onLaterPages=footer)


def count_scan(standing: dict[str, str], row: dict) -> None:
    """A scan stands where its latest attempt does; one that was withdrawn counts only where there is no other.

    `standing`: scan (hash of its source) -> status. Rows of a scan come in the order of its attempts.
    """
    scan, status = row["source_sha256"], row["status"]
    if scan not in standing or status != Status.WITHDRAWN:
        standing[scan] = status


def cover(dataset: Dataset, chain: dict, counts: Counter[str], attempts: int) -> list:
    """What the dataset is, where its scans stand, under which cut-offs, and whether the trail is whole."""
    standard = "eyes, nose, mouth and ears" if dataset.ears_required else "eyes, nose and mouth"
    active = ThresholdSet.objects.filter(active=True).first()
    state = "whole" if chain["whole"] else "BROKEN: " + "; ".join(chain["problems"][:5])
    facts = [
        ("Dataset", f"{dataset.title} ({dataset.slug})"),
        ("Standard", f"No recognisable {standard}; brain intact"),
        ("Made", f"{timezone.now():%Y-%m-%d %H:%M} UTC"),
        ("Cut-offs in force", f"version {active.version}: {active.policy}" if active else "none yet"),
        ("Audit trail", f"{chain['events']} events, {state}"),
        ("Last digest", chain["last_digest"]),
    ]
    total = sum(counts.values())
    table = [("Scans", str(total), ""), ("Attempts", str(attempts), "")]
    for status in Status:
        if counts[status.value]:
            table.append(
                (status.label, str(counts[status.value]), f"{100 * counts[status.value] / total:.1f} %")
            )
    return [
        Paragraph("Quality control of defacing", STYLES["Title"]),
        Table(
            [[text(name), text(value)] for name, value in facts], colWidths=[40 * mm, 220 * mm], style=GRID
        ),
        Spacer(1, 8 * mm),
        Table(table, colWidths=[60 * mm, 25 * mm, 25 * mm], style=GRID, hAlign="LEFT"),
        Spacer(1, 6 * mm),
        text(
            "No attempt is passed without a person's verdict. Defaced data are pseudonymised. The trail beside this "
            "report can be checked with verify_chain.py, without this software."
        ),
    ]


def attempts_table(lines: list[tuple]) -> LongTable | Paragraph:
    """Every attempt, the heads repeated on each page."""
    if len(lines) == 1:
        return text("This dataset has no attempts yet.")
    cells = [lines[0], *([text(value) for value in row] for row in lines[1:])]
    return LongTable(cells, colWidths=WIDTHS, repeatRows=1, style=GRID)


def line(row: dict) -> tuple[str, ...]:
    """The cells of one attempt."""
    chance = row["p_pass"]
    return (
        row["subject"],
        row["session"],
        row["file"],
        str(row["attempt"]),
        row["plan"] or row["engine"],
        Status(row["status"]).label,
        "" if chance is None else f"{chance:.3f}",
        row["route"] or "",
        CLASS_LABELS.get(row["verdict"], ""),
        row["verdict_by"] or "",
        (row["verdict_at"] or "")[:16].replace("T", " "),
        row["output_sha256"][:12],
    )


def text(value: str) -> Paragraph:
    """A wrapping cell; markup in a name is shown, not obeyed."""
    return Paragraph(escape(value), SMALL)


def footer(canvas, document) -> None:
    """Page numbers."""
    canvas.saveState()
    canvas.setFont("Helvetica", 7)
    canvas.drawRightString(document.pagesize[0] - 12 * mm, 7 * mm, f"Page {document.page}")
    canvas.restoreState()
