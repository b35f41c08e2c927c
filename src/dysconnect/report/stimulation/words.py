"""What is said of virtual stimulation: the result, what opened the gate, and how it was done."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from dysconnect.models.cards import label
from dysconnect.paper.tables import significant
from dysconnect.paper.text import counted, listed, number, p_text
from dysconnect.report.budget import model_share
from dysconnect.report.prediction.scores import (
    aucs,
    beats_chance,
    gap_between,
    measure_seen,
    regional_floor,
    why_blind,
)
from dysconnect.report.results import Results, Study

CONTEXT = "The rest of the ranking is context: of targets that do not survive it says nothing that noise would not."


def model_words(study: Study) -> str:
    """Whether the model behind the targets beats chance and the floor; empty where it has no score."""
    name, floor = study.cohort["stimulate"]["experiment"], study.floor
    score = aucs(study.results.scores).get(name)
    if score is None:
        return ""
    tested = f"{p_text(score.corrected)}, which allows for all models that were tried"
    if not np.isfinite(score.corrected):
        tested = "not tested against permuted labels"
    shown = "beats chance" if beats_chance(score, model_share(study)) else "is not shown to beat chance"
    text = f"The model itself, {label(name)}, {shown} (AUC {score}; {tested})"
    gap = None if floor is None or floor == name else gap_between(study, name, floor)
    if gap is not None and not why_blind(study):
        where = " within sites" if gap.within else ""
        text += f" and {'beats' if gap.shown > 0 else 'is not shown to beat'} the confound floor"
        text += f" (difference {gap.size}{where}{'; one test fold' if gap.one_fold else ''})"
    text += _regions_words(study, name)
    return text + ": that asks whether all connections together tell new people apart, not whether one target differs."


def _regions_words(study: Study, name: str) -> str:
    """Whether the model beats what its measure says of regions; empty where that says nothing of them."""
    floor = regional_floor(study, name)
    gap = gap_between(study, name, floor) if floor else None
    if gap is None:
        return ""
    of = listed(measure_seen(study, name).regional)
    if gap.shown > 0:
        return f", and beats {of} of the regions too (difference {gap.size})"
    return f", and is not shown to beat {of} of the regions (difference {gap.size}), to which its targets may be due"


def unit_of(study: Study) -> str:
    """What a connection's numbers are in: the measure that the model was given."""
    return measure_seen(study, study.cohort["stimulate"]["experiment"]).sentence


def not_asked(asked: str, experiments: Iterable[str]) -> str:
    """Say that no targets were ranked, since the experiment that is asked for them was not chosen."""
    return (
        f"No targets were asked for: stimulate.experiment is {asked}, which is not among the experiments of this run. "
        f"Add it (--config experiment={','.join([*experiments, asked])}), or name one of them."
    )


def paragraph(targets: pd.DataFrame, ranking: Mapping, alpha: float) -> str:
    """The result in words."""
    node = targets[targets["kind"] == "node"].iloc[0]
    text = (
        f"When all connections of {node['target']} become those expected of a control of the same covariates, patients "
        f"whom the model did not see move furthest towards the controls: by {significant(node['shift'])} logits, where "
        f"held-out controls move by {significant(node['controls'])} ({_tested(node)}); {node['consistency']:.0%} of "
        f"{counted(ranking['patients'], 'patient')} move further than the mean control. Among nodes of like strength "
        f"its effect stands at z = {number(node['matched_z'])}. {_among_ten(node, ranking)}wo folds rank the nodes "
        f"alike with a mean rank correlation of {number(ranking['agreement'])}."
    )
    regions = targets[targets["kind"] == "region"]
    if len(regions):
        first = regions.iloc[0]
        text += (
            f" Of the target regions {spoken(first)} ({first['access']}) comes first ({_tested(first)}, "
            f"matched z = {number(first['matched_z'])})."
        )
    return text + " " + _survivors(targets, alpha)


def _among_ten(node: pd.Series, ranking: Mapping) -> str:
    """In how many folds a node is among the ten strongest, where there are more; the beginning of a sentence."""
    if not np.isfinite(node["top10"]):
        return "T"
    return f"It is among the ten strongest in {node['top10']:.0%} of the {ranking['folds']} folds; t"


def _tested(row: pd.Series) -> str:
    if not np.isfinite(row["p"]):
        return "not tested against permuted labels"
    return f"{p_text(row['p'])}, family-wise {p_text(row['p_fwer'])}"


