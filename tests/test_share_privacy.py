"""Attacks: each works on what is never written, and fails on what a site gives."""

import io
import json
import re
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from clinics import ASKED, CIRCUITS, clinic, given
from sklearn.metrics import roc_auc_score

from dysconnect.data.atlas import load_atlas
from dysconnect.share.gate import MOST_LEVERAGE, check_release
from dysconnect.share.ledger import FILE, Ledger
from dysconnect.share.package import EPOCH, write_package
from dysconnect.share.page import MEMBERSHIP
from dysconnect.share.release import Circuits, NotSharedError, people_of
from dysconnect.share.weights import basis, leverages, weights_of
from dysconnect.share.withheld import fit_outcomes

PEOPLE = 48
REGIONS = np.triu_indices(200, 1)


@pytest.fixture(scope="module")
def shared():
    """A clinic of 48, what it gives, with the sums of the controls, and its design."""
    cohort = clinic("a", PEOPLE, seed=4)
    spec = ASKED | {"columns": ["age", "sex"]}
    design, _ = people_of(cohort, spec, "a")
    return cohort, given(cohort, "a", columns=spec["columns"])[0], design


def alone(values, labels):
    """Connections beyond the means of both groups."""
    return values - np.stack([values[labels == side].mean(0) for side in (0, 1)])[labels]


def likeness(one, other):
    """Correlation of every person's connections with those that were rebuilt, [n]."""
    return np.array([np.corrcoef(*pair)[0, 1] for pair in zip(one, other)])


def test_permuted_sums_are_raw_data():
    """Why they are never written: 53 of them give 48 people."""
    rng = np.random.default_rng(0)
    values, labels = clinic("a", PEOPLE).values.astype(float), np.arange(PEOPLE) % 2
    permuted = np.array([rng.permutation(labels) for _ in range(PEOPLE + 5)])
    rebuilt = np.linalg.lstsq(permuted, permuted @ values, rcond=None)[0]
    assert likeness(alone(values, labels), alone(rebuilt, labels)).min() > 0.99


def test_nobody_is_rebuilt_from_what_is_shared(shared):
    """The best linear guess at anybody, by an attacker who knows all covariates, is as good as the leverage says.

    Beyond the mean of the group it correlates with the person as the square root of the leverage that is left.
    """
    cohort, package, design = shared
    sums, norm, values = package.sums, package.norm, cohort.values.astype(float)
    weights = weights_of(design, norm=True)
    given_away = np.vstack([sums.xy, norm.xy])[:, : values.shape[1]]
    np.testing.assert_allclose(given_away, weights.T @ values, atol=1e-9)
    assert np.linalg.matrix_rank(weights) <= len(given_away) and 3 * np.linalg.matrix_rank(weights) <= PEOPLE
    rebuilt = np.linalg.lstsq(weights.T, given_away, rcond=None)[0]
    alike = likeness(alone(values, cohort.labels), alone(rebuilt, cohort.labels))
    leverage = leverages(weights)
    print(f"rebuilt from shared sums: r {np.median(alike):.2f}, at most {alike.max():.2f}")
    assert np.median(alike) < 0.4 and alike.max() < np.sqrt(MOST_LEVERAGE) + 0.15
    assert alike.mean() == pytest.approx(np.sqrt(leverage - 2 / PEOPLE).mean(), abs=0.07)


def turned(values, axes, sides, rng):
    """Other people with the same sums: what the axes leave of both groups, turned at random."""
    left = np.linalg.svd(axes)[0][:, axes.shape[1] :]
    other = axes @ (axes.T @ values)
    for side in sides:
        half, size, _ = np.linalg.svd(left * side[:, None], full_matrices=False)
        half = half[:, size > 0.5]
        turn, triangle = np.linalg.qr(rng.normal(size=(half.shape[1],) * 2))
        other += half @ (turn * np.sign(np.diag(triangle))) @ (half.T @ values)
    return other


def test_other_people_give_exactly_the_same_file(shared):
    """So nobody can be computed from it: what the columns leave of people is not in the sums, nor in the controls'."""
    cohort, package, design = shared
    rng, values = np.random.default_rng(5), cohort.values.astype(float)
    axes, controls = basis(weights_of(design, norm=True)), cohort.labels == 0
    away, alike = lambda table: table - axes @ (axes.T @ table), []
    for _ in range(20):
        other = turned(values, axes, (controls, ~controls), rng)
        for who, sums in ((np.ones(PEOPLE, bool), package.sums), (controls, package.norm)):
            edges = slice(values.shape[1])
            np.testing.assert_allclose(design.values[who].T @ other[who], sums.xy[:, edges], atol=1e-9)
            np.testing.assert_allclose((other[who] ** 2).sum(0), sums.yy[edges], atol=1e-9)
        alike.append(likeness(away(values), away(other)))
    assert abs(np.mean(alike)) < 0.05


def test_a_column_of_one_person_would_give_that_person_away_and_is_refused(tmp_path):
    cohort = clinic("a", 40)
    cohort.participants["dose"] = 0.0
    cohort.participants.loc[7, "dose"] = 3.0
    asked = {"columns": ["dose"], "centres": {"dose": 0.0}, "norm": False}
    _, sums, _ = given(cohort, "a", **asked)
    row = sums.xy[sums.columns.index("dose"), :45]
    assert np.corrcoef(row, cohort.values[7])[0, 1] > 1 - 1e-12  # without the gate
    design, _ = people_of(cohort, ASKED | asked, "a")
    with pytest.raises(NotSharedError, match="dose is the same in everybody but some, of whom 1 are patients"):
        check_release(design, ASKED | asked, Ledger.read(tmp_path / FILE))
    cohort.participants["dose"] += np.random.default_rng(0).normal(0, 0.2, 40)
    design, _ = people_of(cohort, ASKED | asked, "a")
    with pytest.raises(NotSharedError, match=r"leverage: .* sub-a007 has"):
        check_release(design, ASKED | asked, Ledger.read(tmp_path / FILE))


