"""Sums of sites give the numbers of pooled data, whatever the sites lack; and how far sites agree, by closed forms."""

import numpy as np
import pandas as pd
import pytest
from clinics import ASKED, clinic, given
from scipy.stats import chi2, nct
from scipy.stats import t as student

from dysconnect.localize.effects import effect_interval
from dysconnect.localize.statistics import edge_statistics, false_discovery
from dysconnect.pooling.fit import Fit, corrected, fit, why_not
from dysconnect.pooling.heterogeneity import (
    effect_variance,
    heterogeneity,
    sign_agreement,
    unbiased,
)
from dysconnect.pooling.norm import pooled_norm
from dysconnect.pooling.sums import Sums, added
from dysconnect.pooling.within import within
from dysconnect.share.columns import share_design

COVARIATES = ["age", "sex", "mean_fd"]


def site(name, people, values):
    """Sums of everybody at a site about its own means, and of its controls."""
    design = share_design(people, COVARIATES, ASKED["centres"], name)
    controls = people["label"].to_numpy() == 0
    sums = Sums.of(design.names, design.values, values)
    return within(sums), Sums.of(design.names, design.values[controls], values[controls])


def sites(n_sites, seed=0, **levels):
    """People and connections of several sites; `levels` are the sexes that a site has."""
    tables, values = {}, {}
    for k in range(n_sites):
        name = f"site{k}"
        cohort = clinic(name, 30 + 6 * (k % 4), seed + k)
        people = cohort.participants.assign(site=name)
        if name in levels:
            people["sex"] = np.resize(list(levels[name]), len(people))
        tables[name], values[name] = people, cohort.values.astype(float) + 0.1 * k
    return tables, values


def pooled(tables, values):
    """Statistics of the people of all sites, from people."""
    table = pd.concat(tables.values(), ignore_index=True)
    return edge_statistics(np.concatenate(list(values.values())), table, [*COVARIATES, "site"], 5, 0), table


def together(tables, values):
    return fit([site(name, tables[name], values[name])[0] for name in tables])


# pooled data


