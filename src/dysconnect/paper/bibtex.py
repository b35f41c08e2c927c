"""The references of a report as BibTeX, made of the citations as they are printed: nothing is added to them."""

import base64
import re
from collections.abc import Mapping, Sequence

DOI = re.compile(r"\s*doi:(10\.[^\s;,]*[^\s;,.])")
ARTICLE = re.compile(r"(?P<journal>.+?)\s+(?P<year>\d{4});(?P<volume>\w+):(?P<pages>[\w-]+)\.?")
YEAR = re.compile(r"\b(?:19|20)\d\d\b")
AUTHORS = re.compile(r"(?:[^\s.,;:]+(?: [^\s.,;:]+)* [A-Z]{1,4}(?:, |(?=\. )))+(?:et al)?\. |.*? et al\. ")


def bibliography(papers: Mapping[str, str], data: Mapping[str, str]) -> str:
    """Write papers and the citations of data as one BibTeX file.

    Parameters
    ----------
    papers : mapping of str to str
        Full reference by its short name in the text, ``Li et al. 2018``.
    data : mapping of str to str
        Citation by what it is of, ``Data: ABIDE``; any number of works in one line.

    Returns
    -------
    str
        An ``@article`` where journal, year, volume and pages are known, else ``@misc``; keys like ``Li2018``.
    """
    entries, used = [], set()
    for short, full in papers.items():
        kind, fields = entry(short, full)
        key = _unused(_key(short, fields), used)
        entries.append(_written(kind, key, fields))
    for title, citation in data.items():
        own = DOI.search(citation)
        fields = {"title": f"{{{title}}}", "note": citation, "year": _year(citation), "doi": own[1] if own else ""}
        entries.append(_written("misc", _unused(re.sub(r"\W+", "", title), used), fields))
    return "\n\n".join(entries) + "\n"


def entry(short: str, full: str) -> tuple[str, dict[str, str]]:
    """Take a reference apart: kind of the entry, and its fields; empty where something is not given.

    References are written ``Authors. Title. Journal year;volume:pages. doi:...``.
    """
    doi = DOI.search(full)
    text = DOI.sub("", full).strip()
    names = AUTHORS.match(text)
    title, _, place = text[names.end() if names else 0 :].partition(". ")
    fields = {
        "author": authors(names[0]) if names else "",
        "title": f"{{{title.rstrip('.')}}}",
        "doi": doi[1] if doi else "",
    }
    article = ARTICLE.fullmatch(place.strip())
    if article:
        own = article.groupdict()
        return "article", fields | own | {"pages": own["pages"].replace("-", "--")}
    return "misc", fields | {"howpublished": place.strip().rstrip("."), "year": _year(place) or _year(short)}


def authors(names: str) -> str:
    """Write ``Noble S, Scheinost D`` as ``Noble, S and Scheinost, D``, and ``et al`` as ``others``."""
    people = [name.strip() for name in re.sub(r"\bet al\b", "", names).strip(" .,").split(",")]
    known = [", ".join(name.rsplit(" ", 1)) for name in people if name]
    return " and ".join([*known, "others"] if "et al" in names else known)


def as_link(text: str) -> str:
    """Address that holds the text itself, so that the page stands alone."""
    return "data:application/x-bibtex;charset=utf-8;base64," + base64.b64encode(text.encode()).decode()


def _year(text: str) -> str:
    years = YEAR.findall(text)
    return years[0] if years else ""


def _key(short: str, fields: Mapping[str, str]) -> str:
    """Family name of the first author, and the year of the short name."""
    return re.sub(r"\W+", "", fields["author"].split(",")[0] or short.split(" ")[0]) + _year(short)


def _unused(key: str, used: set[str]) -> str:
    tried = next(name for name in (key, *(f"{key}{letter}" for letter in "abcdefghijkl")) if name not in used)
    used.add(tried)
    return tried


def _written(kind: str, key: str, fields: Mapping[str, str]) -> str:
    lines = [f"  {name} = {{{escaped(name, value)}}}" for name, value in fields.items() if value]
    return f"@{kind}{{{key},\n" + ",\n".join(lines) + "\n}"


def escaped(name: str, value: str) -> str:
    """Escape what TeX would read as a command; a DOI is taken as it is."""
    return value if name == "doi" else re.sub(r"(?<!\\)([&%#_$])", r"\\\1", value)


def cited(papers: Mapping[str, str], shown: Sequence[str]) -> dict[str, str]:
    """Those of the papers that a page lists."""
    return {short: full for short, full in papers.items() if full in shown}