@pytest.mark.parametrize("change", ["a person less", "an age corrected"])
def test_the_difference_of_two_files_would_be_a_person_and_is_refused(change, tmp_path):
    cohort, ledger, asked = clinic("a", 48), Ledger.read(tmp_path / FILE), {"columns": ["age"], "norm": False}
    first, _ = people_of(cohort, ASKED | asked, "a")
    check_release(first, ASKED | asked, ledger)
    ledger.add("a" * 16, "a", "ds", first.people["participant_id"].tolist(), first.values, 45)
    before = given(cohort, "a", **asked)[1]
    if change == "a person less":
        cohort.participants.loc[47, "age"] = np.nan  # not known, so that it is left out
        row, who = "group", 47
    else:
        cohort.participants.loc[7, "age"] += 1
        row, who = "age", 7
    after = given(cohort, "a", **asked)[1]
    difference = (before.xy - after.xy)[before.columns.index(row), :45]
    assert abs(np.corrcoef(difference, cohort.values[who])[0, 1]) > 1 - 1e-9
    second, _ = people_of(cohort, ASKED | asked, "a")
    with pytest.raises(NotSharedError, match=r"differ by 1|give 1 people away: sub-a007"):
        check_release(second, ASKED | asked, ledger)


def test_sums_of_zeros_and_ones_would_say_who_has_a_connection_and_are_withheld():
    """Whoever has the table of covariates tries all sets of controls, until one has the sum that was given."""
    cohort = replace(clinic("a", 24), measure="binary")
    cohort.values[:] = np.random.default_rng(1).random(cohort.values.shape) < 0.5
    design, rows = people_of(cohort, ASKED, "a")
    controls = design.values[cohort.labels == 0]
    norm = controls.T @ cohort.values[cohort.labels == 0]  # without the gate
    motion = design.names.index("mean_fd")
    sets = (np.arange(2**12)[:, None] >> np.arange(12)) & 1
    tried = sets @ controls[:, motion]
    solved = np.array([sets[np.abs(tried - given_sum).argmin()] for given_sum in norm[motion]])
    assert (cohort.values[cohort.labels == 0] == solved.T).all()
    circuits = Circuits.of_atlas(load_atlas("motor10"), CIRCUITS, False)
    assert not fit_outcomes(cohort, rows, design, circuits, ASKED).any()


def test_no_id_no_date_and_no_time_in_the_file(tmp_path):
    cohort = clinic("kiel", 48, scanners=2)
    package, _, _ = given(cohort, "kiel")
    write_package(tmp_path / "kiel.zip", package)
    content = [(tmp_path / "kiel.zip").read_bytes()]
    with zipfile.ZipFile(tmp_path / "kiel.zip") as file:
        assert {one.date_time for one in file.infolist()} == {EPOCH}
        assert not any(one.comment or one.extra for one in file.infolist()) and not file.comment
        content += [file.read(name) for name in file.namelist()]
        arrays = dict(np.load(io.BytesIO(file.read("sums.npz")), allow_pickle=False))
        said = json.loads(file.read("statistics.json"))
    names = [form.encode() for name in cohort.participants["participant_id"] for form in (name, name[4:])]
    assert not [name for name in names for part in content if name in part]
    assert not re.search(rb"\d{4}-\d\d-\d\d|\d\d:\d\d|20\d{6}", b"".join(content[1:3]))
    assert {value.dtype.str for name, value in arrays.items() if name != "given"} == {"<f8"}
    assert all(PEOPLE not in value.shape for value in arrays.values())
    assert not {"min", "max", "quantiles", "median", "std"} & set(re.findall(r"[a-z_]+", json.dumps(said["columns"])))


def connectomes(series):
    return np.arctanh(np.clip(np.corrcoef(series.T)[REGIONS], -0.999, 0.999)).astype(np.float32)


@pytest.mark.slow
def test_who_was_in_a_mean_can_be_told_and_the_page_says_how_well(real_data):
    """An aggregate is not anonymous; the figures of the page are measured here."""
    with np.load(real_data / "abide/cc200_filt_global_z16/NYU.npz") as file:
        series = [file[name].astype(np.float32) for name in file.files]
    series = [one for one in series if one.std(0).min() >= 1e-6]
    assert len(series) == 173
    whole, half, rest = (
        np.array([connectomes(one[part(len(one))]) for one in series])
        for part in (lambda n: slice(n), lambda n: slice(n // 2), lambda n: slice(n // 2, n))
    )
    rng = np.random.default_rng(0)
    for size, same, another in MEMBERSHIP:
        scores = []
        for _ in range(10):
            order = rng.permutation(len(series))
            members, others, public = order[:size], order[size : size + 50], order[size + 50 :]
            truth = np.repeat([1, 0], [size, 50])
            for known, published in ((whole, whole), (rest, half)):
                direction = published[members].mean(0) - published[public].mean(0)
                away = known[np.concatenate([members, others])] - known[public].mean(0)
                scores.append(roc_auc_score(truth, away @ direction))
        measured = np.reshape(scores, (-1, 2)).mean(0)
        print(f"members of a mean of {size}: AUC {measured[0]:.2f} by the scan, {measured[1]:.2f} by another half")
        np.testing.assert_allclose(measured, (same, another), atol=0.05)
