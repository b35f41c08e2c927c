"""Rigid motion of the head: six numbers and their matrix.

``M x = R (x - c) + c + p``, with ``p = (trans_x, trans_y, trans_z)`` in mm along the scanner's axes (right, anterior,
superior), ``R = Rx(rot_x) Ry(rot_y) Rz(rot_z)`` right-handed in radians, and c the centre. Names and units are
fMRIPrep's.
"""

import numpy as np
from nibabel.affines import apply_affine


def rigid_matrices(parameters: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Turn parameters into matrices, volume to reference, both in scanner mm.

    Parameters
    ----------
    parameters : array, [T, 6]
        trans_x, trans_y, trans_z (mm), rot_x, rot_y, rot_z (radians).
    centre : array, [3]
        Centre of rotation, mm.

    Returns
    -------
    array, [T, 4, 4]
    """
    parameters = np.asarray(parameters, float)
    cos, sin = np.cos(parameters[:, 3:]), np.sin(parameters[:, 3:])
    turns = np.broadcast_to(np.eye(3), (3, len(parameters), 3, 3)).copy()
    for axis, (i, j) in enumerate(((1, 2), (2, 0), (0, 1))):
        turns[axis, :, i, i] = turns[axis, :, j, j] = cos[:, axis]
        turns[axis, :, i, j], turns[axis, :, j, i] = -sin[:, axis], sin[:, axis]
    matrices = np.broadcast_to(np.eye(4), (len(parameters), 4, 4)).copy()
    matrices[:, :3, :3] = turns[0] @ turns[1] @ turns[2]
    matrices[:, :3, 3] = parameters[:, :3] + centre - matrices[:, :3, :3] @ centre
    return matrices


def rigid_parameters(matrices: np.ndarray, centre: np.ndarray | None = None) -> np.ndarray:
    """Read shifts and Euler angles from matrices: the inverse of :func:`rigid_matrices`.

    Parameters
    ----------
    matrices : array, [T, 4, 4]
    centre : array, [3], optional
        mm; the origin without it.

    Returns
    -------
    array, [T, 6]
        trans_x, trans_y, trans_z (mm), rot_x, rot_y, rot_z (radians).
    """
    turn, centre = matrices[:, :3, :3], np.zeros(3) if centre is None else centre
    angles = [np.arctan2(-turn[:, 1, 2], turn[:, 2, 2]), np.arcsin(turn[:, 0, 2].clip(-1, 1))]
    angles.append(np.arctan2(-turn[:, 0, 1], turn[:, 0, 0]))
    return np.column_stack([matrices[:, :3, 3] + turn @ centre - centre, *angles])


def centre_of_mass(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Centre of a mask in scanner mm, [3]."""
    inside = np.argwhere(np.asarray(mask) > 0)
    if not len(inside):
        raise ValueError("the brain mask is empty: nothing to register. Check the mask, or leave it out.")
    return apply_affine(affine, inside.mean(0))


def framewise_displacement(parameters: np.ndarray, radius: float = 50.0) -> np.ndarray:
    """Sum of the absolute changes of the six parameters, rotations as arcs on a sphere.

    Parameters
    ----------
    parameters : array, [T, 6]
        Translations (mm), rotations (radians).
    radius : float
        Of the sphere, mm.

    Returns
    -------
    array, [T]
        mm; the first is NaN.

    References
    ----------
    Power et al. 2012, doi:10.1016/j.neuroimage.2011.10.018.
    """
    parameters = np.asarray(parameters, float)
    if parameters.ndim != 2 or parameters.shape[1] != 6:
        raise ValueError(f"motion parameters have shape {parameters.shape}, expected [T, 6]")
    change = np.abs(np.diff(parameters, axis=0))
    return np.r_[np.nan, change[:, :3].sum(1) + radius * change[:, 3:].sum(1)]
