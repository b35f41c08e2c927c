"""The page stands alone, says what the numbers say, names everybody who was left out, and survives poor input."""

import copy
import dataclasses
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from dysconnect import report
from dysconnect.data.atlas import load_atlas
from dysconnect.models.cards import of_kind
from dysconnect.paper.svg import inline_svg, to_svg
from dysconnect.paper.tables import Column, Row, Table
from dysconnect.paper.text import number, p_text, percent
from dysconnect.report import Results, Study, render, sections_of
from dysconnect.report.cohort.figures import motion_figure
from dysconnect.report.cohort.tables import excluded_table
from dysconnect.report.localization.figures import drawn_edges
from dysconnect.report.prediction.figures import calibration_figure, learning_figure, roc_figure
from dysconnect.report.quality.figures import distance_figure, qcfc_figure
from dysconnect.report.quality.tables import qcfc_table
from dysconnect.report.recovery import recovery_table
from dysconnect.report.references import PAPERS, cited
from dysconnect.report.results import Asked
from dysconnect.report.section import Drawing, Section

NODES = load_atlas("seitzman300")
VOID = {"meta", "link", "br", "img", "input", "hr", "path", "use", "rect", "circle"}


class Document(HTMLParser):
    """What a browser would fetch, every id, the words on the page, and the figures."""

    def __init__(self, html: str):
        super().__init__()
        self.fetched, self.ids, self.words, self.tags, self.open = [], [], [], [], []
        self.captions, self.heads, self.scripts = {}, [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        own = dict(attributes)
        self.tags.append((tag, own))
        self.ids += [own["id"]] if "id" in own else []
        self.fetched += [own[name] for name in ("src", "srcset", "data", "poster", "action") if own.get(name)]
        if tag != "a":
            self.fetched += [own[name] for name in ("href", "xlink:href") if name in own]
        self.fetched += re.findall(r"url\(([^)]*)\)", own.get("style") or "")
        if tag == "figure":
            self.captions[own["id"]] = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] == "style":
            self.fetched += re.findall(r"url\(([^)]*)\)|@import\s*(\S+)", data)
        else:
            self.words.append(data)
        if "figcaption" in self.open:
            self.captions[list(self.captions)[-1]] += data
        if self.open and self.open[-1] == "th":
            self.heads.append(data.strip())

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))  # no-break spaces too


MODELS = {
    "floor": {"name": "floor", "penalties": [1.0], "covariates": ["age", "sex", "site", "mean_fd"]},
    "tangent_ridge": {"name": "ridge", "penalties": [1.0]},
    "gcn": {"name": "gcn", "start": "none", "hidden": 32, "readout": 4, "dropout": 0.3},
}


def scores_of(auc: dict[str, tuple]) -> pd.DataFrame:
    """Scores from (value, low, high, p) of the AUC by experiment."""
    rows = []
    for name, (value, low, high, p) in auc.items():
        rows.append((name, "auc", value, low, high, p))
        rows += [(name, m, 0.6, 0.5, 0.7, np.nan) for m in ("balanced_accuracy", "sensitivity", "specificity")]
        rows.append((name, "brier", 0.24, 0.2, 0.3, np.nan))
        rows.append((name, "calibration_slope", 0.91, 0.5, np.inf, np.nan))
        rows.append((name, "calibration_intercept", -0.12, -0.4, 0.1, np.nan))
        rows.append((name, "auc_deconfounded", value - 0.03, low - 0.03, high - 0.03, np.nan))
    table = pd.DataFrame(rows, columns=["experiment", "metric", "value", "low", "high", "p"])
    seeing = (table["metric"] == "auc") & (table["experiment"] != "floor")
    table["p_best"] = table["p"].where(seeing)
    return table.assign(floor=auc["floor"][0] if "floor" in auc else np.nan, n=20)


def comparisons_of(gaps: dict[tuple[str, str], tuple]) -> pd.DataFrame:
    """Comparisons from (difference, low, high, p) by pair, the same for all metrics."""
    metrics = ("auc", "balanced_accuracy", "brier")
    names = ["difference", "low", "high", "p", "p_corrected"]
    rows = [(*pair, metric, *gap, *[np.nan] * (5 - len(gap))) for pair, gap in gaps.items() for metric in metrics]
    return pd.DataFrame(rows, columns=["experiment", "other", "metric", *names])


def folds_of(names) -> pd.DataFrame:
    """Two folds; the second tested controls only."""
    rows = [(name, 0, fold, 15, 5, auc, 0.6, 0.2) for name in names for fold, auc in ((0, 0.77), (1, np.nan))]
    return pd.DataFrame(
        rows,
        columns=["experiment", "repeat", "fold", "n_train", "n_test", "auc", "balanced_accuracy", "brier"],
    )


def subgroups_of(names) -> pd.DataFrame:
    """Two sites, the second too small, and two bands of motion."""
    parts = (
        ("site", "A", 0.71, ""),
        ("site", "B & co", np.nan, "controls only"),
        ("motion", "0.05 to 0.20 mm", 0.6, ""),
    )
    rows = [
        (name, variable, group, "auc", value, value - 0.1, value + 0.1, 11, 5, reason)
        for name in names
        for variable, group, value, reason in parts
    ]
    return pd.DataFrame(
        rows,
        columns=["experiment", "variable", "group", "metric", "value", "low", "high", "n", "n_cases", "reason"],
    )


def power_of(names) -> pd.DataFrame:
    """The same standard error for all, in theory and by permutation."""
    rows = [(name, "hanley_mcneil", 11, 9, 0.5, 0.13, 0.72, 0.81, 66) for name in names]
    rows += [(name, "permutation", 11, 9, 0.5, 0.14, 0.74, 0.84, 70) for name in names if name != "gcn"]
    return pd.DataFrame(
        rows,
        columns=["experiment", "method", "n_cases", "n_controls", "null_mean", "null_sd", "critical_auc",
                 "detectable_auc", "n_needed"],
    )  # fmt: skip


GOOD = {"floor": (0.6, 0.5, 0.7, 0.2), "tangent_ridge": (0.8, 0.7, 0.9, 0.002), "gcn": (0.65, 0.55, 0.75, np.nan)}
GAPS = {
    ("tangent_ridge", "floor"): (0.2, 0.1, 0.3, 0.004),
    ("gcn", "floor"): (0.05, -0.05, 0.15, 0.4),
    ("gcn", "tangent_ridge"): (-0.15, -0.25, -0.05, 0.01),
}


