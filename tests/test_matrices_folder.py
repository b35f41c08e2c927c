"""A folder of matrices: which file is meant, in the layouts of other people's tools, and who can be used."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from dysconnect.acquire import kind_of
from dysconnect.acquire.matrices import acquire_matrices, content_of, matrix_sources, plan_matrices
from dysconnect.connectivity import matrix_connectomes
from dysconnect.data.edges import Pairs
from dysconnect.data.matrices import read_index_of_matrices, write_index_of_matrices
from dysconnect.data.participants import write_participants
from dysconnect.keeping.sealed import NotAsWrittenError
from dysconnect.plan.run import plan_run
from dysconnect.problems import MachineError
from dysconnect.reading.bids import list_folder, made_by
from dysconnect.timeseries import judge_matrices

ROOT = Path(__file__).parents[1]
PEOPLE = ["sub-01", "sub-02", "sub-03"]
LIMITS = {"max_mean_fd": 0.5, "max_missing_regions": 0.2}


@pytest.fixture(scope="module")
def few(nodes) -> pd.DataFrame:
    """Eight regions with names without blanks, which lookup tables need."""
    return nodes.head(8).reset_index(drop=True).assign(name=[f"Region_{k}" for k in range(8)])


def dataset(**more) -> dict:
    """The `dataset` section; `more` are keys of it, or of its `matrices`."""
    matrices = {"content": None, "key": None, "labels": None, "scaled": False}
    spec = {
        "name": "mine", "kind": "matrices", "contrast": {"cases": ["dystonia"], "controls": ["control"]},
        "covariates": ["age", "sex", "site", "mean_fd"], "task": "rest", "session": None, "run": None, "entities": None,
        "segmentation": None, "order": "names", "limit": None, "participants": None,
    }  # fmt: skip
    return spec | {key: more.pop(key) for key in list(more) if key in spec} | {"matrices": matrices | more}


def people(root, n: int = 3) -> pd.DataFrame:
    """Write and return the table of people."""
    k = np.arange(1, n + 1)
    table = pd.DataFrame({"participant_id": [f"sub-{i:02d}" for i in k], "group": "dystonia", "age": 40.0 + k})
    table = table.assign(sex="F", site="clinic", mean_fd=0.1)
    table.loc[1::2, "group"] = "control"
    write_participants(table, root / "participants.tsv")
    return table


def r_of(seed: int, n: int = 8) -> np.ndarray:
    """Correlations of one person."""
    return np.corrcoef(np.random.default_rng(seed).normal(size=(n, 40)))


def weights_of(seed: int) -> np.ndarray:
    """Weighted streamlines of one person, the upper half, with self-connections."""
    rng = np.random.default_rng(seed)
    return np.triu(rng.gamma(2, 30, (8, 8)) * (rng.random((8, 8)) < 0.8))


def write(root, path, values, names=None, sep="\t"):
    """One file, with names or without."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(values, index=names, columns=names)
    table.to_csv(root / path, sep=sep, index=names is not None, header=names is not None, index_label="Node")


def judged(root, nodes, measure="correlation", only="", **asked):
    """Everybody's verdict, and the connectomes of those who are left."""
    spec, root = dataset(**asked) | {"people": str(root / "participants.tsv")}, root / only
    spec["matrices"]["content"] = content_of(spec, measure, list_folder(root))
    plan = plan_matrices(spec, root)
    participants, index = acquire_matrices(spec, plan)
    table, kept = judge_matrices(participants, index, nodes, LIMITS, spec["covariates"])
    return table.set_index("participant_id"), matrix_connectomes(kept, nodes, measure), plan


# layouts of tools; what these are is told with sources in docs/how-to/matrices.md


def test_xcpd(tmp_path, few):
    people(tmp_path)
    order = np.random.default_rng(9).permutation(8)
    for k, name in enumerate(PEOPLE):
        stem = f"{name}/func/{name}_task-rest_space-MNI152NLin6Asym"
        names = few["name"].to_numpy()[order]
        for atlas, values in (("4S156Parcels", r_of(k)[np.ix_(order, order)]), ("Tian", r_of(k)[:4, :4])):
            write(tmp_path, f"{stem}_atlas-{atlas}_stat-pearsoncorrelation_relmat.tsv", values, names[: len(values)])
    with pytest.raises(ValueError, match=r"dataset\.segmentation=4S156Parcels or dataset\.segmentation=Tian"):
        judged(tmp_path, few)
    table, made, plan = judged(tmp_path, few, segmentation="4S156Parcels")
    assert table["included"].all() and plan.choices.empty
    expected = np.stack([Pairs(8).edges(np.arctanh(np.clip(r_of(k), -0.999, 0.999))) for k in range(3)])
    np.testing.assert_allclose(made.values, expected, atol=1e-6)


