"""What no denoising can mend: judged before it, wherever series come from."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.data.series import (
    has_signal,
    matrix_like,
    read_confounds,
    refuse_repeated,
)
from dysconnect.denoising.projection import Projection
from dysconnect.denoising.regressors import UnusableError, limits_text
from dysconnect.reading.bids import read_object
from dysconnect.reading.repetition import seconds_of


def check_series(series: np.ndarray, repetition_time: float, spec: dict) -> None:
    """Refuse what no denoising can mend: no series, NaN, too few volumes, too many regions without signal.

    Whoever brings series, from a table, an image or to be predicted, is judged here.
    """
    seconds_of(float(repetition_time), "the scan", "repetition time")
    if looks := matrix_like(series):
        raise UnusableError(f"the file of series {looks}")
    bad = ~np.isfinite(series)
    if bad.any():
        first = int(np.argmax(bad.any(1))) + 1
        raise UnusableError(
            f"{int(bad.any(1).sum())} of {len(series)} volumes hold NaN or infinity (first: volume {first}); "
            "preprocess the scan again"
        )
    seconds = len(series) * repetition_time
    if seconds < spec["min_seconds"]:
        raise UnusableError(
            f"{len(series)} volumes x {repetition_time:g} s = {seconds:.0f} s, fewer than the "
            f"{spec['min_seconds']:g} s asked; set denoise.min_seconds to keep it"
        )
    dead = 1 - has_signal(series).mean()
    if dead > spec["max_missing_regions"]:
        raise UnusableError(
            f"{dead:.0%} of the regions are constant (no signal), more than {spec['max_missing_regions']:.0%}; "
            "set denoise.max_missing_regions to keep it"
        )
    refuse_repeated(series)


def check_connections(missing: np.ndarray, spec: Mapping) -> None:
    """Refuse a matrix of which too many regions [N] have no connection."""
    if missing.mean() > spec["max_missing_regions"]:
        raise UnusableError(
            f"{missing.mean():.0%} of the regions have no connection, more than {spec['max_missing_regions']:.0%}; set "
            "denoise.max_missing_regions to keep it"
        )


def check_map(denoising: Projection, repetition_time: float, spec: dict) -> None:
    """Refuse a scan of which scrubbing leaves too few seconds, or the regressors too few degrees of freedom."""
    n_volumes, n_kept, left = len(denoising.kept), int(denoising.kept.sum()), denoising.degrees_of_freedom
    if n_kept * repetition_time < spec["min_seconds"]:
        raise UnusableError(
            f"{n_kept} of {n_volumes} volumes x {repetition_time:g} s = {n_kept * repetition_time:.0f} s are left "
            f"after scrubbing ({limits_text(spec)}), fewer than the {spec['min_seconds']:g} s asked; set "
            "denoise.min_seconds to keep it"
        )
    if left < spec["min_degrees_of_freedom"]:
        raise UnusableError(
            f"the filter and {len(denoising.regressors)} regressors leave {max(left, 0):.1f} degrees of freedom of "
            f"{n_kept} volumes, fewer than the {spec['min_degrees_of_freedom']:g} asked; take fewer regressors or a "
            "wider band, or set denoise.min_degrees_of_freedom to keep it"
        )


def usable_confounds(path: str | Path, n_volumes: int | None = None) -> pd.DataFrame:
    """Read a confounds table; of CompCor only components of the combined mask, where the sidecar tells masks apart.

    Parameters
    ----------
    path : path
    n_volumes : int, optional
        Of the scan that the table must fit.
    """
    confounds, sidecar = read_confounds(path, n_volumes), Path(path).with_suffix(".json")
    about = read_object(sidecar) if sidecar.exists() else {}
    masks = {name: _mask_of(about, name) for name in confounds if "a_comp_cor_" in name}
    return confounds.drop(columns=[name for name, mask in masks.items() if mask.lower() != "combined"])


def _mask_of(about: Mapping, name: str) -> str:
    """Mask of a component by the sidecar; combined where it does not say."""
    component = about.get(name)
    return str(component.get("Mask", "combined")) if isinstance(component, dict) else "combined"


def mean_displacement(confounds: pd.DataFrame) -> float:
    """Mean framewise displacement in mm, of all volumes: scrubbing hides motion."""
    return float(confounds["framewise_displacement"].mean())
