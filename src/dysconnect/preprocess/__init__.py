"""Stage `preprocess`: from BOLD, with its confounds, to regional averages of everybody and their quality."""

from dysconnect.preprocess.regions import Averages, label_weights, regional_series, sphere_weights
from dysconnect.preprocess.subject import preprocess_subject, refuse_other_space, space_of
from dysconnect.preprocess.volumes import repetition_time

__all__ = [
    "Averages",
    "label_weights",
    "preprocess_subject",
    "refuse_other_space",
    "regional_series",
    "repetition_time",
    "space_of",
    "sphere_weights",
]
