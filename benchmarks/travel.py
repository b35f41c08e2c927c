"""Models at sites they never saw, whose scans are as long as they are, or cut to a half or a third.

python benchmarks/travel.py [--data FOLDER] [--experiments tangent_ridge,wide] [--work FOLDER] [--table]

Leaves one of the 11 ABIDE sites of FOLDER out at a time (default: DYSCONNECT_DATA), trains on whole scans, and tests on
the first volumes of the left-out ones. Decisions are kept in --work site by site and never made twice. For every
experiment: AUC inside sites (pairs of a case and a control of the same site), the difference from tangent ridge on the
same scans with its standard error over sites, the rank correlation of the decision with the number of volumes, labels
held, and the calibration slope, calibrated on sites left out of the training people and on people left out. Writes
benchmarks/results/travel.tsv and .md.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from abide import arguments, configurations, folds, prepare
from scipy.special import logit
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from dysconnect.data.atlas import load_atlas
from dysconnect.data.cohort import Cohort
from dysconnect.data.estimate import connectome
from dysconnect.data.labelled import labelled_cohort
from dysconnect.data.measures import STORED
from dysconnect.data.series import read_index, read_series
from dysconnect.learning.estimators import EdgeModel, build
from dysconnect.learning.new_sites import calibrate_on_sites
from dysconnect.learning.splits import fold_rows, scored_folds
from dysconnect.models.card import PREPARED, SOFTENED
from dysconnect.plan.config import training_sections

HERE = Path(__file__).parent
SHARES = {"whole": 1.0, "half": 1 / 2, "third": 1 / 3}
REFERENCE = "tangent_ridge"
NAMES = "correlation_ridge,tangent_ridge,low_rank,wide,wide_learned,wide_low_rank"


def cut_connectomes(index: pd.DataFrame, nodes: pd.DataFrame, measure: str, estimator: str, path: Path) -> dict:
    """Everybody's edges of the first volumes, by length, [n, E] each; computed once. Adds `volumes` [n]."""
    if not path.exists():
        kept = {name: [] for name in SHARES} | {"volumes": []}
        for row in index.itertuples():
            series = read_series(row.series, row.key, nodes)
            kept["volumes"].append(len(series))
            for name, share in SHARES.items():
                kept[name].append(connectome(series[: int(share * len(series))], measure, estimator))
        np.savez(
            path, participant_id=index["participant_id"].to_numpy(str), **{k: np.array(v) for k, v in kept.items()}
        )
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def shortened(cohort: Cohort, cut: Mapping[str, np.ndarray], length: str) -> Cohort:
    """The same people with edges of a part of their scans."""
    place = pd.Index(cut["participant_id"]).get_indexer(cohort.participants["participant_id"])
    return replace(cohort, values=cut[length][place])


def learned(sections: dict, cohort: Cohort, train: np.ndarray, spaces: dict) -> EdgeModel:
    """A model of some rows; those of one fold that represent people alike share what takes longest, in `spaces`."""
    model = build(*(sections[key] for key in ("model", "measure", "graph", "training")))
    represented = {key: value for key, value in model.spec.items() if key in (*SOFTENED, *PREPARED)}
    key = (sections["measure"], model.card.space, json.dumps(represented))
    if key not in spaces:
        model.fit(cohort, train)
        spaces[key] = model.represented_, model.preparation_
        return model
    model.represented_, model.preparation_ = spaces[key]
    return model.taught(cohort, train)


def travel(
    named: Mapping[str, dict], cohorts: Mapping[str, dict[str, Cohort]], splits: pd.DataFrame, work: Path
) -> None:
    """Decisions of every experiment about everybody, each when the own site was left out; one file a site.

    `people` are logits about whole scans as calibrated on people left out; those of every length are calibrated on
    sites left out.
    """
    for repeat, fold in scored_folds(splits):
        spaces: dict = {}
        for name, sections in named.items():
            path, scans = work / f"{name}_{fold}.tsv", cohorts[sections["measure"]]
            if path.exists():
                continue
            start, cohort = time.process_time(), scans["stored"]
            train, test = fold_rows(splits, cohort.participants, repeat, fold)
            model = learned(sections, cohort, train, spaces)
            table = cohort.participants.iloc[test][["participant_id", "site", "label"]].assign(experiment=name)
            table["people"] = log_odds(model.predict(cohort, test))
            calibrate_on_sites(model, cohort, train)
            for length in SHARES:
                table[length] = log_odds(model.predict(scans[length], test))
            table.assign(seconds=time.process_time() - start).to_csv(path, sep="\t", index=False)
            print(f"{name}, site {fold}: {table['site'].iloc[0]}, {time.process_time() - start:.0f} CPU-s", flush=True)


def log_odds(probability: np.ndarray) -> np.ndarray:
    """Logits of probabilities, finite."""
    return logit(np.clip(probability, 1e-12, 1 - 1e-12))


