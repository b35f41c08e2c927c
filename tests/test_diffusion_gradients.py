"""b values and b vectors as files have them, phase encoding, and whether directions fit the image."""

from itertools import permutations, product

import numpy as np
import pytest

from dysconnect.diffusion.gradients import check_orientation, refuse_turned
from dysconnect.diffusion.order import refuse_disordered
from dysconnect.diffusion.prediction import predict, predictor
from dysconnect.diffusion.quality import neighbour_correlation
from dysconnect.reading.encoding import read_encoding, readout_ratio
from dysconnect.reading.gradients import for_fibres, for_tensor, read_gradients, shells, world_vectors

RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.normal(size=(12, 3))
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
VECTORS[0] = 0
VALUES = np.r_[0, np.full(11, 1000.0)]


def rows(table, mark=" "):
    return "".join(mark.join(f"{value:.6f}" for value in row) + " \n" for row in table)


@pytest.fixture
def files(tmp_path):
    def write(bval=None, bvec=None):
        paths = tmp_path / "sub-1_dwi.bval", tmp_path / "sub-1_dwi.bvec"
        for path, content, usual in zip(paths, (bval, bvec), (rows(VALUES[None]), rows(VECTORS.T))):
            path.write_text(usual if content is None else content)
        return paths

    return write


@pytest.mark.parametrize("mark", [" ", "\t", "  ", ", "])
def test_gradients_are_read(files, mark):
    read = read_gradients(*files(rows(VALUES[None], mark), rows(VECTORS.T, mark)), 12)
    np.testing.assert_allclose(read.bvals, VALUES)
    np.testing.assert_allclose(read.bvecs, VECTORS, atol=1e-5)
    assert read.notes == () and read.weighted.sum() == 11


def test_turned_round_and_unnormalised_vectors_are_read_and_said(files):
    for bvec, note in ((rows(VECTORS), "turned round"), (rows(100 * VECTORS.T), "length of 100; they were scaled")):
        read = read_gradients(*files(bvec=bvec))
        np.testing.assert_allclose(read.bvecs, VECTORS, atol=1e-5)
        assert note in read.notes[0]


def test_a_b0_needs_no_direction(files):
    text = rows(VECTORS.T).replace("0.000000", "nan", 1)
    assert not read_gradients(*files(bvec=text)).bvecs[0].any()


def test_of_several_shells_the_tensor_takes_the_weak_and_fibres_one():
    """A tensor of all would be flatter than at b = 1000, and one response of all shells is that of none."""
    bvals = np.r_[0, 5, np.full(20, 700), np.full(30, 1005), np.full(29, 2800), np.full(20, 2990), 0]
    assert [len(shell) for shell in shells(bvals)] == [20, 30, 29, 20]
    assert sorted(set(bvals[for_tensor(bvals)])) == [0, 5, 700, 1005]
    assert sorted(set(bvals[for_fibres(bvals)])) == [0, 5, 2800]
    assert for_tensor(bvals[bvals > 2000]).all() and for_fibres(VALUES.repeat(2)).all()
    with pytest.raises(ValueError, match="3 b values with at most 10 directions each"):
        for_fibres(np.r_[0, np.repeat([700, 1000, 2800], 10)])


def test_several_shells_are_said(files):
    bvals, bvecs = np.r_[VALUES, 3 * VALUES[1:], VALUES[1:]], np.vstack([VECTORS, VECTORS[1:], VECTORS[1:]])
    read = read_gradients(*files(rows(bvals[None]), rows(bvecs.T)))
    assert "b = 1000, 3000 s/mm2; the tensor is fitted to those up to 1000, fibres are found from 1000" in read.notes[0]


