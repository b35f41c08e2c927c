"""People of several maps, matched by their ids: whoever is in several is one person, and whoever is not is another."""

import re
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from dysconnect.data.participants import refuse_others


def everybody(people: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, np.ndarray]:
    """Match the people of several maps by `participant_id`.

    Parameters
    ----------
    people : mapping of str to DataFrame
        By name of the map: its people, with `participant_id`, `label`, `site`, and where known `sex` and `age`.

    Returns
    -------
    DataFrame
        All of them by `participant_id`: `label`, and for every map whether they have it.
    array of str, [n]
        Exchangeability blocks: site, and which maps somebody has.

    Raises
    ------
    ValueError
        When somebody is of different groups, sexes or ages in two maps, or maps call their people differently.
    """
    named = {name: table.set_index("participant_id") for name, table in people.items()}
    for pair in combinations(named.items(), 2):
        try:
            refuse_others(dict(pair))
        except ValueError as problem:
            raise ValueError(f"localize.joint: {problem} Maps are of the same people; or leave one out.") from problem
        _refuse_spelling(*pair)
    tables = list(named.values())
    labels = pd.concat([table["label"] for table in tables], axis=1, keys=named)
    differ = labels.index[labels.min(axis=1) < labels.max(axis=1)]
    if len(differ):
        raise ValueError(
            f"localize.joint: {', '.join(map(str, differ[:5]))}{' ...' if len(differ) > 5 else ''} is a patient in one "
            f"of {', '.join(named)} and a control in another. Correct the column group of their tables."
        )
    sites = pd.concat([table["site"] for table in tables], axis=1, keys=named)
    has = labels.notna()
    blocks = sites.fillna("").astype(str).agg("/".join, axis=1) + has.astype(int).astype(str).agg("".join, axis=1)
    return has.assign(label=labels.bfill(axis=1).iloc[:, 0].astype(int)), blocks.to_numpy()


def _refuse_spelling(one: tuple[str, pd.DataFrame], other: tuple[str, pd.DataFrame]) -> None:
    """Refuse one person under two ids: two looks at one person would count as two people."""
    (first, a), (second, b) = one, other
    spelt = {_bare(name): name for name in a.index.difference(b.index)}
    again = [name for name in b.index.difference(a.index) if _bare(name) in spelt]
    if again or not len(a.index.intersection(b.index)):
        names = (spelt[_bare(again[0])], again[0]) if again else (a.index[0], b.index[0])
        raise ValueError(
            f"localize.joint: {first} and {second} call people differently ({' and '.join(map(str, names))}), who are "
            "matched by participant_id. Write the ids alike."
        )


def _bare(name: str) -> str:
    """An id without what is written in several ways: case, marks, ``sub-``, zeros before a number."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"^sub|[^a-z0-9]", "", str(name).lower()))
