"""Streamlines between regions: bundles that are known, numbers that follow from a formula, a scan that dipy ships."""

from dataclasses import replace
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import average_precision_score
from tracts import ALONG, B, directions, slab, truth

pytest.importorskip("dipy")
from dysconnect.diffusion.nodes import Regions, connected
from dysconnect.diffusion.noise import without_noise
from dysconnect.diffusion.ringing import without_ringing
from dysconnect.diffusion.tensor import tensor_maps
from dysconnect.diffusion.tracking import SHARPEST, Tissues, orientations, rim, seeds_in, sharpest_bend, streamlines

PAIRS = np.triu_indices(8, 1)
CODES = np.arange(1, 9)


@cache
def fitted(seed):
    """A phantom, its FA and its fibre orientations."""
    scan = slab(seed)
    return scan, *fits(scan)


def fits(scan):
    """FA and fibre orientations of a scan as it is."""
    inside = scan.white | (scan.labels > 0)
    fa = tensor_maps(scan.data, scan.bvals, scan.bvecs, inside).fa
    return fa, orientations(scan.data, scan.bvals, scan.bvecs, inside, scan.affine)


def matrices(scan, fa, fibres, seed=1, seeds=4000, probabilistic=True, fewest=1):
    """Matrices of a phantom."""
    points = seeds_in(rim(scan.tissues), scan.affine, seeds, seed)
    lines = streamlines(fibres, scan.tissues, points, scan.affine, seed=seed, probabilistic=probabilistic)
    return connected(lines, Regions.of(scan.labels, scan.affine, CODES), {"fa": fa}, scan.affine, fewest=fewest)


def scores(seed, **how):
    """Average precision of the true pairs by their counts, and the share of streamlines that join such."""
    count, true = matrices(*fitted(seed), **how)["count"][PAIRS], truth()[PAIRS]
    return average_precision_score(true, count), count[true].sum() / count.sum()


def test_known_bundles_are_found_where_they_cross():
    precision, share = np.array([scores(seed) for seed in range(4)]).T
    assert precision.min() >= 0.95
    assert share.min() >= 0.8


def test_the_most_likely_direction_alone_loses_its_way():
    """Known to fail: so the phantom tells good tracking from bad."""
    precision, share = np.array([scores(seed, probabilistic=False) for seed in range(2)]).T
    assert precision.mean() < 0.95 and precision.min() < 0.9 and share.mean() < 0.8


@pytest.fixture(scope="module")
def bench():
    path = Path(__file__).parents[1] / "benchmarks" / "diffusion.py"
    spec = spec_from_file_location("diffusion_benchmark", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_bundle_that_is_much_lower_in_half_of_the_people_is_named_alone(bench, tmp_path, monkeypatch):
    """From images to the name of an edge; the power at small effects is measured by benchmarks/diffusion.py chain."""
    group = np.zeros((8, 6), bool)
    group[:4, 4] = True
    monkeypatch.setattr(bench, "lowered", lambda people: group[:people])
    edges = np.stack([bench.phantom_fa((tmp_path, 0, person, 8.0)) for person in range(8)])
    row = bench.study(edges, 8, 4, 0, SimpleNamespace(seed=0))
    assert row["named"] and row["named_by_true_values"] and not row["other_named"]


def test_power_of_a_study_is_that_of_the_formula(bench):
    rng, group = np.random.default_rng(0), bench.lowered(104)
    assert (group[:8].sum(0) == 4).all() and ((group[:8].T * 1 @ group[:8])[~np.eye(6, dtype=bool)] == 2).all()
    edges = np.c_[rng.standard_normal((104, 28)), np.zeros((104, 6))]
    edges[:, list(zip(*PAIRS)).index((1, 7))] -= 1.2 * group[:, 4]
    edges[:, 28:] = rng.standard_normal((104, 6))
    rows = [bench.study(edges, 50, 4, draw, SimpleNamespace(seed=0)) for draw in range(12)]
    assert np.mean([row["named"] for row in rows]) == pytest.approx(bench.formula(50, 1.2, 28), abs=0.3)
    assert bench.formula(50, 0, 20) == pytest.approx(0.05 / 20)


def test_the_same_seed_gives_the_same_digits():
    first, again, other = (matrices(*fitted(3), seed=seed, seeds=500) for seed in (1, 1, 2))
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name])
    assert (first["count"] != other["count"]).any()