def by_site(table: pd.DataFrame, length: str) -> pd.DataFrame:
    """AUC of every site with cases and controls, and its number of pairs."""
    rows = {}
    for site, people in table.groupby("site"):
        cases = int(people["label"].sum())
        if 0 < cases < len(people):
            auc = roc_auc_score(people["label"], people[length])
            rows[site] = {"auc": auc, "pairs": cases * (len(people) - cases)}
    return pd.DataFrame(rows).T


def follows_length(table: pd.DataFrame, volumes: pd.Series, length: str) -> float:
    """Rank correlation of decision and number of volumes, both centred in each label."""
    ranks = [rankdata(table[length]), rankdata(table["participant_id"].map(volumes))]
    label = table["label"].to_numpy()
    centred = [rank - np.where(label == 1, rank[label == 1].mean(), rank[label == 0].mean()) for rank in ranks]
    return float(np.corrcoef(*centred)[0, 1])


def slope(table: pd.DataFrame, length: str) -> float:
    """Calibration slope over everybody: below 1 where probabilities are too near to 0 and 1."""
    curve = LogisticRegression(C=np.inf, tol=1e-10).fit(table[[length]].to_numpy(), table["label"])
    return float(curve.coef_[0, 0])


def score(tables: Mapping[str, pd.DataFrame], volumes: pd.Series) -> pd.DataFrame:
    """One row an experiment and length."""
    rows = []
    for name, table in tables.items():
        for length in SHARES:
            own, other = by_site(table, length), by_site(tables[REFERENCE], length)
            whole = by_site(table, "whole")
            weights = own["pairs"] / own["pairs"].sum()
            gap = own["auc"] - other["auc"]
            rows.append(
                {
                    "experiment": name,
                    "scans": length,
                    "auc_within": float(weights @ own["auc"]),
                    "auc_pooled": roc_auc_score(table["label"], table[length]),
                    "difference": float(weights @ gap),
                    "se": float(np.sqrt(((weights * (gap - weights @ gap)) ** 2).sum())),
                    "lost": float(weights @ (whole["auc"] - own["auc"])),
                    "follows_length": follows_length(table, volumes, length),
                    "slope": slope(table, length),
                    "slope_people": slope(table, "people") if length == "whole" else np.nan,
                }
            )
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """The table for people, in points of AUC."""
    head = ["experiment", "scans", "AUC within sites", "pooled", f"against {REFERENCE} (se)", "lost by the cut"]
    head += ["decision with length", "calibration slope", "calibrated on people"]
    lines = [head, ["---"] * len(head)]
    for row in table.itertuples():
        numbers = [f"{100 * row.auc_within:.1f}", f"{100 * row.auc_pooled:.1f}"]
        numbers += [f"{100 * row.difference:+.1f} ({100 * row.se:.1f})", f"{100 * row.lost:.1f}"]
        before = "" if np.isnan(row.slope_people) else f"{row.slope_people:.2f}"
        numbers += [f"{row.follows_length:+.2f}", f"{row.slope:.2f}", before]
        lines.append([row.experiment, row.scans, *numbers])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Train what is missing, and write the table."""
    given = arguments(__doc__, NAMES)
    root, names = Path(given.data) / "abide", list(dict.fromkeys([REFERENCE, *given.experiments.split(",")]))
    config, experiments = configurations(root, names)
    prepare(config, root, given.work)
    _, splits = folds(config, "leave_one_site_out", given.work)
    folder, contrast = given.work / "travel", config["dataset"]["contrast"]
    folder.mkdir(exist_ok=True)
    index, nodes, cohorts = read_index(given.work / "index.tsv"), load_atlas(config["atlas"]["nodes"]), {}
    named = {name: training_sections(experiments[name]) for name in names}
    for name, sections in named.items():
        measure, estimator = sections["measure"], experiments[name]["connectivity"]["estimator"]
        if measure not in cohorts:
            stored = STORED[measure]
            cut = cut_connectomes(index, nodes, stored, estimator, folder / f"{stored}.npz")
            people = given.work / "participants.tsv"
            cohort, _ = labelled_cohort(given.work / f"{stored}.h5", people, contrast, measure)
            cohorts[measure] = {"stored": cohort} | {length: shortened(cohort, cut, length) for length in SHARES}
    if not given.table:
        travel(named, cohorts, splits, folder)
    files = {name: sorted(folder.glob(f"{name}_[0-9]*.tsv")) for name in names}
    tables = {
        name: pd.concat([pd.read_csv(path, sep="\t", dtype={"participant_id": str}) for path in paths])
        for name, paths in files.items()
        if len(paths) == splits["fold"].nunique()
    }
    volumes = pd.Series(cut["volumes"], cut["participant_id"])
    table = score(tables, volumes)
    (HERE / "results").mkdir(exist_ok=True)
    table.to_csv(HERE / "results/travel.tsv", sep="\t", index=False, float_format="%.6g")
    (HERE / "results/travel.md").write_text(markdown(table) + "\n")
    print(markdown(table))


if __name__ == "__main__":
    main()
