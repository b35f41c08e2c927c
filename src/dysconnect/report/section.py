"""What one topic of the report is made of: its words, numbers, figures and tables in all places of the page."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from dysconnect.paper.tables import Table

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Drawing:
    """A figure that is still to be drawn, and its caption: what it shows, then how to read it."""

    draw: Callable[[], Figure]
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """One topic of the report.

    Attributes
    ----------
    name : str
        Its anchor on the page; its template is ``sections/NAME.html``, or ``sections/plain.html``.
    title : str
        Heading; empty for a topic that has no section of its own, and is shown in that of another.
    link : str
        What the list of contents calls it, where that is not the title.
    sentences, facts : sequence
        Below the heading: paragraphs; names and values.
    figures : mapping of str to Drawing
    tables : mapping of str to Table or None
    more : mapping
        What only its own template needs.
    verdict : sequence of (str, str)
        What the verdict says of it: topic and sentences.
    methods : sequence of (str, str)
        Heading and paragraph of the methods; papers are named as in `references.bib`.
    """

    name: str
    title: str = ""
    link: str = ""
    sentences: Sequence[str] = ()
    facts: Pairs = ()
    figures: Mapping[str, Drawing] = field(default_factory=dict)
    tables: Mapping[str, Table | None] = field(default_factory=dict)
    more: Mapping[str, object] = field(default_factory=dict)
    verdict: Pairs = ()
    methods: Pairs = ()


def joined(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Join what is said under one heading, in the order in which headings come first; empty words are left out."""
    said: dict[str, list[str]] = {}
    for heading, words in pairs:
        if words:
            said.setdefault(heading, []).append(words)
    return [(heading, " ".join(words)) for heading, words in said.items()]
