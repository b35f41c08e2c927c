"""Stage `predict`: gather what it takes to predict a new person in one file."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.data.atlas import circuit_edges, circuit_titles, load_atlas
from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import MissingRegions, blocks
from dysconnect.data.labelled import labelled_cohort
from dysconnect.data.measures import Measure, measure_of
from dysconnect.data.participants import scan_groups
from dysconnect.localize.deviation import NoNormError
from dysconnect.predict.bundle import atlas_hash, write_bundle
from dysconnect.predict.calibrate import calibrate
from dysconnect.predict.norm import learn_norm
from dysconnect.predict.reference import learn_reference, partners
from dysconnect.version import __version__

KEPT = ("node", "name", "hemisphere", "x", "y", "z", "system", "network", "radius")
AS_READ = ("key", "segmentation", "order", "content", "scaled")  # of an index of matrices: alike in all of a data set
DATASET = ("name", "title", "citation", "licence", "simulated")


def make_bundle(files: Mapping, spec: Mapping, path: str | Path) -> dict:
    """Write the bundle of one experiment.

    Parameters
    ----------
    files : mapping
        Paths: `connectomes` (of ``localize.measure``), `participants`, `index` (of series or matrices), `splits`,
        `scores`, `folds` and `predictions` of the experiment, `floor_folds` and `floor_predictions` of the floor.
    spec : mapping
        `experiment`, `floor`, `sections` (of its training), `stored` and `estimators` (by stored measure), `dataset`
        (with `contrast` and `covariates`), `atlas`, `denoise`, `localize`, `min_coverage`, `surface`
        (whether the cortex was averaged over a surface), `regional` (a floor that also sees what the measure says of
        regions; optional).
    path : path
        ``.npz``.

    Returns
    -------
    dict
        The signature, as in the file.

    Raises
    ------
    ValueError
        Of a measure that is exploratory: six minutes tell of a cohort, not of a person.
    """
    for measure in (spec["stored"], spec["localize"]["measure"]):
        _refuse_exploratory(measure_of(measure))
    nodes = load_atlas(spec["atlas"]["nodes"])
    nodes = nodes[[name for name in KEPT if name in nodes]]
    localize, contrast = spec["localize"], spec["dataset"]["contrast"]
    cohort, data_hash = labelled_cohort(files["connectomes"], files["participants"], contrast, localize["measure"])
    filler = MissingRegions().fit(cohort.values, cohort.missing, cohort.pairs)
    predictions, floor = (pd.read_csv(files[name], sep="\t") for name in ("predictions", "floor_predictions"))
    splits = pd.read_csv(files["splits"], sep="\t")
    complete = filler.transform(cohort.values, cohort.missing)
    reference = learn_reference(complete, scan_groups(cohort.participants), partners(nodes))
    arrays = {
        **_named("model", _first_seed(files["folds"])), **_named("floor", _first_seed(files["floor_folds"])),
        **_named("calibration", calibrate(predictions).state()),
        **_named("floor_calibration", calibrate(floor).state()),
        **_named("reference", reference.state()), **_named("known", known_scans(cohort, splits)),
        "mean_fd": np.sort(cohort.participants["mean_fd"].dropna().to_numpy(float)),
        "measured": cohort.measured if cohort.known is None else cohort.known,
        "norm/filler": filler.mean_.astype(np.float32),
    }  # fmt: skip
    image = Path(spec["atlas"]["image"]).read_bytes() if "image" in spec["atlas"] else b""
    if image:
        arrays["atlas_image"] = np.frombuffer(image, np.uint8)
    about = _about(cohort, nodes, spec) | _scans(files["index"], cohort.participants)
    about["scores"] = _scores(pd.read_csv(files["scores"], sep="\t"), spec)
    about["atlas"]["hash"], about["data_hash"] = atlas_hash(nodes, image), data_hash
    try:
        norm = learn_norm(
            cohort, circuit_edges(nodes, cohort.directed), localize["nuisance"], localize["max_missing"], filler
        )
        arrays |= _named("norm", norm.state())
    except NoNormError as error:
        about["no_norm"] = str(error)
    write_bundle(path, about, nodes, arrays)
    return about


def _refuse_exploratory(measure: Measure) -> None:
    if measure.exploratory:
        raise ValueError(
            f"nobody is predicted from connectivity={measure.name}: {measure.exploratory}. Choose an experiment of "
            "another measure."
        )


def _first_seed(path: str | Path) -> dict[str, np.ndarray]:
    """Arrays of the models of all folds, of the first seed where there are several (``repeat.fold.seed/NAME``)."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files if "/" not in name or re.match(r"\d+\.\d+\.0/", name)}


