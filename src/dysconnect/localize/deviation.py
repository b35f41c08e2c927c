"""How far every edge of one person is from what is expected of a healthy person of the same age, sex, site and motion.

A Gaussian linear model of the controls predicts every edge of a person. The deviation is measured in standard errors
of that prediction, ``(y - x b) / (s sqrt(1 + h))`` with h the person's leverage, which has a t distribution, and is
given as the z of the same probability. A control's own deviation comes from the model without this control and
without copies of the same scan, in closed form. So the controls say how large the largest deviation of a healthy
person is, over all edges or all circuits at once, and a person is compared with that. Who moves more than every control
is not compared: a line through the controls says nothing of such motion, which widens what connections do as well.

References
----------
Marquand et al. (2016), doi:10.1016/j.biopsych.2015.12.023 (normative models); Cook and Weisberg (1982), Residuals and
Influence in Regression (deletion of rows); Phipson and Smyth (2010), doi:10.2202/1544-6115.1585 (p is never 0).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtr

from dysconnect.data.participants import scan_groups
from dysconnect.localize.severity import refuse_unfinite
from dysconnect.localize.statistics import false_discovery, parts
from dysconnect.models.floor import LOG, CovariateEncoder

FEWEST = 3  # residual degrees of freedom: with fewer the variance of an edge is a guess
LARGEST_Z = 37.0  # beyond this the probability is below the smallest number
BIN = 0.001  # of absolute z, where the deviations of all controls are counted
MOTION = "mean_fd"  # how the names of columns of motion begin


class NoNormError(ValueError):
    """The controls cannot tell what is expected; the message says why and what to do."""


@dataclass(frozen=True)
class Deviations:
    """Normative deviations of people.

    Attributes
    ----------
    people : DataFrame, [n rows]
        `participant_id`, `label`, `scan_group`, `pooled` (covariates left out of this person's model because no other
        control shares their value: a site without controls, say; the model is then that of all sites together),
        `beyond` (columns of motion in which the person, no control, is above every control), `df` of the model, 0 where
        it cannot predict this person (z is then NaN), as it cannot where motion is beyond.
    z : array, [n, E]
        Positive: stronger than expected. Zero for edges that do not vary among controls, and for those that somebody
        lacks.
    lost : array of bool, [n, E], or None
        Edges that somebody lacks; None where nobody lacks any.
    """

    people: pd.DataFrame
    z: np.ndarray
    lost: np.ndarray | None = None

    @property
    def controls(self) -> np.ndarray:
        """Row of every control, [n0]; of several copies of a scan the first."""
        people = self.people[(self.people["label"] == 0) & (self.people["df"] > 0)]
        return np.flatnonzero(self.people.index.isin(people.index[~people["scan_group"].duplicated()]))

    @property
    def others(self) -> np.ndarray:
        """Which controls are no copies of the person, bool [n, n0]."""
        group = self.people["scan_group"].to_numpy()
        return group[:, None] != group[self.controls][None]


def deviations(
    edges: np.ndarray, table: pd.DataFrame, covariates: Sequence[str], lost: np.ndarray | None = None
) -> Deviations:
    """Measure how every edge of every person deviates from the controls.

    Parameters
    ----------
    edges : array, [n, E]
        Fisher z, complete.
    table : DataFrame, [n rows]
        `participant_id`, `label` (0: control), `scan_group` (equal for copies of one scan; optional) and the
        covariates. A number that is missing takes the controls' mean.
    covariates : sequence of str
        What is accounted for.
    lost : array of bool, [n, E], optional
        Edges that somebody lacks, and that were filled in: they tell nothing of how much controls differ.

    Raises
    ------
    NoNormError
        When there are too few controls, or none of them has a covariate.
    ValueError
        When edges are not finite.
    """
    refuse_unfinite(edges, table)
    table = table.reset_index(drop=True)
    people = table[["participant_id", "label"]].assign(scan_group=scan_groups(table), df=0)
    _refuse_few(table, covariates)
    people["pooled"] = _uninformed(table, people["scan_group"].to_numpy(), covariates)
    people["beyond"] = _beyond_controls(table, covariates)
    z, df = np.full(edges.shape, np.nan, np.float32), np.zeros(len(people), int)
    for pooled, rows in people.groupby("pooled").indices.items():
        norm = _Norm(table, [name for name in covariates if name not in pooled.split(", ")])
        for part in parts(edges.shape[1], len(edges)):
            values = edges[:, part].astype(float)
            norm.fit(values, None if lost is None else lost[:, part])
            for asked, copies in _together(people, rows[(people["beyond"] == "").to_numpy()[rows]]):
                z[asked, part], df[asked] = norm.deviate(values, asked, copies)
    if (df > 0).sum() == 0 or df[df > 0].min() < FEWEST:
        raise NoNormError(
            f"{(people['label'] == 0).sum()} controls leave fewer than {FEWEST} degrees of freedom for a norm with the "
            f"covariates {', '.join(covariates)}. Use fewer covariates (localize.nuisance), or more controls."
        )
    if lost is not None:
        z[lost & np.isfinite(z)] = 0
    return Deviations(people.assign(df=df), z, lost)


def most_motion(controls: pd.DataFrame, covariates: Sequence[str]) -> dict[str, float]:
    """Most motion of any control, by the column of it that is accounted for, as a line or as its logarithm."""
    names = dict.fromkeys(name.removeprefix(LOG) for name in covariates)
    return {name: float(controls[name].max()) for name in names if name.startswith(MOTION) and name in controls}


def _beyond_controls(table: pd.DataFrame, covariates: Sequence[str]) -> np.ndarray:
    """Columns of motion in which a person, no control, is above every control, joined by commas, [n]."""
    most = most_motion(table[table["label"] == 0], covariates)
    above = [[name for name in most if table[name][row] > most[name]] for row in range(len(table))]
    return np.array([", ".join(names) for names in above], dtype=object)


def _together(people: pd.DataFrame, rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """People of one model who have the same controls as copies of their own scan (or none), and these controls."""
    controls = people[people["label"] == 0]
    copies = controls.groupby("scan_group").indices
    group = people["scan_group"].to_numpy()[rows]
    alone = ~np.isin(group, list(copies))
    named = [(rows[group == name], controls.index[copies[name]].to_numpy()) for name in np.unique(group[~alone])]
    return [(rows[alone], np.array([], int)), *named] if alone.any() else named


class _Norm:
    """Linear model of the controls in an orthonormal basis, from which any controls can be left out."""

    def __init__(self, table: pd.DataFrame, covariates: Sequence[str]):
        self.rows = np.flatnonzero(table["label"] == 0)
        encoder = CovariateEncoder(covariates).fit(table.iloc[self.rows])
        design = np.column_stack([np.ones(len(table)), encoder.transform(table)])
        _, values, axes = np.linalg.svd(design[self.rows], full_matrices=False)
        axes, values = axes[values > 1e-8 * values[0]], values[values > 1e-8 * values[0]]
        self.coordinates = design @ axes.T / values
        beyond = np.linalg.norm(design - design @ axes.T @ axes, axis=1)
        self.inside = beyond < 1e-6 * np.linalg.norm(design, axis=1)

    def fit(self, edges: np.ndarray, lost: np.ndarray | None = None) -> "_Norm":
        """Fit edges of everybody [n, e] on the controls; `lost` [n, e] were filled in with a mean, and do not vary."""
        self.lost_ = np.zeros((len(edges), 1), bool) if lost is None else lost
        basis, controls = self.coordinates[self.rows], edges[self.rows]
        self.weights_ = basis.T @ controls
        self.squares_ = ((controls - basis @ self.weights_) ** 2).sum(0)
        self.least_ = 1e-10 * (controls**2).sum(0)
        return self

    def deviate(self, edges: np.ndarray, asked: np.ndarray, copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Deviations of the people `asked` [m] from the controls but `copies`: z [m, e], and df [m].

        With U the basis, e the residuals and A = (1 - U_I U_I')^-1 for the rows I that are left out: the coefficients
        are U'y - U_I' A e_I, the residual sum of squares is RSS - e_I' A e_I, and h = c (1 + U_I' A U_I) c'.
        """
        c, gone = self.coordinates[asked], self.coordinates[copies]
        room = np.eye(len(copies)) - gone @ gone.T
        df = len(self.rows) - len(copies) - c.shape[1]
        known = self.inside[asked] & (df > 0)
        if not known.any() or (len(copies) and np.linalg.eigvalsh(room)[0] < 1e-8):  # they alone inform a coefficient
            return np.full((len(asked), edges.shape[1]), np.nan), np.zeros(len(asked), int)
        rest = edges[copies] - gone @ self.weights_
        step = np.linalg.solve(room, rest)
        leverage = ((c + c @ gone.T @ np.linalg.solve(room, gone)) * c).sum(1)
        squares = self.squares_ - (rest * step).sum(0)
        left = df - self.lost_[np.setdiff1d(self.rows, copies)].sum(0)
        varies = (squares > self.least_) & (left > 0)
        left = np.maximum(left, 1)
        error = np.sqrt(np.where(varies, squares, 1) / left * (1 + leverage)[:, None])
        away = edges[asked] - c @ (self.weights_ - gone.T @ step)
        z = np.where(varies, normal_scores(away / error, left), 0)
        return np.where(known[:, None], z, np.nan), np.where(known, df, 0)


