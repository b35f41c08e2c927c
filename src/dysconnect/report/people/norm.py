"""What the page of a person says of the norm of the controls, and how few it finds."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dysconnect.data.atlas import circuit_titles
from dysconnect.data.measures import measure_of
from dysconnect.paper.deviation import (
    brain_picture,
    circuit_rows,
    columns_beyond,
    deviation_sentence,
    edge_rows,
    uncompared_sentence,
)
from dysconnect.paper.text import beyond_sentence, counted, covariate_names, percent


def norm_sentence(people: pd.DataFrame, alpha: float) -> str:
    """Say how few patients the norm of the controls finds; empty where nobody was compared."""
    known = people.dropna(subset="p_max")
    if known.empty:
        return ""
    parts = []
    for side, word in ((1, "patient"), (0, "control")):
        ps = known.loc[known["label"] == side, "p_max"]
        parts.append(f"{(ps <= alpha).sum():,} of {counted(len(ps), word)} ({percent((ps <= alpha).mean())})")
    return (
        f"Against the norm of the controls {parts[0]} and {parts[1]} of this cohort stand out at {alpha:g}, where "
        f"{alpha:.0%} of healthy people are expected to. Most patients do not stand out, and whoever does is not "
        f"thereby ill.{uncompared_sentence(people)}"
    )


def no_norm(person: pd.Series | None) -> str:
    """Why a person has no norm; empty where that is of the controls."""
    return beyond_sentence(columns_beyond(person)) if person is not None and columns_beyond(person) else ""


def deviation(
    person: pd.Series | None,
    circuits: pd.DataFrame | None,
    edges: pd.DataFrame | None,
    nodes: pd.DataFrame,
    spec: Mapping,
) -> dict | None:
    """How a person deviates from the controls, of whom `people.tsv` has a row; None where that could not be said."""
    if person is None or not np.isfinite(person["largest_z"]):
        return None
    alpha = spec["alpha"]
    pooled = person["pooled"] if isinstance(person["pooled"], str) else ""
    known = [covariate for covariate in spec["nuisance"] if covariate not in pooled.split(", ")]
    given = covariate_names(known) + (f" ({pooled} left out: no control shares it)" if pooled else "")
    numbers = {"largest_z": person["largest_z"], "p_max": person["p_max"], "n_fdr": int(person["n_fdr"])}
    return {
        "sentence": deviation_sentence({**numbers, "controls": int(person["n_controls"])}, alpha, given),
        "brain": brain_picture(edges, nodes),
        "circuits": None if circuits is None else circuit_rows(circuits, circuit_titles(), alpha),
        "edges": edge_rows(edges, alpha, measure_of(spec["measure"]).directed),
    }
