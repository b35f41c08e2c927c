"""A project that was moved or copied: paths, addresses, and MLflow's own places."""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from dysconnect.acquire import Acquired, write_acquired
from dysconnect.acquire.images import fetch_unit
from dysconnect.data.images.receipts import scan_entry
from dysconnect.data.series import read_index
from dysconnect.keeping.address import choose_uri, hidden, settle, shown, with_password
from dysconnect.keeping.place import located, portable
from dysconnect.tracking import Handle, finish, log_run, open_tracking, read_handle
from dysconnect.tracking.runs import find_runs


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """The working folder, with a blank in its name."""
    folder = tmp_path / "my project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


def test_paths_in_the_project_become_relative_and_others_stay(project):
    assert portable(str(project / "a/b.tsv")) == "a/b.tsv"
    assert portable(project / "a") == Path("a")
    assert portable(str(project / "a/b.tsv"), "results/x") == "../../a/b.tsv"
    kept = {
        "root": str(project / "data"),
        "own": "/data/mine",
        "files": [str(project)],
        "n": 3,
        "text": "a/b",
        "no": None,
    }
    assert portable(kept) == {**kept, "root": "data", "files": ["."]}
    assert portable(f"{project}2/a") == f"{project}2/a"  # begins alike, and lies elsewhere


@pytest.mark.parametrize("cell", ["series/a.tsv", "../../data/a.1D", "/far/away/a.tsv"])
def test_a_cell_is_found_from_the_folder_of_its_table(project, cell):
    assert located(cell, "results/x") == str(
        Path("/far/away/a.tsv") if cell[0] == "/" else (project / "results/x" / cell).resolve()
    )
    assert located("", "results/x") == ""


def test_an_index_holds_nothing_absolute_of_the_project(project):
    index = pd.DataFrame({"participant_id": ["sub-1", "sub-2"], "series": [str(project / "data/a.tsv"), "/far/b.tsv"]})
    index = index.assign(key="", confounds=["", str(project / "data/c.tsv")], repetition_time=2.0, sha256="")
    people = pd.DataFrame({"participant_id": ["sub-1", "sub-2"], "group": "HC"})
    Path("results/x").mkdir(parents=True)
    paths = {name: f"results/x/{name}.tsv" for name in ("participants", "index")}
    write_acquired(Acquired(people, index), paths)
    assert str(project) not in Path(paths["index"]).read_text()
    moved = project.with_name("moved")
    project.rename(moved)
    read = read_index(moved / paths["index"])
    assert list(read["series"]) == [str(moved / "data/a.tsv"), "/far/b.tsv"]
    assert list(read["confounds"]) == ["", str(moved / "data/c.tsv")]


@pytest.mark.parametrize("folder", ["results/data/ds", "absolute"])
def test_a_receipt_holds_nothing_absolute_of_the_project(project, folder):
    place = project / "data" if folder == "absolute" else Path(folder)
    receipt = fetch_unit("dataset", [], place, None, {})
    assert receipt["folder"] == ("data" if folder == "absolute" else folder)
    receipt |= {"scan": {"bold": "sub-1/func/bold.nii.gz"}, "problem": ""}
    assert scan_entry("sub-1", receipt)["bold"] == str(project / receipt["folder"] / "sub-1/func/bold.nii.gz")


def test_a_receipt_of_another_place_says_where(project, tmp_path):
    assert fetch_unit("dataset", [], tmp_path / "big disk", None, {})["folder"] == str(tmp_path / "big disk")


def test_addresses_are_written_without_passwords_and_used_with_them(project, monkeypatch):
    uri = "https://me:s3cr:et@mlflow.example.org/x"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert choose_uri(None) == uri
    assert shown(uri) == "https://mlflow.example.org/x" and with_password(shown(uri)) == uri
    assert with_password("https://other.example.org") == "https://other.example.org"
    assert "s3cr" not in hidden(f"no answer from {uri}")
    database = "postgresql://me:s3cret@db.example.org:5432/mlflow"
    assert shown(database) == "postgresql://db.example.org:5432/mlflow"
    assert shown(f"sqlite:///{project}/results/mlflow.db") == "sqlite:///results/mlflow.db"
    assert shown("sqlite:////far/mlflow.db") == "sqlite:////far/mlflow.db"
    with pytest.raises(ValueError, match="MLFLOW_TRACKING_PASSWORD") as refused:
        choose_uri(uri)
    assert "s3cr" not in str(refused.value)


# MLflow


def log(name: str, handle: Handle, file: Path) -> str:
    """Log a run with an artifact."""
    run = log_run(handle, name, {"a": 1}, {}, {"auc": 0.5}, [file])
    finish(handle, run)
    return run


