"""Virtual stimulation: which targets a model answers to, as a glass brain, tables and one paragraph."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dysconnect.data.atlas.targets import target_titles
from dysconnect.models.cards import label
from dysconnect.paper.style import GREY, LIGHT, LOWER, PAGE, note_figure, styled
from dysconnect.paper.tables import Column, Row, Table, page_link, region_cell, significant
from dysconnect.paper.text import NONE, counted, listed, number, p_text, p_value
from dysconnect.report.budget import model_share
from dysconnect.report.prediction.scores import beats_chance, candidates
from dysconnect.report.results import GROUP, Results, Study
from dysconnect.report.section import Drawing, Section

CAUTION = (
    "Hypotheses for research, not for the selection of a treatment: the ranking says what a fitted model answers to, "
    "not what stimulation would do."
)
CAPTION = (
    "Regions whose connections, made normal, move held-out patients furthest towards the controls. The larger, the "
    "further beyond permuted labels; dark: survives the family-wise error rate, blue-grey: p at the same level "
    "uncorrected, light: neither. Seen from the right, from behind and from above."
)
DRAWN = 40
LISTED = 5
LATER = "average_controllability"
PALE = "#92b4d4"  # between the blue of what survives and the grey of what does not
SMALL, LARGE = 4, 90  # points squared
WITHHELD = "No ranking is shown"


def section(study: Study) -> Section | None:
    """What a model answers to; no tables where the ranking is withheld, None where nobody was to be asked."""
    results, experiments, targets = study.results, study.experiments, study.results.targets
    asked, alpha = study.cohort["stimulate"]["experiment"], study.cohort["stimulate"]["alpha"]
    figures = {}
    if targets is not None:
        figures = {"stimulation": Drawing(lambda: stimulation_figure(targets, alpha), CAPTION, wide=True)}
    if not results.stimulation:
        absent = asked is not None and asked not in experiments
        return _shown({}, not_asked(asked, experiments)) if absent else None
    methods = [("Virtual stimulation", methods_text(results, study.cohort))]
    if targets is None or targets.empty:
        return _shown(figures, f"{WITHHELD}; {results.stimulation}.", CAUTION, methods=methods)
    ranking = results.stimulated
    return _shown(
        figures,
        f"{paragraph(targets, ranking, alpha)} {_model_words(study)}".strip(),
        CAUTION,
        tables={
            "nodes": node_table(targets, alpha),
            "sets": set_table(targets, ranking, alpha),
            "connections": connection_table(results.edits, targets),
            "patients": patient_rows(results.patient_targets, results.edits) if study.people else None,
        },
        more={"notes": notes(targets, study.cohort["stimulate"]), "aside": aside(results.stimulation, ranking)},
        methods=methods,
    )


def _model_words(study: Study) -> str:
    """Whether the model behind the targets tells patients from controls; empty where it was not scored."""
    asked, ranking = study.cohort["stimulate"]["experiment"], study.results.stimulated
    score = candidates(study).get(asked)
    if score is None or ranking.get("p") is None:
        return ""
    shown = "beats chance" if beats_chance(score, model_share(study)) else "is not shown to beat chance"
    return (
        f"The ranking is shown for its family-wise error rate over all kinds of targets ({p_text(ranking['p'])}); as a "
        f"classifier the model {shown} (AUC {score}, {p_text(score.p)})."
    )


def stimulation_in_short(study: Study) -> str:
    """Which targets come first, or why none is shown; empty where nobody asked."""
    results, targets = study.results, study.results.targets
    if not results.stimulation:
        return ""
    if targets is None or targets.empty:
        return f"No target for virtual stimulation is shown ({results.stimulation.removeprefix('withheld: ')})."
    alpha = study.cohort["stimulate"]["alpha"]
    survivors = targets[targets["p_fwer"] <= alpha].drop_duplicates("kind")
    first = (survivors if len(survivors) else targets).iloc[0]
    tested = f"family-wise {p_text(first['p_fwer'])}" if np.isfinite(first["p_fwer"]) else "not tested itself"
    return (
        f"Of the targets for virtual stimulation {_inside(first['title'])} moves patients furthest towards the "
        f"controls ({tested}): a hypothesis, no treatment."
    )


def _shown(figures: Mapping[str, Drawing], words: str, caution: str = "", **parts) -> Section:
    """The section of one paragraph, and what stands below it."""
    more = {"caution": caution, **parts.pop("more", {})}
    return Section("stimulation", "Virtual stimulation", sentences=[words], figures=figures, more=more, **parts)


def not_asked(asked: str, experiments: Iterable[str]) -> str:
    """Say that no targets were ranked, since the experiment that is asked for them was not chosen."""
    return (
        f"No targets were asked for: stimulate.experiment is {asked}, which is not among the experiments of this run. "
        f"Add it (--config experiment={','.join([*experiments, asked])}), or name one of them."
    )


def paragraph(targets: pd.DataFrame, ranking: Mapping, alpha: float) -> str:
    """The result in words."""
    node = targets[targets["kind"] == "node"].iloc[0]
    text = (
        f"When all connections of {node['target']} become those expected of a control of the same covariates, patients "
        f"whom the model did not see move furthest towards the controls: by {significant(node['shift'])} logits, where "
        f"held-out controls move by {significant(node['controls'])} ({_tested(node)}); {node['consistency']:.0%} of "
        f"{counted(ranking['patients'], 'patient')} move further than the mean control. Among nodes of like strength "
        f"its effect stands at z = {number(node['matched_z'])}. It is among the ten strongest in "
        f"{node['top10']:.0%} of the {ranking['folds']} folds; two folds rank the nodes alike with a mean "
        f"rank correlation of {number(ranking['agreement'])}."
    )
    regions = targets[targets["kind"] == "region"]
    if len(regions):
        first = regions.iloc[0]
        text += (
            f" Of the target regions {_inside(first['title'])} ({first['access']}) comes first ({_tested(first)}, "
            f"matched z = {number(first['matched_z'])})."
        )
    return text + " " + _survivors(targets, alpha)


def _tested(row: pd.Series) -> str:
    if not np.isfinite(row["p"]):
        return "not tested against permuted labels"
    return f"{p_text(row['p'])}, family-wise {p_text(row['p_fwer'])}"


def _inside(title: str) -> str:
    """A title in a sentence."""
    return title if title[:2].isupper() or not title.split()[0].istitle() else title[0].lower() + title[1:]


def _survivors(targets: pd.DataFrame, alpha: float) -> str:
    survivors = targets.loc[targets["p_fwer"] <= alpha, "title"].tolist()
    if not survivors:
        return f"No target survives a family-wise error rate of {alpha:g}; the order is for orientation only."
    named = listed(survivors[:5]) + (f" and {len(survivors) - 5} more" if len(survivors) > 5 else "")
    return f"What survives a family-wise error rate of {alpha:g} over all targets of its kind: {named}."


def node_table(targets: pd.DataFrame, alpha: float, n: int = 15) -> Table:
    """The strongest regions."""
    regions = targets[targets["kind"] == "node"]
    places = regions.set_index("target")[["x", "y", "z"]]
    control = LATER in regions
    rows = [
        Row([
            str(row["rank"]), region_cell(row["target"], places), row["access"] or NONE, *_numbers(row),
            *([number(row[name]) for name in regions.columns if name.endswith("controllability")] if control else []),
        ], "best" if row["p_fwer"] <= alpha else "")
        for row in regions.fillna({"access": ""}).head(n).to_dict("records")
    ]  # fmt: skip
    columns = [Column("#"), Column("Region", False), Column("Reached by", False), *_columns()]
    columns += [Column("Average control"), Column("Modal control")] if control else []
    return Table(f"The {len(rows)} strongest of {len(regions):,} regions, one at a time.", columns, rows)


def set_table(targets: pd.DataFrame, ranking: Mapping, alpha: float) -> Table:
    """Target regions of deep brain and magnetic stimulation, then circuits; what the atlas lacks is named."""
    sets = targets[targets["kind"] != "node"].fillna({"access": ""})
    rows = [
        Row([
            str(row["rank"]), (row["title"], counted(row["n_nodes"], "region")),
            row["access"] or "circuit", *_numbers(row),
        ], "best" if row["p_fwer"] <= alpha else "")
        for row in sets.to_dict("records")
    ]  # fmt: skip
    columns = [Column("#"), Column("Set", False), Column("Reached by", False), *_columns()]
    absent = [target_titles()[name] for name in ranking.get("absent", [])]
    lacking = f" Not in this atlas: {listed(absent)}." if absent else ""
    caption = f"Target regions (all connections that touch them) and circuits, ranked apart.{lacking}"
    return Table(caption, columns, rows)


def _numbers(row: Mapping) -> list[str]:
    return [
        significant(row["shift"]), significant(row["controls"]), number(row["score"]), p_value(row["p"]),
        p_value(row["p_fwer"]), number(row["matched_z"]), f"{row['consistency']:.0%}", number(row["cost"], 1),
        f"{row['top10']:.0%}" if np.isfinite(row["top10"]) else NONE,
    ]  # fmt: skip


def _columns() -> list[Column]:
    titles = (
        "Shift",
        "In\u00a0controls",
        "Score",
        "p",
        "p\u00a0FWER",
        "Matched\u00a0z",
        "Follow",
        "Cost",
        "Top\u00a010",
    )
    return [Column(title) for title in titles]


def connection_table(edits: pd.DataFrame | None, targets: pd.DataFrame) -> Table | None:
    """The connections that carry most of the first targets' effect; None where none are written out."""
    if edits is None or edits.empty:
        return None
    first = targets.drop_duplicates("kind")[["kind", "target", "title"]].itertuples(index=False)
    table = connections(edits[edits["participant_id"] == GROUP], list(first), "mean ± standard deviation over patients")
    return table if table.rows else None