def normal_scores(t: np.ndarray, df: int) -> np.ndarray:
    """Convert t to the z of the same probability."""
    return np.sign(t) * np.minimum(-ndtri(stdtr(df, -np.abs(t))), LARGEST_Z)


def _refuse_few(table: pd.DataFrame, covariates: Sequence[str]) -> None:
    controls = table[table["label"] == 0]
    if len(controls) < FEWEST + 2:
        raise NoNormError(f"{len(controls)} controls are too few for a norm; at least {FEWEST + 2} are needed.")
    for name in covariates:
        if name in controls and controls[name].isna().all():
            raise NoNormError(
                f"{name} is missing for all {len(controls)} controls. Complete participants.tsv, or leave the "
                "covariate out (localize.nuisance)."
            )


def _uninformed(table: pd.DataFrame, group: np.ndarray, covariates: Sequence[str]) -> np.ndarray:
    """Categories of every person that no control has but copies of the same scan, names joined by commas, [n]."""
    control = (table["label"] == 0).to_numpy()
    lists: list[list[str]] = [[] for _ in range(len(table))]
    for name in covariates:
        if name not in table or pd.api.types.is_numeric_dtype(table[name]):
            continue
        informed = pd.DataFrame({"level": table[name], "group": group})[control].dropna().drop_duplicates()
        for person, level in enumerate(table[name]):
            if not ((informed["level"] == level) & (informed["group"] != group[person])).any():
                lists[person].append(name)
    return np.array([", ".join(names) for names in lists], dtype=object)


