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
    """A file whose room is taken before it is written, and that never fails in the middle; `finish` raises the problem.

    HDF5 cannot bear a write that fails: it reads back what it never wrote, and crashes the process.

    Parameters
    ----------
    path : path
    needed : int
        Bytes to take; what is left over is given back.
    """

    def __init__(self, path: str | Path, needed: int):
        super().__init__(path, "w+b")
        self.problem: OSError | None = None
        self.end = 0
        try:
            if needed and hasattr(os, "posix_fallocate"):  # not on a Mac
                os.posix_fallocate(self.fileno(), 0, needed)
        except OSError as problem:
            if problem.errno in FULL:  # others cannot tell beforehand
                self.close()
                raise

    def write(self, data) -> int:
        """Write all of the bytes, or remember why not."""
        left = memoryview(data).cast("B")
        total = len(left)
        try:
            while len(left):
                left = left[super().write(left) :]
        except OSError as problem:
            self.problem = self.problem or problem
        self.end = max(self.end, self.tell())
        return total

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; the end is that of what was written, not of the room that was taken."""
        return super().seek(self.end + offset) if whence == os.SEEK_END else super().seek(offset, whence)

    def truncate(self, size: int | None = None) -> int:
        """Remember the size that is wanted: the room is given back when the file is complete."""
        self.end = self.tell() if size is None else size
        return self.end

    def check(self) -> None:
        """Raise what went wrong so far."""
        if self.problem is not None:
            raise self.problem

    def finish(self) -> None:
        """Give back what was not needed; raise what went wrong."""
        self.check()
        super().truncate(self.end)


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
        with PartFile(part, needed) as file:
            yield file
            file.finish()
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
