"""Diffusion images cleaned: against the field, motion, eddy currents and lost slices of a simulated scanner."""

import epi
import numpy as np
import pytest

from dysconnect.data.images.rigid import rigid_matrices, rigid_parameters
from dysconnect.diffusion.clean import cleaned
from dysconnect.diffusion.quality import scan_quality
from dysconnect.diffusion.susceptibility import estimate_field
from dysconnect.reading.encoding import Encoding

FORWARD, BACKWARD = Encoding(1, 1, epi.SECONDS), Encoding(1, -1, epi.SECONDS)
LOST = (3, 10, 20)


@pytest.fixture(scope="module")
def scan():
    return epi.series(lost=LOST)


@pytest.fixture(scope="module")
def clean(scan):
    return cleaned(scan.data, epi.AFFINE, scan.bvals, scan.bvecs, FORWARD, scan.reverse, BACKWARD)


def errors(found, true):
    """Mean distance in the brain (mm) and angle (degrees) between motions [V, 6]."""
    places = epi.grid()[epi.true_shift()[1]]
    apart = np.linalg.inv(rigid_matrices(true, np.zeros(3))) @ rigid_matrices(found, np.zeros(3))
    away = np.einsum("vij,pj->vpi", apart[:, :3, :3], places) + apart[:, None, :3, 3] - places
    trace = np.trace(apart[:, :3, :3], axis1=1, axis2=2)
    return np.linalg.norm(away, axis=2).mean(1), np.rad2deg(np.arccos(((trace - 1) / 2).clip(-1, 1)))


@pytest.mark.parametrize("moved", [None, [0.8, 0, -0.6, 0.015, -0.01, 0.01]])
def test_field_is_that_of_the_scanner(moved):
    motion = None if moved is None else rigid_matrices(np.array([moved]), np.zeros(3))[0]
    plus, minus = (epi.scan(0, (0, 0, 0), *where)[0] for where in ((None, "j"), (motion, "j-")))
    field = estimate_field(plus, minus, epi.AFFINE, 1)
    true, brain = epi.true_shift()
    assert np.sqrt(((field.shift - true)[brain] ** 2).mean()) < 0.15
    assert np.corrcoef(field.shift[brain], true[brain])[0, 1] > 0.99
    assert field.before < 0.9 < 0.99 < field.after
    if moved is not None:
        np.testing.assert_allclose(rigid_parameters(field.motion[None])[0], moved, atol=0.15)


@pytest.fixture(scope="module")
def pair():
    return [epi.scan(0, (0, 0, 0), None, direction, field)[0] for direction, field in (("j", 1), ("j-", 0.5))]


def test_half_the_readout_shifts_half_as_far(pair):
    true, brain = epi.true_shift()
    field = estimate_field(*pair, epi.AFFINE, 1, ratio=0.5)
    assert np.sqrt(((field.shift - true)[brain] ** 2).mean()) < 0.15
    wrong = estimate_field(*pair, epi.AFFINE, 1)
    assert np.sqrt(((wrong.shift - true)[brain] ** 2).mean()) > 0.1


