"""The confound floor: what age, sex, site and motion alone tell about the group."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

LOG = "log_"  # before the name of a column: its logarithm


def is_covariate(name: str, table: pd.DataFrame) -> bool:
    """Whether a table has a covariate, or the column of which it is the logarithm."""
    return name in table or name.removeprefix(LOG) in table


def covariate(name: str, table: pd.DataFrame) -> pd.Series:
    """A column of a table, or as `log_COLUMN` its logarithm: what goes with motion mostly levels off where it is large.

    Raises
    ------
    ValueError
        For the logarithm of what is no positive number.
    """
    if name in table:
        return table[name]
    values = table[name.removeprefix(LOG)]
    if not pd.api.types.is_numeric_dtype(values):
        raise ValueError(
            f"covariate {name}: {values.name} is no number, and has no logarithm. Leave the covariate out."
        )
    if (values <= 0).any():
        rows = table[values <= 0]
        who = rows["participant_id"] if "participant_id" in rows else rows.index.astype(str)
        raise ValueError(
            f"covariate {name}: {values.name} is not above zero in {', '.join(who[:5])}"
            f"{' and others' if len(rows) > 5 else ''}, and has no logarithm. Correct it, or leave the covariate out."
        )
    return np.log(values).rename(name)


class CovariateEncoder:
    """Numbers standardised, categories one-hot, both learned on the training subjects, [n, K].

    What is not known takes the training mean: a number that is missing, and a category that is missing or that the
    training subjects lack. All zeros would be the first category, which has no column.
    """

    def __init__(self, covariates: Sequence[str]):
        self.covariates = tuple(covariates)

    def fit(self, table: pd.DataFrame) -> "CovariateEncoder":
        """Learn means, spreads and categories."""
        absent = [name for name in self.covariates if not is_covariate(name, table)]
        if absent:
            raise ValueError(
                f"covariate {', '.join(absent)} is not a column of participants.tsv "
                f"(found: {', '.join(table.columns)}). Correct the list of covariates."
            )
        known = {name: covariate(name, table) for name in self.covariates}
        unknown = [name for name, values in known.items() if values.isna().all()]
        if unknown:
            raise ValueError(
                f"covariate {', '.join(unknown)} is known of none of {len(table)} people. Leave it out of the list of "
                "covariates."
            )
        numeric = {name: values for name, values in known.items() if pd.api.types.is_numeric_dtype(values)}
        self.numeric_ = {name: (values.mean(), max(values.std(), 1e-9)) for name, values in numeric.items()}
        others = [name for name in self.covariates if name not in numeric]
        self.categories_ = {name: sorted(table[name].dropna().unique())[1:] for name in others}
        self.firsts_ = {name: min(table[name].dropna().unique(), default="") for name in others}
        self.centre_ = np.array([share for values in known.values() for share in self._means(values)])
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
                columns.append(((covariate(name, table).fillna(mean) - mean) / spread).to_numpy(float))
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