def person_table(measured: Deviations, alpha: float = 0.05) -> pd.DataFrame:
    """One row a person: how deviant their most deviant edge is, and how many edges deviate.

    Returns
    -------
    DataFrame, [n rows]
        `participant_id`, `label`, `pooled`, `beyond`, `df`, `largest_z`, `p_max` (share of controls, the person
        counted in, whose largest deviation is at least as large: family-wise over edges; never below 1 / (1 +
        controls)), `n_fdr` (edges by Benjamini-Hochberg at alpha), `n_controls` that were compared with.
    """
    largest = np.abs(measured.z).max(1)
    edges = [int((false_discovery(p) <= alpha).sum()) for p in _edge_p(measured)]
    table = measured.people[["participant_id", "label", "pooled", "beyond", "df"]].copy()
    table["largest_z"] = largest
    table["p_max"] = _against(measured, largest[:, None], largest)[:, 0]
    return table.assign(n_fdr=edges, n_controls=measured.others.sum(1))


def edge_table(measured: Deviations, pairs: pd.DataFrame, top: int) -> pd.DataFrame:
    """Most deviant edges of every person, by name.

    Parameters
    ----------
    measured : Deviations
    pairs : DataFrame, [E rows]
        `region_a`, `region_b` of every edge.
    top : int
        How many of a person.

    Returns
    -------
    DataFrame, [n top rows]
        `participant_id`, `label`, `rank`, `region_a`, `region_b`, `z`, `direction` (lower, higher than expected), `p`
        (among the deviations of all edges of controls), `p_fdr` (Benjamini-Hochberg over the edges of the person),
        `p_max` (against the largest deviation of every control).
    """
    _same_edges(measured, len(pairs))
    top = min(top, len(pairs))
    strength = np.where(np.isfinite(measured.z), np.abs(measured.z), -1)
    best = np.argsort(-strength, axis=1, kind="stable")[:, :top]
    z = np.take_along_axis(measured.z, best, axis=1)
    p_max = _against(measured, np.abs(z), np.abs(measured.z).max(1))
    p = np.stack([np.stack([row, false_discovery(row)])[:, chosen] for row, chosen in zip(_edge_p(measured), best)])
    table = measured.people.loc[np.repeat(np.arange(len(z)), top), ["participant_id", "label"]].reset_index(drop=True)
    table["rank"] = np.tile(np.arange(1, top + 1), len(z))
    table[["region_a", "region_b"]] = pairs[["region_a", "region_b"]].to_numpy()[best.ravel()]
    table["z"] = z.ravel().astype(float)
    table["direction"] = np.where(table["z"] < 0, "lower", "higher")
    table = table.assign(p=p[:, 0].ravel(), p_fdr=p[:, 1].ravel(), p_max=p_max.ravel())
    return table[np.isfinite(table["z"])].reset_index(drop=True)


