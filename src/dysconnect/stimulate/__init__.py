"""Stage `stimulate`: which target would move patients towards health, were its connections made normal?

A hypothesis generator for research: it ranks what a fitted model responds to, not what treatment would do. `targets`
lists nodes, regions and circuits; `folds` makes their edges normal in people whom a model did not see; `counterfactual`
finds the least change that would do; `permute` and `matched` test the effects; `edits` writes out the connections that
change; `control` adds a view of network control theory; `networks` does the same to graph networks, and `retrained`
tests them.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.learning.permuted import Gate, gate, target_gate
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
from dysconnect.stimulate.permute import observed_and_shuffled, permutation_p, permuted_shifts
from dysconnect.stimulate.ranking import (
    COLUMNS,
    PATIENT_COLUMNS,
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
    """No ranking: tables without rows, and what closed the gate."""
    empty = (pd.DataFrame(columns=names) for names in (COLUMNS, PATIENT_COLUMNS, EDIT_COLUMNS))
    return Stimulation(*empty, summary)


def shown_targets(
    cohort: Cohort, splits: pd.DataFrame, sections: dict, nodes: pd.DataFrame, spec: dict, null: pd.DataFrame
) -> Stimulation:
    """Rank targets behind their gate: their own family-wise p; where they have none, the model must beat chance.

    A model may move patients beyond permuted labels through one hub and yet not tell them from controls; so the targets
    are tested themselves. Parameters as for `rank_targets`, with `experiment` and `alpha` in `spec`; `null` is the
    model's permutation null. That both gates keep their error is counted in benchmarks/stimulate_gate.py.
    """
    return rank_targets(cohort, splits, sections, nodes, spec, gate(null, spec["alpha"], label(spec["experiment"])))


def rank_targets(
    cohort: Cohort,
    splits: pd.DataFrame,
    sections: dict,
    nodes: pd.DataFrame,
    spec: dict,
    model: Gate | None = None,
) -> Stimulation:
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
        `edits` (see `edit_table`), `seed`; with `model` also `alpha` and `experiment`.
    model : Gate, optional
        Of the model; then a ranking is withheld where nothing opens the gate (`target_gate`), and `summary` has
        `verdict` (words), `gate` (what decided), its `p`, and `model_p`. By default all is shown.

    Returns
    -------
    Stimulation
        `targets` has, by kind (node, region, circuit): `rank` (by `score`), `target`, `title`, `access`, `system`, `x`,
        `y`, `z` (MNI mm), `n_nodes`, `n_edges`, `shift` (virtual normalisation: mean change of the calibrated logit in
        patients; negative is towards health), `score` (the shift in standard deviations of that of permuted labels),
        `p` and `p_fwer` (over the targets of all kinds), `matched_z` and `matched_p`, `controls`, `consistency`,
        `cost` (mean Mahalanobis distance of the cheapest edit of the target that brings a patient to the `goal`),
        `top10` (of kinds that have more targets), and with nctpy those of `controllability`.

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
    targets = list_targets(nodes, cohort.measured, cohort.directed)
    basis = nuisance_basis(people, spec["covariates"])
    null = _null(cohort, splits, sections, targets, basis, spec)
    tested = {} if null is None else dict(zip(("score", "p", "p_fwer"), permutation_p(null, targets.kinds)))
    test = {"permutations": 0 if null is None else len(null) - 1, "network": is_graph(sections)}
    if model is not None:
        p = float(np.min(tested.get("p_fwer", np.nan)))
        own = target_gate(p, spec["alpha"], label(spec["experiment"]), model)
        test |= _verdict(own, p, model)
        if not own.is_open:  # before anything that takes longer
            return withheld(test)
    effects = _effects(cohort, splits, sections, targets, basis, spec)
    aim = goal_logit(effects, labels, spec["goal"])
    seen = gather(effects, labels, aim)
    strength = node_strength(cohort.values, cohort.pairs)
    matched = matched_standing(seen.edges, targets, strength, spec["matched"], spec["draws"], spec["seed"])
    tests = tested | dict(zip(("matched_z", "matched_p"), matched))
    control = None if cohort.directed else controllability(cohort.values[labels == 0], nodes)
    table = target_table(seen, targets, tests, control)
    names = {"people": people["participant_id"].to_numpy(), "regions": cohort.nodes}
    patients = patient_table(seen, targets, names["people"])
    summary = {
        "agreement": rank_agreement(seen.by_fold[:, : len(targets.nodes)]),
        "folds": len(effects),
        "patients": int((labels[seen.tested] == 1).sum()),
        "goal": spec["goal"],
        "controllability": control is not None,
        "absent": targets.absent["target"].tolist(),
        **test,
    }
    edits = edit_table(gather_edits(effects, labels, aim), targets, table, patients, names, spec["edits"])
    return Stimulation(table, patients, edits, summary)


def _verdict(own: Gate, p: float, model: Gate) -> dict:
    """What decided whether targets are shown, for verdict.json; `p` of the targets is NaN where they have none."""
    untested = np.isnan(p)
    return {
        "verdict": own.words,
        "gate": "the model's permutation null, since its targets have none"
        if untested
        else "the smallest family-wise p of the targets of all kinds",
        "p": None if np.isnan(own.p) else float(own.p),
        "model_p": None if np.isnan(model.p) else float(model.p),
    }


def _null(
    cohort: Cohort, splits: pd.DataFrame, sections: dict, targets: Targets, basis: np.ndarray, spec: dict
) -> np.ndarray | None:
    """Shifts under permuted labels [1 + B, T], the observed ones first; None of a model that is not fitted to them."""
    if is_graph(sections):
        from dysconnect.stimulate.retrained import retrained_shifts  # torch takes seconds to load

        many = spec["network_permutations"]
        return retrained_shifts(cohort, splits, sections, targets, basis, many, spec["seed"]) if many else None
    sites = cohort.participants["site"].to_numpy()
    permuted, null = observed_and_shuffled(cohort.labels, sites, spec["permutations"], spec["seed"]), 0
    for fold in fitted_folds(cohort, splits, sections):
        if not isinstance(fold.classifier, DualClassifier):  # too slow to fit again for every permutation
            return None
        null = null + permuted_shifts(fold, targets, basis, permuted)
    return null


def _effects(
    cohort: Cohort, splits: pd.DataFrame, sections: dict, targets: Targets, basis: np.ndarray, spec: dict
) -> list[Effects]:
    """What the targets do to the people whom the models of all folds did not see."""
    if is_graph(sections):
        from dysconnect.stimulate.networks import fitted_networks, network_effects

        folds = fitted_networks(cohort, splits, sections)
        return [network_effects(fold, targets, basis, cohort.labels, spec["goal"]) for fold in folds]
    return [fold_effects(fold, targets, basis, cohort.labels) for fold in fitted_folds(cohort, splits, sections)]
