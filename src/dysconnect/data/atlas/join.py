"""Join label images of several atlases into one: painted piece by piece on one grid, a later piece over an earlier.

What is joined is data: the `sources` (files, licence, citation) and `pieces` of ``configs/atlas/wholebrain*.yaml``,
and the names of their labels in ``names.tsv``.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from scipy import sparse

from dysconnect.data.atlas import COORDINATES, FOLDER, REQUIRED

POINTS = 4  # along each edge of a voxel; even, so that no point of nested grids (2 mm on 1 mm) falls on a border
CHUNK = 2048  # voxels whose labels are looked up at a time
WHOLE = 0.01  # how far a stored label may be from a whole number
COLUMNS = (*REQUIRED, "radius", "source", "source_label", "voxels", "lost")


@dataclass(frozen=True)
class Source:
    """One atlas: its label image, downloaded or drawn, and what its labels mean."""

    codes: np.ndarray  # [X, Y, Z] int, 0 outside
    affine: np.ndarray  # [4, 4], voxel to MNI mm
    regions: pd.DataFrame  # code, label, voxels; with a name also source, name, system, network


def remotes(spec: Mapping, kinds: Sequence[str] = ("image", "labels")) -> list[dict]:
    """List the files that a joined atlas is made of.

    Parameters
    ----------
    spec : mapping
        The `atlas` section of the configuration.
    kinds : sequence of str
        Files of a source: `image`, `labels`, and `surface` where the source has one.

    Returns
    -------
    list of dict
        `path` (relative to the data folder), `urls`, `bytes`, `hash`; empty for an atlas that needs no download.
    """
    return [
        {key: source[kind][key] for key in ("path", "urls", "bytes", "hash")}
        for source in spec.get("sources", {}).values()
        for kind in kinds
        if kind in source
    ]


def join_atlas(spec: Mapping, folder: Path) -> tuple[pd.DataFrame, nib.Nifti1Image]:
    """Join the pieces of an atlas on one grid.

    A piece claims a voxel when its labels together fill at least `fill` of it, and gives it the label that fills
    most of it; then it paints over what earlier pieces had claimed. Labels are counted, never interpolated.

    Parameters
    ----------
    spec : mapping
        The `atlas` section: `grid` (name of the source whose grid is used), `sources` (each with `image`,
        `labels` and the parts of ``names.tsv`` to read, `names`) or `spheres`, a table
        of this folder that is drawn) and `pieces` in the order of painting (`source`,
        `take`: a pattern of its labels, `fill`: share of a voxel, 0 to 1).
    folder : path
        Where the files of `remotes` lie.

    Returns
    -------
    nodes : DataFrame, [N rows]
        The node table of the project, `node` 1..N by piece and then by the source's code; then `source`,
        `source_label`, `voxels` (in the joined image) and `lost` (share of the source region's volume that is
        not in the joined region, 0 to 1). Coordinates: centre of mass in the joined image, mm.
    image : Nifti1Image, [X, Y, Z]
        int16; the value is `node`, 0 outside.

    Raises
    ------
    ValueError
        When a file is not what its piece needs, a region vanishes, a name comes twice, or a region's centre lies
        in the other hemisphere than its name.
    """
    sources = {
        name: draw_spheres(source["spheres"]) if "spheres" in source else read_source(source, Path(folder))
        for name, source in spec["sources"].items()
    }
    grid = sources[spec["grid"]]
    voxels = np.indices(grid.codes.shape).reshape(3, -1).T
    painted, parts, first = np.zeros(len(voxels), np.int16), [], 1
    for piece in spec["pieces"]:
        source = sources[piece["source"]]
        regions = _taken(source, piece)
        shares = label_shares(source.codes, source.affine, regions["code"], grid.affine, voxels)
        claimed, rows = _claim(shares, piece["fill"])
        painted[claimed] = first + rows
        parts.append((regions.assign(node=np.arange(first, first + len(regions))), shares, source))
        first += len(regions)
    nodes = pd.concat([_measured(*part, painted, voxels, grid.affine) for part in parts], ignore_index=True)
    _check_joined(nodes)
    return nodes[list(COLUMNS)], _label_image(painted.reshape(grid.codes.shape), grid.affine)


def write_atlas(nodes: pd.DataFrame, image: nib.Nifti1Image, outputs: Mapping[str, str]) -> None:
    """Write a joined atlas to the paths `nodes` (TSV) and `image` (NIfTI) of `outputs`."""
    for path in outputs.values():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    nodes.to_csv(outputs["nodes"], sep="\t", index=False)
    nib.save(image, outputs["image"])


def label_shares(
    codes: np.ndarray, affine: np.ndarray, wanted: np.ndarray, grid: np.ndarray, voxels: np.ndarray
) -> sparse.csr_array:
    """Share of each voxel of a grid that each label of an image on another grid fills.

    Parameters
    ----------
    codes : array of int, [X, Y, Z]
        Label image.
    affine : array, [4, 4]
        Its voxel to mm.
    wanted : array of int, [K]
        Labels to count.
    grid : array, [4, 4]
        Voxel of the grid to mm.
    voxels : array of int, [V, 3]
        Voxels of the grid.

    Returns
    -------
    csr_array, [K, V]
        0 to 1, by the label at 4 x 4 x 4 points of each voxel (at its centre where the voxels of both coincide).
    """
    wanted = np.asarray(wanted)
    none, n_codes = len(wanted), max(int(codes.max()), int(wanted.max())) + 1
    row = np.full(n_codes, none, np.min_scalar_type(none))
    row[wanted] = np.arange(len(wanted))
    index = row[codes]
    step = np.linalg.inv(affine) @ grid
    offsets = _offsets(step)
    near = _near(index < none, step, voxels)
    shifts = step[:3, :3] @ offsets.T
    index = np.pad(index, 1, constant_values=none)
    within, labels = (values.ravel() for values in (_uniform(index, np.abs(shifts).max(axis=1)), index))
    parts = [np.empty((3, 0))]
    for block in np.split(near, range(CHUNK, len(near), CHUNK)):  # so few that they stay in the processor's cache
        centres = apply_affine(step, voxels[block]).T + 1.5  # in the padded image, so that cutting off digits rounds
        cell = _flat(index.shape, centres)
        whole = within[cell]  # most of a region: no other label can be touched
        parts.append(_counted(labels[cell[whole], None], block[whole], none))
        mixed = centres[:, ~whole, None] + shifts[:, None, :]
        parts.append(_counted(labels[_flat(index.shape, mixed)], block[~whole], none))
    label, voxel, share = np.concatenate(parts, axis=1)
    return sparse.csr_array((share, (label.astype(int), voxel.astype(int))), shape=(len(wanted), len(voxels)))


def draw_spheres(table: str) -> Source:
    """Draw a table of spheres of this folder on a grid of 1 mm; where two overlap, the nearer centre has the point.

    Parameters
    ----------
    table : str
        Without its ending: columns `code`, `label`, `name`, `system`, `network`, `x`, `y`, `z` and `radius` (mm).
    """
    spheres = pd.read_csv(FOLDER / f"{table}.tsv", sep="\t")
    centres, radius = spheres[list(COORDINATES)].to_numpy(float), spheres["radius"].to_numpy(float)
    first = np.floor((centres - radius[:, None]).min(axis=0))
    shape = (np.ceil((centres + radius[:, None]).max(axis=0)) - first + 1).astype(int)
    codes, nearest = np.zeros(shape, np.int32), np.full(shape, np.inf)
    points = np.indices(shape) + first[:, None, None, None]
    for code, centre, reach in zip(spheres["code"], centres, radius):
        distance = np.linalg.norm(points - centre[:, None, None, None], axis=0)
        nearer = (distance <= reach) & (distance < nearest)
        codes[nearer], nearest[nearer] = code, distance[nearer]
    affine = np.eye(4)
    affine[:3, 3] = first
    volumes = np.bincount(codes.ravel(), minlength=spheres["code"].max() + 1)
    regions = spheres[["code", "label", "name", "system", "network"]]
    return Source(codes, affine, regions.assign(voxels=volumes[spheres["code"]], source=table))


def read_source(source: Mapping, folder: Path) -> Source:
    """Read one downloaded atlas: its image, its labels, and their names in ``names.tsv``.

    Raises
    ------
    ValueError
        When the image holds no whole numbers, or numbers that its table of labels does not know.
    """
    codes, affine = label_codes(nib.load(folder / source["image"]["path"]))
    labels = _label_table(folder / source["labels"]["path"])
    values, counts = np.unique(codes[codes != 0], return_counts=True)
    unknown = sorted(set(values.tolist()) - set(labels["code"]))
    if unknown:
        raise ValueError(
            f"{source['image']['path']}: label {unknown[0]} is not in {source['labels']['path']}. "
            "Image and table do not belong together; download both again."
        )
    labels["voxels"] = labels["code"].map(dict(zip(values.tolist(), counts.tolist()))).fillna(0).astype(int)
    return Source(codes, affine, labels.merge(_names(source["names"]), on="label", how="left"))


def label_codes(image: nib.Nifti1Image) -> tuple[np.ndarray, np.ndarray]:
    """Read a label image as whole numbers, whatever type it was stored in.

    Returns
    -------
    codes : ndarray of int32, [X, Y, Z]
    affine : ndarray, [4, 4]

    Raises
    ------
    ValueError
        When it has not three dimensions, or holds values that are no labels.
    """
    name = Path(image.get_filename() or "label image").name
    if image.ndim != 3:
        raise ValueError(f"{name} has {image.ndim} dimensions, a label image has 3")
    data = np.asanyarray(image.dataobj)
    codes = np.rint(data)
    with np.errstate(invalid="ignore"):
        wrong = ~(np.abs(data - codes) <= WHOLE) | (codes < 0)
    if wrong.any():
        raise ValueError(
            f"{name} holds {data[wrong][0]:g}, which is no label: it was interpolated or is no label image. "
            "Take the image with the labels as they were drawn."
        )
    return codes.astype(np.int32), image.affine


def _label_table(path: Path) -> pd.DataFrame:
    """Read `code` and `label`: a BIDS table (.tsv), or a label list of Connectome Workbench (two lines a label)."""
    if path.suffix == ".tsv":
        table = pd.read_csv(path, sep="\t", keep_default_na=False).rename(columns={"index": "code", "name": "label"})
    else:
        lines = path.read_text().split("\n")
        codes = [int(line.split()[0]) for line in lines[1::2] if line.strip()]
        labels = [line.strip() for line in lines[::2] if line.strip()]
        table = pd.DataFrame({"code": codes, "label": labels})
    return table[["code", "label"]].sort_values("code", ignore_index=True)


def _names(parts: list[str]) -> pd.DataFrame:
    table = pd.read_csv(FOLDER / "names.tsv", sep="\t", dtype=str, keep_default_na=False)
    return table[table["source"].isin(parts)]


def _taken(source: Source, piece: Mapping) -> pd.DataFrame:
    """Regions of a source that a piece asks for, in the order of their codes."""
    taken = [re.search(piece["take"], label) is not None for label in source.regions["label"]]
    regions = source.regions[taken].reset_index(drop=True)
    where = f"piece {piece['take']!r} of {piece['source']}"
    if regions.empty:
        raise ValueError(f"{where} takes no label. Known: {', '.join(source.regions['label'][:40])}.")
    for wrong, problem in (
        (regions["name"].isna(), "has no name: add it to names.tsv, or the part of names.tsv to `names`"),
        (regions["voxels"] == 0, "is not in the image: download it again, or take it out of the piece"),
    ):
        if wrong.any():
            raise ValueError(f"{where}: label {regions['label'][wrong].iloc[0]!r} {problem}.")
    return regions


def _claim(shares: sparse.csr_array, fill: float) -> tuple[np.ndarray, np.ndarray]:
    """Voxels that a piece claims, and the region (row) that fills most of each; the lower code when two are equal."""
    filled = shares.tocoo()
    row, column = filled.coords
    order = np.lexsort((-row, filled.data, column))
    row, column = row[order], column[order]
    best = np.flatnonzero(np.diff(column, append=-1))  # the last entry of each voxel
    enough = shares.sum(axis=0)[column[best]] >= fill - 1e-9
    return column[best][enough], row[best][enough]


def _measured(
    regions: pd.DataFrame,
    shares: sparse.csr_array,
    source: Source,
    painted: np.ndarray,
    voxels: np.ndarray,
    affine: np.ndarray,
) -> pd.DataFrame:
    """Add to a piece's regions what became of them in the joined image."""
    filled = shares.tocoo()
    row, column = filled.coords
    of_region = painted[column] == regions["node"].to_numpy()[row]
    kept = np.bincount(row, filled.data * of_region, minlength=len(regions))
    volume = regions["voxels"] * abs(np.linalg.det(source.affine[:3, :3]) / np.linalg.det(affine[:3, :3]))
    places = [voxels[painted == node] for node in regions["node"]]
    centres = np.array([apply_affine(affine, place).mean(axis=0) if len(place) else [np.nan] * 3 for place in places])
    return regions.assign(
        hemisphere=regions["name"].str.extract(r" ([LRM])(?: \d+)?$", expand=False),
        **dict(zip(COORDINATES, (centres + 0.0).round(2).T, strict=True)),
        radius=np.nan,
        source_label=regions["label"],
        voxels=[len(place) for place in places],
        lost=np.clip(1 - kept / volume, 0, 1).round(3),  # counting points can find a trace more than there is
    )


