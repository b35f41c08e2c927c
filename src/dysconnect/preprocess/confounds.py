"""Confounds of a BOLD run, with fMRIPrep's column names: motion, displacement, DVARS, tissue signals, aCompCor."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from dysconnect.data.images.rigid import framewise_displacement

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
PLACES = {"csf": "CSF", "white_matter": "WM"}
COMPCOR = {"combined": "a", "CSF": "c", "WM": "w"}  # fMRIPrep's prefixes of the columns
PERIOD = 128.0  # s: slower than this is drift
NOISE_VOXELS = 50  # a tissue mask is eroded only while this many voxels stay
CHUNK = 20_000  # voxels


def expand_motion(parameters: np.ndarray) -> pd.DataFrame:
    """Expand motion to 24 regressors: values, backward differences and the squares of both.

    Parameters
    ----------
    parameters : array, [T, 6]

    Returns
    -------
    DataFrame, [T, 24]
        fMRIPrep's names; the first difference is NaN.

    References
    ----------
    Satterthwaite et al. 2013, doi:10.1016/j.neuroimage.2012.08.052.
    """
    columns = {}
    for name, values in zip(MOTION, np.asarray(parameters, float).T):
        change = np.r_[np.nan, np.diff(values)]
        columns |= {name: values, f"{name}_derivative1": change}
        columns |= {f"{name}_derivative1_power2": change**2, f"{name}_power2": values**2}
    return pd.DataFrame(columns)


def dvars(series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Root mean square change of intensity from volume to volume, standardised and plain.

    Parameters
    ----------
    series : array, [V, T]
        Voxels of the brain; those without variance (interquartile range zero) are left out.

    Returns
    -------
    std_dvars : array, [T]
        Divided by what a stationary first-order autoregressive process of the same robust standard deviation would
        show, averaged over voxels: about one without artefacts. The first is NaN.
    dvars : array, [T]
        In intensities scaled to a median of 1000 over the brain. The first is NaN.

    References
    ----------
    Nichols 2013, Notes on creating a standardized version of DVARS; as computed by nipype for fMRIPrep.
    """
    scale = float(np.median(series)) if len(series) else 0.0
    if not scale > 0:
        raise ValueError(f"the median intensity of the brain is {scale:g}; DVARS needs an image with positive brain")
    squares, expected, count = np.zeros(series.shape[1] - 1), 0.0, 0
    for first in range(0, len(series), CHUNK):
        part = series[first : first + CHUNK].astype(float) * (1000 / scale)
        spread = _robust_deviation(part)
        part, spread = part[spread > 0], spread[spread > 0]
        squares += (np.diff(part, axis=1) ** 2).sum(0)
        expected += (np.sqrt(2 * (1 - _lag_one(part))) * spread).sum()
        count += len(part)
    if count == 0:
        raise ValueError("no voxel of the brain varies over time; check the mask and the image")
    plain = np.sqrt(squares / count)
    return np.r_[np.nan, plain / (expected / count)], np.r_[np.nan, plain]


def cosine_regressors(n_volumes: int, repetition_time: float, period: float = PERIOD) -> np.ndarray:
    """Discrete cosines slower than a period, without the constant.

    Parameters
    ----------
    n_volumes : int
    repetition_time : float
        Seconds.
    period : float
        Seconds; longer periods are covered.

    Returns
    -------
    array, [T, K]
        Orthonormal, K = floor(2 T TR / period); none for short runs.
    """
    order = np.arange(1, int(np.floor(2 * n_volumes * repetition_time / period)) + 1)
    moments = np.arange(n_volumes)[:, None] + 0.5
    return np.sqrt(2 / n_volumes) * np.cos(np.pi / n_volumes * moments * order[: n_volumes - 1])


def erode(mask: np.ndarray, steps: int = 1) -> np.ndarray:
    """Peel voxels off a tissue mask, so that little of other tissue is in it.

    Parameters
    ----------
    mask : array of bool, [X, Y, Z]
    steps : int
        Layers; fewer where less than 50 voxels would stay (ventricles on a coarse grid).

    Returns
    -------
    array of bool, [X, Y, Z]
    """
    mask = np.asarray(mask) > 0
    for _ in range(steps):
        smaller = ndimage.binary_erosion(mask)
        if smaller.sum() < NOISE_VOXELS:
            break
        mask = smaller
    return mask


def compcor(
    series: np.ndarray, repetition_time: float, keep: int | float = 0.5, period: float = PERIOD
) -> tuple[np.ndarray, pd.DataFrame]:
    """Principal components of noise voxels: drift taken out, each voxel scaled to variance one.

    Parameters
    ----------
    series : array, [V, T]
        Voxels of white matter, CSF or both, eroded (see :func:`erode`).
    repetition_time : float
        Seconds.
    keep : int or float
        A number of components, or below one the share of the variance that they explain together.
    period : float
        Seconds; slower is drift and modelled by cosines.

    Returns
    -------
    components : array, [T, K]
        Unit length, mean zero.
    explained : DataFrame, [K rows]
        `SingularValue`, `VarianceExplained`, `CumulativeVarianceExplained`.

    References
    ----------
    Behzadi et al. 2007, doi:10.1016/j.neuroimage.2007.04.042.
    """
    volumes = series.shape[1]
    drift = np.c_[np.full(volumes, volumes**-0.5), cosine_regressors(volumes, repetition_time, period)]
    gram, varying = np.zeros((volumes, volumes)), 0
    for first in range(0, len(series), CHUNK):
        part = series[first : first + CHUNK].astype(float)
        noise = part - (part @ drift) @ drift.T
        deviation = noise.std(1, ddof=1)
        varies = deviation > 1e-6 * np.abs(part).max(1)
        noise = noise[varies] / deviation[varies, None]
        gram += noise.T @ noise
        varying += len(noise)
    if varying < 2:
        raise ValueError(
            f"aCompCor: {varying} voxels of the noise mask vary over time, at least 2 needed; check the mask"
        )
    return _leading(gram, keep, min(varying, volumes - drift.shape[1]))


