"""The verdict in five sentences says what the numbers say, and no more."""

import dataclasses

import pandas as pd
import pytest
from test_report import (
    GAPS,
    GOOD,
    NODES,
    cohort_of,
    comparisons_of,
    components_of,
    experiments_of,
    families_of,
    folds_of,
    link_of,
    quality_of,
    results_of,
    severity_of,
    summary_of,
)

from dysconnect.report import Study
from dysconnect.report.budget import connection_share, model_share, named
from dysconnect.report.localization import localization_sentence
from dysconnect.report.prediction.sentences import floor_sentence, prediction_sentence, rivalry_sentence
from dysconnect.report.structures import structure_sentence
from dysconnect.report.verdict import in_short


def said(results) -> list[str]:
    return in_short(Study(results, cohort_of(), experiments_of(results.scores["experiment"].unique()), NODES))


def test_a_finding_in_five_sentences():
    assert said(results_of()) == [
        "The one tested model, tangent ridge, tells patients from controls with an AUC of 0.80 [0.70, 0.90], more than "
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
    first, second, *_ = said(results_of(auc, gaps, surviving=0))
    assert first == (
        "Connectivity is not shown to tell patients from controls: the best of 2 models, tangent ridge, reaches an AUC "
        "of 0.56 [0.45, 0.66]."
    )
    assert second == "None of 60 connections is shown to differ, single or together."


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


def study_of(results, **splits) -> Study:
    cohort = cohort_of()
    cohort["splits"] |= splits
    return Study(results, cohort, experiments_of(results.scores["experiment"].unique()), NODES)


def families(**p) -> list[dict]:
    return [{"name": name, "p": one / 2, "p_any": one} for name, one in p.items()]


def test_what_passes_only_an_error_rate_of_its_own_is_no_finding():
    """Two connections have a family-wise p below 0.05, but not once the families of tests are allowed for."""
    summary = summary_of(2) | {"families": families(edge=0.04, component=0.9, circuit=0.9)}
    results = results_of(summary=summary)
    assert said(results)[2] == "None of 60 connections is shown to differ, single or together."
    study = Study(results, cohort_of(), experiments_of(results.scores["experiment"].unique()), NODES)
    assert localization_sentence(study).startswith(
        "No single connection is shown to differ: 2 of 60 connections would (p = 0.02 at its own error rate; 0.04 once "
        "the 3 families of tests are allowed for, where the error rate of the page asks for 0.025: not counted"
    )
    assert [name for name, _ in named(study)] == ["tangent_ridge"]
    assert "Not shown to differ as wholes: components (" in structure_sentence(study, {})


def test_components_without_a_single_connection():
    summary = summary_of(0) | {"families": families(edge=0.4, component=0.01, circuit=0.9)}
    assert said(results_of(surviving=0, summary=summary, components=components_of(2)))[2] == (
        "No single one of 60 connections is shown to differ, but components of connections do as wholes."
    )


def test_each_half_of_the_error_rate_is_shared():
    """Models have one half, connections the other, which two more questions make smaller."""
    asked = severity_of(1)
    study = lambda **more: Study(results_of(**more), cohort_of(), experiments_of(GOOD), NODES)
    assert (model_share(study()), connection_share(study())) == pytest.approx((0.025, 0.025))
    assert connection_share(study(severity=asked, groups=asked)) == pytest.approx(0.025 / 3)
    weak = asked._replace(edges=asked.edges.assign(p_fwer=0.02))
    assert "severity" not in dict(named(study(severity=weak)))
    weak = asked._replace(edges=asked.edges.assign(p_fwer=0.01))
    assert "severity" in dict(named(study(severity=weak)))
    assert "severity" not in dict(named(study(severity=weak, groups=asked)))


def test_the_best_model_is_one_that_was_permuted():
    auc = GOOD | {"gcn": (0.95, 0.9, 0.99, float("nan"))}
    sentence = prediction_sentence(Study(results_of(auc), cohort_of(), experiments_of(auc), NODES))
    assert sentence.startswith("The best model, tangent ridge (2 models tried), tells") and sentence.endswith(
        "GCN (AUC 0.95 [0.90, 0.99]) was not tested against permuted labels often enough to compete."
    )


@pytest.mark.parametrize(("p_best", "shown"), [(0.024, True), (0.026, False)])
def test_the_p_of_the_best_decides(p_best, shown):
    results = results_of()
    row = (results.scores["experiment"] == "tangent_ridge") & (results.scores["metric"] == "auc")
    results.scores.loc[row, "p_best"] = p_best
    assert ("tells patients from controls with" in said(results)[0]) == shown


def test_one_test_fold_is_said_to_decide_alone_wherever_models_are_compared():
    cohort = cohort_of() | {"splits": {"scheme": "fixed", "test_sites": ["B"]}}
    fixed = Study(results_of(), cohort, experiments_of(GOOD), NODES)
    folds = Study(results_of(), cohort_of(), experiments_of(GOOD), NODES)
    says = lambda study: [floor_sentence(study), rivalry_sentence(study), *in_short(study)[:2]]
    assert all("There is one test fold: its bootstrap alone decides" in sentence for sentence in says(fixed))
    assert not any("one test fold" in sentence for sentence in says(folds))


HARMONISED = {"tangent_ridge": {"harmonise": "combat"}}


def of_sites(pooled: float, within: float, harmonised=HARMONISED) -> Study:
    """Tangent ridge minus floor and GCN, of all pairs of people and of those of one site."""
    gaps = lambda x: {
        ("tangent_ridge", "floor"): (x, x - 0.05, x + 0.05, 0.01, 0.01),
        ("gcn", "tangent_ridge"): (-x, -x - 0.05, -x + 0.05, 0.01, 0.01),
    }
    inside = comparisons_of(gaps(within)).query("metric == 'auc'").assign(metric="auc_within_site")
    results = results_of(gaps=gaps(pooled))
    results = dataclasses.replace(results, comparisons=pd.concat([results.comparisons, inside]))
    experiments = experiments_of(GOOD)
    for name, changes in harmonised.items():
        experiments[name]["model"] |= changes
    return Study(results, cohort_of(), experiments, NODES)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_harmonised_model_is_judged_within_sites(sign):
    """Pooled and within-site differences have opposite signs, and both exclude zero."""
    study = of_sites(-0.2 * sign, 0.2 * sign)
    floor, rivalry, (first, second, *_) = floor_sentence(study), rivalry_sentence(study), in_short(study)
    if sign > 0:
        assert "beats the confound floor" in floor and "difference is 0.20 [0.15, 0.25] within sites" in floor
        assert first.endswith("compared within sites.") and ", more than the confound floor" in first
        assert rivalry.startswith("A linear model beats") and "by 0.20 [0.15, 0.25] within sites" in rivalry
        assert "does worse than" in second and "−0.20 [−0.25, −0.15] within sites" in second
    else:
        assert "worse than the confound floor" in floor and "is −0.20 [−0.25, −0.15] within sites" in floor
        assert "is not shown to do better" in first and "compared within sites" in first
        assert rivalry.startswith("The graph network beats") and "does better than" in second


def test_models_that_are_all_raw_or_all_harmonised_are_judged_over_all_people():
    for changed in ({}, {name: {"harmonise": "combat"} for name in GOOD}):
        study = of_sites(-0.2, 0.2, changed)
        assert "worse than the confound floor" in floor_sentence(study) and "within sites" not in " ".join(
            [floor_sentence(study), rivalry_sentence(study), *in_short(study)]
        )


def test_one_site_that_has_both_groups_is_one_test_fold():
    """Leave one site out, and only one site has patients and controls: no test over folds can be made."""
    study = study_of(results_of(), scheme="leave_one_site_out")
    assert "There is one test fold: its bootstrap alone decides" in floor_sentence(study)
    assert rivalry_sentence(study).endswith("its bootstrap alone decides, without a test over folds.")
    assert in_short(study)[0].endswith("its bootstrap alone decides, without a test over folds.")
    folds = folds_of(GOOD).fillna({"auc": 0.7})
    for other in (study_of(results_of(folds=folds), scheme="leave_one_site_out"), study_of(results_of())):
        assert "one test fold" not in floor_sentence(other) + in_short(other)[0]


def test_components_of_which_none_passes_are_not_named():
    """The p of the family was that of one connection in a circuit."""
    summary = summary_of(0) | {"families": families(edge=0.4, component=0.01, circuit=0.9)}
    study = study_of(results_of(surviving=0, summary=summary))
    assert in_short(study)[2] == "None of 60 connections is shown to differ, single or together."
    assert "component" not in dict(named(study))
    assert structure_sentence(study, {}).startswith("No component and no circuit as a whole differs")


def test_a_pair_of_systems_alone_is_named_in_the_verdict():
    sets = families_of(2)
    sets = sets[sets["kind"] == "block"].assign(p_fwer_mean=0.01)
    summary = summary_of(0) | {"n_fdr": 0, "families": families(edge=0.4, component=0.9, block=0.01)}
    study = study_of(results_of(surviving=0, summary=summary, families=sets))
    assert in_short(study)[2].endswith("is shown to differ, but pairs of systems do as wholes.")
    assert structure_sentence(study, {}) == (
        "Beyond single connections the pair of systems cortex - thalamus as a whole differs at a family-wise error "
        "rate of 0.05."
    )
    assert localization_sentence(study).startswith("No single connection survives: none of 60")


def test_motion_follows_nothing_that_is_not_named():
    quality = quality_of(qcfc={"everybody": link_of(0.2, 0.001)})
    summary = summary_of(2) | {"families": families(edge=0.04)}
    assert "that differ" not in said(results_of(summary=summary, quality=quality))[3]


def test_permutations_that_cannot_reach_the_error_rate_are_told():
    asked = severity_of(1)
    study = study_of(results_of(summary=summary_of(2) | {"permutations": 100}, severity=asked, groups=asked))
    assert "Set localize.permutations to 119 or more" in localization_sentence(study)
    few = study_of(results_of(summary=summary_of(0) | {"permutations": 30}))
    assert localization_sentence(few).endswith(
        "30 permutations give no p below 0.032, where the error rate of the page asks for 0.025: nothing could be "
        "called. Set localize.permutations to 39 or more."
    )
    assert in_short(few)[2] == "Whether any of 60 connections differs was not tested against enough permutations."
    enough = study_of(results_of(summary=summary_of(0) | {"permutations": 39}))
    assert "could be called" not in localization_sentence(enough)


def test_what_was_not_permuted_is_not_at_chance():
    auc = {name: (*score[:3], float("nan")) for name, score in GOOD.items()}
    study = study_of(results_of(auc))
    assert floor_sentence(study) == (
        "Age, sex, site and motion alone reach an AUC of 0.60 [0.50, 0.70] (not tested): too few permuted labels to "
        "say whether by chance."
    )
    assert in_short(study)[0].startswith("Whether connectivity tells patients from controls was not tested")


def test_covariates_that_are_the_same_in_everybody_are_no_floor():
    study = study_of(results_of(GOOD | {"floor": (0.5, 0.5, 0.5, 1.0)}))
    study.experiments["floor"]["model"]["covariates"] = ["site"]
    assert floor_sentence(study).startswith("No confound floor could be made: site is the same in everybody")
    assert "site is the same in everybody, so no confound floor could be made" in in_short(study)[0]


def test_a_difference_without_an_interval_says_why():
    gap = (0.2, float("nan"), float("nan"), float("nan"))
    assert "has no interval" in floor_sentence(study_of(results_of(gaps=GAPS | {("tangent_ridge", "floor"): gap})))
