"""What the models of all folds say about one person, how near the person is to their cohort, and what deviates."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Pairs, lacking
from dysconnect.data.measures import measure_of
from dysconnect.learning.estimators import Model
from dysconnect.learning.saved import restore_folds
from dysconnect.learning.splits import NEVER_TESTED
from dysconnect.models.prepare import UnseenSite
from dysconnect.predict.bundle import Bundle
from dysconnect.predict.calibrate import LEVEL, Calibration
from dysconnect.predict.judged import doubtful, judge, levels
from dysconnect.predict.make import sketch
from dysconnect.predict.norm import Norm, describe_deviation
from dysconnect.predict.reference import Reference
from dysconnect.predict.scan import Scan, silent_regions
from dysconnect.version import __version__

RESEARCH_ONLY = "For research only: no diagnosis and no basis for treatment."
NEW_SITE = "model/new_site"  # turns logits into those of people of new sites (`calibrate_final`); not in every file
SAME = 1e-4  # between sketches of connectomes, whose spread over people is near 0.2
MEANING = (
    "Middle 95% over the models of the folds, each trained on other people, and over bootstrap samples of the people "
    "whose out-of-fold predictions calibrate them. It says how much the answer hangs on who was in the cohort, not how "
    "sure it is about this person."
)


def predict_person(bundle: Bundle, scan: Scan, covariates: Mapping[str, object], anyway: bool = False) -> dict:
    """Predict one person.

    Parameters
    ----------
    bundle : Bundle
    scan : Scan
    covariates : mapping
        Covariates that are known: `age`, `sex`, `site`, `mean_fd` (which that of the scan replaces), and others.
    anyway : bool
        Give probabilities although the person is unlike the cohort.

    Returns
    -------
    dict
        Fit for JSON: `refused` (reasons; then `probability`, `floor` and `models` are None unless `anyway`),
        `warnings`, `probability` (`value`, `low`, `high`, `lowest`, `highest` of the models, `alike`), `floor`,
        `distance`, `deviation`, `models` (raw and calibrated probability of each), `scan`, `person`, `model`,
        `research_only`.

    Raises
    ------
    ValueError
        When a covariate is unknown to the model or no such value can be.
    """
    person = _person(bundle, scan, covariates)
    edges, missing = _edges(bundle, scan, bundle.about["norm_measure"])
    complete = edges
    if "norm/filler" in bundle.arrays:
        complete = np.where(lacking(edges, missing, Pairs(len(missing))), bundle.arrays["norm/filler"], edges)
    row = _met(bundle, edges)
    distance = _distance(bundle, scan, person, complete, row)
    refused, doubts = judge(bundle, distance)
    seen = None if row is None else _places(bundle, row)
    if seen is not None:
        doubts.append(_met_warning(seen))
    elif "site" in distance and not distance["site"]["known"]:
        doubts += _new_site_warnings(bundle, distance["site"]["value"])
    said = _probabilities(bundle, scan, person, seen) if anyway or not refused else dict.fromkeys(SAID)
    return {
        "research_only": RESEARCH_ONLY,
        "refused": refused,
        "warnings": [*doubts, *scan.notes, *doubtful(bundle)],
        **said,
        "distance": distance,
        "deviation": _deviation(bundle, complete, person),
        "scan": {
            **scan.source, "volumes": scan.volumes, "repetition_time": _plain(scan.repetition_time),
            "seconds": _plain(scan.seconds), "silent_regions": silent_regions(scan, bundle.nodes),
        },
        "person": {name: _plain(person[name].iloc[0]) for name in bundle.about["covariates"]},
        "model": _model_facts(bundle),
    }  # fmt: skip


SAID = ("probability", "floor", "models")


def _person(bundle: Bundle, scan: Scan, covariates: Mapping[str, object]) -> pd.DataFrame:
    """One row with the covariates; what is not known is NaN or an empty text."""
    asked = bundle.about["covariates"]
    given = {name: value for name, value in covariates.items() if value is not None}
    strange = sorted(set(given) - set(asked))
    if strange:
        raise ValueError(f"{strange[0]} is nothing this model asks for; it asks for {', '.join(asked)}.")
    if np.isfinite(scan.mean_fd):
        given["mean_fd"] = scan.mean_fd
    row = {"participant_id": "person", "label": 0, "scan_group": "person"}
    for name, column in asked.items():
        if column["kind"] == "number":
            row[name] = _number(name, given.get(name))
        else:
            row[name] = str(given.get(name, ""))
    return pd.DataFrame([row])


def _number(name: str, value: object) -> float:
    try:
        number = float(np.nan if value is None else value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is {value!r}; give a number.") from error
    if number < 0 or np.isinf(number):
        raise ValueError(f"{name} is {value!r}, which cannot be.")
    return number


def _edges(bundle: Bundle, scan: Scan, stored: str) -> tuple[np.ndarray, np.ndarray]:
    """Edges of one stored measure, [E], and regions without signal, [N]."""
    edges = scan.edges(stored, bundle.about["estimators"][stored])
    if measure_of(stored).gaps:  # what was measured in nobody is nothing that the person lacks
        edges = np.where(bundle.arrays["measured"], edges, np.float32(0))
    return edges, scan.missing


def _met(bundle: Bundle, edges: np.ndarray) -> int | None:
    """Row of this very scan in the cohort; None for a new one."""
    rows = np.flatnonzero(np.abs(bundle.arrays["known/sketch"] - sketch(edges[None])).max(1) < SAME)
    return int(rows[0]) if len(rows) else None


def _places(bundle: Bundle, row: int) -> list[tuple[int, int]]:
    """(repeat, fold) of the models that never saw somebody of the cohort.

    Of a fixed split those who are only trained on have no such model.
    """
    known = bundle.part("known")
    places = zip(known["repeat"], known["fold"][row])
    return [(int(repeat), int(fold)) for repeat, fold in places if fold != NEVER_TESTED]


def _met_warning(seen: Sequence[tuple[int, int]]) -> str:
    used = (
        f"only those trained without it speak ({len(seen)})" if seen else "all were trained with it, and are too sure"
    )
    return (
        f"this very scan is one of the cohort's: of the models {used}; deviations are from controls that it may be one "
        "of, and then too small"
    )


def _probabilities(
    bundle: Bundle, scan: Scan, person: pd.DataFrame, seen: Sequence[tuple[int, int]] | None
) -> dict[str, object]:
    """Probability by the models, and by the confound floor."""
    stored = bundle.about["stored"]
    edges, missing = _edges(bundle, scan, stored)
    names = bundle.nodes["name"].to_numpy(str)
    cohort = Cohort(person, edges[None], missing[None], names, bundle.about["measure"])
    raw, curve = _raw(restore_folds(bundle.part("model")), cohort, seen), Calibration(**bundle.part("calibration"))
    if seen is None and NEW_SITE in bundle.arrays and person["site"].iloc[0] not in _sites(bundle):
        curve = curve.elsewhere(*bundle.arrays[NEW_SITE])
    models = [
        {"repeat": repeat, "fold": fold, "raw": value, "calibrated": float(calibrated)}
        for ((repeat, fold), value), calibrated in zip(raw.items(), curve.apply(raw))
    ]
    return {"probability": _summed(curve, raw), "floor": _floor(bundle, cohort, seen), "models": models}


def _sites(bundle: Bundle) -> list[str]:
    return bundle.about["covariates"]["site"]["levels"]


def _new_site_warnings(bundle: Bundle, site: str | None) -> list[str]:
    """What a site that the models have not seen, or that is not known, does to the answer."""
    who = (
        f"at site {site}, which is new to the models," if site else "at a site that is not known, and so taken for new,"
    )
    how = "are calibrated on the cohort's own sites, and may be too near to 0 and 1"
    if NEW_SITE in bundle.arrays:
        how = "are calibrated on whole sites that were left out of the cohort"
    said = [f"probabilities {who} {how}"]
    if bundle.about["sections"]["model"].get("harmonise") == "combat":
        known = ", ".join(levels(bundle, "site"))
        said.append(f"ComBat has not seen the site: the scan is not harmonised, and stays as it is (fitted on {known})")
    return said


def _raw(
    models: Mapping[tuple[int, int, int], Model], cohort: Cohort, seen: Sequence[tuple[int, int]] | None
) -> dict[tuple[int, int], float]:
    """Probability of the only person by every model, or by those that never saw this scan."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnseenSite)  # said once for all models, in words
        return {
            tuple(place): float(model.predict(cohort, np.array([0]))[0])
            for (*place, _), model in models.items()
            if not seen or tuple(place) in seen
        }


