"""Atlases joined into one: the order of painting, majorities by hand, regions that vanish, and the real downloads."""

import gzip
import hashlib
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from nibabel.affines import apply_affine
from omegaconf import OmegaConf

from dysconnect.data.atlas import FOLDER, circuit_edges, circuit_titles, load_atlas
from dysconnect.data.atlas.join import join_atlas, label_codes, label_shares, read_source, remotes, write_atlas

SIZES = (100, 200, 400)
TWO_MM = nib.affines.from_matvec(
    np.diag([2.0, 2, 2]), [-9, -9, -9]
)  # 10 voxels: x from -9 to 9, x < 0 in the first five
ONE_MM = nib.affines.from_matvec(np.eye(3), [-9.5, -9.5, -9.5])  # 20 voxels, two to one of the others


# tiny images


@pytest.fixture
def tiny(tmp_path):
    """A joined atlas to be: putamen on both sides on the grid (2 mm); GPe on the left in half the voxels (1 mm)."""
    putamen = np.zeros((10, 10, 10), np.int16)
    putamen[1:3, 2:6, 4:6], putamen[7:9, 2:6, 4:6] = 29, 13
    pallidum = np.zeros((20, 20, 20), np.int16)
    pallidum[2:6, 4:8, 8:12] = 11  # the half of the left putamen with the lower y
    sources = {
        "tian": write(tmp_path, "tian", putamen, TWO_MM, {29: "aPUT-lh", 13: "aPUT-rh"}),
        "zonabb": write(tmp_path, "zonabb", pallidum, ONE_MM, {11: "Left GPe"}),
    }
    pieces = [{"source": "tian", "take": "PUT", "fill": 0.5}, {"source": "zonabb", "take": "GPe", "fill": 0.5}]
    return {"grid": "tian", "sources": sources, "pieces": pieces}


def write(folder, name, codes, affine, labels, suffix=".tsv"):
    nib.save(nib.Nifti1Image(codes, affine), folder / f"{name}.nii.gz")
    lines = ["index\tname", *[f"{code}\t{label}" for code, label in labels.items()]]
    if suffix == ".txt":
        lines = [line for code, label in labels.items() for line in (label, f"{code} 1 2 3 255")]
    (folder / f"{name}{suffix}").write_text("\n".join(lines))
    files = {kind: {"path": f"{name}{end}"} for kind, end in (("image", ".nii.gz"), ("labels", suffix))}
    return {"names": [name], **files}


def by_name(nodes):
    return nodes.set_index("name")


def test_a_later_piece_paints_over_an_earlier(tiny, tmp_path):
    nodes, image = join_atlas(tiny, tmp_path)
    assert nodes["name"].tolist() == ["Putamen anterior R", "Putamen anterior L", "Pallidum GPe L"]  # by code
    assert nodes["node"].tolist() == [1, 2, 3]
    assert by_name(nodes)["voxels"].to_dict() == {
        "Putamen anterior R": 16,
        "Putamen anterior L": 8,
        "Pallidum GPe L": 8,
    }
    assert by_name(nodes)["lost"].to_dict() == {
        "Putamen anterior R": 0.0,
        "Putamen anterior L": 0.5,
        "Pallidum GPe L": 0.0,
    }
    left = by_name(nodes).loc["Pallidum GPe L"]
    assert left[["x", "y", "z"]].tolist() == [-6.0, -4.0, 0.0]
    assert left[["hemisphere", "system", "source", "source_label"]].tolist() == [
        "L",
        "basal_ganglia",
        "zonabb",
        "Left GPe",
    ]
    assert image.get_data_dtype() == np.int16
    np.testing.assert_array_equal(image.affine, TWO_MM)
    np.testing.assert_array_equal(np.unique(image.dataobj), [0, 1, 2, 3])


def test_painted_the_other_way_round_nothing_of_the_small_one_is_left(tiny, tmp_path):
    tiny["pieces"].reverse()
    with pytest.raises(ValueError, match=r"Pallidum GPe L \(zonabb, label 'Left GPe'.*no voxel left"):
        join_atlas(tiny, tmp_path)


