"""A person who withdraws: everything of them goes, they do not come back, and nothing of anybody else's is touched."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.entities import LoggedModelOutput, ViewType

from dysconnect.acquire import Acquired, acquire, acquire_scans, write_acquired
from dysconnect.acquire.images import fetch_unit, plan_images
from dysconnect.acquire.selection import select
from dysconnect.acquire.withdrawn import add_withdrawn, is_of, read_withdrawn, without
from dysconnect.commands import console
from dysconnect.commands.withdraw import find_removal, people_of
from dysconnect.data.images.receipts import write_receipt
from dysconnect.data.series import write_series
from dysconnect.fetching.remote import LEDGER
from dysconnect.tracking import finish, log_run, open_tracking
from dysconnect.tracking.withdraw import remove_dataset

WHO = "sub-1"


def write(folder: Path, files: dict[str, str]) -> None:
    """Write small files."""
    for place, text in files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)


def receipt(folder: Path, name: str, files: list[str], scan: dict[str, str]) -> str:
    """What was fetched for somebody."""
    rows = [{"path": path, "state": "fetched", "bytes": 1, "sha256": "x"} for path in files]
    return json.dumps({"unit": name, "folder": str(folder), "files": rows, "scan": scan, "problem": ""})


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """Results of images that were fetched, as far as files go: sub-1 and sub-10, whose name begins alike."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    data, table = tmp_path / "results/data/ds", "participant_id\tgroup\nsub-1\tHC\nsub-10\tDYT\n"
    fetched = [f"{name}/func/{name}_bold.nii.gz" for name in ("sub-1", "sub-10")]
    lines = "".join(
        f"{place}\t1\t1\tx\t\there\ttoday\n" for place in [*fetched, "sub-1/anat/sub-1_T1w.nii.gz", "participants.tsv"]
    )
    write(data, {place: "x" for place in [*fetched, "sub-1/anat/sub-1_T1w.nii.gz", "participants.tsv"]})
    write(data, {LEDGER: f"path\tbytes\n{lines}"})
    own = tmp_path / "results/ds"
    for name in ("sub-1", "sub-10"):
        place = f"{name}/func/{name}_bold.nii.gz"
        write(own, {
            f"acquire/receipts/{name}.json": receipt(data, name, [place], {"bold": place}),
            f"acquire/receipts/{name}.images": "",
            f"preprocess/participants/{name}.tsv": f"participant_id\n{name}\n",
            f"preprocess/series/{name}_timeseries.tsv": "1", f"preprocess/quality/{name}_carpet.png": "1",
            f"preprocess/fmriprep/{name}/func/anything.txt": "1", f"timeseries/{name}/func/{name}_timeseries.tsv": "1",
            f"report/subjects/{name}.html": "1",
        })  # fmt: skip
        write(tmp_path / "results/logs/ds", {f"preprocess/{name}.log": "done", "acquire.log": "sub-10 sub-1: excluded"})
    write(own, {
        "acquire/receipts/dataset.json": receipt(data, "dataset", ["participants.tsv"], {}),
        "acquire/participants.tsv": table, "acquire/series.tsv": "participant_id\tbold\nsub-1\t\n",
        "timeseries/participants.tsv": table, "connectivity/a_correlation.h5": "1", "train/gcn/model.npz": "1",
        "train/gcn/unfinished/k.npz": "1", "evaluate/scores.tsv": "1", "report/index.html": "1",
        "predict/gcn.npz": "1", "tracking/gcn.json": "1",
    })  # fmt: skip
    write(tmp_path / "results", {
        "logs/ds/splits.log": "nobody", "sealed/ds/timeseries/sub-1.json": "1", "other/report/index.html": "1",
        "scratch/a/predictions.tsv": "sub-1", "scratch/a/.hydra/config.yaml": "dataset: {name: ds}",
        "scratch/b/predictions.tsv": "sub-1", "scratch/b/.hydra/config.yaml": "dataset: {name: other}",
    })  # fmt: skip
    write(tmp_path / ".snakemake", {"dysconnect_compose.json": '["sub-1"]', "dysconnect_code.json": '["sub-10"]'})
    return tmp_path


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_all_of_the_person_goes_and_nothing_of_anybody_else(project, capsys):
    before = files_of(project)
    assert console(["withdraw", WHO, "--dry-run"]) == 0
    assert files_of(project) == before
    said = capsys.readouterr().out
    assert console(["withdraw", WHO]) == 0
    left = files_of(project)
    assert [name for name in left if is_of(WHO, name)] == []
    one = {"receipts/sub-10.json", "receipts/sub-10.images", "receipts/dataset.json"}
    kept = {f"results/ds/acquire/{name}" for name in one}
    kept |= {f"results/ds/preprocess/{name}" for name in (
        "participants/sub-10.tsv", "series/sub-10_timeseries.tsv", "quality/sub-10_carpet.png",
        "fmriprep/sub-10/func/anything.txt",
    )}  # fmt: skip
    assert {name for name in left if name.startswith("results/ds/")} == kept
    assert {name for name in left if "/data/" in name} == {
        f"results/data/ds/{name}" for name in (LEDGER, "participants.tsv", "sub-10/func/sub-10_bold.nii.gz")
    }
    assert "results/logs/ds/splits.log" in left and "results/logs/ds/acquire.log" not in left
    assert "results/scratch/b/predictions.tsv" in left and "results/scratch/a/predictions.tsv" not in left
    assert {name for name in left if ".snakemake" in name} == {".snakemake/dysconnect_code.json"}
    assert (project / "withdrawn.tsv").read_text() == "dataset\tparticipant_id\nds\tsub-1\n"
    count = len(before - left)
    told = capsys.readouterr().out
    assert "2 downloaded files deleted" in told and f"{count - 2} files of the results deleted" in told
    assert "would be deleted" in said and "snakemake --config dataset=ds" in told
    assert console(["withdraw", WHO]) == 0  # again, after an interruption, say
    assert (project / "withdrawn.tsv").read_text().count(WHO) == 1 and files_of(project) == left


