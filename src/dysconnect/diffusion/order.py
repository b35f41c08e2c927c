"""Whether gradient directions stand in the order of the images: else no tensor explains the signal.

In the tissue where signal changes most with the direction a tensor explains much of the change. It explains as little
as chance where directions are those of another scan, and less than it could where they are shifted beside the images,
as by a volume that was removed.
"""

import numpy as np

from dysconnect.diffusion.prediction import tensor_design
from dysconnect.reading.gradients import B0

DARK = 0.3  # share of the voxels that are left out
CHANGING = (0.75, 0.98)  # of the voxels by how much their signal changes: beyond are edges of the brain that moved
SHUFFLES = 20
VOXELS = 100  # to tell anything
FEWEST = 20  # directions; of fewer, shuffled ones explain much too
MOST = 0.6  # share of these voxels that another order fits better


def refuse_disordered(data: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray, name: str) -> None:
    """Refuse directions that explain the images no better than shuffled ones, or clearly worse than shifted ones.

    Parameters
    ----------
    data : array, [N, V]
        Signal of the brain's voxels, in register.
    bvals : array, [V]
        s/mm2.
    bvecs : array, [V, 3]
        Unit vectors.
    name : str
        Of the file of vectors.

    Raises
    ------
    ValueError
        With what may be the reason.
    """
    weighted = bvals > B0
    data, bvals, bvecs = data[:, weighted], bvals[weighted], bvecs[weighted]
    whole = data[(data > 0).all(1)]
    if len(bvals) < FEWEST or len(whole) < VOXELS:
        return
    signal = _changing(whole)
    given = _explained(signal, bvals, bvecs)
    rng = np.random.default_rng(0)
    chance = max(_explained(signal, bvals, bvecs[rng.permutation(len(bvecs))]) for _ in range(SHUFFLES))
    rest = _rest(signal, bvals, bvecs)
    for places in (-1, 1):
        shifted = np.roll(bvecs, places, axis=0)
        better = (_rest(signal, bvals, shifted) < rest).mean()
        if better > MOST and _explained(signal, bvals, shifted) > chance:
            raise ValueError(
                f"{name}: {better:.0%} of the voxels fit better if each direction is that of the volume "
                f"{'after' if places < 0 else 'before'}: was one removed or added? Take the files of one conversion"
            )
    if given <= chance:
        raise ValueError(
            f"{name}: directions explain {given:.0%} of how the signal changes, and shuffled ones {chance:.0%}: those "
            "of another scan? Take the files of one conversion"
        )


def _changing(data: np.ndarray) -> np.ndarray:
    """Logarithms of the signal of the voxels in which it changes most, none of them dark, [V, n]."""
    means = data.mean(1)
    logarithms = np.log(data[means > np.quantile(means, DARK)])
    spread = logarithms.std(1)
    low, high = np.quantile(spread, CHANGING)
    return logarithms[(spread >= low) & (spread <= high)].T


def _explained(signal: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray) -> float:
    """Share of the variance over the volumes [V, n] that a tensor explains."""
    return float(1 - _rest(signal, bvals, bvecs).sum() / ((signal - signal.mean(0)) ** 2).sum())


def _rest(signal: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray) -> np.ndarray:
    """Squares that a tensor leaves in every voxel, [n]."""
    table = tensor_design(bvals, bvecs)
    return ((signal - table @ (np.linalg.pinv(table) @ signal)) ** 2).sum(0)
