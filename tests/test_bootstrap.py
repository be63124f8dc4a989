"""manage.py sets itself up: what it decides before anything is installed."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def manage(tmp_path, monkeypatch):
    """manage.py as a module, working in a folder of its own."""
    spec = importlib.util.spec_from_file_location("manage_under_test", ROOT / "manage.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in (
        ("ROOT", tmp_path),
        ("VENV", tmp_path / ".venv"),
        ("PYTHON", tmp_path / ".venv/bin/python"),
        ("RUN_TIME", tmp_path / "requirements.txt"),
        ("DEVELOPMENT", tmp_path / "requirements-dev.txt"),
    ):
        monkeypatch.setattr(module, name, value)
    (tmp_path / "requirements.txt").write_text("")
    (tmp_path / "requirements-dev.txt").write_text("-r requirements.txt\n")
    return module


def test_a_fresh_folder_gets_an_environment_that_works(manage, tmp_path, capfd):
    assert not manage.installed(manage.RUN_TIME)
    manage.install(manage.RUN_TIME)
    assert manage.installed(manage.RUN_TIME)
    assert not manage.installed(manage.DEVELOPMENT)
    assert manage.works(manage.PYTHON, "import pip")
    said = capfd.readouterr()
    assert said.out == ""
    assert "virtual environment" in said.err

    manage.RUN_TIME.write_text("# a new pin\n")
    assert not manage.installed(manage.RUN_TIME)
    assert not manage.installed(manage.DEVELOPMENT)

    (tmp_path / ".venv/bin/python").unlink()  # interrupted or broken
    manage.install(manage.RUN_TIME)
    assert manage.works(manage.PYTHON, "import pip")


def test_a_failed_installation_is_said_and_tried_again(manage, capfd):
    manage.RUN_TIME.write_text("./no-such-package-here\n")
    with pytest.raises(SystemExit):
        manage.install(manage.RUN_TIME)
    assert "the next start goes on from here" in capfd.readouterr().err
    assert not manage.installed(manage.RUN_TIME)


def test_another_python_is_refused_with_the_reason(manage, monkeypatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    monkeypatch.setattr(manage.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit):
        manage.python_311()
    assert "Python 3.11 is needed" in capsys.readouterr().err


def test_a_missing_chromium_without_root_is_said(manage, monkeypatch, capsys):
    monkeypatch.setattr(manage.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit):
        manage.find_chromium()
    assert "Chromium" in capsys.readouterr().err


def test_requirements_count_with_those_they_name(manage):
    manage.RUN_TIME.write_text("one==1\n")
    assert b"one==1" in manage.contents(manage.DEVELOPMENT)


@pytest.mark.parametrize(
    "arguments",
    [[], ["-q"], ["-x", "-k", "undo"], ["tests/browser"], ["tests/test_one.py", "tests/test_two.py"],
     ["-p", "no:cacheprovider"]],
    ids=" ".join,
)  # fmt: skip
def test_several_test_files_are_spread_over_the_cores(manage, tmp_path, arguments):
    files_at(tmp_path)
    assert manage.in_parallel(arguments) == ["-n", "auto", "--dist", "loadfile"]


@pytest.mark.parametrize(
    "arguments",
    [["-n", "2"], ["-n0"], ["--numprocesses=3"], ["--dist", "no"], ["-p", "no:xdist"], ["tests/test_one.py", "-q"],
     ["tests/test_one.py::test_this", "tests/test_one.py::test_that"]],
    ids=" ".join,
)  # fmt: skip
def test_one_file_and_a_caller_who_says_how_are_left_alone(manage, tmp_path, arguments):
    files_at(tmp_path)
    assert manage.in_parallel(arguments) == []


def files_at(folder):
    (folder / "tests/browser").mkdir(parents=True)
    for name in ("one", "two"):
        (folder / f"tests/test_{name}.py").touch()


@pytest.mark.parametrize(("body", "status"), [("pass", 0), ("assert False", 1)])
def test_the_exit_status_of_the_tests_is_that_of_pytest(manage, tmp_path, monkeypatch, body, status):
    monkeypatch.setattr(manage, "PYTHON", sys.executable)
    monkeypatch.setattr(manage, "installed", lambda requirements: True)
    monkeypatch.setattr(manage, "find_chromium", lambda: "")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:django -p no:playwright\n")
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    {body}\n")
    assert manage.run_tests(["-q", "-n", "1"]) == status


def test_stdout_of_a_command_is_its_result_alone():
    done = subprocess.run(
        [sys.executable, "manage.py", "version"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip().count("\n") == 0
