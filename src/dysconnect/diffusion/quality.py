"""How good diffusion images are: motion, lost slices, likeness of neighbouring volumes, noise, size of the field."""

import numpy as np

from dysconnect.data.images.rigid import framewise_displacement
from dysconnect.diffusion.susceptibility import Field
from dysconnect.reading.gradients import B0

RADIUS = 50.0  # mm, of the head


def scan_quality(
    data: np.ndarray,
    mask: np.ndarray,
    bvals: np.ndarray,
    bvecs: np.ndarray,
    motion: np.ndarray,
    judged: np.ndarray,
    dropped: np.ndarray,
    field: Field | None,
) -> dict[str, float]:
    """Measure a scan after its motion was undone.

    Parameters
    ----------
    data : array, [X, Y, Z, V]
        In register.
    mask : array of bool, [X, Y, Z]
        The brain.
    bvals : array, [V]
    bvecs : array, [V, 3]
    motion : array, [V, 6]
        mm and radians.
    judged, dropped : array of bool, [V, Z]
        Slices with brain, and those of them that lost their signal.
    field : Field or None

    Returns
    -------
    dict of str to float
        `mean_displacement`, `max_displacement`: of the head from where it was at the first b0 (mm; shift plus turn on a
        sphere of 50 mm); `mean_fd`, `max_fd`: from volume to volume (Power et al. 2012); `dropped_slices`: share of the
        slices of weighted volumes that were judged; `slices_not_judged`: share of their slices with brain that hold too
        little of it; `neighbour_correlation`: see :func:`neighbour_correlation`; `snr_b0`: median of mean
        over standard deviation of the b0, NaN for a single one; `field_rms`: voxels in the brain, NaN without field;
        `blip_agreement_before`, `blip_agreement_after`: correlation of the two opposite b0.
    """
    weighted = np.asarray(bvals) > B0
    away = np.linalg.norm(motion[:, :3], axis=1) + RADIUS * np.linalg.norm(motion[:, 3:], axis=1)
    fd = framewise_displacement(motion)
    inside = data[mask]
    return {
        "mean_displacement": float(away.mean()),
        "max_displacement": float(away.max()),
        "mean_fd": float(np.nanmean(fd)),
        "max_fd": float(np.nanmax(fd)),
        "dropped_slices": float(dropped[weighted].sum() / max(judged[weighted].sum(), 1)),
        "slices_not_judged": float(1 - judged[weighted][:, mask.any((0, 1))].mean()),
        "neighbour_correlation": neighbour_correlation(inside[:, weighted], bvals[weighted], bvecs[weighted]),
        "snr_b0": _snr(inside[:, ~weighted]),
        "field_rms": np.nan if field is None else float(np.sqrt((field.shift[mask] ** 2).mean())),
        "blip_agreement_before": np.nan if field is None else field.before,
        "blip_agreement_after": np.nan if field is None else field.after,
    }


def neighbour_correlation(values: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray) -> float:
    """Mean correlation of each weighted volume with the one nearest in q space (Yeh 2019, NeuroImage 202:116131).

    Parameters
    ----------
    values : array, [N, V]
        Signal of the brain's voxels in weighted volumes.
    bvals : array, [V]
    bvecs : array, [V, 3]
    """
    q = np.sqrt(bvals)[:, None] * bvecs
    apart = np.minimum(*(np.linalg.norm(q[:, None] - sign * q, axis=2) for sign in (1, -1)))
    np.fill_diagonal(apart, np.inf)
    scaled = values - values.mean(0)
    scaled = scaled / np.linalg.norm(scaled, axis=0)
    return float((scaled * scaled[:, apart.argmin(1)]).sum(0).mean())


def _snr(stills: np.ndarray) -> float:
    """Median over voxels of mean by standard deviation of the b0, [N, K]."""
    if stills.shape[1] < 2:
        return np.nan
    spread = stills.std(1, ddof=1)
    return float(np.median(stills.mean(1)[spread > 0] / spread[spread > 0])) if (spread > 0).any() else np.nan
