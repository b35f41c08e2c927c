"""Stage `connectivity`: one labelled file of connectomes a measure."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import h5netcdf
import h5py
import numpy as np
import pandas as pd
import xarray as xr
from joblib import Parallel, delayed
from nilearn.connectome import ConnectivityMeasure
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from threadpoolctl import threadpool_limits

from dysconnect import __version__
from dysconnect.atlas import edge_index
from dysconnect.cohort import Cohort
from dysconnect.models.edges import blocks
from dysconnect.participants import read_participants, with_labels
from dysconnect.progress import track
from dysconnect.series import has_signal, read_series
from dysconnect.train.memory import data_memory

KINDS = {"correlation": "correlation", "partial": "partial correlation", "covariance": "covariance"}
ESTIMATORS = {"empirical": EmpiricalCovariance, "ledoit_wolf": LedoitWolf}
CHUNK = 1e5  # bytes that are compressed together: about one person of 200 regions, so that any few are cheap to read


@dataclass(frozen=True)
class Connectomes:
    """Connectomes of a cohort.

    Attributes
    ----------
    values : array of float32, [S, E], or StoredEdges
        Fisher z (correlation, partial) or covariance with its diagonal; zero where missing. NaN in the file, and
        zero here, is a connection that was measured in nobody.
    missing : array of bool, [S, N]
        Regions without signal: their edges are not known, and are filled in inside each training fold.
    subjects, nodes : array of str
        Participant ids [S] and region names [N].
    measure : str
    data_hash : str
        SHA-256 over the values and names.
    """

    values: np.ndarray
    missing: np.ndarray
    subjects: np.ndarray
    nodes: np.ndarray
    measure: str
    data_hash: str


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
    """Compute everybody's connectome from the index of denoised series."""
    jobs = (delayed(_from_file)(row.series, nodes, measure, estimator) for row in index.itertuples())
    with threadpool_limits(1, "blas"):  # small matrices: one thread a person
        results = Parallel(n_jobs=workers, backend="threading", return_as="generator")(jobs)
        values = np.empty((len(index), len(edge_index(len(nodes), measure == "covariance")[0])), np.float32)
        missing = np.empty((len(index), len(nodes)), bool)
        for person, (edges, dead) in enumerate(track(results, f"{measure} connectomes", total=len(index))):
            values[person], missing[person] = edges, dead
    subjects = index["participant_id"].to_numpy(str)
    names = nodes["name"].to_numpy(str)
    return _connectomes(values, missing, subjects, names, measure)


def _from_file(path: str, nodes: pd.DataFrame, measure: str, estimator: str) -> tuple[np.ndarray, np.ndarray]:
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


def data_hash(values: "np.ndarray | StoredEdges", subjects: np.ndarray, names: np.ndarray) -> str:
    """SHA-256 over the connectomes [S, E], read in blocks, and the names of people and regions."""
    digest = hashlib.sha256()
    for part in blocks(values.shape):
        digest.update(np.ascontiguousarray(values[part]).data)
    digest.update("\n".join([*subjects, *names]).encode())
    return digest.hexdigest()


