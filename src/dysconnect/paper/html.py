"""Pages as HTML: templates, links, and pictures that stand inside a page."""

import base64
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from dysconnect.paper.svg import inline_svg
from dysconnect.paper.text import unbroken

FOLDER = Path(__file__).parent
DOWNLOADS = re.compile(r'\n?<span class="download">(?:(?!</span>).)*</span>', re.S)
LINK = re.compile(r'<a\s[^>]*?href="(?!#|[a-z][a-z0-9+.-]*:)([^"]+)"[^>]*>(.*?)</a>', re.S)


@dataclass(frozen=True)
class Picture:
    """A figure on the page: inline SVG, its caption, and the folder of its files where it has any."""

    name: str
    svg: Markup
    caption: str
    wide: bool
    folder: str = ""


def picture(name: str, document: str, caption: str, wide: bool = False, folder: str = "") -> Picture:
    """Make a figure of an SVG document; the first sentence of the caption names it for those who do not see it."""
    return Picture(name, Markup(inline_svg(document, name, caption.split(". ")[0])), caption, wide, folder)


def image(path: Path) -> str:
    """A PNG as an address that holds the image itself, so that the page stands alone."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def template(name: str, module: str) -> Template:
    """Template that lies beside a module (its ``__file__``), with frame, macros and style of all; data are escaped."""
    environment = Environment(
        loader=FileSystemLoader([Path(module).parent, FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,  # of what is included
    )
    environment.filters |= {"linked": linked, "unbroken": unbroken}
    environment.globals["css"] = Markup((FOLDER / "style.css").read_text())
    return environment.get_template(name)


def numbered(page: str) -> str:
    """Number the figures and tables of a page in the order in which they stand on it."""
    for opening, word in (("<figcaption>", "Figure"), ('<p class="caption numbered">', "Table")):
        count = itertools.count(1)
        count_of = lambda found, word=word, count=count: (
            f'{found[0]}<span class="count">{word}\u00a0{next(count)}.</span> '
        )
        page = re.sub(opening, count_of, page)
    return page


def alone(page: str) -> str:
    """Make a copy of a report that stands alone: no link leads to another file, and a sentence says where those lie.

    MLflow and Snakemake's report put a page where nothing lies beside it, so that a link to a file is dead there.
    """
    beside = "(files of figures, checklists, pages of people)"
    note = f"What the report links to {beside} is in the folder <code>report</code>: this copy has no such links."
    page = page.replace("</header>", f'<p class="aside">{note}</p>\n</header>', 1)
    return LINK.sub(r'<span title="\1, in the folder report">\2</span>', DOWNLOADS.sub("", page))


def shown(pictures: Iterable[Picture], page: str) -> list[Picture]:
    """Pictures that stand on a page, in its order."""
    places = {picture.name: page.find(f'id="figure-{picture.name}"') for picture in pictures}
    return sorted((one for one in pictures if places[one.name] >= 0), key=lambda one: places[one.name])


def linked(words: str) -> Markup:
    """Escape a citation, and make a link of every DOI in it."""
    parts = re.split(r"(doi:10\.[^\s;,]*[^\s;,.])", words)
    return Markup("").join(
        Markup('<a href="https://doi.org/{}">{}</a>').format(part[4:], part) if k % 2 else escape(part)
        for k, part in enumerate(parts)
    )
