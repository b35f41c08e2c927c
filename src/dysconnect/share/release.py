"""People of a site added up: connections, means of circuits, and the controls alone where a norm is asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dysconnect.data.atlas import circuit_edges
from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import blocks
from dysconnect.data.participants import scan_groups
from dysconnect.pooling.sums import Gathering, GatheringMeans, Sums
from dysconnect.share.columns import Design, share_design

MOSTLY = 0.5  # of a circuit's connections must be given, for its mean to be


class NotSharedError(ValueError):
    """Nothing is written; the message says which rule forbids it and what to do."""


class Circuits(NamedTuple):
    """Names of the circuits [C], and of each the places of its edges."""

    names: list[str]
    edges: list[np.ndarray]

    @classmethod
    def of_atlas(cls, nodes: pd.DataFrame, asked: Sequence[str], directed: bool) -> "Circuits":
        """Circuits that are asked for and have edges in an atlas."""
        table = circuit_edges(nodes, directed)
        inside = {name: table.loc[table["circuit"] == name, "edge"].to_numpy(int) for name in asked}
        kept = {name: places for name, places in inside.items() if len(places)}
        return cls(list(kept), list(kept.values()))

    def among(self, names: Sequence[str]) -> "Circuits":
        """Only some circuits, in an order."""
        return Circuits(list(names), [self.edges[self.names.index(name)] for name in names])


class Released(NamedTuple):
    """Sums of everybody and of the controls over connections then circuits, [E + C] each; and how many people."""

    everybody: Sums
    controls: Sums


def people_of(cohort: Cohort, spec: Mapping, site: str) -> tuple[Design, np.ndarray]:
    """Design of those whose sums are made, and their rows in the cohort, [n]; of several copies of a scan the first."""
    first = np.flatnonzero(~pd.Series(scan_groups(cohort.participants)).duplicated().to_numpy())
    people = cohort.participants.iloc[first].assign(row=first)
    design = share_design(people, spec["columns"], spec["centres"], site)
    return design, design.people["row"].to_numpy()


def gathered(
    cohort: Cohort, design: Design, rows: np.ndarray, circuits: Circuits, batch: slice = slice(None)
) -> dict[str, np.ndarray]:
    """Sums of a batch of the people: memory of one block of edges, however many they are.

    Returns
    -------
    dict of str to array
        As `released` takes it: ``everybody/...`` and ``controls/...``.
    """
    values, rows = design.values[batch], rows[batch]
    patient = design.people["label"].to_numpy()[batch] == 1
    n_edges = cohort.values.shape[1]
    sums = {name: Gathering.empty(design.names, n_edges) for name in ("everybody", "controls")}
    means = {name: [GatheringMeans.empty(len(design.columns), len(k)) for k in circuits.edges] for name in sums}
    for part in blocks((len(rows), n_edges)):
        edges, lacking = cohort.values[rows[part]], cohort.lacking(rows[part])
        for name, who in (("everybody", np.ones(len(edges), bool)), ("controls", ~patient[part])):
            sums[name].take(values[part][who], edges[who], lacking[who])
            for one, inside in zip(means[name], circuits.edges):
                one.take(values[part][who], edges[np.ix_(who, inside)], lacking[np.ix_(who, inside)])
    return {
        f"{name}/{key}": value
        for name in sums
        for key, value in {
            **_fields(sums[name]),
            **{f"{c}/{key}": value for c, one in enumerate(means[name]) for key, value in _fields(one).items()},
        }.items()
    }


def _fields(one: Gathering | GatheringMeans) -> dict[str, np.ndarray]:
    return {key: np.asarray(value) for key, value in vars(one).items() if key != "columns"}


def released(
    parts: Sequence[Mapping[str, np.ndarray]], design: Design, circuits: Circuits, most: float, fit: np.ndarray
) -> Released:
    """Join the batches of `gathered`.

    Parameters
    ----------
    parts : sequence of mapping
    design, circuits
    most : float
        Share of the people that may lack a connection; one that more of them lack is not given.
    fit : array of bool, [E + C]
        What may be given, see `fit_outcomes`.
    """
    everybody, means = _joined(parts, "everybody", design, circuits)
    seen = everybody.sums(most).given
    whole = [seen[inside].mean() >= MOSTLY for inside in circuits.edges]
    given = np.concatenate([seen, whole]).astype(bool) & fit
    controls = _joined(parts, "controls", design, circuits)
    filled, known = everybody.mean, everybody.seen > 0
    sides = (everybody, means), controls
    return Released(*(_with_circuits(*one, circuits, given, filled, known) for one in sides))


def _joined(
    parts: Sequence[Mapping], name: str, design: Design, circuits: Circuits
) -> tuple[Gathering, list[GatheringMeans]]:
    total: Gathering | None = None
    means: list[GatheringMeans] = []
    for part in parts:
        own = {key.removeprefix(f"{name}/"): value for key, value in part.items() if key.startswith(f"{name}/")}
        edges = Gathering(design.names, **{key: np.array(own[key]) for key in own if "/" not in key})
        sets = [
            GatheringMeans(**{key.split("/")[1]: np.array(own[key]) for key in own if key.startswith(f"{c}/")})
            for c in range(len(circuits.names))
        ]
        if total is None:
            total, means = edges, sets
            continue
        total.join(edges)
        for one, other in zip(means, sets):
            one.join(other)
    return total, means


def _with_circuits(
    total: Gathering, means: Sequence[GatheringMeans], circuits: Circuits, given: np.ndarray, filled: np.ndarray,
    known: np.ndarray,
) -> Sums:  # fmt: skip
    """Sums over connections then circuits, of what is given of everybody, [E + C] bool.

    Who lacks a connection is given everybody's mean of it (`filled` [E]), also among the controls, so that these are
    part of everybody.
    """
    edges = total.sums(1.0, filled)
    made = [one.sums(filled[inside], known[inside]) for one, inside in zip(means, circuits.edges)]
    xy = np.column_stack([edges.xy, *(xm for xm, _ in made)])
    yy = np.concatenate([edges.yy, [mm for _, mm in made]])
    return Sums(edges.columns, edges.xx, xy * given, yy * given, given)


def load_parts(paths: Sequence[str | Path]) -> list[dict[str, np.ndarray]]:
    """Read batches that were written as ``.npz``."""
    parts = []
    for path in paths:
        with np.load(path, allow_pickle=False) as file:
            parts.append({name: file[name] for name in file.files})
    return parts
