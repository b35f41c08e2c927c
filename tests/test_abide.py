"""ABIDE as it is shared: coded phenotype, archives and texts of several strategies, copies, gaps."""

import gzip
import hashlib

import numpy as np
import pandas as pd
import pytest
from tiny import served

from dysconnect.acquire import acquire, data_root, source_files, write_acquired
from dysconnect.acquire.abide import acquire_abide, check_1d, read_abide, read_phenotype, series_files
from dysconnect.data.atlas import load_atlas
from dysconnect.data.estimate import connectome
from dysconnect.data.participants import with_labels
from dysconnect.data.series import read_index, read_series
from dysconnect.timeseries import denoise, prepare_cohort

STRATEGIES = ("filt_global", "filt_noglobal", "nofilt_global", "nofilt_noglobal")
SPEC = {
    "kind": "abide",
    "name": "abide",
    "contrast": {"cases": ["ASD"], "controls": ["HC"]},
    "source_atlas": "cc200",
    "strategy": "filt_global",
    "sites": None,
    "root": None,
    "base": "https://nowhere.invalid",
    "pipeline": "cpac",
    "repetition_time": {"NYU": 2.0, "PITT": 1.5},
    "plant": None,
}


def collect(spec, root):
    """Participants and index of a folder."""
    return acquire_abide(spec, *read_abide(spec, root))


def phenotype() -> pd.DataFrame:
    """Two sites with series, one without; DX_GROUP 1 is autism, SEX 1 male."""
    rows = [
        ("NYU_1", "NYU", 1, 20.5, 1, 0.1),
        ("NYU_2", "NYU", 2, 21.5, 2, 0.2),
        ("NYU_3", "NYU", 1, 22.5, 1, 0.3),
        ("NYU_4", "NYU", 2, -9999, -9999, 0.1),
        ("no_filename", "NYU", 2, 30.0, 1, 0.1),
        ("Pitt_1", "PITT", 2, 30.0, 1, 0.1),
        ("Pitt_2", "PITT", 2, 31.0, 2, np.nan),
        ("Pitt_3", "PITT", 1, 32.0, 1, 0.2),
        ("Yale_1", "YALE", 1, 15.0, 1, 0.1),
    ]
    return pd.DataFrame(rows, columns=["FILE_ID", "SITE_ID", "DX_GROUP", "AGE_AT_SCAN", "SEX", "func_mean_fd"])


@pytest.fixture
def few(nodes) -> pd.DataFrame:
    """Fourteen regions with edges of the loops."""
    return nodes.iloc[[16, 17, 18, 19, 20, 21, 22, 23, 26, 27, 28, 29, 34, 35]].reset_index(drop=True)


@pytest.fixture
def series(few) -> dict[str, np.ndarray]:
    """Series by FILE_ID; NYU_3 is a copy of NYU_1, NYU_4 has none."""
    rng = np.random.default_rng(0)
    names = ["NYU_1", "NYU_2", "Pitt_1", "Pitt_2", "Pitt_3"]
    made = {name: rng.normal(size=(60, len(few))) + rng.normal(size=(60, 1)) for name in names}
    return {**made, "NYU_3": made["NYU_1"].copy()}


@pytest.fixture
def archives(tmp_path, series):
    """A folder with the phenotype and one archive a site, for every strategy other numbers."""
    phenotype().to_csv(tmp_path / "Phenotypic_V1_0b_preprocessed1.csv", index=False)
    for scale, strategy in enumerate(STRATEGIES, start=1):
        folder = tmp_path / f"cc200_{strategy}_z16"
        folder.mkdir()
        for site, start in (("NYU", "NYU"), ("PITT", "Pitt")):
            own = {name: scale * x for name, x in series.items() if name.startswith(start)}
            np.savez(folder / f"{site}.npz", **own)
    return tmp_path


def write_text(path, x, nodes, level=9):
    """Write a ``.1D`` file, compressed where the name says so."""
    text = "\t".join(f"#{code}" for code in nodes["node"]) + "\n"
    text += "\n".join("\t".join(f"{value:.6f}" for value in row) for row in x) + "\n"
    if path.suffix == ".gz":
        with gzip.open(path, "wt", compresslevel=level) as file:  # the header holds the name and the time
            file.write(text)
    else:
        path.write_text(text)