def test_gradients_are_along_the_scanner_and_not_along_the_voxels():
    """Turned and mirrored, the same scan has the same connections; with gradients left as they were it has not."""
    scan, *fit = fitted(0)
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((3, 3)))[0] * [-1, 1, 1]
    assert np.linalg.det(turn) < 0
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * 2, [30, -10, 5]
    turned = replace(scan, affine=affine, bvecs=scan.bvecs @ turn.T)
    still, moved = matrices(scan, *fit), matrices(turned, *fits(turned))
    assert average_precision_score(truth()[PAIRS], moved["count"][PAIRS]) > 0.95
    assert np.corrcoef(still["count"][PAIRS], moved["count"][PAIRS])[0, 1] > 0.98
    left = replace(scan, affine=affine)
    wrong = matrices(left, *fits(left))["count"]
    assert wrong.sum() < 0.5 * still["count"].sum()


def straight(start, end, step=0.5):
    """A straight streamline."""
    share = np.linspace(0, 1, round(np.linalg.norm(np.subtract(end, start)) / step) + 1)[:, None]
    return np.asarray(start) + share * np.subtract(end, start)


def test_matrices_of_straight_streamlines_are_what_geometry_says():
    affine = np.diag([2.0, 2, 2, 1])
    labels = np.zeros((30, 30, 10), int)
    labels[2:5, 2:5, 2:5], labels[25:28, 2:5, 2:5], labels[2:6, 25:28, 2:5] = 7, 3, 12  # with gaps, and unsorted
    labels[15, 15, 5] = 99  # no region of the atlas
    fa = np.broadcast_to(np.linspace(0.1, 0.7, 30)[:, None, None], labels.shape)  # changes along x alone
    across = [straight([8, 6, 6], [50, 6, 6]), straight([50, 7, 6], [8, 7, 6])]
    up = [straight([6, 8, 6], [6, 50, 6])]
    lost = [straight([8, 6, 6], [30, 6, 6]), straight([4, 4, 4], [8, 8, 8]), straight([30, 30, 10], [8, 6, 6])]
    regions = Regions.of(labels, affine, np.array([7, 12, 3, 5]))
    np.testing.assert_allclose(regions.volumes, [27 * 8, 36 * 8, 27 * 8, 0])
    out = connected([across[:1] + lost, [], across[1:] + up], regions, {"fa": fa}, affine)
    counts = np.zeros((4, 4))
    counts[0, 2] = counts[2, 0] = 2
    counts[0, 1] = counts[1, 0] = 1
    np.testing.assert_array_equal(out["count"], counts)
    assert out["length"][0, 2] == pytest.approx(42) and out["length"][1, 0] == pytest.approx(42)
    assert out["fa"][2, 0] == pytest.approx(np.interp(29 / 2, np.arange(30), fa[:, 0, 0]))  # of its middle
    assert out["fa"][0, 1] == pytest.approx(fa[3, 0, 0])
    assert out["density"][0, 1] == pytest.approx(1 / (0.42 * 8e-3 * (27 + 36) / 2))  # dm, cm3
    none = counts == 0
    for name in ("fa", "length"):
        assert np.isnan(out[name][none]).all()
    assert (out["density"][none] == 0).all()


@pytest.mark.parametrize("radius, kept", [(30, True), (12, True), (6, False)])
def test_sharp_bends_are_told_from_noise_of_single_steps(radius, kept):
    rng, angle = np.random.default_rng(0), np.arange(0, 2.5, 1 / radius)  # a step of 1 mm
    arc = radius * np.column_stack([np.cos(angle), np.sin(angle), 0 * angle])
    assert sharpest_bend(arc, 5) == pytest.approx(np.rad2deg(5 / radius), abs=0.1)
    assert (sharpest_bend(arc + rng.normal(0, 0.15, arc.shape), 5) <= SHARPEST) == kept
    assert sharpest_bend(arc[:2], 5) == 0


def test_an_end_belongs_to_the_nearest_region_within_reach():
    labels = np.zeros((10, 3, 3), int)
    labels[2], labels[7] = 1, 2
    regions = Regions.of(labels, np.eye(4), np.array([1, 2]))
    ends = [[2, 1, 1], [3.9, 1, 1], [4.1, 1, 1], [5.2, 1, 1], [0.5, 1, 1], [-0.5, 1, 1]]
    assert regions.at(np.array(ends), 2.0).tolist() == [0, 0, -1, 1, 0, -1]


