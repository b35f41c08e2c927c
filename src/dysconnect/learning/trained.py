"""The outcome of a cross-validation, for whoever writes it, logs it or scores it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dysconnect.learning.estimators import Model


@dataclass(frozen=True)
class Trained:
    """What cross-validation leaves behind.

    Attributes
    ----------
    predictions : DataFrame
        `participant_id`, `experiment`, `repeat`, `fold`, `seed`, `label`, `probability`; out of fold.
    history : DataFrame
        One row an epoch; empty for models without epochs.
    search : DataFrame
        One row a candidate of the hyper-parameters that was tried inside a training fold, with its validation loss, the
        epoch of it, and whether it was chosen; empty without a search.
    start : DataFrame
        One row a network that starts from ridge regression: how much it counts beside it, and what the inner folds of
        its training people say of both; empty without a start.
    weights : array or None, [folds * repeats, E]
        Edge weights of the fold models, where the model has them.
    final : Model
        Fitted on everybody; never scored.
    folds : dict of (int, int, int) to Model
        The models of every repeat, fold and seed: each predicts whom it never saw.
    pretraining : list of dict
        `epoch`, `train_loss`, `val_loss`, `val_explained`; empty without pretraining.
    new_site : array or None, [2]
        Factor and summand that turn a calibrated logit into that of somebody of a new site (`calibrate_final`).
    """

    predictions: pd.DataFrame
    history: pd.DataFrame
    search: pd.DataFrame
    start: pd.DataFrame
    weights: np.ndarray | None
    final: Model
    folds: dict[tuple[int, int, int], Model]
    pretraining: list[dict]
    new_site: np.ndarray | None = None

    @property
    def first_repeat(self) -> dict[int, Model]:
        """The models of the first repeat's folds (first seed), for the permutation null."""
        return {fold: model for (repeat, fold, seed), model in self.folds.items() if repeat == seed == 0}
