"""The scans of a cohort of images: what is known of each, which are beyond the limits, and what denoising did to them.

References
----------
Power et al. (2012), doi:10.1016/j.neuroimage.2011.10.018; Parkes et al. (2018), doi:10.1016/j.neuroimage.2017.12.073;
Leys et al. (2013), doi:10.1016/j.jesp.2013.03.013.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.data.series import displacement_of, has_signal, read_index, read_series

FEWEST = 10  # volumes of a correlation, people of a median
NARROW = 0.02  # of the median: scans that differ by less are alike, however narrow their distribution
MAD = 1.4826  # standard deviations of a normal distribution in a median absolute deviation
MEASURED = (
    "volumes", "seconds", "mean_fd", "max_fd", "dvars", "tsnr", "tsnr_regions", "mean_coverage", "least_coverage",
    "silent_regions",
)  # fmt: skip
OVERLAPS = ("dice_t1w_template", "dice_bold_t1w")
EFFECTS = ("dvars_before", "dvars_after", "fd_dvars_before", "fd_dvars_after")
FILES = ("series", "quality", "engine", "confounds", "coverage", "picture", "registration")
ENGINE_FACTS = ("volumes_left_out", "slice_timing", "susceptibility", "template")


@dataclass(frozen=True)
class Limit:
    """When a scan is marked.

    Attributes
    ----------
    key : str or None
        Of section `quality`; None where the level depends on scanner and voxels too much to be known beforehand.
    sign : int
        1 where more is worse, -1 where less is.
    relative : bool
        Marked too when far from the cohort's median (`quality.max_deviation`).
    least : float
        A distance from the median up to which nothing is marked, where most scans are alike to a hair.
    """

    key: str | None
    sign: int
    relative: bool = False
    least: float = 0.0


LIMITS = {
    "mean_fd": Limit("max_mean_fd", 1),
    "spikes": Limit("max_spikes", 1),
    "dvars": Limit(None, 1, relative=True),
    "tsnr": Limit("min_tsnr", -1, relative=True),
    "silent": Limit("max_silent", 1),
    "dice_t1w_template": Limit("min_dice_template", -1),
    "dice_bold_t1w": Limit("min_dice_bold", -1),
    # of diffusion images
    "mean_displacement": Limit(None, 1, relative=True),
    "fd_dwi": Limit(None, 1, relative=True),
    "dropped_slices": Limit(None, 1, relative=True, least=0.01),
    "neighbour_correlation": Limit(None, -1, relative=True),
    "snr_b0": Limit(None, -1, relative=True),
    "fa_callosum": Limit(None, -1, relative=True),
    "regions_without_streamlines": Limit(None, 1, relative=True, least=0.05),
    "field_rms": Limit(None, 1, relative=True),
    "dice_dwi_t1w": Limit(None, -1, relative=True),
}


@dataclass(frozen=True)
class Scan:
    """What the stages before left of one scan; empty or None where there is nothing.

    Attributes
    ----------
    row : mapping
        Of the index of regional series.
    measures, engine : mapping
        Quality as `preprocess` measured it, and what its engine says it did.
    before, after : array or None, [T, N]
        Regional series before and after denoising; NaN where a volume was left out.
    displacement : array or None, [T]
        Framewise displacement, mm.
    coverage : DataFrame or None, [N rows]
        `name`, `coverage`, `voxels`, `tsnr`.
    pictures : mapping of str to path
        `brain` (carpet of voxels) and `registration`.
    """

    row: Mapping
    measures: Mapping = field(default_factory=dict)
    engine: Mapping = field(default_factory=dict)
    before: np.ndarray | None = None
    after: np.ndarray | None = None
    displacement: np.ndarray | None = None
    coverage: pd.DataFrame | None = None
    pictures: Mapping[str, Path] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Repetition time."""
        return float(self.row["repetition_time"])


@dataclass(frozen=True)
class Scans:
    """The scans of a cohort.

    Attributes
    ----------
    table : DataFrame, [n rows]
        See `scan_table`.
    coverage : DataFrame, [N rows, n columns]
        Share of every region that was measured, by name and participant; NaN for scans that failed.
    engine : mapping
        See `engine_facts`.
    """

    table: pd.DataFrame
    coverage: pd.DataFrame
    engine: Mapping


def read_scans(table: str | Path, coverage: str | Path, engine: str | Path) -> Scans:
    """Read what stage `quality` wrote about the scans."""
    people = pd.read_csv(table, sep="\t", na_values=["n/a"], keep_default_na=False)
    shares = pd.read_csv(coverage, sep="\t", na_values=["n/a"], keep_default_na=False, dtype={"name": str})
    return Scans(people, shares.set_index("name"), json.loads(Path(engine).read_text()))


