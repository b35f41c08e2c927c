"""Stage `preprocess`: from BOLD in atlas space, with its confounds, to regional averages of everybody.

The engine here takes what fMRIPrep left (`dataset=derivatives`): images in MNI space and confounds tables.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.spatial import cKDTree

from dysconnect.atlas.join import label_codes, label_shares
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
            "this atlas has neither a label image nor a radius for its regions, and images need one of them. Set "
            "atlas=seitzman300 or wholebrain200, name your label image in atlas.image, or add a column radius (mm)."
        )
    centres = nib.affines.apply_affine(affine, np.argwhere(mask))
    tree = cKDTree(centres)
    members = tree.query_ball_point(nodes[["x", "y", "z"]].to_numpy(float), nodes["radius"].to_numpy(float))
    counts = np.array([len(own) for own in members])
    columns = np.concatenate([np.asarray(own, int) for own in members]) if counts.any() else np.array([], int)
    weights = np.repeat(1 / np.maximum(counts, 1), counts)
    rows = np.repeat(np.arange(len(nodes)), counts)
    return sparse.csr_array((weights, (rows, columns)), shape=(len(nodes), len(centres)))


def label_weights(
    nodes: pd.DataFrame, labels_image: nib.Nifti1Image, affine: np.ndarray, mask: np.ndarray
) -> sparse.csr_array:
    """Averaging over the regions of a label image as one sparse matrix, [N, voxels in the mask].

    A voxel counts for a region by the share of it that the region fills, so that small nuclei are averaged
    on grids coarser than the atlas too.

    Parameters
    ----------
    nodes : DataFrame, [N rows]
        `node`: code of the region in the image, whatever the order of the rows.
    labels_image : Nifti1Image, [X', Y', Z']
        On any grid; codes that `nodes` does not name are left out.
    affine : array, [4, 4]
        Voxel to MNI mm, of the BOLD.
    mask : array of bool, [X, Y, Z]

    Returns
    -------
    csr_array
        Rows sum to one; a region outside the mask is an empty row.

    Raises
    ------
    ValueError
        When a node's code is not in the image at all: table and image belong to different atlases.
    """
    codes, to_mm = label_codes(labels_image)
    absent = nodes[~nodes["node"].isin(np.unique(codes))]
    if len(absent):
        raise ValueError(
            f"atlas.image has no voxel of {absent['name'].iloc[0]} (code {absent['node'].iloc[0]}) and "
            f"{len(absent) - 1} others: set atlas.nodes and atlas.image to the table and the image of one atlas."
        )
    shares = label_shares(codes, to_mm, nodes["node"].to_numpy(), affine, np.argwhere(mask))
    total = shares.sum(axis=1)
    return sparse.csr_array(sparse.diags_array(1 / np.where(total > 0, total, 1)) @ shares)


def regional_series(
    bold: str | Path, mask: str | Path | None, nodes: pd.DataFrame, image: str | Path | None = None
) -> tuple[np.ndarray, float]:
    """Average BOLD in the atlas's regions on the native grid.

    Parameters
    ----------
    bold, mask : path
        BOLD, [X, Y, Z, T], in the atlas's space; without a mask, the voxels that vary.
    nodes : DataFrame, [N rows]
        With `x`, `y`, `z` and `radius` for spheres, with `node` for a label image.
    image : path, optional
        Label image of the atlas; spheres where there is none.

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
    scan = nib.load(bold)
    if scan.ndim != 4:
        raise ValueError(f"{Path(bold).name} has {scan.ndim} dimensions, expected 4 (x, y, z, time)")
    data = np.asanyarray(scan.dataobj)
    inside = np.asarray(nib.load(mask).dataobj) > 0.5 if mask else data.std(-1) > 0
    if inside.shape != data.shape[:3]:
        raise ValueError(f"{Path(mask).name} has shape {inside.shape}, the BOLD {data.shape[:3]}")
    weights = _weights(nodes, image, scan.affine, inside)
    series = (weights @ data[inside].astype(np.float32)).T
    return np.asarray(series, float), repetition_time(bold, scan)


def _weights(nodes: pd.DataFrame, image: str | Path | None, affine: np.ndarray, inside: np.ndarray) -> sparse.csr_array:
    if image is None:
        return sphere_weights(nodes, affine, inside)
    return label_weights(nodes, nib.load(image), affine, inside)


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


def preprocess_subject(entry: Mapping, nodes: pd.DataFrame, folder: Path, atlas: Mapping) -> dict:
    """Average one subject's BOLD in regions and write the table; what goes wrong is written into the row.

    Parameters
    ----------
    entry : mapping
        Row of the index of scans: `participant_id`, `bold`, `mask`, `confounds` and, when it is known that there
        is no scan to use, `problem`.
    nodes : DataFrame, [N rows]
    folder : path
        Where the series go.
    atlas : mapping
        The `atlas` section: label image and its template, `image` and `space`, where it has them.

    Returns
    -------
    dict
        One row of the index of series: `participant_id`, `series`, `key`, `confounds`, `repetition_time` (s), `sha256`,
        `problem` ("" when all is well).
    """
    name = entry["participant_id"]
    row = {"participant_id": name, "series": "", "key": "", "confounds": entry["confounds"]}
    try:
        if entry.get("problem"):
            raise ValueError(entry["problem"])
        warn_of_space(entry["bold"], atlas.get("space"))
        series, seconds = regional_series(entry["bold"], entry["mask"] or None, nodes, atlas.get("image"))
        path = folder / f"{name}_desc-regional_timeseries.tsv"
        write_series(series, nodes["name"], path)
        row |= {"series": f"{folder.name}/{path.name}", "repetition_time": seconds}
        row |= {"sha256": series_hash(path.read_bytes()), "problem": ""}
    except (ValueError, OSError, EOFError, nib.filebasedimages.ImageFileError) as problem:
        row |= {"repetition_time": 0.0, "sha256": "", "problem": f"{problem}"}
        print(f"{name}: {problem}; goes on without.", flush=True)
    return row


def warn_of_space(bold: str | Path, space: str | None) -> None:
    """Print a line when the file's name tells another template than the atlas's.

    Parameters
    ----------
    bold : path
        BIDS name, `..._space-NAME_...`; a name without it tells nothing.
    space : str, optional
        Template of the atlas's label image; nothing is said where it is unknown.
    """
    told = re.search(r"_space-([A-Za-z0-9]+)", Path(bold).name)
    if space and told and told[1] != space:
        print(
            f"{Path(bold).name} is in {told[1]}, the atlas is in {space}: the two templates differ by up to a few mm, "
            f"which matters for small nuclei. Better is an image in {space}; goes on.",
            flush=True,
        )
