"""Graph networks behave as scikit-learn's classifiers do."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import issparse
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from dysconnect import GraphClassifier
from dysconnect.data.edges import Pairs
from dysconnect.learning.graph.classifier import DEFAULTS

pytestmark = pytest.mark.usefixtures("one_torch_thread")
QUICK = {"inner_folds": 2, "options": {"hidden": 8}, "epochs": 40, "batch_size": 32, "lr": 0.01, "device": "cpu"}


class Padded(GraphClassifier):
    """Constant features make any number of them a connectome, so that scikit-learn's data can be fitted."""

    def _edges(self, X):
        table = X if issparse(X) else np.asarray(X)
        if issparse(X) or table.ndim != 2 or table.dtype.kind not in "fiu" or 0 in table.shape:
            return X
        sizes = [n * (n - 1) // 2 for n in range(2, 40)]
        wanted = next(size for size in sizes if size >= table.shape[1])
        return np.pad(table, ((0, 0), (0, wanted - table.shape[1])))


ADDED = "the padding of this test adds features"


@parametrize_with_checks(
    [Padded(**QUICK)],
    expected_failed_checks=lambda _: {"check_n_features_in": ADDED, "check_n_features_in_after_fitting": ADDED},
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def people():
    """Correlation matrices of sixty people in two classes that differ, and the classes' names."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    edges = rng.normal(0.2, 0.2, (60, 66))
    edges[:, :10] += 0.3 * y[:, None]
    return np.tanh(Pairs(12).matrix(edges)) + np.eye(12), np.array(["HC", "ULD"])[y], edges


@pytest.mark.parametrize("stacked", ["auto", True])
def test_cross_validation_of_scikit_learn_finds_what_is_there(people, stacked):
    matrices, y, _ = people
    scores = cross_val_score(GraphClassifier(**QUICK, seeds=2, stacked=stacked), matrices, y, cv=3, scoring="roc_auc")
    assert scores.mean() > 0.85


def test_matrices_and_their_fisher_z_edges_are_the_same(people):
    matrices, y, edges = people
    from_matrices = GraphClassifier(**QUICK).fit(matrices, y)
    from_edges = GraphClassifier(**QUICK).fit(edges, y)
    np.testing.assert_allclose(from_matrices.predict_proba(matrices), from_edges.predict_proba(edges), atol=1e-4)
    assert from_matrices.classes_.tolist() == ["HC", "ULD"]
    assert (from_matrices.predict(matrices) == y).mean() > 0.9


def test_seeds_are_averaged(people):
    matrices, y, _ = people
    fitted = GraphClassifier(**QUICK, seeds=3).fit(matrices, y)
    logits = fitted._logits(matrices)
    assert logits.shape == (60, 3)
    np.testing.assert_allclose(fitted.predict_proba(matrices)[:, 1], (1 / (1 + np.exp(-logits))).mean(1))


def test_what_is_no_correlation_and_unknown_models_are_refused(people):
    matrices, y, _ = people
    with pytest.raises(ValueError, match=r"shape \(60, 12, 12\) with values up to 5: give correlations"):
        GraphClassifier().fit(np.full_like(matrices, 5), y)
    with pytest.raises(ValueError, match=r"model='gnn' is unknown; known graph networks: gcn, gat"):
        GraphClassifier(model="gnn").fit(matrices, y)
    with pytest.raises(ValueError, match=r"Only binary classification .* y has 3 classes"):
        GraphClassifier().fit(matrices, np.arange(60) % 3)


def test_defaults_are_those_of_the_configuration(repository):
    yaml = pytest.importorskip("yaml")
    for name, own in DEFAULTS.items():
        configured = yaml.safe_load((repository / f"configs/model/{name}.yaml").read_text())
        assert configured == {"name": name, **own}
    training = yaml.safe_load((repository / "configs/training/default.yaml").read_text())
    classifier = GraphClassifier().get_params()
    assert {key: classifier[key] for key in training if key in classifier} == {
        key: value for key, value in training.items() if key in classifier
    }
    assert classifier["density"] == yaml.safe_load((repository / "configs/graph/positive.yaml").read_text())["density"]


def test_importing_the_package_loads_no_torch():
    code = "import sys, dysconnect, dysconnect.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"model": "gcnn"}, "model='gcnn' is unknown; known graph networks: gcn"),
        ({"options": {"hiden": 8}}, "options of model=gcn: 'hiden' is none; there are linear, start, hidden"),
        ({"epochs": 0}, "epochs=0 is not a whole number of 1 or more"),
        ({"epochs": 2.5}, r"epochs=2\.5 is not a whole number"),
        ({"seeds": True}, "seeds=True is not a whole number"),
        ({"batch_size": -1}, "batch_size=-1"),
        ({"patience": None}, "patience=None"),
        ({"lr": 0}, "lr=0 is not a number above 0"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"lr": "1e-3"}, "lr='1e-3' is not a number"),
        ({"weight_decay": -0.1}, r"weight_decay=-0\.1 is not a number of 0 or more"),
        ({"density": 1.5}, r"density=1\.5 is not a number above 0 and at most 1"),
        ({"density": 0}, "density=0"),
        ({"validation": 0.9}, r"validation=0\.9 is not a number of 0 or more and at most 0\.5"),
        ({"precision": "float16"}, "precision='float16' is none of 'float32'"),
        ({"stacked": "yes"}, "stacked='yes' is none of 'auto', True, False"),
        ({"device": "gpu"}, "device='gpu' is none of"),
    ],
)
def test_options_are_checked_before_anything_is_fitted(people, option, message):
    with pytest.raises(ValueError, match=message):
        GraphClassifier(**option).fit(*people[:2])


def test_groups_of_another_number_of_subjects_are_refused(people):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        GraphClassifier(**QUICK).fit(*people[:2], groups=[1, 2])


def test_matrices_that_are_not_symmetric_or_hold_nan_are_refused(people):
    matrices, y, _ = people
    for place, value, message in (
        ((7, 2, 5), 0.9, "matrix 7 is not symmetric: it has two values for regions 2 and 5"),
        ((3, 5, 2), np.nan, "matrix 3 holds NaN or infinity at regions 5 and 2"),
        ((0, 1, 1), np.nan, "matrix 0 holds NaN"),
        ((0, 1, 2), np.inf, "values up to inf"),
    ):
        wrong = matrices.copy()
        wrong[place] = value
        with pytest.raises(ValueError, match=message):
            GraphClassifier(**QUICK).fit(wrong, y)
    rounded = matrices.astype(np.float32).astype(float)
    rounded[:, 0, 1] += 1e-7
    GraphClassifier(**QUICK).fit(rounded, y)