def connections(edits: pd.DataFrame, first: Sequence[tuple[str, str, str]], of: str) -> Table:
    """The connections behind targets (`kind`, `target`, title), from the rows of `edits.tsv` of the group or a person.

    `of` says of whom the change is.
    """
    rows = []
    for kind, target, title in first:
        for row in edits[(edits["kind"] == kind) & (edits["target"] == target)].head(LISTED).to_dict("records"):
            pair = f"{row['region_a']} – {row['region_b']}"
            spread = f"± {number(row['change_spread'])}" if np.isfinite(row["change_spread"]) else ""
            numbers = (number(row["change_sd"]), f"{row['share']:.0%}".replace("-", "−"), number(row["cheapest"]))
            rows.append(Row([(title, kind), pair, (number(row["change"]), spread), *numbers]))
    columns = [
        Column("First target", False), Column("Connection", False), Column("Change"), Column("In SD"),
        Column("Share"), Column("Cheapest edit"),
    ]  # fmt: skip
    caption = (
        "Which connections carry the effect of the first target of each kind: their change when they "
        f"become normal ({of}, held out; positive: weaker than expected), in standard deviations of the "
        "controls, their share of the target's effect, and their change in the cheapest edit. All that are written "
        "out are in stimulate/edits.tsv."
    )
    return Table(caption, columns, rows)


