"""The attribution of every edge: what one experiment's models weigh it with, if they beat their permutation null."""

from pathlib import Path

import pandas as pd

from dysconnect.learning.permuted import gate
from dysconnect.learning.saved import read_edges, read_fold_weights
from dysconnect.models.cards import label

PAIR = ["region_a", "region_b"]


def attribution(
    model: str | Path | None, null: str | Path | None, experiment: str | None, alpha: float
) -> tuple[pd.DataFrame, str]:
    """Read the edge weights of an experiment, averaged over folds, or say why they are withheld.

    Parameters
    ----------
    model, null : path or None
        Of the training stage; None where no experiment was chosen.
    experiment : str or None
    alpha : float
        Of the gate.

    Returns
    -------
    weights : DataFrame
        `region_a`, `region_b`, `attribution`; no rows where they are withheld.
    verdict : str
    """
    nothing = pd.DataFrame(columns=[*PAIR, "attribution"])
    if not model:
        return nothing, "no experiment chosen"
    is_open, p, words = gate(pd.read_csv(null, sep="\t"), alpha, label(experiment))
    if not is_open:
        return nothing, words
    folds = read_fold_weights(model)
    weights = read_edges(model).assign(attribution=folds.mean(0))
    return weights, f"{label(experiment)}, mean over {len(folds)} folds (permutation p = {p:.3g})"


def with_attribution(edges: pd.DataFrame, weights: pd.DataFrame) -> pd.DataFrame:
    """Give the edges that were tested, by the names of their regions, a column `attribution` before their `circuit`."""
    joined = edges.merge(weights, "left", PAIR, validate="one_to_one")
    columns = list(edges)
    columns.insert(columns.index("circuit"), "attribution")
    return joined[columns]
