"""Models as files: plain arrays and a JSON description, read again without running code."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import measure_pairs
from dysconnect.data.measures import MEASURES
from dysconnect.keeping.whole import save_arrays
from dysconnect.learning.estimators import FloorModel, Model, build
from dysconnect.learning.graph.model import GraphModel
from dysconnect.learning.splits import fold_rows


class FoldModel(NamedTuple):
    """A model of the cross-validation: who taught it, whom it never saw, and its repeat, fold and seed."""

    model: "Model"
    train: np.ndarray
    test: np.ndarray
    repeat: int
    fold: int
    seed: int


def save_model(model: Model, cohort: Cohort, path: str | Path, fold_weights: np.ndarray | None = None) -> None:
    """Save a fitted model as arrays and a JSON description: no code is stored, and none runs on loading.

    Parameters
    ----------
    model : Model
    cohort : Cohort
        Names the regions.
    path : path
        ``.npz``.
    fold_weights : array, [folds, E], optional
        Edge weights of the cross-validation's models, kept beside the final one.
    """
    arrays = {**model.state(), "n_nodes": np.array(len(cohort.nodes)), "spec": _described(model, cohort)}
    if fold_weights is not None:
        arrays["fold_weights"] = fold_weights
    save_arrays(path, arrays)


def _described(model: Model, cohort: Cohort) -> np.ndarray:
    """What builds the model again, as JSON."""
    sections = {"model": model.spec, "measure": model.measure, "nodes": cohort.nodes.tolist()}
    if isinstance(model, GraphModel):
        sections |= {"graph": model.graph, "training": {**model.training, "device": "cpu"}}
    return np.array(json.dumps(sections))


def save_folds(
    models: dict[tuple[int, int, int], Model], cohort: Cohort, path: str | Path, new_site: np.ndarray | None = None
) -> None:
    """Save the models of the cross-validation by (repeat, fold, seed): whoever was left out is predicted again.

    Parameters
    ----------
    models : dict of (int, int, int) to Model
    cohort : Cohort
        Names the regions.
    path : path
        ``.npz``.
    new_site : array, [2], optional
        Of `Trained`, kept beside them.
    """
    arrays = {"n_nodes": np.array(len(cohort.nodes)), "spec": _described(next(iter(models.values())), cohort)}
    if new_site is not None:
        arrays["new_site"] = new_site
    for place, model in models.items():
        arrays |= {f"{'.'.join(map(str, place))}/{name}": value for name, value in model.state().items()}
    save_arrays(path, arrays)


def restore_folds(arrays: Mapping[str, np.ndarray]) -> dict[tuple[int, int, int], Model]:
    """Models of the cross-validation from the arrays of `save_folds`, by (repeat, fold, seed)."""
    sections = json.loads(str(arrays["spec"]))
    states: dict[tuple[int, int, int], dict[str, np.ndarray]] = {}
    for name, value in arrays.items():
        place, slash, field = name.partition("/")
        if slash:
            key = tuple(map(int, place.split(".")))
            states.setdefault(key, {"n_nodes": arrays["n_nodes"]})[field] = value
    return {place: _restore(sections, state) for place, state in states.items()}


def _restore(sections: dict, arrays: dict[str, np.ndarray]) -> Model:
    measure, spec = sections["measure"], sections["model"]
    return build(spec, measure, sections.get("graph", {}), sections.get("training", {})).load_state(arrays)


def read_fold_weights(path: str | Path) -> np.ndarray:
    """Edge weights of the models of all folds, [folds, E]."""
    with np.load(path, allow_pickle=False) as file:
        if "fold_weights" not in file.files:
            raise ValueError(f"{path}: this model has no weights per edge; choose another localize.attribution.")
        return file["fold_weights"]


def read_edges(path: str | Path) -> pd.DataFrame:
    """Names of both regions of every edge of a saved model, `region_a` and `region_b`, in the order of its weights."""
    with np.load(path, allow_pickle=False) as file:
        sections = json.loads(str(file["spec"]))
    nodes = np.array(sections["nodes"])
    return measure_pairs(sections["measure"], len(nodes)).named(nodes)


def read_folds(path: str | Path, cohort: Cohort, splits: pd.DataFrame) -> list[FoldModel]:
    """Read the models of all folds, each with the people it learned from and those it never saw.

    Parameters
    ----------
    path : path
        From `save_folds`.
    cohort : Cohort
    splits : DataFrame
    """
    with np.load(path, allow_pickle=False) as file:
        models = restore_folds({name: file[name] for name in file.files})
    rows = {place: fold_rows(splits, cohort.participants, *place[:2]) for place in models}
    for place, model in models.items():
        if not isinstance(model, FloorModel):
            model.remember(cohort, rows[place][0])
    return [FoldModel(model, *rows[place], *place) for place, model in models.items()]


class SavedModel:
    """A model read from its file: predicts from connectivity matrices of the same atlas.

    Attributes
    ----------
    measure : str
        What the matrices must be: correlation or partial, say, or tangent (then covariances).
    nodes : list of str
        Region names, in the order of the matrices' rows; a directed connection goes from row to column.
    """

    def __init__(self, path: str | Path):
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        sections = json.loads(str(arrays["spec"]))
        self.measure, self.nodes = sections["measure"], sections["nodes"]
        if self.measure == "covariates":
            raise ValueError(f"{path}: the confound floor predicts from covariates, not from connectivity matrices.")
        self._model = _restore(sections, arrays)

    def predict(self, matrices: np.ndarray, participants: pd.DataFrame | None = None) -> np.ndarray:
        """Probability of being a patient, [n, N, N] -> [n].

        Parameters
        ----------
        matrices : array, [n, N, N]
        participants : DataFrame, [n rows], optional
            Site and covariates, for a model that harmonises or deconfounds; without it the people count as ones of
            an unknown site and average covariates.
        """
        matrices = np.asarray(matrices)
        expected = (len(self.nodes), len(self.nodes))
        if matrices.ndim != 3 or matrices.shape[1:] != expected:
            raise ValueError(
                f"connectivity matrices have shape {matrices.shape}; this model takes "
                f"(n, {expected[0]}, {expected[1]}): {self.measure} of its own atlas."
            )
        if not np.isfinite(matrices).all():
            bad = np.flatnonzero(~np.isfinite(matrices).all((1, 2)))
            raise ValueError(f"NaN or infinity in the matrices at positions {bad[:5].tolist()}; leave them out.")
        if MEASURES[self.measure].transform == "fisher" and np.abs(matrices).max(initial=0) > 1 + 1e-6:
            raise ValueError(f"values beyond 1: this model takes {self.measure} matrices (r), not Fisher z.")
        people = () if participants is None else (participants,)
        return self._model.predict_matrices(matrices, *people)
