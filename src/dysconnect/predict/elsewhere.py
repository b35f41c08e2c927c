"""How well the model of another site does on this site's people: counts only, fit to be given away.

The other site sends its file of the model (results/DATASET/predict/NAME.npz), and gets back an AUC and how often a
probability came true. Nobody's prediction leaves.
"""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import rankdata

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import blocks
from dysconnect.data.measures import measure_of
from dysconnect.data.participants import scan_groups
from dysconnect.learning.saved import restore_folds
from dysconnect.models.prepare import UnseenSite
from dysconnect.predict.bundle import Bundle, ModelFileError
from dysconnect.predict.calibrate import LEVEL, Calibration
from dysconnect.predict.make import sketch
from dysconnect.predict.person import NEW_SITE, SAME

BINS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # of the probability
FEW = 5  # people: a bin with fewer patients or controls, but some, joins its neighbour
FEWEST = 10  # people a group whom a model can be tested on
DIGITS = 3  # of what is said of an AUC: more would hold more of people than of the model


def tested_elsewhere(
    bundle: Bundle, cohort: Cohort, nodes: pd.DataFrame, made: Mapping, recognised: Cohort | None = None
) -> dict:
    """Test a model on people whom it does not know.

    Parameters
    ----------
    bundle : Bundle
    cohort : Cohort
        Of the measure that the model is trained on, as stored.
    nodes : DataFrame, [N rows]
        Regions of the cohort: `name`, `x`, `y`, `z`.
    made : mapping
        How these connectomes were made: `estimator`, and `denoise` (the section).
    recognised : Cohort, optional
        The same people by the measure by which the model knows its own (`norm_measure`), where it is another.

    Returns
    -------
    dict
        `model`, `trained_at`, `checksum`, `n_cases`, `n_controls`, `auc`, `low`, `high` (as of `auc_interval`),
        `calibration` (as of `came_true`).

    Raises
    ------
    ModelFileError
        For other regions, another measure, estimator or denoising; names the difference.
    ValueError
        When fewer than 10 people of a group are left whom the model was not trained on, or it knows one to four of a
        group, or gives many people one probability: what it is told would tell of the few others.
    """
    _refuse_other(bundle, cohort, nodes, made)
    rows, known = _strangers(bundle, cohort if recognised is None else recognised)
    label = cohort.labels[rows]
    if any(0 < np.sum(cohort.labels[known] == side) < FEW for side in (0, 1)):
        raise ValueError(
            f"{_name(bundle)} knows 1 to {FEW - 1} of these patients or controls by their scans, and the counts of the "
            "others would tell who they are. Leave it out of share.models."
        )
    cases, controls = int(label.sum()), int((1 - label).sum())
    if min(cases, controls) < FEWEST:
        raise ValueError(
            f"{_name(bundle)}: {cases} patients and {controls} controls are left whom it was not trained on, and "
            f"{FEWEST} of each are needed. Leave it out of share.models."
        )
    probability = _probabilities(bundle, cohort, rows)
    if not np.isfinite(probability).all():
        raise ModelFileError(f"{_name(bundle)} gives somebody no probability. Leave it out of share.models.")
    if 1 < len(np.unique(probability)) < len(rows) / 2:
        raise ValueError(
            f"{_name(bundle)} gives many people the same probability, so that its AUC would tell of the few others. "
            "Leave it out of share.models."
        )
    auc, low, high = (round(value, DIGITS) for value in auc_interval(label, probability))
    about = bundle.about
    return {
        "model": about["experiment"], "trained_at": about["dataset"]["name"], "checksum": bundle.checksum,
        "n_cases": cases, "n_controls": controls, "auc": auc, "low": low, "high": high,
        "calibration": came_true(label, probability),
    }  # fmt: skip


def _name(bundle: Bundle) -> str:
    return f"the model {bundle.about['experiment']} of {bundle.about['dataset']['name']}"


def _refuse_other(bundle: Bundle, cohort: Cohort, nodes: pd.DataFrame, made: Mapping) -> None:
    about, remedy = bundle.about, "Make the connectomes as it asks, or leave it out of share.models."
    theirs, ours = bundle.nodes, nodes
    same = theirs["name"].tolist() == ours["name"].tolist()
    if not same or not np.allclose(theirs[["x", "y", "z"]], ours[["x", "y", "z"]], atol=1e-3):
        raise ModelFileError(f"{_name(bundle)} is of the atlas {about['atlas']['name']}: other regions. {remedy}")
    if cohort.measure != about["measure"]:
        raise ModelFileError(f"{_name(bundle)} is of {about['measure']}, not {cohort.measure}. {remedy}")
    asked = {"connectivity.estimator": (about["estimators"][about["stored"]], made["estimator"])}
    keys = sorted({*about["denoise"], *made["denoise"]} - {"name"})
    asked |= {f"denoise.{key}": (about["denoise"].get(key), made["denoise"].get(key)) for key in keys}
    other = [f"{key}={theirs} (here {ours})" for key, (theirs, ours) in asked.items() if theirs != ours]
    if other:
        raise ModelFileError(f"{_name(bundle)} is of {', '.join(other)}. {remedy}")


