"""Label permutations of the targets' effects on graph networks: all are trained again, on the first repeat's folds.

The statistic is that of the linear models: what normalising a target's edges adds to the logit of the test patients,
summed over them and divided by the spread of the decision over the training subjects. A network is not linear; an
edge's part is its integrated gradient on the way from a connectome to its normal version, all edges at once, so that
one path serves every target. The observed labels have one network a fold like any others, and all of a fold start from
the same weights: with different weights, p would depend on which the observed labels happen to get.
"""

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.learning.estimators import build
from dysconnect.learning.graph.run import Networks
from dysconnect.learning.permuted import design_permutations
from dysconnect.learning.seeds import fold_seeds, rounds
from dysconnect.learning.splits import fold_rows, scored_folds
from dysconnect.progress import track
from dysconnect.stimulate.folds import Fold, expected_control
from dysconnect.stimulate.networks import NetworkDecision, integrated_gradients, refuse_unasked
from dysconnect.stimulate.targets import Targets


def retrained_shifts(
    cohort: Cohort, splits: pd.DataFrame, sections: dict, targets: Targets, basis: np.ndarray, n: int, seed: int
) -> np.ndarray:
    """Standardised shifts of the observed labels and of n permutations inside site x fold, [1 + n, T].

    Parameters
    ----------
    cohort, splits, sections
        As in `rank_targets`; folds of the first repeat.
    targets : Targets
    basis : array, [S, K]
        Of intercept and covariates.
    n, seed : int
    """
    refuse_unasked(sections)
    people = cohort.participants
    first = splits[splits["repeat"] == 0].set_index("participant_id").loc[people["participant_id"]]
    labels = design_permutations(cohort.labels, first, n, seed)
    folds = [fold for repeat, fold in scored_folds(splits) if repeat == 0]
    ticks = track(
        range(len(folds) * labels.shape[1] * rounds(sections)), f"{n} label permutations of the targets, networks"
    )
    total = np.zeros((labels.shape[1], len(targets.table)))
    for fold in folds:
        train, test = fold_rows(splits, people, 0, fold)
        model = build(sections["model"], sections["measure"], sections["graph"], sections["training"])
        source, networks = model.fit_labels(cohort, train, labels[train], fold_seeds(sections, 0, fold)[0], ticks=ticks)
        features = source.filler_.transform(cohort.values[np.arange(len(people))], cohort.missing)
        unseen = Fold(0, fold, train, test, features, None, cohort.lacking(test))
        total += (targets.members @ permuted_parts(unseen, networks, basis, labels).T).T
    list(ticks)  # says that all is done
    return total


def permuted_parts(fold: Fold, networks: Networks, basis: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Part of every edge in the summed, standardised shift of the test patients for each label vector, [P, E].

    Parameters
    ----------
    fold : Fold
        Without a classifier.
    networks : Networks
        One for each column of the labels [S, P].
    """
    spread = np.maximum(networks.decide(fold.features[fold.train]).std(0), 1e-12)
    parts = np.empty((labels.shape[1], fold.features.shape[1]))
    for k, permuted in enumerate(labels.T):
        ill = permuted[fold.test] == 1
        people, lost = fold.features[fold.test][ill], fold.lost[ill]
        normal = np.where(lost, people, expected_control(fold, basis, permuted)[fold.test][ill]).astype(np.float32)
        parts[k] = integrated_gradients(NetworkDecision(networks.take(k)), people, normal).sum(0) / spread[k]
    return parts
