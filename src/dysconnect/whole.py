"""Files that are there whole or not at all: room is asked for, they are written aside, and moved when complete."""

import errno
import io
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class PartFile(io.FileIO):
    """A file that never fails while it is written; `check` raises the first problem.

    HDF5 cannot bear a write that fails: it crashes the process when the file is closed.
    """

    def __init__(self, path: str | Path):
        super().__init__(path, "w+b")
        self.problem: OSError | None = None

    def write(self, data) -> int:
        """Write all of the bytes, or remember why not."""
        left = memoryview(data).cast("B")
        total = len(left)
        try:
            while len(left) and self.problem is None:
                left = left[super().write(left) :]
        except OSError as problem:
            self.problem = problem
        return total

    def truncate(self, size: int | None = None) -> int:
        """Set the size, or remember why not."""
        try:
            return super().truncate(size)
        except OSError as problem:
            self.problem = self.problem or problem
            return self.tell() if size is None else size

    def check(self) -> None:
        """Raise what went wrong so far."""
        if self.problem is not None:
            raise self.problem


@contextmanager
def whole_file(path: str | Path, needed: int) -> Iterator[PartFile]:
    """Write a file aside (``.part`` in the same folder), and give it its name when it is complete.

    Parameters
    ----------
    path : path
        What was there is kept until the new file is complete.
    needed : int
        Bytes that it will take at most.

    Raises
    ------
    OSError
        When the disk is full, before the first byte where that is known: names the file, what it needs and what is
        free. No half file stays.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    if needed > shutil.disk_usage(path.parent).free:
        raise _full(path, needed, errno.ENOSPC)
    try:
        with PartFile(part) as file:
            yield file
            file.check()
        os.replace(part, path)
    except BaseException as problem:
        part.unlink(missing_ok=True)
        if isinstance(problem, OSError) and problem.errno in FULL:
            raise _full(path, needed, problem.errno) from problem
        raise


def _full(path: Path, needed: int, code: int) -> OSError:
    free = shutil.disk_usage(path.parent).free
    return OSError(
        code,
        f"{path} is not written, for lack of room: it needs up to {needed:,} bytes, and {free:,} are free in "
        f"{path.parent} (a quota or a limit may allow fewer). Make room, then give the same command again",
    )


def save_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Save arrays as an ``.npz`` that is there whole or not at all.

    Raises
    ------
    OSError
        When the disk is full, see `whole_file`.
    """
    arrays = {name: np.asanyarray(value) for name, value in arrays.items()}
    needed = sum(value.nbytes + 1000 for value in arrays.values())  # each with its header, twice its name in the zip
    with whole_file(path, needed) as file:
        np.savez(file, **arrays)
