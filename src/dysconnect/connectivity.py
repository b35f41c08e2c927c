"""Stage `connectivity`: one labelled file of connectomes a measure."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from joblib import Parallel, delayed
from nilearn.connectome import ConnectivityMeasure
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from threadpoolctl import threadpool_limits

from dysconnect import __version__
from dysconnect.atlas import edge_index
from dysconnect.participants import read_participants, with_labels
from dysconnect.progress import track
from dysconnect.series import has_signal, read_series
from dysconnect.train.estimators import Cohort

KINDS = {"correlation": "correlation", "partial": "partial correlation", "covariance": "covariance"}
ESTIMATORS = {"empirical": EmpiricalCovariance, "ledoit_wolf": LedoitWolf}


@dataclass(frozen=True)
class Connectomes:
    """Connectomes of a cohort in memory.

    Attributes
    ----------
    values : array of float32, [S, E]
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
        done = list(track(results, f"{measure} connectomes", total=len(index)))
    values = np.stack([edges for edges, _ in done])
    missing = np.stack([dead for _, dead in done])
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
    digest = hashlib.sha256(values.tobytes() + "\n".join([*subjects, *names]).encode()).hexdigest()
    return Connectomes(values, missing, subjects, names, measure, digest)


def write_connectomes(connectomes: Connectomes, path: str | Path, attributes: dict) -> None:
    """Write one labelled HDF5 file: dims `subject`, `edge`; both nodes' names; float32; provenance."""
    measured = connectomes.values.any(0)  # no measured connection is exactly zero in everybody
    rows, cols = edge_index(len(connectomes.nodes), diagonal=connectomes.measure == "covariance")
    dataset = xr.Dataset(
        {
            "connectome": (("subject", "edge"), np.where(measured, connectomes.values, np.float32(np.nan))),
            "missing": (("subject", "node"), connectomes.missing.astype(np.int8)),
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
    chunk = (min(64, len(connectomes.subjects)), connectomes.values.shape[1])
    encoding = {"connectome": {"chunksizes": chunk, "zlib": True, "complevel": 1, "shuffle": True}}
    dataset.to_netcdf(path, engine="h5netcdf", encoding=encoding)


def open_connectomes(path: str | Path) -> xr.Dataset:
    """Open the labelled file lazily: values are read when they are asked for."""
    return xr.open_dataset(path, engine="h5netcdf")


def read_connectomes(path: str | Path, subjects: Sequence[str] | None = None) -> Connectomes:
    """Read the connectomes of some subjects (all by default), by name and in the order asked."""
    with open_connectomes(path) as dataset:
        if subjects is not None:
            absent = sorted(set(subjects) - set(dataset["subject"].to_numpy()))
            if absent:
                raise ValueError(f"{path}: no connectome of {', '.join(absent[:5])}. Run the connectivity stage again.")
            dataset = dataset.sel(subject=list(subjects))
        values = dataset["connectome"].to_numpy()
        values[:, np.isnan(values).all(0)] = 0
        return Connectomes(
            values,
            dataset["missing"].to_numpy().astype(bool),
            dataset["subject"].to_numpy().astype(str),
            dataset["node"].to_numpy().astype(str),
            dataset.attrs["measure"],
            dataset.attrs["data_hash"],
        )


def labelled_cohort(
    connectomes: str | Path, participants: str | Path, contrast: dict, measure: str
) -> tuple[Cohort, str]:
    """Join the included subjects of a contrast with their connectomes, by name.

    Parameters
    ----------
    connectomes, participants : path
    contrast : dict
        ``{"cases": [groups], "controls": [groups]}``.
    measure : {"correlation", "partial", "tangent"}
        What a model is to see; `tangent` is read from covariances.

    Returns
    -------
    cohort : Cohort
    data_hash : str
        Of the whole file of connectomes.
    """
    table = with_labels(read_participants(participants), contrast)
    own = read_connectomes(connectomes, table["participant_id"])
    return Cohort(table, own.values, own.missing, own.nodes, measure), own.data_hash
