"""Probabilities for people of sites that a model has not seen: calibrated on whole sites left out of its people.

At a new site decisions agree less with the diagnosis than at the sites that taught them; Platt's curve through
decisions about people of the same sites is then too steep, and probabilities are too near to 0 and 1.
"""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.learning.seeds import is_graph
from dysconnect.learning.splits import leaves_sites_out

if TYPE_CHECKING:
    from dysconnect.learning.estimators import FeatureModel, Model


def for_new_sites(sections: Mapping, splits: pd.DataFrame) -> bool:
    """Whether the models of the folds are to be calibrated on sites left out (`training.calibration`).

    ``auto``: where they are tested on sites that they have not seen. Graph networks are not.
    """
    chosen = sections["training"].get("calibration", "auto")
    return not is_graph(sections) and (chosen == "sites" or (chosen == "auto" and leaves_sites_out(splits)))


def calibrate_on_sites(model: "FeatureModel", cohort: Cohort, rows: np.ndarray) -> np.ndarray | None:
    """Calibrate a model fitted on `rows` for people of new sites, by sites left out.

    Returns
    -------
    array, [2], or None
        Factor and summand that turn the logit for people of its own sites into that for people of new ones; None where
        no site can be left out, and the model stays as it was.
    """
    curve = model.curve_at_new_sites(cohort, rows)
    if curve is None:
        return None
    classifier, (slope, offset) = model.classifier_, curve
    factor = slope / classifier.slope_
    turned = np.array([factor, offset - factor * classifier.offset_])
    classifier.slope_, classifier.offset_ = slope, offset
    return turned


def calibrate_fold(model: "FeatureModel", cohort: Cohort, rows: np.ndarray, name: str) -> None:
    """The same for the model of a fold, and say so where it cannot be.

    Warns
    -----
    UserWarning
        When no site can be left out of the training people.
    """
    if calibrate_on_sites(model, cohort, rows) is None:
        sites = ", ".join(sorted(set(cohort.participants["site"].iloc[rows].astype(str))))
        warnings.warn(
            f"{name}: no site can be left out of the training people (of {sites}), so probabilities are calibrated on "
            "people of these sites, and may be too near to 0 and 1 elsewhere.",
            stacklevel=2,
        )


def calibrate_final(model: "Model", cohort: Cohort, sections: Mapping, splits: pd.DataFrame) -> np.ndarray | None:
    """Calibrate the model of everybody, which is meant for new people, where it has several sites.

    Returns
    -------
    array, [2], or None
        Factor and summand that turn a logit calibrated on the out-of-fold predictions into one for people of new sites;
        None where that is not known.
    """
    if is_graph(sections) or sections["training"].get("calibration", "auto") == "people":
        return None
    turned = calibrate_on_sites(model, cohort, np.arange(len(cohort.labels)))
    return np.array([1.0, 0.0]) if leaves_sites_out(splits) else turned
