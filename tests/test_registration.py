"""Registration and susceptibility correction against the closed forms of the phantom, step by step."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine
from phantom import Head, bold_image

from dysconnect.anatomy.distortion import Distortion
from dysconnect.anatomy.images import local_contrast
from dysconnect.anatomy.registration import (
    Anatomy,
    labels_to_bold,
    points_to_bold,
    pulled,
    register_bold,
)
from dysconnect.data.atlas import load_atlas
from dysconnect.preprocess.motion import foreground
from dysconnect.preprocess.susceptibility import estimate_distortion, phase_axis

OBLIQUE = np.array([[-3.9, 0.3, 0.2, 80], [0.35, 3.95, -0.4, -120], [0.15, 0.42, 3.96, -60], [0, 0, 0, 1.0]])
AXES = [("i", 0), ("i-", 0), ("j", 1), ("j-", 1), ("k", 2), ("k-", 2)]


def _bump(axis: int = 1, size: float = 6.0) -> Distortion:
    """A smooth bump of `size` mm in the middle of an oblique grid."""
    voxels = np.moveaxis(np.indices((30, 34, 28)), 0, -1) - np.array([15.0, 17, 14])
    direction = OBLIQUE[:3, axis] / np.linalg.norm(OBLIQUE[:3, axis])
    return Distortion(size * np.exp(-(voxels**2).sum(-1) / (2 * 4.5**2)), OBLIQUE, direction)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("size", [6.0, -6.0])
def test_distorted_and_undistorted_are_inverse(axis, size):
    distortion = _bump(axis, size)
    points = apply_affine(OBLIQUE, np.random.default_rng(0).uniform([8, 8, 8], [22, 26, 20], (400, 3)))
    there = distortion.distorted(points)
    assert np.abs(distortion.undistorted(there) - points).max() < 0.01
    assert np.abs(distortion.distorted(distortion.undistorted(points)) - points).max() < 0.01
    moved = there - points
    assert np.abs(moved).max() > 3  # and only along the axis
    assert np.abs(moved - (moved @ distortion.direction)[:, None] * distortion.direction).max() < 1e-9


def test_a_shift_is_in_mm_along_the_voxel_axis():
    distortion, middle = _bump(1, 6.0), apply_affine(OBLIQUE, [15, 17, 14])
    moved = apply_affine(np.linalg.inv(OBLIQUE), distortion.distorted(middle[None]))[0]
    np.testing.assert_allclose(moved, [15, 17 + 6 / np.linalg.norm(OBLIQUE[:3, 1]), 14], atol=1e-9)


def test_no_shift_is_the_identity():
    none = Distortion(np.zeros((30, 34, 28)), OBLIQUE, np.array([0.0, 1, 0]))
    points = np.random.default_rng(1).uniform(-60, 60, (50, 3))
    np.testing.assert_array_equal(none.distorted(points), points)
    np.testing.assert_array_equal(none.undistorted(points), points)
    image = np.random.default_rng(2).uniform(size=(30, 34, 28))
    turned = OBLIQUE.copy()
    turned[:3, 3] += 1.7
    plain = pulled(image, OBLIQUE, np.eye(4), turned, (30, 34, 28))
    inner = np.s_[2:-2, 2:-2, 2:-2]
    np.testing.assert_allclose(
        pulled(image, OBLIQUE, np.eye(4), turned, plain.shape, none)[inner], plain[inner], atol=1e-4
    )


def test_images_are_pulled_at_undistorted_places():
    distortion = _bump(1, 6.0)
    ramp = apply_affine(OBLIQUE, np.moveaxis(np.indices((30, 34, 28)), 0, -1)) @ distortion.direction  # mm along it
    found = pulled(ramp, OBLIQUE, np.eye(4), OBLIQUE, ramp.shape, distortion)
    inner = np.moveaxis(np.mgrid[6:24, 6:28, 6:22], 0, -1).reshape(-1, 3)
    places = apply_affine(OBLIQUE, inner)
    expected = distortion.undistorted(places) @ distortion.direction
    np.testing.assert_allclose(found[tuple(inner.T)], expected, atol=0.02)
    assert np.abs(expected - places @ distortion.direction).max() > 4


@pytest.mark.parametrize(("told", "axis"), AXES)
def test_axis_of_phase_encoding(told, axis):
    assert phase_axis({"PhaseEncodingDirection": told}, "sub-01_bold.nii.gz") == axis
    assert phase_axis({"PhaseEncodingAxis": told[0]}, "sub-01_bold.nii.gz") == axis


@pytest.mark.parametrize("told", [None, "", "y", "AP", "-j", "j--", 1])
def test_unknown_phase_encoding_is_refused(told):
    sidecar = {} if told is None else {"PhaseEncodingDirection": told}
    with pytest.raises(ValueError, match=r"sub-01_bold.nii.gz: PhaseEncodingDirection .*susceptibility=none"):
        phase_axis(sidecar, "sub-01_bold.nii.gz")


def test_local_contrast_forgets_slow_brightness():
    rng = np.random.default_rng(3)
    brain = np.zeros((40, 40, 40), bool)
    brain[6:-6, 6:-6, 6:-6] = True
    data = (100 + 10 * rng.standard_normal(brain.shape)) * brain
    slow = 1 + 0.4 * np.linspace(-1, 1, 40)[:, None, None]
    plain, bright = local_contrast(data, (2, 2, 2)), local_contrast(data * slow, (2, 2, 2))
    inner = np.s_[12:-12, 12:-12, 12:-12]
    assert np.corrcoef(plain[inner].ravel(), bright[inner].ravel())[0, 1] > 0.99
    assert np.abs(np.corrcoef(bright[inner].ravel(), (slow * brain)[inner].ravel())[0, 1]) < 0.2
    assert not plain[~brain].any()


def test_the_phantom_knows_its_distortion():
    nodes = load_atlas("seitzman300")
    head, plain = Head(nodes, 2, 2.0, seed=0, distortion=6.0), Head(nodes, 2, 2.0, seed=0)
    points = nodes[["x", "y", "z"]].to_numpy(float)
    straight, there = plain.to_bold(points), head.to_bold(points)
    np.testing.assert_allclose(np.linalg.norm(there - straight, axis=1), np.abs(head.shift(straight)), atol=1e-9)
    assert 4 < np.abs(head.shift(straight)).max() < 6.0 and np.median(np.abs(head.shift(straight))) < 0.1
    found, squeezed = head.undistort(there)
    assert np.abs(found - straight).max() < 1e-6
    step = 1e-3 * head.direction
    slope = (head.shift(straight + step) - head.shift(straight - step)) / 2e-3
    np.testing.assert_allclose(squeezed, 1 / (1 + slope), atol=1e-5)


@pytest.fixture(scope="module")
def person(tmp_path_factory, known_anatomy) -> SimpleNamespace:
    """One phantom person's T1w in the template, and its BOLD rigidly on the T1w, straight and distorted (read only)."""
    folder, nodes, anatomy = tmp_path_factory.mktemp("registration"), load_atlas("seitzman300"), known_anatomy.anatomy
    points = nodes[["x", "y", "z"]].to_numpy(float)
    return SimpleNamespace(
        nodes=nodes, points=points, anatomy=anatomy, **{f"mm{mm}": _bold(nodes, mm, anatomy, folder) for mm in (0, 6)}
    )


