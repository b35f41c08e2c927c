"""Stage `connectivity`: one labelled file of connectomes a measure."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

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
from dysconnect.config import STORED
from dysconnect.models.edges import blocks
from dysconnect.participants import read_participants, with_labels
from dysconnect.problems import refuse_gone
from dysconnect.progress import track
from dysconnect.sealed import NotAsWrittenError, remedy
from dysconnect.series import has_signal, read_series, series_hash
from dysconnect.train.memory import data_memory
from dysconnect.whole import whole_file

KINDS = {"correlation": "correlation", "partial": "partial correlation", "covariance": "covariance"}
ESTIMATORS = {"empirical": EmpiricalCovariance, "ledoit_wolf": LedoitWolf}
DIMENSIONS = {
    "subject": ("subject",), "node": ("node",), "node_a": ("edge",), "node_b": ("edge",),
    "missing": ("subject", "node"), "measured": ("edge",),
}  # fmt: skip
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


def data_hash(values: "np.ndarray | StoredEdges", subjects: np.ndarray, names: np.ndarray) -> str:
    """SHA-256 over the connectomes [S, E], read in blocks, and the names of people and regions."""
    digest = hashlib.sha256()
    for part in blocks(values.shape):
        digest.update(np.ascontiguousarray(values[part]).data)
    digest.update("\n".join([*subjects, *names]).encode())
    return digest.hexdigest()


def write_connectomes(connectomes: Connectomes, path: str | Path, attributes: dict) -> None:
    """Write one labelled HDF5 file: dims `subject`, `edge`; both nodes' names; float32; provenance; what it is.

    The values are read and written in blocks of people, twice: whatever gives a block when it is sliced will do. With
    them goes a hash of every person, so that a reader of a few people can compare those, and a seal over all labels,
    attributes and hashes.

    Raises
    ------
    ValueError
        When a value is NaN or infinite.
    OSError
        When there is no room; no half file stays.
    """
    values = connectomes.values
    measured = np.zeros(values.shape[1], bool)  # no measured connection is exactly zero in everybody
    for part in blocks(values.shape):
        measured |= values[part].any(0)
    labels = _labels(connectomes, measured)
    hashes = np.empty((len(values), 32), np.uint8)
    needed = 4 * values.shape[0] * values.shape[1] * 1.01 + 64 * sum(own.size for own in labels.values()) + 100_000
    with whole_file(path, int(needed)) as raw, h5netcdf.File(raw, "w") as file:
        variable = _lay_out(file, connectomes, labels)
        for part in blocks(values.shape):
            known = np.where(measured, values[part], np.float32(0))
            _refuse_infinite(known, connectomes.subjects[part], path)
            hashes[part] = _person_hashes(known, connectomes.subjects[part])
            variable[part] = np.where(measured, known, np.float32(np.nan))
            raw.check()
        file.create_variable("person_hash", ("subject", "byte"), data=hashes)
        own = {key: value if isinstance(value, str) else json.dumps(value) for key, value in attributes.items()}
        own |= {"measure": connectomes.measure, "data_hash": connectomes.data_hash, "dysconnect": __version__}
        file.attrs.update(own | {"seal": _seal(labels, hashes, own)})


def _labels(connectomes: Connectomes, measured: np.ndarray) -> dict[str, np.ndarray]:
    """Everything of the file but the values, by the name of its variable."""
    rows, cols = edge_index(len(connectomes.nodes), diagonal=connectomes.measure == "covariance")
    return {
        "subject": connectomes.subjects.astype(object),
        "node": connectomes.nodes.astype(object),
        "node_a": connectomes.nodes[rows].astype(object),
        "node_b": connectomes.nodes[cols].astype(object),
        "missing": connectomes.missing.astype(np.int8),
        "measured": measured.astype(np.int8),
    }


def _lay_out(file: h5netcdf.File, connectomes: Connectomes, labels: dict[str, np.ndarray]) -> h5netcdf.Variable:
    """Write the labels; return the variable for the values."""
    n, n_edges = connectomes.values.shape
    file.dimensions = {"subject": n, "node": len(connectomes.nodes), "edge": n_edges, "byte": 32}
    for name, own in labels.items():
        kind = h5py.string_dtype() if own.dtype == object else own.dtype
        file.create_variable(name, DIMENSIONS[name], kind, data=own)
    chunk = (int(np.clip(CHUNK // (4 * n_edges), 1, max(n, 1))), n_edges)
    form = {"chunks": chunk, "compression": "gzip", "compression_opts": 1, "shuffle": True, "fillvalue": np.nan}
    variable = file.create_variable("connectome", ("subject", "edge"), np.float32, **form)
    for name in ("measured", "connectome"):
        file[name].attrs["coordinates"] = "node_a node_b"
    return variable


def _refuse_infinite(values: np.ndarray, subjects: np.ndarray, path: str | Path) -> None:
    fine = np.isfinite(values).all(1)
    if not fine.all():
        raise ValueError(f"{path}: the connectome of {subjects[~fine][0]} holds NaN or infinity; nothing is written.")


def _person_hashes(values: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    """SHA-256 of each person's name and edges [n, E], zero where nobody was measured: [n, 32]."""
    rows = np.ascontiguousarray(values)
    told = [hashlib.sha256(str(name).encode() + b"\n" + row.data).digest() for name, row in zip(subjects, rows)]
    return np.frombuffer(b"".join(told), np.uint8).reshape(len(rows), 32)


