"""One person's prediction as a page that stands alone."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dysconnect.paper.deviation import brain_picture, circuit_rows, deviation_sentence, edge_rows
from dysconnect.paper.html import picture, template
from dysconnect.paper.style import COLOURS, COLUMN, GREY, INK, styled
from dysconnect.paper.svg import to_svg
from dysconnect.paper.tables import Column, Row, Table
from dysconnect.paper.text import NONE, counted, covariate_names, label, listed, number, p_text, percent
from dysconnect.predict.bundle import Bundle
from dysconnect.predict.calibrate import Calibration

UNITS = {"mean_fd": "mm", "age": "years"}
TERMS = {"mean_fd": "Mean FD", "age": "Age", "sex": "Sex", "site": "Site"}


def render_person(found: Mapping, bundle: Bundle) -> str:
    """Make the page of one person, as HTML that asks nothing of the network.

    Parameters
    ----------
    found : mapping
        Of `dysconnect.predict.person.predict_person`.
    bundle : Bundle
    """
    about, shown = bundle.about, found["probability"] is not None
    deviation = found["deviation"]
    return template("person.html", __file__).render(
        title=about["dataset"]["title"],
        experiment=label(about["experiment"]),
        name=found["scan"]["file"].split("_")[0].split(".")[0],
        facts=_facts(found),
        research_only=found["research_only"],
        refused=found["refused"],
        warnings=found["warnings"],
        shown=shown,
        verdict=_verdict(found, about) if shown else [],
        position=_position(found, bundle) if shown else None,
        distance=_distance_table(found["distance"], about),
        no_norm=deviation.get("why", ""),
        deviation=None if "why" in deviation else _deviation(deviation, bundle),
        model=_model(found, about),
    )


def _facts(found: Mapping) -> list[tuple[str, str]]:
    """What is known of the person and the scan."""
    told = [
        (TERMS.get(name, name), _written(name, value)) for name, value in found["person"].items() if value is not None
    ]
    scan = found["scan"]
    told.append(("Scan", f"{scan['volumes']:,} volumes, {scan['seconds'] / 60:.1f} minutes"))
    silent = len(scan["silent_regions"])
    return [*told, ("Regions without signal", str(silent))] if silent else told


def _written(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    return f"{number(value, 2 if name == 'mean_fd' else 0 if name == 'age' else 1)} {UNITS.get(name, '')}".strip()


def _verdict(found: Mapping, about: Mapping) -> list[tuple[str, str]]:
    own, floor, people = found["probability"], found["floor"], about["people"]
    cases, controls = (listed(about["contrast"][side]) for side in ("cases", "controls"))
    share = people["patients"] / people["all"]
    alike = own["alike"]
    if floor["value"] is not None and not floor["covariates"]:
        beside = "None could be made: the cohort has no covariates."
    elif floor["value"] is None:
        beside = f"Not given: {floor['why']}."
    else:
        beside = f"{_interval(floor)}, from {covariate_names(floor['covariates'])} alone, without a connection."
    return [
        ("Probability", f"{_interval(own)} of {cases} rather than {controls}, if {percent(share)} of those asked were "
         f"{cases}, as in the cohort; where fewer are, it is lower."),
        ("Interval", own["meaning"]),
        ("Models", f"{counted(own['models'], 'model')} of the cross-validation, from {number(own['lowest'])} to "
         f"{number(own['highest'])}."),
        ("People alike", f"Of the {alike['people']} people of the cohort with the nearest out-of-fold probability "
         f"{alike['patients']} were {cases}."),
        ("Confound floor", beside),
    ]  # fmt: skip


def _interval(own: Mapping) -> str:
    return f"{number(own['value'])} [{number(own['low'])}, {number(own['high'])}]"


def _position(found: Mapping, bundle: Bundle):
    caption = (
        "This person among the cohort. Above: out-of-fold probabilities of the cohort's patients and controls, as "
        "calibrated; below: this person (diamond, with interval), each model (line), and the confound floor (cross)."
    )
    return picture("position", to_svg(position_figure(found, bundle)), caption)


@styled
def position_figure(found: Mapping, bundle: Bundle) -> Figure:
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
    own, floor = found["probability"], found["floor"]
    below.vlines([model["calibrated"] for model in found["models"]], 0.8, 1.2, color=GREY, linewidth=0.8)
    below.plot([own["low"], own["high"]], [1, 1], color=INK, linewidth=1.4)
    below.plot(own["value"], 1, "D", color=COLOURS[0], markeredgecolor="white", markersize=8)
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
    rows, n = [], about["people"]["all"]
    words = {
        "within": "Connectivity, within the cohort's main patterns",
        "beside": "Connectivity, beside them",
        "pattern": "Connectivity, 1 − correlation with the cohort's mean",
        "slope": "Connectivity, slope on the cohort's mean",
        "texture": "Connectivity, what neither mean nor patterns explain",
        "sides": "Left minus right, 1 − correlation with the cohort's",
    }
    for kind, own in distance["connectivity"].items():
        cells = [words[kind], number(own["distance"]), f"{own['percentile']:.0f}", f"{number(own['z'], 1)} robust sd"]
        rows.append(Row(cells, "beyond" if own["far"] else "", beyond=[1] if own["far"] else ()))
    motion = distance["motion"]
    if motion["mean_fd"] is not None:
        beyond = motion["mean_fd"] > motion["limit"]
        cells = ["Motion, mean FD (mm)", number(motion["mean_fd"]), _whole(motion.get("percentile"))]
        rows.append(
            Row([*cells, f"at most {motion['limit']:g}"], "beyond" if beyond else "", beyond=[1] if beyond else ())
        )
    for name, title in (
        ("age", "Age (years)"),
        ("repetition_time", "Time between volumes (s)"),
        ("seconds", "Length of the scan (s)"),
    ):
        if name in distance and distance[name]["value"] is not None and distance[name]["range"]:
            low, high = distance[name]["range"]
            span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            rows.append(Row([title, f"{distance[name]['value']:g}", NONE, span]))
    for name in ("site", "sex"):
        own = distance.get(name, {"value": None})
        if own["value"] is not None:
            rows.append(Row([name.capitalize(), own["value"], NONE, "in the cohort" if own["known"] else "nobody"]))
    columns = [Column("Measure", False), Column("This person"), Column("Percentile"), Column("Cohort")]
    caption = (
        f"This person beside the {n:,} people of the cohort; the percentile is the share of them who are nearer or "
        "move less. Connectivity is compared with that of people who were held out of the cohort when it was described."
    )
    return Table(caption, columns, rows)


def _whole(value: float | None) -> str:
    return NONE if value is None else f"{value:.0f}"


def _deviation(found: Mapping, bundle: Bundle) -> dict:
    edges, alpha = pd.DataFrame(found["edges"]), bundle.about["alpha"]
    left_out = f" (not known: {covariate_names(found['not_known'])})" if found["not_known"] else ""
    given = f"{covariate_names(found['covariates'])}{left_out}"
    circuits = pd.DataFrame(found["circuits"]).rename(columns={"edges": "n_edges"})
    return {
        "sentence": deviation_sentence(found, alpha, given, found["tested"]),
        "brain": brain_picture(edges, bundle.nodes),
        "circuits": None if circuits.empty else circuit_rows(circuits, bundle.about["circuits"], alpha),
        "edges": edge_rows(edges, alpha),
    }


def _model(found: Mapping, about: Mapping) -> list[tuple[str, str]]:
    auc, people = found["model"]["scores"]["auc"], about["people"]
    told = f"{number(auc['value'])} [{number(auc['low'])}, {number(auc['high'])}]" if auc["low"] is not None else NONE
    floor = "" if auc["floor"] is None else f"; confound floor {number(auc['floor'])}"
    p = "" if auc["p"] is None else f", {p_text(auc['p'])}"
    return [
        ("Trained on", f"{people['patients']:,} patients and {people['all'] - people['patients']:,} controls"),
        ("AUC in the cohort", f"{told}{p}{floor}"),
        ("Atlas", about["atlas"]["title"]),
        ("Citation", about["dataset"]["citation"]),
        ("Made by", f"dysconnect {about['dysconnect']}"),
        ("File", f"SHA-256 {found['model']['checksum'][:16]}"),
    ]
