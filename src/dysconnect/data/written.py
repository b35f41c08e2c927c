"""Series as this software writes them, read by a compiled loop: a tenth of the time of the reader of all tables.

numba takes half a second to load: what reads few files does without.
"""

from collections.abc import Iterable

import numpy as np

from dysconnect.data.series import matrix_like
from dysconnect.keeping.compiled import compiled

EXACT = 15  # digits of a whole number that float64 holds
POWERS = 10.0 ** np.arange(23)  # all powers of ten that it holds, so that one division or product rounds as it should
ONE = np.uint64(1)  # of a place: numba asks whether one with a sign is negative
TAB, LINE, PLUS, MINUS, POINT, ZERO, POWER = (np.uint8(ord(mark)) for mark in "\t\n+-.0e")
TEN = np.uint8(10)


def written_series(content: bytes, names: Iterable[str]) -> np.ndarray | None:
    """Read a file of `write_series`, its bytes, whose first line has these names in their order.

    Returns
    -------
    array of float64, [T, N], or None
        None where it is anything else than such a file; `read_series` reads it then, or says what is wrong with it.
    """
    names = list(names)
    header = "\t".join(names).encode() + b"\n"
    plain = len(set(names)) == len(names) and not any(
        set(name) & set('"#\t\r\n') or name != name.strip() for name in names
    )
    if not plain or not content.startswith(header) or not content.endswith(b"\n"):
        return None
    text = np.frombuffer(content, np.uint8)[len(header) :]
    rows = len(text) // (2 * len(names)) + 1  # a cell and its end are two bytes at least; one more for what is none
    values = np.empty((rows, len(names)))
    values = values[: _parse(text, values)]
    return values if len(values) and not matrix_like(values) else None


@compiled
def _parse(text, values):
    """Numbers of lines of N cells, between tabs, into `values` [at least T, N]; T, or 0 where there is anything else.

    The text ends with the end of a line, so that nothing is read beyond it.
    """
    place, end, row, column, n_columns = np.uint64(0), np.uint64(len(text)), 0, 0, values.shape[1]
    while place < end:
        fine, values[row, column], place = _number(text, place)
        column += 1
        if not fine or text[place] != (LINE if column == n_columns else TAB):
            return 0
        if column == n_columns:
            row, column = row + 1, 0
        place += ONE
    return row


@compiled
def _number(text, place):
    """Whether a plain number stands here, the nearest float64, which is that of pandas, and the place behind it."""
    negative = text[place] == MINUS
    if negative:
        place += ONE
    number, whole, place = _digits(text, place, 0)
    decimals = exponent = 0
    if text[place] == POINT:
        number, decimals, place = _digits(text, place + ONE, number)
    fine = 0 < whole + decimals <= EXACT
    if text[place] == POWER:
        place += ONE
        down = text[place] == MINUS
        if down or text[place] == PLUS:
            place += ONE
        exponent, shown, place = _digits(text, place, 0)
        exponent = -exponent if down else exponent
        fine = fine and 0 < shown < 4
    exponent -= decimals
    if not fine or abs(exponent) >= len(POWERS):
        return False, 0.0, place
    value = number / POWERS[-exponent] if exponent < 0 else number * POWERS[exponent]
    return True, -value if negative else value, place


@compiled
def _digits(text, place, number):
    """A whole number continued by the digits that stand here, how many they are, and the place behind them."""
    start, digit = place, np.uint8(text[place] - ZERO)  # marks below zero wrap around to large numbers
    while digit < TEN:
        number = number * 10 + np.int64(digit)
        place += ONE
        digit = np.uint8(text[place] - ZERO)
    return number, np.int64(place - start), place
