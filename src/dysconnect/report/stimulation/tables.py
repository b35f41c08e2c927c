"""Tables of virtual stimulation: targets, the connections that carry them, and every patient's first ones."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dysconnect.data.atlas.targets import target_titles
from dysconnect.paper.tables import MOST_LISTED, Column, Row, Table, first_of, page_link, region_cell, significant
from dysconnect.paper.text import NONE, counted, listed, number, p_value
from dysconnect.report.direction import CIRCUITS_GO, arrow
from dysconnect.report.results import GROUP

LATER = "average_controllability"
LISTED = 5


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


def set_table(targets: pd.DataFrame, ranking: Mapping, alpha: float, directed: bool = False) -> Table:
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
    touch = "to them and from them" if directed else "that touch them"
    way = f" {CIRCUITS_GO}" if directed else ""
    caption = f"Target regions (all connections {touch}) and circuits, ranked apart.{way}{lacking}"
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


def connection_table(
    edits: pd.DataFrame | None, targets: pd.DataFrame, unit: str, directed: bool = False
) -> Table | None:
    """The connections that carry most of the first targets' effect; None where none are written out."""
    if edits is None or edits.empty:
        return None
    first = targets.drop_duplicates("kind")[["kind", "target", "title"]].itertuples(index=False)
    of = "mean ± standard deviation over patients"
    table = connections(edits[edits["participant_id"] == GROUP], list(first), of, unit, directed)
    return table if table.rows else None


def connections(
    edits: pd.DataFrame, first: Sequence[tuple[str, str, str]], of: str, unit: str = "", directed: bool = False
) -> Table:
    """The connections behind targets (`kind`, `target`, title), from the rows of `edits.tsv` of the group or a person.

    `of` says of whom the change is, `unit` in what it is measured.
    """
    rows, listed = [], {}
    for row in edits.groupby(["kind", "target"]).head(LISTED).to_dict("records"):
        listed.setdefault((row["kind"], row["target"]), []).append(row)
    for kind, target, title in first:
        for row in listed.get((kind, target), []):
            pair = f"{row['region_a']} {arrow(directed)} {row['region_b']}"
            spread = f"± {number(row['change_spread'])}" if np.isfinite(row["change_spread"]) else ""
            numbers = (number(row["change_sd"]), f"{row['share']:.0%}".replace("-", "−"), number(row["cheapest"]))
            rows.append(Row([(title, kind), pair, (number(row["change"]), spread), *numbers]))
    columns = [
        Column("First target", False), Column("Connection", False), Column("Change"), Column("In SD"),
        Column("Share"), Column("Cheapest edit"),
    ]  # fmt: skip
    caption = (
        "Which connections carry the effect of the first target of each kind: their change"
        f"{f' in {unit}' if unit else ''} when they become normal ({of}, held out; positive: weaker than expected), "
        "in standard deviations of the controls, their share of the target's effect, and their "
        "change in the cheapest edit. All that are written out are in stimulate/edits.tsv."
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
                     "one-sided p: is there anything of the disease in it? p FWER: corrected for the "
                     "targets of all kinds. Only targets below the error rate are called, the others are context"),
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


def patient_rows(patients: pd.DataFrame, edits: pd.DataFrame | None = None, directed: bool = False) -> Table:
    """The first node and the first target region of every patient, with the connection that carries most."""
    regions = target_titles()
    first = patients[patients["rank"] == 1].set_index(["participant_id", "kind"])
    carried = {} if edits is None else _carriers(edits, directed)
    rows = []
    names = patients["participant_id"].unique()
    for name in names[:MOST_LISTED]:
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
        f"The first target of {counted(len(names), 'patient')}, by how far it moves the patient relative to the spread "
        "of the held-out controls (score), and the connection with the largest share in it. Cost 0: the model already "
        "places the patient at the goal. Single rankings are far less certain than the group's, and no basis for "
        "treatment. All targets of everybody are in stimulate/patients.tsv."
    ) + first_of(len(names))
    return Table(caption, columns, rows)


def _carriers(edits: pd.DataFrame, directed: bool) -> dict[tuple[str, str], str]:
    """The connection with the largest share in the first target, by participant and kind."""
    lead, way = edits.drop_duplicates(["participant_id", "kind"]), arrow(directed)
    return {
        (row.participant_id, row.kind): f"{row.region_a} {way} {row.region_b}, {row.share:.0%}".replace("-", "−")
        for row in lead.itertuples()
    }
