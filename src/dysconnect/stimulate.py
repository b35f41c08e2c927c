"""Stage `stimulate`: which region would move patients towards health, were its connections made normal?

A hypothesis generator for research: it ranks what a fitted model responds to, not what treatment would do.
"""

import numpy as np
import pandas as pd

from dysconnect.localize.statistics import nuisance_basis
from dysconnect.models.edges import MissingRegions, edge_missing
from dysconnect.train.estimators import Cohort
from dysconnect.train.splits import fold_rows, scored_folds


def expected_control(values: np.ndarray, table: pd.DataFrame, covariates: list[str], train: np.ndarray) -> np.ndarray:
    """Edges that a healthy person of the same covariates would have, for everybody, [n, E].

    A linear model of the covariates, fitted on the control subjects of the training fold only.
    """
    # the basis mixes covariates of all subjects but no edge and no label; the fit sees training controls alone
    basis = nuisance_basis(table, covariates)
    controls = train[table["label"].to_numpy()[train] == 0]
    coefficients, *_ = np.linalg.lstsq(basis[controls], values[controls], rcond=None)
    return basis @ coefficients


def region_shifts(excess: np.ndarray, weights: np.ndarray, n_nodes: int) -> np.ndarray:
    """Change of a linear decision when all edges of one region are made normal, [n, N].

    Parameters
    ----------
    excess : array, [n, E]
        Observed minus expected edges.
    weights : array, [E]
        Of the linear model.
    n_nodes : int
    """
    rows, cols = np.triu_indices(n_nodes, k=1)
    change = -(excess * weights)
    shifts = np.zeros((len(excess), n_nodes))
    for subject in range(len(excess)):
        shifts[subject] = np.bincount(rows, change[subject], n_nodes) + np.bincount(cols, change[subject], n_nodes)
    return shifts


def rank_targets(
    cohort: Cohort, splits: pd.DataFrame, fold_weights: np.ndarray, nodes: pd.DataFrame, covariates: list[str]
) -> pd.DataFrame:
    """Rank regions by how far their virtual normalisation moves held-out patients towards the controls.

    Parameters
    ----------
    cohort : Cohort
        Fisher z edges.
    splits : DataFrame
        Of the training stage.
    fold_weights : array, [folds, E]
        Linear edge weights of every fold, in the order of repeats and folds: each fold's weights are applied to
        the patients it did not see.
    nodes : DataFrame, [N rows]
    covariates : list of str
        What the expected healthy connectome depends on.

    Returns
    -------
    DataFrame, [N rows], strongest first
        `rank`, `region`, `system`, `x`, `y`, `z` (MNI mm), `shift` (mean change of the decision in patients;
        negative is towards health), `z_score` (among all regions, which have equally many edges), `controls`
        (the same change in controls: near zero when the target is specific), `consistency` (share of patients
        that move towards health).
    """
    lost = edge_missing(cohort.missing)
    shifts, seen = np.zeros((len(cohort.labels), len(nodes))), np.zeros(len(cohort.labels))
    places = scored_folds(splits)
    for weights, (repeat, fold) in zip(fold_weights, places, strict=True):
        train, test = fold_rows(splits, cohort.participants, repeat, fold)
        filler = MissingRegions().fit(cohort.values[train], cohort.missing[train], diagonal=False)
        values = filler.transform(cohort.values, cohort.missing)
        normal = expected_control(values, cohort.participants, covariates, train)
        excess = np.where(lost[test], 0, values[test] - normal[test])
        shifts[test] += region_shifts(excess, weights, len(nodes))
        seen[test] += 1
    shifts, patients = shifts[seen > 0] / seen[seen > 0, None], cohort.labels[seen > 0] == 1
    table = nodes[["name", "system", "x", "y", "z"]].rename(columns={"name": "region"})
    mean = shifts[patients].mean(0)
    table = table.assign(
        shift=mean,
        z_score=(mean - mean.mean()) / mean.std(),
        controls=shifts[~patients].mean(0),
        consistency=(shifts[patients] < 0).mean(0),
    )
    table = table.sort_values("shift").reset_index(drop=True)
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return table
