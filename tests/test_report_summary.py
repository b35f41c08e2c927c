"""The verdict in five sentences says what the numbers say, and no more."""

import pytest
from test_report import GAPS, GOOD, NODES, cohort_of, experiments_of, link_of, quality_of, results_of, summary_of

from dysconnect.report import Study
from dysconnect.report.verdict import in_short


def said(results) -> list[str]:
    return in_short(Study(results, cohort_of(), experiments_of(results.scores["experiment"].unique()), NODES))


def test_a_finding_in_five_sentences():
    assert said(results_of()) == [
        "The best of 2 models, tangent ridge, tells patients from controls with an AUC of 0.80 [0.70, 0.90], more than "
        "the confound floor (age, sex, site and motion alone: 0.60 [0.50, 0.70]).",
        "The best graph network does worse than the best linear model (difference in AUC −0.15 [−0.25, −0.05]).",
        "2 of 60 connections differ at a family-wise error rate of 0.05, all weaker in patients.",
        "Head motion is not shown to differ between the groups (p = 0.70), and connections are not shown to follow it.",
        "With 80% power an AUC of 0.84 and a difference of d = 1.37 in a connection would have been found: less than "
        "that is not ruled out.",
    ]


def test_nothing_found():
    auc = {"floor": (0.55, 0.4, 0.7, 0.3), "tangent_ridge": (0.56, 0.45, 0.66, 0.2), "gcn": (0.5, 0.4, 0.6, 0.5)}
    gaps = GAPS | {("gcn", "tangent_ridge"): (-0.06, -0.2, 0.1, 0.4)}
    first, second, third, *_ = said(results_of(auc, gaps, surviving=0))
    assert first == (
        "Connectivity is not shown to tell patients from controls: the best of 2 models, tangent ridge, reaches an AUC "
        "of 0.56 [0.45, 0.66]."
    )
    assert "cannot be told apart from the best linear model" in second
    assert third == "None of 60 connections differs at a family-wise error rate of 0.05."


def test_a_score_that_the_floor_explains():
    gaps = GAPS | {("tangent_ridge", "floor"): (0.01, -0.08, 0.1, 0.8)}
    assert "is not shown to do better than the confound floor" in said(results_of(gaps=gaps))[0]
    gaps = GAPS | {("tangent_ridge", "floor"): (0.2, 0.1, 0.3, 0.004, 0.3)}  # the corrected test says no
    assert "is not shown to do better than the confound floor" in said(results_of(gaps=gaps))[0]


def test_one_model_or_none():
    auc = {name: GOOD[name] for name in ("floor", "tangent_ridge")}
    sentences = said(results_of(auc))
    assert sentences[0].startswith("The one model, tangent ridge, tells") and len(sentences) == 4
    assert said(results_of({"floor": GOOD["floor"]}, {}))[0].startswith("Only the confound floor was run")


@pytest.mark.parametrize(("surviving", "words"), [(2, "of the 2 that differ, 1 does"), (0, "")])
def test_motion_that_connections_follow(surviving, words):
    quality = quality_of(motion={"p": 0.01, "d": 0.4, "low": 0.1, "high": 0.7}, qcfc={"everybody": link_of(0.2, 0.001)})
    sentence = said(results_of(surviving=surviving, quality=quality))[3]
    assert sentence.startswith(
        "Head motion differs between the groups (p = 0.010), and connections follow it after denoising"
    )
    assert sentence.endswith(f"; {words}." if words else "denoising.")


def test_motion_that_nobody_measured():
    quality = quality_of(
        motion={"reason": "not measured"}, qcfc={"everybody": {"reason": "head motion was not measured"}}
    )
    assert said(results_of(quality=quality))[3] == (
        "Head motion could not be compared (not measured): its part is unknown."
    )


def test_both_directions_are_counted():
    results = results_of()
    edges = results.edges.assign(statistic=results.edges["statistic"].abs())
    edges.loc[0, "statistic"] = -7.0
    changed = results_of(edges=edges, summary=summary_of(2))
    assert said(changed)[2].endswith(", 1 weaker and 1 stronger in patients.")
