"""The verdict: a few sentences for those who read no further, and what every topic says in detail."""

from collections.abc import Iterable

from dysconnect.report.localization import connections_in_short
from dysconnect.report.prediction.sentences import power_in_short, prediction_in_short, rivalry_in_short
from dysconnect.report.quality.sentences import motion_in_short
from dysconnect.report.results import Study
from dysconnect.report.section import Section, joined
from dysconnect.report.stimulation import stimulation_in_short


def in_short(study: Study) -> list[str]:
    """Prediction beside its floor, network or linear, connections, targets, motion, and what could have been seen."""
    said = [
        prediction_in_short(study),
        rivalry_in_short(study),
        connections_in_short(study),
        stimulation_in_short(study),
        motion_in_short(study),
        power_in_short(study),
    ]
    return [sentence for sentence in said if sentence]


def verdict(sections: Iterable[Section]) -> list[tuple[str, str]]:
    """Judge the results: (topic, sentences) pairs, computed from the numbers."""
    return joined(pair for section in sections for pair in section.verdict)