def test_the_users_own_files_are_named_and_never_touched(project, capsys):
    mine = project / "mine"
    write(mine, {"sub-1/func/sub-1_bold.nii.gz": "x", "sub-1_timeseries.tsv": "x"})
    scan = {"bold": "sub-1/func/sub-1_bold.nii.gz"}
    write(project / "results/ds", {
        "acquire/receipts/sub-1.json": receipt(mine, WHO, [], scan),
        "acquire/series.tsv": f"participant_id\tseries\nsub-1\t{mine}/sub-1_timeseries.tsv\n",
    })  # fmt: skip
    assert console(["withdraw", WHO]) == 0
    told = capsys.readouterr().out
    assert "Yours to delete" in told and "sub-1_bold.nii.gz" in told and "sub-1_timeseries.tsv" in told
    assert files_of(mine) == {"sub-1/func/sub-1_bold.nii.gz", "sub-1_timeseries.tsv"}


def test_a_stranger_two_datasets_and_a_run_at_work_stop(project, capsys):
    before = files_of(project)
    assert console(["withdraw", "1"]) == 2
    assert "nobody is called 1 in ds, other; did you mean sub-1?" in capsys.readouterr().err
    assert console(["withdraw", WHO, "--dataset", "other"]) == 2
    assert console(["withdraw", WHO, "--directory", "nowhere"]) == 2
    assert "no results here" in capsys.readouterr().err
    write(project / "results/other", {"acquire/participants.tsv": "participant_id\nsub-1\n"})
    assert console(["withdraw", WHO]) == 2
    assert "ds, other have a sub-1. Say from which" in capsys.readouterr().err
    write(project, {".snakemake/locks/0.input.lock": ""})
    assert console(["withdraw", WHO, "--dataset", "ds"]) == 2
    assert "--unlock" in capsys.readouterr().err
    (project / ".snakemake/locks/0.input.lock").unlink()
    assert before <= files_of(project)
    assert console(["withdraw", WHO, "--dataset", "ds"]) == 0
    assert "other also have a sub-1" in capsys.readouterr().out


def test_two_people_one_after_the_other(project, capsys):
    """After the first, no table says whom the results had."""
    write(project / "results/series", {"acquire/participants.tsv": "participant_id\nsub-3\nsub-4\n"})
    assert console(["withdraw", "sub-3"]) == 0
    assert console(["withdraw", "sub-3"]) == 0  # again: MLflow did not answer, say
    assert console(["withdraw", "sub-4"]) == 2  # of which dataset?
    assert console(["withdraw", "sub-4", "--dataset", "series"]) == 0
    assert "make sure that sub-4 is the id" in capsys.readouterr().out
    assert read_withdrawn(project, "series") == ["sub-3", "sub-4"]
    assert console(["withdraw", "sub-4", "--dataset", "ds"]) == 2  # there they are known


def test_somebody_who_is_not_there_is_told(tmp_path, capsys):
    people = pd.DataFrame({"participant_id": ["sub-1"]})
    without(Acquired(people, people), ["sub-1", "sub-01"], tmp_path)
    assert "withdrawn.tsv: sub-01 is not in this dataset" in capsys.readouterr().out


