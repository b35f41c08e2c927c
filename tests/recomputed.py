"""Numbers of the report, computed again from the result files by other code: pandas, scipy and statsmodels alone."""

import json
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy.optimize import brentq
from scipy.stats import nct, ttest_ind
from scipy.stats import t as student


def written(value: float, digits: int = 2) -> str:
    """As the page writes numbers."""
    return f"{value:.{digits}f}".replace("-", "−")


def numbers(results: Path) -> dict[str, str]:
    """What the page must say, by what it is: words with the number in them."""
    people = pd.read_csv(results / "timeseries/participants.tsv", sep="\t")
    scores = pd.read_csv(results / "evaluate/scores.tsv", sep="\t")
    seen = {path.parent.name: pd.read_csv(path, sep="\t") for path in sorted(results.glob("train/*/predictions.tsv"))}
    return cohort(people) | models(seen, scores, results) | edges(results, people)


def cohort(people: pd.DataFrame) -> dict[str, str]:
    kept = people[people["included"]]
    case, other = (kept[kept["group"] == name] for name in ("DYT", "HC"))
    motion = [np.log(side["mean_fd"]) for side in (case, other)]
    test = ttest_ind(*motion)
    size, df = np.sqrt(len(case) * len(other) / len(kept)), len(kept) - 2
    low, high = limits(test.statistic, size, df)
    return {
        "analysed": f"{len(kept)} of {len(people)} subjects were analysed",
        "patients and controls": f"{len(case)} patients (DYT) and {len(other)} controls (HC)",
        "excluded": f"Excluded subjects ({len(people) - len(kept)})",
        "age of patients": f"{written(case['age'].mean(), 1)} ± {written(case['age'].std(), 1)}",
        "age of controls": f"{written(other['age'].mean(), 1)} ± {written(other['age'].std(), 1)}",
        "motion": f"{written(case['mean_fd'].mean(), 3)} mm in patients, {written(other['mean_fd'].mean(), 3)} mm",
        "motion d": f"d = {written(test.statistic / size)} [{written(low)}, {written(high)}]",
        "motion p": p_words(test.pvalue),
    }


def p_words(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.0995 else f"p = {p:.2f}"


def limits(t: float, size: float, df: int) -> tuple[float, float]:
    """Interval of d by scipy's noncentral t."""
    # far out scipy has NaN for what is 0
    at = lambda tail: brentq(lambda d: np.nan_to_num(nct.cdf(t, df, d * size)) - tail, t / size - 3, t / size + 3)
    return at(0.975), at(0.025)


def auc_of(table: pd.DataFrame, site: pd.Series | None = None) -> float:
    """Share of pairs of a patient and a control of one fold (and site) in which the patient is the likelier one."""
    won = pairs = 0.0
    for _, fold in table.groupby(["repeat", "fold", "seed"]):
        sides = [fold[fold["label"] == label] for label in (1, 0)]
        for one, two in product(*(side.itertuples() for side in sides)):
            if site is None or site[one.participant_id] == site[two.participant_id]:
                pairs += 1
                won += 1.0 if one.probability > two.probability else 0.5 if one.probability == two.probability else 0.0
    return won / pairs if pairs else np.nan


def models(seen: dict[str, pd.DataFrame], scores: pd.DataFrame, results: Path) -> dict[str, str]:
    interval = scores[scores["metric"] == "auc"].set_index("experiment")[["low", "high"]]
    said, auc = {}, {name: auc_of(table) for name, table in seen.items()}
    for name, value in auc.items():
        said[f"AUC of {name}"] = (
            f"{written(value)} [{written(interval['low'][name])}, {written(interval['high'][name])}]"
        )
    nulls = {name: pd.read_csv(results / f"train/{name}/null.tsv", sep="\t")["auc"].to_numpy() for name in seen}
    for name, null in nulls.items():
        if len(null):
            said[f"permutation p of {name}"] = p_words(np.mean(null >= null[0] - 1e-12)).removeprefix("p = ")
    tested = [name for name in seen if len(nulls[name]) >= 40 and name != "floor"]
    best = max(tested or set(seen) - {"floor"}, key=auc.get)
    if tested:
        shared = np.array([nulls[name] for name in tested])
        z = (shared - shared.mean(1, keepdims=True)) / shared.std(1, keepdims=True)
        said["p of the best"] = p_words(np.mean(z.max(0) >= z[tested.index(best), 0] - 1e-9))
    right = seen[best].assign(
        right=(seen[best]["probability"] > 0.5) == (seen[best]["label"] == 1),
        error=(seen[best]["probability"] - seen[best]["label"]) ** 2,
    )
    by_person = right.groupby("participant_id")[["label", "right", "error"]].mean()
    side = by_person.groupby("label")["right"].mean()
    numbers_ = f"{written(side.mean())} {written(side[1])} {written(side[0])} {written(by_person['error'].mean(), 3)}"
    return said | {"balanced accuracy, sensitivity, specificity, Brier score": numbers_}


def edges(results: Path, people: pd.DataFrame) -> dict[str, str]:
    """The strongest edge by ordinary least squares."""
    table = pd.read_csv(results / "localize/edges.tsv", sep="\t")
    summary = json.loads((results / "localize/summary.json").read_text())
    first = table.iloc[0]
    with h5py.File(next(results.glob("connectivity/*_correlation.h5"))) as file:
        names = {key: file[key].asstr()[:] for key in ("subject", "node_a", "node_b")}
        place = np.flatnonzero((names["node_a"] == first["region_a"]) & (names["node_b"] == first["region_b"]))[0]
        values = pd.Series(file["connectome"][:, place], names["subject"])
    kept = people[people["included"]].set_index("participant_id")
    label = (kept["group"] == "DYT").astype(float)
    design = pd.get_dummies(kept[["age", "sex", "site", "mean_fd"]], columns=["sex", "site"], drop_first=True).astype(
        float
    )
    fit = sm.OLS(values.loc[kept.index].astype(float), sm.add_constant(design.assign(label=label))).fit()
    rest = sm.OLS(label, sm.add_constant(design)).fit().resid
    size, df = float(np.sqrt((rest**2).sum())), int(fit.df_resid)
    low, high = limits(fit.tvalues["label"], size, df)
    critical = summary["critical_t"]
    # the other tail is NaN in scipy where it is too small
    power = lambda d: nct.sf(critical, df, d * size) + np.nan_to_num(nct.cdf(-critical, df, d * size)) - 0.8
    d = fit.tvalues["label"] / size
    return {
        "d of the strongest": f"{written(d)} [{written(low)}, {written(high)}]",
        "t of the strongest": written(fit.tvalues["label"]),
        "degrees of freedom": f"({df} degrees of freedom)",
        "survivors": f"{(table['p_fwer'] <= 0.05).sum()} at FWER 0.05; {(table['p_fdr'] <= 0.05).sum()} at FDR 0.05",
        "detectable d": f"{written(brentq(power, 0, 20))} (power 80%)",
        "p of the strongest": p_words(2 * student.sf(abs(fit.tvalues["label"]), df))
        .removeprefix("p ")
        .removeprefix("= "),
    }