def write_connectomes(connectomes: Connectomes, path: str | Path, attributes: dict) -> None:
    """Write one labelled HDF5 file: dims `subject`, `edge`; both nodes' names; float32; provenance.

    The values are read and written in blocks of people, twice: whatever gives a block when it is sliced will do.
    """
    values = connectomes.values
    measured = np.zeros(values.shape[1], bool)  # no measured connection is exactly zero in everybody
    for part in blocks(values.shape):
        measured |= values[part].any(0)
    _labels(connectomes, measured, attributes).to_netcdf(path, engine="h5netcdf")
    with h5netcdf.File(path, "a") as file:
        chunk = (int(np.clip(CHUNK // (4 * values.shape[1]), 1, max(len(values), 1))), values.shape[1])
        form = {"chunks": chunk, "compression": "gzip", "compression_opts": 1, "shuffle": True, "fillvalue": np.nan}
        variable = file.create_variable("connectome", ("subject", "edge"), np.float32, **form)
        variable.attrs["coordinates"] = "node_a node_b"
        for part in blocks(values.shape):
            variable[part] = np.where(measured, values[part], np.float32(np.nan))


def _labels(connectomes: Connectomes, measured: np.ndarray, attributes: dict) -> xr.Dataset:
    """Everything of the file but the values."""
    rows, cols = edge_index(len(connectomes.nodes), diagonal=connectomes.measure == "covariance")
    return xr.Dataset(
        {
            "missing": (("subject", "node"), connectomes.missing.astype(np.int8)),
            "measured": ("edge", measured.astype(np.int8)),
        },
        coords={
            "subject": connectomes.subjects.astype(object),
            "node": connectomes.nodes.astype(object),
            "node_a": ("edge", connectomes.nodes[rows].astype(object)),
            "node_b": ("edge", connectomes.nodes[cols].astype(object)),
        },
        attrs={
            "measure": connectomes.measure,
            "data_hash": connectomes.data_hash,
            "dysconnect": __version__,
            **{key: value if isinstance(value, str) else json.dumps(value) for key, value in attributes.items()},
        },
    )


def open_connectomes(path: str | Path) -> xr.Dataset:
    """Open the labelled file lazily: values are read when they are asked for."""
    return xr.open_dataset(path, engine="h5netcdf")


class StoredEdges:
    """Edges of some people in a file of connectomes, [n, E], read when rows are asked for.

    Indexed by a slice, a mask or row numbers, it returns an array of float32; what was measured in nobody is zero.

    Parameters
    ----------
    path : path
        Of `write_connectomes`.
    rows : array of int, [n]
        Places of the people in the file, in the order wanted.
    measured : array of bool, [E]
    """

    def __init__(self, path: str | Path, rows: np.ndarray, measured: np.ndarray):
        self.path, self.rows, self.measured = Path(path), np.asarray(rows), measured
        self.shape, self.dtype, self.ndim = (len(rows), len(measured)), np.dtype(np.float32), 2

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return str(self.path)

    def __getitem__(self, wanted: slice | np.ndarray) -> np.ndarray:
        places, back = np.unique(self.rows[wanted], return_inverse=True)
        values = np.empty((len(places), len(self.measured)), np.float32)
        ends = np.r_[0, np.flatnonzero(np.diff(places) != 1) + 1, len(places)]
        with h5py.File(self.path) as file:
            for start, stop in pairwise(ends):
                if stop > start:
                    run = np.s_[places[start] : places[stop - 1] + 1]
                    file["connectome"].read_direct(values, run, np.s_[start:stop])
        values[:, ~self.measured] = 0
        return values if np.array_equal(back, np.arange(len(values))) else values[back]


def read_connectomes(path: str | Path, subjects: Sequence[str] | None = None, resident: bool = True) -> Connectomes:
    """Read the connectomes of some subjects (all by default), by name and in the order asked.

    Without `resident` the values stay in the file, see `StoredEdges`.
    """
    with open_connectomes(path) as dataset:
        if "measured" not in dataset:
            raise ValueError(f"{path} was written by an older version. Run the connectivity stage again.")
        index = dataset.indexes["subject"]
        if subjects is None:
            subjects = index
        elif absent := sorted(set(subjects) - set(index)):
            raise ValueError(f"{path}: no connectome of {', '.join(absent[:5])}. Run the connectivity stage again.")
        rows = index.get_indexer(list(subjects))
        values = StoredEdges(path, rows, dataset["measured"].to_numpy().astype(bool))
        return Connectomes(
            values[:] if resident else values,
            dataset["missing"].to_numpy()[rows].astype(bool),
            np.asarray(subjects).astype(str),
            dataset["node"].to_numpy().astype(str),
            dataset.attrs["measure"],
            dataset.attrs["data_hash"],
        )


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
