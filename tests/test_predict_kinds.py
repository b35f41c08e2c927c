"""A new person of every kind of measure: from a matrix, from a scan of a task, or refused with the reason."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dysconnect.commands.predict import main
from dysconnect.connectivity import cohort_connectomes, matrix_connectomes
from dysconnect.data.connectomes import write_connectomes
from dysconnect.data.labelled import labelled_cohort
from dysconnect.data.matrices import matrix_hash, write_index_of_matrices
from dysconnect.data.participants import write_participants
from dysconnect.data.series import series_hash, write_series
from dysconnect.data.timing import Timing
from dysconnect.evaluate import evaluate
from dysconnect.learning.saved import save_folds
from dysconnect.learning.splits import make_splits
from dysconnect.predict.bundle import read_bundle
from dysconnect.predict.make import make_bundle
from dysconnect.predict.person import predict_person
from dysconnect.predict.scan import ScanError, scan_from_bold, scan_from_matrix, scan_from_series, scan_from_table
from dysconnect.train import cross_validate

CONTRAST = {"cases": ["DYT"], "controls": ["HC"]}
COVARIATES = ["age", "sex", "site", "mean_fd"]
NEW, SEEN = "sub-30", "sub-03"  # the last was not trained on
AS_READ = {"key": "", "segmentation": "", "order": "names", "content": "fa", "scaled": "false"}
N = 12


def people_of(n: int = 31) -> pd.DataFrame:
    k = np.arange(n)
    table = pd.DataFrame({"participant_id": [f"sub-{i:02d}" for i in k], "group": np.where(k % 2, "HC", "DYT")})
    table = table.assign(age=40.0 + k % 7, sex=np.where(k % 3, "F", "M"), site="A", mean_fd=0.1 + 0.01 * (k % 5))
    return table.assign(seconds_kept=200.0, included=table["participant_id"] != NEW, exclusion_reason="")


@pytest.fixture(scope="module")
def few(nodes):
    return nodes.iloc[::3].head(N).reset_index(drop=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory, few, sections, denoise_spec):
    """Bundles of FA that came as matrices, and of the change with a task, each of 30 people, and one kept apart."""

    def lab(measure: str, denoise: dict) -> SimpleNamespace:
        folder = tmp_path_factory.mktemp(measure)
        people = people_of()
        few.to_csv(folder / "nodes.tsv", sep="\t", index=False)
        write_participants(people, folder / "participants.tsv")
        write = write_matrices if measure == "fa" else write_task
        connectomes = write(folder, people["participant_id"], few, measure, denoise)
        write_connectomes(connectomes, folder / "connectomes.h5", {})
        spec = bundle_spec(folder, measure, sections("ridge", measure), denoise)
        return SimpleNamespace(folder=folder, files=train(folder, measure, sections), spec=spec)

    labs = {"fa": lab("fa", denoise_spec), "task_change": lab("task_change", denoise_spec | {"task": True})}
    for one in labs.values():
        make_bundle(one.files, one.spec, one.folder / "ridge.npz")
    return labs


def write_matrices(folder, names, nodes, measure, _):
    """FA with names in an order of their own; a tenth lacks any connection, and one is measured in nobody."""
    mean, rows = np.random.default_rng(1).uniform(0.3, 0.6, (N, N)), []
    for k, name in enumerate(names):
        rng = np.random.default_rng([2, k])
        fa = np.triu(np.where(rng.random((N, N)) < 0.9, mean + rng.normal(0, 0.03, (N, N)), 0), 1)
        fa[0, 1] = 0
        fa[0, 5] = mean[0, 5] + 0.1 * (k % 2)
        order = rng.permutation(N)
        table = pd.DataFrame(fa + fa.T, nodes["name"], nodes["name"]).iloc[order, order]
        table.to_csv(folder / f"{name}_relmat.tsv", sep="\t", index_label="Node")
        rows.append({"participant_id": name, "matrix": str(folder / f"{name}_relmat.tsv"), "labels": "", **AS_READ})
    index = pd.DataFrame([row | {"sha256": matrix_hash(row)} for row in rows])
    write_index_of_matrices(index, folder / "index.tsv")
    return matrix_connectomes(index, nodes, measure)


def write_task(folder, names, nodes, measure, denoise):
    """Denoised series of 100 volumes, in blocks of a task, in which two regions of controls are coupled."""
    load = np.tile(np.repeat([0.0, 1.0], 10), 5)
    rows = []
    for k, name in enumerate(names):
        rng = np.random.default_rng([3, k])
        series = rng.normal(size=(100, N)) + rng.normal(size=(100, 1))
        series[:, 1] += (k % 2) * load * series[:, 0]
        timing = Timing(2.0, np.ones(100, bool), load, rng.normal(size=N))
        path = folder / f"{name}_timeseries.tsv"
        write_series((series - series.mean(0)) / series.std(0), nodes["name"], path)
        about = {"RepetitionTime": 2.0, "Denoising": denoise}
        path.with_suffix(".json").write_text(json.dumps(about | timing.written()))
        row = {"participant_id": name, "series": str(path), "repetition_time": 2.0}
        rows.append(row | {"sha256": series_hash(path.read_bytes())})
    index = pd.DataFrame(rows)
    index.to_csv(folder / "index.tsv", sep="\t", index=False)
    return cohort_connectomes(index, nodes, measure, None)


def train(folder, measure, sections) -> dict:
    """Cross-validate ridge and the floor; the files that make a bundle."""
    own, _ = labelled_cohort(folder / "connectomes.h5", folder / "participants.tsv", CONTRAST, measure)
    splits, predictions = make_splits(own.participants, 3, 1, 0), {}
    splits.to_csv(folder / "splits.tsv", sep="\t", index=False)
    for name in ("ridge", "floor"):
        trained = cross_validate(own, splits, name, sections(name, measure))
        save_folds(trained.folds, own, folder / f"{name}_folds.npz", trained.new_site)
        predictions[name] = trained.predictions
        trained.predictions.to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    nulls = dict.fromkeys(predictions, pd.DataFrame(columns=["permutation", "auc"]))
    spec = {"floor": "floor", "bootstraps": 20, "level": 0.95, "seed": 0}
    scores = evaluate(predictions, nulls, splits, own.participants, COVARIATES, spec).scores
    scores.to_csv(folder / "scores.tsv", sep="\t", index=False)
    files = {"connectomes": "connectomes.h5", "folds": "ridge_folds.npz", "floor_folds": "floor_folds.npz"}
    tables = {name: f"{name}.tsv" for name in ("participants", "index", "splits", "scores")}
    tables |= {"predictions": "ridge.tsv", "floor_predictions": "floor.tsv"}
    return {name: folder / file for name, file in (files | tables).items()}


def bundle_spec(folder, measure, sections, denoise) -> dict:
    dataset = {"name": "tiny", "title": "Tiny", "citation": "nobody", "licence": "CC0", "simulated": True}
    localize = {"measure": measure, "nuisance": ["age"], "alpha": 0.05, "max_missing": 0.3, "deviant_edges": 5}
    return {
        "experiment": "ridge", "sections": sections, "denoise": denoise, "estimators": {measure: None},
        "min_coverage": 0.5, "surface": False, "stored": measure, "localize": localize,
        "dataset": dataset | {"contrast": CONTRAST, "covariates": COVARIATES},
        "atlas": {"name": "tiny", "title": "Twelve regions", "nodes": str(folder / "nodes.tsv")},
    }  # fmt: skip


def asked(lab, out, person: str, option: str, suffix: str) -> dict:
    """What the command writes of a person, and that the page has no number that is none."""
    row = people_of().set_index("participant_id").loc[person]
    given = [option, str(lab.folder / f"{person}_{suffix}"), "--age", str(row["age"]), "--sex", row["sex"]]
    given += ["--site", row["site"], "--mean-fd", str(row["mean_fd"]), "--anyway", "--out", str(out)]
    assert main(["--model", str(lab.folder / "ridge.npz"), *given]) == 0
    assert not re.search(r"\bnan\b", (out / "prediction.html").read_text(), re.IGNORECASE)
    return json.loads((out / "prediction.json").read_text())


def out_of_fold(lab, person, model: str = "predictions") -> float:
    table = pd.read_csv(lab.files[model], sep="\t")
    return table.loc[table["participant_id"] == person, "probability"].item()


def test_a_matrix_is_read_by_name_and_its_gaps_filled_as_in_training(made, tmp_path):
    lab = made["fa"]
    seen = asked(lab, tmp_path / "seen", SEEN, "--matrix", "relmat.tsv")
    assert any("this very scan" in words for words in seen["warnings"])
    assert [model["raw"] for model in seen["models"]] == pytest.approx([out_of_fold(lab, SEEN)], abs=1e-6)
    assert seen["floor"]["raw"] == pytest.approx(out_of_fold(lab, SEEN, "floor_predictions"), abs=1e-6)
    new = asked(lab, tmp_path / "new", NEW, "--matrix", "relmat.tsv")
    assert len(new["models"]) == 3 and new["floor"]["value"] is not None
    assert new["scan"]["volumes"] is None and np.isfinite(new["deviation"]["largest_z"])


def test_a_matrix_of_other_people_is_refused(made, few):
    bundle, folder = read_bundle(made["fa"].folder / "ridge.npz"), made["fa"].folder
    table = pd.read_csv(folder / f"{NEW}_relmat.tsv", sep="\t", index_col=0)
    (table * 3).to_csv(folder / "large.tsv", sep="\t", index_label="Node")
    with pytest.raises(ScanError, match="fractional anisotropy, between 0 and 1, but 1"):
        scan_from_matrix(folder / "large.tsv", None, bundle)
    np.savetxt(folder / "unnamed.csv", table.to_numpy(), "%.4f", ",")
    with pytest.raises(ScanError, match=r"Keys of dataset are the workflow's: .* --labels"):
        scan_from_matrix(folder / "unnamed.csv", None, bundle)
    table.iloc[:, :4] = table.iloc[:4] = 0
    table.to_csv(folder / "empty.tsv", sep="\t", index_label="Node")
    with pytest.raises(ScanError, match="33% of the regions have no connection"):
        scan_from_matrix(folder / "empty.tsv", None, bundle)


@pytest.mark.parametrize(
    ("options", "words"), [(["--matrix", "a", "--confounds", "b"], "--mean-fd"), (["--bold", "a"], "--confounds"),
                           (["--series", "a", "--labels", "b"], "--matrix")]
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused(capsys, options, words):
    with pytest.raises(SystemExit) as stopped:
        main(["--model", "a.npz", *options])
    assert stopped.value.code == 2 and words in capsys.readouterr().err.splitlines()[-1]


def test_series_and_matrices_are_not_taken_for_each_other(made):
    bundles = {name: read_bundle(lab.folder / "ridge.npz") for name, lab in made.items()}
    wanted = r"came as matrices of fractional anisotropy.*--matrix"
    with pytest.raises(ScanError, match=wanted):
        scan_from_series("any.tsv", None, bundles["fa"])
    with pytest.raises(ScanError, match=wanted):
        scan_from_bold("any.nii.gz", "any.tsv", None, bundles["fa"])
    with pytest.raises(ScanError, match=r"computed from series.*--series or --bold"):
        scan_from_matrix("any.tsv", None, bundles["task_change"])


def test_a_scan_of_a_task_is_predicted_from_what_the_workflow_wrote(made, tmp_path):
    lab = made["task_change"]
    seen = asked(lab, tmp_path / "seen", SEEN, "--series", "timeseries.tsv")
    assert [model["raw"] for model in seen["models"]] == pytest.approx([out_of_fold(lab, SEEN)], abs=1e-5)
    assert len(asked(lab, tmp_path / "new", NEW, "--series", "timeseries.tsv")["models"]) == 3


def test_a_model_that_does_not_beat_activation_says_so(made):
    lab = made["task_change"]
    scores = pd.read_csv(lab.files["scores"], sep="\t")
    better = scores.query("metric == 'auc' and experiment == 'ridge'").assign(experiment="floor_regional", value=1.0)
    pd.concat([scores, better]).to_csv(lab.folder / "both.tsv", sep="\t", index=False)
    files = lab.files | {"scores": lab.folder / "both.tsv"}
    make_bundle(files, lab.spec | {"regional": "floor_regional"}, lab.folder / "both.npz")
    bundle = read_bundle(lab.folder / "both.npz")
    scan = scan_from_series(lab.folder / f"{NEW}_timeseries.tsv", None, bundle)
    warnings = predict_person(bundle, scan, {})["warnings"]
    assert any("not beat activation" in words for words in warnings)


def test_a_scan_without_its_task_is_refused_at_the_door(made, few, tmp_path):
    bundle, source = read_bundle(made["task_change"].folder / "ridge.npz"), made["task_change"].folder
    path = tmp_path / "new.tsv"
    path.write_bytes((source / f"{NEW}_timeseries.tsv").read_bytes())
    about = json.loads((source / f"{NEW}_timeseries.json").read_text())
    del about["TaskLoad"], about["Activation"]
    path.with_suffix(".json").write_text(json.dumps(about))
    with pytest.raises(ScanError, match=r"gives TaskLoad, Activation, and connectivity=task_change.*`timeseries`"):
        scan_from_series(path, None, bundle)
    with pytest.raises(ScanError, match="NumberOfVolumes"):
        scan_from_table(pd.read_csv(path, sep="\t"), 2.0, bundle)
    with pytest.raises(ScanError, match="responses to a task were taken out"):
        scan_from_bold("any.nii.gz", "any.tsv", None, bundle)


def test_nobody_is_predicted_from_what_is_exploratory(made):
    lab = made["task_change"]
    for measure in ("lagged", "variability"):
        with pytest.raises(ValueError, match=f"connectivity={measure}: .*another measure"):
            make_bundle(lab.files, lab.spec | {"stored": measure}, lab.folder / "no.npz")
