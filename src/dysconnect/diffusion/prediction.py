"""What each volume should look like, from the other volumes: the tensor fitted to them, and the mean of the b0.

As in SHORELine (Cieslak et al. 2021, doi:10.1038/s41592-021-01185-5) and in Andersson and Sotiropoulos 2016
(doi:10.1016/j.neuroimage.2015.10.019) a diffusion volume is compared with a prediction that has its contrast. The tensor
is fitted to the logarithm of the signal by least squares, so the fit without a volume needs no second one: with the
hat matrix H, it predicts ``(sum of H_ij y_j over the others) / (1 - H_ii)``.
"""

import numpy as np

DARKEST = 0.01  # of the typical b0: signal below it is noise, and its logarithm would count for more than it tells


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
        When the other directions do not tell a tensor.
    """
    x, y, z = bvecs.T
    tensor = np.column_stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z])
    design = np.column_stack([np.ones(len(bvals)), -bvals[:, None] / 1000 * tensor])
    hat = design @ np.linalg.pinv(design)
    own = np.diagonal(hat)
    if (own[weighted] > 0.99).any():
        raise ValueError(
            f"{weighted.sum()} directions are too few to predict each from the others; set tractography.motion=none"
        )
    weights = np.where(np.eye(len(hat)), 0, hat / (1 - own.clip(max=0.99))[:, None])
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
    weights = predictor(bvals, bvecs, weighted).astype(np.float32)
    return np.exp((weights @ logarithms).clip(max=logarithms.max()))
