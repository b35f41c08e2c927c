"""Cohorts from files: the included people of a contrast joined with their connectomes, by name."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.data.connectomes import read_connectomes
from dysconnect.data.measures import STORED
from dysconnect.data.memory import data_memory
from dysconnect.data.participants import read_participants, with_labels
from dysconnect.data.structure import people_beside
from dysconnect.keeping.sealed import NotAsWrittenError, remedy


def labelled_cohort(
    connectomes: str | Path, participants: str | Path, contrast: dict, measure: str, memory: float | None = np.inf
) -> tuple[Cohort, str]:
    """Join the included subjects of a contrast with their connectomes, by name.

    Parameters
    ----------
    connectomes, participants : path
    contrast : dict
        ``{"cases": [groups], "controls": [groups]}``.
    measure : {"correlation", "partial", "tangent"}
        What a model is to see; `tangent` is read from covariances.
    memory : float, optional
        GB, None for what is free. Connectomes that would take more than half of it stay in the file (`StoredEdges`).

    Returns
    -------
    cohort : Cohort
    data_hash : str
        Of the whole file of connectomes.
    """
    table = with_labels(read_participants(participants), contrast)
    held = read_connectomes(connectomes, table["participant_id"], resident=False)
    if held.measure != STORED[measure]:
        raise NotAsWrittenError(
            f"{connectomes} holds {held.measure}, and {STORED[measure]} was asked for: it is another file. "
            f"{remedy(connectomes)}"
        )
    if 4 * np.prod(held.values.shape, dtype=float) <= data_memory(memory):
        held = replace(held, values=held.values[:])
    whole = held.directed, held.known, held.regional, held.scan_means
    cohort = Cohort(table, held.values, held.missing, held.nodes, measure, *whole)
    return cohort, held.data_hash


def measure_in(connectomes: str | Path) -> str:
    """Measure that a file of connectomes holds, as it is stored."""
    return read_connectomes(connectomes, [], resident=False).measure


def pretraining(sections: Mapping) -> dict:
    """Return files and groups that an experiment is pretrained on, for `unlabelled_cohort`; empty without pretraining.

    Parameters
    ----------
    sections : mapping
        What a training reads. Without ``training.pretrain.participants``, the table is that of the data set in whose
        folder the connectomes lie.
    """
    spec = sections["training"].get("pretrain") or {}
    if not spec:
        return {}
    return {**spec, "participants": spec["participants"] or str(people_beside(spec["connectomes"]))}


def unlabelled_cohort(spec: dict, known: Cohort) -> Cohort:
    """People to pretrain on: the included ones of some groups of a data set, without those who are classified.

    Parameters
    ----------
    spec : dict
        `connectomes`, `participants` (files) and `groups`, as in ``training.pretrain``.
    known : Cohort
        Who is classified. Whoever shares a `participant_id` or `scan_group` with one of them is left out; regions are
        brought into the order of these, by name.

    Raises
    ------
    ValueError
        For another measure, regions that the file lacks, a group that the table lacks, or if nobody is left.
    """
    path = spec["connectomes"]
    table = _wanted_people(spec)
    held = read_connectomes(path, table["participant_id"], resident=False)
    if (held.measure, held.directed) != (known.measure, known.directed):
        raise ValueError(
            f"{path} holds {held.measure}, and the experiment is trained on {known.measure}: name the file of the same "
            "measure in training.pretrain.connectomes."
        )
    places = _same_regions(path, held.nodes, known.nodes)
    classified = set(_identities(known.participants).to_numpy().ravel()) - {""}
    kept = np.flatnonzero(~_identities(table).isin(classified).any(axis=1))
    print(f"{path}: {len(kept):,} people to pretrain on; {len(table) - len(kept):,} left out, as they are classified")
    if len(kept) == 0:
        raise ValueError(f"{path}: everybody in it is also classified; pretrain on another data set.")
    columns = held.pairs.among(places)
    return Cohort(
        table.iloc[kept].reset_index(drop=True),
        held.values[kept][:, columns],
        held.missing[np.ix_(kept, places)],
        known.nodes,
        known.measure,
        known.directed,
        None if held.known is None else held.known[columns],
    )


def pretraining_cohort(sections: Mapping, known: Cohort) -> Cohort | None:
    """People that an experiment is pretrained on, see `unlabelled_cohort`; None without pretraining."""
    source = pretraining(sections)
    return unlabelled_cohort(source, known) if source else None


def _wanted_people(spec: dict) -> pd.DataFrame:
    """Included people of the groups asked for."""
    table = read_participants(spec["participants"])
    absent = sorted(set(spec["groups"]) - set(table["group"]))
    if absent or not spec["groups"]:
        raise ValueError(
            f"training.pretrain.groups={spec['groups']}: {spec['participants']} has "
            f"{', '.join(sorted(table['group'].unique()))}. Name some of these."
        )
    return table[table["group"].isin(spec["groups"]) & table.get("included", True)]


def _identities(people: pd.DataFrame) -> pd.DataFrame:
    """What tells that two rows are one person or scan."""
    return people[[name for name in ("participant_id", "scan_group") if name in people]]


def _same_regions(path: str, theirs: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """Place among `theirs` of every region of `ours`, [N]."""
    absent = sorted(set(ours) - set(theirs))
    if absent:
        raise ValueError(
            f"{path} lacks {len(absent)} of {len(ours)} regions: {', '.join(absent[:5])}"
            f"{' ...' if len(absent) > 5 else ''}. Use one atlas for both: choose the file's with --config "
            "atlas=NAME, or make the file with this one and name it in training.pretrain.connectomes."
        )
    return pd.Index(theirs).get_indexer(ours)
