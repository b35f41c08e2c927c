"""Groups as they are: means by group, and everybody's strongest edges, raw and adjusted for the covariates."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from test_localize import SPEC

from dysconnect.data.atlas import load_atlas
from dysconnect.localize import localize
from dysconnect.localize.points import STRONGEST, adjusted, edge_points, group_means
from dysconnect.localize.statistics import orthonormal
from dysconnect.paper.svg import to_svg
from dysconnect.report.localization.groups import MOST_POINTS, mean_matrix, means_figure, points_figure
from dysconnect.report.localization.matrix import ordered_nodes
from dysconnect.report.structures import component_table, inside

GROUP = np.array([1, 1, 1, 0, 0, 0, 0, 1.0])
AGE = np.array([30, 40, 62, 25, 28, 36, 51, 47.0])


def test_adjusting_takes_out_what_the_full_model_gives_to_the_covariate():
    y = np.random.default_rng(1).normal(size=(8, 3)) + 0.02 * AGE[:, None] + 0.5 * GROUP[:, None]
    own = adjusted(y, GROUP, orthonormal(np.column_stack([np.ones(8), AGE])))
    coefficients = np.linalg.lstsq(np.column_stack([np.ones(8), GROUP, AGE]), y, rcond=None)[0]
    np.testing.assert_allclose(own, y - np.outer(AGE - AGE.mean(), coefficients[2]), atol=1e-12)
    np.testing.assert_allclose(own[GROUP == 1].mean(0) - own[GROUP == 0].mean(0), coefficients[1], atol=1e-12)
    np.testing.assert_allclose(own.mean(0), y.mean(0), atol=1e-12)


def test_without_covariates_nothing_is_adjusted():
    y = np.random.default_rng(2).normal(size=(8, 2))
    np.testing.assert_allclose(adjusted(y, GROUP, orthonormal(np.ones((8, 1)))), y, atol=1e-12)


def test_means_are_those_of_the_groups():
    y = np.arange(16, dtype=np.float32).reshape(8, 2)
    means = group_means(y, GROUP)
    assert means["mean_cases"].tolist() == [5.0, 6.0] and means["mean_controls"].tolist() == [9.0, 10.0]


def test_points_stand_edge_after_edge_with_everybody_by_name():
    people = pd.DataFrame({"participant_id": list("abcdefgh"), "label": GROUP.astype(int), "site": "A", "age": AGE})
    names = pd.DataFrame({"region_a": ["P", "Q"], "region_b": ["R", "S"]}, index=[7, 3])
    y = np.arange(16.0).reshape(8, 2)
    points = edge_points(y, people, ["age"], names)
    assert list(points) == ["participant_id", "label", "region_a", "region_b", "raw", "adjusted"]
    second = points[points["region_a"] == "Q"]
    assert second["raw"].tolist() == y[:, 1].tolist() and "".join(second["participant_id"]) == "abcdefgh"
    assert (second["region_b"] == "S").all() and len(points) == 16


@pytest.fixture(scope="module")
def found(make_cohort):
    """A small cohort with a region that many lack, and what `localize` finds."""
    cohort = make_cohort(n=60, n_nodes=8, planted=[0, 9], shift=-1.3, seed=3)
    missing = cohort.missing.copy()
    missing[:30, 2] = True
    cohort = dataclasses.replace(cohort, missing=missing)
    return cohort, localize(cohort, np.full(28, ""), {**SPEC, "permutations": 40})


def test_the_effect_of_an_edge_follows_from_its_points(found):
    cohort, result = found
    strongest = result.edges.head(STRONGEST)
    pairs = result.points[["region_a", "region_b"]].drop_duplicates().to_numpy().tolist()
    assert pairs == strongest[["region_a", "region_b"]].to_numpy().tolist()
    for row in strongest.itertuples():
        people = result.points.query("region_a == @row.region_a and region_b == @row.region_b")
        assert people["participant_id"].tolist() == cohort.participants["participant_id"].tolist()
        groups = people.groupby("label")
        noise = (people["adjusted"] - groups["adjusted"].transform("mean")).pow(2).sum() / result.summary["df"]
        shift = groups["adjusted"].mean()
        assert (shift[1] - shift[0]) / noise**0.5 == pytest.approx(row.effect_size)
        assert groups["raw"].mean()[1] == pytest.approx(row.mean_cases)
        assert groups["raw"].mean()[0] == pytest.approx(row.mean_controls)


def test_an_edge_that_was_not_tested_has_neither_mean_nor_points(found):
    _, result = found
    untested = result.edges["statistic"].isna()
    assert untested.sum() == 7 and result.edges.loc[untested, ["mean_cases", "mean_controls"]].isna().to_numpy().all()
    assert np.isfinite(result.points[["raw", "adjusted"]]).to_numpy().all()


def points_of(n: int) -> pd.DataFrame:
    values = np.random.default_rng(4).normal(size=(2, n))
    own = pd.DataFrame({"participant_id": [f"sub-{k}" for k in range(n)], "label": np.arange(n) % 2})
    return own.assign(region_a="Thalamus MD R", region_b="Putamen L", raw=values[0], adjusted=values[1])


def test_points_show_everybody_and_name_nobody():
    figure = points_figure(points_of(20), "Fisher z")
    drawn = [own.get_offsets() for own in figure.axes[0].collections]
    assert [len(own) for own in drawn] == [10, 10, 10, 10]
    np.testing.assert_allclose(np.sort(drawn[0][:, 1]), np.sort(points_of(20).query("label == 1")["raw"]))
    document = to_svg(figure)
    assert "Thalamus MD R" in document and "adjusted" in document and "sub-" not in document
    many = points_figure(points_of(MOST_POINTS + 2), "Fisher z")
    boxes = [line.get_ydata() for line in many.axes[0].lines if np.isnan(line.get_ydata()).any()]
    assert not many.axes[0].collections and len(boxes) == 4  # the parts of a box are one line, with gaps
    values = points_of(MOST_POINTS + 2).query("label == 1")["raw"]
    assert any(np.allclose(box[:3], values.quantile([0.25, 0.25, 0.75])) for box in boxes)
    assert "No connection was tested" in to_svg(points_figure(points_of(20)[:0], "Fisher z"))


def test_mean_matrices_are_ordered_by_system_in_the_same_colours():
    nodes = load_atlas("seitzman300")
    first, second = nodes["name"].iloc[[0, 250]]
    edges = pd.DataFrame({"region_a": [first], "region_b": [second], "mean_cases": [0.25], "mean_controls": [-0.5]})
    ordered = ordered_nodes(nodes)
    matrix = mean_matrix(edges, ordered, "mean_controls")
    place = ordered.reset_index().set_index("name")["index"]
    assert np.isfinite(matrix).sum() == 2 and matrix[place[first], place[second]] == -0.5
    assert matrix[place[second], place[first]] == -0.5
    document = to_svg(means_figure(edges, nodes, "Fisher z"))
    assert "Patients" in document and "Controls" in document and "Basal ganglia" in document and "Fisher z" in document
    back = pd.DataFrame({"region_a": [second], "region_b": [first], "mean_cases": [0.5], "mean_controls": [0.75]})
    directed = mean_matrix(pd.concat([edges, back]), ordered, "mean_controls")
    assert directed[place[first], place[second]] == -0.5 and directed[place[second], place[first]] == 0.75


def test_components_that_contain_each_other_are_marked():
    lower, higher = "patients lower", "patients higher"
    regions = ["A; B", "A; B; C", "A; B", "A; B; C", "D; E"]
    components = pd.DataFrame(
        {
            "component": [1, 2, 3, 4, 5],
            "direction": [lower, lower, higher, lower, lower],
            "regions": regions,
            "family": "all",
            "threshold": 3.0,
            "n_edges": 2,
            "true_edges": 1,
            "n_nodes": [2, 3, 2, 3, 2],
            "p_fwer": 0.01,
        }
    )
    assert inside(components) == {1: 2, 4: 2}
    table = component_table(components, {}, 0.05, 10)
    assert [row.cells[0] for row in table.rows] == [("1", "inside #2"), "2", "3", ("4", "inside #2"), "5"]
    assert "Inside #k" in table.caption
    assert "Inside #k" not in component_table(components[4:], {}, 0.05, 10).caption
