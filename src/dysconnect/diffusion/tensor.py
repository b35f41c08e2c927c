"""The diffusion tensor by weighted least squares, and what is read from it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dysconnect.reading.gradients import B0

if TYPE_CHECKING:
    from dipy.core.gradients import GradientTable


@dataclass(frozen=True)
class Tensor:
    """Maps of the diffusion tensor, zero outside the mask.

    Attributes
    ----------
    fa : array of float32, [X, Y, Z]
        Fractional anisotropy, 0 to 1.
    md : array of float32, [X, Y, Z]
        Mean diffusivity, mm2/s.
    direction : array of float32, [X, Y, Z, 3]
        Unit vector in which diffusion is fastest, in the axes of the gradients.
    """

    fa: np.ndarray
    md: np.ndarray
    direction: np.ndarray


def gradients(bvals: np.ndarray, bvecs: np.ndarray) -> "GradientTable":
    """Table of dipy of b values [V] (s/mm2) and unit directions [V, 3]."""
    from dipy.core.gradients import gradient_table

    bvecs = np.where(np.asarray(bvals)[:, None] > B0, bvecs, 0.0)
    return gradient_table(np.asarray(bvals, float), bvecs=bvecs, b0_threshold=B0)


def tensor_maps(data: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray, mask: np.ndarray) -> Tensor:
    """Fit the tensor to cleaned volumes.

    Parameters
    ----------
    data : array, [X, Y, Z, V]
    bvals : array, [V]
        s/mm2.
    bvecs : array, [V, 3]
        Unit vectors, turned with the head; along any axes.
    mask : array of bool, [X, Y, Z]

    Returns
    -------
    Tensor
    """
    from dipy.reconst.dti import TensorModel

    fit = TensorModel(gradients(bvals, bvecs), fit_method="WLS").fit(data[mask])
    maps = {"fa": np.clip(np.nan_to_num(fit.fa), 0, 1), "md": fit.md, "direction": fit.evecs[..., 0]}
    return Tensor(**{name: _inside(values, mask) for name, values in maps.items()})


def _inside(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    out = np.zeros((*mask.shape, *values.shape[1:]), np.float32)
    out[mask] = values
    return out
