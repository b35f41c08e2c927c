"""Columns of the design of a site, coded in a way that other sites' columns can be added to.

Nothing is learned from the people: numbers are centred where the configuration says, and every level of a category has
a column of its own. So a column means the same at every site, and those that are redundant drop out once sites are
joined.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from dysconnect.pooling.sums import GROUP, SITE
from dysconnect.reading.cells import folded, label

UNITS = {"age": "years", "mean_fd": "mm"}
RANGES = {"age": (0, 120), "mean_fd": (0, 10)}  # in these units; nobody is beyond


@dataclass(frozen=True)
class Column:
    """What a column of the design is.

    Attributes
    ----------
    name : str
        ``group``, a covariate, ``covariate=level`` or ``site=NAME``.
    kind : {"group", "number", "level", "site"}
    unit : str
    centre : float or None
        What was taken from a number.
    """

    name: str
    kind: str
    unit: str = ""
    centre: float | None = None

    def described(self) -> dict:
        """Fit for JSON."""
        return {key: value for key, value in asdict(self).items() if value not in ("", None)}


@dataclass(frozen=True)
class Design:
    """People of a site as the rows of a design.

    Attributes
    ----------
    columns : list of Column, [q]
    values : array, [n, q]
    people : DataFrame, [n rows]
        Those who are in; `label` 1 is the patient.
    unknown : int
        How many were left out because something of them is not known.
    """

    columns: list[Column]
    values: np.ndarray
    people: pd.DataFrame
    unknown: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, [q]."""
        return tuple(column.name for column in self.columns)


def share_design(people: pd.DataFrame, covariates: Sequence[str], centres: Mapping[str, float], site: str) -> Design:
    """Code the people of a site.

    Parameters
    ----------
    people : DataFrame
        `label`, `site` and the covariates.
    covariates : sequence of str
        Numbers and categories; `site` is always in, as intercepts.
    centres : mapping of str to float
        Of every covariate that is a number; the same at every site.
    site : str
        Name under which the file goes; a site with several scanners has an intercept for each, ``site=NAME/SCANNER``.

    Raises
    ------
    ValueError
        For a covariate that is no column, or a number without centre.
    """
    covariates = [name for name in covariates if name != SITE]
    absent = [name for name in covariates if name not in people]
    if absent:
        raise ValueError(
            f"share.columns: participants.tsv has no column {', '.join(absent)} (it has: {', '.join(people.columns)})."
        )
    asked = people[covariates]
    known = (asked.notna() & (asked.astype(str).apply(lambda words: words.str.strip()) != "")).all(axis=1).to_numpy()
    kept = people[known].reset_index(drop=True)
    columns, values = [Column(GROUP, "group", "1 patient, 0 control")], [kept["label"].to_numpy(float)]
    for name in covariates:
        made = _number(kept, name, centres) if pd.api.types.is_numeric_dtype(kept[name]) else _levels(kept, name)
        columns += [column for column, _ in made]
        values += [value for _, value in made]
    for name, inside in _intercepts(kept, site):
        columns.append(Column(name, "site"))
        values.append(inside)
    return Design(columns, np.column_stack(values), kept, int((~known).sum()))


def spelt_twice(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names of levels that differ in blanks, hyphens or case alone, as ``hand=left`` and ``hand=Left``; or None."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(folded(name), name)
        if other != name:
            return other, name
    return None


def _number(people: pd.DataFrame, name: str, centres: Mapping[str, float]) -> list[tuple[Column, np.ndarray]]:
    if name not in centres:
        raise ValueError(
            f"share.centres: {name} is a number and has no centre. All sites must take the same number from it: agree "
            f"on one, such as share.centres.{name}=0, and give it at every site."
        )
    centre = float(centres[name])
    return [(Column(name, "number", UNITS.get(name, ""), centre), people[name].to_numpy(float) - centre)]


def _levels(people: pd.DataFrame, name: str) -> list[tuple[Column, np.ndarray]]:
    """A column for every level: which of them is the reference is nobody's to say before sites are joined."""
    text = people[name].astype(str).map(label)
    return [(Column(f"{name}={level}", "level"), (text == level).to_numpy(float)) for level in sorted(text.unique())]


def _intercepts(people: pd.DataFrame, site: str) -> list[tuple[str, np.ndarray]]:
    scanners = people[SITE].astype(str) if SITE in people else pd.Series([site] * len(people))
    names = sorted(scanners.unique())
    label = {names[0]: f"site={site}"} if len(names) == 1 else {name: f"site={site}/{name}" for name in names}
    return [(label[name], (scanners == name).to_numpy(float)) for name in names]