def test_no_streamline_is_no_error():
    regions = Regions.of(np.zeros((4, 4, 4), int), np.eye(4), np.array([1, 2]))
    out = connected([[], [straight([0, 0, 0], [3, 3, 3])]], regions, {"fa": np.ones((4, 4, 4))}, np.eye(4))
    assert not out["count"].any() and np.isnan(out["fa"]).all()


def test_the_tensor_is_the_one_that_was_simulated():
    bvals, bvecs = np.r_[np.zeros(3), np.full(30, B)], np.vstack([np.zeros((3, 3)), directions(30)])
    axis = np.array([1, 2, 2]) / 3
    signal = 100 * np.exp(-bvals * (2e-4 + (ALONG - 2e-4) * (bvecs @ axis) ** 2))
    mask = np.zeros((2, 2, 2), bool)
    mask[0] = True
    maps = tensor_maps(np.broadcast_to(signal, (2, 2, 2, 33)), bvals, bvecs, mask)
    values = np.array([ALONG, 2e-4, 2e-4])
    fa = np.sqrt(1.5 * ((values - values.mean()) ** 2).sum() / (values**2).sum())
    np.testing.assert_allclose(maps.fa[mask], fa, rtol=1e-5)
    np.testing.assert_allclose(maps.md[mask], values.mean(), rtol=1e-5)
    np.testing.assert_allclose(abs(maps.direction[mask] @ axis), 1, atol=1e-6)
    assert not maps.fa[~mask].any() and not maps.direction[~mask].any()


def shipped():
    """The 10 x 10 x 10 voxels of a brain with 64 directions that come with dipy; gradients along the voxels."""
    from dipy.data import get_fnames
    from dipy.io.gradients import read_bvals_bvecs
    from nibabel import load

    image, bval, bvec = get_fnames(name="small_64D")
    bvals, bvecs = read_bvals_bvecs(bval, bvec)
    return load(image).get_fdata(dtype=np.float32), bvals, np.nan_to_num(bvecs)


def test_a_real_scan_has_dipys_tensor_and_orientations():
    from dipy.core.gradients import gradient_table
    from dipy.reconst.csdeconv import ConstrainedSphericalDeconvModel, auto_response_ssst
    from dipy.reconst.dti import TensorModel

    data, bvals, bvecs = shipped()
    mask = np.ones(data.shape[:3], bool)
    mask[0] = False
    table = gradient_table(bvals, bvecs=bvecs, b0_threshold=50)
    theirs, ours = TensorModel(table).fit(data), tensor_maps(data, bvals, bvecs, mask)
    np.testing.assert_allclose(ours.fa[mask], theirs.fa[mask], atol=1e-6)
    np.testing.assert_allclose(ours.md[mask], theirs.md[mask], rtol=1e-5)
    assert 0.2 < np.median(ours.fa[mask]) < 0.7  # a brain's
    response, _ = auto_response_ssst(table, data * mask[..., None], roi_center=[5, 4, 4], roi_radii=10, fa_thr=0.7)
    expected = ConstrainedSphericalDeconvModel(table, response, sh_order_max=8).fit(data[mask]).shm_coeff
    fibres = orientations(data, bvals, bvecs, mask, np.eye(4))
    np.testing.assert_allclose(fibres[mask], expected, atol=1e-5 * np.abs(expected).max())
    assert not fibres[~mask].any()