def text_of(handle: Handle, run: str, name: str = "file.txt") -> str:
    """An artifact's text, fetched by MLflow."""
    import mlflow

    handle.client()
    return Path(mlflow.artifacts.download_artifacts(run_id=run, artifact_path=name)).read_text()


@pytest.fixture(scope="module")
def logged(tmp_path_factory) -> tuple[Path, str]:
    """A folder with a database and its artifacts, and the id of a run in it."""
    folder = tmp_path_factory.mktemp("old place")
    (folder / "file.txt").write_text("first")
    return folder, log("first", open_tracking(f"sqlite:///{folder}/results/mlflow.db", "x"), folder / "file.txt")


def in_file(handle: Handle, path: Path) -> Path:
    """Write a handle as the job of rule `tracking` does."""
    path.write_text(
        json.dumps({"uri": handle.uri, "experiment_id": handle.experiment_id, "experiment": handle.experiment})
    )
    return path


@pytest.mark.parametrize("remains", [True, False])
def test_in_a_moved_project_mlflow_opens_and_fills_its_own_artifacts(logged, project, remains):
    old, run = logged
    shutil.copytree(old / "results", "results")
    before = {str(path) for path in old.rglob("*")}
    hideaway = old.with_name("hidden")
    if not remains:
        old.rename(hideaway)
    try:
        handle = open_tracking("sqlite:///results/mlflow.db", "x")
        assert text_of(handle, run) == "first"
        Path("file.txt").write_text("second")
        new = log("second", handle, Path("file.txt"))
        assert text_of(handle, new) == "second"
        assert list((project / "results/mlflow-artifacts").rglob(f"{new}/artifacts/file.txt"))
        assert old.exists() == remains
        assert str(old) not in " ".join(map(str, dump(project / "results/mlflow.db")))
    finally:
        if not remains:
            hideaway.rename(old)
    assert {str(path) for path in old.rglob("*")} == before
    assert handle.uri == "sqlite:///results/mlflow.db"


def dump(database: Path) -> list[str]:
    """Everything that a database says."""
    connection = sqlite3.connect(database)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_a_database_that_stays_or_is_none_is_left_alone(logged, project):
    old, _ = logged
    assert settle(f"sqlite:///{old}/results/mlflow.db") == 0
    assert settle("sqlite:///absent.db") == 0 and not Path("absent.db").exists()
    Path("damaged.db").write_bytes(b"SQLite format 3\0" + bytes(50))
    assert settle("sqlite:///damaged.db") == 0
    assert settle("https://mlflow.example.org") == 0


@pytest.mark.parametrize("lost", ["database", "experiment", "experiment for good"])
def test_what_was_deleted_is_made_anew_by_the_next_job(logged, project, lost):
    shutil.copytree(logged[0] / "results", "results")
    path = in_file(Handle("sqlite:///results/mlflow.db", "1", "x"), project / "tracking.json")
    if lost == "database":
        Path("results/mlflow.db").unlink()
    else:
        client = read_handle(path).client()
        client.delete_experiment(client.get_experiment_by_name("x").experiment_id)
    if lost == "experiment for good":
        connection = sqlite3.connect("results/mlflow.db")
        for table in ("latest_metrics", "metrics", "tags", "params", "inputs", "runs", "experiment_tags"):
            connection.execute(f"DELETE FROM {table}")
        connection.execute("DELETE FROM experiments WHERE name = 'x'")
        connection.commit()
        connection.close()
    handle = read_handle(path)
    Path("file.txt").write_text("again")
    run = log("first", handle, Path("file.txt"))
    assert text_of(handle, run) == "again"
    assert len(handle.client().search_runs([handle.experiment_id])) == 1


def test_jobs_that_find_the_database_gone_at_once_all_arrive(project):
    path = in_file(Handle("sqlite:///results/mlflow.db", "1", "x"), project / "tracking.json")
    code = (
        "import os, sys\nfrom dysconnect.tracking import read_handle, log_run, finish\nchildren = []\n"
        "for number in range(4):\n    child = os.fork()\n    if not child:\n"
        "        handle = read_handle(sys.argv[1])\n"
        "        finish(handle, log_run(handle, f'run {number}', {'n': number}, {}, {}, []))\n        os._exit(0)\n"
        "    children.append(child)\nsys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {run.info.run_name for run in find_runs(read_handle(path))} == {f"run {number}" for number in range(4)}


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + bytes(4000)])
def test_a_damaged_database_is_named_with_the_remedy(project, content):
    Path("results").mkdir()
    Path("results/mlflow.db").write_bytes(content)
    with pytest.raises(ConnectionError, match=r"remove results/tracking\.json"):
        open_tracking("sqlite:///results/mlflow.db", "x")
