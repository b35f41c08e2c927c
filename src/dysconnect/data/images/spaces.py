"""Templates: images and atlas must be in the same one."""

import re
from collections.abc import Mapping
from pathlib import Path

TEMPLATE_SPACE = "MNI152NLin2009aSym"  # of nilearn's template, to which raw images are registered
SURFACE_SPACE = "fsLR"
GRAYORDINATES = ".dtseries.nii"  # how a dense time series of its vertices and voxels ends
VOXELS = {SURFACE_SPACE: "MNI152NLin6Asym"}  # template of the voxels that accompany a surface


def is_grayordinates(bold: str | Path) -> bool:
    """Whether a file name is that of a dense time series."""
    return str(bold).endswith(GRAYORDINATES)


def refuse_other_space(space: str | None, atlas_space: str | None, what: str, key: str = "dataset.space") -> None:
    """Refuse images of another space than the atlas's.

    Parameters
    ----------
    space : str or None
        Space of the images, as in BIDS names; None where it is not known.
    atlas_space : str or None
        Template of the atlas's label image; None where there is none (spheres), or where the user said so.
    what : str
        What is in `space`, for the message.
    key : str
        Where the space is chosen, for the message.

    Raises
    ------
    ValueError
        When both are known and differ, or the images are in a subject's space and the atlas is not.
    """
    if space == "T1w" and atlas_space != space:
        raise ValueError(
            f"{what} is in the subject's own space (T1w), the atlas in MNI; choose images in an MNI space ({key})"
        )
    voxels = VOXELS.get(space, space)
    if voxels and atlas_space and voxels != atlas_space:
        described = space if voxels == space else f"{space} (voxels in {voxels})"
        raise ValueError(
            f"{what} is in {described}, the atlas in {atlas_space}: the two differ by up to a few mm, as much as small "
            f"nuclei measure. Choose images in {atlas_space} ({key}={atlas_space}), or an atlas without a "
            "template (atlas=seitzman300), or accept the difference with 'overrides=atlas.space=null'"
        )


def refuse_without_surface(space: str | None, atlas: Mapping, what: str) -> None:
    """Refuse a surface where the atlas has none: its cortex would be missing.

    Parameters
    ----------
    space : str or None
        Space of the images.
    atlas : mapping
        The `atlas` section; `surface` names the labels of the cortex, null says that the atlas has no cortex.
    what : str
        What is in `space`, for the message.

    Raises
    ------
    ValueError
        When the images are on a surface and the atlas does not say where its cortex lies on one.
    """
    if space == SURFACE_SPACE and "surface" not in atlas:
        raise ValueError(
            f"{what} has its cortex on a surface ({SURFACE_SPACE}), where atlas={atlas.get('name')} has no regions. "
            "Take atlas=wholebrain200 (or 100, 400), name the labels of yours with "
            "'overrides=+atlas.surface=/path/to/your.dlabel.nii', or read the volumes: dataset.space=MNI152NLin6Asym"
        )


def space_of(bold: str | Path) -> str | None:
    """Space that a BIDS name tells, ``..._space-NAME_...``; None where it tells none."""
    match = re.search(r"_space-([A-Za-z0-9]+)", Path(bold).name)
    return match[1] if match else None
