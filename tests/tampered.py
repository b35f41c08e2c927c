"""Ways to spoil the files of a finished project, and who reads each: as the job does, but nothing is computed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd

from dysconnect.connectivity import cohort_connectomes
from dysconnect.data.labelled import labelled_cohort
from dysconnect.data.participants import read_participants
from dysconnect.data.series import read_index
from dysconnect.evaluate import evaluate
from dysconnect.learning.saved import SavedModel, read_fold_weights, read_folds
from dysconnect.predict.bundle import read_bundle

try:
    from dysconnect.data.series import refuse_changed
    from dysconnect.keeping.sealed import check
    from dysconnect.learning.splits import refuse_other_splits
except ImportError:  # before there were seals: to tell what has changed
    check = refuse_changed = refuse_other_splits = lambda *_: None

EVALUATE = {"floor": "floor", "bootstraps": 10, "level": 0.95, "seed": 0}


class Project(NamedTuple):
    """A finished project: its folder of results, and what its configuration says."""

    results: Path
    dataset: str
    connectomes: str
    model: str
    nodes: pd.DataFrame
    contrast: dict
    permutations: dict[str, int]

    def at(self, place: str) -> Path:
        """A file of the dataset."""
        return self.results / self.dataset / place.replace("MODEL", self.model).replace("H5", self.connectomes)


class Tampering(NamedTuple):
    """One way to spoil a file, and the job that reads it next."""

    place: str
    kind: str
    spoil: Callable[[Path, Project], None]
    reader: str


# what jobs read, as the rules say
INPUTS = {
    "timeseries": ("acquire/participants.tsv", "acquire/series.tsv"),
    "connectivity": ("timeseries/series.tsv",),
    "splits": ("timeseries/participants.tsv",),
    "train": ("H5", "timeseries/participants.tsv", "train/splits.tsv"),
    "evaluate": (
        "train/floor/predictions.tsv", "train/MODEL/predictions.tsv", "train/floor/null.tsv", "train/MODEL/null.tsv",
        "train/floor/run.json", "train/MODEL/run.json", "train/splits.tsv", "timeseries/participants.tsv",
    ),
    "attribute": (
        "H5", "timeseries/participants.tsv", "train/splits.tsv", "train/MODEL/null.tsv", "train/MODEL/folds.npz",
    ),
    "localize": ("H5", "timeseries/participants.tsv"),
    "attribute_edges": ("localize/edges.tsv", "train/MODEL/model.npz", "train/MODEL/null.tsv"),
    "attribute_recovery": ("attribute/edges.tsv", "acquire/truth.tsv"),
    "recovery": ("localize/edges.tsv", "acquire/truth.tsv"),
    "report": (
        "timeseries/participants.tsv", "train/splits.tsv", "evaluate/scores.tsv", "evaluate/curves.tsv",
        "train/MODEL/history.tsv", "attribute/edges.tsv", "localize/people.tsv", "localize/summary.json",
        "quality/qcfc.tsv", "quality/summary.json", "stimulate/targets.tsv", "stimulate/verdict.json",
    ),
    "track": ("train/MODEL/search.tsv", "train/MODEL/model.npz", "evaluate/scores.tsv", "predict/MODEL.npz"),
    "predict": (),
}  # fmt: skip


def read(job: str, project: Project) -> None:
    """Read what a job reads, as it does; what is noticed is raised."""
    at = project.at
    paths = [path for place in INPUTS[job] if (path := at(place)).parent.is_dir()]
    check([path for path in paths if path.exists() or path in _spoiled], project.results)
    table = lambda place: pd.read_csv(at(place), sep="\t")
    if "H5" in INPUTS[job]:
        cohort, _ = labelled_cohort(at("H5"), at("timeseries/participants.tsv"), project.contrast, "correlation")
    if job == "timeseries":
        read_participants(at("acquire/participants.tsv"))
        refuse_changed(read_index(at("acquire/series.tsv")))
    elif job == "connectivity":
        cohort_connectomes(read_index(at("timeseries/series.tsv")), project.nodes, "correlation", "empirical")
    elif job == "train":
        refuse_other_splits(table("train/splits.tsv"), cohort.participants)
    elif job == "attribute":
        read_folds(at("train/MODEL/folds.npz"), cohort, table("train/splits.tsv"))
    elif job == "attribute_edges":
        read_fold_weights(at("train/MODEL/model.npz"))
    elif job == "evaluate":
        _evaluate(project, table)
    elif job == "predict":
        read_bundle(at("predict/MODEL.npz"))
    elif job == "track":
        SavedModel(at("train/MODEL/model.npz"))
        read_bundle(at("predict/MODEL.npz"))
    else:
        for path in (path for path in paths if path.suffix != ".h5"):
            json.loads(path.read_text()) if path.suffix == ".json" else pd.read_csv(path, sep="\t")


_spoiled: set[Path] = set()  # a file that was deleted is still an input


def _evaluate(project: Project, table: Callable[[str], pd.DataFrame]) -> None:
    names = ["floor", project.model]
    predictions, nulls = ({name: table(f"train/{name}/{own}.tsv") for name in names} for own in ("predictions", "null"))
    people = read_participants(project.at("timeseries/participants.tsv"))
    more = [project.permutations] if check.__name__ == "check" else []
    evaluate(predictions, nulls, table("train/splits.tsv"), people, ["age", "sex", "site"], EVALUATE, *more)


def try_one(project: Project, tampering: Tampering) -> str:
    """Spoil a file, read it, and put it back; what was said, or an empty string where nobody noticed."""
    path = project.at(tampering.place)
    aside = path.with_name(f"{path.name}.aside")
    shutil.copy2(path, aside)
    _spoiled.add(path)
    try:
        tampering.spoil(path, project)
        read(tampering.reader, project)
    except Exception as error:  # whatever was noticed, and however badly it is told
        return f"{type(error).__name__}: {error}"
    finally:
        _spoiled.discard(path)
        aside.replace(path)
    return ""


# ---- ways to spoil a table


def of_table(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path, Project], None]:
    """A change of a table that is read and written again."""

    def spoil(path: Path, _: Project) -> None:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        change(table).to_csv(path, sep="\t", index=False)

    return spoil


def column(name: str, change: Callable) -> Callable[[Path, Project], None]:
    """A change of one column, given as numbers."""
    return of_table(lambda own: own.assign(**{name: change(pd.to_numeric(own[name], errors="coerce"))}))


def swapped(name: str) -> Callable[[Path, Project], None]:
    """Two cells of a column change places: two people, two regions."""

    def change(own: pd.DataFrame) -> pd.DataFrame:
        values = own[name].to_numpy(object).copy()
        other = int(np.flatnonzero(values != values[0])[0])
        values[[0, other]] = values[[other, 0]]
        return own.assign(**{name: values})

    return of_table(change)


def cut_line(path: Path, _: Project) -> None:
    """The last line was never written whole."""
    lines = path.read_bytes().rstrip(b"\n")
    path.write_bytes(lines[: lines.rfind(b"\n") + 4])


def without_last_line(path: Path, _: Project) -> None:
    """The last row is absent."""
    lines = path.read_bytes().rstrip(b"\n")
    path.write_bytes(lines[: lines.rfind(b"\n") + 1])


def truncated(path: Path, _: Project) -> None:
    """Half of the bytes."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def emptied(path: Path, _: Project) -> None:
    """Nothing in it."""
    path.write_bytes(b"")


