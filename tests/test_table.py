"""The table of connections: read in full, matched by name, and it holds what its authors found."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dysconnect.acquire.table import acquire_table, read_connections, table_files
from dysconnect.connectivity import table_connectomes
from dysconnect.data.atlas import load_atlas
from dysconnect.data.connectomes import open_connectomes, read_connectomes
from dysconnect.data.connectomes import write_connectomes as write
from dysconnect.data.edges import Pairs
from dysconnect.data.labelled import labelled_cohort
from dysconnect.data.participants import write_participants
from dysconnect.localize import localize
from dysconnect.localize.statistics import edge_statistics
from dysconnect.timeseries import judge_cohort

CONTRAST = {"cases": ["patient"], "controls": ["control"]}
PAIRS = ["ppc-left_ppc-right", "ppc-left_cereb-M3-right", "cereb-M3-left_cereb-M3-right"]


@pytest.fixture(scope="module")
def regions(repository) -> pd.DataFrame:
    """Node table of the study."""
    return load_atlas(repository / "src/dysconnect/data/atlas/degeneration.tsv")


@pytest.fixture
def spec() -> dict:
    """The `dataset` section."""
    return {
        "name": "degeneration",
        "base": "https://host/commit/data/",
        "connections": {"path": "connectivity.tsv", "bytes": 1, "hash": "sha256:ab"},
        "people": {"path": "people.tsv", "bytes": 2, "hash": "sha256:cd"},
        "session": "ses-pre",
        "contrast": CONTRAST,
        "limit": None,
        "participants": None,
    }


@pytest.fixture
def tables(tmp_path) -> pd.DataFrame:
    """Both tables of four people on disk; sub-04 has no scan of ses-pre."""
    rng = np.random.default_rng(0)
    rows = [
        (f"sub-0{k}", session, "p" if k < 3 else "c", "VM", 1400.0 + k, pair, rng.uniform(-0.9, 0.9))
        for k in (2, 1, 3, 4)
        for session in ("ses-post", "ses-pre")
        for pair in rng.permutation(PAIRS)
        if (k, session) != (4, "ses-pre")
    ]
    table = pd.DataFrame(rows, columns=["subject", "session", "group", "condition", "TIV", "regions", "connectivity"])
    table.to_csv(tmp_path / "connectivity.tsv", sep="\t", index=False)
    people = pd.DataFrame({"subject": ["sub-01", "sub-01", "sub-02", "sub-03", "sub-04"], "age": [66, 66, 41, 50, 24]})
    people.assign(sex=["m", "m", "f", "f", "m"]).to_csv(tmp_path / "people.tsv", sep="\t", index=False)
    return table


def test_participants_and_values_travel_by_name(tmp_path, tables, spec, regions):
    people, edges = acquire_table(spec, tmp_path, regions)
    assert people["participant_id"].tolist() == ["sub-01", "sub-02", "sub-03", "sub-04"]
    assert people["group"].tolist() == ["patient", "patient", "control", "control"]
    assert people["age"].tolist() == [66, 41, 50, 24]
    assert people["sex"].tolist() == ["M", "F", "F", "M"]
    own = edges[(edges["participant_id"] == "sub-03") & (edges["region_b"] == "Cerebellum M3 R")]
    there = tables.query("subject == 'sub-03' and session == 'ses-pre' and regions == 'ppc-left_cereb-M3-right'")
    assert sorted(own["region_a"]) == ["Cerebellum M3 L", "Posterior parietal cortex L"]
    value = own.set_index("region_a").loc["Posterior parietal cortex L", "connectivity"]
    assert value == pytest.approx(there["connectivity"].item())


def test_whoever_was_not_scanned_keeps_the_row_with_a_reason(tmp_path, tables, spec, regions):
    people, edges = acquire_table(spec, tmp_path, regions)
    table, kept = judge_cohort(people, edges, ["age", "sex", "site"])
    reasons = table.set_index("participant_id")["exclusion_reason"]
    assert reasons["sub-04"] == "lacks 3 of the 3 connections of the table"
    assert table["included"].tolist() == [True, True, True, False]
    assert set(kept["participant_id"]) == {"sub-01", "sub-02", "sub-03"}


def test_without_the_second_table_age_is_missing_and_not_asked_for(tmp_path, tables, spec, regions):
    people, edges = acquire_table({**spec, "people": None}, tmp_path, regions)
    with pytest.raises(ValueError, match=r"none of the 4 subjects can be used.*age is missing"):
        judge_cohort(people, edges, ["age"])
    table, _ = judge_cohort(people, edges, ["tiv"])
    assert table["included"].sum() == 3


def test_selection_becomes_the_reason(tmp_path, tables, spec, regions):
    people, edges = acquire_table({**spec, "limit": 2}, tmp_path, regions)
    table, kept = judge_cohort(people, edges, [])
    assert sorted(kept["participant_id"].unique()) == ["sub-01", "sub-03"]
    assert table.set_index("participant_id").loc["sub-02", "exclusion_reason"] == "left out by dataset.limit=2"


def test_files_have_one_pinned_address_each(spec):
    files = table_files(spec)
    assert [file["urls"] for file in files] == [
        ["https://host/commit/data/connectivity.tsv"],
        ["https://host/commit/data/people.tsv"],
    ]
    assert files[0]["hash"] == "sha256:ab"
    assert len(table_files({**spec, "people": None})) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="regions"), "missing column regions"),
        (lambda t: t.assign(connectivity=1.5), r"line 2: connectivity is 1\.5, no correlation"),
        (lambda t: t.assign(connectivity="n/a"), "line 2: connectivity is n/a, no correlation"),
        (lambda t: pd.concat([t, t.tail(1)]), "twice"),
    ],
)
def test_what_breaks_the_table_is_named(tmp_path, tables, change, message):
    change(tables).to_csv(tmp_path / "bad.tsv", sep="\t", index=False)
    with pytest.raises(ValueError, match=rf"bad\.tsv.*{message}"):
        read_connections(tmp_path / "bad.tsv")


def test_wrong_session_atlas_or_folder_says_what_to_do(tmp_path, tables, spec, regions, nodes):
    with pytest.raises(ValueError, match=r"session=ses-9: no such session \(found: ses-post, ses-pre\)"):
        acquire_table({**spec, "session": "ses-9"}, tmp_path, regions)
    with pytest.raises(ValueError, match=r"no label cereb-M3-left.*Choose atlas=degeneration"):
        acquire_table(spec, tmp_path, nodes)
    with pytest.raises(FileNotFoundError, match=r"connectivity\.tsv: no such table\. Set dataset\.root"):
        acquire_table(spec, tmp_path / "elsewhere", regions)


def test_connectomes_hold_fisher_z_and_nothing_where_nothing_was_measured(tmp_path, tables, spec, regions):
    people, edges = acquire_table(spec, tmp_path, regions)
    _, kept = judge_cohort(people, edges, [])
    connectomes = table_connectomes(kept, regions, "correlation")
    write(connectomes, tmp_path / "c.h5", {})
    with open_connectomes(tmp_path / "c.h5") as stored:
        measured = np.isfinite(stored["connectome"].to_numpy()).all(0)
        pairs = set(zip(stored["node_a"].to_numpy()[measured], stored["node_b"].to_numpy()[measured]))
        assert stored["connectome"].shape == (3, 55)
    names = dict(zip(regions["label"], regions["name"]))
    assert pairs == {tuple(names[end] for end in pair.split("_")) for pair in PAIRS}
    back = read_connectomes(tmp_path / "c.h5", ["sub-03", "sub-01"])
    order = [connectomes.subjects.tolist().index(name) for name in ("sub-03", "sub-01")]
    np.testing.assert_array_equal(back.values, connectomes.values[order])
    rows, cols = Pairs(len(regions)).ends
    position = {name: k for k, name in enumerate(connectomes.nodes)}
    for row in kept.itertuples():
        i, j = sorted((position[row.region_a], position[row.region_b]))
        edge = np.flatnonzero((rows == i) & (cols == j))[0]
        subject = connectomes.subjects.tolist().index(row.participant_id)
        assert connectomes.values[subject, edge] == pytest.approx(np.arctanh(row.connectivity), abs=1e-6)
    assert not connectomes.values[:, ~measured].any()


def test_measures_that_need_series_are_refused(tmp_path, tables, spec, regions):
    _, edges = acquire_table(spec, tmp_path, regions)
    with pytest.raises(ValueError, match=r"covariance needs the series.*connectivity=correlation"):
        table_connectomes(edges, regions, "covariance")


# the authors' own numbers


@pytest.fixture(scope="module")
def published(real_data) -> Path:
    """Folder of the authors' table."""
    folder = real_data / "degeneration"
    if not (folder / "connectivity.tsv").exists():
        pytest.skip(f"{folder}: no connectivity.tsv of the cerebellar-degeneration study")
    return folder