def test_field_does_not_depend_on_the_order_of_voxels(pair):
    field = estimate_field(*pair, epi.AFFINE, 1, ratio=0.5)
    turned = epi.AFFINE @ np.array([[0, 1, 0, 0], [-1, 0, 0, epi.SHAPE[1] - 1], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    other = estimate_field(*(np.swapaxes(image, 0, 1)[::-1] for image in pair), turned, 0, ratio=0.5)
    back = -np.swapaxes(other.shift[::-1], 0, 1)  # the axis runs the other way
    inside = epi.true_shift()[1]
    assert np.abs(back - field.shift)[inside].mean() < 0.02


def test_motion_is_that_of_the_head(scan, clean):
    whole = np.setdiff1d(np.arange(len(scan.bvals)), scan.lost)  # in those the head jumps within the volume
    away, turned = errors(clean.motion[whole], scan.motion[whole])
    before, _ = errors(0 * scan.motion[whole], scan.motion[whole])
    assert before.mean() > 0.5
    assert away.mean() < 0.15 and away.max() < 0.3
    assert turned.mean() < 0.2 and turned.max() < 0.3


def test_gradients_turn_with_the_head(scan, clean):
    turns = rigid_matrices(scan.motion, np.zeros(3))[:, :3, :3]
    weighted = np.setdiff1d(np.flatnonzero(scan.bvals), scan.lost)
    true = np.einsum("vji,vj->vi", turns, scan.bvecs)[weighted]
    angle = np.rad2deg(np.arccos((true * clean.bvecs[weighted]).sum(1).clip(-1, 1)))
    assert angle.mean() < 0.2 and angle.max() < 0.3
    np.testing.assert_allclose(np.linalg.norm(clean.bvecs[weighted], axis=1), 1)


def test_eddy_currents_go_with_the_gradient(scan, clean):
    weighted = np.setdiff1d(np.flatnonzero(scan.bvals), scan.lost)
    assert np.corrcoef(clean.eddy[weighted].ravel(), scan.bvecs[weighted].ravel())[0, 1] > 0.9
    assert not clean.eddy[scan.bvals == 0].any()


def test_lost_slices_are_found_and_no_others(scan, clean):
    """Also at the end of the head, where a slice holds 36 voxels of it and the largest 552."""
    brain = epi.true_shift()[1].sum((0, 1))
    assert scan.dropped.sum() >= 6 and scan.dropped[:, brain < 0.1 * brain.max()].any()
    assert clean.dropped[scan.dropped].all()
    assert not (clean.dropped & ~scan.dropped).any()
    assert clean.quality["dropped_slices"] == pytest.approx(clean.dropped.sum() / (24 * 18), rel=0.2)


def test_slices_with_too_little_brain_are_counted_as_not_judged(clean):
    judged = np.isfinite(clean.bvecs[:, :1]) & (np.arange(20) > 1)  # two end slices are not
    mask = np.zeros((4, 4, 20), bool)
    mask[..., :10] = True
    data, bvals = np.random.default_rng(0).random((4, 4, 20, 28)), np.r_[0, np.full(27, 1000.0)]
    given = (data, mask, bvals, clean.bvecs, clean.motion, judged, judged & False)
    quality = scan_quality(*given, None)
    assert quality["slices_not_judged"] == pytest.approx(0.2) and quality["dropped_slices"] == 0


def test_signal_is_that_of_a_head_at_rest(scan, clean):
    """Without motion, eddy currents and distortion; gradients as the head saw them."""
    ks = [1, 5, *LOST[:1]]
    brain = epi.true_shift()[1]
    for k in ks:
        turn = rigid_matrices(scan.motion[k : k + 1], np.zeros(3))[0, :3, :3]
        rest, _ = epi.scan(1000, turn.T @ scan.bvecs[k], field=0, noise=1e-9)
        before, after = (np.corrcoef(data[brain, k], rest[brain])[0, 1] for data in (scan.data, clean.data))
        assert after > 0.95 and 1 - after < 0.7 * (1 - before)
        assert clean.data[brain, k].sum() == pytest.approx(rest[brain].sum(), rel=0.05)  # spread again, not lost


def test_quality_says_what_was_seen(scan, clean):
    quality = clean.quality
    true, brain = epi.true_shift()
    assert quality["field_rms"] == pytest.approx(np.sqrt((true[brain] ** 2).mean()), rel=0.1)
    assert quality["blip_agreement_after"] > 0.98 > 0.9 > quality["blip_agreement_before"]
    assert quality["mean_fd"] < quality["max_fd"] and 0 < quality["mean_displacement"] < quality["max_displacement"]
    assert quality["neighbour_correlation"] > 0.8
    assert (clean.mask & brain).sum() * 2 / (clean.mask.sum() + brain.sum()) > 0.93


def test_without_a_reversed_b0_the_distortion_stays(scan):
    few = np.r_[0:20]
    clean = cleaned(scan.data[..., few], epi.AFFINE, scan.bvals[few], scan.bvecs[few], FORWARD)
    assert clean.field is None and np.isnan(clean.quality["field_rms"])
    assert not np.isnan(clean.quality["snr_b0"])


def test_a_reversed_b0_of_the_same_direction_is_refused(scan):
    with pytest.raises(ValueError, match="PhaseEncodingDirection is j, that of the diffusion images j"):
        cleaned(scan.data, epi.AFFINE, scan.bvals, scan.bvecs, FORWARD, scan.reverse, FORWARD)


def spoiled(data, how):
    data = data.copy()
    data[..., 5] = how
    return data


BAD = {
    "empty": (0, "volumes 6 of 28 .* one value only"),
    "not a number": (np.nan, "volumes 6 of 28 .* NaN"),
    "noise": (np.random.default_rng(0).random(epi.SHAPE), "volumes 6 of 28 .* no head that fits"),
}


@pytest.mark.parametrize("how, message", BAD.values(), ids=BAD)
def test_a_damaged_volume_is_named(scan, how, message):
    with pytest.raises(ValueError, match=message):
        cleaned(spoiled(scan.data, how), epi.AFFINE, scan.bvals, scan.bvecs, FORWARD)


def test_other_grids_and_too_few_directions_are_refused(scan):
    with pytest.raises(ValueError, match=r"reversed b0 has shape \(31, 32, 20\)"):
        cleaned(scan.data, epi.AFFINE, scan.bvals, scan.bvecs, FORWARD, scan.reverse[:-1], BACKWARD)
    with pytest.raises(ValueError, match="9 weighted volumes are too few"):
        cleaned(scan.data[..., :11], epi.AFFINE, scan.bvals[:11], scan.bvecs[:11], FORWARD)
