"""Where the head and the scanner's distortions put a place in each volume, and its signal fetched from there at once.

Convention: a place x of the reference (mm) was at ``q = M x`` in the scanner while a volume was taken; its signal lies
in voxel ``A^-1 q``, and from there along the phase axis by the shift of the susceptibility field (which moves with
the head) and by ``k (q - c)``, what the eddy currents of the diffusion gradient add: shear and scale, in voxels a mm.
"""

from dataclasses import dataclass, replace

import numpy as np
from nibabel.affines import apply_affine
from scipy import ndimage

from dysconnect.data.images.rigid import rigid_matrices


@dataclass(frozen=True)
class Frame:
    """What all volumes of a scan share.

    Attributes
    ----------
    affine : array, [4, 4]
        Voxel to mm.
    axis : int
        Voxel axis of phase encoding.
    voxels : array of int, [3, N]
        Of the reference: those that are worked on.
    shift, slope : array, [N]
        The field there (voxels along the phase axis), and its derivative along that axis.
    centre : array, [3]
        mm; about it the head turns, and eddy currents shift nothing there.
    """

    affine: np.ndarray
    axis: int
    voxels: np.ndarray
    shift: np.ndarray
    slope: np.ndarray
    centre: np.ndarray

    @property
    def places(self) -> np.ndarray:
        """The voxels in mm, [3, N]."""
        return apply_affine(self.affine, self.voxels.T).T

    def only(self, chosen: np.ndarray) -> "Frame":
        """The frame of some of its voxels."""
        return replace(self, voxels=self.voxels[:, chosen], shift=self.shift[chosen], slope=self.slope[chosen])

    def to_voxels(self, pose: "Pose") -> np.ndarray:
        """Matrix from the reference's voxels to a volume's, without the field, [4, 4]."""
        moved = pose.motion @ self.affine
        matrix = np.linalg.inv(self.affine) @ moved
        matrix[self.axis] += pose.eddy @ moved[:3]
        matrix[self.axis, 3] -= pose.eddy @ self.centre
        return matrix

    def seen_at(self, pose: "Pose") -> np.ndarray:
        """Where in the volume the signal of the voxels lies, [3, N]."""
        matrix = self.to_voxels(pose)
        at = matrix[:3, :3] @ self.voxels + matrix[:3, 3:]
        at[self.axis] += self.shift
        return at

    def stretch(self, pose: "Pose") -> np.ndarray:
        """What intensities are multiplied with, [N]: signal that was piled up is spread again."""
        return 1 + self.slope + pose.eddy @ self.affine[:3, self.axis]

    def fetched(self, volume: np.ndarray, pose: "Pose", order: int = 1) -> np.ndarray:
        """The volume's signal at the voxels, all distortions undone in one interpolation, [N]."""
        at = self.seen_at(pose)
        return ndimage.map_coordinates(volume, at, order=order, mode="nearest") * self.stretch(pose)

    def inverted(self, pose: "Pose", at: np.ndarray, field: np.ndarray, steps: int = 5) -> np.ndarray:
        """Which (fractional) voxels of the reference lie at places of the volume, [3, P]: a fixed point.

        `field` is the shift on the whole grid, [X, Y, Z].
        """
        back = np.linalg.inv(self.to_voxels(pose))
        unshifted = np.array(at, float)
        for _ in range(steps):
            voxels = back[:3, :3] @ unshifted + back[:3, 3:]
            shift = ndimage.map_coordinates(field, voxels, order=1, mode="nearest")
            unshifted[self.axis] = at[self.axis] - shift
        return back[:3, :3] @ unshifted + back[:3, 3:]


@dataclass(frozen=True)
class Pose:
    """Where the head was in one volume, and what eddy currents did.

    Attributes
    ----------
    motion : array, [4, 4]
        Reference to scanner, mm.
    eddy : array, [3]
        Voxels along the phase axis a mm from the centre.
    """

    motion: np.ndarray
    eddy: np.ndarray

    def after(self, step: np.ndarray, centre: np.ndarray) -> "Pose":
        """The pose that a small step improves: three shifts (mm), three turns (radians), perhaps three slopes."""
        eddy = self.eddy + step[6:] if len(step) > 6 else self.eddy
        return Pose(self.motion @ rigid_matrices(step[None, :6], centre)[0], eddy)


STILL = Pose(np.eye(4), np.zeros(3))
