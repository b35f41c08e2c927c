"""The somato-cognitive action network: spheres that are drawn over an atlas, and three circuits of them."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from nibabel.affines import apply_affine
from omegaconf import OmegaConf

from dysconnect.data.atlas import FOLDER, circuit_edges, circuit_titles, load_atlas
from dysconnect.data.atlas.join import draw_spheres, join_atlas, write_atlas
from dysconnect.plan.config import validate

GRID = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])  # MNI, 2 mm, x from right to left


@pytest.fixture(scope="module")
def drawn():
    return draw_spheres("scan")


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    """Nodes and image of spheres over a slab of cortex, and under a GPe that cuts into the left putamen's sphere."""
    folder = tmp_path_factory.mktemp("scan")
    cortex, pallidum = (np.zeros((91, 109, 91), np.int16) for _ in range(2))
    cortex[46:85, 20:100, 40:75], cortex[5:45, 20:100, 40:75] = 1, 2  # left, right
    pallidum[56:58, 58:62, 34:38] = 11
    sources = {"scan": {"spheres": "scan"}}
    for name, part, codes, labels in (
        ("cortex", "schaefer100", cortex, {1: "7Networks_LH_SomMot_4", 2: "7Networks_RH_SomMot_5"}),
        ("gpe", "zonabb", pallidum, {11: "Left GPe"}),
    ):
        nib.save(nib.Nifti1Image(codes, GRID), folder / f"{name}.nii.gz")
        lines = ["index\tname", *[f"{code}\t{label}" for code, label in labels.items()]]
        (folder / f"{name}.tsv").write_text("\n".join(lines))
        sources[name] = {"names": [part], "image": {"path": f"{name}.nii.gz"}, "labels": {"path": f"{name}.tsv"}}
    pieces = [{"source": name, "take": ".", "fill": 0.5} for name in ("cortex", "scan", "gpe")]
    return (*join_atlas({"grid": "cortex", "sources": sources, "pieces": pieces}, folder), folder)


def test_spheres_have_their_size_and_place(drawn):
    table = pd.read_csv(FOLDER / "scan.tsv", sep="\t")
    assert len(table) == 18 and (table["radius"] == 6).all()
    for row in table.itertuples():
        points = apply_affine(drawn.affine, np.argwhere(drawn.codes == row.code))
        assert np.linalg.norm(points - [row.x, row.y, row.z], axis=1).max() <= 6
        assert len(points) == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.05)  # 925 points of 1 mm; two pairs share a few
        assert drawn.regions["voxels"][row.Index] == len(points)


def test_left_mirrors_right_within_some_millimetres():
    table = pd.read_csv(FOLDER / "scan.tsv", sep="\t").set_index("name")
    for name in table.index[table.index.str.endswith(" L")]:
        left, right = table.loc[name, ["x", "y", "z"]], table.loc[name[:-1] + "R", ["x", "y", "z"]]
        assert np.abs(np.array([-left["x"], left["y"], left["z"]], float) - right.to_numpy(float)).max() <= 6


def test_spheres_win_over_cortex_and_lose_to_nuclei(joined):
    nodes, image, _ = joined
    nodes, codes = nodes.set_index("name"), np.asanyarray(image.dataobj)
    for place, name in (([-38, -18, 44], "SCAN inter-effector middle L"), ([-38, -30, 44], "Postcentral gyrus L 1")):
        voxel = np.rint(apply_affine(np.linalg.inv(GRID), place)).astype(int)
        assert codes[tuple(voxel)] == nodes.loc[name, "node"]
    assert nodes.loc["Pallidum GPe L", "lost"] == 0
    assert nodes.loc["SCAN putamen L", "lost"] > nodes.loc["SCAN putamen R", "lost"] + 0.02  # beyond the rim at 2 mm
    assert nodes.loc["Postcentral gyrus L 1", "lost"] > 0
    assert (nodes.loc[nodes["source"] == "scan", "voxels"] > 90).all()
    assert nodes.loc["SCAN inter-effector middle L", ["x", "y", "z"]].to_numpy(float) == pytest.approx(
        [-38, -18, 44], abs=1
    )


def test_three_circuits_join_the_inter_effector_regions_with_others(joined):
    nodes, image, folder = joined
    write_atlas(nodes, image, {"nodes": folder / "nodes.tsv", "image": folder / "dseg.nii.gz"})
    nodes = load_atlas(folder / "nodes.tsv")
    edges = circuit_edges(nodes)
    names = nodes["name"].to_numpy()
    partners = {}
    for circuit in [name for name in circuit_titles() if name.startswith("scan_")]:
        some = edges[edges["circuit"] == circuit]
        ends = np.stack([names[some["i"]], names[some["j"]]])
        effector = np.char.startswith(ends.astype(str), "SCAN inter-effector")
        assert (effector.sum(0) == 1).all()  # not among themselves
        partners[circuit] = {name.rsplit(" L", 1)[0].rsplit(" R", 1)[0] for name in ends[~effector]}
    assert partners == {
        "scan_effector": {"Postcentral gyrus", "Precentral gyrus"},
        "scan_cingulo_opercular": {"SCAN medial wall", "SCAN cingulate"},
        "scan_subcortical": {
            "SCAN putamen",
            "SCAN centromedian thalamus",
            "SCAN cerebellum dorsal",
            "SCAN cerebellum ventral",
        },
    }


@pytest.mark.parametrize("size", [100, 200])
def test_configuration_paints_the_spheres_over_the_lobules_and_under_the_nuclei(repository, size):
    configs = []
    with initialize_config_dir(str(repository / "configs"), version_base="1.3"):
        for end in ("", "scan"):
            configs.append(OmegaConf.to_container(compose("config", [f"atlas=wholebrain{size}{end}"]), resolve=True))
            validate(configs[-1], repository / "workflow/schemas/config.schema.json")
    plain, scan = (config["atlas"] for config in configs)
    assert [piece for piece in scan["pieces"] if piece["source"] != "scan"] == plain["pieces"]
    assert [piece["source"] for piece in scan["pieces"]][2:5] == ["suit", "scan", "suit"]
    assert {**scan["sources"], "scan": None} == {**plain["sources"], "scan": None}
