"""Gibbs ringing, removed by local shifts of less than a voxel (Kellner et al. 2016, arXiv:1501.07758).

Each line of an image is read again between its voxels, at many small shifts; each voxel takes the two shifts, one to
either side, with the least variation around it, and is interpolated between them. Both in-plane axes are done, and
weighted in Fourier space by how much of the ringing is along each. The steps are those of `dipy.denoise.gibbs`, so that
the values are the same; all shifts of an image are one matrix product, and the search among them is compiled.
"""

import numpy as np
from scipy import fft

from dysconnect.keeping.compiled import compiled

SHIFTS = np.linspace(0.02, 0.9, 45)  # voxels, to either side
AROUND = 3  # neighbours whose differences make the variation


def without_ringing(data: np.ndarray, slices: int = 2) -> np.ndarray:
    """Remove Gibbs ringing from volumes, slice by slice.

    Parameters
    ----------
    data : array, [X, Y, Z, V]
        Magnitudes, on the grid as reconstructed: no interpolation before, and no zero-filling.
    slices : int
        Axis across the slices, 0 to 2.

    Returns
    -------
    array of float32, [X, Y, Z, V]
    """
    planes = np.moveaxis(np.asarray(data), (slices, 3), (0, 1))
    out = np.empty(planes.shape, np.float32)
    shape = planes.shape[2:]
    weights, lines = _weights(shape), [_Lines(*shape[::-1]), _Lines(*shape)]
    for place in np.ndindex(planes.shape[:2]):
        image = planes[place].astype(np.float32)
        down, across = lines[0](np.ascontiguousarray(image.T)).T, lines[1](image)
        joined = fft.fft2(down) * weights[0] + fft.fft2(across) * weights[1]
        out[place] = np.abs(fft.ifft2(joined))
    return np.moveaxis(out, (0, 1), (slices, 3))


class _Lines:
    """Corrects `count` lines of `length` voxels at a time; what is shifted lies in the same memory for every image."""

    def __init__(self, count: int, length: int):
        frequency = np.fft.rfftfreq(length)
        shifts = np.concatenate([SHIFTS, -SHIFTS])
        moved = np.fft.rfft(np.eye(length), axis=1)[:, None] * np.exp(2j * np.pi * shifts[:, None] * frequency)
        self.shift = np.fft.irfft(moved, n=length, axis=2).reshape(length, -1).astype(np.float32)
        self.shifted = np.empty((count, self.shift.shape[1]), np.float32)
        # of an even number of voxels the highest frequency has no partner: shifted, it leaves an imaginary part
        alternating = (-1.0) ** np.arange(length) * (length % 2 == 0)
        self.imaginary = (np.sin(np.pi * SHIFTS) * alternating[:, None] / length).astype(np.float32)

    def __call__(self, lines: np.ndarray) -> np.ndarray:
        np.matmul(lines, self.shift, out=self.shifted)
        shifted = self.shifted.reshape(len(lines), 2, len(SHIFTS), -1)
        return _least_variation(lines, shifted, (lines @ self.imaginary) ** 2, SHIFTS.astype(np.float32))


def _weights(shape: tuple[int, int]) -> np.ndarray:
    """Shares of the images corrected along the first and the second axis, in the order of the transform, [2, X, Y]."""
    raised = [1 + np.cos(np.linspace(-np.pi, np.pi, length)) for length in shape]
    for edge in raised:
        edge[[0, -1]] = 0  # exactly, where cosine leaves 1e-16 or so
    first, second = np.broadcast_to(raised[0][:, None], shape), np.broadcast_to(raised[1], shape)
    total = first + second
    shares = np.where(total > 0, np.stack([second, first]) / np.where(total > 0, total, 1), 0.5)
    return fft.ifftshift(shares, axes=(1, 2)).astype(np.float32)


@compiled
def _variation(values, around, line):
    """Into `around` [N] the lesser of the summed differences to the right and left; `line` [N + 6] is scratch."""
    n = len(values)
    for i in range(n - 1):
        line[i + 3] = abs(values[i] - values[i + 1])
    line[n + 2] = abs(values[n - 1] - values[0])
    for i in range(3):  # the image goes on at its other end
        line[i] = line[n + i]
        line[n + 3 + i] = line[3 + i]
    for i in range(n):
        right = line[i + 3] + line[i + 4] + line[i + 5]
        left = line[i + 2] + line[i + 1] + line[i]
        around[i] = min(right, left)


@compiled
def _least_variation(lines, shifted, extra, shifts):
    """Interpolate each voxel between the two shifts of least variation: [L, N], [L, 2, K, N], [L, K], [K] to [L, N]."""
    count, n = lines.shape
    out, scratch = lines.copy(), np.empty(n + 6, lines.dtype)
    values, around = np.empty(n, lines.dtype), np.empty(n, lines.dtype)
    least, best, at = np.empty(n, lines.dtype), np.empty((2, n), lines.dtype), np.empty((2, n), lines.dtype)
    for row in range(count):
        for side in range(2):
            _variation(lines[row], least, scratch)
            best[side], at[side] = lines[row], 0
            for k in range(len(shifts)):
                moved = shifted[row, side, k]
                for i in range(n):
                    values[i] = np.sqrt(moved[i] * moved[i] + extra[row, k])
                _variation(values, around, scratch)
                for i in range(n):
                    better = around[i] < least[i]
                    least[i] = around[i] if better else least[i]
                    best[side, i] = values[i] if better else best[side, i]
                    at[side, i] = shifts[k] if better else at[side, i]
        for i in range(n):
            apart = at[0, i] + at[1, i]
            if apart > 0:
                out[row, i] = (best[0, i] - best[1, i]) / apart * at[1, i] + best[1, i]
    return out
