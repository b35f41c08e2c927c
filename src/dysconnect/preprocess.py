"""Stage `preprocess`: from BOLD in atlas space, with its confounds, to regional averages of everybody.

The engine here takes what fMRIPrep left (`dataset=derivatives`): images in MNI space and confounds tables.
"""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.spatial import cKDTree

from dysconnect.progress import track
from dysconnect.series import series_hash, write_series


def sphere_weights(nodes: pd.DataFrame, affine: np.ndarray, mask: np.ndarray) -> sparse.csr_array:
    """Averaging over spheres as one sparse matrix, [N, voxels in the mask].

    Parameters
    ----------
    nodes : DataFrame, [N rows]
        `x`, `y`, `z` (MNI mm) and `radius` (mm).
    affine : array, [4, 4]
        Voxel to MNI mm.
    mask : array of bool, [X, Y, Z]

    Returns
    -------
    csr_array
        Rows sum to one; a sphere outside the mask is an empty row.
    """
    if nodes["radius"].isna().any():
        raise ValueError(
            "this atlas has no radius for its regions: images need spheres. Set atlas=seitzman300, or add a "
            "radius column (mm) to your table."
        )
    centres = nib.affines.apply_affine(affine, np.argwhere(mask))
    tree = cKDTree(centres)
    members = tree.query_ball_point(nodes[["x", "y", "z"]].to_numpy(float), nodes["radius"].to_numpy(float))
    counts = np.array([len(own) for own in members])
    columns = np.concatenate([np.asarray(own, int) for own in members]) if counts.any() else np.array([], int)
    weights = np.repeat(1 / np.maximum(counts, 1), counts)
    rows = np.repeat(np.arange(len(nodes)), counts)
    return sparse.csr_array((weights, (rows, columns)), shape=(len(nodes), len(centres)))


def regional_series(bold: str | Path, mask: str | Path | None, nodes: pd.DataFrame) -> tuple[np.ndarray, float]:
    """Average BOLD in the atlas's spheres on the native grid.

    Returns
    -------
    series : array, [T, N]
        Zero throughout for a region outside the field of view.
    repetition_time : float
        Seconds, of the sidecar; of the header where there is none.

    Raises
    ------
    ValueError
        When the image is not four-dimensional, or sidecar and header give no repetition time.
    """
    image = nib.load(bold)
    if image.ndim != 4:
        raise ValueError(f"{Path(bold).name} has {image.ndim} dimensions, expected 4 (x, y, z, time)")
    data = np.asanyarray(image.dataobj)
    inside = np.asarray(nib.load(mask).dataobj) > 0.5 if mask else data.std(-1) > 0
    if inside.shape != data.shape[:3]:
        raise ValueError(f"{Path(mask).name} has shape {inside.shape}, the BOLD {data.shape[:3]}")
    series = (sphere_weights(nodes, image.affine, inside) @ data[inside].astype(np.float32)).T
    return np.asarray(series, float), repetition_time(bold, image)


def repetition_time(bold: str | Path, image: nib.Nifti1Image) -> float:
    """Seconds between volumes: the sidecar's word counts; converters put other things into headers."""
    sidecar = Path(str(bold).removesuffix(".gz").removesuffix(".nii") + ".json")
    if sidecar.exists():
        told = json.loads(sidecar.read_text()).get("RepetitionTime")
        if told:
            return float(told)
    header = float(image.header.get_zooms()[3])
    if header <= 0:
        raise ValueError(
            f"{Path(bold).name}: no repetition time in header or sidecar; add a sidecar with RepetitionTime"
        )
    return header


def preprocess_cohort(index: pd.DataFrame, nodes: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Average everybody's BOLD in regions and write one table each; a failed subject fails alone.

    Parameters
    ----------
    index : DataFrame
        From `acquire`: `participant_id`, `bold`, `mask`, `confounds`.
    nodes : DataFrame, [N rows]
    folder : path
        Where the series go.

    Returns
    -------
    DataFrame
        Index of series: `participant_id`, `series`, `key`, `confounds`, `repetition_time`, `sha256`, `problem`.
    """
    rows = []
    for entry in track(list(index.itertuples()), "averaging BOLD in regions"):
        path = folder / f"{entry.participant_id}_desc-regional_timeseries.tsv"
        row = {"participant_id": entry.participant_id, "series": "", "key": "", "confounds": entry.confounds}
        try:
            series, seconds = regional_series(entry.bold, entry.mask or None, nodes)
            write_series(series, nodes["name"], path)
            row |= {"series": f"{folder.name}/{path.name}", "repetition_time": seconds}
            row |= {"sha256": series_hash(path.read_bytes()), "problem": ""}
        except (ValueError, OSError, EOFError, nib.filebasedimages.ImageFileError) as problem:
            row |= {"repetition_time": 0.0, "sha256": "", "problem": f"{problem}"}
            print(f"{entry.participant_id}: {problem}; goes on without.", flush=True)
        rows.append(row)
    return pd.DataFrame(rows)
