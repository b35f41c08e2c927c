"""Stage `evaluate`: scores with intervals, permutation p, the confound floor, comparisons, subgroups and power."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dysconnect.evaluate.best import best_p
from dysconnect.evaluate.calibration import recalibration
from dysconnect.evaluate.compare import compare, fold_scores
from dysconnect.evaluate.deconfound import (
    confound_design,
    effective_sizes,
    enough_overlap,
    level_folds,
    overlap_weights,
)
from dysconnect.evaluate.given import check_null, check_predictions, predictions_of
from dysconnect.evaluate.metrics import (
    METRICS,
    Evidence,
    bootstrap_weights,
    calibration_points,
    gather,
    roc_points,
    weighted_auc,
    weighted_scores,
    within_sites,
)
from dysconnect.evaluate.power import power_table
from dysconnect.evaluate.subgroups import subgroup_table
from dysconnect.learning.permuted import permutation_p


@dataclass(frozen=True)
class Evaluation:
    """What the scores of a cohort's experiments say.

    Attributes
    ----------
    scores : DataFrame
        `experiment`, `metric`, `value`, `low`, `high`, `p`, `p_best`, `floor`, `n`; p is the label-permutation p of
        AUC, p_best the same corrected for the other models that see connectivity (`best.best_p`), n of
        `auc_deconfounded` the effective number of subjects.
    comparisons : DataFrame
        Every pair: `experiment`, `other`, `metric`, `difference`, `low`, `high`, `p` (paired bootstrap), `t`, `df`,
        `p_corrected` (corrected resampled t-test).
    curves : DataFrame
        `experiment`, `curve` (roc, calibration), `x`, `y`, `low`, `high`: one standard deviation over folds, and
        Wilson's interval.
    folds : DataFrame
        Scores of every fold.
    subgroups : DataFrame
        Scores by site, sex, age band and motion band.
    power : DataFrame
        What could have been told from chance.
    """

    scores: pd.DataFrame
    comparisons: pd.DataFrame
    curves: pd.DataFrame
    folds: pd.DataFrame
    subgroups: pd.DataFrame
    power: pd.DataFrame


def evaluate(
    predictions: Mapping[str, pd.DataFrame],
    nulls: Mapping[str, pd.DataFrame],
    splits: pd.DataFrame,
    participants: pd.DataFrame,
    covariates: Sequence[str],
    spec: Mapping,
    permutations: Mapping[str, int] | None = None,
    seeing: Sequence[str] | None = None,
    seeds: Mapping[str, int] | None = None,
) -> Evaluation:
    """Score all experiments of a cohort on the same folds and the same bootstrap samples.

    Parameters
    ----------
    predictions : mapping of str to DataFrame
        Tidy out-of-fold predictions by experiment.
    nulls : mapping of str to DataFrame
        `permutation`, `auc` by experiment; empty where there is no permutation null.
    splits : DataFrame
        Folds, and the groups of copied scans.
    participants : DataFrame
        Everybody who was tested, with `site`, `sex`, `age` and `mean_fd` as far as they are known.
    covariates : sequence of str
        Columns of `participants` that the deconfounded scores account for.
    spec : mapping
        The `evaluate` section: `floor` (the experiment that is the confound floor), `bootstraps` (samples of
        subjects), `level` (of the percentile intervals), `seed`.
    permutations : mapping of str to int, optional
        How many permutations each null must have.
    seeing : sequence of str, optional
        Experiments that see connectivity; by default all but the floor.
    seeds : mapping of str to int, optional
        Seeds of the permutations, where they differ.

    Raises
    ------
    ValueError
        When predictions and nulls are not of these experiments, people, folds and labels (`evaluate.given`).
    """
    evidence = {name: gather(predictions_of(name, table)) for name, table in predictions.items()}
    first = next(iter(evidence.values()))
    for name, scored in evidence.items():
        if not np.array_equal(scored.subjects, first.subjects):
            raise ValueError(f"{name} was not tested on the same subjects as the others; train it again.")
        check_predictions(name, predictions[name], splits)
        check_null(name, nulls[name], None if permutations is None else permutations[name])
    people = _people(participants, first.subjects, covariates)
    groups = splits.drop_duplicates("participant_id").set_index("participant_id")["scan_group"]
    groups = groups.loc[first.subjects].to_numpy()
    counts = bootstrap_weights(first.labels, groups, spec["bootstraps"], spec["seed"])
    point, samples, effective = _scores(evidence, predictions, people, covariates, counts)
    folds = fold_scores(predictions, splits, _sites(people))
    seeing = [name for name in nulls if name != spec["floor"]] if seeing is None else seeing
    best = best_p(nulls, seeing, (1 - spec["level"]) / 2, seeds)
    auc = {name: scored["auc"][0] for name, scored in point.items()}
    return Evaluation(
        scores=_score_table(point, samples, nulls, best, spec, (len(people), effective)),
        comparisons=compare(point, samples, folds, spec["level"]),
        curves=_curve_table(predictions, spec["level"]),
        folds=folds,
        subgroups=subgroup_table(evidence, groups, people, spec),
        power=power_table(auc, nulls, *_fold_sizes(next(iter(predictions.values()))), 1 - spec["level"]),
    )


def _people(participants: pd.DataFrame, subjects: np.ndarray, covariates: Sequence[str]) -> pd.DataFrame:
    """Rows of the participants table in the order of the subjects."""
    absent = [name for name in covariates if name not in participants]
    if absent:
        raise ValueError(
            f"covariate {', '.join(absent)} is not a column of participants.tsv "
            f"(found: {', '.join(participants.columns)}). Correct dataset.covariates."
        )
    known = participants.set_index("participant_id")
    strangers = sorted(set(subjects) - set(known.index))
    if strangers:
        raise ValueError(f"{strangers[0]} was predicted but is not in participants.tsv; make the splits again.")
    return known.loc[subjects]


def _scores(
    evidence: Mapping[str, Evidence],
    predictions: Mapping[str, pd.DataFrame],
    people: pd.DataFrame,
    covariates: Sequence[str],
    counts: np.ndarray,
) -> tuple[dict, dict, float]:
    """Estimates and bootstrap samples of all metrics by experiment, and the effective size after deconfounding."""
    labels = next(iter(evidence.values())).labels
    ones, design = np.ones((1, len(labels))), confound_design(people, covariates)
    alike = {"point": overlap_weights(labels, design, ones), "samples": overlap_weights(labels, design, counts)}
    enough = enough_overlap(labels, alike["point"][0])
    folds = _folds(next(iter(predictions.values())), people.index)
    level = {which: level_folds(labels, weights, folds) for which, weights in alike.items()}
    by_kind = {"point": {}, "samples": {}}
    for name, scored in evidence.items():
        for which, weights in (("point", ones), ("samples", counts)):
            scores = weighted_scores(scored, weights) | recalibration(predictions[name], scored.subjects, weights)
            matched = weighted_auc(scored, level[which])
            scores["auc_within_site"] = weighted_auc(within_sites(scored, _sites(people)), weights)
            scores["auc_deconfounded"] = matched if enough else np.full_like(matched, np.nan)
            by_kind[which][name] = scores
    return by_kind["point"], by_kind["samples"], round(sum(effective_sizes(labels, alike["point"][0])))


def _score_table(point, samples, nulls, best: Mapping[str, float], spec: Mapping, sizes: tuple) -> pd.DataFrame:
    rows, floor, level = [], spec["floor"], spec["level"]
    tails = [(1 - level) / 2, (1 + level) / 2]
    for name in point:
        for metric in METRICS:
            # of the samples themselves, since a slope may be infinite
            low, high = np.quantile(samples[name][metric], tails, method="inverted_cdf")
            p = (permutation_p(nulls[name]), best[name]) if metric == "auc" else (np.nan, np.nan)
            level_of_floor = point[floor][metric][0] if floor in point else np.nan
            n = sizes[metric == "auc_deconfounded"]
            rows.append((name, metric, point[name][metric][0], low, high, *p, level_of_floor, n))
    return pd.DataFrame(rows, columns=["experiment", "metric", "value", "low", "high", "p", "p_best", "floor", "n"])


def _sites(people: pd.DataFrame) -> pd.Series:
    """Site of everybody, by subject; of nobody where the participants have none."""
    return people["site"] if "site" in people else pd.Series(np.nan, people.index)


def _folds(predictions: pd.DataFrame, subjects: pd.Index) -> np.ndarray:
    """Fold in which everybody was tested, [repeats, S]."""
    once = predictions.drop_duplicates(["participant_id", "repeat"])
    return once.pivot_table(index="repeat", columns="participant_id", values="fold")[subjects].to_numpy()


def _fold_sizes(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Patients and controls of every fold of the first repeat, [folds] each."""
    first = predictions[predictions["repeat"] == predictions["repeat"].min()].drop_duplicates("participant_id")
    counts = first.groupby("fold")["label"].agg(["sum", "size"])
    return counts["sum"].to_numpy(), (counts["size"] - counts["sum"]).to_numpy()


def _curve_table(predictions: Mapping[str, pd.DataFrame], level: float) -> pd.DataFrame:
    tables = []
    for name, table in predictions.items():
        roc = roc_points(table).rename(columns={"fpr": "x", "tpr": "y"})
        calibration = calibration_points(table, level=level).rename(columns={"probability": "x", "observed": "y"})
        tables += [roc.assign(experiment=name, curve="roc"), calibration.assign(experiment=name, curve="calibration")]
    return pd.concat(tables, ignore_index=True)[["experiment", "curve", "x", "y", "low", "high"]]