def people() -> pd.DataFrame:
    """Twenty-four participants, four of them excluded, one without an age."""
    rng = np.random.default_rng(0)
    n = 24
    reasons = [""] * n
    reasons[0], reasons[5] = "96 volumes x 2 s = 192 s, fewer than the 240 s asked", "<b>corrupt</b> & short"
    reasons[7], reasons[9] = "no series file in the index", "age is missing or not a number"
    age = rng.uniform(20, 70, n)
    age[9] = age[11] = np.nan
    motion = rng.uniform(0.05, 0.4, n)
    motion[7] = np.nan
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{k:02d}" for k in range(n)],
            "group": ["DYT", "HC"] * (n // 2),
            "age": age,
            "sex": ["F", "M", "F"] * (n // 3),
            "site": ["A", "A", "B", "B"] * (n // 4),
            "mean_fd": motion,
            "n_volumes": 240,
            "seconds_kept": 480.0,
            "included": [not reason for reason in reasons],
            "exclusion_reason": reasons,
        }
    )


def edges_of(surviving: int, attribution: bool = False) -> pd.DataFrame:
    """Sixty edges of the atlas, some of which survive."""
    rows, cols = np.triu_indices(len(NODES), k=1)
    pick = np.arange(0, 60 * 700, 700)
    t = np.r_[-np.linspace(7, 5.5, 30), np.linspace(4.0, 0.1, 30)]
    order = np.arange(60)
    return pd.DataFrame(
        {
            "region_a": NODES["name"].to_numpy()[rows[pick]],
            "region_b": NODES["name"].to_numpy()[cols[pick]],
            "mean_cases": 0.2 + t / 50,
            "mean_controls": 0.2,
            "effect_size": t / 5,
            "effect_low": t / 5 - 0.4,
            "effect_high": t / 5 + 0.4,
            "effect_corrected": np.where(order < surviving, 0.75 * t / 5, np.nan),
            "direction": np.where(t < 0, "patients lower", "patients higher"),
            "statistic": t,
            "p": 0.001 + order / 1000,
            "p_fwer": np.where(order < surviving, 0.01, 0.5),
            "p_fdr": np.where(order < surviving + 3, 0.02, 0.6),
            "attribution": 0.000123 * order if attribution else np.nan,
            "stability": 0.5,
            "circuit": ["sensorimotor", "cortico_striatal", ""] * 20,
            "n_missing": 0,
        }
    )


def points_of(surviving: int) -> pd.DataFrame:
    """Everybody's value of the three strongest edges."""
    values = np.random.default_rng(0).normal(size=(2, 60)).round(3)
    three = edges_of(surviving)[["region_a", "region_b"]].head(3).loc[lambda own: own.index.repeat(20)]
    people_ = pd.DataFrame({"participant_id": [f"sub-{k:02}" for k in range(20)], "label": [0, 1] * 10})
    who = pd.concat([people_] * 3, ignore_index=True)
    return who.join(three.reset_index(drop=True)).assign(raw=values[0], adjusted=values[1])


def summary_of(surviving: int, attribution: str = "withheld: ridge does not beat its permutation null") -> dict:
    return {
        "n_cases": 10,
        "n_controls": 10,
        "n_edges": 60,
        "n_untested": 0,
        "nuisance": ["age", "sex", "site", "mean_fd"],
        "permutations": 500,
        "permutation": "smith",
        "alpha": 0.05,
        "df": 14,
        "critical_t": 5.2,
        "shrinkage": 0.75 if surviving else None,
        "families": [
            {"name": name, "p": p, "p_any": 2 * p}
            for name, p in zip(("edge", "component", "circuit", "block"), [0.002, 0.004, 0.004, 0.4])
        ]
        if surviving
        else [{"name": "edge", "p": 0.3, "p_any": 0.6}],
        "n_fwer": surviving,
        "n_fdr": surviving + 3 if surviving else 0,
        "n_component_edges": 9 if surviving else 0,
        "n_component_true": 5 if surviving else 0,
        "attribution": attribution,
    }


def components_of(surviving: int) -> pd.DataFrame:
    """Two components, the first of which differs where something survives."""
    return pd.DataFrame(
        {
            "component": [1, 2],
            "family": ["whole brain", "sensorimotor"],
            "direction": "patients lower",
            "threshold": [3.5, 2.5],
            "n_edges": [9, 3],
            "n_nodes": [8, 4],
            "intensity": [4.2, 1.1],
            "p_fwer": [0.004 if surviving else 0.4, 0.6],
            "true_edges": [5 if surviving else 0, 0],
            "regions": ["; ".join(f"region {k}" for k in range(8)), "a; b; c; d"],
        }
    )


def people_of() -> pd.DataFrame:
    """Three patients, one of whom cannot be compared, and a control."""
    return pd.DataFrame(
        {
            "participant_id": ["sub-02", "sub-04", "sub-06", "sub-03"],
            "label": [1, 1, 1, 0],
            "pooled": "",
            "df": [5, 5, 0, 5],
            "largest_z": [4.1, 6.2, np.nan, 3.9],
            "p_max": [0.4, 0.03, np.nan, 0.5],
            "n_fdr": [0, 3, 0, 0],
            "n_controls": 30,
            "circuit": ["sensorimotor", "sensorimotor", None, "sensorimotor"],
            "circuit_z": [0.1, -0.9, np.nan, 0.0],
            "circuit_p_max": [0.6, 0.04, np.nan, 0.7],
        }
    )


def detectable_of() -> pd.DataFrame:
    """What one connection and a circuit would have needed."""
    rows = [("edge", 1, 5.2, 1.0, 1.37), ("component", 20, np.nan, np.nan, 0.66), ("sensorimotor", 20, 2.6, 0.5, 0.41)]
    return pd.DataFrame(rows, columns=["what", "n_edges", "critical_t", "spread", "detectable_d"])


def families_of(surviving: int) -> pd.DataFrame:
    """One circuit with, one block without enrichment."""
    p = 0.01 if surviving else 0.5
    same = {"mean_t": -0.8, "magnitude": 1.9, "p_mean": p, "p_magnitude": 0.3, "p_fwer_mean": p}
    circuit = {
        "kind": "circuit",
        "name": "sensorimotor",
        "n_edges": 20,
        "p_fwer_magnitude": 0.6,
        "enrichment": 1.4,
        "true_edges": 4,
    }
    block = {"kind": "block", "name": "cortex - thalamus", "n_edges": 30, "p_fwer_mean": 0.4, "p_fwer_magnitude": 0.9}
    return pd.DataFrame([{**same, **circuit, "p_enrichment": 0.02}, {**same, **block}])


def history_of(epochs: int) -> pd.DataFrame:
    """Three runs, one of which stops early."""
    rows = [
        (0, fold, 0, epoch, 1 / (epoch + 1), 0.7 + 0.01 * epoch, 0.5)
        for fold in range(3)
        for epoch in range(epochs - 2 * (fold == 0))
    ]
    table = pd.DataFrame(rows, columns=["repeat", "fold", "seed", "epoch", "train_loss", "val_loss", "val_auc"])
    return table.assign(kept=table["epoch"] == 0)


def predictions_of(splits: pd.DataFrame) -> pd.DataFrame:
    """Two repeats, in which patients get 0.6 and 0.8, and controls 0.4 and 0.2."""
    once = splits[["participant_id", "label", "fold"]].assign(seed=0)
    parts = [once.assign(repeat=k, probability=0.5 + (0.1 + 0.2 * k) * (2 * once["label"] - 1)) for k in (0, 1)]
    return pd.concat(parts, ignore_index=True)


def null_of(tested: bool) -> pd.DataFrame:
    """Thirty-nine permutations around chance, and labels that stand out."""
    auc = [0.8, *np.linspace(0.35, 0.65, 39)] if tested else []
    return pd.DataFrame({"permutation": range(len(auc)), "auc": auc})


def link_of(share: float = 0.04, p: float = 0.6, rho: float = 0.02) -> dict:
    """QC-FC of a group of people; the same p for how many edges follow motion and for its dependence on distance."""
    edges = np.linspace(-1, 1, 51)
    shares = np.exp(-((edges[:-1] + 0.02) ** 2) / 0.02)
    shares = shares / shares.sum()
    cells = {"edges": edges.tolist(), "value": shares, "low": 0.8 * shares, "high": 1.2 * shares}
    bins = {"distance": [20.0, 60.0, 110.0], "value": [0.1, 0.0, -0.05], "low": [-0.03] * 3, "high": [0.04] * 3}
    bins |= {"first": [0.0, -0.1, -0.15], "third": [0.2, 0.1, 0.05]}
    tests = {
        "median_r": {"value": 0.11, "low": 0.09, "high": 0.12, "p": p},
        "share": {"value": share, "low": 0.03, "high": 0.07, "p": p},
        "rho": {"value": rho, "low": -0.1, "high": 0.1, "p": p},
    }
    return {"n": 20, "df": 14, "share_fdr": 0.0, **tests, "histogram": cells, "bins": bins}


COMPARED = {"cases": {"n": 11, "mean": 0.2}, "controls": {"n": 9, "mean": 0.19}}


def links_of(**changes) -> dict:
    """How connections follow motion, by group; nothing of note but for the changes."""
    return {name: link_of() for name in ("everybody", "cases", "controls")} | changes


def quality_of(**changes) -> dict:
    """Summary of the stage `quality` of a cohort without a warning."""
    excluded = [
        {"reason": "… volumes x 2 s = … s, fewer than the 240 s asked", "cases": 1, "controls": 1, "others": 0},
        {"reason": "<b>corrupt</b> & short $x$", "cases": 0, "controls": 2, "others": 0},
    ]
    plain = {
        "subjects": {
            "cases": {"total": 12, "kept": 11},
            "controls": {"total": 12, "kept": 9},
            "others": {"total": 0, "kept": 0},
            "p": 0.59,
        },
        "excluded": excluded,
        "nuisance": ["age", "sex", "site"],
        "motion": {**COMPARED, "p": 0.7, "d": 0.1, "low": -0.8, "high": 1.0},
        "motion_within": {},
        "seconds": {**COMPARED, "reason": "the same in everybody"},
        "volumes": {**COMPARED, "reason": "the same in everybody"},
        "lacking": {"cases": 0.0, "controls": 0.0, "p": None, "regions": []},
        "qcfc": links_of(),
        "edges": {"total": 44850, "tested": 44551, "unmeasured": 0, "outside": 299, "silent": 0},
        "regions": [{"region": "<i>Vermis</i> & co", "cases": 1, "controls": 0, "outside": 1}],
        "people": [{"participant_id": "sub-02", "group": "DYT", "regions": 1, "outside": 1}],
    }
    return plain | changes


UNMEASURED = {"reason": "head motion was not measured"}


def results_of(auc=GOOD, gaps=GAPS, surviving=2, **changes) -> Results:
    participants = people()
    kept = participants[participants["included"]]
    splits = kept[["participant_id", "site"]].assign(label=(kept["group"] == "DYT").astype(int), repeat=0, fold=0)
    grid = np.linspace(0, 1, 11)
    curves = pd.concat(
        pd.DataFrame({"experiment": name, "curve": curve, "x": grid, "y": grid**0.5, "low": grid, "high": grid**0.25})
        for name in auc
        for curve in ("roc", "calibration")
    )
    plain = Results(
        participants=participants,
        splits=splits,
        scores=scores_of(auc),
        comparisons=comparisons_of(gaps),
        curves=curves,
        folds=folds_of(auc),
        subgroups=subgroups_of(auc),
        power=power_of(auc),
        histories={name: history_of(6 if name == "gcn" else 0) for name in auc},
        predictions={name: predictions_of(splits) for name in auc},
        nulls={name: null_of(np.isfinite(score[3])) for name, score in auc.items()},
        edges=edges_of(surviving),
        components=components_of(surviving),
        families=families_of(surviving),
        people=people_of(),
        detectable=detectable_of(),
        points=points_of(surviving),
        summary=summary_of(surviving),
        quality=quality_of(),
        qcfc=edges_of(surviving)[["region_a", "region_b"]].assign(p=np.r_[0.01, np.full(59, 0.5)]),
    )
    return dataclasses.replace(plain, **changes)


def cohort_of(simulated: bool = False, plant: dict | None = None) -> dict:
    kind = "simulated" if simulated else "abide"
    return {
        "dataset": {
            "name": "tiny", "title": "Tiny <cohort>", "kind": kind, "licence": "CC0-1.0", "simulated": simulated,
            "citation": "Somebody 2014, doi:10.1038/mp.2013.78; Else 2015, doi:10.1000/a_b(c)",
            "contrast": {"cases": ["DYT"], "controls": ["HC"]}, "plant": plant,
            "covariates": ["age", "sex", "site", "mean_fd"],
        },
        "atlas": {
            "name": "seitzman300", "nodes": "seitzman300", "title": "Seitzman 300",
            "citation": "Seitzman et al. 2020, doi:10.1016/j.neuroimage.2019.116290",
        },
        "denoise": {
            "name": "standard", "motion": "full", "wm_csf": None, "global_signal": None, "compcor": None,
            "n_compcor": "all", "fd_threshold": None, "std_dvars_threshold": None, "scrub": 5, "detrend": True,
            "filter": "butterworth", "high_pass": 0.01, "low_pass": 0.1, "min_seconds": 240,
            "max_mean_fd": 0.5, "max_missing_regions": 0.1,
        },
        "connectivity": {"measure": "correlation", "estimator": "empirical"},
        "graph": {"density": 0.1, "edges": "own", "drop": 0.0},
        "training": {
            "epochs": 100, "patience": 15, "inner_folds": 0, "validation": 0.2, "batch_size": 32, "lr": 1e-3,
            "weight_decay": 1e-2,
            "seeds": 1, "permutations": 500, "graph_permutations": 20, "seed": 0, "device": "auto",
            "pretrain": {"connectomes": None, "participants": None, "groups": ["HC"], "mask": 0.3},
        },
        "splits": {"scheme": "kfold", "folds": 5, "repeats": 2, "test_sites": [], "seed": 0},
        "quality": {
            "group_alpha": 0.05, "qcfc_alpha": 0.05, "permutations": 1000, "distance_bins": 10, "seed": 0,
            "max_mean_fd": 0.25, "max_spikes": 0.2, "min_tsnr": 20, "max_silent": 0.05, "min_dice_template": 0.9,
            "min_dice_bold": 0.8, "max_deviation": 3,
        },
        "preprocess": {"engine": "derivatives", "min_coverage": 0.5},
        "evaluate": {"floor": "floor", "bootstraps": 2000, "level": 0.95, "seed": 0},
        "localize": {"measure": "correlation", "stability_draws": 50, "stability_top": 100, "alpha": 0.05,
                     "thresholds": [2.5, 3.0], "prior": 4},
        "stimulate": {"experiment": "tangent_ridge", "alpha": 0.05, "goal": "controls"},
        "report": {"edges": 5, "people": True},
        "tracking": {"uri": "http://me:secret@server:5000", "experiment": "dysconnect"},
    }  # fmt: skip


def experiments_of(names) -> dict:
    return {name: cohort_of() | {"model": copy.deepcopy(MODELS[name])} for name in names}


def page_of(results: Results, cohort: dict | None = None):
    names = results.scores["experiment"].unique()
    page = render(results, cohort or cohort_of(), experiments_of(names), NODES, "2026-01-02")
    return page, Document(page.html)


def verdict(results: Results, cohort: dict, experiments: dict) -> list[tuple[str, str]]:
    return report.verdict(sections_of(Study(results, cohort, experiments, NODES)))


def methods(results: Results, cohort: dict, experiments: dict, nodes: pd.DataFrame) -> list[tuple[str, str]]:
    return report.methods(sections_of(Study(results, cohort, experiments, nodes)))


def references(paragraphs: list[tuple[str, str]]) -> list[str]:
    return [str(paper) for paper in cited(paragraphs)]


def said(results: Results, cohort: dict | None = None) -> dict[str, str]:
    return dict(verdict(results, cohort or cohort_of(), experiments_of(results.scores["experiment"].unique())))


@pytest.fixture(scope="module")
def page():
    return page_of(results_of())


@pytest.fixture
def blank_figures(monkeypatch):
    """Empty figures, for tests of words and tables."""
    monkeypatch.setattr(report, "drawn", lambda drawings, _: ({name: to_svg(Figure()) for name in drawings}, {}))


def test_a_new_topic_is_one_module_and_stands_in_all_places_of_the_page(blank_figures, monkeypatch):
    gait = Section(
        "gait", "Gait", sentences=["People walked."], facts=[("Steps", "1,000")],
        figures={"gait": Drawing(Figure, "Steps of everybody. Each point is a person.")},
        tables={"gait": Table("Steps a day.", [Column("Walker", False)], [Row(["sub-01"])], [("Walker", "who walks")])},
        verdict=[("Gait", "Patients walk less.")], methods=[("Gait", "Steps were counted (Hamilton et al. 2017).")],
    )  # fmt: skip
    monkeypatch.setattr(report, "TOPICS", (*report.TOPICS, SimpleNamespace(section=lambda study: gait)))
    page, document = page_of(results_of())
    assert {"gait", "gait-title", "figure-gait"} <= set(document.ids) and "gait" in page.figures
    assert "#gait" in {own.get("href") for tag, own in document.tags if tag == "a"} and "Walker" in document.heads
    for words in ("People walked.", "Steps 1,000", "who walks", "Gait Patients walk less.", "Hamilton WL, Ying R",
                  "Steps were counted", "Steps of everybody. SVG PNG PDF"):  # fmt: skip
        assert words in document.text, words


def severity_of(surviving: int, **changes) -> Asked:
    """Association of a score with the connections."""
    told = {"score": "burke_fahn", "n": 24, "n_without": 2, "n_edges": 60, "n_untested": 0, "alpha": 0.05}
    told |= {"nuisance": ["age"], "df": [1, 21], "critical": 4.9, "detectable_r": 0.78, "n_fwer": surviving, "n_fdr": 0}
    return Asked(edges_of(surviving), {**told, "reason": "", **changes})


def test_what_was_asked_beside_the_groups_is_shown(blank_figures):
    groups = Asked(
        edges_of(1).assign(mean_CD=-0.9, mean_HC=0.5, mean_ULD=0.4),
        {"groups": {"CD": 20, "HC": 30, "ULD": 25}, "n_edges": 60, "n_untested": 7, "n_fwer": 1, "n_fdr": 4,
         "alpha": 0.05, "nuisance": ["age"], "reason": ""},
    )  # fmt: skip
    results = results_of(severity=severity_of(0), groups=groups)
    text = page_of(results)[1].text
    assert "None of 60 connections go with burke fahn in 24 patients at a family-wise error rate of 0.05" in text
    assert "2 patients without it were left out" in text and "correlation of 0.78 would have been found" in text
    assert "1 of 60 connections differs between any of CD (20), HC (30) and ULD (25)" in text
    assert "7 more were not measured, or missing in too many of these people" in text
    assert "−0.90" in text and "η²" in text
    assert (
        "association with burke fahn inside the patients by t and its differences between CD, HC and ULD by F" in text
    )
    assert "What this cohort could have found" in text
    assert "d of 1.37 in one connection, about 0.66 in a component of 20 and 0.41 in all connections of the" in text
    words = said(results)
    assert words["Severity"].startswith("None of 60") and words["Several groups"].startswith("1 of 60")
    assert "Severity" not in said(results_of())


def test_what_could_not_be_tested_is_said(blank_figures):
    none = severity_of(0, reason="burke_fahn is 0.0 for all 24 people: there is nothing to test.")
    results = results_of(severity=none._replace(edges=edges_of(0).iloc[:0]))
    text = page_of(results)[1].text
    assert "go with burke fahn in the patients was not tested: burke_fahn is 0.0 for all 24 people" in text


def test_the_page_fetches_nothing(page):
    _, document = page
    assert document.fetched, "the SVG refers to its own parts"
    assert all(address.startswith(("#", "data:")) for address in map(str, document.fetched))
    assert not {"iframe", "object", "img"} & {tag for tag, _ in document.tags}
    assert not any("src" in own for tag, own in document.tags if tag == "script")
    policy = [own["content"] for tag, own in document.tags if own.get("http-equiv") == "Content-Security-Policy"]
    assert len(policy) == 1 and policy[0].startswith("default-src 'none'") and "http" not in policy[0]


def test_ids_are_unique_and_references_end_somewhere(page):
    html, document = page[0].html, page[1]
    assert len(document.ids) == len(set(document.ids))
    wanted = set(re.findall(r'href="#([^"]+)"', html)) | set(re.findall(r"url\(#([^)]+)\)", html))
    assert wanted and wanted <= set(document.ids)


def test_every_figure_has_a_caption_and_a_name(page):
    _, document = page
    names = {"motion", "forest", "subgroups", "roc", "calibration", "learning_gcn", "connectome", "circuits"}
    names |= {"probability", "nulls", "edges", "means", "qcfc", "qcfc_distance", "cohort", "matrix", "stability"}
    assert {name.removeprefix("figure-") for name in document.captions} == names == set(page[0].figures)
    assert all(len(caption.strip()) > 30 for caption in document.captions.values())
    drawings = [own for tag, own in document.tags if tag == "svg"]
    assert len(drawings) == len(names)
    assert all(own["role"] == "img" and own["aria-label"] for own in drawings)


def test_one_heading_landmarks_and_scoped_headers(page):
    _, document = page
    tags = [tag for tag, _ in document.tags]
    assert tags.count("h1") == 1
    assert {"header", "nav", "main", "footer"} <= set(tags)
    assert all("scope" in own for tag, own in document.tags if tag == "th")
    assert not document.open or document.open == ["html"]


def test_everybody_excluded_is_listed_with_the_reason(page):
    people_ = people()
    rest = page[0].html.split("Excluded subjects (4)", 1)[1]
    for row in people_[~people_["included"]].itertuples():
        assert row.participant_id in rest
        assert row.exclusion_reason in page[1].text
    assert "sub-03" not in page[1].text


def test_text_from_the_data_is_escaped(page):
    assert "<b>corrupt</b>" not in page[0].html and "&lt;b&gt;corrupt&lt;/b&gt; &amp; short" in page[0].html
    assert "<h1>Tiny &lt;cohort&gt;</h1>" in page[0].html


def test_region_names_of_the_user_are_escaped(blank_figures):
    edges = edges_of(1)
    name = edges.loc[0, "region_a"]
    nodes = NODES.replace({"name": {name: "<i>A & B</i>"}})
    edges = edges.replace({"region_a": {name: "<i>A & B</i>"}, "region_b": {name: "<i>A & B</i>"}})
    html = render(results_of(edges=edges), cohort_of(), experiments_of(GOOD), nodes, "2026-01-02").html
    assert "<i>A" not in html and "&lt;i&gt;A &amp; B&lt;/i&gt;" in html


def test_dois_are_links_and_passwords_are_masked(page):
    links = [own["href"] for tag, own in page[1].tags if tag == "a"]
    assert "https://doi.org/10.1038/mp.2013.78" in links
    assert "https://doi.org/10.1000/a_b(c)" in links
    beside = {f"figures/{name}.{kind}" for name in page[0].figures for kind in ("svg", "png", "pdf")}
    assert beside <= set(links)
    known = ("#", "https://doi.org/10.", "data:application/x-bibtex;", "people/", "checklists.html")
    assert all(link.startswith(known) for link in set(links) - beside)
    assert "secret" not in page[0].html and "//***@server" in page[0].html


def test_research_notice_and_no_banner_for_real_data(page):
    assert "For research only: no diagnosis and no basis for treatment." in page[1].text
    assert "planted by software" not in page[1].text


def plant_of(effect: float) -> dict:
    return {
        "circuits": ["sensorimotor"],
        "region": None,
        "edges": 40,
        "effect": effect,
        "carriers": 0.7,
        "direction": "down",
        "seed": 0,
    }


def recovery_of(tpr: float, called: int, fdp: float) -> pd.DataFrame:
    row = {"pattern": "sensorimotor", "d": 1.5, "cohorts": 1, "fwer": float(fdp > 0), "auprc_ratio": 1.0}
    rows = [
        row | {"method": "max-T", "called": called, "tpr": tpr, "fdp": fdp, "auprc": 0.8, "sign_accuracy": 1.0},
        row | {"method": "chance", "called": np.nan, "tpr": np.nan, "fdp": np.nan, "auprc": 0.01, "fwer": np.nan},
    ]
    return pd.DataFrame(rows)


def test_planted_truth_has_a_banner_a_table_and_a_sentence(blank_figures):
    cohort = cohort_of(simulated=True, plant=plant_of(1.5))
    results = results_of(recovery=recovery_of(0.225, 10, 0.1))
    document = page_of(results, cohort)[1]
    assert "nothing here is a finding about patients" in document.text
    assert "AUPRC" in document.heads
    assert said(results, cohort)["Planted truth"].endswith("max-T finds 9; 1 of its 10 calls is false.")


def test_null_cohort_says_that_whatever_is_found_is_false(blank_figures):
    cohort = cohort_of(simulated=True, plant=plant_of(0))
    results = results_of(recovery=recovery_of(np.nan, 0, 0.0))
    assert "whatever is found here is false" in page_of(results, cohort)[1].text
    assert "max-T calls 0 connections" in said(results, cohort)["Planted truth"]


def test_verdict_when_a_linear_model_beats_the_graph_network():
    sentences = said(results_of())
    assert sentences["Subjects"].startswith("20 of 24 subjects were analysed: 11 patients (DYT) and 9 controls (HC).")
    assert "tangent ridge" in sentences["Prediction"] and "0.80 [0.70, 0.90]" in sentences["Prediction"]
    assert "p = 0.002" in sentences["Prediction"]
    assert "beats the confound floor" in sentences["Confounds"] and "0.20 [0.10, 0.30]" in sentences["Confounds"]
    rivalry = "A linear model beats the graph network: tangent ridge leads GCN by 0.15 [0.05, 0.25] (p = 0.010)."
    assert sentences["Graph or linear"] == rivalry


def test_verdict_when_the_graph_network_wins_or_nobody_does():
    gaps = GAPS | {("gcn", "tangent_ridge"): (0.1, 0.02, 0.2, 0.01)}
    assert "GCN leads tangent ridge by 0.10 [0.02, 0.20]" in said(results_of(gaps=gaps))["Graph or linear"]
    gaps = GAPS | {("gcn", "tangent_ridge"): (0.1, -0.02, 0.2, 0.1)}
    assert "cannot be told apart" in said(results_of(gaps=gaps))["Graph or linear"]


def test_verdict_when_the_floor_explains_the_score():
    auc = GOOD | {"floor": (0.79, 0.7, 0.9, 0.002)}
    gaps = GAPS | {("tangent_ridge", "floor"): (0.01, -0.08, 0.1, 0.8)}
    sentence = said(results_of(auc, gaps))["Confounds"]
    assert sentence.startswith("The confound floor may explain the score: age, sex, site and motion alone reach an AUC")
    assert "beats" not in sentence


def test_verdict_when_the_model_is_worse_than_the_floor():
    gaps = GAPS | {("tangent_ridge", "floor"): (-0.1, -0.2, -0.02, 0.01)}
    assert "worse than the confound floor" in said(results_of(gaps=gaps))["Confounds"]


def test_verdict_at_chance():
    auc = {"floor": (0.55, 0.4, 0.7, 0.3), "tangent_ridge": (0.56, 0.45, 0.66, 0.2), "gcn": (0.5, 0.4, 0.6, np.nan)}
    sentences = said(results_of(auc))
    assert sentences["Prediction"].startswith("No model beats chance: the best, tangent ridge (2 models tried)")
    assert "floor is at chance as well" in sentences["Confounds"]
    auc |= {"floor": (0.75, 0.6, 0.9, 0.001)}
    assert "not measurably in connectivity" in said(results_of(auc))["Confounds"]


def test_verdict_needs_the_corrected_test_too():
    """An interval over subjects is not enough where training on others would undo the difference."""
    gaps = GAPS | {("tangent_ridge", "floor"): (0.2, 0.1, 0.3, 0.004, 0.012), ("gcn", "tangent_ridge"):
                   (-0.15, -0.25, -0.05, 0.01, 0.2)}  # fmt: skip
    sentences = said(results_of(gaps=gaps))
    assert "0.20 [0.10, 0.30] (p = 0.004; corrected t-test p = 0.012)" in sentences["Confounds"]
    assert "cannot be told apart" in sentences["Graph or linear"]
    assert "(p = 0.010; corrected t-test p = 0.20)" in sentences["Graph or linear"]
    gaps |= {("tangent_ridge", "floor"): (0.2, 0.1, 0.3, 0.004, 0.3)}
    sentence = said(results_of(gaps=gaps))["Confounds"]
    assert sentence.startswith("The confound floor may explain the score")
    assert "is not sure when training on others is allowed for" in sentence


def test_verdict_says_what_else_beats_the_floor_and_what_remains():
    sentence = said(results_of())["Confounds"]
    assert "The other model is not shown to." in sentence
    assert sentence.endswith("With the covariates held equal its AUC is 0.77 [0.67, 0.87], which is above chance.")
    scores = results_of().scores
    scores.loc[scores["metric"] == "auc_deconfounded", ["value", "low", "high"]] = np.nan
    assert said(results_of(scores=scores))["Confounds"].endswith("overlap too little in their covariates to be "
                                                                "compared with these held equal.")  # fmt: skip


def test_verdict_says_what_could_have_been_detected():
    assert said(results_of())["Power"] == (
        "With 11 patients and 9 controls, an AUC of 0.84 or more would have been told from chance with 80% power "
        "(one-sided, 0.05; standard error at chance of permuted labels 0.140)."
    )
    auc = GOOD | {"tangent_ridge": (0.62, 0.45, 0.75, np.nan), "gcn": (0.64, 0.45, 0.7, np.nan)}
    sentence = said(results_of(auc))["Power"]
    assert "an AUC of 0.81" in sentence and "in theory (Hanley and McNeil 1982) 0.130" in sentence
    assert sentence.endswith("Were 0.64 the true value, 66 subjects would show it.")
    hopeless = power_of(GOOD).assign(detectable_auc=np.nan)
    assert said(results_of(power=hopeless))["Power"] == (
        "With 11 patients and 9 controls no AUC could have been told from chance."
    )


def test_models_folds_and_subgroups_have_tables(page):
    text, heads = page[1].text, page[1].heads
    assert {"Calibration slope", "AUC, covariates held equal", "Repeat and fold", "Subgroup"} <= set(heads)
    assert "0.77 [0.67, 0.87]" in text and "0.91" in text and "−0.12" in text
    assert "information of 20 subjects" in text
    details = page[0].html.split("Every fold and every subgroup", 1)[1].split("</details>", 1)[0]
    assert "1.1" in details and "0.77" in details and "controls only" in details and "B &amp; co" in details
    drawn = page[0].figures["subgroups"]
    assert "B &amp; co (11, 5 patients)" in drawn and "controls only" in drawn and "0.71 [0.61, 0.81]" in drawn


def test_a_cohort_without_subgroups_says_so():
    results = results_of(subgroups=subgroups_of(GOOD).head(0))
    page, document = page_of(results)
    assert "there are no subgroups" in page.figures["subgroups"] and "Subgroup" not in document.heads


@pytest.mark.parametrize(
    ("scheme", "words"),
    [("leave_one_site_out", "Every site was tested by a model trained on all others"),
     ("fixed", "trained on all sites but NYU and USM, and tested on those")],
)  # fmt: skip
def test_methods_tell_how_subjects_were_split(scheme, words):
    cohort = cohort_of()
    cohort["splits"] |= {"scheme": scheme, "test_sites": ["NYU", "USM"]}
    text = dict(methods(results_of(), cohort, experiments_of(GOOD), NODES))["Evaluation"]
    assert words in text and "5-fold" not in text


def test_verdict_allows_for_the_choice_of_the_best():
    auc = GOOD | {"tangent_ridge": (0.62, 0.5, 0.7, 0.04), "gcn": (0.55, 0.4, 0.7, 0.5)}
    assert said(results_of(auc))["Prediction"] == (
        "No model beats chance: the best, tangent ridge (2 models tried), reaches an AUC of 0.62 [0.50, 0.70] (p = "
        "0.040 against permuted labels, allowing for the choice among 2; 0.025 is asked, the models' half of the error "
        "rate of this page)."
    )


def test_verdict_when_the_best_was_not_tested():
    auc = GOOD | {"gcn": (0.85, 0.75, 0.95, np.nan)}
    assert "not tested against permuted labels" in said(results_of(auc))["Prediction"]
    auc = GOOD | {"gcn": (0.85, 0.45, 0.95, 0.3)}
    sentence = said(results_of(auc))["Prediction"]
    assert sentence.startswith("GCN scores best") and "not shown to beat chance" in sentence
    auc = GOOD | {"tangent_ridge": (0.8, 0.7, 0.9, np.nan)}
    assert said(results_of(auc))["Prediction"].startswith("Whether a model beats chance was not tested")


def test_verdict_when_nothing_survives():
    results = results_of(surviving=0)
    sentence = said(results)["Connections"]
    assert sentence.startswith("Nothing survives: none of 60 connections differs")
    assert "d = 1.37" in sentence and "80% power" in sentence
    document = page_of(results)[1]
    assert "none of which survives correction" in document.captions["figure-connectome"]
    assert "Nothing survives correction; the 5 connections" in document.text


def test_verdict_counts_what_survives_and_names_the_strongest():
    sentence = said(results_of(surviving=2))["Connections"]
    assert "2 of 60 connections differ" in sentence and "2 weaker and 0 stronger" in sentence
    assert edges_of(2).loc[0, "region_a"] in sentence
    assert "1 of 60 connections differs" in said(results_of(surviving=1))["Connections"]


def test_drawn_edges_are_those_that_survive_else_the_strongest():
    shown, survive = drawn_edges(edges_of(4), 0.05, 7)
    assert survive and list(shown.index) == [0, 1, 2, 3]
    shown, survive = drawn_edges(edges_of(0).iloc[::-1], 0.05, 7)
    assert not survive and sorted(shown.index) == list(range(7))


def test_withheld_attribution_hides_the_column_and_says_why(page, blank_figures):
    assert "Attribution" not in page[1].heads
    assert "withheld: ridge does not beat its permutation null" in page[1].text
    shown = results_of(edges=edges_of(2, attribution=True), summary=summary_of(2, "ridge, mean over 10 folds"))
    document = page_of(shown)[1]
    assert "Attribution" in document.heads and "mean over 10 folds" in document.text
    assert "0.00025" in document.text


def test_edge_table_has_names_coordinates_and_circuits(page):
    first = edges_of(2).iloc[0]
    place = NODES.set_index("name").loc[first["region_b"], ["x", "y", "z"]]
    text = page[1].text
    assert first["region_b"] in text
    assert ", ".join(number(value, 0) for value in place) in text
    assert "Sensorimotor cortex" in text


def test_poor_input_still_renders():
    participants = people().assign(mean_fd=np.nan, age=np.nan)
    participants.loc[3, "group"] = "OTHER"
    auc = {"tangent_ridge": (0.5, 0.4, 0.6, np.nan)}
    results = results_of(auc, {}, surviving=0, participants=participants, recovery=None)
    page, document = page_of(results)
    assert "No confound floor was run" in document.text
    assert not re.search(r"\bnan\b", document.text.lower())
    assert "learning_tangent_ridge" not in page.figures
    assert "not compared" in document.text and "Planted truth" not in document.text


def test_floor_alone_still_renders():
    everybody = people().assign(included=True, exclusion_reason="")
    results = results_of({"floor": GOOD["floor"]}, {}, participants=everybody)
    document = page_of(results)[1]
    assert "Only the confound floor was run" in document.text and "Nobody was excluded." in document.text
    assert "Graph or linear" not in said(results)


def test_the_same_results_give_the_same_page(page):
    assert page_of(results_of())[0].html == page[0].html


def test_methods_follow_the_configuration():
    cohort, results = cohort_of(), results_of()
    paragraphs = methods(results, cohort, experiments_of(GOOD), NODES)
    text = " ".join(paragraph for _, paragraph in paragraphs)
    for words in (
        "300 regions",
        "0.01 to 0.1 Hz",
        "24 motion parameters",
        "5-fold",
        "repeated 2 times",
        "2,000 bootstrap",
    ):
        assert words in text
    assert any("Kipf TN" in reference for reference in references(paragraphs))
    without = methods(results_of({"floor": GOOD["floor"]}, {}), cohort, experiments_of(["floor"]), NODES)
    assert not any("Kipf TN" in reference for reference in references(without))
    cohort["denoise"] |= {"motion": None, "high_pass": None, "low_pass": None, "detrend": False}
    plain = methods(results, cohort, experiments_of(GOOD), NODES)[0][1]
    assert "motion parameters" not in plain and "Hz" not in plain


def test_methods_name_what_was_removed_and_left_out():
    cohort = cohort_of()
    cohort["denoise"] |= {"motion": "power2", "wm_csf": "full", "compcor": "anat_combined", "n_compcor": 5}
    cohort["denoise"] |= {"global_signal": "regions", "filter": "cosine", "fd_threshold": 0.5}
    paragraphs = methods(results_of(), cohort, experiments_of(GOOD), NODES)
    text = paragraphs[0][1]
    assert "12 motion parameters (6 and their squares); the mean signals of white matter and CSF, their" in text
    assert "the first 5 components of anatomical CompCor (Behzadi et al. 2007); the mean of all regions" in text
    assert "(cosine regressors)" in text and "No global signal" not in text
    assert "Volumes with a framewise displacement above 0.5 mm were left out, and runs of fewer than 5 volumes" in text
    assert any("Behzadi Y" in reference for reference in references(paragraphs))
    assert "Volumes with" not in methods(results_of(), cohort_of(), experiments_of(GOOD), NODES)[0][1]


def test_methods_say_how_responses_to_a_task_were_removed():
    cohort = cohort_of()
    assert "responses" not in methods(results_of(), cohort, experiments_of(GOOD), NODES)[0][1]
    cohort["denoise"] |= {"task": True, "min_degrees_of_freedom": 100}
    text = methods(results_of(), cohort, experiments_of(GOOD), NODES)[0][1]
    assert "; all responses to the task and z-scored" in text and "of every single event the canonical one" in text
    assert "fewer than 100 degrees of freedom in all" in text and "or 30 within the task or at rest" in text


def test_methods_say_where_first_weights_come_from():
    experiments = experiments_of(GOOD)
    plain = dict(methods(results_of(), cohort_of(), experiments, NODES))["Connectivity and models"]
    assert "starting from weights" not in plain
    experiments["gcn"]["training"]["pretrain"] |= {
        "connectomes": "results/big/connectivity/x.h5",
        "groups": ["HC", "A"],
    }
    text = dict(methods(results_of(), cohort_of(), experiments, NODES))["Connectivity and models"]
    assert (
        "guess a hidden 30% of the edges (after Hou et al. 2022) of other people, labels unseen (HC and A in " in text
    )


def test_every_paper_in_the_methods_has_a_reference():
    experiments = experiments_of(GOOD)
    for name in of_kind("graph"):
        experiments[name] = experiments_of(["gcn"])["gcn"] | {"model": MODELS["gcn"] | {"name": name}}
    paragraphs = methods(results_of(severity=severity_of(0)), cohort_of(), experiments, NODES)
    text = " ".join(paragraph for _, paragraph in paragraphs)
    named = set(re.findall(r"[A-Z]\w+ et al\. \d{4}", text.replace("Van Calster", "VanCalster")))
    known = {paper.name.replace(" ", "") for paper in PAPERS} | {"Seitzmanetal.2020"}
    assert len(named) >= 25 and {name.replace(" ", "") for name in named} <= known


def test_what_nobody_put_into_words_is_named_and_stops_no_report(blank_figures):
    """The report is the last job: an unknown word must not undo what all others computed."""
    cohort = cohort_of()
    cohort["denoise"] |= {"motion": "newest_model", "filter": "wavelet", "wm_csf": "cubed", "global_signal": "median"}
    results = results_of(summary=summary_of(2) | {"permutation": "sign_flips"})
    text = page_of(results, cohort)[1].text
    for words in ("newest model", "(wavelet)", "white matter and CSF (cubed)", "; median", "(the sign flips method"):
        assert words in text


def test_figures_for_other_code():
    results = results_of()
    drawn = [
        roc_figure(results.curves, results.scores),
        calibration_figure(results.curves, "gcn"),
        learning_figure(results.histories["gcn"]),
        learning_figure(results.histories["floor"]),
    ]
    assert all(isinstance(figure, Figure) and figure.axes for figure in drawn)
    mean = drawn[2].axes[0].lines[-1]
    np.testing.assert_allclose(mean.get_xdata(), np.arange(1, 7))
    np.testing.assert_allclose(mean.get_ydata()[5], np.mean([0.73, 0.75, 0.75]))
    assert "no epochs recorded" in to_svg(drawn[3])


def test_svg_keeps_text_and_digits():
    figure = Figure()
    figure.text(0.5, 0.5, "p = 0.01234 & <more>")
    figure.add_subplot().plot([0, 1], "o")
    document = to_svg(figure)
    inline = inline_svg(document, "mine", 'say "hello"')
    assert "p = 0.01234 &amp; &lt;more&gt;" in inline
    assert "<style" not in inline and 'aria-label="say &quot;hello&quot;"' in inline
    assert set(re.findall(r'\bid="(\w+)-', inline)) == {"mine"}


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0001, "p < 0.001"), (0.0123, "p = 0.012"), (0.0996, "p = 0.10"), (0.3652, "p = 0.37"), (np.nan, "not tested")],
)
def test_p_in_words(p, text):
    assert p_text(p) == text