@pytest.fixture(params=["1D", "1D.gz"])
def texts(tmp_path, series, few, request):
    """A folder with the phenotype and one text a subject."""
    phenotype().to_csv(tmp_path / "manifest.csv", index=False)
    (tmp_path / "raw").mkdir()
    for name, x in series.items():
        write_text(tmp_path / "raw" / f"{name}_rois_cc200.{request.param}", x, few)
    return tmp_path


# phenotype


def test_phenotype_codes_are_translated(archives):
    table = read_phenotype(archives / "Phenotypic_V1_0b_preprocessed1.csv").set_index("participant_id")
    assert table.loc["sub-NYU1", ["group", "sex", "site"]].tolist() == ["ASD", "M", "NYU"]
    assert table.loc["sub-NYU2", ["group", "sex", "site"]].tolist() == ["HC", "F", "NYU"]
    assert table.loc["sub-NYU4", ["age", "sex"]].isna().all()
    assert table.loc["sub-Pitt3", ["age", "mean_fd"]].tolist() == [32.0, 0.2]
    assert len(table) == 8  # not those without a file


def test_autism_is_label_one(archives):
    participants, _ = collect(SPEC, archives)
    labelled = with_labels(participants, SPEC["contrast"])
    assert (labelled["label"] == (labelled["group"] == "ASD")).all()
    raw = phenotype().set_index("FILE_ID")["DX_GROUP"]
    assert (labelled["label"] == (labelled["file_id"].map(raw) == 1)).all()


def test_missing_column_of_the_phenotype_is_named(tmp_path):
    phenotype().drop(columns="SEX").to_csv(tmp_path / "manifest.csv", index=False)
    with pytest.raises(ValueError, match=r"manifest\.csv: missing column SEX\. Use the table of the project's release"):
        read_phenotype(tmp_path / "manifest.csv")


# series


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_only_archives_of_the_strategy_are_taken(archives, strategy, series):
    files = series_files(archives, "cc200", strategy)
    assert [(path.parent.name, path.name) for path in files] == [
        (f"cc200_{strategy}_z16", "NYU.npz"),
        (f"cc200_{strategy}_z16", "PITT.npz"),
    ]
    _, index = collect({**SPEC, "strategy": strategy}, archives)
    entry = index.set_index("participant_id").loc["sub-NYU2"]
    with np.load(entry["series"]) as file:
        np.testing.assert_allclose(file[entry["key"]], (1 + STRATEGIES.index(strategy)) * series["NYU_2"])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_only_texts_of_the_strategy_are_taken(tmp_path, few, series, strategy):
    for name in STRATEGIES:
        (tmp_path / name).mkdir()
        write_text(tmp_path / name / "NYU_1_rois_cc200.1D", series["NYU_1"], few)
    assert series_files(tmp_path, "cc200", strategy) == [tmp_path / strategy / "NYU_1_rois_cc200.1D"]


def test_another_atlas_is_not_taken(archives):
    with pytest.raises(FileNotFoundError, match=r"no series of atlas 'ho' with strategy 'filt_global'.*source_atlas"):
        series_files(archives, "ho", "filt_global")


def test_index_reads_back_the_series(texts, few, series):
    _, index = collect(SPEC, texts)
    assert len(index) == 6
    for entry in index.itertuples():
        file_id = next(name for name in series if f"sub-{name.replace('_', '')}" == entry.participant_id)
        np.testing.assert_allclose(read_series(entry.series, entry.key, few), series[file_id], atol=1e-6)


def test_repetition_times_are_those_of_the_sites(archives):
    spec = {**SPEC, "repetition_time": {"PITT": 1.5}}
    _, index = collect(spec, archives)
    times = index.set_index("participant_id")["repetition_time"]
    assert (times[times.index.str.contains("Pitt")] == 1.5).all()
    assert (times[times.index.str.contains("NYU")] == 2.0).all()  # the usual one


