"""Prediction on a new person: the same as out of fold, refused with the reason, and a page that stands alone."""

import dataclasses
import importlib
import json
import pickle
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import warm
from scipy.special import logit
from scipy.stats import norm

from dysconnect.acquire import acquire, write_acquired
from dysconnect.commands import console
from dysconnect.commands.predict import main
from dysconnect.connectivity import cohort_connectomes
from dysconnect.data.atlas import circuit_edges
from dysconnect.data.connectomes import write_connectomes
from dysconnect.data.edges import MissingRegions
from dysconnect.data.labelled import labelled_cohort
from dysconnect.data.participants import write_participants
from dysconnect.data.series import read_index, read_series, write_series
from dysconnect.evaluate import evaluate
from dysconnect.learning.saved import restore_folds, save_folds
from dysconnect.learning.splits import fold_rows, make_splits
from dysconnect.localize.deviation import deviations
from dysconnect.predict.bundle import ModelFileError, read_bundle
from dysconnect.predict.calibrate import calibrate
from dysconnect.predict.elsewhere import auc_interval, came_true
from dysconnect.predict.elsewhere import tested_elsewhere as elsewhere_tested  # pytest would call it
from dysconnect.predict.make import make_bundle, sketch
from dysconnect.predict.norm import Norm, describe_deviation, learn_norm
from dysconnect.predict.page import render_person
from dysconnect.predict.person import predict_person
from dysconnect.predict.reference import Reference, learn_reference, measures, partners
from dysconnect.predict.scan import ScanError, scan_from_bold, scan_from_series
from dysconnect.preprocess.subject import preprocess_subject
from dysconnect.timeseries import prepare_cohort
from dysconnect.train import cross_validate

CONTRAST = {"cases": ["DYT"], "controls": ["HC"]}
COVARIATES = ["age", "sex", "site", "mean_fd"]
MODELS = {"ridge": ("ridge", "correlation"), "gcn": ("gcn", "correlation"), "tangent": ("logistic", "tangent")}
SHORT = {"gcn": {"epochs": 3}}
ESTIMATORS = {"correlation": "empirical", "covariance": "ledoit_wolf"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory, nodes, simulated_spec, denoise_spec, sections):
    """A cohort, and a bundle of every kind of model trained on it; some people are kept apart, unseen."""
    folder = tmp_path_factory.mktemp("lab")
    spec = {**simulated_spec, "patients": 26, "controls": 26, "volumes": 120, "defects": {}}
    (folder / "raw").mkdir()
    acquired = acquire({**spec, "defects": dict.fromkeys(simulated_spec["defects"], 0)}, nodes, folder / "raw")
    paths = {name: str(folder / f"{name}.tsv") for name in ("participants", "index", "truth", "carriers")}
    write_acquired(acquired, paths)
    names = {"atlas": "tiny", "denoise": "standard"}
    index = read_index(paths["index"])
    table, kept = prepare_cohort(acquired.participants, index, nodes, denoise_spec, folder, names)
    kept.to_csv(folder / "series.tsv", sep="\t", index=False)
    everybody = kept.assign(series=[str(folder / cell) for cell in kept["series"]]).reset_index(drop=True)
    unseen = everybody["participant_id"].iloc[::7].tolist()
    table["included"] &= ~table["participant_id"].isin(unseen)
    write_participants(table, folder / "participants.tsv")
    nodes.to_csv(folder / "nodes.tsv", sep="\t", index=False)
    for measure, estimator in ESTIMATORS.items():
        made = cohort_connectomes(everybody, nodes, measure, estimator)
        write_connectomes(made, folder / f"{measure}.h5", {})
    lab = SimpleNamespace(folder=folder, people=table.set_index("participant_id"), unseen=unseen, raw=index)
    lab.series = dict(zip(everybody["participant_id"], everybody["series"]))
    _train(lab, sections, denoise_spec)
    return lab


def _train(lab, sections, denoise_spec) -> None:
    """Cross-validate every model and the floor, and make the bundles."""
    folder, predictions = lab.folder, {}
    cohort, _ = labelled_cohort(folder / "correlation.h5", folder / "participants.tsv", CONTRAST, "correlation")
    splits = make_splits(cohort.participants, 3, 2, 0)
    splits.to_csv(folder / "splits.tsv", sep="\t", index=False)
    for name, (model, measure) in {"floor": ("floor", "correlation"), **MODELS}.items():
        stored = "covariance" if measure == "tangent" else measure
        own, _ = labelled_cohort(folder / f"{stored}.h5", folder / "participants.tsv", CONTRAST, measure)
        trained = cross_validate(own, splits, name, sections(model, measure, **SHORT.get(name, {})))
        save_folds(trained.folds, own, folder / f"{name}_folds.npz", trained.new_site)
        predictions[name] = trained.predictions
        trained.predictions.to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    nulls = dict.fromkeys(predictions, pd.DataFrame(columns=["permutation", "auc"]))
    spec = {"floor": "floor", "bootstraps": 20, "level": 0.95, "seed": 0}
    scores = evaluate(predictions, nulls, splits, cohort.participants, COVARIATES, spec).scores
    scores.to_csv(folder / "scores.tsv", sep="\t", index=False)
    lab.predictions, lab.cohort, lab.splits = predictions, cohort, splits
    for name, (model, measure) in MODELS.items():
        make_bundle(
            _files(folder, name),
            _spec(folder, name, sections(model, measure), denoise_spec),
            lab.folder / f"{name}.npz",
        )


