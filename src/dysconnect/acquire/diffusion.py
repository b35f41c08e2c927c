"""Diffusion images by the names of their files: the scan, its gradients, and b0 of the opposite phase encoding.

Diffusion images have no task; ``dataset.task=dwi`` asks for them. The scan is the one without a `dir` in its name where
others have one (``sub-1_dwi``, ``sub-1_dir-PA_dwi``); where all have one, ``dataset.entities={dir: AP}`` says which.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from dysconnect.reading.bids import Named, agree, asked_entities, read_name, read_sidecars, same, sidecars_of

TASK = "dwi"  # in the place of a task
GRADIENTS = ("bval", "bvec")
IMAGES = (".nii", ".nii.gz")
BOLD = re.compile(r"bold|func|fmri|rest|task")  # in the acq of a field map of other scans


def is_diffusion(spec: Mapping) -> bool:
    """Whether diffusion images are asked for."""
    return spec.get("task") == TASK


def is_diffusion_image(file: Named) -> bool:
    """Whether a file is diffusion images as scanned."""
    plain = not {"space", "desc", "res", "den"} & set(file.entities)
    return plain and file.extension in IMAGES and file.suffix == "dwi" and file.entities.get("part", "mag") == "mag"


def asked_of_diffusion(spec: Mapping) -> dict[str, str | None]:
    """What the configuration asks of the name of diffusion images, which have no task."""
    return {key: value for key, value in asked_entities(spec).items() if key != "task"}


def forward(scans: Sequence[Named], asked: Mapping[str, str | None]) -> list[Named]:
    """Scans that may be meant: without those of another direction, where one has none in its name."""
    without = [file for file in scans if "dir" not in file.entities]
    return without if without and not asked.get("dir") else list(scans)


def belonging(dwi: Named, files: Sequence[Named]) -> dict[str, str]:
    """Paths of `bval`, `bvec` and `reverse`, the b0 of the opposite direction; "" where there is none."""
    stem = dwi.path.removesuffix(dwi.extension)
    paths = {file.path for file in files}
    found = {name: f"{stem}.{name}" if f"{stem}.{name}" in paths else "" for name in GRADIENTS}
    return found | {"reverse": next((file.path for file in reversed_images(dwi, files)), "")}


def reversed_images(dwi: Named, files: Sequence[Named]) -> list[Named]:
    """Images that may hold b0 of the opposite direction by their names, the likeliest first; none made for BOLD."""
    acq = dwi.entities.get("acq")
    others = [file for file in files if file.extension in IMAGES and file.suffix in ("dwi", "epi")]
    others = [file for file in others if not same("dir", file.entities.get("dir"), dwi.entities.get("dir"))]
    others = [file for file in others if agree(file, dwi, ("dir", "acq", "desc"))]
    others = [file for file in others if same("acq", file.entities.get("acq"), acq) or not _of_bold(file)]
    alike = {file.path: not same("acq", file.entities.get("acq"), acq) for file in others}
    return sorted(others, key=lambda file: (file.suffix != "dwi", alike[file.path], file.path))


def _of_bold(file: Named) -> bool:
    return bool(BOLD.search(file.entities.get("acq", "").lower()))


def opposite(dwi: str, paths: Sequence[str], folder: Path) -> str:
    """Of the images that may hold b0 of the opposite direction that which does, as the sidecars say; "" for none.

    Parameters
    ----------
    dwi : str
        Diffusion images, relative to the data folder.
    paths : sequence of str
        Files of the participant.
    folder : path
        Data folder.

    Returns
    -------
    str
        The likeliest by its name where no sidecar tells.
    """
    likely = reversed_images(read_name(dwi), [read_name(path) for path in paths])
    wanted = _direction(dwi, folder).removesuffix("-"), not _direction(dwi, folder).endswith("-")
    told = {file.path: _direction(file.path, folder) for file in likely}
    fit = [path for path, way in told.items() if way and (way.removesuffix("-"), way.endswith("-")) == wanted]
    return next(iter([*fit, *told]), "")


def _direction(path: str, folder: Path) -> str:
    """Direction of phase encoding of an image; "" where its sidecars do not tell, or cannot be read."""
    try:
        return str(read_sidecars(sidecars_of(folder / path, folder))[0].get("PhaseEncodingDirection") or "")
    except ValueError:  # whoever reads the image names it
        return ""
