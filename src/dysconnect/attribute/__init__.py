"""What models make of single edges, on people they never saw, with verdict, stability, checks and error rates."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dysconnect.attribute.curves import SHARES, area, fold_curves
from dysconnect.attribute.folds import HeldOut, fold_maps, held_out, randomised_twin, shuffled_twin
from dysconnect.attribute.null import attribution_null
from dysconnect.attribute.ridge import ridge_statistics
from dysconnect.attribute.screening import screened_statistics
from dysconnect.attribute.stability import consistency, kuncheva, nogueira, strongest
from dysconnect.attribute.verdict import LOCALIZES, label
from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Pairs
from dysconnect.data.measures import MEASURES
from dysconnect.learning.estimators import build
from dysconnect.learning.permuted import gate
from dysconnect.learning.saved import FoldModel, read_folds
from dysconnect.localize.tested import complete_edges, without_copies
from dysconnect.models.cards import card_of, is_graph
from dysconnect.progress import track

CHECKED = 2  # folds whose models are randomised and trained on shuffled labels
RANDOM_ORDERS = 5  # of edges, for the curves


class Maps(NamedTuple):
    """Table of edges, and a summary of the maps."""

    edges: pd.DataFrame
    told: dict


def attribute(
    cohort: Cohort, splits: pd.DataFrame, null: pd.DataFrame, folds: str | Path, sections: dict, spec: dict
) -> Maps:
    """Maps of one experiment, or why they are withheld, and the inference that needs no right model.

    Parameters
    ----------
    cohort : Cohort
        As the experiment was trained on.
    splits : DataFrame
    null : DataFrame
        `permutation`, `auc`.
    folds : path
        Models of all folds (`save_folds`).
    sections : dict
        `model`, `graph`, `training`, `measure` of the experiment.
    spec : dict
        Of the `localize` section: `nuisance`, `permutations`, `alpha`, `max_missing`, `stability_top`, `seed`,
        `ridge_penalty`, `screening_splits`, `screened`, `attribution_permutations`, `explained`.

    Returns
    -------
    edges : DataFrame, [E rows]
        `region_a`, `region_b`, a column a map (mean over folds, repeats and seeds; none where they are withheld), and
        `p_weights`, `p_screening` with `screened` (share of splits), `p_attribution` where these were made.
    told : dict
        `shown`, `verdict`, `methods` (of each: `label`, `recovers`, `reason`, `stability`, `sanity`, `curves`),
        `random` curves, `shares`, and of each inference its settings and `n_fwer`.
    """
    shown, _, verdict = gate(null, spec["alpha"])
    table = Pairs(len(cohort.nodes), cohort.directed).named(cohort.nodes)
    summary = {"shown": shown, "verdict": verdict, "methods": {}, "random": None, "shares": list(SHARES)}
    if shown:
        maps, described = _described(cohort, splits, folds, sections, spec)
        table, summary = table.assign(**maps), summary | described
    for name, columns, settings in _inference(cohort, splits, sections, spec, shown):
        table, summary = table.join(columns), summary | {name: settings}
    return Maps(table, summary)


def _described(cohort: Cohort, splits: pd.DataFrame, folds: str | Path, sections: dict, spec: dict) -> tuple:
    """Average maps by method, and how stable, how causal for the scores and how sane they are."""
    stacks, curves, checks = {}, [], []
    kept = read_folds(folds, cohort, splits)
    for number, fold in enumerate(track(kept, "maps of held-out people")):
        held = held_out(cohort, fold)
        maps = fold_maps(held) | _explained(held, sections, spec)
        for method, one in maps.items():
            stacks.setdefault(method, []).append(one)
        if fold.repeat == 0 and fold.seed == 0 and len(np.unique(held.people.labels)) == 2:
            curves.append(_curves(held, maps, sections, spec["seed"] + fold.fold))
        if number < CHECKED:
            checks.append(_checks(cohort, fold, held, maps, sections, spec["seed"]))
    stacks = {method: np.stack(held) for method, held in stacks.items()}
    top = min(spec["stability_top"], next(iter(stacks.values())).shape[1] - 1)
    methods = {}
    for method, held in stacks.items():
        name, reason = label(method, sections)
        methods[method] = {"label": name, "recovers": name == LOCALIZES, "reason": reason}
        methods[method]["stability"] = _stability(held, top)
        methods[method]["sanity"] = _sanity(held, [check[method] for check in checks if method in check])
        methods[method]["curves"] = _pooled(curves, method)
    return {method: held.mean(0) for method, held in stacks.items()}, {
        "methods": methods,
        "random": _pooled(curves, "random"),
    }


def _explained(fold: HeldOut, sections: dict, spec: dict) -> dict[str, np.ndarray]:
    """GNNExplainer of a few held-out people, where it is asked for and the network has a sparse twin."""
    if not spec["explained"] or not card_of(sections["model"]["name"]).sparse or fold.model.tangent:
        return {}
    from dysconnect.attribute.explainer import explain  # PyTorch Geometric's explainers

    people = fold.numbers[: spec["explained"]]
    return {"explainer": explain(fold.model.networks_, people, seed=spec["seed"])}


def _curves(fold: HeldOut, maps: dict[str, np.ndarray], sections: dict, seed: int) -> dict:
    """Curves of every map, the mean over random orders, and how many pairs of people scored them.

    Not in the tangent space: an entry of a covariance cannot be replaced alone, what is left may be none.
    """
    labels, edges = fold.people.labels, fold.people.values
    curves = {"pairs": int(labels.sum() * (1 - labels).sum())}
    if MEASURES[sections["measure"]].tangent:
        return curves
    one = partial(fold_curves, fold.decide, edges, labels, fold.baseline)
    for method, values in maps.items():
        curves[method] = np.array(one(np.argsort(-np.abs(values), kind="stable")))
    rng = np.random.default_rng([seed, 41])
    orders = [rng.permutation(edges.shape[1]) for _ in range(RANDOM_ORDERS)]
    return curves | {"random": np.mean([one(order) for order in orders], axis=0)}


def _pooled(curves: list[dict], method: str) -> dict | None:
    """Mean over folds by their pairs of people, as deletion and insertion with their areas."""
    weighted = [(fold[method], fold["pairs"]) for fold in curves if method in fold]
    if not weighted:
        return None
    deletion, insertion = np.average([curve for curve, _ in weighted], axis=0, weights=[pairs for _, pairs in weighted])
    areas = {"deletion_area": area(deletion), "insertion_area": area(insertion)}
    return {"deletion": deletion.tolist(), "insertion": insertion.tolist(), **areas}


def _checks(cohort: Cohort, fold: FoldModel, held: HeldOut, maps: dict, sections: dict, seed: int) -> dict:
    """Rank agreement of every map's magnitudes with those of a random and of a mistaught model, by method."""
    new = partial(build, sections["model"], sections["measure"], sections["graph"], sections["training"])
    others = fold_maps(randomised_twin(held, seed)), fold_maps(shuffled_twin(cohort, fold, new, seed))
    return {method: [_agreement(maps[method], other[method]) for other in others] for method in others[0]}


