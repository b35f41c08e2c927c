"""Whether gradient directions fit the image: flipped and swapped axes are seen in the fibres.

Fibres run on from voxel to voxel. As in Schilling et al. 2019 (doi:10.1016/j.mri.2019.01.018) the principal directions
of the tensor are compared with the line to a neighbour: both neighbours should point along it. A flip or swap of the
gradients' axes does the same to the principal directions, so all 24 are tried without another fit.

One orientation must stand out before anything is said: neighbours share their noise and their bundle, so the counts are
summed by blocks of the image, and their differences compared with the spread over blocks. Too small an image (a crop of
10 x 10 x 10 voxels, say) is not judged.
"""

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from nibabel.affines import voxel_sizes
from scipy.sparse import csr_array

from dysconnect.diffusion.prediction import fitted_tensor

ALONG = np.cos(np.deg2rad(35))  # of a direction with the line to the neighbour
ANISOTROPIC = 0.25  # fractional anisotropy: fibres, below it directions are noise
FEWEST = 1000  # voxels of that kind, to tell anything
CLEAR = 1.15  # times as coherent: another orientation is taken for the right one
BLOCK = 12.0  # mm, about as wide as a bundle
CERTAIN = 4.0  # standard errors over blocks, between the best orientation and the one that it is compared with


@dataclass(frozen=True)
class Orientation:
    """How coherent the fibres are as the gradients are given, and at best.

    Attributes
    ----------
    given, best : float
        Share of anisotropic neighbours on the line of whose direction both lie.
    turn : array of int, [3, 3]
        What turns the gradients given (voxel axes) into the best ones; the identity where they are.
    voxels : int
        Anisotropic ones.
    apart : float
        Standard errors over blocks, by which the best lies above the one given; where that is the best, above the next.
    """

    given: float
    best: float
    turn: np.ndarray
    voxels: int
    apart: float

    @property
    def judged(self) -> bool:
        """Whether one orientation stands out: the one given, or a clearly better one."""
        clear = self.best > CLEAR * self.given or self.best == self.given
        return self.voxels >= FEWEST and self.apart > CERTAIN and clear

    @property
    def wrong(self) -> bool:
        """Whether another orientation is clearly better."""
        return self.judged and self.best > self.given

    def __str__(self) -> str:
        """Say what turns them, "x and y swapped, z flipped" for instance."""
        order = np.abs(self.turn).argmax(1)
        swapped = "".join("xyz"[k] for k in range(3) if order[k] != k)
        flipped = [f"{'xyz'[k]} flipped" for k in range(3) if self.turn[k].sum() < 0]
        parts = [f"axes {swapped} in the order {''.join('xyz'[k] for k in order)}"] * bool(swapped) + flipped
        return ", ".join(parts) or "as given"


def check_orientation(data: np.ndarray, affine: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray) -> Orientation:
    """Compare the given gradient directions with their 24 flips and swaps.

    Parameters
    ----------
    data : array, [X, Y, Z, V]
        The brain; zero elsewhere.
    affine : array, [4, 4]
        Voxel to mm.
    bvals : array, [V]
        s/mm2.
    bvecs : array, [V, 3]
        In the scanner's axes.

    Returns
    -------
    Orientation
    """
    left, _, right = np.linalg.svd(np.asarray(affine, float)[:3, :3])
    directions, anisotropy = _principal(data, bvals, np.asarray(bvecs) @ (left @ right))
    there = np.isfinite(anisotropy) & (anisotropy > ANISOTROPIC)
    counts, pairs = _in_line(directions, there, _turns(), np.ceil(BLOCK / voxel_sizes(affine)))
    scores = counts.sum(0) / max(pairs, 1)
    best = int(scores.argmax()) if scores.max() > scores[0] else 0
    other = 0 if best else 1 + int(scores[1:].argmax())
    more = counts[:, best] - counts[:, other]
    apart = float(more.sum() / np.sqrt((more**2).sum())) if more.any() else 0.0
    return Orientation(float(scores[0]), float(scores[best]), _turns()[best].astype(int), int(there.sum()), apart)


def _in_line(directions: np.ndarray, there: np.ndarray, turns: np.ndarray, block: np.ndarray) -> tuple[np.ndarray, int]:
    """Neighbours that both point along the line between them, by block and turn [B, 24]; how many do in any turn."""
    along, pairs, places = np.zeros((1, len(turns))), 0, np.argwhere(there)
    number = np.zeros(there.shape, int)
    number[there] = np.unique(places // block, axis=0, return_inverse=True)[1].ravel()
    for offset in _neighbours():
        one, other = _shifted(there.shape, offset)
        both = there[one] & there[other]
        lines = turns.transpose(0, 2, 1) @ (offset / np.linalg.norm(offset))  # turned back: the directions stay
        points = [np.abs(directions[part][both] @ lines.T) > ALONG for part in (one, other)]
        inside = csr_array(
            (np.ones(both.sum()), (number[one][both], np.arange(both.sum()))), (number.max() + 1, both.sum())
        )
        along = along + inside @ (points[0] & points[1]).astype(float)
        pairs += (points[0] | points[1]).any(1).sum()
    return along, pairs


def refuse_turned(orientation: Orientation, name: str) -> None:
    """Refuse gradient directions that another orientation clearly beats.

    Parameters
    ----------
    orientation : Orientation
    name : str
        Of the file of vectors.

    Raises
    ------
    ValueError
        With what would be better.
    """
    if orientation.wrong:
        raise ValueError(
            f"{name}: fibres run on better with other directions ({orientation}: {orientation.best:.2f} against "
            f"{orientation.given:.2f} of neighbours in line); mend the rows of the file, or convert the scan again"
        )


def _principal(data: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal direction [X, Y, Z, 3] in the axes of the vectors, and fractional anisotropy [X, Y, Z]."""
    inside = (data > 0).all(3)
    tensor, part = fitted_tensor(data[inside].T, bvals, bvecs)
    xx, yy, zz, xy, xz, yz = tensor
    full = np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], -1).reshape(-1, 3, 3)
    directions, anisotropy = np.zeros((*inside.shape, 3), np.float32), np.full(inside.shape, np.nan, np.float32)
    directions[inside], anisotropy[inside] = np.linalg.eigh(full)[1][:, :, 2], part
    return directions, anisotropy


def _turns() -> np.ndarray:
    """The 24 orders and signs of three axes that differ for a line, [24, 3, 3]; the identity first."""
    signs = [(1, *rest) for rest in product((1, -1), repeat=2)]
    return np.array([np.diag(sign)[list(order)] for order in permutations(range(3)) for sign in signs], float)


def _neighbours() -> list[np.ndarray]:
    """One of each two opposite offsets to the 26 neighbours."""
    return [np.array(offset) for offset in product((-1, 0, 1), repeat=3) if offset > (0, 0, 0)]


def _shifted(shape: tuple, offset: np.ndarray) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where voxels that have such a neighbour lie, and where the neighbours lie."""
    one = tuple(slice(max(0, -k), n - max(0, k)) for k, n in zip(offset, shape))
    return one, tuple(slice(max(0, k), n + min(0, k)) for k, n in zip(offset, shape))
