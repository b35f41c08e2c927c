"""Matrices of other people: which row is which region, and what the numbers may be."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat
from scipy.sparse import csc_matrix

from dysconnect.data.matrices import CONTENTS, checked, read_connections
from dysconnect.reading.matrices import aligned, holding, read_names, read_square, symmetric


@pytest.fixture(scope="module")
def few(nodes) -> pd.DataFrame:
    """Eight regions whose codes skip a number, as those of an atlas that was extended do."""
    return nodes.head(8).reset_index(drop=True).assign(node=[1, 2, 3, 4, 5, 6, 8, 9])


@pytest.fixture(scope="module")
def r() -> np.ndarray:
    """Correlations of eight regions."""
    return np.corrcoef(np.random.default_rng(3).normal(size=(8, 40)))


ORDERS = [np.random.default_rng(seed).permutation(8) for seed in (4, 5)]


def read(path, nodes, by_order=False, **asked) -> tuple[np.ndarray, str]:
    """A file in the order of the atlas."""
    return aligned(read_square(path, **asked), nodes, by_order)


def entry(path, content, **more) -> dict:
    """Row of the index."""
    row = {"matrix": str(path), "labels": "", "key": "", "segmentation": "", "order": "names", "scaled": "false"}
    return row | {"content": content} | more


# text


@pytest.mark.parametrize("form", ["csv", "xcpd", "header", "column", "R", "trailing", "trailing header", "codes"])
def test_rows_and_columns_are_found_by_name_in_every_form(tmp_path, few, r, form):
    names = few["node" if form == "codes" else "name"].astype(str).to_numpy()
    rows, columns = ORDERS if form not in ("header", "column", "trailing header") else ORDERS[:1] * 2
    table = pd.DataFrame(r[np.ix_(rows, columns)], index=names[rows], columns=names[columns])
    path = tmp_path / ("m.csv" if form == "csv" else "m.tsv")
    some = {"index": form not in ("header", "trailing header"), "header": form != "column"}
    table.to_csv(path, sep="," if form == "csv" else "\t", index_label="Node" if form == "xcpd" else "", **some)
    lines = path.read_text().splitlines()
    if form == "R":  # write.table leaves the corner out
        lines[0] = lines[0].split("\t", 1)[1]
    if form.startswith("trailing"):  # a tab at the end of every line, or of every row
        lines = [f"{line}\t" if k or form == "trailing" else line for k, line in enumerate(lines)]
    path.write_text("\n".join(lines) + "\n")
    values, note = read(path, few)
    np.testing.assert_allclose(values, r, atol=1e-12)
    assert note == ""


def test_a_region_that_is_empty_throughout_is_no_separator_too_many(tmp_path, few, r):
    lost = r.copy()
    lost[7], lost[:, 7] = np.nan, np.nan
    for name, header in (("named.csv", few["name"].tolist()), ("bare.csv", False)):
        pd.DataFrame(lost).to_csv(tmp_path / name, header=header, index=False)
        np.testing.assert_allclose(read(tmp_path / name, few, by_order=True)[0], lost)


@pytest.mark.parametrize("form", ["npy", "txt", "csv", "numbered", "gii"])
def test_unnamed_rows_need_the_word_of_the_user_and_the_size_of_the_atlas(tmp_path, few, r, form):
    path = tmp_path / f"m.{'tsv' if form == 'numbered' else 'shape.gii' if form == 'gii' else form}"
    if form == "npy":
        np.save(path, r)
    elif form == "numbered":  # as giga_connectome writes them: 0, 1, 2, ...
        pd.DataFrame(r).to_csv(path, sep="\t", index=False)
    elif form == "gii":
        nibabel = pytest.importorskip("nibabel")
        array = nibabel.gifti.GiftiDataArray(r.astype(np.float32), intent=2005, datatype=16)
        nibabel.save(nibabel.gifti.GiftiImage(darrays=[array]), path)
    else:
        np.savetxt(path, r, delimiter="," if form == "csv" else " ")
    with pytest.raises(ValueError, match=r"nothing names its 8 rows.*dataset\.matrices\.labels.*dataset\.order=atlas"):
        read(path, few)
    np.testing.assert_allclose(read(path, few, by_order=True)[0], r, atol=1e-6)
    with pytest.raises(ValueError, match=r"8 rows, the atlas 7 regions.*atlas=NAME"):  # "246" with 256 rows
        read(path, few.head(7), by_order=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1;0,5\n0,5;1\n", "decimal commas"),
        ("1,0.5\n0.5,1\n0.1,0.2\n0.1,0.2\n", "no square matrix"),
        ("1,0.5,0.2\n0.5,1\n0.1,0.2,1\n", "line 2: 2 cells"),
        ("1,0.5,0.2\n0.5,1,0.3\n0.2,x,1\n", "line 3, column 2 holds 'x'"),
        ("<html>\n", "web page"),
        ("", "empty"),
    ],
)
def test_what_is_no_matrix_is_named(tmp_path, few, text, said):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        read(tmp_path / "m.csv", few, by_order=True)


# names that do not fit


def test_rows_that_the_atlas_lacks_are_left_out_and_said(tmp_path, few, r):
    pd.DataFrame(r, few["name"], few["name"]).to_csv(tmp_path / "m.csv")
    values, note = read(tmp_path / "m.csv", few.iloc[[5, 2]])
    np.testing.assert_allclose(values, r[np.ix_([5, 2], [5, 2])])
    assert note == f"6 of 8 rows are none of the atlas's (first: {few['name'][0]}), and were left out"


def test_names_of_another_atlas_are_passed_over_where_the_user_says_so(tmp_path, few, r):
    other = [f"Area {k}" for k in range(8)]
    pd.DataFrame(r, other, other).to_csv(tmp_path / "m.csv")
    values, note = read(tmp_path / "m.csv", few, by_order=True)
    np.testing.assert_allclose(values, r)
    assert note == "its rows have names that the atlas lacks (Area 0, ...), and are taken in its order"
    some = [*few["name"][:4], *other[4:]]
    pd.DataFrame(r, some, some).to_csv(tmp_path / "m.csv")
    with pytest.raises(ValueError, match="lacks 4 of the atlas's 8 regions"):
        read(tmp_path / "m.csv", few, by_order=True)


def test_another_atlas_and_absent_regions_are_refused(tmp_path, few, r):
    pd.DataFrame(r, few["name"], few["name"]).to_csv(tmp_path / "m.csv")
    other = few.assign(name=[f"Area {k}" for k in range(8)], node=range(101, 109), x=0.0, y=0.0, z=0.0)
    with pytest.raises(ValueError, match=r"lacks 8 of the atlas's 8 regions.*atlas=NAME"):
        read(tmp_path / "m.csv", other)
    keep = few["name"][:7]
    pd.DataFrame(r[:7, :7], keep, keep).to_csv(tmp_path / "m.csv")
    with pytest.raises(ValueError, match=rf"lacks 1 of .* \(first: {few['name'][7]}\)\. Add a row and a column \(n/a"):
        read(tmp_path / "m.csv", few)


def test_names_that_are_shifted_by_a_skipped_number_are_noticed(tmp_path, few, r):
    """The last region has a made-up name, and another is lacking (github.com/PennLINC/qsirecon/issues/274)."""
    shifted = [*few["name"][:5], *few["name"][6:], "atlas_257"]
    pd.DataFrame(r, shifted, shifted).to_csv(tmp_path / "m.csv")
    with pytest.raises(
        ValueError, match=r"lacks 1 of.*has atlas_257, which the atlas has not.*number that was skipped"
    ):
        read(tmp_path / "m.csv", few)


def test_a_name_that_stands_twice_and_one_spelt_otherwise_are_refused(tmp_path, few, r):
    twice = [*few["name"], few["name"][0]]
    pd.DataFrame(np.pad(r, (0, 1)), twice, twice).to_csv(tmp_path / "m.csv")
    with pytest.raises(ValueError, match=f"{few['name'][0]} names 2 rows"):
        read(tmp_path / "m.csv", few)
    dotted = few["name"].str.replace(" ", ".")  # make.names of R
    pd.DataFrame(r, dotted, dotted).to_csv(tmp_path / "m.csv")
    with pytest.raises(ValueError, match=rf"it is spelt {dotted[0]}"):
        read(tmp_path / "m.csv", few)


@pytest.mark.parametrize(("start", "half"), [(1, np.asarray), (0, np.triu)])
def test_columns_name_rows_that_are_only_counted(tmp_path, few, r, start, half):
    """R counts rows from 1, pandas from 0."""
    order = ORDERS[0]
    table = pd.DataFrame(half(r[np.ix_(order, order)]), range(start, start + 8), few["name"].to_numpy()[order])
    table.to_csv(tmp_path / "m.csv")
    np.testing.assert_allclose(read(tmp_path / "m.csv", few)[0] * (1 - np.eye(8)), r * (1 - np.eye(8)))


def test_names_in_a_comment_are_names_whatever_the_order_is_said_to_be(tmp_path, few, r):
    order, atlas = ORDERS[0], few.assign(name=[f"Region_{k}" for k in range(8)])
    np.savetxt(tmp_path / "m.txt", r[np.ix_(order, order)], header=" ".join(atlas["name"].to_numpy()[order]))
    for by_order in (False, True):
        np.testing.assert_allclose(read(tmp_path / "m.txt", atlas, by_order)[0], r)


def test_sums_beside_a_matrix_are_no_names_and_shift_nothing(tmp_path, few, streamlines):
    upper = np.triu(streamlines, 1)
    np.savetxt(tmp_path / "right.txt", np.column_stack([upper, upper.sum(1)]))
    np.savetxt(tmp_path / "below.txt", np.vstack([upper.T, upper.sum(0)]))
    for name, what in (("right", "column"), ("below", "line")):
        with pytest.raises(ValueError, match=f"first {what} stands out of the square, and holds values"):
            read(tmp_path / f"{name}.txt", few, by_order=True)


def test_a_header_that_is_shifted_by_a_separator_at_its_end_is_refused(tmp_path, few, streamlines):
    names, upper = ["Background", *few["name"]], np.pad(np.triu(streamlines, 1), ((1, 0), (1, 0)))
    lines = ["\t".join([*names, ""]), *("\t".join([name, *map(str, row)]) for name, row in zip(names, upper))]
    (tmp_path / "m.tsv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match="row 9 holds connections and has no name"):
        read(tmp_path / "m.tsv", few)


def test_a_half_whose_rows_are_shifted_beside_its_columns_is_refused(tmp_path, few, streamlines):
    names = few["name"].tolist()
    pd.DataFrame(np.triu(streamlines, 1), [*names[1:], names[0]], names).to_csv(tmp_path / "m.csv")
    with pytest.raises(ValueError, match="only one half is stored, and rows and columns stand in different orders"):
        read(tmp_path / "m.csv", few)


def test_names_spelt_otherwise_contradict_the_order_that_is_said(tmp_path, few, r):
    dotted = few["name"].str.replace(" ", ".").tolist()
    pd.DataFrame(r, dotted, dotted).to_csv(tmp_path / "m.csv")
    np.testing.assert_allclose(read(tmp_path / "m.csv", few, by_order=True)[0], r)
    pd.DataFrame(r, dotted[::-1], dotted[::-1]).to_csv(tmp_path / "m.csv")
    with pytest.raises(ValueError, match="it is spelt"):
        read(tmp_path / "m.csv", few, by_order=True)


def test_counts_in_integers_too_small_for_them_are_refused(tmp_path, few, streamlines):
    np.save(tmp_path / "m.npy", np.minimum(streamlines, 200).astype(np.uint8))
    assert read(tmp_path / "m.npy", few, by_order=True)[0].max() <= 200
    large = streamlines[:, :, None] * np.arange(1, 40)  # 39 scans: of some wrapped counts one is near 255
    wrapped = next(cut for cut in np.moveaxis(large % 256, 2, 0) if cut.max() > 252)
    for cut in (np.minimum(streamlines * 20, 255), wrapped):
        np.save(tmp_path / "m.npy", cut.astype(np.uint8))
        with pytest.raises(ValueError, match=r"holds uint8 up to 25\d, and 255 is the largest"):
            read(tmp_path / "m.npy", few, by_order=True)


def test_empty_lines_that_spreadsheets_leave_below_are_no_regions(tmp_path, few, r):
    table = pd.DataFrame(r, few["name"], few["name"]).to_csv(sep=";")
    (tmp_path / "m.csv").write_text(table + (";" * 8 + "\n") * 3)
    np.testing.assert_allclose(read(tmp_path / "m.csv", few)[0], r)


def test_numbers_of_which_the_atlas_has_some_are_those_of_another_atlas(tmp_path, few, r):
    codes = [*few["node"], 11, 12]
    pd.DataFrame(np.pad(r, (0, 2)), codes, codes).to_csv(tmp_path / "m.csv")
    with pytest.raises(ValueError, match="by numbers alone, and the atlas lacks 11"):
        read(tmp_path / "m.csv", few)


# names beside


def beside(tmp_path, nodes, r, text, name="labels.txt", by_order=False):
    """A matrix without names and a table of names."""
    np.save(tmp_path / "m.npy", r)
    (tmp_path / name).write_text(text)
    made = read_names(tmp_path / name, holding(r))
    square = read_square(tmp_path / "m.npy")
    return aligned(type(square)(square.name, square.values, made, made), nodes, by_order)[0]


LISTS = {
    "a name a line": ("labels.txt", lambda names: "\n".join(names)),
    "column": ("labels.tsv", lambda names: "name\n" + "\n".join(names)),
    "MRtrix": ("lut.txt", lambda names: "# LUT\n0 ??? Unknown 0 0 0 0\n" + _lookup(names)),
    "FreeSurfer": ("lut.txt", lambda names: "".join(f"{k + 1}  {n} 70 130 180 0\n" for k, n in enumerate(names))),
    "BIDS": ("nodeindices.tsv", lambda names: "matrix_index\tnode_file\tnode_index\tlabel\n" + _indices(names)),
    "micapipe": ("lut.csv", lambda names: "roi,mics,label,R\n" + "".join(_shuffled(names))),
    "JSON": ("labels.json", lambda names: json.dumps({"Nodes": list(names)})),
    "JSON of objects": ("labels.json", lambda names: json.dumps([{"name": n, "desc": "x"} for n in names])),
}


def _lookup(names):
    return "".join(f"{k + 1}  R{k} {name} 25 100 40 255\n" for k, name in enumerate(names))


def _indices(names):
    return "".join(f"{k}\tatlas-A\t{k}\t{name}\n" for k, name in enumerate(names))


def _shuffled(names):
    rows = [f"{k},{10 + k},{name},0\n" for k, name in enumerate(names)]
    return [rows[k] for k in ORDERS[1]]


@pytest.mark.parametrize("form", LISTS)
def test_tables_of_names_are_read_as_programs_write_them(tmp_path, few, r, form):
    atlas = few.assign(name=[f"Region_{k}" for k in range(8)])
    order, (name, write) = ORDERS[0], LISTS[form]
    values = beside(tmp_path, atlas, r[np.ix_(order, order)], write(atlas["name"].to_numpy()[order]), name)
    np.testing.assert_allclose(values, r)


def test_a_lookup_table_that_skips_a_number_names_rows_by_number(tmp_path, few, r):
    """As MRtrix leaves an empty row where a number is skipped; counted off, all behind it would be shifted by one."""
    spread = spread_by_code(few, r)
    table = "index\tname\n" + "".join(
        f"{row.node}\t{row.name_}\n" for row in few.rename(columns={"name": "name_"}).itertuples()
    )
    np.testing.assert_allclose(beside(tmp_path, few, spread, table, "labels.tsv"), r)
    counted = "index\tname\n" + "".join(f"{k + 1}\t{name}\n" for k, name in enumerate(few["name"]))
    with pytest.raises(ValueError, match=r"names 8 rows, the highest number 8, but the matrix has 9.*skipped"):
        beside(tmp_path, few, spread, counted, "labels.tsv")
    spread[6, 0] = spread[0, 6] = 0.3
    with pytest.raises(ValueError, match="row 7 holds connections and has no name"):
        beside(tmp_path, few, spread, table, "labels.tsv")


def spread_by_code(few, r) -> np.ndarray:
    """A row for each number, as MRtrix makes them: that of 7, which no region has, is empty."""
    codes = few["node"].to_numpy() - 1
    spread = np.zeros((9, 9))
    spread[np.ix_(codes, codes)] = r
    return spread


@pytest.mark.parametrize("first", ["index,name\n", "index,name\n0,Background\n", "matrix_index,name\n"])
def test_rows_by_number_are_known_by_the_empty_row_of_the_number_that_is_skipped(tmp_path, few, r, first):
    """With the background the table has as many names as the matrix rows; counted off, half of them are shifted."""
    table = first + "".join(f"{code},{name}\n" for code, name in zip(few["node"], few["name"]))
    np.testing.assert_allclose(beside(tmp_path, few, spread_by_code(few, r), table, "labels.csv"), r)
    with pytest.raises(ValueError, match=f"lacks 1 of the atlas's 8 regions .first: {few['name'].iloc[-1]}"):
        beside(tmp_path, few, spread_by_code(few, r)[:8, :8], table, "labels.csv")  # whoever lacks the last region


def test_rows_that_were_counted_off_stay_so_where_numbers_are_skipped(tmp_path, few, r):
    table = "index,name\n" + "".join(f"{code},{name}\n" for code, name in zip(few["node"], few["name"]))
    np.testing.assert_allclose(beside(tmp_path, few, r, table, "labels.csv"), r)


def test_a_background_that_holds_connections_is_a_shift(tmp_path, few, r):
    with pytest.raises(ValueError, match=r"first row, called Unknown, holds connections, and that of .* none"):
        beside(tmp_path, few, spread_by_code(few, r), "\n".join(["Unknown", *few["name"]]))
    twice = "matrix_index\tname\n" + "".join(f"{k // 2}\t{name}\n" for k, name in enumerate(few["name"]))
    with pytest.raises(ValueError, match="a number twice in matrix_index"):
        beside(tmp_path, few, r, twice, "labels.tsv")


def test_numbers_beside_names_count_only_where_they_are_those_of_the_atlas(tmp_path, few, r):
    """A lookup table of other names that counts from 1 fits every atlas of as many regions."""
    other, counted = [f"Area {k}" for k in range(8)], few.assign(node=range(1, 9))
    table = "index\tname\n" + "".join(f"{k + 1}\t{name}\n" for k, name in enumerate(other))
    with pytest.raises(ValueError, match="lacks 8 of the atlas's 8 regions"):
        beside(tmp_path, counted, r, table, "labels.tsv")
    table = "index\tname\n" + "".join(f"{code}\t{name}\n" for code, name in zip(few["node"], other))
    np.testing.assert_allclose(beside(tmp_path, few, r, table, "labels.tsv"), r)


def test_a_first_line_that_counts_as_the_atlas_does_is_taken_for_its_numbers_and_said(tmp_path, few, r):
    pd.DataFrame(r, columns=range(1, 9)).to_csv(tmp_path / "m.csv", index=False)
    values, note = read(tmp_path / "m.csv", few.assign(node=range(1, 9)))
    np.testing.assert_allclose(values, r)
    assert note == "its rows are called 1 to 8, taken for the atlas's numbers"
    with pytest.raises(ValueError, match="nothing names its 8 rows"):
        read(tmp_path / "m.csv", few.head(7).assign(node=range(1, 8)))


def test_numbers_of_a_lookup_table_that_do_not_ascend_are_refused(tmp_path, few, r):
    table = "index\tname\n" + "".join(f"{9 - k}\t{name}\n" for k, name in enumerate(few["name"]))
    with pytest.raises(ValueError, match=r"numbers in index do not ascend.*matrix_index"):
        beside(tmp_path, few, r, table, "labels.tsv")


# MATLAB


def qsirecon(path, r, labels, ids, **more):
    """As QSIRecon writes it, with several atlases and measures."""
    np.random.default_rng(0)
    content = {
        "command": "tck2connectome",
        "atlas_A_region_ids": np.array(ids),
        "atlas_A_region_labels": np.array(labels, object),
        "atlas_A_sift_radius2_count_connectivity": r,
        "atlas_A_radius2_meanlength_connectivity": 2 * r,
        "atlas_B_region_ids": np.arange(1, 5),
        "atlas_B_region_labels": np.array([f"b{k}" for k in range(4)], object),
        "atlas_B_sift_radius2_count_connectivity": np.eye(4),
    }
    savemat(path, content | more, long_field_names=True)


def test_the_file_of_qsirecon_with_many_keys(tmp_path, few, r):
    order, path = ORDERS[0], tmp_path / "m.mat"
    qsirecon(path, r[np.ix_(order, order)], few["name"].to_numpy()[order], few["node"].to_numpy()[order])
    for key in ("sift_radius2_count", "sift_radius2", "atlas_A_sift_radius2_count_connectivity"):
        np.testing.assert_allclose(read(path, few, key=key, segmentation="A")[0], r)
    with pytest.raises(ValueError, match=r"dataset\.matrices\.key=sift_radius2_count or radius2_meanlength"):
        read(path, few, segmentation="A")
    with pytest.raises(ValueError, match=r"dataset\.segmentation=A or B"):
        read(path, few, key="sift_radius2_count")
    with pytest.raises(ValueError, match=r"has no matrix gfa; there are atlas_A_"):
        read(path, few, key="gfa")


def test_labels_of_qsirecon_go_with_rows_by_number_where_the_matrix_has_one_more(tmp_path, few, r):
    spread, codes = np.zeros((9, 9)), few["node"].to_numpy() - 1
    spread[np.ix_(codes, codes)] = r
    qsirecon(tmp_path / "m.mat", spread, few["name"], few["node"])
    asked = {"key": "sift_radius2_count", "segmentation": "A"}
    np.testing.assert_allclose(read(tmp_path / "m.mat", few, **asked)[0], r)
    qsirecon(tmp_path / "m.mat", spread, few["name"], range(1, 9))
    with pytest.raises(ValueError, match=r"m\.mat names 8 rows.*the matrix has 9"):
        read(tmp_path / "m.mat", few, **asked)


@pytest.mark.parametrize("form", ["cell", "letters", "DSI Studio", "7.3", "none"])
def test_names_in_matlab_files_of_all_kinds(tmp_path, few, r, form):
    order, path = ORDERS[0], tmp_path / "m.mat"
    names, values = few["name"].to_numpy()[order], r[np.ix_(order, order)]
    if form == "7.3":
        with h5py.File(path, "w", userblock_size=512) as file:
            file["Z"] = values.T
            words = [file.create_dataset(f"#refs#/{k}", data=[[ord(x)] for x in name]) for k, name in enumerate(names)]
            file["names"] = np.array([[word.ref] for word in words], h5py.ref_dtype)
    elif form == "DSI Studio":
        letters = np.frombuffer(("\n".join(names) + "\n").encode(), np.uint8)
        savemat(path, {"connectivity": values, "name": letters[None], "atlas": "A"}, format="4")
    else:
        labels = {} if form == "none" else {"labels": names.astype(object) if form == "cell" else names.tolist()}
        savemat(path, {"W": values, **labels})
    if form == "none":
        with pytest.raises(ValueError, match="nothing names its 8 rows"):
            read(path, few)
    else:
        np.testing.assert_allclose(read(path, few)[0], r)


def test_of_several_labels_in_a_file_those_of_the_rows_are_taken(tmp_path, few, r):
    """Labels of groups and numbers called labels lie in the same files; cells may lie in cells; matrices be sparse."""
    cells = np.array([[np.array([name], object)] for name in few["name"]], object)
    more = {"group_labels": np.array(["a", "b"], object), "labels": np.arange(1, 13, dtype=np.uint8)}
    savemat(tmp_path / "m.mat", more | {"W": csc_matrix(r), "names": cells})
    np.testing.assert_allclose(read(tmp_path / "m.mat", few)[0], r)


def test_what_else_lies_in_a_file_of_version_7_3_stops_nobody(tmp_path, few, r):
    with h5py.File(tmp_path / "m.mat", "w") as file:
        file["Z"] = r
        inside = [file.create_group("#refs#/a"), file.create_dataset("#refs#/b", data=[[-1.5]])]
        file["history"] = np.array([[item.ref] for item in inside], h5py.ref_dtype)
        file["names"] = few["name"].to_numpy(object)  # as Python writes them
    np.testing.assert_allclose(read(tmp_path / "m.mat", few)[0], r)


def test_damaged_matlab_files_are_named(tmp_path, few):
    (tmp_path / "m.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(ValueError, match=r"m\.mat cannot be read as a file of MATLAB"):
        read(tmp_path / "m.mat", few)
    savemat(tmp_path / "m.mat", {"x": np.ones((3, 4))})
    with pytest.raises(ValueError, match=r"no square matrix of numbers"):
        read(tmp_path / "m.mat", few)


# halves


def test_a_half_is_mirrored_and_said_and_two_that_differ_are_refused(r):
    for half, word in ((np.triu(r), "upper"), (np.tril(r), "lower")):
        values, note = symmetric(half, "m")
        np.testing.assert_allclose(values, r)
        assert note == f"only the {word} half is stored, and was mirrored"
    assert symmetric(r + np.triu(np.full((8, 8), 1e-8)), "m")[1] == ""  # rounded
    counts = np.diag(np.full(8, 1e7)) + np.triu(np.ones((8, 8)), 1) * 3 + np.tril(np.ones((8, 8)), -1) * 4
    with pytest.raises(ValueError, match="m is not symmetric: 100% of its pairs"):  # next to large self-connections
        symmetric(counts, "m")
    p_below = np.triu(r) + np.tril(np.abs(r) / 9, -1)
    with pytest.raises(ValueError, match=r"m is not symmetric: 100% of its pairs.*two different things"):
        symmetric(p_below, "m")


def test_a_half_in_the_order_of_its_file_stays_one_in_the_order_of_the_atlas(tmp_path, few, r):
    order = ORDERS[0]
    names = few["name"].to_numpy()[order]
    pd.DataFrame(np.triu(r[np.ix_(order, order)]), columns=names).to_csv(tmp_path / "m.csv", index=False)
    values, note = read(tmp_path / "m.csv", few)
    np.testing.assert_allclose(values, r)
    assert "upper half" in note


# what the numbers are


@pytest.fixture(scope="module")
def streamlines() -> np.ndarray:
    """Counts of eight regions, with self-connections and pairs without any."""
    rng = np.random.default_rng(6)
    counts = np.triu(rng.poisson(20, (8, 8)) * (rng.random((8, 8)) < 0.7), 1)
    counts = counts + counts.T
    return counts + np.diag(np.full(8, 5000))


def stored(values, nodes, content, **more):
    """What is stored of a matrix."""
    return checked(np.asarray(values, float), nodes, CONTENTS[content], "m", **more)


def test_correlations_become_fisher_z_and_fisher_z_stays(few, r):
    apart = ~np.eye(8, dtype=bool)
    one, other = stored(r, few, "correlation"), stored(np.arctanh(np.where(apart, r, 0)), few, "fisher_z")
    np.testing.assert_allclose(one.values[apart], np.arctanh(r[apart]))
    np.testing.assert_allclose(one.values[apart], other.values[apart])
    assert np.isnan(np.diag(one.values)).all() and not one.missing.any() and one.note == ""


def test_counts_are_logged_without_their_diagonal_and_no_streamline_is_zero(few, streamlines):
    made, apart = stored(streamlines, few, "count"), ~np.eye(8, dtype=bool)
    np.testing.assert_allclose(made.values[apart], np.log1p(streamlines[apart]))
    assert (made.values[apart] == 0).any()


@pytest.mark.parametrize(("content", "scale"), [("fa", 0.01), ("length", 1.0)])
def test_what_streamlines_carry_is_missing_where_there_is_none(few, streamlines, content, scale):
    made, apart = stored(streamlines * scale, few, content), ~np.eye(8, dtype=bool)
    np.testing.assert_array_equal(np.isnan(made.values[apart]), streamlines[apart] == 0)
    assert not made.missing.any()


def test_a_row_of_zeros_or_na_is_a_missing_region(few, r, streamlines):
    for values, content, nothing in (
        (r, "correlation", np.nan),
        (streamlines, "count", 0),
        (streamlines / 99, "fa", 0),
    ):
        lost = values.astype(float)
        lost[2], lost[:, 2] = nothing, nothing
        made = stored(lost, few, content)
        assert made.missing.tolist() == [False, False, True, *[False] * 5]
        assert np.isnan(made.values[2]).all()


def repeated(values):
    """The second region is the first once more."""
    twice = np.abs(np.round(values * 97))
    twice[1], twice[:, 1] = twice[0], twice[:, 0]
    twice[0, 1] = twice[1, 0] = 3
    return twice


def bad(r, streamlines):
    """Matrices that are not what they are called, and what is said of them."""
    one_nan, same = r.copy(), r * ~np.eye(8, dtype=bool)
    one_nan[1, 4] = one_nan[4, 1] = np.nan
    same[1, 4] = same[4, 1] = 1
    infinite = np.where(same == 1, np.inf, same)
    whole = streamlines.astype(float)
    pair = np.outer(np.arange(8) == 1, np.arange(8) == 4)
    row = (np.arange(8) == 3)[:, None] | (np.arange(8) == 3)
    return {
        "infinite count": (np.where(pair | pair.T, np.inf, whole), "count", "but inf stands between"),
        "diffusivity as FA": (whole / whole.max() * 0.002, "fa", "the largest is .*: another quantity"),
        "metres": (whole / whole.max() * 0.2, "length", "the largest is .*: another quantity, or other units"),
        "z with its diagonal": (np.where(np.eye(8), np.inf, r), "correlation", "infinity on its diagonal: Fisher z"),
        "covariances": (r * 0.01, "correlation", "0.01 on its diagonal, and 1 nowhere: covariances"),
        "one region twice": (repeated(r * 9 + 20), "count", "have the same connections: one region under two names"),
        "code of a missing region": (np.where(row, 9999, whole), "count", "all connections of .* are 9999, a code"),
        "z as r": (r * 3, "correlation", "is said to hold correlations, between -1 and 1, but"),
        "r as z": (r, "fisher_z", "ones on its diagonal"),
        "infinite z": (infinite, "fisher_z", "but inf stands between"),
        "n/a": (one_nan, "correlation", "and both have others"),
        "n/a count": (np.where(np.isnan(one_nan), np.nan, whole), "count", "and both have others"),
        "one series": (same, "correlation", "exactly 1: they share one series"),
        "counts as FA": (whole, "fa", "fractional anisotropy, between 0 and 1, but"),
        "weighted": (whole * 0.37, "count", r"dataset\.matrices\.scaled=true"),
        "negative": (-whole, "count", "from 0, but -"),
        "binary as FA": (whole > 0, "fa", r"0 and 1 only.*dataset\.matrices\.content=binary"),  # UKB-connectomics 28
        "binary as r": (whole > 0, "correlation", r"0 and 1 only"),
        "weights as binary": (whole / 9999, "binary", "holds 0.0"),
        "micrometres": (whole * 1000, "length", "0 to 500 mm, but"),
        "nothing": (whole * 0, "count", "nothing but zeros"),
    }


BAD = bad(np.eye(8), np.ones((8, 8)))


@pytest.mark.parametrize("case", BAD)
def test_values_that_cannot_be_what_they_are_called_are_refused(few, r, streamlines, case):
    values, content, said = bad(r, streamlines)[case]
    with pytest.raises(ValueError, match=said):
        stored(values, few, content)


def test_weights_are_counts_where_the_user_says_so_and_graphs_and_thresholds_are_said(few, r, streamlines):
    apart = ~np.eye(8, dtype=bool)
    np.testing.assert_allclose(
        stored(streamlines * 0.37, few, "count", scaled=True).values[apart], np.log1p(streamlines[apart] * 0.37)
    )
    graph = stored(streamlines > 0, few, "binary")
    assert graph.note == "read as a graph of 0 and 1" and set(np.unique(graph.values[apart])) == {0, 1}
    assert "exactly 0, as a threshold leaves them" in stored(np.where(r > 0.1, r, 0), few, "correlation").note


def test_a_person_is_read_from_the_index(tmp_path, few, r):
    order = ORDERS[0]
    np.save(tmp_path / "m.npy", r[np.ix_(order, order)])
    (tmp_path / "labels.txt").write_text("\n".join(few["name"].to_numpy()[order]))
    made = read_connections(entry(tmp_path / "m.npy", "correlation", labels=str(tmp_path / "labels.txt")), few)
    np.testing.assert_allclose(np.tanh(made.values)[0, 1:], r[0, 1:])
    assert made.note == "rows are named by labels.txt"
