"""Confounds against closed forms and plain loops."""

import json

import numpy as np
import pandas as pd
import pytest

from dysconnect.preprocess.confounds import (
    compcor,
    confounds_table,
    cosine_regressors,
    dvars,
    erode,
    expand_motion,
    framewise_displacement,
    write_confounds,
)


@pytest.fixture
def run():
    """A small BOLD with a bright box as brain; CSF and white matter carry one sine each."""
    rng = np.random.default_rng(0)
    mask = np.zeros((14, 14, 12), bool)
    mask[1:-1, 1:-1, 1:-1] = True
    csf, white = np.zeros_like(mask), np.zeros_like(mask)
    csf[2:6, 2:12, 2:10], white[8:12, 2:12, 2:10] = True, True
    data = 1000 + rng.standard_normal((*mask.shape, 100)).astype(np.float32) * 5
    phase = 2 * np.pi * np.arange(100) / 100
    data[csf] += 20 * np.sin(15 * phase)
    data[white] += 20 * np.sin(22 * phase)
    return data, mask, csf, white


def test_framewise_displacement_is_power_2012():
    parameters = np.zeros((4, 6))
    parameters[1] = [0.1, -0.2, 0.3, 0.001, -0.002, 0.003]
    parameters[3] = [0, 0, 1, 0, 0, np.pi / 180]
    displacement = framewise_displacement(parameters)
    assert np.isnan(displacement[0])
    np.testing.assert_allclose(displacement[1:], [0.6 + 50 * 0.006, 0.9, 1 + 50 * np.pi / 180])
    np.testing.assert_allclose(framewise_displacement(parameters, radius=80)[1], 0.6 + 80 * 0.006)


def test_framewise_displacement_refuses_a_wrong_shape():
    with pytest.raises(ValueError, match=r"\(10, 3\)"):
        framewise_displacement(np.zeros((10, 3)))


def test_24_parameters():
    parameters = np.random.default_rng(1).standard_normal((9, 6))
    table = expand_motion(parameters)
    assert table.shape == (9, 24)
    assert list(table)[:4] == ["trans_x", "trans_x_derivative1", "trans_x_derivative1_power2", "trans_x_power2"]
    np.testing.assert_allclose(table["rot_z_derivative1_power2"][1:], np.diff(parameters[:, 5]) ** 2)
    np.testing.assert_allclose(table["trans_y_power2"], parameters[:, 1] ** 2)
    assert table["rot_x_derivative1"].isna().tolist() == [True] + [False] * 8


def plain_dvars(data, mask):
    """One voxel at a time, as the definition reads."""
    series = data[mask].astype(float)
    series = series / np.median(series) * 1000
    changes, expected = [], []
    for voxel in series:
        ordered = np.sort(voxel)
        quartiles = ordered[[int(0.25 * (len(voxel) - 1)), int(0.75 * (len(voxel) - 1))]]
        spread = (quartiles[1] - quartiles[0]) / 1.349
        if spread == 0:
            continue
        centred = voxel - voxel.mean()
        lag = sum(centred[1:] * centred[:-1]) / sum(centred**2)
        changes.append(np.diff(voxel))
        expected.append(np.sqrt(2 * (1 - lag)) * spread)
    plain = np.sqrt(np.mean(np.square(changes), axis=0))
    return plain / np.mean(expected), plain


def test_dvars_is_the_plain_loop(run):
    data, mask, *_ = run
    data[5, 5, 5] = 900  # a voxel that never changes is left out
    standard, plain = dvars(data[mask])
    loop_standard, loop_plain = plain_dvars(data, mask)
    np.testing.assert_allclose(standard[1:], loop_standard, rtol=1e-6)
    np.testing.assert_allclose(plain[1:], loop_plain, rtol=1e-6)
    assert np.isnan(standard[0]) and np.isnan(plain[0])


