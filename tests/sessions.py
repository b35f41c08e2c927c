"""Sessions for tests: clinics whose circuits are permuted together under masks."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from clinics import ASKED, CIRCUITS, clinic, given

from dysconnect.data.atlas import load_atlas
from dysconnect.data.cohort import Cohort
from dysconnect.share.columns import Design
from dysconnect.share.masked import circuit_means, masked, products
from dysconnect.share.package import Package
from dysconnect.share.release import Circuits, people_of
from dysconnect.share.session import Kept, Plan, kept_key, plan_of


class Site(NamedTuple):
    """What a clinic has."""

    cohort: Cohort
    package: Package
    kept: Kept

    @property
    def name(self) -> str:
        return self.package.site

    def people(self, names: tuple[str, ...] = CIRCUITS) -> tuple[Design, np.ndarray]:
        """Design, and means of circuits."""
        design, rows = people_of(self.cohort, ASKED, self.name)
        circuits = Circuits.of_atlas(load_atlas("motor10"), CIRCUITS, False).among(names)
        return design, circuit_means(self.cohort, rows, circuits)

    def sums(self, plan: Plan) -> np.ndarray:
        """Sums in the clear, which never leave."""
        return products(plan, self.kept, *self.people(plan.circuits), self.package)

    def answer(self, plan: Plan, folder: Path) -> Path:
        """Write the answer to a plan."""
        path = folder / f"{self.name}.masked.npz"
        path.write_bytes(masked(plan, self.kept, self.sums(plan)))
        return path


def three_sites(folder: Path, effect: float = 0.0) -> list[Site]:
    """Three clinics: one of one sex, one with two scanners, one in which people lack a region."""
    cohorts = [clinic("a", 40, 1), clinic("b", 48, 2, scanners=2), clinic("c", 44, 3, lacking=0.03)]
    cohorts[0].participants["sex"] = "F"
    for cohort in cohorts:
        cohort.values[cohort.participants["label"] == 1] += effect
    packages = [given(cohort, name)[0] for cohort, name in zip(cohorts, "abc")]
    return [
        Site(cohort, package, kept_key(package, folder / package.site)) for cohort, package in zip(cohorts, packages)
    ]


def plan_for(sites: list[Site], permutations: int = 199) -> Plan:
    """Plan of all sites."""
    return plan_of([site.package for site in sites], [site.kept.key for site in sites], permutations)