def _agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman correlation of two maps' magnitudes; 0 where one is constant."""
    from scipy.stats import rankdata

    ranks = np.array([rankdata(np.abs(values)) for values in (one, other)])
    ranks -= ranks.mean(1, keepdims=True)
    size = np.linalg.norm(ranks, axis=1).prod()
    return float(ranks[0] @ ranks[1] / size) if size > 0 else 0.0


def _sanity(maps: np.ndarray, checks: list[list[float]]) -> dict | None:
    """Passed where maps agree with those of models that know nothing at most half as well as with those of other folds.

    Beyond what chance lets two unrelated maps of E edges agree, ``1.64 / sqrt(E)``.

    References
    ----------
    Adebayo et al. (2018), Sanity checks for saliency maps, arXiv:1810.03292.
    """
    if not checks:
        return None
    random, shuffled = np.mean(checks, axis=0)
    real = np.mean([_agreement(maps[k], maps[k - 1]) for k in range(1, len(maps))]) if len(maps) > 1 else np.nan
    chance = 1.64 / np.sqrt(maps.shape[1])
    passed = bool(real > 0 and max(random, shuffled) <= real / 2 + chance)
    return {"folds": float(real), "random_weights": float(random), "shuffled_labels": float(shuffled), "passed": passed}


def _stability(maps: np.ndarray, top: int) -> dict | None:
    if len(maps) < 2:
        return None
    selected = strongest(maps, top)
    return {
        "maps": len(maps),
        "top": top,
        "nogueira": list(nogueira(selected)),
        "kuncheva": kuncheva(selected),
        "icc": consistency(maps),
    }