def test_a_subject_without_series_keeps_its_row(archives, few, denoise_spec, tmp_path):
    participants, index = collect(SPEC, archives)
    assert "sub-NYU4" in set(participants["participant_id"])
    assert "sub-NYU4" not in set(index["participant_id"])
    spec = {**denoise_spec, "motion": None, "min_seconds": 80}
    names = {"atlas": "few", "denoise": "none"}
    table, _ = prepare_cohort(participants, index, few, spec, tmp_path, names)
    reasons = table.set_index("participant_id")["exclusion_reason"]
    assert reasons["sub-NYU4"].startswith("no series file in the index")
    assert reasons["sub-Pitt2"].startswith("mean_fd is missing")
    assert (reasons.drop(["sub-NYU4", "sub-Pitt2"]) == "").all()


def test_sites_without_series_are_left_out(archives):
    participants, _ = collect(SPEC, archives)
    assert set(participants["site"]) == {"NYU", "PITT"}
    only, index = collect({**SPEC, "sites": ["PITT"]}, archives)
    assert set(only["site"]) == {"PITT"}
    assert len(index) == 3


@pytest.mark.parametrize(("sites", "named"), [(["NYU", "MARS"], "MARS"), (["NYU", "YALE"], "YALE")])
def test_a_site_that_is_not_there_is_named(archives, sites, named):
    with pytest.raises(ValueError, match=rf"dataset\.sites: {named}"):
        collect({**SPEC, "sites": sites}, archives)


def test_copied_scans_share_a_group(archives):
    groups = collect(SPEC, archives)[0].set_index("participant_id")["scan_group"]
    assert groups["sub-NYU1"] == groups["sub-NYU3"]
    assert groups.nunique() == len(groups) - 1
    assert (groups != "").all()


def test_copied_texts_share_a_group(texts):
    groups = collect(SPEC, texts)[0].set_index("participant_id")["scan_group"]
    assert groups["sub-NYU1"] == groups["sub-NYU3"]
    assert groups.nunique() == len(groups) - 1


# where the data are


def test_a_wrong_folder_says_what_is_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none of Phenotypic_V1_0b_preprocessed1\.csv.*Set dataset\.root"):
        acquire({**SPEC, "root": str(tmp_path)}, None, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"dataset\.root=/no/such: no such folder"):
        data_root({"name": "abide", "root": "/no/such"})


def test_source_files_are_the_phenotype_and_the_archives(archives):
    files = source_files({**SPEC, "root": str(archives)})
    assert len(files) == 3
    assert files[0].endswith("preprocessed1.csv")
    assert source_files({"kind": "simulated"}) == []


def test_a_damaged_archive_is_named(archives):
    path = archives / "cc200_filt_global_z16" / "PITT.npz"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"PITT\.npz"):
        collect(SPEC, archives)


# planted into real controls


@pytest.fixture
def planted(tmp_path, few):
    """Plant in twelve controls of two sites; returns what `acquire` returns, the folder, and the series."""
    rng = np.random.default_rng(1)
    rows, made = [], {}
    for k in range(15):
        site, name = ("NYU", f"NYU_{k}") if k < 8 else ("PITT", f"Pitt_{k}")
        rows.append((name, site, 1 if k % 5 == 0 else 2, 20.0 + k, 1 + k % 2, 0.1))
        mixing = np.eye(len(few)) + 0.3 * rng.normal(size=(len(few), len(few)))
        made[name] = (0.3 * rng.normal(size=(200, len(few))).cumsum(0) + rng.normal(size=(200, len(few)))) @ mixing
    pd.DataFrame(rows, columns=phenotype().columns).to_csv(tmp_path / "manifest.csv", index=False)
    np.savez(tmp_path / "cc200_filt_global.npz", **made)
    plant = {"circuits": ["cerebello_thalamo_cortical"], "edges": 4, "effect": 1.0, "carriers": 1.0}
    plant |= {"region": None, "direction": "down", "seed": 0}
    spec = {**SPEC, "root": str(tmp_path), "plant": plant, "contrast": {"cases": ["PLANTED"], "controls": ["HC"]}}
    (tmp_path / "series").mkdir()
    return acquire(spec, few, tmp_path / "series"), tmp_path, made