def _files(folder: Path, name: str) -> dict:
    return {
        "connectomes": folder / "correlation.h5", "participants": folder / "participants.tsv",
        "index": folder / "series.tsv", "splits": folder / "splits.tsv", "scores": folder / "scores.tsv",
        "folds": folder / f"{name}_folds.npz", "predictions": folder / f"{name}.tsv",
        "floor_folds": folder / "floor_folds.npz", "floor_predictions": folder / "floor.tsv",
    }  # fmt: skip


def _spec(folder: Path, name: str, sections: dict, denoise: dict) -> dict:
    return {
        "experiment": name, "sections": sections, "denoise": denoise, "estimators": ESTIMATORS,
        "min_coverage": 0.5, "surface": False,
        "stored": "covariance" if sections["measure"] == "tangent" else "correlation",
        "dataset": {
            "name": "tiny", "title": "Tiny", "citation": "nobody", "licence": "CC0", "simulated": True,
            "contrast": CONTRAST, "covariates": COVARIATES,
        },
        "atlas": {"name": "tiny", "title": "Forty regions", "nodes": str(folder / "nodes.tsv")},
        "localize": {
            "measure": "correlation", "nuisance": COVARIATES, "alpha": 0.05, "max_missing": 0.1, "deviant_edges": 5,
        },
    }  # fmt: skip


def _predict(lab, name: str, person: str, anyway: bool = False, **told) -> dict:
    bundle = read_bundle(lab.folder / f"{name}.npz")
    row = lab.people.loc[person]
    told = {"age": row["age"], "sex": row["sex"], "site": row["site"], "mean_fd": row["mean_fd"], **told}
    return predict_person(bundle, scan_from_series(lab.series[person], None, bundle), told, anyway)


def _copy(lab, tmp_path: Path, person: str, change=None, sidecar=None) -> Path:
    """The series of one person, changed."""
    source = Path(lab.series[person])
    path = tmp_path / source.name
    table = pd.read_csv(source, sep="\t")
    (table if change is None else change(table)).to_csv(path, sep="\t", index=False)
    about = json.loads(source.with_suffix(".json").read_text())
    about = about if sidecar is None else sidecar(about)
    if about is not None:
        path.with_suffix(".json").write_text(json.dumps(about))
    return path


