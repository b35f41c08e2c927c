"""The gate: rules that a release must pass before a number leaves the site; a refusal names its rule."""

from collections.abc import Mapping

import numpy as np

from dysconnect.share.columns import Design
from dysconnect.share.ledger import Ledger
from dysconnect.share.release import NotSharedError
from dysconnect.share.statement import counts

FLOOR = {"group": 10, "cell": 5}  # people; `share.minimum` may raise them
MOST_PARAMETERS = 1 / 3  # of the people: columns of all releases together
MOST_LEVERAGE = 0.5
DIFFERENCE = 10  # two releases differ by nobody, or by so many people


def check_release(design: Design, spec: Mapping, ledger: Ledger, site: str) -> None:
    """Refuse a release that would give somebody away.

    Raises
    ------
    NotSharedError
    """
    least = {key: max(FLOOR[key], spec["minimum"][key]) for key in FLOOR}
    told = counts(design)
    for name in ("patients", "controls"):
        if told[name] < least["group"]:
            raise NotSharedError(f"share.minimum.group: {told[name]} {name}, and {least['group']} are needed.")


def leverages(values: np.ndarray) -> np.ndarray:
    """How much of each person's connections the sums of a design [n, q] give away, [n]: from 0 to 1."""
    left, strength, _ = np.linalg.svd(values, full_matrices=False)
    return (left[:, strength > 1e-10 * strength[0]] ** 2).sum(1)
