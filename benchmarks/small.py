"""Small cohorts: draws of 60, 80 and 100 people of a few ABIDE sites, tested on others of the same sites.

python benchmarks/small.py [--data FOLDER] [--experiments low_rank,wide] [--work FOLDER] [--table]

A draw takes sites in random order, at least three, until they hold enough people; of these as many cases as controls to
learn from, and 200 others to be tested. Decisions are kept in --work draw by draw and never made twice. For every
experiment: mean AUC over draws, also of pairs of the same site, the differences from tangent ridge on the same people
and, of networks, from ridge on the same tangent vectors, with standard errors over draws, and in how many draws a
network counts beside ridge regression, if it starts from that. Writes benchmarks/results/small.tsv and .md.
"""

import time
from pathlib import Path

import numpy as np
import pandas as pd
from abide import arguments, configurations, prepare
from shared import shared_tangent
from sklearn.metrics import roc_auc_score
from travel import by_site

from dysconnect.data.labelled import labelled_cohort
from dysconnect.data.measures import STORED
from dysconnect.data.participants import scan_groups
from dysconnect.learning.estimators import build
from dysconnect.plan.config import training_sections

HERE = Path(__file__).parent
SIZES, DRAWS, TESTED, SITES = (60, 80, 100), 20, 200, 3
REFERENCE = "tangent_ridge"
NAMES = "correlation_ridge,tangent_ridge,softened_ridge,low_rank,wide,wide_unsoftened,wide_learned,gcn"
CHANGED = {  # what the two steps from ridge to `wide` do each
    "softened_ridge": ("tangent_ridge", {"soften": [0, 0.5]}),
    "wide_unsoftened": ("wide", {"soften": [0]}),
}
SAME_INPUT = dict.fromkeys(("wide", "wide_learned"), "softened_ridge")  # ridge on the same vectors, if not REFERENCE
NETWORKS = ("wide", "wide_unsoftened", "wide_learned", "gcn")


