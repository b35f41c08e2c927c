"""The engine of motion correction: many volumes against one reference by least squares, in torch.

Poses are rigid 4 x 4 matrices, volume to reference, in mm from a centre that the caller chose.
"""

from dataclasses import dataclass
from itertools import pairwise

import nibabel as nib
import numpy as np
import torch

RADIUS = 50.0  # mm, makes rotations comparable with translations
ITERATIONS = 15  # a level
TUKEY = 4.685  # robust standard deviations: 95 % efficiency for normal noise
MAX_STEP = 8.0  # mm a step, so that a poor first step cannot throw a volume out of the field of view
CHUNK_BYTES = 64e6


@dataclass(frozen=True)
class Level:
    """One scale of the problem; coordinates are mm from the centre."""

    field: torch.Tensor  # [1, 5, X', Y', Z']: weight, intensity, its gradient (per mm)
    points: torch.Tensor  # [n, 3]
    to_grid: torch.Tensor  # [4, 3]: point (x, y, z, 1) to grid_sample's coordinates
    smoothing: tuple[torch.Tensor, ...]  # three matrices, [points along the axis, voxels along the axis]
    chosen: torch.Tensor  # which of the smoothed points are `points`, flat index


def _gaussian(positions: torch.Tensor, n: int, sigma: float, derivative: bool = False) -> torch.Tensor:
    """Weights (or their slope, per voxel) that smooth n samples at any positions, [positions, n]; rows sum to one."""
    away = positions[:, None] - torch.arange(n, dtype=positions.dtype, device=positions.device)
    kernel = torch.exp(-0.5 * (away / sigma) ** 2)
    weights = kernel / kernel.sum(1, keepdim=True)
    if not derivative:
        return weights
    slope = -away / sigma**2
    return weights * (slope - (weights * slope).sum(1, keepdim=True))


