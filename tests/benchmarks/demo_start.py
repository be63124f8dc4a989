"""Seconds from the demo command to the first scan ready for review, after installation, in a fresh folder.

python -m tests.benchmarks.demo_start
"""

import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 300


def ready(database: Path) -> bool:
    """Whether a scan waits for verification or visual QC."""
    if not database.exists():
        return False
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as connection:
            query = "SELECT COUNT(*) FROM reviews_attempt WHERE status IN ('verify', 'refer')"
            return connection.execute(query).fetchone()[0] > 0
    except sqlite3.OperationalError:  # tables not made yet
        return False


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        log = Path(folder) / "log"
        command = [sys.executable, "manage.py", "demo", "--data", f"{folder}/data", "--port", str(port)]
        started, address = time.monotonic(), None
        with open(log, "w") as output:
            demo = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            while not ready(Path(folder) / "data" / "qc.sqlite3"):
                if address is None and re.search(r"Open http", log.read_text()):
                    address = time.monotonic() - started
                if demo.poll() is not None or time.monotonic() - started > PATIENCE:
                    sys.stderr.write(log.read_text())
                    return 1
                time.sleep(0.1)
            first = time.monotonic() - started
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(60)
    figures = {"seconds_to_address": address and round(address, 1), "seconds_to_first_scan": round(first, 1)}
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
