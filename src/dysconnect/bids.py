"""Names and folders as BIDS has them: what a name says, which files belong together, and which one is meant.

A scan is chosen first; whatever goes with it (mask, confounds, anatomy, sidecars) must agree with it in every entity
that both names carry. Where several scans could be meant, a key of the configuration decides, or nobody does.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

PROCESSING = frozenset(  # what was done to a scan, not which scan it is
    ("space", "cohort", "res", "den", "desc", "seg", "atlas", "stat", "label", "hemi", "thresh", "proc", "meas")
)
HARMLESS = ("run", "den")  # of several the first is taken, and said: runs are repetitions, the coarser mesh has atlases
KEYS = {"ses": "dataset.session=ses-{}", "run": "dataset.run={}", "task": "dataset.task={}"}
KEYS |= {"seg": "dataset.segmentation={}", "atlas": "dataset.segmentation={}"}
WORDS = {
    "ses": "session", "run": "run", "task": "task", "echo": "echo", "dir": "phase encoding", "acq": "acquisition",
    "rec": "reconstruction", "space": "space", "res": "resolution",
}  # fmt: skip
PASSED_OVER = ("results", "freesurfer", "figures", "lost+found")  # folders that hold no input
POINTERS = (b"/annex/objects/", b"version https://git-lfs")  # how files begin whose content is elsewhere
POINTER_SIZE = 1024  # bytes; no longer than this


@dataclass(frozen=True)
class Named:
    """A file and what its name says.

    Attributes
    ----------
    path : str
        Relative to the folder of the dataset, with slashes.
    entities : mapping of str to str
        ``{"sub": "01", "task": "rest"}``.
    words : tuple of str
        Parts without a key; the last is the suffix.
    extension : str
        From the first dot of the last part: ``.nii.gz``, ``.dtseries.nii``.
    """

    path: str
    entities: Mapping[str, str]
    words: tuple[str, ...]
    extension: str

    @property
    def name(self) -> str:
        """The name without folders."""
        return self.path.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The folder, relative; "" for that of the dataset."""
        return self.path.rpartition("/")[0]

    @property
    def suffix(self) -> str:
        """What kind of file it is: ``bold``; "" where the name does not say."""
        return self.words[-1] if self.words else ""

    @property
    def participant_id(self) -> str:
        """The subject, with its prefix; ``sub-`` where the name has none."""
        return f"sub-{self.entities.get('sub', '')}"

    @cached_property
    def order(self) -> tuple:
        """For sorting as people count: ses-2 before ses-10, run-2 before run-10, names without before names with."""
        told = [_natural(self.entities.get(key, "")) for key in ("ses", "run")]
        return (*told, len(self.path.split("/")), _natural(self.path))