def test_half_of_the_controls_of_each_site_become_planted(planted):
    acquired, _, _ = planted
    table = acquired.participants
    assert set(table["group"]) == {"PLANTED", "HC"}
    assert len(table) == 12  # and no one with autism
    counts = pd.crosstab(table["site"], table["group"])
    assert ((counts["HC"] - counts["PLANTED"]).isin([0, 1])).all()
    planted_names = table.loc[table["group"] == "PLANTED", "participant_id"]
    assert set(acquired.carriers["participant_id"]) == set(planted_names)
    assert len(acquired.truth) == 4


def test_controls_keep_their_series_and_carriers_do_not(planted, few):
    acquired, folder, made = planted
    outputs = {name: str(folder / f"{name}.tsv") for name in ("participants", "index", "truth", "carriers")}
    write_acquired(acquired, outputs)
    index = read_index(outputs["index"]).set_index("participant_id")
    for row in acquired.participants.itertuples():
        own = read_series(index.loc[row.participant_id, "series"], "", few)
        same = np.allclose(own, made[row.file_id], rtol=1e-4, atol=1e-4)
        assert same == (row.group == "HC")


# fetched


@pytest.fixture
def published(tmp_path, texts):
    """The project's own folder: phenotype and texts of one strategy; Pitt_3 is an error page."""
    root = tmp_path / "published"
    own = root / "Outputs/cpac/filt_global/rois_cc200"
    own.mkdir(parents=True)
    content = phenotype().to_csv(index=False).encode()
    (root / "Phenotypic_V1_0b_preprocessed1.csv").write_bytes(content)
    for path in texts.rglob("*_rois_cc200.1D*"):
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        (own / path.name.removesuffix(".gz")).write_bytes(text)
    (own / "Pitt_3_rois_cc200.1D").write_text("<html>slow down</html>")
    hashed = {"bytes": len(content), "hash": "sha256:" + hashlib.sha256(content).hexdigest()}
    with served(root) as (base, requests):
        told = {**SPEC, "base": base, "phenotype": {"path": "Phenotypic_V1_0b_preprocessed1.csv", **hashed}}
        yield told, requests, root


def fetching(tmp_path, **keys) -> dict:
    """The `acquire` section."""
    own = {"folder": str(tmp_path / "data"), "mirror": None, "connections": 2, "attempts": 2, "timeout": 5}
    return {**own, "backoff": 0, "keep": True, "max_failed": 0.5, **keys}


def test_fetched_series_equal_those_of_a_folder(published, tmp_path, texts):
    spec, _, _ = published
    fetched = acquire(spec, None, tmp_path, fetching(tmp_path))
    _, index = collect(spec, texts)
    here = index.set_index("participant_id")["sha256"]
    own = fetched.index.set_index("participant_id")["sha256"]
    assert set(own.index) == {"sub-NYU1", "sub-NYU2", "sub-NYU3", "sub-Pitt1", "sub-Pitt2"}
    assert (own == here[own.index]).all()
    groups = fetched.participants.set_index("participant_id")["scan_group"]
    assert groups["sub-NYU1"] == groups["sub-NYU3"]


def test_what_cannot_be_fetched_is_a_reason(published, tmp_path):
    spec, _, _ = published
    reasons = acquire(spec, None, tmp_path, fetching(tmp_path)).participants.set_index("participant_id")
    reasons = reasons["exclusion_reason"]
    assert reasons["sub-NYU4"].startswith("could not be fetched: Outputs/cpac") and "404" in reasons["sub-NYU4"]
    assert "no table of regional series" in reasons["sub-Pitt3"]
    assert (reasons == "").sum() == 5
    assert not list((tmp_path / "data").rglob("Pitt_3*.1D"))
    with pytest.raises(OSError, match=r"3 of 8 series could not be fetched.*max_failed"):
        acquire(spec, None, tmp_path, fetching(tmp_path, max_failed=0.2))


def test_nothing_is_fetched_twice(published, tmp_path):
    spec, requests, _ = published
    acquire(spec, None, tmp_path, fetching(tmp_path))
    before = [path for path in requests if "NYU_1" in path or "Phenotypic" in path]
    acquire(spec, None, tmp_path, fetching(tmp_path))
    assert [path for path in requests if "NYU_1" in path or "Phenotypic" in path] == before and len(before) == 2


