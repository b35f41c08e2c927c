"""Rigid motion: a template moved by known transforms must give them back."""

import nibabel as nib
import numpy as np
import pytest
import torch
from nilearn.datasets import load_mni152_template
from scipy import ndimage

from dysconnect.preprocess import leastsquares
from dysconnect.preprocess.motion import (
    centre_of_mass,
    estimate_motion,
    foreground,
    realign,
    register,
    rigid_matrices,
    steady_start,
)

SHAPE, SPACING, TSNR = (54, 60, 30), (3.5, 3.5, 4.5), 70
pytestmark = pytest.mark.usefixtures("one_torch_thread")


class Head:
    """A smooth continuous head, to be seen by any scanner in any position."""

    def __init__(self):
        template = load_mni152_template(resolution=2)
        image = ndimage.gaussian_filter(template.get_fdata(), 1.0)
        self.coefficients = ndimage.spline_filter(image / image.max() * 1000, order=3)
        self.back = np.linalg.inv(template.affine)

    def scan(self, affine, matrices, shape=SHAPE):
        """Volumes of the head; a point x of a volume is M x in the head, [X, Y, Z, T]."""
        grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3)
        volumes = np.empty((*shape, len(matrices)), np.float32)
        for t, matrix in enumerate(matrices):
            places = nib.affines.apply_affine(self.back @ matrix @ affine, grid).T
            seen = ndimage.map_coordinates(self.coefficients, places, order=3, prefilter=False)
            volumes[..., t] = seen.reshape(shape)
        return volumes


def oblique(handed: int = 1) -> np.ndarray:
    """Affine of a tilted scan with the head in its middle."""
    turn = rigid_matrices(np.r_[0, 0, 0, np.deg2rad([12, -5, 4])][None], np.zeros(3))[0]
    affine = turn @ np.diag([handed * SPACING[0], *SPACING[1:], 1])
    affine[:3, 3] = np.array([0, -18, 12]) - affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return affine


