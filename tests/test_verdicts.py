"""Cohorts counted from seed to verdict: as the stages' own files say, and not again what is counted already."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    "dataset.patients=14 dataset.controls=14 dataset.volumes=150 dataset.plant.edges=10 dataset.plant.effect=3 "
    "dataset.plant.carriers=1 localize.permutations=100 training.permutations=99 stimulate.permutations=19 "
    "localize.stability_draws=2 evaluate.bootstraps=100 denoise.min_seconds=100"
)


@pytest.fixture(scope="module")
def verdicts():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import verdicts

    yield verdicts
    sys.path.remove(str(ROOT / "benchmarks"))


def test_six_digits_are_those_of_a_written_table(verdicts):
    values = np.random.default_rng(0).standard_normal((50, 20)) * 10.0 ** np.arange(-10, 10)
    values[0, 0], values[1] = 0.0, np.nan
    written = np.array([[float(f"{value:.6g}") for value in row] for row in values])
    np.testing.assert_allclose(verdicts.six_digits(values), written, rtol=1e-15, atol=0)


def test_a_cohort_is_counted_once(verdicts, tmp_path, monkeypatch):
    asked = ["verdicts.py", str(tmp_path / "out.jsonl"), "--regions", "60", "--experiment", "floor,correlation_ridge"]
    asked += ["--seeds", "3", "--set", *SMALL.split()]
    monkeypatch.setattr(sys, "argv", asked)
    verdicts.main()
    verdicts.main()
    (line,) = verdicts.lines_of(tmp_path / "out.jsonl")
    assert line["seed"] == 3 and line["n"] == 23  # five scans are spoiled
    assert 0 < line["max-T called"] - line["max-T false"] <= 10 and line["edge p"] == pytest.approx(1 / 101)
    assert {"edge", "correlation_ridge"} <= {*line["names"]}
    monkeypatch.setattr(sys, "argv", [*asked, "dataset.plant.effect=2.5"])
    verdicts.main()
    assert len(verdicts.lines_of(tmp_path / "out.jsonl")) == 2


def test_a_line_cut_off_by_a_kill_is_counted_again(verdicts, tmp_path):
    file = tmp_path / "new" / "out.jsonl"
    verdicts.add_line(file, {"seed": 1, "p": np.float32(0.5)})
    file.write_text(file.read_text() + '{"seed": 2, "p"')
    assert verdicts.lines_of(file) == [{"seed": 1, "p": 0.5}]
    verdicts.add_line(file, {"seed": 2})
    assert verdicts.lines_of(file) == [{"seed": 1, "p": 0.5}, {"seed": 2}]


def test_spread_counts_flags_and_ranks_numbers(verdicts):
    names = [["edges"], [], [], []]
    lines = [
        {"seed": k, "a AUC": 0.5 + k / 10, "a p": 0.01 + k / 25, "first": k < 3, "names": names[k]} for k in range(4)
    ]
    table = verdicts.spread(pd.DataFrame(lines).to_dict("records")).set_index("what")["value"]
    assert table["a AUC"] == "0.65 [0.575, 0.725]"
    assert table["a p <= .05"].startswith("2 of 4: 0.50 [0.15, 0.85]")  # Wilson, by hand
    assert table["first"].startswith("3 of 4") and table["verdict names edges"].startswith("1 of 4")


def test_the_most_typical_seed_is_in_the_middle_and_has_the_usual_verdict(verdicts):
    lines = [
        {"seed": k, "a AUC": k / 10, "a p": 0.01, "b called": (7 * k) % 5, "first region p": 0.5} for k in range(5)
    ]
    order = verdicts.typical(lines)
    assert order[0] in (1, 3)  # ranks 2 and 3, or 4 and 2, of 5
    lines[order[0]]["a p"] = 0.2
    assert verdicts.typical(lines)[-1] == order[0]
