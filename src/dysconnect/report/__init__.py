"""Stage `report`: one self-contained page, its figures, and a methods paragraph.

A topic is a module, or a folder, with a function `section`: what it shows, says and cites. Here they are put in order.
"""

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dysconnect.paper.bibtex import Paper, as_link, bibliography
from dysconnect.paper.files import PRINTED, listed_figures
from dysconnect.paper.html import Picture, numbered, picture, shown, template
from dysconnect.paper.svg import to_svg
from dysconnect.paper.text import RESEARCH_ONLY
from dysconnect.report import (
    cohort,
    localization,
    maps,
    prediction,
    quality,
    recovery,
    replication,
    scans,
    series,
    severity,
    software,
    stimulation,
    structures,
    tracts,
    validation,
)
from dysconnect.report.references import cited
from dysconnect.report.results import Results, Study
from dysconnect.report.section import Drawing, Section, joined
from dysconnect.report.unnamed import as_shown
from dysconnect.report.verdict import in_short, verdict

__all__ = ["Page", "Results", "Study", "methods", "render", "sections_of"]

TOPICS = (
    cohort, series, scans, tracts, quality, prediction, localization, structures, severity, replication, stimulation,
    maps, recovery, validation, software,
)  # fmt: skip


@dataclass(frozen=True)
class Page:
    """The page as HTML, its figures by name (SVG; PNG and PDF where they were asked for), and the verdict in short."""

    html: str
    figures: dict[str, str]
    images: dict[str, dict[str, bytes]]
    in_short: list[str]

    def write_figures(self, paths: Mapping[str, Sequence[str | Path]]) -> None:
        """Write every figure as SVG, then in the formats that the names of its other files say."""
        for name, (vector, *others) in paths.items():
            Path(vector).write_text(self.figures[name], encoding="utf-8")
            for path in map(Path, others):
                path.write_bytes(self.images[name][path.suffix[1:]])


def render(
    results: Results,
    cohort: Mapping,
    experiments: Mapping[str, Mapping],
    nodes: pd.DataFrame,
    date: str,
    images: bool = False,
) -> Page:
    """Make the report of a cohort.

    Parameters
    ----------
    results : Results
        Tables of the stages before.
    cohort : mapping
        Composed configuration without an experiment.
    experiments : mapping of str to mapping
        Composed configuration of each experiment.
    nodes : DataFrame, [N rows]
        Atlas table.
    date : str
        As it is to be printed.
    images : bool
        Whether to draw the figures as PNG and PDF too, for a paper.
    """
    study = as_shown(Study(results, cohort, experiments, nodes))
    sections = sections_of(study)
    drawings = {name: drawing for section in sections for name, drawing in section.figures.items()}
    documents, printed = drawn(drawings, images)
    pictures = {name: _picture(name, documents[name], drawing) for name, drawing in drawings.items()}
    return Page(_html(study, sections, pictures, date), documents, printed, in_short(study))


def sections_of(study: Study) -> list[Section]:
    """What every topic has to say, in the order of the topics; those that have nothing are left out."""
    return [section for section in (topic.section(study) for topic in TOPICS) if section is not None]


def methods(sections: Iterable[Section]) -> list[tuple[str, str]]:
    """Describe what was done: (heading, paragraph) pairs, for the methods section of a paper."""
    return joined(pair for section in sections for pair in section.methods)


def drawn(drawings: Mapping[str, Drawing], images: bool) -> tuple[dict[str, str], dict[str, dict[str, bytes]]]:
    """Draw figures: SVG documents by name, and PNG and PDF where they are wanted."""
    documents, printed = {}, {}
    with _without_search():
        for name, drawing in drawings.items():
            figure = drawing.draw()
            documents[name] = to_svg(figure, last=not images)  # lays it out for the others too
            if images:
                printed[name] = {kind: write(figure) for kind, write in PRINTED.items()}
                figure.clear()
    return documents, printed


@contextmanager
def _without_search() -> Iterator[None]:
    """Do not search a figure's many thousand parts for those that nobody needs: it took a tenth of a report's time."""
    searches = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searches:
            gc.enable()


def _picture(name: str, document: str, drawing: Drawing) -> Picture:
    return picture(name, document, drawing.caption, drawing.wide, "figures")


def _html(study: Study, sections: list[Section], pictures: Mapping[str, Picture], date: str) -> str:
    paragraphs = methods(sections)
    papers = cited(paragraphs)
    page = template("template.html", __file__).render(
        dataset=study.cohort["dataset"],
        atlas=study.cohort["atlas"],
        date=date,
        interval=f"{study.level:.0%}",
        research_only=RESEARCH_ONLY,
        banner=cohort.banner(study.cohort),
        in_short=in_short(study),
        verdict=verdict(sections),
        sections=[section for section in sections if section.title],
        topics={section.name: section for section in sections},
        pictures=pictures,
        methods=paragraphs,
        references=[str(paper) for paper in papers],
        bibliography=as_link(_bibliography(study.cohort, papers)),
        files=lambda body: listed_figures(shown(pictures.values(), body)),
    )
    return numbered(page)


def _bibliography(cohort: Mapping, papers: list[Paper]) -> str:
    """Papers, data and atlas that the page cites, as BibTeX."""
    dataset, atlas = cohort["dataset"], cohort["atlas"]
    data = {f"Data: {dataset['title']}": dataset["citation"], f"Atlas: {atlas['title']}": atlas["citation"]}
    return bibliography(papers, data)
