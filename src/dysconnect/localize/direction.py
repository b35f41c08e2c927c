"""What accuracy of direction to expect of a cohort whose connections are directed, beside what its scans say of it."""

from dysconnect.data.cohort import Cohort
from dysconnect.dynamics.direction import direction_accuracy

NETWORKS = 100  # simulated for each number
SPREADS = {"same": 0.0, "differing": 1.0}  # s, standard deviation over regions of the peak of the response


def expected_direction(cohort: Cohort) -> dict:
    """Accuracy of direction by simulation at the cohort's number of regions, mean pairs of volumes and repetition time.

    Returns
    -------
    dict
        `n_regions`, `pairs`, `repetition_time` (s), `reversal` (mean over people, -1 to 1: -1 where all that leads
        follows when time runs backwards); `direction` and `direction_error` by how the response of the blood peaks:
        at the same time in all regions (`same`), or not (`differing`). Empty where the file of connectomes says
        nothing of scans.
    """
    if not cohort.directed or "pairs" not in cohort.scan_means:
        return {}
    known, n_regions = cohort.scan_means, len(cohort.nodes)
    size = n_regions, round(known["pairs"]), known["repetition_time"]
    made = {name: direction_accuracy(*size, spread, networks=NETWORKS) for name, spread in SPREADS.items()}
    return {
        "n_regions": n_regions,
        **{name: round(float(value), 4) for name, value in known.items()},
        "direction": {name: round(float(one.direction), 4) for name, one in made.items()},
        "direction_error": {name: round(float(one.direction_error), 4) for name, one in made.items()},
    }
