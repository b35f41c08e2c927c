"""The file of connectomes of a cohort and a measure: written whole, read in parts, compared with what was written."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import h5py
import numpy as np
import pandas as pd

from dysconnect.data.edges import Pairs, blocks, lacking, measure_pairs
from dysconnect.data.measures import measure_of
from dysconnect.keeping.sealed import NotAsWrittenError, remedy
from dysconnect.keeping.whole import whole_file
from dysconnect.version import __version__

if TYPE_CHECKING:  # who reads with h5py need not wait for them
    import h5netcdf
    import xarray as xr

# Windows of time would be one more dimension, `window`, between these two, and one more label of DIMENSIONS: the second
# in which each begins. A cohort would hold one window of everybody: whatever takes edges takes [n, E].
VALUES = ("subject", "edge")
DIMENSIONS = {
    "subject": ("subject",), "node": ("node",), "node_a": ("edge",), "node_b": ("edge",),
    "missing": ("subject", "node"), "measured": ("edge",),
}  # fmt: skip
BESIDE = {
    "quantity": ("quantity",),
    "regional": ("subject", "quantity", "node"),
}  # where a measure says more of regions

KINDS = ("directed", "zero_measured")  # attributes of a file of such connectomes; others have neither

CHUNK = 1e5  # bytes that are read together: about one person of 200 regions, so that any few are cheap to read
PACKED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}  # of what has many zeros, as streamlines have


@dataclass(frozen=True)
class Connectomes:
    """Connectomes of a cohort.

    Attributes
    ----------
    values : array of float32, [S, E], or StoredEdges
        Fisher z (correlation, partial) or covariance with its diagonal, in the order of `pairs`; zero where missing.
        NaN in the file, and zero here, is a connection that was measured in nobody; NaN here as well is one that a
        person lacks, of a measure that has `gaps`.
    missing : array of bool, [S, N]
        Regions without signal: their edges are not known, and are filled in inside each training fold.
    subjects, nodes : array of str
        Participant ids [S] and region names [N].
    measure : str
    data_hash : str
        SHA-256 over the values and names.
    directed : bool
        Whether the edge from a to b is another than that from b to a.
    zero_measured : bool
        Whether zero is a value as any other, as a count of fibres is. If not, zero in everybody stands for a
        connection that was measured in nobody, unless `measured` says otherwise.
    measured : array of bool, [E], optional
        Connections that were measured in somebody; those of a file are always known.
    regional : dict of str to array of float32, [S, N]
        What the measure says of every region beside connections.
    scan_means : dict of str to float
        Means over everybody of the file of what the measure says of a scan as a whole.
    """

    values: np.ndarray
    missing: np.ndarray
    subjects: np.ndarray
    nodes: np.ndarray
    measure: str
    data_hash: str
    directed: bool = False
    zero_measured: bool = False
    measured: np.ndarray | None = None
    regional: Mapping[str, np.ndarray] = field(default_factory=dict)
    scan_means: Mapping[str, float] = field(default_factory=dict)

    @property
    def pairs(self) -> Pairs:
        """Which two regions every edge joins."""
        return measure_pairs(self.measure, len(self.nodes), self.directed)

    @property
    def known(self) -> np.ndarray | None:
        """Connections that were measured in somebody, [E]; None where zero in everybody says it."""
        return self.measured if self.zero_measured else None

    def measured_edges(self) -> np.ndarray:
        """Connections that were measured in somebody, [E] bool; the values are read in blocks, where they must be."""
        if self.measured is not None:
            return self.measured
        if self.zero_measured:
            return ~self._lacking_in_all()
        measured = np.zeros(self.values.shape[1], bool)  # no Fisher z or variance is exactly zero in everybody
        for part in blocks(self.values.shape):
            measured |= self.values[part].any(0)
        return measured

    def _lacking_in_all(self) -> np.ndarray:
        if not measure_of(self.measure).gaps:
            return self.pairs.touching(self.missing).all(0)
        parts = blocks(self.values.shape)
        return np.all([lacking(self.values[part], self.missing[part], self.pairs).all(0) for part in parts], axis=0)


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
    import h5netcdf

    values, measured = connectomes.values, connectomes.measured_edges()
    gaps = measure_of(connectomes.measure).gaps
    labels = _labels(connectomes, measured)
    hashes = np.empty((len(values), 32), np.uint8)
    needed = 4 * values.shape[0] * values.shape[1] * 1.01 + 64 * sum(kept.size for kept in labels.values()) + 100_000
    with whole_file(path, int(needed)) as raw, h5netcdf.File(raw, "w") as file:
        variable = _lay_out(file, connectomes, labels)
        for part in blocks(values.shape):
            known = np.where(measured, values[part], np.float32(0))
            _refuse_infinite(known, gaps, connectomes.subjects[part], path)
            hashes[part] = _person_hashes(known, connectomes.subjects[part])
            variable[part] = np.where(measured, known, np.float32(np.nan))
            raw.check()
        file.create_variable("person_hash", ("subject", "byte"), data=hashes)
        kept = {key: value if isinstance(value, str) else json.dumps(value) for key, value in attributes.items()}
        kept |= {name: "true" for name in KINDS if getattr(connectomes, name)}
        kept |= {"scan_means": json.dumps(dict(connectomes.scan_means))} if connectomes.scan_means else {}
        kept |= {"measure": connectomes.measure, "data_hash": connectomes.data_hash, "dysconnect": __version__}
        file.attrs.update(kept | {"seal": _seal(labels, hashes, kept)})


def _labels(connectomes: Connectomes, measured: np.ndarray) -> dict[str, np.ndarray]:
    """Everything of the file but the values, by the name of its variable."""
    rows, cols = connectomes.pairs.ends
    beside = connectomes.regional
    more = (
        {"quantity": np.array(list(beside), object), "regional": np.stack(list(beside.values()), 1)} if beside else {}
    )
    return {
        "subject": connectomes.subjects.astype(object),
        "node": connectomes.nodes.astype(object),
        "node_a": connectomes.nodes[rows].astype(object),
        "node_b": connectomes.nodes[cols].astype(object),
        "missing": connectomes.missing.astype(np.int8),
        "measured": measured.astype(np.int8),
        **more,
    }


def _lay_out(file: "h5netcdf.File", connectomes: Connectomes, labels: dict[str, np.ndarray]) -> "h5netcdf.Variable":
    """Write the labels; return the variable for the values."""
    n, n_edges = connectomes.values.shape
    file.dimensions = {"subject": n, "node": len(connectomes.nodes), "edge": n_edges, "byte": 32}
    if connectomes.regional:
        file.dimensions["quantity"] = len(connectomes.regional)
    for name, values in labels.items():
        kind = h5py.string_dtype() if values.dtype == object else values.dtype
        file.create_variable(name, (DIMENSIONS | BESIDE)[name], kind, data=values)
    chunk = (int(np.clip(CHUNK // (4 * n_edges), 1, max(n, 1))), n_edges)
    packed = (
        PACKED if measure_of(connectomes.measure).given else {}
    )  # of a correlation it takes 26 times as long for 12 %
    variable = file.create_variable("connectome", VALUES, np.float32, chunks=chunk, fillvalue=np.nan, **packed)
    for name in ("measured", "connectome"):
        file[name].attrs["coordinates"] = "node_a node_b"
    return variable


def _refuse_infinite(values: np.ndarray, gaps: bool, subjects: np.ndarray, path: str | Path) -> None:
    fine = (np.isfinite(values) | (np.isnan(values) & gaps)).all(1)
    if not fine.all():
        raise ValueError(f"{path}: the connectome of {subjects[~fine][0]} holds NaN or infinity; nothing is written.")


def _person_hashes(values: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    """SHA-256 of each person's name and edges [n, E], zero where nobody was measured: [n, 32]."""
    rows = np.ascontiguousarray(values)
    digests = [hashlib.sha256(str(name).encode() + b"\n" + row.data).digest() for name, row in zip(subjects, rows)]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(rows), 32)


