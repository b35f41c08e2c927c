"""Tables of numbers: the same numbers in every harmless form; in every harmful one refused, with the line."""

import gzip

import numpy as np
import pandas as pd
import pytest
from broken import ARRAYS, HARMFUL, HARMLESS, NAMES, cells, joined, matrix

from dysconnect.data.series import BY_ORDER, matrix_like, read_confounds, read_regions, read_series, refuse_repeated
from dysconnect.reading.numeric import read_numbers
from dysconnect.reading.numeric.cells import holds_codes
from dysconnect.reading.tables import TableError


@pytest.fixture(scope="module")
def atlas() -> pd.DataFrame:
    return pd.DataFrame({"node": [2001, 2002, 17, 18, 51, 7000], "name": NAMES, "label": [f"r{k}" for k in range(6)]})


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """Series of six regions, [40, 6], as a program rounds them."""
    return np.round(1000 + 10 * np.random.default_rng(0).normal(size=(40, 6)), 3)


@pytest.mark.parametrize("form", HARMLESS)
def test_harmless_forms_hold_the_same_numbers(tmp_path, atlas, values, form):
    path = tmp_path / ("sub-01.tsv.gz" if form == "packed" else "sub-01.tsv")
    path.write_bytes(HARMLESS[form](cells(values)))
    np.testing.assert_array_equal(read_series(path, "", atlas), values)