def _summed(curve: Calibration, raw: Mapping) -> dict[str, object]:
    probabilities = curve.apply(raw)
    low, high = curve.interval(raw)
    near, patients = curve.alike(probabilities.mean())
    return {
        "value": float(probabilities.mean()), "low": low, "high": high, "level": LEVEL, "meaning": MEANING,
        "models": len(probabilities), "lowest": float(probabilities.min()), "highest": float(probabilities.max()),
        "raw": float(np.mean(list(raw.values()))),
        "alike": {"people": near, "patients": patients},
    }  # fmt: skip


def _floor(bundle: Bundle, cohort: Cohort, seen: Sequence[tuple[int, int]] | None) -> dict[str, object]:
    """Probability by the confound floor; or what would have to be known for it."""
    models = restore_folds(bundle.part("floor"))
    asked = next(iter(models.values())).spec["covariates"]
    person = cohort.participants.iloc[0]
    lacking = [name for name in asked if person[name] == "" or person[name] != person[name]]
    strange = [name for name in asked if name not in lacking and _unknown(bundle, name, person[name])]
    if lacking or strange:
        why = [f"{name} is not known" for name in lacking]
        why += [f"nobody of the cohort has {name} {person[name]}" for name in strange]
        return {"value": None, "why": "; ".join(why), "covariates": asked}
    raw = _raw(models, cohort, seen)
    return {**_summed(Calibration(**bundle.part("floor_calibration")), raw), "covariates": asked}


