"""SVG of the figures: the same bytes each time, and fit to stand inside a page."""

import html
import io
import re

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from dysconnect.paper.style import STYLE


def to_svg(figure: Figure, last: bool = True) -> str:
    """Write a figure as an SVG document with real text, the same bytes each time; the last who needs it clears it."""
    target = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context(STYLE):
        _lay_out(figure)
        figure.savefig(target, format="svg", metadata=nothing)
    if last:
        figure.clear()
    short = lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0])  # a hundredth of a point is enough
    document = re.sub(r' d="[^"]*"', short, target.getvalue())
    used = set(re.findall(r"#([\w.-]+)", document))  # nilearn's brain repeats its ids, and nobody refers to them
    return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", document)


def _lay_out(figure: Figure) -> None:
    """Put things in their places once and for all, as matplotlib does for SVG, but without drawing them to do it."""
    engine = figure.get_layout_engine()
    if engine is not None:
        figure.set_dpi(72)
        FigureCanvasSVG(figure)
        engine.execute(figure)
        figure.set_layout_engine(None)


def inline_svg(document: str, name: str, alt: str) -> str:
    """Make an SVG document fit to stand inside a page: unique ids, an accessible name, no styles for others."""
    body = document[document.index("<svg") :].strip()
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body).replace('xlink:href="#', f'href="#{name}-')
    view = re.search(r'viewBox="[^"]*"', body)[0]
    opening = f'<svg {view} role="img" aria-label="{html.escape(alt)}" stroke-linejoin="round" stroke-linecap="butt">'
    return opening + body[body.index(">") + 1 :]
