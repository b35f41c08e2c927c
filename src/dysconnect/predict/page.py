"""One person's prediction as a page that stands alone."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dysconnect.models.cards import label
from dysconnect.paper.deviation import brain_picture, circuit_rows, deviation_sentence, edge_rows
from dysconnect.paper.html import picture, template
from dysconnect.paper.style import COLOURS, COLUMN, GREY, INK, styled
from dysconnect.paper.svg import to_svg
from dysconnect.paper.tables import Column, Row, Table
from dysconnect.paper.text import NONE, counted, covariate_names, listed, number, p_text, percent
from dysconnect.predict.bundle import Bundle
from dysconnect.predict.calibrate import Calibration

UNITS = {"mean_fd": "mm", "age": "years"}
TERMS = {"mean_fd": "Mean FD", "age": "Age", "sex": "Sex", "site": "Site"}
CONNECTIVITY = {  # kinds of distance, see `Reference.judge`
    "within": "Connectivity, within the cohort's main patterns",
    "beside": "Connectivity, beside them",
    "pattern": "Connectivity, 1 − correlation with the cohort's mean",
    "slope": "Connectivity, slope on the cohort's mean",
    "texture": "Connectivity, what neither mean nor patterns explain",
    "sides": "Left minus right, 1 − correlation with the cohort's",
}
RANGED = {"age": "Age (years)", "repetition_time": "Time between volumes (s)", "seconds": "Length of the scan (s)"}


def render_person(predicted: Mapping, bundle: Bundle) -> str:
    """Make the page of one person, as HTML that asks nothing of the network.

    Parameters
    ----------
    predicted : mapping
        Of `dysconnect.predict.person.predict_person`.
    bundle : Bundle
    """
    about, shown = bundle.about, predicted["probability"] is not None
    deviation = predicted["deviation"]
    return template("person.html", __file__).render(
        title=about["dataset"]["title"],
        experiment=label(about["experiment"]),
        name=predicted["scan"]["file"].split("_")[0].split(".")[0],
        facts=_facts(predicted),
        research_only=predicted["research_only"],
        refused=predicted["refused"],
        warnings=predicted["warnings"],
        shown=shown,
        verdict=_verdict(predicted, about) if shown else [],
        position=_position(predicted, bundle) if shown else None,
        distance=_distance_table(predicted["distance"], about),
        no_norm=deviation.get("why", ""),
        deviation=None if "why" in deviation else _deviation(deviation, bundle),
        model=_model(predicted, about),
    )


def _facts(predicted: Mapping) -> list[tuple[str, str]]:
    """What is known of the person and the scan."""
    facts = [
        (TERMS.get(name, name), _written(name, value))
        for name, value in predicted["person"].items()
        if value is not None
    ]
    scan = predicted["scan"]
    if scan["volumes"]:
        facts.append(("Scan", f"{scan['volumes']:,} volumes, {scan['seconds'] / 60:.1f} minutes"))
    silent = len(scan["silent_regions"])
    what = "Regions without signal" if scan["volumes"] else "Regions without any connection"
    return [*facts, (what, str(silent))] if silent else facts


def _written(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    return f"{number(value, 2 if name == 'mean_fd' else 0 if name == 'age' else 1)} {UNITS.get(name, '')}".strip()


def _verdict(predicted: Mapping, about: Mapping) -> list[tuple[str, str]]:
    probability, floor, people = predicted["probability"], predicted["floor"], about["people"]
    cases, controls = (listed(about["contrast"][side]) for side in ("cases", "controls"))
    share = people["patients"] / people["all"]
    alike = probability["alike"]
    if floor["value"] is not None and not floor["covariates"]:
        beside = "None could be made: the cohort has no covariates."
    elif floor["value"] is None:
        beside = f"Not given: {floor['why']}."
    else:
        beside = f"{_interval(floor)}, from {covariate_names(floor['covariates'])} alone, without a connection."
    return [
        ("Probability", f"{_interval(probability)} of {cases} rather than {controls}, if {percent(share)} of those "
         f"asked were {cases}, as in the cohort; where fewer are, it is lower."),
        ("Interval", probability["meaning"]),
        ("Models", f"{counted(probability['models'], 'model')} of the cross-validation, from "
         f"{number(probability['lowest'])} to {number(probability['highest'])}."),
        ("People alike", f"Of the {alike['people']} people of the cohort with the nearest out-of-fold probability "
         f"{alike['patients']} were {cases}."),
        ("Confound floor", beside),
    ]  # fmt: skip


def _interval(estimate: Mapping) -> str:
    return f"{number(estimate['value'])} [{number(estimate['low'])}, {number(estimate['high'])}]"


def _position(predicted: Mapping, bundle: Bundle):
    caption = (
        "This person among the cohort. Above: out-of-fold probabilities of the cohort's patients and controls, as "
        "calibrated; below: this person (diamond, with interval), each model (line), and the confound floor (cross)."
    )
    return picture("position", to_svg(position_figure(predicted, bundle)), caption)


@styled
def position_figure(predicted: Mapping, bundle: Bundle) -> Figure:
    """Where a person's probability stands among those of patients and controls."""
    curve = Calibration(**bundle.part("calibration"))
    figure = Figure(figsize=(COLUMN, 2.9), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    bins = np.linspace(0, 1, 21)
    for side, row, colour, sign in (("cases", 1, COLOURS[1], 1), ("controls", 0, COLOURS[0], -1)):
        counts = np.histogram(curve.probability[curve.label == row], bins)[0]
        names = listed(bundle.about["contrast"][side])
        above.bar(bins[:-1], sign * counts, width=0.048, align="edge", color=colour, hatch="" if row else "////",
                  edgecolor="white", linewidth=0, label=names)  # fmt: skip
    above.axhline(0, color=INK, linewidth=0.7)
    above.set_yticks([])
    above.spines["left"].set_visible(False)
    above.legend(loc="upper left", ncols=2, bbox_to_anchor=(0, 1.22))
    probability, floor = predicted["probability"], predicted["floor"]
    below.vlines([model["calibrated"] for model in predicted["models"]], 0.8, 1.2, color=GREY, linewidth=0.8)
    below.plot([probability["low"], probability["high"]], [1, 1], color=INK, linewidth=1.4)
    below.plot(probability["value"], 1, "D", color=COLOURS[0], markeredgecolor="white", markersize=8)
    if floor["value"] is not None:
        below.plot([floor["low"], floor["high"]], [0, 0], color=GREY, linewidth=1.0)
        below.plot(floor["value"], 0, "x", color=GREY, markersize=7)
    below.set_yticks(
        [1, 0] if floor["value"] is not None else [1], ["model", "floor"][: 1 + (floor["value"] is not None)]
    )
    below.set(xlim=(0, 1), ylim=(-0.6, 1.6), xlabel="Probability")
    below.tick_params(axis="y", length=0)
    return figure


def _distance_table(distance: Mapping, about: Mapping) -> Table:
    """Every measure of the person beside the cohort's."""
    rows = [_connectivity_row(kind, **judged) for kind, judged in distance["connectivity"].items()]
    motion = distance["motion"]
    if motion["mean_fd"] is not None:
        cells = ["Motion, mean FD (mm)", number(motion["mean_fd"]), _whole(motion.get("percentile"))]
        rows.append(_marked_row([*cells, f"at most {motion['limit']:g}"], motion["mean_fd"] > motion["limit"]))
    for name, title in RANGED.items():
        if name in distance and distance[name]["value"] is not None and distance[name]["range"]:
            low, high = distance[name]["range"]
            span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            rows.append(Row([title, f"{distance[name]['value']:g}", NONE, span]))
    for name in ("site", "sex"):
        level = distance.get(name, {"value": None})
        if level["value"] is not None:
            rows.append(Row([name.capitalize(), level["value"], NONE, "in the cohort" if level["known"] else "nobody"]))
    columns = [Column("Measure", False), Column("This person"), Column("Percentile"), Column("Cohort")]
    caption = (
        f"This person beside the {about['people']['all']:,} people of the cohort; the percentile is the share of them "
        "who are nearer or move less. Connectivity is compared with that of people who were held out of the cohort "
        "when it was described."
    )
    return Table(caption, columns, rows)


def _connectivity_row(kind: str, distance: float, percentile: float, z: float, far: bool, **_) -> Row:
    cells = [CONNECTIVITY[kind], number(distance), f"{percentile:.0f}", f"{number(z, 1)} robust sd"]
    return _marked_row(cells, far)


def _marked_row(cells: Sequence[str], beyond: bool) -> Row:
    return Row(cells, "beyond" if beyond else "", beyond=[1] if beyond else ())


def _whole(value: float | None) -> str:
    return NONE if value is None else f"{value:.0f}"


def _deviation(deviation: Mapping, bundle: Bundle) -> dict:
    edges, alpha = pd.DataFrame(deviation["edges"]), bundle.about["alpha"]
    left_out = f" (not known: {covariate_names(deviation['not_known'])})" if deviation["not_known"] else ""
    given = f"{covariate_names(deviation['covariates'])}{left_out}"
    circuits = pd.DataFrame(deviation["circuits"]).rename(columns={"edges": "n_edges"})
    return {
        "sentence": deviation_sentence(deviation, alpha, given, deviation["tested"]),
        "brain": brain_picture(edges, bundle.nodes),
        "circuits": None if circuits.empty else circuit_rows(circuits, bundle.about["circuits"], alpha),
        "edges": edge_rows(edges, alpha),
    }


def _model(predicted: Mapping, about: Mapping) -> list[tuple[str, str]]:
    auc, people = predicted["model"]["scores"]["auc"], about["people"]
    estimate = NONE if auc["low"] is None else _interval(auc)
    floor = "" if auc["floor"] is None else f"; confound floor {number(auc['floor'])}"
    p = "" if auc["p"] is None else f", {p_text(auc['p'])}"
    return [
        ("Trained on", f"{people['patients']:,} patients and {people['all'] - people['patients']:,} controls"),
        ("AUC in the cohort", f"{estimate}{p}{floor}"),
        ("Atlas", about["atlas"]["title"]),
        ("Citation", about["dataset"]["citation"]),
        ("Made by", f"dysconnect {about['dysconnect']}"),
        ("File", f"SHA-256 {predicted['model']['checksum'][:16]}"),
    ]
