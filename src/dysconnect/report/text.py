"""Numbers as people write them, and what the report is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from dysconnect.models.cards import card_of
from dysconnect.paper.text import NONE, Estimate, number, p_text
from dysconnect.quality.scans import Scans


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
    edges : DataFrame
        Strongest first.
    components, families : DataFrame
        Components of connections; circuits and blocks as wholes.
    detectable : DataFrame
        Effects that a connection, a circuit and a component would have needed.
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
    severity, groups : Asked or None
        Association with a score inside the patients; differences between several groups.
    validation : DataFrame or None
        Scores of all methods on cohorts with a known truth.
    stimulation : str
        The model behind the targets, or why they are withheld.
    stimulated : mapping
        How the targets were ranked.
    maps : mapping of str to mapping
        What is told of the maps of every experiment.
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
    edges: pd.DataFrame
    components: pd.DataFrame
    families: pd.DataFrame
    detectable: pd.DataFrame
    people: pd.DataFrame
    summary: Mapping
    quality: Mapping
    qcfc: pd.DataFrame
    index: pd.DataFrame | None = None
    choices: pd.DataFrame | None = None
    recovery: pd.DataFrame | None = None
    targets: pd.DataFrame | None = None
    patient_targets: pd.DataFrame | None = None
    edits: pd.DataFrame | None = None
    scans: Scans | None = None
    severity: Asked | None = None
    groups: Asked | None = None
    validation: pd.DataFrame | None = None
    stimulation: str = ""
    stimulated: Mapping = field(default_factory=dict)
    maps: Mapping[str, Mapping] = field(default_factory=dict)


def lacking_text(lacking: Mapping) -> str:
    """Write how many regions patients and controls lack."""
    means = [NONE if lacking[side] is None else number(lacking[side]) for side in ("cases", "controls")]
    test = "the same in everybody" if lacking["p"] is None else p_text(lacking["p"])
    return f"{means[0]} a person in patients, {means[1]} in controls; {test}"


def kind(config: Mapping) -> str:
    """Kind of an experiment's model: floor, linear or graph."""
    return card_of(config["model"]["name"]).kind


def aucs(scores: pd.DataFrame, metric: str = "auc") -> dict[str, Estimate]:
    """AUC, or another metric, of every experiment, in the order of the table."""
    rows = scores[scores["metric"] == metric]
    return {row.experiment: Estimate(row.value, row.low, row.high, row.p) for row in rows.itertuples()}


def difference(comparisons: pd.DataFrame, one: str, other: str, metric: str = "auc") -> Estimate | None:
    """Paired difference `one` minus `other`, whichever way round the table has it; None where it has not."""
    own = comparisons[comparisons["metric"] == metric]
    for first, second, sign in ((one, other, 1), (other, one, -1)):
        row = own[(own["experiment"] == first) & (own["other"] == second)]
        if len(row):
            ends = sorted([sign * row["low"].iloc[0], sign * row["high"].iloc[0]])
            return Estimate(sign * row["difference"].iloc[0], *ends, row["p"].iloc[0], row["p_corrected"].iloc[0])
    return None


def excludes_zero(gap: Estimate, alpha: float) -> int:
    """Sign of a difference that is shown: by its interval, and by the corrected test where there is one; else 0."""
    sign = int(gap.low > 0) - int(gap.high < 0)
    return sign if not np.isfinite(gap.corrected) or gap.corrected <= alpha else 0


def beats_chance(auc: Estimate, alpha: float) -> bool:
    """Whether a score is above chance: by its permutation p, or by its interval where it was not tested."""
    return bool(auc.p <= alpha and auc.value > 0.5) if np.isfinite(auc.p) else bool(auc.low > 0.5)


def chosen_floor(cohort: Mapping, scores: pd.DataFrame) -> str | None:
    """Name of the confound floor, if it was run."""
    floor = cohort["evaluate"]["floor"]
    return floor if floor in set(scores["experiment"]) else None


def sees_nothing(floor: str, experiments: Mapping[str, Mapping]) -> bool:
    """Whether a confound floor has no covariate to see: its AUC of 0.5 is then no floor, and nothing can beat it."""
    return not experiments[floor]["model"].get("covariates", [])
