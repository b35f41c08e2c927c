"""Does the pattern of missing regions decide? People of whom half are called patients at random lose regions by group.

python benchmarks/missing.py [--data FOLDER] [--source abide,simulated] [--rates 1/0,.5/.1,.2/0] [--regions 1,3,20]
    [--patterns fixed,random] [--models ...] [--completion new,old] [--draws 40] [--people 120] [--nodes 100]
python benchmarks/missing.py --innocent   # the cost where the pattern is innocent: real diagnoses of ABIDE
python benchmarks/missing.py --elsewhere  # what else tells groups apart that only their scans set apart

A draw calls half of the people patients, picks regions (`fixed`: the same for all who lack any; `random`: others for
everyone), silences them in a share of patients and of controls (the rates), and estimates every covariance anew from
the silenced series. Nothing but the pattern can tell the groups apart. Half of each group teach the models, the others
are decided upon by models that saw none of them: given the models their decisions are independent, and p is that of the
one-sided Mann-Whitney test, exact where decisions do not depend on the group. `old` completes without
`MaskedRegression`. Every draw is kept in benchmarks/results/missing.json as soon as it is done and not made again.
"""

import argparse
import json
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu

from dysconnect.data.cohort import Cohort
from dysconnect.data.estimate import connectome
from dysconnect.learning.estimators import build
from dysconnect.models.prepare import Preparation
from dysconnect.progress import track

OUT = Path(__file__).resolve().parent / "results" / "missing.json"
PENALTIES = [0.001, 0.01, 0.1, 1.0, 10.0, 100.0]
PLAIN = {"harmonise": "none", "deconfound": []}
LINEAR = {
    "ridge": {"name": "ridge", "penalties": PENALTIES},
    "logistic": {"name": "logistic", "penalties": PENALTIES},
    "svm": {"name": "svm", "penalties": PENALTIES[1:]},
    "elastic_net": {"name": "elastic_net", "ratio": 0.1, "screened": 2000, "steps": 15, "shortest": 0.1},
    "low_rank": {"name": "low_rank", "trace": 0.3, "power": 1.5, "share": 0.333, "penalties": PENALTIES},
    "combat": {"name": "ridge", "penalties": PENALTIES, "harmonise": "combat"},
    "deconfound": {"name": "ridge", "penalties": PENALTIES, "deconfound": ["age"]},
    "riemann": {"name": "riemann", "components": 40},
}
NETWORKS = {
    "gcn": {"name": "gcn", "linear": True, "hidden": 32, "readout": 4, "dropout": 0.3},
    "bnt": {"name": "bnt", "linear": True, "width": 128, "heads": 4, "layers": 1, "feedforward": 128, "clusters": 100,
            "dropout": 0.1, "clustering": 1.0},
    "brainnetcnn": {"name": "brainnetcnn", "linear": True, "layers": 1, "edge_channels": 16, "node_channels": 32,
                    "graph_channels": 32, "dropout": 0.3},
}  # fmt: skip
TRAINING = {
    "device": "auto", "precision": "float32", "stacked": "auto", "memory": None, "epochs": 20, "validation": 0,
    "patience": 15, "batch_size": 8, "lr": 1e-3, "weight_decay": 1e-2, "search": {"lr": [], "weight_decay": []},
    "seeds": 1, "permutations": 0, "graph_permutations": 0, "seed": 0, "pretrain": None,
}  # fmt: skip
DEFAULT = [f"tangent:{name}" for name in LINEAR] + [f"correlation:{name}" for name in ("ridge", "svm", "elastic_net")]


def abide_series(folder: Path, n: int, n_nodes: int, everybody: bool = False) -> tuple[list[np.ndarray], pd.DataFrame]:
    """Complete ABIDE controls (or all people) of 11 sites, and some of their 200 regions, drawn once."""
    table = pd.read_csv(folder / "abide" / "manifest.csv").set_index("FILE_ID")
    table = table[(table["n_zero_roi_cc200_filt_global_z16"] == 0) & table["duplicate_of"].isna()]
    if not everybody:
        table = table[table["label_asd"] == 0]
    found = {}
    for path in sorted((folder / "abide" / "cc200_filt_global_z16").glob("*.npz")):
        with np.load(path) as file:
            found |= {name: file[name].astype(np.float32) for name in file.files if name in table.index}
    names = sorted(found)
    names = [names[k] for k in np.random.default_rng(0).permutation(len(names))[:n]]
    regions = np.sort(np.random.default_rng(5).choice(200, n_nodes, replace=False))
    return [found[name][:, regions] for name in names], table.loc[names]


