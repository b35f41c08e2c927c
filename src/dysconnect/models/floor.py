"""The confound floor: what age, sex, site and motion alone tell about the group."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd


class CovariateEncoder:
    """Numbers standardised, categories one-hot, both learned on the training subjects, [n, K].

    What is not known takes the training mean: a number that is missing, and a category that is missing or that the
    training subjects lack. All zeros would be the first category, which has no column.
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
        unknown = [name for name in self.covariates if table[name].isna().all()]
        if unknown:
            raise ValueError(
                f"covariate {', '.join(unknown)} is known of none of {len(table)} people. Leave it out of the list of "
                "covariates."
            )
        numeric = [name for name in self.covariates if pd.api.types.is_numeric_dtype(table[name])]
        self.numeric_ = {name: (table[name].mean(), max(table[name].std(), 1e-9)) for name in numeric}
        others = [name for name in self.covariates if name not in numeric]
        self.categories_ = {name: sorted(table[name].dropna().unique())[1:] for name in others}
        self.firsts_ = {name: min(table[name].dropna().unique(), default="") for name in others}
        self.centre_ = np.array([share for name in self.covariates for share in self._means(table[name])])
        return self

    def _means(self, values: pd.Series) -> list[float]:
        """Of the columns of one covariate: 0 of a number, the share of each category among those that are known."""
        if values.name in self.numeric_:
            return [0.0]
        return [float((values.dropna() == level).mean()) for level in self.categories_[values.name]]

    def transform(self, table: pd.DataFrame) -> np.ndarray:
        """Encode, [n, K] float."""
        columns = []
        for name in self.covariates:
            if name in self.numeric_:
                mean, spread = self.numeric_[name]
                columns.append(((table[name].fillna(mean) - mean) / spread).to_numpy(float))
                continue
            known = table[name].isin([self.firsts_[name], *self.categories_[name]]).to_numpy()
            for level in self.categories_[name]:
                columns.append(np.where(known, table[name] == level, self.centre_[len(columns)]).astype(float))
        return np.column_stack(columns) if columns else np.zeros((len(table), 0))

    def centred(self, table: pd.DataFrame) -> np.ndarray:
        """Encode as deviation from the training subjects, [n, K]; what is not known is no deviation."""
        return self.transform(table) - self.centre_

    def state(self) -> dict:
        """What was learned, fit for JSON."""
        return {
            "numeric": {name: [float(value) for value in pair] for name, pair in self.numeric_.items()},
            "categories": self.categories_,
            "firsts": self.firsts_,
            "centre": self.centre_.tolist(),
        }

    def load_state(self, state: Mapping) -> "CovariateEncoder":
        """Restore from `state`."""
        self.numeric_, self.categories_, self.firsts_ = state["numeric"], state["categories"], state["firsts"]
        self.centre_ = np.array(state["centre"])
        return self
