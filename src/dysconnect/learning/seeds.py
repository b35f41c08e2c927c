"""A seed of its own for every model, and how many models there are."""

from math import prod

import numpy as np

from dysconnect.models import cards


def is_graph(sections: dict) -> bool:
    """Whether the model is a graph network."""
    return cards.is_graph(sections["model"]["name"])


def n_permutations(sections: dict) -> int:
    """Permutations of the labels that an experiment is compared with (see `permutation_null`)."""
    return sections["training"]["graph_permutations" if is_graph(sections) else "permutations"]


def candidates(sections: dict) -> int:
    """Combinations of hyper-parameters that are tried for every model."""
    return prod(len(values) for values in sections["training"].get("search", {}).values() if values)


def rounds(sections: dict) -> int:
    """Trainings behind every model: of every candidate, in every inner fold, and the last on all.

    At most: where a class has fewer people than there are inner folds, these are fewer.
    """
    training, starts = sections["training"], sections["model"].get("start", "none") != "none"
    inner = training.get("inner_folds", 0)
    if not is_graph(sections) or not inner or (training["validation"] and not starts):
        return candidates(sections)
    return candidates(sections) * inner + 1


def fold_seeds(sections: dict, repeat: int, fold: int) -> list[int]:
    """Seeds of the models of a fold: one, or as many as there are networks (``training.seeds``)."""
    seeds = sections["training"]["seeds"] if is_graph(sections) else 1
    return [seed_of(sections, repeat, fold, seed) for seed in range(seeds)]


def seed_of(sections: dict, *place: int) -> int:
    """A seed of its own for every fold, repeat and seed."""
    return int(np.random.SeedSequence([sections["training"]["seed"], *place]).generate_state(1)[0] % 2**31)