def cohens_d(z: pd.DataFrame, patient: pd.Series) -> pd.Series:
    """Standardised difference of every column, patients minus controls."""
    one, two = z[patient], z[~patient]
    n1, n2 = len(one), len(two)
    pooled = ((n1 - 1) * one.var() + (n2 - 1) * two.var()) / (n1 + n2 - 2)
    return (one.mean() - two.mean()) / np.sqrt(pooled)


@pytest.fixture
def study(published, spec, regions, tmp_path):
    """The study as the workflow reads it."""
    people, edges = acquire_table({**spec, "people": None}, published, regions)
    table, kept = judge_cohort(people, edges, ["site"])
    assert table.groupby("group")["included"].sum().to_dict() == {"control": 39, "patient": 40}
    write(table_connectomes(kept, regions, "correlation"), tmp_path / "c.h5", {})
    write_participants(table, tmp_path / "p.tsv")
    return labelled_cohort(tmp_path / "c.h5", tmp_path / "p.tsv", CONTRAST, "correlation")[0]


def test_localization_finds_the_cerebellum_and_spares_the_cortex(study, regions):
    """The real positive control: cortico-cerebellar connections are weaker, singly and as a whole; cortex is spared."""
    cerebellum = (regions["system"] == "cerebellum").to_numpy().astype(int)
    rows, cols = Pairs(len(regions)).ends
    kinds = np.array(["within cortex", "cortex and cerebellum", "within cerebellum"])[
        cerebellum[rows] + cerebellum[cols]
    ]
    spec = {
        "nuisance": ["site"], "permutations": 2000, "permutation": "smith", "device": "cpu", "alpha": 0.05,
        "thresholds": [2.5, 3.0], "prior": 4, "prior_circuits": ["cortex and cerebellum"], "stability_draws": 20,
        "stability_top": 5, "max_missing": 0.1, "seed": 0,
    }  # fmt: skip
    found = localize(study, kinds, spec)
    edges, sets = found.edges.dropna(subset="statistic"), found.circuits.set_index("name")
    crossing, cortical = (edges[edges["circuit"] == kind] for kind in ("cortex and cerebellum", "within cortex"))
    assert (len(crossing), len(cortical)) == (14, 3)
    assert (crossing["direction"] == "patients lower").all()
    assert (crossing["p_fwer"] <= 0.05).sum() >= 3 and (crossing["p_fdr"] <= 0.05).sum() >= 9
    assert (cortical[["p_fwer", "p_fdr", "p_weighted", "p_component"]] > 0.05).all(axis=None)
    assert sets.loc["cortex and cerebellum", "p_fwer_mean"] < 0.05 and sets.loc["cortex and cerebellum", "mean_t"] < -2
    assert sets.loc["cortex and cerebellum", "true_edges"] >= 3
    assert sets.loc["within cortex", "p_fwer_mean"] > 0.3 and sets.loc["within cortex", "true_edges"] == 0
    assert found.edges["statistic"].isna().sum() == 36 == found.summary["n_untested"]


