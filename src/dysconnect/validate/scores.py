"""How well the methods keep their promises: scores of a cohort, and of all cohorts together."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import beta, t
from sklearn.metrics import average_precision_score

from dysconnect.localize.methods import Outcome
from dysconnect.validate.scenarios import Truth

KEYS = ["scenario", "pattern", "carriers", "d"]
SHARES = ("fwer", "coverage")  # of cohorts, so with binomial limits
MEANS = ("tpr", "fdp", "fdp_strict", "auprc", "auprc_ratio", "sign_accuracy", "called")
COLUMNS = [*KEYS, "cohort", "batch", "method", "units", *MEANS, *SHARES]


def score_cohort(outcomes: Sequence[Outcome], truth: Truth, statistic: np.ndarray) -> pd.DataFrame:
    """Compare what the methods call with the truth.

    Parameters
    ----------
    outcomes : sequence of Outcome
    truth : Truth
    statistic : array, [E]
        Its sign is the direction of every edge.

    Returns
    -------
    DataFrame
        `method`, `units` (edges, sets, ranking), `called` (how many), `tpr`, `fdp` (edges that were not planted but
        moved with those that were are left out), `fdp_strict` (they are counted as false), `auprc`, `auprc_ratio`
        (relative to the ranking by |t|), `sign_accuracy`, `fwer` (1: a false call), `coverage` (1: no bound on true
        discoveries is larger than the truth); NaN where there is none.
    """
    reference = _auprc(np.abs(statistic), truth)
    rows = [_row(one, truth, statistic, reference) for one in outcomes]
    return pd.DataFrame(rows, columns=["method", "units", *MEANS, *SHARES])


def _row(one: Outcome, truth: Truth, statistic: np.ndarray, reference: float) -> dict:
    if one.bound is not None:
        return {"method": one.method, "units": "sets", **_bound_scores(one, truth)}
    auprc = np.nan if one.strength is None or one.tail else _auprc(one.strength, truth)
    ranks = {"auprc": auprc, "auprc_ratio": auprc / reference}
    if one.sets is not None:
        planted, moved = (one.sets & truth.planted).any(1), (one.sets & truth.moved).any(1)
        return {"method": one.method, "units": "sets", **ranks, **_calls(one.called, planted, moved)}
    if not len(one.called):
        return {"method": one.method, "units": "ranking", **ranks}
    wanted = truth.direction == one.tail if one.tail else truth.planted
    hits = one.called & truth.planted
    right = np.sign(statistic[hits]) == truth.direction[hits]
    signs = float(right.mean()) if hits.any() else np.nan
    scores = _calls(one.called, wanted, truth.moved)
    return {"method": one.method, "units": "edges", **ranks, **scores, "sign_accuracy": signs}


def _calls(called: np.ndarray, planted: np.ndarray, moved: np.ndarray) -> dict:
    """Scores of calls; units that were not planted but moved are neither true nor false."""
    false, strict = called & ~moved, called & ~planted
    judged = (called & planted).sum() + false.sum()
    return {
        "called": int(called.sum()),
        "tpr": (called & planted).sum() / planted.sum() if planted.any() else np.nan,
        "fdp": false.sum() / max(judged, 1),
        "fdp_strict": strict.sum() / max(called.sum(), 1),
        "fwer": float(false.any()),
    }


def _bound_scores(one: Outcome, truth: Truth) -> dict:
    """Whether the bounds of all sets hold; `tpr`: the bound of all edges together, relative to the truth."""
    bounds = np.array([one.bound.true_discoveries(mask) for mask in one.sets])
    true = (one.sets & truth.moved).sum(1)
    share = bounds[0] / true[0] if true[0] else np.nan
    return {"called": int(bounds[0]), "tpr": share, "coverage": float((bounds <= true).all())}


def _auprc(strength: np.ndarray, truth: Truth) -> float:
    """Average precision of a ranking, edges that only moved along left out."""
    judged = truth.planted | ~truth.moved
    if not truth.planted.any():
        return np.nan
    return float(average_precision_score(truth.planted[judged], strength[judged]))


def stability(calls: Sequence[np.ndarray]) -> float:
    """Stability of the sets [E] that are called in several cohorts with the same truth: 1 the same, 0 as by chance.

    NaN where nothing is called, all is, or there is one cohort only.

    References
    ----------
    Nogueira, Sechidis and Brown (2018), JMLR 18(174), equation 4.
    """
    calls = np.asarray(calls, float)
    share, count = calls.mean(), len(calls)
    if count < 2 or share in (0, 1):
        return np.nan
    often = calls.mean(0)
    return float(1 - (count / (count - 1) * often * (1 - often)).mean() / (share * (1 - share)))


def gather(cohorts: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Join the cohorts of every scenario and method.

    Parameters
    ----------
    cohorts : DataFrame
        One row a cohort and method, with `COLUMNS` and `stability` (that of its batch).
    level : float
        Of the limits.

    Returns
    -------
    DataFrame
        `scenario`, `pattern`, `carriers`, `d`, `method`, `measure`, `value`, `low`, `high`, `cohorts`: binomial limits
        (Clopper and Pearson) for `fwer` and `coverage`, limits of the mean by Student's t for the others; none from
        one cohort.
    """
    rows, cohorts = [], cohorts.assign(pattern=cohorts["pattern"].astype(object).fillna(""))
    for (*key, method), table in cohorts.groupby([*KEYS, "method"], sort=False):
        once = table.drop_duplicates("batch")
        parts = {name: table[name] for name in (*SHARES, *MEANS)} | {"stability": once["stability"]}
        for measure, values in parts.items():
            values = values.dropna().to_numpy(float)
            if len(values):
                limits = binomial_limits if measure in SHARES else mean_limits
                rows.append((*key, method, measure, values.mean(), *limits(values, level), len(values)))
    return pd.DataFrame(rows, columns=[*KEYS, "method", "measure", "value", "low", "high", "cohorts"])


def binomial_limits(values: np.ndarray, level: float) -> tuple[float, float]:
    """Limits of a share of zeros and ones [n] (Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404)."""
    hits, count, tail = values.sum(), len(values), (1 - level) / 2
    low = beta.ppf(tail, hits, count - hits + 1) if hits else 0.0
    high = beta.ppf(1 - tail, hits + 1, count - hits) if hits < count else 1.0
    return float(low), float(high)


def mean_limits(values: np.ndarray, level: float) -> tuple[float, float]:
    """Limits of the mean of values [n] by Student's t; NaN from one."""
    if len(values) < 2:
        return np.nan, np.nan
    reach = t.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - reach), float(values.mean() + reach)