def _leading(gram: np.ndarray, keep: int | float, rank: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Eigenvectors of the volumes' product matrix, as many as asked, signs fixed."""
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1][:rank].clip(min=0), vectors[:, ::-1][:, :rank]
    share = values / values.sum()
    count = int(keep) if keep >= 1 else int(np.searchsorted(np.cumsum(share), keep - 1e-12)) + 1
    vectors = vectors[:, :count]
    strongest = np.abs(vectors).argmax(0)
    vectors = vectors * np.sign(vectors[strongest, np.arange(vectors.shape[1])])
    columns = {"SingularValue": np.sqrt(values), "VarianceExplained": share}
    return vectors, pd.DataFrame(columns | {"CumulativeVarianceExplained": np.cumsum(share)})[:count]


def confounds_table(
    parameters: np.ndarray,
    series: np.ndarray,
    mask: np.ndarray,
    repetition_time: float,
    csf: np.ndarray | None = None,
    white_matter: np.ndarray | None = None,
    non_steady: int = 0,
    keep: int | float = 0.5,
) -> pd.DataFrame:
    """Build all confounds of a run, with fMRIPrep's names.

    Parameters
    ----------
    parameters : array, [T, 6]
        Motion: translations (mm), rotations (radians).
    series : array, [V, T]
        Realigned BOLD in the voxels of `mask`, in its order (the last axis runs fastest).
    mask, csf, white_matter : array of bool, [X, Y, Z]
        Brain, and tissues within it; columns of tissues that are not given are left out.
    repetition_time : float
        Seconds.
    non_steady : int
        Volumes from the start that are not steady: each gets a column; cosines and components are zero there.
    keep : int or float
        Components of aCompCor, see :func:`compcor`.

    Returns
    -------
    DataFrame, [T rows]
        ``attrs["sidecar"]`` tells of each component its mask and explained variance, as fMRIPrep's JSON file does.
    """
    volumes = series.shape[1]
    if len(parameters) != volumes:
        raise ValueError(f"{len(parameters)} rows of motion parameters but {volumes} volumes; they must agree")
    if not 0 < len(series) == np.count_nonzero(mask):
        raise ValueError(f"{len(series)} series, but {np.count_nonzero(mask)} voxels in the mask of the brain")
    std_dvars, plain_dvars = dvars(series)
    columns = {"global_signal": series.mean(0, dtype=float)}
    tissues = {name: tissue for name, tissue in (("csf", csf), ("white_matter", white_matter)) if tissue is not None}
    columns |= {name: _within(series, mask, tissue, name).mean(0, dtype=float) for name, tissue in tissues.items()}
    columns |= {"dvars": plain_dvars, "std_dvars": std_dvars}
    columns |= {"framewise_displacement": framewise_displacement(parameters)}
    noise, sidecar = _noise_columns(series[:, non_steady:], mask, tissues, repetition_time, keep)
    cosines = cosine_regressors(volumes - non_steady, repetition_time)
    noise |= {f"cosine{k:02d}": values for k, values in enumerate(cosines.T)}
    columns |= {name: np.r_[np.zeros(non_steady), values] for name, values in noise.items()}
    columns |= {f"non_steady_state_outlier{k:02d}": np.eye(volumes)[k] for k in range(non_steady)}
    table = pd.concat([pd.DataFrame(columns), expand_motion(parameters)], axis=1)
    table.attrs["sidecar"] = sidecar
    return table


def write_confounds(table: pd.DataFrame, path: Path) -> None:
    """Write the table (tsv, missing as n/a) and its sidecar (json beside it)."""
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    path.with_suffix(".json").write_text(json.dumps(table.attrs.get("sidecar", {}), indent=1))


def _noise_columns(
    series: np.ndarray, mask: np.ndarray, tissues: Mapping[str, np.ndarray], repetition_time: float, keep: int | float
) -> tuple[dict, dict]:
    """Components of each tissue and of both, by column name, and what the sidecar says of them."""
    masks = {PLACES[name]: erode(tissue) for name, tissue in tissues.items()}
    if len(masks) == 2:
        masks["combined"] = masks["CSF"] | masks["WM"]
    columns, sidecar = {}, {}
    for place, tissue in masks.items():
        components, explained = compcor(_within(series, mask, tissue, place), repetition_time, keep)
        for k, row in enumerate(explained.to_dict("records")):
            name = f"{COMPCOR[place]}_comp_cor_{k:02d}"
            columns[name] = components[:, k]
            sidecar[name] = {"Method": "aCompCor", "Mask": place, "Retained": True, **row}
    return columns, sidecar


def _within(series: np.ndarray, mask: np.ndarray, smaller: np.ndarray, name: str) -> np.ndarray:
    """Series of the voxels of a smaller mask, [voxels, T]."""
    if not smaller.any():
        raise ValueError(f"the mask of {name} is empty; check segmentation and registration")
    return series[smaller[mask]]


def _robust_deviation(series: np.ndarray) -> np.ndarray:
    """Interquartile range over that of a normal distribution, [voxels]; quartiles are values that occur."""
    low, high = np.percentile(series, [25, 75], axis=1, method="lower")
    return (high - low) / 1.349


def _lag_one(series: np.ndarray) -> np.ndarray:
    """First-order autoregressive coefficient by Yule and Walker, [voxels]."""
    centred = series - series.mean(1, keepdims=True)
    return (centred[:, 1:] * centred[:, :-1]).sum(1) / (centred**2).sum(1)