def _check_joined(nodes: pd.DataFrame) -> None:
    gone = nodes["voxels"] == 0
    side = {"L": nodes["x"] < 0, "R": nodes["x"] > 0, "M": nodes["x"].abs() < 3}
    right = np.select([nodes["hemisphere"] == letter for letter in side], list(side.values()), default=False)
    for wrong, problem in (
        (nodes["name"].duplicated(), "comes twice: take it from one piece only"),
        (gone, "has no voxel left: it is too small for `fill`, or a later piece lies over it"),
        (~right.astype(bool) & ~gone, "lies in another hemisphere than its name says (L: x < 0, R: x > 0, M: |x| < 3)"),
    ):
        if wrong.any():
            region = nodes[wrong].iloc[0]
            where = f"{region['source']}, label {region['source_label']!r}, x = {region['x']:g} mm"
            raise ValueError(f"{region['name']} ({where}) {problem}.")


def _label_image(codes: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    image = nib.Nifti1Image(codes, affine)
    image.set_sform(affine, "mni")
    image.set_qform(affine, "mni")
    image.header.set_xyzt_units("mm")
    return image


def _offsets(step: np.ndarray) -> np.ndarray:
    """Points in a voxel at which labels are looked up, [P, 3], in voxels from its centre."""
    coincide = np.allclose(np.abs(step[:3, :3]), np.eye(3)) and np.allclose(step[:3, 3], np.rint(step[:3, 3]))
    along = [0.0] if coincide else (np.arange(POINTS) + 0.5) / POINTS - 0.5
    return np.array(list(itertools.product(along, repeat=3)))


def _near(labelled: np.ndarray, step: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """Voxels that can touch the box around all labels: most of a brain is far from a nucleus."""
    if not labelled.any():
        return np.array([], int)
    box = [np.flatnonzero(labelled.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]] for axis in range(3)]
    low, high = np.transpose(box)
    margin = np.abs(step[:3, :3]).sum(axis=1) / 2 + 0.5
    centres = apply_affine(step, voxels)
    return np.flatnonzero(((centres >= low - margin) & (centres <= high + margin)).all(axis=1))


def _flat(shape: tuple[int, ...], places: np.ndarray) -> np.ndarray:
    """Flat index of places [3, ...] given in voxels of an image, whose border stands for everything outside."""
    flat = np.zeros(places.shape[1:], np.intp)
    for n, place in zip(shape, places):
        flat *= n
        flat += np.clip(place, 0, n - 1).astype(np.intp)
    return flat


def _uniform(index: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Cells around which, as far as `reach` in cells [3], everything has one label."""
    low, high = index, index
    for axis, steps in enumerate(np.floor(reach).astype(int) + 1):
        for _ in range(steps):
            low, high = (_neighbours(labels, axis, of) for labels, of in ((low, np.minimum), (high, np.maximum)))
    return low == high


def _neighbours(values: np.ndarray, axis: int, of: np.ufunc) -> np.ndarray:
    """Least or largest of each cell and its two neighbours along an axis."""
    out = values.copy()
    ahead, behind = [slice(None)] * 3, [slice(None)] * 3
    ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
    of(out[tuple(behind)], values[tuple(ahead)], out=out[tuple(behind)])
    of(out[tuple(ahead)], values[tuple(behind)], out=out[tuple(ahead)])
    return out


def _counted(labels: np.ndarray, voxels: np.ndarray, none: int) -> np.ndarray:
    """Labels of voxels by the labels at their points [V, P]: label, voxel and share, [3, pairs]."""
    labels = np.sort(labels, axis=1)
    new = np.flatnonzero(np.c_[np.ones(len(labels), bool), labels[:, 1:] != labels[:, :-1]])
    label, count = labels.reshape(-1)[new], np.diff(new, append=labels.size)
    points = labels.shape[1]
    return np.array([label, voxels[new // points], count / points])[:, label < none]
