"""Stage `timeseries`: denoised regional series of everybody, and a verdict on who can be used."""

from dysconnect.denoising.checks import check_series, usable_confounds
from dysconnect.denoising.projection import Projection, denoise, projection
from dysconnect.denoising.regressors import MOTION, UnusableError, kept_volumes, nuisance_regressors
from dysconnect.timeseries.cohort import (
    Verdict,
    describe_dataset,
    earlier_reason,
    judge_cohort,
    prepare_cohort,
    prepare_subject,
)

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
