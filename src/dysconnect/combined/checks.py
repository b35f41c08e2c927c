"""What must be the same at all sites before their sums are added; a refusal names the difference and both files."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from dysconnect.pooling.within import scanners
from dysconnect.reading.cells import folded
from dysconnect.share.columns import RANGES, UNITS, spelt_twice
from dysconnect.share.package import Package

SHOWN = 5  # differences that are named
OWN = ("group", "site")  # kinds of columns that every site has by itself
NOTHING = "not set"


class NotCombinedError(ValueError):
    """Sites cannot be joined; the message names the difference, the files, and what to do."""


def refuse_different(packages: Mapping[str, Package], effects: bool) -> None:
    """Refuse files that do not belong together.

    Parameters
    ----------
    packages : mapping of str to Package
        By the name of their file.
    effects : bool
        Only effects are put together: then preprocessing and centres may differ.

    Raises
    ------
    NotCombinedError
    """
    if len(packages) < 2:
        raise NotCombinedError("one file is no joined analysis. Give those of two sites or more.")
    refuse_repeated(packages)
    refuse_same_people(packages)
    for name, package in packages.items():
        _refuse_foreign(name, package)
        _refuse_other_unit(name, package)
    first, *others = packages
    for other in others:
        pair = {first: packages[first], other: packages[other]}
        for difference in (_measure, _atlas, _outcomes, _groups, _covariates, _columns, _levels, _processing):
            if effects and difference is _processing:
                continue
            said = difference(*pair.values(), effects)
            if said:
                raise NotCombinedError(f"{first} and {other} cannot be combined: {said}")


def refuse_repeated(packages: Mapping[str, Package]) -> None:
    """Refuse the same release or the same site twice: its people would count twice.

    Raises
    ------
    NotCombinedError
    """
    for kind, remedy in (("release", "Give it once"), ("site", "Give the newest, and ask the site about the other")):
        files = defaultdict(list)
        for name, package in packages.items():
            files[package.about[kind]].append(name)
        for value, names in files.items():
            if len(names) > 1:
                raise NotCombinedError(
                    f"{' and '.join(names)} are {'the same release' if kind == 'release' else 'releases of one site'} "
                    f"({value}): people would count twice. {remedy}."
                )


def refuse_same_people(packages: Mapping[str, Package]) -> None:
    """Refuse the same people under two names of a site.

    Raises
    ------
    NotCombinedError
    """
    for (first, one), (second, other) in combinations(packages.items(), 2):
        if _same_squares(one, other) or _same_numbers(one, other):
            raise NotCombinedError(
                f"{first} and {second} are of the same people, under the names {one.site} and {other.site}: they would "
                "count twice. Give one of them, and ask the site."
            )


def _same_squares(one: Package, other: Package) -> bool:
    """Whether the squares of all connections add up to the same."""
    if one.sums.yy.shape != other.sums.yy.shape:
        return False
    both = one.sums.given & other.sums.given
    return bool(both.any() and np.allclose(one.sums.yy[both], other.sums.yy[both], rtol=1e-9, atol=0))


def _same_numbers(one: Package, other: Package) -> bool:
    """Whether group and numbers, such as age and motion, are the same together, however connections were made."""
    held = []
    for package in (one, other):
        about = package.about
        numbers = {column["name"] for column in about["columns"] if column["kind"] == "number"}
        names = ["group", *sorted(numbers & set(package.sums.columns))]
        places = [package.sums.columns.index(name) for name in names]
        held.append((names, about["people"]["n"], package.sums.xx[np.ix_(places, places)]))
    (names, n, first), (others, m, second) = held
    return len(names) > 1 and (names, n) == (others, m) and np.allclose(first, second, rtol=1e-9, atol=0)


def _refuse_other_unit(name: str, package: Package) -> None:
    """Refuse numbers of which nobody's mean can be, as ages in months."""
    means = scanners(package.sums)
    columns = [column for column in package.sums.columns if not column.startswith("site=")]
    for column in package.about["columns"]:
        low, high = RANGES.get(column["name"], (-np.inf, np.inf))
        if column["kind"] != "number" or not np.isfinite(low):
            continue
        mean = means.x[:, columns.index(column["name"])] + column.get("centre", 0)
        if (mean < low).any() or (mean > high).any():
            worst = mean[np.abs(mean).argmax()]
            raise NotCombinedError(
                f"{name}: the mean of {column['name']} is {worst:.4g}, and in {UNITS[column['name']]} it lies between "
                f"{low} and {high}. Ask {package.about['contact']} for a file with another unit."
            )