def test_giga_connectome_has_no_names(tmp_path, few):
    people(tmp_path)
    for k, name in enumerate(PEOPLE):
        path = f"{name}/func/{name}_task-rest_seg-Schaefer_meas-PearsonCorrelation_desc-denoiseSimple_relmat.tsv"
        (tmp_path / path).parent.mkdir(parents=True)
        pd.DataFrame(r_of(k)).to_csv(tmp_path / path, sep="\t", index=False)
    with pytest.raises(ValueError, match=r"none of the 3 subjects.*nothing names its 8 rows.*dataset\.order=atlas"):
        judged(tmp_path, few)
    assert judged(tmp_path, few, order="atlas")[0]["included"].all()


def test_bids_with_node_indices(tmp_path, few):
    people(tmp_path)
    order = np.random.default_rng(1).permutation(8)
    rows = "".join(f"{k}\tatlas-A\t{node}\t{few['name'][node]}\n" for k, node in enumerate(order))
    (tmp_path / "atlas-A_nodeindices.tsv").write_text("matrix_index\tnode_file\tnode_index\tlabel\n" + rows)
    for k, name in enumerate(PEOPLE):
        for measure, scale in (("streamlineCount", 1.0), ("tractLength", 2.0)):
            values = (weights_of(k) + np.triu(weights_of(k), 1).T)[np.ix_(order, order)] * scale
            write(tmp_path, f"{name}/dwi/{name}_atlas-A_meas-{measure}_relmat.dense.tsv", values)
    _, counts, _ = judged(tmp_path, few, "count", scaled=True)
    _, lengths, _ = judged(tmp_path, few, "length")
    expected = Pairs(8).edges(weights_of(0))
    np.testing.assert_allclose(counts.values[0], np.log1p(expected), rtol=1e-5)
    np.testing.assert_allclose(lengths.values[0], np.where(expected, 2 * expected, np.nan), rtol=1e-5)


def test_a_list_of_single_connections_is_refused_by_name_and_a_square_beside_it_is_read(tmp_path, few):
    people(tmp_path)
    stems = [f"{name}/dwi/{name}_meas-streamlineCount_relmat" for name in PEOPLE]
    for k, stem in enumerate(stems):
        write(tmp_path, f"{stem}.sparse.tsv", np.ones((3, 3)))
        if k:
            write(tmp_path, f"{stem}.dense.tsv", np.round(weights_of(k)), few["name"])
    table, made, _ = judged(tmp_path, few, "count")
    assert made.subjects.tolist() == PEOPLE[1:]
    assert re.search(r"sparse\.tsv lists single .* as _relmat\.dense\.tsv", table.loc["sub-01", "exclusion_reason"])


DESCRIBED = {"Name": "x", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}


def described(root, folder, **told):
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / "dataset_description.json").write_text(json.dumps(DESCRIBED | told))


@pytest.mark.parametrize(
    ("told", "made"),
    [
        ({"GeneratedBy": [{"Name": "QSIRecon", "Version": "1.0.1"}, {"Name": "QSIPrep"}]}, "QSIRecon 1.0.1, QSIPrep"),
        ({"GeneratedBy": {"Name": "XCP-D", "Version": "0.10"}}, "XCP-D 0.10"),
        ({"PipelineDescription": {"Name": "MRtrix3_connectome", "Version": "0.5"}}, "MRtrix3_connectome 0.5"),
        ({"DatasetType": "raw", "GeneratedBy": [{"Name": "heudiconv", "Version": "1.1"}]}, ""),
        ({"GeneratedBy": ["by hand", {"Version": None, "Name": None}]}, ""),
        ({}, ""),
    ],
)
def test_who_made_a_data_set_is_what_its_description_says(tmp_path, told, made):
    described(tmp_path, "", **told)
    assert made_by(tmp_path / "dataset_description.json") == made
    assert made_by(tmp_path / "none.json") == ""


