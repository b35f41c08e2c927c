"""Which connections an edit changes, and by how much: of the first targets of the group and of every patient."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dysconnect.stimulate.folds import Effects
from dysconnect.stimulate.targets import Targets

COLUMNS = (
    "participant_id", "kind", "target", "region_a", "region_b", "change", "change_spread", "change_sd", "share",
    "cheapest", "cheapest_sd", "cheapest_share",
)  # fmt: skip
GROUP = "group"  # in the place of a participant


@dataclass(frozen=True)
class Edits:
    """What the edits do to the connections of the patients, averaged over the models that did not see them.

    Attributes
    ----------
    patients : array of int, [P]
        Positions of the people.
    change, parts : array, [P, E]
        Of virtual normalisation: change in Fisher z, and what it adds to the change of the logit.
    spread : array, [E]
        Standard deviation of the controls' edges given their covariates.
    uses : array, [P, M]
        How much of each of M edits makes a patient's cheapest ones.
    steps : array, [M, 2, nnz]
        Those edits and their parts in the logit, at the entries of the targets' `members`; 0: none.
    """

    patients: np.ndarray
    change: np.ndarray
    parts: np.ndarray
    spread: np.ndarray
    uses: np.ndarray
    steps: np.ndarray

    def cheapest(self, who: np.ndarray, entries: slice) -> tuple[np.ndarray, np.ndarray]:
        """Mean cheapest edit of some patients and its parts in the logit, [S] each; NaN where there is none.

        Those who are at the goal already, or cannot be brought there, do not count.
        """
        edit, parts = np.einsum("pm,mks->kps", self.uses[who], self.steps[:, :, entries], optimize=True)
        edited = edit.any(1)
        if not edited.any():
            return (np.full(edit.shape[1], np.nan),) * 2
        return edit[edited].mean(0), parts[edited].mean(0)


def gather_edits(folds: Sequence[Effects], labels: np.ndarray, aim: float) -> Edits:
    """Join the folds; `aim` is the logit to which the cheapest edits bring a patient (`goal_logit`)."""
    rows = np.concatenate([fold.test[labels[fold.test] == 1] for fold in folds])
    patients, place = np.unique(rows, return_inverse=True)
    uses = [fold.uses(labels, aim) for fold in folds]
    total = np.zeros((len(rows), sum(use.shape[1] for use in uses)), np.float32)
    row = column = 0
    for use in uses:
        total[row : row + use.shape[0], column : column + use.shape[1]] = use
        row, column = row + use.shape[0], column + use.shape[1]
    return Edits(
        patients,
        _averaged([fold.change for fold in folds], place),
        _averaged([fold.parts for fold in folds], place),
        np.mean([fold.spread for fold in folds], axis=0),
        _averaged([total], place),
        np.concatenate([fold.steps for fold in folds]),
    )


def _averaged(parts: Sequence[np.ndarray], place: np.ndarray) -> np.ndarray:
    """Mean over the rows of one person, whose place [rows] is given, without a second copy of all rows."""
    times = np.bincount(place)
    mean, start = np.zeros((len(times), parts[0].shape[1]), np.float32), 0
    for part in parts:
        np.add.at(mean, place[start : start + len(part)], part)
        start += len(part)
    return mean / times[:, None].astype(np.float32)


def edit_table(
    edits: Edits,
    targets: Targets,
    group: pd.DataFrame,
    patients: pd.DataFrame,
    names: dict[str, np.ndarray],
    spec: dict,
) -> pd.DataFrame:
    """Write out the connections that move most when the first targets are stimulated.

    Parameters
    ----------
    edits : Edits
    targets : Targets
    group, patients : DataFrame
        Rankings: `kind`, `target`, `rank`, and of the patients `participant_id`.
    names : dict of str to array
        `regions` [N] of the connectomes and `people` [n] of the cohort.
    spec : dict
        `targets` and `patient_targets`: how many of every kind; `edges` and `patient_edges`: how many of a target.

    Returns
    -------
    DataFrame
        `participant_id` ("group": mean over the patients), `kind`, `target`, `region_a`, `region_b`; of virtual
        normalisation the `change` in Fisher z (held-out patients), `change_spread` (standard deviation over them),
        `change_sd` (in standard deviations of the controls given their covariates), and `share` of the target's change
        of the logit; of the cheapest edit `cheapest`, `cheapest_sd` and `cheapest_share` likewise, empty where nobody
        needs one. A target has the connections of the largest shares, and those that the cheapest edit moves most.
    """
    place = {key: row for row, key in enumerate(zip(targets.table["kind"], targets.table["target"]))}
    row_of = {names["people"][person]: np.array([row]) for row, person in enumerate(edits.patients)}
    row_of[GROUP] = np.arange(len(edits.patients))
    asked = [(ranked, spec["edges"], GROUP) for ranked in group[group["rank"] <= spec["targets"]].itertuples()] + [
        (ranked, spec["patient_edges"], ranked.participant_id)
        for ranked in patients[patients["rank"] <= spec["patient_targets"]].itertuples()
    ]
    ends, tables = targets.pairs.ends, []
    for ranked, n, name in asked:
        edge, numbers = _target_edits(edits, targets, row_of[name], place[ranked.kind, ranked.target], n)
        sides = (names["regions"][side[edge]] for side in ends)
        tables.append(pd.DataFrame(dict(zip(COLUMNS, (name, ranked.kind, ranked.target, *sides, *numbers)))))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)


def _target_edits(
    edits: Edits, targets: Targets, who: np.ndarray, row: int, n: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Edges of one target and their numbers, of the patients `who` together; n edges for each of the two edits."""
    entries = slice(*targets.members.indptr[row : row + 2])
    edges = targets.members.indices[entries]
    changes = edits.change[np.ix_(who, edges)].astype(float)
    change, alone = changes.mean(0), len(who) == 1
    between = np.full(len(edges), np.nan) if alone else changes.std(0, ddof=1)
    share = _shares(edits.parts[np.ix_(who, edges)].mean(0, dtype=float))
    edit, parts = edits.cheapest(who, entries)
    spread = np.where(edits.spread[edges] > 0, edits.spread[edges], np.nan)
    numbers = [change, between, change / spread, share, edit, edit / spread, _shares(parts)]
    kept = np.unique(np.concatenate([_largest(size, n) for size in (share, edit / spread)]))
    kept = kept[np.argsort(-np.abs(np.nan_to_num(share[kept])), kind="stable")]
    return edges[kept], [number[kept] for number in numbers]


def _largest(sizes: np.ndarray, n: int) -> np.ndarray:
    """Positions of the n largest absolute sizes; none of the missing."""
    order = np.argsort(-np.abs(sizes), kind="stable")[:n]  # NaN is last
    return order[np.isfinite(sizes[order])]


def _shares(parts: np.ndarray) -> np.ndarray:
    total = parts.sum()
    return parts / total if total else np.full(len(parts), np.nan)
