"""Maps that are tested together (`localize.joint`): measures of this run, and connectomes that other runs have made."""

from collections.abc import Mapping
from pathlib import Path

from dysconnect.data.measures import MEASURES
from dysconnect.data.structure import people_beside
from dysconnect.plan.config import ConfigError


def pictures(cohort: Mapping, dataset: str, atlas: str) -> dict[str, dict[str, str]]:
    """Files of every map, by its name: `connectomes`, and `participants` of the run that made them.

    Parameters
    ----------
    cohort : mapping
        The configuration of the run.
    dataset, atlas : str
        Names of the folders and files of this run.

    Raises
    ------
    ConfigError
        For one map alone, a measure that has no connections of its own to name, or a file that is not there.
    """
    wanted = cohort["localize"]["joint"] or ()
    named: dict[str, dict[str, str]] = {}
    for item in wanted:
        if item.endswith(".h5"):
            path, (name, folder) = item, _other(item, named)
        else:
            name, folder = item, Path("results") / dataset
            path = f"{folder.as_posix()}/connectivity/{atlas}_{_own(item)}.h5"
        _refuse_again(path, name, named)
        named[name] = {"connectomes": path, "participants": f"{folder.as_posix()}/timeseries/participants.tsv"}
    if len(named) == 1:
        raise ConfigError(f"localize.joint={list(wanted)} is one map: two or more are tested together. Add another.")
    return named


def _refuse_again(path: str, name: str, named: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse a file that was named already, and two of one name, of which one would be lost."""
    again = [one["connectomes"] for one in named.values() if Path(one["connectomes"]).resolve() == Path(path).resolve()]
    if again:
        raise ConfigError(f"localize.joint: {path} is one map, and named twice. Name it once.")
    if name in named:
        raise ConfigError(
            f"localize.joint: {path} and {named[name]['connectomes']} are both called {name}, and one would be "
            "lost. Give one of the runs another name (dataset.name)."
        )


def _own(measure: str) -> str:
    """A measure of this run, as it is stored."""
    entry = MEASURES.get(measure)
    if entry is None or entry.diagonal or entry.directed or entry.exploratory:
        fit = [name for name, known in MEASURES.items() if not (known.diagonal or known.directed or known.exploratory)]
        raise ConfigError(
            f"localize.joint: {measure} is no measure of which single connections may be named. Choose among "
            f"{', '.join(fit)}, or name a file of connectomes of another (results/NAME/connectivity/ATLAS_MEASURE.h5)."
        )
    return entry.stored


def _other(path: str, named: Mapping) -> tuple[str, Path]:
    """Name of a map that another run has made, and the folder of its results."""
    folder, people = Path(path).parent.parent, people_beside(path)
    absent = [str(file) for file in (Path(path), people) if not file.exists()]
    if absent:
        raise ConfigError(
            f"localize.joint names {path}, and {' and '.join(absent)} is not there. Make it first, with its own run "
            f"(snakemake --config dataset={folder.name} connectivity={measure_named(path)} atlas=...)."
        )
    name = measure_named(path)
    return (name if name not in named else f"{folder.name}_{name}"), folder


def measure_named(path: str | Path) -> str:
    """Measure of a file of connectomes by its name, ATLAS_MEASURE.h5."""
    stem = Path(path).stem
    known = [measure.stored for measure in MEASURES.values() if stem.endswith(f"_{measure.stored}")]
    return max(known, key=len, default=stem)
