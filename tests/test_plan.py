"""What a run will do is known without Snakemake: of every kind of dataset, and of results that are there already."""

import copy
import importlib
import json
import shutil
from base64 import urlsafe_b64encode
from functools import cache
from pathlib import Path

import h5py
import pandas as pd
import pytest

from dysconnect.acquire.images import SHARED
from dysconnect.commands import DOORS, console
from dysconnect.keeping.sealed import makers, seal
from dysconnect.plan import checks, machine
from dysconnect.plan.config import ConfigError
from dysconnect.plan.earlier import code_note, settings_note
from dysconnect.plan.machine import check_container, check_disk, check_folders
from dysconnect.plan.run import plan_run
from dysconnect.preprocess.fmriprep import Places

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def project(monkeypatch, tmp_path):
    """An empty folder, where results will lie."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@cache
def planned(*overrides: str, **choices: str):
    """The run that a command line asks for; with the floor alone, unless experiments are named."""
    return plan_run(ROOT, {"experiment": "floor", **choices, "overrides": " ".join(overrides)})


@pytest.fixture(scope="module")
def default():
    """The run that `snakemake` alone asks for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it for the process, in whatever test
        return plan_run(ROOT, {})


# kinds of datasets


def test_a_simulated_cohort_has_a_truth_and_nothing_to_fetch(default):
    run = default
    assert (run.dataset, run.kind, run.index, run.series_from) == ("simulated", "simulated", "series", "acquire")
    assert run.planted and not (run.images or run.fmriprep or run.table or run.fetched or run.validated)
    assert run.keep and run.units == run.wanted == run.sources == run.atlas_files == run.surface_files == []
    assert next(iter(run.experiments)) == run.floor == "floor"
    assert run.seeing == run.bundled == [name for name in run.experiments if name != "floor"]
    assert run.learning == ["gcn"] and run.stimulated in run.seeing
    assert all("acquire" not in own for own in (run.cohort, *run.experiments.values()))
    assert run.tracking == "sqlite:///results/mlflow.db" and run.notes() == ()
    assert run.connectome_file("gcn") == "results/simulated/connectivity/seitzman300_covariance.h5"
    assert run.stored("tangent_logistic") == "covariance" and run.estimator("covariance") == "ledoit_wolf"
    assert run.bundle_file("floor") == [] and run.bundle_file("gcn") == ["results/simulated/predict/gcn.npz"]
    assert set(run.settings_of_series) == {"dataset", "atlas", "denoise"}


def test_gpus_are_for_networks_that_may_use_them(default):
    assert [default.gpus(name) for name in ("floor", "gcn")] == [0, 1]
    run = copy.deepcopy(default)
    run.experiments["gcn"]["training"]["device"] = "cpu"
    assert run.gpus("gcn") == 0


def test_networks_in_training_are_shown_only_where_that_is_asked_for(default):
    assert default.live("gcn") is None
    run = copy.deepcopy(default)
    run.cohort["tracking"]["live"] = True
    run.experiments["gcn"]["training"]["search"] = {"lr": [1e-3, 1e-4], "weight_decay": []}
    assert run.live("floor") is None
    names = {"dataset": "simulated", "experiment": "gcn", "model": "gcn"}
    where = {"uri": "sqlite:///results/mlflow.db", "tracking": "dysconnect"}
    assert run.live("gcn") == where | names | {"candidates": 2}


def test_a_folder_of_series_is_watched_file_by_file(project):
    folder = project / "own"
    for name in ("sub-1", "sub-2"):
        (folder / name).mkdir(parents=True)
        (folder / name / f"{name}_task-rest_timeseries.tsv").write_text("a\tb\n1\t2\n2\t1\n")
    pd.DataFrame({"participant_id": ["sub-1", "sub-2"], "group": ["P", "C"], "age": 40, "sex": "F"}).to_csv(
        folder / "participants.tsv", sep="\t", index=False
    )
    (project / "withdrawn.tsv").write_text("dataset\tparticipant_id\nlocal\tsub-2\n")
    contrast = "dataset.contrast.cases=[P]", "dataset.contrast.controls=[C]"
    run = planned("dataset.root=own", *contrast, dataset="local")
    assert (run.kind, run.images, run.fetched, run.keep) == ("local", False, False, True)
    assert {Path(file).name for file in run.sources} >= {"participants.tsv", "sub-1_task-rest_timeseries.tsv"}
    assert run.withdrawn == ["sub-2"] and any("own/participants.tsv" in line for line in run.notes())