@pytest.mark.parametrize(("counts", "fill", "winner"), [((5, 3), 0.5, 1), ((3, 4), 0.5, 2), ((4, 4), 0.5, 1)])
def test_the_majority_takes_the_voxel(tiny, tmp_path, counts, fill, winner):
    block = np.repeat([1, 2, 0], [*counts, 8 - sum(counts)])
    codes = np.zeros((20, 20, 20), np.int16)
    codes[4:6, 4:6, 4:6] = block.reshape(2, 2, 2)
    shares = label_shares(codes, ONE_MM, [1, 2], TWO_MM, np.array([[2, 2, 2], [3, 3, 3]]))
    np.testing.assert_allclose(shares.toarray(), np.array([[counts[0], 0], [counts[1], 0]]) / 8)
    codes[0:2, 0:2, 0:2], codes[0:2, 8:10, 0:2] = 1, 2  # so that none of them vanishes
    tiny["sources"]["zonabb"] = write(tmp_path, "zonabb", codes, ONE_MM, {1: "Left RN", 2: "Left SN"})
    tiny["pieces"][1] = {"source": "zonabb", "take": "RN|SN", "fill": fill}
    nodes, image = join_atlas(tiny, tmp_path)
    assert nodes["name"].tolist()[2:] == ["Red nucleus L", "Substantia nigra L"]
    assert image.dataobj[2, 2, 2] == 2 + winner


@pytest.mark.parametrize(("fill", "voxels"), [(0.3, 9), (0.375, 9), (0.5, 8)])
def test_fill_decides_on_the_rim(tiny, tmp_path, fill, voxels):
    codes = np.asarray(nib.load(tmp_path / "zonabb.nii.gz").dataobj).copy()
    codes[6:8, 4:6, 8:10] = np.repeat([11, 0], [3, 5]).reshape(2, 2, 2)
    write(tmp_path, "zonabb", codes, ONE_MM, {11: "Left GPe"})
    tiny["pieces"][1]["fill"] = fill
    nodes, _ = join_atlas(tiny, tmp_path)
    assert by_name(nodes).loc["Pallidum GPe L", "voxels"] == voxels


def test_codes_follow_the_labels_not_the_lines_of_the_table(tiny, tmp_path):
    nodes, image = join_atlas(tiny, tmp_path)
    tiny["sources"]["tian"] = write(
        tmp_path,
        "tian",
        np.asarray(nib.load(tmp_path / "tian.nii.gz").dataobj),
        TWO_MM,
        {29: "aPUT-lh", 13: "aPUT-rh"},
        ".txt",
    )
    again, other = join_atlas(tiny, tmp_path)
    pd.testing.assert_frame_equal(nodes, again)
    np.testing.assert_array_equal(image.dataobj, other.dataobj)


def test_labels_stored_as_numbers_with_a_point_are_rounded(tiny, tmp_path):
    nodes, _ = join_atlas(tiny, tmp_path)
    codes = np.asarray(nib.load(tmp_path / "tian.nii.gz").dataobj).astype(np.float32)
    nib.save(nib.Nifti1Image(codes * np.float32(1.0001), TWO_MM), tmp_path / "tian.nii.gz")
    pd.testing.assert_frame_equal(nodes, join_atlas(tiny, tmp_path)[0])


@pytest.mark.parametrize("value", [12.5, np.nan, -1, np.inf])
def test_interpolated_labels_are_refused(tiny, tmp_path, value):
    codes = np.asarray(nib.load(tmp_path / "tian.nii.gz").dataobj).astype(np.float32)
    codes[0, 0, 0] = value
    nib.save(nib.Nifti1Image(codes, TWO_MM), tmp_path / "tian.nii.gz")
    with pytest.raises(ValueError, match=rf"tian\.nii\.gz holds {value:g}, which is no label"):
        join_atlas(tiny, tmp_path)


def test_a_label_image_has_three_dimensions():
    with pytest.raises(ValueError, match="4 dimensions"):
        label_codes(nib.Nifti1Image(np.zeros((2, 2, 2, 2), np.int16), np.eye(4)))


def test_left_is_where_x_is_negative(tiny, tmp_path):
    codes = np.asarray(nib.load(tmp_path / "tian.nii.gz").dataobj)
    write(tmp_path, "tian", codes[::-1].copy(), TWO_MM, {29: "aPUT-lh", 13: "aPUT-rh"})
    with pytest.raises(ValueError, match=r"Putamen anterior R \(tian, label 'aPUT-rh', x = -6 mm\) lies in another"):
        join_atlas(tiny, tmp_path)


