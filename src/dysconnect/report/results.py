"""What the stages before the report left behind, and how it is read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dysconnect.data.measures import Measure, measure_of
from dysconnect.data.participants import read_participants
from dysconnect.localize.recovery import read_recovery
from dysconnect.quality.scans import Scans, read_scans
from dysconnect.quality.tracts import read_tracts

TABLES = (
    "splits", "scores", "comparisons", "curves", "folds", "subgroups", "power", "components", "families", "people",
    "detectable", "points", "regional", "qcfc", "targets", "patient_targets", "edits", "validation",
)  # fmt: skip
GROUP = "group"  # in the place of a participant, in edits.tsv
AS_TEXT = {"group": str, "reason": str, "pattern": str}  # names of sites may be numbers


QUESTIONS = {  # further ones to the connections, and what they are called
    "severity": "severity",
    "groups": "several groups",
    "joint": "several maps",
}


class Asked(NamedTuple):
    """A further question to the connections: `edges`, strongest first, and `summary`, as of `localize.associations`."""

    edges: pd.DataFrame
    summary: Mapping


@dataclass(frozen=True)
class Results:
    """What the stages before the report left behind.

    Attributes
    ----------
    participants : DataFrame
        Everybody, after the `timeseries` stage.
    splits, scores, comparisons, curves, folds, subgroups, power : DataFrame
        Of all experiments.
    histories : mapping of str to DataFrame
        Learning curves by experiment; empty for models without epochs.
    starts : mapping of str to DataFrame
        How much networks count beside what they start from, by experiment; empty for all others.
    predictions, nulls : mapping of str to DataFrame
        Out-of-fold predictions, and AUC under permuted labels, by experiment.
    edges : DataFrame
        Strongest first.
    components, families : DataFrame
        Components of connections; circuits and blocks as wholes.
    detectable : DataFrame
        Effects that a connection, a circuit and a component would have needed.
    points : DataFrame
        Everybody's value of the strongest connections, raw and adjusted.
    regional : DataFrame or None
        What the measure says of every region in both groups; no rows where it says nothing.
    people : DataFrame
        Every person against the norm of the controls.
    summary : mapping
        Of the localization.
    quality : mapping
        Summary of the `quality` stage.
    qcfc : DataFrame
        How every connection follows motion.
    index, choices : DataFrame or None
        Of series or scans, with their repetition times; what was taken of several files.
    recovery : DataFrame or None
        Where a truth was planted.
    targets : DataFrame or None
        Virtual-stimulation targets by kind, strongest first; no rows where they are withheld.
    patient_targets : DataFrame or None
        The same of every patient.
    edits : DataFrame or None
        Connections that stimulating the first targets changes, of the group and of every patient.
    scans : Scans or None
        Of a cohort of images.
    tracts : DataFrame or None
        Quality of diffusion scans, of `dysconnect.quality.tracts.read_tracts`.
    severity, groups, joint : Asked or None
        Association with a score inside the patients; differences between several groups; differences in several maps.
    replication : Asked or None
        Connections called in one part of the people, in the other. No question of its own: nothing more is called.
    validation : DataFrame or None
        Scores of all methods on cohorts with a known truth.
    stimulation : str
        The model behind the targets, or why they are withheld.
    stimulated : mapping
        How the targets were ranked.
    maps : mapping of str to mapping
        What is said of the maps of every experiment.
    tried : mapping
        With which settings the cohort was evaluated so far, see `evaluate.tried`; empty where that is not known.
    """

    participants: pd.DataFrame
    splits: pd.DataFrame
    scores: pd.DataFrame
    comparisons: pd.DataFrame
    curves: pd.DataFrame
    folds: pd.DataFrame
    subgroups: pd.DataFrame
    power: pd.DataFrame
    histories: Mapping[str, pd.DataFrame]
    predictions: Mapping[str, pd.DataFrame]
    nulls: Mapping[str, pd.DataFrame]
    edges: pd.DataFrame
    components: pd.DataFrame
    families: pd.DataFrame
    detectable: pd.DataFrame
    points: pd.DataFrame
    people: pd.DataFrame
    summary: Mapping
    quality: Mapping
    qcfc: pd.DataFrame
    regional: pd.DataFrame | None = None
    index: pd.DataFrame | None = None
    choices: pd.DataFrame | None = None
    recovery: pd.DataFrame | None = None
    targets: pd.DataFrame | None = None
    patient_targets: pd.DataFrame | None = None
    edits: pd.DataFrame | None = None
    scans: Scans | None = None
    tracts: pd.DataFrame | None = None
    severity: Asked | None = None
    groups: Asked | None = None
    joint: Asked | None = None
    replication: Asked | None = None
    validation: pd.DataFrame | None = None
    stimulation: str = ""
    stimulated: Mapping = field(default_factory=dict)
    maps: Mapping[str, Mapping] = field(default_factory=dict)
    starts: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    tried: Mapping = field(default_factory=dict)

    @property
    def asked(self) -> dict[str, Asked]:
        """Further questions to the connections that were asked, by name."""
        answers = {name: getattr(self, name) for name in QUESTIONS}
        return {name: answer for name, answer in answers.items() if answer is not None}


@dataclass(frozen=True)
class Study:
    """What a report is made of.

    Attributes
    ----------
    results : Results
    cohort : mapping
        Composed configuration without an experiment.
    experiments : mapping of str to mapping
        Composed configuration of each experiment.
    nodes : DataFrame, [N rows]
        Atlas table.
    """

    results: Results
    cohort: Mapping
    experiments: Mapping[str, Mapping]
    nodes: pd.DataFrame

    @property
    def contrast(self) -> Mapping:
        """Names of the groups that are `cases`, and of those that are `controls`."""
        return self.cohort["dataset"]["contrast"]

    @property
    def measure(self) -> Measure:
        """What a connection is that was tested."""
        return measure_of(self.cohort["localize"]["measure"])

    @property
    def alpha(self) -> float:
        """Error rate of the localization."""
        return self.results.summary["alpha"]

    @property
    def level(self) -> float:
        """Level of the intervals."""
        return self.cohort["evaluate"]["level"]

    @property
    def score_alpha(self) -> float:
        """Largest p of a score, or of a difference of scores, that is called one; the complement of `level`."""
        return 1 - self.level + 1e-9

    @property
    def people(self) -> bool:
        """Whether single people are shown; a report that is mailed names nobody."""
        return self.cohort["report"]["people"]

    @property
    def floor(self) -> str | None:
        """Name of the confound floor, if it was run."""
        name = self.cohort["evaluate"]["floor"]
        return name if name in set(self.results.scores["experiment"]) else None


def read_results(paths: Mapping, experiments: Sequence[str], histories: Sequence[str | Path]) -> Results:
    """Read the results of a cohort.

    Parameters
    ----------
    paths : mapping of str to path
        By the names of `Results`; of `maps` a list, of `predictions`, `nulls` and `starts` one in the order of the
        experiments;
        `attribution` beside `edges`, `coverage` and `engine` beside `scans`; of `tracts` two, index and quality;
        `verdict` for the stimulation; of `severity`, `groups`, `joint` and `replication` two, table and summary; of
        `recovery` that of the localization and that of a model's weights. Empty or absent where there is nothing.
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
    names = [name for name in ("summary", "attribution", "quality", "verdict", "tried") if paths.get(name)]
    summaries = {name: json.loads(Path(paths[name]).read_text()) for name in names}
    about = {
        name: pd.read_csv(paths[name], sep="\t", dtype=str).fillna("")
        for name in ("index", "choices")
        if paths.get(name)
    }
    edges = pd.read_csv(paths["edges"], sep="\t").dropna(subset="statistic")
    edges = edges.fillna({"circuit": "", "also_explained": ""})
    each = {"histories": histories} | {name: paths.get(name, ()) for name in ("predictions", "nulls", "starts")}
    return Results(
        read_participants(paths["participants"]),
        **tables,
        **about,
        edges=edges,
        **{
            name: {experiment: pd.read_csv(path, sep="\t") for experiment, path in zip(experiments, files)}
            for name, files in each.items()
        },
        summary=summaries["summary"] | summaries.get("attribution", {}),
        quality=summaries["quality"],
        scans=read_scans(*(paths[name] for name in ("scans", "coverage", "engine"))) if paths.get("scans") else None,
        tracts=read_tracts(*paths["tracts"]) if paths.get("tracts") else None,
        **{name: read_asked(*paths[name]) for name in (*QUESTIONS, "replication") if paths.get(name)},
        stimulation=summaries.get("verdict", {}).get("verdict", ""),
        stimulated=summaries.get("verdict", {}),
        tried=summaries.get("tried", {}),
        maps={
            model["experiment"]: model
            for model in (json.loads(Path(path).read_text()) for path in paths.get("maps", ()))
        },
    )


def read_asked(table: str | Path, summary: str | Path) -> Asked:
    """Read what a further question to the connections found; those that were not tested are left out."""
    edges = pd.read_csv(table, sep="\t").dropna(subset="statistic").fillna({"circuit": "", "also_explained": ""})
    return Asked(edges, json.loads(Path(summary).read_text()))
