"""Fisher's z."""

import numpy as np

LARGEST = 0.999999  # |r| of which it is still taken


def fisher_z(r: np.ndarray) -> np.ndarray:
    """Fisher's z of correlations; one of exactly 1 or -1 stays finite."""
    return np.arctanh(np.clip(r, -LARGEST, LARGEST))
