"""Numbers as people write them, and what the report is made of."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from dysconnect.config import GRAPH_MODELS
from dysconnect.quality.scans import Scans

RESEARCH_ONLY = "For research only: no diagnosis and no basis for treatment."
NONE = "—"
COVARIATES = {"mean_fd": "motion"}
SPELLINGS = {
    **{name: name.upper() for name in ("gcn", "gat", "gin", "bnt", "ibgnn", "svm")},
    "sage": "GraphSAGE",
    "brainnetcnn": "BrainNetCNN",
    "combat": "ComBat",
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


@dataclass(frozen=True)
class Estimate:
    """A number with its interval and p; `corrected` is that of the corrected resampled t-test of a difference."""

    value: float
    low: float
    high: float
    p: float
    corrected: float = np.nan

    def __str__(self) -> str:
        return f"{number(self.value)} [{number(self.low)}, {number(self.high)}]"


def number(value: float, digits: int = 2) -> str:
    """Write a number with a true minus sign; a dash where there is none."""
    if not np.isfinite(value):
        return NONE
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")


def unbroken(sentence: str) -> str:
    """Keep ``p = 0.012`` and ``[0.1, 0.2]`` on one line, with no-break spaces."""
    return re.sub(r" ([=<]) |^< |(?<=\d), (?=[^ \]]*\])", lambda found: found[0].replace(" ", "\u00a0"), sentence)


def p_value(p: float) -> str:
    """Write a p: ``< 0.001``, ``0.012``, ``0.37``."""
    if not np.isfinite(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def p_text(p: float) -> str:
    """Write a p in a sentence: ``p < 0.001``, ``p = 0.012``, ``not tested``."""
    text = p_value(p)
    return "not tested" if text == NONE else f"p {text}" if text.startswith("<") else f"p = {text}"


def lacking_text(lacking: Mapping) -> str:
    """Write how many regions patients and controls lack."""
    means = [NONE if lacking[side] is None else number(lacking[side]) for side in ("cases", "controls")]
    test = "the same in everybody" if lacking["p"] is None else p_text(lacking["p"])
    return f"{means[0]} a person in patients, {means[1]} in controls; {test}"


def counted(n: int, word: str) -> str:
    """Count things: ``1 subject``, ``1,009 subjects``."""
    return f"{n:,} {word}{'s' * (n != 1)}"


def listed(words: Iterable[str]) -> str:
    """Join words: ``a, b and c``."""
    words = list(words)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def label(experiment: str) -> str:
    """Name of an experiment for people."""
    return " ".join(SPELLINGS.get(word, word) for word in experiment.split("_"))


def covariate_names(covariates: Sequence[str]) -> str:
    """Name covariates in a sentence."""
    return listed(COVARIATES.get(name, name) for name in covariates) or "no covariates"


def kind(config: Mapping) -> str:
    """Kind of an experiment's model: floor, linear or graph."""
    name = config["model"]["name"]
    return "floor" if name == "floor" else "graph" if name in GRAPH_MODELS else "linear"


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


def difference_text(compared: Mapping) -> str:
    """Write a comparison of the groups: p, and d with its interval."""
    d = Estimate(*(compared[name] for name in ("d", "low", "high", "p")))
    return f"{p_text(d.p)}, d = {d}"


def percent(share: float) -> str:
    """Write a share: ``7.4%``, ``12%``, ``0.02%``; ``0%`` for none."""
    digits = 0 if share >= 0.1 or share == 0 else 1 if share >= 0.01 else 2
    return f"{100 * share:.{digits}f}%"