def test_the_software_of_each_matrix_is_that_of_the_nearest_description(tmp_path, few):
    people(tmp_path)
    for k, name in enumerate(PEOPLE):
        folder = "b" if k == 2 else "a"
        write(tmp_path, f"{folder}/{name}/{name}_desc-r_relmat.tsv", r_of(k), few["name"])
    described(tmp_path, "", GeneratedBy=[{"Name": "XCP-D", "Version": "0.9.1"}])
    described(tmp_path, "b", GeneratedBy=[{"Name": "XCP-D", "Version": "0.10.0"}])
    spec = dataset(content="correlation")
    plan = plan_matrices(spec, tmp_path)
    _, index = acquire_matrices(spec, plan)
    assert index["processing"].tolist() == ["XCP-D 0.9.1", "XCP-D 0.9.1", "XCP-D 0.10.0"]
    assert {tmp_path / "dataset_description.json", tmp_path / "b/dataset_description.json"} <= set(
        matrix_sources(spec, plan)
    )
    write_index_of_matrices(index, tmp_path / "index.tsv")
    _, kept = judge_matrices(people(tmp_path), read_index_of_matrices(tmp_path / "index.tsv"), few, LIMITS)
    assert kept["processing"].tolist() == index["processing"].tolist()


@pytest.mark.parametrize(("parts", "level"), [("desc-desikan", ""), ("parc-desikan", "_level-participant")])
def test_mrtrix3_connectome(tmp_path, few, parts, level):
    people(tmp_path)
    lookup = "# LUT\n0 ??? Unknown 0 0 0 0\n" + "".join(
        f"{k + 1} R{k} {n} 1 2 3 255\n" for k, n in enumerate(few["name"])
    )
    (tmp_path / f"{parts}_lookup.txt").write_text(lookup)
    for k, name in enumerate(PEOPLE):
        stem = f"{name}/connectome/{name}_{parts}{level}"
        write(tmp_path, f"{stem}_connectome.csv", weights_of(k), sep=",")
        write(tmp_path, f"{stem}_meanlength.csv", 1 + (weights_of(k) > 0) * 40.5, sep=",")
        (tmp_path / name / "tractogram").mkdir()
        (tmp_path / name / "tractogram" / f"{name}_mu.txt").write_text("0.01\n")
    with pytest.raises(ValueError, match=r"is not whole.*dataset\.matrices\.scaled=true"):
        judged(tmp_path, few, "count")
    table, made, _ = judged(tmp_path, few, "count", scaled=True)
    assert table["included"].all()
    np.testing.assert_allclose(made.values[2], np.log1p(Pairs(8).edges(weights_of(2))), rtol=1e-5)


def test_micapipe(tmp_path, few):
    """Text of old versions, GIFTI of new ones; the lookup tables are the program's, numbered and not in order."""
    nibabel = pytest.importorskip("nibabel")
    people(tmp_path)
    rows = [f"{k},{10 * (k + 1)},{name},1,1,1,0,left,0,0,0" for k, name in enumerate(few["name"])]
    (tmp_path / "lut.csv").write_text("roi,mics,label,R,G,B,A,side,coor.x,coor.y,coor.z\n" + "\n".join(rows[::-1]))
    for k, name in enumerate(PEOPLE):
        stem = f"{name}/ses-01/dwi/connectomes/{name}_ses-01_space-dwi_atlas-schaefer-400_desc-iFOD2-40M-SIFT2"
        if k:
            (tmp_path / stem).parent.mkdir(parents=True)
            for word, values in (("connectome", weights_of(k)), ("edgeLengths", weights_of(k) * 0.5)):
                array = nibabel.gifti.GiftiDataArray(values.astype(np.float32), intent=2005, datatype=16)
                path = tmp_path / f"{stem}_full-{word}.shape.gii"
                nibabel.save(nibabel.gifti.GiftiImage(darrays=[array]), path)
        else:
            write(tmp_path, f"{stem}_full-connectome.txt", weights_of(k), sep=" ")
    table, made, _ = judged(tmp_path, few, "count", scaled=True, segmentation="schaefer-400")
    assert table["included"].all()
    np.testing.assert_allclose(made.values, np.log1p([Pairs(8).edges(weights_of(k)) for k in range(3)]), rtol=1e-5)
    table, _, _ = judged(tmp_path, few, "length")
    assert table["included"].tolist() == [False, True, True]


