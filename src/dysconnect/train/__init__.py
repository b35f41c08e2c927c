"""Stage `train`: cross-validated predictions, a final model, learning curves, and a permutation null."""

import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from dysconnect.data.cohort import Cohort
from dysconnect.learning.estimators import Model, build
from dysconnect.learning.new_sites import calibrate_final, calibrate_fold, for_new_sites
from dysconnect.learning.permuted import design_permutations
from dysconnect.learning.room import check_room
from dysconnect.learning.saved import save_folds, save_model
from dysconnect.learning.seeds import candidates, fold_seeds, is_graph, n_permutations, rounds, seed_of
from dysconnect.learning.splits import fold_rows, refuse_other_splits, scored_folds
from dysconnect.learning.trained import Trained
from dysconnect.progress import Ticks, track
from dysconnect.train.live import Live, show_live

if TYPE_CHECKING:  # torch takes seconds to load
    from dysconnect.learning.graph.pretrain import Pretrained

__all__ = ["clear_store", "cross_validate", "permutation_null", "show_live", "write_trained"]
KEPT = 2e8  # bytes of tangent vectors that the models of all folds keep
HISTORY = ["repeat", "fold", "seed", "epoch", "train_loss", "val_loss", "val_auc", "lr", "weight_decay", "kept"]
SEARCH = ["repeat", "fold", "seed", "lr", "weight_decay", "val_loss", "best_epoch", "chosen"]
START = [
    "repeat", "fold", "seed", "gamma", "penalty", "epochs", "ridge_likelihood", "likelihood", "gain_error", "ridge_auc",
    "network_auc",
]  # fmt: skip


