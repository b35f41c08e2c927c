"""What a cell of a table of people says: closed lists of words, ranges of numbers, and the usual codes for missing.

Nothing is guessed: a word that is not in its list is no value, and what a number cannot be (an age of 1971, a motion
of -9999) is named as what it seems to be. docs/how-to/files.md has the same lists.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

# fmt: off
MISSING = frozenset([  # in any case
    "", "n/a", "na", "n.a.", "nan", "none", "null", "nil", "unknown", "unk", "missing", "not available", "not known",
    ".", "?", "??", "???", "-", "--", "---", "\u2013", "\u2014",
    "#n/a", "#na", "<na>", "#null!", "#value!", "#ref!", "#div/0!", "#num!", "#name?",
])
# fmt: on
CODES = (-99999.0, -9999.0, -999.0, -99.0, -9.0, 99.0, 999.0, 9999.0, 99999.0)  # missing, where they can be no value
NO_REASON = MISSING | frozenset(
    ["no", "n", "0", "0.0", "false", "ok", "okay", "keep", "kept", "include", "included", "not excluded", "no reason"]
)
YES = frozenset(["true", "t", "yes", "y", "1", "1.0", "included", "include"])
NO = frozenset(["false", "f", "no", "n", "0", "0.0", "excluded", "exclude"])
SEXES = dict.fromkeys(["f", "female", "woman", "girl", "w", "weiblich", "frau"], "F") | dict.fromkeys(
    ["m", "male", "man", "boy", "männlich", "maennlich", "mann"], "M"
)
DITTO = frozenset(['"', "''", "``", "´´", "”", "“", "„", "〃", "dito", "ditto", "idem", '-"-', "-''-"])
RANGES = {"age": (0, 120, "years"), "mean_fd": (0, 50, "mm")}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
DIGITS = r"[+-]?\d+(\.\d+)?"
FORMS = (  # of cells that hold digits and are no number
    (re.compile(r"\d{4}[-./]\d{1,2}[-./]\d{1,2}.*|\d{1,2}[-./]\d{1,2}[-./](\d{4}|\d{2})"), "a date"),
    (re.compile(rf"{DIGITS}\s*(-|\u2013|\u2014|\bto\b|\.\.)\s*\d+(\.\d+)?"), "a range"),
    (re.compile(rf"{DIGITS}\s*\+|[<>\u2265\u2264]=?\s*\d+.*"), "a bound: BIDS hides ages over 89 so"),
    (re.compile(r"[+-]?\d+,\d+"), "with a decimal comma; write a point"),
    (re.compile(rf"({DIGITS})?[+-]?{DIGITS}[ij]"), "a complex number"),
    (re.compile(rf"{DIGITS}\s*[^\W\d_]+\.?"), "a number with its unit; write the number only"),
)


def is_missing(cell: str) -> bool:
    """Whether a cell says in words that there is no value (the closed list `MISSING`, in any case)."""
    return cell.casefold() in MISSING


def number(cell: str) -> float:
    """The number that a cell holds, in digits with a decimal point; NaN where it holds anything else."""
    value = float(cell) if NUMBER.fullmatch(cell) else np.nan
    return value if np.isfinite(value) else np.nan


def form(cell: str) -> str:
    """Say what a cell that is no number seems to be."""
    known = next((meaning for pattern, meaning in FORMS if pattern.fullmatch(cell)), "")
    if not known and NUMBER.fullmatch(cell):
        known = "too large a number"
    return known or ("a truth value" if cell.casefold() in ("true", "false") else "a word")


def beyond(name: str, value: float) -> str:
    """Say what a number seems to be that lies outside the range of its column; an empty string where it is inside."""
    low, high, _ = RANGES.get(name, (-np.inf, np.inf, ""))
    if low <= value <= high:
        return ""
    if name == "age" and 1880 <= value <= 2100:
        return "a year of birth?"
    if name == "age" and high < value <= 12 * high:
        return "months?"
    return "days?" if name == "age" and 0 < value <= 366 * high else "impossible"


def codes_among(name: str, numbers: Sequence[float]) -> set[float]:
    """Choose the numbers of a column that stand for missing: codes of the closed list that can be no value there.

    Parameters
    ----------
    name : str
        Of the column: `age` and `mean_fd` have ranges (`RANGES`). In any other column a code is missing where it lies
        further outside the other numbers than they are apart, so that a score of 99 among scores of 80 to 100 is kept.
    numbers : sequence of float
        Of the column; NaN is passed over.
    """
    held = {value for value in numbers if value == value}
    codes, others = held & set(CODES), held - set(CODES)
    if name in RANGES:
        return {code for code in codes if beyond(name, code)}
    low, high = min(others, default=0.0), max(others, default=0.0)
    span = high - low
    return {code for code in codes if not low - span <= code <= high + span}


def sex(cell: str, words: Mapping | None = None) -> str:
    """`F` or `M`, from the closed list of words or `words` (theirs: ours); an empty string for any other word."""
    codes = {label(key).casefold(): str(value) for key, value in (words or {}).items()}
    return codes.get(label(cell).casefold()) or SEXES.get(cell.casefold(), "")


def label(value: object) -> str:
    """Write a label in one way: single blanks, and whole numbers without decimals (1, 1.0 and "1" are one)."""
    text = " ".join(str(value).split())
    plain = number(text)
    return str(int(plain)) if plain == plain and plain.is_integer() else text


def folded(word: str) -> str:
    """Leave out blanks, hyphens, underscores and case: what is alike then is one label, spelled in several ways."""
    return re.sub(r"[\s_\-\u2010-\u2015]+", "", unicodedata.normalize("NFKC", label(word))).casefold()
