"""People with their labels and connectomes, as all models and tests take them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Cohort:
    """Labelled subjects and their connectomes.

    Attributes
    ----------
    participants : DataFrame, [n rows]
        With `label`, `site`, `scan_group` and the covariates.
    values : array, [n, E]
        Fisher z edges, or covariances with their diagonal for the tangent space.
    missing : array of bool, [n, N]
        Regions without signal.
    nodes : array of str, [N]
        Region names.
    measure : {"correlation", "partial", "tangent"}
    """

    participants: pd.DataFrame
    values: np.ndarray
    missing: np.ndarray
    nodes: np.ndarray
    measure: str

    @property
    def labels(self) -> np.ndarray:
        """Labels, [n]: 1 is the patient."""
        return self.participants["label"].to_numpy()
