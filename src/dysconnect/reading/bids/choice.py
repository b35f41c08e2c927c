"""Which of several files is meant, and which belong to it: decided by a key, by a rule that is named, or not at all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dysconnect.reading.bids.names import PROCESSING, Named, agree, fits, listed, natural, same, scan_entities

HARMLESS = ("run", "den")  # of several the first is taken, and said: runs are repetitions, the coarser mesh has atlases
KEYS = {"ses": "dataset.session=ses-{}", "run": "dataset.run={}", "task": "dataset.task={}"}
KEYS |= {"seg": "dataset.segmentation={}", "atlas": "dataset.segmentation={}"}
WORDS = {
    "ses": "session", "run": "run", "task": "task", "echo": "echo", "dir": "phase encoding", "acq": "acquisition",
    "rec": "reconstruction", "space": "space", "res": "resolution",
}  # fmt: skip


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
    fitting = sorted((file for file in files if fits(file, asked)), key=lambda file: file.order)
    left = fitting
    for key in asked:
        left = [file for file in left if key in file.entities] or left
    combined = set(combined)
    differing = [key for key in _differing(left) if key not in combined]
    if not set(differing) <= set(HARMLESS):
        raise _ambiguity(left, [key for key in differing if key not in HARMLESS])
    for key in (*differing, *combined):
        first = min((file.entities.get(key, "") for file in left), key=natural, default="")
        left = [file for file in left if same(key, file.entities.get(key, ""), first)]
    if len(left) > 1:
        raise _twice(left)
    return Choice(left[0], tuple(file for file in fitting if file is not left[0])) if left else Choice(None)


def _differing(files: Sequence[Named]) -> list[str]:
    """Entities in which files differ, those first that are easily named."""
    keys = [*WORDS, *dict.fromkeys(key for file in files for key in file.entities if key not in WORDS)]
    by_key = [[file.entities.get(key) for file in files] for key in keys]
    return [key for key, values in zip(keys, by_key) if not all(same(key, value, values[0]) for value in values)]


def _ambiguity(files: Sequence[Named], keys: Sequence[str]) -> Ambiguity:
    key = keys[0]
    values = sorted({file.entities.get(key, "") for file in files}, key=natural)
    setting = KEYS.get(key, f"'overrides=dataset.entities={{{key}:{{}}}}'")
    settings = [
        setting.replace("{}", value) if value else f"'overrides=dataset.entities={{{key}:null}}'" for value in values
    ]
    return Ambiguity(
        f"{files[0].participant_id} has {len(files)} files that could be meant ({listed(files)}). They differ in "
        f"{WORDS.get(key, key)} ({', '.join(value or 'none' for value in values)}): say which is meant, "
        f"{' or '.join(settings[:3])}.",
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


def refuse_ambiguities(ambiguities: Sequence[Ambiguity], root: str | Path, more: str = "") -> None:
    """Stop where nothing says which files are meant: the first person in full, then `more`, the others counted.

    Raises
    ------
    Ambiguity
    """
    if ambiguities:
        first, n = ambiguities[0], len(ambiguities) - 1
        others = f" So it is with {n} other {'people' if n > 1 else 'person'}." if n else ""
        raise Ambiguity(f"{root}: {first}{more}{others}", first.files, first.key)


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
    mine = scan_entities(scan, ignoring)
    theirs = [entities for other in rivals if (entities := scan_entities(other, ignoring)) != mine]
    fitting = [file for file in files if agree(scan, file, ignoring) and scan_entities(file, ignoring) not in theirs]
    if not fitting:
        return Choice(None, tuple(files))
    apart = {file.path: len(scan_entities(file, ignoring).items() ^ mine.items()) for file in fitting}
    nearest = [file for file in fitting if apart[file.path] == min(apart.values())]
    if len({frozenset(scan_entities(file, ignoring).items()) for file in nearest}) > 1:
        raise Ambiguity(
            f"{scan.name}: nothing says which belongs to it, {listed(nearest)}. Write the entities of the scan into "
            "the name of its own.",
            nearest,
            "",
        )
    return Choice(nearest[0], tuple(file for file in fitting if file is not nearest[0]))
