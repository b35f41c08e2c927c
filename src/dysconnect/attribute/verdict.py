"""What a map may claim: what its method recovered of planted truths."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.models.cards import is_graph

MEASURED = Path(__file__).parent / "measured.tsv"
ENOUGH, CHANCE = 0.9, 0.1  # of |t|'s area under precision and recall: of a trained network, of one that knows nothing
TRAINED = ("lr", "epochs", "batch_size")
DIAGNOSTIC, LOCALIZES = "model diagnostic", "recovers planted edges"


def label(method: str, sections: Mapping, measured: pd.DataFrame | None = None) -> tuple[str, str]:
    """What a method's map may be called, and the measurement behind it.

    A map `recovers planted edges` where, in planted cohorts (`measured.tsv`, made by ``benchmarks/maps.py``), it
    ranked them at 0.90 or more of the area under precision and recall of |t|, and at chance with randomised weights
    and with shuffled labels. Otherwise, and where nobody measured, it is a `model diagnostic`. The measurement holds
    for the `variant` it was made with, of networks also for learning rate, epochs and batch size, and for the model
    with or without a linear one beside it; one that starts from nothing ran all epochs.
    """
    table = pd.read_csv(MEASURED, sep="\t") if measured is None else measured
    spec = sections["model"]
    rows = table[(table["model"] == spec["name"]) & (table["method"] == method)]
    rows = rows[rows["variant"] == variant(sections)]
    if is_graph(spec["name"]):
        rows = rows[(rows["linear"] == int(spec.get("linear", False))) & _as_measured(sections)]
        for key in TRAINED:
            rows = rows[np.isclose(rows[key], sections["training"][key])]
    if rows.empty:
        return DIAGNOSTIC, "not measured in planted cohorts with these settings"
    row = rows.iloc[0]
    reason = f"{row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}] of |t| in {row['cohorts']:.0f} planted cohorts"
    if max(row["random"], row["shuffled"]) > CHANCE:
        return DIAGNOSTIC, f"{reason}, but also without having learned them"
    return (LOCALIZES if row["ratio"] >= ENOUGH else DIAGNOSTIC), reason


def variant(sections: Mapping) -> str:
    """The measure, and the options that make another model of one of the same name."""
    spec, measure = sections["model"], sections["measure"]
    words = [measure, f"start {spec['start']}" if _starts(spec) else ""]
    words += [f"{name} {spec[name]:.3g}" for name in ("depth", "learned", "share") if name in spec]
    if any(spec.get("soften", ())):
        words.append("soften " + " ".join(f"{degree:g}" for degree in spec["soften"]))
    if spec.get("harmonise", "none") != "none" or spec.get("deconfound"):
        words.append("prepared")
    return ", ".join(word for word in words if word)


def _starts(spec: Mapping) -> bool:
    return spec.get("start", "none") != "none"


def _as_measured(sections: Mapping) -> bool:
    """Whether a network that starts from nothing runs all its epochs, as those that were measured."""
    return _starts(sections["model"]) or not sections["training"].get("inner_folds")
