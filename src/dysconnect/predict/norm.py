"""How every connection of a new person deviates from the controls, from sums over them alone.

The model of `dysconnect.localize.deviation`, ``(y - x b) / (s sqrt(1 + h))``: its coefficients, residual variance and
leverage follow from X'X, X'Y and Y'Y of the controls, for every choice of covariates. So a covariate that is not known
of the person, or a site that no control comes from, is left out of the model rather than guessed. What the controls
deviate from each other, each left out once, says how large the largest deviation of a healthy person is.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import MissingRegions, Pairs, lacking
from dysconnect.localize.deviation import FEWEST, LARGEST_Z, deviations, most_motion, normal_scores
from dysconnect.localize.statistics import false_discovery
from dysconnect.models.floor import CovariateEncoder
from dysconnect.paper.text import beyond_sentence

BIN = 0.01  # of absolute z, in which the deviations of all controls are counted
REST = "intercept"


@dataclass(frozen=True)
class Norm:
    """The controls, in sums.

    Attributes
    ----------
    encoding : dict
        Of the covariates (`CovariateEncoder.state`), with their names under `covariates` and the most motion of any
        control under `most`.
    columns : list of str, [K]
        Covariate that every column of the design encodes; the first is the intercept.
    n : int
        Controls.
    xx : array, [K, K]
    xy : array, [K, E']
        Of the edges tested, less `centre`.
    yy, centre : array, [E']
    tested : array of bool, [E]
    filler : array, [E]
        What stands for an edge of a region without signal.
    largest : array, [n]
        Largest absolute deviation of every control from the others, sorted.
    beyond : array of int
        Deviations of controls' edges that are as large as each bin's, or larger.
    circuits : dict of str to array of int
        Positions among the edges tested.
    scores : array, [n, C]
        Log of the mean squared deviation of every circuit of every control.
    n_lacking : array of int, [E']
        Controls who lack the edge.
    """

    encoding: dict
    columns: list[str]
    n: int
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    centre: np.ndarray
    tested: np.ndarray
    filler: np.ndarray
    largest: np.ndarray
    beyond: np.ndarray
    circuits: dict[str, np.ndarray]
    scores: np.ndarray
    n_lacking: np.ndarray

    def state(self) -> dict[str, np.ndarray]:
        """As arrays."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        described = {"encoding": self.encoding, "columns": self.columns, "n": self.n, "circuits": list(self.circuits)}
        arrays |= {f"circuit.{k}": edges for k, edges in enumerate(self.circuits.values())}
        return arrays | {"described": np.array(json.dumps(described))}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> "Norm":
        """Restore from `state`."""
        fields = json.loads(str(arrays["described"]))
        fields["circuits"] = {name: arrays[f"circuit.{k}"] for k, name in enumerate(fields["circuits"])}
        none = {"n_lacking": np.zeros(len(arrays["centre"]), int)}  # older files knew of none
        return cls(**fields, **{name: arrays[name] if name in arrays else none[name] for name in ARRAYS})

    def known(self, person: pd.DataFrame) -> list[str]:
        """Covariates that are known of a person (one row), of categories those that a control shares."""
        kept = []
        for name in self.encoding["covariates"]:
            value = person[name].iloc[0] if name in person else None
            if name in self.encoding["numeric"]:
                kept += [name] * bool(value is not None and np.isfinite(float(value)))
            else:
                kept += [name] * (value in (self.encoding["firsts"][name], *self.encoding["categories"][name]))
        return kept

    def refusal(self, person: pd.DataFrame) -> str:
        """Why a person (one row) is not compared, who moves more than every control; empty else, and of older files."""
        most = self.encoding.get("most", {})
        beyond = [name for name in most if name in person and float(person[name].iloc[0]) > most[name]]
        return beyond_sentence(beyond) if beyond else ""

    def deviate(self, edges: np.ndarray, person: pd.DataFrame) -> tuple[np.ndarray, int]:
        """Deviations z [E'] of one person, edges [E] complete, and the degrees of freedom of the model.

        Raises
        ------
        ValueError
            When the controls are too few for the covariates.
        """
        known = self.known(person)
        columns = np.array([name == REST or name in known for name in self.columns])
        row = np.r_[1.0, self._encoder().transform(person)[0]][columns]
        inverse = np.linalg.pinv(self.xx[np.ix_(columns, columns)], rcond=1e-10, hermitian=True)
        df = self.n - np.linalg.matrix_rank(self.xx[np.ix_(columns, columns)], tol=1e-8 * self.n, hermitian=True)
        if df < FEWEST:
            raise ValueError(f"{self.n} controls leave {df} degrees of freedom for a norm; {FEWEST} are needed")
        weights = inverse @ self.xy[columns]
        squares, left = self.yy - (self.xy[columns] * weights).sum(0), df - self.n_lacking
        varies = (squares > 1e-10 * (self.yy + self.n * self.centre**2)) & (left > 0)
        left = np.maximum(left, 1)
        error = np.sqrt(np.where(varies, squares, 1) / left * (1 + row @ inverse @ row))
        away = edges[self.tested] - self.centre - row @ weights
        return np.where(varies, normal_scores(away / error, left), 0), int(df)

    def edge_p(self, z: np.ndarray) -> np.ndarray:
        """Share of the controls' edges that deviate as much, the edge counted in, [E']."""
        return (1 + self.beyond[_bins(z)]) / (1 + self.beyond[0])

    def largest_p(self, z: np.ndarray) -> np.ndarray:
        """Share of controls, the person counted in, of whom an edge deviates as much as each: never below 1/(1 + n)."""
        return (1 + self.n_compared - np.searchsorted(self.largest, np.abs(z) - 1e-6)) / (1 + self.n_compared)

    @property
    def n_compared(self) -> int:
        """Controls whose deviations are known (one of several copies of a scan)."""
        return len(self.largest)

    def fill(self, edges: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Edges [E] of one person, those of missing regions [N] as the cohort's mean."""
        return np.where(lacking(edges, missing, Pairs(len(missing))), self.filler, edges)

    def _encoder(self) -> CovariateEncoder:
        return CovariateEncoder(self.encoding["covariates"]).load_state(self.encoding)


ARRAYS = ("xx", "xy", "yy", "centre", "tested", "filler", "largest", "beyond", "scores", "n_lacking")


def learn_norm(
    cohort: Cohort, circuits: pd.DataFrame, covariates: Sequence[str], max_missing: float, filler: MissingRegions
) -> Norm:
    """Learn the norm of the controls of a cohort.

    Parameters
    ----------
    cohort : Cohort
        Fisher z.
    circuits : DataFrame
        `circuit` and `edge`, from `atlas.circuit_edges`.
    covariates : sequence of str
    max_missing : float
        Edges missing in more people than this are left out.
    filler : MissingRegions
        Fitted on the cohort.

    Raises
    ------
    dysconnect.localize.deviation.NoNormError
        When there are too few controls.
    """
    tested = (cohort.n_lacking / len(cohort.values) <= max_missing) & cohort.measured
    rows = np.flatnonzero(cohort.labels == 0)
    edges = filler.transform(cohort.values[rows], cohort.missing[rows])[:, tested]
    lost = cohort.lacking(rows)[:, tested]
    table = cohort.participants.iloc[rows].reset_index(drop=True)
    deviating = deviations(edges, table, covariates, lost if lost.any() else None)
    place = np.cumsum(tested) - 1
    groups = circuits[tested[circuits["edge"]]].groupby("circuit", sort=False)["edge"]
    inside = {name: place[members.to_numpy()].astype(np.int32) for name, members in groups}
    z = deviating.z[deviating.controls].astype(float)
    sums = _sums(edges, table, covariates)
    return Norm(
        **sums, tested=tested, filler=filler.mean_.astype(np.float32), largest=np.sort(np.abs(z).max(1)),
        beyond=np.bincount(_bins(z).ravel(), minlength=BINS)[::-1].cumsum()[::-1], circuits=inside,
        scores=_circuit_scores(z, inside, lost[deviating.controls]), n_lacking=lost.sum(0),
    )  # fmt: skip


def _sums(edges: np.ndarray, table: pd.DataFrame, covariates: Sequence[str]) -> dict:
    """Sums over controls, of edges less their mean so that differences of large numbers lose nothing."""
    encoder = CovariateEncoder(covariates).fit(table)
    columns = [REST]
    for name in covariates:
        columns += [name] * (1 if name in encoder.numeric_ else len(encoder.categories_[name]))
    design = np.column_stack([np.ones(len(table)), encoder.transform(table)])
    centre = edges.mean(0, dtype=float)
    away = edges - centre
    sums = {"xx": design.T @ design, "xy": design.T @ away, "yy": (away**2).sum(0), "centre": centre}
    encoding = {"covariates": [*covariates], "most": most_motion(table, covariates), **encoder.state()}
    return {**sums, "n": len(table), "columns": columns, "encoding": encoding}


BINS = int(LARGEST_Z / BIN) + 2


def _bins(z: np.ndarray) -> np.ndarray:
    return (np.abs(z) / BIN).astype(int)


def _circuit_scores(z: np.ndarray, circuits: Mapping[str, np.ndarray], lost: np.ndarray | None = None) -> np.ndarray:
    """Log of the mean squared deviation of every circuit over edges that are not `lost` [n, E'], [n, C]."""
    lost = np.zeros(z.shape, bool) if lost is None else lost
    scores = [(z[:, edges] ** 2).sum(1) / (~lost[:, edges]).sum(1).clip(1) for edges in circuits.values()]
    return np.log(np.maximum(np.stack(scores, axis=1), 1e-12)) if scores else np.empty((len(z), 0))


def describe_deviation(
    norm: Norm, edges: np.ndarray, person: pd.DataFrame, pairs: pd.DataFrame, top: int, alpha: float
) -> dict:
    """Deviation map of one person.

    Parameters
    ----------
    norm : Norm
    edges : array, [E]
        Fisher z, complete.
    person : DataFrame, [1 row]
    pairs : DataFrame, [E rows]
        `region_a`, `region_b`.
    top : int
        Edges that are named.
    alpha : float
        Of Benjamini-Hochberg.

    Returns
    -------
    dict
        `covariates`, `not_known` (left out of the person's norm), `df`, `controls`, `largest_z`, `p_max`, `n_fdr`,
        `edges` (`region_a`, `region_b`, `z`, `p`, `p_fdr`, `p_max`) and `circuits` (`circuit`, `edges`, `score`,
        `mean_z`, `relative`, `p`, `p_max`), the most deviant first; as of `dysconnect.localize.deviation`.
    """
    z, df = norm.deviate(edges, person)
    p = norm.edge_p(z)
    adjusted = false_discovery(p)
    first = np.argsort(-np.abs(z), kind="stable")[:top]
    names = pairs[norm.tested].iloc[first].reset_index(drop=True)
    table = names.assign(z=z[first], p=p[first], p_fdr=adjusted[first], p_max=norm.largest_p(z[first]))
    known = norm.known(person)
    return {
        "covariates": known,
        "not_known": [name for name in norm.encoding["covariates"] if name not in known],
        "df": df,
        "controls": norm.n_compared,
        "tested": int(norm.tested.sum()),
        "largest_z": float(np.abs(z).max()),
        "p_max": float(norm.largest_p(np.abs(z).max())),
        "n_fdr": int((adjusted <= alpha).sum()),
        "edges": table.to_dict("records"),
        "circuits": _circuits(norm, z),
    }


def _circuits(norm: Norm, z: np.ndarray) -> list[dict]:
    """Circuits of one person against those of the controls."""
    scores, n = _circuit_scores(z[None], norm.circuits)[0], norm.n_compared
    spread = np.sqrt(np.maximum(norm.scores.var(0, ddof=1), 1e-12) * (1 + 1 / n))
    relative = (scores - norm.scores.mean(0)) / spread
    largest = _left_out(norm.scores).max(1, initial=-np.inf)
    rows = [
        {
            "circuit": name, "edges": len(edges), "score": float(np.exp(scores[k])), "mean_z": float(z[edges].mean()),
            "relative": float(relative[k]), "p": _rank(norm.scores[:, k], scores[k]),
            "p_max": _rank(largest, relative[k]),
        }
        for k, (name, edges) in enumerate(norm.circuits.items())
    ]  # fmt: skip
    return sorted(rows, key=lambda row: -row["relative"])


def _left_out(values: np.ndarray) -> np.ndarray:
    """Everybody [n, C] in standard deviations of the others."""
    n = len(values)
    mean = (values.sum(0) - values) / (n - 1)
    square = ((values**2).sum(0) - values**2 - (n - 1) * mean**2) / max(n - 2, 1)
    return (values - mean) / np.sqrt(np.maximum(square, 1e-12) * (1 + 1 / (n - 1)))


def _rank(cohort: np.ndarray, value: float) -> float:
    return float((1 + (cohort >= value - 1e-9).sum()) / (1 + len(cohort)))
