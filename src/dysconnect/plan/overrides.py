"""What a person types behind ``snakemake --config``, as it was typed.

Snakemake reads each value as YAML, where ``: `` makes a mapping and `` #`` begins a comment, and Hydra has a grammar of
its own, in which a path with a bracket is a mistake. Here the text itself is cut into keys and values, and a value that
is to be text is text: blanks, umlauts, brackets, commas and numbers need no quotes.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from dysconnect.keeping.address import hidden
from dysconnect.plan.config import ConfigError

KEY = re.compile(r"(?P<sign>[+~]{0,2})(?P<key>[A-Za-z_][\w./@-]*)=(?P<value>.*)", re.DOTALL)
QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
OPENS = " \t\n=[{,:"  # signs after which a quote opens; elsewhere it is an apostrophe
FORM = """Quote a value that holds blanks: --config 'overrides=dataset.title="Pilot: dystonia" splits.repeats=5'"""


class Override(NamedTuple):
    """One override: `splits.repeats=5`, with the sign before its key if there is one."""

    key: str
    value: str
    sign: str = ""

    def __str__(self) -> str:
        return hidden(f"{self.sign}{self.key}={self.value}")


def refuse_repeated(arguments: Iterable[str]) -> None:
    """Refuse a command line with several ``--config``, of which Snakemake keeps the last.

    Raises
    ------
    ConfigError
        With the form that works.
    """
    given = [word for word in arguments if re.match(r"--config(=|$)|-[nFkprqt]*C", word)]
    if len(given) > 1:
        raise ConfigError(
            f"--config is given {len(given)} times, and Snakemake drops all but the last. Write one with everything "
            "behind it: --config dataset=NAME experiment=A,B 'overrides=KEY=VALUE KEY=VALUE'"
        )


def as_typed(config: Mapping[str, object], words: Sequence[str] | None) -> dict[str, object]:
    """Return what ``--config`` and config files give, with the text of the command line as it was typed.

    Parameters
    ----------
    config : mapping
        As Snakemake understood it.
    words : sequence of str or None
        ``KEY=VALUE`` of the command line.

    Raises
    ------
    ConfigError
        When a key is there twice: Snakemake keeps the last.
    """
    typed: dict[str, object] = {}
    for key, value in (word.split("=", 1) for word in words or []):
        if key in typed:
            raise ConfigError(f"--config gives {key} twice ({typed[key]!r} and {value!r}). Write it once.")
        typed[key] = value
    return {**config, **typed}


def read_overrides(given: object) -> list[Override]:
    """Cut ``overrides`` into keys and values.

    Parameters
    ----------
    given : str, sequence of str, or None
        Of the command line, where a new override begins with each word of the form ``KEY=...``, or a list of them.

    Raises
    ------
    ConfigError
        When a text is not of that form.
    """
    if isinstance(given, str):
        return [_override(text) for text in _split(given)]
    if isinstance(given, Sequence) and all(isinstance(text, str) for text in given):
        return [_override(text) for text in given]
    if given is None:
        return []
    raise ConfigError(
        f"overrides: {_short(given)} is neither a text nor a list of texts. In a config file write\n"
        "  overrides:\n    - splits.repeats=5\n    - dataset.title=Our own data"
    )


def _split(text: str) -> list[str]:
    """Cut at blanks before a word that begins ``KEY=``, outside quotes."""
    parts: list[str] = []
    for word in _words(text):
        inner = word[1:-1] if QUOTED.fullmatch(word) else word
        if KEY.match(inner) or not parts:
            parts.append(inner)
        elif parts[-1].endswith("="):
            raise ConfigError(f"overrides: a blank stands between {parts[-1]} and {word}. Write {parts[-1]}{word}")
        else:
            parts[-1] += f" {word}"
    return parts


def _words(text: str) -> list[str]:
    """Words between blanks; what is quoted stays together."""
    words, here, place = [], "", 0
    while place < len(text):
        sign = text[place]
        if sign in "'\"" and (not here or here[-1] in OPENS):
            quoted = QUOTED.match(text, place)
            if not quoted:
                raise ConfigError(f"overrides: the quote in {_short(here + text[place:])} is not closed. {FORM}")
            here, place = here + quoted.group(), quoted.end()
        elif sign.isspace():
            words, here, place = [*words, here], "", place + 1
        else:
            here, place = here + sign, place + 1
    return [word for word in [*words, here] if word]


def _override(text: str) -> Override:
    match = KEY.fullmatch(text.strip())
    if not match:
        raise ConfigError(f"overrides: {_short(text)} is not of the form key=value. {FORM}")
    if not match["value"].strip().isprintable():
        raise ConfigError(f"overrides: {_short(text)} holds a line break or a sign that cannot be printed.")
    return Override(match["key"], match["value"].strip(), match["sign"])


def text_of(value: str) -> str | None:
    """Text that a value stands for: without its quotes, `None` for a bare ``null``."""
    if QUOTED.fullmatch(value):
        return re.sub(r"\\(['\"\\])", r"\1", value[1:-1])
    return None if value == "null" else re.sub(r"\\([\s'\"()\[\]])", r"\1", value)


def texts_of(value: str) -> list[str | None] | None:
    """Texts of a list, ``[1, Major Depressive Disorder, 'Smith, J']``; None where the value is no list of texts."""
    if not (value.startswith("[") and value.endswith("]")):
        return None
    parts = _parts(value[1:-1])
    return [text_of(part) for part in parts] if "" not in parts else None


def mapping_of(value: str) -> dict[str, str | None] | None:
    """Texts of a mapping, ``{1: patient, 2: healthy control}``; None where the value is none."""
    pairs = [_parts(part, ":") for part in _parts(value[1:-1])]
    if not (value.startswith("{") and value.endswith("}")) or any(len(pair) < 2 for pair in pairs):
        return None
    return {str(text_of(name)): text_of(":".join(rest)) for name, *rest in pairs}


def _parts(text: str, sign: str = ",") -> list[str]:
    """Parts between signs that stand outside quotes; none of an empty text."""
    parts, place, start = [], 0, 0
    while place < len(text):
        quoted = QUOTED.match(text, place) if place == start or text[start:place].isspace() else None
        if text[place] == sign:
            parts.append(text[start:place].strip())
            start = place + 1
        place = quoted.end() if quoted else place + 1
    return [*parts, text[start:].strip()] if text.strip() else []


def _short(value: object) -> str:
    """Text of a value for a message, cut."""
    text = hidden(repr(value))
    return text if len(text) <= 120 else f"{text[:117]}..."