def _seal(labels: dict[str, np.ndarray], hashes: np.ndarray, attributes: dict) -> str:
    """SHA-256 over the labels, the attributes and everybody's hash: who is who, and which edge is which."""
    digest = hashlib.sha256(json.dumps({name: str(attributes[name]) for name in sorted(attributes)}).encode())
    for name in DIMENSIONS:
        own = labels[name]
        digest.update(f"\n{name} {own.shape} ".encode())
        digest.update("\n".join(own).encode() if own.dtype == object else np.ascontiguousarray(own).data)
    digest.update(np.ascontiguousarray(hashes).data)
    return digest.hexdigest()


def open_connectomes(path: str | Path) -> xr.Dataset:
    """Open the labelled file lazily: values are read when they are asked for."""
    return xr.open_dataset(path, engine="h5netcdf")


class StoredEdges:
    """Edges of some people in a file of connectomes, [n, E], read when rows are asked for.

    Indexed by a slice, a mask or row numbers, it returns an array of float32; what was measured in nobody is zero.
    Whoever is read is compared with the hash in the file.

    Parameters
    ----------
    path : path
        Of `write_connectomes`.
    rows : array of int, [n]
        Places of the people in the file, in the order wanted.
    measured : array of bool, [E]
    known : Known
        Names and hashes of everybody in the file.
    """

    def __init__(self, path: str | Path, rows: np.ndarray, measured: np.ndarray, known: "Known"):
        self.path, self.rows, self.measured, self.known = Path(path), np.asarray(rows), measured, known
        self.shape, self.dtype, self.ndim = (len(rows), len(measured)), np.dtype(np.float32), 2

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return str(self.path)

    def __getitem__(self, wanted: slice | np.ndarray) -> np.ndarray:
        places, back = np.unique(self.rows[wanted], return_inverse=True)
        values = np.empty((len(places), len(self.measured)), np.float32)
        ends = np.r_[0, np.flatnonzero(np.diff(places) != 1) + 1, len(places)]
        with _reading(self.path), h5py.File(self.path) as file:
            for start, stop in pairwise(ends):
                if stop > start:
                    run = np.s_[places[start] : places[stop - 1] + 1]
                    file["connectome"].read_direct(values, run, np.s_[start:stop])
        values[:, ~self.measured] = 0
        self._compare(values, places)
        return values if np.array_equal(back, np.arange(len(values))) else values[back]

    def _compare(self, values: np.ndarray, places: np.ndarray) -> None:
        """Refuse people whose edges are not those that were written."""
        same = (_person_hashes(values, self.known.subjects[places]) == self.known.hashes[places]).all(1)
        if not same.all():
            first, n = self.known.subjects[places[~same][0]], int((~same).sum())
            raise NotAsWrittenError(
                f"{self.path}: the connectome of {first}{f' and {n - 1} more' if n > 1 else ''} is not what was "
                f"written: the file was changed or is damaged. {remedy(self.path)}"
            )


class Known(NamedTuple):
    """Names of everybody in a file of connectomes, [S], and the hashes of their edges, [S, 32]."""

    subjects: np.ndarray
    hashes: np.ndarray


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Around what reads a file of connectomes: a damaged one is told as such, and how it is made again."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file of connectomes. {remedy(path)}")
    try:
        yield
    except (OSError, KeyError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno:  # the disk's or the network's, not the file's
            raise
        raise NotAsWrittenError(f"{path} cannot be read: it is cut or damaged ({error}). {remedy(path)}") from error


def _read_labels(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, str]]:
    """Labels, everybody's hash [S, 32] and attributes of a file of connectomes, compared with its seal."""
    with _reading(path), h5py.File(path) as file:
        attributes = {str(name): str(value) for name, value in file.attrs.items() if not name.startswith("_")}
        if "seal" not in attributes or {*DIMENSIONS, "person_hash", "connectome"} - set(file):
            raise NotAsWrittenError(
                f"{path} was written by an older version. Run the connectivity stage again. {remedy(path)}"
            )
        stored = {name: file[name] for name in DIMENSIONS}
        labels = {name: (own.asstr() if own.dtype == object else own)[:] for name, own in stored.items()}
        hashes, shape = file["person_hash"][:], file["connectome"].shape
    said, expected = attributes.pop("seal"), (len(labels["subject"]), len(labels["measured"]))
    if shape != expected or len(hashes) != shape[0] or _seal(labels, hashes, attributes) != said:
        raise NotAsWrittenError(
            f"{path}: its names, missing regions or attributes are not what was written: the file was changed. "
            f"{remedy(path)}"
        )
    return labels, hashes, attributes


def read_connectomes(path: str | Path, subjects: Sequence[str] | None = None, resident: bool = True) -> Connectomes:
    """Read the connectomes of some subjects (all by default), by name and in the order asked.

    Without `resident` the values stay in the file, see `StoredEdges`.

    Raises
    ------
    NotAsWrittenError
        When names, attributes or anybody's edges are not what was written: now, or when they are read.
    """
    path = Path(path)
    labels, hashes, attributes = _read_labels(path)
    everybody = labels["subject"].astype(str)
    if subjects is None:
        subjects = everybody
    elif absent := sorted(set(subjects) - set(everybody)):
        raise ValueError(f"{path}: no connectome of {', '.join(absent[:5])}. Run the connectivity stage again.")
    rows = pd.Index(everybody).get_indexer(list(subjects))
    values = StoredEdges(path, rows, labels["measured"].astype(bool), Known(everybody, hashes))
    return Connectomes(
        values[:] if resident else values,
        labels["missing"][rows].astype(bool),
        np.asarray(subjects).astype(str),
        labels["node"].astype(str),
        attributes["measure"],
        attributes["data_hash"],
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