@pytest.mark.parametrize(
    ("labels", "take", "message"),
    [
        ({11: "Left GPe"}, "GPx", r"'GPx' of zonabb takes no label\. Known: Left GPe"),
        ({11: "Left GPe", 12: "Right GPe"}, "GPe", r"label 'Right GPe' is not in the image"),
        ({11: "Left Foo"}, "Foo", r"label 'Left Foo' has no name: add it to names\.tsv"),
        ({12: "Left GPe"}, "GPe", r"zonabb\.nii\.gz: label 11 is not in zonabb\.tsv"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tiny, tmp_path, labels, take, message):
    codes = np.asarray(nib.load(tmp_path / "zonabb.nii.gz").dataobj)
    write(tmp_path, "zonabb", codes, ONE_MM, labels)
    tiny["pieces"][1]["take"] = take
    with pytest.raises(ValueError, match=message):
        join_atlas(tiny, tmp_path)


def test_a_region_of_two_pieces_is_refused(tiny, tmp_path):
    tiny["pieces"].append({"source": "zonabb", "take": "GPe", "fill": 0.4})
    with pytest.raises(ValueError, match=r"Pallidum GPe L .* comes twice"):
        join_atlas(tiny, tmp_path)


def test_what_is_outside_the_grid_is_counted_as_lost(tiny, tmp_path):
    out = ONE_MM.copy()
    out[0, 3] -= 4  # the first two of its four slices lie outside the grid
    write(tmp_path, "zonabb", np.asarray(nib.load(tmp_path / "zonabb.nii.gz").dataobj), out, {11: "Left GPe"})
    nodes, _ = join_atlas(tiny, tmp_path)
    assert by_name(nodes).loc["Pallidum GPe L", ["voxels", "lost"]].tolist() == [4, 0.5]


def test_written_and_read_again(tiny, tmp_path):
    nodes, image = join_atlas(tiny, tmp_path)
    outputs = [{"nodes": tmp_path / f"{k}/nodes.tsv", "image": tmp_path / f"{k}/dseg.nii.gz"} for k in range(2)]
    for paths in outputs:
        write_atlas(nodes, image, paths)
    table = load_atlas(outputs[0]["nodes"])
    columns = ["node", "name", "hemisphere", "x", "y", "z", "system", "network"]
    pd.testing.assert_frame_equal(table[columns], nodes[columns], check_dtype=False)
    assert table["radius"].isna().all()
    assert list(table)[9:] == ["source", "source_label", "voxels", "lost"]
    for key in outputs[0]:
        assert outputs[0][key].read_bytes() == outputs[1][key].read_bytes()


def test_names_are_complete_and_unique():
    names = pd.read_csv(FOLDER / "names.tsv", sep="\t", dtype=str, keep_default_na=False)
    assert not names.duplicated(["source", "label"]).any()
    assert not names.duplicated(["source", "name"]).any()
    assert names["name"].str.fullmatch(r".*\S [LRM](?: \d+)?").all()
    assert (names != "").all(axis=None)
    counts = names["source"].value_counts().to_dict()
    assert counts == {"schaefer400": 400, "schaefer200": 200, "schaefer100": 100, "suit": 34, "tian": 32, "zonabb": 24}


# the real downloads


@pytest.fixture(scope="module")
def specs(repository):
    """The `atlas` section of each size."""
    with initialize_config_dir(str(repository / "configs"), version_base="1.3"):
        configs = {n: compose("config", [f"atlas=wholebrain{n}"]) for n in SIZES}
    return {n: OmegaConf.to_container(config, resolve=True)["atlas"] for n, config in configs.items()}


@pytest.fixture(scope="module")
def downloads(specs, real_data, tmp_path_factory):
    """Folder of the pinned files, found among the copies by their sha256 (packed or not)."""
    if not (real_data / "atlases").is_dir():
        pytest.skip("no copies of the atlases: DYSCONNECT_DATA has no folder atlases/")
    contents = {}
    for path in (real_data / "atlases").rglob("*.*"):
        if path.is_file():
            raw = path.read_bytes()
            for data in (raw, gzip.decompress(raw)) if path.suffix == ".gz" else (raw,):
                contents["sha256:" + hashlib.sha256(data).hexdigest()] = data
    folder = tmp_path_factory.mktemp("atlases")
    for file in itertools.chain.from_iterable(remotes(spec) for spec in specs.values()):
        place = folder / file["path"]
        place.parent.mkdir(exist_ok=True)
        data = contents.get(file["hash"])
        if data is None and place.suffix == ".txt":
            data = label_list(place.name)  # the copies lack one table of labels; names.tsv holds the same
        if data is None:
            pytest.skip(f"no copy of {place.name} with the pinned sha256")
        place.write_bytes(data)
    return folder


def label_list(name):
    names = pd.read_csv(FOLDER / "names.tsv", sep="\t", dtype=str)
    parts = names["source"].isin(["tian", "schaefer" + name.split("_")[1].removesuffix("Parcels")])
    labels = names.loc[parts].sort_values("source", ascending=False, kind="stable")["label"]
    return "".join(f"{label}\n{code} 0 0 0 255\n" for code, label in enumerate(labels, 1)).encode()


@pytest.fixture(scope="module")
def joined(specs, downloads):
    """Node table and image of each size."""
    return {n: join_atlas(spec, downloads) for n, spec in specs.items()}


def test_pins_name_a_commit_and_the_sizes_share_what_is_not_cortex(specs):
    for file in itertools.chain.from_iterable(remotes(spec) for spec in specs.values()):
        assert all(url.startswith("https://raw.githubusercontent.com/") for url in file["urls"])
        assert all(url.split("/")[5].isalnum() and len(url.split("/")[5]) == 40 for url in file["urls"])
        assert file["urls"][0].rsplit("/", 1)[1] == Path(file["path"]).name
    assert len({file["path"] for spec in specs.values() for file in remotes(spec)}) == 2 * 3 + 4
    assert all("NON-COMMERCIAL" in spec["licence"] for spec in specs.values())
    assert remotes({"name": "seitzman300", "nodes": "seitzman300"}) == []


@pytest.mark.parametrize("size", SIZES)
def test_every_region_survives_once(joined, specs, size):
    nodes, image = joined[size]
    codes, counts = np.unique(image.dataobj, return_counts=True)
    assert codes.tolist() == [0, *nodes["node"]] == list(range(size + 72))
    assert counts[1:].tolist() == nodes["voxels"].tolist()
    assert nodes["voxels"].min() >= 3
    assert f"{len(nodes)} regions" in specs[size]["title"]
    assert nodes["system"].value_counts().to_dict() == {
        "cortex": size,
        "cerebellum": 33,
        "basal_ganglia": 20,
        "limbic": 8,
        "thalamus": 8,
        "brainstem": 2,
    }
    sides = pd.crosstab(nodes["system"], nodes["hemisphere"])
    assert (sides["L"] == sides["R"]).all()
    assert sides["M"].to_dict() == {**dict.fromkeys(sides.index, 0), "cerebellum": 7}
    assert (nodes["lost"] < 0.35).all()
    assert (nodes.loc[nodes["source"].str.startswith(("schaefer", "tian")), "lost"] < 0.07).all()


@pytest.mark.parametrize("size", SIZES)
def test_the_joined_table_keeps_the_contract_and_has_every_circuit(joined, tmp_path, size):
    write_atlas(*joined[size], {"nodes": tmp_path / "nodes.tsv", "image": tmp_path / "dseg.nii.gz"})
    nodes = load_atlas(tmp_path / "nodes.tsv")
    edges = circuit_edges(nodes)
    assert set(edges["circuit"]) == {name for name in circuit_titles() if not name.startswith("scan_")}
    ends = edges.assign(a=nodes["name"].to_numpy()[edges["i"]], b=nodes["name"].to_numpy()[edges["j"]])

    def has(circuit, a, b):
        own = ends[ends["circuit"] == circuit]
        forth = own["a"].str.contains(a) & own["b"].str.contains(b)
        return bool((forth | (own["a"].str.contains(b) & own["b"].str.contains(a))).any())

    assert has("cerebello_thalamo_cortical", "Dentate", "Thalamus ventroanterior")
    assert has("cerebello_thalamo_cortical", "Cerebellum crus I", "Dentate")
    assert has("cerebello_thalamo_cortical", "Thalamus", "Precentral gyrus")
    assert has("pallido_thalamic", "GPi", "Thalamus") and not has("pallido_thalamic", "GPe", "Thalamus")
    assert has("striato_pallidal", "Putamen", "GPi") and has("striato_pallidal", "Putamen", "GPe")
    assert has("subthalamic", "Subthalamic", "GPi") and has("subthalamic", "Subthalamic", "Precentral gyrus")
    assert has("cerebello_striatal", "Dentate", "Putamen") and has("sensorimotor", "Precentral", "Postcentral")


@pytest.mark.parametrize(
    ("region", "x", "y", "z"),
    [
        ("Subthalamic nucleus", 11, -13, -8),
        ("Pallidum GPi", 18, -6, -4),
        ("Pallidum GPe", 20, -3, -1),
        ("Substantia nigra", 9, -17, -14),
        ("Red nucleus", 5, -19, -9),
        ("Dentate nucleus", 15, -59, -34),
        ("Interposed nucleus", 7, -57, -29),
        ("Fastigial nucleus", 2, -55, -27),
        ("Putamen posterior", 28, -7, 3),
        ("Thalamus ventroanterior", 8, -10, 7),
        ("Hippocampus anterior", 25, -14, -20),
        ("Cerebellum crus I", 36, -69, -32),
    ],
)
def test_regions_lie_where_anatomy_has_them(joined, region, x, y, z):
    nodes = by_name(joined[100][0])
    for side, sign in (("L", -1), ("R", 1)):
        place = nodes.loc[f"{region} {side}", ["x", "y", "z"]].to_numpy(float)
        np.testing.assert_allclose(place, [sign * x, y, z], atol=2)


def test_neighbours_lie_to_the_right_side_of_one_another(joined):
    nodes = by_name(joined[200][0])
    for side in "LR":
        place = {name: nodes.loc[f"{name} {side}"] for name in ("Pallidum GPe", "Pallidum GPi", "Putamen posterior")}
        lateral = [abs(place[name]["x"]) for name in ("Pallidum GPi", "Pallidum GPe", "Putamen posterior")]
        assert lateral == sorted(lateral)
        assert nodes.loc[f"Subthalamic nucleus {side}", "z"] > nodes.loc[f"Substantia nigra {side}", "z"]
        nuclei = [abs(nodes.loc[f"{name} nucleus {side}", "x"]) for name in ("Fastigial", "Interposed", "Dentate")]
        assert nuclei == sorted(nuclei)


def test_the_subcortex_lies_where_its_authors_say(joined, real_data):
    published = real_data / "atlases" / "tian_schaefer" / "Tian_Subcortex_S2_3T_COG.txt"
    if not published.exists():
        pytest.skip("no copy of the published centres")
    nodes = joined[200][0]
    nodes = nodes[nodes["source"] == "tian"].set_index("source_label")
    names = pd.read_csv(FOLDER / "names.tsv", sep="\t").query("source == 'tian'")["label"]
    centres = pd.DataFrame(np.loadtxt(published), index=names).loc[nodes.index]  # theirs are whole voxels, rounded down
    np.testing.assert_allclose(nodes[["x", "y", "z"]], centres, atol=1)


@pytest.mark.parametrize("name", ["suit", "zonabb"])
def test_looking_up_points_and_pushing_volume_agree(specs, downloads, joined, name):
    source = read_source(specs[100]["sources"][name], downloads)
    image = joined[100][1]
    voxels = np.indices(image.shape).reshape(3, -1).T
    wanted = source.regions["code"].to_numpy()
    looked = label_shares(source.codes, source.affine, wanted, image.affine, voxels).toarray()
    pushed = push(source, wanted, image)
    touched = (looked + pushed).sum(axis=0) > 0
    np.testing.assert_allclose(looked.sum(axis=1), pushed.sum(axis=1), rtol=0.05)
    assert np.abs(looked - pushed)[:, touched].mean() < 0.005
    # where a label leads clearly, both name it
    best = np.sort(pushed, axis=0)
    clear = best[-1] - np.maximum(best[-2], 1 - best.sum(axis=0)) > 0.2
    np.testing.assert_array_equal(looked.argmax(axis=0)[clear], pushed.argmax(axis=0)[clear])


def push(source, wanted, image, parts=4):
    """Share of each voxel under each label, from the source's side: its voxels in parts, each into where it falls."""
    places, size = np.argwhere(source.codes > 0), np.prod(image.shape)
    row = np.searchsorted(wanted, source.codes[tuple(places.T)])
    shares = np.zeros(len(wanted) * size)
    step = np.linalg.inv(image.affine) @ source.affine
    for offset in itertools.product((np.arange(parts) + 0.5) / parts - 0.5, repeat=3):
        voxel = np.rint(apply_affine(step, places + np.array(offset))).astype(int)
        flat = np.ravel_multi_index(voxel.T, image.shape)
        np.add.at(shares, row * size + flat, 1)
    part = abs(np.linalg.det(step[:3, :3])) / parts**3
    return (shares * part).reshape(len(wanted), size)
