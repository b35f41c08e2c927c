"""Features of more people than memory should hold, in a temporary file."""

import os
import tempfile
from itertools import pairwise

import numpy as np


class OnDisk:
    """Features of n people, [n, F] float32, in a file that is gone with the object; rows are read when asked for.

    The file lies where temporary files do (``TMPDIR``).

    Parameters
    ----------
    shape : (int, int)
        People and features; everybody is to be added, in order (`add`).
    """

    nbytes = 0  # of memory

    def __init__(self, shape: tuple[int, int]):
        self.shape, self.file = shape, tempfile.TemporaryFile()  # noqa: SIM115

    def add(self, features: np.ndarray) -> None:
        """Write the features of the next people, [k, F]."""
        self.file.seek(0, os.SEEK_END)
        self.file.write(np.ascontiguousarray(features, np.float32).data)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, wanted: slice | np.ndarray) -> np.ndarray:
        rows = np.arange(len(self))[wanted]
        values, size = np.empty((len(rows), self.shape[1]), np.float32), 4 * self.shape[1]
        ends = np.r_[0, np.flatnonzero(np.diff(rows) != 1) + 1, len(rows)]
        for start, stop in pairwise(ends):
            if stop > start:
                self.file.seek(int(rows[start]) * size)
                self.file.readinto(values[start:stop].data.cast("B"))
        return values

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """All of them, for whoever cannot do with blocks."""
        return np.asarray(self[:], dtype)
