"""A folder, listed once."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dysconnect.reading.bids.content import shown, unfit
from dysconnect.reading.bids.names import ID, Named, agree, read_name
from dysconnect.reading.bids.sidecars import folders_above, inherited

PASSED_OVER = ("results", "freesurfer", "figures", "lost+found")  # folders that hold no input


@dataclass(frozen=True)
class Listing:
    """Everything below a folder, listed once.

    Attributes
    ----------
    root : path
    files : tuple of str
        Relative paths, sorted, links without content among them.
    dead : frozenset of str
        Those links, and files with `unfit` paths.
    """

    root: Path
    files: tuple[str, ...]
    dead: frozenset[str]

    @cached_property
    def present(self) -> frozenset[str]:
        """Files that have content."""
        return frozenset(self.files) - self.dead

    @cached_property
    def by_participant(self) -> dict[str, list[Named]]:
        """Files by the subject in their names, sorted by path; of what is no id, as `sub-01 copy`, nobody is."""
        files: dict[str, list[Named]] = {}
        for path in self.files:
            if path.rpartition("/")[2].startswith("sub-"):
                named = read_name(path)
                if ID.fullmatch(named.participant_id):
                    files.setdefault(named.participant_id, []).append(named)
        return files

    @cached_property
    def sidecars(self) -> dict[tuple[str, str], list[Named]]:
        """JSON files by folder and subject ("" for those of everybody)."""
        files: dict[tuple[str, str], list[Named]] = {}
        for path in self.files:
            if path.endswith(".json"):
                named = read_name(path)
                files.setdefault((named.folder, named.entities.get("sub", "")), []).append(named)
        return files

    def applying(self, file: Named) -> list[str]:
        """Sidecars that apply to a file, see `inherited`."""
        owners = ("", file.entities.get("sub", ""))
        return inherited(
            file, lambda folder: [sidecar for owner in owners for sidecar in self.sidecars.get((folder, owner), [])]
        )

    def scans_beside(self, file: Named, suffix: str) -> list[list[Named]]:
        """Sidecars of the scan that a table was made of, those that agree with it: the most general level first.

        The levels are the folders from the dataset's to the file's, in each those of everybody before the person's.
        """
        owners = ("", file.entities.get("sub", ""))
        levels = [self.sidecars.get((folder, owner), []) for folder in folders_above(file.folder) for owner in owners]
        return [[named for named in level if named.suffix == suffix and agree(named, file)] for level in levels]


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
                person = not folder and entry.name.startswith("sub-")  # may be a link to elsewhere in the dataset
                waiting += [path] if wanted and (person or _is_input(entry, inside, seen)) else []
            elif entry.is_file():
                files.append(path := shown(path))
                dead += [path] * bool(unfit(path))
            elif entry.is_symlink():
                files.append(path := shown(path))
                dead.append(path)
    return Listing(root, tuple(sorted(files)), frozenset(dead))


def _looked_into(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except PermissionError as error:
        raise ValueError(
            f"{folder}: no permission to look into it. Mend it, or move it out of dataset.root."
        ) from error


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
