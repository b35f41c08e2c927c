"""Links without content: what is left of a file in a clone by git-annex, DataLad or git-lfs that was not fetched."""

from collections.abc import Iterable
from pathlib import Path

POINTERS = (b"/annex/objects/", b"version https://git-lfs")  # how files begin whose content is elsewhere
POINTER_SIZE = 1024  # bytes; no longer than this


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
