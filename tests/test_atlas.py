"""Node tables keep their contract, the circuits follow their rules, and bad tables are named."""

import numpy as np
import pandas as pd
import pytest

from dysconnect.data.atlas import BUILT_IN, SYSTEMS, circuit_edges, circuit_titles, edge_circuits, load_atlas
from dysconnect.data.edges import Pairs

SIZES = {"seitzman300": 300, "motor10": 10, "cc200": 200, "ho110": 110, "degeneration": 11}


@pytest.fixture
def tiny() -> pd.DataFrame:
    """Nine regions whose circuits can be written down by hand."""
    return pd.DataFrame(
        [
            ("Precentral gyrus L", "cortex", "Motor"),
            ("Postcentral gyrus L", "cortex", "Motor"),
            ("Cuneus L", "cortex", "Visual"),
            ("Calcarine cortex R", "cortex", "Visual"),
            ("Putamen L", "basal_ganglia", "Motor"),
            ("Pallidum L", "basal_ganglia", "Motor"),
            ("Thalamus VL L", "thalamus", "Motor"),
            ("Cerebellum VI R", "cerebellum", "Visual"),
            ("Frontal pole L", "cortex", ""),
        ],
        columns=["name", "system", "network"],
    )


@pytest.fixture
def bad_table(tmp_path):
    """Write the first five Seitzman nodes with one cell changed or one column dropped."""

    def write(column, value=None, row=2):
        table = load_atlas("seitzman300").head(5).astype(object)
        if value is None:
            table = table.drop(columns=column)
        else:
            table.loc[row, column] = value
        path = tmp_path / "mine.tsv"
        table.to_csv(path, sep="\t", index=False)
        return path

    return write


@pytest.mark.parametrize("atlas", BUILT_IN)
def test_built_in_tables_keep_the_contract(atlas):
    nodes = load_atlas(atlas)
    assert len(nodes) == SIZES[atlas]
    assert nodes.index.equals(pd.RangeIndex(len(nodes)))
    own = ["label"] if atlas == "degeneration" else []
    assert list(nodes) == ["node", "name", "hemisphere", "x", "y", "z", "system", "network", "radius", *own]
    assert nodes["node"].is_unique and nodes["name"].is_unique
    assert set(nodes["system"]) <= set(SYSTEMS)
    assert (nodes["network"] != "").all()
    assert nodes["name"].str.match(r".*\S [LRM]( \d+)?$").all()
    letters = nodes["name"].str.extract(r" ([LRM])(?: \d+)?$")[0]
    assert (letters == nodes["hemisphere"]).all()


@pytest.mark.parametrize("atlas", BUILT_IN)
def test_hemisphere_agrees_with_the_sign_of_x(atlas):
    nodes = load_atlas(atlas)
    x = nodes.groupby("hemisphere")["x"]
    assert x.max()["L"] < 0 < x.min()["R"]
    assert (nodes.loc[nodes["hemisphere"] == "M", "x"].abs() < 3).all()


def test_seitzman_is_the_table_of_nilearn():
    datasets = pytest.importorskip("nilearn.datasets")
    nodes, theirs = load_atlas("seitzman300"), datasets.fetch_coords_seitzman_2018(ordered_regions=False)
    np.testing.assert_array_equal(nodes[["x", "y", "z"]], theirs.rois[["x", "y", "z"]])
    np.testing.assert_array_equal(nodes["radius"], theirs.radius)
    np.testing.assert_array_equal(nodes["network"], theirs.networks)
    systems = {"basalGanglia": "basal_ganglia", "hippocampus": "limbic", "amygdala": "limbic"}
    regions = pd.Series(theirs.regions).replace(systems).replace("cortex.*", "cortex", regex=True)
    np.testing.assert_array_equal(nodes["system"], regions)