def test_directions_in_another_order_than_the_images_are_refused():
    """A scan of random fibres: no tensor explains it with the directions of another, or one volume late."""
    rng = np.random.default_rng(2)
    bvecs = np.vstack([np.zeros((1, 3)), rng.normal(size=(30, 3))])
    bvecs[1:] /= np.linalg.norm(bvecs[1:], axis=1, keepdims=True)
    fibres, bvals = rng.normal(size=(400, 3)), np.r_[0, np.full(30, 1000.0)]
    fibres /= np.linalg.norm(fibres, axis=1, keepdims=True)
    data = 100 * np.exp(-bvals / 1000 * (0.3 + 1.2 * (fibres @ bvecs.T) ** 2)) * rng.normal(1, 0.05, (400, 31))
    refuse_disordered(data, bvals, bvecs, "x.bvec")
    late = np.vstack([bvecs[:1], np.roll(bvecs[1:], 1, axis=0)])
    with pytest.raises(ValueError, match=r"x\.bvec: .* fit better if each direction is that of the volume after"):
        refuse_disordered(data, bvals, late, "x.bvec")
    with pytest.raises(ValueError, match=r"shuffled ones .*: those of another scan"):
        refuse_disordered(data, bvals, np.vstack([bvecs[:1], rng.permutation(bvecs[1:])]), "x.bvec")


def test_a_single_strong_shell_is_said(files):
    read = read_gradients(*files(rows(3 * VALUES[None])))
    assert "all directions have b = 3000" in read.notes[0] and "tensor" in read.notes[0]


BAD = {
    "units": (rows(VALUES[None] / 1000), None, "largest b is 1; in ms/um2"),
    "units of metres": (rows(VALUES[None] * 1e6), None, "in s/m2"),
    "negative": (rows(-VALUES[None]), None, "negative"),
    "no b0": (rows(VALUES[None] + 900), None, "no b0, the smallest b is 900"),
    "nothing weighted": (rows(0 * VALUES[None]), None, "no volume is weighted"),
    "fewer b values": (rows(VALUES[None, :-1]), None, "sub-1_dwi.bval 11, sub-1_dwi.bvec 12, the image 12"),
    "both short": (rows(VALUES[None, :-1]), rows(VECTORS[:-1].T), "the image 12"),
    "exchanged": (rows(VECTORS.T), rows(VALUES[None]), "3 rows.*exchanged"),
    "ragged": (None, rows(VECTORS.T)[:-20] + "\n", "its rows have 12, 12, 10 numbers"),
    "decimal commas": (None, rows(VECTORS.T).replace(".", ","), "line 1 has .*decimal points"),
    "words": (rows(VALUES[None]).replace("0.000000", "none", 1), None, "line 1 has 'none', a word"),
    "no value": (rows(VALUES[None]).replace("0.000000", "nan", 1), None, "no b value for volume 1"),
    "empty": ("\n", None, "is empty"),
    "lengths": (None, rows((VECTORS * np.linspace(0.5, 1, 12)[:, None]).T), "lengths from .* to 1.*unit vectors"),
    "trace": (None, rows(np.where(np.arange(12)[:, None] == 5, 0, VECTORS).T), "no direction for 1 .*first: 6"),
    "directions alike": (None, rows(np.tile([[0.6, 0.8, 0.0]], (12, 1)).T), "hold 1 directions that are not alike"),
    "two tables": (None, rows(np.tile(VECTORS.T, (2, 1))[:5]), "5 rows of 12 numbers; three rows"),
}


