"""A raw BIDS dataset whose truth is known: the MNI template as somebody's head, that moves and has regional signals.

Everything is a closed form, so that the truth is exact at any point and time: the head is the template under a smooth
warp and an affine, the BOLD space a rigid transform away, and each volume another one. All transforms map the
coordinates of content, in world mm: template -> T1w (`to_t1w`) -> reference BOLD (`to_bold`) -> volume t (`moved`).
On request the BOLD is distorted along an axis, as by susceptibility; the distortion moves with the head.
"""

import json
import pickle
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine, from_matvec
from nilearn import datasets
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from dysconnect.data.atlas import load_atlas

HEAD = {"transform": "fast", "resolution": 2, "seed": 0}  # how the first head's T1w is registered
BUMPS = {  # of the distortion: template mm where it is largest, standard deviation (mm) in the BOLD, share
    "orbitofrontal": ((0.0, 38, -18), 16.0, 1.0),
    "temporal left": ((-50.0, -30, -20), 13.0, -0.7),
    "temporal right": ((50.0, -30, -20), 13.0, -0.7),
}
FAR = 10.0  # mm by which the region of one signal is wider than its sphere, at most


@dataclass
class Head:
    """One simulated person: geometry, motion and regional signals."""

    nodes: pd.DataFrame  # name, x, y, z (template mm), radius
    n_volumes: int
    repetition_time: float
    seed: int
    motion: float = 1.0  # scale of translations (mm) and rotations (degrees)
    slice_times: np.ndarray | None = None  # [Z] s
    voxel: float = 4.0  # mm, of the BOLD
    shape: tuple[int, int, int] = (46, 54, 46)
    warp: float = 3.0  # mm
    distortion: float = 0.0  # mm, largest shift along the axis of phase encoding
    phase: str = "j"  # that axis, as the sidecar tells it
    affine: np.ndarray = field(init=False)  # template to T1w, [4, 4]
    to_reference: np.ndarray = field(init=False)  # T1w to BOLD, [4, 4]
    moved: np.ndarray = field(init=False)  # reference BOLD to volume, [T, 4, 4]
    centre: np.ndarray = field(init=False)  # of the rotations, BOLD mm

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        stretch = np.diag(rng.uniform(0.95, 1.06, 3))
        self.affine = from_matvec(_turn(rng.uniform(-4, 4, 3)) @ stretch, rng.uniform(-6, 6, 3))
        self.to_reference = from_matvec(_turn(rng.uniform(-3, 3, 3)), rng.uniform(-4, 4, 3))
        self._phase = rng.uniform(0, 2 * np.pi, (3, 3))
        self._frequencies = rng.uniform(0.012, 0.08, (len(self.nodes), 8))  # Hz
        self._shifts = rng.uniform(0, 2 * np.pi, (len(self.nodes), 8))
        self.centre = apply_affine(self.to_reference, self.to_t1w(np.array([[0.0, -18, 18]])))[0]
        self.moved = np.stack([self._rigid(row) for row in self._path(rng)])

    def _path(self, rng) -> np.ndarray:
        """Drift and two jerks, [T, 6]: mm and degrees; nothing at the first volume."""
        steps = rng.standard_normal((self.n_volumes, 6)) * 0.04
        for _ in range(2):
            steps[rng.integers(1, self.n_volumes)] += rng.uniform(-0.8, 0.8, 6)
        steps[0] = 0
        return np.cumsum(steps, 0) * self.motion

    def _rigid(self, row: np.ndarray) -> np.ndarray:
        turn = _turn(row[3:])
        return from_matvec(turn, row[:3] + self.centre - turn @ self.centre)

    def _displacement(self, points: np.ndarray) -> np.ndarray:
        waves = np.sin(2 * np.pi * points[:, [1, 2, 0]] / np.array([150.0, 130, 140]) + self._phase[0])
        return self.warp * waves * np.cos(2 * np.pi * points[:, [2, 0, 1]] / 180.0 + self._phase[1])

    def to_t1w(self, points: np.ndarray) -> np.ndarray:
        """Where template points [P, 3] lie in the T1w image, mm."""
        return apply_affine(self.affine, points + self._displacement(points))

    def to_bold(self, points: np.ndarray) -> np.ndarray:
        """Where template points [P, 3] lie in the reference BOLD volume, mm; distortion included."""
        straight = apply_affine(self.to_reference, self.to_t1w(points))
        return straight + self.shift(straight)[:, None] * self.direction if self.distortion else straight

    @property
    def direction(self) -> np.ndarray:
        """Unit vector of phase encoding, BOLD mm."""
        column = self.bold_affine[:3, "ijk".index(self.phase[0])]
        return column / np.linalg.norm(column)

    def _bumps(self, points: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Shift (mm) and its slope along the axis, of each bump at undistorted BOLD points [P, 3]."""
        found = []
        for centre, width, share in BUMPS.values():
            away = points - apply_affine(self.to_reference, self.to_t1w(np.array([centre])))
            bump = self.distortion * share * np.exp(-(away**2).sum(1) / (2 * width**2))
            found.append((bump, -bump * (away @ self.direction) / width**2))
        return found

    def shift(self, points: np.ndarray) -> np.ndarray:
        """By how many mm the signal of undistorted BOLD points [P, 3] is moved along `direction`, [P]."""
        return sum(bump for bump, _ in self._bumps(points))

    def undistort(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where what is found at BOLD points [P, 3] belongs, and by what its intensity is multiplied there, [P].

        Signal that is squeezed is brighter: one over the Jacobian of the distortion.
        """
        found = points
        for _ in range(12):
            found = points - self.shift(found)[:, None] * self.direction
        return found, 1 / (1 + sum(slope for _, slope in self._bumps(found)))

    def from_t1w(self, points: np.ndarray) -> np.ndarray:
        """Which template points lie at points [P, 3] of the T1w image: a fixed point, the warp being smooth."""
        straight = apply_affine(np.linalg.inv(self.affine), points)
        found = straight
        for _ in range(6):
            found = straight - self._displacement(found)
        return found

    def signals(self, seconds: np.ndarray) -> np.ndarray:
        """Regional signals of unit variance at any times [K], [K, N]."""
        phase = 2 * np.pi * self._frequencies * np.asarray(seconds)[:, None, None] + self._shifts
        return np.sin(phase).sum(-1) / 2

    @property
    def truth(self) -> np.ndarray:
        """Signals at the middle of each volume, [T, N]."""
        return self.signals((np.arange(self.n_volumes) + 0.5) * self.repetition_time)

    @property
    def bold_affine(self) -> np.ndarray:
        """Voxel to mm of the BOLD: axes oblique, the first from right to left, as scanners write it."""
        matrix = _turn(np.array([6.0, 2, -3])) @ np.diag([-self.voxel, self.voxel, self.voxel])
        middle = (np.array(self.shape) - 1) / 2
        return from_matvec(matrix, self.centre - matrix @ middle)


def _turn(degrees: np.ndarray) -> np.ndarray:
    return Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()


@cache
def _tissue() -> dict:
    """Template at 2 mm with room around it: T1w with skull and scalp, an EPI-like contrast, the brain."""
    mask = datasets.load_mni152_brain_mask(2)
    padded = [(12, 12)] * 3
    brain, wm, gm, t1w = (
        np.pad(np.asarray(image.dataobj, float), padded)
        for image in (
            mask,
            datasets.load_mni152_wm_template(2),
            datasets.load_mni152_gm_template(2),
            datasets.load_mni152_template(2),
        )
    )
    wm, gm, t1w = (part / part.max() for part in (wm, gm, t1w))
    away = ndimage.distance_transform_edt(brain < 0.5) * 2.0  # mm
    scalp = ndimage.gaussian_filter(((away > 7) & (away < 13)).astype(float), 0.7)
    epi = brain * (0.55 * wm + 0.75 * gm + 1.0 * np.clip(1 - wm - gm, 0, 1)) + 0.1 * scalp
    affine = mask.affine.copy()
    affine[:3, 3] -= 24
    t1w = brain * t1w + 0.6 * scalp + 0.08 * ((away > 0) & (away < 7))
    return {"affine": affine, "t1w": t1w, "epi": ndimage.gaussian_filter(epi, 0.8), "brain": brain}


def _sample(image: np.ndarray, points: np.ndarray, order: int = 1) -> np.ndarray:
    voxels = apply_affine(np.linalg.inv(_tissue()["affine"]), points).T
    return ndimage.map_coordinates(image, voxels, order=order)


def _grid(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    return apply_affine(affine, np.indices(shape).reshape(3, -1).T)


def t1w_image(head: Head, voxel: float, noise: float = 0.01) -> nib.Nifti1Image:
    """The head's T1w with scalp, noise and a bias field."""
    shape = tuple(int(size / voxel) for size in (200, 240, 216))
    matrix = _turn(np.array([-4.0, 1, 2])) @ np.diag([voxel] * 3)
    affine = from_matvec(matrix, head.to_t1w(np.array([[0.0, -18, 2]]))[0] - matrix @ (np.array(shape) / 2))
    world = _grid(shape, affine)
    data = _sample(_tissue()["t1w"], head.from_t1w(world)).reshape(shape)
    bias = 1 + 0.15 * np.sin(world[:, 0] / 80).reshape(shape)
    rng = np.random.default_rng(head.seed + 1)
    return nib.Nifti1Image(((data * bias + noise * rng.standard_normal(shape)) * 800).clip(0).astype(np.int16), affine)


def write_anatomy(folder: Path) -> None:
    """Write the T1w of the first head, and what its registration to the template gives."""
    from dysconnect.anatomy.registration import prepare_anatomy

    nib.save(t1w_image(Head(load_atlas("seitzman300"), 2, 2.0, seed=0), 2.5), folder / "sub-01_T1w.nii.gz")
    anatomy = prepare_anatomy(folder / "sub-01_T1w.nii.gz", folder, HEAD)
    (folder / "anatomy.pickle").write_bytes(pickle.dumps(anatomy))


def bold_image(
    head: Head, noise: float = 0.0075, percent: float = 2.0, drift: float = 0.02, dummies: int = 0
) -> nib.Nifti1Image:
    """The head's BOLD run.

    Parameters
    ----------
    head : Head
    noise : float
        Standard deviation of the thermal noise, as a share of the signal of grey matter. A real run of 3 mm voxels has
        a temporal signal-to-noise of 80; thermal noise alone gives 2.4 times that in voxels of 4 mm.
    percent : float
        Size of the regional signals, in percent of the local intensity.
    drift : float
        Slow linear drift of the whole image, as a share.
    dummies : int
        First volumes that are brighter, the magnetisation not being steady yet.
    """
    rng = np.random.default_rng(head.seed + 2)
    world = _grid(head.shape, head.bold_affine)
    back = np.linalg.inv(head.to_reference)
    times = head.slice_times if head.slice_times is not None else np.full(head.shape[2], head.repetition_time / 2)
    plane = np.tile(np.arange(head.shape[2]), len(world) // head.shape[2])  # slice of each voxel
    nearest = cKDTree(head.nodes[["x", "y", "z"]].to_numpy(float))
    radius = head.nodes["radius"].to_numpy(float)
    data = np.zeros((*head.shape, head.n_volumes), np.int16)
    for t in range(head.n_volumes):
        squeezed = 1.0
        if head.distortion:
            straight, squeezed = head.undistort(apply_affine(np.linalg.inv(head.moved[t]), world))
            template = head.from_t1w(apply_affine(back, straight))
        else:
            template = head.from_t1w(apply_affine(back @ np.linalg.inv(head.moved[t]), world))
        away, owner = nearest.query(template, distance_upper_bound=FAR + radius.max())
        near = np.isfinite(away)
        signals = head.signals(t * head.repetition_time + times)
        own = owner[near]
        wave = np.zeros(len(world))
        wave[near] = np.clip((radius[own] + 5 - away[near]) / 4, 0, 1) * signals[plane[near], own]
        steady = 1 + 0.35 * np.exp(-t) if t < dummies else 1.0
        values = _sample(_tissue()["epi"], template) * (1 + percent / 100 * wave) * steady * squeezed
        values *= 1 + drift * (t / head.n_volumes - 0.5)
        values += noise * 0.75 * rng.standard_normal(len(world))
        data[..., t] = (values * 4000).clip(0).reshape(head.shape)
    image = nib.Nifti1Image(data, head.bold_affine)
    image.header.set_zooms((*image.header.get_zooms()[:3], 1.7))  # wrong on purpose, as converters write it
    image.header.set_xyzt_units("mm", "sec")
    return image


def write_phantom(
    root: Path, nodes: pd.DataFrame, n_subjects: int = 1, n_volumes: int = 40, t1w_voxel: float = 2.5, **settings
) -> list[Head]:
    """Write a BIDS dataset of simulated people.

    Parameters
    ----------
    root : path
    nodes : DataFrame
        `name`, `x`, `y`, `z`, `radius` of the regions that have a signal.
    n_subjects, n_volumes : int
    t1w_voxel : float
        mm.
    **settings
        Of `Head` (`voxel`, `motion`, `slice_times`, ...) and `bold_image` (`noise`, `percent`, `drift`, `dummies`).

    Returns
    -------
    list of Head
        The truth, one a participant.
    """
    of_image = {key: settings.pop(key) for key in ("noise", "percent", "drift", "dummies") if key in settings}
    seconds = settings.pop("repetition_time", 2.0)
    seed = settings.pop("seed", 0)
    heads = [Head(nodes, n_volumes, seconds, seed=seed + 10 * k, **settings) for k in range(n_subjects)]
    root.mkdir(parents=True, exist_ok=True)
    names = [f"sub-{k + 1:02d}" for k in range(n_subjects)]
    for name, head in zip(names, heads, strict=True):
        (root / name / "anat").mkdir(parents=True)
        (root / name / "func").mkdir()
        nib.save(t1w_image(head, t1w_voxel), root / name / "anat" / f"{name}_T1w.nii.gz")
        stem = root / name / "func" / f"{name}_task-rest_bold"
        nib.save(bold_image(head, **of_image), f"{stem}.nii.gz")
        sidecar = {"RepetitionTime": seconds, "TaskName": "rest", "PhaseEncodingDirection": head.phase}
        if head.slice_times is not None:
            sidecar["SliceTiming"] = np.asarray(head.slice_times).round(4).tolist()
        Path(f"{stem}.json").write_text(json.dumps(sidecar))
    (root / "dataset_description.json").write_text(json.dumps({"Name": "phantom", "BIDSVersion": "1.9.0"}))
    table = pd.DataFrame(
        {"participant_id": names, "group": ["DYT", "HC"] * (n_subjects // 2) + ["HC"] * (n_subjects % 2)}
    )
    table = table.assign(age=[40 + 3 * k for k in range(n_subjects)], sex=["F", "M"][n_subjects % 2], site="phantom")
    table.to_csv(root / "participants.tsv", sep="\t", index=False)
    return heads
