"""Null cohorts of the other questions, on the simulator's people: what else the library can call beside two groups.

Anything at all; circuits beside edges of like strength and length; a score in the patients; three groups; one person
beside the norm of the controls; weights of ridge regression; connections that it picks in one half of the people,
tested in the other; and the sums of two sites, by all corrections of `dysconnect combine`. Score and groups go with
motion where the labels do. Counted elsewhere: replication at other sites (benchmarks/replication.py, with shuffled
labels), models that beat chance and targets of stimulation (benchmarks/verdicts.py --dataset simulated_null). Maps of
trained networks are not counted.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.attribute.ridge import ridge_statistics
from dysconnect.attribute.screening import screened_statistics
from dysconnect.localize import _enrichment
from dysconnect.localize.deviation import deviations, person_table
from dysconnect.localize.ingredients import Ingredients, Regions
from dysconnect.localize.severity import group_statistics, score_statistics
from dysconnect.models.dual import DualRidge
from dysconnect.models.floor import CovariateEncoder
from dysconnect.pooling.fit import corrected, fit
from dysconnect.pooling.permuted import (
    centred,
    permuted_products,
    shared_model,
    tested,
)
from dysconnect.pooling.sums import GROUP, SITE, Sums
from dysconnect.pooling.within import joined, within
from dysconnect.validate import labelled
from nulls.people import simulated_pools
from nulls.scenarios import ALPHA, OUT, PERMUTATIONS, SCENARIOS, Calls, anything, without_motion


def questions(data: Path, work: Path) -> Callable[[int], Calls]:
    """Of the other questions."""
    return partial(of_questions, *simulated_pools())


def of_questions(pool_of: Callable, nodes: pd.DataFrame, spec: dict, seed: int) -> Calls:
    """Calls in the cohorts of a seed."""
    pool, settings, regions = pool_of(seed), spec["validate"], Regions.of_atlas(nodes)
    asked = spec["localize"] | {"permutations": PERMUTATIONS, "seed": seed}
    calls, made = {}, {False: pool.all_edges(spec), True: pool.all_edges(spec, settings["artefact"])}
    for scenario in SCENARIOS:
        moves = scenario != SCENARIOS[0]
        people = labelled(pool, settings, moves * settings["confounding"], seed)
        people = with_score(people, moves * settings["confounding"], np.random.default_rng([seed, 2]))
        nuisance = without_motion(asked["nuisance"]) if scenario == OUT else asked["nuisance"]
        shared = Ingredients(made[moves], people, regions, asked | {"nuisance": nuisance})
        smallest = of_one(shared) | {"circuits beside like edges": _enrichment(shared, nodes)["p_enrichment"].min()}
        smallest |= of_sums(shared)
        calls[scenario] = {name: bool(p <= ALPHA) for name, p in smallest.items()}
    return calls


def with_score(people: pd.DataFrame, confounding: float, rng: np.random.Generator) -> pd.DataFrame:
    """People with a score, which goes with the log of motion, and its thirds as groups inside sites."""
    motion = np.log(people["mean_fd"])
    score = rng.standard_normal(len(people)) + confounding * (motion - motion.mean()) / motion.std()
    thirds = score.groupby(people["site"]).rank(pct=True).mul(3).apply(np.ceil)
    return people.assign(score=score, third=thirds.astype(int).astype(str))


def of_one(shared: Ingredients) -> dict[str, float]:
    """Smallest corrected p of every question about people who are all at hand."""
    edges, people, spec = shared.edges, shared.people, shared.spec
    drawn = spec["nuisance"], spec["permutations"], spec["seed"]
    patients = (people["label"] == 1).to_numpy()
    score = score_statistics(edges[patients], people[patients].reset_index(drop=True), "score", *drawn)
    groups = group_statistics(edges, people, "third", *drawn)
    weights = ridge_statistics(edges, people, *drawn, spec["ridge_penalty"])
    halves = {"splits": 10, "screened": 50, "permutations": 199, "seed": spec["seed"]}
    picked = screened_statistics(partial(weighed, edges, people), edges, people, spec["nuisance"], halves)
    norm = person_table(deviations(edges, people, spec["nuisance"]))["p_max"]
    return {
        "anything at all": anything(shared),
        "a score in the patients, max-T": score.p_fwer.min(),
        "a score in the patients, Benjamini-Hochberg": score.p_fdr.min(),
        "three groups, max-T": groups.p_fwer.min(),
        "three groups, Benjamini-Hochberg": groups.p_fdr.min(),
        "weights of ridge regression": weights.p_fwer.min(),
        "picked in one half, tested in the other": picked.p_fwer.min(),
        "the first patient beside the norm": norm[patients & norm.notna()].iloc[0],
    }


def weighed(edges: np.ndarray, people: pd.DataFrame, rows: np.ndarray, seed: int) -> np.ndarray:
    """Size of the weights of ridge regression of some people."""
    return np.abs(DualRidge().fit(edges[rows], people["label"].to_numpy()[rows]).weights_)


def of_sums(shared: Ingredients) -> dict[str, float]:
    """Smallest corrected p from the sums of every site, as sites send them, and of circuits permuted across sites."""
    edges, people, spec, loops = shared.edges, shared.people, shared.spec, shared.regions.loops
    names = [name for name in spec["nuisance"] if name != SITE]
    columns = np.column_stack([people["label"], CovariateEncoder(names).fit(people).transform(people)]).astype(float)
    means = np.column_stack([edges[:, mask].mean(1) for mask in loops.values()])
    sites = [(people["site"] == site).to_numpy() for site in people["site"].unique()]
    parts = [summed(columns[rows], np.hstack([edges, means])[rows], k) for k, rows in enumerate(sites)]
    together = fit(parts)
    p = {"connections": together.p[: edges.shape[1]], "circuits": together.p[edges.shape[1] :]}
    found = {}
    for name, own in p.items():
        for correction, values in zip(("Bonferroni", "Benjamini-Hochberg"), corrected(own)):
            found[f"sums of sites, {name}, {correction}"] = np.nanmin(values)
    return found | {"sums of sites, circuits, permuted": permuted(columns, means, sites, spec)}


def summed(columns: np.ndarray, outcomes: np.ndarray, site: int):
    """Sums of a site within its scanner."""
    named = [f"{SITE}={site}", GROUP, *(f"column {k}" for k in range(1, columns.shape[1]))]
    return within(Sums.of(named, np.column_stack([np.ones(len(columns)), columns]), outcomes))


def permuted(columns: np.ndarray, means: np.ndarray, sites: list[np.ndarray], spec: Mapping) -> float:
    """Smallest family-wise p of the circuits, the group permuted inside every site."""
    parts = [summed(columns[rows], means[rows], k) for k, rows in enumerate(sites)]
    sums, rng = joined(parts, np.arange(means.shape[1])), np.random.default_rng(spec["seed"])
    shared, totals = shared_model(sums), 0

    def draw(count: int) -> np.ndarray:
        return rng.integers(2**64, size=count, dtype=np.uint64)

    places = [int(name.split()[1]) for name in shared.covariates]
    for rows in sites:
        inside = np.zeros(rows.sum(), int)
        own = centred(columns[rows], inside)
        group = own[:, 0] - own[:, places] @ shared.slopes
        values = np.hstack([centred(means[rows], inside), own[:, places] @ shared.weights])
        totals = totals + permuted_products(group, values, inside, draw, spec["permutations"])
    return float(tested(sums, shared, totals).p.min())