def test_standardised_dvars_is_one_for_autoregressive_noise():
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((10, 10, 10, 400))
    for t in range(1, 400):
        noise[..., t] = 0.4 * noise[..., t - 1] + np.sqrt(1 - 0.4**2) * noise[..., t]
    noise[..., 200] += 3  # a spike in all voxels: seen going in and coming out
    standard, _ = dvars((1000 + 8 * noise).reshape(1000, 400))
    assert abs(np.nanmedian(standard) - 1) < 0.02
    assert set(np.argsort(np.nan_to_num(standard))[-2:]) == {200, 201}


def test_dvars_refuses_what_has_none(run):
    data, mask, *_ = run
    with pytest.raises(ValueError, match="no voxel of the brain varies"):
        dvars(np.ones_like(data[mask]))
    with pytest.raises(ValueError, match="median intensity of the brain is 0"):
        dvars(np.zeros_like(data[mask]))
    with pytest.raises(ValueError, match="median intensity of the brain is 0"):
        dvars(data[np.zeros_like(mask)])


def test_cosines_are_orthonormal_and_slow():
    cosines = cosine_regressors(200, 2.0)
    assert cosines.shape == (200, 6)  # floor(2 x 400 s / 128 s)
    np.testing.assert_allclose(cosines.T @ cosines, np.eye(6), atol=1e-12)
    np.testing.assert_allclose(cosines.sum(0), 0, atol=1e-10)
    assert cosine_regressors(20, 2.0).shape == (20, 0)


def test_erosion_stops_before_nothing_is_left():
    mask = np.zeros((12, 12, 12), bool)
    mask[2:10, 2:10, 2:10] = True
    assert erode(mask).sum() == 6**3
    assert erode(mask, steps=9).sum() == 4**3  # one layer more would leave 8 voxels


def test_compcor_finds_the_planted_sources():
    rng = np.random.default_rng(3)
    sources = np.linalg.qr(np.c_[np.ones(150), cosine_regressors(150, 2.0), rng.standard_normal((150, 2))])[0][:, -2:]
    weights = rng.standard_normal((8, 8, 8, 2)) * [300, 150]
    data = 1000 + weights @ sources.T + rng.standard_normal((8, 8, 8, 150))
    data += 2000 * cosine_regressors(150, 2.0)[:, 0]  # drift must not become a component
    components, explained = compcor(data.reshape(512, 150), 2.0, keep=2)
    assert components.shape == (150, 2)
    np.testing.assert_allclose(components.T @ components, np.eye(2), atol=1e-10)
    canonical = np.linalg.svd(components.T @ sources)[1]
    assert canonical.min() > 0.98
    assert explained["CumulativeVarianceExplained"].iloc[-1] > 0.8


def test_compcor_is_the_svd_of_the_scaled_series(run):
    data, _, csf, _ = run
    components, explained = compcor(data[csf], 2.0, keep=3)
    series = data[csf].astype(float)
    drift = np.c_[np.full(100, 0.1), cosine_regressors(100, 2.0)]
    series -= series @ drift @ drift.T
    series /= series.std(1, ddof=1)[:, None]
    _, values, right = np.linalg.svd(series, full_matrices=False)
    np.testing.assert_allclose(np.abs((components * right[:3].T).sum(0)), 1, atol=1e-8)
    np.testing.assert_allclose(explained["SingularValue"], values[:3], rtol=1e-8)
    np.testing.assert_allclose(explained["VarianceExplained"], values[:3] ** 2 / (values**2).sum(), rtol=1e-8)


def test_compcor_keeps_half_of_the_variance(run):
    data, _, csf, _ = run
    _, explained = compcor(data[csf], 2.0, keep=0.5)
    shares = explained["CumulativeVarianceExplained"].to_numpy()
    assert shares[-1] >= 0.5 and (len(shares) == 1 or shares[-2] < 0.5)


