"""From the folds' effects to the two tables: the group's targets and every patient's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from dysconnect.data.edges import Pairs
from dysconnect.stimulate.counterfactual import costs
from dysconnect.stimulate.folds import Effects
from dysconnect.stimulate.targets import Targets

TOP = 10
COLUMNS = (
    "kind", "rank", "target", "title", "access", "system", "x", "y", "z", "n_nodes", "n_edges", "shift", "score", "p",
    "p_fwer", "matched_z", "matched_p", "controls", "consistency", "cost", "top10",
)  # fmt: skip
PATIENT_COLUMNS = ("participant_id", "kind", "target", "shift", "score", "rank", "cost")


@dataclass(frozen=True)
class Seen:
    """Effects on the people that were tested, averaged over repeats.

    Attributes
    ----------
    tested : array of int, [m]
        Positions of the people.
    labels : array, [m]
    shifts, costs : array, [m, T]
    by_fold : array, [folds, T]
        Mean shift of the patients of every fold.
    edges : array, [E]
        Part of every edge in the mean shift of the patients.
    """

    tested: np.ndarray
    labels: np.ndarray
    shifts: np.ndarray
    costs: np.ndarray
    by_fold: np.ndarray
    edges: np.ndarray


def goal_logit(folds: Sequence[Effects], labels: np.ndarray, goal: str) -> float:
    """Where the cheapest edit is to bring a patient.

    To the median logit of the held-out controls (`goal` "controls"), or to the logit 0 at which the model calls
    somebody a control ("boundary").
    """
    logits = np.concatenate([fold.logits[labels[fold.test] == 0] for fold in folds])
    return float(np.median(logits)) if goal == "controls" else 0.0


def gather(folds: Sequence[Effects], labels: np.ndarray, aim: float) -> Seen:
    """Join the folds.

    Parameters
    ----------
    folds : sequence of Effects
    labels : array, [n]
        Of everybody.
    aim : float
        Of `goal_logit`.
    """
    rows = np.concatenate([fold.test for fold in folds])
    prices = [costs(fold.logits - aim, fold.reach) if fold.costs is None else fold.costs for fold in folds]
    shifts = np.vstack([fold.shifts for fold in folds])
    tested, place = np.unique(rows, return_inverse=True)
    times = np.bincount(place)[:, None]
    mean = lambda numbers: _summed(numbers, place, len(tested)) / times
    prices = np.vstack(prices)
    with np.errstate(invalid="ignore"):  # nowhere to be brought to the goal: no price
        price = _summed(np.nan_to_num(prices), place, len(tested)) / _summed(np.isfinite(prices), place, len(tested))
    patients = labels[rows] == 1
    by_fold = [fold.shifts[labels[fold.test] == 1].mean(0) for fold in folds if (labels[fold.test] == 1).any()]
    edges = np.sum([fold.edges for fold in folds], axis=0) / patients.sum()
    return Seen(tested, labels[tested], mean(shifts), price, np.array(by_fold), edges)


def _summed(numbers: np.ndarray, place: np.ndarray, n: int) -> np.ndarray:
    total = np.zeros((n, numbers.shape[1]))
    np.add.at(total, place, numbers)
    return total


def target_table(
    seen: Seen, targets: Targets, tests: dict[str, np.ndarray], control: pd.DataFrame | None
) -> pd.DataFrame:
    """Rank the targets within their kinds, strongest first.

    Parameters
    ----------
    seen : Seen
    targets : Targets
    tests : dict of str to array, [T]
        `score`, `p`, `p_fwer` of permuted labels where there are any; `matched_z`, `matched_p`.
    control : DataFrame or None
        Columns of network control theory, a row a node of the connectomes.
    """
    patients = seen.labels == 1
    priced = np.where(seen.costs[patients] > 0, seen.costs[patients], np.nan)
    with np.errstate(invalid="ignore"):
        price = np.nansum(priced, 0) / np.isfinite(priced).sum(0)
    chance = seen.shifts[~patients].mean(0) if (~patients).any() else np.zeros(len(price))
    table = targets.table.assign(
        shift=seen.shifts[patients].mean(0),
        controls=chance if (~patients).any() else np.nan,
        consistency=(seen.shifts[patients] < chance).mean(0),
        cost=price,
        top10=np.nan,
        **{name: tests.get(name, np.nan) for name in ("score", "p", "p_fwer", "matched_z", "matched_p")},
    )
    order = table["score"].fillna(table["matched_z"])
    table["rank"] = order.groupby(table["kind"]).rank(method="first", na_option="bottom").astype(int)
    for kind in table["kind"].unique():
        members = table["kind"] == kind
        if members.sum() > TOP:
            table.loc[members, "top10"] = share_at_top(seen.by_fold[:, members.to_numpy()], TOP)
    extra = []
    if control is not None:
        extra = list(control.columns)
        table = table.join(control.iloc[targets.nodes].reset_index(drop=True))
    kinds = pd.Categorical(table["kind"], targets.table["kind"].unique(), ordered=True)
    table = table.assign(kind=kinds).sort_values(["kind", "rank"]).astype({"kind": object})
    return table[[*COLUMNS, *extra]].reset_index(drop=True)


def patient_table(seen: Seen, targets: Targets, names: np.ndarray) -> pd.DataFrame:
    """Rank the targets of every patient, within kinds.

    Parameters
    ----------
    seen : Seen
    targets : Targets
    names : array of str, [n]
        Of everybody.

    Returns
    -------
    DataFrame
        `participant_id`, `kind`, `target`, `shift` (logits; negative is towards health), `score` (in standard
        deviations of the held-out controls' shifts), `rank` (by score), `cost` (0: is already at the goal).
    """
    patients = seen.labels == 1
    norm = seen.shifts[~patients]
    spread = norm.std(0) if len(norm) > 1 else np.full(norm.shape[1], np.nan)
    centre = norm.mean(0) if len(norm) else 0
    score = (seen.shifts[patients] - centre) / np.where(spread > 0, spread, np.nan)
    count, kinds = int(patients.sum()), targets.table["kind"].to_numpy()
    ranks = np.empty(score.shape, int)
    for kind in np.unique(kinds):
        members = kinds == kind
        order = np.where(np.isfinite(score[:, members]), score[:, members], np.inf)
        ranks[:, members] = rankdata(order, method="ordinal", axis=1)
    table = pd.DataFrame(
        {
            "participant_id": np.repeat(names[seen.tested[patients]], len(kinds)),
            "kind": np.tile(kinds, count),
            "target": np.tile(targets.table["target"].to_numpy(), count),
            "shift": seen.shifts[patients].ravel(),
            "score": score.ravel(),
            "rank": ranks.ravel(),
            "cost": seen.costs[patients].ravel(),
        }
    )
    order = pd.Categorical(table["kind"], targets.table["kind"].unique(), ordered=True)
    return table.assign(order=order).sort_values(["participant_id", "order", "rank"])[list(PATIENT_COLUMNS)]


def rank_agreement(effects: np.ndarray) -> float:
    """Mean Spearman correlation of the targets' effects between folds, [folds, T]; NaN for one fold or target."""
    if min(effects.shape) < 2:
        return float("nan")
    related = np.corrcoef(rankdata(effects, axis=1))
    return float(Pairs(len(effects)).edges(related).mean())


def share_at_top(effects: np.ndarray, top: int) -> np.ndarray:
    """Share of the folds in which a target is among the `top` strongest (most negative), [folds, T] -> [T]."""
    return (rankdata(effects, method="min", axis=1) <= top).mean(0)
