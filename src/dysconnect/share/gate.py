"""The gate: rules that a release must pass before a number leaves the site; a refusal names its rule.

An aggregate is not anonymous: whoever holds a person's own scan may tell whether it is in a sum, and no rule here
changes that. What the rules forbid is that sums give somebody's connections away.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dysconnect.share.columns import GROUP, RANGES, SITE, UNITS, Column, Design, spelt_twice
from dysconnect.share.ledger import DIFFERENCE, Joined, Ledger
from dysconnect.share.release import NotSharedError
from dysconnect.share.statement import counts
from dysconnect.share.weights import basis, controls_of, fewest, leverages, weights_of

FLOOR = {"group": 10, "cell": 5}  # people; `share.minimum` may raise them
MOST_PARAMETERS = 1 / 3  # of the people: columns of all releases together
MOST_LEVERAGE = 0.5
MOST_MODELS = 10  # tested on the same people: each answer tells a little of them
ROUNDING = 1e-9
LONGEST = 40  # characters of a level: longer is a text
SHORTEST = 4  # characters of an id that is looked for in names
NAMES = {
    "id", "ids", "pid", "mrn", "name", "surname", "initials", "date", "dates", "dob", "birth", "birthday", "birthdate",
    "address", "email", "phone", "zip",
}  # fmt: skip
DATE = re.compile(r"\d{4}-\d\d-\d\d|\d\d?[./]\d\d?[./]\d{2,4}")
YEARS, DAYS = (1900, 2100), (19000101, 21001231)
LARGE = 1000  # whole numbers from here on that all differ are no measurement
REMEDY = "Leave it out of share.columns."


@dataclass(frozen=True)
class Passed:
    """Figures of a release that has passed.

    Attributes
    ----------
    smallest_group, smallest_cell : int
        People.
    parameters, people : int
        Weighted sums of a connection that were given of everybody in this release and those before.
    leverage : float
        Largest of anybody.
    earlier : int
        Releases before that have to do with these people.
    changed : int
        By how many people the nearest of them differs; 0 of none.
    least : mapping
        `group` and `cell`, as asked.
    """

    smallest_group: int
    smallest_cell: int
    parameters: int
    people: int
    leverage: float
    earlier: int
    changed: int
    least: Mapping[str, int]


def least_people(minimum: Mapping[str, int]) -> dict[str, int]:
    """People that a group and a cell must have: as asked, and never fewer than the floor."""
    return {key: max(floor, minimum[key]) for key, floor in FLOOR.items()}


def check_release(design: Design, spec: Mapping, ledger: Ledger) -> Passed:
    """Refuse a release that would give somebody away.

    Parameters
    ----------
    design : Design
        `people` has `participant_id`.
    spec : mapping
        `minimum`, `contact`, `norm`.
    ledger : Ledger

    Raises
    ------
    NotSharedError
        Names the rule, the figure, and what to do.
    """
    least, names = least_people(spec["minimum"]), design.people["participant_id"].astype(str).tolist()
    _check_contact(spec["contact"])
    _check_columns(design, names)
    group, cell = _check_counts(design, least)
    for who, inside in subsets(design, spec["norm"]):
        spare = "" if inside.all() else " give no norm (share.norm=false),"
        _check_parameters(design.values[inside], who, spare)
        _check_leverage(design, inside, names, who, spare)
    changed = _check_difference(ledger, names)
    joined = ledger.joined(names, weights_of(design, spec["norm"]))
    leverage = _check_joined(joined, names)
    _check_mixtures(joined, design, spec["norm"], least["cell"])
    return Passed(
        smallest_group=group,
        smallest_cell=cell,
        parameters=basis(joined.weights).shape[1],
        people=len(joined.weights),
        leverage=leverage,
        earlier=len(joined.releases),
        changed=changed,
        least=least,
    )


def _check_contact(contact: str | None) -> None:
    if not (contact or "").strip():
        raise NotSharedError(
            "share.contact: nobody is named to whom others may write, and who would tell them that a person has "
            "withdrawn? Give an address: overrides=share.contact=name@clinic.org."
        )


def subsets(design: Design, norm: bool) -> Iterator[tuple[str, np.ndarray]]:
    """People whose sums can be had: everybody, and with those of the controls also those of the patients."""
    yield "people", np.ones(len(design.values), bool)
    if norm:
        controls = controls_of(design)
        yield "controls", controls
        yield "patients (everybody without the controls that share.norm gives)", ~controls


def check_models(models: Sequence[Mapping], ledger: Ledger, names: Sequence[str]) -> None:
    """Refuse more tests of models than may be: whoever makes a model asks with it what they like of these people.

    Raises
    ------
    NotSharedError
    """
    asked = ledger.models(names) | {one["checksum"] for one in models}
    if models and len(asked) > MOST_MODELS:
        raise NotSharedError(
            f"share.models: {len(asked)} models would be tested on these people, over all releases, and {MOST_MODELS} "
            "are the most: from the answers to many, single people's connections could be put together. Name fewer."
        )


# what a column may be


def _check_columns(design: Design, names: Sequence[str]) -> None:
    """Refuse ids, dates and free text."""
    for k, column in enumerate(design.columns):
        why = _no_covariate(column, design.values[:, k])
        if why:
            raise NotSharedError(f"share.columns: {column.name[:LONGEST]} {why}")
    twice = spelt_twice(column.name for column in design.columns if column.kind == "level")
    if twice:
        raise NotSharedError(
            f"share.columns: {' and '.join(twice)} are one level, spelt in two ways. Correct participants.tsv."
        )
    words = " ".join(column.name for column in design.columns)
    inside = [name for name in names if _names(name, words)]
    if inside:
        raise NotSharedError(
            f"share.columns: the id {inside[0]} stands in the name of a level or a scanner. Rename it in "
            "participants.tsv: names of levels leave the site."
        )


def _no_covariate(column: Column, values: np.ndarray) -> str:
    """Why a column is no covariate; nothing if it is one."""
    name, _, level = column.name.partition("=")
    if any(word in NAMES for word in re.split(r"[^a-z]+", name.lower())):
        return f"is called as ids or dates are. {REMEDY}"
    if column.kind == "number":
        return _no_measurement(name, values + (column.centre or 0))
    if column.kind in ("level", SITE) and (len(level) > LONGEST or DATE.search(level)):
        return f"holds a text or a date as a level. {REMEDY}"
    return ""


def _no_measurement(name: str, values: np.ndarray) -> str:
    low, high = values.min(), values.max()
    least, most = RANGES.get(name, (-np.inf, np.inf))
    if low < least or high > most:
        return f"lies between {least} and {most} {UNITS[name]}, and is beyond in somebody. Correct participants.tsv."
    whole = bool(np.all(np.abs(values - np.round(values)) < ROUNDING))
    if (YEARS[0] <= low and high <= YEARS[1]) or (whole and DAYS[0] <= low and high <= DAYS[1]):
        return f"holds years or dates. {REMEDY}"
    different = len(np.unique(np.round(values))) == len(values)
    if whole and different and name != "age" and (high - low < 2 * len(values) or low >= LARGE):
        return (
            "holds a whole number for each person that nobody else has, as an id does. If it is a measurement, give it "
            "in a unit in which it is no whole number; else leave it out of share.columns."
        )
    return ""


def _names(name: str, words: str) -> bool:
    """Whether words hold an id, with ``sub-`` or without, as a whole word."""
    plain = name.removeprefix("sub-")
    forms = {form for form in (name, plain) if len(form) >= SHORTEST and (re.search(r"\d", form) or form != plain)}
    return any(
        form in words and re.search(rf"(?<![A-Za-z0-9]){re.escape(form)}(?![A-Za-z0-9])", words) for form in forms
    )


# counts


def _check_counts(design: Design, least: Mapping[str, int]) -> tuple[int, int]:
    """Refuse small groups and cells; return the smallest of each."""
    had = counts(design)
    for side in ("patients", "controls"):
        if had[side] < least["group"]:
            raise NotSharedError(
                f"share.minimum.group: {had[side]} {side}, and {least['group']} are the least. Wait for more people."
            )
    cells = {
        (name, side): count
        for name, both in had["cells"].items()
        for side, count in zip(("patients", "controls"), both)
        if count
    }
    small = {cell: count for cell, count in cells.items() if count < least["cell"]}
    if small:
        (name, side), count = min(small.items(), key=lambda item: item[1])
        more = f" (and {len(small) - 1} more such cells)" if len(small) > 1 else ""
        raise NotSharedError(
            f"share.minimum.cell: {name} has {count} {side}{more}, and {least['cell']} or none are allowed. "
            f"{_spared(name)}, or wait for more people."
        )
    _check_numbers(design, least["cell"])
    return min(had["patients"], had["controls"]), min(cells.values())


def _check_numbers(design: Design, least: int) -> None:
    """Refuse a number that is the same in nearly everybody: its sums are those of the few others."""
    controls = controls_of(design)
    for k, column in enumerate(design.columns):
        if column.kind != "number":
            continue
        values, times = np.unique(design.values[:, k], return_counts=True)
        other = design.values[:, k] != values[times.argmax()]
        for side, inside in (("controls", controls), ("patients", ~controls)):
            few = int((other & inside).sum())
            if 0 < few < least:
                raise NotSharedError(
                    f"share.minimum.cell: {column.name} is the same in everybody but some, of whom {few} are {side}, "
                    f"and {least} or none are allowed. {REMEDY}"
                )


# what can be done with the sums


def _check_parameters(weights: np.ndarray, who: str, spare: str = "") -> None:
    rank, n = basis(weights).shape[1], len(weights)
    if rank > MOST_PARAMETERS * n:
        raise NotSharedError(
            f"columns to people: {rank} independent columns of {n} {who}, and {int(MOST_PARAMETERS * n)} are the most. "
            f"Name fewer in share.columns,{spare} or wait for more people."
        )


def _check_leverage(design: Design, inside: np.ndarray, names: Sequence[str], who: str, spare: str) -> None:
    values = design.values[inside]
    leverage = leverages(values)
    over = np.flatnonzero(leverage > MOST_LEVERAGE + ROUNDING)
    if len(over):
        worst = over[leverage[over].argmax()]
        squares = values**2
        column = design.columns[(squares[worst] / np.maximum(squares.sum(0), np.finfo(float).tiny)).argmax()].name
        raise NotSharedError(
            f"leverage: the sums would give {len(over)} of {len(values)} {who} away: "
            f"{np.asarray(names)[inside][worst]} has {leverage[worst]:.3f} of a mixture of columns alone, most of it "
            f"in {column}, and {MOST_LEVERAGE:g} is the most. {_spared(column)},{spare} or leave the person out "
            "(dataset.participants names those who are in)."
        )


def _spared(column: str) -> str:
    """What to do about a column that is of few people; scanners are always in, as intercepts."""
    name = column.split("=")[0]
    if name == SITE:
        return "Give scanners that are alike one name in the column site of participants.tsv, leave their people out"
    return f"Leave {name} out of share.columns" + ", join levels in participants.tsv" * ("=" in column)


def _check_difference(ledger: Ledger, names: Sequence[str]) -> int:
    """Refuse people of whom few are other than in an earlier release; return how many at least are."""
    differences = ledger.changed(names)
    for earlier, changed in differences:
        if 0 < changed < DIFFERENCE:
            gone = "revoked, but whoever has it can still subtract" if earlier["revoked"] else f"of {earlier['site']}"
            raise NotSharedError(
                f"difference: these people and those of release {earlier['release']} ({gone}) differ by {changed}, so "
                f"that the sums of {changed} could be had by subtraction. Wait until {DIFFERENCE} have changed: "
                f"{DIFFERENCE - changed} more; or give the sums of the same people again (name them in "
                f"dataset.participants; who lacks a column of share.columns is left out). {_other(ledger)}"
            )
    return min((changed for _, changed in differences), default=0)


def _other(ledger: Ledger) -> str:
    return (
        "(People are the same if their ids are: keep other people's data in another project. Of a file that nobody was "
        f"given, take the entry out of {ledger.path.name}.)"
    )


def _check_joined(joined: Joined, names: Sequence[str]) -> float:
    """Refuse what together with earlier releases gives somebody away; return the largest leverage."""
    earlier = ", ".join(one["release"] for one in joined.releases)
    if joined.releases:
        _check_parameters(joined.weights, f"people in this and the releases before ({earlier})")
    leverage = leverages(joined.weights)
    over = np.flatnonzero(leverage > MOST_LEVERAGE + ROUNDING)
    if len(over):
        worst = over[leverage[over].argmax()]
        who = names[worst] if worst < len(names) else "somebody who is no longer in"
        raise NotSharedError(
            f"leverage over releases: this one and those before ({earlier}), subtracted from each other, would give "
            f"{len(over)} people away: {who} has {leverage[worst]:.3f} of a difference alone, and {MOST_LEVERAGE:g} is "
            "the most. Something of few people has changed since, as a corrected age, or few were added to the columns "
            "that there are: wait for more people, name fewer columns, or give the columns as they were."
        )
    return float(leverage.max())


def _check_mixtures(joined: Joined, design: Design, norm: bool, least: int) -> None:
    """Refuse columns that all taken together are those of few people, as a level that holds another but for a few."""
    mixture = fewest(joined.weights, least)
    count = np.count_nonzero(mixture)
    if not count:
        return
    earlier = f" and those before ({', '.join(one['release'] for one in joined.releases)})" if joined.releases else ""
    raise NotSharedError(
        f"share.minimum.cell: from the sums of this release{earlier}, those of {count} people alone could be had, and "
        f"{least} are the least. {_remedy(mixture[: len(design.values)], weights_of(design, norm), design, count)}"
    )


def _remedy(mixture: np.ndarray, weights: np.ndarray, design: Design, count: int) -> str:
    """What to do about a mixture of few people [n]: which columns it is made of, if this release has them all."""
    sources = [column.name.split("=")[0] for column in design.columns]
    sources = np.array(sources * (weights.shape[1] // len(sources)))
    if np.count_nonzero(mixture) < count or not _is_of(mixture, weights):
        return (
            "Something of these few has changed since, as an age that was corrected: give the columns as they were, or "
            "wait for more people."
        )
    needed = [name for name in np.unique(sources) if not _is_of(mixture, weights[:, sources != name])]
    if needed == [SITE]:
        return f"{_spared(SITE)}, or wait for more people."
    needed = [name for name in needed if name not in (SITE, GROUP)] or needed
    return f"Take {' or '.join(needed)} out of share.columns, or wait for more people."


def _is_of(mixture: np.ndarray, weights: np.ndarray) -> bool:
    """Whether a mixture [n] is one of columns [n, k]."""
    axes = basis(weights)
    return bool(np.linalg.norm(mixture - axes @ (axes.T @ mixture)) < 0.1 * np.linalg.norm(mixture))