def _seal(labels: dict[str, np.ndarray], hashes: np.ndarray, attributes: dict) -> str:
    """SHA-256 over the labels, the attributes and everybody's hash: who is who, and which edge is which."""
    digest = hashlib.sha256(json.dumps({name: str(attributes[name]) for name in sorted(attributes)}).encode())
    for name in (name for name in (*DIMENSIONS, *BESIDE) if name in labels):
        values = labels[name]
        digest.update(f"\n{name} {values.shape} ".encode())
        digest.update("\n".join(values).encode() if values.dtype == object else np.ascontiguousarray(values).data)
    digest.update(np.ascontiguousarray(hashes).data)
    return digest.hexdigest()


def open_connectomes(path: str | Path) -> "xr.Dataset":
    """Open the labelled file lazily: values are read when they are asked for."""
    import xarray as xr

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
    """Around what reads a file of connectomes: a damaged one is named as such, and how it is made again."""
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
        stored = {name: file[name] for name in (*DIMENSIONS, *BESIDE) if name in file}
        labels = {name: (column.asstr() if column.dtype == object else column)[:] for name, column in stored.items()}
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
        *(attributes.get(name) == "true" for name in KINDS),
        values.measured,
        {name: labels["regional"][rows, k] for k, name in enumerate(labels.get("quantity", ()))},
        json.loads(attributes.get("scan_means", "{}")),
    )
