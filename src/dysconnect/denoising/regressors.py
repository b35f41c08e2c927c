"""What a denoising strategy takes from the confounds table: regressors, and which volumes are kept."""

from itertools import chain

import numpy as np
import pandas as pd

from dysconnect.data.series import has_signal

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
SOURCES = {"motion": MOTION, "wm_csf": ("csf", "white_matter"), "global_signal": ("global_signal",)}
LIMITS = {"fd_threshold": "framewise_displacement", "std_dvars_threshold": "std_dvars"}
REGIONS = "regions"  # denoise.global_signal: the mean of the regions, where there is no confounds table


class UnusableError(ValueError):
    """A subject cannot be used; the message is its exclusion reason."""


def nuisance_regressors(
    series: np.ndarray, confounds: pd.DataFrame | None, kept: np.ndarray, spec: dict
) -> pd.DataFrame:
    """Collect the regressors of a strategy under fMRIPrep's names.

    Parameters
    ----------
    series : array, [T, N]
        Only read where `global_signal` is ``regions``.
    confounds : DataFrame or None, [T rows]
        With fMRIPrep's column names.
    kept : bool array, [T]
        Volumes that are not censored.
    spec : dict
        The `denoise` section: `motion`, `wm_csf`, `global_signal`, `compcor`, `n_compcor` are the arguments of
        nilearn's ``load_confounds``.

    Returns
    -------
    DataFrame, [T, P]
        No columns where the strategy asks for none.

    Raises
    ------
    UnusableError
        Names the columns that the confounds lack, and the key to set.
    """
    parts = [
        expand(columns(confounds, names, key), spec[key])
        for key, names in SOURCES.items()
        if spec[key] and spec[key] != REGIONS
    ]
    if spec["compcor"]:
        parts.append(_components(confounds, spec))
    if spec["global_signal"] == REGIONS:
        parts.append(pd.DataFrame({REGIONS: regional_mean(series, kept, spec["detrend"])}))
    return pd.concat(parts, axis=1) if parts else pd.DataFrame(index=range(len(series)))