def test_numbers_have_a_true_minus_and_no_negative_zero():
    assert number(-1.234) == "−1.23"
    assert number(-0.001) == "0.00"
    assert number(44850, 0) == "44,850"
    assert number(np.nan) == "—"


def test_people_left_out_by_the_dozen_share_a_row():
    people = pd.DataFrame(
        {
            "participant_id": [f"sub-{k:02d}" for k in range(12)],
            "group": ["CD"] * 10 + ["HC"] * 2,
            "mean_fd": np.nan,
            "included": False,
            "exclusion_reason": ["group CD is not part of the contrast"] * 10 + ["too short", ""],
        }
    )
    rows = excluded_table(people).rows
    assert [row.cells[-1] for row in rows] == [
        "group CD is not part of the contrast", "too short", "no reason given",
    ]  # fmt: skip
    assert rows[0].cells[0][0] == "10 people" and rows[0].cells[1] == "CD 10"
    assert rows[1].cells[0] == "sub-10"


def test_connections_that_came_as_numbers_are_not_said_to_be_denoised():
    cohort = cohort_of()
    dataset = {**cohort["dataset"], "kind": "table", "covariates": ["age", "sex", "site"]}
    text = methods(results_of(), {**cohort, "dataset": dataset}, experiments_of(GOOD), NODES)[0][1]
    assert "published as numbers" in text
    assert "Subjects without age, sex, site or one of the connections were excluded" in text
    assert "motion" not in text and "Hz" not in text


