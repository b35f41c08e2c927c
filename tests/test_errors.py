"""Counts of null cohorts: what is kept of them, the band for all cells jointly, and what is flagged."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, ttest_ind

ROOT = Path(__file__).resolve().parents[1]
PLAIN, IN, OUT = "plain", "motion in", "motion out"


@pytest.fixture(scope="module")
def errors():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import errors

    yield errors
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def bands(errors):
    return sys.modules["bands"]


def coin(seed: int) -> dict:
    """Calls of a cohort that only its seed decides; the third method does not fit."""
    calls = np.random.default_rng(seed).random((3, 2)) < [[0.05], [0.05], [0.9]]
    return {name: {"one": bool(row[0]), "two": bool(row[1])} for name, row in zip((PLAIN, IN, OUT), calls)}


def planted(errors, path: Path, calls_of, seeds) -> Path:
    counts = errors.Counts(path, "of a test")
    for seed in seeds:
        counts.add(seed, calls_of(seed))
    return path


def test_a_line_says_what_was_called_in_every_scenario(errors, bands, tmp_path):
    calls = {PLAIN: {"a": True, "b": False}, IN: {"a": True, "b": False}, OUT: {"a": True, "b": True, "c": True}}
    path = planted(errors, tmp_path / "x.tsv", lambda _: calls, [4])
    assert path.read_text() == "# of a test\n# a; b; c\nseed\tcalls\n4\t74.\n"
    table = bands.read_counts(path)
    assert table.to_dict() == {"a": {4: 7}, "b": {4: 4}}  # c does not fit, and is no cell


def test_what_a_kill_left_of_a_file_can_be_looked_at(errors, bands, tmp_path):
    path = planted(errors, tmp_path / "x.tsv", coin, range(5))
    whole, table = path.read_bytes(), bands.read_counts(path)
    path.write_bytes(whole[:-2])
    pd.testing.assert_frame_equal(bands.read_counts(path), table.iloc[:-1])
    for size in (0, 3, 14):
        path.write_bytes(whole[:size])
        assert bands.read_counts(path).empty


@pytest.mark.parametrize("cut", [1, 3, 7])
def test_half_a_line_is_counted_again_and_the_file_is_as_if_nothing_had_happened(errors, tmp_path, cut):
    whole = planted(errors, tmp_path / "whole.tsv", coin, range(5)).read_bytes()
    path = tmp_path / "cut.tsv"
    path.write_bytes(whole[:-cut])
    counts = errors.Counts(path, "of a test")
    assert counts.seeds == ({0, 1, 2, 3} if cut < 6 else {0, 1, 2})
    for seed in set(range(5)) - counts.seeds:
        counts.add(seed, coin(seed))
    assert path.read_bytes() == whole


def test_a_file_that_was_cut_in_its_head_is_begun_again(errors, tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("# of a test\n# one; tw")
    assert planted(errors, path, coin, [0]).read_text().startswith("# of a test\n# one; two\nseed\tcalls\n0\t")


@pytest.mark.parametrize("other", ["settings", "methods"])
def test_counts_under_other_settings_are_refused(errors, tmp_path, other):
    path = planted(errors, tmp_path / "x.tsv", coin, [0])
    with pytest.raises(SystemExit, match="Give another --counts"):
        if other == "settings":
            errors.Counts(path, "of another test")
        else:
            errors.Counts(path, "of a test").add(1, {name: {"one": True} for name in (PLAIN, IN, OUT)})


def test_the_order_of_seeds_does_not_matter(errors, bands, tmp_path):
    one = bands.read_counts(planted(errors, tmp_path / "a.tsv", coin, range(150)))
    other = bands.read_counts(planted(errors, tmp_path / "b.tsv", coin, np.random.default_rng(0).permutation(150)))
    assert one.equals(other) and bands.judged({"x": one}).equals(bands.judged({"x": other}))


def test_the_band_of_one_cell_is_binomial_and_that_of_many_is_sidaks(bands):
    rng = np.random.default_rng(0)
    one = rng.random((1000, 1)) < 0.05
    assert bands.Band(norm.isf(0.025)).limits(1000) == (37, 64)
    assert bands.band_of([one]).z == pytest.approx(norm.isf(0.025), abs=0.12)
    assert bands.band_of([np.repeat(one, 30, axis=1)]).z == pytest.approx(bands.band_of([one]).z, abs=0.05)
    sidak = norm.isf((1 - 0.95 ** (1 / 40)) / 2)
    assert bands.band_of([rng.random((1000, 20)) < 0.05, rng.random((1000, 20)) < 0.05]).z == pytest.approx(sidak, 0.1)


def smallest_p(seed: int, corrected: bool) -> dict:
    """A cohort of 30 connections: a t-test each, corrected by Bonferroni or not at all."""
    values = np.random.default_rng([seed, 3]).standard_normal((20, 30))
    p = ttest_ind(values[:10], values[10:]).pvalue.min() * (30 if corrected else 1)
    return {PLAIN: {"test": p <= 0.05}, IN: {"test": False}, OUT: {"test": True}}


@pytest.mark.parametrize("corrected", [True, False])
def test_a_method_without_a_correction_is_flagged_and_again_by_fresh_seeds(errors, bands, tmp_path, corrected):
    seeds = [*range(150), *range(1000, 1120)]
    path = planted(errors, tmp_path / "x.tsv", lambda seed: smallest_p(seed, corrected), seeds)
    cells = bands.judged({"x": bands.read_counts(path)}).set_index("scenario")
    assert cells["verdict"].to_dict() == {
        PLAIN: "" if corrected else bands.ABOVE, IN: bands.BELOW, OUT: bands.FAILS,
    }  # fmt: skip
    assert cells["cohorts"].eq(150).all()  # the first count stays what it was
    assert cells.loc[PLAIN, "again"].endswith("of 120, above") == (not corrected)
    troubles = bands.troubles(cells.reset_index(), {"x": {}})
    assert [line.split(":")[0] for line in troubles] == ([] if corrected else ["x, plain"])


def test_a_cell_that_was_above_by_chance_is_let_go_by_fresh_seeds(errors, bands, tmp_path):
    unlucky = lambda seed: {PLAIN: {"a": seed < 40}, IN: {"a": False}, OUT: {"a": True}}
    path = planted(errors, tmp_path / "x.tsv", unlucky, [*range(200), *range(1000, 1200)])
    cells = bands.judged({"x": bands.read_counts(path)})
    assert cells["verdict"][0] == bands.ABOVE and cells["again"][0] == "0 of 200, inside"
    assert not bands.troubles(cells, {"x": {}})


def test_a_test_in_the_direction_in_which_motion_moves_nothing_need_not_fail(errors, bands, tmp_path):
    lower = lambda seed: {name: {"a": name == OUT, "a, patients higher": False} for name in (PLAIN, IN, OUT)}
    cells = bands.judged({"x": bands.read_counts(planted(errors, tmp_path / "x.tsv", lower, range(200)))})
    assert (cells["verdict"] == bands.STAYS).sum() == 1 and not bands.troubles(cells, {"x": {}})


def test_motion_that_is_left_out_and_does_no_harm_is_trouble_where_it_must(errors, bands, tmp_path):
    harmless = lambda seed: {name: {"a": seed % 20 == 0} for name in (PLAIN, IN, OUT)}
    cells = bands.judged({"x": bands.read_counts(planted(errors, tmp_path / "x.tsv", harmless, range(200)))})
    assert bands.troubles(cells, {"x": {}}) == ["x: a does not fail where motion is left out: 10 of 200"]
    assert bands.troubles(cells, {"x": {"a": "it is blind to it"}}) == []
    assert "does not fail" in bands.words(cells, {"x": "of a test"}, {"x": {}}, every=False)


def test_the_command_goes_on_whoever_counts_and_writes_its_page(errors, tmp_path, monkeypatch, capsys):
    source = sys.modules["nulls"].Source("of a test", lambda data, work: coin)
    monkeypatch.setattr(errors, "SOURCES", {"x": source})

    def run(*more: str) -> int:
        monkeypatch.setattr(sys, "argv", ["errors.py", "--counts", str(tmp_path), *more])
        return errors.main()

    assert run("--seeds", "0-9") == 0
    assert run("--seeds", "0-119", "--workers", "2") == 0 and "x: 0 of 120 cohorts left" in capsys.readouterr().out
    straight = planted(errors, tmp_path / "straight.tsv", coin, range(120)).read_text().splitlines()
    assert sorted((tmp_path / "x.tsv").read_text().splitlines()) == sorted(straight)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- errors -->\nold\n<!-- end -->\nafter\n")
    assert run("--page", str(page)) == 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "**x**: of a test; 120 cohorts." in text and "| one |" in text


def test_only_sources_with_a_cell_above_the_band_are_counted_again(errors, tmp_path, monkeypatch, capsys):
    broken = lambda seed: coin(seed) | {PLAIN: {"one": seed % 2 == 0, "two": False}}
    sources = {name: sys.modules["nulls"].Source(name, lambda data, work, of=of: of) for name, of in
               (("fine", coin), ("broken", broken))}  # fmt: skip
    monkeypatch.setattr(errors, "SOURCES", sources)
    for more in (["--seeds", "0-119"], ["--again"]):
        monkeypatch.setattr(sys, "argv", ["errors.py", "--counts", str(tmp_path), *more])
        status = errors.main()
    told = capsys.readouterr()
    assert status == 1 and told.err == "broken, plain: one calls too often: 500 of 1000, above\n"
    assert len(errors.counted(tmp_path)["broken"]) == 1120 and len(errors.counted(tmp_path)["fine"]) == 120


@pytest.fixture(scope="module")
def simulated(errors):
    with errors.quiet():
        return sys.modules["nulls"].SOURCES["simulated"].make(None, None)


def test_a_committed_line_is_what_its_seed_gives(errors, simulated):
    counts = errors.Counts(errors.COUNTS / "errors/simulated.tsv", errors.SOURCES["simulated"].about)
    line = next(line for line in counts.path.read_text().splitlines() if line.startswith("3\t"))
    with errors.quiet():
        assert line.split("\t")[1] == errors.digits(simulated(3), counts.methods)


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("matrices", {"fa: max-T", "count: TFNBS", "fa: max-T, Freedman-Lane", "three maps as one: circuits"}),
        ("questions", {"anything at all", "three groups, max-T", "sums of sites, circuits, permuted"}),
    ],
)
def test_a_kind_of_cohorts_is_tested_by_the_same_methods_in_all_scenarios(errors, source, asked):
    with errors.quiet():
        calls = errors.SOURCES[source].make(None, None)(0)
    assert list(calls) == [PLAIN, IN, OUT]
    assert asked <= set(calls[PLAIN]) and all(list(one) == list(calls[PLAIN]) for one in calls.values())
