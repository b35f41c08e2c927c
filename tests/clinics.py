"""Clinics for tests of shared sums: cohorts in memory, and the files that they give."""

from itertools import pairwise

import numpy as np
import pandas as pd

from dysconnect.data.atlas import load_atlas
from dysconnect.data.cohort import Cohort
from dysconnect.pooling.sums import Sums
from dysconnect.share.package import Package, packed
from dysconnect.share.release import Circuits, gathered, people_of, released
from dysconnect.share.statement import statement
from dysconnect.share.withheld import fit_outcomes

ASKED = {
    "columns": ["age", "sex", "site", "mean_fd"], "centres": {"age": 45, "mean_fd": 0.2}, "edges": "all",
    "norm": True, "minimum": {"group": 10, "cell": 5}, "contact": "science@clinic.example", "batches": 1,
}  # fmt: skip
CIRCUITS = ("cerebello_thalamo_cortical", "striato_pallidal")


def clinic(name: str, n: int = 40, seed: int = 0, scanners: int = 1, lacking: float = 0.0) -> Cohort:
    """People of a clinic on motor10: 45 connections; some lack a region with a probability."""
    rng = np.random.default_rng(seed)
    nodes = load_atlas("motor10")["name"].to_numpy(str)
    people = pd.DataFrame({
        "participant_id": [f"sub-{name}{k:03d}" for k in range(n)], "group": np.where(np.arange(n) % 2, "CD", "HC"),
        "label": np.arange(n) % 2, "age": rng.normal(50, 10, n), "sex": np.where(np.arange(n) % 4 < 2, "F", "M"),
        "mean_fd": rng.gamma(4, 0.05, n), "site": [f"scanner{k * scanners // n}" for k in range(n)],
    })  # fmt: skip
    values = rng.normal(0.3, 0.2, (n, 45)) + 0.004 * (people["age"].to_numpy()[:, None] - 50)
    values[:, 3] += 0.3 * people["label"]
    missing = np.zeros((n, 10), bool)
    missing[rng.random(n) < lacking, 2] = True
    return Cohort(people, values.astype(np.float32), missing, nodes, "correlation")


def given(cohort: Cohort, site: str, parts: int = 1, **asked) -> tuple[Package, Sums, np.ndarray]:
    """What a clinic gives: its file, the sums of everybody, and the design."""
    spec = ASKED | asked
    design, rows = people_of(cohort, spec, site)
    nodes = load_atlas("motor10")
    circuits = Circuits.of_atlas(nodes, CIRCUITS, cohort.directed)
    ends = [len(rows) * k // parts for k in range(parts + 1)]
    batches = [gathered(cohort, design, rows, circuits, slice(*pair)) for pair in pairwise(ends)]
    sums = released(batches, design, circuits, 0.1, fit_outcomes(cohort, rows, design, circuits, spec))
    about = statement(cohort, design, circuits.names, nodes, cohort.participants, {
        "share": spec, "site": site, "processing": {"measure": "correlation", "denoise": {"high_pass": 0.01}},
        "contrast": {"cases": ["CD"], "controls": ["HC"]}, "licence": "CC0-1.0",
        "atlas": {"name": "motor10", "title": "Ten regions"},
    }) | {"models": []}  # fmt: skip
    package = packed(about, nodes, sums.everybody, sums.controls if spec["norm"] else None)
    return package, sums.everybody, design.values
