"""How well a localization recovers a planted truth. The only reader of the truth."""

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

METHODS = {
    "max-T": "p_fwer",
    "adaptive NBS": "p_component",
    "Benjamini-Hochberg": "p_fdr",
    "weighted Benjamini-Hochberg": "p_weighted",
}


def recovery(edges: pd.DataFrame, truth: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Score the localization of one cohort against its planted edges.

    Parameters
    ----------
    edges : DataFrame, [E rows]
        With `region_a`, `region_b`, `statistic`, `p`, the columns of `METHODS`, `attribution`.
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
    effect = float(truth["effect"].iloc[0]) if len(truth) else 0.0
    pattern = "+".join(sorted(truth["circuit"].unique())) if len(truth) else "null"
    ranking = edges["statistic"].abs().fillna(0).to_numpy()  # an edge that was not tested is not found
    reference = _auprc(planted, ranking)
    rows = []
    for method, column in METHODS.items():
        called = edges[column].to_numpy() <= alpha
        rows.append((method, *_calls(called, planted, direction, edges["statistic"]), reference, 1.0))
    rows.append(("uncorrected p", *_calls(edges["p"].to_numpy() <= alpha, planted, direction, edges["statistic"]),
                 reference, 1.0))  # fmt: skip
    if edges["attribution"].notna().all():
        own = _auprc(planted, edges["attribution"].abs().to_numpy())
        rows.append(("model weights (ranking)", np.nan, np.nan, np.nan, np.nan, np.nan, own, own / reference))
    share = planted.mean()
    rows.append(("chance", np.nan, np.nan, np.nan, np.nan, np.nan, share or np.nan, share / reference))
    columns = ["method", "called", "tpr", "fdp", "fwer", "sign_accuracy", "auprc", "auprc_ratio"]
    table = pd.DataFrame(rows, columns=columns).assign(pattern=pattern, d=effect, cohorts=1)
    order = ["method", "pattern", "d", "cohorts", "called", "tpr", "fdp", "fwer", "auprc", "auprc_ratio"]
    return table[[*order, "sign_accuracy"]]


def match_truth(edges: pd.DataFrame, truth: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Match planted edges by the names of their regions, in either order: is planted [E], direction [E]."""
    pairs = pd.Index(["\t".join(sorted(pair)) for pair in zip(edges["region_a"], edges["region_b"])])
    wanted = ["\t".join(sorted(pair)) for pair in zip(truth["region_a"], truth["region_b"])]
    position = pairs.get_indexer(wanted)
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
    return float(average_precision_score(planted, ranking)) if planted.any() else np.nan


def _calls(called: np.ndarray, planted: np.ndarray, direction: np.ndarray, statistic: pd.Series) -> tuple:
    """Called, true positive rate, false-discovery proportion, any false call, right signs among true calls."""
    hits = called & planted
    tpr = hits.sum() / planted.sum() if planted.any() else np.nan
    fdp = (called & ~planted).sum() / max(called.sum(), 1)
    signs = np.mean(np.sign(statistic.to_numpy()[hits]) == direction[hits]) if hits.any() else np.nan
    return int(called.sum()), tpr, fdp, float((called & ~planted).any()), signs
