"""References from a BibTeX file: as they are cited, as they are printed, and as a file again."""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

FIELD = re.compile(r"  (\w+) = \{(.*)\},?\n")
ENTRY = re.compile(rf"@\w+\{{\w+,\n((?:{FIELD.pattern.replace('(', '(?:')})+)\}}")
CHECKED = re.compile(r"  checked = \{.*\},?\n")
DOI = re.compile(r"\s*doi:(10\.[^\s;,]*[^\s;,.])")
WHERE = {"doi": "doi:", "url": "", "isbn": "ISBN "}  # fields by which a paper can be looked up, best first
YEAR = re.compile(r"\b(?:19|20)\d\d\b")


@dataclass(frozen=True)
class Paper:
    """An entry of a file of references: its fields as people read them, and its text as others may take it."""

    fields: Mapping[str, str]
    text: str

    @property
    def name(self) -> str:
        """Name in a sentence: ``Li et al. 2018``, ``Phipson and Smyth 2010``, ``Platt 1999``."""
        families = [person.split(",")[0] for person in self.fields["author"].split(" and ")]
        several = len(families) > 2 or families[-1] == "others"
        return f"{f'{families[0]} et al.' if several else ' and '.join(families)} {self.fields['year']}"

    def __str__(self) -> str:
        """``Authors. Title. Journal year;volume:pages. doi:...``, or an address or ISBN where there is no DOI."""
        given = self.fields
        people = ["et al" if one == "others" else one.replace(",", "") for one in given["author"].split(" and ")]
        place = given.get("howpublished", "")
        if "journal" in given:
            place = f"{given['journal']} {given['year']};{given['volume']}:{given['pages'].replace('--', '-')}"
        parts = [
            words if words[-1] == "?" else f"{words}." for words in (", ".join(people), given["title"], place) if words
        ]
        where = [words + given[field] for field, words in WHERE.items() if field in given]
        return " ".join(parts + where[:1])


def read_papers(path: str | Path) -> list[Paper]:
    """Read a file of references, in its order.

    An entry is ``@kind{key,``, then a line a field, ``  name = {value},``, then ``}``; blank lines stand between
    entries and comments, whose lines begin with ``%``. Every entry has `author`, `title` and `year`; an article has
    `journal`, `volume` and `pages` too. `checked` says where the fields were seen; it is neither printed nor exported.

    Raises
    ------
    ValueError
        When an entry is not written like this.
    """
    blocks = Path(path).read_text(encoding="utf-8").strip().split("\n\n")
    return [_paper(block, path) for block in blocks if not block.startswith("%")]


def _paper(block: str, path: str | Path) -> Paper:
    entry = ENTRY.fullmatch(block)
    if entry is None:
        raise ValueError(f"{path}: {block.splitlines()[0]} cannot be read. Write a line a field: name = {{value}},")
    fields = {name: re.sub(r"\\([&%#_$])", r"\1", value.strip("{}")) for name, value in FIELD.findall(entry[1])}
    needed = ["author", "title", "year"] + (["volume", "pages"] if "journal" in fields else [])
    lacking = [name for name in needed if name not in fields]
    if lacking:
        raise ValueError(f"{path}: {block.splitlines()[0]} has no {lacking[0]}.")
    return Paper(fields, CHECKED.sub("", block))


def bibliography(papers: Iterable[Paper], data: Mapping[str, str]) -> str:
    """Write papers and the citations of data as one BibTeX file.

    Parameters
    ----------
    papers : iterable of Paper
    data : mapping of str to str
        Citation by what it is of, ``Data: ABIDE``; any number of works in one line.
    """
    return "\n\n".join([*(paper.text for paper in papers), *(_data(*own) for own in data.items())]) + "\n"


def _data(title: str, citation: str) -> str:
    doi, years = DOI.search(citation), YEAR.findall(citation)
    fields = {
        "title": f"{{{title}}}",
        "note": citation,
        "year": years[0] if years else "",
        "doi": doi[1] if doi else "",
    }
    lines = [f"  {name} = {{{escaped(name, value)}}}" for name, value in fields.items() if value]
    key = re.sub(r"\W+", "", title)
    return f"@misc{{{key},\n" + ",\n".join(lines) + "\n}"


def escaped(name: str, value: str) -> str:
    """Escape what TeX would read as a command; a DOI is taken as it is."""
    return value if name == "doi" else re.sub(r"(?<!\\)([&%#_$])", r"\\\1", value)


def as_link(text: str) -> str:
    """Address that holds the text itself, so that the page stands alone."""
    return "data:application/x-bibtex;charset=utf-8;base64," + base64.b64encode(text.encode()).decode()
