"""Regional averages of a full-size run (104 x 104 x 72 voxels x 400 volumes, int16, .nii.gz) against nilearn and gzip.

python benchmarks/regions.py [--repeats 3] [--volumes 400]
Every measurement is a process of its own on the same file, after one that does not count, and each round measures
everything once. Time is that of the call, without imports; memory is the peak of the process. Writes
benchmarks/results/regions.json.
"""

import argparse
import gzip
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

OUT = Path(__file__).parent / "results"
SHAPE = (104, 104, 72)
WAYS = ("ours_spheres", "nilearn_spheres", "ours_labels", "nilearn_labels", "ours_quality", "gzip", "isal")


def make_run(folder: Path, n_volumes: int) -> None:
    """Write a run with a brain of 2 mm voxels, tSNR 100, its mask, and 270 labels on another grid."""
    rng = np.random.default_rng(0)
    affine = nib.affines.from_matvec(np.diag([2.0, 2, 2]), [-104.3, -122.1, -64.2])
    centres = nib.affines.apply_affine(affine, np.argwhere(np.ones(SHAPE, bool)))
    inside = (((centres - [0, -18, 8]) / [70, 86, 64]) ** 2).sum(1).reshape(SHAPE) < 1
    level = np.where(inside, 1000 + 200 * rng.standard_normal(SHAPE), 10).astype(np.float32)
    noise = np.where(inside, 10, 3).astype(np.float32)
    header = nib.Nifti1Image(np.empty((*SHAPE, 1), np.int16), affine).header
    header.set_data_shape((*SHAPE, n_volumes))
    header.set_zooms((2, 2, 2, 0.9))
    header.set_slope_inter(1, 0)
    header.set_sform(affine, "mni")
    with gzip.open(folder / "bold.nii.gz", "wb", compresslevel=1) as file:
        file.write(header.binaryblock + bytes(4))
        for _ in range(n_volumes):
            volume = level + noise * rng.standard_normal(SHAPE, dtype=np.float32)
            file.write(np.rint(volume).astype(np.int16).tobytes(order="F"))
    nib.save(nib.Nifti1Image(inside.astype(np.uint8), affine), folder / "mask.nii.gz")
    grid = nib.affines.from_matvec(np.diag([-2.0, 2, 2]), [90, -126, -72])
    labels = np.zeros((91, 109, 91), np.int16)
    centres = nib.affines.apply_affine(grid, np.argwhere(labels == 0))
    brain = (((centres - [0, -18, 8]) / [68, 84, 62]) ** 2).sum(1) < 1
    seeds = centres[brain][rng.choice(brain.sum(), 270, replace=False)]
    labels.reshape(-1)[brain] = cKDTree(seeds).query(centres[brain])[1] + 1
    nib.save(nib.Nifti1Image(labels, grid), folder / "labels.nii.gz")


def measure(way: str, folder: Path) -> dict:
    """Do one thing in this process: wall and CPU seconds of the call, and peak memory."""
    bold, mask, labels = (folder / f"{name}.nii.gz" for name in ("bold", "mask", "labels"))
    run = _call(way, bold, mask, labels)
    start, cpu = time.perf_counter(), time.process_time()
    run()
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _call(way: str, bold: Path, mask: Path, labels: Path):
    if way in ("gzip", "isal"):
        return lambda: _read(way, bold)
    from dysconnect.data.atlas import load_atlas

    spheres = _inside(load_atlas("seitzman300"), nib.load(mask))
    if way.startswith("nilearn"):
        from nilearn.maskers import NiftiLabelsMasker, NiftiSpheresMasker

        same = {"mask_img": str(mask), "standardize": None}
        if way == "nilearn_labels":
            return lambda: NiftiLabelsMasker(str(labels), **same).fit_transform(str(bold))
        seeds = spheres[["x", "y", "z"]].to_numpy().tolist()
        return lambda: NiftiSpheresMasker(seeds, radius=5.0, allow_overlap=True, **same).fit_transform(str(bold))
    from dysconnect.data.images.regions import regional_series
    from dysconnect.preprocess.quality import Brain

    if way == "ours_spheres":
        return lambda: regional_series(bold, mask, spheres)
    table = pd.DataFrame({"node": range(1, 271), "name": map(str, range(270)), "system": "cortex"})
    watcher = Brain(table) if way == "ours_quality" else None
    return lambda: regional_series(bold, mask, table, labels, watcher=watcher)