def notes(targets: pd.DataFrame, spec: Mapping) -> list[tuple[str, str]]:
    """What the columns mean."""
    goal = "the median control" if spec["goal"] == "controls" else "the model's boundary"
    explained = [
        ("Shift", "mean change of the logit of held-out patients when the connections become those expected of a "
                  "control of the same covariates; negative is towards the controls"),
        ("In controls", "the same in held-out controls. It is not zero: the controls that fit the model also fit the "
                        "expectation, so that even noise seems to move towards health"),
        ("Score, p", "the shift in standard deviations of the shift under labels permuted inside sites, and its "
                     "one-sided p: is there anything of the disease in it? p FWER: corrected for all of its kind"),
        ("Matched z", "the shift among those of nodes, or of sets, of like strength and as many connections: is this "
                      "target special? It is no test of the groups"),
        ("Follow", "share of the patients that move further than the mean control"),
        ("Cost", f"Mahalanobis distance, in the variation of the controls, of the cheapest edit of the target that "
                 f"brings a patient to {goal}; mean of those who are not there yet"),
        ("Top 10", "share of the folds in which it is among the ten strongest, where there are more"),
    ]  # fmt: skip
    if LATER in targets:
        explained.append((
            "Control", "average and modal controllability of the controls' mean network beyond what strength explains "
                       "(network control theory). It knows nothing of the patients, is made for structural "
                       "connectomes, and supposes linear dynamics",
        ))  # fmt: skip
    return explained


