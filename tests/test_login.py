"""Passwords: a login for MLflow's interface that nobody typed and nobody else reads, and addresses that lose theirs."""

import configparser
import stat
import traceback

import pytest
from mlflow.exceptions import MlflowException

from dysconnect.keeping.address import shown
from dysconnect.tracking.login import make_login
from dysconnect.tracking.runs import Handle, reaching


def settings(file):
    """What MLflow reads."""
    parser = configparser.ConfigParser()
    parser.read(file)
    return dict(parser["mlflow"])


def test_a_login_is_made_once_for_oneself_alone(tmp_path):
    file = tmp_path / "results/mlflow-login.ini"
    told = make_login("me", file)
    first = settings(file)
    assert {stat.S_IMODE(own.stat().st_mode) for own in file.parent.iterdir()} == {0o600} and str(file) in told
    assert (
        first["admin_username"] == "me" and len(first["admin_password"]) >= 16 and first["admin_password"] not in told
    )
    assert first["default_permission"] == "NO_PERMISSIONS"
    make_login("me", file)
    assert settings(file) == first
    make_login("me", tmp_path / "other.ini")
    assert settings(tmp_path / "other.ini")["admin_password"] != first["admin_password"]


@pytest.mark.parametrize("name", ["", "a b", "a\nadmin_password = x", "a:b"])
def test_what_is_no_name_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="a name of letters"):
        make_login(name, tmp_path / "login.ini")
    assert not list(tmp_path.iterdir())


def test_another_name_does_not_replace_the_login(tmp_path):
    make_login("me", tmp_path / "login.ini")
    with pytest.raises(ValueError, match=r"is the login of me\. Give that name, or remove"):
        make_login("you", tmp_path / "login.ini")


@pytest.mark.parametrize("uri", ["http://me:secret@server:5000", "postgresql://me:secret@server/runs"])
def test_no_log_repeats_the_password_of_an_address(uri, monkeypatch):
    """A log has the whole traceback, errors behind an error too."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ConnectionError) as error, reaching(Handle(shown(uri), "1", "dysconnect"), "ridge"):
        raise MlflowException(f"API request to {uri}/api/2.0/mlflow/runs/create failed")
    told = "".join(traceback.format_exception(error.value))
    assert "secret" not in told and "server" in told
    assert "secret" not in shown(uri)
