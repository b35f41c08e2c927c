"""Who is cited by name and year in what people read is in the bibliography, and every entry can be looked up."""

import ast
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from dysconnect.report.references import PAPERS

LIBRARY = Path(__file__).resolve().parents[1] / "src/dysconnect"
NAME = r"(?:Van |van )?[A-ZÀ-Þ][\w’-]+"
CITED = re.compile(rf"({NAME}(?: et al\.| and {NAME})?) ((?:19|20)\d\d)\b")
BRACKETS = re.compile(r"\(([^()]*)\)")
LOOKED_UP = {  # by one of these
    "doi": r"10\.\d{4,9}/[^\s{}]+",
    "url": r"https://[^\s{}]+",
    "isbn": r"(?:\d-?){9,12}[\dX]",
}
WRITTEN = ("models", "localize", "report", "data", "denoising", "evaluate")  # rooms whose words are printed


def printed(file: Path) -> Iterator[str]:
    """Text constants of a module; docstrings are for readers of the source, and name what the page does not use."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def citations(text: str) -> set[str]:
    """Each (Author year) of a text."""
    return {f"{name} {year}" for inner in BRACKETS.findall(text) for name, year in CITED.findall(inner)}


def test_citations_are_read_from_brackets():
    assert citations("as (Li et al. 2018; Phipson and Smyth 2010) say, not May 2020") == {
        "Li et al. 2018", "Phipson and Smyth 2010",
    }  # fmt: skip


def test_every_author_and_year_that_is_printed_is_in_the_bibliography():
    files = [file for room in WRITTEN for file in sorted((LIBRARY / room).rglob("*.py"))]
    named = {(one, file.name) for file in files for text in printed(file) for one in citations(text)}
    named |= {(one, page.name) for page in LIBRARY.rglob("*.html") for one in citations(page.read_text())}
    assert len(named) > 20
    known = {paper.name for paper in PAPERS}
    assert sorted(pair for pair in named if pair[0] not in known) == []


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_an_entry_can_be_looked_up(paper):
    given = {field: pattern for field, pattern in LOOKED_UP.items() if field in paper.fields}
    assert given and all(re.fullmatch(pattern, paper.fields[field]) for field, pattern in given.items())
    assert re.fullmatch(r"(19|20)\d\d", paper.fields["year"])
    if "isbn" in paper.fields:
        assert valid(paper.fields["isbn"])


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_an_entry_says_when_and_where_it_was_checked(paper):
    day, seen = paper.fields["checked"].split(": ", 1)
    assert date.fromisoformat(day) and len(seen.split()) > 3
    assert seen not in str(paper) and "checked" not in paper.text  # neither printed nor exported
    if "doi" not in paper.fields:  # then the note says so, or it is a book
        assert "DOI" in seen or "isbn" in paper.fields


def valid(isbn: str) -> bool:
    """Whether the last digit of an ISBN of ten or thirteen is that of the others."""
    digits = [10 if one == "X" else int(one) for one in isbn.replace("-", "")]
    if len(digits) == 13:
        return sum(digits[::2] + [3 * one for one in digits[1::2]]) % 10 == 0
    return len(digits) == 10 and sum((10 - place) * one for place, one in enumerate(digits)) % 11 == 0


def test_a_mistyped_isbn_is_seen():
    assert valid("0-306-40615-2") and valid("978-0-306-40615-7") and valid("0-8044-2957-X")
    assert not valid("0-306-40615-3") and not valid("978-0-360-40615-7") and not valid("12345")


def test_no_paper_stands_there_twice():
    for field in (*LOOKED_UP, "title"):
        values = [paper.fields[field].lower() for paper in PAPERS if field in paper.fields]
        assert len(values) == len(set(values))
    assert len({paper.name for paper in PAPERS}) == len(PAPERS)