def test_data_without_motion_draw_no_empty_axes():
    people = pd.DataFrame({"group": ["DYT", "HC"], "mean_fd": np.nan, "included": True})
    figure = motion_figure(people, {"cases": ["DYT"], "controls": ["HC"]}, 0.5)
    assert figure.axes[0].texts[0].get_text().startswith("No measure of head motion")
    assert not figure.axes[0].axison


def warned(**changes) -> str:
    return said(results_of(quality=quality_of(**changes)))["Quality"]


def test_quality_says_one_reassuring_line_when_all_is_well():
    assert warned() == (
        "No warning: neither motion, exclusion nor the amount of data differs between the groups, and 4.0% of the "
        "connections follow motion (5% by chance)."
    )


def test_quality_warns_of_motion_and_says_what_it_means():
    sentence = warned(motion={**COMPARED, "p": 0.012, "d": 0.45, "low": 0.1, "high": 0.8})
    start = "Motion differs between the groups (p = 0.012, d = 0.45 [0.10, 0.80]; patients move more). "
    assert sentence.startswith(start + "Connections are tested with motion as a covariate")
    results = results_of(quality=quality_of(motion={**COMPARED, "p": 0.012, "d": -0.45, "low": -0.8, "high": -0.1}))
    results.summary["nuisance"].remove("mean_fd")
    sentence = said(results)["Quality"]
    assert "controls move more" in sentence and sentence.endswith("a difference may be one of motion alone.")
    results.summary["nuisance"].append("mean_fd_task")
    assert "in 5% with log_mean_fd in localize.nuisance as well." in said(results)["Quality"]
    results.summary["nuisance"].append("log_mean_fd")
    assert said(results)["Quality"].endswith("motion and its logarithm as covariates, which removes most, not all.")