def ringing_image(length=48, fine=8):
    """A disc and a bar as k-space of so many points shows them, [length, length]."""
    y, x = np.indices((length * fine, length * fine)) / fine - length / 2
    truth = 100.0 * (np.hypot(x, y) < 0.36 * length) + 60 * (abs(x - 5) < 4) * (abs(y) < 9)
    k = np.fft.fftshift(np.fft.fft2(truth))
    cut = slice(length * (fine - 1) // 2, length * (fine + 1) // 2)
    return np.abs(np.fft.ifft2(np.fft.ifftshift(k[cut, cut]))) / fine**2


@pytest.mark.parametrize("shape", [(48, 48), (47, 40)])
@pytest.mark.parametrize("slices", [2, 0])
def test_ringing_is_removed_as_dipy_does(shape, slices):
    """To 1e-4 of the brightest in 99 voxels of 100; where two shifts are equally good, rounding chooses."""
    from dipy.denoise.gibbs import gibbs_removal

    rng = np.random.default_rng(0)
    image = ringing_image()[: shape[0], : shape[1], None, None]
    volumes = np.abs(image + rng.normal(0, 2, (*shape, 2, 2))).astype(np.float32)
    volumes = np.moveaxis(volumes, 2, slices)
    ours, before = without_ringing(volumes, slices), volumes.copy()
    theirs = gibbs_removal(volumes.copy(), slice_axis=slices)
    apart = np.abs(ours - theirs)
    np.testing.assert_array_equal(volumes, before)
    assert ours.dtype == np.float32
    assert (apart < 1e-4 * theirs.max()).mean() > 0.99 and apart.max() < 0.02 * theirs.max()


def test_ringing_is_less_than_before():
    image = ringing_image()
    inside = ndimage.binary_erosion(np.hypot(*(np.indices(image.shape) - 24)) < 17, iterations=2)
    inside[8:, 20:40] = False  # without the bar
    after = without_ringing(image[:, :, None, None])[:, :, 0, 0]
    assert np.abs(after - 100)[inside].mean() < 0.4 * np.abs(image - 100)[inside].mean()


def test_noise_is_taken_out_and_its_size_known():
    scan = slab(0, snr=np.inf)
    rng, part = np.random.default_rng(1), np.s_[8:22, 8:22, 3:13]
    clean = scan.data[part]
    noisy = (clean + rng.normal(0, 4, clean.shape)).astype(np.float32)
    mask = np.ones(clean.shape[:3], bool)
    mask[:2] = False
    denoised, sigma = without_noise(noisy, mask)
    assert np.std((denoised - clean)[mask]) < 0.6 * 4
    assert np.median(sigma[mask]) == pytest.approx(4, rel=0.1)
    np.testing.assert_array_equal(denoised[~mask], noisy[~mask])
    assert np.isfinite(denoised).all() and not sigma[~mask].any()


def test_what_cannot_be_tracked_is_said():
    scan = slab(0)
    grey = np.exp(-scan.bvals * 8e-4) * np.ones((12, 12, 12, 1))
    with pytest.raises(ValueError, match=r"0 voxels in the middle .* fractional anisotropy above 0\.5"):
        orientations(grey, scan.bvals, scan.bvecs, np.ones((12, 12, 12), bool), scan.affine)
    with pytest.raises(ValueError, match="no voxel of white matter touches grey"):
        seeds_in(rim(Tissues(*np.zeros((3, 4, 4, 4)))), np.eye(4), 10, 0)
    with pytest.raises(ValueError, match="patches of 5 voxels"):
        without_noise(np.ones((4, 9, 9, 9)), np.ones((4, 9, 9), bool))


def test_seeds_are_spread_evenly():
    mask = np.zeros((5, 5, 5), bool)
    mask[1:3, 1:4, 2] = True
    affine = np.diag([2.0, 3, 4, 1])
    seeds = seeds_in(mask, affine, 20, 0)
    voxels, counts = np.unique(np.rint(seeds / [2, 3, 4]).astype(int), axis=0, return_counts=True)
    assert mask[tuple(voxels.T)].all() and len(voxels) == 6 and set(counts) == {3, 4}
    np.testing.assert_array_equal(seeds, seeds_in(mask, affine, 20, 0))
    assert not np.array_equal(seeds, seeds_in(mask, affine, 20, 1))


def test_few_streamlines_are_counted_and_not_averaged():
    """FA and length of a pair need `fewest` streamlines; counts and densities of all pairs stay as they are."""
    loose, strict = matrices(*fitted(0)), matrices(*fitted(0), fewest=10)
    few = loose["count"] < 10
    assert (few & (loose["count"] > 0)).any()
    np.testing.assert_array_equal(strict["count"], loose["count"])
    np.testing.assert_array_equal(strict["density"], loose["density"])
    for name in ("fa", "length"):
        assert np.isnan(strict[name][few]).all()
        np.testing.assert_array_equal(strict[name][~few], loose[name][~few])
