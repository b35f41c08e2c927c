"""Whether a person is like the cohort: why no answer is given, and what is doubtful about one, in words."""

from collections.abc import Mapping

from dysconnect.data.measures import measure_of
from dysconnect.predict.bundle import Bundle

YEARS = 5.0  # beyond the cohort's ages, up to which somebody counts as of it
FASTER, SLOWER = 0.5, 2.0  # times the cohort's repetition times, within which a scan counts as alike
UNUSUAL = 0.05  # share of the cohort that is as unusual, up to which it is a warning


def judge(bundle: Bundle, distance: Mapping[str, Mapping]) -> tuple[list[str], list[str]]:
    """Reasons to refuse, and what is doubtful."""
    refused, doubts = [], []
    for look in (_judge_connectivity, _judge_motion, _judge_people, _judge_times):
        no, doubt = look(bundle, distance)
        refused += no
        doubts += doubt
    return refused, doubts


STRANGE = {
    "within": "lies in an unusual place among the cohort's",
    "beside": "has much that the cohort's lacks",
    "pattern": "has another pattern than the cohort's",
    "sides": "differs between left and right otherwise than the cohort's: are the sides swapped?",
}
SIZES = {"slope": ("weaker", "stronger"), "texture": ("smoother", "rougher")}


def _judge_connectivity(bundle: Bundle, distance: Mapping) -> tuple[list[str], list[str]]:
    kinds = distance["connectivity"]
    no = [
        f"connectivity {_strange(kind, measured['z'])}: {abs(measured['z']):.1f} robust standard deviations from the "
        f"cohort's median, farther than {100 * (1 - measured['p_max']):.0f}% of its people are in any respect"
        for kind, measured in kinds.items()
        if measured["far"]
    ]
    kind, nearest = min(kinds.items(), key=lambda pair: pair[1]["p_max"])
    doubt = [
        f"connectivity {_strange(kind, nearest['z'])}, as that of only {100 * nearest['p_max']:.0f}% of the cohort's "
        "people is as unusual in any respect"
    ]
    return no, doubt if not no and nearest["p_max"] <= UNUSUAL else []


def _strange(kind: str, z: float) -> str:
    return f"is {SIZES[kind][int(z > 0)]} than the cohort's" if kind in SIZES else STRANGE[kind]


def _judge_motion(bundle: Bundle, distance: Mapping) -> tuple[list[str], list[str]]:
    motion = distance["motion"]
    value, largest = motion["mean_fd"], motion.get("largest")
    if value is None:
        needed = [] if largest is None else ["head motion is not known, so nobody can say whether it was too much"]
        return [], needed
    if value > motion["limit"]:
        return [
            f"mean framewise displacement {value:.2f} mm, more than the {motion['limit']:g} mm of anybody trained on"
        ], []
    beyond = largest is not None and value > largest
    return [], [
        f"mean framewise displacement {value:.2f} mm; the cohort's largest is {largest:.2f} mm"
    ] if beyond else []


def _judge_people(bundle: Bundle, distance: Mapping) -> tuple[list[str], list[str]]:
    doubt = [
        f"nobody of the cohort has {name} {distance[name]['value']} (known: {', '.join(levels(bundle, name))})"
        for name in ("site", "sex")
        if name in distance and distance[name]["known"] is False
    ]
    age = distance.get("age", {"value": None, "range": None})
    if age["value"] is None or age["range"] is None:
        return [], doubt
    low, high = age["range"]
    words = f"age {age['value']:g}; the cohort is {low:.0f} to {high:.0f} years old"
    if not low - YEARS <= age["value"] <= high + YEARS:
        return [words], doubt
    return [], doubt if low <= age["value"] <= high else [*doubt, words]


def levels(bundle: Bundle, name: str) -> list[str]:
    levels = bundle.about["covariates"][name]["levels"]
    return levels if len(levels) <= 8 else [*levels[:8], "..."]


def _judge_times(bundle: Bundle, distance: Mapping) -> tuple[list[str], list[str]]:
    """Judge how fast and how long the scan was; nobody knows that of a matrix."""
    if "repetition_time" not in distance:
        return [], []
    every, (low, high) = distance["repetition_time"]["value"], distance["repetition_time"]["range"]
    words = f"a volume every {every:g} s; the cohort's scans have one every {_span(low, high)} s"
    no = [words] if not FASTER * low <= every <= SLOWER * high else []
    doubt = [words] if not no and not 0.95 * low <= every <= 1.05 * high else []
    seconds, (shortest, longest) = distance["seconds"]["value"], distance["seconds"]["range"]
    if seconds < 0.99 * shortest:
        doubt.append(f"{seconds:.0f} s of scan; the cohort's have {_span(shortest, longest)} s")
    return no, doubt


def _span(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def doubtful(bundle: Bundle) -> list[str]:
    """What is doubtful about the model itself."""
    auc = bundle.about["scores"]["auc"]
    doubts = []
    if bundle.about["dataset"].get("simulated"):
        doubts.append("the model was trained on simulated people: its answer says nothing about a real one")
    if auc["p"] is not None and auc["p"] > 0.05:
        doubts.append(f"the model does not beat chance in its own cohort (AUC {auc['value']:.2f}, p = {auc['p']:.2g})")
    if auc["floor"] is not None and auc["value"] <= auc["floor"]:
        doubts.append(
            f"the model does not beat the confound floor in its own cohort (AUC {auc['value']:.2f}, floor "
            f"{auc['floor']:.2f})"
        )
    if auc.get("regional") is not None and auc["value"] <= auc["regional"]:
        seen = " and ".join(measure_of(bundle.about["stored"]).regional)
        doubts.append(
            f"the model does not beat {seen} of the regions alone in its own cohort (AUC {auc['value']:.2f}, they "
            f"{auc['regional']:.2f}): it may have learned no connection"
        )
    return doubts
