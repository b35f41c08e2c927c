"""Arrays of numbers as numpy saves them, and the bytes of files: refused before they fill the memory."""

import errno
import gzip
import zlib
from pathlib import Path

import numpy as np

from dysconnect.reading.tables import TableError

LARGEST = 2 << 30  # bytes, unpacked


def refuse_absent(path: Path, what: str = "file") -> None:
    """Refuse what is not there, a folder and a device.

    Raises
    ------
    FileNotFoundError
        With its errno: whoever named the file saw it before, so it is gone.
    TableError
        When it is no file.
    """
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, f"{what} {path.name} is missing", str(path))
    if not path.is_file():
        raise TableError(f"{path.name} is {'a folder' if path.is_dir() else 'a device'}, no file; write the file again")


def read_content(path: Path) -> bytes:
    """Bytes of a file, unpacked."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read(LARGEST + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TableError(f"{path.name} cannot be read as a table of numbers ({error}); fetch it again") from error
    if len(content) > LARGEST:
        raise TableError(f"{path.name} has more than {LARGEST >> 30} GB: no table of one person; is it an image?")
    return content


def read_array(path: Path) -> np.ndarray:
    """Read a ``.npy`` of real numbers, [T, N], in any order of bytes and axes; pickles are never loaded.

    Raises
    ------
    TableError
        When it is another thing, or its header promises more than the file holds.
    """
    try:
        with open(path, "rb") as file:
            _check_header(file, path.stat().st_size, path.name)
        return np.load(path, allow_pickle=False)
    except TableError:
        raise
    except (ValueError, EOFError, SyntaxError, TypeError, OverflowError) as error:
        raise TableError(f"{path.name} cannot be read as an array ({error}); save it with numpy.save") from error


def _check_header(file, size: int, name: str) -> None:
    """Refuse an array by its header: other things than numbers, other than two axes, or more than `size` bytes."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(file)
    if kind.kind == "c":
        raise TableError(f"{name} holds complex numbers; save their real part, or whatever was meant")
    if kind.kind not in "iuf":
        raise TableError(f"{name} cannot be read as a table of numbers: it is an array of {kind}; save real numbers")
    if len(shape) != 2:
        raise TableError(
            f"{name} cannot be read as a table of numbers: an array of shape {shape}, expected (volumes, regions)"
        )
    needed = int(kind.itemsize) * int(shape[0]) * int(shape[1])
    if size - file.tell() < needed:
        raise TableError(f"{name} holds {size - file.tell():,} of {needed:,} bytes: it is cut short; fetch it again")


def check_member(archive: np.lib.npyio.NpzFile, key: str, name: str) -> None:
    """Refuse an array of an ``.npz`` as `read_array` does."""
    entry = archive.zip.getinfo(f"{key}.npy")
    with archive.zip.open(entry) as file:
        _check_header(file, entry.file_size, name)