def test_quality_warns_of_connections_that_follow_motion():
    sentence = warned(qcfc=links_of(everybody=link_of(0.12, 0.002, -0.3)))
    assert sentence.startswith(
        "12% of the connections follow motion after denoising (5% by chance, rarely above 7.0% where"
    )
    assert (
        "the nearer two regions, the more strongly connected in those who move more (ρ = −0.30, p = 0.002)" in sentence
    )
    assert sentence.endswith("removes what is linear in its mean, not all.")  # the groups move alike
    assert "the farther two regions" in warned(qcfc=links_of(everybody=link_of(0.12, 0.002, 0.3)))


def test_quality_warns_of_exclusion_and_of_little_data():
    own = {"p": 0.03, "others": {"total": 0, "kept": 0}}
    own |= {"cases": {"total": 18, "kept": 10}, "controls": {"total": 1, "kept": 1}}
    sentence = warned(subjects=own, seconds={**COMPARED, "p": 0.04, "d": -0.5, "low": -1.0, "high": -0.1})
    assert sentence == (
        "The amount of data differs between the groups (p = 0.040, d = −0.50 [−1.00, −0.10]; controls have more). "
        "Exclusion depends on the group: 8 of 18 patients and 0 of 1 control are left out (p = 0.030)."
    )


def test_the_limits_of_a_warning_come_from_the_configuration():
    cohort, results = cohort_of(), results_of(quality=quality_of(qcfc=links_of(everybody=link_of(0.12, 0.2))))
    assert said(results, cohort)["Quality"].startswith("No warning")
    cohort["quality"]["qcfc_alpha"] = 0.3
    assert said(results, cohort)["Quality"].startswith("12% of the connections follow motion")