def test_raw_images_are_fetched_and_preprocessed_one_by_one(monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda name: True)
    run = planned("dataset.limit=3", "acquire.keep=false", dataset="ds006395")
    assert (run.kind, run.series_from, run.images, run.fmriprep) == ("bids", "preprocess", True, False)
    assert len(run.wanted) == 3 and run.units == [SHARED, *run.wanted]
    assert run.fetched and not run.keep and run.users_files(run.wanted[0]) == []
    assert run.size_of(run.wanted[0]).endswith(" MB") and run.scan["engine"] == "ants"
    assert run.reading == run.cohort["preprocess"] and "preprocess" in run.settings_of_series
    assert run.plan.folder == Path(run.fetching["folder"]) / "ds006395"


def test_preprocessed_images_bring_what_their_space_needs():
    run = planned(
        "dataset.limit=2",
        "atlas.space=null",
        dataset="ds000245_fmriprep",
        atlas="wholebrain200",
        experiment="tangent_svm",
    )
    assert run.kind == "derivatives" and run.images and not run.on_surface and run.keep
    assert run.atlas_files == ["results/atlas/wholebrain200/nodes.tsv", "results/atlas/wholebrain200/dseg.nii.gz"]
    assert run.stimulated is None and any("No targets will be ranked" in line for line in run.notes())


def test_a_scan_of_a_task_analysed_as_rest_is_said_to_keep_its_responses():
    told = [planned(**choice, dataset="ds006395_finger").notes() for choice in ({}, {"connectivity": "task_change"})]
    assert [any("leaves the responses to it in" in line for line in lines) for lines in told] == [True, False]
    assert not any("responses" in line for line in planned().notes())


def test_fmriprep_runs_where_it_is_the_engine_of_raw_images(project):
    (project / "license.txt").touch()
    settings = "dataset.limit=2", "preprocess.fs_license=license.txt", "preprocess.keep_outputs=false"
    run = planned(*settings, dataset="ds006395", preprocess="fmriprep")
    assert run.fmriprep and not run.keep_outputs and run.places.bids.name == "ds006395"
    assert set(run.reading) == {"engine", "min_coverage", "space"}
    assert run.left_by_fmriprep["kind"] == "derivatives" and ":" not in run.left_by_fmriprep["space"]
    words = run.fmriprep_words("sub-C01713", threads=4)
    assert "--participant-label C01713" in words and str(project) in words


def test_connections_as_numbers_have_no_series_and_no_bundle():
    run = planned(dataset="degeneration", experiment="correlation_ridge")
    assert run.table and (run.index, run.series_from) == ("edges", "acquire")
    assert run.bundled == [] and run.bundle_file(run.seeing[0]) == []


@pytest.mark.parametrize("measure", ["lagged", "variability", "task"])
def test_measures_over_time_have_a_floor_of_regions_and_exploratory_ones_no_bundle(measure):
    run = planned(connectivity=measure, experiment="ridge")
    assert list(run.experiments) == ["floor", "floor_regional", "ridge"] and run.seeing == ["ridge"]
    assert run.connectome_file("floor_regional") == run.connectome_file("ridge")
    assert run.bundled == (["ridge"] if measure == "task" else []) and run.stimulated_measure == measure
    assert "floor_regional" not in planned(experiment="correlation_ridge").experiments
    with pytest.raises(ConfigError, match="floor_regional sees more than covariates"):
        planned("evaluate.floor=floor_regional", connectivity=measure)


def test_direction_trains_linear_models_by_default(project):
    run = plan_run(ROOT, {"connectivity": "lagged"})
    assert list(run.experiments) == ["floor", "floor_regional", "ridge", "logistic"]
    assert run.attributed == run.stimulated == "ridge"


def test_abide_is_fetched_where_there_is_no_folder():
    run = planned(dataset="abide")
    assert (run.kind, run.images, run.fetched, run.sources) == ("abide", False, True, [])


# the validation, and what is refused


def test_cohorts_of_the_validation_come_in_batches_that_cover_them():
    settings = "validate.cohorts.null=25", "validate.batch.null=10", "validate.cohorts.planted=0"
    run = planned(*settings, experiment="validate_localization")
    assert run.validated and run.batches() == ["null_0", "null_1", "null_2"]
    assert [number for batch in range(3) for number in run.cohorts_of("null", batch)] == list(range(25))
    assert list(run.experiments) == ["floor"]