def _bold(nodes, mm: int, anatomy: Anatomy, folder) -> SimpleNamespace:
    head = Head(nodes, 2, 2.0, seed=0, distortion=mm)
    image = bold_image(head)
    reference, affine = np.asarray(image.dataobj)[..., 0].astype(np.float32), image.affine
    mask = foreground(reference, affine)
    to_t1w, _ = register_bold(reference, affine, mask, anatomy)
    axis = phase_axis({"PhaseEncodingDirection": head.phase}, "bold")
    found, measures = estimate_distortion(reference, affine, mask, anatomy, to_t1w, axis, folder, 0)
    return SimpleNamespace(head=head, to_t1w=to_t1w, distortion=found, measures=measures)


def _far(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.linalg.norm(one - other, axis=1)


@pytest.mark.slow
def test_error_of_each_step_and_of_all(person):
    head, back = person.mm0.head, np.linalg.inv(person.mm0.to_t1w)
    at_t1w = apply_affine(person.mm0.to_t1w, points_to_bold(person.points, person.anatomy, person.mm0.to_t1w))
    template = _far(at_t1w, head.to_t1w(person.points))
    rigid = _far(apply_affine(back, head.to_t1w(person.points)), head.to_bold(person.points))
    both = _far(apply_affine(back, at_t1w), head.to_bold(person.points))
    for name, error in {"template to T1w": template, "T1w to BOLD": rigid, "both": both}.items():
        print(f"{name}: mean {error.mean():.2f}, 95 % {np.percentile(error, 95):.2f}, most {error.max():.2f} mm")
    assert rigid.max() < 0.6
    for error in (template, both):
        assert error.mean() < 0.8 and np.percentile(error, 95) < 1.6 and error.max() < 2.8


@pytest.mark.slow
def test_distortion_is_undone_where_it_is_and_little_added_elsewhere(person):
    bold = person.mm6
    straight = apply_affine(bold.head.to_reference, bold.head.to_t1w(person.points))
    affected = np.abs(bold.head.shift(straight)) > 1.5
    none, syn = (
        _far(points_to_bold(person.points, person.anatomy, bold.to_t1w, used), bold.head.to_bold(person.points))
        for used in (None, bold.distortion)
    )
    print(f"{affected.sum()} affected: {none[affected].mean():.2f} to {syn[affected].mean():.2f} mm")
    assert affected.sum() >= 15 and none[affected].mean() > 2.3
    assert syn[affected].mean() < none[affected].mean() / 2
    assert syn[~affected].mean() < none[~affected].mean() + 0.1 and syn.mean() < none.mean()
    assert bold.measures["mi_distortion_after"] > bold.measures["mi_distortion_before"]


@pytest.mark.slow
def test_without_distortion_little_moves(person):
    bold, truth = person.mm0, person.mm0.head.to_bold(person.points)
    none, syn = (
        _far(points_to_bold(person.points, person.anatomy, bold.to_t1w, used), truth)
        for used in (None, bold.distortion)
    )
    print(f"no distortion: {none.mean():.2f} to {syn.mean():.2f} mm")
    assert syn.mean() < none.mean() + 0.05 and bold.measures["shift_mean_mm"] < 0.3


@pytest.mark.slow
def test_labels_go_where_points_go(person):
    """A ball of labels around an orbitofrontal region has its middle where the region's centre is brought."""
    bold = person.mm6
    shape, affine = (99, 117, 95), np.array([[2.0, 0, 0, -98], [0, 2, 0, -134], [0, 0, 2, -72], [0, 0, 0, 1]])
    centre = person.points[np.argmin(_far(person.points, np.array([0.0, 38, -18])))]
    places = apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    codes = nib.Nifti1Image((np.linalg.norm(places - centre, axis=-1) < 7).astype(np.int16), affine)
    found = labels_to_bold(codes, person.anatomy, bold.to_t1w, distortion=bold.distortion)
    middle = apply_affine(found.affine, np.argwhere(np.asarray(found.dataobj) == 1)).mean(0)
    pushed = points_to_bold(centre[None], person.anatomy, bold.to_t1w, bold.distortion)[0]
    unmoved = points_to_bold(centre[None], person.anatomy, bold.to_t1w)[0]
    assert np.linalg.norm(middle - pushed) < 0.8 < 2.5 < np.linalg.norm(middle - unmoved)


@pytest.mark.slow
def test_brains_that_do_not_meet_are_refused(person, tmp_path):
    shape, far = (20, 20, 20), np.diag([4.0, 4, 4, 1])
    far[:3, 3] = 900
    with pytest.raises(ValueError, match="do not overlap"):
        estimate_distortion(np.ones(shape), far, np.ones(shape, bool), person.anatomy, np.eye(4), 1, tmp_path, 0)