def _inference(cohort: Cohort, splits: pd.DataFrame, sections: dict, spec: dict, shown: bool) -> Iterable[tuple]:
    """Name, columns and settings of every inference that applies; they do not need the model to be right."""
    if MEASURES[cohort.measure].tangent:
        return  # its features are not single edges
    alone = without_copies(cohort)
    edges, tested, _ = complete_edges(alone, spec["max_missing"])
    people, nuisance, alpha = alone.participants, spec["nuisance"], spec["alpha"]
    index = np.flatnonzero(tested)
    promise = card_of(sections["model"]["name"]).promise
    if promise == "weights":
        result = ridge_statistics(edges, people, nuisance, spec["permutations"], spec["seed"], spec["ridge_penalty"])
        settings = {"penalty": spec["ridge_penalty"], "permutations": spec["permutations"]}
        yield "weights", *_columns({"p_weights": result.p_fwer}, index, alpha, settings)
    if spec["screening_splits"]:
        settings = {"splits": spec["screening_splits"], "screened": spec["screened"]}
        settings |= {"permutations": spec["permutations"], "seed": spec["seed"]}
        result = screened_statistics(_screen(alone, sections, tested), edges, people, nuisance, settings)
        columns = {"p_screening": result.p_fwer, "screened": result.share}
        yield "screening", *_columns(columns, index, alpha, settings | {"tested": result.tested})
    if shown and spec["attribution_permutations"] and promise == "attribution":
        special = "pretrained networks" if sections["training"].get("pretrain") else "networks on given graphs"
        if sections["training"].get("pretrain") or sections["graph"].get("connectomes"):
            why = {"reason": f"not made for {special}"}
            yield "attribution", pd.DataFrame(index=index), why
            return
        result = attribution_null(cohort, splits, sections, spec["attribution_permutations"], spec["seed"])
        columns, every = {"p_attribution": result.p_fwer}, np.arange(len(result.p_fwer))
        yield "attribution", *_columns(columns, every, alpha, {"permutations": spec["attribution_permutations"]})


def _columns(columns: dict[str, np.ndarray], index: np.ndarray, alpha: float, settings: dict) -> tuple:
    table = pd.DataFrame(columns, index=index)
    return table, {**settings, "n_fwer": int((table.iloc[:, 0] <= alpha).sum())}


def _screen(cohort: Cohort, sections: dict, tested: np.ndarray):
    """What scores the edges on a half of the people: magnitudes of the weights, or of a network's mean gradient."""

    def scores(rows: np.ndarray, seed: int) -> np.ndarray:
        model = build(sections["model"], sections["measure"], sections["graph"], sections["training"])
        model.fit(cohort, rows, seed=seed)
        held = held_out(cohort, FoldModel(model, rows, rows, 0, 0, 0))  # looked at where it learned: the rest tests
        if not is_graph(sections["model"]["name"]):
            return np.abs(model.edge_weights() * held.spread)[tested]
        from dysconnect.attribute.gradients import mean_gradients  # torch

        return np.abs(mean_gradients(model.networks_, held.numbers)[0, : len(held.spread)] * held.spread)[tested]

    return scores
