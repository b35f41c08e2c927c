"""Simulate head motion and what it leaves in the signal."""

import numpy as np
import pandas as pd

CONFOUNDS = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
HEAD_RADIUS = 50.0  # mm; Power et al. 2012, doi:10.1016/j.neuroimage.2011.10.018


def head_motion(n_volumes: int, mean_fd: float, rng: np.random.Generator) -> pd.DataFrame:
    """Six rigid-body parameters (mm, radians) with jerks, and framewise displacement of the given mean (mm).

    Framewise displacement follows Power et al. (2012): the sum of absolute differences, rotations taken as
    arcs on a sphere of 50 mm.
    """
    steps = rng.standard_normal((n_volumes - 1, 6))
    jerks = rng.random(n_volumes - 1) < 0.06
    steps[jerks] *= rng.uniform(3, 8, (jerks.sum(), 1))
    steps[:, 3:] /= HEAD_RADIUS
    size = np.abs(steps) @ np.r_[np.ones(3), np.full(3, HEAD_RADIUS)]
    steps *= mean_fd / size.mean()
    parameters = pd.DataFrame(np.vstack([np.zeros(6), steps.cumsum(0)]), columns=list(CONFOUNDS))
    parameters["framewise_displacement"] = np.r_[np.nan, size * mean_fd / size.mean()]
    return parameters


def motion_artefact(confounds: pd.DataFrame, xyz: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Signal changes shared by neighbouring regions whenever the head moves, [T, N].

    Their amplitude follows framewise displacement but not linearly the six parameters, so that regression
    leaves part of them: what inflates short-range correlations in real data (Power et al. 2012).
    """
    from scipy.spatial.distance import cdist  # not with the plan of every run

    displacement = confounds["framewise_displacement"].fillna(0).to_numpy()
    centres = xyz[rng.choice(len(xyz), 8, replace=False)]
    fields = np.exp(-((cdist(centres, xyz) / 30.0) ** 2)) * rng.choice([-1.0, 1.0], (8, 1))
    jolts = displacement[:, None] * rng.standard_normal((len(displacement), 8))
    decay = np.exp(-np.arange(8) / 3.0)  # volumes: the signal recovers slowly after a movement
    courses = np.stack([np.convolve(jolt, decay)[: len(jolt)] for jolt in jolts.T], axis=1)
    return strength * courses @ fields
