"""Templates: images and atlas must be in the same one."""

import re
from pathlib import Path

TEMPLATE_SPACE = "MNI152NLin2009aSym"  # of nilearn's template, to which raw images are registered


def refuse_other_space(space: str | None, atlas_space: str | None, what: str) -> None:
    """Refuse images of another space than the atlas's.

    Parameters
    ----------
    space : str or None
        Space of the images, as in BIDS names; None where it is not known.
    atlas_space : str or None
        Template of the atlas's label image; None where there is none (spheres), or where the user said so.
    what : str
        What is in `space`, for the message.

    Raises
    ------
    ValueError
        When both are known and differ, or the images are in a subject's own space and the atlas is not.
    """
    if space == "T1w" and atlas_space != space:
        raise ValueError(
            f"{what} is in the subject's own space (T1w), the atlas in MNI; choose images in an MNI space "
            "(dataset.space)"
        )
    if space and atlas_space and space != atlas_space:
        raise ValueError(
            f"{what} is in {space}, the atlas in {atlas_space}: the two differ by up to a few mm, as much as small "
            f"nuclei measure. Choose images in {atlas_space} (dataset.space={atlas_space}), or an atlas without a "
            "template (atlas=seitzman300), or accept the difference with 'overrides=atlas.space=null'"
        )


def space_of(bold: str | Path) -> str | None:
    """Space that a BIDS name tells, ``..._space-NAME_...``; None where it tells none."""
    told = re.search(r"_space-([A-Za-z0-9]+)", Path(bold).name)
    return told[1] if told else None
