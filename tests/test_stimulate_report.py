"""The report's section on virtual stimulation: what it says, that it always warns, and what it withholds."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from test_report import (
    GOOD,
    NODES,
    cohort_of,
    experiments_of,
    methods,
    page_of,
    plant_of,
    recovery_of,
    references,
    results_of,
    severity_of,
)

from dysconnect.data.atlas.targets import target_members
from dysconnect.data.edges import Pairs
from dysconnect.paper.text import NONE
from dysconnect.report.budget import named
from dysconnect.report.recovery import recovery_sentence
from dysconnect.report.results import Asked, Study
from dysconnect.report.stimulation import CAUTION, section, stimulation_in_short
from dysconnect.report.stimulation.evidence import evidence_table, mean_t
from dysconnect.report.stimulation.figures import stimulation_figure
from dysconnect.report.stimulation.tables import connection_table, node_table, patient_rows, set_table
from dysconnect.report.stimulation.words import aside, methods_text, model_words, paragraph

TOLD = {
    "verdict": "ridge (permutation p = 0.01)", "agreement": 0.43, "folds": 10, "permutations": 500, "patients": 12,
    "goal": "controls", "controllability": False, "absent": ["subthalamic"],
}  # fmt: skip
NUMBERS = {"shift": -0.012, "controls": -0.004, "consistency": 0.75, "matched_p": 0.02, "cost": 17.2}


def targets_of(p_fwer: float = 0.01, tested: bool = True, control: bool = False) -> pd.DataFrame:
    rows = []
    for rank, node in enumerate(NODES.iloc[240:260].itertuples(), start=1):
        own = {"kind": "node", "rank": rank, "target": node.name, "title": node.name, "access": "", "n_nodes": 1}
        own |= {"x": node.x, "y": node.y, "z": node.z, "system": node.system, "score": -6 + 0.2 * rank, "top10": 0.9}
        rows.append(own | {"p": 0.002 * rank, "p_fwer": min(1, p_fwer * rank), "matched_z": -5 + 0.2 * rank})
    region = {"kind": "region", "rank": 1, "target": "pallidum", "title": "Pallidum", "access": "DBS", "n_nodes": 2}
    circuit = {"kind": "circuit", "rank": 1, "target": "sensorimotor", "title": "Sensorimotor cortex", "n_nodes": 9}
    for own in (region, {**circuit, "access": ""}):
        rows.append({**own, "score": -1.2, "p": 0.3, "p_fwer": 0.6, "matched_z": -0.3, "top10": np.nan})
    table = pd.DataFrame(rows).assign(**NUMBERS)
    if control:
        table = table.assign(average_controllability=0.5, modal_controllability=-0.5)
    return table if tested else table.assign(score=np.nan, p=np.nan, p_fwer=np.nan)


def patients_of() -> pd.DataFrame:
    rows = [
        (f"sub-{k:02d}", kind, target, -0.02, -2.5, 1, 0.0 if k else 3.25)
        for k in range(3)
        for kind, target in (("node", "Putamen R 1"), ("region", "pallidum"))
    ]
    return pd.DataFrame(rows, columns=["participant_id", "kind", "target", "shift", "score", "rank", "cost"])


def edits_of() -> pd.DataFrame:
    first, rows = targets_of().iloc[0]["target"], []
    for name in ("group", "sub-00", "sub-02"):
        for kind, target in (("node", first), ("region", "pallidum")):
            for k, other in enumerate(NODES["name"][:7]):
                rows.append(
                    (name, kind, target, other, target, 0.12, 0.3 if name == "group" else np.nan, 0.6 - 0.1 * k)
                )
    columns = ["participant_id", "kind", "target", "region_a", "region_b", "change", "change_spread", "share"]
    return pd.DataFrame(rows, columns=columns).assign(change_sd=0.8, cheapest=0.4, cheapest_sd=2.0, cheapest_share=0.1)


def shown(**changes):
    targets, edits = changes.pop("targets", targets_of()), changes.pop("edits", edits_of())
    told = TOLD | changes
    return results_of(
        targets=targets, patient_targets=patients_of(), edits=edits, stimulation=told["verdict"], stimulated=told
    )  # fmt: skip


@pytest.fixture(scope="module")
def page():
    return page_of(shown())


def test_a_planted_hub_is_told_with_its_rank():
    plant = plant_of(1.0) | {"region": targets_of()["target"].iloc[2]}
    told = {"targets": targets_of(), "recovery": recovery_of(0.5, 20, 0)}
    sentence = recovery_sentence(results_of(**told), plant)
    assert sentence.startswith(f"Of 40 planted connections of {targets_of()['target'].iloc[2]} (d = 1")
    assert sentence.endswith("Virtual stimulation ranks it number 3 of 20 regions.")
    withheld = recovery_sentence(results_of(**told | {"targets": targets_of().iloc[:0]}), plant)
    assert "Virtual stimulation" not in withheld


def test_the_section_says_what_was_found_and_warns(page):
    text = page[1].text
    first = targets_of().iloc[0]
    assert f"all connections of {first['target']} become" in text
    assert "(p = 0.002, family-wise p = 0.010)" in text
    assert "75% of 12 patients move further" in text and "matched z = −0.30" in text
    assert CAUTION in text
    assert "Not in this atlas: Subthalamic region (STN)" in text
    assert 'needs nctpy (pip install "dysconnect[stimulate]")' in text
    assert "figure-stimulation" in page[1].ids and "stimulation" in page[0].figures


def test_a_withheld_ranking_shows_the_reason_and_the_warning():
    why = "withheld: ridge does not beat its permutation null (p = 0.3)"
    empty = targets_of().iloc[:0]
    document = page_of(results_of(targets=empty, stimulation=why, stimulated={"verdict": why}))[1]
    assert f"No ranking is shown; {why}." in document.text and CAUTION in document.text
    assert "figure-stimulation" not in document.ids and "Matched z" not in document.text


def test_without_stimulation_there_is_no_section():
    document = page_of(results_of())[1]
    assert "stimulation" not in document.ids and CAUTION not in document.text


def test_a_null_result_is_said():
    text = paragraph(targets_of(p_fwer=0.2), TOLD, 0.05)
    assert "No target survives a family-wise error rate of 0.05; the order is for orientation only." in text
    text = paragraph(targets_of(), TOLD, 0.05)
    assert "survives a family-wise error rate of 0.05 over the targets of all kinds" in text and "is context" in text


def test_without_permuted_labels_nothing_is_called_tested():
    targets = targets_of(tested=False)
    text = paragraph(targets, TOLD, 0.05)
    assert "not tested against permuted labels" in text and "nan" not in text
    cells = [cell for row in node_table(targets, 0.05).rows for cell in row.cells]
    assert "nan" not in str(cells)
    document = page_of(shown(targets=targets, permutations=0))[1]
    assert "only the matched z stands" in document.text


def test_controllability_has_its_caveats():
    document = page_of(shown(targets=targets_of(control=True), controllability=True))[1]
    assert "Average control" in document.heads
    assert "It knows nothing of the patients" in document.text and "nctpy" not in document.text
    assert "Controllability of structural brain networks" in document.text


def test_tables_mark_what_survives():
    table = node_table(targets_of(p_fwer=0.02), 0.05)
    assert [row.mark for row in table.rows[:4]] == ["best", "best", "", ""]
    assert len(table.rows) == 15 and all(len(row.cells) == len(table.columns) for row in table.rows)
    sets = set_table(targets_of(), TOLD, 0.05)
    assert [row.cells[2] for row in sets.rows] == ["DBS", "circuit"]
    assert all(len(row.cells) == len(sets.columns) for row in sets.rows)


def test_every_patient_has_a_row():
    table = patient_rows(patients_of())
    assert [row.cells[0] for row in table.rows] == ["sub-00", "sub-01", "sub-02"]
    assert table.rows[0].cells[4:] == [("Pallidum", ""), "−2.50", "3.2"] and table.rows[1].cells[3] == "0.0"
    alone = patients_of().query("kind == 'node'")
    assert patient_rows(alone).rows[0].cells[4:] == ["—"] * 3


def test_the_connections_that_carry_the_first_targets_are_shown(page):
    table = connection_table(edits_of(), targets_of(), "the Fisher z of Pearson correlations")
    assert len(table.rows) == 10 and all(len(row.cells) == len(table.columns) for row in table.rows)
    first = targets_of().iloc[0]["target"]
    assert table.rows[0].cells == [
        (first, "node"), f"{NODES['name'][0]} – {first}", ("0.12", "± 0.30"), "0.80", "60%", "0.40"
    ]  # fmt: skip
    assert "Cheapest edit" in page[1].heads and table.caption in page[1].text
    for edits in (None, edits_of().iloc[:0]):
        assert connection_table(edits, targets_of(), "") is None


def test_a_patient_s_row_names_the_connection_that_carries_most():
    rows = {row.cells[0]: row.cells for row in patient_rows(patients_of(), edits_of()).rows}
    assert rows["sub-00"][1][1].endswith("60%") and rows["sub-00"][4] == ("Pallidum", rows["sub-00"][4][1])
    assert rows["sub-01"][1] == ("Putamen R 1", "")


def test_networks_say_how_they_were_tested():
    told = TOLD | {"network": True, "permutations": 0}
    assert "stimulate.network_permutations" in aside("gcn", told)
    assert "describes and does not test" in aside("gcn", told)
    text = aside("gcn", told | {"permutations": 99})
    assert "99 permutations of the labels inside sites and folds, each with new networks" in text
    assert "integrated gradients (Sundararajan et al. 2017)" in methods_text(shown(network=True), cohort_of())
    assert "integrated gradients" not in methods_text(shown(), cohort_of())


def test_the_glass_brain_is_drawn_with_and_without_targets():
    drawn = stimulation_figure(targets_of(), 0.05)
    assert isinstance(drawn, Figure) and any("20 regions" in text.get_text() for text in drawn.texts)
    empty = stimulation_figure(targets_of().iloc[:0], 0.05)
    assert "nothing opened the gate" in empty.axes[0].texts[0].get_text()
    stimulation_figure(targets_of(tested=False), 0.05)


def test_the_methods_describe_it():
    told = dict(methods(shown(), cohort_of(), experiments_of(GOOD), NODES))["Virtual stimulation"]
    assert "500 permutations of the labels inside sites" in told and "virtual normalisation" in told
    assert any("well-conditioned estimator" in full for full in references([("", told)]))
    assert "Virtual stimulation" not in dict(methods(results_of(), cohort_of(), experiments_of(GOOD), NODES))


def study_of(results) -> Study:
    """With the experiment that is asked among those that were run."""
    names = results.scores["experiment"].unique()
    return Study(results, cohort_of(), experiments_of(names), NODES)


def test_one_sentence_for_every_outcome():
    """Found, withheld, none found, not tested, not asked."""
    first = targets_of().iloc[0]["target"]
    said = stimulation_in_short(study_of(shown()))
    assert f"points to {first} (p = 0.010)" in said and "hypothesis" in said and said.endswith(".")
    why = "withheld: no target of ridge survives the family-wise error rate (smallest family-wise p = 0.3)"
    empty = results_of(targets=targets_of().iloc[:0], stimulation=why, stimulated={"verdict": why})
    assert stimulation_in_short(study_of(empty)) == f"No target of virtual stimulation is shown; {why}."
    assert "none survives" in stimulation_in_short(study_of(shown(targets=targets_of(p_fwer=0.2))))
    untested = stimulation_in_short(study_of(shown(targets=targets_of(tested=False), permutations=0)))
    assert f"ranks {first} first, but no target was tested" in untested
    assert stimulation_in_short(study_of(results_of())) == ""


def of_page(p: float, models: bool, connections: bool, **changes) -> Study:
    """A page with a ranking whose smallest family-wise p is given, that names a model, connections, both or nothing."""
    results = shown(targets=targets_of(p_fwer=p), p=p, **changes)
    scores = results.scores.assign(p_best=results.scores["p_best"] if models else 0.4)
    family = {"name": "edge", "p": 0.001, "p_any": 0.01 if connections else 0.5}
    return study_of(replace(results, scores=scores, summary=results.summary | {"families": [family]}))


@pytest.mark.parametrize(
    ("models", "connections", "bar"),
    [(False, False, 0), (True, False, 0.025), (False, True, 0.025), (True, True, 0.05)],
)
def test_a_target_is_named_beside_a_difference_at_the_error_rate_that_it_passes_on(models, connections, bar):
    for p in (0.001, 0.024, 0.026, 0.049, 0.051):
        study = of_page(p, models, connections)
        assert ("targets" in dict(named(study))) == (p <= bar) == ("points to" in stimulation_in_short(study))
        (words,) = section(study).sentences
        assert ("not counted as a finding" in words) == (bar < p <= 0.05)
        assert ("not counted as a finding" in stimulation_in_short(study)) == (bar < p <= 0.05)
        if p > 0.05:
            assert "none survives" in stimulation_in_short(study)


def test_targets_name_nothing_on_a_page_that_names_nothing():
    """Of pages that are null in everything as many name something as without the question of targets."""
    rng = np.random.default_rng(0)
    for p_models, p_edges, p_targets in rng.uniform(0, 0.1, (200, 3)):
        study = of_page(p_targets, p_models <= 0.025, p_edges <= 0.025)
        assert bool(named(study)) == (p_models <= 0.025 or p_edges <= 0.025)


def test_a_ranking_without_a_test_stands_beside_a_difference_only():
    untested = {"permutations": 0, "targets": targets_of(tested=False)}
    results = [replace(shown(**untested), summary={"alpha": 0.05, "families": []}) for _ in range(2)]
    results[1].scores["p_best"] = 0.4
    beside, alone = (stimulation_in_short(study_of(own)) for own in results)
    assert "first, but no target was tested" in beside and "no difference is shown beside which" in alone
    assert not {"targets"} & dict(named(study_of(results[0]))).keys()


def test_a_stricter_rate_of_the_targets_stays():
    study = of_page(0.02, True, True)
    strict = replace(study, cohort=study.cohort | {"stimulate": study.cohort["stimulate"] | {"alpha": 0.01}})
    assert "targets" in dict(named(study)) and "targets" not in dict(named(strict))


def test_what_severity_names_passes_its_part_on():
    asked = severity_of(1)
    weak = asked._replace(edges=asked.edges.assign(p_fwer=0.01))
    study = of_page(0.012, False, False)
    both = replace(study, results=replace(study.results, severity=weak))
    assert "targets" not in dict(named(study)) and dict(named(both)).keys() == {"severity", "targets"}


def test_the_ranking_names_whether_its_model_beats_chance_and_the_floor():
    study = study_of(shown())
    name = study.results.scores["experiment"].iloc[-1]
    cohort = study.cohort | {"stimulate": study.cohort["stimulate"] | {"experiment": name}}
    for p, words in ((0.4, "is not shown to beat chance"), (0.001, "beats chance")):
        scores = study.results.scores.copy()
        scores.loc[scores["metric"] == "auc", ["value", "p_best"]] = 0.7, p
        said = model_words(replace(study, cohort=cohort, results=replace(study.results, scores=scores)))
        assert words in said

    assert model_words(replace(study, cohort=cohort | {"stimulate": {"experiment": "absent"}})) == ""


def test_a_table_names_the_measure_of_its_connections():
    for unit in ("the Fisher z of partial correlations", "something else"):
        assert f"their change in {unit} when" in connection_table(edits_of(), targets_of(), unit).caption


def joint_of() -> Asked:
    """Two maps: t of every connection in one, of half of them in the other, in an order of their own."""
    rng = np.random.default_rng(6)
    edges = Pairs(len(NODES)).named(NODES["name"].to_numpy(str))
    fa = np.where(np.arange(len(edges)) % 2, rng.normal(size=len(edges)), np.nan)
    edges = edges.assign(t_correlation=rng.normal(size=len(edges)), t_fa=fa)
    return Asked(edges.sample(frac=1, random_state=0), {"pictures": [{"name": "correlation"}, {"name": "fa"}]})


def test_evidence_of_every_map_stands_beside_a_target():
    joint, targets = joint_of(), targets_of()
    known = mean_t(joint, NODES).set_index(["kind", "target"])
    edges, first = joint.edges, targets.iloc[0]["target"]
    touching = edges[(edges["region_a"] == first) | (edges["region_b"] == first)]
    assert known.loc[("node", first), "t_fa"] == pytest.approx(touching["t_fa"].mean())
    assert known.loc[("node", first), "n_fa"] == touching["t_fa"].notna().sum() < len(touching)
    circuit = next(member for member in target_members(NODES) if member["target"] == "sensorimotor")
    inside = edges.sort_index()[circuit["edges"]]
    assert known.loc[("circuit", "sensorimotor"), "t_correlation"] == pytest.approx(inside["t_correlation"].mean())
    table = evidence_table(targets, joint, NODES)
    assert [column.title for column in table.columns] == ["Target", "Shift", "Score", "mean t correlation", "mean t fa"]
    assert [row.cells[0][1] for row in table.rows] == ["node"] * 5 + ["region", "circuit"]
    assert evidence_table(targets, None, NODES) is None


def test_a_map_that_has_none_of_a_targets_connections_says_nothing_of_it():
    joint, first = joint_of(), targets_of().iloc[0]["target"]
    touching = (joint.edges["region_a"] == first) | (joint.edges["region_b"] == first)
    table = evidence_table(targets_of(), joint._replace(edges=joint.edges[~touching]), NODES)
    assert table.rows[0].cells[3:] == [NONE, NONE]
