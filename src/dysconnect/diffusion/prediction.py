"""What each volume should look like, from the other volumes: the tensor fitted to them, and the mean of the b0.

As in SHORELine (Cieslak et al. 2021, doi:10.1038/s41592-021-01185-5) and in Andersson and Sotiropoulos 2016
(doi:10.1016/j.neuroimage.2015.10.019) a diffusion volume is compared with a prediction that has its contrast. The
tensor is fitted to the logarithm of the signal by least squares, so the fit without a volume needs no second one: with
the hat matrix H, it predicts ``(sum of H_ij y_j over the others) / (1 - H_ii)``.

What a tensor can describe it also follows: motion that goes with the square of the gradient's direction would be
fitted, and predicted again. So where the fit shows hardly any direction (grey matter, fluid), where all weighted
volumes should be alike, the mean of the others of the same strength takes the tensor's place.
"""

import numpy as np

DARKEST = 0.01  # of the typical b0: signal below it is noise, and its logarithm would count for more than it tells
FEWEST = 15  # weighted volumes: with fewer, a prediction is mostly noise
ISOTROPIC = (0.15, 0.3)  # fractional anisotropy: up to here the mean, from there on the tensor


def predictor(bvals: np.ndarray, bvecs: np.ndarray, weighted: np.ndarray) -> np.ndarray:
    """Weights that turn the logarithms of all volumes into the prediction of each from the others, [V, V].

    Parameters
    ----------
    bvals : array, [V]
        s/mm2.
    bvecs : array, [V, 3]
        Unit vectors.
    weighted : array of bool, [V]
        Which volumes are no b0: these are predicted as the mean of the others, a single one as itself.

    Raises
    ------
    ValueError
        When the other directions hardly tell a tensor.
    """
    design = tensor_design(bvals, bvecs)
    hat = design @ np.linalg.pinv(design)
    own = np.diagonal(hat)
    if weighted.sum() < FEWEST or (own[weighted] > 0.9).any():
        raise ValueError(
            f"{weighted.sum()} weighted volumes are too few, or too much alike, to predict each from the others, and "
            f"so to tell motion: {FEWEST} are needed. Leave the scan out"
        )
    weights = np.where(np.eye(len(hat)), 0, hat / (1 - own.clip(max=0.9))[:, None])
    plain = (~weighted).astype(float)
    for k in np.flatnonzero(~weighted):
        weights[k] = plain - np.eye(len(hat))[k] if plain.sum() > 1 else plain
        weights[k] /= weights[k].sum()
    return weights


def predict(data: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray, weighted: np.ndarray) -> np.ndarray:
    """Predict each volume from the others.

    Parameters
    ----------
    data : array, [V, N]
        Signal of the volumes, in register.
    bvals, bvecs, weighted
        As in :func:`predictor`.

    Returns
    -------
    array of float32, [V, N]
    """
    floor = DARKEST * np.median(data[~weighted])
    logarithms = np.log(np.maximum(data, floor), dtype=np.float32)
    predicted = predictor(bvals, bvecs, weighted).astype(np.float32) @ logarithms
    alike = np.isclose(np.round(bvals, -2)[:, None], np.round(bvals, -2)) & weighted & ~np.eye(len(bvals), dtype=bool)
    means = (alike / alike.sum(1, keepdims=True).clip(1)).astype(np.float32) @ logarithms
    several = alike.any(1) & weighted
    low, high = ISOTROPIC
    share = ((_tensor_of(logarithms, bvals, bvecs)[1] - low) / (high - low)).clip(0, 1)
    predicted[several] = means[several] + share * (predicted[several] - means[several])
    return np.exp(predicted.clip(max=logarithms.max()))


def fitted_tensor(data: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit a tensor to the logarithm of the signal, all volumes alike: quick, and good enough to check and to compare.

    Parameters
    ----------
    data : array, [V, N]
        Signal, not negative.
    bvals : array, [V]
    bvecs : array, [V, 3]

    Returns
    -------
    tensor : array, [6, N]
        xx, yy, zz, xy, xz, yz in um2/ms.
    anisotropy : array, [N]
        Fractional.
    """
    return _tensor_of(np.log(np.maximum(data, DARKEST * np.median(data)), dtype=np.float32), bvals, bvecs)


def _tensor_of(logarithms: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    tensor = np.linalg.pinv(tensor_design(bvals, bvecs))[1:].astype(np.float32) @ logarithms
    across = ((tensor[:3] - tensor[:3].mean(0)) ** 2).sum(0) + 2 * (tensor[3:] ** 2).sum(0)
    whole = (tensor[:3] ** 2).sum(0) + 2 * (tensor[3:] ** 2).sum(0)
    return tensor, np.sqrt(1.5 * across / whole.clip(1e-6))


def tensor_design(bvals: np.ndarray, bvecs: np.ndarray) -> np.ndarray:
    """How the logarithm of the signal depends on that of the b0 and on the tensor (um2/ms), [V, 7]."""
    x, y, z = bvecs.T
    tensor = np.column_stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z])
    return np.column_stack([np.ones(len(bvals)), -bvals[:, None] / 1000 * tensor])
