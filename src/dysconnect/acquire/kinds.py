"""What a user's folder holds: regional series, fMRIPrep's images or raw ones; and which tables are none of series.

A series is a file ``sub-X.EXT`` or ``sub-X_KEY-VALUE_..._WORD.EXT`` whose word is `timeseries` or the like. Names alone
do not tell: MRIQC and old versions of fMRIPrep call their tables of motion so, and XCP-D ``..._bold.tsv``; so the first
line of such a table is looked at too.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dysconnect.data.images.spaces import SURFACE_SPACE
from dysconnect.reading.bids import Listing, Named, is_derivative, listed, same
from dysconnect.reading.tables import clean

TABLES = (".tsv", ".csv", ".txt", ".1D", ".1D.gz", ".npy")
IMAGES = (".nii", ".nii.gz")
ASIDE = frozenset(("derivatives", "sourcedata", "code", "mriqc"))  # below a folder of images they decide nothing
SERIES = re.compile(r"(time)?(series|courses?)|ts|rois?|regions?|signals?|bold", re.IGNORECASE)
CONFOUNDS = re.compile(r"confounds?|regressors|nuisance", re.IGNORECASE)
MATRICES = re.compile(
    r"conmat|relmat|connectivity|connectomes?|(pearson)?correlations?|matrix|adjacency", re.IGNORECASE
)
OTHERS = re.compile(
    r"framewisedisplacement|fd|dvars|motion|outliers|coverage|events|physio|stim|channels|electrodes|scans|sessions"
    r"|qc|mriqc|alff|reho|design|blood|beh",
    re.IGNORECASE,
)
MOTION = frozenset(  # columns that no table of regions has
    ("framewisedisplacement", "transx", "transy", "rotx", "roty", "dvars", "stddvars", "dvarsstd", "dvarsnstd", "onset")
)
NUISANCE = MOTION | frozenset(("csf", "wm", "whitematter", "globalsignal", "x", "y", "z", "transz", "rotz", "fd"))
HEAD = 1 << 16  # bytes of a first line
NAMES = {"local": "series", "derivatives": "fMRIPrep's images", "bids": "raw images"}


def kind_of_folder(listing: Listing, spec: Mapping, engine: str | None = None) -> str:
    """Say how a user's folder is read: `local` (series), `derivatives` or `bids`.

    Parameters
    ----------
    listing : Listing
    spec : mapping
        The `dataset` section: `task`.
    engine : str, optional
        Of `preprocess`; one for raw images decides where there are both raw images and series.

    Raises
    ------
    FileNotFoundError
        When there is something to read, and all of another task.
    """
    of_kind = {
        "local": series_files(listing),
        "derivatives": [file for file in _images(listing) if is_prepared(file)],
        "bids": [] if is_derivative(listing.root) else [file for file in _images(listing) if is_raw(file)],
    }
    of_task = {kind: [file for file in files if _of_task(file, spec["task"])] for kind, files in of_kind.items()}
    kinds = [kind for kind, files in of_task.items() if files]
    if "bids" in kinds and engine in ("ants", "fmriprep"):
        return "bids"
    if not kinds:
        for kind, files in of_kind.items():
            refuse_other_task(files, spec["task"], listing.root, NAMES[kind])
    return kinds[0] if kinds else "local"


def _of_task(file: Named, task: str) -> bool:
    return same("task", file.entities.get("task", task), task)


def refuse_other_task(files: Sequence[Named], task: str, root: Path, what: str) -> None:
    """Refuse scans that are all of another task, and name those that there are.

    Raises
    ------
    FileNotFoundError
    """
    others = sorted({file.entities["task"] for file in files if not _of_task(file, task)})
    if others and not any(_of_task(file, task) for file in files):
        raise FileNotFoundError(
            f"{root}: no task-{task} among the {what}; there is {', '.join(others)}: "
            f"{' or '.join(f'dataset.task={other}' for other in others[:3])}."
        )


# images


def _images(listing: Listing) -> Iterable[Named]:
    """Images of BOLD in the folders of the participants."""
    for name, files in listing.by_participant.items():
        for file in files:
            if file.path.startswith(f"{name}/") and file.suffix == "bold" and not is_aside(file):
                yield file


def is_aside(file: Named) -> bool:
    """Whether a file lies in a folder of derivatives, sources, code or quality reports."""
    return any(part in ASIDE for part in file.folder.split("/"))


def is_raw(file: Named) -> bool:
    """Whether an image of BOLD is as scanned: neither resampled nor described as something else, and no phase."""
    plain = not {"space", "desc", "res", "den"} & set(file.entities)
    return plain and file.extension in IMAGES and file.suffix == "bold" and file.entities.get("part", "mag") == "mag"


def is_prepared(file: Named, space: str | None = None) -> bool:
    """Whether an image of BOLD is fMRIPrep's, in a space (any): a volume, or a surface without a `desc` of others."""
    named_space = file.entities.get("space")
    if file.suffix != "bold" or (space and named_space != space):
        return False
    if named_space == SURFACE_SPACE:
        return file.extension == ".dtseries.nii" and "den" in file.entities and "desc" not in file.entities
    return file.extension in IMAGES and file.entities.get("desc") == "preproc"