def deleted(path: Path, _: Project) -> None:
    """Not there."""
    path.unlink()


def as_excel(path: Path, _: Project) -> None:
    """Saved by a spreadsheet: other line ends, decimal commas."""
    path.write_bytes(path.read_bytes().replace(b".", b",").replace(b"\n", b"\r\n"))


def put_from(place: str) -> Callable[[Path, Project], None]:
    """Another file of the project was copied here."""
    return lambda path, project: shutil.copy(project.at(place), path)


def renamed_experiment(place: str) -> Callable[[Path, Project], None]:
    """Another experiment's table under this one's name, in its rows too."""

    def spoil(path: Path, project: Project) -> None:
        name = path.parent.name
        pd.read_csv(project.at(place), sep="\t").assign(experiment=name).to_csv(path, sep="\t", index=False)

    return spoil


# ---- ways to spoil connectomes and models


def of_values(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path, Project], None]:
    """A change of the stored edges [S, E]."""

    def spoil(path: Path, _: Project) -> None:
        with h5py.File(path, "r+") as file:
            file["connectome"][:] = change(file["connectome"][:])

    return spoil


def of_label(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path, Project], None]:
    """A change of a label of the connectomes."""

    def spoil(path: Path, _: Project) -> None:
        with h5py.File(path, "r+") as file:
            file[name][:] = change(file[name][:])

    return spoil


def attribute(name: str, value: str) -> Callable[[Path, Project], None]:
    """Another attribute of the connectomes."""

    def spoil(path: Path, _: Project) -> None:
        with h5py.File(path, "r+") as file:
            file.attrs[name] = value

    return spoil