def test_the_list_survives_and_is_never_read_in_part(tmp_path):
    assert read_withdrawn(tmp_path, "ds") == []
    add_withdrawn(tmp_path, "ds", "sub-1")
    add_withdrawn(tmp_path, "other", "sub-2")
    add_withdrawn(tmp_path, "ds", "sub-1")
    path = tmp_path / "withdrawn.tsv"
    path.write_text("\ufeff" + path.read_text() + "\n")  # by hand, in an editor of Windows
    assert read_withdrawn(tmp_path, "ds") == ["sub-1"]
    for text, said in (("sub-1\n", "first line must be"), ("dataset\tparticipant_id\nsub-3\n", "line 2: expected")):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"withdrawn.tsv.*{said}"):
            read_withdrawn(tmp_path, "ds")


def test_an_id_is_a_word_of_its_own():
    assert is_of("sub-1", "results/sub-1/x") and is_of("sub-1", "sub-1_task-rest_bold.nii.gz")
    assert not is_of("sub-1", "sub-10_bold.nii.gz") and not is_of("sub-1", "xsub-1")


def test_who_has_withdrawn_is_not_wanted_of_any_dataset():
    people = pd.DataFrame({"participant_id": ["a", "b", "c"], "group": ["HC", "DYT", "HC"]})
    spec = {"name": "ds", "contrast": {"cases": ["DYT"], "controls": ["HC"]}, "withdrawn": ["a", "gone"], "limit": 2}
    assert select(people, spec) == {"a": "has withdrawn", "b": "", "c": ""}