def test_a_fresh_process_predicts_as_out_of_fold(lab):
    """Of a scan of the cohort only the models that were trained without it speak, and say what they said."""
    person = lab.predictions["ridge"]["participant_id"].iloc[3]
    code = (
        "import sys; from dysconnect.commands.predict import main\n"
        "for name in sys.argv[3:]:\n"
        "    where = sys.argv[1]\n"
        "    main(['--model', f'{where}/{name}.npz', '--series', sys.argv[2], '--out', f'{where}/out_{name}'])\n"
    )
    arguments = [str(lab.folder), lab.series[person], *MODELS]
    done = subprocess.run([warm.python(), "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in MODELS:
        found = json.loads((lab.folder / f"out_{name}/prediction.json").read_text())
        expected = lab.predictions[name].query("participant_id == @person").sort_values("repeat")
        places = [(row["repeat"], row["fold"]) for row in found["models"]]
        assert places == list(zip(expected["repeat"], expected["fold"]))
        raw = [row["raw"] for row in found["models"]]
        np.testing.assert_allclose(raw, expected["probability"], atol=1e-6)
        assert any("this very scan" in words for words in found["warnings"])


@pytest.mark.parametrize("name", MODELS)
def test_models_of_all_folds_are_restored(lab, name, nodes):
    """Also for people with regions without signal, which each fold fills in by its own training people."""
    stored = "covariance" if name == "tangent" else "correlation"
    cohort, _ = labelled_cohort(lab.folder / f"{stored}.h5", lab.folder / "participants.tsv", CONTRAST, MODELS[name][1])
    with np.load(lab.folder / f"{name}_folds.npz", allow_pickle=False) as file:
        models = restore_folds(dict(file))
    assert {place[:2] for place in models} == {(repeat, fold) for repeat in range(2) for fold in range(3)}
    expected = lab.predictions[name].query("seed == 0")
    for (repeat, fold, seed), model in models.items():
        if seed:
            continue
        _, test = fold_rows(lab.splits, cohort.participants, repeat, fold)
        own = expected[(expected["repeat"] == repeat) & (expected["fold"] == fold)]
        np.testing.assert_allclose(model.predict(cohort, test), own["probability"], atol=1e-6)
    cohort.missing[test[0], :3] = True
    assert np.isfinite(model.predict(cohort, test[:1])).all()


def test_somebody_new_is_predicted_by_all_models(lab):
    found = _predict(lab, "ridge", lab.unseen[0])
    own = found["probability"]
    assert found["refused"] == []
    assert own["models"] == 6 and len(found["models"]) == 6
    assert own["low"] <= own["lowest"] <= own["value"] <= own["highest"] <= own["high"]
    assert found["floor"]["covariates"] == COVARIATES and 0 < found["floor"]["value"] < 1
    assert found["research_only"].startswith("For research only")
    assert not any("this very scan" in words for words in found["warnings"])


def test_new_people_are_told_apart(lab):
    """Effects are planted: patients who were kept apart get higher probabilities than controls."""
    values = {name: _predict(lab, "ridge", name, anyway=True)["probability"]["value"] for name in lab.unseen}
    patient = {name: lab.people.loc[name, "group"] == "DYT" for name in lab.unseen}
    higher = [values[a] > values[b] for a in values for b in values if patient[a] and not patient[b]]
    assert np.mean(higher) > 0.6


def test_the_person_never_moves_the_calibration(lab):
    """Raw probabilities of a model pass through the one curve in the file, whoever asks."""
    curve = read_bundle(lab.folder / "ridge.npz").part("calibration")
    for person in lab.unseen[:2]:
        rows = pd.DataFrame(_predict(lab, "ridge", person, anyway=True)["models"])
        assert rows[["repeat", "fold"]].to_numpy().tolist() == curve["place"].tolist()
        z = (np.log(rows["raw"] / (1 - rows["raw"])) - curve["centre"]) / curve["scale"]
        expected = 1 / (1 + np.exp(-curve["curve"][0] - curve["curve"][1] * z))
        np.testing.assert_allclose(rows["calibrated"], expected, atol=1e-9)


def test_the_floor_says_what_it_lacks(lab):
    found = _predict(lab, "ridge", lab.unseen[0], age=None)
    assert found["floor"]["value"] is None and "age is not known" in found["floor"]["why"]
    assert found["deviation"]["not_known"] == ["age"]
    elsewhere = _predict(lab, "ridge", lab.unseen[0], site="Mars")
    assert "nobody of the cohort has site Mars" in elsewhere["floor"]["why"]
    assert any("site Mars" in words for words in elsewhere["warnings"])


@pytest.mark.parametrize("name", ["ridge", "tangent"])
def test_at_a_new_site_probabilities_are_those_of_sites_left_out(lab, name):
    person, home = lab.unseen[0], lab.people["site"].iloc[0]
    at_home, elsewhere, nowhere = (_predict(lab, name, person, anyway=True, site=site) for site in (home, "Mars", ""))
    factor, summand = read_bundle(lab.folder / f"{name}.npz").arrays["model/new_site"]
    for key in ("value", "low", "high"):
        assert elsewhere["probability"][key] == nowhere["probability"][key]
    own, away = (logit([model["calibrated"] for model in said["models"]]) for said in (at_home, elsewhere))
    np.testing.assert_allclose(away, summand + factor * own, rtol=1e-6)
    assert any("at site Mars" in words and "left out" in words for words in elsewhere["warnings"])
    assert any("not known" in words and "left out" in words for words in nowhere["warnings"])
    assert not any("left out" in words for words in at_home["warnings"])


def test_networks_say_that_they_know_their_own_sites_only(lab):
    assert any("too near to 0 and 1" in words for words in _predict(lab, "gcn", lab.unseen[0], site="Mars")["warnings"])


def test_unlike_the_cohort_is_refused(lab, tmp_path, capsys):
    person = lab.unseen[0]
    arguments = ["--model", str(lab.folder / "ridge.npz"), "--series", lab.series[person], "--out", str(tmp_path)]
    assert main([*arguments, "--mean-fd", "1.4"]) == 3
    assert "mean framewise displacement 1.40 mm" in capsys.readouterr().err
    written = json.loads((tmp_path / "prediction.json").read_text())
    assert written["probability"] is None and written["floor"] is None and written["models"] is None
    assert "Refused" in (tmp_path / "prediction.html").read_text()
    assert main([*arguments, "--mean-fd", "1.4", "--anyway"]) == 0
    assert json.loads((tmp_path / "prediction.json").read_text())["probability"]["value"] > 0
    assert "not to be relied on" in (tmp_path / "prediction.html").read_text()
    assert main([*arguments, "--age", "8"]) == 3


def test_foreign_connectivity_is_refused(lab, tmp_path):
    """Names that stand at the wrong columns, and noise, are far; most people of the cohort's kind are not."""
    bundle = read_bundle(lab.folder / "ridge.npz")
    rng = np.random.default_rng(0)

    def shuffled(table):
        return table.set_axis(rng.permutation(table.columns), axis=1)

    def noise(table):
        return table * 0 + rng.normal(size=table.shape)

    for k, change in enumerate((shuffled, noise)):
        (tmp_path / str(k)).mkdir()
        scan = scan_from_series(_copy(lab, tmp_path / str(k), lab.unseen[0], change), None, bundle)
        found = predict_person(bundle, scan, {})
        assert any("connectivity" in reason for reason in found["refused"]), change.__name__
    far = [bool(_predict(lab, "ridge", name)["refused"]) for name in lab.unseen]
    assert np.mean(far) < 0.3


def test_columns_are_matched_by_name(lab, tmp_path):
    bundle = read_bundle(lab.folder / "ridge.npz")
    path = _copy(lab, tmp_path, lab.unseen[0], lambda table: table[table.columns[::-1]])
    found = predict_person(bundle, scan_from_series(path, None, bundle), {})
    expected = predict_person(bundle, scan_from_series(lab.series[lab.unseen[0]], None, bundle), {})
    assert found["probability"]["value"] == pytest.approx(expected["probability"]["value"], abs=1e-9)


@pytest.mark.parametrize(
    ("change", "sidecar", "words"),
    [
        (lambda table: table.rename(columns=lambda name: f"other {name}"), None, "lacks 40 of the atlas's 40 regions"),
        (lambda table: table.set_axis(range(1, 41), axis=1), None, "lacks 40 of the atlas's 40 regions"),
        (lambda table: table.iloc[:, :39], None, "lacks 1 of the atlas's 40 regions"),
        (lambda table: table.iloc[:0], None, "a first line and no rows"),
        (lambda table: table.iloc[:50], None, "50 volumes x 2 s = 100 s, fewer than"),
        (lambda table: table.mask((table.index == 7)[:, None] & (table > 0)), None, "1 of 120 volumes hold NaN"),
        (lambda table: table.assign(**dict.fromkeys(table.columns[:9], 0.0)), None, "regions are constant"),
        (None, lambda about: None, "RepetitionTime"),
        (None, lambda about: {"Units": "z"}, "no RepetitionTime"),
        (None, lambda about: {**about, "RepetitionTime": 2000}, "RepetitionTime 2000: seconds, not milliseconds"),
        (None, lambda about: {"RepetitionTime": 2.0}, "does not say how the series were denoised"),
        (None, lambda about: about | {"Denoising": about["Denoising"] | {"low_pass": 0.2}}, "low_pass 0.2 instead of"),
    ],
)  # fmt: skip
def test_a_scan_that_cannot_be_used_is_refused_with_the_reason(lab, tmp_path, change, sidecar, words):
    bundle = read_bundle(lab.folder / "ridge.npz")
    path = _copy(lab, tmp_path, lab.unseen[0], change, sidecar)
    with pytest.raises(ScanError, match=words):
        scan_from_series(path, None, bundle)


def test_an_empty_file_is_refused(lab, tmp_path, capsys):
    path = _copy(lab, tmp_path, lab.unseen[0])
    path.write_bytes(b"")
    assert main(["--model", str(lab.folder / "ridge.npz"), "--series", str(path)]) == 2
    assert "cannot be read as a table of numbers" in capsys.readouterr().err
    assert main(["--model", str(lab.folder / "ridge.npz"), "--series", str(tmp_path / "none.tsv")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_damaged_or_foreign_model_is_refused(lab, tmp_path):
    source = lab.folder / "ridge.npz"
    with np.load(source, allow_pickle=False) as file:
        arrays = dict(file)
    weights = next(name for name in arrays if name.endswith("/weights") and name.startswith("model/"))
    changed = arrays[weights].copy()
    changed[0] += 1e-3
    wrong = {
        "tampered": (arrays | {weights: changed}, "not what was written"),
        "no checksum": ({name: value for name, value in arrays.items() if name != "checksum"}, "not what it takes"),
        "pickled": (arrays | {weights: np.array([{}], dtype=object)}, "could run code"),
    }
    for name, (content, words) in wrong.items():
        path = tmp_path / f"{name}.npz"
        np.savez(path, **content)
        with pytest.raises(ModelFileError, match=words):
            read_bundle(path)
    files = {"cut.npz": source.read_bytes()[:5000], "empty.npz": b"", "text.npz": b"no model"}
    for name, field, value in (("packed.npz", 10, 99), ("locked.npz", 8, 1)):  # of the first entry of the zip's table
        content = bytearray(source.read_bytes())
        content[content.index(b"PK\x01\x02") + field] = value
        files[name] = bytes(content)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelFileError, match="is not read"):
            read_bundle(tmp_path / name)
    with pytest.raises(ModelFileError, match="no such model file"):
        read_bundle(tmp_path / "none.npz")
    with pytest.raises(ModelFileError, match="not what it takes to predict"):
        read_bundle(lab.folder / "ridge_folds.npz")


class _Payload:
    """What a file of a stranger might hold."""

    def __reduce__(self):
        return (Path("/nonexistent/dysconnect").touch, ())


def test_no_code_of_a_model_file_runs(tmp_path):
    """Were the pickle loaded, touching a file in a folder that is not there would raise FileNotFoundError."""
    (tmp_path / "model.npz").write_bytes(pickle.dumps(_Payload()))
    with pytest.raises(ModelFileError, match="could run code"):
        read_bundle(tmp_path / "model.npz")


def test_an_atlas_that_is_not_the_models_is_refused(lab, tmp_path):
    """Even where somebody made the checksum anew: names of the table and of the models must agree."""
    from dysconnect.predict.bundle import checksum

    with np.load(lab.folder / "ridge.npz", allow_pickle=False) as file:
        arrays = {name: value for name, value in file.items() if name != "checksum"}
    about = json.loads(str(arrays["about"]))
    first, second = about["nodes"]["data"][:2]
    about["nodes"]["data"][:2] = [second, first]
    arrays["about"] = np.array(json.dumps(about))
    np.savez(tmp_path / "swapped.npz", **arrays, checksum=np.array(checksum(arrays)))
    with pytest.raises(ModelFileError, match="trained on other regions"):
        read_bundle(tmp_path / "swapped.npz")


def test_deviations_equal_those_of_the_localization(lab):
    """From sums over the controls alone, also where a covariate is not known or nobody shares the site."""
    cohort = lab.cohort
    norm = Norm.restore(read_bundle(lab.folder / "ridge.npz").part("norm"))
    filler = MissingRegions().fit(cohort.values, cohort.missing)
    edges = filler.transform(cohort.values, cohort.missing)
    patient = int(np.flatnonzero(cohort.labels == 1)[0])
    person = cohort.participants.iloc[[patient]].reset_index(drop=True)
    controls = np.flatnonzero(cohort.labels == 0)
    rows = [*controls, patient]
    for changes, covariates in (({}, COVARIATES), ({"site": "Mars"}, COVARIATES), ({"age": np.nan}, COVARIATES[1:])):
        table = cohort.participants.iloc[rows].reset_index(drop=True)
        table.loc[len(rows) - 1, list(changes)] = list(changes.values())
        found = deviations(edges[rows], table, covariates)
        z, df = norm.deviate(edges[patient], person.assign(**changes))
        np.testing.assert_allclose(z, found.z[-1], atol=2e-5)
        assert df == found.people["df"].iloc[-1]


def test_whoever_moves_more_than_every_control_has_no_norm(lab):
    """As much as the most restless of them is not more; a bundle that knows of none refuses nobody for it."""
    norm = Norm.restore(read_bundle(lab.folder / "ridge.npz").part("norm"))
    people = lab.cohort.participants
    person, most = people.iloc[[0]], people.loc[lab.cohort.labels == 0, "mean_fd"].max()
    assert not norm.refusal(person.assign(mean_fd=most)) and not norm.refusal(person.assign(mean_fd=np.nan))
    assert "above that of every control" in norm.refusal(person.assign(mean_fd=most + 1e-6))
    del norm.encoding["most"]
    assert not norm.refusal(person.assign(mean_fd=most + 1))


def test_a_planted_deviation_is_found(lab, nodes):
    """An edge six standard deviations off is named first, and beyond what any control shows."""
    cohort, circuits = lab.cohort, circuit_edges(nodes)
    filler = MissingRegions().fit(cohort.values, cohort.missing)
    norm = learn_norm(cohort, circuits, COVARIATES, 0.1, filler)
    control = int(np.flatnonzero(cohort.labels == 0)[0])
    edges, person = cohort.values[control].astype(float), cohort.participants.iloc[[control]]
    edges[100] += 8 * cohort.values[cohort.labels == 0][:, 100].std()
    rows, cols = np.triu_indices(len(nodes), 1)
    names = nodes["name"].to_numpy(str)
    pairs = pd.DataFrame({"region_a": names[rows], "region_b": names[cols]})
    found = describe_deviation(norm, edges, person, pairs, 5, 0.05)
    first = found["edges"][0]
    assert (first["region_a"], first["region_b"]) == (names[rows[100]], names[cols[100]])
    assert first["z"] > 4 and found["p_max"] == pytest.approx(1 / (1 + found["controls"]))
    assert [row["relative"] for row in found["circuits"]] == sorted(
        (row["relative"] for row in found["circuits"]), reverse=True
    )


@pytest.fixture(scope="module")
def crowd():
    """Draw connectomes of 28 regions, whose left and right differ; and what is learned from 120 of them."""
    rng = np.random.default_rng(1)
    rows, cols = np.triu_indices(28, k=1)
    axes, mean = rng.normal(size=(5, len(rows))), rng.normal(0.3, 0.3, len(rows))
    draw = lambda n: mean + rng.normal(size=(n, 5)) @ axes * 0.1 + rng.normal(0, 0.2, (n, len(rows)))
    partner = np.r_[14:28, :14]
    reference = learn_reference(draw(120), np.arange(120), partner)
    far = lambda edges: np.mean([any(kind["far"] for kind in reference.judge(own).values()) for own in edges])
    return SimpleNamespace(draw=draw, reference=reference, far=far, partner=partner, rng=rng, pair=(rows, cols))


def test_people_of_the_same_kind_are_refused_seldom(crowd):
    """Six questions together refuse one in a hundred, and ranks among equals are uniform."""
    equals = crowd.draw(300)
    assert crowd.far(equals) <= 0.03
    found = [crowd.reference.judge(own) for own in equals]
    for kind in ("within", "beside", "pattern", "slope", "texture", "sides"):
        assert 40 < np.mean([own[kind]["percentile"] for own in found]) < 60, kind
    least = np.array([min(kind["p_max"] for kind in own.values()) for own in found])
    assert 0.02 < (least <= 0.1).mean() < 0.2  # of the largest over kinds: family-wise


def test_people_of_another_kind_are_refused(crowd):
    """Foreign, noisy, shrunk, and with the sides swapped: each by the measure that is made for it."""
    people, (rows, cols) = crowd.draw(20), crowd.pair
    place = np.zeros((28, 28), int)
    place[rows, cols] = place[cols, rows] = np.arange(len(rows))
    swapped = place[crowd.partner[rows], crowd.partner[cols]]
    assert crowd.far(people + crowd.rng.normal(0, 0.4, people.shape)) == 1
    assert crowd.far(crowd.rng.permutation(people, axis=1)) == 1
    assert crowd.far(crowd.rng.normal(0, 0.1, people.shape)) == 1
    assert crowd.far(0.5 * people) == 1 and crowd.far(people[:, swapped]) == 1
    assert all(crowd.reference.judge(0.5 * own)["texture"]["z"] < -3 for own in people)
    assert all(crowd.reference.judge(own[swapped])["sides"]["far"] for own in people)


def test_everybody_is_measured_as_if_new(crowd):
    """What is stored of a person held out is what those without that person would say of a newcomer."""
    edges = crowd.draw(41)
    partner = crowd.partner
    together = learn_reference(edges, np.arange(41) // 5, partner)  # nine groups: each held out alone
    alone = learn_reference(edges[:40], np.arange(40), partner)
    expected = measures(edges[40:], alone.mean, alone.axes, alone.spread, partner)[0]
    assert np.abs(together.held_out - expected).max(1).min() < 1e-4
    met = together.judge(edges[3], 3)  # the person's own share in mean and components would make texture too fine
    assert abs(met["texture"]["z"]) < 2 < -together.judge(edges[3])["texture"]["z"]
    restored = Reference(**alone.state()).judge(edges[40])
    for kind, own in alone.judge(edges[40]).items():
        assert restored[kind] == pytest.approx(own, abs=1e-3)


def test_regions_are_paired_across_the_middle():
    """Each with its mirror image, however they are ordered; what lies in the middle with itself."""
    rng = np.random.default_rng(0)
    left = rng.uniform((-60, -90, -40), (-15, 60, 70), (12, 3))
    order = rng.permutation(26)
    middle = np.array([[0.0, 10.0, 10.0], [1.0, -60.0, -30.0]])
    places = np.vstack([left, left * (-1, 1, 1) + rng.normal(0, 1, (12, 3)), middle])
    pair = partners(pd.DataFrame(places[order], columns=["x", "y", "z"]))
    assert order[pair].tolist() == np.r_[12:24, :12, 24:26][order].tolist()


def test_calibration_recovers_a_known_curve():
    rng = np.random.default_rng(0)
    raw = rng.uniform(0.05, 0.95, 4000)
    decision = 0.5 + 0.4 * np.log(raw / (1 - raw))
    label = (rng.uniform(size=4000) < 1 / (1 + np.exp(-decision))).astype(int)
    table = pd.DataFrame({"participant_id": [f"p{k}" for k in range(4000)], "seed": 0, "repeat": 0, "fold": 0})
    curve = calibrate(table.assign(label=label, probability=raw))
    for asked in (0.1, 0.5, 0.8):
        expected = 1 / (1 + np.exp(-0.5 - 0.4 * np.log(asked / (1 - asked))))
        assert curve.apply({(0, 0): asked})[0] == pytest.approx(expected, abs=0.03)
    assert curve.probability.mean() == pytest.approx(label.mean(), abs=1e-3)
    low, high = curve.interval({(0, 0): 0.6})
    assert low < curve.apply({(0, 0): 0.6})[0] < high < low + 0.1


def test_models_that_spread_differently_are_calibrated_alike():
    """One fold's model says the same as the other's, but all but timidly: on its own scale both are as sure."""
    rng = np.random.default_rng(0)
    label, fold = rng.integers(0, 2, 2000), np.arange(2000) % 2
    decision = (2 * label - 1) * 0.7 + rng.normal(0, 1, 2000)
    raw = 1 / (1 + np.exp(-np.where(fold == 0, decision, 0.01 * decision - 0.3)))
    table = pd.DataFrame({"participant_id": [f"p{k}" for k in range(2000)], "seed": 0, "repeat": 0, "fold": fold})
    curve = calibrate(table.assign(label=label, probability=raw))
    bold, timid = (curve.apply({(0, k): 1 / (1 + np.exp(-own))})[0] for k, own in enumerate((1.5, 0.015 - 0.3)))
    assert bold == pytest.approx(timid, abs=0.03)
    assert bold == pytest.approx(1 / (1 + np.exp(-2 * 0.7 * 1.5)), abs=0.03)  # Bayes' rule for two normal groups


def test_calibration_of_a_useless_model_is_the_share_of_patients():
    label = np.arange(60) % 3 == 0
    raw = np.where(label, 0.3, 0.7) + np.random.default_rng(0).normal(0, 0.05, 60)
    table = pd.DataFrame({"participant_id": [f"p{k}" for k in range(60)], "seed": 0, "label": label.astype(int)})
    table = table.assign(repeat=0, fold=0)
    curve = calibrate(table.assign(probability=raw))
    np.testing.assert_allclose([curve.apply({(0, 0): p})[0] for p in (0.1, 0.9)], 1 / 3, atol=1e-6)
    perfect = calibrate(table.assign(probability=1 - raw))
    assert np.isfinite(perfect.curve).all() and np.isfinite(perfect.samples).all()


def test_the_page_stands_alone(lab):
    bundle = read_bundle(lab.folder / "ridge.npz")
    page = render_person(_predict(lab, "ridge", lab.unseen[0], anyway=True), bundle)
    assert page.count("For research only: no diagnosis") == 2
    for word in ("<script", '<link rel="stylesheet', 'src="http', "@import", "url(http"):
        assert word not in page
    assert "default-src 'none'" in page and "script-src" not in page  # nothing is fetched, nothing runs
    assert "Confound floor" in page and "Deviation from the controls" in page


def test_series_before_denoising_are_denoised_like_the_cohort(lab, tmp_path, nodes):
    """With the confounds table, raw series give what the cohort's stage made of them."""
    person = lab.unseen[0]
    entry = lab.raw.set_index("participant_id").loc[person]
    path = tmp_path / "raw_timeseries.tsv"
    write_series(read_series(entry["series"], entry["key"], nodes), nodes["name"], path)
    path.with_suffix(".json").write_text('{"RepetitionTime": 2.0}')
    bundle = read_bundle(lab.folder / "ridge.npz")
    scan = scan_from_series(path, entry["confounds"], bundle)
    expected = read_series(lab.series[person], "", nodes)
    np.testing.assert_allclose(scan.series, expected, atol=1e-3)
    assert scan.mean_fd == pytest.approx(lab.people.loc[person, "mean_fd"], abs=1e-6)


def test_an_image_in_atlas_space_is_predicted(lab, tmp_path, nodes):
    """Voxels of the regions that carry a person's raw series give, with the confounds, what the series give."""
    person = lab.unseen[0]
    entry = lab.raw.set_index("participant_id").loc[person]
    series = read_series(entry["series"], entry["key"], nodes)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -90, -126, -72
    image = np.zeros((46, 55, 46, len(series)), np.float32)
    grid = np.indices(image.shape[:3]).reshape(3, -1).T @ affine[:3, :3] + affine[:3, 3]
    for row, region in enumerate(nodes[["x", "y", "z", "radius"]].to_numpy(float)):
        inside = np.linalg.norm(grid - region[:3], axis=1) <= region[3] + 2
        image.reshape(-1, len(series))[inside] = 1000 + series[:, row]
    scan = nib.Nifti1Image(image, affine)
    scan.header.set_zooms((4, 4, 4, 2.0))
    scan.header.set_xyzt_units("mm", "sec")
    nib.save(scan, tmp_path / "bold.nii.gz")
    bundle = read_bundle(lab.folder / "ridge.npz")
    found = scan_from_bold(tmp_path / "bold.nii.gz", entry["confounds"], None, bundle)
    assert found.repetition_time == 2.0 and found.series.shape == series.shape
    own = predict_person(bundle, found, {}, anyway=True)
    assert own["person"]["mean_fd"] == pytest.approx(lab.people.loc[person, "mean_fd"], abs=1e-6)
    expected = read_series(lab.series[person], "", nodes)
    agreement = [np.corrcoef(a, b)[0, 1] for a, b in zip(found.series.T, expected.T)]
    assert np.median(agreement) > 0.99
    with pytest.raises(ScanError, match="rows of confounds; they must agree"):
        short = pd.read_csv(entry["confounds"], sep="\t").iloc[:-3]
        short.to_csv(tmp_path / "short.tsv", sep="\t", index=False)
        scan_from_bold(tmp_path / "bold.nii.gz", tmp_path / "short.tsv", None, bundle)


def test_a_real_image_gives_the_series_that_the_workflow_makes(lab, tmp_path, nodes, denoise_spec, real_data):
    """80 volumes of a real scan, laid where the atlas is: through the stages of the workflow, and by --bold."""
    path = real_data / "bids_real/sub-02/func/sub-02_task-oneback_run-1_bold.nii.gz"
    if not path.exists():
        pytest.skip(f"no {path.name}")
    bundle, whole = read_bundle(lab.folder / "ridge.npz"), nib.load(path)
    values = np.asarray(whole.dataobj)[..., :80].astype(np.float32)
    mask = values.mean(3) > 0.4 * np.percentile(values.mean(3), 98)
    affine = np.diag([3.0, 3.0, 4.2, 1.0])  # stretched to the template's size; its middle is that of the atlas
    affine[:3, 3] = nodes[["x", "y", "z"]].mean() - affine[:3, :3] @ np.argwhere(mask).mean(0)
    image = nib.Nifti1Image(values, affine)
    image.header.set_zooms((3, 3, 4.2, 2.0))
    image.header.set_xyzt_units("mm", "sec")
    bold = tmp_path / "sub-02_space-MNI152NLin2009cAsym_bold.nii"
    nib.save(image, bold)
    confounds = lab.raw["confounds"].iloc[0]
    short = pd.read_csv(confounds, sep="\t").iloc[:80]
    short.to_csv(tmp_path / "confounds.tsv", sep="\t", index=False)
    entry = {"participant_id": "sub-02", "bold": str(bold), "mask": "", "confounds": str(tmp_path / "confounds.tsv")}
    row = preprocess_subject(entry, nodes, tmp_path / "series", {}, {"min_coverage": 0.5})
    assert not row["problem"]
    index = pd.DataFrame([row]).assign(series=str(tmp_path / "series" / Path(row["series"]).name))
    people = lab.people.reset_index().iloc[:1].assign(participant_id="sub-02")
    _, kept = prepare_cohort(people, index, nodes, denoise_spec, tmp_path, {"atlas": "a", "denoise": "b"})
    expected = read_series(tmp_path / kept["series"].iloc[0], "", nodes)
    found = scan_from_bold(bold, tmp_path / "confounds.tsv", None, bundle)
    assert (found.series.std(0) > 0).mean() > 0.9
    np.testing.assert_allclose(found.series, expected, atol=0.01)  # six digits of thousands are written between them


def test_the_command_line_is_quick_and_shows_an_example():
    heavy = "print([m for m in ('numpy', 'pandas', 'torch', 'hydra', 'mlflow') if m in sys.modules], file=sys.stderr)"
    lines = ("import sys", "from dysconnect.commands import console", "try:", "    console(['predict', '--help'])")
    code = "\n".join([*lines, "finally:", f"    {heavy}"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_the_console_script_is_the_command():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    module, name = project["scripts"]["dysconnect"].split(":")
    assert getattr(importlib.import_module(module), name) is console


def test_somebody_whom_all_models_saw_is_told_so(lab, tmp_path):
    """As of a fixed split, in which most people are only trained on."""
    bundle = read_bundle(lab.folder / "ridge.npz")
    person = lab.predictions["ridge"]["participant_id"].iloc[0]
    arrays = {**bundle.arrays, "known/fold": np.full_like(bundle.arrays["known/fold"], -1)}
    fixed = dataclasses.replace(bundle, arrays=arrays)
    found = predict_person(fixed, scan_from_series(lab.series[person], None, bundle), {}, anyway=True)
    assert len(found["models"]) == 6
    assert any("all were trained with it, and are too sure" in words for words in found["warnings"])


def test_an_image_is_no_surface(lab, tmp_path):
    bundle = read_bundle(lab.folder / "ridge.npz")
    cortex = dataclasses.replace(bundle, about={**bundle.about, "surface": True})
    with pytest.raises(ScanError, match="over a surface"):
        scan_from_bold(tmp_path / "bold.nii.gz", tmp_path / "confounds.tsv", None, cortex)


def test_the_command_line_explains_itself(capsys):
    assert console([]) == 0 and console(["train"]) == 2
    with pytest.raises(SystemExit) as stopped:
        console(["predict", "--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert "examples:" in said and "--series" in said and "no diagnosis" in said
    with pytest.raises(SystemExit) as stopped:
        main(["--model", "a.npz", "--bold", "b.nii.gz"])
    assert stopped.value.code == 2 and "--confounds" in capsys.readouterr().err


def test_covariates_that_cannot_be_are_refused(lab, capsys):
    arguments = ["--model", str(lab.folder / "ridge.npz"), "--series", lab.series[lab.unseen[0]]]
    assert main([*arguments, "--age", "-3"]) == 2 and "cannot be" in capsys.readouterr().err
    assert main([*arguments, "--covariate", "height=3"]) == 2 and "asks for age" in capsys.readouterr().err
    assert main([*arguments, "--covariate", "height"]) == 2 and "NAME=VALUE" in capsys.readouterr().err


def _visited(lab, measure: str = "correlation"):
    """Everybody of the file as people of a site that no model knows, trained on or not."""
    people = lab.people.reset_index().assign(included=True, site="Mars", exclusion_reason="")
    write_participants(people, lab.folder / "visited.tsv")
    stored = "covariance" if measure == "tangent" else measure
    return labelled_cohort(lab.folder / f"{stored}.h5", lab.folder / "visited.tsv", CONTRAST, measure)[0]


@pytest.mark.parametrize("name", ["ridge", "tangent"])
def test_a_guest_model_says_of_strangers_what_it_says_of_each(lab, name, monkeypatch, nodes, denoise_spec):
    """Whoever it was trained on is left out; the AUC is that of the probabilities of single people."""
    bundle, measure = read_bundle(lab.folder / f"{name}.npz"), MODELS[name][1]
    cohort = _visited(lab, measure)
    made = {"estimator": ESTIMATORS[bundle.about["stored"]], "denoise": denoise_spec}
    who = nodes.set_index("name", drop=False).loc[cohort.nodes]
    known = _visited(lab)
    with pytest.raises(ValueError, match=r"patients and \d controls are left whom it was not trained on"):
        elsewhere_tested(bundle, cohort, who, made, known)
    monkeypatch.setattr("dysconnect.predict.elsewhere.FEWEST", 1)
    found = elsewhere_tested(bundle, cohort, who, made, known)
    label = lab.people.loc[lab.unseen, "group"].isin(CONTRAST["cases"]).to_numpy()
    alone = [_predict(lab, name, person, anyway=True, site="Mars")["probability"]["value"] for person in lab.unseen]
    assert (found["n_cases"], found["n_controls"]) == (label.sum(), (~label).sum())
    assert found["auc"] == pytest.approx(np.mean(np.array(alone)[label][:, None] > np.array(alone)[~label]), abs=5e-4)
    assert found["checksum"] == bundle.checksum and not set(lab.people.index) & set(json.dumps(found).split('"'))
    assert sum(row[2] for row in found["calibration"]) == len(label)


def test_a_guest_model_that_asks_about_few_people_is_refused(lab, monkeypatch, nodes, denoise_spec):
    """One that is made to know a scan would count whose it is; one that sets few apart would count those."""
    bundle, cohort = read_bundle(lab.folder / "ridge.npz"), _visited(lab)
    monkeypatch.setattr("dysconnect.predict.elsewhere.FEWEST", 1)
    made = {"estimator": ESTIMATORS["correlation"], "denoise": denoise_spec}
    who = nodes.set_index("name", drop=False).loc[cohort.nodes]
    arrays = bundle.arrays | {"known/sketch": sketch(cohort.values[:1])}
    with pytest.raises(ValueError, match="knows 1 to 4 of these patients or controls"):
        elsewhere_tested(dataclasses.replace(bundle, arrays=arrays), cohort, who, made)
    arrays = bundle.arrays | {"known/sketch": bundle.arrays["known/sketch"][:0]}
    few = lambda *given: (np.arange(len(given[-1])) == 0) * 0.5 + 0.2
    monkeypatch.setattr("dysconnect.predict.elsewhere._probabilities", few)
    with pytest.raises(ValueError, match="gives many people the same probability"):
        elsewhere_tested(dataclasses.replace(bundle, arrays=arrays), cohort, who, made)


def test_a_guest_model_of_other_making_is_refused(lab, nodes, denoise_spec):
    bundle, cohort = read_bundle(lab.folder / "ridge.npz"), _visited(lab)
    made = {"estimator": ESTIMATORS["correlation"], "denoise": denoise_spec}
    who = nodes.set_index("name", drop=False).loc[cohort.nodes]
    with pytest.raises(ModelFileError, match=r"denoise\.high_pass=0\.01 \(here 0\.02\)"):
        elsewhere_tested(bundle, cohort, who, made | {"denoise": {**denoise_spec, "high_pass": 0.02}})
    with pytest.raises(ModelFileError, match=r"connectivity\.estimator"):
        elsewhere_tested(bundle, cohort, who, made | {"estimator": "other"})
    with pytest.raises(ModelFileError, match="other regions"):
        elsewhere_tested(bundle, cohort, who.assign(x=who["x"] + 1), made)
    with pytest.raises(ModelFileError, match="is of correlation, not partial"):
        elsewhere_tested(bundle, dataclasses.replace(cohort, measure="partial"), who, made)


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_the_interval_of_an_auc_covers_it(shift):
    """In 95 of 100 cohorts the interval holds the truth, also near 1, where pairs often all agree."""
    rng = np.random.default_rng(0)
    label = np.repeat([1, 0], [12, 15])
    truth, held = norm.cdf(shift / np.sqrt(2)), []
    for _ in range(600):
        score = rng.normal(size=27) + shift * label
        auc, low, high = auc_interval(label, score)
        assert auc == pytest.approx((score[label == 1][:, None] > score[label == 0]).mean())
        assert 0 <= low <= auc <= high <= 1
        held.append(low < truth < high)
    assert 0.92 < np.mean(held) < 0.985


def test_where_all_pairs_agree_the_interval_has_a_width():
    label = np.repeat([1, 0], [12, 15])
    for perfect in (label, 1 - label):
        auc, low, high = auc_interval(label, perfect + np.arange(27) / 100)
        assert auc in (0, 1) and 0.05 < high - low < 0.3


def test_how_often_a_probability_came_true_names_nobody():
    rng = np.random.default_rng(1)
    for n, shift in ((20, 5.0), (60, 1.0), (300, 0.2)):
        label = np.arange(n) % 2
        probability = 1 / (1 + np.exp(-rng.normal(shift * (label - 0.5), 1)))
        rows = came_true(label, probability)
        assert (rows[0][0], rows[-1][1]) == (0, 1) and all(a[1] == b[0] for a, b in pairwise(rows))
        assert sum(row[2] for row in rows) == n and sum(row[3] for row in rows) == label.sum()
        assert all(not 0 < few < 5 for _, _, people, cases in rows for few in (cases, people - cases))