def test_the_quality_section_shows_tables_and_escapes_names(page):
    html, text = page[0].html, page[1].text
    section = html.split('id="quality"', 1)[1].split('id="prediction"', 1)[0]
    assert "&lt;i&gt;Vermis&lt;/i&gt; &amp; co" in section and "<i>" not in section
    assert '<a href="#excluded">' in section and "short $x$" not in section  # told once, in the cohort
    assert "&lt;b&gt;corrupt&lt;/b&gt;" in html and "<b>" not in html and html.count('id="excluded"') == 1
    assert "0.200 mm in patients, 0.190 mm in controls (p = 0.70, d = 0.10 [−0.80, 1.00])" in text
    assert "1 patient, 3 controls" in text
    assert "44,551 of 44,850 connections" in text and "299 outside the field of view in too many people" in text
    assert "1 of 2 connections that survive follow motion" in text
    assert "3.0% to 7.0%" in text and "Ciric R" in text and "Parkes L" in text


def test_quality_without_motion_says_so_and_draws_nothing():
    link = dict.fromkeys(("everybody", "cases", "controls"), UNMEASURED)
    nothing = {"reason": "not measured"}
    own = quality_of(qcfc=link, motion=nothing, seconds=nothing, volumes=nothing, regions=[], people=[], excluded=[])
    results = results_of(quality=own, participants=people().assign(mean_fd=np.nan))
    page, document = page_of(results)
    assert said(results)["Quality"] == "Head motion was not measured: its part in any difference is unknown."
    assert "could not be tested: head motion was not measured" in document.text
    assert "figure-qcfc" not in document.captions
    assert {"qcfc", "qcfc_distance"} <= set(page.figures)
    assert "Nobody who was analysed lacks" in document.text and "QC-FC;" not in document.text
    assert not re.search(r"\bnan\b", document.text.lower())