def _strangers(bundle: Bundle, cohort: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the people whose scan the model was not trained on, and of the others; of several copies the first."""
    first = ~pd.Series(scan_groups(cohort.participants)).duplicated().to_numpy()
    known, asked, unknown = bundle.arrays["known/sketch"], bundle.about["norm_measure"], np.ones_like(first)
    if cohort.measure != asked:
        raise ValueError(f"{_name(bundle)} knows its people by {asked}, and {cohort.measure} was given.")
    for part in blocks(cohort.values.shape):
        apart = np.abs(sketch(cohort.values[part])[:, None] - known[None]).max(2).min(1, initial=np.inf)
        unknown[part] = apart >= SAME
    return np.flatnonzero(first & unknown), np.flatnonzero(first & ~unknown)


def _probabilities(bundle: Bundle, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
    """Calibrated probability of everybody, the mean over the models of all folds, [n]."""
    values = cohort.values
    if measure_of(bundle.about["stored"]).gaps:  # what was measured in nobody is nothing that a person lacks
        values = np.where(bundle.arrays["measured"], values[:], np.float32(0))
    asked = Cohort(cohort.participants, values, cohort.missing, cohort.nodes, cohort.measure, cohort.directed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnseenSite)  # that is the point
        models = restore_folds(bundle.part("model"))
        raw = {tuple(place): model.predict(asked, rows) for (*place, _), model in models.items()}
    curve = Calibration(**bundle.part("calibration"))
    if NEW_SITE in bundle.arrays:
        curve = curve.elsewhere(*bundle.arrays[NEW_SITE])
    return np.array([curve.apply({place: p[i] for place, p in raw.items()}).mean() for i in range(len(rows))])


def auc_interval(label: np.ndarray, score: np.ndarray) -> tuple[float, float, float]:
    """AUC with its interval at 95%.

    Parameters
    ----------
    label : array of 0 and 1, [n]
    score : array, [n]

    Notes
    -----
    The interval is that of a share of as many independent trials as would have the variance of the AUC, at most one a
    person: so it stays between 0 and 1, and has a width where all pairs agree.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson (1988), doi:10.2307/2531595 (variance).
    """
    cases, controls = score[label == 1], score[label == 0]
    m, n = len(cases), len(controls)
    ranks = rankdata(np.concatenate([cases, controls]))
    above = (ranks[:m] - rankdata(cases)) / n  # share of the controls below each case
    below = 1 - (ranks[m:] - rankdata(controls)) / m  # share of the cases above each control
    auc, variance = float(above.mean()), above.var(ddof=1) / m + below.var(ddof=1) / n
    trials = min(auc * (1 - auc) / variance, m + n) if variance > 0 else m + n
    z = ndtri((1 + LEVEL) / 2)
    middle = (auc + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * np.sqrt(auc * (1 - auc) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    return auc, min(auc, max(0.0, float(middle - half))), max(auc, min(1.0, float(middle + half)))


def came_true(label: np.ndarray, probability: np.ndarray) -> list[list]:
    """How often a probability came true: rows of its lower and upper end, people, and patients among them.

    A bin in which there are one to four patients or controls joins the next, so that nobody stands alone.
    """
    place = np.clip(np.searchsorted(BINS, probability, side="right") - 1, 0, len(BINS) - 2)
    rows = [[BINS[k], BINS[k + 1], int((place == k).sum()), int(label[place == k].sum())] for k in range(len(BINS) - 1)]
    while len(rows) > 1 and any(map(_thin, rows)):
        k = next(k for k, row in enumerate(rows) if _thin(row))
        other = k + 1 if k + 1 < len(rows) else k - 1
        first, second = sorted((k, other))
        rows[first : second + 1] = [_together(rows[first], rows[second])]
    return rows


def _thin(row: Sequence) -> bool:
    _, _, n, cases = row
    return 0 < cases < FEW or 0 < n - cases < FEW


def _together(one: Sequence, other: Sequence) -> list:
    return [one[0], other[1], one[2] + other[2], one[3] + other[3]]
