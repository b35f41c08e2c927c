"""Stage `train`: cross-validated predictions, a final model, learning curves, and a permutation null."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from dysconnect.progress import track
from dysconnect.train.estimators import Cohort, Model, build
from dysconnect.train.splits import fold_rows, scored_folds

HISTORY = ["repeat", "fold", "seed", "epoch", "train_loss", "val_loss", "val_auc"]


@dataclass(frozen=True)
class Trained:
    """What cross-validation leaves behind.

    Attributes
    ----------
    predictions : DataFrame
        `participant_id`, `experiment`, `repeat`, `fold`, `seed`, `label`, `probability`; out of fold.
    history : DataFrame
        One row an epoch; empty for models without epochs.
    weights : array or None, [folds * repeats, E]
        Edge weights of the fold models, where the model has them.
    final : Model
        Fitted on everybody; never scored.
    first_repeat : dict of int to Model
        The models of the first repeat's folds (first seed), for the permutation null.
    """

    predictions: pd.DataFrame
    history: pd.DataFrame
    weights: np.ndarray | None
    final: Model
    first_repeat: dict[int, Model]


def cross_validate(
    cohort: Cohort,
    splits: pd.DataFrame,
    experiment: str,
    sections: dict,
) -> Trained:
    """Fit one model per fold, repeat and seed; predict the subjects it never saw.

    Parameters
    ----------
    cohort : Cohort
    splits : DataFrame
        From `make_splits`.
    experiment : str
        Name of the experiment, for the predictions table.
    sections : dict
        `model`, `graph`, `training` and `measure`.
    """
    graph_model = sections["model"]["name"] == "gcn"
    seeds = range(sections["training"]["seeds"] if graph_model else 1)
    jobs = [(repeat, fold, seed) for repeat, fold in scored_folds(splits) for seed in seeds]
    predictions, histories, weights, first_repeat = [], [], [], {}
    for repeat, fold, seed in track(jobs, f"training {experiment}"):
        train, test = fold_rows(splits, cohort.participants, repeat, fold)
        model = _build(sections).fit(cohort, train, seed=_seed(sections, repeat, fold, seed))
        predictions.append(_predictions(cohort, test, model, (experiment, repeat, fold, seed)))
        histories.append(_history(model, repeat, fold, seed))
        weights.append(model.edge_weights())
        if repeat == 0:
            first_repeat.setdefault(fold, model)
    final = _build(sections).fit(cohort, np.arange(len(cohort.labels)), seed=_seed(sections, 9999, 0, 0))
    stacked = np.stack(weights).astype(np.float32) if weights[0] is not None else None
    curves = pd.concat(histories, ignore_index=True)
    return Trained(pd.concat(predictions, ignore_index=True), curves, stacked, final, first_repeat)


def _build(sections: dict) -> Model:
    return build(sections["model"], sections["measure"], sections["graph"], sections["training"])


def _seed(sections: dict, *place: int) -> int:
    """A seed of its own for every fold, repeat and seed."""
    return int(np.random.SeedSequence([sections["training"]["seed"], *place]).generate_state(1)[0] % 2**31)


def _predictions(cohort: Cohort, test: np.ndarray, model: Model, place: tuple) -> pd.DataFrame:
    experiment, repeat, fold, seed = place
    table = pd.DataFrame({"participant_id": cohort.participants["participant_id"].to_numpy()[test]})
    table = table.assign(experiment=experiment, repeat=repeat, fold=fold, seed=seed, label=cohort.labels[test])
    return table.assign(probability=model.predict(cohort, test))


def _history(model: Model, repeat: int, fold: int, seed: int) -> pd.DataFrame:
    curves = getattr(getattr(model, "classifier_", None), "history_", [])
    table = pd.DataFrame(curves, columns=HISTORY[3:])
    return table.assign(repeat=repeat, fold=fold, seed=seed)[HISTORY]


def shuffle_labels(labels: np.ndarray, blocks: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Permute labels inside exchangeability blocks, [S, n]; labels [S], blocks [S]."""
    shuffled = np.empty((len(labels), n), labels.dtype)
    for block in np.unique(blocks):
        own = np.flatnonzero(blocks == block)
        shuffled[own] = rng.permuted(np.repeat(labels[own][:, None], n, axis=1), axis=0)
    return shuffled


def permutation_null(
    cohort: Cohort, splits: pd.DataFrame, sections: dict, first_repeat: dict[int, Model]
) -> pd.DataFrame:
    """AUC of the first repeat under permuted labels, for models that can decide for many; empty for the others.

    Labels are permuted inside site x fold, so that every permuted cohort has exactly the design of the
    observed one (class counts of every fold and site) and the test is exact. Whatever sees labels is repeated
    for each permutation, choice of the penalty included; what does not (tangent reference, scaling) is taken
    from the fold's model.

    Returns
    -------
    DataFrame, [1 + n_permutations rows]
        `permutation` (0 is the observed labelling) and `auc`, the share of concordant pairs inside folds.
    """
    n_permutations = sections["training"].get("permutations", 0)
    if n_permutations == 0 or not hasattr(first_repeat.get(0), "decide_many"):
        return pd.DataFrame({"permutation": pd.Series(dtype=int), "auc": pd.Series(dtype=float)})
    first = splits[splits["repeat"] == 0].set_index("participant_id").loc[cohort.participants["participant_id"]]
    blocks = (first["site"].astype(str) + "/" + first["fold"].astype(str)).to_numpy()
    rng = np.random.default_rng([sections["training"]["seed"], 11])
    shuffled = shuffle_labels(cohort.labels, blocks, n_permutations, rng)
    labels = np.column_stack([cohort.labels, shuffled])
    concordant, pairs = np.zeros(labels.shape[1]), 0
    folds = [fold for repeat, fold in scored_folds(splits) if repeat == 0]
    for fold in track(folds, f"{n_permutations} label permutations, by fold"):
        train, test = fold_rows(splits, cohort.participants, 0, fold)
        decisions = first_repeat[fold].decide_many(cohort, train, labels[train], test)
        cases = int(cohort.labels[test].sum())
        ranks = np.where(labels[test] == 1, rankdata(decisions, axis=0), 0).sum(0)
        concordant += ranks - cases * (cases + 1) / 2
        pairs += cases * (len(test) - cases)
    return pd.DataFrame({"permutation": np.arange(labels.shape[1]), "auc": concordant / pairs})