def test_only_those_asked_for_are_fetched(published, tmp_path):
    spec, requests, _ = published
    found = acquire({**spec, "sites": ["NYU"], "limit": 2}, None, tmp_path, fetching(tmp_path))
    assert found.index["participant_id"].tolist() == ["sub-NYU1", "sub-NYU2"]
    assert len(requests) == 3
    assert set(found.participants["site"]) == {"NYU"}
    with pytest.raises(ValueError, match="no site MARS in ABIDE"):
        acquire({**spec, "sites": ["MARS"]}, None, tmp_path, fetching(tmp_path))


def test_series_that_changed_at_the_source_are_refused(published, tmp_path):
    """Nobody published a checksum: the first one seen counts."""
    spec, _, root = published
    acquire(spec, None, tmp_path, fetching(tmp_path))
    here = next((tmp_path / "data").rglob("NYU_1_rois_cc200.1D"))
    here.unlink()
    there = next(root.rglob("NYU_1_rois_cc200.1D"))
    there.write_text(there.read_text().replace("1", "2"))
    found = acquire(spec, None, tmp_path, fetching(tmp_path))
    assert "sub-NYU1" not in set(found.index["participant_id"]) and not here.exists()


@pytest.mark.parametrize("text", ["", "<html></html>", "#1\t#2\n1 2\n", "#1\t#2\n1 2\n3\n", "#1\n1 2\n3 4\n"])
def test_what_is_no_series_is_refused(tmp_path, text):
    path = tmp_path / "X_rois_cc200.1D.part"
    path.write_text(text)
    with pytest.raises(ValueError, match="no table of regional series"):
        check_1d(path)


# real people


@pytest.fixture(scope="module")
def real(real_data):
    """Participants and index of the eleven sites."""
    root = real_data / "abide"
    return collect({**SPEC, "repetition_time": {}}, root)


def test_real_cohort_is_complete(real):
    participants, index = real
    assert len(participants) == len(index) == 733
    assert participants["site"].nunique() == 11
    assert participants["participant_id"].is_unique
    assert set(participants["group"]) == {"ASD", "HC"}
    assert participants["sex"].isin(["F", "M"]).all()


def test_the_known_copy_is_found_and_no_other(real):
    groups = real[0].set_index("participant_id")["scan_group"]
    assert groups["sub-UM10050279"] == groups["sub-UM10050286"]
    assert groups.nunique() == 732


def test_real_text_agrees_with_the_archive(real_data):
    """Columns are matched by code in the one, and by the published order of the regions in the other."""
    folder, atlas = real_data / "abide" / "small", load_atlas("ho110")
    codes = pd.read_csv(folder / "ho_regions.csv")["code"]
    with np.load(folder / "ho111_timeseries_nofilt_noglobal.npz") as file:
        archive = file["NYU_0051051"][:, [codes.tolist().index(code) for code in atlas["node"]]].astype(float)
    text = read_series(folder / "raw_1D" / "NYU_0051051_rois_ho.1D.gz", "", atlas)
    edges = [connectome(x, "correlation", "empirical") for x in (text, archive)]
    assert np.corrcoef(edges)[0, 1] > 0.999


def test_real_raw_text_denoised_agrees_with_the_filtered_archive(real_data, denoise_spec):
    """Two uploads, two pipelines: our band-pass and global signal against C-PAC's."""
    folder, atlas = real_data / "abide", load_atlas("cc200")
    raw = read_series(folder / "small" / "raw_1D" / "NYU_0051051_rois_cc200.1D.gz", "", atlas)
    ours = denoise(raw, None, 2.0, {**denoise_spec, "motion": None, "global_signal": "regions"})
    theirs = read_series(folder / "cc200_filt_global_z16" / "NYU.npz", "NYU_0051051", atlas)
    edges = [connectome(x, "correlation", "empirical") for x in (ours, theirs)]
    unlike = connectome(raw, "correlation", "empirical")
    assert np.corrcoef(edges)[0, 1] > 0.95
    assert np.corrcoef(edges[1], unlike)[0, 1] < 0.85
