"""The rules that hold the rooms apart, checked by the tools that know them."""

import ast
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from reviews import actions
from reviews.actions import models, thresholds

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["lint-imports", "--no-cache"],
        ["mypy", "--cache-dir", "{cache}"],
        ["ruff", "check", "--no-cache", "."],
    ],
    ids=lambda command: command[0],
)
def test_the_contracts_hold(command, tmp_path):
    argv = [str(BIN / command[0]), *(word.format(cache=tmp_path) for word in command[1:])]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_starting_the_web_application_loads_no_network_library():
    program = "import sys, qcsite.wsgi; from django.urls import get_resolver; get_resolver().url_patterns; "
    program += (
        "print(*[name for name in ('torch', 'onnxruntime', 'openvino', 'deepbet') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == ""


def imported(file):
    """Every module that a file names in an import, at the top or in a function."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def of_tests(name):
    """Whether a module belongs to the tests themselves, not to what they share with others."""
    part = (*name.split("."), "")
    return part[0] == "tests" and (
        part[1].startswith("test_") or part[1] in ("conftest", "browser", "faults")
    )


def test_benchmarks_and_tests_do_not_import_each_other():
    files = sorted((ROOT / "tests").rglob("*.py"))
    benchmarks = [file for file in files if "benchmarks" in file.parts]
    tests = [file for file in files if file not in benchmarks]
    assert len(benchmarks) > 3
    assert len(tests) > 50
    wrong = [(f.name, name) for f in benchmarks for name in imported(f) if of_tests(name)]
    wrong += [(f.name, name) for f in tests for name in imported(f) if name.startswith("tests.benchmarks")]
    assert wrong == []


def test_what_judges_a_model_lies_where_models_are_made():
    for file in (ROOT / "tests" / "benchmarks").glob("*.py"):
        assert [name for name in imported(file) if name.startswith("inference.training")] == [], file.name


def test_every_action_takes_its_actor_by_keyword():
    """Who did it is never mistaken for what it was done to."""
    written = [actions, thresholds, models]
    found = {
        f"{module.__name__}.{name}": inspect.signature(value).parameters["actor"].kind
        for module in written
        for name, value in vars(module).items()
        if inspect.isfunction(value) and not name.startswith(("_", "require_"))
        if "actor" in inspect.signature(value).parameters
    }
    assert len(found) > 40
    assert {name for name, kind in found.items() if kind is not inspect.Parameter.KEYWORD_ONLY} == set()


def test_every_name_imported_anywhere_is_there():
    """Also what is imported inside a function, which nothing but running it would notice."""
    rooms = ("inference", "reviews", "qcsite")
    missing = []
    for file in sorted(path for room in rooms for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] in rooms:
                found = importlib.import_module(node.module)
                names = [name.name for name in node.names if not hasattr(found, name.name)]
                missing += [(file.name, name) for name in names if not is_module(f"{node.module}.{name}")]
    assert missing == []


def is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