def test_qsirecon(tmp_path, few):
    people(tmp_path)
    for k, name in enumerate(PEOPLE):
        path = tmp_path / f"{name}/dwi/{name}_acq-x_space-T1w_desc-preproc_connectivity.mat"
        path.parent.mkdir(parents=True)
        whole = weights_of(k) + np.triu(weights_of(k), 1).T
        labels = {"atlas_A_region_labels": few["name"].to_numpy(object), "atlas_A_region_ids": np.arange(1, 9)}
        measures = {f"atlas_A_{what}_connectivity": whole for what in ("radius2_count", "sift_radius2_count")}
        savemat(path, {**labels, **measures, "command": "x"}, long_field_names=True)
    with pytest.raises(ValueError, match=r"dataset\.matrices\.key=radius2_count or sift_radius2_count"):
        judged(tmp_path, few, "count", scaled=True)
    table, made, _ = judged(tmp_path, few, "count", scaled=True, key="sift_radius2_count")
    assert table["included"].all()
    np.testing.assert_allclose(made.values[1], np.log1p(Pairs(8).edges(weights_of(1))), rtol=1e-5)


def test_several_data_sets_below_one_folder_are_named(tmp_path, few):
    people(tmp_path)
    for suffix in ("A", "B"):
        for k, name in enumerate(PEOPLE):
            write(
                tmp_path, f"derivatives/qsirecon-{suffix}/{name}/dwi/{name}_connectivity.csv", r_of(k), few["name"], ","
            )
    with pytest.raises(ValueError, match=r"in 2 folders \(derivatives/qsirecon-A/, .*dataset\.root=.*qsirecon-A or"):
        judged(tmp_path, few, content="correlation")
    table, _, _ = judged(tmp_path, few, content="correlation", only="derivatives/qsirecon-B")
    assert table["included"].all()


def test_folders_of_groups_are_one_data_set(tmp_path, few):
    people(tmp_path)
    for k, (folder, name) in enumerate(zip(("patients", "controls", "patients"), PEOPLE)):
        write(tmp_path, f"{folder}/{name}_relmat.tsv", r_of(k), few["name"])
    assert judged(tmp_path, few, content="correlation")[0]["included"].all()


# what is meant


def test_nothing_is_chosen_in_silence(tmp_path, few):
    people(tmp_path)
    for k, name in enumerate(PEOPLE):
        for session in ("1", "2"):
            write(tmp_path, f"{name}_ses-{session}_connectivity.csv", r_of(k), few["name"], ",")
    with pytest.raises(ValueError, match=r"dataset\.session=ses-1 or dataset\.session=ses-2.*2 other people"):
        judged(tmp_path, few, content="correlation")
    with pytest.raises(ValueError, match=r"nothing says what the matrices hold.*correlation or fisher_z"):
        judged(tmp_path, few, session="ses-2")
    assert judged(tmp_path, few, session="ses-2", content="correlation")[0]["included"].all()
    with pytest.raises(ValueError, match=r"content=fa does not give .*correlation.*connectivity=fa"):
        judged(tmp_path, few, session="ses-2", content="fa")
    with pytest.raises(ValueError, match=r"lagged is computed from series.*connectivity=correlation or partial or fa"):
        judged(tmp_path, few, "lagged")
    with pytest.raises(FileNotFoundError, match=r"but none that is asked for.*dataset\.session"):
        judged(tmp_path, few, session="ses-3", content="correlation")


def test_names_of_files_that_say_another_content_are_heard(tmp_path, few):
    people(tmp_path)
    for k, name in enumerate(PEOPLE):
        write(tmp_path, f"{name}_meanFA.csv", weights_of(k) / 999, sep=",")
    with pytest.raises(ValueError, match=r"names of the matrices say fa, not correlation.*connectivity=fa"):
        judged(tmp_path, few)
    with pytest.raises(FileNotFoundError, match=r"none of anybody in participants\.tsv .* that holds length"):
        judged(tmp_path, few, "length")


@pytest.mark.parametrize("names", [("desc-sift", "desc-raw"), ("seg-A100", "seg-B100"), ("sift2", "count")])
def test_people_with_matrices_of_other_kinds_stop_the_run_before_it_begins(tmp_path, few, names):
    people(tmp_path)
    for k, person in enumerate(PEOPLE):
        end = "" if names[0] == "sift2" else "_connectome"
        write(tmp_path, f"{person}_{names[k % 2]}{end}.csv", 1 + weights_of(k), few["name"], ",")
    with pytest.raises(ValueError, match=rf"of 2 kinds: 2 people have one as sub-01_{names[0]}.*1 as sub-02"):
        judged(tmp_path, few, "count", scaled=True)


