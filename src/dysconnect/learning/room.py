"""Whether the memory holds what a linear model needs of so many people: said before anything is fitted."""

from collections.abc import Mapping

import numpy as np

from dysconnect.data.cohort import Cohort
from dysconnect.data.measures import MEASURES
from dysconnect.data.memory import free_memory, linear_bytes
from dysconnect.models.cards import card_of
from dysconnect.models.in_place import MANY


def check_room(cohort: Cohort, sections: Mapping) -> None:
    """Say where a linear model needs more than ``training.memory``, and refuse what the machine does not hold.

    Parameters
    ----------
    cohort : Cohort
    sections : mapping
        `model`, `measure` and `training` of the configuration.

    Raises
    ------
    MemoryError
        With what is needed, what there is, and what needs less.
    """
    name, (n, n_features) = sections["model"]["name"], cohort.values.shape
    if card_of(name).kind not in ("linear", "wide"):
        return
    in_place = min(n, n_features) > MANY and hasattr(card_of(name).load(), "solve_in_place")
    in_file = in_place and not isinstance(cohort.values, np.ndarray)
    needed = linear_bytes(n, n_features, in_place, in_file, MEASURES[sections["measure"]].tangent)
    granted, free = sections["training"].get("memory"), free_memory()
    says = f"model.name={name} on {n:,} people takes {needed / 1e9:.1f} GB or more"
    if needed > free:
        less = "fewer people or regions" if in_place else "model=ridge or logistic, which keep one kernel"
        raise MemoryError(f"{says}, and {free / 1e9:.1f} GB are free: give the job more memory, or choose {less}.")
    if granted is not None and needed > granted * 1e9:
        print(f"{says}, beside the libraries: more than training.memory={granted:g}", flush=True)