@pytest.mark.parametrize(
    ("names", "key"),
    [
        ([2001, 2002, 17, 18, 51, 7000], ""),
        (["2001.0", "2002.0", "17.0", "18.0", "51.0", "7000.0"], ""),
        (["#2001", "#2002", "#17", "#18", "#51", "#7000"], ""),
        ([f"r{k}" for k in range(6)], ""),
        (NAMES, BY_ORDER),
        ([0, 1, 2, 3, 4, 5], BY_ORDER),
        ([1, 2, 3, 4, 5, 6], BY_ORDER),
        ([8101, 8111, 8121, 8131, 8201, 8211], BY_ORDER),  # codes of another table
        ([30, 12, 99, 7, 41, 5], BY_ORDER),
        (["ROI_1", "ROI_2", "ROI_3", "ROI_4", "ROI_5", "ROI_6"], BY_ORDER),
        (None, BY_ORDER),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ending", ["tsv", "csv", "txt", "1D"])
def test_first_lines_are_names_or_codes_and_never_a_volume(tmp_path, atlas, values, names, key, ending):
    if ending in ("txt", "1D") and names == NAMES:
        pytest.skip("blanks within names")
    path = tmp_path / f"sub-01.{ending}"
    path.write_text(joined(cells(values, names and map(str, names)), {"csv": ",", "tsv": "\t"}.get(ending, " ")))
    series, note = read_regions(path, key, atlas)
    np.testing.assert_array_equal(series, values)
    told = key == BY_ORDER and names and (str(names[0]).startswith("ROI") or names[0] in (8101, 30))
    assert ("as dataset.order says" in note) == bool(told)


@pytest.mark.parametrize("whole", [True, False])
def test_a_first_volume_of_whole_numbers_is_kept_or_asked_for(tmp_path, atlas, values, whole):
    rows = np.round(values)
    if not whole:
        rows[0] += 5000 * np.array([1, -1, 2, -2, 3, -3])  # codes, or before the steady state
    np.savetxt(tmp_path / "sub-01.txt", rows, fmt="%d")
    if whole:
        np.testing.assert_array_equal(read_series(tmp_path / "sub-01.txt", BY_ORDER, atlas), rows)
        return
    with pytest.raises(TableError, match=r"sub-01\.txt: its first line \(\d+, -?\d+, \.\.\.\) may hold codes"):
        read_series(tmp_path / "sub-01.txt", BY_ORDER, atlas)


@pytest.mark.parametrize(("size", "codes"), [(12, True), (6, None), (4, False)])
def test_whole_numbers_that_ascend_are_codes_where_that_is_no_chance(tmp_path, size, codes):
    rows = np.random.default_rng(2).integers(900, 1100, (40, size))
    rows[0] = 1001 + np.arange(size)
    np.savetxt(tmp_path / "a.txt", rows, fmt="%d")
    assert holds_codes(read_numbers(tmp_path / "a.txt")) is codes


def test_columns_that_contradict_the_order_are_refused(tmp_path, atlas, values):
    mixed = ["ROI_1", NAMES[0], *(f"ROI_{k}" for k in range(3, 7))]
    (tmp_path / "sub-01.tsv").write_text(joined(cells(values, mixed)))
    with pytest.raises(TableError, match=r"order=atlas is said, but its column Precentral gyrus L stands elsewhere"):
        read_series(tmp_path / "sub-01.tsv", BY_ORDER, atlas)


@pytest.mark.parametrize("form", HARMFUL)
def test_harmful_forms_are_refused_with_file_and_line(tmp_path, atlas, values, form):
    make, told = HARMFUL[form]
    path = tmp_path / "sub-01_timeseries.tsv"
    path.write_bytes(make(cells(values)))
    with pytest.raises(TableError, match=told) as refused:
        read_series(path, "", atlas)
    assert "sub-01_timeseries.tsv" in str(refused.value) and len(str(refused.value)) < 300
    assert "atlas=NAME" not in str(refused.value) or "lacks" in told


@pytest.mark.parametrize("form", ["blanks", "whole", "1D", "semicolons without names"])
def test_decimal_commas_are_refused_without_names_too(tmp_path, atlas, values, form):
    rows = cells(values, None)
    if form == "whole":
        rows[0][2] = rows[1][4] = "1000"
    path = tmp_path / ("sub-01.1D" if form == "1D" else "sub-01.txt")
    path.write_text(joined(rows, ";" if "semi" in form else "  ").replace(".", ","))
    with pytest.raises(TableError, match=r"sub-01\.\w+ has decimal commas \(\d+,\d+\); write it with decimal points"):
        read_series(path, BY_ORDER, atlas)


@pytest.mark.parametrize("place", ["folder", "device", "gone", "packed and cut", "packed and not"])
def test_what_is_no_file_is_refused(tmp_path, atlas, values, place):
    path = tmp_path / ("sub-01.1D.gz" if "packed" in place else "sub-01.tsv")
    if place == "folder":
        path.mkdir()
    elif place == "device":
        path.symlink_to("/dev/zero")
    elif place != "gone":
        whole = joined(cells(values)).encode()
        path.write_bytes(gzip.compress(whole)[:-40] if "cut" in place else whole)
    error, told = (
        (FileNotFoundError, "series file sub-01.tsv is missing") if place == "gone" else (TableError, "sub-01")
    )
    with pytest.raises(error, match=told):
        read_series(path, "", atlas)


@pytest.mark.parametrize("form", ARRAYS)
def test_arrays_that_are_no_series_are_refused(tmp_path, monkeypatch, atlas, values, form):
    make, told = ARRAYS[form]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub-01.npy").write_bytes(make(values))
    with pytest.raises(TableError, match=rf"sub-01\.npy.*{told}"):
        read_series(tmp_path / "sub-01.npy", BY_ORDER, atlas)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("form", ["Fortran order", "big endian", "whole numbers", "halves", "version 3"])
def test_arrays_in_other_forms_hold_the_same_numbers(tmp_path, atlas, values, form):
    other = {"Fortran order": np.asfortranarray(values), "big endian": values.astype(">f8"), "version 3": values}
    array = other.get(form, np.round(values).astype("i4" if form == "whole numbers" else "f2"))
    with open(tmp_path / "sub-01.npy", "wb") as file:
        np.lib.format.write_array(file, array, version=(3, 0) if form == "version 3" else None)
    np.testing.assert_array_equal(read_series(tmp_path / "sub-01.npy", BY_ORDER, atlas), array.astype(float))


def test_arrays_in_archives_are_judged_alike(tmp_path, atlas, values):
    np.savez(tmp_path / "site.npz", good=values, complex=values + 1j, words=values.astype(str), flat=values[0])
    np.testing.assert_array_equal(read_series(tmp_path / "site.npz", "good", atlas), values)
    for key, told in {"complex": "complex numbers", "words": "array of <U", "flat": "shape"}.items():
        with pytest.raises(TableError, match=rf"site\.npz\[{key}\].*{told}"):
            read_series(tmp_path / "site.npz", key, atlas)


# what is no series by its content


@pytest.mark.parametrize(
    "kind",
    ["correlations", "fisher z", "covariances", "graph", "no diagonal", "upper half", "lower half"],
)
@pytest.mark.parametrize("form", ["names", "array", "names of rows", "more regions than the atlas"])
def test_matrices_are_refused_as_series(tmp_path, atlas, kind, form):
    table = pd.DataFrame(matrix(9 if "more" in form else 6, kind))
    path, key = tmp_path / f"sub-01.{'npy' if form == 'array' else 'csv'}", BY_ORDER if form == "array" else ""
    if form == "array":
        np.save(path, table.to_numpy())
    else:
        table.columns = [*NAMES, "x", "y", "z"][: len(table)]
        table.to_csv(path, index=form == "names of rows")
    with pytest.raises(TableError, match=r"sub-01\.\w+ holds .*(matrix|graph).*Give the series themselves"):
        read_series(path, key, atlas)


def test_series_are_no_matrices(values):
    assert matrix_like(values) == "" and matrix_like(values[:6]) == "" and matrix_like(np.zeros((6, 6))) == ""


def test_regions_that_are_alike_are_named(values):
    refuse_repeated(values)
    twice = values.copy()
    twice[:, 4] = twice[:, 1]
    with pytest.raises(TableError, match="regions 2 and 5 of the atlas have exactly the same series"):
        refuse_repeated(twice)
    with pytest.raises(TableError, match="all 6 regions with signal have one and the same series"):
        refuse_repeated(np.repeat(values[:, :1], 6, axis=1))
    silent = values.copy()
    silent[:, [1, 4]] = 0  # without signal is told otherwise
    refuse_repeated(silent)


@pytest.mark.parametrize("limits", [(-np.inf, 1005.0), (995.0, np.inf)])
def test_series_that_are_cut_off_are_refused(values, limits):
    with pytest.raises(TableError, match=r"of all values are exactly the (largest|smallest).*cut off"):
        refuse_repeated(np.clip(values, *limits))


# confounds


CONFOUNDS = {
    "no displacement": (lambda t: t.drop(columns="framewise_displacement"), "lacks the column framewise_displacement"),
    "other length": (lambda t: t.iloc[1:], "40 volumes but 39 rows of confounds"),
    "unknown": (lambda t: t.assign(framewise_displacement=np.nan), "no number in 40 of 40 volumes"),
    "negative": (lambda t: t.assign(framewise_displacement=-1.0), "of volume 1 is -1 mm"),
    "one negative": (lambda t: t.assign(framewise_displacement=[0.1] * 39 + [-9999]), "of volume 40 is -9999 mm"),
    "micrometres": (lambda t: t.assign(framewise_displacement=120.0), "120 mm on average"),
    "words": (lambda t: t.assign(trans_x=["0.1"] * 39 + ["bad"]), r"line 41, column 2 \(trans_x\) holds 'bad'"),
    "decimal commas": (lambda t: t.assign(csf="0,5"), r"decimal commas \(0,5\).*column 4 \(csf\)"),
}


@pytest.fixture
def table() -> pd.DataFrame:
    shaken = {"framewise_displacement": 0.1, "trans_x": 0.01, "rot_x": 0.001, "csf": 500.0}
    return pd.DataFrame(shaken, index=range(40)).assign(note="still")


@pytest.mark.parametrize("form", CONFOUNDS)
def test_confounds_are_refused_with_their_place(tmp_path, table, form):
    make, told = CONFOUNDS[form]
    make(table).to_csv(tmp_path / "c.tsv", sep="\t", index=False, na_rep="n/a")
    with pytest.raises(TableError, match=told) as refused:
        read_confounds(tmp_path / "c.tsv", 40)
    assert "c.tsv" in str(refused.value) and "atlas" not in str(refused.value)


@pytest.mark.parametrize(
    "form", ["a tab at the end of every line", "byte-order mark", "CRLF", "UTF-16", "quotes in a TSV"]
)
def test_confounds_are_read_by_the_same_reader(tmp_path, table, form):
    table.loc[0, "framewise_displacement"] = np.nan
    rows = [list(table.columns), *table.astype(object).fillna("n/a").astype(str).to_numpy().tolist()]
    (tmp_path / "c.tsv").write_bytes(HARMLESS[form](rows))
    read = read_confounds(tmp_path / "c.tsv", 40)
    pd.testing.assert_frame_equal(read, table.drop(columns="note"))  # words that nothing reads


def test_lines_of_comments_shift_no_line_number(tmp_path):
    (tmp_path / "a.1D").write_text("# one\n# two\n5 7\n3 x\n")
    with pytest.raises(TableError, match="line 4, column 2 holds 'x'"):
        read_numbers(tmp_path / "a.1D").values()
