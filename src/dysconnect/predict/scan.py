"""One person's scan as the models take it: denoised regional series (as such, or from an image), or a matrix."""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.data.edges import measure_pairs
from dysconnect.data.estimate import connectome
from dysconnect.data.matrices import CONTENTS, Connections, read_connections
from dysconnect.data.measures import measure_of
from dysconnect.data.series import has_signal, read_series
from dysconnect.data.timing import Timing
from dysconnect.denoising.checks import check_connections, check_map, check_series, mean_displacement, usable_confounds
from dysconnect.denoising.projection import plan
from dysconnect.predict.bundle import Bundle
from dysconnect.problems import reason
from dysconnect.reading.bids import read_sidecars
from dysconnect.reading.repetition import sidecar_seconds


class ScanError(ValueError):
    """The scan cannot be used at all; the message says why and what to do."""


@dataclass(frozen=True)
class Scan:
    """One person.

    Attributes
    ----------
    series : array, [T, N], or None
        Denoised, regions in the order of the bundle's atlas; a constant column is a region without signal. None where
        the person's connections came as a matrix.
    repetition_time : float
        Seconds; NaN of a matrix.
    mean_fd : float
        mm; NaN where motion is not known.
    source : dict
        `file`, `sha256`.
    notes : list of str
        What is doubtful and did not hinder.
    timing : Timing, optional
        Of the volumes, where the bundle's measures ask for it.
    connections : Connections, optional
    """

    series: np.ndarray | None
    repetition_time: float
    mean_fd: float
    source: dict
    notes: list[str]
    timing: Timing | None = None
    connections: Connections | None = None

    @property
    def volumes(self) -> int | None:
        """How many were kept."""
        return None if self.series is None else len(self.series)

    @property
    def seconds(self) -> float:
        """Length of what was kept."""
        return (self.volumes or np.nan) * self.repetition_time

    @property
    def missing(self) -> np.ndarray:
        """Regions without signal, or without any connection, [N] bool."""
        return ~has_signal(self.series) if self.connections is None else self.connections.missing

    def edges(self, stored: str, estimator: str | None) -> np.ndarray:
        """Edges of one stored measure, [E]; zero at missing regions, NaN where it has gaps and was not measured."""
        if self.connections is None:
            return connectome(self.series, stored, estimator, self.timing)
        pairs = measure_pairs(stored, len(self.missing))
        edges = pairs.edges(self.connections.values).astype(np.float32)
        return np.where(pairs.touching(self.missing), np.float32(0), edges)


def refuse_other_input(bundle: Bundle, matrix: bool) -> None:
    """Refuse a scan where the cohort came as matrices, and a matrix where it came as scans.

    Raises
    ------
    ScanError
    """
    read = bundle.about.get("matrices")
    if read and not matrix:
        content = CONTENTS[read["content"]].words
        raise ScanError(f"the cohort's connections came as matrices of {content}. Give the person's with --matrix.")
    if matrix and not read:
        raise ScanError(
            "the cohort's connections are computed from series, and those of a matrix may be computed otherwise. Give "
            "--series or --bold."
        )


def scan_from_matrix(path: str | Path, labels: str | Path | None, bundle: Bundle) -> Scan:
    """Read a matrix of connections as those of the cohort were read: rows by their names.

    Parameters
    ----------
    path : path
        ``.npy``, ``.mat``, ``.tsv``, ``.csv``, ``.txt`` or ``.gii``.
    labels : path, optional
        Table of the names of its rows, where the matrix has none.
    bundle : Bundle

    Raises
    ------
    ScanError
    """
    refuse_other_input(bundle, matrix=True)
    for file in filter(None, (path, labels)):
        _refuse_absent(file)
    entry = {**bundle.about["matrices"], "matrix": str(path), "labels": str(labels or "")}
    with _usable(bundle):
        connections = read_connections(entry, bundle.nodes)
        check_connections(connections.missing, bundle.about["denoise"])
    notes = [connections.note] if connections.note else []
    return Scan(None, float("nan"), float("nan"), _source(Path(path)), notes, connections=connections)


