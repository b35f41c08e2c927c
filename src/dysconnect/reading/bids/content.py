"""Files that are listed and cannot be read: links without content, as clones have them, and paths that nobody can hold.

A link is what git-annex, DataLad or git-lfs leave of a file that was not fetched.
"""

import re
from collections.abc import Iterable
from pathlib import Path

POINTERS = (b"/annex/objects/", b"version https://git-lfs")  # how files begin whose content is elsewhere
POINTER_SIZE = 1024  # bytes; no longer than this
UNFIT = re.compile(r"[{}]|(\ufffd)")


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


def shown(path: str) -> str:
    """A path with a replacement character for bytes that are no UTF-8, which no table can hold."""
    return path.encode(errors="surrogateescape").decode(errors="replace")


def unfit(path: str | Path) -> str:
    """Say why tables and Snakemake cannot hold a path, which takes braces for wildcards; "" where they can."""
    found = UNFIT.search(str(path))
    if not found:
        return ""
    sign = "a byte that is no UTF-8" if found[1] else "a brace"
    return f"there is {sign} in the path {str(path)!a}: rename it"


def refuse_unfit(paths: Iterable[str], root: str | Path) -> None:
    """Stop where nobody's files can be read and some have unfit paths.

    Raises
    ------
    FileNotFoundError
        With the first.
    """
    if wrong := next(filter(None, map(unfit, paths)), ""):
        raise FileNotFoundError(f"{root}: nobody has files that can be read: {wrong}.")


def absent_content(root: str | Path, paths: Iterable[str]) -> str:
    """Say which files are links without content, and how to get them, or have unfit paths; "" when all can be read."""
    root, paths = Path(root), list(paths)
    if wrong := next(filter(None, map(unfit, paths)), ""):
        return wrong
    links = [path for path in paths if path and (root / path).is_symlink() and not (root / path).exists()]
    pointers = [path for path in paths if path and path not in links and is_pointer(root / path)]
    if not links and not pointers:
        return ""
    first, more = (links + pointers)[0], len(links + pointers) - 1
    lfs = not links and (root / first).read_bytes()[:7] == b"version"
    remedy = f"git lfs pull --include {first}" if lfs else f"datalad get {' '.join(links + pointers)}"
    return f"{first} is a link without content{f' ({more} more of this scan)' if more else ''}: {remedy}"
