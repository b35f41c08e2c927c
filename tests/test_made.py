"""Results say which settings made them, and a scratch run with others is refused."""

import json

import h5py
import pytest

from dysconnect.commands.sweep import main
from dysconnect.keeping.made import MadeOtherwise, read_made, refuse_other_settings

SPLITS = {"scheme": "kfold", "folds": 5, "repeats": 2, "test_sites": [], "seed": 0}
MADE = {
    "dataset": {
        "name": "simulated",
        "title": "A",
        "kind": "simulated",
        "root": None,
        "plant": {"edges": 10, "seed": 0},
    },
    "atlas": {"name": "seitzman300", "nodes": "seitzman300"},
    "denoise": {"name": "standard", "low_pass": 0.1},
    "preprocess": {"name": "derivatives", "min_coverage": 0.5},
    "connectivity": {"estimator": "ledoit_wolf"},
    "splits": SPLITS,
}


def changed(section: str, **keys) -> dict:
    """The settings that made the results, but for some."""
    own = {"measure": "tangent", "fisher": True} if section == "other" else {}
    config = {**MADE, "model": {"name": "ridge"}, "connectivity": {**MADE["connectivity"], **own}}
    return config if section == "other" else {**config, section: {**config[section], **keys}}


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (changed("splits", folds=10), ["splits.folds=5, not 10 (stage splits)", "'overrides=splits.folds=10'"]),
        (changed("splits", test_sites=["a"]), ['splits.test_sites=[], not ["a"]']),
        (changed("denoise", name="gsr", low_pass=0.2), ["denoise=standard, not gsr (stage", "denoise=gsr`"]),
        (changed("denoise", low_pass=0.2), ["denoise.low_pass=0.1, not 0.2", "what made it: denoise.low_pass=0.1"]),
        (changed("dataset", plant={"edges": 20, "seed": 0}), ["dataset.plant.edges=10, not 20 (stage acquire)"]),
        (changed("dataset", plant=None), ["dataset.plant="]),
        (changed("dataset", limit=3), ["dataset.limit=null, not 3"]),
        (changed("atlas", nodes="own.tsv"), ["atlas.nodes=seitzman300, not own.tsv (stage timeseries)"]),
        (changed("preprocess", min_coverage=0.9), ["(stage preprocess)"]),
        (changed("connectivity", estimator="empirical"), ["estimator=ledoit_wolf, not empirical (stage connectivity)"]),
    ],
)  # fmt: skip
def test_other_settings_are_refused_with_stage_and_command(config, told):
    with pytest.raises(MadeOtherwise) as refused:
        refuse_other_settings(MADE, config, "results/simulated")
    assert all(text in str(refused.value) for text in told), str(refused.value)


@pytest.mark.parametrize(
    "config",
    [
        changed("other"),
        changed("dataset", title="B", kind="local"),
        changed("atlas", title="own regions, seitzman300"),
        changed("preprocess", threads=8),
    ],
)
def test_what_changes_no_number_is_not_refused(config):
    refuse_other_settings(MADE, config, "results/simulated")


def test_results_that_do_not_say_what_made_them_refuse_nothing():
    refuse_other_settings({}, changed("splits", folds=10), "results/simulated")


def write(folder, made=MADE) -> None:
    """Connectomes and splits that say what made them."""
    for name in ("connectivity", "timeseries", "train"):
        (folder / name).mkdir(parents=True)
    with h5py.File(folder / "connectivity/seitzman300_correlation.h5", "w") as file:
        file.attrs["settings"] = json.dumps({name: made[name] for name in ("dataset", "atlas", "denoise")})
        file.attrs["estimator"] = made["connectivity"]["estimator"]
    (folder / "train/splits.tsv").touch()
    (folder / "train/splits.json").write_text(json.dumps({"splits": made["splits"]}))


def test_files_say_what_made_them(tmp_path):
    write(tmp_path)
    files = tmp_path / "connectivity/seitzman300_correlation.h5", tmp_path / "train/splits.tsv"
    assert read_made(*files) == {name: own for name, own in MADE.items() if name != "preprocess"}
    files[1].with_suffix(".json").unlink()
    assert read_made(*files) == {}
    assert read_made(tmp_path / "absent.h5", files[1]) == {}


def said(monkeypatch, *arguments: str) -> str:
    """What `python -m dysconnect` ends with."""
    quiet = ("hydra/hydra_logging=none", "hydra/job_logging=none")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it for the process, in whatever test
    with pytest.raises(SystemExit) as ended:
        main([*arguments, *quiet])
    return str(ended.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("model=gcn", "training.lr=-1"), "training.lr"),
        (("model=gcn", "training.epochs=0"), "training.epochs"),
        (("-m", "model=gcn", "training.lr=1e-3,-1"), "training.lr"),
        (("-m", "splits.folds=5,0", "model=ridge"), "splits.folds"),
        (("model=ridge",), "results/simulated: run `snakemake`"),
    ],
)
def test_scratch_runs_check_values_and_say_where_they_look(monkeypatch, tmp_path, arguments, told):
    """In a folder without a checkout, where results lie: the configuration is that of the checkout."""
    monkeypatch.chdir(tmp_path)
    message = said(monkeypatch, *arguments)
    assert told in message and "Traceback" not in message
    assert str(tmp_path) in message or "model=ridge" not in arguments or "-m" in arguments
    assert not (tmp_path / "results/mlflow.db").exists() or "-m" not in arguments


def test_a_sweep_over_what_was_made_is_refused_before_its_first_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "results/simulated")
    with h5py.File("results/simulated/connectivity/seitzman300_correlation.h5", "a") as file:
        file.attrs["settings"] = json.dumps({})
        file.attrs["estimator"] = "empirical"
    message = said(monkeypatch, "-m", "model=ridge", "splits.folds=5,10")
    assert "splits.folds=5, not 10 (stage splits)" in message and "snakemake --config" in message
    assert not (tmp_path / "results/mlflow.db").exists()