def _separable(volumes: torch.Tensor, matrices: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Apply one matrix to each spatial axis, [k, X, Y, Z] to [k, X', Y', Z']."""
    volumes = torch.einsum("zc,kabc->kabz", matrices[2], volumes)
    volumes = torch.einsum("yb,kabz->kayz", matrices[1], volumes)
    return torch.einsum("xa,kayz->kxyz", matrices[0], volumes)


def build_level(
    reference: np.ndarray,
    mask: np.ndarray,
    affine: np.ndarray,
    centre: np.ndarray,
    fwhm: float,
    distance: float,
    device: torch.device,
) -> Level:
    """Smooth the reference with its gradient on a fine grid, and choose the points of the volumes to compare.

    Parameters
    ----------
    reference, mask : array, [X, Y, Z]
    affine : array, [4, 4]
        Voxel to scanner mm.
    centre : array, [3]
        mm; the poses turn about it.
    fwhm, distance : float
        Width of the smoothing and distance between points, mm.
    device : torch.device

    Returns
    -------
    Level
    """
    shape, spacing = reference.shape, nib.affines.voxel_sizes(affine)
    # below 0.7 voxels a sampled Gaussian is no Gaussian any more
    sigma = np.maximum(fwhm / 2.3548 / spacing, 0.7)
    finer = np.ceil(2 / sigma).astype(int).clip(1)
    kind = {"dtype": torch.float32, "device": device}
    fine = [torch.linspace(0, n - 1, (n - 1) * k + 1, **kind) for n, k in zip(shape, finer)]
    stride = np.round(distance / spacing).astype(int).clip(1)
    coarse = [torch.arange((n - 1) % s // 2, n, s, **kind) for n, s in zip(shape, stride)]
    scale = reference[mask].std()
    images = torch.as_tensor(np.stack([mask, (reference - reference[mask].mean()) / scale]), **kind)
    field = _field(images, fine, sigma, affine, _edges(fine, shape, spacing, fwhm / 2))
    smoothing = tuple(_gaussian(at, n, s).float() for at, n, s in zip(coarse, shape, sigma))
    inside = _separable(images[:1].float(), smoothing)[0] * _edges(coarse, shape, spacing, fwhm / 2) > 0.05
    voxels = torch.stack(torch.meshgrid(*coarse, indexing="ij"), -1)[inside]
    affine = torch.as_tensor(np.asarray(affine, float), **kind)
    back, centre = torch.linalg.inv(affine[:3, :3]), torch.as_tensor(centre, **kind)
    scaled = 2 / (torch.tensor(shape, **kind) - 1)
    to_grid = torch.cat([back.T * scaled, ((back @ (centre - affine[:3, 3])) * scaled - 1)[None]])
    points = voxels @ affine[:3, :3].T + affine[:3, 3] - centre
    return Level(field, points.float(), to_grid.flip(1), smoothing, inside.flatten().nonzero()[:, 0])


def _edges(positions: list[torch.Tensor], shape: tuple, spacing: np.ndarray, margin: float) -> torch.Tensor:
    """Weight that falls to zero at the border of the field of view, where the smoothing knows one side only."""
    ramps = []
    for at, n, size in zip(positions, shape, spacing):
        width = min(margin, (n - 1) * size / 6)
        ramps.append((torch.minimum(at, n - 1 - at) * size / width).clamp(0, 1))
    return ramps[0][:, None, None] * ramps[1][:, None] * ramps[2]


def _field(
    images: torch.Tensor, fine: list[torch.Tensor], sigma: np.ndarray, affine: np.ndarray, edges: torch.Tensor
) -> torch.Tensor:
    """Weight, intensity and gradient (scanner axes, per mm) on the fine grid, channels last in memory."""
    shape = images.shape[1:]
    flat = [_gaussian(at, n, s) for at, n, s in zip(fine, shape, sigma)]
    weight, intensity = _separable(images, tuple(flat)).float()
    slopes = []
    for axis in range(3):
        steep = list(flat)
        steep[axis] = _gaussian(fine[axis], shape[axis], sigma[axis], derivative=True)
        slopes.append(_separable(images[1:], tuple(steep))[0])
    back = torch.as_tensor(np.linalg.inv(np.asarray(affine, float)[:3, :3]), dtype=slopes[0].dtype, device=edges.device)
    gradient = torch.einsum("vw,vxyz->wxyz", back, torch.stack(slopes)).float()
    field = torch.cat([(weight * edges)[None], intensity[None], gradient]).float()
    return field.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)[None]


def refine_poses(
    volumes: np.ndarray | torch.Tensor, level: Level, pose: torch.Tensor, tolerance: float
) -> torch.Tensor:
    """Improve the poses of all volumes at one level.

    Parameters
    ----------
    volumes : array or tensor, [X, Y, Z, T]
    level : Level
    pose : tensor of float64, [T, 4, 4]
        Volume to reference, mm from the centre.
    tolerance : float
        A volume whose step is smaller (mm, 50 mm from the centre) is done and left out of the next iteration.

    Returns
    -------
    tensor, [T, 4, 4]

    Raises
    ------
    ValueError
        When a volume holds NaN, nothing, or cannot be registered.
    """
    wanted, pose = _targets(volumes, level), pose.clone()
    active = torch.arange(len(pose), device=pose.device)
    size = max(1, int(CHUNK_BYTES / (len(level.points) * 160)))
    for _ in range(ITERATIONS):
        steps = torch.cat([_step(wanted[rows], level, pose[rows]) for rows in active.split(size)])
        pose[active] = _exponential(steps) @ pose[active]
        moved = steps[:, :3].norm(dim=1) + RADIUS * steps[:, 3:].norm(dim=1)
        active = active[~(moved < tolerance)]
        if not len(active):
            break
    lost = ~pose.isfinite().flatten(1).all(1)
    if lost.any():
        raise ValueError(f"{_named(lost)}: cannot be registered to the reference; remove it, or check the mask")
    return pose


def _targets(volumes, level: Level) -> torch.Tensor:
    """Smoothed volumes at the level's points, [T, n], each with mean zero and standard deviation one."""
    parts, device = [], level.points.device
    for rows in _chunks(volumes.shape[3], 8 * np.prod(volumes.shape[:3])):
        parts.append(_separable(_read(volumes, rows, device), level.smoothing).flatten(1)[:, level.chosen])
    wanted = torch.cat(parts)
    bad = ~wanted.isfinite().all(1)
    if bad.any():
        raise ValueError(f"{_named(bad)}: NaN or infinity in the image; convert the scan again, or remove the volume")
    spread = wanted.std(1, keepdim=True)
    flat = spread[:, 0] <= 1e-3 * spread.median()
    if flat.any():
        raise ValueError(f"{_named(flat)}: empty or constant within the brain; convert the scan again, or remove it")
    return (wanted - wanted.mean(1, keepdim=True)) / spread


def _named(bad: torch.Tensor) -> str:
    numbers = (bad.nonzero()[:, 0] + 1).tolist()
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"volume {', '.join(map(str, numbers[:5]))}{more} of {len(bad)} (counted from 1)"


def _step(wanted: torch.Tensor, level: Level, pose: torch.Tensor) -> torch.Tensor:
    """One Gauss-Newton step of some volumes, [k, 6]: mm and radians about the centre, applied after the pose."""
    pose = pose.float()
    moved = level.points @ pose[:, :3, :3].mT + pose[:, None, :3, 3]
    grid = (moved @ level.to_grid[:3].float() + level.to_grid[3].float())[:, None, None]
    field = level.field.expand(len(pose), -1, -1, -1, -1)
    seen = torch.nn.functional.grid_sample(field, grid, align_corners=True)[:, :, 0, 0].mT
    weight, model, gradient = seen[..., :1], seen[..., 1:2], seen[..., 2:]
    brightness = torch.cat([model, torch.ones_like(model)], -1)
    fit = _solve(brightness, weight, wanted[..., None])
    residual = wanted[..., None] - brightness @ fit
    weight = weight * _tukey(residual)
    columns = torch.cat([gradient, torch.linalg.cross(moved / RADIUS, gradient), brightness], -1)
    step = _solve(columns, weight, residual)[:, :6, 0].double() / fit[:, :1, 0].double().clamp(min=0.1)
    step = step * (MAX_STEP / step.norm(dim=1, keepdim=True).clamp(min=MAX_STEP))
    return torch.cat([step[:, :3], step[:, 3:] / RADIUS], 1)


def _solve(columns: torch.Tensor, weight: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Weighted least squares of each volume by normal equations, [k, columns, 1]."""
    weighted = (columns * weight).mT
    left, right = (weighted @ columns).double(), (weighted @ wanted).double()
    # a trace of damping (Levenberg) keeps an empty direction, say of a slab, solvable
    left = left + 1e-6 * torch.diag_embed(left.diagonal(dim1=1, dim2=2) + 1e-12)
    return torch.linalg.solve(left, right).to(columns.dtype)


def _tukey(residual: torch.Tensor) -> torch.Tensor:
    """Weights against what rigid motion does not explain (spin history, eyes, flow), one scale a volume."""
    spread = 1.4826 * residual[:, ::4].abs().median(dim=1, keepdim=True).values
    return (1 - (residual / (TUKEY * spread + 1e-12)) ** 2).clamp(min=0) ** 2


def _exponential(steps: torch.Tensor) -> torch.Tensor:
    """Rigid motion of small steps, [k, 6] to [k, 4, 4]; the turn is exact, the shift comes after it."""
    x, y, z = steps[:, 3:].unbind(1)
    nought = torch.zeros_like(x)
    turning = torch.stack([nought, -z, y, z, nought, -x, -y, x, nought], 1).view(-1, 3, 3)
    motion = torch.eye(4, dtype=steps.dtype, device=steps.device).repeat(len(steps), 1, 1)
    motion[:, :3, :3] = torch.linalg.matrix_exp(turning)
    motion[:, :3, 3] = steps[:, :3]
    return motion


def _chunks(n: int, bytes_each: float) -> list[slice]:
    """Cut volumes into pieces that stay within the memory allowed."""
    size = max(1, int(CHUNK_BYTES / bytes_each))
    edges = [*range(0, n, size), n]
    return [slice(a, b) for a, b in pairwise(edges)]


def _read(volumes: np.ndarray | torch.Tensor, rows: slice, device: torch.device) -> torch.Tensor:
    """Some volumes as float32 on the device, [k, X, Y, Z]."""
    part = volumes[..., rows]
    part = (
        part
        if isinstance(part, torch.Tensor)
        else torch.from_numpy(np.ascontiguousarray(np.asarray(part, np.float32).T))
    )
    part = part.permute(3, 0, 1, 2) if isinstance(volumes, torch.Tensor) else part.permute(0, 3, 2, 1)
    return part.to(device, torch.float32)
