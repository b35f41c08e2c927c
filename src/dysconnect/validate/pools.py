"""People between whom there is no difference: whom the cohorts of the validation are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from dysconnect.data.estimate import connectome
from dysconnect.data.series import has_signal, read_series
from dysconnect.denoising.checks import usable_confounds
from dysconnect.denoising.projection import Projection, plan
from dysconnect.planted.plant import Ground, edge_spread, resting_band
from dysconnect.planted.simulated import add_motion, simulate_cohort


@dataclass(frozen=True)
class Pool:
    """People of one cohort, before they are told apart as patients and controls.

    Attributes
    ----------
    participants : DataFrame, [n rows]
        Covariates of everybody; no group.
    series : list of array, each [T, N]
        Where a disruption is planted.
    artefacts : list of array or float
        What is added after planting: the motion of simulated people; zero for real ones, who have moved already.
    confounds : list of DataFrame or None
    repetition_times : list of float
        Seconds.
    plans : dict
        Denoising of people by their number, where it does not depend on the series: filled as it is needed.
    """

    participants: pd.DataFrame
    series: list[np.ndarray]
    artefacts: list
    confounds: list
    repetition_times: list[float]
    plans: dict[int, Projection] = field(default_factory=dict)

    def edges(self, person: int, series: np.ndarray, spec: dict, strength: float = 1.0) -> np.ndarray:
        """Connectome of one person with these series [T, N], denoised as the cohort is, float32 [E].

        The motion of simulated people is `strength` times what it is.
        """
        moved = series + strength * self.artefacts[person]
        clean = self._denoising(person, moved, spec["denoise"]).clean(moved)
        return connectome(clean, spec["localize"]["measure"], spec["estimator"])

    def _denoising(self, person: int, series: np.ndarray, spec: dict) -> Projection:
        if spec["global_signal"] == "regions":  # regressed out, and part of these series
            return plan(series, self.confounds[person], self.repetition_times[person], spec)
        if person not in self.plans:
            self.plans[person] = plan(series, self.confounds[person], self.repetition_times[person], spec)
        return self.plans[person]

    def all_edges(self, spec: dict, strength: float = 1.0) -> np.ndarray:
        """Connectomes of everybody, [n, E]."""
        return np.stack([self.edges(k, x, spec, strength) for k, x in enumerate(self.series)])

    @property
    def is_simulated(self) -> bool:
        """Whether motion is added to the series; that of real people is in them."""
        return any(np.ndim(one) for one in self.artefacts)

    @cached_property
    def bands(self) -> list[np.ndarray]:
        """Series in the resting band, each [T, N]."""
        return [resting_band(x, seconds) for x, seconds in zip(self.series, self.repetition_times)]

    @cached_property
    def grounds(self) -> list[Ground]:
        """Everybody, ready for planting."""
        return [Ground.of(x, band) for x, band in zip(self.series, self.bands)]

    @cached_property
    def spread(self) -> np.ndarray:
        """Unit of the planted effect, [E]."""
        return edge_spread(self.bands, self.participants)


def thin(nodes: pd.DataFrame, regions: int | None) -> np.ndarray:
    """Positions of `regions` of the atlas's regions, evenly over the systems of the brain, in the atlas's order."""
    if regions is None or regions >= len(nodes):
        return np.arange(len(nodes))
    by_system = np.argsort(nodes["system"].to_numpy(str), kind="stable")
    return np.sort(by_system[np.linspace(0, len(nodes) - 1, regions).round().astype(int)])


def simulated_pool(dataset: dict, nodes: pd.DataFrame, wanted: int, seed: Sequence[int]) -> Pool:
    """Fresh people from the simulator.

    Parameters
    ----------
    dataset : dict
        The `dataset` section of a simulated cohort; all move alike, whatever its `motion_ratio`.
    nodes : DataFrame, [N rows]
    wanted : int
        How many people.
    seed : sequence of int
    """
    number = int(np.random.SeedSequence(seed).generate_state(1)[0])
    spec = {**dataset, "patients": wanted // 2, "controls": wanted - wanted // 2, "motion_ratio": 1.0, "seed": number}
    people, series, confounds = simulate_cohort(spec, nodes)
    artefacts = add_motion([np.zeros_like(x) for x in series], confounds, nodes, spec)
    people["mean_fd"] = [motion["framewise_displacement"].mean() for motion in confounds]
    times = [dataset["repetition_time"]] * len(people)
    return Pool(people.drop(columns=["group", "target_fd"]), series, artefacts, confounds, times)


def controls_of(participants: pd.DataFrame, index: pd.DataFrame, groups: Sequence[str], wanted: int) -> pd.DataFrame:
    """Included controls with series, one copy of a scan each, joined with the index of their series.

    Raises
    ------
    ValueError
        When there are fewer than wanted.
    """
    people = participants[participants["included"] & participants["group"].isin(groups)]
    if "scan_group" in people:
        people = people.drop_duplicates("scan_group")
    people = people.merge(index, on="participant_id", suffixes=("", "_index")).reset_index(drop=True)
    refuse_few(len(people), wanted, f"included controls ({', '.join(groups)}) with series")
    return people


def refuse_few(available: int, wanted: int, what: str) -> None:
    """Refuse a validation with more people than there are."""
    if available < wanted:
        raise ValueError(
            f"the validation asks for {wanted} people, and there are {available} {what}. Set validate.patients and "
            f"validate.controls so that together they are {available} or fewer, or choose a larger dataset."
        )


def real_pool(controls: pd.DataFrame, nodes: pd.DataFrame, kept: np.ndarray, wanted: int, seed: Sequence[int]) -> Pool:
    """Real controls, drawn at random, with signal in all regions.

    Parameters
    ----------
    controls : DataFrame
        Of `controls_of`.
    nodes : DataFrame, [N rows]
        The whole atlas.
    kept : array of int
        Regions that are used (`thin`).
    wanted : int
    seed : sequence of int

    Raises
    ------
    ValueError
        When too few have signal in all regions.
    """
    rows, series = [], []
    for row in np.random.default_rng(seed).permutation(len(controls)):
        x = read_series(controls["series"][row], controls["key"][row], nodes)[:, kept]
        if np.isfinite(x).all() and has_signal(x).all():
            rows.append(row)
            series.append(x)
        if len(rows) == wanted:
            break
    refuse_few(len(rows), wanted, "controls with signal in all regions")
    people = controls.iloc[rows].reset_index(drop=True)
    confounds = [usable_confounds(path) if path else None for path in people["confounds"]]
    times = people["repetition_time"].astype(float).tolist()
    return Pool(people, series, [0.0] * wanted, confounds, times)
