"""What is done to null cohorts: `plain`; motion goes with the group and is in the model, or is left out of it."""

from pathlib import Path

from dysconnect.localize import _families, _overall
from dysconnect.localize.ingredients import Ingredients
from dysconnect.localize.methods import run_methods

ROOT = Path(__file__).resolve().parents[2]
PERMUTATIONS = 999  # of everything
ALPHA = 0.05
SCENARIOS = ("plain", "motion in", "motion out")  # the last must fail
OUT = SCENARIOS[-1]
BITS = {scenario: 1 << k for k, scenario in enumerate(SCENARIOS)}  # in the files of counts

Calls = dict[str, dict[str, bool]]  # by scenario and method: whether anything is called


def called(shared: Ingredients) -> dict[str, bool]:
    """Whether each method of the table calls anything; of bounds, whether one is above zero."""
    return {one.method: bool(one.called.any()) for one in run_methods(shared) if len(one.called)}


def without_motion(nuisance: list[str]) -> list[str]:
    """Covariates that are not of motion."""
    return [name for name in nuisance if "mean_fd" not in name]


def anything(shared: Ingredients) -> float:
    """The p of the page that anything differs, as `localize` writes it."""
    smallest = _families(shared, None)[1]
    families = _overall(shared.adaptive, smallest, float(shared.statistics().p_fwer.min()))
    return min(family["p_any"] for family in families)