def cross_validate(
    cohort: Cohort,
    splits: pd.DataFrame,
    experiment: str,
    sections: dict,
    store: Path | None = None,
    unlabelled: Cohort | None = None,
    live: Live | None = None,
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
    store : path, optional
        Folder in which graph networks that are finished survive an interruption; see `clear_store`.
    unlabelled : Cohort, optional
        Other people, on whom graph networks are pretrained, once for all folds (`dysconnect.learning.graph.pretrain`).
    live : Live, optional
        Told the curves of the networks while they train.

    Raises
    ------
    ValueError
        When the splits leak, or are not of these people and labels.
    """
    refuse_other_splits(splits, cohort.participants)
    check_room(cohort, sections)
    pretrained = None if unlabelled is None else _pretrain(sections, unlabelled, store)
    start = None if pretrained is None else pretrained.weights
    fit = partial(_fit, sections, cohort, start=start, store=store)
    seeds = range(sections["training"]["seeds"] if is_graph(sections) else 1)
    parts, elsewhere = list(scored_folds(splits)), for_new_sites(sections, splits)
    ticks = Ticks(track(range((len(parts) * len(seeds) + 1) * rounds(sections)), f"training {experiment}"))
    predictions, histories, searches, starts, weights, folds = [], [], [], [], [], {}
    for repeat, fold in parts:
        train, test = fold_rows(splits, cohort.participants, repeat, fold)
        ticks.hear = live and partial(live.hear, {"repeat": repeat, "fold": fold}, len(seeds))
        models = fit(train, fold_seeds(sections, repeat, fold), ticks=ticks)
        if elsewhere:
            calibrate_fold(models[0], cohort, train, f"{experiment}, repeat {repeat}, fold {fold}")
        for seed, model in zip(seeds, models):
            predictions.append(_predictions(cohort, test, model, (experiment, repeat, fold, seed)))
            place = {"repeat": repeat, "fold": fold, "seed": seed}
            histories.append(_rows(getattr(model, "history_", []), HISTORY, place))
            searches.append(_rows(getattr(model, "search_", []) if candidates(sections) > 1 else [], SEARCH, place))
            starts.append(_rows(getattr(model, "gains_", []), START, place))
            weights.append(model.edge_weights())
            folds[repeat, fold, seed] = model
        _let_go(models, folds, repeat)
    ticks.hear = live and partial(live.hear, {}, 1)
    (final,) = fit(np.arange(len(cohort.labels)), [seed_of(sections, 9999, 0, 0)], ticks=ticks)
    new_site = calibrate_final(final, cohort, sections, splits)
    final.forget()
    list(ticks)  # says that all is done
    stacked = np.stack(weights).astype(np.float32) if weights[0] is not None else None
    tables = (pd.concat(rows, ignore_index=True) for rows in (predictions, histories, searches, starts))
    return Trained(*tables, stacked, final, folds, [] if pretrained is None else pretrained.history, new_site)


def write_trained(trained: Trained, null: pd.DataFrame, cohort: Cohort, files: Mapping[str, str | Path]) -> None:
    """Write what cross-validation leaves behind.

    Parameters
    ----------
    trained : Trained
    null : DataFrame
        Of `permutation_null`.
    cohort : Cohort
        That the models were trained on.
    files : mapping of str to path
        `predictions`, `history`, `search`, `start`, `null` (tables), `model`, `folds` (arrays).
    """
    for name in ("predictions", "history", "search", "start"):
        getattr(trained, name).to_csv(files[name], sep="\t", index=False)
    null.to_csv(files["null"], sep="\t", index=False)
    save_model(trained.final, cohort, files["model"], trained.weights)
    save_folds(trained.folds, cohort, files["folds"], trained.new_site)


def clear_store(store: Path) -> None:
    """Remove what was kept against an interruption, once the outputs are written."""
    shutil.rmtree(store, ignore_errors=True)


def _pretrain(sections: dict, unlabelled: Cohort, store: Path | None) -> "Pretrained":
    from dysconnect.learning.graph.pretrain import pretrain

    return pretrain(unlabelled, sections, seed_of(sections, 9998, 0, 0), store)


def _fit(sections: dict, cohort: Cohort, rows: np.ndarray, seeds: list[int], ticks: Iterator, **kept) -> list[Model]:
    """One model a seed; graph networks side by side, from what is `kept` (`store`, `start`)."""
    model = _build(sections)
    if is_graph(sections):
        return model.fit_many(cohort, rows, seeds, ticks=ticks, **kept)
    next(ticks)
    return [model.fit(cohort, rows, seed=seeds[0])]


def _build(sections: dict) -> Model:
    return build(sections["model"], sections["measure"], sections["graph"], sections["training"])


def _predictions(cohort: Cohort, test: np.ndarray, model: Model, place: tuple) -> pd.DataFrame:
    experiment, repeat, fold, seed = place
    table = pd.DataFrame({"participant_id": cohort.participants["participant_id"].to_numpy()[test]})
    table = table.assign(experiment=experiment, repeat=repeat, fold=fold, seed=seed, label=cohort.labels[test])
    return table.assign(probability=model.predict(cohort, test))


def _let_go(models: list[Model], folds: dict[tuple[int, int, int], Model], repeat: int) -> None:
    """Let models of a fold that is done forget tangent vectors: the null of the first repeat alone asks for them."""
    if repeat or sum(model.nbytes for model in folds.values()) > KEPT:
        for model in models:
            model.forget()


def _rows(records: list[dict], columns: list[str], place: dict[str, int]) -> pd.DataFrame:
    """Records of one model as a table that says of which repeat, fold and seed they are."""
    return pd.DataFrame(records, columns=columns[3:]).assign(**place)[columns]


def permutation_null(
    cohort: Cohort,
    splits: pd.DataFrame,
    sections: dict,
    first_repeat: dict[int, Model],
    store: Path | None = None,
) -> pd.DataFrame:
    """AUC of the first repeat under permuted labels; empty where none are asked for.

    Labels are permuted inside site x fold, so that every permuted cohort has exactly the design of the
    observed one (class counts of every fold and site) and the test is exact. Whatever sees labels is repeated
    for each permutation, picking edges and choosing the penalty included; what does not (tangent reference,
    harmonisation, scaling) is taken from the fold's model. ``training.permutations`` counts those of the linear
    models, ``training.graph_permutations`` those of the graph networks, which are trained again for each of them.

    Returns
    -------
    DataFrame, [1 + n_permutations rows]
        `permutation` (0 is the observed labelling) and `auc`, the share of concordant pairs inside folds.
    """
    graph, n = is_graph(sections), n_permutations(sections)
    if n == 0:
        return pd.DataFrame({"permutation": pd.Series(dtype=int), "auc": pd.Series(dtype=float)})
    first = splits[splits["repeat"] == 0].set_index("participant_id").loc[cohort.participants["participant_id"]]
    labels = design_permutations(cohort.labels, first, n, sections["training"]["seed"])
    concordant, pairs = np.zeros(labels.shape[1]), 0
    folds = [fold for repeat, fold in scored_folds(splits) if repeat == 0]
    each = labels.shape[1] * rounds(sections) if graph else 1
    ticks = track(range(len(folds) * each), f"{n} label permutations, {'networks' if graph else 'by fold'}")
    for fold in folds:
        train, test = fold_rows(splits, cohort.participants, 0, fold)
        more = {"store": store, "ticks": ticks} if graph else {}
        decisions = first_repeat[fold].decide_many(cohort, train, labels[train], test, **more)
        if not graph:
            next(ticks)
        cases = int(cohort.labels[test].sum())
        ranks = np.where(labels[test] == 1, rankdata(decisions, axis=0), 0).sum(0)
        concordant += ranks - cases * (cases + 1) / 2
        pairs += cases * (len(test) - cases)
    list(ticks)  # says that all is done
    return pd.DataFrame({"permutation": np.arange(labels.shape[1]), "auc": concordant / pairs})
