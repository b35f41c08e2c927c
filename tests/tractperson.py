"""A simulated person with diffusion images: the phantom's head, whose fibres are arcs from side to side."""

import json
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from nilearn import datasets
from phantom import Head, t1w_image
from scipy import ndimage
from scipy.spatial import cKDTree
from tracts import ALONG, FREE, directions

from dysconnect.data.atlas import load_atlas

MIDDLE = -10.0  # mm: height of the axis about which the arcs run
FLUID = 3e-3  # mm2/s


@cache
def shares() -> dict[str, np.ndarray]:
    """White and grey matter of the template at 2 mm, 0 to 1, the brain, and their affine."""
    white, grey = datasets.load_mni152_wm_template(2), datasets.load_mni152_gm_template(2)
    brain = datasets.load_mni152_brain_mask(2)
    arrays = [np.asarray(image.dataobj, float) / np.max(image.dataobj) for image in (white, grey, brain)]
    return dict(zip(("white", "grey", "brain"), arrays)) | {"affine": white.affine}


def write_atlas(path: Path, nodes: pd.DataFrame) -> None:
    """Write a label image: grey matter of the template within 12 mm of a node belongs to the nearest one."""
    template = shares()
    places = np.argwhere((template["grey"] > 0.4) & (template["brain"] > 0))
    tree = cKDTree(nodes[["x", "y", "z"]].to_numpy(float))
    away, nearest = tree.query(apply_affine(template["affine"], places))
    near = away < 12
    labels = np.zeros(template["grey"].shape, np.int16)
    labels[tuple(places[near].T)] = nodes["node"].to_numpy()[nearest[near]]
    nib.save(nib.Nifti1Image(labels, template["affine"]), path)


def diffusion_image(head: Head, number: int, stills: int, noise: float = 0.05) -> tuple[nib.Nifti1Image, np.ndarray]:
    """The head's diffusion images, and the directions along the scanner's axes, [V, 3]; the first `stills` are b0."""
    template, rng = shares(), np.random.default_rng(head.seed + 3)
    grid = apply_affine(head.bold_affine, np.indices(head.shape).reshape(3, -1).T)
    points = head.from_t1w(apply_affine(np.linalg.inv(head.to_reference), grid))
    voxels = apply_affine(np.linalg.inv(template["affine"]), points).T
    white, grey, brain = (
        ndimage.map_coordinates(template[name], voxels, order=1) for name in ("white", "grey", "brain")
    )
    fluid = (brain - white - grey).clip(0)
    fibre = np.stack([points[:, 2] - MIDDLE, np.zeros(len(points)), -points[:, 0]], axis=1)
    fibre = fibre @ (head.to_reference[:3, :3] @ head.affine[:3, :3]).T
    fibre /= np.maximum(np.linalg.norm(fibre, axis=1, keepdims=True), 1e-6)
    bvecs = np.vstack([np.zeros((stills, 3)), directions(number)])
    data = np.empty((*head.shape, len(bvecs)), np.float32)
    for k, vector in enumerate(bvecs):
        b = 1000.0 * vector.any()
        across = 3e-4
        signal = white * np.exp(-b * (across + (ALONG - across) * (fibre @ vector) ** 2)) * 0.7
        signal += grey * np.exp(-b * FREE) + 1.5 * fluid * np.exp(-b * FLUID)
        volume = 1000 * (signal * (brain > 0.3)).reshape(head.shape)
        if k < head.n_volumes and k:
            step = np.linalg.inv(head.bold_affine) @ np.linalg.inv(head.moved[k]) @ head.bold_affine
            volume = ndimage.affine_transform(volume, step[:3, :3], step[:3, 3], order=1)
        real, imaginary = 1000 * noise * rng.standard_normal((2, *head.shape), np.float32)
        data[..., k] = np.hypot(volume + real, imaginary)
    return nib.Nifti1Image(data.astype(np.int16), head.bold_affine), bvecs


def write_person(
    folder: Path,
    name: str = "sub-01",
    seed: int = 0,
    shape: tuple[int, int, int] = (46, 54, 46),
    voxel: float = 4.0,
    number: int = 30,
    t1w: float = 2.5,
) -> dict:
    """Write T1w and diffusion images of a head of the phantom; return the entry of the person.

    With the seed 0 and a T1w of 2.5 mm it is the head that `known_anatomy` knows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    head = Head(load_atlas("seitzman300"), 2, 2.0, seed=seed, voxel=voxel, shape=shape)
    nib.save(t1w_image(head, t1w), folder / f"{name}_T1w.nii.gz")
    image, bvecs = diffusion_image(head, number, 10 if number > 30 else 3)
    left, _, right = np.linalg.svd(image.affine[:3, :3])
    along = bvecs @ (left @ right)
    if np.linalg.det(image.affine[:3, :3]) > 0:
        along[:, 0] *= -1
    paths = {"bold": folder / f"{name}_dwi.nii.gz", "reverse": folder / f"{name}_dir-PA_dwi.nii.gz"}
    nib.openers.Opener.default_compresslevel = 1
    nib.save(image, paths["bold"])
    nib.save(image.slicer[..., :2], paths["reverse"])
    np.savetxt(folder / f"{name}_dwi.bval", 1000.0 * bvecs.any(1)[None], "%g")
    np.savetxt(folder / f"{name}_dwi.bvec", along.T, "%.8f")
    for kind, phase in (("dwi", "j-"), ("dir-PA_dwi", "j")):
        sidecar = {"PhaseEncodingDirection": phase, "TotalReadoutTime": 0.05, "RepetitionTime": 3.0}
        (folder / f"{name}_{kind}.json").write_text(json.dumps(sidecar))
    entry = {"participant_id": name, "t1w": str(folder / f"{name}_T1w.nii.gz"), "problem": ""}
    return entry | {key: str(path) for key, path in paths.items()}


def write_bids(root: Path, n: int, **settings) -> None:
    """Write a BIDS data set of people whose group alternates; all lies in the folders that BIDS asks for."""
    names = [f"sub-{k:02d}" for k in range(1, n + 1)]
    for k, name in enumerate(names):
        write_person(root / name / "dwi", name, seed=k, **settings)
        (root / name / "anat").mkdir()
        for image in (root / name / "dwi").glob("*_T1w.nii.gz"):
            image.rename(root / name / "anat" / image.name)
    table = pd.DataFrame({"participant_id": names, "group": np.resize(["DYT", "HC"], n), "age": 40, "sex": "F"})
    table.to_csv(root / "participants.tsv", sep="\t", index=False)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "arcs", "BIDSVersion": "1.9.0"}))
