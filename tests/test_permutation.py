"""The schemes of permutation agree, each is what its formula says, and each holds the error rate."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from nilearn.mass_univariate import permuted_ols
from scipy.stats import binom

from dysconnect.localize.gpu import choose_gpu
from dysconnect.localize.permutation import (
    SCHEMES,
    extreme_correlations,
    moving_nuisance,
    null_extremes,
    permuted_rows,
    rotated_groups,
    studentised_extremes,
)
from dysconnect.localize.statistics import edge_statistics, nuisance_basis, residual_unit, to_t

NUISANCE = ["age", "sex", "mean_fd"]


@pytest.fixture(scope="module")
def one_site(make_cohort):
    """A cohort of one site, in which six edges differ and age goes with the group."""
    cohort = make_cohort(planted=range(6), shift=0.8)
    people = cohort.participants
    return cohort.values, people.assign(site="one", age=people["age"] + 8 * people["label"])


def test_all_schemes_agree_with_each_other_and_with_nilearn(one_site):
    edges, people = one_site
    confounds = np.column_stack([people["age"], people["sex"] == "M", people["mean_fd"]]).astype(float)
    peer = permuted_ols(
        people[["label"]].to_numpy(float), edges.astype(float), confounds, n_perm=2000, random_state=0,
        output_type="dict",
    )  # fmt: skip
    p = 10 ** -peer["logp_max_t"][0]
    error = np.sqrt(2 * p * (1 - p) / 2000)
    assert 0 < (p < 0.05).sum() < 66
    found = [edge_statistics(edges, people, NUISANCE, 2000, seed, scheme) for seed, scheme in enumerate(SCHEMES)]
    for own in found:
        np.testing.assert_allclose(own.t, peer["t"][0], rtol=1e-4)
        assert (np.abs(own.p_fwer - p) < 4.5 * error + 0.003).all()
    low, high = np.quantile([own.max_null for own in found], [0.5, 0.95], axis=1)
    assert np.ptp(low) < 0.1 and np.ptp(high) < 0.25


def test_freedman_lane_equals_a_regression_of_every_permuted_edge(one_site):
    edges, people = one_site
    people = people.assign(site=np.where(np.arange(60) % 4 < 2, "A", "B"))
    covariates = [*NUISANCE, "site"]
    basis, blocks = nuisance_basis(people, covariates), people["site"].to_numpy()
    label, df = people["label"].to_numpy(float), 60 - basis.shape[1] - 1
    group, units = label - basis @ (basis.T @ label), residual_unit(edges.astype(float), basis)
    highest, lowest = null_extremes("freedman_lane", group, basis, blocks, 20, 3)(units)
    design = np.column_stack([label, basis])
    inverse = np.linalg.inv(design.T @ design)[0, 0]
    for k, rows in enumerate(permuted_rows(blocks, 20, 3)):
        shuffled = np.empty_like(units)
        shuffled[rows] = units  # vectors of people are indexed by the rows, so edges by their inverse
        beta, rest, _, _ = np.linalg.lstsq(design, shuffled + basis[:, :1], rcond=None)
        t = beta[0] / np.sqrt(rest / df * inverse)
        np.testing.assert_allclose([to_t(highest[k], df), to_t(lowest[k], df)], [t.max(), t.min()], rtol=1e-4)


def test_sites_and_intercept_do_not_move(one_site):
    _, people = one_site
    people = people.assign(site=np.where(np.arange(60) % 4 < 2, "A", "B"))
    blocks = people["site"].to_numpy()
    basis = nuisance_basis(people, ["age", "mean_fd", "site"])
    moving = moving_nuisance(basis, blocks)
    assert moving.shape == (60, 2)
    np.testing.assert_allclose(moving.T @ moving, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(basis @ (basis.T @ moving), moving, atol=1e-12)
    np.testing.assert_allclose([moving[blocks == site].sum(0) for site in "AB"], 0, atol=1e-10)
    assert moving_nuisance(basis, np.repeat("one", 60)).shape == (60, 3)


def test_rotated_groups_are_unit_and_free_of_nuisance(one_site):
    _, people = one_site
    basis, label = nuisance_basis(people, NUISANCE), people["label"].to_numpy(float)
    groups = rotated_groups(label - basis @ (basis.T @ label), basis, np.repeat("one", 60), 50, 0)
    np.testing.assert_allclose(np.linalg.norm(groups, axis=1), 1)
    np.testing.assert_allclose(groups @ basis, 0, atol=1e-12)
    assert len(np.unique(groups.round(9), axis=0)) == 50


def test_huh_jhun_refuses_sites(make_cohort):
    cohort = make_cohort()
    with pytest.raises(ValueError, match=r"huh_jhun cannot .* inside 2 sites \(site-A, site-B\).*freedman_lane"):
        edge_statistics(cohort.values, cohort.participants, NUISANCE, 10, 0, "huh_jhun")


def test_an_unknown_scheme_is_refused(make_cohort):
    cohort = make_cohort()
    with pytest.raises(ValueError, match=r"localize\.permutation=draper is unknown; use smith, freedman_lane"):
        edge_statistics(cohort.values, cohort.participants, NUISANCE, 10, 0, "draper")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_parts_and_chunks_make_no_difference(one_site, scheme, monkeypatch):
    edges, people = one_site
    whole = edge_statistics(edges, people, NUISANCE, 50, 0, scheme)
    monkeypatch.setattr("dysconnect.localize.permutation.PART", 8 * 60 * 7)
    parts = edge_statistics(edges, people, NUISANCE, 50, 0, scheme)
    np.testing.assert_allclose(parts.max_null, whole.max_null, rtol=1e-5)
    np.testing.assert_allclose(parts.p_fwer_lower, whole.p_fwer_lower)
    basis, label = nuisance_basis(people, NUISANCE), people["label"].to_numpy(float)
    draw = null_extremes(scheme, label - basis @ (basis.T @ label), basis, np.repeat("one", 60), 50, 0)
    units = residual_unit(edges.astype(float), basis)
    np.testing.assert_allclose(draw(units, chunk_bytes=3000), draw(units), rtol=1e-5)


def test_tails_apart(one_site):
    edges, people = one_site
    turned = edges.copy()
    turned[:, 3:] *= -1
    own = edge_statistics(turned, people, NUISANCE, 500, 0)
    two, higher, lower = own.p_fwer, own.p_fwer_higher, own.p_fwer_lower
    up = own.t > 0
    assert (np.where(up, higher, lower) <= two).all() and (np.where(up, higher, lower) < two).any()
    assert (np.where(up, lower, higher) > 0.5).all()
    assert higher[:3].min() < 0.01 and lower[3:6].min() < 0.05
    mirrored = edge_statistics(-turned, people, NUISANCE, 500, 0)
    np.testing.assert_allclose(mirrored.p_fwer_higher, lower)
    np.testing.assert_allclose(mirrored.p_fwer_lower, higher)


def test_extremes_of_products_made_by_hand():
    groups, edges = np.eye(2), np.array([[0.6, -0.8, 0.1], [0.8, 0.6, 0.2]])
    highest, lowest = extreme_correlations(groups, edges)
    np.testing.assert_allclose(highest, [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(lowest, [-0.8, 0.2], rtol=1e-6)
    plain = studentised_extremes(np.eye(2)[:, :1].astype(np.float32), np.array([[0, 1], [1, 0]]), edges)
    np.testing.assert_allclose(plain, [[0.6, 0.8], [-0.8, 0.2]], rtol=1e-6)


COHORTS = 200


@pytest.mark.parametrize("scheme", SCHEMES)
def test_family_wise_error_holds_where_a_covariate_goes_with_the_group(scheme):
    alarms = np.zeros(3)
    for seed in range(COHORTS):
        rng = np.random.default_rng([seed, 11])
        label = np.arange(40) % 2
        motion = rng.normal(size=40) + 0.9 * label
        edges = rng.normal(size=(40, 90)) + np.outer(motion, rng.normal(0, 0.5, 90)) + rng.normal(size=(40, 1))
        names = [f"sub-{k}" for k in range(40)]
        people = pd.DataFrame({"participant_id": names, "label": label, "mean_fd": motion, "site": "one"})
        own = edge_statistics(edges, people, ["mean_fd"], 199, seed, scheme)
        alarms += [(p <= 0.05).any() for p in (own.p_fwer, own.p_fwer_higher, own.p_fwer_lower)]
    low, high = binom.interval(0.999, COHORTS, 0.05)
    assert (low <= alarms).all() and (alarms <= high).all()


# the GPU


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("chunk_bytes", [2e9, 9000])
def test_torch_gives_the_extremes_of_numpy(one_site, scheme, chunk_bytes):
    edges, people = one_site
    basis, label = nuisance_basis(people, NUISANCE), people["label"].to_numpy(float)
    given = scheme, label - basis @ (basis.T @ label), basis, np.repeat("one", 60), 50, 0
    units = residual_unit(edges.astype(float), basis)
    found = null_extremes(*given, gpu="cpu")(units, chunk_bytes)
    np.testing.assert_allclose(found, null_extremes(*given)(units), rtol=1e-5)


def test_torch_gives_the_same_p(one_site, monkeypatch):
    edges, people = one_site
    monkeypatch.setattr("dysconnect.localize.statistics.choose_gpu", lambda *_: "cpu")
    here = edge_statistics(edges, people, NUISANCE, 500, 0, device="cuda")
    monkeypatch.undo()
    there = edge_statistics(edges, people, NUISANCE, 500, 0, device="cpu")
    for name in ("p_fwer", "p_fwer_higher", "p_fwer_lower"):
        np.testing.assert_array_equal(getattr(here, name), getattr(there, name))


@pytest.mark.gpu
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_gpu_gives_the_same_p(one_site, scheme):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    edges, people = one_site
    here, there = (edge_statistics(edges, people, NUISANCE, 500, 0, scheme, device) for device in ("cpu", "cuda"))
    assert np.abs(here.p_fwer - there.p_fwer).max() <= 1 / 501
    np.testing.assert_allclose(here.max_null, there.max_null, rtol=1e-4)


def test_a_gpu_that_is_not_there_is_refused_and_auto_does_without(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"localize\.device=cuda:1, but torch sees no GPU\. Set localize\.device=auto"):
        choose_gpu("cuda:1", 1)
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/nvidia-smi")
    assert choose_gpu("auto", 1e12) is None
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert choose_gpu("auto", 1e12) == "cuda" and choose_gpu("cuda:1", 1) == "cuda:1"
    assert choose_gpu("auto", 1e9) is None and choose_gpu("cpu", 1e12) is None


def test_torch_is_not_imported_where_numpy_does():
    code = (
        "import sys, numpy as np, pandas as pd\n"
        "from dysconnect.localize.permutation import null_extremes\n"
        "from dysconnect.localize.gpu import choose_gpu\n"
        "rng = np.random.default_rng(0)\n"
        "gpu = choose_gpu('auto', 1e6)\n"
        "draw = null_extremes('smith', rng.normal(size=20), np.full((20, 1), 20**-0.5), np.zeros(20), 10, 0, gpu)\n"
        "draw(rng.normal(size=(20, 30)))\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stdout + done.stderr
