"""BOLD to T1w against known displacements of the phantom; what must be refused; slopes against differences."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine, from_matvec
from phantom import Head, _grid, _sample, _tissue, t1w_image
from scipy import ndimage
from scipy.spatial.transform import Rotation

from dysconnect.anatomy.coregistration import build_level, even, information, rigid_to, starts
from dysconnect.anatomy.registration import Anatomy, register_bold
from dysconnect.data.atlas import load_atlas
from dysconnect.data.images.rigid import rigid_matrices
from dysconnect.preprocess.motion import foreground

VOXEL = 5.0
CASES = {  # mm, degrees, what else is wrong
    "far": (20, 20, {}),
    "low contrast, noise, bright on one side": (8, 12, {"contrast": 0.25, "noise": 0.04, "bias": 0.5}),
    "a slab of 70 mm": (10, 10, {"slices": 14}),
    "all of it": (15, 15, {"contrast": 0.5, "noise": 0.03, "bias": 0.3, "slices": 16, "loss": 0.9}),
}


@pytest.fixture(scope="module")
def person() -> SimpleNamespace:
    """One head (read only)."""
    return anatomy_of(21)


def anatomy_of(seed: int) -> SimpleNamespace:
    """A head: its T1w of 3 mm with the brain cut out, and points of it in T1w mm."""
    nodes = load_atlas("seitzman300")
    head = Head(nodes, 2, 2.0, seed=seed)
    t1w = t1w_image(head, 3.0)
    template = head.from_t1w(_grid(t1w.shape, t1w.affine))
    brain = _sample(_tissue()["brain"], template).reshape(t1w.shape) > 0.5
    image = nib.Nifti1Image(np.asarray(t1w.dataobj, np.float32), t1w.affine)
    anatomy = Anatomy(image, brain, brain * 1.0, brain * 0.0, [], [], {})
    edge = np.argwhere(brain & ~ndimage.binary_erosion(brain))[::50]
    centres = head.to_t1w(nodes[["x", "y", "z"]].to_numpy(float))
    return SimpleNamespace(head=head, anatomy=anatomy, points=np.concatenate([centres, apply_affine(t1w.affine, edge)]))


def bold(person, mm=0.0, degrees=0.0, contrast=1.0, noise=0.01, bias=0.0, slices=36, loss=0.0) -> SimpleNamespace:
    """One volume of the head, displaced: image, affine, brain, and the truth (T1w mm to BOLD mm)."""
    rng = np.random.default_rng(int(100 * (mm + degrees)))
    middle = person.head.to_t1w(np.array([[0.0, -18, 18]]))[0]
    axis, way = (each / np.linalg.norm(each) for each in rng.standard_normal((2, 3)))
    turn = Rotation.from_rotvec(np.radians(degrees) * axis).as_matrix()
    truth = from_matvec(turn, mm * way + middle - turn @ middle)
    shape, oblique = (38, 44, slices), Rotation.from_euler("xyz", (6, 2, -3), degrees=True).as_matrix() * [-1, 1, 1]
    affine = from_matvec(oblique * VOXEL, apply_affine(truth, middle) - oblique * VOXEL @ (np.array(shape) / 2))
    world = _grid(shape, affine)
    template = person.head.from_t1w(apply_affine(np.linalg.inv(truth), world))
    values, brain = (_sample(_tissue()[name], template) for name in ("epi", "brain"))
    values = values + (contrast - 1) * (values - 0.7) * brain
    values *= 1 + bias * np.sin((world - world.mean(0)) @ [0.02, -0.015, 0.01])
    for centre in ((0, 40, -18), (-48, -28, -22), (48, -28, -22)):
        values *= 1 - loss * np.exp(-((template - np.array(centre)) ** 2).sum(1) / 200)
    values = (values + 0.75 * noise * rng.standard_normal(len(values))).clip(0).reshape(shape) * 1000
    return SimpleNamespace(image=values, affine=affine, mask=foreground(values, affine), truth=truth)


@pytest.fixture(scope="module")
def scan(person) -> SimpleNamespace:
    """A volume a little displaced (read only)."""
    return bold(person, 4, 3)


def far(person, scan, matrix) -> np.ndarray:
    """Distance of the points from where they should be, mm."""
    places = apply_affine(np.linalg.inv(matrix), person.points) - apply_affine(scan.truth, person.points)
    return np.linalg.norm(places, axis=1)


@pytest.mark.parametrize("case", CASES)
def test_known_displacements_are_recovered(person, case):
    mm, degrees, more = CASES[case]
    scan = bold(person, mm, degrees, **more)
    matrix, measures = register_bold(scan.image, scan.affine, scan.mask, person.anatomy)
    error = far(person, scan, matrix)
    print(f"{case}: mean {error.mean():.2f}, most {error.max():.2f} mm")
    assert error.mean() < 0.6 and error.max() < 1.0
    assert measures["mi_bold_t1w_after"] > measures["mi_bold_t1w_before"] - 0.02


def test_the_same_images_give_the_same_digits(person, scan):
    brain, grid = np.asarray(person.anatomy.t1w.dataobj) * person.anatomy.brain, person.anatomy.t1w.affine
    once, again = (rigid_to(scan.image, scan.affine, scan.mask, brain, grid) for _ in range(2))
    np.testing.assert_array_equal(once[0], again[0])
    assert once[1] == again[1] < 0


@pytest.mark.parametrize("wrong", ["upside down", "two axes exchanged"])
def test_an_image_whose_header_names_the_wrong_axes_is_refused(person, scan, wrong):
    swapped = scan.image.transpose(0, 2, 1)[:, :, ::-1]
    image = scan.image[:, ::-1, ::-1] if wrong == "upside down" else swapped
    with pytest.raises(ValueError, match=r"upside down.*header.*wrong axes.*convert them again"):
        register_bold(image, scan.affine, foreground(image, scan.affine), person.anatomy)


def test_the_slope_of_the_information_is_its_difference(person, scan):
    brain, grid = np.asarray(person.anatomy.t1w.dataobj) * person.anatomy.brain, person.anatomy.t1w.affine
    centre = apply_affine(scan.affine, np.argwhere(scan.mask)).mean(0)
    level = build_level(scan.image, scan.affine, scan.mask, brain, grid, centre, 8.0, 8.0)
    pose = rigid_matrices(np.array([[2.0, -1, 3, 0.05, -0.02, 0.03]]), np.zeros(3))[0]
    at = np.array([0.3, 0.2, -0.4, 0.01, 0.02, -0.01])
    value, slope = information(level, at, pose)
    step = np.diag([1e-3] * 3 + [2e-5] * 3)  # longer ones cross the voxels' borders, where trilinear slopes jump
    rise = [information(level, at + h, pose)[0] - information(level, at - h, pose)[0] for h in step]
    assert 0 < value < np.log(32)
    np.testing.assert_allclose(rise / (2 * step.diagonal()), slope, rtol=0.05, atol=0.02 * np.abs(slope[:3]).max())


def test_slow_brightness_goes_and_contrast_stays(scan):
    slow = 1 + 0.4 * np.linspace(-1, 1, scan.image.shape[0])[:, None, None]
    plain, bright = (even(image, scan.mask, scan.affine)[scan.mask] for image in (scan.image, scan.image * slow))
    before = np.corrcoef(scan.image[scan.mask], (scan.image * slow)[scan.mask])[0, 1]
    assert np.corrcoef(plain, bright)[0, 1] > 0.9 > before + 0.1


def test_the_search_begins_where_the_scanner_and_where_the_masses_say():
    poses = starts(np.array([10.0, 0, 0]))
    assert (np.abs(poses - np.eye(4)).max((1, 2)) < 1e-12).sum() >= 1 and set(poses[:, 0, 3]) == {0.0, 10.0}
    np.testing.assert_allclose(np.linalg.det(poses[:, :3, :3]), 1)
