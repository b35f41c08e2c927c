"""The report says what maps of models may claim, and shows none that is withheld."""

import numpy as np
import pytest
from test_report import GOOD, NODES, Document, cohort_of, experiments_of, results_of

from dysconnect.attribute.curves import SHARES
from dysconnect.paper.svg import to_svg
from dysconnect.report import render
from dysconnect.report.maps import curves_figure, gains, map_table


def curves_of(drop: float) -> dict:
    """Curves that fall from 0.8 and rise to it, and their areas."""
    falls = np.linspace(0.8, 0.8 - drop, len(SHARES))
    areas = {"deletion_area": 0.8 - drop / 2, "insertion_area": 0.5 + drop / 2}
    return {"deletion": falls.tolist(), "insertion": falls[::-1].tolist(), **areas}


def method_of(recovers: bool, passed: bool | None, drop: float = 0.3, curves: bool = True) -> dict:
    """What is told of a map."""
    return {
        "label": "recovers planted edges" if recovers else "model diagnostic",
        "recovers": recovers,
        "reason": "0.99 [0.93, 1.07] of |t| in 8 planted cohorts" if recovers else "not measured",
        "stability": {"maps": 10, "top": 100, "nogueira": [0.61, 0.55, 0.67], "kuncheva": 0.61, "icc": 0.72},
        "sanity": None
        if passed is None
        else {"folds": 0.4, "random_weights": 0.0, "shuffled_labels": 0.1, "passed": passed},
        "curves": curves_of(drop) if curves else None,
    }


def maps_of() -> dict[str, dict]:
    """A ridge regression that is shown, a tangent model with a pattern only, a network that is withheld."""
    tested = {"permutations": 5000, "n_fwer": 3}
    screened = {"splits": 10, "screened": 50, "permutations": 5000, "seed": 0, "tested": 10}
    shown = {"shown": True, "verdict": "shown: beats its permutation null (p = 0.002)", "shares": list(SHARES)}
    ridge = {"weights": method_of(True, True), "haufe": method_of(False, False, 0.1)}
    return {
        "correlation_ridge": {
            **shown,
            "methods": ridge,
            "random": curves_of(0.2),
            "weights": {"penalty": 1, **tested},
            "screening": {**screened, "n_fwer": 1234},
        },
        "tangent_ridge": {**shown, "methods": {"haufe": method_of(False, None, curves=False)}, "random": None},
        "gcn": {
            "shown": False,
            "verdict": "withheld: not tested against permuted labels",
            "methods": {},
            "random": None,
            "shares": list(SHARES),
            "screening": {**screened, "n_fwer": 0},
        },
    }


def rows_of(table) -> list[list[str]]:
    return [[cell if isinstance(cell, str) else " ".join(cell) for cell in row.cells] for row in table.rows]


def test_every_map_and_every_test_has_a_row():
    rows = rows_of(map_table(maps_of(), 0.05))
    assert [row[:2] for row in rows] == [
        ["correlation ridge", "weights"],
        ["correlation ridge", "pattern (Haufe)"],
        ["correlation ridge", "ridge weights, max-T"],
        ["correlation ridge", "screened in halves, max-T"],
        ["tangent ridge", "pattern (Haufe)"],
        ["GCN", "—"],
        ["GCN", "screened in halves, max-T"],
    ]
    assert all(len(row) == len(map_table(maps_of(), 0.05).columns) for row in rows)
    weights = rows[0]
    assert weights[2] == "recovers planted edges 0.99 [0.93, 1.07] of |t| in 8 planted cohorts"
    assert weights[3:8] == ["0.61 [0.55, 0.67]", "0.72", "0.05", "0.05", "passed"]
    assert rows[1][7] == "failed" and rows[4][5:8] == ["—", "—", "—"]
    assert rows[2][-1] == "3" and rows[3][-1] == "1,234" and rows[6][-1] == "0"
    assert "10 splits, 50 connections each" in rows[3][2]


def test_a_map_without_words_of_its_own_bears_its_name():
    maps = maps_of()
    maps["tangent_ridge"]["methods"] = {"new_kind": method_of(False, None, curves=False)}
    assert rows_of(map_table(maps, 0.05))[4][:2] == ["tangent ridge", "new kind"]


def test_a_withheld_map_is_named_with_its_reason():
    row = rows_of(map_table(maps_of(), 0.05))[5]
    assert row[2] == "withheld: not tested against permuted labels" and set(row[3:]) == {"—"}


def test_only_a_map_that_recovers_and_passes_is_marked():
    marks = [row.mark for row in map_table(maps_of(), 0.05).rows]
    assert marks == ["best", "", "best", "best", "", "aside", ""]
    failed = maps_of()
    failed["correlation_ridge"]["methods"]["weights"]["sanity"]["passed"] = False
    assert map_table(failed, 0.05).rows[0].mark == ""


def test_gains_are_those_beyond_random():
    assert gains(curves_of(0.3), curves_of(0.2)) == pytest.approx((0.05, 0.05))
    assert np.isnan(gains(None, curves_of(0.2))).all()


def test_curves_are_drawn_of_models_that_have_some():
    drawn = to_svg(curves_figure(maps_of()))
    for words in ("correlation ridge: deletion", "correlation ridge: insertion", "random", "weights", "AUC, held out"):
        assert words in drawn
    assert "GCN" not in drawn and "tangent" not in drawn
    assert to_svg(curves_figure(maps_of())) == drawn
    withheld = {"gcn": maps_of()["gcn"]}
    assert "No curves" in to_svg(curves_figure(withheld))


def test_the_page_has_the_maps():
    page = render(results_of(maps=maps_of()), {**cohort_of(), "localize": {**cohort_of()["localize"], "screened": 50,
                  "screening_splits": 10}}, experiments_of(GOOD), NODES, "2026-01-02")  # fmt: skip
    document = Document(page.html)
    assert "Maps of models" in document.text and "withheld: not tested against permuted labels" in document.text
    assert "maps" in page.figures and "figure-maps" in document.captions
    assert "Nogueira S, Sechidis K, Brown G" in document.text and "Meinshausen N, Meier L" in document.text


def test_without_maps_nothing_is_said():
    document = Document(render(results_of(), cohort_of(), experiments_of(GOOD), NODES, "2026-01-02").html)
    assert "Maps of models" not in document.text