def spoken(target: pd.Series) -> str:
    """Title of a target in a sentence; regions of the atlas keep their names."""
    title = target["title"]
    kept = target["kind"] == "node" or title[:2].isupper() or not title.split()[0].istitle()
    return title if kept else title[0].lower() + title[1:]


def _survivors(targets: pd.DataFrame, alpha: float) -> str:
    survivors = targets.loc[targets["p_fwer"] <= alpha, "title"].tolist()
    if targets["p_fwer"].isna().all():
        return "No target was tested against permuted labels; the order is for orientation only."
    if not survivors:
        return f"No target survives a family-wise error rate of {alpha:g}; the order is for orientation only."
    named = listed(survivors[:5]) + (f" and {len(survivors) - 5} more" if len(survivors) > 5 else "")
    return f"What survives a family-wise error rate of {alpha:g} over the targets of all kinds: {named}. {CONTEXT}"


def aside(verdict: str, ranking: Mapping, directed: bool = False) -> str:
    """The model, how it was tested, and what is missing; `directed` connections have no view of control."""
    if ranking["permutations"]:
        inside, each = ("sites and folds", "networks") if ranking.get("network") else ("sites", "models")
        tested = f"{ranking['permutations']:,} permutations of the labels inside {inside}, each with new {each}"
        tested += " and expectations"
    elif ranking.get("network"):
        tested = (
            "its networks were not trained again for permuted labels (stimulate.network_permutations), so that only "
            "the matched z stands, which describes and does not test"
        )
    else:
        tested = "this kind of model is not fitted again for permuted labels, so that only the matched z stands"
    text = f"Model: {verdict}; {tested}."
    if directed:
        text += " Network control theory is not shown: it is made for connections that are the same both ways."
    elif not ranking.get("controllability"):
        text += ' Network control theory is not shown: it needs nctpy (pip install "dysconnect[stimulate]").'
    return text


def methods_text(results: Results, cohort: Mapping) -> str:
    """What was done, for the methods section of a paper."""
    spec, ranking = cohort["stimulate"], results.stimulated
    goal = "the median logit of the held-out controls" if spec["goal"] == "controls" else "a logit of 0"
    text = (
        "Targets were all regions, the target regions of deep brain and transcranial magnetic stimulation, and the "
        f"circuits of dystonia. In every fold of {label(spec['experiment'])} the connections of a target were set to "
        "those expected of a control of the same covariates (linear regression in the training controls), and the "
        "change of the calibrated logit was read in the people whom the model had not seen (virtual normalisation)."
    )
    if not ranking.get("folds"):
        tests = f" {_tests_text(ranking)}" if ranking.get("permutations") else ""
        return f"{text}{tests} {_gate_text(ranking)}"
    if ranking["permutations"]:
        text += " " + _tests_text(ranking)
    text += f" {_gate_text(ranking)}"
    text += (
        " Specificity was described by nodes of like strength, and by random sets of nodes of like strength. The cost "
        f"is the Mahalanobis distance of the cheapest edit that brings a patient to {goal}, with the controls' "
        "covariance shrunk to its diagonal (Ledoit and Wolf 2004)."
    )
    if ranking.get("controllability"):
        text += (
            " Controllability of the controls' mean network (Gu et al. 2015) is shown beyond what strength explains."
        )
    return text


def _gate_text(ranking: Mapping) -> str:
    if ranking.get("permutations"):
        return (
            "A ranking is shown only where a target survives; whether the model beats chance does not matter for it. "
            "The verdict names a target only beside a difference that it names."
        )
    return "These targets have no permutation test; a ranking is shown only of a model that beats its permutation null."


def _tests_text(ranking: Mapping) -> str:
    inside = "sites and folds" if ranking.get("network") else "sites"
    text = (
        f"It was tested against {ranking['permutations']:,} permutations of the labels inside {inside}, for each of "
        "which models and expectations were fitted again, in units of the spread of the model's decision; the "
        "family-wise error rate over the targets of all kinds is that of the smallest p of a kind, and within a kind "
        "that of the most negative standardised shift (Westfall and Young 1993)."
    )
    if ranking.get("network"):
        text += (
            " There the shift of a target was the sum of its connections' integrated gradients (Sundararajan et al. "
            "2017) on the way to the normal connectome, in one network a fold of the first repeat."
        )
    return text
