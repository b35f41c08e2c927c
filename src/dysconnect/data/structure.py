"""Edges of which the graphs of networks are made, where another run has measured them: structure, beside function."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.data.connectomes import Connectomes, read_connectomes
from dysconnect.data.edges import Pairs
from dysconnect.data.measures import measure_of
from dysconnect.data.participants import read_participants, refuse_others


def graph_files(sections: Mapping) -> dict[str, str]:
    """Files of the connectomes of which graphs are made, `connectomes` and `participants`; empty without them."""
    path = sections["graph"].get("connectomes")
    return {"connectomes": path, "participants": str(people_beside(path))} if path else {}


def people_beside(connectomes: str | Path) -> Path:
    """Table of the people of the run in whose folder a file of connectomes lies."""
    return Path(connectomes).parent.parent / "timeseries/participants.tsv"


def refuse_as_graph(measure: str, path: str | Path) -> None:
    """Refuse a measure, as it is stored, of which no undirected graph can be made whose strong edges are large numbers.

    Raises
    ------
    ValueError
        With measures that fit.
    """
    entry = measure_of(measure)
    if entry.diagonal or entry.directed or entry.unit == "mm":
        raise ValueError(
            f"graph.connectomes: {path} holds {measure}, whose large values are no strong undirected edges. Name a "
            "file of count, fa or binary (results/NAME/connectivity/ATLAS_count.h5)."
        )


def with_graph(cohort: Cohort, sections: Mapping) -> Cohort:
    """Give a cohort the edges of which graphs are made (`Cohort.graph`), where an experiment asks for them.

    People are matched by `participant_id`, regions by name. Who is not in the other file, or was left out of its run,
    has no edges of his own; a region without signal there has none either: both are NaN. A single connection that was
    not measured, as the FA where no streamline runs, is no edge: zero.

    Raises
    ------
    ValueError
        For a measure that is no graph, regions that the file lacks, when nobody of the cohort is in it, or when
        somebody is another person there.
    """
    files = graph_files(sections)
    if not files:
        return cohort
    people = read_participants(files["participants"])
    people = people[people["included"]] if "included" in people else people
    tables = {"this cohort": cohort.participants, files["participants"]: people}
    refuse_others({name: table.set_index("participant_id") for name, table in tables.items()})
    held = read_connectomes(files["connectomes"], people["participant_id"])
    refuse_as_graph(held.measure, files["connectomes"])
    rows = pd.Index(held.subjects).get_indexer(cohort.participants["participant_id"].astype(str))
    if (rows < 0).all():
        raise ValueError(
            f"{files['connectomes']}: none of its people is among the {len(rows)} of this cohort. Name a file of the "
            "same people in graph.connectomes; they are matched by participant_id."
        )
    print(
        f"{files['connectomes']}: {(rows >= 0).sum()} of {len(rows)} people have the {held.measure} of their graph; "
        f"{(rows < 0).sum()} get the mean of the training people",
        flush=True,
    )
    edges = _in_order(held, cohort.nodes, files["connectomes"])
    graph = np.full((len(rows), edges.shape[1]), np.nan, np.float32)
    graph[rows >= 0] = edges[rows[rows >= 0]]
    return replace(cohort, graph=graph)


def _in_order(held: Connectomes, nodes: np.ndarray, path: str) -> np.ndarray:
    """Edges between regions in another order, [S, E]: zero where there is none, NaN where a region has no signal."""
    absent = sorted(set(nodes) - set(held.nodes))
    if absent:
        raise ValueError(
            f"{path} lacks {len(absent)} of {len(nodes)} regions: {', '.join(absent[:5])}"
            f"{' ...' if len(absent) > 5 else ''}. Make the file with the atlas of this run, and name it in "
            "graph.connectomes."
        )
    places = pd.Index(held.nodes).get_indexer(nodes)
    edges = np.nan_to_num(held.values[:, held.pairs.among(places)])
    edges[Pairs(len(nodes)).touching(held.missing[:, places])] = np.nan
    return edges