def _inside(nodes, mask: nib.Nifti1Image):
    """Regions with their centre in the mask: nilearn refuses the others. One radius for all: it knows no other."""
    voxels = np.rint(nib.affines.apply_affine(np.linalg.inv(mask.affine), nodes[["x", "y", "z"]].to_numpy()))
    return nodes[np.asarray(mask.dataobj)[tuple(voxels.astype(int).T)] > 0].assign(radius=5.0)


def _read(way: str, path: Path) -> None:
    """Read and unpack, and do nothing."""
    if way == "isal":
        from isal import igzip

        opener = igzip.open
    else:
        opener = gzip.open
    with opener(path, "rb") as file:
        while file.read(1 << 23):
            pass


def main() -> None:
    """Measure every way in turn, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--volumes", type=int, default=400)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.way:
        print(json.dumps(measure(told.way, told.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_run(Path(folder), told.volumes)
        rounds = [_round(folder) for _ in range(told.repeats + 1)][1:]
    measured = {
        way: {key: float(np.median([each[way][key] for each in rounds])) for key in ("seconds", "cpu", "peak_mb")}
        for way in WAYS
    }
    _save(measured, f"{' x '.join(map(str, SHAPE))} x {told.volumes} int16 .nii.gz")


def _round(folder: str) -> dict[str, dict]:
    def once(way: str) -> dict:
        command = [sys.executable, __file__, "--way", way, "--folder", folder]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    return {way: once(way) for way in WAYS}


def _save(measured: dict[str, dict], what: str) -> None:
    comparisons = [
        ("ours_spheres", "nilearn_spheres", "300 spheres", 5),
        ("ours_labels", "nilearn_labels", "270 labels on another grid", 5),
        ("ours_spheres", "gzip", "300 spheres against reading alone, gzip", 1 / 1.3),
        ("ours_labels", "gzip", "270 labels against reading alone, gzip", 1 / 1.3),
        ("ours_spheres", "isal", "300 spheres against reading alone, isal", 1 / 1.3),
        ("ours_labels", "isal", "270 labels against reading alone, isal", 1 / 1.3),
        ("ours_quality", "gzip", "270 labels with quality measures against reading alone, gzip", 1 / 1.3),
    ]
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    versions = {name: version(name) for name in ("numpy", "scipy", "nibabel", "nilearn", "isal")}
    rows = []
    for ours, peer, title, goal in comparisons:
        own, other = measured[ours], measured[peer]
        ratio = other["seconds"] / own["seconds"]
        rows.append(
            {
                "what": f"{title}, {what}", "ours": own["seconds"], "peer": other["seconds"], "against": peer,
                "unit": "s", "ratio": round(ratio, 2), "goal": round(goal, 2), "ours_cpu": own["cpu"],
                "peer_cpu": other["cpu"], "ours_peak_mb": round(own["peak_mb"]),
                "peer_peak_mb": round(other["peak_mb"]), "machine": machine, "versions": versions,
            }
        )  # fmt: skip
        print(
            f"{title}: {ratio:.2f} x as fast as {peer} ({own['seconds']:.2f} s, {other['seconds']:.2f} s; CPU "
            f"{own['cpu']:.2f} s, {other['cpu']:.2f} s; {own['peak_mb']:.0f} MB, {other['peak_mb']:.0f} MB)"
        )
    OUT.mkdir(exist_ok=True)
    (OUT / "regions.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