def circuit_table(measured: Deviations, circuits: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """How far every circuit of every person deviates, the most deviant first.

    Parameters
    ----------
    measured : Deviations
    circuits : mapping of str to array of int
        Positions of the edges of every circuit.

    Returns
    -------
    DataFrame, [n circuits rows]
        `participant_id`, `label`, `circuit`, `n_edges`, `score` (mean squared z over the edges of the circuit that the
        person has: about 1 for a control), `mean_z` (of the same; negative: weaker than expected), `relative` (log
        score in standard deviations of the other controls), `p` (against the other controls' scores), `p_max` (against
        their largest over circuits).
    """
    empty = [name for name, edges in circuits.items() if len(edges) == 0]
    if empty or not circuits:
        raise ValueError(f"circuits without edges in this atlas: {', '.join(empty) or 'all'}. Leave them out.")
    score = np.stack(
        [_mean(measured, edges, measured.z[:, edges].astype(float) ** 2) for edges in circuits.values()], 1
    )
    mean_z = np.stack([_mean(measured, edges, measured.z[:, edges].astype(float)) for edges in circuits.values()], 1)
    relative = _relative(measured, np.log(np.maximum(score, 1e-12)))
    p = np.column_stack([_against(measured, column[:, None], column) for column in score.T])
    p_max = _against(measured, relative, relative.max(1))
    names, sizes = list(circuits), [len(edges) for edges in circuits.values()]
    table = measured.people.loc[np.repeat(np.arange(len(score)), len(names)), ["participant_id", "label"]]
    table = table.reset_index().rename(columns={"index": "person"})
    table = table.assign(circuit=np.tile(names, len(score)), n_edges=np.tile(sizes, len(score)))
    numbers = {"score": score, "mean_z": mean_z, "relative": relative, "p": p, "p_max": p_max}
    table = table.assign(**{name: values.ravel() for name, values in numbers.items()}).dropna(subset="score")
    table = table.sort_values(["person", "relative"], ascending=[True, False], kind="stable")
    return table.drop(columns="person").reset_index(drop=True)


def _mean(measured: Deviations, edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of numbers of some edges [n, k] over those that everybody has, [n]; what is lost is zero."""
    held = len(edges) if measured.lost is None else np.maximum((~measured.lost[:, edges]).sum(1), 1)
    return values.sum(1) / held


def _relative(measured: Deviations, values: np.ndarray) -> np.ndarray:
    """Numbers of everybody [n, c] in standard deviations of the controls who are no copies of the person."""
    others, controls = measured.others.astype(float), values[measured.controls]
    count = others.sum(1, keepdims=True)
    centre = controls.mean(0)
    mean = others @ (controls - centre) / count
    variance = (others @ (controls - centre) ** 2 - count * mean**2) / (count - 1)
    return (values - centre - mean) / np.sqrt(np.maximum(variance, 1e-12) * (1 + 1 / count))


def _against(measured: Deviations, numbers: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Rank numbers [n, k] among one number of every control, of everybody's [n]: (1 + #{control >= number}) / (1 + n0).

    Copies of the person's own scan are no controls of this person; people who could not be measured have NaN.
    """
    control, others = largest[measured.controls], measured.others
    p = np.full(numbers.shape, np.nan)
    for person in np.flatnonzero(np.isfinite(numbers).all(1)):
        reference = np.sort(control[others[person]])
        beyond = len(reference) - np.searchsorted(reference, numbers[person] - 1e-9, side="left")
        p[person] = (1 + beyond) / (1 + len(reference))
    return p


def _edge_p(measured: Deviations) -> Iterator[np.ndarray]:
    """For every person p [E] of the edges, among all edges of all controls who are no copies of the person."""
    controls = measured.controls
    total = np.zeros(int(LARGEST_Z / BIN) + 2, int)
    for control in controls:
        total += _beyond(measured.z[control])
    for z, others in zip(measured.z, measured.others):
        if not np.isfinite(z).all():
            yield np.full(z.shape, np.nan)
            continue
        beyond = total - sum(_beyond(measured.z[copy]) for copy in controls[~others])
        yield (1 + beyond[_bins(z)]) / (1 + beyond[0])


def _bins(z: np.ndarray) -> np.ndarray:
    return (np.abs(z) / BIN).astype(int)


def _beyond(z: np.ndarray) -> np.ndarray:
    """How many deviations are as large as each bin's, or larger."""
    return np.bincount(_bins(z), minlength=int(LARGEST_Z / BIN) + 2)[::-1].cumsum()[::-1]


def _same_edges(measured: Deviations, count: int) -> None:
    if count != measured.z.shape[1]:
        raise ValueError(f"names of {count} edges for the deviations of {measured.z.shape[1]}: they belong together.")
