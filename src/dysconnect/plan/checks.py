"""What does not fit together, refused before anything is fetched or computed."""

import sys
from importlib.util import find_spec

from dysconnect.acquire.scan import RAW_ENGINES
from dysconnect.data.images.spaces import TEMPLATE_SPACE, refuse_other_space, refuse_without_surface
from dysconnect.preprocess.fmriprep import check_fmriprep, template_of


def check_engine(dataset: dict, spec: dict, atlas: dict) -> None:
    """Refuse an engine or an atlas that does not fit the images, or that is not installed, before anything is fetched.

    Raises
    ------
    ValueError
        Says which engine fits, or how to install it.
    """
    engine, kind = spec["engine"], dataset["kind"]
    fitting = {"bids": RAW_ENGINES, "derivatives": ("derivatives",)}.get(kind, (engine,))
    if kind == "local" and engine in RAW_ENGINES:
        raise ValueError(
            f"preprocess={engine} is for raw images, but dataset.root={dataset['root']} holds none (of this task) and "
            "is read as regional series. Leave preprocess out, or give the folder of the raw images."
        )
    if engine not in fitting:
        raise ValueError(
            f"preprocess={engine} does not fit dataset={dataset['name']}, whose images are "
            f"{'raw' if kind == 'bids' else 'preprocessed already'}. Add --config preprocess={' or '.join(fitting)}."
        )
    if engine == "ants" and kind == "bids" and find_spec("ants") is None:
        raise ValueError(
            f"preprocess=ants needs antspyx: {_ants_for(sys.version_info)}. "
            "Or preprocess with the container of fMRIPrep: --sdm apptainer --config preprocess=fmriprep."
        )
    if kind == "bids" and engine == "fmriprep":
        check_fmriprep(spec)
    if kind in ("bids", "derivatives"):
        _refuse_other_atlas(dataset, spec, atlas)


def _ants_for(version: tuple[int, ...]) -> str:
    """How to get antspyx for a version of Python; the versions that fit have no wheel for every one."""
    if version < (3, 13):
        return "pip install -e '.[imaging]' -c requirements.lock"
    return "it has no wheel for Python 3.13, so use 3.12 (make run PYTHON=python3.12 VENV=.venv312)"


def _refuse_other_atlas(dataset: dict, spec: dict, atlas: dict) -> None:
    """Refuse an atlas in another space than the images have, or will have."""
    what, key = f"dataset={dataset['name']}", "dataset.space"
    if dataset["kind"] == "derivatives":
        space = dataset["space"]
    elif spec["engine"] == "fmriprep":
        space, what, key = template_of(spec["space"]), f"preprocess.space={spec['space']}", "preprocess.space"
    else:
        space = TEMPLATE_SPACE
    refuse_other_space(space, atlas.get("space"), what, key)
    refuse_without_surface(space, atlas, what)