def _unknown(bundle: Bundle, name: str, value: object) -> bool:
    asked = bundle.about["covariates"][name]
    return asked["kind"] == "category" and value not in asked["levels"]


def _distance(bundle: Bundle, scan: Scan, person: pd.DataFrame, edges: np.ndarray, row: int | None) -> dict[str, dict]:
    """Where the person stands beside the cohort: connectivity, motion, site, age, length and speed of the scan."""
    asked, about = bundle.about["covariates"], bundle.about["scan"]
    reference = Reference(**bundle.part("reference"))
    distance: dict[str, dict] = {"connectivity": reference.judge(edges, row)}
    cohort_fd, person_fd = bundle.arrays["mean_fd"], person["mean_fd"].iloc[0] if "mean_fd" in person else np.nan
    distance["motion"] = {"mean_fd": _plain(person_fd), "limit": bundle.about["denoise"]["max_mean_fd"]}
    if len(cohort_fd):
        largest = {"percentile": float(100 * (cohort_fd < person_fd).mean()) if person_fd == person_fd else None}
        distance["motion"] |= largest | {"largest": float(cohort_fd[-1])}
    for name in ("site", "sex"):
        if name in asked:
            value = person[name].iloc[0]
            distance[name] = {"value": value or None, "known": value in asked[name]["levels"] if value else None}
    if "age" in asked:
        distance["age"] = {"value": _plain(person["age"].iloc[0]), "range": asked["age"]["range"]}
    if scan.series is not None:
        distance["repetition_time"] = {"value": scan.repetition_time, "range": about["repetition_time"]}
        distance["seconds"] = {"value": scan.seconds, "range": about["seconds"]}
    return distance


def _deviation(bundle: Bundle, edges: np.ndarray, person: pd.DataFrame) -> dict[str, object]:
    """Deviation map against the norm of the controls; why there is none, where there is none."""
    if "no_norm" in bundle.about:
        return {"why": bundle.about["no_norm"]}
    norm = Norm.restore(bundle.part("norm"))
    if why := norm.refusal(person):
        return {"why": why}
    pairs = Pairs(len(bundle.nodes)).named(bundle.nodes["name"].to_numpy(str))
    described = describe_deviation(norm, edges, person, pairs, bundle.about["deviant_edges"], bundle.about["alpha"])
    titles = bundle.about["circuits"]
    return {**described, "circuits": [{**row, "title": titles[row["circuit"]]} for row in described["circuits"]]}


def _model_facts(bundle: Bundle) -> dict[str, object]:
    about = bundle.about
    keys = ("experiment", "dataset", "contrast", "measure", "people", "scores", "atlas")
    return {**{key: about[key] for key in keys}, "made_by": about["dysconnect"], "read_by": __version__,
            "checksum": bundle.checksum}  # fmt: skip


def _plain(value: object) -> object:
    """A number or text for JSON; None for what is not known."""
    if isinstance(value, str):
        return value or None
    return float(value) if np.isfinite(value) else None
