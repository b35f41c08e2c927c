"""Rigid motion of a synthetic run with known answers: ours against ants.motion_correction, in one process.

python benchmarks/motion.py [--volumes 20] [--bold RUN.nii.gz]
Writes benchmarks/results/motion.json. With --bold both also run on that image, to the same reference, and their
agreement is printed.
"""

import argparse
import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import ants
import nibabel as nib
import numpy as np
import torch
from nilearn.datasets import load_mni152_template
from scipy import ndimage

from dysconnect.preprocess.motion import centre_of_mass, foreground, register, rigid_matrices

OUT = Path(__file__).parent / "results"
SHAPE, SPACING, TSNR = (64, 64, 30), (3.0, 3.0, 4.0), 70
LPS = np.diag([-1.0, -1, 1, 1])  # ANTs counts left and posterior, nibabel right and anterior


def synthetic_run(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The MNI template as a noisy, tilted, anisotropic run: volumes, affine, mask, true matrices."""
    rng = np.random.default_rng(0)
    template = load_mni152_template(resolution=2)
    image = ndimage.gaussian_filter(template.get_fdata(), 1.0)
    image = ndimage.spline_filter(image * 1000 / image.max())
    affine = rigid_matrices(np.r_[0, 0, 0, 0.2, -0.1, 0.1][None], np.zeros(3))[0] @ np.diag([*SPACING, 1])
    affine[:3, 3] = [0, -18, 12] - affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    grid = np.linalg.inv(template.affine), np.argwhere(np.ones(SHAPE))

    def seen(matrix):
        places = nib.affines.apply_affine(grid[0] @ matrix @ affine, grid[1]).T
        return ndimage.map_coordinates(image, places, prefilter=False).reshape(SHAPE)

    mask = ndimage.binary_fill_holes(ndimage.binary_opening(seen(np.eye(4)) > 200))
    parameters = ndimage.gaussian_filter1d(np.cumsum(rng.standard_normal((n, 6)), 0), 2, axis=0)
    parameters = (parameters - parameters[0]) / np.abs(parameters - parameters[0]).max(0)
    parameters[[n // 2, n - 3]] += rng.uniform(-2, 2, (2, 6))
    parameters[:5] = 0
    parameters[:, 3:] = np.deg2rad(parameters[:, 3:])
    matrices = rigid_matrices(parameters, centre_of_mass(mask, affine))
    volumes = np.stack([seen(matrix) for matrix in matrices], -1)
    noise = volumes[mask].mean() / TSNR * rng.standard_normal(volumes.shape)
    return (volumes + noise).astype(np.float32), affine, mask, matrices


def ants_image(data: np.ndarray, affine: np.ndarray) -> ants.core.ants_image.ANTsImage:
    """Array and affine as an ANTs image, three- or four-dimensional."""
    axes = (LPS @ affine)[:3]
    spacing, direction = np.linalg.norm(axes[:, :3], axis=0), np.eye(data.ndim)
    direction[:3, :3] = axes[:, :3] / spacing
    origin, time_step = axes[:, 3].tolist(), [1.0] * (data.ndim - 3)
    return ants.from_numpy(
        np.asarray(data, np.float32), [*origin, *np.zeros(data.ndim - 3)], [*spacing, *time_step], direction
    )


def ants_motion(volumes: np.ndarray, affine: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Matrices of ants.motion_correction, volume to reference in nibabel's axes, [T, 4, 4]."""
    done = ants.motion_correction(ants_image(volumes, affine), fixed=ants_image(reference, affine))
    matrices = []
    for files in done["motion_parameters"]:
        step = ants.read_transform(files[0])
        corners = np.array([step.apply_to_point(point) for point in np.r_[np.zeros((1, 3)), np.eye(3)].tolist()])
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = (corners[1:] - corners[0]).T, corners[0]
        matrices.append(LPS @ np.linalg.inv(matrix) @ LPS)
    return np.stack(matrices)


def apart(found: np.ndarray, true: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> tuple[float, float]:
    """Largest and root mean square displacement between two estimates at the edge of the brain, mm."""
    edge = nib.affines.apply_affine(affine, np.argwhere(mask & ~ndimage.binary_erosion(mask)))
    distance = np.linalg.norm((np.c_[edge, np.ones(len(edge))] @ (found - true).transpose(0, 2, 1))[..., :3], axis=2)
    return float(distance.max()), float(np.sqrt((distance**2).mean()))


def timed(run) -> tuple[np.ndarray, np.ndarray]:
    """Result of one call, its wall and its processor time."""
    start = np.array([time.perf_counter(), time.process_time()])
    return run(), np.array([time.perf_counter(), time.process_time()]) - start


def compare(n: int) -> list[dict]:
    """Time and error of both on the synthetic run."""
    volumes, affine, mask, true = synthetic_run(n)
    register(volumes[..., :2], affine, volumes[..., 0], mask, "cpu")
    found, ours = timed(lambda: register(volumes, affine, mask=mask, device="cpu"))
    other, peer = timed(lambda: ants_motion(volumes, affine, found.reference))
    what = f"rigid motion, {n} volumes of {' x '.join(map(str, SHAPE))}, CPU"
    units = zip(("s", "CPU s"), ours.tolist(), peer.tolist())
    rows = [{"what": what, "ours": ours, "peer": peer, "unit": unit, "goal": 5} for unit, ours, peer in units]
    errors = zip(("largest", "RMS"), apart(found.matrices, true, mask, affine), apart(other, true, mask, affine))
    for name, ours, peer in errors:
        what = f"{name} error at the edge of the brain, tSNR {TSNR}"
        rows.append({"what": what, "ours": ours, "peer": peer, "unit": "mm", "goal": 1})
    return rows


def agreement(path: Path, n: int) -> None:
    """Print how far apart both are on a real run, registered to the same reference."""
    image = nib.load(path)
    chosen = np.linspace(0, image.shape[3] - 1, n).round().astype(int)
    volumes = np.asarray(image.dataobj, np.float32)[..., chosen]
    found = register(volumes, image.affine, device="cpu")
    largest, typical = apart(
        found.matrices,
        ants_motion(volumes, image.affine, found.reference),
        foreground(found.reference, image.affine),
        image.affine,
    )
    print(f"{path.name}, {n} volumes: ours and ANTs differ by {typical:.3f} mm (RMS), {largest:.3f} mm at most")


def main() -> None:
    """Run, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, default=20)
    parser.add_argument("--bold", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", str(torch.get_num_threads()))
    OUT.mkdir(exist_ok=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    versions = {name: version(name) for name in ("numpy", "scipy", "torch", "antspyx", "nilearn")}
    rows = []
    for row in compare(options.volumes):
        ratio = round(row["peer"] / row["ours"], 1)
        rows.append({**row, "against": "ants.motion_correction", "ratio": ratio})
        rows[-1] |= {"machine": machine, "versions": versions}
        print(f"{row['what']}: ours {row['ours']:.3f} {row['unit']}, ANTs {row['peer']:.3f} ({ratio} x)")
    (OUT / "motion.json").write_text(json.dumps(rows, indent=1))
    if options.bold:
        agreement(options.bold, options.volumes)


if __name__ == "__main__":
    main()
