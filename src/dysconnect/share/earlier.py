"""Connections beside those of earlier releases of the same people: what few of them have anew is theirs.

Columns may be the same in two releases, and the sums still tell of a single person: of somebody who lacked a region
under one threshold and has it under another, or of the one whose scan was made again. The ledger keeps of every release
a hash of every person's connections, and of every connection a number of those who lack it.
"""

import base64
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import blocks
from dysconnect.share.ledger import DIFFERENCE, Ledger, lacking_of
from dysconnect.share.package import hash_of
from dysconnect.share.release import Circuits, NotSharedError
from dysconnect.share.statement import regions_hash

DIGITS = 20  # of the hash of a person's connections


class Connections(NamedTuple):
    """Connections of the people of a release, as the ledger compares them.

    Attributes
    ----------
    kind : str
        Hash of the measure and the regions: only connections of one kind can be subtracted.
    scans : list of str, [n]
        Salted hash of everybody's connections.
    lacking : array of uint64, [E]
        Sum over those who lack a connection of a number that is the person's, modulo 2^64: 0 where nobody does.
    """

    kind: str
    scans: list[str]
    lacking: np.ndarray

    def described(self) -> dict:
        """Fit for JSON."""
        packed = base64.b64encode(zlib.compress(self.lacking.astype("<u8").tobytes(), 9)).decode()
        return {"kind": self.kind, "scans": self.scans, "lacking": packed}


def connections_of(cohort: Cohort, rows: np.ndarray, nodes: pd.DataFrame, ledger: Ledger) -> Connections:
    """Describe the connections of people at some rows of a cohort, [n]."""
    kind = hash_of([cohort.measure, bool(cohort.directed), regions_hash(nodes)])
    names = cohort.participants["participant_id"].to_numpy(str)[rows]
    scans = []
    for part in blocks((len(rows), cohort.values.shape[1])):
        values, lacks = cohort.values[rows[part]], cohort.lacking(rows[part])
        for one, lacked in zip(np.where(lacks, 0, values).astype("<f4"), lacks):
            content = ledger.salt.encode() + one.tobytes() + np.packbits(lacked).tobytes()
            scans.append(hashlib.sha256(content).hexdigest()[:DIGITS])
    return Connections(kind, scans, _lacking(cohort, rows, ledger.hashed(names)))


def _lacking(cohort: Cohort, rows: np.ndarray, people: Sequence[str]) -> np.ndarray:
    """Number of those who lack a connection, of every connection, uint64 [E]."""
    numbers, total = _numbers(people), np.zeros(cohort.values.shape[1], np.uint64)
    for part in blocks((len(rows), cohort.values.shape[1])):
        lacks = cohort.lacking(rows[part])
        for person in np.flatnonzero(lacks.any(1)):
            total += lacks[person] * numbers[part][person]
    return total


def _numbers(people: Sequence[str]) -> np.ndarray:
    return np.array([int(person[:16], 16) for person in people], np.uint64)


def alike_before(
    cohort: Cohort, rows: np.ndarray, circuits: Circuits, now: Connections, ledger: Ledger, names: Sequence[str]
) -> np.ndarray:
    """Connections, then circuits, that the same people lack as in all earlier releases of theirs, [E + C] bool.

    Of the others the sums of both releases would differ by few people's connections.
    """
    people, alike = np.array(ledger.hashed(names)), np.ones(len(now.lacking), bool)
    for one in _related(ledger, now.kind, people):
        both = np.isin(people, one["people"])
        lacking = now.lacking if both.all() else _lacking(cohort, rows[both], people[both])
        alike &= lacking == lacking_of(one)
    return np.concatenate([alike, [alike[inside].all() for inside in circuits.edges]]).astype(bool)


def check_scans(now: Connections, ledger: Ledger, names: Sequence[str]) -> None:
    """Refuse people of whom few have other connections than in an earlier release.

    Raises
    ------
    NotSharedError
    """
    people = ledger.hashed(names)
    for one in _related(ledger, now.kind, people):
        before = dict(zip(one["people"], one["scans"]))
        changed = sum(before.get(person, scan) != scan for person, scan in zip(people, now.scans))
        if 0 < changed < DIFFERENCE:
            raise NotSharedError(
                f"difference: of {changed} people the connections are not those of release {one['release']}, and of "
                "the others they are, so that what is new in these few could be had by subtraction. Give the "
                f"connections as they were, or wait until those of {DIFFERENCE} have changed."
            )


def _related(ledger: Ledger, kind: str, people: Sequence[str]) -> list[Mapping]:
    """Earlier releases of connections of a kind that have some of the people."""
    return [one for one in ledger.releases if one["kind"] == kind and not set(one["people"]).isdisjoint(people)]
