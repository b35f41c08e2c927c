"""The joined analysis: effects of the pooled cohort, how far its sites agree, and what it could have found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr, stdtrit

from dysconnect.combined.checks import NotCombinedError, covariates, different_making
from dysconnect.data.atlas import circuit_titles, edge_circuits
from dysconnect.data.edges import Pairs
from dysconnect.localize.power import detectable
from dysconnect.pooling.fit import Fit, corrected, fit, why_not
from dysconnect.pooling.heterogeneity import Heterogeneity, heterogeneity, normal_interval, sign_agreement
from dysconnect.pooling.norm import PooledNorm, pooled_norm
from dysconnect.pooling.within import Within, within
from dysconnect.progress import track
from dysconnect.share.package import Package

ALL = "all sites together"


@dataclass(frozen=True)
class Joined:
    """What is known of several sites as one cohort.

    Attributes
    ----------
    alpha : float
    differing : list of str
        Keys of the preprocessing, and centres, in which the sites differ. Where there are any, effects of single sites
        were put together, and nothing is exact.
    sites : DataFrame, [S rows]
    edges, circuits : DataFrame
        One row a connection; one a circuit, of which the mean is tested.
    forest : DataFrame, [S x circuits rows]
        Effect of every site on every circuit: `circuit`, `site`, `d`, `d_low`, `d_high`, `df`.
    power : DataFrame, [1 + S rows]
        `who`, `patients`, `controls`, `d_connection`, `d_circuit`: smallest d that is found with a power of 0.8.
    models : DataFrame
        Models of other sites as they were tested at each: `model`, `trained_at`, `tested_at` and the numbers.
    norm : PooledNorm or None
        Of the controls of those sites that give it.
    """

    alpha: float
    differing: list[str]
    sites: pd.DataFrame
    edges: pd.DataFrame
    circuits: pd.DataFrame
    forest: pd.DataFrame
    power: pd.DataFrame
    models: pd.DataFrame
    norm: PooledNorm | None

    @property
    def exact(self) -> bool:
        """Whether the numbers are those of pooled data."""
        return not self.differing


def join_sites(packages: Sequence[Package], alpha: float, p_fwer: Mapping[str, float] | None = None) -> Joined:
    """Analyse the people of several sites as one cohort.

    Parameters
    ----------
    packages : sequence of Package
        That belong together, see `checks.refuse_different`.
    alpha : float
    p_fwer : mapping of str to float, optional
        Family-wise p of circuits, where the sites have permuted them together.

    Raises
    ------
    NotCombinedError
        When no outcome can be tested.
    """
    differing = different_making(packages)
    parts = [within(package.sums) for package in track(packages, "sites about their own means")]
    alone = [fit([part]) for part in parts]
    together = None if differing else fit(parts)
    effects = _meta(alone, alpha) if together is None else _pooled(parts, together, alone, alpha)
    if effects["p"].isna().all():
        reasons = [f"{package.site} {why_not(part)}" for package, part in zip(packages, parts) if why_not(part)]
        raise NotCombinedError(
            f"nothing can be tested: {'; '.join(reasons) or 'no site gives anything'}. At least one site must have "
            "both groups."
        )
    n_edges = int(packages[0].about["edges"])
    power = _power(packages, alone, together, n_edges, alpha)
    controls = [package.norm for package in packages if package.norm is not None]
    return Joined(
        alpha, differing, _sites(packages, parts), _edges(packages[0], effects.iloc[:n_edges]),
        _circuits(packages[0], effects.iloc[n_edges:], p_fwer), _forest(packages, alone, n_edges, alpha), power,
        _models(packages), pooled_norm(controls) if controls and not differing else None,
    )  # fmt: skip


def _pooled(parts: Sequence[Within], together: Fit, alone: Sequence[Fit], alpha: float) -> pd.DataFrame:
    """Effects of the pooled people on every outcome."""
    low, high = together.interval(alpha)
    without = [[part for part in parts if part is not one] for one in parts]
    rest = np.stack([fit(others).t for others in track(without, "all sites but one")])
    columns = {"sites": together.sites, "t": together.t, "d": together.d, "d_low": low, "d_high": high}
    columns |= {"df": together.df, "p": together.p}
    return pd.DataFrame(columns | _agreement(alone, rest, heterogeneity(alone, alpha)))


def _meta(alone: Sequence[Fit], alpha: float) -> pd.DataFrame:
    """Effects of single sites put together, where people cannot be."""
    found = heterogeneity(alone, alpha)
    z = found.fixed / found.fixed_se
    low, high = normal_interval(found.fixed, found.fixed_se, alpha)
    rest = np.stack([heterogeneity([two for two in alone if two is not one], alpha).fixed for one in alone])
    columns = {"sites": found.sites, "z": z, "d": found.fixed, "d_low": low, "d_high": high, "p": 2 * ndtr(-np.abs(z))}
    return pd.DataFrame(columns | _agreement(alone, rest, found))


def _agreement(alone: Sequence[Fit], rest: np.ndarray, found: Heterogeneity) -> dict[str, np.ndarray]:
    agreeing, judged = sign_agreement(np.stack([one.t for one in alone]), rest)
    return {
        "sites_alone": found.sites, "q": found.q, "p_q": found.p, "i2": found.i2, "tau2": found.tau2,
        "d_random": found.random, "d_random_low": found.low, "d_random_high": found.high, "p_random": found.p_random,
        "agreeing": agreeing, "judged": judged,
    }  # fmt: skip


def _edges(package: Package, effects: pd.DataFrame) -> pd.DataFrame:
    """Effects with the names of both regions and corrected p; empty where only circuits are given."""
    regions, directed = package.regions, bool(package.about["measure"]["directed"])
    if effects.empty:
        return pd.DataFrame(columns=["region_a", "region_b", "circuit", *_with_corrected(effects).columns])
    names = Pairs(len(regions), directed).named(regions["name"].to_numpy(object))
    circuits = edge_circuits(regions, directed) if {"system", "network"} <= set(regions) else ""
    return pd.concat([names.assign(circuit=circuits), _with_corrected(effects.reset_index(drop=True))], axis=1)


def _circuits(package: Package, effects: pd.DataFrame, p_fwer: Mapping[str, float] | None) -> pd.DataFrame:
    names, titles = list(package.about["circuits"]), circuit_titles()
    shown = pd.DataFrame({"circuit": names, "title": [titles.get(name, name) for name in names]})
    table = pd.concat([shown, _with_corrected(effects.reset_index(drop=True))], axis=1)
    return table if p_fwer is None else table.assign(p_fwer=[p_fwer.get(name, np.nan) for name in names])


def _with_corrected(effects: pd.DataFrame) -> pd.DataFrame:
    """Add Bonferroni and Benjamini-Hochberg over the rows behind p."""
    bonferroni, fdr = corrected(effects["p"].to_numpy(float))
    at = effects.columns.get_loc("p") + 1
    table = effects.copy()
    table.insert(at, "p_bonferroni", bonferroni)
    table.insert(at + 1, "p_fdr", fdr)
    return table


def _forest(packages: Sequence[Package], alone: Sequence[Fit], n_edges: int, alpha: float) -> pd.DataFrame:
    """Effect of every site on every circuit."""
    names, tables = list(packages[0].about["circuits"]), []
    for package, one in zip(packages, alone):
        own = Fit(*(values[n_edges:] for values in vars(one).values()))
        low, high = own.interval(alpha)
        columns = {"circuit": names, "site": package.site, "d": own.d, "d_low": low, "d_high": high, "df": own.df}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _sites(packages: Sequence[Package], parts: Sequence[Within]) -> pd.DataFrame:
    rows = []
    for package, part in zip(packages, parts):
        about = package.about
        rows.append({
            "site": package.site, "n": about["people"]["n"], "patients": about["people"]["patients"],
            "controls": about["people"]["controls"], "patients_are": ", ".join(about["contrast"]["cases"]),
            "controls_are": ", ".join(about["contrast"]["controls"]), "scanners": part.intercepts,
            "constant": ", ".join(constant_covariates(package, part)), "alone": why_not(part),
            "withheld": int((~package.sums.given[: about["edges"]]).sum()), "norm": package.norm is not None,
            "left_out": "; ".join(f"{count} {why}" for why, count in about["left_out"].items() if count),
            "licence": about["licence"], "contact": about["contact"], "release": about["release"],
            "dysconnect": about["dysconnect"],
        })  # fmt: skip
    return pd.DataFrame(rows)


def constant_covariates(package: Package, part: Within) -> list[str]:
    """Covariates that are the same in everybody of each scanner of a site: they say nothing there."""
    varying = {name.split("=")[0] for name in part.columns} - {""}
    constant = {name: [own for own in part.columns if own.split("=")[0] == name] for name in varying}
    return [name for name in covariates(package) if set(constant[name]) <= set(part.constant)]


def _power(
    packages: Sequence[Package], alone: Sequence[Fit], together: Fit | None, n_edges: int, alpha: float
) -> pd.DataFrame:
    """Smallest effects that are found with Bonferroni, by all sites together and by each of them alone."""
    sizes = [_most(one) for one in alone]
    if together is not None:
        size, df = _most(together)
    else:
        size, df = float(np.sqrt(np.nansum([size**2 for size, _ in sizes]))), float(np.nansum([df for _, df in sizes]))
    people = [package.about["people"] for package in packages]
    total = {side: sum(own[side] for own in people) for side in ("patients", "controls")}
    rows = []
    for who, own, (norm, free) in zip([ALL, *(p.site for p in packages)], [total, *people], [(size, df), *sizes]):
        needed = [_needed(norm, free, tests, alpha) for tests in (n_edges, len(packages[0].about["circuits"]))]
        rows.append((who, own["patients"], own["controls"], *needed))
    return pd.DataFrame(rows, columns=["who", "patients", "controls", "d_connection", "d_circuit"])


def _most(one: Fit) -> tuple[float, float]:
    """Norm of the group, and degrees of freedom, of the outcome that most people have; NaN where none has an effect."""
    known = np.isfinite(one.size)
    return (float(one.size[known].max()), float(one.df[known].max())) if known.any() else (np.nan, np.nan)


def _needed(size: float, df: float, tests: int, alpha: float) -> float:
    if not (np.isfinite(size) and tests):
        return np.nan
    return detectable(size, int(df), float(-stdtrit(df, alpha / 2 / tests)))


def _models(packages: Sequence[Package]) -> pd.DataFrame:
    """Models that were trained at one site and tested at another."""
    columns = ["model", "trained_at", "tested_at", "n_cases", "n_controls", "auc", "low", "high", "calibration"]
    rows = [{**one, "tested_at": package.site} for package in packages for one in package.about["models"]]
    return pd.DataFrame(rows, columns=[*columns, "checksum"])
