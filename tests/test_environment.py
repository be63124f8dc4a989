"""The environment is read strictly, and secrets are random and private."""

import stat
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
