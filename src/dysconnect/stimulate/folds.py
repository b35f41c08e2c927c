"""The fold models of an experiment, and what their targets would do to people they did not see."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.learning.estimators import EdgeModel, build
from dysconnect.learning.splits import fold_rows, scored_folds
from dysconnect.models.dual import DualClassifier
from dysconnect.progress import track
from dysconnect.stimulate.counterfactual import cheapest_steps, ledoit_wolf, reach
from dysconnect.stimulate.targets import Targets


@dataclass(frozen=True)
class Fold:
    """A model of one fold.

    Attributes
    ----------
    repeat, fold : int
    train, test : array of int
        Positions of subjects.
    features : array, [n, E]
        Of everybody, as this fold's model sees them.
    classifier : DualClassifier, ElasticNet or NetworkDecision
        Fitted on `train`.
    lost : array of bool, [n_test, E]
        Edges that touch a region without signal.
    """

    repeat: int
    fold: int
    train: np.ndarray
    test: np.ndarray
    features: np.ndarray
    classifier: DualClassifier
    lost: np.ndarray

    @property
    def logits(self) -> np.ndarray:
        """Calibrated logit of the people that the model did not see, [n_test]."""
        fitted = self.classifier
        return fitted.slope_ * fitted.decision_function(self.features[self.test]) + fitted.offset_


@dataclass(frozen=True)
class Effects:
    """What the targets do to the people that a fold's model did not see, in logits.

    Attributes
    ----------
    repeat : int
    test : array of int
        Positions of the people.
    logits : array, [n_test]
    shifts : array, [n_test, T]
        Change of the logit when the edges of a target become what is expected of a control of the same covariates;
        negative is towards health.
    change, parts : array of float32, [n_ill, E]
        Change of every edge of the test patients when all become what is expected, and its part in that of the logit.
    spread : array, [E]
        Standard deviation of the training controls' edges given their covariates.
    steps : array of float32, [M, 2, nnz]
        Cheapest edits at the entries of the targets' `members`, and their parts in the change of the logit: of a
        linear model one that lowers it by one (`cheapest_steps`), of a network those of the test patients.
    reach : array or None, [T]
        Change of the logit for an edit of Mahalanobis distance one (`reach`), of a linear model.
    costs : array or None, [n_test, T]
        Distances of edits that were searched for, of a network.
    """

    repeat: int
    test: np.ndarray
    logits: np.ndarray
    shifts: np.ndarray
    change: np.ndarray
    parts: np.ndarray
    spread: np.ndarray
    steps: np.ndarray
    reach: np.ndarray | None
    costs: np.ndarray | None = None

    @property
    def edges(self) -> np.ndarray:
        """The part of every edge in the sum of the shifts over the test patients, [E]."""
        return self.parts.sum(0, dtype=float)

    def uses(self, labels: np.ndarray, aim: float) -> np.ndarray:
        """How much of each step brings each test patient to the logit `aim`, [n_ill, M]."""
        ill = labels[self.test] == 1
        return np.eye(ill.sum()) if self.reach is None else np.maximum(self.logits[ill] - aim, 0)[:, None]


def fitted_folds(cohort: Cohort, splits: pd.DataFrame, sections: dict) -> Iterator[Fold]:
    """Fit the linear model of every fold and repeat again, one at a time: it takes less time than to read it.

    Raises
    ------
    ValueError
        For a model that has no weight per edge.
    """
    everybody = np.arange(len(cohort.labels))
    for repeat, fold in track(scored_folds(splits), "targets of the models, by fold"):
        train, test = fold_rows(splits, cohort.participants, repeat, fold)
        model = build(sections["model"], sections["measure"], sections["graph"], sections["training"])
        if not isinstance(model, EdgeModel) or model.tangent:
            raise ValueError(
                f"model={sections['model']['name']} on {sections['measure']} has no weight per edge; "
                "choose another stimulate.experiment, as correlation_ridge."
            )
        model.fit(cohort, train)
        features = np.asarray(model.features(cohort, everybody), np.float32)
        yield Fold(repeat, fold, train, test, features, model.classifier_, cohort.lacking(test))


def expected_control(fold: Fold, basis: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Edges that a healthy person of the same covariates would have, for everybody, [n, E].

    A linear model of the covariates' basis [n, K], fitted on the control subjects of the training fold only.
    """
    controls = fold.train[labels[fold.train] == 0]
    coefficients, *_ = np.linalg.lstsq(basis[controls], fold.features[controls], rcond=None)
    return basis @ coefficients


def fold_effects(fold: Fold, targets: Targets, basis: np.ndarray, labels: np.ndarray) -> Effects:
    """What the targets do to the people whom a fold's model did not see.

    Parameters
    ----------
    fold : Fold
    targets : Targets
    basis : array, [n, K]
        Of intercept and covariates; it mixes covariates of all subjects but no edge and no label.
    labels : array, [n]
    """
    excess = fold.features - expected_control(fold, basis, labels)
    weights = fold.classifier.slope_ * fold.classifier.weights_
    change = -np.where(fold.lost, 0, excess[fold.test])
    controls, ill = excess[fold.train[labels[fold.train] == 0]], labels[fold.test] == 1
    df = max(len(controls) - basis.shape[1], 1)
    shrinkage = ledoit_wolf(controls)
    return Effects(
        fold.repeat,
        fold.test,
        fold.logits,
        shifts=(targets.members @ (change * weights).T).T,
        change=change[ill].astype(np.float32),
        parts=(change[ill] * weights).astype(np.float32),
        spread=np.sqrt((controls**2).sum(0) / df),
        steps=cheapest_steps(controls, weights, targets.members, df, shrinkage)[None],
        reach=reach(controls, weights, targets.members, df, shrinkage),
    )