def expand(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """Add differences in time, squares, or both with the squares of the differences.

    Parameters
    ----------
    table : DataFrame, [T, P]
    model : {"basic", "power2", "derivatives", "full"}
        P, 2 P, 2 P and 4 P columns: 6, 12, 12 and 24 of motion (Satterthwaite et al. 2013,
        doi:10.1016/j.neuroimage.2012.08.052). The first difference is zero.
    """
    values, names = table.to_numpy(float), list(table.columns)
    change, changes = np.diff(values, axis=0, prepend=values[:1]), [f"{name}_derivative1" for name in names]
    change[np.isnan(change)] = 0
    parts = {
        "basic": [(values, names)],
        "power2": [(values, names), _squares(values, names)],
        "derivatives": [(values, names), (change, changes)],
        "full": [(values, names), (change, changes), _squares(values, names), _squares(change, changes)],
    }
    blocks, named = zip(*parts[model])
    return pd.DataFrame(np.hstack(blocks), columns=list(chain.from_iterable(named)))


def _squares(values: np.ndarray, names: list[str]) -> tuple[np.ndarray, list[str]]:
    """Squares of columns [T, P], and their names."""
    return values**2, [f"{name}_power2" for name in names]


def columns(confounds: pd.DataFrame | None, names: tuple[str, ...], key: str, start: int = 0) -> pd.DataFrame:
    """Take columns that a key of the strategy needs; they must exist and be numbers from volume `start` on."""
    remedy = f"set denoise.{key}=null to go without"
    if key == "global_signal":
        remedy = f"set denoise.global_signal={REGIONS} to take the mean of the regions, or null to go without"
    if confounds is None:
        raise UnusableError(f"no confounds table to take {', '.join(names)} from; {remedy}")
    absent = [name for name in names if name not in confounds]
    if absent:
        raise UnusableError(f"confounds lack {', '.join(absent)}; {remedy}")
    table = confounds[list(names)].astype(float)
    bad = ~np.isfinite(table.to_numpy()[start:])
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise UnusableError(
            f"confounds hold no number for {names[column]} of volume {row + start + 1}; make the table again, "
            f"or {remedy}"
        )
    return table


def _components(confounds: pd.DataFrame | None, spec: dict) -> pd.DataFrame:
    """First components of anatomical CompCor, all that there are if these are fewer (Behzadi et al. 2007)."""
    if not spec["high_pass"]:
        raise UnusableError(
            "CompCor components were computed from high-passed series, and only fit such: set denoise.high_pass"
        )
    names = [] if confounds is None else [name for name in confounds if name.startswith("a_comp_cor_")]
    if spec["n_compcor"] != "all":
        names = names[: spec["n_compcor"]]
    return columns(confounds, tuple(names or ["a_comp_cor_00"]), "compcor").reset_index(drop=True)


def regional_mean(series: np.ndarray, kept: np.ndarray, detrend: bool) -> np.ndarray:
    """Mean of the regions [T], each scaled to standard deviation one over the kept volumes; zero in the others."""
    time = np.flatnonzero(kept)
    design = np.stack([np.ones(len(time)), time - time.mean()][: 1 + detrend], axis=1)
    values = series[kept][:, has_signal(series[kept])]
    values = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    shared = np.zeros(len(series))
    shared[kept] = (values / values.std(0, ddof=1)).mean(1)
    return shared


def kept_volumes(confounds: pd.DataFrame | None, n_volumes: int, spec: dict) -> np.ndarray:
    """Mark the volumes that are kept, as nilearn's ``load_confounds`` does.

    Volumes before the magnetization is steady (columns ``non_steady_state_outlierXX``) always go. Volumes above
    `fd_threshold` (mm) or `std_dvars_threshold` go, and with them every run of fewer than `scrub` volumes that is left
    between (Power et al. 2014, doi:10.1016/j.neuroimage.2013.08.048).

    Parameters
    ----------
    confounds : DataFrame or None, [T rows]
    n_volumes : int
    spec : dict
        The `denoise` section; a threshold of None is not applied.

    Returns
    -------
    bool array, [T]

    Raises
    ------
    UnusableError
        When a column is missing or no volume is left.
    """
    kept, moving = np.ones(n_volumes, bool), np.zeros(n_volumes, bool)
    if confounds is not None:
        unsteady = [name for name in confounds if name.startswith("non_steady_state_outlier")]
        kept &= ~confounds[unsteady].to_numpy(bool).any(1)
    for key, name in LIMITS.items():
        if spec[key] is not None:  # there is no displacement before the first volume
            moving |= columns(confounds, (name,), key, start=1)[name].to_numpy() > spec[key]
    kept &= ~moving
    if moving.any():
        kept = _without_short_runs(kept, spec["scrub"])
    if not kept.any():
        raise UnusableError(
            f"no volume of {n_volumes} is left after scrubbing ({limits_text(spec)}); loosen denoise.fd_threshold, "
            "denoise.std_dvars_threshold or denoise.scrub to keep it"
        )
    return kept


def _without_short_runs(kept: np.ndarray, shortest: int) -> np.ndarray:
    edges = np.flatnonzero(np.diff(kept, prepend=False, append=False)).reshape(-1, 2)
    long = np.zeros_like(kept)
    for start, end in edges[edges[:, 1] - edges[:, 0] >= shortest]:
        long[start:end] = True
    return long


def limits_text(spec: dict) -> str:
    """Say which volumes are scrubbed."""
    units = {"fd_threshold": "framewise displacement > {:g} mm", "std_dvars_threshold": "standardized DVARS > {:g}"}
    limits = [text.format(spec[key]) for key, text in units.items() if spec[key] is not None]
    return " or ".join(limits) if limits else "volumes before the steady state"
