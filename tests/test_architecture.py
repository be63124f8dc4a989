"""The rules that hold the rooms apart, checked by the tools that know them."""

import subprocess
import sys
from pathlib import Path

import pytest

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
