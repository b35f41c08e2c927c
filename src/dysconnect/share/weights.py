"""Weights of people in the sums that leave a site: who of them can be had alone, whatever is done with the sums.

Connection by connection, X'Y are weighted sums of people: as many as the design has independent columns, and with them
every weighted sum whose weights are a mixture of columns. The mixture in which a person weighs most has that person's
leverage as the share of its squared weights, so that a leverage near one is that person's connections.
"""

import numpy as np

from dysconnect.share.columns import GROUP, Design

SMALL = 0.01  # of the largest weight: who has less is not in a mixture
STEPS = 60
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


def fewest(weights: np.ndarray, fewer: int) -> np.ndarray:
    """Mixture of columns [n, k] that is of fewer than so many people alone, [n]; zero in everybody if there is none.

    Of a mixture of m people one has a leverage of 1 / m at least, so that it is looked for from those who have.
    """
    axes = basis(weights)
    for person in np.flatnonzero((axes**2).sum(1) > (1 - SMALL) / (fewer - 1)):
        mixture = _sparsest(axes, person)
        mixture[np.abs(mixture) <= SMALL * np.abs(mixture).max()] = 0
        if np.count_nonzero(mixture) < fewer:
            return mixture
    return np.zeros(len(axes))


def _sparsest(axes: np.ndarray, person: int) -> np.ndarray:
    """Mixture of axes [n, rank] of the least sum of sizes in which a person weighs one, [n], by reweighted squares."""
    mixture = axes @ axes[person]
    for small in np.geomspace(0.1, 1e-6, STEPS) * np.abs(mixture).max():
        weighted = axes / np.hypot(mixture, small)[:, None]
        along = np.linalg.solve(axes.T @ weighted, axes[person])
        mixture = axes @ (along / (axes[person] @ along))
    return mixture
