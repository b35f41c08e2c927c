"""Maps of models: what they make of single connections, how stable, checked and sure that is, and what it is worth."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dysconnect.models.cards import label
from dysconnect.paper.style import COLOURS, GREY, INK, LINES, MARKERS, PAGE, note_figure, styled
from dysconnect.paper.tables import Column, Row, Table
from dysconnect.paper.text import NONE, listed, number, worded
from dysconnect.report.results import Study
from dysconnect.report.section import Drawing, Section

Maps = Mapping[str, Mapping]  # what is said of every experiment's maps

TITLES = {
    "weights": "weights",
    "haufe": "pattern (Haufe)",
    "integrated_gradients": "integrated gradients",
    "gradient": "gradient at held-out people",
    "mask": "shared mask",
    "explainer": "GNNExplainer",
}
TESTS = {  # inference: where it stands in the table
    "weights": "ridge weights, max-T",
    "screening": "screened in halves, max-T",
    "attribution": "gradient, permuted labels",
}


def section(study: Study) -> Section | None:
    """A row a map, curves of those that are shown, and how they were taken; None without any."""
    maps = study.results.maps
    if not maps:
        return None
    return Section(
        "maps",
        figures={"maps": Drawing(lambda: curves_figure(maps), CAPTION, wide=True)},
        tables={"maps": map_table(maps, study.alpha)},
        more={"curves": any(model["random"] for model in maps.values())},
        methods=[("Maps of models", paragraph(maps, study.cohort["localize"]))],
    )


def map_table(maps: Maps, alpha: float) -> Table:
    """A row a map, with what it may be called and why; then the tests that were made."""
    rows = []
    for name, model in maps.items():
        rows += [_map_row(name, method, result, model["random"]) for method, result in model["methods"].items()]
        if not model["shown"]:
            rows.append(Row([label(name), NONE, model["verdict"], *[NONE] * 6], "aside"))
        tests = [(title, model[test]) for test, title in TESTS.items() if "n_fwer" in model.get(test, {})]
        rows += [
            Row(
                [label(name), title, _settings(result), *[NONE] * 5, f"{result['n_fwer']:,}"],
                "best" if result["n_fwer"] else "",
            )
            for title, result in tests
        ]
    columns = [
        Column("Model", False), Column("Map or test", False), Column("Verdict", False), Column("Stability"),
        Column("ICC"), Column("Deletion"), Column("Insertion"), Column("Sanity", False), Column("Connections, FWER"),
    ]  # fmt: skip
    caption = (
        "Maps of what models make of connections, from people they never saw; none is shown of a model that does not "
        "beat its permutation null. Verdict: whether the method recovered planted connections as well as |t|, and how "
        "far. Stability: agreement of the strongest connections over folds (Nogueira; 0: chance, 1: the same; folds "
        "share people, so the interval is too narrow). Deletion, insertion: what removing, or keeping, the strongest "
        "connections first takes from, or gives to, the AUC, beyond random connections. Sanity: whether models of "
        "random weights and of shuffled labels have other maps. The tests control the family-wise error rate at "
        f"{alpha:g}; those by halves do for any model, be it right or wrong."
    )
    return Table(caption, columns, rows)


def _map_row(name: str, method: str, result: Mapping, random: Mapping | None) -> Row:
    stability, sanity, curves = result["stability"], result["sanity"], result["curves"]
    cells = [label(name), worded(TITLES, method), (result["label"], result["reason"])]
    cells += [_interval(stability["nogueira"]), number(stability["icc"])] if stability else [NONE, NONE]
    cells += [number(gain) for gain in gains(curves, random)]
    cells += [NONE if sanity is None else "passed" if sanity["passed"] else "failed", NONE]
    return Row(cells, "best" if result["recovers"] and sanity and sanity["passed"] else "")


def gains(curves: Mapping | None, random: Mapping | None) -> tuple[float, float]:
    """How much deeper deletion cuts, and how much sooner insertion restores, than random connections do; AUC."""
    if curves is None or random is None:
        return np.nan, np.nan
    return (
        random["deletion_area"] - curves["deletion_area"],
        curves["insertion_area"] - random["insertion_area"],
    )


def _interval(numbers: list[float]) -> str:
    value, low, high = numbers
    return f"{number(value)} [{number(low)}, {number(high)}]"


def _settings(test: Mapping) -> str:
    parts = [f"{test['splits']} splits, {test['screened']} connections each"] if "splits" in test else []
    return ", ".join([*parts, f"{test['permutations']:,} permutations"])


@styled
def curves_figure(maps: Maps) -> Figure:
    """Deletion and insertion of every model that is shown: AUC of held-out people, random connections in grey.

    Parameters
    ----------
    maps : mapping of str to mapping
        By experiment: `shares`, `random`, and `methods` with `curves`.
    """
    drawn = {name: model for name, model in maps.items() if model["random"]}
    if not drawn:
        return note_figure("No curves: no model with single connections beats its permutation null.")
    figure = Figure(figsize=(PAGE, 0.5 + 2.3 * len(drawn)), layout="constrained")
    panels = figure.subplots(len(drawn), 2, squeeze=False, sharex=True, sharey=True)
    for row, (name, model) in zip(panels, drawn.items()):
        for axes, kind in zip(row, ("deletion", "insertion")):
            _panel(axes, model, kind)
            axes.set_title(f"{label(name)}: {kind}", loc="left")
        row[0].set_ylabel("AUC, held out")
        row[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=2.6)
    for axes, what in zip(panels[-1], ("replaced by the control mean", "kept, all others replaced")):
        axes.set_xlabel(f"Connections {what} (%)")
    return figure


def _panel(axes: Axes, model: Mapping, kind: str) -> None:
    places = np.arange(len(model["shares"]))
    axes.axhline(0.5, color=INK, linestyle=(0, (1, 2)), linewidth=0.9, zorder=0)
    axes.plot(
        places, model["random"][kind], color=GREY, linestyle=(0, (2, 1)), marker="x", markersize=4, label="random"
    )
    for k, (method, result) in enumerate(model["methods"].items()):
        look = {"color": COLOURS[k % 7], "linestyle": LINES[k % 7], "marker": MARKERS[k % 7], "markersize": 3.5}
        axes.plot(places, result["curves"][kind], label=worded(TITLES, method), **look)
    axes.set_xticks(places, [f"{100 * share:g}" for share in model["shares"]])


CAPTION = (
    "What the strongest connections of a map are worth to its model. Left: they are replaced by the mean of the "
    "training controls, strongest first; a map of what the model uses falls faster than random connections (grey). "
    "Right: only they are kept; it rises sooner. AUC of held-out people inside folds; dotted: chance. Each fold is "
    "ordered by its own map, to which the labels of these people were unknown."
)


def paragraph(maps: Maps, spec: Mapping) -> str:
    """How maps were taken, for the methods."""
    words = (
        "Maps were taken on held-out people only, averaged over folds, repeats and seeds: weights of linear models in "
        "units of a connection's spread, patterns of the decision (Haufe et al. 2014), and of networks integrated "
        "gradients from the mean of the training controls (Sundararajan et al. 2017) and the mean gradient. Of models "
        "in the tangent space the gradient by the tangent vector was taken back, through the derivative of the matrix "
        "logarithm, to the correlation of each pair, all others held. Maps are shown of models that beat their "
        "permutation null only. Stability follows Nogueira et al. 2018; sanity checks follow Adebayo et al. 2018."
    )
    if any("weights" in model for model in maps.values()):
        words += " Weights of ridge regression were tested by max-T over permutations, the nuisance projected out."
    if any("screening" in model for model in maps.values()):
        words += (
            f" Connections of {listed(label(name) for name, model in maps.items() if 'screening' in model)} were also "
            f"screened on one half of the people ({spec['screened']} connections) and tested by max-T on the other, in "
            f"{spec['screening_splits']} random splits combined by the adaptive quantile of Meinshausen et al. 2009, "
            "which controls the family-wise error rate whatever the model and the dependence of the splits."
        )
    return words