def test_compcor_needs_voxels_that_vary(run):
    data, _, csf, _ = run
    with pytest.raises(ValueError, match="0 voxels of the noise mask vary"):
        compcor(np.ones_like(data[csf]), 2.0)


def test_table_has_fmriprep_names_and_a_sidecar(run, tmp_path):
    data, mask, csf, white = run
    parameters = np.random.default_rng(4).standard_normal((100, 6)) * 0.01
    table = confounds_table(parameters, data[mask], mask, 2.0, csf, white, non_steady=2)
    first = {"global_signal", "csf", "white_matter", "dvars", "std_dvars", "framewise_displacement", "cosine00"}
    assert first | {"a_comp_cor_00", "c_comp_cor_00", "w_comp_cor_00", "non_steady_state_outlier01"} <= set(table)
    assert len(table) == 100 and table.shape[1] == len(set(table))
    np.testing.assert_allclose(table["csf"], data[csf].mean(0), rtol=1e-5)
    assert (table.loc[:1, ["cosine00", "a_comp_cor_00"]] == 0).all(axis=None)
    assert table["non_steady_state_outlier01"].sum() == table["non_steady_state_outlier01"][1] == 1
    write_confounds(table, tmp_path / "sub-1_desc-confounds_timeseries.tsv")
    again = pd.read_csv(tmp_path / "sub-1_desc-confounds_timeseries.tsv", sep="\t", na_values="n/a")
    np.testing.assert_allclose(again["framewise_displacement"][1:], framewise_displacement(parameters)[1:])
    told = json.loads((tmp_path / "sub-1_desc-confounds_timeseries.json").read_text())
    assert told["a_comp_cor_00"]["Mask"] == "combined" and told["w_comp_cor_00"]["Mask"] == "WM"


def test_components_of_each_tissue_are_its_own_signal(run):
    data, mask, csf, white = run
    table = confounds_table(np.zeros((100, 6)), data[mask], mask, 2.0, csf, white)
    phase = 2 * np.pi * np.arange(100) / 100
    assert abs(np.corrcoef(table["c_comp_cor_00"], np.sin(15 * phase))[0, 1]) > 0.99
    assert abs(np.corrcoef(table["w_comp_cor_00"], np.sin(22 * phase))[0, 1]) > 0.99


def test_nilearn_reads_the_table(run, tmp_path):
    from nilearn.interfaces.fmriprep import load_confounds

    data, mask, csf, white = run
    table = confounds_table(np.zeros((100, 6)), data[mask], mask, 2.0, csf, white)
    stem = tmp_path / "sub-1_task-rest"
    write_confounds(table, tmp_path / f"{stem.name}_desc-confounds_timeseries.tsv")
    image = tmp_path / f"{stem.name}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
    image.touch()
    strategy = ("motion", "high_pass", "compcor", "global_signal", "wm_csf")
    loaded, _ = load_confounds(str(image), strategy, motion="full", compcor="anat_combined", n_compcor=1)
    assert {"a_comp_cor_00", "cosine00", "trans_x_derivative1_power2", "csf"} <= set(loaded)


def test_rows_and_volumes_must_agree(run):
    data, mask, *_ = run
    with pytest.raises(ValueError, match="99 rows of motion parameters but 100 volumes"):
        confounds_table(np.zeros((99, 6)), data[mask], mask, 2.0)


def test_series_and_mask_must_agree(run):
    data, mask, csf, _ = run
    with pytest.raises(ValueError, match="series, but"):
        confounds_table(np.zeros((100, 6)), data[csf], mask, 2.0)
    with pytest.raises(ValueError, match="mask of csf is empty"):
        confounds_table(np.zeros((100, 6)), data[mask], mask, 2.0, np.zeros_like(csf))


def test_tissues_are_optional(run):
    data, mask, *_ = run
    table = confounds_table(np.zeros((100, 6)), data[mask], mask, 2.0)
    assert not [name for name in table if "comp_cor" in name or name in ("csf", "white_matter")]