def _refuse_foreign(name: str, package: Package) -> None:
    """Refuse intercepts of another site: in a joined cohort they would be taken for that site's."""
    own = f"site={package.site}"
    foreign = [
        column["name"]
        for column in package.about["columns"]
        if column["kind"] == "site" and column["name"] != own and not column["name"].startswith(f"{own}/")
    ]
    if foreign:
        raise NotCombinedError(f"{name} is of {package.site} and has the column {foreign[0]}, which is another site's.")


def different_making(packages: Sequence[Package]) -> list[str]:
    """Keys of the preprocessing, and centres of numbers, in which sites differ."""
    settings = [package.about["processing"] | _centres(package) for package in packages]
    return sorted({name for other in settings[1:] for name, _, _ in _differing(settings[0], other)})


def _centres(package: Package) -> dict[str, float]:
    numbers = [column for column in package.about["columns"] if column["kind"] == "number"]
    return {f"centre of {column['name']}": column.get("centre") for column in numbers}


def covariates(package: Package) -> list[str]:
    """Covariates of a site; a category, which has a column a level, by its name."""
    names = [column["name"].split("=")[0] for column in package.about["columns"] if column["kind"] not in OWN]
    return list(dict.fromkeys(names))


def _groups(one: Package, other: Package, effects: bool) -> str:
    """Whoever are patients here and controls there."""
    sides = [
        {side: {folded(name) for name in package.about["contrast"][side]} for side in ("cases", "controls")}
        for package in (one, other)
    ]
    turned = sides[0]["cases"] & sides[1]["controls"] | sides[0]["controls"] & sides[1]["cases"]
    names = [name for side in one.about["contrast"].values() for name in side if folded(name) in turned]
    return names and (
        f"{_some(names)} are patients in one and controls in the other. Correct dataset.contrast where it is the wrong "
        "way round."
    )


def _levels(one: Package, other: Package, effects: bool) -> str:
    """Levels that are the same but for how they are spelt."""
    names = [c["name"] for package in (one, other) for c in package.about["columns"] if c["kind"] == "level"]
    twice = spelt_twice(names)
    return twice and f"{' and '.join(twice)} are one level, spelt in two ways. Spell it alike in participants.tsv."


def _measure(one: Package, other: Package, effects: bool) -> str:
    said = _listed(_differing(one.about["measure"], other.about["measure"]))
    return said and f"they measured connections differently: {said}. Share the same connectivity."


def _atlas(one: Package, other: Package, effects: bool) -> str:
    if one.about["atlas"]["hash"] == other.about["atlas"]["hash"]:
        said = _listed(_differing(*(_circuits_of(package) for package in (one, other))))
        return said and f"circuits are of other regions: {said}. Use the same table of regions everywhere."
    names = one.about["atlas"]["name"], other.about["atlas"]["name"]
    said = f"they have other regions (atlas {names[0]} and {names[1]})"
    return f"{said}: {_regions(one.regions, other.regions)}. Share connections of the same atlas."


def _circuits_of(package: Package) -> dict[str, str]:
    """System and network of every region: circuits are made by them."""
    table = package.regions.reindex(columns=["name", "system", "network"]).fillna("").astype(str)
    return {name: f"{system} {network}".strip() or NOTHING for name, system, network in table.to_numpy()}


