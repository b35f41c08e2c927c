"""Diffusion images by the names of their files: the scan, its gradients, and b0 of the opposite phase encoding.

Diffusion images have no task; ``dataset.task=dwi`` asks for them. The scan is the one without a `dir` in its name where
others have one (``sub-1_dwi``, ``sub-1_dir-PA_dwi``); where all have one, ``dataset.entities={dir: AP}`` says which.
"""

from collections.abc import Mapping, Sequence

from dysconnect.reading.bids import Named, agree, asked_entities, same

TASK = "dwi"  # in the place of a task
GRADIENTS = ("bval", "bvec")
IMAGES = (".nii", ".nii.gz")


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
    others = [file for file in files if file.extension in IMAGES and file.suffix in ("dwi", "epi")]
    others = [file for file in others if not same("dir", file.entities.get("dir"), dwi.entities.get("dir"))]
    others = [file for file in others if agree(file, dwi, ("dir", "acq", "desc"))]
    others.sort(key=lambda file: (file.suffix != "dwi", file.path))
    return found | {"reverse": others[0].path if others else ""}