def scan_rows(index: str | Path, denoised: str | Path) -> list[tuple[dict, Path, str]]:
    """Rows of the index of regional series, the folder they are relative to, and the denoised series of each ("")."""
    rows = pd.read_csv(index, sep="\t", dtype=str, keep_default_na=False)
    cleaned = read_index(denoised).set_index("participant_id")["series"].to_dict()
    return [(row, Path(index).parent, cleaned.get(row["participant_id"], "")) for row in rows.to_dict("records")]


def read_scan(row: Mapping, folder: Path, cleaned: str, nodes: pd.DataFrame) -> Scan:
    """Read one scan.

    Parameters
    ----------
    row : mapping
        Of the index of regional series.
    folder : path
        Of the index.
    cleaned : str
        Path of the denoised series; "" where there are none.
    nodes : DataFrame, [N rows]
    """
    file = {name: _located(folder, row.get(name, "")) for name in FILES}
    series = read_series(file["series"], row["key"], nodes) if file["series"] else None
    return Scan(
        row,
        json.loads(file["quality"].read_text()) if file["quality"] else {},
        json.loads(file["engine"].read_text()) if file["engine"] else {},
        series,
        _read_denoised(Path(cleaned), nodes, len(series)) if cleaned and series is not None else None,
        _displacement(file["confounds"], series),
        pd.read_csv(file["coverage"], sep="\t", na_values=["n/a"], keep_default_na=False) if file["coverage"] else None,
        {name: file[key] for name, key in (("brain", "picture"), ("registration", "registration")) if file[key]},
    )


def _located(folder: Path, cell: str) -> Path | None:
    """A file named by the index, relative to it or to where the workflow runs; None where none is named."""
    if not cell:
        return None
    return folder / cell if (folder / cell).exists() else Path(cell)


def _read_denoised(path: Path, nodes: pd.DataFrame, n_volumes: int) -> np.ndarray:
    """Denoised series on the axis of time of the scan, [T, N]; NaN where a volume was left out."""
    censored = json.loads(path.with_suffix(".json").read_text())["CensoredVolumes"]
    kept = ~np.isin(np.arange(n_volumes), censored)
    values = np.full((n_volumes, len(nodes)), np.nan)
    values[kept] = read_series(path, "", nodes)
    return values


def _displacement(path: Path | None, series: np.ndarray | None) -> np.ndarray | None:
    """Displacement by a table that is still there: results may have been moved to where the images are not."""
    return displacement_of(path, len(series)) if path and path.exists() and series is not None else None


def regional_dvars(series: np.ndarray) -> np.ndarray:
    """DVARS of regional series in standard deviations of the regions, so that before and after compare.

    Parameters
    ----------
    series : array, [T, N]
        NaN where a volume was left out.

    Returns
    -------
    array, [T]
        Root mean square over regions with signal of the change from the volume before (Power et al. 2012), each region
        without trend and with standard deviation one: white noise has 1.41. NaN for the first volume, and for those
        that were left out or follow one.
    """
    known = np.flatnonzero(np.isfinite(series).all(1))
    values = np.full(series.shape, np.nan)
    if len(known) > 2:
        design = np.stack([np.ones(len(known)), known - known.mean()], axis=1)
        residual = series[known] - design @ np.linalg.lstsq(design, series[known], rcond=None)[0]
        values[known] = residual / np.where(has_signal(series[known]), residual.std(0), np.inf)
    alive = has_signal(series[known]) if len(known) else np.zeros(series.shape[1], bool)
    if not alive.any():
        return np.full(len(series), np.nan)
    return np.append(np.nan, np.sqrt((np.diff(values[:, alive], axis=0) ** 2).mean(1)))


def denoising_effect(scan: Scan) -> dict[str, float]:
    """What denoising did to a scan, by numbers.

    Returns
    -------
    dict
        `dvars_before`, `dvars_after`: mean of `regional_dvars`; `fd_dvars_before`, `fd_dvars_after`: its correlation
        over time with framewise displacement, which motion raises (Power et al. 2012; Parkes et al. 2018), after
        denoising over the volumes that are kept. NaN where unknown.
    """
    effect = dict.fromkeys(EFFECTS, np.nan)
    for name, series in (("before", scan.before), ("after", scan.after)):
        if series is None or scan.after is None:
            continue
        change = regional_dvars(series)
        if np.isfinite(change).any():
            effect[f"dvars_{name}"] = float(np.nanmean(change))
        if scan.displacement is not None:
            effect[f"fd_dvars_{name}"] = _correlation(scan.displacement, change)
    return effect


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    known = np.isfinite(one) & np.isfinite(other)
    if known.sum() < FEWEST or min(np.ptp(one[known]), np.ptp(other[known])) == 0:
        return np.nan
    return float(np.corrcoef(one[known], other[known])[0, 1])