def scan_from_series(path: str | Path, confounds: str | Path | None, bundle: Bundle) -> Scan:
    """Read regional series as the stage `timeseries` writes them.

    Where the sidecar says that nothing was denoised yet (no `Denoising`) and a confounds table is given, the series are
    denoised as those of the cohort were; else the table tells motion only.

    Parameters
    ----------
    path : path
        ``.tsv`` with the atlas's region names in its first line; beside it a ``.json`` with `RepetitionTime`.
    confounds : path, optional
        Table of fMRIPrep.
    bundle : Bundle

    Raises
    ------
    ScanError
    """
    refuse_other_input(bundle, matrix=False)
    path = Path(path)
    about = _sidecar(path)
    timing = _timing(about, path.name, bundle)
    names = bundle.nodes[["name"]].assign(node=bundle.nodes["name"])  # numbers as names fit any atlas
    with _usable(bundle):
        series = read_series(path, "", names)
    table = _confounds(confounds, len(series) if "Denoising" not in about else None, bundle)
    notes = _denoised_alike(about.get("Denoising"), bundle.about["denoise"], table is not None)
    _check(series, about["RepetitionTime"], bundle)
    if "Denoising" not in about and table is not None:
        _refuse_task(bundle)
        series = _denoise(series, table, about["RepetitionTime"], bundle)
    return Scan(series, about["RepetitionTime"], _mean_fd(table), _source(path), notes, timing)


def scan_from_table(table: pd.DataFrame, repetition_time: float, bundle: Bundle) -> Scan:
    """Take denoised regional series from a table [T, N] with the regions' names; whoever gives it vouches for it.

    Raises
    ------
    ScanError
    """
    refuse_other_input(bundle, matrix=False)
    _timing({}, "the table", bundle)
    absent = [name for name in bundle.nodes["name"] if name not in table]
    if absent:
        raise ScanError(
            f"the table lacks {len(absent)} of the atlas's {len(bundle.nodes)} regions (first: {absent[0]})."
        )
    series = table[bundle.nodes["name"].tolist()].to_numpy(float)
    _check(series, repetition_time, bundle)
    digest = hashlib.sha256(np.ascontiguousarray(series).tobytes()).hexdigest()
    return Scan(series, float(repetition_time), float("nan"), {"file": "table", "sha256": digest}, [])


def scan_from_bold(bold: str | Path, confounds: str | Path, mask: str | Path | None, bundle: Bundle) -> Scan:
    """Average an image in the atlas's space over its regions, and denoise as those of the cohort were.

    Parameters
    ----------
    bold : path
        ``.nii.gz``, preprocessed, in the space of the atlas.
    confounds : path
        Table of fMRIPrep.
    mask : path, optional
        Of the brain; without it the voxels that vary count.
    bundle : Bundle

    Raises
    ------
    ScanError
    """
    from dysconnect.data.images.regions import regional_series
    from dysconnect.data.images.spaces import refuse_other_space, space_of

    refuse_other_input(bundle, matrix=False)
    _refuse_task(bundle)
    _timing({}, Path(bold).name, bundle)
    if bundle.about["surface"]:
        raise ScanError("the cohort's cortex was averaged over a surface, which this image is not. Give --series.")
    for path in filter(None, (bold, mask)):
        _refuse_absent(path)
    with tempfile.TemporaryDirectory() as folder, _usable(bundle):
        refuse_other_space(space_of(bold), bundle.about["atlas"].get("space"), Path(bold).name)
        image = None
        if "atlas_image" in bundle.arrays:
            image = Path(folder) / "atlas.nii.gz"
            image.write_bytes(bundle.arrays["atlas_image"].tobytes())
        averages = regional_series(bold, mask, bundle.nodes, image, bundle.about["min_coverage"])
    table = _confounds(confounds, len(averages.series), bundle)
    _check(averages.series, averages.repetition_time, bundle)
    series = _denoise(averages.series, table, averages.repetition_time, bundle)
    return Scan(series, averages.repetition_time, _mean_fd(table), _source(Path(bold)), list(averages.notes))


def _sidecar(path: Path) -> dict:
    """What the file beside the series says; its repetition time must be there."""
    beside = path.with_suffix(".json")
    if not path.is_file():
        raise ScanError(f"{path}: no such file of series.")
    if not beside.is_file():
        raise ScanError(
            f'{beside} is missing: it must tell the time between volumes, {{"RepetitionTime": 2.0}} in seconds. The '
            "stage `timeseries` writes it."
        )
    try:
        about, origins = read_sidecars([beside])
        seconds = sidecar_seconds(about, origins)
    except ValueError as error:
        raise ScanError(f"{beside.parent}: {error}.") from error
    if seconds is None:
        raise ScanError(f"{beside} has no RepetitionTime in seconds; add it.")
    return {**about, "RepetitionTime": seconds}


