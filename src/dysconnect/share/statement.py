"""What a site says of its sums: counts and settings, nothing of a single person."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.share.columns import GROUP, SITE, Design
from dysconnect.share.package import hash_of
from dysconnect.version import __version__

FEW = 5  # of people left out: how many these are is not said


def statement(
    cohort: Cohort, design: Design, circuits: Sequence[str], regions: pd.DataFrame, people: pd.DataFrame, spec: Mapping
) -> dict:
    """Say what was added up and how, fit for JSON; see `Package`.

    Parameters
    ----------
    cohort : Cohort
    design : Design
    circuits : sequence of str
    regions : DataFrame, [N rows]
    people : DataFrame
        Everybody of the table, in or not.
    spec : mapping
        As of `make_package`.
    """
    processing = flat(spec["processing"])
    contrast = spec["contrast"]
    asked = people["group"].isin([*contrast["cases"], *contrast["controls"]])
    only_circuits = spec["share"]["edges"] == "circuits"
    return {
        "dysconnect": __version__,
        "site": spec["site"],
        "measure": {"name": cohort.measure, "directed": bool(cohort.directed)},
        "atlas": {"name": spec["atlas"]["name"], "title": spec["atlas"]["title"], "hash": regions_hash(regions)},
        "processing": processing,
        "processing_hash": hash_of(processing),
        "columns": [column.described() for column in design.columns],
        "edges": 0 if only_circuits else int(cohort.values.shape[1]),
        "circuits": list(circuits),
        "people": counts(design),
        "left_out": {
            "by quality or lack of a scan": few(int(asked.sum()) - len(cohort.participants)),
            "for an unknown covariate": few(design.unknown),
        },
        "contrast": {side: [str(name) for name in contrast[side]] for side in ("cases", "controls")},
        "licence": spec["licence"],
        "contact": spec["share"]["contact"],
    }


def counts(design: Design) -> dict:
    """How many people there are, and of every level and scanner how many patients and controls."""
    group = design.values[:, design.names.index(GROUP)] == 1
    inside = {c.name: design.values[:, k] == 1 for k, c in enumerate(design.columns) if c.kind in ("level", SITE)}
    cells = {name: [int((who & group).sum()), int((who & ~group).sum())] for name, who in inside.items()}
    n, patients = len(group), int(group.sum())
    return {"n": n, "patients": patients, "controls": n - patients, "cells": cells}


def few(count: int) -> int | str:
    """A count that is small is not said."""
    return count if count == 0 or count >= FEW else f"fewer than {FEW}"


def regions_hash(regions: pd.DataFrame) -> str:
    """SHA-256 of names, order and places of regions, and of the radius of those that are spheres."""
    places = regions[["x", "y", "z"]].astype(float).round(3).to_numpy().tolist()
    radius = (
        pd.to_numeric(regions.get("radius", pd.Series(np.nan, regions.index)), errors="coerce").astype(float).round(3)
    )
    size = [[] if value != value else [value] for value in radius.tolist()]
    return hash_of([[name, *place, *more] for name, place, more in zip(regions["name"].astype(str), places, size)])


def flat(settings: Mapping, prefix: str = "") -> dict:
    """Settings with dotted keys."""
    found = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value.item() if isinstance(value, np.generic) else value
    return found