def drift_and_spikes(n: int, rng: np.random.Generator) -> np.ndarray:
    """Slow drift to 1 mm and 1 degree, with sudden moves to 2 mm and 2 degrees; the first volumes stand still."""
    walk = ndimage.gaussian_filter1d(np.cumsum(rng.standard_normal((n, 6)), 0), 2, axis=0)
    walk -= walk[:1]
    walk *= 1 / np.abs(walk).max(0)
    walk[[n // 3, n // 2, n - 4]] += rng.uniform(-2, 2, (3, 6))
    walk[:5] = 0
    walk[:, 3:] = np.deg2rad(walk[:, 3:])
    return walk


def errors(found, true, mask, affine):
    """Displacement at the brain's edge (mm), [T, edge voxels], and angle between the turns (degrees), [T]."""
    edge = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    points = np.c_[nib.affines.apply_affine(affine, edge), np.ones(len(edge))]
    apart = np.linalg.norm((points @ (found - true).transpose(0, 2, 1))[..., :3], axis=2)
    turns = found[:, :3, :3] @ true[:, :3, :3].transpose(0, 2, 1)
    cosine = (np.trace(turns, axis1=1, axis2=2) - 1) / 2
    return apart, np.rad2deg(np.arccos(cosine.clip(-1, 1)))


@pytest.fixture(scope="module")
def head():
    return Head()


@pytest.fixture(scope="module")
def still(head):
    """The head at rest, without noise, its mask and the centre."""
    affine = oblique()
    volume = head.scan(affine, np.eye(4)[None])[..., 0]
    mask = ndimage.binary_fill_holes(ndimage.binary_opening(volume > 200))
    return volume, mask, affine, centre_of_mass(mask, affine)


@pytest.fixture(scope="module")
def moving(head, still):
    """A noisy run with known motion: volumes, affine, mask, matrices, parameters."""
    volume, mask, affine, centre = still
    rng = np.random.default_rng(0)
    parameters = drift_and_spikes(32, rng)
    matrices = rigid_matrices(parameters, centre)
    volumes = head.scan(affine, matrices)
    volumes += volume[mask].mean() / TSNR * rng.standard_normal(volumes.shape, dtype=np.float32)
    return volumes, affine, mask, matrices, parameters


def test_known_motion_is_recovered(moving):
    volumes, affine, mask, matrices, parameters = moving
    found = register(volumes, affine, mask=mask)
    apart, angle = errors(found.matrices, matrices, mask, affine)
    print(
        f"edge of the brain: max {apart.max():.3f} mm, RMS {np.sqrt((apart**2).mean()):.3f} mm; {angle.max():.3f} deg"
    )
    assert apart.max() < 0.06 and angle.max() < 0.04
    assert np.sqrt((apart**2).mean()) < 0.02
    assert np.abs(found.parameters - parameters)[:, :3].max() < 0.05


def test_without_a_mask(moving):
    volumes, affine, mask, matrices, _ = moving
    apart, angle = errors(register(volumes, affine).matrices, matrices, mask, affine)
    assert apart.max() < 0.06 and angle.max() < 0.04


def test_no_motion_no_bias(still):
    volume, mask, affine, _ = still
    rng = np.random.default_rng(1)
    noise = volume[mask].mean() / TSNR * rng.standard_normal((*SHAPE, 8), dtype=np.float32)
    found = register(volume[..., None] + noise, affine, mask=mask)
    identity = np.broadcast_to(np.eye(4), (8, 4, 4))
    apart, _ = errors(found.matrices, identity, mask, affine)
    assert apart.mean(0).max() < 0.02 and apart.max() < 0.04
    assert np.linalg.norm(found.parameters[:, :3].mean(0)) < 0.01


@pytest.mark.parametrize("handed", [1, -1])
def test_given_reference_and_left_handed_affines(head, handed):
    affine = oblique(handed)
    reference = head.scan(affine, np.eye(4)[None])[..., 0]
    mask = reference > 250
    parameters = np.array([[1.5, -1, 0.7, 0.02, -0.03, 0.01], [-0.4, 0.8, -1.9, -0.01, 0.03, -0.03]])
    matrices = rigid_matrices(parameters, centre_of_mass(mask, affine))
    found = estimate_motion(head.scan(affine, matrices), affine, reference, mask)
    np.testing.assert_allclose(found[:, :3], parameters[:, :3], atol=0.02)
    np.testing.assert_allclose(np.rad2deg(found[:, 3:]), np.rad2deg(parameters[:, 3:]), atol=0.02)


def test_large_motion(head, still):
    volume, mask, affine, centre = still
    parameters = np.array([[8, -6, 7, 0, 0, 0], [4, 2, -3, 0.12, -0.1, 0.12]])
    volumes = head.scan(affine, rigid_matrices(parameters, centre))
    found = estimate_motion(volumes, affine, volume, mask)
    np.testing.assert_allclose(found[:, :3], parameters[:, :3], atol=0.05)
    np.testing.assert_allclose(found[:, 3:], parameters[:, 3:], atol=0.001)


def test_inverse_motion_gives_the_inverse(head, still):
    volume, mask, affine, centre = still
    there = rigid_matrices(np.array([[1, -1.5, 0.5, 0.02, 0.015, -0.03]]), centre)
    volumes = head.scan(affine, np.concatenate([there, np.linalg.inv(there)]))
    found = register(volumes, affine, volume, mask).matrices
    apart, _ = errors((found[0] @ found[1])[None], np.eye(4)[None], mask, affine)
    assert apart.max() < 0.03


def test_gain_and_offset_do_not_matter(moving):
    volumes, affine, mask, *_ = moving
    plain = estimate_motion(volumes[..., 10:13], affine, volumes[..., 0], mask)
    other = estimate_motion(volumes[..., 10:13] * 1.7 + 300, affine, volumes[..., 0], mask)
    np.testing.assert_allclose(other, plain, atol=0.002)


def test_signal_loss_in_slices_is_outvoted(head, still):
    volume, mask, affine, centre = still
    parameters = np.array([[0.8, -0.5, 1.2, 0.01, -0.02, 0.015]])
    volumes = head.scan(affine, rigid_matrices(parameters, centre))
    volumes[:, :, [14, 20]] *= 0.85
    apart, _ = errors(
        register(volumes, affine, volume, mask).matrices, rigid_matrices(parameters, centre), mask, affine
    )
    assert apart.max() < 0.15


def test_realign_undoes_the_motion(moving, still):
    volumes, affine, mask, matrices, _ = moving
    inner = ndimage.binary_erosion(mask, iterations=2)
    for order, tolerance in ((3, 0.02), (1, 0.05)):
        moved = realign(volumes, affine, matrices, order=order, only=[16, 28])
        assert moved.shape == (*SHAPE, 2) and moved.dtype == np.float32
        noise = volumes[inner].mean() / TSNR
        rest = np.sqrt(((moved[inner] - still[0][inner, None]) ** 2).mean() - 0)
        assert rest < noise + tolerance * volumes[inner].mean()


def test_realign_leaves_zero_outside_the_field_of_view(still):
    volume, _, affine, centre = still
    shift = np.array([affine[:3, 2] * 2])
    matrices = rigid_matrices(np.c_[shift, np.zeros((1, 3))], centre)
    moved = realign(volume[..., None] + 10, affine, matrices)[..., 0]
    assert (moved[:, :, :2] == 0).all()
    np.testing.assert_allclose(moved[:, :, 2:], volume[:, :, :-2] + 10, atol=0.1)


def test_rigid_matrices_turn_about_the_centre():
    centre = np.array([10.0, -20, 30])
    matrix = rigid_matrices(np.array([[0, 0, 0, 0, 0, np.pi / 2], [1, 2, 3, 0.1, 0.2, 0.3]]), centre)
    np.testing.assert_allclose(
        nib.affines.apply_affine(matrix[0], centre + np.eye(3)[0]), centre + np.eye(3)[1], atol=1e-12
    )
    np.testing.assert_allclose(nib.affines.apply_affine(matrix[1], centre), centre + np.array([1, 2, 3]))
    single = [rigid_matrices(np.r_[0, 0, 0, turn][None], np.zeros(3))[0] for turn in np.diag([0.1, 0.2, 0.3])]
    np.testing.assert_allclose(matrix[1, :3, :3], (single[0] @ single[1] @ single[2])[:3, :3])


def test_integers_tensors_and_small_chunks_give_the_same(moving, still, monkeypatch):
    volumes, affine, mask, *_ = moving
    part = np.round(volumes[..., 8:12]).astype(np.int16)
    once = estimate_motion(part, affine, still[0], mask)
    np.testing.assert_allclose(estimate_motion(torch.from_numpy(part), affine, still[0], mask), once, atol=1e-5)
    monkeypatch.setattr(leastsquares, "CHUNK_BYTES", 2e6)
    np.testing.assert_allclose(estimate_motion(part, affine, still[0], mask), once, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_gives_the_same(moving):
    volumes, affine, mask, *_ = moving
    on_cpu, on_gpu = (estimate_motion(volumes, affine, mask=mask, device=name) for name in ("cpu", "cuda"))
    np.testing.assert_allclose(on_gpu, on_cpu, atol=0.002)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN or infinity"), (0, "empty or constant")])
def test_broken_volumes_are_named(moving, value, message):
    volumes, affine, mask, *_ = moving
    broken = volumes[..., :8].copy()
    broken[..., 6] = value
    with pytest.raises(ValueError, match=f"volume 7 of 8 .*{message}"):
        estimate_motion(broken, affine, mask=mask)


def test_steady_start_counts_bright_first_volumes():
    rng = np.random.default_rng(5)
    volumes = 1000 + rng.standard_normal((6, 6, 6, 40))
    assert steady_start(volumes) == 0
    volumes[..., :3] *= np.array([1.3, 1.1, 1.03])
    volumes[..., 20] *= 1.2  # later brightness is no saturation
    assert steady_start(volumes) == 3
    assert steady_start(np.full((6, 6, 6, 10), 7)) == 0


def test_foreground_is_the_head(still):
    volume, mask, affine, _ = still
    found = foreground(volume, affine)
    assert 2 * (found & mask).sum() / (found.sum() + mask.sum()) > 0.9


def test_bad_input_is_refused(still):
    volume, mask, affine, _ = still
    with pytest.raises(ValueError, match="3 dimensions, expected 4"):
        estimate_motion(volume, affine)
    run = np.repeat(volume[..., None], 3, 3)
    with pytest.raises(ValueError, match="too few slices"):
        estimate_motion(run[:, :, :2], affine)
    with pytest.raises(ValueError, match="the mask has shape"):
        estimate_motion(run, affine, mask=mask[1:])
    with pytest.raises(ValueError, match="mask is empty"):
        estimate_motion(run, affine, mask=np.zeros_like(mask))
    with pytest.raises(ValueError, match="cannot be inverted"):
        estimate_motion(run, np.zeros((4, 4)))


def test_a_real_volume_moved_by_known_amounts(real_data):
    path = real_data / "bids_real" / "sub-02" / "func" / "sub-02_task-oneback_run-1_bold.nii.gz"
    if not path.exists():
        pytest.skip(f"no {path.name}")
    image = nib.load(path)
    volume = np.asarray(image.dataobj[..., 0])
    mask = foreground(volume, image.affine)
    parameters = np.array([[1.1, -0.6, 0.9, 0.01, -0.02, 0.015], [-0.3, 0.2, 0.4, 0, 0.01, 0]])
    matrices = rigid_matrices(parameters, centre_of_mass(mask, image.affine))
    moved = realign(np.repeat(volume[..., None], 2, 3), image.affine, np.linalg.inv(matrices))
    apart, angle = errors(register(moved, image.affine, volume, mask).matrices, matrices, mask, image.affine)
    assert apart.max() < 0.1 and angle.max() < 0.1
