"""Quality of one subject's images: temporal signal-to-noise, DVARS, displacement, coverage, and a carpet's rows."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from dysconnect.data.atlas import SYSTEMS
from dysconnect.data.images.regions import Averages
from dysconnect.paper.carpet import REST, SPIKE, Carpet, Trace, carpet_figure, motion_trace, standardised

ROWS = 300  # of a carpet, at most
FEWEST = 20  # rows of a group, so that a nucleus is seen beside the cortex


class Brain:
    """What passes by while a run is averaged: change from volume to volume, and the rows of a carpet plot.

    Parameters
    ----------
    nodes : DataFrame, [N rows]
        With `system`; rows of the carpet are grouped by it.

    Attributes
    ----------
    change : list of float, [T]
        Root mean square over the brain's voxels of the difference from the volume before, in the image's units; NaN for
        the first (DVARS; Power et al. 2012, doi:10.1016/j.neuroimage.2011.10.018).
    level : list of float, [T]
        Mean over the brain.
    n_voxels : int
        Voxels of the brain.
    """

    def __init__(self, nodes: pd.DataFrame):
        self._systems = nodes["system"].to_numpy(str) if "system" in nodes else np.full(len(nodes), "regions")
        self.change: list[float] = []
        self.level: list[float] = []
        self.n_voxels = 0
        self._rows: list[np.ndarray] = []
        self._before = np.empty(0)

    def start(self, shares: sparse.csr_array) -> None:
        """Choose the rows of the carpet by the share of every voxel in every region, [N, V]."""
        self.n_voxels = shares.shape[1]
        self._picture, self._groups = _carpet_rows(shares, self._systems)

    def add(self, values: np.ndarray) -> None:
        """Take the next volume, [V]."""
        if len(self._before):
            step = values - self._before
            step *= step
            self.change.append(float(np.sqrt(step.mean())))
        else:
            self.change.append(np.nan)
        self.level.append(float(values.mean()))
        self._rows.append(self._picture @ values)
        self._before = values

    def dvars(self) -> np.ndarray:
        """DVARS in percent of the brain's mean, [T]; the first is NaN."""
        level = abs(float(np.mean(self.level)))
        return 100 * np.array(self.change) / level if level else np.full(len(self.change), np.nan)

    def carpet(self) -> Carpet:
        """Carpet of the whole brain (Power 2017, doi:10.1016/j.neuroimage.2016.08.009)."""
        return Carpet(standardised(np.array(self._rows).T), self._groups)


def subject_measures(
    averages: Averages, brain: Brain, displacement: np.ndarray | None, min_coverage: float
) -> dict[str, float | int | None]:
    """Put one subject's quality into one row.

    Parameters
    ----------
    averages : Averages
    brain : Brain
        That watched the same run.
    displacement : array or None, [T]
        Framewise displacement, mm.
    min_coverage : float
        Share of a region's volume that must be there.

    Returns
    -------
    dict
        `volumes`, `seconds`, `brain_voxels`, `tsnr` (mean over the brain), `tsnr_regions` (median over regions),
        `dvars` (mean, percent of the brain's mean signal), `mean_fd` and `max_fd` (mm), `spikes` (volumes beyond
        0.5 mm), `mean_coverage`, `least_coverage`, `silent_regions`. None where it cannot be known.
    """
    moved = np.full(1, np.nan) if displacement is None else displacement
    moved = moved[np.isfinite(moved)]
    measures = {
        "volumes": len(averages.series),
        "seconds": len(averages.series) * averages.repetition_time,
        "brain_voxels": brain.n_voxels,
        "tsnr": averages.brain_tsnr,
        "tsnr_regions": float(np.nanmedian(averages.tsnr)),
        "dvars": float(brain.dvars()[1:].mean()) if len(brain.change) > 1 else None,
        "mean_fd": float(moved.mean()) if len(moved) else None,
        "max_fd": float(moved.max()) if len(moved) else None,
        "spikes": int((moved > SPIKE).sum()) if len(moved) else None,
        "mean_coverage": float(averages.coverage.mean()),
        "least_coverage": float(averages.coverage.min()),
        "silent_regions": int((averages.coverage < min_coverage).sum()),
    }
    return {name: _rounded(value) for name, value in measures.items()}


def write_picture(brain: Brain, displacement: np.ndarray | None, seconds: float, path: str | Path) -> None:
    """Write the carpet plot of a subject's brain as PNG, below 150 kB."""
    traces = [motion_trace(displacement), Trace("DVARS (%)", {"": brain.dvars()})]
    figure = carpet_figure({"Brain": brain.carpet()}, seconds, traces)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def _carpet_rows(shares: sparse.csr_array, systems: np.ndarray) -> tuple[sparse.csr_array, tuple[str, ...]]:
    """Averaging of voxels into rows, [R, V]: neighbours of one system, each system by its size but never unseen."""
    system = np.full(shares.shape[1], REST, dtype=object)
    for name in SYSTEMS[::-1]:  # cortex last: it wins where a voxel touches several
        system[shares[systems == name].indices] = name
    order = [name for name in (*SYSTEMS, REST) if (system == name).any()]
    if not len(order) > 1:  # a table without systems
        system[shares.indices] = "regions"
        order = [name for name in ("regions", REST) if (system == name).any()]
    rows, columns, groups = [], [], []
    for name in order:
        members = np.flatnonzero(system == name)
        count = min(len(members), max(FEWEST, int((ROWS - FEWEST * len(order)) * len(members) / len(system))))
        rows.append(len(groups) + np.arange(len(members)) * count // len(members))
        columns.append(members)
        groups += [name] * count
    row, column = np.concatenate(rows), np.concatenate(columns)
    weight = 1 / np.bincount(row)[row]
    return sparse.csr_array((weight, (row, column)), shape=(len(groups), shares.shape[1])), tuple(groups)


def _rounded(value: float | int | None) -> float | int | None:
    if value is None or not np.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.5g}")
