"""How well a localization recovers a planted truth. The only reader of the truth."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.localize.methods import PROMISES, written

CHANCE, NO_CALLS = "chance", (np.nan,) * 5  # what a ranking has instead of calls


def recovery(edges: pd.DataFrame, truth: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Score the localization of one cohort against its planted edges.

    Parameters
    ----------
    edges : DataFrame, [E rows]
        With `region_a`, `region_b`, `statistic`, `p`, the columns of the methods.
    truth : DataFrame
        `region_a`, `region_b`, `direction`, `effect`; no rows for a null cohort.
    alpha : float
        Level at which an edge is called.

    Returns
    -------
    DataFrame
        `method`, `pattern`, `d`, `cohorts`, `called`, `tpr`, `fdp`, `fwer`, `auprc`, `auprc_ratio`,
        `sign_accuracy`. With one cohort `fwer` is 1 where any call is false. `auprc_ratio` is relative to the
        ranking by absolute t; chance level of `auprc` is the share of planted edges (row `chance`).
    """
    planted, direction = match_truth(edges, truth)
    reference = _auprc(planted, _size(edges))
    rows = []
    for method in sorted(written("edges", "smith"), key=lambda one: PROMISES.index(one.promise)):
        if method.tail or method.column not in edges:
            continue
        called = edges[method.column].to_numpy() <= alpha
        rows.append((method.name, *_calls(called, planted, direction, edges["statistic"]), reference, 1.0))
    rows.append(("uncorrected p", *_calls(edges["p"].to_numpy() <= alpha, planted, direction, edges["statistic"]),
                 reference, 1.0))  # fmt: skip
    share = planted.mean()
    rows.append((CHANCE, *NO_CALLS, share or np.nan, share / reference))
    return _table(rows, truth)


def weights_recovery(edges: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Score the ranking of the edges by a model's weights, a table as of `recovery`; no rows where they are withheld.

    Parameters
    ----------
    edges : DataFrame, [E rows]
        With `region_a`, `region_b`, `statistic`, `attribution`.
    truth : DataFrame
        As of `recovery`.
    """
    if edges["attribution"].isna().any():
        return _table([], truth)
    planted, _ = match_truth(edges, truth)
    reference, weights = (_auprc(planted, size) for size in (_size(edges), edges["attribution"].abs().to_numpy()))
    return _table([("model weights (ranking)", *NO_CALLS, weights, weights / reference)], truth)


def read_recovery(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Read scores of the localization and of a model's weights as one table, chance last."""
    tables = [pd.read_csv(path, sep="\t", dtype={"pattern": str}) for path in paths]
    rows = pd.concat([table for table in tables if len(table)], ignore_index=True)
    return rows.sort_values("method", key=lambda method: method == CHANCE, kind="stable", ignore_index=True)


def _table(rows: list[tuple], truth: pd.DataFrame) -> pd.DataFrame:
    """Rows of scores, with what was planted."""
    columns = ["method", "called", "tpr", "fdp", "fwer", "sign_accuracy", "auprc", "auprc_ratio"]
    pattern = "+".join(sorted(truth["circuit"].unique())) if len(truth) else "null"
    effect = float(truth["effect"].iloc[0]) if len(truth) else 0.0
    table = pd.DataFrame(rows, columns=columns).assign(pattern=pattern, d=effect, cohorts=1, planted=len(truth))
    order = ["method", "pattern", "d", "cohorts", "planted", "called", "tpr", "fdp", "fwer", "auprc", "auprc_ratio"]
    return table[[*order, "sign_accuracy"]]


def _size(edges: pd.DataFrame) -> np.ndarray:
    """The ranking by absolute t, [E]."""
    return edges["statistic"].abs().fillna(0).to_numpy()  # an edge that was not tested is not found


def match_truth(edges: pd.DataFrame, truth: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Match planted edges by the names of their regions: is planted [E], direction [E]; either way unless directed."""
    ends, wanted = (list(zip(table["region_a"], table["region_b"])) for table in (edges, truth))
    directed = bool(ends) and ends[0][::-1] in set(ends)
    order = list if directed else sorted
    pairs = pd.Index(["\t".join(order(pair)) for pair in ends])
    position = pairs.get_indexer(["\t".join(order(pair)) for pair in wanted])
    if (position < 0).any():
        first = truth.iloc[int(np.argmax(position < 0))]
        raise ValueError(
            f"truth: {first['region_a']} - {first['region_b']} is no edge of this atlas; the truth belongs "
            "to another atlas or an older run. Run acquire again."
        )
    direction = np.zeros(len(edges))
    direction[position] = truth["direction"].to_numpy()
    return direction != 0, direction


def _auprc(planted: np.ndarray, ranking: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(planted, ranking)) if planted.any() else np.nan


def _calls(called: np.ndarray, planted: np.ndarray, direction: np.ndarray, statistic: pd.Series) -> tuple:
    """Called, true positive rate, false-discovery proportion, any false call, right signs among true calls."""
    hits = called & planted
    tpr = hits.sum() / planted.sum() if planted.any() else np.nan
    fdp = (called & ~planted).sum() / max(called.sum(), 1)
    signs = np.mean(np.sign(statistic.to_numpy()[hits]) == direction[hits]) if hits.any() else np.nan
    return int(called.sum()), tpr, fdp, float((called & ~planted).any()), signs
