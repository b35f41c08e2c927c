"""Edges called in one part of the people replicate in the other where something is there, and by chance where not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from test_report import page_of, results_of, said

from dysconnect import report
from dysconnect.data.cohort import Cohort
from dysconnect.localize.replication import _agreements, _split, jackknife, parts_of, replicate
from dysconnect.localize.statistics import edge_statistics
from dysconnect.localize.tested import chosen_people
from dysconnect.paper.svg import to_svg
from dysconnect.report.replication import judged, list_table, paragraph, part_table, scatter_figure, sentence
from dysconnect.report.results import Asked

PLANTED = (0, 1, 2, 3)
SPEC = {
    "replicate": ["s1", "s3"], "nuisance": ["age", "site"], "permutations": 199, "alpha": 0.05, "stability_top": 30,
    "max_missing": 0.1, "seed": 0,
}  # fmt: skip


def cohort_of(seed: int = 0, n: int = 160, d: float = 0.0, turned: tuple = (), regions: int = 12, **more) -> Cohort:
    """People of four sites whose edges have something in common; `PLANTED` differ by d, the other way in `turned`."""
    rng, k = np.random.default_rng(seed), np.arange(n)
    site, label = np.array([f"s{one}" for one in k % 4]), k // 4 % 2
    n_edges = regions * (regions - 1) // (1 if more.get("directed") else 2)
    values = 0.5 * rng.normal(size=(n, 1)) + rng.normal(size=(n, n_edges))
    values[:, PLANTED] += (d * label * np.where(np.isin(site, turned), -1, 1))[:, None]
    names = [f"sub-{one:03d}" for one in k]
    people = pd.DataFrame({"participant_id": names, "label": label, "site": site, "age": rng.normal(size=n)})
    nodes, missing = np.array([f"r{one}" for one in range(regions)]), np.zeros((n, regions), bool)
    return Cohort(people, values.astype(np.float32), missing, nodes, more.pop("measure", "correlation"), **more)


def run(cohort: Cohort, **spec) -> tuple[pd.DataFrame, dict]:
    return replicate(cohort, np.full(len(cohort.edge_names), ""), SPEC | spec)


def lists_of(summary: dict) -> dict[str, dict]:
    return {row["name"]: row for row in summary["lists"]}


@pytest.mark.parametrize("asked", ["site", ["s1", "s3"]])
def test_planted_edges_replicate(asked):
    edges, summary = run(cohort_of(d=1.3), replicate=asked)
    called = lists_of(summary)["fwer"]
    parts = 4 if asked == "site" else 1
    assert called["n"] >= 4 * parts - 1 and len(summary["parts"]) == parts
    assert called["sign"]["share"] >= 0.9 and called["replicated"]["share"] >= 0.7
    assert called["replicated"]["p"] <= 0.02 and judged(called, 0.05) == "replicates beyond chance"
    assert 0.5 < called["replicated"]["expected"] <= 1 and called["replicated"]["other"] < 0.2
    planted = edges[(edges["region_a"] == "r0") & edges["region_b"].isin(["r1", "r2", "r3", "r4"])]
    assert planted["same_sign"].mean() > 0.9 and (planted["called_by"] == "fwer").mean() > 0.9


def test_numbers_are_those_of_the_parts_tested_alone():
    cohort = cohort_of(d=1.0)
    edges, _ = run(cohort)
    other = cohort.participants["site"].isin(["s1", "s3"]).to_numpy()
    for who, column in ((~other, "statistic"), (other, "statistic_other")):
        part = chosen_people(cohort, who)
        t = edge_statistics(part.values, part.participants, SPEC["nuisance"], 10, 0).t
        names = cohort.edge_names.assign(t=t)
        both = edges.merge(names, on=["region_a", "region_b"])
        np.testing.assert_allclose(both[column], both["t"], rtol=1e-4)
    np.testing.assert_array_equal(edges["same_sign"], edges["statistic"] * edges["statistic_other"] > 0)
    above = edges["p_other"] < 0.5
    np.testing.assert_array_equal(above, edges["same_sign"])


def test_lists_are_the_strongest_so_that_a_plain_list_of_their_length_is_the_same():
    edges, summary = run(cohort_of(d=0.9))
    n = [lists_of(summary)[name]["n"] for name in ("fwer", "fdr", "strongest")]
    assert 0 < n[0] <= n[1] and n[2] == 30
    assert (edges["called_by"].to_numpy()[: n[0]] == "fwer").all()
    assert edges["statistic"].abs().is_monotonic_decreasing and len(edges) == max(n)


@pytest.mark.parametrize("asked", ["site", ["s1", "s3"]])
def test_where_nothing_differs_shares_are_at_their_base_and_p_is_uniform(asked):
    shares, p = [], []
    for seed in range(60):
        spec = {"replicate": asked, "permutations": 99, "seed": seed}
        strongest = lists_of(run(cohort_of(100 + seed, 80, regions=10), **spec)[1])["strongest"]
        shares.append([strongest["sign"]["share"], strongest["replicated"]["share"]])
        p.append([strongest["sign"]["p"], strongest["replicated"]["p"]])
    assert np.abs(np.mean(shares, 0) - (0.5, 0.05)).max() < 0.04
    for level, fewest, most in ((0.05, 0, 9), (0.5, 18, 42)):  # of 60, at 99.8 %
        counts = (np.array(p) <= level).sum(0)
        assert (counts <= most).all() and counts[0] >= fewest, (level, counts)


def test_a_difference_that_turns_around_is_said_to():
    edges, summary = run(cohort_of(d=1.5, turned=("s1", "s3"), regions=6))
    called = lists_of(summary)["fwer"]
    assert called["n"] >= 4 and called["sign"]["share"] < 0.2 and called["sign"]["p"] > 0.5
    assert not edges.head(4)["same_sign"].any() and edges.head(4)["p_other"].min() > 0.95
    assert judged(called, 0.05).startswith("does not replicate")
    assert judged(called | {"sign": called["sign"] | {"chance": [0.4, 0.6]}}, 0.05).endswith("often than by chance")


def test_of_copies_of_a_scan_one_is_kept_so_that_nobody_is_on_both_sides():
    whole = cohort_of()
    cohort, k = chosen_people(whole, whole.participants["site"].isin(["s0", "s1"]).to_numpy()), np.arange(80)
    copied = (k % 2 == 1) & (k < 40)  # half of s1 are scans of s0
    cohort.values[copied] = cohort.values[k % 2 == 0][:20]
    people = cohort.participants.assign(scan_group=np.where(copied, k - 1, k))
    edges, summary = run(replace(cohort, participants=people), replicate=["s1"])
    assert summary["n_copies"] == 20 and summary["parts"][0]["n_other_cases"] == 10
    pd.testing.assert_frame_equal(edges, run(chosen_people(cohort, ~copied), replicate=["s1"])[0])
    leaking = lists_of(run(cohort, replicate=["s1"])[1])["strongest"]
    assert leaking["sign"]["share"] > lists_of(summary)["strongest"]["sign"]["share"]


def test_sites_that_cannot_be_looked_at_are_named_with_the_reason():
    cohort = cohort_of()
    people = cohort.participants.copy()
    people.loc[people["site"] == "s2", "label"] = 1
    few = (people["site"] == "s3") & (people["label"] == 0)
    kept = ~(few & (few.cumsum() > 3)).to_numpy()
    cohort = chosen_people(replace(cohort, participants=people), kept)
    parts, left_out = parts_of(cohort.participants, "site")
    assert list(parts) == ["s0", "s1"] and "one group only (40 patients, 0 controls)" in left_out["s2"]
    assert "20 patients and 3 controls, and 5 of each are needed" in left_out["s3"]
    _, summary = run(cohort, replicate="site")
    assert "s2 (one group only" in sentence(summary | {"reason": "x"})
    parts, left_out = parts_of(cohort.participants, ["s1", "s2"])
    assert list(parts) == ["s1"] and list(left_out) == ["s2"]
    _, summary = run(cohort, replicate=["s1", "s2"])
    row = summary["parts"][0]
    assert row["n_calling_cases"] == 40 and row["n_other_cases"] == 20  # nobody of s2 on either side


def test_an_unknown_site_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"of site S1 .*; did you mean s1\? Sites are s0, s1, s2, s3"):
        run(cohort_of(), replicate=["S1"])
    with pytest.raises(ValueError, match="names all sites"):
        run(cohort_of(), replicate=["s0", "s1", "s2", "s3"])


def test_too_few_people_are_said_and_nothing_is_computed():
    cohort = cohort_of(0, 32)
    edges, summary = run(cohort, replicate="site")
    assert edges.empty and summary["lists"] == [] and len(summary["left_out"]) == 4
    assert "was not computed" in sentence(summary) and "s0 (4 patients and 4 controls" in sentence(summary)
    assert list_table(summary) is None and part_table(summary) is None and paragraph(summary) == ""
    one = replace(cohort, participants=cohort.participants.assign(site="here"))
    assert "left to call" in run(one, replicate="site")[1]["left_out"]["here"]
    determined = cohort_of(0, 80)
    determined.participants["age"] = determined.participants["label"].astype(float)
    assert "determine the group" in next(iter(run(determined)[1]["left_out"].values()))


def test_directed_edges_and_edges_that_some_lack():
    edges, summary = run(cohort_of(d=1.5, directed=True, measure="lagged", regions=8))
    assert summary["parts"][0]["n_edges"] == 56 and edges.head(4)["same_sign"].mean() > 0.7
    cohort = cohort_of(d=1.5, measure="fa", regions=8)
    cohort.values[cohort.participants["site"] == "s1", 0] = np.nan  # too many of the part that is looked at
    cohort.values[::20, 1] = np.nan
    edges, summary = run(cohort)
    called = lists_of(summary)["fwer"]
    assert summary["parts"][0]["n_edges"] == 27 and called["n_unseen"] == 1
    assert "r1" not in set(edges.loc[edges["region_a"] == "r0", "region_b"])
    assert np.isfinite(edges["statistic_other"]).all()


def test_labels_as_they_are_give_the_shares_of_the_table():
    cohort = cohort_of(3, 120, d=0.7)
    other = cohort.participants["site"].isin(["s1", "s3"]).to_numpy()
    split = _split("s1, s3", cohort, other, {}, SPEC)
    labels = np.stack([cohort.labels, 1 - cohort.labels])
    for anew in (False, True):
        counts = _agreements(split, labels, anew)
        t = (split.other.t * np.sign(split.calling.t))[split.order]
        assert counts[0, :, 0].tolist() == [(t[:n] > 0).sum() for n in split.lengths]
    assert (counts[0] == counts[1]).all()  # both sides turned around


def test_the_jackknife_is_that_of_a_ratio():
    low, high = jackknife(np.array([9, 5, 8, 6]), np.array([10, 10, 10, 10]))
    error = 3.182 * np.std([0.9, 0.5, 0.8, 0.6], ddof=1) / 2  # of equal parts: that of a mean
    np.testing.assert_allclose([low, high], [0.7 - error, min(1, 0.7 + error)], rtol=1e-3)
    assert jackknife(np.array([3, 3]), np.array([3, 4])) == (None, None)


def test_the_report_says_which_lists_replicate():
    edges, summary = run(cohort_of(d=1.3), replicate="site")
    said = sentence(summary)
    assert said.startswith("Connections were called 4 times, each time without one site")
    assert "The list of max-T replicates beyond chance: of 1" in said and "keep their direction (all others: " in said
    table = list_table(summary)
    assert [row.cells[0] for row in table.rows[::2]] == ["max-T", "Benjamini-Hochberg", "strongest"]
    assert table.rows[0].mark == "best" and len(part_table(summary).rows) == 4
    drawn = scatter_figure(Asked(edges, summary)).axes[0]
    assert sum(len(one.get_offsets()) for one in drawn.collections) == len(edges)
    assert "each site in turn (at least 5" in paragraph(summary) and "anew" in paragraph(summary)
    nothing = [row | {"n": 0} if row["name"] == "fwer" else row for row in summary["lists"]]
    assert "Nothing was called by max-T." in sentence(summary | {"lists": nothing})
    assert "without s1, s3, and looked at there" in sentence(run(cohort_of(d=1.3))[1])


def test_the_page_has_table_figure_and_verdict(monkeypatch):
    monkeypatch.setattr(report, "drawn", lambda drawings, _: ({name: to_svg(Figure()) for name in drawings}, {}))
    edges, summary = run(cohort_of(d=1.3), replicate="site")
    results = results_of(replication=Asked(edges, summary))
    page, document = page_of(results)
    assert "replication" in page.figures and "What became of connections in people who had no part" in document.text
    assert said(results)["Replication"].startswith("Connections were called 4 times")
    none = results_of(replication=Asked(*run(cohort_of(0, 32), replicate="site")))
    assert "Replication was not computed" in page_of(none)[1].text