def scan_table(scans: Iterable[Scan], participants: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """Put what is known of every scan into tables.

    Parameters
    ----------
    scans : iterable of Scan
        Read one by one: the series of a cohort need not fit in memory.
    participants : DataFrame
        After the `timeseries` stage.

    Returns
    -------
    table : DataFrame, [n rows]
        `participant_id`, `group`, `included`; `volumes`, `seconds`, `mean_fd`, `max_fd` (mm), `spikes` (share of the
        volumes beyond 0.5 mm), `censored` (share left out), `dvars` (percent), `tsnr`, `tsnr_regions`, `mean_coverage`,
        `least_coverage`, `silent_regions` (number), `silent` (share); the engine's `dice_t1w_template` and
        `dice_bold_t1w`; those of `denoising_effect`; `note`, `problem`, `exclusion_reason`. NaN where unknown.
    coverage : DataFrame, [N rows, n columns]
    engine : dict
        See `engine_facts`.
    """
    people = participants.set_index("participant_id")
    rows, shares, engines = [], {}, []
    for scan in scans:
        name = scan.row["participant_id"]
        rows.append(_scan_row(scan, people.loc[name]))
        coverage = None if scan.coverage is None else scan.coverage.set_index("name")["coverage"]
        shares[name] = pd.Series(dtype=float) if coverage is None else coverage
        engines += [scan.engine] if scan.engine else []
    return pd.DataFrame(rows), pd.DataFrame(shares).rename_axis("name"), engine_facts(engines)


def _scan_row(scan: Scan, person: pd.Series) -> dict:
    measured = {name: scan.measures.get(name) for name in MEASURED}
    numbers = {name: np.nan if value is None else float(value) for name, value in measured.items()}
    if not np.isfinite(numbers["mean_fd"]):
        numbers["mean_fd"] = float(person["mean_fd"])
    volumes, spikes = scan.measures.get("volumes"), scan.measures.get("spikes")
    regions = np.nan if scan.coverage is None else len(scan.coverage)
    left_out = np.nan if scan.after is None else float(np.isnan(scan.after).all(1).mean())
    overlaps = {name: scan.engine.get("measures", {}).get(name, np.nan) for name in OVERLAPS}
    return {
        "participant_id": scan.row["participant_id"],
        "group": person["group"],
        "included": bool(person["included"]),
        **numbers,
        "spikes": np.nan if spikes is None else spikes / volumes,
        "censored": left_out,
        "silent": numbers["silent_regions"] / regions,
        **overlaps,
        **denoising_effect(scan),
        **{name: scan.row.get(name, "") for name in ("note", "problem")},
        "exclusion_reason": person["exclusion_reason"] if isinstance(person["exclusion_reason"], str) else "",
    }


def engine_facts(engines: Sequence[Mapping]) -> dict:
    """Sum up what the engine says it did: `people`, and for each fact how many people have which answer.

    Parameters
    ----------
    engines : sequence of mapping
        Of everybody whom an engine tells of: `volumes_left_out`, `slice_timing`, `susceptibility`, `template`.
    """
    counts = {name: Counter(_word(engine[name]) for engine in engines if name in engine) for name in ENGINE_FACTS}
    return {"people": len(engines), **{name: dict(count.most_common()) for name, count in counts.items() if count}}


def _word(answer: object) -> str:
    return ("yes" if answer else "no") if isinstance(answer, bool) else str(answer)


def limits(table: pd.DataFrame, spec: Mapping) -> dict[str, float]:
    """Where each measure of `LIMITS` is marked: the stricter of its limit and its distance from the cohort's median.

    Parameters
    ----------
    table : DataFrame, [n rows]
    spec : mapping
        The `quality` section.

    Returns
    -------
    dict of str to float
        Of the measures of the table; NaN where one has no limit, or too few scans tell one.
    """
    levels = {}
    for name, limit in _limits_of(table):
        candidates = [np.nan if limit.key is None else limit.sign * float(spec[limit.key])]
        if limit.relative:
            candidates.append(_far(limit.sign * table[name].to_numpy(float), spec["max_deviation"], limit.least))
        known = [level for level in candidates if np.isfinite(level)]
        levels[name] = limit.sign * min(known) if known else np.nan
    return levels


def marked(table: pd.DataFrame, spec: Mapping) -> pd.DataFrame:
    """Which measures of which scans are beyond the limits, [n, measures] bool; what is unknown is not."""
    levels = limits(table, spec)
    beyond = {
        name: limit.sign * table[name].to_numpy(float) > limit.sign * levels[name] for name, limit in _limits_of(table)
    }
    return pd.DataFrame(beyond, index=table.index)


def _limits_of(table: pd.DataFrame) -> list[tuple[str, Limit]]:
    return [(name, limit) for name, limit in LIMITS.items() if name in table]


def _far(values: np.ndarray, deviations: float, least: float) -> float:
    """So many robust standard deviations above the median (Leys et al. 2013); NaN where few are known."""
    known = values[np.isfinite(values)]
    if len(known) < FEWEST:
        return np.nan
    middle = np.median(known)
    spread = max(MAD * np.median(np.abs(known - middle)), NARROW * abs(middle))
    return float(middle + max(deviations * spread, least))