# series


def series_files(listing: Listing) -> list[Named]:
    """Find the files of regional series, of any task and atlas, sorted.

    Those in folders of derivatives, sources, code or quality reports count only where nothing else is to be read.
    """
    named = [file for files in listing.by_participant.values() for file in files if is_series(file)]
    main = _with_series(listing, [file for file in named if not is_aside(file)])
    if main or any(is_prepared(file) or is_raw(file) for file in _images(listing)):
        return main
    return _with_series(listing, [file for file in named if is_aside(file)])


def is_series(file: Named) -> bool:
    """Whether a name is that of regional series, rather than of confounds, matrices or one number a region."""
    if file.extension not in TABLES or not file.entities.get("sub"):
        return False
    words = (*file.words, *(file.entities.get(key, "") for key in ("desc", "meas")))
    if any(pattern.fullmatch(word) for word in words for pattern in (CONFOUNDS, MATRICES, OTHERS)):
        return False
    if file.entities.get("stat", "mean") not in ("mean", "median"):  # coverage, alff, reho of XCP-D
        return False
    return not file.words or any(map(SERIES.fullmatch, file.words))


def matrices(listing: Listing) -> list[Named]:
    """Files that are matrices by their names."""
    files = [file for files in listing.by_participant.values() for file in files if file.extension in TABLES]
    return [file for file in files if any(map(MATRICES.fullmatch, (*file.words, file.entities.get("desc", ""))))]


def _with_series(listing: Listing, files: Sequence[Named]) -> list[Named]:
    """Leave out tables of motion; one file of those that are named alike is looked at, all if it is none of series."""
    alike: dict[str, list[Named]] = {}
    for file in files:
        alike.setdefault(re.sub(r"(sub|ses|run)-[A-Za-z0-9]+", r"\1", file.path), []).append(file)
    kept = [group for group in alike.values() if not all(_is_motion(listing, file) for file in group)]
    return sorted((file for group in kept for file in group), key=lambda file: (file.participant_id, file.order))


def _is_motion(listing: Listing, file: Named) -> bool:
    return file.path not in listing.dead and is_nuisance(first_line(listing.root / file.path))


def segmentation(file: Named) -> str:
    """Atlas in a name; "" where it has none."""
    return file.entities.get("seg", file.entities.get("atlas", ""))


# confounds


def is_confounds(file: Named) -> bool:
    """Whether a name is that of a table of confounds, of any version of fMRIPrep."""
    words = (*file.words, file.entities.get("desc", ""))
    return file.extension == ".tsv" and any(map(CONFOUNDS.fullmatch, words))


def newest_first(files: Iterable[Named]) -> list[Named]:
    """Tables of confounds, those of newer versions first: ``desc-confounds_timeseries``, ``_regressors``, others."""
    return sorted(files, key=lambda file: (file.suffix != "timeseries", file.suffix != "regressors", file.path))


def first_line(path: str | Path) -> list[str]:
    """Cells of the first line of a table; none where it is no text."""
    path = Path(path)
    if path.suffix not in (".tsv", ".csv", ".txt", ".1D"):
        return []
    with open(path, "rb") as file:
        line = file.readline(HEAD).decode("utf-8-sig", errors="replace").strip("\r\n ")
    separator = next((mark for mark in "\t;," if mark in line), None)
    return [clean(cell) for cell in line.split(separator)]


def is_nuisance(cells: Sequence[str]) -> bool:
    """Whether names of columns are those of confounds or motion, in any spelling, and of no regions."""
    plain = [re.sub(r"[^a-z]", "", cell.lower()) for cell in cells]
    return bool(MOTION & set(plain)) or (len(plain) > 0 and set(plain) <= NUISANCE)


def old_names(cells: Sequence[str]) -> list[str]:
    """Columns as fMRIPrep before 1.2 called them; none where today's are there."""
    if "framewise_displacement" in cells:
        return []
    return [cell for cell in cells if cell in ("FramewiseDisplacement", "stdDVARS", "GlobalSignal", "WhiteMatter")]


def shown_matrices(listing: Listing) -> str:
    """A sentence on matrices that lie where series are looked for; "" where there are none."""
    files = matrices(listing)
    if not files:
        return ""
    return (
        f" Matrices of connectivity ({listed(files, 2)}) are read where dataset.matrices.content says what they hold."
    )