def _timing(about: Mapping, name: str, bundle: Bundle) -> Timing | None:
    """When the volumes were taken and what the person did, where a measure of the bundle asks for it."""
    if not any(measure_of(bundle.about[name]).timed for name in ("stored", "norm_measure")):
        return None
    wanted = ("NumberOfVolumes", "CensoredVolumes", "TaskLoad", "Activation")
    absent = [key for key in wanted if key not in about]
    if absent:
        raise ScanError(
            f"{name}: nothing gives {', '.join(absent)}, and connectivity={bundle.about['stored']} needs it. {STAGE}"
        )
    return Timing.of(about, name)


def _refuse_task(bundle: Bundle) -> None:
    """Refuse to denoise a scan without the events, where the cohort's responses to a task were taken out."""
    if bundle.about["denoise"].get("task"):
        raise ScanError(
            f"the responses to a task were taken out of the cohort's series, which takes the events. {STAGE}"
        )


STAGE = (
    "Give --series as the workflow writes them (results/DATASET/timeseries/), with the .json beside: run its stage "
    "`timeseries` on the person's scan and events."
)


@contextmanager
def _usable(bundle: Bundle) -> Iterator[None]:
    """Whatever the files of a scan raise is why it cannot be used, as of a person of a cohort.

    The workflow's remedy is left out: the model's limits are those of its cohort.
    """
    try:
        yield
    except Exception as error:
        why, cut, _ = reason(error).partition("; set denoise.")
        more = "The model was trained on no such scan" if cut else ""
        if "atlas" in why:
            more = f"This model knows the atlas {bundle.about['atlas']['title']}"
        if "dataset." in why:
            more = "Keys of dataset are the workflow's: a matrix is read as the cohort's, or named by --labels"
        raise ScanError(f"{'. '.join(filter(None, (why, more)))}.") from error


def _refuse_absent(path: str | Path) -> None:
    if not Path(path).exists():
        raise ScanError(f"{path}: no such file.")


def _confounds(path: str | Path | None, n_volumes: int | None, bundle: Bundle) -> pd.DataFrame | None:
    """Read a confounds table; with as many rows as the scan has volumes, where they belong together."""
    if path is None:
        return None
    _refuse_absent(path)
    with _usable(bundle):
        return usable_confounds(path, n_volumes)


def _mean_fd(table: pd.DataFrame | None) -> float:
    return float("nan") if table is None else mean_displacement(table)


def _denoised_alike(denoising: Mapping | None, cohort: Mapping, confounds: bool) -> list[str]:
    """Refuse series that were denoised in another way than those of the cohort; say where that is not known."""
    if denoising is None:
        if confounds:
            return []
        raise ScanError(
            "the sidecar does not say how the series were denoised (Denoising). Give the confounds table with "
            "--confounds, and they are denoised as those of the cohort were."
        )
    judged = {"name", "min_seconds", "min_degrees_of_freedom", "max_mean_fd", "max_missing_regions"}  # touch no number
    different = [key for key in sorted(set(cohort) - judged) if denoising.get(key) != cohort[key]]
    if different:
        said = ", ".join(f"{key} {denoising.get(key)} instead of {cohort[key]}" for key in different)
        raise ScanError(f"the series were denoised otherwise than the cohort's ({said}). Denoise them alike.")
    return []


def _check(series: np.ndarray, repetition_time: float, bundle: Bundle) -> None:
    with _usable(bundle):
        check_series(series, repetition_time, bundle.about["denoise"])


def _denoise(series: np.ndarray, table: pd.DataFrame, repetition_time: float, bundle: Bundle) -> np.ndarray:
    spec = bundle.about["denoise"]
    with _usable(bundle):
        denoising = plan(series, table, repetition_time, spec)
        check_map(denoising, repetition_time, spec)
        return denoising.clean(series)


def _source(path: Path) -> dict:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return {"file": path.name, "sha256": digest.hexdigest()}


def silent_regions(scan: Scan, nodes: pd.DataFrame) -> list[str]:
    """Names of the regions without signal."""
    return nodes["name"][scan.missing].tolist()
