"""Quality of one subject's images: temporal signal-to-noise, DVARS, displacement, coverage, and a carpet plot."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import signal, sparse

from dysconnect.atlas import SYSTEMS
from dysconnect.preprocess.regions import Averages
from dysconnect.report.figures import COLOURS, GREY, INK, LIGHT, PAGE, styled

SPIKE = 0.5  # mm of framewise displacement (Power et al. 2012)
ROWS, COLUMNS = 300, 600  # of a carpet, at most
FEWEST = 20  # rows of a group, so that a nucleus is seen beside the cortex
LEVELS = 9  # of grey: noise in more of them fills a file and shows nothing
REST = "outside the atlas"


@dataclass(frozen=True)
class Carpet:
    """Signals over time as rows of a picture.

    Attributes
    ----------
    values : array, [R, T]
        Without trend, standard deviation one.
    groups : tuple of str, [R]
        What each row belongs to; rows of one group stand together.
    """

    values: np.ndarray
    groups: tuple[str, ...]


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
        return Carpet(_standardised(np.array(self._rows).T), self._groups)


def region_carpet(series: np.ndarray, nodes: pd.DataFrame) -> Carpet:
    """Carpet of regions, grouped by system; those without signal are left out.

    Parameters
    ----------
    series : array, [T, N]
        Before or after denoising.
    nodes : DataFrame, [N rows]
        With `system`.
    """
    order = [k for system in SYSTEMS for k in np.flatnonzero(nodes["system"] == system) if np.ptp(series[:, k]) > 0]
    return Carpet(_standardised(series[:, order].T), tuple(nodes["system"].iloc[order]))


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


@styled
def carpet_figure(
    carpets: Mapping[str, Carpet],
    seconds: float,
    displacement: np.ndarray | None = None,
    dvars: np.ndarray | None = None,
) -> Figure:
    """Traces of motion above carpets of signal, on one axis of time.

    Parameters
    ----------
    carpets : mapping of str to Carpet
        By title, from above: the whole brain; or regions before and after denoising.
    seconds : float
        Repetition time.
    displacement : array, optional, [T]
        Framewise displacement, mm.
    dvars : array, optional, [T]
        DVARS, percent.
    """
    traces = [
        (values, title, colour)
        for values, title, colour in ((displacement, "FD (mm)", COLOURS[1]), (dvars, "DVARS (%)", COLOURS[0]))
        if values is not None and np.isfinite(values).any()
    ]
    heights = [0.6] * len(traces) + [2.2] * len(carpets)
    figure = Figure(figsize=(PAGE, sum(heights) + 0.5), layout="constrained")
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    for axes, (values, title, colour) in zip(panels, traces):
        axes.plot(np.arange(len(values)) * seconds, values, color=colour, linewidth=0.8)
        axes.set(ylim=(0, None), ylabel=title)
        if title.startswith("FD"):
            axes.axhline(SPIKE, color=LIGHT, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
    for axes, (title, carpet) in zip(panels[len(traces) :], carpets.items()):
        _draw_carpet(axes, carpet, title, seconds)
    panels[-1].set_xlabel("Time (s)")
    figure.align_ylabels(panels)
    return figure


def write_picture(brain: Brain, displacement: np.ndarray | None, seconds: float, path: str | Path) -> None:
    """Write the carpet plot of a subject's brain as PNG, below 150 kB."""
    figure = carpet_figure({"Brain": brain.carpet()}, seconds, displacement, brain.dvars())
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
        own = np.flatnonzero(system == name)
        count = min(len(own), max(FEWEST, int((ROWS - FEWEST * len(order)) * len(own) / len(system))))
        rows.append(len(groups) + np.arange(len(own)) * count // len(own))
        columns.append(own)
        groups += [name] * count
    row, column = np.concatenate(rows), np.concatenate(columns)
    weight = 1 / np.bincount(row)[row]
    return sparse.csr_array((weight, (row, column)), shape=(len(groups), shares.shape[1])), tuple(groups)


def _standardised(rows: np.ndarray) -> np.ndarray:
    """Rows [R, T] without linear trend, standard deviation one; zero where they do not vary."""
    values = signal.detrend(rows, axis=1) if rows.shape[1] > 1 else np.zeros_like(rows, float)
    spread = values.std(axis=1, keepdims=True)
    return np.divide(values, spread, out=np.zeros_like(values), where=spread > 1e-9 * np.abs(rows).max())


def _shrunk(values: np.ndarray) -> np.ndarray:
    """Average neighbouring volumes of a carpet [R, T] until at most `COLUMNS` remain."""
    step = -(-values.shape[1] // COLUMNS)
    starts = np.arange(0, values.shape[1], step)
    return np.add.reduceat(values, starts, axis=1) / np.diff(np.append(starts, values.shape[1]))


def _draw_carpet(axes: Axes, carpet: Carpet, title: str, seconds: float) -> None:
    n_rows, n_volumes = carpet.values.shape
    extent = (-seconds / 2, (n_volumes - 0.5) * seconds, n_rows, 0)
    axes.imshow(
        _shrunk(carpet.values), cmap=matplotlib.colormaps["gray"].resampled(LEVELS), vmin=-2, vmax=2, aspect="auto",
        interpolation="nearest", extent=extent,
    )  # fmt: skip
    names = list(dict.fromkeys(carpet.groups))
    edges = np.cumsum([0, *[carpet.groups.count(name) for name in names]])
    for k, name in enumerate(names):
        colour = COLOURS[k % len(COLOURS)] if name != REST else GREY
        axes.plot([-0.008] * 2, edges[k : k + 2], color=colour, linewidth=4, clip_on=False, solid_capstyle="butt",
                  transform=axes.get_yaxis_transform())  # fmt: skip
    axes.set_yticks((edges[:-1] + edges[1:]) / 2, [name.replace("_", " ") for name in names])
    axes.tick_params(axis="y", length=0, pad=6)
    for edge in edges[1:-1]:
        axes.axhline(edge, color=INK, linewidth=0.5)
    axes.set_ylim(n_rows, 0)
    axes.set_title(title, loc="left")
    axes.spines[:].set_visible(False)


def _rounded(value: float | int | None) -> float | int | None:
    if value is None or not np.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.5g}")
