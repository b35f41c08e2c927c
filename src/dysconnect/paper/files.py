"""Figures as files for a paper: SVG, PNG with 300 dots an inch, and PDF."""

import io
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import matplotlib
import numpy as np
from isal import isal_zlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dysconnect.paper.html import Picture
from dysconnect.paper.style import STYLE

DPI = 300


@dataclass(frozen=True)
class Listed:
    """A figure in the list of files: its name, and the first sentence of its caption."""

    name: str
    title: str


def to_png(figure: Figure) -> bytes:
    """Write a figure as PNG with 300 dots an inch, the same bytes each time."""
    with matplotlib.rc_context(STYLE):
        figure.set_dpi(DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    return _packed(np.asarray(canvas.buffer_rgba()))


def _packed(pixels: np.ndarray) -> bytes:
    """PNG of pixels [height, width, RGBA], in a twentieth of matplotlib's time and a tenth larger."""
    height, width, _ = pixels.shape
    lines = np.pad(pixels.reshape(height, -1), ((0, 0), (1, 0)))  # a zero before each: as it is
    a_metre = round(DPI / 0.0254)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0),
        b"pHYs": struct.pack(">IIB", a_metre, a_metre, 1),
        b"IDAT": isal_zlib.compress(lines, 2),
        b"IEND": b"",
    }
    framed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def to_pdf(figure: Figure) -> bytes:
    """Write a figure as PDF with its text as text and its fonts inside, the same bytes each time."""
    from dysconnect.paper.fonts import quick_fonts  # slow to import, and pages of people need no PDF

    target = io.BytesIO()
    with matplotlib.rc_context(STYLE), quick_fonts():
        figure.savefig(target, format="pdf", metadata=dict.fromkeys(("CreationDate", "Creator", "Producer")))
    return target.getvalue()


PRINTED = {"png": to_png, "pdf": to_pdf}  # beside the SVG


def listed_figures(pictures: Iterable[Picture]) -> list[Listed]:
    """List the figures with what they show."""
    return [Listed(picture.name, picture.caption.split(". ")[0].rstrip(".") + ".") for picture in pictures]
