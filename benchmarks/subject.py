"""Cost of one person of ds006395's size through the engine `ants`: core-minutes, peak memory, and where they go.

python benchmarks/subject.py [--volumes 400] [--set save_mni=true]
A simulated head (T1w of 1 mm; BOLD of 104 x 104 x 72 voxels of 2 mm, 0.9 s, slice times as of a multiband sequence)
goes to a temporary folder (0.5 GB) and is preprocessed in a process of its own. Writes benchmarks/results/subject.json.
"""

import argparse
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
from scipy import ndimage

OUT = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[1]
SHAPE, SECONDS = (104, 104, 72), 0.9


def make_person(folder: Path, n_volumes: int) -> None:
    """Write a T1w, and a run of one volume that moves, with noise."""
    sys.path.insert(0, str(ROOT / "tests"))
    from phantom import Head, bold_image, t1w_image

    from dysconnect.data.atlas import load_atlas

    times = np.tile(np.linspace(0, 0.82, 9), 8)
    head = Head(load_atlas("seitzman300"), n_volumes, SECONDS, seed=5, voxel=2.0, shape=SHAPE, slice_times=times)
    head.n_volumes = 1
    first = np.asarray(bold_image(head, noise=0).dataobj[..., 0], np.float32)
    affine, rng = head.bold_affine, np.random.default_rng(0)
    data = np.empty((*SHAPE, n_volumes), np.int16, order="F")
    for t in range(n_volumes):
        step = np.linalg.inv(affine) @ np.linalg.inv(head.moved[t]) @ affine
        volume = ndimage.affine_transform(first, step[:3, :3], step[:3, 3], order=1)
        data[..., t] = (volume + 40 * rng.standard_normal(SHAPE, dtype=np.float32)).clip(0)
    image = nib.Nifti1Image(data, affine)
    image.header.set_zooms((2, 2, 2, SECONDS))
    image.header.set_xyzt_units("mm", "sec")
    nib.openers.Opener.default_compresslevel = 1
    nib.save(image, folder / "sub-01_task-rest_bold.nii.gz")
    sidecar = {"RepetitionTime": SECONDS, "SliceTiming": times.tolist(), "PhaseEncodingDirection": "j"}
    (folder / "sub-01_task-rest_bold.json").write_text(json.dumps(sidecar))
    nib.save(t1w_image(head, 1.0), folder / "sub-01_T1w.nii.gz")


def measure(folder: Path, settings: dict) -> dict:
    """Preprocess the person in this process."""
    start, cpu = time.perf_counter(), time.process_time()
    from dysconnect.data.atlas import load_atlas
    from dysconnect.preprocess.ants import run_subject

    scan = {
        "participant_id": "sub-01",
        "bold": f"{folder}/sub-01_task-rest_bold.nii.gz",
        "t1w": f"{folder}/sub-01_T1w.nii.gz",
    }
    row = run_subject(scan, load_atlas("seitzman300"), {}, folder / "out" / "series", settings)
    engine = json.loads(Path(row["engine"]).read_text())
    return {
        "problem": row["problem"],
        "seconds": time.perf_counter() - start,
        "core_minutes": (time.process_time() - cpu) / 60,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "steps": engine["seconds"],
        "measures": engine["measures"],
    }


def main() -> None:
    """Make the person, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=400)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of configs/preprocess/ants.yaml")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    settings = _settings(told.set)
    if told.folder:
        print(json.dumps(measure(told.folder, settings)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_person(Path(folder), told.volumes)
        command = [sys.executable, __file__, "--folder", folder, "--set", *told.set]
        done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    print(f"{done['core_minutes']:.1f} core-minutes, {done['seconds']:.0f} s, {done['peak_mb'] / 1e3:.1f} GB at most")
    for name, seconds in done["steps"].items():
        print(f"  {name:20} {seconds:6.1f} s")
    print("  " + ", ".join(f"{name} {value:.3f}" for name, value in done["measures"].items()))
    told_of = {
        "what": f"one person, {' x '.join(map(str, SHAPE))} x {told.volumes}, engine ants",
        "settings": settings,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("antspyx", "numpy", "scipy", "torch")},
    }
    OUT.mkdir(exist_ok=True)
    (OUT / "subject.json").write_text(json.dumps([told_of | done], indent=1))


def _settings(changes: list[str]) -> dict:
    import yaml

    own = yaml.safe_load((ROOT / "configs/preprocess/ants.yaml").read_text())
    return own | {key: yaml.safe_load(value) for key, value in (change.split("=", 1) for change in changes)}


if __name__ == "__main__":
    main()
