"""Graph networks with scikit-learn's face."""

import re
from numbers import Integral, Real

import numpy as np
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from dysconnect.data.edges import Pairs
from dysconnect.data.measures import fisher_z
from dysconnect.learning.graph.run import train_networks
from dysconnect.models.cards import CARDS, of_kind

DEFAULTS = {name: CARDS[name].defaults() for name in of_kind("graph")}
WHOLE, NUMBER = "a whole number", "a number"
LIMITS = {  # kind, least (None: above 0), largest
    "epochs": (WHOLE, 1, np.inf), "patience": (WHOLE, 1, np.inf), "batch_size": (WHOLE, 1, np.inf),
    "seeds": (WHOLE, 1, np.inf), "inner_folds": (WHOLE, 0, np.inf),
    "validation": (NUMBER, 0, 0.5), "weight_decay": (NUMBER, 0, np.inf),
    "lr": (NUMBER, None, np.inf), "density": (NUMBER, None, 1),
}  # fmt: skip
WORDS = {"precision": ("float32", "bfloat16", "float64"), "stacked": ("auto", True, False)}
SYMMETRIC = 1e-5  # largest difference of r across the diagonal, of matrices in single precision


class GraphClassifier(ClassifierMixin, BaseEstimator):
    """A graph network on connectomes, for use in scikit-learn's pipelines and cross-validation.

    Everything that learns (scale of the edges, weights, when to stop) is fitted in `fit` on what `fit` is given.

    Parameters
    ----------
    model : str
        gcn, gat, gin, sage, brainnetcnn, bnt or ibgnn.
    options : dict, optional
        Sizes of the model that differ from the defaults, as in ``configs/model``.
    density : float
        Share of the edges in each graph: the strongest positive ones.
    epochs, patience, batch_size : int
    inner_folds : int
        Folds of the subjects that choose the epochs and calibrate the probabilities, or, with ``start="ridge"`` among
        the options, say how much the network counts beside ridge regression; 0 runs all epochs.
    validation : float
        Share of the subjects that decide when to stop instead; 0: nobody.
    lr, weight_decay : float
    seeds : int
        Networks whose probabilities are averaged.
    precision : {"float32", "bfloat16", "float64"}
    stacked : {"auto", True, False}
        Whether the networks are trained side by side; auto does so on a GPU.
    device : str
        auto, cpu, cuda or cuda:1.
    random_state : int, RandomState or None

    Attributes
    ----------
    classes_ : array, [2]
        Sorted; the second is the positive one.
    networks_ : Networks
    n_features_in_ : int
        Edges.

    Notes
    -----
    X are correlation matrices [n, N, N] (r, made Fisher z inside), or edges [n, N (N - 1) / 2] (upper triangle, row by
    row), preferably Fisher z. scikit-learn's estimator checks pass except those that give data no connectome can
    be: a number of features that is no upper triangle of a matrix.

    Examples
    --------
    >>> from dysconnect import GraphClassifier
    >>> GraphClassifier(model="gcn", seeds=5).fit(matrices, y).predict_proba(others)  # doctest: +SKIP
    """

    def __init__(
        self,
        model="gcn",
        *,
        options=None,
        density=0.1,
        epochs=10,
        patience=15,
        batch_size=8,
        inner_folds=5,
        validation=0,
        lr=1e-4,
        weight_decay=1e-2,
        seeds=1,
        precision="float32",
        stacked="auto",
        device="auto",
        random_state=0,
    ):
        self.model = model
        self.options = options
        self.density = density
        self.epochs = epochs
        self.patience = patience
        self.batch_size = batch_size
        self.inner_folds = inner_folds
        self.validation = validation
        self.lr = lr
        self.weight_decay = weight_decay
        self.seeds = seeds
        self.precision = precision
        self.stacked = stacked
        self.device = device
        self.random_state = random_state

    def fit(self, X, y, groups=None):
        """Fit on connectomes and labels of two classes.

        Parameters
        ----------
        X : array, [n, N, N] or [n, E]
        y : array, [n]
        groups : array, [n], optional
            Subjects with the same entry (copies, sessions of one person) are never both fitted on and watched.

        Raises
        ------
        ValueError
            When an option is unknown or out of its range, or matrices are no correlations: not symmetric, with NaN, or
            beyond 1.
        """
        self._check_options()
        X, y = validate_data(self, self._edges(X), y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) != 2:
            named = "1 class" if len(self.classes_) == 1 else f"{len(self.classes_)} classes"
            raise ValueError(f"Only binary classification is supported: y has {named}, {self.classes_[:5].tolist()}.")
        columns = np.repeat(labels[:, None], self.seeds, axis=1)
        groups = np.arange(len(y)) if groups is None else np.asarray(groups)
        check_consistent_length(y, groups)
        self.networks_ = train_networks(X, columns, groups, self._seeds(), self._sections())
        return self

    def decision_function(self, X):
        """Logit of the positive class, [n]; with several seeds, of their mean probability."""
        logits = self._logits(X)
        return logits[:, 0] if logits.shape[1] == 1 else logit(expit(logits).mean(1))

    def predict_proba(self, X):
        """Probability of both classes, averaged over the seeds, [n, 2]."""
        positive = expit(self._logits(X)).mean(1)
        return np.column_stack([1 - positive, positive])

    def predict(self, X):
        """The likelier class, [n]."""
        positive = self.decision_function(X) > 0
        return self.classes_[positive.astype(int)]

    def _logits(self, X) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, self._edges(X), dtype=np.float32, reset=False)
        return self.networks_.decide(X).astype(float)

    @staticmethod
    def _edges(X):
        """Fisher z of the upper triangles of matrices; anything else as it is, for scikit-learn to judge."""
        if not isinstance(X, np.ndarray | list) or np.ndim(X) != 3:
            return X
        X = np.asarray(X, float)
        if X.shape[1] != X.shape[2] or np.nanmax(np.abs(X), initial=0) > 1 + 1e-6:
            raise ValueError(
                f"matrices of shape {X.shape} with values up to {np.nanmax(np.abs(X), initial=0):.3g}: give "
                "correlations (r) as [n, N, N], or edges of any kind as [n, N (N - 1) / 2]."
            )
        _refuse_first(~np.isfinite(X), "holds NaN or infinity at")
        _refuse_first(np.abs(X - X.transpose(0, 2, 1)) > SYMMETRIC, "is not symmetric: it has two values for")
        return fisher_z(Pairs(X.shape[-1]).edges(X))

    def _check_options(self) -> None:
        """Refuse options that are unknown or out of their range, before anything is fitted."""
        if self.model not in DEFAULTS:
            raise ValueError(f"model={self.model!r} is unknown; known graph networks: {', '.join(DEFAULTS)}.")
        known = DEFAULTS[self.model]
        unknown = [name for name in self.options or {} if name not in known]
        if unknown:
            raise ValueError(f"options of model={self.model}: {unknown[0]!r} is none; there are {', '.join(known)}.")
        for name, (kind, least, largest) in LIMITS.items():
            _check_number(name, getattr(self, name), kind, least, largest)
        for name, words in WORDS.items():
            if getattr(self, name) not in words:
                raise ValueError(f"{name}={getattr(self, name)!r} is none of {', '.join(map(repr, words))}.")
        if not re.fullmatch("auto|cpu|cuda(:[0-9]+)?", str(self.device)):
            raise ValueError(f"device={self.device!r} is none of 'auto', 'cpu', 'cuda' and 'cuda:NUMBER'.")

    def _seeds(self) -> np.ndarray:
        if isinstance(self.random_state, Integral):
            return np.random.SeedSequence(int(self.random_state)).generate_state(self.seeds).astype(np.int64) % 2**31
        return check_random_state(self.random_state).randint(2**31 - 1, size=self.seeds)

    def _sections(self) -> dict:
        names = (
            "epochs",
            "patience",
            "batch_size",
            "inner_folds",
            "validation",
            "lr",
            "weight_decay",
            "precision",
            "stacked",
            "device",
        )
        training = {**{name: getattr(self, name) for name in names}, "search": {}, "memory": None}
        spec = {"name": self.model, **DEFAULTS.get(self.model, {}), **(self.options or {})}
        graph = {"density": self.density}
        return {"model": spec, "measure": "correlation", "graph": graph, "training": training}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.three_d_array = True
        return tags


def _check_number(name: str, value: object, kind: str, least: float | None, largest: float) -> None:
    """Refuse what is no number of that kind from `least` (None: above 0) to `largest`."""
    wanted = Integral if kind == WHOLE else Real
    fits = isinstance(value, wanted) and not isinstance(value, bool) and np.isfinite(value)
    if not (fits and (value > 0 if least is None else value >= least) and value <= largest):
        low = "above 0" if least is None else f"of {least} or more"
        high = f" and at most {largest:g}" if np.isfinite(largest) else ""
        raise ValueError(f"{name}={value!r} is not {kind} {low}{high}.")


def _refuse_first(wrong: np.ndarray, what: str) -> None:
    """Refuse matrices [n, N, N] where one is marked, naming its number and the two regions."""
    if wrong.any():
        matrix, row, column = (int(place) for place in np.argwhere(wrong)[0])
        raise ValueError(f"matrix {matrix} {what} regions {row} and {column} (counted from 0).")
