"""A cohort of tiny scans through `preprocess` and `timeseries`, with one of every trouble: what quality must show."""

import json
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dysconnect.data.series import read_index
from dysconnect.preprocess.subject import preprocess_subject
from dysconnect.timeseries import prepare_cohort

SHAPE, TR = (20, 25, 22), 2.0
AFFINE = nib.affines.from_matvec(np.diag([8.0, 8, 8]), [-76, -108, -72])
SPIKES = (30, 31, 60, 90)
NOISY, MOVING, CUT, FAILED, WILD, ASKEW = (f"sub-{k:02d}" for k in range(1, 7))


def scanned_cohort(folder: Path, nodes: pd.DataFrame, spec: dict, n: int = 12, volumes: int = 120) -> SimpleNamespace:
    """Write, preprocess and denoise `n` people: one with noise, one who moves, one whose scan is cut below, one without
    a scan, one who moves too much to be used, one whose registration went wrong; the others are well.
    """
    nodes = nodes.assign(radius=9.0)
    rows = [_scanned(folder, f"sub-{k:02d}", nodes, volumes, k) for k in range(1, n + 1)]
    index = folder / "preprocess/series.tsv"
    pd.DataFrame(rows).to_csv(index, sep="\t", index=False)
    names = [row["participant_id"] for row in rows]
    rng = np.random.default_rng(0)
    people = pd.DataFrame({"participant_id": names, "group": np.where(np.arange(n) % 2, "HC", "DYT")})
    people = people.assign(age=rng.integers(20, 70, n).astype(float), sex=rng.choice(["F", "M"], n), site="A <1>")
    labels = {"atlas": "tiny", "denoise": spec["name"]}
    kept = prepare_cohort(people, read_index(index), nodes, spec, folder / "timeseries", labels)
    kept[1].to_csv(folder / "timeseries/series.tsv", sep="\t", index=False)
    return SimpleNamespace(
        index=index, denoised=folder / "timeseries/series.tsv", participants=kept[0], nodes=nodes, folder=folder
    )


def _scanned(folder: Path, name: str, nodes: pd.DataFrame, volumes: int, seed: int) -> dict:
    """One person's row of the index of regional series, with what the engine would have told."""
    entry = {"participant_id": name, "bold": "", "mask": "", "confounds": "", "problem": ""}
    if name == FAILED:
        entry["problem"] = "sub-04_bold.nii.gz is cut short or damaged <after volume 7>; fetch it again"
    else:
        entry |= _written(folder / "raw" / name, nodes, volumes, name, seed)
    row = preprocess_subject(entry, nodes, folder / "preprocess/series", {})
    if row["problem"]:
        return row | {"engine": "", "registration": ""}
    told = {
        "measures": {"dice_t1w_template": 0.55 if name == ASKEW else 0.97 + 0.001 * (seed % 5), "dice_bold_t1w": 0.91},
        "volumes_left_out": seed % 2, "slice_timing": True, "susceptibility": "not corrected",
        "template": "MNI152NLin2009cAsym", "seconds": {"motion": 20.0, "series": 3.0}, "peak_memory_mb": 1700,
    }  # fmt: skip
    engine = folder / f"preprocess/bold/{name}_desc-engine.json"
    engine.parent.mkdir(exist_ok=True)
    engine.write_text(json.dumps(told))
    figure = Figure(figsize=(4, 2))
    figure.add_subplot().imshow(np.eye(4))
    figure.savefig(folder / f"preprocess/quality/{name}_registration.png")
    return row | {"engine": f"bold/{engine.name}", "registration": f"quality/{name}_registration.png"}


def _written(folder: Path, nodes: pd.DataFrame, volumes: int, name: str, seed: int) -> dict:
    """A run whose regions have slow signals of their own, its mask and its confounds."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    noise = 120.0 if name == NOISY else 12.0
    data = 1000 + noise * rng.standard_normal((*SHAPE, volumes), dtype=np.float32)
    for xyz in nodes[["x", "y", "z"]].to_numpy(float):
        i, j, k = np.round(nib.affines.apply_affine(np.linalg.inv(AFFINE), xyz)).astype(int)
        slow = np.convolve(rng.standard_normal(volumes + 9), np.ones(10) / 3, "valid")
        data[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2] += 10 * slow
    motion = 0.02 * rng.standard_normal((volumes, 6))
    if name == MOVING:
        motion[SPIKES, 0] += 1.5
        data[..., SPIKES] += 60
    if name == WILD:
        motion[:, 1] += np.where(np.arange(volumes) % 2, 0.8, 0)
    columns = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]
    table = pd.DataFrame(motion * ([1] * 3 + [0.02] * 3), columns=columns)
    table["framewise_displacement"] = (table.diff().abs() * ([1] * 3 + [50] * 3)).sum(axis=1, skipna=False)
    table.to_csv(folder / "confounds.tsv", sep="\t", index=False, na_rep="n/a")
    mask = np.ones(SHAPE, np.uint8)
    mask[:, :, : 7 if name == CUT else 0] = 0
    nib.save(nib.Nifti1Image(mask, AFFINE), folder / "mask.nii")
    image = nib.Nifti1Image(data, AFFINE)
    image.header.set_zooms((8, 8, 8, TR))
    nib.save(image, folder / f"{name}_bold.nii")
    (folder / f"{name}_bold.json").write_text(json.dumps({"RepetitionTime": TR}))
    paths = {"bold": f"{name}_bold.nii", "mask": "mask.nii", "confounds": "confounds.tsv"}
    return {key: str(folder / path) for key, path in paths.items()}