def patient_rows(patients: pd.DataFrame, edits: pd.DataFrame | None = None) -> Table:
    """The first node and the first target region of every patient, with the connection that carries most."""
    regions = target_titles()
    first = patients[patients["rank"] == 1].set_index(["participant_id", "kind"])
    carried = {} if edits is None else _carriers(edits)
    rows = []
    for name in patients["participant_id"].unique():
        cells = [name]
        for kind in ("node", "region"):
            if (name, kind) not in first.index:
                cells += [NONE] * 3
                continue
            row = first.loc[(name, kind)]
            title = regions.get(row["target"], row["target"])
            cells += [(title, carried.get((name, kind), "")), number(row["score"]), number(row["cost"], 1)]
        rows.append(Row(cells, link=page_link(name)))
    columns = [
        Column("Patient", False), Column("First region", False), Column("Score"), Column("Cost"),
        Column("First target region", False), Column("Score"), Column("Cost"),
    ]  # fmt: skip
    caption = (
        f"The first target of {counted(len(rows), 'patient')}, by how far it moves the patient relative to the spread "
        "of the held-out controls (score), and the connection with the largest share in it. Cost 0: the model already "
        "places the patient at the goal. Single rankings are far less certain than the group's, and no basis for "
        "treatment. All targets of everybody are in stimulate/patients.tsv."
    )
    return Table(caption, columns, rows)


def _carriers(edits: pd.DataFrame) -> dict[tuple[str, str], str]:
    """The connection with the largest share in the first target, by participant and kind."""
    lead = edits.drop_duplicates(["participant_id", "kind"])
    return {
        (row.participant_id, row.kind): f"{row.region_a} – {row.region_b}, {row.share:.0%}".replace("-", "−")
        for row in lead.itertuples()
    }


def aside(verdict: str, ranking: Mapping) -> str:
    """The model, how it was tested, and what is missing."""
    if ranking["permutations"]:
        inside, each = ("sites and folds", "networks") if ranking.get("network") else ("sites", "models")
        tested = f"{ranking['permutations']:,} permutations of the labels inside {inside}, each with new {each}"
        tested += " and expectations"
    elif ranking.get("network"):
        tested = (
            "its networks were not trained again for permuted labels (stimulate.network_permutations), so that only "
            "the matched z stands, which describes and does not test"
        )
    else:
        tested = "this kind of model is not fitted again for permuted labels, so that only the matched z stands"
    text = f"Model: {verdict}; {tested}."
    if not ranking.get("controllability"):
        text += ' Network control theory is not shown: it needs nctpy (pip install "dysconnect[stimulate]").'
    return text


