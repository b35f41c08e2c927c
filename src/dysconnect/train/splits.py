"""Splits by subject: stratified by label and site, grouped by scan, repeated, saved."""

import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold


def strata(participants: pd.DataFrame, folds: int) -> np.ndarray:
    """Stratum of every subject, [n]: label x site, or the label alone where a stratum cannot fill every fold."""
    label = participants["label"].astype(str)
    joint = label + "/" + participants["site"].astype(str)
    return np.where(joint.map(joint.value_counts()) < folds, label, joint)


def scan_groups(participants: pd.DataFrame) -> np.ndarray:
    """Group of every subject, [n]: copies of one scan share a group and never stand on both sides."""
    if "scan_group" not in participants:
        return participants["participant_id"].to_numpy()
    return participants["scan_group"].to_numpy()


def make_splits(participants: pd.DataFrame, folds: int, repeats: int, seed: int) -> pd.DataFrame:
    """Repeated stratified, grouped K-fold.

    Parameters
    ----------
    participants : DataFrame, [n rows]
        With `label` (1 is the patient), `site` and, where scans are copies, `scan_group`.
    folds, repeats, seed : int

    Returns
    -------
    DataFrame, [n * repeats rows]
        `participant_id`, `label`, `site`, `scan_group`, `repeat`, `fold`: the fold in which the subject is
        tested.

    Raises
    ------
    ValueError
        When a class has fewer subjects than there are folds.
    """
    labels = participants["label"].to_numpy()
    for label, name in ((1, "patients"), (0, "controls")):
        count = int((labels == label).sum())
        if count < folds:
            raise ValueError(
                f"{count} {name} cannot be split into {folds} folds: every fold needs one of each class. "
                f"Set splits.folds={max(count, 2)} or fewer, or include more subjects."
            )
    tables = []
    for repeat in range(repeats):
        state = int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0])
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=state)
        fold = np.empty(len(participants), int)
        with warnings.catch_warnings():  # a merged stratum may stay smaller than the folds: it is spread all the same
            warnings.filterwarnings("ignore", "The least populated class", UserWarning)
            parts = list(splitter.split(participants, strata(participants, folds), scan_groups(participants)))
        for number, (_, test) in enumerate(parts):
            fold[test] = number
        tables.append(
            pd.DataFrame(
                {
                    "participant_id": participants["participant_id"].to_numpy(),
                    "label": labels,
                    "site": participants["site"].to_numpy(),
                    "scan_group": scan_groups(participants),
                    "repeat": repeat,
                    "fold": fold,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def inner_split(participants: pd.DataFrame, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split training subjects for early stopping, stratified and grouped: positions to fit on and to watch."""
    splitter = StratifiedGroupKFold(max(2, round(1 / fraction)), shuffle=True, random_state=seed)
    label = participants["label"].to_numpy()
    return next(iter(splitter.split(participants, label, scan_groups(participants))))


def fold_rows(
    splits: pd.DataFrame, participants: pd.DataFrame, repeat: int, fold: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of training and test subjects of one fold."""
    own = splits[splits["repeat"] == repeat].set_index("participant_id")["fold"]
    number = own.loc[participants["participant_id"]].to_numpy()
    return np.flatnonzero(number != fold), np.flatnonzero(number == fold)