def test_a_group_that_could_not_be_tested_keeps_its_row():
    link = {"everybody": link_of(), "controls": link_of(), "cases": {"reason": "3 people are too few"}}
    link["everybody"].pop("rho")
    rows = qcfc_table(quality_of(qcfc=link)).rows
    assert rows[0].cells[-1] == "—" and rows[0].cells[1] == "20"
    assert rows[1].cells[2] == "3 people are too few" and len(rows[1].cells) == len(rows[0].cells) == 8
    assert warned(qcfc=link).startswith("No warning")
    figure = distance_figure(quality_of(qcfc=link))
    assert figure.axes[0].get_title(loc="left") == ""


def test_the_null_of_the_histogram_is_drawn():
    axes = qcfc_figure(quality_of()).axes[0]
    assert axes.get_title(loc="left") == "4.0% with p < 0.05, p = 0.60"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["motion permuted", "observed"]


@pytest.mark.parametrize(("share", "words"), [(0, "0%"), (0.0741, "7.4%"), (0.121, "12%"), (0.0002, "0.02%")])
def test_shares_in_words(share, words):
    assert percent(share) == words


def test_permutations_are_counted_by_those_who_had_them():
    scored = GOOD | {"gcn": (0.65, 0.55, 0.75, 0.05)}
    told = dict(methods(results_of(scored), cohort_of(), experiments_of(scored), NODES))["Evaluation"]
    assert "500 for floor and tangent ridge; 20 for GCN" in told
    assert "GCN" not in dict(methods(results_of(), cohort_of(), experiments_of(GOOD), NODES))["Evaluation"]


