"""The papers that the methods may cite; they lie in ``references.bib``."""

from collections.abc import Iterable
from pathlib import Path

from dysconnect.paper.bibtex import Paper, read_papers

PAPERS = read_papers(Path(__file__).with_name("references.bib"))


def cited(paragraphs: Iterable[tuple[str, str]]) -> list[Paper]:
    """Papers that (heading, text) pairs name, in the order in which they are named first."""
    text = " ".join(words for _, words in paragraphs)
    return sorted((paper for paper in PAPERS if paper.name in text), key=lambda paper: text.index(paper.name))
