"""Whether a matrix is symmetric, has one half only, or is neither."""

import numpy as np

from dysconnect.reading.tables import TableError

ROUNDED = 1e-6  # of the largest value between two regions: what arithmetic leaves between two halves


def symmetric(values: np.ndarray, name: str) -> tuple[np.ndarray, str]:
    """Fill the half that a matrix without directions lacks.

    Parameters
    ----------
    values : array, [M, M]
        In the order of its file, so that a half is a triangle. MRtrix and micapipe store the upper one alone.
    name : str
        Of the file, for messages.

    Returns
    -------
    values : array, [M, M]
        Symmetric; the diagonal is as it was.
    note : str
        What was done; empty where it is symmetric.

    Raises
    ------
    TableError
        When the two halves say different things.
    """
    below = np.tri(len(values), k=-1, dtype=bool)
    one, other = values.T[below], values[below]  # of the same pairs: above, below
    scale = np.abs(np.where(np.isfinite(values), values, 0))[~np.eye(len(values), dtype=bool)].max()
    if np.allclose(one, other, rtol=ROUNDED, atol=ROUNDED * scale, equal_nan=True):
        return np.where(below, values.T, values), ""
    empty = [bool((np.isnan(half) | (half == 0)).all()) for half in (one, other)]
    if not any(empty):
        differ = ~np.isclose(one, other, rtol=ROUNDED, atol=ROUNDED * scale, equal_nan=True)
        raise TableError(
            f"{name} is not symmetric: {differ.mean():.0%} of its pairs have another value below the diagonal than "
            "above (directed connections, or two different things in the two halves). Write the one that is meant "
            "into both halves, or their mean if direction means nothing"
        )
    half = "lower" if empty[0] else "upper"
    return np.where(below, values, values.T) if empty[0] else np.where(below, values.T, values), (
        f"only the {half} half is stored, and was mirrored"
    )
