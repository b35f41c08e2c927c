"""Stage `connectivity`: one labelled file of connectomes a measure."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from dysconnect.data.connectomes import Connectomes, data_hash
from dysconnect.data.edges import Pairs, measure_pairs
from dysconnect.data.estimate import Connectome, scan_connectome
from dysconnect.data.matrices import CONTENTS, contents_of, matrix_hash, read_connections
from dysconnect.data.measures import measure_of
from dysconnect.data.series import read_series, series_hash
from dysconnect.data.timing import Timing
from dysconnect.keeping.sealed import NotAsWrittenError
from dysconnect.problems import refuse_gone
from dysconnect.progress import track

MANY = 64  # people, of whom a compiled reader is worth the half second that it takes to load


def cohort_connectomes(
    index: pd.DataFrame, nodes: pd.DataFrame, measure: str, estimator: str | None, workers: int = 1
) -> Connectomes:
    """Compute everybody's connectome from the index of denoised series.

    Raises
    ------
    NotAsWrittenError
        When the series of somebody are not those that the index was written for.
    MachineError
        When they are gone.
    """
    refuse_gone(zip(index["participant_id"], index["series"]))
    read = _reader(len(index))
    values = np.empty((len(index), len(measure_pairs(measure, len(nodes)))), np.float32)
    missing = np.empty((len(index), len(nodes)), bool)
    regional = np.empty((len(index), len(measure_of(measure).regional), len(nodes)), np.float32)

    def compute(person: int, row: dict) -> Mapping[str, float]:
        made = _from_file(row, nodes, measure, estimator, read)
        values[person], regional[person], missing[person] = made.edges, made.regional, made.missing
        return made.scan

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:  # small matrices: one thread a person
        results = pool.map(compute, range(len(index)), index.to_dict("records"))
        scans = list(track(results, f"{measure} connectomes", total=len(index)))
    subjects = index["participant_id"].to_numpy(str)
    names = nodes["name"].to_numpy(str)
    beside = {name: regional[:, k] for k, name in enumerate(measure_of(measure).regional)}
    means = pd.DataFrame(scans).mean().to_dict()
    return replace(_connectomes(values, missing, subjects, names, measure), regional=beside, scan_means=means)


def _reader(n_people: int) -> Callable[[bytes, pd.DataFrame], np.ndarray | None]:
    """What reads files of the stage `timeseries`; where it gives None, as for few people, that of all tables does."""
    if n_people < MANY:
        return lambda content, nodes: None
    from dysconnect.data.written import written_series

    return lambda content, nodes: written_series(content, nodes["name"])


def _from_file(row: dict, nodes: pd.DataFrame, measure: str, estimator: str | None, read: Callable) -> Connectome:
    path = Path(row["series"])
    content = path.read_bytes() if path.exists() else b""
    if content and row.get("sha256") and series_hash(content) != row["sha256"]:
        raise NotAsWrittenError(
            f"{row['participant_id']}: {path} is not what the timeseries stage wrote. Make the series again: add "
            "--forcerun timeseries to the command."
        )
    series = read(content, nodes)
    if series is None:
        series = read_series(path, "", nodes)
    timing = Timing.read(path) if measure_of(measure).timed else None
    try:
        return scan_connectome(series, measure, estimator, timing)
    except ValueError as problem:
        raise ValueError(f"{row['participant_id']}: {problem}") from problem


def table_connectomes(edges: pd.DataFrame, nodes: pd.DataFrame, measure: str) -> Connectomes:
    """Arrange connections that are given as numbers; pairs that the table lacks are zero in everybody.

    Parameters
    ----------
    edges : DataFrame
        `participant_id`, `region_a`, `region_b`, `connectivity` (Pearson's r): the same pairs of everybody.
    nodes : DataFrame, [N rows]
    measure : {"correlation"}
        Partial correlations and covariances need series.
    """
    if measure != "correlation":
        raise ValueError(
            f"this dataset holds correlations of single pairs of regions; {measure} needs the series. Choose "
            "experiments with connectivity=correlation."
        )
    names, subjects = nodes["name"].to_numpy(str), edges["participant_id"].drop_duplicates().to_numpy(str)
    position = {name: k for k, name in enumerate(names)}
    absent = sorted({*edges["region_a"], *edges["region_b"]} - set(position))
    if absent:
        raise ValueError(
            f"the atlas lacks {', '.join(absent[:5])}, a region of the table. Choose the table's own atlas."
        )
    pairs = Pairs(len(names))
    columns = pairs.position(*(edges[side].map(position).to_numpy() for side in ("region_a", "region_b")))
    values = np.zeros((len(subjects), len(pairs)), np.float32)
    rows = pd.Index(subjects).get_indexer(edges["participant_id"])
    values[rows, columns] = measure_of(measure).transformed(edges["connectivity"])
    measured = np.isin(np.arange(len(pairs)), columns)
    return _connectomes(values, np.zeros((len(subjects), len(names)), bool), subjects, names, measure, measured)


def matrix_connectomes(index: pd.DataFrame, nodes: pd.DataFrame, measure: str) -> Connectomes:
    """Arrange connections that are given as a matrix a person.

    Parameters
    ----------
    index : DataFrame
        From `judge_matrices`.
    nodes : DataFrame, [N rows]
    measure : str

    Raises
    ------
    ValueError
        When the matrices hold something else.
    NotAsWrittenError
        When somebody's matrix is not what it was when it was judged.
    MachineError
        When one is gone.
    """
    refuse_gone((row["participant_id"], row[key]) for _, row in index.iterrows() for key in ("matrix", "labels"))
    _refuse_other_content(index, measure)
    subjects, names = index["participant_id"].to_numpy(str), nodes["name"].to_numpy(str)
    pairs = measure_pairs(measure, len(nodes))
    values, missing = np.empty((len(index), len(pairs)), np.float32), np.empty((len(index), len(nodes)), bool)
    for person, row in enumerate(track(index.to_dict("records"), f"{measure} connectomes")):
        if matrix_hash(row) != row["sha256"]:
            raise NotAsWrittenError(
                f"{row['participant_id']}: {row['matrix']}, or the table of its names, is not what it was when it was "
                "collected. Collect everybody again: add --forcerun acquire to the command."
            )
        made = read_connections(row, nodes)
        values[person], missing[person] = pairs.edges(made.values), made.missing
    values[pairs.touching(missing)] = 0
    return _connectomes(values, missing, subjects, names, measure)


def _refuse_other_content(index: pd.DataFrame, measure: str) -> None:
    content = index["content"].iloc[0]
    if content not in contents_of(measure):
        raise ValueError(
            f"the matrices hold {content}, which gives no {measure}. Choose experiments with "
            f"connectivity={' or '.join(CONTENTS[content].measures)}."
        )


def _connectomes(
    values: np.ndarray,
    missing: np.ndarray,
    subjects: np.ndarray,
    names: np.ndarray,
    measure: str,
    measured: np.ndarray | None = None,
) -> Connectomes:
    entry, made = measure_of(measure), data_hash(values, subjects, names)
    return Connectomes(values, missing, subjects, names, measure, made, entry.directed, entry.zero, measured)
