"""The confound floor: what age, sex, site and motion alone tell about the group."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


class CovariateEncoder:
    """Numbers standardised, categories one-hot, both learned on the training subjects, [n, K].

    A category that the training subjects lack is encoded as all zeros; a number that is missing takes the
    training mean.
    """

    def __init__(self, covariates: Sequence[str]):
        self.covariates = tuple(covariates)

    def fit(self, table: pd.DataFrame) -> "CovariateEncoder":
        """Learn means, spreads and categories."""
        absent = [name for name in self.covariates if name not in table]
        if absent:
            raise ValueError(
                f"covariate {', '.join(absent)} is not a column of participants.tsv "
                f"(found: {', '.join(table.columns)}). Correct the list of covariates."
            )
        numeric = [name for name in self.covariates if pd.api.types.is_numeric_dtype(table[name])]
        self.numeric_ = {name: (table[name].mean(), max(table[name].std(), 1e-9)) for name in numeric}
        others = [name for name in self.covariates if name not in numeric]
        self.categories_ = {name: sorted(table[name].unique())[1:] for name in others}
        return self

    def transform(self, table: pd.DataFrame) -> np.ndarray:
        """Encode, [n, K] float."""
        columns = []
        for name in self.covariates:
            if name in self.numeric_:
                mean, spread = self.numeric_[name]
                columns.append(((table[name].fillna(mean) - mean) / spread).to_numpy(float))
            else:
                columns += [(table[name] == level).to_numpy(float) for level in self.categories_[name]]
        return np.column_stack(columns) if columns else np.zeros((len(table), 0))
