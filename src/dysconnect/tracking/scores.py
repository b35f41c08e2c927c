"""Scores as metrics of MLflow."""

import pandas as pd


def score_metrics(scores: pd.DataFrame) -> dict[str, float]:
    """Scores of one experiment with intervals, p and floor, named alike in every run."""
    metrics = {}
    for row in scores.itertuples():
        best = getattr(row, "p_best", float("nan"))  # scores of an earlier version have none
        values = {"": row.value, "_low": row.low, "_high": row.high, "_p": row.p, "_p_best": best, "_floor": row.floor}
        metrics |= {f"{row.metric}{suffix}": value for suffix, value in values.items()}
    return metrics
