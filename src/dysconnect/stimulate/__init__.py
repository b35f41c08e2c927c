"""Stage `stimulate`: which target would move patients towards health, were its connections made normal?

A hypothesis generator for research: it ranks what a fitted model responds to, not what treatment would do. `targets`
lists nodes, regions and circuits; `folds` makes their edges normal in people whom a model did not see; `counterfactual`
finds the least change that would do; `permute` and `matched` test the effects; `edits` writes out the connections that
change; `control` adds a view of network control theory; `networks` does the same to graph networks, and `retrained`
tests them.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.learning.permuted import gate, target_gate
from dysconnect.learning.seeds import is_graph
from dysconnect.localize.statistics import nuisance_basis
from dysconnect.localize.tested import without_copies
from dysconnect.models.cards import label
from dysconnect.models.dual import DualClassifier
from dysconnect.stimulate.control import controllability
from dysconnect.stimulate.edits import COLUMNS as EDIT_COLUMNS
from dysconnect.stimulate.edits import edit_table, gather_edits
from dysconnect.stimulate.folds import Effects, fitted_folds, fold_effects
from dysconnect.stimulate.matched import matched_standing, node_strength
from dysconnect.stimulate.permute import any_target_p, observed_and_shuffled, permutation_p, permuted_shifts
from dysconnect.stimulate.ranking import (
    COLUMNS,
    PATIENT_COLUMNS,
    Seen,
    gather,
    goal_logit,
    patient_table,
    rank_agreement,
    target_table,
)
from dysconnect.stimulate.targets import Targets, list_targets


@dataclass(frozen=True)
class Stimulation:
    """What `rank_targets` finds.

    Attributes
    ----------
    targets : DataFrame, [T rows], by kind, strongest first
        See `rank_targets`.
    patients : DataFrame
        `participant_id`, `kind`, `target`, `shift`, `score`, `rank`, `cost`.
    edits : DataFrame
        See `edit_table`.
    summary : dict
    """

    targets: pd.DataFrame
    patients: pd.DataFrame
    edits: pd.DataFrame
    summary: dict


def withheld(summary: dict) -> Stimulation:
    """No ranking: tables without rows."""
    return Stimulation(*(pd.DataFrame(columns=names) for names in (COLUMNS, PATIENT_COLUMNS, EDIT_COLUMNS)), summary)


def shown_targets(
    cohort: Cohort, splits: pd.DataFrame, sections: dict, nodes: pd.DataFrame, spec: dict, null: pd.DataFrame
) -> Stimulation:
    """Rank targets behind their gate: their own family-wise p; where they have none, the model must beat chance.

    A model may move patients beyond permuted labels through one hub and yet not tell them from controls; so the targets
    are tested themselves. Parameters as for `rank_targets`, with `experiment` and `alpha` in `spec`; `null` is the
    model's permutation null.

    Returns
    -------
    Stimulation
        Without rows where it is withheld; `summary` has `verdict` (words), `p` of the targets and `model_p`, None where
        there is none.
    """
    name = label(spec["experiment"])
    model = gate(null, spec["alpha"], name)
    untested = is_graph(sections) and not spec["network_permutations"]
    if untested and not model.is_open:  # networks take long to fit again
        return withheld({"verdict": model.words, "p": None, "model_p": _none_if_nan(model.p)})
    ranking = rank_targets(cohort, splits, sections, nodes, spec)
    p = ranking.summary["p"]
    own = target_gate(np.nan if p is None else p, spec["alpha"], name, model)
    said = {"verdict": own.words, "p": p, "model_p": _none_if_nan(model.p)}
    return replace(ranking, summary=ranking.summary | said) if own.is_open else withheld(said)


def _none_if_nan(p: float) -> float | None:
    return None if np.isnan(p) else p


def rank_targets(cohort: Cohort, splits: pd.DataFrame, sections: dict, nodes: pd.DataFrame, spec: dict) -> Stimulation:
    """Rank nodes, target regions and circuits by how far they move held-out patients towards the controls.

    Parameters
    ----------
    cohort : Cohort
        Fisher z edges.
    splits : DataFrame
    sections : dict
        `model`, `measure`, `graph` and `training` of the experiment; each fold's model is fitted again, and what it
        says of a target is read from the people it did not see.
    nodes : DataFrame
        Atlas.
    spec : dict
        The `stimulate` section: `covariates`, `permutations`, `network_permutations`, `matched`, `draws`, `goal`,
        `edits` (see `edit_table`), `seed`.

    Returns
    -------
    Stimulation
        `targets` has, by kind (node, region, circuit): `rank` (by `score`), `target`, `title`, `access`, `system`, `x`,
        `y`, `z` (MNI mm), `n_nodes`, `n_edges`, `shift` (virtual normalisation: mean change of the calibrated logit in
        patients; negative is towards health), `score` (the shift in standard deviations of that of permuted labels),
        `p` and `p_fwer` (over its kind), `matched_z` and `matched_p`, `controls`, `consistency`, `cost` (mean
        Mahalanobis distance of the cheapest edit of the target that brings a patient to the `goal`), `top10` (of kinds
        that have more targets), and with nctpy those of `controllability`.

    Notes
    -----
    What each column answers says docs/explanation/stimulation.md. For `p` labels are exchangeable inside sites, given
    the edges and covariates. Permuted labels do not stay balanced over the folds; that p is uniform all the same where
    nothing differs is measured (``benchmarks/stimulate.py``). Where something does differ, a target that shares edges
    with it has a part of it, and its p may say so. Networks have a `p` only if they are trained again (`retrained`).
    """
    cohort = without_copies(cohort)
    nodes = nodes.set_index("name").loc[cohort.nodes].reset_index()
    labels, people = cohort.labels, cohort.participants
    targets = list_targets(nodes, cohort.measured)
    basis = nuisance_basis(people, spec["covariates"])
    asked = _networks if is_graph(sections) else _linear
    effects, null = asked(cohort, splits, sections, targets, basis, spec)
    aim = goal_logit(effects, labels, spec["goal"])
    seen = gather(effects, labels, aim)
    tests = _tests(seen, targets, null, node_strength(cohort.values, len(nodes)), spec)
    control = controllability(cohort.values[labels == 0], nodes)
    table = target_table(seen, targets, tests, control)
    names = {"people": people["participant_id"].to_numpy(), "regions": cohort.nodes}
    patients = patient_table(seen, targets, names["people"])
    summary = {
        "agreement": rank_agreement(seen.by_fold[:, : len(targets.nodes)]),
        "folds": len(effects),
        "permutations": 0 if null is None else len(null) - 1,
        "p": None if null is None else any_target_p(null, targets.table["kind"].to_numpy()),
        "patients": int((labels[seen.tested] == 1).sum()),
        "goal": spec["goal"],
        "network": is_graph(sections),
        "controllability": control is not None,
        "absent": targets.absent["target"].tolist(),
    }
    edits = edit_table(gather_edits(effects, labels, aim), targets, table, patients, names, spec["edits"])
    return Stimulation(table, patients, edits, summary)


def _linear(
    cohort: Cohort, splits: pd.DataFrame, sections: dict, targets: Targets, basis: np.ndarray, spec: dict
) -> tuple[list[Effects], np.ndarray | None]:
    """Effects of all folds, and the shifts under permuted labels [1 + B, T], the observed ones first."""
    labels, sites = cohort.labels, cohort.participants["site"].to_numpy()
    permuted = observed_and_shuffled(labels, sites, spec["permutations"], spec["seed"])
    effects, null = [], None
    for fold in fitted_folds(cohort, splits, sections):
        effects.append(fold_effects(fold, targets, basis, labels))
        if isinstance(fold.classifier, DualClassifier):  # others are too slow to fit again for every permutation
            null = permuted_shifts(fold, targets, basis, permuted) + (0 if null is None else null)
    return effects, null


def _networks(
    cohort: Cohort, splits: pd.DataFrame, sections: dict, targets: Targets, basis: np.ndarray, spec: dict
) -> tuple[list[Effects], np.ndarray | None]:
    """The same of graph networks, as far as they are to be trained again (``network_permutations``)."""
    from dysconnect.stimulate.networks import fitted_networks, network_effects  # torch takes seconds to load
    from dysconnect.stimulate.retrained import retrained_shifts

    folds = fitted_networks(cohort, splits, sections)
    effects = [network_effects(fold, targets, basis, cohort.labels, spec["goal"]) for fold in folds]
    many = spec["network_permutations"]
    null = retrained_shifts(cohort, splits, sections, targets, basis, many, spec["seed"]) if many else None
    return effects, null


def _tests(seen: Seen, targets: Targets, null: np.ndarray | None, strength: np.ndarray, spec: dict) -> dict:
    """Standing of every target, [T] each, among permuted labels, if there are any, and among matched ones."""
    kinds = targets.table["kind"].to_numpy()
    tests = {} if null is None else dict(zip(("score", "p", "p_fwer"), permutation_p(null, kinds)))
    matched = matched_standing(seen.edges, targets, strength, spec["matched"], spec["draws"], spec["seed"])
    return tests | dict(zip(("matched_z", "matched_p"), matched))