def test_effects_of_the_study_are_found_by_two_routes(study, published, regions):
    cohort = study
    measured = cohort.values.any(0)
    assert (cohort.values.shape, measured.sum()) == ((79, 55), 19)
    found = edge_statistics(cohort.values[:, measured], cohort.participants, ["site"], 2000, 0)

    raw = pd.read_csv(published / "connectivity.tsv", sep="\t")
    raw = raw[raw["session"] == "ses-pre"]
    z = np.arctanh(raw.pivot_table(index="subject", columns="regions", values="connectivity"))
    d = cohens_d(z, raw.drop_duplicates("subject").set_index("subject").loc[z.index, "group"] == "p")
    rows, cols = Pairs(len(regions)).ends
    labels = regions["label"].to_numpy()
    order = [f"{labels[i]}_{labels[j]}" for i, j in zip(rows[measured], cols[measured])]
    np.testing.assert_allclose(found.effect_size, d[order], atol=1e-4)

    crossing = np.array(["_cereb" in pair and not pair.startswith("cereb") for pair in order])
    cortical = np.array(["cereb" not in pair for pair in order])
    assert (crossing.sum(), cortical.sum()) == (14, 3)
    assert (found.effect_size[crossing] < 0).all()
    assert -0.7 < np.median(found.effect_size[crossing]) < -0.5
    assert abs(found.effect_size[cortical]).max() < 0.25
    assert found.effect_size[cortical].max() == pytest.approx(0.23, abs=0.01)
    survive = found.p_fwer <= 0.05
    assert {order[k] for k in np.flatnonzero(survive)} == {
        "ppc-right_cereb-M3-left",
        "ppc-right_cereb-M3-right",
        "pmd-right_cereb-M3-left",
        "pmd-left_cereb-M3-left",
    }
