"""The environment is read strictly, and secrets are random and private."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from qcsite import environment


@pytest.mark.parametrize(("value", "meaning"), [("yes", True), ("1", True), ("OFF", False), ("", False)])
def test_flags_know_yes_and_no(monkeypatch, value, meaning):
    monkeypatch.setenv("QC_HTTPS", value)
    assert environment.flag("QC_HTTPS") is meaning


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (lambda: environment.flag("QC_X"), "maybe"),
        (lambda: environment.number("QC_X", 3, low=1, high=9), "10"),
        (lambda: environment.number("QC_X", 3, low=1, high=9), "many"),
        (lambda: environment.one_of("QC_X", ("json", "console")), "xml"),
        (lambda: environment.address("QC_X", "", ("redis",)), "http://queue"),
        (lambda: environment.secret("QC_X", Path("/nonexistent/secret")), "short"),
    ],
)
def test_a_bad_value_stops_the_start_and_names_its_variable(monkeypatch, read, value):
    monkeypatch.setenv("QC_X", value)
    with pytest.raises(ImproperlyConfigured, match="QC_X"):
        read()


def test_a_folder_that_cannot_be_made_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QC_DATA_DIR", str(tmp_path / "file" / "below"))
    with pytest.raises(ImproperlyConfigured, match="below"):
        environment.folder("QC_DATA_DIR", tmp_path)


def test_a_secret_is_made_once_and_only_its_owner_reads_it(tmp_path):
    kept = tmp_path / "secret_key"
    first = environment.secret("QC_NONE", kept)
    assert len(first) > 60
    assert environment.secret("QC_NONE", kept) == first
    assert environment.secret("QC_NONE", tmp_path / "other") != first
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "secret_key"]


def test_an_emptied_secret_file_is_refused(tmp_path):
    (tmp_path / "secret_key").write_text("")
    with pytest.raises(ImproperlyConfigured, match="holds no secret"):
        environment.secret("QC_NONE", tmp_path / "secret_key")


def test_a_long_data_folder_gets_a_short_socket(tmp_path):
    assert environment.socket_path(Path("/srv/qc")) == Path("/srv/qc/queue.sock")
    deep = tmp_path / ("x" * 100)
    assert len(str(environment.socket_path(deep))) < 96
    assert environment.socket_path(deep) != environment.socket_path(tmp_path / ("y" * 100))


def modes(*paths):
    return [stat.S_IMODE(path.stat().st_mode) for path in paths]


@pytest.fixture
def readable(tmp_path):
    """A data folder that everybody can look into, with a database that everybody can read."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "qc.sqlite3").write_text("subjects")
    (data / "qc.sqlite3-wal").write_text("subjects")
    for path, mode in ((data, 0o755), (data / "qc.sqlite3", 0o644), (data / "qc.sqlite3-wal", 0o644)):
        path.chmod(mode)
    return data


def test_an_open_data_folder_is_closed_and_said_so(readable, caplog):
    environment.folder("QC_NOWHERE", readable)
    files = [readable / "qc.sqlite3", readable / "qc.sqlite3-wal"]
    assert modes(readable, *files) == [0o700, 0o600, 0o600]
    assert f"{readable}: was open to others (mode 755), is not any more" in caplog.text
    caplog.clear()
    environment.folder("QC_NOWHERE", readable)
    assert caplog.text == ""


def test_a_folder_of_other_things_is_left_and_warned_about(readable, caplog):
    for path in readable.iterdir():
        path.rename(path.with_name("holiday" + path.suffix))
    environment.folder("QC_NOWHERE", readable)
    assert modes(readable) == [0o755]
    assert "is open to others (mode 755); close it: chmod go-rwx" in caplog.text


def test_a_folder_that_everybody_writes_into_is_left(readable, caplog):
    readable.chmod(0o1777)
    environment.folder("QC_NOWHERE", readable)
    assert modes(readable, readable / "qc.sqlite3") == [0o1777, 0o600]
    assert "is open to others" in caplog.text


@pytest.mark.parametrize("start", ["import manage, django; django.setup()", "import qcsite.wsgi"])
def test_what_a_process_of_the_site_writes_is_its_own(tmp_path, start):
    written = tmp_path / "written"
    code = f"import os; os.umask(0o022); {start}; open({str(written)!r}, 'w')"
    surroundings = dict(os.environ, QC_DATA_DIR=str(tmp_path / "d"), DJANGO_SETTINGS_MODULE="qcsite.settings")
    subprocess.run(
        [sys.executable, "-c", code], env=surroundings, cwd=Path(__file__).parent.parent, check=True
    )
    assert modes(written) == [0o600]
