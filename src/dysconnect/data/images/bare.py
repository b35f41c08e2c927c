"""Images that are called .gz and are not packed: a slip of converters that is not worth a person."""

from pathlib import Path

NIFTI = (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c")  # size of the header, 348, in either order of bytes


def is_bare(path: str | Path) -> bool:
    """Whether a file begins as a NIfTI image does, whatever it is called."""
    with open(path, "rb") as file:
        return file.read(4) in NIFTI