def test_components_and_circuits_are_told_with_their_bound():
    sentence = said(results_of(surviving=2))["Connections"]
    assert "1 component with 9 connections in all (5 of which truly differ, at least)" in sentence
    assert sentence.endswith("as a whole differ at a family-wise error rate of 0.05.")
    nothing = said(results_of(surviving=0))["Connections"]
    assert nothing.endswith("No component and no circuit as a whole differs at a family-wise error rate of 0.05.")


def test_patients_are_compared_with_the_norm_and_those_who_cannot_be_are_left_out(blank_figures):
    text = Document(render(results_of(), cohort_of(), experiments_of(GOOD), NODES, "2026-01-02").html).text
    assert "The 2 of 2 patients who deviate most" in text and "1 of all are at 0.05 or less" in text


def test_every_link_inside_the_page_has_its_end_and_figures_are_numbered_in_order(page):
    page, document = page
    inside = [own["href"][1:] for tag, own in document.tags if own.get("href", "").startswith("#")]
    assert set(inside) <= set(document.ids)
    numbers = [int(words) for words in re.findall(r'<figcaption><span class="count">Figure\u00a0(\d+)', page.html)]
    assert numbers == list(range(1, page.html.count("<figure") + 1))
    listed = re.findall(r'<a href="#figure-([^"]+)">Figure (\d+)</a>', page.html)
    assert [name for name, _ in listed] == re.findall(r'<figure id="figure-([^"]+)"', page.html)


def test_references_stand_in_the_order_of_first_citation():
    one, other = PAPERS[5], PAPERS[1]
    assert cited([("", f"{one.name}, then {other.name}, then {one.name}")]) == [one, other]


def test_what_all_methods_share_stands_in_one_line():
    table = recovery_of(0.5, 4, 0.0)
    table = pd.concat([table[table["method"] != "chance"]] * 2 + [table[table["method"] == "chance"]])
    alike = table.assign(auprc=[0.4] * (len(table) - 1) + [0.01])
    assert "AUPRC" not in [column.title for column in recovery_table(alike).columns]
    assert "0.400" in recovery_table(alike).caption
    apart = alike.assign(auprc=np.linspace(0.1, 0.4, len(alike)))
    assert "AUPRC" in [column.title for column in recovery_table(apart).columns]
