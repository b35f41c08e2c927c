"""What a page says of measures with values of regions, of directed ones, and of those that are exploratory."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from test_report import GOOD, NODES, Document, cohort_of, edges_of, experiments_of, results_of, severity_of, summary_of

from dysconnect import report
from dysconnect.data.measures import MEASURES
from dysconnect.paper.svg import to_svg
from dysconnect.report import Study, render, sections_of, verdict
from dysconnect.report.budget import budget_text, differences, named, out_of_reach
from dysconnect.report.localization import localization_text
from dysconnect.report.localization.figures import connectome_figure
from dysconnect.report.localization.groups import points_figure
from dysconnect.report.localization.matrix import ordered_nodes, split_triangles
from dysconnect.report.severity import section
from dysconnect.report.verdict import in_short

REGIONS = NODES["name"].to_numpy()
KNOWN = {
    "n_regions": 10, "pairs": 219.0, "repetition_time": 2.0, "reversal": -0.4,
    "direction": {"same": 0.91, "differing": 0.76}, "direction_error": {"same": 0.02, "differing": 0.03},
}  # fmt: skip


def regional_of(*quantities: str) -> pd.DataFrame:
    table = pd.DataFrame({"region": np.tile(REGIONS, len(quantities)), "quantity": np.repeat(quantities, len(NODES))})
    return table.assign(mean_cases=0.31, mean_controls=0.47, d=-0.82, t=np.linspace(-3, 3, len(table)), p=0.2)


def study_of(measure: str, surviving: int = 2, explained: int = 1, **changes) -> Study:
    """A study of a measure, `explained` of whose called connections are also explained by values of regions."""
    entry, cohort, edges = MEASURES[measure], cohort_of(), edges_of(surviving)
    cohort["localize"]["measure"] = measure
    if entry.regional:
        words = np.where(np.arange(60) < explained, " and ".join(entry.regional), "")
        edges = edges.assign(p_beside=0.3, also_explained=words)
    summary = summary_of(surviving) | ({"direction": KNOWN} if entry.directed else {})
    known = {"edges": edges, "regional": regional_of(*entry.regional), "summary": summary} | changes
    return Study(results_of(surviving=surviving, **known), cohort, experiments_of(GOOD), NODES)


def words_of(study: Study) -> str:
    """Everything that the two verdicts say."""
    return " ".join([*in_short(study), *(sentence for _, sentence in verdict(sections_of(study)))])


@pytest.fixture(scope="module")
def pages():
    """Pages of a measure with values of regions, and of a directed one; their figures are empty."""
    made, empty = {}, to_svg(Figure())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "drawn", lambda drawings, _: (dict.fromkeys(drawings, empty), {}))
        for measure in ("task", "lagged"):
            study = study_of(measure)
            page = render(study.results, study.cohort, study.experiments, NODES, "2026-01-02")
            made[measure] = Document(page.html)
    return made


def test_activation_stands_beside_every_called_connection(pages):
    text = re.sub(r"\s+", " ", pages["task"].text)
    said = (
        "1 of the 2 connections that survive is also explained by activation and noise: beside activation and noise of"
    )
    assert f"{said} both its" in text
    assert text.count("0.31 | 0.47") == 8  # two called connections, two ends each, two values of a region
    for head in ("Also\u00a0explained\u00a0by", "Activation, first", "Activation, second"):
        assert head in pages["task"].heads
    assert "Also explained by: values of the regions" in text and "Regions themselves" in text


def test_the_verdict_says_which_differences_the_regions_explain():
    assert "2 of 60 connections differ" in words_of(study_of("task"))
    assert (
        "all weaker in patients. 1 of them is also explained by activation and noise." in in_short(study_of("task"))[2]
    )
    assert words_of(study_of("task")).count("also explained") == 2
    assert "also explained" not in words_of(study_of("task", explained=0))
    assert "also explained" not in words_of(study_of("correlation"))


def test_the_methods_say_what_stood_beside_a_connection():
    spec = cohort_of()["localize"]
    text = {name: localization_text(summary_of(2), spec | {"measure": name}) for name in MEASURES}
    assert "with activation and noise of both its regions as further covariates" in text["task"]
    assert "only what they leave was tested" not in text["task"]
    assert "what delay and noise of both its regions explain of a connection" in text["variability"]
    assert "only what they leave was tested" in text["variability"]
    assert "Delay and noise of all regions were covariates of every test as well." in text["lagged"]
    assert "further covariates" not in text["correlation"]


@pytest.mark.parametrize("measure", ["lagged", "variability"])
def test_no_sentence_of_the_verdict_names_an_exploratory_connection(measure):
    families = [{"name": name, "p": 1e-4, "p_any": 1e-4} for name in ("edge", "component", "circuit")]
    found = {"summary": study_of(measure).results.summary | {"families": families}, "severity": severity_of(2)}
    study = study_of(measure, **found)
    plain = study_of("correlation", **found)
    assert {name for name, _ in differences(plain)} >= {"edge", "component", "severity"}
    assert {name for name, _ in named(study)} == {"tangent_ridge"}
    said = words_of(study)
    ends = set(study.results.edges[["region_a", "region_b"]].head(2).to_numpy().ravel())
    assert not any(end in said for end in ends) and any(end in words_of(plain) for end in ends)
    assert "60 connections were tested, which are exploratory: none is named here, whatever was found." in said
    assert f"Exploratory, as {MEASURES[measure].exploratory}: 2 of 60 connections pass" in said
    assert said.count("exploratory, and not counted as a finding") == 3  # components, circuits, severity
    assert "Connections are exploratory: it names none" in budget_text(study)
    assert not out_of_reach(study)
    localization = {section.name: section for section in sections_of(study)}["localization"]
    assert localization.sentences[0].startswith("These connections are exploratory, and the verdict names none")


def test_the_accuracy_of_direction_is_printed(pages):
    text = re.sub(r"\s+", " ", pages["lagged"].text)
    assert "networks of 10 regions, seen in 219 pairs of volumes 2 s apart as here, 91% ± 2% of the" in text
    assert "76% ± 3% if its peaks differ by 1 s" in text and "agree with those forwards by −0.40" in text
    assert "simulated networks" not in pages["task"].text


def test_a_page_of_directed_connections_says_from_where_to_where(pages):
    assert {"From", "To"} <= set(pages["lagged"].heads) and "From" not in pages["task"].heads
    directed, plain = (
        next(json.loads(one) for one in pages[name].scripts if one.lstrip().startswith("{"))
        for name in ("lagged", "task")
    )
    first = edges_of(2).iloc[0]
    assert directed["directed"] and directed["edges"][0][3] == f"{first.region_a} → {first.region_b}"
    assert not plain["directed"] and plain["edges"][0][3] == f"{first.region_a} – {first.region_b}"
    said = " ".join(pages["lagged"].captions.values())
    assert "from the region of the row to that of the column" in said and "Below the diagonal" not in said
    assert "A circuit has the connections of the way that it goes in anatomy" in said


def test_both_ways_of_a_pair_have_their_own_place():
    """Of a to b and b to a neither hides the other: in the matrix, in the glass brain, among the points."""
    there, back = REGIONS[0], REGIONS[1]
    edges = pd.DataFrame({"region_a": [there, back], "region_b": [back, there], "statistic": [5.0, 3.0]})
    edges = edges.assign(effect_size=[1.0, 0.5], p_fwer=0.01, p_fdr=0.01)
    ordered = ordered_nodes(NODES)
    t, marked = split_triangles(edges, ordered, directed=True)
    place = pd.Series(range(len(ordered)), ordered["name"])
    assert t[place[there], place[back]] == 5 and t[place[back], place[there]] == 3
    assert list(zip(marked["row"], marked["column"])) == [(place[there], place[back]), (place[back], place[there])]
    arrows = lambda figure: [type(one).__name__ for axes in figure.axes for one in axes.patches].count("FancyArrow")
    assert arrows(connectome_figure(edges, NODES, 0.05, 2, directed=True)) == 6  # two in each of three views
    assert arrows(connectome_figure(edges.head(1), NODES, 0.05, 2)) == 0
    points = pd.DataFrame({"region_a": [there] * 4, "region_b": back, "label": [0, 1] * 2, "raw": 1.0, "adjusted": 1.0})
    assert points_figure(points, "z", directed=True).axes[0].get_title(loc="left") == f"{there}\n→ {back}"


def test_a_score_says_what_also_explains_its_connections():
    asked = severity_of(2)
    asked = asked._replace(edges=study_of("task").results.edges)
    called = study_of("task", severity=asked)
    said = dict(section(called).verdict)["Severity"]
    assert "1 of them is also explained by activation and noise." in said
    table = section(called).more["asked"][0][2]
    assert table.columns[-1].title == "Also explained by" and table.rows[0].cells[-1] == "activation and noise"
    assert "adjusted for age (" in table.caption
    lagged = section(study_of("lagged", severity=asked)).more["asked"][0][2].caption
    assert "adjusted for age, delay of all regions and noise of all regions (" in lagged
