"""The notebook: its cells run on the results of a small cohort and say what those say; its page is the notebook."""

import json
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest

from dysconnect.connectivity import cohort_connectomes
from dysconnect.data.atlas import edge_circuits
from dysconnect.data.connectomes import write_connectomes
from dysconnect.data.labelled import labelled_cohort
from dysconnect.data.participants import write_participants
from dysconnect.evaluate import evaluate
from dysconnect.learning.splits import make_splits
from dysconnect.localize import localize
from dysconnect.train import cross_validate

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs/notebook/results.ipynb"
LOCALIZE = {
    "nuisance": ["age", "mean_fd"], "permutations": 99, "permutation": "smith", "device": "cpu", "alpha": 0.05,
    "thresholds": [3.0], "prior": 4, "prior_circuits": ["cerebello_thalamo_cortical"], "stability_draws": 4,
    "stability_top": 10, "max_missing": 0.1, "seed": 0,
}  # fmt: skip
NO_NULL = pd.DataFrame({"permutation": [], "auc": []})


@pytest.fixture(scope="module")
def run(simulated, nodes, simulated_spec, sections, tmp_path_factory) -> Path:
    """Folder that holds results/simulated, with what the stages leave there of a tiny cohort."""
    folder = tmp_path_factory.mktemp("run")
    results = folder / "results/simulated"
    for stage in ("timeseries", "connectivity", "train", "evaluate", "localize"):
        (results / stage).mkdir(parents=True)
    write_participants(simulated.participants, results / "timeseries/participants.tsv")
    held = results / "connectivity/seitzman300_correlation.h5"
    write_connectomes(cohort_connectomes(simulated.kept, nodes, "correlation", "empirical"), held, {})
    contrast = simulated_spec["contrast"]
    cohort, _ = labelled_cohort(held, results / "timeseries/participants.tsv", contrast, "correlation")
    splits = make_splits(cohort.participants, folds=2, repeats=2, seed=0)
    splits.to_csv(results / "train/splits.tsv", sep="\t", index=False)
    predictions = {
        name: cross_validate(cohort, splits, name, sections(name)).predictions for name in ("floor", "ridge")
    }
    for name, table in predictions.items():
        (results / "train" / name).mkdir()
        table.to_csv(results / f"train/{name}/predictions.tsv", sep="\t", index=False)
    spec = {"floor": "floor", "bootstraps": 20, "level": 0.95, "seed": 0}
    evaluated = evaluate(predictions, dict.fromkeys(predictions, NO_NULL), splits, cohort.participants, [], spec)
    evaluated.scores.to_csv(results / "evaluate/scores.tsv", sep="\t", index=False)
    edges = localize(cohort, edge_circuits(nodes), LOCALIZE, nodes).edges
    edges.to_csv(results / "localize/edges.tsv", sep="\t", index=False)
    return folder


@pytest.fixture(scope="module")
def cells() -> list:
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(book)
    return book.cells


@pytest.fixture(scope="module")
def said(run, cells) -> dict:
    """Names of the notebook after its last cell; its figures stay open."""
    names: dict = {"__name__": "notebook"}
    matplotlib.use("Agg")
    plt.close("all")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run)
        patch.setattr(plt, "show", lambda: None)
        for number, cell in enumerate(cells, 1):
            if cell.cell_type == "code":
                exec(compile(cell.source, f"{NOTEBOOK.name}, cell {number}", "exec"), names)
    yield names
    plt.close("all")


def test_no_output_is_stored(cells):
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells if cell.cell_type == "code")


def test_the_auc_computed_again_is_that_of_the_table(said):
    assert set(said["again"]) == {"floor", "ridge"}
    assert [said["auc"].loc[name, "value"] for name in said["again"]] == pytest.approx(list(said["again"].values()))


def test_a_matrix_has_every_edge_at_the_names_of_its_regions(said):
    matrix, names = said["matrix_of"](said["edges"], "statistic"), list(said["atlas"].index)
    assert names == list(said["connectomes"].nodes) and np.array_equal(matrix, matrix.T)
    for row in said["edges"].iloc[[0, 7, -1]].itertuples():
        assert matrix[names.index(row.region_a), names.index(row.region_b)] == row.statistic
    renamed = said["edges"].assign(region_a=said["edges"]["region_b"], region_b=said["edges"]["region_a"])
    assert np.array_equal(said["matrix_of"](renamed, "statistic"), matrix)


def test_the_graphs_are_the_people_and_their_strongest_edges(said):
    graphs, splits, connectomes = said["graphs"], said["splits"], said["connectomes"]
    assert [graph.participant_id for graph in graphs] == list(splits.index)
    assert [int(graph.y) for graph in graphs] == list(splits["label"])
    row = list(connectomes.subjects).index(splits.index[0])
    strongest = np.sort(connectomes.values[row])[-round(0.1 * connectomes.values.shape[1]) :]
    weights = np.unique(np.tanh(strongest[strongest > 0]).astype(np.float32))
    assert np.unique(graphs[0].edge_attr.numpy()) == pytest.approx(weights, abs=1e-6)
    assert said["z"][said["train"]].mean(0).shape == (40, 40) and 0 < said["train"].sum() < len(splits)


def test_the_pictures_are_drawn(said):
    assert len(plt.get_fignums()) == 3


def test_the_page_is_the_notebook():
    names: dict = {"__name__": "build", "__file__": str(ROOT / "docs/build.py")}
    exec(compile((ROOT / "docs/build.py").read_text(), "docs/build.py", "exec"), names)
    page = NOTEBOOK.with_suffix(".md").read_text()
    assert page == names["notebook"](NOTEBOOK), (
        "docs/notebook/results.md is not the notebook. Run: python docs/build.py"
    )
    for cell in json.loads(NOTEBOOK.read_text())["cells"][1:]:
        assert "".join(cell["source"]) in page
