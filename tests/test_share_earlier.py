"""Releases of the same people by other settings, and what few of them lack: nobody is given away by a difference."""

from dataclasses import replace

import numpy as np
import pytest
from clinics import CIRCUITS, clinic, given
from test_share_gate import PLAIN, made

from dysconnect.data.atlas import load_atlas
from dysconnect.data.cohort import Cohort
from dysconnect.share.gate import check_models
from dysconnect.share.ledger import FILE, Ledger
from dysconnect.share.masked import circuit_means
from dysconnect.share.package import write_package
from dysconnect.share.release import Circuits, NotSharedError, gathered, people_of, released
from dysconnect.share.unpacked import read_package
from dysconnect.share.withheld import fit_outcomes


@pytest.fixture
def ledger(tmp_path):
    return Ledger.read(tmp_path / FILE)


def test_who_lacks_a_region_in_one_release_of_two_is_not_given_away(tmp_path):
    cohort = clinic("a", 60, 1)
    lacks = replace(cohort, missing=cohort.missing.copy())
    lacks.missing[7, 2] = True
    first, _ = made(tmp_path, lacks, contact="first@clinic.example")
    touching = cohort.pairs.touching(lacks.missing[7:8])[0]
    assert first.sums.given.all()
    again, _ = made(tmp_path, lacks, contact="second@clinic.example")  # as before: all is given again
    assert again.sums.given.all() and again.about["release"] != first.about["release"]
    with pytest.raises(NotSharedError, match="difference: of 1 people the connections are not those of release"):
        made(tmp_path, cohort)
    other = replace(cohort, values=cohort.values + np.float32(1e-4))  # everybody's has changed a little
    package, _ = made(tmp_path, other)
    assert (package.sums.given[:45] == ~touching).all()
    assert list(package.sums.given[45:]) == [not touching[inside].any() for inside in motor_circuits().edges]


def motor_circuits():
    return Circuits.of_atlas(load_atlas("motor10"), CIRCUITS, False)


def test_people_are_the_same_without_sub_before_their_names(tmp_path):
    cohort = clinic("a", 60, 1)
    made(tmp_path, cohort)
    table = cohort.participants.assign(participant_id=lambda rows: rows["participant_id"].str.removeprefix("sub-"))
    kept = np.arange(60) != 7
    fewer = Cohort(table[kept].reset_index(drop=True), cohort.values[kept], cohort.missing[kept], cohort.nodes,
                   cohort.measure)  # fmt: skip
    with pytest.raises(NotSharedError, match="differ by 1"):
        made(tmp_path, fewer)


def test_few_models_are_tested_on_the_same_people(ledger):
    models, names = [{"checksum": f"{k:064d}"} for k in range(11)], ["sub-a", "sub-b"]
    check_models(models[:10], ledger, names)
    ledger.add("a" * 16, "kiel", "ds", names, np.ones((2, 1)), 1, models=[one["checksum"] for one in models[:9]])
    check_models(models[:10], ledger, names[1:])
    with pytest.raises(NotSharedError, match=r"share\.models: 11 models .* over all releases, and 10 are the most"):
        check_models(models[9:], ledger, names[1:])
    check_models(models[9:], ledger, ["sub-c"])
    check_models([], ledger, names)


def test_few_sessions_are_answered_about_the_same_people(ledger):
    for release in "ab":
        ledger.add(release * 16, "kiel", "ds", ["sub-a", "sub-b"], np.ones((2, 1)), 1)
    for session in ("1", "2", "1"):
        ledger.answer("a" * 16, session, 3)
    ledger.answer("b" * 16, "3", 3)
    with pytest.raises(NotSharedError, match="3 sessions were answered about these people"):
        ledger.answer("b" * 16, "4", 3)
    ledger.answer("b" * 16, "2", 3)  # the same again


def test_a_mean_is_of_what_somebody_has(tmp_path):
    """A region that nobody has makes no mean smaller, and hides no connection of few people behind it."""
    cohort = clinic("a", 60, 1)
    lacks = replace(cohort, missing=cohort.missing.copy())
    lacks.missing[:, 0] = True  # four connections that nobody has
    lacks.missing[5:, 5] = True  # and one that five people have
    pairs = [(0, 1), (0, 2), (0, 3), (0, 4), (5, 6), *((a, b) for a in (1, 2, 3) for b in (7, 8))]
    i, j = cohort.pairs.ends
    place = {(a, b): k for k, (a, b) in enumerate(zip(i, j))}
    inside = np.array([place[pair] for pair in pairs])
    design, rows = people_of(lacks, PLAIN, "a")
    fit = lambda *edges: fit_outcomes(lacks, rows, design, Circuits(["x"], [inside[list(edges)]]), PLAIN)[45]
    assert fit(*range(5, 11)) and fit(0, 1, *range(5, 11))
    assert not fit(*range(4, 11)) and not fit(*range(11))
    circuits = Circuits(["x"], [inside[[0, 1, 5, 6, 7, 8]]])
    sums = released([gathered(lacks, design, rows, circuits)], design, circuits, 0.1, np.ones(46, bool)).everybody
    wanted = cohort.values[:, circuits.edges[0][2:]].mean(1, dtype=float)
    assert sums.xy[:, 45] == pytest.approx(design.values.T @ wanted) and sums.yy[45] == pytest.approx(wanted @ wanted)
    assert circuit_means(lacks, rows, circuits)[:, 0] == pytest.approx(wanted)


@pytest.mark.parametrize("shift", [0.3, 30.0])
def test_controls_who_lack_a_connection_are_part_of_everybody(shift, tmp_path):
    cohort = clinic("a", 60, 1, lacking=0.08)
    values = cohort.values + np.float32(shift) * cohort.labels[:, None].astype(np.float32)
    write_package(tmp_path / "a.zip", given(replace(cohort, values=values), "a")[0])
    package = read_package(tmp_path / "a.zip")
    assert package.norm is not None and cohort.missing.any()
