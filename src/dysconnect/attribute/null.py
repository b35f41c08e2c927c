"""Error rates for the map of a network itself: the map under permuted labels, from networks trained all at once."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import BorrowedRegions
from dysconnect.data.participants import scan_groups
from dysconnect.learning.permuted import shuffle_labels
from dysconnect.learning.splits import fold_rows, scored_folds
from dysconnect.localize.statistics import exceedance_p


class MapNull(NamedTuple):
    """Studentised map [E], p of every edge [E], and the largest studentised entry of every permutation [B]."""

    z: np.ndarray
    p_fwer: np.ndarray
    max_null: np.ndarray


def attribution_null(cohort: Cohort, splits: pd.DataFrame, sections: dict, n_permutations: int, seed: int) -> MapNull:
    """Test a network's mean gradient at held-out people against networks that learn permuted labels.

    Labels are permuted inside site x fold, as for the null of the scores, and in every fold of the first repeat the
    networks of all labellings train side by side (the observed one among them, with a seed of its own like the
    others). The map, averaged over folds, is studentised by mean and spread over all labellings, observed included,
    and compared with the largest entries of the permuted maps: exact where labels are exchangeable inside sites.

    Its power is small: Adam moves every weight by about the same, be it for a large effect or a small one, so that in
    tiny networks a planted edge of any size stood two to three spreads out, where the largest of the others stand too.

    Parameters
    ----------
    cohort : Cohort
    splits : DataFrame
    sections : dict
        `model`, `graph`, `training` of a graph network, without pretraining.
    n_permutations, seed : int
    """
    from dysconnect.attribute.gradients import mean_gradients  # torch
    from dysconnect.learning.graph.run import train_networks

    first = splits[splits["repeat"] == 0].set_index("participant_id").loc[cohort.participants["participant_id"]]
    blocks = (first["site"].astype(str) + "/" + first["fold"].astype(str)).to_numpy()
    shuffled = shuffle_labels(cohort.labels, blocks, n_permutations, np.random.default_rng([seed, 31]))
    labels, groups = np.column_stack([cohort.labels, shuffled]), scan_groups(cohort.participants)
    maps = 0.0
    for fold in [fold for repeat, fold in scored_folds(splits) if repeat == 0]:
        train, test = fold_rows(splits, cohort.participants, 0, fold)
        filler = BorrowedRegions().fit(cohort.values[train], cohort.missing[train])
        fill = lambda rows, imputer=filler: imputer.transform(cohort.values[rows], cohort.missing[rows])
        seeds = np.random.SeedSequence([seed, 37, fold]).generate_state(labels.shape[1]).astype(np.int64) % 2**31
        networks = train_networks(fill(train), labels[train], groups[train], seeds, sections)
        maps = maps + mean_gradients(networks, fill(test)) * networks.scale
    return studentised(np.asarray(maps, float))


def studentised(maps: np.ndarray) -> MapNull:
    """Compare the first of 1 + B exchangeable maps [1 + B, E] with the others, by the largest studentised entry."""
    spread = maps.std(0)
    z = np.abs(maps - maps.mean(0)) / np.where(spread > 0, spread, np.inf)
    null = z[1:].max(1)
    return MapNull(z[0], exceedance_p(z[0], null), null)
