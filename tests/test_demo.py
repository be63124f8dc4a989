"""The demo as a person starts it: address, log-ins, a scan to review, Ctrl-C, a second start."""

import http.cookiejar
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 240


class Demo:
    """A running demo and what it has printed."""

    def __init__(self, data, *extra):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.said = data.with_name(f"{data.name}-{self.port}.log")
        command = [sys.executable, "manage.py", "demo", "--people", "1", "--workers", "1"]
        command += ["--port", str(self.port), "--data", str(data), *extra]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("QC_")}
        with open(self.said, "w") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env=environment
            )

    def until(self, pattern):
        """The match of a pattern in what was printed, once it is there."""
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit and self.process.poll() is None:
            if found := re.search(pattern, self.said.read_text()):
                return found
            time.sleep(0.2)
        raise AssertionError(f"{pattern!r} was never printed:\n{self.said.read_text()}")

    def end(self):
        """Ctrl-C; the exit status and the seconds it took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60), time.monotonic() - started


def processes_of(data):
    """Processes that have the data folder in their environment or command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if str(data).encode() in words and int(folder.name) != os.getpid():
            found.append(folder.name)
    return found


def log_in(address, name, password):
    """A browser-like opener after logging in, and the page it lands on."""
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    page = opener.open(f"{address}/accounts/login/").read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
    form = {"csrfmiddlewaretoken": token, "login": name, "password": password}
    answer = opener.open(f"{address}/accounts/login/", urllib.parse.urlencode(form).encode())
    return opener, answer


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_whole_demo_by_one_command(tmp_path):
    data = tmp_path / "data"
    demo = Demo(data)
    try:
        password = demo.until(r"reviewer1 +(\S+)")[1]
        _, answer = log_in(demo.address, "reviewer1", password)
        assert answer.status == 200
        assert "/accounts/login" not in answer.url
        opener, _ = log_in(demo.address, "admin", demo.until(r"admin +(\S+)")[1])
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit:
            figures = opener.open(f"{demo.address}/metrics").read().decode()
            if re.search(r'qc_attempts\{status="(verify|refer|failed|superseded)"\} 1', figures):
                break
            assert 'status="error"' not in figures, demo.said.read_text()
            time.sleep(0.5)
        else:
            raise AssertionError(f"no scan became ready:\n{demo.said.read_text()}")
        assert password.encode() not in (data / "qc.sqlite3").read_bytes()
    finally:
        status, seconds = demo.end()
    assert status == 0
    assert seconds < 20
    assert processes_of(data) == []

    again = Demo(data)
    try:
        again.until("with the passwords shown at the first start")
        assert log_in(again.address, "reviewer1", password)[1].status == 200
        rival = Demo(data)
        assert rival.process.wait(60) == 1
        assert "already in use" in rival.said.read_text()
    finally:
        again.process.kill()
        again.process.wait()
    limit = time.monotonic() + 15
    while processes_of(data) and time.monotonic() < limit:
        time.sleep(0.2)
    assert processes_of(data) == []  # kill -9 leaves nothing either