def test_a_key_that_says_another_content_is_refused(tmp_path, few):
    people(tmp_path)
    with pytest.raises(ValueError, match="key=radius2_meanlength says length, and count is read"):
        judged(tmp_path, few, "count", key="radius2_meanlength")


def test_another_quantity_is_not_read_for_the_one_that_is_meant(tmp_path, few):
    people(tmp_path)
    for k, person in enumerate(PEOPLE):
        write(tmp_path, f"{person}_desc-meanMD_connectome.csv", weights_of(k) / 1e6, few["name"], ",")
    with pytest.raises(FileNotFoundError, match=r"no matrix of anybody.*of no other quantity such as MD"):
        judged(tmp_path, few, "fa", content="fa")


def test_two_tables_that_could_name_the_rows_are_a_problem_and_a_key_decides(tmp_path, few, monkeypatch):
    people(tmp_path)
    for k, name in enumerate(PEOPLE):
        np.save(tmp_path / f"{name}_relmat.npy", r_of(k))
    for name in ("labels.txt", "nodes.txt"):
        (tmp_path / name).write_text("\n".join(few["name"]))
    with pytest.raises(ValueError, match=r"labels\.txt, nodes\.txt.*dataset\.matrices\.labels=FILE"):
        judged(tmp_path, few, content="correlation")
    monkeypatch.chdir(tmp_path.parent)  # a path is one from where the command is given
    table, _, plan = judged(tmp_path, few, content="correlation", labels=f"{tmp_path.name}/nodes.txt")
    assert table["included"].all()
    with pytest.raises(FileNotFoundError, match=r"dataset\.matrices\.labels=lut\.csv: no such file"):
        judged(tmp_path, few, content="correlation", labels="lut.csv")
    names = [path.name for path in matrix_sources(dataset(), plan)]
    assert names == ["participants.tsv", "sub-01_relmat.npy", "nodes.txt", "sub-02_relmat.npy", "sub-03_relmat.npy"]


def test_a_folder_is_known_by_what_is_in_it_and_asked_of_it(tmp_path, few):
    people(tmp_path)
    local = dataset(root=str(tmp_path)) | {"kind": "local", "root": str(tmp_path)}
    write(tmp_path, "sub-01_relmat.tsv", r_of(1), few["name"])
    assert kind_of(local) == "matrices"
    pd.DataFrame(np.ones((20, 8)), columns=few["name"]).to_csv(tmp_path / "sub-01_timeseries.tsv", index=False)
    assert kind_of(local) == "local"  # XCP-D writes both
    assert kind_of(local, given=True) == "matrices"
    local["matrices"]["content"] = "correlation"
    assert kind_of(local) == "matrices"
    plan = plan_matrices(local, tmp_path)
    assert [one.matrix.name for one in plan.chosen.values()] == ["sub-01_relmat.tsv"]


def test_experiments_that_need_series_are_refused_with_those_that_go(tmp_path, few):
    people(tmp_path)
    for k, name in enumerate(PEOPLE):
        write(tmp_path, f"{name}_stat-pearsoncorrelation_relmat.tsv", r_of(k), few["name"])
    overrides = f"dataset.root={tmp_path} dataset.contrast.cases=[dystonia] dataset.contrast.controls=[control]"
    with pytest.raises(
        ValueError, match=r"tangent_logistic.* computed from series.*experiment=floor,correlation_ridge"
    ):
        plan_run(ROOT, {"dataset": "local", "overrides": overrides})
    run = plan_run(ROOT, {"dataset": "local", "experiment": "floor,correlation_ridge", "overrides": overrides})
    assert (run.kind, run.index, *run.scripts) == (
        "matrices", "matrices", "judge_matrices", "arrange_matrices",
    )  # fmt: skip
    assert run.cohort["dataset"]["matrices"]["content"] == "correlation"
    assert [path.rpartition("/")[2] for path in run.sources][:2] == [
        "participants.tsv",
        f"{PEOPLE[0]}_stat-pearsoncorrelation_relmat.tsv",
    ]
    with pytest.raises(ValueError, match=r"validation plants in series"):
        plan_run(
            ROOT,
            {"dataset": "local", "experiment": "floor,correlation_ridge", "validate": "quick", "overrides": overrides},
        )