@pytest.mark.parametrize("atlas", BUILT_IN)
def test_names_agree_with_the_system(atlas):
    nodes = load_atlas(atlas)
    patterns = {
        "thalamus": "^Thalamus",
        "basal_ganglia": "^(?:Caudate|Putamen|Pallidum|Nucleus accumbens) ",
        "cerebellum": "^Cerebellum",
        "limbic": "^(?:Hippocampus|Amygdala|Hypothalamus)",
    }
    for system, pattern in patterns.items():
        expected = nodes["system"] == system
        np.testing.assert_array_equal(nodes["name"].str.contains(pattern), expected, err_msg=system)


@pytest.mark.parametrize(("atlas", "regions"), [("seitzman300", "Putamen Pallidum Caudate"), ("ho110", "Pallidum")])
def test_deep_nuclei_are_on_both_sides(atlas, regions):
    nodes = load_atlas(atlas)
    for region in regions.split():
        assert set(nodes.loc[nodes["name"].str.startswith(region), "hemisphere"]) == {"L", "R"}


def test_every_circuit_but_the_subthalamic_and_those_of_scan_has_edges_in_seitzman():
    found = set(circuit_edges(load_atlas("seitzman300"))["circuit"])
    without = {name for name in circuit_titles() if name == "subthalamic" or name.startswith("scan_")}
    assert found == set(circuit_titles()) - without  # there is no sphere in the subthalamic nucleus


def test_circuits_tell_the_segments_of_the_pallidum_and_the_deep_nuclei_apart(tiny):
    names = ["Pallidum GPe L", "Pallidum GPi L", "Subthalamic nucleus L", "Dentate nucleus L"]
    systems = ["basal_ganglia"] * 3 + ["cerebellum"]
    more = pd.DataFrame({"name": names, "system": systems, "network": systems})
    nodes = pd.concat([tiny.iloc[[0, 4, 6, 7]], more], ignore_index=True)  # precentral, putamen, thalamus, VI
    edges = circuit_edges(nodes)
    pairs = {circuit: set(zip(t["i"], t["j"])) for circuit, t in edges.groupby("circuit")}
    assert pairs["pallido_thalamic"] == {(2, 5)}  # only the internal segment projects to the thalamus
    assert pairs["striato_pallidal"] == {(1, 4), (1, 5)}
    assert pairs["subthalamic"] == {(4, 6), (5, 6), (0, 6)}
    assert pairs["cerebello_thalamo_cortical"] == {(2, 3), (2, 7), (0, 3), (0, 7), (0, 2), (3, 7)}


def test_harvard_oxford_has_no_cerebellar_edges():
    nodes = load_atlas("ho110")
    edges = circuit_edges(nodes)
    assert "cerebello_striatal" not in set(edges["circuit"])
    assert {"striato_pallidal", "cortico_striatal", "sensorimotor", "visual_control"} <= set(edges["circuit"])


def test_circuits_of_a_hand_built_table(tiny):
    edges = circuit_edges(tiny)
    pairs = {circuit: set(zip(t["i"], t["j"])) for circuit, t in edges.groupby("circuit")}
    assert pairs == {
        "cerebello_thalamo_cortical": {(6, 7), (0, 6), (0, 7)},
        "striato_pallidal": {(4, 5)},
        "cortico_striatal": {(0, 4), (1, 4)},
        "pallido_thalamic": {(5, 6)},
        "cerebello_striatal": {(4, 7), (5, 7)},
        "sensorimotor": {(0, 1)},
        "visual_control": {(2, 3)},
    }


def test_circuit_edges_point_into_the_edge_order(tiny):
    edges = circuit_edges(tiny)
    rows, cols = Pairs(len(tiny)).ends
    np.testing.assert_array_equal(rows[edges["edge"]], edges["i"])
    np.testing.assert_array_equal(cols[edges["edge"]], edges["j"])
    assert not edges.duplicated(["circuit", "edge"]).any()


