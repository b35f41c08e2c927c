"""Anatomies that are kept: the T1w of a person is registered once for all scans and data sets of the project.

One folder a person, ``results/DATASET/preprocess/anatomy/sub-X_KEY``. The key is a hash of everything that the
registration depends on, so that what lies under another data set is taken where, and only where, it is the same.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np

from dysconnect.anatomy import registration
from dysconnect.anatomy.registration import Anatomy
from dysconnect.keeping.code import digest

SETTINGS = ("transform", "resolution", "seed")  # of `preprocess`, that the registration of a T1w reads
ARRAYS = ("brain", "white_matter", "csf")


def place_of(t1w: str | Path, folder: Path, name: str, spec: Mapping) -> Path:
    """Where a person's anatomy is kept.

    Parameters
    ----------
    t1w : path
        Its content counts, not its name.
    folder : path
        Of the data set's anatomies.
    name : str
        ``sub-01``.
    spec : mapping
        The `preprocess` section.
    """
    content = hashlib.sha256(Path(t1w).read_bytes()).hexdigest() if Path(t1w).is_file() else ""
    settings = {name: spec.get(name) for name in SETTINGS}
    software = {name: version(name) for name in ("antspyx", "nilearn", "numpy", "scipy")}
    parts = json.dumps([content, settings, software, digest(registration.__file__)], sort_keys=True)
    return folder.absolute() / f"{name}_{hashlib.sha256(parts.encode()).hexdigest()[:16]}"


def read_anatomy(place: Path) -> Anatomy | None:
    """Read what is kept in a place, or in that of the same name of another data set; None where nothing is.

    That of another data set is linked, or copied, so that each has its own: one can be deleted without the other.
    """
    if not place.is_dir():
        folders = place.parents[3:4]  # that of all results
        others = sorted(other for each in folders for other in each.glob(f"*/preprocess/anatomy/{place.name}"))
        if not others:
            return None
        print(f"{place.name}: its T1w was registered for {others[0].parts[-4]} already", flush=True)
        _moved_in(place, lambda part: shutil.copytree(others[0], part, copy_function=_linked, dirs_exist_ok=True))
    told = json.loads((place / "anatomy.json").read_text())
    with np.load(place / "anatomy.npz") as arrays:
        image = nib.Nifti1Image(arrays["t1w"], arrays["affine"])
        tissues = {name: arrays[name] for name in ARRAYS}
    forward, inverse = ([str(place / name) for name in told[way]] for way in ("forward", "inverse"))
    return Anatomy(image, **tissues, forward=forward, inverse=inverse, measures=told["measures"])


def keep_anatomy(anatomy: Anatomy, place: Path) -> Anatomy:
    """Keep an anatomy, in place of the person's earlier ones; return it with its transforms where they are kept."""

    def write(part: Path) -> None:
        for name in {*anatomy.forward, *anatomy.inverse}:
            shutil.copyfile(name, part / Path(name).name)
        arrays = {name: getattr(anatomy, name) for name in ARRAYS}
        t1w = np.asarray(anatomy.t1w.dataobj)
        np.savez_compressed(part / "anatomy.npz", t1w=t1w, affine=anatomy.t1w.affine, **arrays)
        told = {"forward": _names(anatomy.forward), "inverse": _names(anatomy.inverse), "measures": anatomy.measures}
        (part / "anatomy.json").write_text(json.dumps(told, indent=1, default=float))

    for earlier in place.parent.glob(f"{place.name.rpartition('_')[0]}_*"):
        shutil.rmtree(earlier)
    _moved_in(place, write)
    ways = {way: [str(place / name) for name in _names(getattr(anatomy, way))] for way in ("forward", "inverse")}
    return replace(anatomy, **ways)


def _names(paths: list[str]) -> list[str]:
    return [Path(path).name for path in paths]


def _moved_in(place: Path, fill) -> None:
    """Fill a folder aside and move it to its place when it is complete."""
    place.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
    try:
        fill(part)
        part.chmod(0o755)
        part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _linked(source: str, target: str) -> None:
    with suppress(OSError):  # another file system, or one without links
        os.link(source, target)
        return
    shutil.copyfile(source, target)
