"""Stage `timeseries`: denoised regional series of everybody, and a verdict on who can be used."""

from dysconnect.timeseries.cohort import (
    Verdict,
    check_series,
    describe_dataset,
    earlier_reason,
    judge_cohort,
    prepare_cohort,
    prepare_subject,
    usable_confounds,
)
from dysconnect.timeseries.projection import Projection, denoise, projection
from dysconnect.timeseries.regressors import MOTION, UnusableError, kept_volumes, nuisance_regressors

__all__ = [
    "MOTION",
    "Projection",
    "UnusableError",
    "Verdict",
    "check_series",
    "denoise",
    "describe_dataset",
    "earlier_reason",
    "judge_cohort",
    "kept_volumes",
    "nuisance_regressors",
    "prepare_cohort",
    "prepare_subject",
    "projection",
    "usable_confounds",
]
