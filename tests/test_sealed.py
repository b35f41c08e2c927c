"""What stages hand on is compared by whoever reads it: another file, or half of one, stops the run."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tampered
import tracked
from tampered import Project, read, tamperings, try_one

from dysconnect.data.series import read_index, refuse_changed, series_hash
from dysconnect.evaluate.given import check_null, check_predictions, predictions_of, refuse_other_runs
from dysconnect.keeping.sealed import NotAsWrittenError, check, fingerprint, seal
from dysconnect.learning.splits import refuse_other_splits

TABLES = ("predictions.tsv", "history.tsv", "search.tsv", "start.tsv", "null.tsv")
TRAINED = (*TABLES, "run.json", "model.npz", "folds.npz")
H5, PEOPLE, SPLITS = "connectivity/tiny_correlation.h5", "timeseries/participants.tsv", "train/splits.tsv"
MADE = [  # by the jobs of the tiny project, in their order: outputs, inputs
    ([PEOPLE, "timeseries/series.tsv"], []),
    ([H5], ["timeseries/series.tsv"]),
    ([SPLITS], [PEOPLE]),
    *(([f"train/{name}/{file}" for file in TRAINED], [H5, PEOPLE, SPLITS]) for name in ("floor", "ridge")),
    (
        ["evaluate/scores.tsv", "evaluate/curves.tsv"],
        ["train/floor/predictions.tsv", "train/ridge/predictions.tsv", SPLITS],
    ),
    (["predict/ridge.npz"], ["train/ridge/folds.npz", "evaluate/scores.tsv"]),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory, simulated, nodes, sections, denoise_spec) -> Project:
    """A tiny finished project, sealed as its jobs seal it (each test puts back what it spoils)."""
    results = tmp_path_factory.mktemp("sealed") / "results"
    folder, own = results / "tiny", {name: sections(name) for name in ("floor", "ridge")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracked, "MODELS", {name: name for name in own})
        tracked.make_results(folder, simulated, nodes, own, denoise_spec)
    (folder / "predict").mkdir()
    (folder / "ridge.npz").rename(folder / "predict/ridge.npz")
    for number, name in enumerate(own):
        null = pd.DataFrame({"permutation": range(20), "auc": np.linspace(0.6, 0.4, 20) + number / 100})
        null.to_csv(folder / f"train/{name}/null.tsv", sep="\t", index=False)
    for made, given in MADE:
        seal([folder / place for place in made], [folder / place for place in given], results)
    permutations = dict.fromkeys(own, 19)
    return Project(results, "tiny", H5, "ridge", nodes, tracked.CONTRAST, permutations)


@pytest.fixture
def other(project, tmp_path) -> Project:
    """A copy to change."""
    shutil.copytree(project.results, tmp_path / "results")
    return project._replace(results=tmp_path / "results")


@pytest.fixture(scope="module")
def said(project) -> dict[tuple[str, str, str], str]:
    """What was said of each tampering of a file that the tiny project has."""
    series = read_index(project.at("timeseries/series.tsv"))["series"][0]
    found = [own._replace(place=series) if own.place == "SERIES" else own for own in tamperings()]
    there = [own for own in found if project.at(own.place).exists()]
    return {(own.place, own.kind, own.reader): try_one(project, own) for own in there}


def test_nobody_complains_of_a_project_as_it_was_made(project):
    for job in ("train", "evaluate", "attribute", "localize", "connectivity", "predict"):
        read(job, project)


def test_every_tampering_is_noticed(said):
    assert len(said) > 55
    assert [own for own, text in said.items() if not text] == []
    raw = ("KeyError", "AttributeError", "IndexError", "TypeError", "BadZipFile")
    assert [text for text in said.values() if text.startswith(raw)] == []


def test_a_message_names_the_file_and_the_remedy(said):
    for (place, kind, _), text in said.items():
        name = {"H5": "tiny_correlation.h5"}.get(place, place.split("/")[-1])
        if kind != "deleted" and not place.startswith("predict/"):
            assert name in text and "--forcerun" in text, text
    assert "(3 rows, 20 were written)" in said["train/MODEL/null.tsv", "three values", "evaluate"]


def test_without_seals_what_belongs_together_is_compared(project, monkeypatch):
    """Labels, people, experiment, repeats and the number of permutations: no seal is needed to miss them."""

    def check(*_):
        """Compare nothing."""

    monkeypatch.setattr(tampered, "check", check)
    noticed = (
        "labels flipped", "people swapped", "half of the rows", "rows twice", "NaN", "beyond 1", "another experiment's",
        "folds numbered anew", "last row absent", "three values", "decimal commas",
    )  # fmt: skip
    own = [own for own in tamperings() if own.reader == "evaluate" and own.kind in noticed and ".tsv" in own.place]
    as_long = ("train/MODEL/null.tsv", "another experiment's")  # its seal alone can tell
    assert [case[:2] for case in own if case[:2] != as_long and not try_one(project, case)] == []


def test_a_moved_project_has_nothing_to_complain_of(project, tmp_path):
    moved = tmp_path / "elsewhere/results"
    shutil.copytree(project.results, moved)
    read("train", project._replace(results=moved))
    for path in (moved / "sealed").rglob("*.json"):
        assert str(project.results.parent) not in path.read_text()


def test_an_experiment_of_other_results_is_refused_with_its_seals_too(other):
    splits = other.at("train/splits.tsv")
    table = pd.read_csv(splits, sep="\t").assign(fold=lambda own: 1 - own["fold"])
    table.to_csv(splits, sep="\t", index=False)
    seal([splits], [other.at("timeseries/participants.tsv")], other.results)  # of another seed, say
    with pytest.raises(NotAsWrittenError, match=r"ridge/predictions.tsv was made from another tiny/train/splits.tsv"):
        check([other.at("train/ridge/predictions.tsv")], other.results)


def test_another_seal_or_none_is_refused(other):
    path, where = other.at("evaluate/scores.tsv"), other.results / "sealed/tiny/evaluate/scores.tsv.json"
    shutil.copy(other.results / "sealed/tiny/evaluate/curves.tsv.json", where)
    with pytest.raises(NotAsWrittenError, match="is not what was written"):
        check([path], other.results)
    where.write_text(where.read_text()[:20])
    with pytest.raises(NotAsWrittenError, match=r"scores.tsv.json is damaged .* --forcerun .*/evaluate/scores.tsv"):
        check([path], other.results)
    where.unlink()
    with pytest.raises(NotAsWrittenError, match=r"nothing says what wrote it .* or by an older version"):
        check([path], other.results)


def test_what_no_stage_hands_on_is_passed_over(tmp_path):
    results = tmp_path / "results"
    for place in ("tracking.json", "data/ds/sub-1.tsv", "x/acquire/receipts/sub-1.json", "x/report/index.html"):
        (results / place).parent.mkdir(parents=True, exist_ok=True)
        (results / place).write_text("1")
    files = [path for path in results.rglob("*") if path.is_file()]
    check([*files, tmp_path / "mine.tsv", "elsewhere/participants.tsv"], results)
    seal(files, [], results)
    assert not (results / "sealed").exists()


def test_the_seal_of_connectomes_is_their_own(project):
    where = project.results / "sealed/tiny/connectivity/tiny_correlation.h5.json"
    assert json.loads(where.read_text())["sha256"] == fingerprint(project.at("H5"))
    assert len(fingerprint(project.at("H5"))) == 64


def test_splits_of_other_people_or_labels_are_refused(make_cohort):
    people = make_cohort(20).participants
    own = people[["participant_id", "label"]].assign(repeat=0, fold=np.arange(20) // 2 % 2)
    refuse_other_splits(own, people)
    with pytest.raises(ValueError, match=r"sub-000, sub-001, .* and 15 more under another label than in the cohort"):
        refuse_other_splits(own.assign(label=1 - own["label"]), people)
    with pytest.raises(ValueError, match="sub-019 never tested"):
        refuse_other_splits(own[:-1], people)


def test_predictions_of_somebody_else_are_refused():
    splits = pd.DataFrame({"participant_id": ["a", "b"], "label": [0, 1], "repeat": 0, "fold": [0, 1]})
    own = splits.assign(experiment="gcn", seed=0, probability=0.5)
    check_predictions("gcn", own, splits)
    with pytest.raises(ValueError, match=r"^ridge: these are predictions of gcn"):
        predictions_of("ridge", own)
    with pytest.raises(ValueError, match="lack the column seed"):
        predictions_of("gcn", own.drop(columns="seed"))
    for spoiled, said in (
        (pd.concat([own, own]), r"a and 1 more were predicted twice"),
        (own[:1], r"b was not predicted \(seed 0\)"),
        (pd.concat([own, own[:1].assign(participant_id="c")]), "c was predicted, but not tested by the splits"),
        (own.assign(label=[0, 0]), r"b was predicted under another label .*\(1 of 2 predictions are\)"),
        (own.assign(fold=0), r"b was predicted in another fold"),
    ):
        with pytest.raises(ValueError, match=said):
            check_predictions("gcn", spoiled, splits)
    check_predictions("gcn", own[1:].assign(fold=0), splits.assign(fold=[-1, 0]))  # `a` is only trained on


def test_a_null_has_as_many_permutations_as_were_asked_for():
    null = pd.DataFrame({"permutation": range(4), "auc": [0.7, 0.5, 0.4, 0.6]})
    check_null("gcn", null, 3)
    check_null("gcn", null[:0], 0)
    with pytest.raises(ValueError, match="has 4 rows, 20 are expected"):
        check_null("gcn", null, 19)
    with pytest.raises(ValueError, match="has 4 rows, 0 are expected"):
        check_null("gcn", null, 0)
    with pytest.raises(ValueError, match="is not numbered from 0"):
        check_null("gcn", null[1:])
    for wrong in (np.nan, 1.2, -0.1):
        with pytest.raises(ValueError, match=r"missing or outside \[0, 1\]"):
            check_null("gcn", null.assign(auc=[0.7, 0.5, 0.4, wrong]), 3)


def test_a_run_of_other_settings_is_refused(tmp_path):
    path, own = tmp_path / "run.json", {"model": {"name": "ridge", "penalties": (1, 2)}, "training": {"seed": 0}}
    path.write_text(json.dumps({"experiment": "ridge", "sections": own}))
    refuse_other_runs([path], {"ridge": own})
    with pytest.raises(ValueError, match=r"run.json: ridge was trained with other settings .* --forcerun"):
        refuse_other_runs([path], {"ridge": own | {"training": {"seed": 1}}})
    with pytest.raises(ValueError, match="of the experiment ridge, not of gcn"):
        refuse_other_runs([path], {"gcn": own})


def test_series_that_changed_since_they_were_collected_are_refused(tmp_path):
    path = tmp_path / "sub-1.tsv"
    path.write_text("a\tb\n1\t2\n")
    own = {"participant_id": "sub-1", "series": str(path), "sha256": series_hash(path.read_bytes())}
    refuse_changed(pd.DataFrame([own]))
    path.write_text("a\tb\n1\t3\n")
    with pytest.raises(NotAsWrittenError, match=r"sub-1: .*sub-1.tsv is not what it was .* --forcerun acquire"):
        refuse_changed(pd.DataFrame([own]))


def test_another_machines_files_may_come_late(other, monkeypatch):
    path, where = other.at("evaluate/scores.tsv"), other.results / "sealed/tiny/evaluate/scores.tsv.json"
    waited, late = [], where.read_text()
    where.unlink()
    monkeypatch.setattr(
        "time.sleep", lambda seconds: (waited.append(seconds), len(waited) == 2 and where.write_text(late))
    )
    check([path], other.results, patience=5)
    assert waited == [1, 1]
    where.unlink()
    with pytest.raises(NotAsWrittenError):
        check([path], other.results, patience=1)