def methods_text(results: Results, cohort: Mapping) -> str:
    """What was done, for the methods section of a paper."""
    spec, ranking = cohort["stimulate"], results.stimulated
    goal = "the median logit of the held-out controls" if spec["goal"] == "controls" else "a logit of 0"
    text = (
        "Targets were all regions, the target regions of deep brain and transcranial magnetic stimulation, and the "
        f"circuits of dystonia. In every fold of {label(spec['experiment'])} the connections of a target were set to "
        "those expected of a control of the same covariates (linear regression in the training controls), and the "
        "change of the calibrated logit was read in the people whom the model had not seen (virtual normalisation)."
    )
    text += (
        " A ranking is shown only where its strongest target of any kind has a family-wise p of "
        f"{spec['alpha']:g} or less, or, of models whose targets were not tested, where the model beats its null."
    )
    if not ranking.get("folds"):
        return text
    if ranking["permutations"]:
        text += " " + _tests_text(ranking)
    text += (
        " Specificity was described by nodes of like strength, and by random sets of nodes of like strength. The cost "
        f"is the Mahalanobis distance of the cheapest edit that brings a patient to {goal}, with the controls' "
        "covariance shrunk to its diagonal (Ledoit and Wolf 2004)."
    )
    if ranking.get("controllability"):
        text += (
            " Controllability of the controls' mean network (Gu et al. 2015) is shown beyond what strength explains."
        )
    return text


def _tests_text(ranking: Mapping) -> str:
    inside = "sites and folds" if ranking.get("network") else "sites"
    text = (
        f"It was tested against {ranking['permutations']:,} permutations of the labels inside {inside}, for each of "
        "which models and expectations were fitted again, in units of the spread of the model's decision; the "
        "family-wise error rate over the targets of a kind is that of the most negative standardised shift "
        "(Westfall and Young 1993)."
    )
    if ranking.get("network"):
        text += (
            " There the shift of a target was the sum of its connections' integrated gradients (Sundararajan et al. "
            "2017) on the way to the normal connectome, in one network a fold of the first repeat."
        )
    return text


@styled
def stimulation_figure(targets: pd.DataFrame, alpha: float) -> Figure:
    """Glass brain of the strongest nodes: size is the score, darkness whether it survives.

    Parameters
    ----------
    targets : DataFrame
        `kind`, `rank`, `score`, `matched_z`, `p`, `p_fwer`, `x`, `y`, `z` (MNI mm).
    alpha : float
    """
    from nilearn.plotting import plot_connectome  # slow to import, and only needed here

    if targets.empty:
        return note_figure("No targets are ranked: none moves patients beyond permuted labels.")
    nodes = targets[targets["kind"] == "node"].head(DRAWN)
    strength = np.clip(-nodes["score"].fillna(nodes["matched_z"]).to_numpy(float), 0, None)
    sizes = SMALL + (LARGE - SMALL) * strength / max(strength.max(), 1e-12)
    colours = np.select([nodes["p_fwer"] <= alpha, nodes["p"] <= alpha], [LOWER, PALE], LIGHT).tolist()
    figure = Figure(figsize=(PAGE, 2.75))
    panel = figure.add_axes((0, 0.08, 1, 0.84))
    look = {"node_size": sizes, "node_color": colours, "colorbar": False, "annotate": False}
    look["node_kwargs"] = {"edgecolors": GREY, "linewidths": 0.5, "alpha": 0.9}
    xyz = nodes[["x", "y", "z"]].to_numpy(float)
    display = plot_connectome(
        np.zeros((len(nodes), len(nodes))), xyz, display_mode="ortho", figure=figure, axes=panel, **look
    )
    display.annotate(size=8, positions=False)
    words = (("survives", LOWER), (f"p ≤ {alpha:g}, uncorrected", PALE), ("neither", LIGHT))
    for place, (title, colour) in zip((0.2, 0.42, 0.72), words):
        dot = Line2D([place - 0.02], [0.04], marker="o", color="none", markerfacecolor=colour, markeredgecolor=GREY)
        figure.add_artist(dot)
        figure.text(place, 0.04, title, va="center")
    figure.text(0.01, 0.96, f"The {len(nodes)} regions that move patients furthest, one at a time", va="center")
    return figure