@pytest.mark.parametrize("bval, bvec, message", BAD.values(), ids=BAD)
def test_bad_files_are_named_with_the_remedy(files, bval, bvec, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_gradients(*files(bval, bvec), 12)
    assert "sub-1_dwi" in str(caught.value)


@pytest.mark.parametrize("signs", list(product((2, -2), repeat=3)))
def test_vectors_in_the_scanners_axes(signs):
    """FSL's first axis counts the other way where the determinant is positive; dcm2niix writes it so, trxscan too."""
    affine = np.diag([*signs, 1.0])
    fsl = VECTORS * np.sign(signs) * ([-1, 1, 1] if np.prod(signs) > 0 else [1, 1, 1])
    np.testing.assert_allclose(world_vectors(fsl, affine), VECTORS, atol=1e-12)
    core = pytest.importorskip("trxscan._core", reason="trxscan is not installed")
    np.testing.assert_allclose(core.fsl_bvecs(VECTORS, affine).reshape(-1, 3), fsl, atol=1e-12)


def test_oblique_vectors_keep_their_angle_to_the_image():
    turn = np.linalg.qr(np.array([[3.0, 0.4, 0.1], [-0.3, 2.0, 0.3], [0.2, -0.2, 1.0]]))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn * [1, 2, 3] * ([-1, 1, 1] if np.linalg.det(turn) > 0 else [1, 1, 1])  # left-handed
    along_z = world_vectors(np.array([[0, 0, 1.0]]), affine)[0]
    np.testing.assert_allclose(along_z, affine[:3, 2] / np.linalg.norm(affine[:3, 2]), atol=1e-12)


def test_phase_encoding():
    forward = read_encoding({"PhaseEncodingDirection": "j-", "TotalReadoutTime": 0.05}, "dwi")
    back = read_encoding({"PhaseEncodingDirection": "j", "TotalReadoutTime": 0.1}, "b0")
    assert (forward.axis, forward.sign, str(forward)) == (1, -1, "j-")
    assert readout_ratio(forward, back, "b0") == 2
    assert readout_ratio(forward, read_encoding({"PhaseEncodingDirection": "j"}, "b0"), "b0") == 1
    for other in ("j-", "i"):
        with pytest.raises(ValueError, match=f"b0: PhaseEncodingDirection is {other}, .* images j-: the opposite"):
            readout_ratio(forward, read_encoding({"PhaseEncodingDirection": other}, "b0"), "b0")
    for sidecar in ({}, {"PhaseEncodingDirection": "AP"}, {"PhaseEncodingDirection": ["j"]}):
        with pytest.raises(ValueError, match=r"dwi: PhaseEncodingDirection is .* write i, j or k"):
            read_encoding(sidecar, "dwi")
    with pytest.raises(ValueError, match="TotalReadoutTime is 50"):
        read_encoding({"PhaseEncodingDirection": "j", "TotalReadoutTime": 50}, "dwi")


def bent_tubes(shape=(28, 26, 24)):
    """Signal of fibres in rings, [X, Y, Z, 33]; b values; directions."""
    random, places = np.random.default_rng(0), np.stack(np.indices(shape), -1).astype(float)
    along, there = np.zeros((*shape, 3)), np.zeros(shape, bool)
    for _ in range(9):
        turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
        x, y, z = np.moveaxis((places - np.array(shape) / 2 - random.normal(size=3) * 3) @ turn, -1, 0)
        radius = np.hypot(x, y)
        tube = ((radius - random.uniform(7, 11)) ** 2 + (z - random.uniform(-6, 6)) ** 2 < 1.7) & ~there
        along[tube] = (np.stack([-y, x, 0 * x], -1) / radius[..., None] @ turn.T)[tube]
        there |= tube
    bvecs = np.r_[np.zeros((3, 3)), random.normal(size=(30, 3))]
    bvecs[3:] /= np.linalg.norm(bvecs[3:], axis=1, keepdims=True)
    bvals = np.r_[np.zeros(3), np.full(30, 1000.0)]
    diffusion = np.where(there[..., None], 0.3e-3 + 1.4e-3 * (along @ bvecs.T) ** 2, 0.8e-3)
    signal = 1000 * np.exp(-bvals * diffusion)
    return np.abs(signal + random.normal(size=signal.shape) * 50), bvals, bvecs


def test_every_flip_and_swap_is_seen():
    data, bvals, bvecs = bent_tubes()
    affine = np.eye(4)
    affine[:3, :3] = 2 * np.linalg.qr(np.array([[3.0, 0.4, 0.1], [-0.3, 2.0, 0.3], [0.2, -0.2, 1.0]]))[0]
    turn_of_image = affine[:3, :3] / 2
    for order, signs in product(permutations(range(3)), product((1,), (1, -1), (1, -1))):
        wrong = np.diag(signs)[list(order)]
        found = check_orientation(data, affine, bvals, bvecs @ wrong.T @ turn_of_image.T)
        assert found.judged and found.wrong == (not np.array_equal(wrong, np.eye(3)))
        back = found.turn @ wrong
        assert np.array_equal(back, np.eye(3)) or np.array_equal(back, -np.eye(3))  # a line has no sign
    with pytest.raises(ValueError, match=r"dwi.bvec: fibres run on better with other directions \(.* in the order"):
        refuse_turned(found, "dwi.bvec")


def test_isotropic_images_tell_no_orientation():
    _, bvals, bvecs = bent_tubes()
    data = np.abs(1000 * np.exp(-bvals * 0.8e-3) + np.random.default_rng(0).normal(size=(20, 20, 20, 33)) * 20)
    found = check_orientation(data, np.eye(4), bvals, bvecs)
    assert not found.wrong and not found.judged
    refuse_turned(found, "dwi.bvec")


@pytest.mark.parametrize("name, most", [("small_64D", 1300), ("small_101D", 2000)])
def test_a_crop_of_a_brain_is_not_judged(name, most):
    """The 10 x 10 x 10 and 6 x 10 x 10 voxels that dipy ships are best as given (24 of 24), and not at all."""
    get_fnames = pytest.importorskip("dipy.data", reason="dipy is not installed").get_fnames
    from dipy.io.gradients import read_bvals_bvecs
    from nibabel import load

    image, *tables = get_fnames(name=name)[:3]
    bvals, bvecs = read_bvals_bvecs(*tables)
    low = bvals < most
    data, bvals, bvecs = load(image).get_fdata(dtype=np.float32)[..., low], bvals[low], np.nan_to_num(bvecs)[low]
    named = 0
    for order, signs in product(permutations(range(3)), product((1,), (1, -1), (1, -1))):
        wrong = np.diag(signs)[list(order)]
        found = check_orientation(data, np.diag([2.0, 2, 2, 1]), bvals, bvecs @ wrong.T)
        assert not found.judged and not found.wrong
        named += np.array_equal(abs(np.trace(found.turn @ wrong)), 3)
    assert named == (24 if name == "small_64D" else 0)


def test_prediction_is_that_of_a_fit_without_the_volume():
    _, bvals, bvecs = bent_tubes()
    weighted = bvals > 0
    logarithms = np.random.default_rng(0).normal(size=len(bvals))
    predicted = predictor(bvals, bvecs, weighted) @ logarithms
    x, y, z = bvecs.T
    products = np.stack([x * x, y * y, z * z, x * y, x * z, y * z])
    design = np.column_stack([np.ones(33), (-bvals / 1000 * products).T])
    for k in (3, 17):
        others = np.arange(33) != k
        assert predicted[k] == pytest.approx(design[k] @ np.linalg.lstsq(design[others], logarithms[others])[0])
    assert predicted[0] == pytest.approx(logarithms[1:3].mean())


def test_a_tensors_signal_is_predicted():
    _, bvals, bvecs = bent_tubes()
    tensor = np.diag([1.7e-3, 0.3e-3, 0.3e-3])
    signal = 1000 * np.exp(-bvals * np.einsum("vi,ij,vj->v", bvecs, tensor, bvecs))[:, None]
    np.testing.assert_allclose(predict(signal, bvals, bvecs, bvals > 0), signal, rtol=1e-3)
    with pytest.raises(ValueError, match="6 weighted volumes are too few"):
        predictor(bvals[:9], bvecs[:9], bvals[:9] > 0)


def test_neighbours_correlate_as_in_dipy():
    qc = pytest.importorskip("dipy.stats.qc", reason="dipy is not installed")
    from dipy.core.gradients import gradient_table

    data, bvals, bvecs = bent_tubes((12, 12, 12))
    weighted, mask = bvals > 0, np.ones((12, 12, 12), bool)
    ours = neighbour_correlation(data[mask][:, weighted], bvals[weighted], bvecs[weighted])
    theirs = qc.neighboring_dwi_correlation(data, gradient_table(bvals, bvecs=bvecs), mask=mask)
    assert ours == pytest.approx(theirs, abs=1e-6)
