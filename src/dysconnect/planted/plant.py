"""Plant a known disruption in regional series: a truth to find again, in simulated and in real people."""

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import linalg
from threadpoolctl import threadpool_limits

from dysconnect.data.atlas import circuit_edges
from dysconnect.data.edges import Pairs
from dysconnect.progress import track

PATTERNS = ("circuit", "mixed", "hub", "random")
PASSES = 4
FLOOR = 1e-3  # smallest eigenvalue of a correlation matrix that is asked for
BAND = (0.01, 0.1)  # Hz: where resting connectivity is measured


def resting_band(series: np.ndarray, repetition_time: float) -> np.ndarray:
    """Series of the regions in the resting band, by Fourier mask, [T, N]; `repetition_time` in seconds."""
    frequency = np.fft.rfftfreq(len(series), repetition_time)
    spectrum = np.fft.rfft(series - series.mean(0), axis=0)
    spectrum[(frequency < BAND[0]) | (frequency > BAND[1])] = 0
    return np.fft.irfft(spectrum, n=len(series), axis=0)


def choose_pattern(
    nodes: pd.DataFrame, pattern: str, circuits: Sequence[str], n_edges: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Draw the edges of a planted truth that has a shape.

    Parameters
    ----------
    nodes : DataFrame, [N rows]
        Atlas table.
    pattern : {"circuit", "mixed", "hub", "random"}
        Edges of the circuits, weaker in patients; the same with random signs; all edges of one node; any edges.
    circuits : sequence of str
        For ``circuit`` and ``mixed``.
    n_edges : int
        How many edges in all; a hub has N - 1.
    rng : Generator

    Returns
    -------
    DataFrame
        As of `choose_edges`; outside the circuits `circuit` names the pattern.
    """
    if pattern not in PATTERNS:
        raise ValueError(f"pattern {pattern!r} is unknown. Choose of {', '.join(PATTERNS)}.")
    if pattern == "circuit":
        return choose_edges(nodes, circuits, n_edges, "down", rng)
    if pattern == "mixed":
        return choose_edges(nodes, circuits, n_edges, "mixed", rng)
    rows, cols = Pairs(len(nodes)).ends
    if pattern == "hub":
        edge = _edges_of(rng.integers(len(nodes)), rows, cols)
    elif n_edges > len(rows):
        raise ValueError(f"{n_edges} random edges asked, but {len(nodes)} regions have {len(rows)}. Ask for fewer.")
    else:
        edge = np.sort(rng.choice(len(rows), n_edges, replace=False))
    return pd.DataFrame({"circuit": pattern, "edge": edge, "i": rows[edge], "j": cols[edge], "direction": -1})


def choose_edges(
    nodes: pd.DataFrame,
    circuits: Sequence[str],
    n_edges: int,
    direction: str,
    rng: np.random.Generator,
    directed: bool = False,
) -> pd.DataFrame:
    """Draw the edges of the planted truth from the loops of dystonia, evenly over the circuits.

    Parameters
    ----------
    nodes : DataFrame, [N rows]
        Atlas table.
    circuits : sequence of str
        Names in ``atlas/circuits.tsv``.
    n_edges : int
        How many edges in all.
    direction : {"down", "up", "mixed"}
        Sign of the change in the patients.
    directed : bool
        Edges from `i` to `j`, as the circuits go.

    Returns
    -------
    DataFrame, [n_edges rows]
        `circuit`, `edge`, `i`, `j`, `direction` (-1 or 1).

    Raises
    ------
    ValueError
        When a circuit is unknown, has no edge in this atlas, or there are fewer edges than asked.
    """
    pool = circuit_edges(nodes, directed)
    pool = pool[pool["circuit"].isin(circuits)].drop_duplicates("edge")
    empty = [name for name in circuits if name not in set(pool["circuit"])]
    if empty:
        raise ValueError(
            f"circuits to plant in: {', '.join(empty)} has no edge in these regions. "
            f"Known circuits: {', '.join(sorted(set(circuit_edges(nodes)['circuit'])))}."
        )
    if n_edges > len(pool):
        raise ValueError(f"{n_edges} edges to plant asked, but {', '.join(circuits)} have {len(pool)}. Ask for fewer.")
    shuffled = pool.iloc[rng.permutation(len(pool))]
    turn = shuffled.groupby("circuit").cumcount()
    chosen = shuffled.iloc[np.argsort(turn.to_numpy(), kind="stable")[:n_edges]].sort_values("edge")
    return chosen.assign(direction=_signs(direction, n_edges, rng)).reset_index(drop=True)


def _signs(direction: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Sign of the change of n edges."""
    return {"down": np.full(n, -1), "up": np.full(n, 1), "mixed": rng.choice([-1, 1], n)}[direction]


def _edges_of(region: int, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Positions of all edges of one region."""
    return np.flatnonzero((rows == region) | (cols == region))


def choose_region_edges(
    nodes: pd.DataFrame, region: str, n_edges: int, direction: str, rng: np.random.Generator
) -> pd.DataFrame:
    """Draw the edges of the planted truth from those of one region, a hub of the disruption.

    Parameters and what is returned are those of `choose_edges`, of a region's name instead of circuits; `circuit` says
    ``hub``.

    Raises
    ------
    ValueError
        When the atlas has no such region, with those of a like name, or the region has fewer edges than asked.
    """
    names = nodes["name"].tolist()
    if region not in names:
        near = difflib.get_close_matches(region, names, n=4, cutoff=0.3)
        raise ValueError(f"region to plant in: this atlas has no {region!r}. It has {', '.join(near or names[:4])}.")
    rows, cols = Pairs(len(nodes)).ends
    candidates = _edges_of(names.index(region), rows, cols)
    if n_edges > len(candidates):
        raise ValueError(f"{n_edges} edges to plant asked, but {region} has {len(candidates)}. Ask for fewer.")
    edge = np.sort(rng.choice(candidates, n_edges, replace=False))
    chosen = {
        "circuit": "hub",
        "edge": edge,
        "i": rows[edge],
        "j": cols[edge],
        "direction": _signs(direction, n_edges, rng),
    }
    return pd.DataFrame(chosen)


def choose_carriers(patients: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the patients that carry the disruption: ``round(fraction * n)`` of them, at least one, sorted."""
    count = max(round(fraction * len(patients)), 1 if fraction else 0)
    return np.sort(rng.choice(patients, size=count, replace=False))


def edge_spread(bands: Sequence[np.ndarray], participants: pd.DataFrame) -> np.ndarray:
    """Standard deviation over subjects of every edge's Fisher z, within site, [E].

    The unit in which an effect is planted: d = 1 moves an edge by one of these.
    """
    rows, cols = Pairs(bands[0].shape[1]).ends
    with np.errstate(invalid="ignore"):  # a region without signal has no correlation
        z = np.stack([np.arctanh(np.clip(np.corrcoef(x.T)[rows, cols], -0.999, 0.999)) for x in bands])
    squares, freedom = np.zeros(len(rows)), np.zeros(len(rows))
    for site in participants["site"].unique():
        within = z[(participants["site"] == site).to_numpy()]
        seen = np.isfinite(within)
        count = seen.sum(0)
        mean = np.where(seen, within, 0).sum(0) / np.maximum(count, 1)
        squares += (np.where(seen, within - mean, 0) ** 2).sum(0)
        freedom += np.maximum(count - 1, 0)
    return np.sqrt(squares / np.maximum(freedom, 1))


@dataclass(frozen=True)
class Ground:
    """Series of one person, ready for planting: what does not depend on what is planted is computed once.

    Attributes
    ----------
    series : array, [T, N]
        Regional BOLD.
    alive : array of int, [A]
        Regions with a signal.
    scale : array, [A]
        Their standard deviations in the resting band.
    sample, source : array, [A, A]
        Correlations in the resting band, as they are and shrunken so that they can be inverted.
    roots : tuple of array, [A, A]
        Square root of `source` and its inverse.
    """

    series: np.ndarray
    alive: np.ndarray
    scale: np.ndarray
    sample: np.ndarray
    source: np.ndarray
    roots: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, series: np.ndarray, band: np.ndarray, shrinkage: float = 0.02) -> "Ground":
        """Parameters as of `plant`."""
        spread = band.std(0)
        alive = np.flatnonzero(spread > 1e-9 * np.abs(series).max())
        sample = np.corrcoef(band[:, alive].T)
        source = (1 - shrinkage) * sample + shrinkage * np.eye(len(alive))
        return cls(series, alive, spread[alive], sample, source, _roots(source))

    def planted(self, edges: pd.DataFrame, shift: np.ndarray) -> np.ndarray:
        """Series with chosen edges moved, [T, N]; parameters as of `plant`."""
        position = np.full(self.series.shape[1], -1)
        position[self.alive] = np.arange(len(self.alive))
        i, j = position[edges["i"].to_numpy()], position[edges["j"].to_numpy()]
        use = (i >= 0) & (j >= 0)
        i, j, shift = i[use], j[use], np.asarray(shift)[use]
        before, asked = _fisher(self.sample, i, j), shift.copy()
        for _ in range(PASSES):  # with fewer volumes than regions part of a move is lost: ask for more
            transport = _transport(*self.roots, _moved(self.source, i, j, asked))
            asked = np.clip(asked + shift - (_fisher(transport @ self.sample @ transport, i, j) - before), -2, 2)
        values = self.series[:, self.alive]
        mean = values.mean(0)
        mapped = ((values - mean) / self.scale) @ transport
        planted = self.series.astype(float)
        planted[:, self.alive] = mapped / mapped.std(0) * values.std(0) + mean
        return planted


def plant(
    series: np.ndarray, band: np.ndarray, edges: pd.DataFrame, shift: np.ndarray, shrinkage: float = 0.02
) -> np.ndarray:
    """Move chosen edges of one person's series by given amounts of Fisher z, changing as little as possible.

    The target correlation matrix is the person's with the chosen entries moved and the result brought
    back to the positive-definite cone; the series are then mapped by the optimal-transport map between two
    centred Gaussians, ``A = S^-1/2 (S^1/2 T S^1/2)^1/2 S^-1/2``, the linear map with the least mean-square
    change. Neighbouring edges move with the chosen ones exactly as far as positive definiteness and that
    map require, as a real disruption would spread. Filtering and regression act on time and the map on
    regions, so the change passes through denoising.

    Parameters
    ----------
    series : array, [T, N]
        Regional BOLD of one person.
    band : array, [T, N]
        The same in the resting band (`resting_band`): where the correlations are to move.
    edges : DataFrame
        `i`, `j`: the chosen edges.
    shift : array, [len(edges)]
        Change of Fisher z.
    shrinkage : float
        Weight of the identity in the correlation matrix, so that it can be inverted when T < N.

    Returns
    -------
    array, [T, N]
        Same means and standard deviations as `series`.

    References
    ----------
    Olkin and Pukelsheim (1982), The distance between two random vectors with given dispersion matrices.
    """
    return Ground.of(series, band, shrinkage).planted(edges, shift)


def _fisher(covariance: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Fisher z of some entries of a covariance matrix."""
    variance = np.diag(covariance)
    return np.arctanh(np.clip(covariance[i, j] / np.sqrt(variance[i] * variance[j]), -0.999, 0.999))


def _moved(correlation: np.ndarray, i: np.ndarray, j: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Move entries by `shift` in Fisher z, then return to a positive-definite correlation matrix, [N, N].

    Alternates between the fixed entries and the cone, because one projection undoes part of the move.
    """
    wanted = np.tanh(np.arctanh(np.clip(correlation[i, j], -0.99, 0.99)) + shift)
    moved = correlation.copy()
    for _ in range(3):
        moved[i, j] = moved[j, i] = wanted
        low, vectors = linalg.eigh(moved, subset_by_value=(-np.inf, FLOOR), check_finite=False)
        moved += (vectors * (FLOOR - low)) @ vectors.T  # few are so low, and only they are computed
        scale = np.sqrt(np.diag(moved))
        moved /= np.outer(scale, scale)
    return moved


def _roots(source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Square root of a covariance and its inverse, [N, N] each."""
    values, vectors = np.linalg.eigh(source)
    return (vectors * np.sqrt(values)) @ vectors.T, (vectors / np.sqrt(values)) @ vectors.T


def _transport(root: np.ndarray, inverse_root: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Optimal-transport map to a centred Gaussian of covariance `target`, [N, N], symmetric."""
    values, vectors = np.linalg.eigh(root @ target @ root)
    sides = inverse_root @ vectors
    return (sides * np.sqrt(np.maximum(values, 0))) @ sides.T


def truth_table(nodes: pd.DataFrame, edges: pd.DataFrame, effect: float, carriers: float) -> pd.DataFrame:
    """Return the planted truth by region names; no rows when the effect is zero."""
    names = nodes["name"].to_numpy()
    table = pd.DataFrame(
        {
            "region_a": names[edges["i"]],
            "region_b": names[edges["j"]],
            "circuit": edges["circuit"].to_numpy(),
            "direction": edges["direction"].to_numpy(),
            "effect": effect,
            "carriers": carriers,
        }
    )
    return table if effect else table.iloc[:0]


@threadpool_limits.wrap(limits=1, user_api="blas")  # small matrices: one thread a person, and the same digits with any
def plant_cohort(
    series: Sequence[np.ndarray],
    participants: pd.DataFrame,
    nodes: pd.DataFrame,
    repetition_times: Sequence[float],
    spec: dict,
    patients: np.ndarray,
    loads: Sequence[np.ndarray] | None = None,
) -> tuple[list[np.ndarray], pd.DataFrame, np.ndarray]:
    """Plant one truth in the carriers among the patients of a cohort.

    Parameters
    ----------
    series : sequence of array, each [T, N]
        One a subject, in the order of `participants`; nothing is planted where values are not finite.
    participants : DataFrame
        Needs `site`, the unit of `spec["effect"]` being the spread within sites.
    nodes : DataFrame, [N rows]
        Atlas table.
    repetition_times : sequence of float
        Seconds, one a subject.
    spec : dict
        `circuits`, or instead of them the one `region` whose edges are planted, `edges`, `effect` (Cohen's d among
        carriers), `carriers` (fraction of the patients), `direction`, `seed`.
    patients : array of int
        Positions of the patients.
    loads : sequence of array, each [T], optional
        How far every volume is moved, 0 to 1, one a subject: of a task, say. Without them all are, all the way.

    Returns
    -------
    series, truth, carriers
        New series, the truth by region names, and the positions of the carriers.
    """
    rng = np.random.default_rng([spec["seed"], 7])
    how = spec["edges"], spec["direction"], rng
    hub = spec["region"]
    edges = choose_region_edges(nodes, hub, *how) if hub else choose_edges(nodes, spec["circuits"], *how)
    carriers = choose_carriers(patients, spec["carriers"], rng) if spec["effect"] else np.array([], int)
    truth = truth_table(nodes, edges, spec["effect"], spec["carriers"])
    planted = list(series)
    if len(carriers):
        from joblib import Parallel, delayed

        bands = [resting_band(x, seconds) for x, seconds in zip(series, repetition_times)]
        spread = edge_spread(bands, participants)[edges["edge"].to_numpy()]
        shift = spec["effect"] * edges["direction"].to_numpy() * spread
        sound = [subject for subject in carriers if np.isfinite(series[subject]).all()]
        jobs = (delayed(plant)(series[subject], bands[subject], edges, shift) for subject in sound)
        changed = Parallel(n_jobs=os.cpu_count(), backend="threading", return_as="generator")(jobs)
        for subject, x in zip(sound, track(changed, "planting the disruption", total=len(sound))):
            before = series[subject]
            planted[subject] = x if loads is None else before + loads[subject][:, None] * (x - before)
    return planted, truth, carriers