def _natural(text: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", text)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def read_name(path: str | Path) -> Named:
    """Take a file name apart; keys are lower-case letters, anything else is a word or is passed over."""
    path = str(path)
    *parts, last = path.rpartition("/")[2].split("_")
    last, dot, extension = last.partition(".")
    pairs = [part.split("-", 1) for part in (*parts, last) if "-" in part]
    entities = {key: value for key, value in pairs if key.isalpha() and key.islower() and value}
    words = tuple(part for part in (*parts, last) if part and "-" not in part)
    return Named(path, entities, words, f"{dot}{extension}")


def same(key: str, one: str | None, other: str | None) -> bool:
    """Whether two values of an entity are the same; numbers count (run-1, run-01), but for the subject."""
    if one == other:
        return True
    numbers = key != "sub" and one and other and one.isdecimal() and other.isdecimal()
    return bool(numbers) and int(one) == int(other)


def agree(one: Named, other: Named, ignoring: Iterable[str] = PROCESSING) -> bool:
    """Whether two names agree in every entity that both carry, but for those that are ignored."""
    shared = set(one.entities) & set(other.entities) - set(ignoring)
    return all(same(key, one.entities[key], other.entities[key]) for key in shared)


# which of several is meant


class Ambiguity(ValueError):
    """Several files could be meant, and no key says which; `key` is the entity that tells them apart, "" if none."""

    def __init__(self, message: str, files: Sequence[Named], key: str):
        super().__init__(message)
        self.files, self.key = list(files), key


@dataclass(frozen=True)
class Choice:
    """The file that is meant, None where there is none, and the others that could have been."""

    file: Named | None
    others: tuple[Named, ...] = ()


def asked_entities(spec: Mapping) -> dict[str, str | None]:
    """What the configuration asks of a scan's name, by entity; None: the name must not have it.

    Parameters
    ----------
    spec : mapping
        The `dataset` section: `task`, and where it has them `session` (``ses-1``), `run` (a number) and `entities`
        (``{acq: mb, echo: 2}``).
    """
    asked = {"task": spec.get("task"), "ses": (spec.get("session") or "").removeprefix("ses-"), "run": spec.get("run")}
    asked = {key: str(value) for key, value in asked.items() if value not in (None, "")}
    return asked | {key: None if value is None else str(value) for key, value in (spec.get("entities") or {}).items()}


def choose(files: Iterable[Named], asked: Mapping[str, str | None], combined: Iterable[str] = ()) -> Choice:
    """Choose the scan that is meant among those of one person.

    Parameters
    ----------
    files : iterable of Named
    asked : mapping
        From `asked_entities`. A name that leaves an entity out fits every value, unless another name has it.
    combined : iterable of str
        Entities that whoever reads the files puts together (the echoes, by fMRIPrep).

    Raises
    ------
    Ambiguity
        When what is left differs in more than `HARMLESS` entities. Of several runs the first is taken.
    """
    fitting = sorted((file for file in files if _fits(file, asked)), key=lambda file: file.order)
    left = fitting
    for key in asked:
        left = [file for file in left if key in file.entities] or left
    combined = set(combined)
    differing = [key for key in _differing(left) if key not in combined]
    if not set(differing) <= set(HARMLESS):
        raise _ambiguity(left, [key for key in differing if key not in HARMLESS])
    for key in (*differing, *combined):
        first = min((file.entities.get(key, "") for file in left), key=_natural, default="")
        left = [file for file in left if same(key, file.entities.get(key, ""), first)]
    if len(left) > 1:
        raise _twice(left)
    return Choice(left[0], tuple(file for file in fitting if file is not left[0])) if left else Choice(None)


def _fits(file: Named, asked: Mapping[str, str | None]) -> bool:
    told = {key: file.entities.get(key) for key in asked}
    return all(
        own is None if asked[key] is None else own is None or same(key, own, asked[key]) for key, own in told.items()
    )


def _differing(files: Sequence[Named]) -> list[str]:
    """Entities in which files differ, those first that are easily told."""
    keys = [*WORDS, *dict.fromkeys(key for file in files for key in file.entities if key not in WORDS)]
    own = [[file.entities.get(key) for file in files] for key in keys]
    return [key for key, values in zip(keys, own) if not all(same(key, value, values[0]) for value in values)]


def _ambiguity(files: Sequence[Named], keys: Sequence[str]) -> Ambiguity:
    key = keys[0]
    values = sorted({file.entities.get(key, "") for file in files}, key=_natural)
    named = next(value for value in values if value)
    setting = KEYS.get(key, f"'overrides=dataset.entities={{{key}:{{}}}}'").replace("{{", "{").replace("}}", "}")
    setting = setting.replace("{}", named)
    told = ", ".join(value or "none" for value in values)
    return Ambiguity(
        f"{files[0].participant_id} has {len(files)} files that could be meant ({listed(files)}). They differ in "
        f"{WORDS.get(key, key)} ({told}): say which, for example {setting}.",
        files,
        key,
    )


def _twice(files: Sequence[Named]) -> Ambiguity:
    alike = len({file.name for file in files}) == 1
    what = "files of one name" if alike else "files of the same scan"
    return Ambiguity(
        f"{files[0].participant_id} has {len(files)} {what} ({listed(files)}). Keep one in dataset.root, or put the "
        "others into a folder whose name begins with a dot.",
        files,
        "",
    )


def listed(files: Sequence[Named], most: int = 4) -> str:
    """Paths for a message, relative to the dataset."""
    paths = [file.path for file in files]
    return ", ".join(paths[:most]) + (f" and {len(paths) - most} more" if len(paths) > most else "")


def refuse_ambiguities(found: Sequence[Ambiguity], root: str | Path) -> None:
    """Stop where nothing says which files are meant: the first person in full, the others counted.

    Raises
    ------
    Ambiguity
    """
    if found:
        first, more = found[0], len(found) - 1
        others = f" So it is with {more} other {'people' if more > 1 else 'person'}." if more else ""
        raise Ambiguity(f"{root}: {first}{others}", first.files, first.key)


def companion(scan: Named, files: Iterable[Named], rivals: Iterable[Named], ignoring=PROCESSING) -> Choice:
    """Find the file that belongs to a scan: none of another scan, and of those that fit the one most alike.

    Parameters
    ----------
    scan : Named
    files : iterable of Named
        Of one kind, of the same person; of two that are equally alike the first is taken.
    rivals : iterable of Named
        Other scans of the person: what agrees with one of them in all that it says is theirs.
    ignoring : iterable of str
        Entities that do not tell whether they belong together.

    Returns
    -------
    Choice
        Without a file, `others` are those of other scans.

    Raises
    ------
    Ambiguity
        When several are equally alike and differ in what tells scans apart.
    """
    files, ignoring = list(files), set(ignoring)
    mine = _entities(scan, ignoring)
    theirs = [own for other in rivals if (own := _entities(other, ignoring)) != mine]
    fitting = [file for file in files if agree(scan, file, ignoring) and _entities(file, ignoring) not in theirs]
    if not fitting:
        return Choice(None, tuple(files))
    apart = {file.path: len(_entities(file, ignoring).items() ^ mine.items()) for file in fitting}
    nearest = [file for file in fitting if apart[file.path] == min(apart.values())]
    if len({frozenset(_entities(file, ignoring).items()) for file in nearest}) > 1:
        raise Ambiguity(
            f"{scan.name}: nothing says which belongs to it, {listed(nearest)}. Write the entities of the scan into "
            "the name of its own.",
            nearest,
            "",
        )
    return Choice(nearest[0], tuple(file for file in fitting if file is not nearest[0]))


def _entities(file: Named, ignoring: Iterable[str]) -> dict[str, str]:
    """Entities that tell a scan, numbers without leading zeros."""
    kept = {key: value for key, value in file.entities.items() if key not in ignoring}
    return {key: str(int(value)) if key != "sub" and value.isdecimal() else value for key, value in kept.items()}


# folders


@dataclass(frozen=True)
class Listing:
    """Everything below a folder, listed once.

    Attributes
    ----------
    root : path
    files : tuple of str
        Relative paths, links without content among them.
    dead : frozenset of str
        Those links.
    """

    root: Path
    files: tuple[str, ...]
    dead: frozenset[str]

    @cached_property
    def by_participant(self) -> dict[str, list[Named]]:
        """Files by the subject in their names, sorted by path."""
        found: dict[str, list[Named]] = {}
        for path in sorted(self.files):
            if path.rpartition("/")[2].startswith("sub-"):
                named = read_name(path)
                found.setdefault(named.participant_id, []).append(named)
        return found

    @cached_property
    def sidecars(self) -> dict[tuple[str, str], list[Named]]:
        """JSON files by folder and subject ("" for those of everybody)."""
        found: dict[tuple[str, str], list[Named]] = {}
        for path in self.files:
            if path.endswith(".json"):
                named = read_name(path)
                found.setdefault((named.folder, named.entities.get("sub", "")), []).append(named)
        return found

    def applying(self, file: Named) -> list[str]:
        """Sidecars that apply to a file, see `inherited`."""
        return inherited(file, lambda folder: self._of(folder, file))

    def scans_beside(self, file: Named, suffix: str) -> list[Named]:
        """Sidecars of the scan that a table was made of: here or above, of the same scan, the most general first."""
        found = []
        for folder in _above(file.folder):
            own = [named for named in self._of(folder, file) if named.suffix == suffix and agree(named, file)]
            found += sorted(own, key=lambda named: (len(_entities(named, PROCESSING)), named.path))
        return found

    def _of(self, folder: str, file: Named) -> list[Named]:
        keys = ((folder, ""), (folder, file.entities.get("sub", "")))
        return [named for key in dict.fromkeys(keys) for named in self.sidecars.get(key, [])]


def list_folder(root: str | Path, only: str | None = None) -> Listing:
    """List everything below a folder, but for hidden folders and those that hold no input.

    Parameters
    ----------
    root : path
    only : str, optional
        Of the folders in `root` only this one (``sub-01``); the files in `root` are listed all the same.

    Raises
    ------
    ValueError
        When a folder may not be looked into.

    Notes
    -----
    One call of the system a folder, and one a link: links to folders elsewhere are followed.
    """
    root, files, dead, seen = Path(root), [], [], set()
    inside = os.path.realpath(root) + os.sep
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        for entry in _looked_into(root / folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir():
                wanted = folder or only in (None, entry.name)
                waiting += [path] if wanted and _is_input(entry, inside, seen) else []
            elif entry.is_file():
                files.append(path)
            elif entry.is_symlink():
                files.append(path)
                dead.append(path)
    return Listing(root, tuple(files), frozenset(dead))


def _looked_into(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except PermissionError as error:
        raise ValueError(f"{folder}: no permission to look into it. Mend it, or move it out of dataset.root.") from error


def _is_input(entry: os.DirEntry, inside: str, seen: set[str]) -> bool:
    """Whether a folder is to be listed; a link that leads back into the dataset, or elsewhere twice, is not."""
    if entry.name.startswith(".") or entry.name in PASSED_OVER:
        return False
    if not entry.is_symlink():
        return True
    target = os.path.realpath(entry.path)
    if (target + os.sep).startswith(inside) or target in seen or inside.startswith(target + os.sep):
        return False
    seen.add(target)
    return True


def is_pointer(path: str | Path) -> bool:
    """Whether a file holds nothing but where its content is (git-annex unlocked, git-lfs)."""
    path = Path(path)
    try:
        if path.stat().st_size > POINTER_SIZE:
            return False
        with open(path, "rb") as file:
            return file.read(64).startswith(POINTERS)
    except FileNotFoundError:
        return False


def absent_content(root: str | Path, paths: Iterable[str]) -> str:
    """Say which files are links without content, and how to get them; "" when all have theirs."""
    root = Path(root)
    links = [path for path in paths if path and (root / path).is_symlink() and not (root / path).exists()]
    pointers = [path for path in paths if path and path not in links and is_pointer(root / path)]
    if not links and not pointers:
        return ""
    first, more = (links + pointers)[0], len(links + pointers) - 1
    lfs = not links and (root / first).read_bytes()[:7] == b"version"
    remedy = f"git lfs pull --include {first}" if lfs else f"datalad get {' '.join(links + pointers)}"
    return f"{first} is a link without content{f' ({more} more of this scan)' if more else ''}: {remedy}"


# sidecars


def inherited(file: Named, of_folder: Callable[[str], Iterable[Named]]) -> list[str]:
    """Sidecars that apply to a file, the most general first (BIDS, inheritance principle).

    Those of the folder of the dataset and of every folder between it and the file, of the same suffix, whose entities
    are all in the file's name with the same values.

    Parameters
    ----------
    file : Named
    of_folder : callable
        Gives the JSON files of a folder, relative to the dataset.
    """
    found = []
    for folder in _above(file.folder):
        own = [named for named in of_folder(folder) if named.suffix == file.suffix and _within(named, file)]
        found += sorted(own, key=lambda named: (len(named.entities), len(named.extension), named.path))
    return [named.path for named in found]


def _above(folder: str) -> list[str]:
    """A relative folder and all above it, the dataset's first."""
    parts = folder.split("/") if folder else []
    return ["/".join(parts[:k]) for k in range(len(parts) + 1)]


def _within(sidecar: Named, file: Named) -> bool:
    return all(same(key, file.entities.get(key), value) for key, value in sidecar.entities.items())


def sidecars_of(path: str | Path, root: str | Path | None = None) -> list[Path]:
    """Sidecars on disk that apply to an image, the most general first.

    Parameters
    ----------
    path : path
    root : path, optional
        Folder of the dataset; without it the folder that holds the image's ``sub-X``, else the image's own.
    """
    path = Path(path)
    root = _root_of(path) if root is None else Path(root)
    file = read_name(path.relative_to(root).as_posix())

    def of_folder(folder: str) -> list[Named]:
        names = [name for name in os.listdir(root / folder) if name.endswith(".json")]
        return [read_name(f"{folder}/{name}" if folder else name) for name in names]

    return [root / told for told in inherited(file, of_folder)] if path.parent.is_dir() else []


def _root_of(path: Path) -> Path:
    participant = read_name(path.name).participant_id
    return next((folder.parent for folder in path.parents if folder.name == participant), path.parent)


def read_sidecars(paths: Iterable[str | Path]) -> tuple[dict, dict[str, str]]:
    """Merge sidecars key by key, the later over the earlier.

    Returns
    -------
    told : dict
        Values by key.
    origins : dict of str to str
        Name of the file that told each.

    Raises
    ------
    ValueError
        When one is no JSON object.
    """
    told: dict = {}
    origins: dict[str, str] = {}
    for path in map(Path, paths):
        own = read_object(path)
        told |= own
        origins |= dict.fromkeys(own, path.name)
    return told, origins


def read_object(path: str | Path) -> dict:
    """Read a JSON file that holds an object.

    Raises
    ------
    ValueError
        When it is none, or a link without content.
    """
    path = Path(path)
    if absent := absent_content(path.parent, [path.name]):
        raise ValueError(absent)
    try:
        told = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is no JSON ({error}); mend it, or delete it") from error
    if not isinstance(told, dict):
        raise ValueError(f"{path.name} holds no JSON object, {{...}}; mend it, or delete it")
    return told


def is_derivative(root: str | Path) -> bool:
    """Whether a dataset says of itself that it is made of another one (`DatasetType`)."""
    try:
        return read_object(PurePosixPath(root) / "dataset_description.json").get("DatasetType") == "derivative"
    except (ValueError, OSError):
        return False
