"""Documents name what is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
TODAY = [path for path in DOCS if path.name not in ("CHANGELOG.md", "training-log.md")]
ROOMS = r"(?:docs|inference|qcsite|reviews|static|templates|tests)"
A_PATH = re.compile(rf"(?<![\w/.]){ROOMS}/[\w./-]*[\w/]")
A_MODULE = re.compile(rf"python -m ({ROOMS}(?:\.\w+)+)")


def named_in(text: str) -> set[str]:
    """Paths and modules of this repository that a text names."""
    return {path.rstrip("/.") for path in A_PATH.findall(text)} | {
        module.replace(".", "/") for module in A_MODULE.findall(text)
    }


def test_a_path_and_a_module_are_found():
    text = "see `reviews/no_such.py`, (docs/img) and `python -m inference.training.none X`, not `https://a.b/docs/x`"
    assert named_in(text) == {"reviews/no_such.py", "docs/img", "inference/training/none"}


@pytest.mark.parametrize("document", TODAY, ids=lambda path: path.name)
def test_every_file_a_document_names_is_there(document):
    named = {name for name in named_in(document.read_text()) if "NNNN" not in name}
    missing = [n for n in named if not (ROOT / n).exists() and not (ROOT / f"{n}.py").exists()]
    assert missing == []


@pytest.mark.parametrize("document", DOCS, ids=lambda path: path.name)
def test_every_link_between_documents_leads_somewhere(document):
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []
