"""Where MLflow is: the address of a server or a database, and where the artifacts of a local database lie.

Addresses are written down without a password, and those of databases in the project relative to it, so that a project
can be sent and moved. MLflow itself is not needed here.
"""

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from dysconnect.keeping.place import portable

LOCAL = "sqlite:///results/mlflow.db"
PREFIX = "sqlite:///"
ARTIFACTS = "mlflow-artifacts"  # folder beside a local database
PASSWORD = re.compile(r"(?<=://)([^/@\s:]*):([^/\s]*)@")


class AddressError(ValueError):
    """An address that must not be written down as it is."""


def choose_uri(configured: str | None) -> str:
    """Return the URI of the configuration, of MLFLOW_TRACKING_URI, or of the database among the results.

    Raises
    ------
    AddressError
        When the configuration holds a password, which every run and report would repeat.
    """
    if configured and PASSWORD.search(configured):
        raise AddressError(
            f"tracking.uri={hidden(configured)} holds a password, and the configuration is written into results. Leave "
            "it out, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_URI."
        )
    return configured or os.environ.get("MLFLOW_TRACKING_URI") or LOCAL


def hidden(text: str) -> str:
    """A text, say an error, whose addresses have lost their passwords."""
    return PASSWORD.sub(r"\1:***@", text)


def shown(uri: str) -> str:
    """An address as it is written down: without user and password, and relative to here if it is a database in here."""
    path = database(uri)
    return f"{PREFIX}{portable(path)}" if path else PASSWORD.sub("", uri)


def with_password(uri: str) -> str:
    """The address to use for one that was written down: MLFLOW_TRACKING_URI may know a password for it."""
    known = os.environ.get("MLFLOW_TRACKING_URI", "")
    return known if known and shown(known) == uri else uri


def database(uri: str) -> Path | None:
    """Absolute path of an SQLite database; None for anything else."""
    return Path(os.path.abspath(uri[len(PREFIX) :])) if uri.startswith(PREFIX) else None


def absolute_uri(uri: str) -> str:
    """Make the path of an SQLite URI absolute; MLflow would resolve it anew in every process."""
    path = database(uri)
    return PREFIX + str(path) if path else uri


def artifact_folder(uri: str) -> str | None:
    """Artifacts lie beside an SQLite database; a server keeps them itself."""
    path = database(uri)
    return (path.parent / ARTIFACTS).as_uri() if path else None


def settle(uri: str) -> int:
    """Tell a database that was moved, and only then, where its artifacts lie now; return how many places changed.

    MLflow writes the absolute place of artifacts into every row of an experiment, a run and a model.
    """
    path = database(uri)
    if path is None or not path.is_file() or not os.access(path, os.W_OK):
        return 0
    here = (path.parent / ARTIFACTS).as_uri()
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        try:
            rows = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        except sqlite3.DatabaseError:  # not made yet, or damaged: who opens it says so
            return 0
        old = {
            location
            for (location,) in rows
            if location and location.startswith("file://") and location.endswith(f"/{ARTIFACTS}")
        } - {here}
        with connection:
            return sum(_replace(connection, place, here) for place in old)


def _replace(connection: sqlite3.Connection, old: str, new: str) -> int:
    """Put one folder in place of another wherever a text begins with it."""
    changed = 0
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        for column in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
            if "CHAR" in column[2].upper() or "TEXT" in column[2].upper():
                name = f'"{column[1]}"'
                begins = f"{name} = ? OR substr({name}, 1, ?) = ?"
                change = f'UPDATE "{table}" SET {name} = ? || substr({name}, ?) WHERE {begins}'
                values = (new, len(old) + 1, old, len(old) + 1, f"{old}/")
                changed += connection.execute(change, values).rowcount
    return changed