@pytest.mark.parametrize("source", ["simulated", "abide"])
def test_measures_of_streamlines_are_refused_where_there_are_series(source):
    with pytest.raises(ValueError, match=rf"fa is computed from no series.*dataset={source} has neither"):
        plan_run(ROOT, {"dataset": source, "connectivity": "fa"})


# who can be used


def test_one_person_with_a_bad_file_is_left_out_by_name_and_the_rest_go_on(tmp_path, few):
    people(tmp_path, 9)
    names = few["name"].to_numpy()
    lost, na, asymmetric = (r_of(k) for k in (5, 6, 7))
    lost[2], lost[:, 2] = 0, 0
    na[2:5], na[:, 2:5] = np.nan, np.nan
    asymmetric[0, 1] += 0.5
    made = {2: r_of(2), 3: 4 * r_of(3), 4: r_of(4, 7), 5: lost, 6: na, 7: asymmetric, 8: r_of(8)}
    for k, values in made.items():
        write(tmp_path, f"sub-{k:02d}_relmat.tsv", values, names[: len(values)])
    (tmp_path / "sub-08_relmat.tsv").write_text((tmp_path / "sub-08_relmat.tsv").read_text().replace(".", ","))
    write(tmp_path, "sub-09_relmat.tsv", r_of(2), names)  # a copy of that of sub-02
    table, connectomes, _ = judged(tmp_path, few, content="correlation")
    reasons = table["exclusion_reason"]
    for k, said in {
        1: "no matrix in the index", 3: "between -1 and 1, but", 4: "lacks 1 of the atlas's 8 regions",
        6: "38% of the regions have no connection, more than 20%; set denoise.max_missing_regions",
        7: "is not symmetric", 8: "decimal commas",
    }.items():  # fmt: skip
        assert said in reasons[f"sub-{k:02d}"]
    assert table.index[table["included"]].tolist() == ["sub-02", "sub-05", "sub-09"]
    assert connectomes.missing.tolist() == [[False] * 8, [k == 2 for k in range(8)], [False] * 8]
    assert not connectomes.values[1, Pairs(8).touching(connectomes.missing[1])].any()
    assert table.loc["sub-09", "scan_group"] == "sub-02"


def test_motion_and_covariates_decide_as_for_series(tmp_path, few):
    table = people(tmp_path, 4)
    table.loc[0, "mean_fd"], table.loc[1, "age"] = 0.9, np.nan
    write_participants(table, tmp_path / "participants.tsv")
    for k, name in enumerate(table["participant_id"]):
        write(tmp_path, f"{name}_relmat.tsv", r_of(k), few["name"])
    reasons = judged(tmp_path, few, content="correlation")[0]["exclusion_reason"]
    assert "mean framewise displacement 0.90 mm" in reasons["sub-01"] and "age is missing" in reasons["sub-02"]


def test_a_file_that_changed_or_vanished_after_it_was_judged_stops_the_job(tmp_path, few):
    people(tmp_path)
    for k, name in enumerate(PEOPLE):
        write(tmp_path, f"{name}_relmat.tsv", r_of(k), few["name"])
    spec = dataset(content="correlation")
    participants, index = acquire_matrices(spec, plan_matrices(spec, tmp_path))
    _, kept = judge_matrices(participants, index, few, LIMITS, [])
    write_index_of_matrices(kept, tmp_path / "matrices.tsv")
    kept = read_index_of_matrices(tmp_path / "matrices.tsv")
    with pytest.raises(ValueError, match=r"hold correlation, which gives no fa.*connectivity=correlation"):
        matrix_connectomes(kept, few, "fa")
    write(tmp_path, "sub-02_relmat.tsv", r_of(7), few["name"])
    with pytest.raises(NotAsWrittenError, match=r"sub-02: .*--forcerun acquire"):
        matrix_connectomes(kept, few, "correlation")
    (tmp_path / "sub-02_relmat.tsv").unlink()
    with pytest.raises(MachineError, match="sub-02"):
        matrix_connectomes(kept, few, "correlation")
    with pytest.raises(MachineError, match="Nobody is left out"):
        judge_matrices(participants, index, few, LIMITS, [])
