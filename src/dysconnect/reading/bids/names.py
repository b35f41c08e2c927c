"""What a name says: which subject, session, run; which kind of file; and whether two are of one scan."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ID = re.compile(r"sub-[A-Za-z0-9]{1,100}")  # a participant's, which becomes part of the names of files
PROCESSING = frozenset(  # what was done to a scan, not which scan it is
    ("space", "cohort", "res", "den", "desc", "seg", "atlas", "stat", "label", "hemi", "thresh", "proc", "meas")
)


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
        numbered = [natural(self.entities.get(key, "")) for key in ("ses", "run")]
        return (*numbered, len(self.path.split("/")), natural(self.path))


def natural(text: str) -> list[tuple[int, int, str]]:
    """For sorting as people count: numbers in a text by their size."""
    parts = re.split(r"(\d+)", text)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def read_name(path: str | Path) -> Named:
    """Take a file name apart; keys are lower-case letters, anything else is a word or is passed over.

    A session that only the folder tells (``ses-1/func/sub-01_task-rest_bold.nii.gz``) counts as in the name.
    """
    path = str(path)
    *parts, last = path.rpartition("/")[2].split("_")
    last, dot, extension = last.partition(".")
    pairs = [part.split("-", 1) for part in (*parts, last) if "-" in part]
    entities = {key: value for key, value in pairs if key.isalpha() and key.islower() and value}
    if "ses-" in path and "ses" not in entities:
        folders = [part.removeprefix("ses-") for part in path.split("/")[:-1] if part.startswith("ses-")]
        entities |= {"ses": folders[-1]} if folders else {}
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


def scan_entities(file: Named, ignoring: Iterable[str]) -> dict[str, str]:
    """Entities that tell a scan, numbers without leading zeros."""
    kept = {key: value for key, value in file.entities.items() if key not in ignoring}
    return {key: str(int(value)) if key != "sub" and value.isdecimal() else value for key, value in kept.items()}


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


def fits(file: Named, asked: Mapping[str, str | None]) -> bool:
    """Whether a name fits what is asked; what it leaves out fits every value."""
    entities = {key: file.entities.get(key) for key in asked}
    return all(
        value is None if asked[key] is None else value is None or same(key, value, asked[key])
        for key, value in entities.items()
    )


def listed(files: Sequence[Named], most: int = 4) -> str:
    """Paths for a message, relative to the dataset."""
    paths = [file.path for file in files]
    return ", ".join(paths[:most]) + (f" and {len(paths) - most} more" if len(paths) > most else "")
