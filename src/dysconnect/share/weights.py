"""Weights of people in the sums that leave a site: who of them can be had alone, whatever is done with the sums.

Connection by connection, X'Y are weighted sums of people: as many as the design has independent columns, and with them
every weighted sum whose weights are a mixture of columns. The mixture in which a person weighs most has that person's
leverage as the share of its squared weights, so that a leverage near one is that person's connections.
"""

import numpy as np

from dysconnect.share.columns import GROUP, Design

PRECISION = 1e-12  # relative; sums in double precision tell no smaller difference of two columns


def weights_of(design: Design, norm: bool) -> np.ndarray:
    """Weights of people in the sums of everybody, and of the controls where those are given, [n, q] or [n, 2q]."""
    return np.hstack([design.values, design.values * controls_of(design)[:, None]]) if norm else design.values


def controls_of(design: Design) -> np.ndarray:
    """Who is no patient, [n] bool."""
    return design.values[:, design.names.index(GROUP)] == 0


def basis(weights: np.ndarray) -> np.ndarray:
    """Orthonormal basis of all mixtures of columns [n, k], as [n, rank]: their units and order do not matter."""
    size = np.linalg.norm(weights, axis=0)
    if not (size > 0).any():
        return np.zeros((len(weights), 0))
    left, strength, _ = np.linalg.svd(weights[:, size > 0] / size[size > 0], full_matrices=False)
    return left[:, strength > PRECISION * strength[0]]


def leverages(weights: np.ndarray) -> np.ndarray:
    """Leverage of every person, [n], from 0 to 1: how much of a sum of weights [n, k] can be one person's alone."""
    return (basis(weights) ** 2).sum(1)
