"""Stage `timeseries`: denoised regional series of everybody, and a verdict on who can be used."""

from dysconnect.denoising.checks import check_series, usable_confounds
from dysconnect.denoising.projection import Projection, denoise, projection
from dysconnect.denoising.regressors import MOTION, UnusableError, kept_volumes, nuisance_regressors
from dysconnect.timeseries.cohort import (
    Verdict,
    earlier_reason,
    emptied,
    judge_cohort,
    prepare_cohort,
    prepare_subject,
)
from dysconnect.timeseries.description import describe_dataset
from dysconnect.timeseries.matrices import judge_matrices

__all__ = [
    "MOTION",
    "Projection",
    "UnusableError",
    "Verdict",
    "check_series",
    "denoise",
    "describe_dataset",
    "earlier_reason",
    "emptied",
    "judge_cohort",
    "judge_matrices",
    "kept_volumes",
    "nuisance_regressors",
    "prepare_cohort",
    "prepare_subject",
    "projection",
    "usable_confounds",
]