def shuffled(values: np.ndarray) -> np.ndarray:
    """The first two rows change places."""
    own = values.copy()
    own[[0, 1]] = own[[1, 0]]
    return own


def one(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """One number of one person is another."""

    def change(values: np.ndarray) -> np.ndarray:
        own = values.copy()
        own[1, 3] = value
        return own

    return change


def swapped_columns(values: np.ndarray) -> np.ndarray:
    """Two connections change places."""
    own = values.copy()
    own[:, [2, 9]] = own[:, [9, 2]]
    return own


def arrays(change: Callable[[dict], dict]) -> Callable[[Path, Project], None]:
    """A change of the arrays of a model."""

    def spoil(path: Path, _: Project) -> None:
        with np.load(path, allow_pickle=False) as file:
            own = {name: file[name] for name in file.files}
        np.savez(path, **change(own))

    return spoil


def negated(own: dict) -> dict:
    """Every array of numbers changes its sign."""
    return {name: -value if value.dtype.kind == "f" else value for name, value in own.items()}


def text(old: str, new: str) -> Callable[[Path, Project], None]:
    """Some text is another."""
    return lambda path, _: path.write_text(path.read_text().replace(old, new, 1))


def other_series(path: Path, project: Project) -> None:
    """Two people's denoised series change places."""
    index = read_index(project.at("timeseries/series.tsv"))
    other = next(Path(own) for own in index["series"] if Path(own) != path.resolve())
    shutil.copy(other, path)


TABLE = {
    "cut in the last line": cut_line, "last row absent": without_last_line, "half of the bytes": truncated,
    "empty": emptied, "deleted": deleted,
}  # fmt: skip
H5 = {
    "people swapped in the values": of_values(shuffled),
    "names of people swapped": of_label("subject", shuffled),
    "names of regions swapped": of_label("node", shuffled),
    "missing regions swapped": of_label("missing", lambda x: 1 - x),
    "one NaN": of_values(one(np.nan)),
    "all NaN": of_values(lambda x: np.full_like(x, np.nan)),
    "+0.5 for all": of_values(lambda x: x + np.float32(0.5)),
    "one value": of_values(one(9.0)),
    "scaled": of_values(lambda x: 2 * x),
    "connections swapped": of_values(swapped_columns),
    "measured in nobody": of_label("measured", lambda x: 0 * x),
    "another measure": attribute("measure", "partial"),
    "another atlas": attribute("atlas", "other"),
    "another hash": attribute("data_hash", "0" * 64),
    "half of the bytes": truncated,
    "empty": emptied,
    "deleted": deleted,
}
PREDICTIONS = {
    "labels flipped": column("label", lambda x: 1 - x),
    "probabilities flipped": column("probability", lambda x: 1 - x),
    "scaled": column("probability", lambda x: x / 2),
    "towards the labels": of_table(
        lambda own: own.assign(probability=(own["probability"].astype(float) + own["label"].astype(float)) / 2)
    ),
    "people swapped": swapped("participant_id"),
    "half of the rows": of_table(lambda own: own[::2]),
    "rows twice": of_table(lambda own: pd.concat([own, own])),
    "NaN": column("probability", lambda x: x.where(x.index > 2)),
    "beyond 1": column("probability", lambda x: x + 1),
    "another experiment's": put_from("train/floor/predictions.tsv"),
    "another experiment's, renamed": renamed_experiment("train/floor/predictions.tsv"),
    "folds numbered anew": column("fold", lambda x: 1 - x),
    "decimal commas": as_excel,
}
NULL = {
    "three values": of_table(lambda own: own[:3]),
    "all zero but the observed": column("auc", lambda x: x.where(x.index == 0, 0)),
    "observed raised": column("auc", lambda x: x.where(x.index > 0, 0.99)),
    "another experiment's": put_from("train/floor/null.tsv"),
    "beyond 1": column("auc", lambda x: x + 1),
}


def tamperings() -> list[Tampering]:
    """All of them."""
    found = [Tampering("H5", kind, spoil, "train") for kind, spoil in H5.items()]
    found += [Tampering("train/MODEL/predictions.tsv", *own, "evaluate") for own in (PREDICTIONS | TABLE).items()]
    found += [Tampering("train/MODEL/null.tsv", *own, "evaluate") for own in (NULL | TABLE).items()]
    more = [
        ("train/splits.tsv", "folds swapped", swapped("fold"), "train"),
        ("train/splits.tsv", "labels flipped", column("label", lambda x: 1 - x), "train"),
        ("train/splits.tsv", "people swapped", swapped("participant_id"), "train"),
        ("train/splits.tsv", "last row absent", without_last_line, "train"),
        ("train/splits.tsv", "folds swapped", swapped("fold"), "attribute"),
        ("timeseries/participants.tsv", "groups swapped", swapped("group"), "train"),
        ("timeseries/participants.tsv", "ages plus ten", column("age", lambda x: x + 10), "train"),
        ("timeseries/participants.tsv", "motion scaled", column("mean_fd", lambda x: 10 * x), "localize"),
        ("timeseries/participants.tsv", "names swapped", swapped("participant_id"), "splits"),
        ("timeseries/participants.tsv", "last row absent", without_last_line, "report"),
        ("acquire/participants.tsv", "groups swapped", swapped("group"), "timeseries"),
        ("acquire/series.tsv", "people swapped", swapped("participant_id"), "timeseries"),
        ("acquire/series.tsv", "last row absent", without_last_line, "timeseries"),
        ("timeseries/series.tsv", "people swapped", swapped("participant_id"), "connectivity"),
        ("timeseries/series.tsv", "last row absent", without_last_line, "connectivity"),
        ("SERIES", "another person's", other_series, "connectivity"),
        ("SERIES", "last row absent", without_last_line, "connectivity"),
        ("SERIES", "scaled in a column", of_table(lambda own: own.assign(**{own.columns[3]: "0.5"})), "connectivity"),
        ("train/MODEL/model.npz", "weights negated", arrays(negated), "attribute_edges"),
        ("train/MODEL/model.npz", "half of the bytes", truncated, "track"),
        ("train/MODEL/model.npz", "another experiment's", put_from("train/floor/model.npz"), "track"),
        ("train/MODEL/folds.npz", "weights negated", arrays(negated), "attribute"),
        ("train/MODEL/folds.npz", "half of the bytes", truncated, "attribute"),
        ("train/MODEL/folds.npz", "another experiment's", put_from("train/floor/folds.npz"), "attribute"),
        ("train/MODEL/run.json", "other settings", text('"seed": 0', '"seed": 1'), "evaluate"),
        ("train/MODEL/run.json", "half of the bytes", truncated, "evaluate"),
        ("train/MODEL/run.json", "another experiment's", put_from("train/floor/run.json"), "evaluate"),
        ("train/MODEL/history.tsv", "another experiment's", put_from("train/floor/predictions.tsv"), "report"),
        ("evaluate/scores.tsv", "raised", column("value", lambda x: x + 0.1), "report"),
        ("evaluate/scores.tsv", "experiments swapped", swapped("experiment"), "report"),
        ("evaluate/scores.tsv", "last row absent", without_last_line, "report"),
        ("evaluate/scores.tsv", "lower ends raised", column("low", lambda x: x + 0.1), "track"),
        ("evaluate/curves.tsv", "half of the rows", of_table(lambda own: own[::2]), "report"),
        ("predict/MODEL.npz", "half of the bytes", truncated, "predict"),
        ("predict/MODEL.npz", "weights negated", arrays(negated), "predict"),
        ("attribute/edges.tsv", "p made small", column("p_fwer", lambda x: x / 100), "report"),
        ("attribute/edges.tsv", "regions swapped", swapped("region_a"), "report"),
        ("attribute/edges.tsv", "weights turned", column("attribution", lambda x: -x), "attribute_recovery"),
        ("localize/edges.tsv", "regions swapped", swapped("region_a"), "attribute_edges"),
        ("localize/edges.tsv", "signs turned", column("effect_size", lambda x: -x), "recovery"),
        ("localize/edges.tsv", "last row absent", without_last_line, "recovery"),
        ("acquire/truth.tsv", "last row absent", without_last_line, "recovery"),
        ("localize/people.tsv", "people swapped", swapped("participant_id"), "report"),
        ("localize/summary.json", "more found", text('"n_fwer": ', '"n_fwer": 1'), "report"),
        ("quality/summary.json", "half of the bytes", truncated, "report"),
        ("quality/qcfc.tsv", "last row absent", without_last_line, "report"),
        ("quality/qcfc.tsv", "half of the bytes", truncated, "report"),
        ("stimulate/verdict.json", "not withheld", text("withheld", "shown"), "report"),
    ]  # fmt: skip
    return found + [Tampering(*own) for own in more]