@pytest.mark.parametrize(
    ("choices", "overrides", "message"),
    [
        ({"dataset": "degeneration", "experiment": "validate_localization"}, "", "the validation plants in series"),
        ({"connectivity": "lagged", "experiment": "validate_localization"}, "", "connectivity=lagged depends on when"),
        ({"experiment": "gcn_pretrained"}, "", "snakemake --config dataset=abide --until connectivity"),
        ({"preprocess": "ants", "dataset": "ds000245_fmriprep"}, "", "does not fit dataset=ds000245_fmriprep"),
        ({}, "tracking.uri=https://a:b@c.de", "holds a password"),
        ({}, "splits.foldss=3", "did you mean splits.folds"),
        ({"dataset": "local"}, "dataset.root=absent", "no such folder"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_any_job(choices, overrides, message):
    with pytest.raises((ValueError, OSError)) as refused:
        planned(overrides, **choices)
    assert message in str(refused.value)


def test_measures_that_a_scan_may_have_too_little_for_are_asked_where_series_are_judged(default):
    assert default.demanding == planned(connectivity="task").demanding == []
    assert planned(connectivity="lagged").demanding == ["lagged"]
    both = planned("localize.measure=variability", "denoise.high_pass=0.017", connectivity="lagged")
    assert both.demanding == ["lagged", "variability"]  # whoever is out, is out of all experiments


def test_two_estimators_of_one_measure_are_refused(default):
    run = copy.deepcopy(default)
    run.experiments["gcn"]["connectivity"] = {"measure": "tangent", "estimator": "empirical"}
    with pytest.raises(ConfigError, match="is empirical and ledoit_wolf in different experiments"):
        run.estimator("covariance")


@pytest.mark.parametrize("engine", ["ants", "fmriprep"])
def test_what_preprocessing_writes_on_the_way_needs_room_too(monkeypatch, engine):
    """Three times the packed run, of as many as are at work; who is preprocessed already needs none."""
    run, rooms = copy.deepcopy(planned("dataset.limit=4", "acquire.keep=false", dataset="ds006395")), []
    run.cohort["preprocess"]["engine"] = engine
    monkeypatch.setattr(machine, "check_room", lambda needed, folder: rooms.append(needed))
    todo = [(rule, run.dataset, name) for rule in ("download", "preprocess") for name in run.plan.wanted]
    for jobs in (todo, todo[4:], todo[7:], []):
        check_disk(run, 2, jobs)
    packed = sorted(max(file["bytes"] for file in run.plan.units[name]) for name in run.plan.wanted)
    last = max(file["bytes"] for file in run.plan.units[run.plan.wanted[-1]])
    assert rooms[1:] == ([3 * sum(packed[-2:]), 3 * last, 0] if engine == "ants" else [0, 0, 0])
    assert rooms[0] - rooms[1] > sum(packed[-3:])


def test_braces_in_a_path_are_refused_before_snakemake_reads_them():
    check_folders(Path("/data/plain"), Path("/data/with blank"))
    with pytest.raises(ConfigError, match=r"there is a brace in the path '/data/\{old\}': rename it\."):
        check_folders(Path("/data/plain"), Path("/data/{old}"))


def test_a_disk_or_an_engine_that_is_not_there_stops_the_run(monkeypatch, project):
    run = planned("dataset.limit=2", dataset="ds000245_fmriprep")
    monkeypatch.setattr("dysconnect.fetching._free", lambda folder: 1)
    with pytest.raises(ConfigError, match=r"acquire\.keep=false"):
        check_disk(run, 2, [("all",), ("download", run.dataset, run.plan.wanted[0])])
    check_disk(planned("dataset.limit=2", dataset="ds000245_fmriprep"), 2, [("localize", run.dataset)])
    places = Places(*(project / name for name in ("bids", "outputs", "work", "license.txt")))
    assert check_container("25.1.3", places, 3, True).startswith("fMRIPrep 25.1.3: 3 participants, in the container; ")
    assert check_container("25.1.3", places, 0, False) == ""
    monkeypatch.setattr(machine, "which", lambda name: None)
    with pytest.raises(ConfigError, match="Add --sdm apptainer"):
        check_container("25.1.3", places, 3, False)


# results that are there


def result(place: str, code: str, recorded: str | None) -> None:
    """A result with its seal, and with Snakemake's record unless that is None."""
    path = Path("results", place)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a\n1\n")
    seal([path], code=code)
    if recorded is not None:
        record = Path(".snakemake/metadata", urlsafe_b64encode(str(path).encode()).decode())
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"params": ["'a setting'", repr(recorded)]}))


