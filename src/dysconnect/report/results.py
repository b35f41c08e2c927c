"""Read what the stages before the report left behind."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dysconnect.data.participants import read_participants
from dysconnect.localize.recovery import read_recovery
from dysconnect.quality.scans import read_scans
from dysconnect.report.text import Asked, Results

TABLES = (
    "splits", "scores", "comparisons", "curves", "folds", "subgroups", "power", "components", "families", "people",
    "detectable", "qcfc", "targets", "patient_targets", "edits", "validation",
)  # fmt: skip
AS_TEXT = {"group": str, "reason": str, "pattern": str}  # names of sites may be numbers


def read_results(paths: Mapping, experiments: Sequence[str], histories: Sequence[str | Path]) -> Results:
    """Read the results of a cohort.

    Parameters
    ----------
    paths : mapping of str to path
        By the names of `Results`, `maps` being a list; `attribution` beside `edges`, `coverage` and `engine` beside
        `scans`, `verdict` for the stimulation; of `severity` and `groups` two, table and summary; of `recovery` that
        of the localization and that of a model's weights. Empty or absent where there is nothing.
    experiments : sequence of str
    histories : sequence of path
        Learning curves of the experiments.
    """
    tables = {name: pd.read_csv(paths[name], sep="\t", dtype=AS_TEXT) for name in TABLES if paths.get(name)}
    tables["subgroups"] = tables["subgroups"].fillna({"reason": ""})
    if "validation" in tables:
        tables["validation"] = tables["validation"].fillna({"pattern": ""})
    if paths.get("recovery"):
        tables["recovery"] = read_recovery(paths["recovery"])
    names = [name for name in ("summary", "attribution", "quality", "verdict") if paths.get(name)]
    told = {name: json.loads(Path(paths[name]).read_text()) for name in names}
    about = {
        name: pd.read_csv(paths[name], sep="\t", dtype=str).fillna("")
        for name in ("index", "choices")
        if paths.get(name)
    }
    edges = pd.read_csv(paths["edges"], sep="\t").dropna(subset="statistic").fillna({"circuit": ""})
    return Results(
        read_participants(paths["participants"]),
        **tables,
        **about,
        edges=edges,
        histories={name: pd.read_csv(path, sep="\t") for name, path in zip(experiments, histories)},
        summary=told["summary"] | told.get("attribution", {}),
        quality=told["quality"],
        scans=read_scans(*(paths[name] for name in ("scans", "coverage", "engine"))) if paths.get("scans") else None,
        severity=read_asked(*paths["severity"]) if paths.get("severity") else None,
        groups=read_asked(*paths["groups"]) if paths.get("groups") else None,
        stimulation=told.get("verdict", {}).get("verdict", ""),
        stimulated=told.get("verdict", {}),
        maps={own["experiment"]: own for own in (json.loads(Path(path).read_text()) for path in paths.get("maps", ()))},
    )


def read_asked(table: str | Path, summary: str | Path) -> Asked:
    """Read what a further question to the connections found; those that were not tested are left out."""
    edges = pd.read_csv(table, sep="\t").dropna(subset="statistic").fillna({"circuit": ""})
    return Asked(edges, json.loads(Path(summary).read_text()))