def simulated_series(n: int, n_nodes: int) -> list[np.ndarray]:
    """Series of people with common networks who differ, of 120 to 240 volumes, smooth in time."""
    rng = np.random.default_rng(0)
    networks, series = rng.standard_normal((n_nodes, 12)), []
    for _ in range(n):
        mixing = networks + 0.6 * rng.standard_normal((n_nodes, 12))
        volumes = int(rng.integers(120, 241))
        noise = rng.standard_normal((volumes + 1, n_nodes + 12))
        smooth = noise[1:] + 0.5 * noise[:-1]
        series.append((smooth[:, :12] @ mixing.T + 2.5 * smooth[:, 12:]).astype(np.float32))
    return series


def read_series(source: str, given: argparse.Namespace) -> list[np.ndarray]:
    """Series of one source, [T, N] each."""
    if source == "simulated":
        return simulated_series(given.people, given.nodes)
    return abide_series(Path(given.data), given.people, given.nodes)[0]


def silenced(
    labels: np.ndarray, n_nodes: int, regions: int, pattern: str, rates: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Which regions everybody lacks, [n, N] bool."""
    missing, same = np.zeros((len(labels), n_nodes), bool), rng.choice(n_nodes, regions, replace=False)
    for person in np.flatnonzero(rng.random(len(labels)) < np.where(labels == 1, *rates)):
        missing[person, same if pattern == "fixed" else rng.choice(n_nodes, regions, replace=False)] = True
    return missing


def connectomes(series: list[np.ndarray], missing: np.ndarray, measure: str, whole: np.ndarray | None) -> np.ndarray:
    """Connectomes [n, E] of silenced series; of complete people those of `whole`, where given."""
    stored, estimator = ("covariance", "ledoit_wolf") if measure == "tangent" else ("correlation", "empirical")
    values = [
        whole[k] if whole is not None and not lost.any() else connectome(np.where(lost, 0, own), stored, estimator)
        for k, (own, lost) in enumerate(zip(series, missing))
    ]
    return np.stack(values)


def cohort_of(values: np.ndarray, missing: np.ndarray, labels: np.ndarray, measure: str, rng) -> Cohort:
    """People of two sites and some age, neither of which has to do with anything."""
    n, names = len(labels), [f"sub-{k:04d}" for k in range(len(labels))]
    table = pd.DataFrame({"participant_id": names, "scan_group": names, "label": labels, "age": rng.normal(40, 10, n)})
    table["site"] = rng.permutation(np.where(np.arange(n) % 2, "A", "B"))
    return Cohort(table, values, missing, np.array([f"r{k}" for k in range(missing.shape[1])]), measure)


def old_completion(model) -> None:
    """Make a fitted model forget what masking does."""
    if model.tangent:
        model.represented_.masked_.transform = lambda features, missing: features


def decisions(cohort: Cohort, train: np.ndarray, test: np.ndarray, names: list[str], old: bool) -> Iterator[tuple]:
    """Name and decisions on `test` of every model of one measure; models of one space share its features."""
    people, shared = cohort.participants, None
    for name in names:
        spec = NETWORKS[name] if name in NETWORKS else {**PLAIN, **LINEAR[name]}
        model = build(spec, cohort.measure, {"density": 0.1}, TRAINING)
        if name in NETWORKS:
            yield name, model.fit(cohort, train).predict(cohort, test)
            continue
        if name == "riemann" or shared is None:
            plain = build({**spec, **PLAIN}, cohort.measure, {}, TRAINING).fit(cohort, train)
            if old:
                old_completion(plain)
            features = [plain.features(cohort, rows) for rows in (train, test)]
            shared = shared if name == "riemann" else features
        own, ready = features if name == "riemann" else shared, Preparation(spec)
        ready.fit(own[0], people.iloc[train])
        seen, unseen = (ready.transform(part, people.iloc[rows]) for part, rows in zip(own, (train, test)))
        yield name, model._classifier().decide_many(seen, cohort.labels[train][:, None], unseen)[:, 0]


def halves(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Half of each group to learn from, and the others."""
    first = np.zeros(len(labels), bool)
    for label in (0, 1):
        own = np.flatnonzero(labels == label)
        first[rng.permutation(own)[: len(own) // 2]] = True
    return np.flatnonzero(first), np.flatnonzero(~first)


def told_apart(cohort: Cohort, names: list[str], seed: int, old: bool) -> dict[str, dict]:
    """AUC of every model on people it has not seen, and p of the one-sided Mann-Whitney test."""
    train, test = halves(cohort.labels, np.random.default_rng([seed, 11]))
    ill, found = cohort.labels[test] == 1, {}
    for name, decided in decisions(cohort, train, test, names, old):
        found_u = mannwhitneyu(decided[ill], decided[~ill], alternative="greater")
        auc = float(found_u.statistic) / (ill.sum() * (~ill).sum())
        found[f"{cohort.measure}:{name}"] = {"auc": round(auc, 4), "p": float(found_u.pvalue)}
    return found


def one_draw(series: list[np.ndarray], whole: dict, cell: dict, names: list[str]) -> dict:
    """AUC and p of every model in one draw."""
    rng = np.random.default_rng([cell["draw"], 7])
    labels = np.zeros(len(series), int)
    labels[rng.permutation(len(series))[: len(series) // 2]] = 1
    rates = tuple(float(rate) for rate in cell["rates"].split("/"))
    missing = silenced(labels, series[0].shape[1], cell["regions"], cell["pattern"], rates, rng)
    found = {}
    for measure in ("tangent", "correlation"):
        own = [name.split(":")[1] for name in names if name.startswith(measure)]
        if not own:
            continue
        values = connectomes(series, missing, measure, whole.get(measure))
        cohort = cohort_of(values, missing, labels, measure, np.random.default_rng(cell["draw"]))
        found |= told_apart(cohort, own, cell["draw"], cell["completion"] == "old")
    return found


def kept(out: Path) -> dict:
    """What is done already, by cell."""
    return json.loads(out.read_text()) if out.is_file() else {}


def keep(out: Path, key: str, found: dict) -> None:
    """Add one cell's models to the file."""
    done = kept(out)
    done[key] = {**done.get(key, {}), **found}
    out.parent.mkdir(exist_ok=True)
    aside = out.with_suffix(".part")
    aside.write_text(json.dumps(done, indent=0))
    aside.replace(out)


def campaign(given: argparse.Namespace) -> None:
    """Make every draw of every cell that is not there yet."""
    names = given.models.split(",")
    sides = (given.source, given.completion, given.patterns, given.regions, given.rates)
    cells = [
        dict(zip(("source", "completion", "pattern", "regions", "rates"), cell), draw=draw)
        for cell in product(*(side.split(",") for side in sides))
        for draw in range(given.draws)
    ]
    source = None
    for cell in track(cells, "draws"):
        cell["regions"] = int(cell["regions"])
        key = "|".join(map(str, (*cell.values(), given.people, given.nodes)))
        left = [name for name in names if name not in kept(given.out).get(key, {})]
        if not left:
            continue
        if cell["source"] != source:
            source, series = cell["source"], read_series(cell["source"], given)
            nothing = np.zeros((len(series), series[0].shape[1]), bool)
            whole = {measure: connectomes(series, nothing, measure, None) for measure in ("tangent", "correlation")}
        keep(given.out, key, one_draw(series, whole, cell, left))


def table(out: Path) -> pd.DataFrame:
    """By cell and model: draws, mean AUC, and how many have p <= .05."""
    rows = []
    for key, found in kept(out).items():
        source, completion, pattern, regions, rates, _, people, nodes = key.split("|")
        place = {"source": source, "people": people, "nodes": nodes, "completion": completion, "pattern": pattern}
        rows += [
            {**place, "regions": int(regions), "rates": rates, "model": name, **own} for name, own in found.items()
        ]
    by = ["source", "people", "nodes", "completion", "pattern", "regions", "rates", "model"]
    grouped = pd.DataFrame(rows).groupby(by, sort=False)
    return grouped.agg(
        draws=("auc", "size"),
        auc=("auc", "mean"),
        sd=("auc", "std"),
        significant=("p", lambda p: int((p <= 0.05).sum())),
    ).reset_index()


def innocent(given: argparse.Namespace) -> None:
    """AUC of real diagnoses: complete, and with a fifth of the people silenced whoever they are, new and old."""
    series, people = abide_series(Path(given.data), given.people, given.nodes, everybody=True)
    labels, names = people["label_asd"].to_numpy(int), given.models.split(",")
    nothing = np.zeros((len(series), given.nodes), bool)
    whole = {measure: connectomes(series, nothing, measure, None) for measure in ("tangent", "correlation")}
    for draw, regions in product(range(given.draws), (0, 3, 20)):
        missing = silenced(labels, given.nodes, regions, "random", (0.2, 0.2), np.random.default_rng([draw, 3]))
        for completion in ("new", "old") if regions else ("new",):
            cell = ("diagnoses", completion, "random", regions, ".2/.2", draw, given.people, given.nodes)
            key, start = "|".join(map(str, cell)), time.process_time()
            if key in kept(given.out):
                continue
            found = {}
            for measure in ("tangent", "correlation"):
                own = [name.split(":")[1] for name in names if name.startswith(measure)]
                values = connectomes(series, missing, measure, whole[measure])
                cohort = cohort_of(values, missing, labels, measure, np.random.default_rng(draw))
                cohort.participants["site"] = people["SITE_ID"].to_numpy()
                found |= told_apart(cohort, own, draw, completion == "old")
            keep(given.out, key, found)
            print(f"{key}: {time.process_time() - start:.0f} CPU-s", flush=True)


CHANGES = {  # of the patients' series only
    "nothing": lambda series: series,
    "half the volumes": lambda series: series[: len(series) // 2],
    "four fifths of the volumes": lambda series: series[: 4 * len(series) // 5],
    "every second volume, as of a longer repetition time": lambda series: series[::2],
    "clipped at two standard deviations": lambda series: np.clip(series, -2, 2),
    "rounded to 32 levels": lambda series: np.round(series * 8) / 8,
}


def elsewhere(given: argparse.Namespace) -> None:
    """AUC of groups that differ by nothing but the length, speed or depth of their series."""
    series, names = read_series("abide", given), given.models.split(",")
    nothing = np.zeros((len(series), given.nodes), bool)
    for change, draw in product(CHANGES, range(given.draws)):
        key = "|".join(map(str, ("abide", change, "all", 0, "1/0", draw, given.people, given.nodes)))
        if key in kept(given.out):
            continue
        labels = np.zeros(len(series), int)
        labels[np.random.default_rng([draw, 7]).permutation(len(series))[: len(series) // 2]] = 1
        changed = [CHANGES[change](own) if label else own for own, label in zip(series, labels)]
        found = {}
        for measure in ("tangent", "correlation"):
            own = [name.split(":")[1] for name in names if name.startswith(measure)]
            values = connectomes(changed, nothing, measure, None)
            cohort = cohort_of(values, nothing, labels, measure, np.random.default_rng(draw))
            found |= told_apart(cohort, own, draw, False)
        keep(given.out, key, found)


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=str(Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--source", default="abide,simulated")
    parser.add_argument("--completion", default="new")
    parser.add_argument("--patterns", default="fixed,random")
    parser.add_argument("--regions", default="1,3,20")
    parser.add_argument("--rates", default="1/0,.5/.1,.2/0")
    parser.add_argument("--models", default=",".join(DEFAULT))
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--people", type=int, default=120)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--innocent", action="store_true")
    parser.add_argument("--elsewhere", action="store_true")
    given = parser.parse_args()
    (innocent if given.innocent else elsewhere if given.elsewhere else campaign)(given)
    print(table(given.out).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
