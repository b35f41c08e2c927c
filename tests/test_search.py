"""The search inside each training fold leaves a table: what was tried, how it did, what was chosen."""

import pandas as pd
import pytest

from dysconnect.learning.splits import make_splits
from dysconnect.train import SEARCH, cross_validate

pytestmark = pytest.mark.usefixtures("one_torch_thread")
GRID = {"lr": [1e-6, 1e-2], "weight_decay": [0.0, 0.1]}


def test_every_candidate_of_every_fold_and_seed_has_a_row(make_cohort, sections):
    cohort = make_cohort(40)
    splits = make_splits(cohort.participants, 2, 1, 0)
    trained = cross_validate(cohort, splits, "net", sections("gcn", epochs=4, seeds=2, search=GRID))
    search = trained.search
    assert list(search.columns) == SEARCH and len(search) == 2 * 2 * 4
    for place, part in search.groupby(["repeat", "fold", "seed"]):
        assert set(zip(part["lr"], part["weight_decay"])) == {(lr, decay) for lr in GRID["lr"] for decay in (0.0, 0.1)}
        assert part["chosen"].sum() == 1
        best = part.loc[part["val_loss"].idxmin()]
        assert best["chosen"]
        history = trained.history.set_index(["repeat", "fold", "seed"]).loc[place]  # of the chosen
        assert set(zip(history["lr"], history["weight_decay"])) == {(best["lr"], best["weight_decay"])}
        at_best = history.set_index("epoch")["val_loss"].loc[best["best_epoch"]]
        assert at_best == pytest.approx(best["val_loss"])


@pytest.mark.parametrize("name", ["gcn", "ridge"])
def test_without_a_search_the_table_is_empty_and_reads_back(make_cohort, sections, name, tmp_path):
    cohort = make_cohort(30)
    splits = make_splits(cohort.participants, 2, 1, 0)
    search = cross_validate(cohort, splits, name, sections(name, **({"epochs": 2} if name == "gcn" else {}))).search
    search.to_csv(tmp_path / "search.tsv", sep="\t", index=False)
    read = pd.read_csv(tmp_path / "search.tsv", sep="\t")
    assert read.empty and list(read.columns) == SEARCH