@pytest.mark.parametrize(
    "n_sites, levels",
    [(2, {}), (3, {"site1": "F"}), (3, {"site0": "FX", "site2": "FMY"}), (11, {"site2": "M", "site5": "F"})],
)
def test_sums_give_the_t_and_d_of_pooled_data(n_sites, levels):
    """Also where a covariate is the same in everybody of a site, or has levels that others lack."""
    tables, values = sites(n_sites, **levels)
    own, (wanted, _) = together(tables, values), pooled(tables, values)
    assert (own.df == wanted.df).all() and (own.sites == n_sites).all()
    np.testing.assert_allclose(own.t, wanted.t, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(own.d, wanted.effect_size, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(own.p, wanted.p, rtol=1e-9)
    low, high = effect_interval(wanted.t, wanted.size, wanted.df, 0.05)
    np.testing.assert_allclose(own.interval(0.05), [low, high], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(corrected(own.p)[1], false_discovery(wanted.p), rtol=1e-9)


def test_covariates_that_say_nothing_or_repeat_each_other_drop_out():
    """A number that nobody varies in, and the same age in months, change no t and take no degree of freedom."""
    tables, values = sites(3)
    more = {name: people.assign(months=12 * people["age"], coil=32.0) for name, people in tables.items()}
    wanted = together(tables, values)
    centres = ASKED["centres"] | {"months": 500, "coil": 0}
    designs = {name: share_design(people, [*COVARIATES, "months", "coil"], centres, name)
               for name, people in more.items()}  # fmt: skip
    own = fit([within(Sums.of(design.names, design.values, values[name])) for name, design in designs.items()])
    assert (own.df == wanted.df).all()
    np.testing.assert_allclose(own.t, wanted.t, rtol=1e-9, atol=1e-10)


def test_order_of_sites_and_how_people_are_split_change_nothing():
    tables, values = sites(3)
    wanted = together(tables, values)
    turned = list(tables)[::-1]
    np.testing.assert_allclose(
        together({name: tables[name] for name in turned}, values).t, wanted.t, rtol=1e-10, atol=1e-11
    )
    halves = []
    for name, people in tables.items():
        design = share_design(people, COVARIATES, ASKED["centres"], name)
        cut = [Sums.of(design.names, design.values[k::2], values[name][k::2]) for k in (0, 1)]
        halves.append(within(added(cut)))
    np.testing.assert_allclose(fit(halves).t, wanted.t, rtol=1e-10, atol=1e-11)


def test_far_centres_and_large_values_cost_little():
    """Numbers far from their centre, and connections far from zero, as counts are."""
    tables, values = sites(2)
    moved = {name: people.assign(age=people["age"] + 2000) for name, people in tables.items()}
    large = {name: one + 100 for name, one in values.items()}
    wanted, _ = pooled(tables, values)
    np.testing.assert_allclose(together(moved, large).t, wanted.t, rtol=1e-6, atol=1e-6)


def test_a_connection_is_tested_in_the_sites_that_give_it():
    """Each has the t of the people who have it; one that nobody gives, or one group only, has none."""
    tables, values = sites(3)
    parts = [site(name, tables[name], values[name])[0] for name in tables]
    parts[0].given[:5] = False
    parts[1].given[3:7] = False
    for part in parts:
        part.given[9] = False
    own = fit(parts)
    assert own.sites.tolist()[:10] == [2, 2, 2, 1, 1, 2, 2, 3, 3, 0]
    for outcomes, names in (([0, 1, 2], ["site1", "site2"]), ([3, 4], ["site2"]), ([7, 8], list(tables))):
        wanted, _ = pooled({n: tables[n] for n in names}, {n: values[n][:, outcomes] for n in names})
        np.testing.assert_allclose(own.t[outcomes], wanted.t, rtol=1e-10, atol=1e-11)
    assert np.isnan(own.t[9]) and np.isnan(own.p[9]) and np.isnan(own.interval(0.05)[0][9])
    assert np.isnan(corrected(own.p)[0][9])
    np.testing.assert_allclose(corrected(own.p)[0][0], min(1, own.p[0] * 44))


def test_a_site_of_one_group_helps_the_others_and_is_not_fitted_alone():
    tables, values = sites(3)
    tables["site2"]["label"] = 0
    parts = [site(name, tables[name], values[name])[0] for name in tables]
    assert [why_not(part) for part in parts] == ["", "", "has one group only"]
    assert np.isnan(fit(parts[2:]).t).all()
    wanted, _ = pooled(tables, values)
    np.testing.assert_allclose(fit(parts).t, wanted.t, rtol=1e-10, atol=1e-11)


def test_why_people_cannot_be_fitted():
    tables, values = sites(1)
    people, edges = tables["site0"], values["site0"]
    few, _ = site("site0", people.iloc[:5].reset_index(drop=True), edges[:5])
    assert why_not(few) == "has fewer people than the model has columns"
    told = people.assign(sex=np.where(people["label"] == 1, "F", "M"))
    assert why_not(site("site0", told, edges)[0]) == "has a group that covariates or scanners determine"


def test_a_connection_that_does_not_vary_has_no_effect():
    tables, values = sites(2)
    for one in values.values():
        one[:, 0] = 0.7
    own = together(tables, values)
    assert own.t[0] == 0 and own.p[0] == 1


@pytest.fixture(scope="module")
def abide(real_data):
    """Eleven real sites: people, and connections of 200 regions."""
    folder = real_data / "abide"
    files = sorted((folder / "cc200_filt_global_z16").glob("*.npz"))
    if not files:
        pytest.skip("no series of the sites of ABIDE in cc200_filt_global_z16")
    table, tables, values = pd.read_csv(folder / "manifest.csv").set_index("FILE_ID"), {}, {}
    for path in files:
        with np.load(path) as file:
            held = {name: file[name].astype(np.float32) for name in file.files}
        whole = [n for n, x in held.items() if x.std(0).min() > 1e-6 and np.isfinite(table.loc[n, "func_mean_fd"])]
        upper = np.triu_indices(200, 1)
        values[path.stem] = np.arctanh([np.clip(np.corrcoef(held[n].T)[upper], -0.999, 0.999) for n in whole])
        one = table.loc[whole]
        tables[path.stem] = pd.DataFrame({
            "participant_id": whole, "label": one["label_asd"].to_numpy(int), "site": path.stem,
            "age": one["AGE_AT_SCAN"].to_numpy(float), "sex": np.where(one["SEX"] == 1, "M", "F"),
            "mean_fd": one["func_mean_fd"].to_numpy(float),
        })  # fmt: skip
    return tables, values


@pytest.mark.parametrize("names, r", [(("NYU", "PITT"), 0.985), (("NYU", "PITT", "KKI"), 0.981), (None, 0.989)])
def test_real_sites_joined_and_what_it_costs_to_put_effects_together(abide, names, r):
    """Three of the eleven have one sex only. The correlation of z of effects with the exact t is printed in reports."""
    tables, values = ({name: part[name] for name in names or abide[0]} for part in abide)
    parts = [site(name, tables[name], values[name])[0] for name in tables]
    wanted, _ = pooled(tables, values)
    own = fit(parts)
    np.testing.assert_allclose(own.t, wanted.t, rtol=1e-10, atol=1e-10)
    found = heterogeneity([fit([part]) for part in parts], 0.05)
    z = found.fixed / found.fixed_se
    assert np.corrcoef(z, wanted.t)[0, 1] == pytest.approx(r, abs=1e-3)
    assert np.abs(z - wanted.t).max() < 1.1
    assert (np.abs(z) > 3).sum() < (np.abs(wanted.t) > 3).sum()


# whether sites agree


def one_site(d, size, df):
    """A fit of a site whose effects are known."""
    d = np.asarray(d, float)
    flat = np.ones_like(d)
    return Fit(d * size, d, size * flat, df * flat, flat.astype(int))


def test_moments_of_an_effect_are_those_of_the_noncentral_t():
    d, size, df = 0.6, 2.5, 9.0
    moments = nct(df, d * size)
    shrunk = float(unbiased(np.array(1.0), np.array(df)))
    assert shrunk * moments.mean() / size == pytest.approx(d)
    assert effect_variance(d, size, df) == pytest.approx(shrunk**2 * moments.var() / size**2)


def test_q_and_the_random_effects_by_hand():
    """The formulas of DerSimonian and Laird and of Knapp and Hartung, written out for one outcome."""
    d, size, df = np.array([0.9, -0.2, 0.4]), np.array([3.0, 4.0, 2.0]), np.array([30.0, 50.0, 12.0])
    own = heterogeneity([one_site([x], s, f) for x, s, f in zip(d, size, df)], 0.1)
    effects = np.array([unbiased(x, f) for x, f in zip(d, df)])
    weights = np.array([1 / effect_variance(0, s, f) for s, f in zip(size, df)])
    middle = (weights @ effects) / weights.sum()
    weights = np.array([1 / effect_variance(middle, s, f) for s, f in zip(size, df)])
    mean = (weights @ effects) / weights.sum()
    q = (weights * (effects - mean) ** 2).sum()
    tau2 = max(0, (q - 2) / (weights.sum() - (weights**2).sum() / weights.sum()))
    wider = 1 / (1 / weights + tau2)
    random = (wider @ effects) / wider.sum()
    factor = max(1, (wider * (effects - random) ** 2).sum() / 2)
    error = np.sqrt(factor / wider.sum())
    assert q > 2
    wanted = {"q": q, "p": chi2.sf(q, 2), "i2": 1 - 2 / q, "tau2": tau2, "fixed": mean,
              "fixed_se": weights.sum() ** -0.5, "random": random, "low": random - student.ppf(0.95, 2) * error,
              "high": random + student.ppf(0.95, 2) * error, "p_random": 2 * student.sf(random / error, 2)}  # fmt: skip
    for name, value in wanted.items():
        assert getattr(own, name)[0] == pytest.approx(value), name


def test_two_equal_sites_agree_and_one_is_compared_with_nobody():
    twins = heterogeneity([one_site([0.5, 0.3], 3.0, 40.0)] * 2, 0.05)
    assert twins.q == pytest.approx(0) and (twins.i2 == 0).all() and (twins.tau2 == 0).all()
    np.testing.assert_allclose(twins.random, twins.fixed)
    lone = heterogeneity([one_site([0.5, np.nan], 3.0, 40.0), one_site([np.nan, np.nan], 3.0, 40.0)], 0.05)
    assert lone.sites.tolist() == [1, 0]
    assert np.isnan(lone.q).all() and np.isnan(lone.random).all()
    assert lone.fixed[0] == pytest.approx(unbiased(np.array(0.5), np.array(40.0))) and np.isnan(lone.fixed[1])


def test_error_rates_of_q_and_of_the_random_effects_in_simulated_sites():
    """Q holds its level though sites are small and effects are not zero; random effects hold theirs between sites."""
    rng, n = np.random.default_rng(0), 20_000
    shapes = [(2.2, 12.0), (3.0, 30.0), (4.5, 70.0), (2.5, 18.0)]
    draw = lambda d, size, df: one_site(nct.rvs(df, d * size, size=n, random_state=rng) / size, size, df)
    alike = heterogeneity([draw(0.8, *shape) for shape in shapes], 0.05)
    assert (alike.p <= 0.05).mean() == pytest.approx(0.05, abs=0.008)
    apart = heterogeneity([draw(rng.normal(0, 0.5, n), *shape) for shape in shapes], 0.05)
    assert (apart.p_random <= 0.05).mean() < 0.075
    assert apart.tau2.mean() == pytest.approx(0.25, abs=0.05)
    assert (np.abs(apart.fixed / apart.fixed_se) > 1.96).mean() > 0.25  # what the random effects are there for


def test_signs_of_sites_left_out():
    own = np.array([[0.5, -0.1, np.nan], [0.4, 0.2, 0.3], [-0.2, 0.1, 0.2]])
    others = np.array([[0.1, 0.2, 0.2], [0.1, -0.1, np.nan], [0.4, 0.1, 0.3]])
    agreeing, judged = sign_agreement(own, others)
    assert agreeing.tolist() == [2, 1, 1] and judged.tolist() == [3, 3, 1]


# the norm


@pytest.mark.parametrize("levels", [{}, {"site1": "F"}])
def test_norm_is_that_of_all_controls(levels):
    """Expected values, variance of residuals and of a new person are those of least squares on the controls."""
    tables, values = sites(3, **levels)
    own = pooled_norm([site(name, tables[name], values[name])[1] for name in tables])
    designs = [share_design(tables[name], COVARIATES, ASKED["centres"], name) for name in tables]
    design = pd.concat([pd.DataFrame(one.values, columns=one.names) for one in designs]).fillna(0)
    label = np.concatenate([one["label"] for one in tables.values()])
    x, y = design[own.columns].to_numpy()[label == 0], np.concatenate(list(values.values()))[label == 0]
    slopes, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
    assert (own.df == len(x) - rank).all() and (own.pattern == 0).all()
    np.testing.assert_allclose(x @ own.coefficients, x @ slopes, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(own.variance, ((y - x @ slopes) ** 2).sum(0) / (len(x) - rank), rtol=1e-10)
    spread = np.einsum("ni,ij,nj->n", x, own.inverse[0], x)
    np.testing.assert_allclose(spread, np.einsum("ni,ij,nj->n", x, np.linalg.pinv(x.T @ x), x), atol=1e-9)


def test_norm_of_a_connection_that_a_site_withholds_has_no_intercept_there():
    tables, values = sites(2)
    sums = [site(name, tables[name], values[name])[1] for name in tables]
    sums[1].given[0] = False
    own = pooled_norm(sums)
    assert np.isnan(own.coefficients[own.columns.index("site=site1"), 0])
    alone = pooled_norm(sums[:1])
    assert own.pattern[0] != own.pattern[1]
    assert own.variance[0] == pytest.approx(alone.variance[0])


def test_scanners_of_a_site_have_intercepts_of_their_own():
    """A step between two scanners of a site is no effect of the group."""
    cohort = clinic("a", 60, scanners=2)
    later = cohort.participants["site"].to_numpy() == "scanner1"
    cohort.values[later] += 5
    _, sums, _ = given(cohort, "a")
    table = cohort.participants
    wanted = edge_statistics(cohort.values.astype(float), table, [*COVARIATES, "site"], 5, 0)
    assert within(sums).intercepts == 2
    np.testing.assert_allclose(fit([within(sums)]).t[:45], wanted.t, rtol=1e-9, atol=1e-9)