def test_a_simulated_person_does_not_come_back(simulated_spec, nodes, tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    everybody = acquire(simulated_spec, nodes, folder)
    gone = everybody.carriers["participant_id"].iloc[0]
    kept = without(everybody, [gone], folder)
    for name in ("participants", "index", "carriers"):
        before, after = getattr(everybody, name), getattr(kept, name)
        assert after.equals(before[before["participant_id"] != gone].reset_index(drop=True)) and len(after) < len(
            before
        )
    write_acquired(
        kept, {name: str(tmp_path / f"{name}.tsv") for name in ("participants", "index", "truth", "carriers")}
    )
    assert not any(is_of(gone, path.name) or is_of(gone, path.read_text()) for path in tmp_path.rglob("*.tsv"))
    table = Acquired(everybody.participants, pd.DataFrame({"participant_id": [gone], "region_a": ["x"]}))
    assert without(table, [gone], folder).index.empty


def test_a_person_of_ones_own_series_does_not_come_back(nodes, tmp_path):
    rows = "".join(f"sub-{k}\t{'HC' if k % 2 else 'DYT'}\t50\tF\tx\t0.1\n" for k in (1, 2, 10))
    write(tmp_path, {"participants.tsv": f"participant_id\tgroup\tage\tsex\tsite\tmean_fd\n{rows}"})
    for k in (1, 2, 10):
        values = np.random.default_rng(k).normal(size=(20, len(nodes)))
        write_series(values, nodes["name"], tmp_path / f"sub-{k}_task-rest_timeseries.tsv")
    spec = {
        "kind": "local", "name": "mine", "root": str(tmp_path), "contrast": {"cases": ["DYT"], "controls": ["HC"]},
        "covariates": ["age"], "task": "rest", "session": None, "run": None, "segmentation": None, "order": "names",
        "repetition_time": 2.0, "limit": None, "participants": None, "withdrawn": [WHO], "plant": None,
    }  # fmt: skip
    acquired = without(acquire(spec, nodes, tmp_path / "none"), [WHO], tmp_path / "none")
    assert acquired.participants["participant_id"].tolist() == ["sub-2", "sub-10"]
    assert acquired.index["participant_id"].tolist() == ["sub-2", "sub-10"]
    assert (tmp_path / "sub-1_task-rest_timeseries.tsv").exists()  # theirs


def test_a_person_of_ones_own_images_does_not_come_back(tmp_path):
    root = tmp_path / "mine"
    write(root, {"participants.tsv": "participant_id\tgroup\tage\tsex\tsite\n" + "".join(
        f"sub-{k}\t{'HC' if k % 2 else 'DYT'}\t50\tF\tx\n" for k in (1, 2, 10))})  # fmt: skip
    contrast = {"cases": ["DYT"], "controls": ["HC"]}
    spec = {"name": "mine", "root": str(root), "contrast": contrast, "withdrawn": [WHO]}
    plan = plan_images(spec, {}, tmp_path)
    assert plan.wanted == ["sub-2", "sub-10"] and WHO not in plan.units
    paths = []
    for unit in plan.units:
        own = fetch_unit(unit, [], root, None, spec | {"task": None}) if unit == "dataset" else {
            "unit": unit, "folder": str(root), "files": [], "problem": "", "permanent": True,
            "scan": {"bold": "b.nii", "site": "x"},
        }  # fmt: skip
        paths.append(str(tmp_path / f"{unit}.json"))
        write_receipt(own, paths[-1])
    acquired = without(acquire_scans(spec, plan, paths, 0.1), [WHO], tmp_path / "none")
    assert acquired.participants["participant_id"].tolist() == ["sub-2", "sub-10"]
    assert acquired.index["participant_id"].tolist() == ["sub-2", "sub-10"]


def test_people_are_known_by_tables_receipts_and_the_list(project):
    add_withdrawn(project, "ds", "sub-7")
    assert people_of(project, "ds") == {"sub-1", "sub-10", "sub-7"}
    assert people_of(project, "other") == set()


def test_mlflow_keeps_no_row_of_a_person(project, capsys):
    handle = open_tracking(f"sqlite:///{project}/results/mlflow.db", "dysconnect")
    write(project, {"predictions.tsv": "participant_id\nsub-1\n"})
    runs = {}
    for name in ("ds", "ds again", "other"):
        tags = {"dataset": name.split()[0], "data_hash": name * 40}
        runs[name] = log_run(handle, f"{name} · gcn", {"a": 1}, tags, {"auc": 0.5}, [project / "predictions.tsv"])
        finish(handle, runs[name])
    client, artifacts = handle.client(), project / "results/mlflow-artifacts"
    model = client.create_logged_model(handle.experiment_id, "model", runs["ds"])
    write(Path(model.artifact_location.removeprefix("file://")), {"bundle.npz": "sub-1"})
    client.log_outputs(runs["ds"], [LoggedModelOutput(model.model_id, 0)])
    client.create_registered_model("dysconnect-ds-gcn", tags={"dataset": "ds"})
    client.create_registered_model("dysconnect-other-gcn", tags={"dataset": "other"})
    client.delete_run(runs["ds again"])  # in the interface: its files stay
    assert len([path for path in artifacts.rglob("*") if path.suffix in (".tsv", ".npz")]) == 4
    assert console(["withdraw", WHO, "--dry-run"]) == 0
    assert len([path for path in artifacts.rglob("*") if path.suffix in (".tsv", ".npz")]) == 4
    assert console(["withdraw", WHO]) == 0
    assert "2 MLflow runs of ds deleted" in capsys.readouterr().out.split("is withdrawn")[1]
    left = [path for path in artifacts.rglob("*") if path.suffix in (".tsv", ".npz")]
    assert [runs["other"] in str(path) for path in left] == [True]
    active = client.search_runs([handle.experiment_id], run_view_type=ViewType.ACTIVE_ONLY)
    assert [run.info.run_id for run in active] == [runs["other"]]
    assert [own.name for own in client.search_registered_models()] == ["dysconnect-other-gcn"]
    assert len(remove_dataset(handle.uri, "ds")) == 2  # again: nothing is left to fail on


def test_a_server_that_does_not_answer_is_told(project, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert console(["withdraw", WHO]) == 2
    said = capsys.readouterr().err
    assert "http://127.0.0.1:9 does not answer, and what it holds of ds is still there" in said
    assert read_withdrawn(project, "ds") == [WHO]


def test_files_of_a_batch_go_with_the_person_and_others_are_kept(project):
    folder, names = project / "results/ds", ("sub-1", "sub-10")
    receipts = [json.loads((folder / f"acquire/receipts/{name}.json").read_text()) for name in names]
    for name in names:
        (folder / f"acquire/receipts/{name}.json").unlink()
    (folder / "acquire/receipts/batch-001.json").write_text(json.dumps({"receipts": receipts}))
    write(folder / "preprocess/kept", {f"{name}.json": "{}" for name in names})
    write(folder / "preprocess/participants", {"batch-001.tsv": "participant_id\nsub-1\n", "batch-002.tsv": "sub-10\n"})
    assert people_of(project, "ds") == set(names)
    removal = find_removal(project / "results", "ds", "sub-1")
    files = [str(path.relative_to(folder)) for path in removal.files if path.is_relative_to(folder)]
    gone = {"acquire/receipts/batch-001.json", "preprocess/participants/batch-001.tsv", "preprocess/kept/sub-1.json"}
    assert gone <= set(files)
    assert not {"preprocess/participants/batch-002.tsv", "preprocess/kept/sub-10.json"} & set(files)
    assert any("sub-1_" in path.name for path in removal.downloads)