def draw(participants: pd.DataFrame, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of those to learn from and of those to be tested; nobody's scan is on both sides."""
    rng, size = np.random.default_rng([17, number]), SIZES[number % len(SIZES)]
    once = np.flatnonzero(~pd.Series(scan_groups(participants)).duplicated())
    people = participants.iloc[once].assign(place=once)
    order, taken = rng.permutation(people["site"].unique()), SITES
    while not _enough(people[people["site"].isin(order[:taken])], size):
        taken += 1
    there = people[people["site"].isin(order[:taken])].sample(frac=1, random_state=rng)
    train = there.groupby("label").head(size // 2)
    test = there.drop(train.index).head(TESTED)
    return np.sort(train["place"]), np.sort(test["place"])


def _enough(people: pd.DataFrame, size: int) -> bool:
    """Whether people are left to be tested of either label."""
    return len(people) >= size + TESTED and people["label"].value_counts().min() >= size // 2 + TESTED // 5


def learn(name: str, number: int, config: dict, work: Path, contrast: dict, folder: Path) -> pd.DataFrame:
    """Decisions of one experiment about the tested of one draw; made once."""
    path = folder / f"{name}_{number}.tsv"
    if not path.exists():
        sections = training_sections(config)
        stored = work / f"{STORED[sections['measure']]}.h5"
        cohort, _ = labelled_cohort(stored, work / "participants.tsv", contrast, sections["measure"])
        train, test = draw(cohort.participants, number)
        model = build(*(sections[key] for key in ("model", "measure", "graph", "training"))).fit(cohort, train)
        people = cohort.participants.iloc[test][["participant_id", "site", "label"]]
        gained = getattr(model, "gains_", None) or [{"gamma": np.nan}]
        told = {"experiment": name, "draw": number, "trained": len(train), "gamma": gained[0]["gamma"]}
        people.assign(probability=model.predict(cohort, test), **told).to_csv(path, sep="\t", index=False)
    return pd.read_csv(path, sep="\t", dtype={"participant_id": str})


def score(decisions: pd.DataFrame) -> pd.DataFrame:
    """One row an experiment and draw."""
    rows = []
    for (name, number), people in decisions.groupby(["experiment", "draw"]):
        sites = by_site(people, "probability")
        row = {"experiment": name, "draw": number, "trained": people["trained"].iloc[0]}
        row |= {"auc": roc_auc_score(people["label"], people["probability"])}
        row |= {"auc_within": np.average(sites["auc"], weights=sites["pairs"]), "gamma": people["gamma"].iloc[0]}
        rows.append(row)
    return pd.DataFrame(rows)


def compare(table: pd.DataFrame) -> pd.DataFrame:
    """One row an experiment: means over the draws that it has, and differences from both kinds of ridge on these."""
    draws, rows = {name: own.set_index("draw") for name, own in table.groupby("experiment")}, []
    for name, own in draws.items():
        row = {"experiment": name, "draws": len(own), "auc": own["auc"].mean(), "auc_within": own["auc_within"].mean()}
        for against, other in (("tangent", REFERENCE), ("same", SAME_INPUT.get(name, REFERENCE))):
            gap = own[["auc", "auc_within"]] - draws[other].loc[own.index, ["auc", "auc_within"]]
            for key in gap:
                row |= {f"{key}_{against}": gap[key].mean(), f"{key}_{against}_se": gap[key].sem()}
        sizes = (own["auc"] - draws[REFERENCE].loc[own.index, "auc"]).groupby(own["trained"]).mean()
        row |= {f"difference_{size}": value for size, value in sizes.items()}
        counts = f"{(own['gamma'] > 0).sum()} of {len(own)}" if own["gamma"].notna().all() else ""
        rows.append(row | {"network_counts": counts})
    return pd.DataFrame(rows).sort_values("auc", ascending=False, ignore_index=True)


def markdown(table: pd.DataFrame) -> str:
    """The table for people, in points of AUC."""
    head = ["experiment", "draws", "AUC", "within sites", f"against {REFERENCE} (se)", "within sites"]
    head += [
        "against ridge on the same input (se)",
        "within sites",
        *(f"n = {size}" for size in SIZES),
        "network counts",
    ]
    lines = [head, ["---"] * len(head)]
    for row in table.to_dict("records"):
        own, point = row["experiment"], lambda key, row=row: f"{100 * row.get(key, np.nan):+.1f}"
        gap = lambda key, row=row: f"{100 * row[key]:+.1f} ({100 * row[key + '_se']:.1f})"
        cells = [own, str(row["draws"]), f"{100 * row['auc']:.1f}", f"{100 * row['auc_within']:.1f}"]
        first = own == REFERENCE
        cells += ["", ""] if first else [gap("auc_tangent"), gap("auc_within_tangent")]
        cells += [gap("auc_same"), gap("auc_within_same")] if own in NETWORKS else ["", ""]
        cells += ["" if first else point(f"difference_{size}") for size in SIZES]
        lines.append([*cells, row["network_counts"]])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Train what is missing, draw by draw, and write the tables."""
    given = arguments(__doc__, NAMES)
    root, asked = Path(given.data) / "abide", given.experiments.split(",")
    names = list(dict.fromkeys([REFERENCE, *(SAME_INPUT[name] for name in asked if name in SAME_INPUT), *asked]))
    origin = {name: CHANGED.get(name, (name, {})) for name in names}
    config, experiments = configurations(root, list(dict.fromkeys(base for base, _ in origin.values())))
    prepare(config, root, given.work)
    changed = {
        name: experiments[base] | {"model": experiments[base]["model"] | own} for name, (base, own) in origin.items()
    }
    folder, tables = given.work / "small", []
    folder.mkdir(exist_ok=True)
    for number in range(DRAWS):
        start = time.process_time()
        with shared_tangent():
            for name in names:
                if not given.table or (folder / f"{name}_{number}.tsv").exists():
                    contrast = config["dataset"]["contrast"]
                    tables.append(learn(name, number, changed[name], given.work, contrast, folder))
        print(f"draw {number}: {time.process_time() - start:.0f} CPU-s", flush=True)
    draws = score(pd.concat(tables, ignore_index=True))
    (HERE / "results").mkdir(exist_ok=True)
    draws.to_csv(HERE / "results/small.tsv", sep="\t", index=False, float_format="%.6g")
    (HERE / "results/small.md").write_text(markdown(compare(draws)) + "\n")
    print(markdown(compare(draws)))


if __name__ == "__main__":
    main()
