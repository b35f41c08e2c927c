"""Groups as they are: the mean of every edge by group, and the strongest edges person by person, raw and adjusted."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dysconnect.localize.statistics import nuisance_basis

STRONGEST = 9  # edges that are shown person by person


def group_means(edges: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
    """Mean of every edge [n, E] over patients and over controls, not adjusted: `mean_cases`, `mean_controls`, [E]."""
    sides = (("mean_cases", label == 1), ("mean_controls", label == 0))
    return {name: np.mean(edges, axis=0, dtype=float, where=side[:, None]) for name, side in sides}


def adjusted(values: np.ndarray, group: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Take the covariates out of edges, and leave the group's effect and the mean.

    Parameters
    ----------
    values : array, [n, E]
    group : array, [n]
        1: patient, 0: control.
    basis : array, [n, K]
        Orthonormal, of intercept and covariates (`nuisance_basis`).

    Returns
    -------
    array, [n, E]
        The difference of its group means is the group's coefficient in the full model, as in the test.
    """
    rest = values - basis @ (basis.T @ values)
    alone = group - basis @ (basis.T @ group)
    effect = alone @ rest / (alone @ alone)
    noise = rest - np.outer(alone, effect)
    return values.mean(0) + np.outer(group - group.mean(), effect) + noise


def edge_points(
    edges: np.ndarray,
    people: pd.DataFrame,
    covariates: Sequence[str],
    names: pd.DataFrame,
    measured: np.ndarray | None = None,
) -> pd.DataFrame:
    """Everybody's value of some edges, as measured and adjusted for the covariates.

    Parameters
    ----------
    edges : array, [n, k]
        Complete, in the unit of their measure, as they were tested.
    people : DataFrame, [n rows]
        `participant_id`, `label` and the covariates.
    covariates : sequence of str
    names : DataFrame, [k rows]
        `region_a`, `region_b`.
    measured : array, [n, k], optional
        The edges before anything was taken out of them, where something was.

    Returns
    -------
    DataFrame, [k n rows]
        `participant_id`, `label`, `region_a`, `region_b`, `raw`, `adjusted`; edge after edge, in their order.
    """
    raw = (edges if measured is None else measured).astype(float)
    without = adjusted(edges.astype(float), people["label"].to_numpy(float), nuisance_basis(people, covariates))
    who = pd.concat([people[["participant_id", "label"]]] * len(names), ignore_index=True)
    of_edges = names[["region_a", "region_b"]].loc[names.index.repeat(len(people))].reset_index(drop=True)
    return who.join(of_edges).assign(raw=raw.T.ravel(), adjusted=without.T.ravel())
