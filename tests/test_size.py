"""Pages and figures of thousands of people are no larger than those of a thousand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from dysconnect.paper.style import POINTS, drawn_of, evenly
from dysconnect.paper.svg import to_svg
from dysconnect.paper.tables import MOST_LISTED, first_of
from dysconnect.report.cohort.figures import motion_figure
from dysconnect.report.measures import MEASURES, person_table
from dysconnect.report.people.subjects import LINES, position
from dysconnect.report.prediction.figures import probability_figure
from dysconnect.report.stimulation.tables import patient_rows


@pytest.fixture
def quality():
    return yaml.safe_load(Path(__file__).parents[1].joinpath("configs/config.yaml").read_text())["quality"]


def scans(n: int) -> pd.DataFrame:
    """Measures of many scans, the last one far from the others."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({name: np.abs(rng.normal(0.1, 0.03, n)) for name in MEASURES})
    table.loc[n - 1, "mean_fd"] = 0.9
    names = [f"sub-{k:05d}" for k in range(n)]
    return table.assign(participant_id=names, group="HC", included=True, exclusion_reason="", note="", problem="")


def test_few_values_are_all_drawn_and_of_many_both_ends():
    few, many = np.random.default_rng(0).normal(size=(2, 3000))
    assert (evenly(few[:POINTS]) == np.arange(POINTS)).all()
    many[7] = np.nan
    drawn = many[evenly(many)]
    assert len(drawn) == POINTS and drawn.min() == np.nanmin(many) and drawn.max() == np.nanmax(many)
    assert np.abs(np.quantile(drawn, [0.1, 0.5, 0.9]) - np.nanquantile(many, [0.1, 0.5, 0.9])).max() < 0.01
    assert not drawn_of(POINTS) and "1,000" in drawn_of(POINTS + 1)


def test_the_picture_of_a_scan_does_not_grow_with_the_cohort(quality):
    some, many = (position(scans(n), n - 1, quality) for n in (2 * LINES, 20 * LINES))
    assert len(str(many)) < 1.05 * len(str(some))


def test_points_of_people_do_not_grow_with_the_cohort():
    rng, sizes = np.random.default_rng(1), []
    for n in (3 * POINTS, 12 * POINTS):
        people = pd.DataFrame({"group": np.repeat(["DYT", "HC"], n // 2), "mean_fd": rng.uniform(0, 0.4, n)})
        motion = motion_figure(people.assign(included=True), {"cases": ["DYT"], "controls": ["HC"]}, 0.5)
        told = pd.DataFrame({"participant_id": range(n), "label": np.arange(n) % 2, "probability": rng.uniform(size=n)})
        sizes.append([len(to_svg(motion)), len(to_svg(probability_figure(told)))])
    assert (np.array(sizes[1]) < 1.05 * np.array(sizes[0])).all()


def test_tables_list_the_first_and_say_so(quality):
    table = person_table(scans(MOST_LISTED + 5), quality, "")
    beyond = [bool(row.beyond) for row in table.rows]
    assert len(beyond) == MOST_LISTED and "1,000 of 1,005" in table.caption and beyond == sorted(beyond)[::-1]
    assert sum("sub-01004" in str(row.cells) for row in table.rows) == 1  # at the end of the cohort, and marked
    targets = pd.DataFrame({"participant_id": [f"sub-{k}" for k in range(MOST_LISTED + 1)], "kind": "node", "rank": 1})
    table = patient_rows(targets.assign(target="x", score=1.0, cost=0.0, shift=0.1))
    assert len(table.rows) == MOST_LISTED and "1,001 patients" in table.caption and "1,000 of 1,001" in table.caption
    assert first_of(MOST_LISTED) == ""
