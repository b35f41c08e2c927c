"""Stage `connectivity`: one labelled file of connectomes a measure."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from nilearn.connectome import ConnectivityMeasure
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from threadpoolctl import threadpool_limits

from dysconnect.atlas import edge_index
from dysconnect.cohort import Cohort
from dysconnect.config import STORED
from dysconnect.connectomes import Connectomes, data_hash, read_connectomes
from dysconnect.participants import read_participants, with_labels
from dysconnect.problems import refuse_gone
from dysconnect.progress import track
from dysconnect.sealed import NotAsWrittenError, remedy
from dysconnect.series import has_signal, read_series, series_hash
from dysconnect.train.memory import data_memory

KINDS = {"correlation": "correlation", "partial": "partial correlation", "covariance": "covariance"}
ESTIMATORS = {"empirical": EmpiricalCovariance, "ledoit_wolf": LedoitWolf}


def connectome(series: np.ndarray, measure: str, estimator: str) -> np.ndarray:
    """Connectome of one subject through nilearn, [E].

    Parameters
    ----------
    series : array, [T, N]
        Denoised; a constant column is a missing region.
    measure : {"correlation", "partial", "covariance"}
        Fisher z of the (partial) correlation without the diagonal, or the covariance with it.
    estimator : {"empirical", "ledoit_wolf"}
        Covariance estimator; `partial` with T <= N needs the shrinkage of Ledoit and Wolf (2004).

    Returns
    -------
    array of float32
        N(N-1)/2 edges, N(N+1)/2 for covariance; zero where a region is missing (one on the diagonal).
    """
    alive = np.flatnonzero(has_signal(series))
    covariance = ESTIMATORS[estimator](store_precision=False)
    if measure == "partial" and estimator == "empirical" and len(series) <= len(alive):
        raise ValueError(
            f"partial correlation of {len(alive)} regions from {len(series)} volumes needs shrinkage: "
            "set connectivity.estimator=ledoit_wolf."
        )
    fitted = ConnectivityMeasure(cov_estimator=covariance, kind=KINDS[measure], standardize="zscore_sample")
    matrix = np.eye(series.shape[1])
    matrix[np.ix_(alive, alive)] = fitted.fit_transform([series[:, alive]])[0]
    if measure == "covariance":
        return matrix[edge_index(len(matrix), diagonal=True)].astype(np.float32)
    edges = matrix[edge_index(len(matrix))]
    return np.arctanh(np.clip(edges, -0.999999, 0.999999)).astype(np.float32)


def cohort_connectomes(
    index: pd.DataFrame, nodes: pd.DataFrame, measure: str, estimator: str, workers: int = 1
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
    jobs = (delayed(_from_file)(row, nodes, measure, estimator) for row in index.to_dict("records"))
    with threadpool_limits(1, "blas"):  # small matrices: one thread a person
        results = Parallel(n_jobs=workers, backend="threading", return_as="generator")(jobs)
        values = np.empty((len(index), len(edge_index(len(nodes), measure == "covariance")[0])), np.float32)
        missing = np.empty((len(index), len(nodes)), bool)
        for person, (edges, dead) in enumerate(track(results, f"{measure} connectomes", total=len(index))):
            values[person], missing[person] = edges, dead
    subjects = index["participant_id"].to_numpy(str)
    names = nodes["name"].to_numpy(str)
    return _connectomes(values, missing, subjects, names, measure)


def _from_file(row: dict, nodes: pd.DataFrame, measure: str, estimator: str) -> tuple[np.ndarray, np.ndarray]:
    path = Path(row["series"])
    if row.get("sha256") and path.exists() and series_hash(path.read_bytes()) != row["sha256"]:
        raise NotAsWrittenError(
            f"{row['participant_id']}: {path} is not what the timeseries stage wrote. Make the series again: add "
            "--forcerun timeseries to the command."
        )
    series = read_series(path, "", nodes)
    return connectome(series, measure, estimator), ~has_signal(series)


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
    ends = np.sort(np.stack([edges[side].map(position) for side in ("region_a", "region_b")]), axis=0)
    edge = np.zeros((len(names), len(names)), int)
    edge[edge_index(len(names))] = np.arange(len(names) * (len(names) - 1) // 2)
    values = np.zeros((len(subjects), len(names) * (len(names) - 1) // 2), np.float32)
    rows = pd.Index(subjects).get_indexer(edges["participant_id"])
    values[rows, edge[ends[0], ends[1]]] = np.arctanh(np.clip(edges["connectivity"], -0.999999, 0.999999))
    return _connectomes(values, np.zeros((len(subjects), len(names)), bool), subjects, names, measure)


def _connectomes(
    values: np.ndarray, missing: np.ndarray, subjects: np.ndarray, names: np.ndarray, measure: str
) -> Connectomes:
    return Connectomes(values, missing, subjects, names, measure, data_hash(values, subjects, names))


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
    own = read_connectomes(connectomes, table["participant_id"], resident=False)
    if own.measure != STORED[measure]:
        raise NotAsWrittenError(
            f"{connectomes} holds {own.measure}, and {STORED[measure]} was asked for: it is another file. "
            f"{remedy(connectomes)}"
        )
    if 4 * np.prod(own.values.shape, dtype=float) <= data_memory(memory):
        own = replace(own, values=own.values[:])
    return Cohort(table, own.values, own.missing, own.nodes, measure), own.data_hash


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
    own = read_connectomes(path, table["participant_id"], resident=False)
    if own.measure != known.measure:
        raise ValueError(
            f"{path} holds {own.measure}, and the experiment is trained on {known.measure}: name the file of the same "
            "measure in training.pretrain.connectomes."
        )
    columns = _same_regions(path, own.nodes, known.nodes)
    classified = set(_identities(known.participants).to_numpy().ravel()) - {""}
    kept = np.flatnonzero(~_identities(table).isin(classified).any(axis=1))
    print(f"{path}: {len(kept):,} people to pretrain on; {len(table) - len(kept):,} left out, as they are classified")
    if len(kept) == 0:
        raise ValueError(f"{path}: everybody in it is also classified; pretrain on another data set.")
    places = pd.Index(own.nodes).get_indexer(known.nodes)
    return Cohort(
        table.iloc[kept].reset_index(drop=True),
        own.values[kept][:, columns],
        own.missing[np.ix_(kept, places)],
        known.nodes,
        known.measure,
    )


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
    """Place among the edges of `theirs` of every edge of `ours`, [E]."""
    absent = sorted(set(ours) - set(theirs))
    if absent:
        raise ValueError(
            f"{path} lacks {len(absent)} of {len(ours)} regions: {', '.join(absent[:5])}"
            f"{' ...' if len(absent) > 5 else ''}. Use one atlas for both: choose the file's with --config "
            "atlas=NAME, or make the file with this one and name it in training.pretrain.connectomes."
        )
    edge = np.zeros((len(theirs), len(theirs)), int)
    rows, cols = edge_index(len(theirs))
    edge[rows, cols] = edge[cols, rows] = np.arange(len(rows))
    places = pd.Index(theirs).get_indexer(ours)
    rows, cols = edge_index(len(ours))
    return edge[places[rows], places[cols]]