NOW, BEFORE = "1" * 32, "2" * 32


def test_results_of_other_code_are_counted_with_their_stages(default):
    run = default
    assert code_note(run, {NOW}) == ""
    result("simulated/train/splits.tsv", NOW, NOW)
    result("simulated/quality/qcfc.tsv", BEFORE, NOW)  # touched: Snakemake has forgotten who made it
    assert code_note(run, {NOW}) == ""
    result("simulated/train/gat/predictions.tsv", BEFORE, BEFORE)  # of an experiment that is not in this run
    result("simulated/localize/severity.tsv", BEFORE, BEFORE)
    result("simulated/localize/maps/gcn.tsv", BEFORE, BEFORE)  # of a version that had its maps there
    result("simulated_null/train/splits.tsv", BEFORE, BEFORE)
    assert code_note(run, {NOW}) == ""
    result("simulated/train/gcn/predictions.tsv", BEFORE, BEFORE)
    result("simulated/evaluate/scores.tsv", BEFORE, BEFORE)
    note = code_note(run, {NOW})
    assert note.startswith("results/simulated: 2 of 4 results were made by other code, and are made again")
    assert "evaluate, train. To keep them" in note and "--touch" in note and "\n" not in note


def test_results_that_snakemake_does_not_know_are_said(project):
    run = planned()
    result("simulated/train/splits.tsv", NOW, None)
    assert code_note(run, {NOW}) == ""
    result("simulated/evaluate/scores.tsv", "", None)  # sealed by a version that did not write its code down
    assert "1 of 2" in code_note(run, {NOW}) and "--forceall" in code_note(run, {NOW})
    assert makers("simulated")["simulated/train/splits.tsv"].code == NOW
    Path("results/sealed/simulated/evaluate/scores.tsv.json").write_text('{"dysconnect": "0.0.1"}')
    assert "other code, dysconnect 0.0.1; this is" in code_note(run, {NOW})
    shutil.rmtree("results/simulated")
    assert code_note(run, {NOW}) == ""


def test_results_of_other_settings_are_named_with_their_stage(project):
    run = planned()
    assert settings_note(run) == ""
    folder = project / "results/simulated"
    for stage in ("connectivity", "train"):
        (folder / stage).mkdir(parents=True)
    with h5py.File(folder / "connectivity/seitzman300_correlation.h5", "w") as file:
        file.attrs["settings"] = json.dumps(run.settings_of_series)
        file.attrs["estimator"] = run.estimator("correlation")
    (folder / "train/splits.json").write_text(json.dumps({"splits": run.cohort["splits"]}))
    assert settings_note(run) == ""
    note = settings_note(planned("splits.repeats=7", "denoise.low_pass=0.2"))
    assert "denoise.low_pass=0.1, not 0.2 (stage timeseries)" in note and "not 7 (stage splits)" in note
    (folder / "connectivity/seitzman300_correlation.h5").write_bytes(b"cut")
    assert settings_note(run) == ""  # the job that reads it says so


# the doors


@pytest.mark.parametrize("door", DOORS)
def test_every_door_is_a_module_with_a_main(door):
    assert callable(importlib.import_module(f"dysconnect.commands.{door}").main)


def test_the_help_lists_the_doors(capsys):
    assert console(["--help"]) == console([]) == 0
    said = capsys.readouterr().out
    assert all(f"  {door} " in said and told in said for door, told in DOORS.items())
    assert console(["trian"]) == 2 and "predict" in capsys.readouterr().err


def test_permutations_too_few_for_alpha_are_refused_before_any_job():
    with pytest.raises(ConfigError, match=r"localize.permutations: 100 give no p as small as .* = 0.001; 999 or more"):
        planned("localize.permutations=100", "localize.alpha=0.001")
    with pytest.raises(ConfigError, match=r"network_permutations: 5 .*0, or 19 and more"):
        planned("stimulate.network_permutations=5")