def test_circuit_edges_do_not_depend_on_the_order_of_nodes(tiny):
    def by_name(nodes):
        edges, names = circuit_edges(nodes), nodes["name"].to_numpy()
        ends = zip(edges["circuit"], names[edges["i"]], names[edges["j"]])
        return {(circuit, frozenset(pair)) for circuit, *pair in ends}

    assert by_name(tiny) == by_name(tiny[::-1].reset_index(drop=True))


@pytest.mark.parametrize("atlas", BUILT_IN)
def test_edge_circuits_name_the_first_circuit_of_each_edge(atlas):
    nodes = load_atlas(atlas)
    names, edges = edge_circuits(nodes), circuit_edges(nodes)
    assert names.shape == (len(nodes) * (len(nodes) - 1) // 2,)
    assert set(np.flatnonzero(names != "")) == set(edges["edge"])
    order = list(circuit_titles())
    first = edges.groupby("edge")["circuit"].agg(lambda c: min(c, key=order.index))
    np.testing.assert_array_equal(names[first.index], first)


def test_no_circuits_where_nothing_matches(tiny):
    nowhere = tiny.assign(system="brainstem")
    assert circuit_edges(nowhere).empty
    assert (edge_circuits(nowhere) == "").all()


@pytest.mark.parametrize("diagonal", [False, True])
def test_edge_order_round_trip(diagonal):
    matrix = np.random.default_rng(0).normal(size=(7, 7))
    matrix += matrix.T
    np.fill_diagonal(matrix, matrix.diagonal() * diagonal)
    rows, cols = Pairs(7, diagonal=diagonal).ends
    back = np.zeros_like(matrix)
    back[rows, cols] = back[cols, rows] = matrix[rows, cols]
    np.testing.assert_array_equal(back, matrix)
    assert len(rows) == (28 if diagonal else 21)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("system", None, r"mine\.tsv, line 1: no column system"),
        ("name", "Gyrus twice", r"mine\.tsv, line 5: name is 'Gyrus twice'.*unique"),
        ("node", 1, r"mine\.tsv, line 4: node is '1'.*unique"),
        ("node", "2b", r"mine\.tsv, line 4: node is '2b'.*whole number"),
        ("x", "nan", r"mine\.tsv, line 4: x is 'nan'.*MNI mm"),
        ("z", "", r"mine\.tsv, line 4: z is ''.*MNI mm"),
        ("name", "", r"mine\.tsv, line 4: name is ''"),
        ("system", "neocortex", r"mine\.tsv, line 4: system is 'neocortex'.*cortex, basal_ganglia"),
        ("hemisphere", "left", r"mine\.tsv, line 4: hemisphere is 'left'.*L, R, M"),
    ],
)
def test_bad_tables_are_named(bad_table, column, value, message):
    rows = [2, 3] if value == "Gyrus twice" else 2
    with pytest.raises(ValueError, match=message):
        load_atlas(bad_table(column, value, rows))


def test_unknown_atlas_names_the_built_in_ones():
    with pytest.raises(FileNotFoundError, match=r"aal999: no such atlas.*seitzman300, motor10, cc200, ho110"):
        load_atlas("aal999")


def test_radius_is_optional_and_further_columns_stay(tmp_path):
    nodes = load_atlas("seitzman300").head(3).drop(columns="radius").assign(lobe="temporal")
    nodes.to_csv(tmp_path / "mine.tsv", sep="\t", index=False)
    mine = load_atlas(tmp_path / "mine.tsv")
    assert list(mine)[-2:] == ["radius", "lobe"]
    assert mine["radius"].isna().all()
    assert mine.dtypes.equals(load_atlas("seitzman300").dtypes.reindex(list(mine), fill_value=mine["lobe"].dtype))


def test_the_motor_loops_are_rows_of_seitzman():
    few, all_of_them = load_atlas("motor10"), load_atlas("seitzman300").set_index("node")
    for row in few.to_dict("records"):
        assert row == {"node": row["node"], **all_of_them.loc[row["node"]].to_dict()}
    assert (few["hemisphere"].value_counts() == 5).all()
