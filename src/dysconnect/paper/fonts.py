"""Fonts inside PDFs: the same glyphs for less, as most of a font is read once and not once a figure."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from fontTools import subset
from fontTools.ttLib import TTFont
from matplotlib.backends import _backend_pdf_ps as backend

LAYOUT = ("GSUB", "GPOS", "GDEF", "kern")  # tell a typesetter of ligatures: no PDF uses them, and they cost most
COMMON = (range(0x180), range(0x391, 0x3CA), range(0x2010, 0x2027), range(0x2190, 0x2194), (0x2212, 0x2264, 0x2265))


@contextmanager
def quick_fonts() -> Iterator[None]:
    """Take fonts for PDFs from smaller ones of common characters; whatever else is needed, from the whole font."""
    dropped = getattr(subset.Options, "_drop_tables_default", [])  # of no account in versions that have another way
    whole = backend.get_glyphs_subset
    subset.Options._drop_tables_default = [*dropped, *LAYOUT]
    if hasattr(backend, "SubsetResults"):  # versions before ask for characters, and get no places of glyphs
        backend.get_glyphs_subset = lambda path, glyphs: _from_small(whole, path, glyphs)
    try:
        yield
    finally:
        subset.Options._drop_tables_default, backend.get_glyphs_subset = dropped, whole


def _from_small(whole: Callable, path, glyphs: set[int]):
    """As matplotlib's `get_glyphs_subset`: a font of a few glyphs, and where in it those are by their place in all."""
    data, places = _small(whole, path)
    if not {0, *glyphs} <= places.keys():
        return whole(path, glyphs)
    options = subset.Options(glyph_names=True, recommended_glyphs=True)
    font = subset.load_font(io.BytesIO(data), options)  # box and date stay those of the whole font
    subsetter = subset.Subsetter(options=options)
    subsetter.populate(gids={places[glyph] for glyph in glyphs})
    subsetter.subset(font)
    again = subsetter.glyph_index_map
    own = {old: again[new] for old, new in places.items() if new in again}
    return backend.SubsetResults(font, own)._as_cm()


@cache
def _small(whole: Callable, path) -> tuple[bytes, dict[int, int]]:
    """Font of the common characters, and where in it its glyphs are by their place in all."""
    with TTFont(path, fontNumber=getattr(path, "face_index", 0)) as font:
        names = {name for code, name in font.getBestCmap().items() if any(code in part for part in COMMON)}
        glyphs = {font.getGlyphID(name) for name in names}
    with whole(path, glyphs) as made:
        target = io.BytesIO()
        made.font.save(target, reorderTables=False)
        return target.getvalue(), dict(made.glyph_index_map)
