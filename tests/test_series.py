"""Series are matched to regions by name or code, never by position; unreadable files are named."""

import gzip

import numpy as np
import pandas as pd
import pytest

from dysconnect.data.series import BY_ORDER, read_confounds, read_index, read_series, series_hash, write_series


@pytest.fixture
def few(nodes) -> pd.DataFrame:
    """Five regions."""
    return nodes.iloc[10:15].reset_index(drop=True)


@pytest.fixture
def values() -> np.ndarray:
    """Series of five regions, [30, 5]."""
    return np.random.default_rng(0).normal(size=(30, 5))


def write_1d(path, codes, values):
    """Write C-PAC's text format, compressed where the name says so."""
    lines = ["\t".join(f"#{code}" for code in codes), *("\t".join(f"{x:.8f}" for x in row) for row in values)]
    text = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def test_shuffled_tsv_columns_are_matched_by_name(tmp_path, few, values):
    order = [3, 0, 4, 1, 2]
    write_series(values[:, order], few["name"].iloc[order], tmp_path / "a.tsv")
    np.testing.assert_allclose(read_series(tmp_path / "a.tsv", "", few), values, rtol=1e-5)


def test_further_columns_are_passed_over(tmp_path, few, values):
    write_series(np.c_[values[:, :2], np.full(30, 9.0), values[:, 2:]], [*few["name"][:2], "extra", *few["name"][2:]],
                 tmp_path / "a.tsv")  # fmt: skip
    np.testing.assert_allclose(read_series(tmp_path / "a.tsv", "", few), values, rtol=1e-5)


@pytest.mark.parametrize("suffix", ["1D", "1D.gz"])
def test_1d_columns_are_matched_by_code(tmp_path, few, values, suffix):
    order = [4, 2, 0, 1, 3]
    path = tmp_path / f"a_rois_x.{suffix}"
    write_1d(path, few["node"].iloc[order], values[:, order])
    np.testing.assert_allclose(read_series(path, "", few), values, atol=1e-7)


def test_archive_of_another_atlas_names_the_file_and_the_remedy(tmp_path, few, values):
    np.savez(tmp_path / "NYU.npz", S1=values[:, :4])
    with pytest.raises(ValueError, match=r"NYU\.npz\[S1\] has shape \(30, 4\), the atlas 5 regions.*atlas=NAME"):
        read_series(tmp_path / "NYU.npz", "S1", few)


def test_archive_gives_the_array_of_its_key(tmp_path, few, values):
    np.savez(tmp_path / "NYU.npz", S1=values, S2=-values)
    np.testing.assert_array_equal(read_series(tmp_path / "NYU.npz", "S2", few), -values)


def test_archive_without_the_key_names_file_and_key(tmp_path, few, values):
    np.savez(tmp_path / "NYU.npz", S1=values)
    with pytest.raises(FileNotFoundError, match=r"NYU\.npz has no series S9"):
        read_series(tmp_path / "NYU.npz", "S9", few)


def test_missing_region_is_named_with_the_remedy(tmp_path, few, values):
    write_series(values[:, :4], few["name"].iloc[:4], tmp_path / "a.tsv")
    with pytest.raises(ValueError, match=rf"a\.tsv .*lacks 1 of the atlas's 5.*{few['name'][4]}.*atlas=NAME"):
        read_series(tmp_path / "a.tsv", "", few)


def test_missing_file_is_named(tmp_path, few):
    with pytest.raises(FileNotFoundError, match=r"series file gone\.tsv is missing"):
        read_series(tmp_path / "gone.tsv", "", few)


@pytest.mark.parametrize("name", ["a.tsv", "a_rois_x.1D", "a_rois_x.1D.gz"])
def test_rubbish_is_named(tmp_path, few, name):
    content = b"one\ttwo\nthree\tfour\n"
    (tmp_path / name).write_bytes(gzip.compress(content)[:-9] if name.endswith("gz") else content)
    with pytest.raises(ValueError, match=rf"{name} cannot be read as a table of numbers"):
        read_series(tmp_path / name, "", few)


@pytest.mark.parametrize("damage", ["cut short", "one byte wrong", "no archive"])
def test_damaged_archive_is_named(tmp_path, few, values, damage):
    path = tmp_path / "NYU.npz"
    np.savez(path, S1=values)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes({"cut short": content[:400], "one byte wrong": bytes(content), "no archive": b"rubbish"}[damage])
    with pytest.raises(ValueError, match=r"NYU\.npz.* cannot be read"):
        read_series(path, "S1", few)


def test_hash_depends_on_values_and_shape_only(values):
    assert series_hash(values) == series_hash(values.copy(order="F"))
    assert series_hash(values) != series_hash(values.reshape(5, 30))
    assert series_hash(values) != series_hash(values + 1e-9)


def test_index_paths_are_relative_to_the_index(tmp_path):
    (tmp_path / "index.tsv").write_text(
        "participant_id\tseries\tkey\tconfounds\trepetition_time\nsub-1\traw/a.tsv\t\t\t2.5\n"
    )
    row = read_index(tmp_path / "index.tsv").iloc[0]
    assert row["series"] == str((tmp_path / "raw" / "a.tsv").resolve())
    assert row["confounds"] == ""
    assert row["repetition_time"] == 2.5


def test_confounds_read_not_available_as_nan(tmp_path):
    (tmp_path / "c.tsv").write_text("trans_x\tframewise_displacement\n0.1\tn/a\n0.2\t0.3\n")
    assert read_confounds(tmp_path / "c.tsv")["framewise_displacement"].isna().tolist() == [True, False]
    with pytest.raises(FileNotFoundError, match=r"confounds file d\.tsv is missing"):
        read_confounds(tmp_path / "d.tsv")


def test_1d_without_codes_loses_no_volume(tmp_path, few, values):
    np.savetxt(tmp_path / "afni.1D", values, header="3dROIstats -mask atlas.nii")
    np.savetxt(tmp_path / "plain.1D", values)
    for name in ("afni.1D", "plain.1D"):
        np.testing.assert_allclose(read_series(tmp_path / name, BY_ORDER, few), values)
