"""What `evaluate` is given must belong together: predictions of these experiments, people, folds and permutations."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = ("participant_id", "experiment", "repeat", "fold", "seed", "label", "probability")
PLACE = ["participant_id", "repeat"]
NEVER_TESTED = -1  # `fold` in the splits


def refuse_other_runs(runs: Sequence[str | Path], sections: Mapping[str, Mapping]) -> None:
    """Refuse experiments that were trained with other settings than the configuration has now.

    Parameters
    ----------
    runs : sequence of path
        What training noted of itself (``run.json``), one an experiment.
    sections : mapping of str to mapping
        By experiment, in the same order: `model`, `graph`, `training` and `measure`.

    Raises
    ------
    ValueError
        Names the file.
    """
    for path, (name, asked) in zip(runs, sections.items()):
        record = json.loads(Path(path).read_text())
        if record.get("experiment") != name:
            raise ValueError(
                f"{path} is of the experiment {record.get('experiment')}, not of {name}. Train {name} again."
            )
        if record.get("sections") != json.loads(json.dumps(asked)):
            raise ValueError(
                f"{path}: {name} was trained with other settings than the configuration has now. Train it again: add "
                f"--forcerun {path} to the command."
            )


def predictions_of(name: str, predictions: pd.DataFrame) -> pd.DataFrame:
    """Return predictions if they are those of the experiment.

    Raises
    ------
    ValueError
        When a column is absent or they are another experiment's.
    """
    absent = [column for column in COLUMNS if column not in predictions]
    if absent:
        raise ValueError(f"{name}: the predictions lack the column {', '.join(absent)}. {_again(name)}")
    others = sorted(set(predictions["experiment"].astype(str)) - {name})
    if others:
        raise ValueError(f"{name}: these are predictions of {', '.join(others)}. {_again(name)}")
    return predictions


def check_predictions(name: str, predictions: pd.DataFrame, splits: pd.DataFrame) -> None:
    """Refuse predictions of other people, folds or labels than the splits', or of some of the people only.

    Parameters
    ----------
    name : str
        Of the experiment.
    predictions : DataFrame
        `COLUMNS`; out of fold.
    splits : DataFrame
        `participant_id`, `label`, `repeat`, `fold`.

    Raises
    ------
    ValueError
        Names the experiment, a person, and what to do.
    """
    again = _again(name)
    tested = splits.loc[splits["fold"] != NEVER_TESTED, [*PLACE, "fold", "label"]]
    for seed, predicted in predictions.groupby("seed"):
        twice = predicted[predicted.duplicated(PLACE)]
        if len(twice):
            raise ValueError(f"{name}: {_who(twice)} predicted twice (seed {seed}). {again}")
        both = tested.merge(predicted, on=PLACE, how="outer", suffixes=("_split", ""), indicator=True)
        for side, what in (("left_only", "not predicted"), ("right_only", "predicted, but not tested by the splits")):
            if (rows := both[both["_merge"] == side]).size:
                raise ValueError(f"{name}: {_who(rows)} {what} (seed {seed}). {again}")
        for column, what in (("fold", "in another fold"), ("label", "under another label")):
            if (rows := both[both[column] != both[f"{column}_split"]]).size:
                raise ValueError(
                    f"{name}: {_who(rows)} predicted {what} than the splits say ({len(rows)} of {len(both)} "
                    f"predictions are). {again}"
                )


def _again(name: str) -> str:
    return f"Train {name} again on these splits (snakemake --forcerun train)."


def _who(rows: pd.DataFrame) -> str:
    others = f" and {len(rows) - 1} more were" if len(rows) > 1 else " was"
    return f"{rows['participant_id'].iloc[0]}{others}"


def check_null(name: str, null: pd.DataFrame, permutations: int | None = None) -> None:
    """Refuse a permutation null that is cut, of another length than was asked for, or no AUC.

    Parameters
    ----------
    name : str
        Of the experiment.
    null : DataFrame
        `permutation` (0 is the observed labelling) and `auc`; without rows where none was asked for.
    permutations : int, optional
        How many were asked for.

    Raises
    ------
    ValueError
        Names the experiment and what to do.
    """
    again = _again(name)
    expected = None if permutations is None else permutations + (permutations > 0)
    if expected is not None and len(null) != expected:
        raise ValueError(f"{name}: the permutation null has {len(null)} rows, {expected} are expected. {again}")
    if not np.array_equal(null["permutation"], np.arange(len(null))):
        raise ValueError(f"{name}: the permutation null is not numbered from 0 (the observed labels) on. {again}")
    if not pd.to_numeric(null["auc"], errors="coerce").between(0, 1).all():
        raise ValueError(f"{name}: an AUC of the permutation null is missing or outside [0, 1]. {again}")