def _named(part: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{part}/{name}": value for name, value in arrays.items()}


def sketch(edges: np.ndarray) -> np.ndarray:
    """Eight numbers of every connectome, [n, E] -> [n, 8], that tell whether two are of one scan, and nothing else.

    Random signs give each the standard deviation of the connectome; rounding moves them by millionths.
    """
    signs = np.random.default_rng(23).choice([-1.0, 1.0], (edges.shape[1], 8))
    return np.nan_to_num(edges.astype(float), nan=0.0) @ signs / np.sqrt(edges.shape[1])


def known_scans(cohort: Cohort, splits: pd.DataFrame) -> dict[str, np.ndarray]:
    """Sketches of the scans that were trained on, [n, 8], and the fold in which each was left out, [n, repeats].

    Whoever is met again is predicted by the models that never saw this scan.
    """
    fold = splits.pivot_table(index="participant_id", columns="repeat", values="fold")
    left_out_in = fold.loc[cohort.participants["participant_id"]].to_numpy(int)
    sketches = np.concatenate([sketch(cohort.values[part]) for part in blocks(cohort.values.shape)])
    return {"sketch": sketches, "fold": left_out_in, "repeat": fold.columns.to_numpy(int)}


def _about(cohort: Cohort, nodes: pd.DataFrame, spec: Mapping) -> dict:
    """The signature: what the models take, and whom they know."""
    people, dataset = cohort.participants, spec["dataset"]
    return {
        "dysconnect": __version__,
        "experiment": spec["experiment"],
        "dataset": {key: dataset[key] for key in DATASET if key in dataset},
        "contrast": dataset["contrast"],
        "measure": spec["sections"]["measure"],
        "stored": spec["stored"],
        "estimators": spec["estimators"],
        "norm_measure": spec["localize"]["measure"],
        "sections": spec["sections"],
        "denoise": spec["denoise"],
        "min_coverage": spec["min_coverage"],
        "surface": spec["surface"],
        "atlas": {key: spec["atlas"][key] for key in ("name", "title", "space") if spec["atlas"].get(key)},
        "covariates": {name: _covariate(people[name]) for name in _asked(people, spec)},
        "uses": _used(spec["sections"]["model"]),
        "alpha": spec["localize"]["alpha"],
        "deviant_edges": spec["localize"]["deviant_edges"],
        "circuits": {name: title for name, title in circuit_titles().items()},
        "people": {"all": len(people), "patients": int(cohort.labels.sum())},
    }


def _asked(people: pd.DataFrame, spec: Mapping) -> list[str]:
    """Covariates that anything in the file reads."""
    read = [*spec["dataset"]["covariates"], *spec["localize"]["nuisance"], *_used(spec["sections"]["model"])]
    return [name for name in dict.fromkeys([*read, "age", "sex", "site", "mean_fd"]) if name in people]


def _used(model: Mapping) -> list[str]:
    """Covariates that the model itself accounts for."""
    return list(
        dict.fromkeys([*(["site"] if model.get("harmonise") == "combat" else []), *(model.get("deconfound") or [])])
    )


def _covariate(values: pd.Series) -> dict:
    """Range of a number, or the categories."""
    if pd.api.types.is_numeric_dtype(values):
        known = values.dropna()
        return {"kind": "number", "range": [float(known.min()), float(known.max())] if len(known) else None}
    known = values[values.astype(str) != ""].dropna().astype(str)
    return {"kind": "category", "levels": sorted(known.unique().tolist())}


def _scans(index: str | Path, people: pd.DataFrame) -> dict:
    """Ranges of what the cohort's scans were like; of matrices how they were read."""
    table = pd.read_csv(index, sep="\t", dtype=str, keep_default_na=False).set_index("participant_id")
    if "matrix" in table:
        return {"scan": {}, "matrices": table.iloc[0][list(AS_READ)].to_dict()}
    times = table.loc[people["participant_id"], "repetition_time"].astype(float)
    kept = people["seconds_kept"]
    return {
        "scan": {
            "repetition_time": [float(times.min()), float(times.max())],
            "seconds": [float(kept.min()), float(kept.max())],
        }
    }


def _scores(scores: pd.DataFrame, spec: Mapping) -> dict:
    """How well the experiment told patients from controls out of fold, and the floor."""
    aucs = scores[scores["metric"] == "auc"].set_index("experiment")
    row = aucs.loc[spec["experiment"]]
    values = {key: float(row[key]) for key in ("value", "low", "high", "p", "floor")}
    if spec.get("regional") in aucs.index:
        values["regional"] = float(aucs.loc[spec["regional"], "value"])
    return {"auc": {key: value if np.isfinite(value) else None for key, value in values.items()}}