def _regions(one: pd.DataFrame, other: pd.DataFrame) -> str:
    """Which regions differ: by name, in order, or in their place."""
    names = one["name"].astype(str).tolist(), other["name"].astype(str).tolist()
    lonely = [[name for name in names[k] if name not in set(names[1 - k])] for k in (0, 1)]
    if any(lonely):
        return _sides(lonely)
    if names[0] != names[1]:
        place = next(k for k, pair in enumerate(zip(*names)) if pair[0] != pair[1])
        return f"the same in another order, from row {place + 1} on ({names[0][place]} and {names[1][place]})"
    moved = (np.abs(one[["x", "y", "z"]].to_numpy(float) - other[["x", "y", "z"]].to_numpy(float)) > 1e-3).any(1)
    where = [names[0][k] for k in np.flatnonzero(moved)]
    if where:
        return f"of the same names, {_some(where)} elsewhere in the brain"
    return "of the same names and places, and another radius"


def _outcomes(one: Package, other: Package, effects: bool) -> str:
    edges = one.about["edges"], other.about["edges"]
    if edges[0] != edges[1]:
        return (
            f"the first gives {_edges(edges[0])}, the second {_edges(edges[1])}. Use the same share.edges everywhere."
        )
    first, second = list(one.about["circuits"]), list(other.about["circuits"])
    if first == second:
        return ""
    said = f"the first has the circuits {', '.join(first) or 'none'}, the second {', '.join(second) or 'none'}"
    return f"{said}. Use the same localize.prior_circuits everywhere."


def _edges(count: int) -> str:
    return f"{count:,} connections" if count else "means of circuits alone"


def _covariates(one: Package, other: Package, effects: bool) -> str:
    names = covariates(one), covariates(other)
    lonely = [[name for name in names[k] if name not in names[1 - k]] for k in (0, 1)]
    said = _sides(lonely)
    if said:
        return f"they adjust for other covariates: {said}. Use the same share.columns everywhere."
    said = _listed(_differing(_kinds(one), _kinds(other)))
    return said and f"a covariate is coded differently: {said}. Code it in participants.tsv alike everywhere."


def _kinds(package: Package) -> dict[str, str]:
    """Whether every covariate is a number or a category."""
    words = {"number": "a number", "level": "a category"}
    columns = [column for column in package.about["columns"] if column["kind"] not in OWN]
    return {column["name"].split("=")[0]: words[column["kind"]] for column in columns}


def _columns(one: Package, other: Package, effects: bool) -> str:
    """Columns of the same name that mean something else."""
    first, second = ({column["name"]: column for column in side.about["columns"]} for side in (one, other))
    for name in first.keys() & second.keys():
        keys = ("kind", "unit") if effects else ("kind", "unit", "centre")
        differing = _listed(_differing(*({key: side[name].get(key) for key in keys} for side in (first, second))))
        if differing:
            return f"the column {name} is not the same: {differing}. Use the same share.centres and units everywhere."
    return ""


def _processing(one: Package, other: Package, effects: bool) -> str:
    said = _listed(_differing(one.about["processing"], other.about["processing"]))
    return said and (
        f"they were preprocessed differently: {said}. Make one of them again with the other's settings, or add "
        "--effects for a meta-analysis of effect sizes, which is not exact."
    )


def _differing(one: Mapping, other: Mapping) -> Iterator[tuple[str, object, object]]:
    """Keys of which the values differ, with both."""
    for key in sorted(one.keys() | other.keys()):
        pair = one.get(key, NOTHING), other.get(key, NOTHING)
        if pair[0] != pair[1]:
            yield key, *pair


def _sides(lonely: Sequence[Sequence[str]]) -> str:
    """What only the first has, and only the second."""
    return "; ".join(f"only the {place} has {_some(own)}" for place, own in zip(("first", "second"), lonely) if own)


def _listed(differing: Iterator[tuple[str, object, object]]) -> str:
    return _some([f"{key} is {one} in the first and {other} in the second" for key, one, other in differing])


def _some(words: Sequence[str]) -> str:
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return ", ".join(map(str, words[:SHOWN])) + more
