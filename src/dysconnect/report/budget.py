"""The error rate of the page: which differences its verdict may name.

Every family of tests keeps its own error rate, so that a page with several families does not. The verdict names a
difference only where a p that allows for everything that was looked at passes: models have one half of the error rate,
connections the other, which the questions to the connections share. Targets of virtual stimulation have no part: they
are named beside a difference only, at what the named differences pass on. A cohort without any is not named more often.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dysconnect.paper.text import listed
from dysconnect.report.results import QUESTIONS, Asked, Study

SLACK = 1e-9


class Family(NamedTuple):
    """One family of tests of the connections: its p, and that which allows for the other families."""

    p: float
    p_any: float


def model_share(study: Study) -> float:
    """Largest p of the best model that the verdict calls a finding: half of the complement of the intervals' level."""
    return (1 - study.level) / 2 + SLACK


def connection_share(study: Study) -> float:
    """Largest p of a family of tests that the verdict calls a finding, shared by all questions to the connections.

    Zero for a measure that is exploratory: nothing of it is named.
    """
    if study.measure.exploratory:
        return 0.0
    return study.alpha / 2 / (1 + len(study.results.asked)) + SLACK


def family(summary: Mapping, name: str) -> Family:
    """One of the families edge, component, circuit, block; NaN where it was not looked at."""
    rows = [row for row in summary["families"] if row["name"] == name]
    return Family(rows[0]["p"], rows[0]["p_any"]) if rows else Family(np.nan, np.nan)


def may_name(study: Study, name: str) -> bool:
    """Whether the verdict may say that something of this family differs.

    What makes the p of components small may be the t of one connection of a circuit, and then none is there to name.
    """
    if name == "component" and not (study.results.components["p_fwer"] <= study.alpha).any():
        return False
    return bool(family(study.results.summary, name).p_any <= connection_share(study))


def out_of_reach(study: Study) -> str:
    """Say that the permutations are too few for any connection to be named; empty where they are enough."""
    n, share = study.results.summary["permutations"], connection_share(study)
    if study.measure.exploratory or 1 / (1 + n) <= share:
        return ""
    return (
        f"{n:,} permutations give no p below {1 / (1 + n):.2g}, where the error rate of the page asks for {share:.2g}: "
        f"nothing could be called. Set localize.permutations to {int(np.ceil(1 / share)) - 1:,} or more."
    )


def budget_text(study: Study) -> str:
    """How the error rate of the verdict is kept, for the methods of a paper."""
    asked = [QUESTIONS[name] for name in study.results.asked]
    shared = f", shared with the questions of {listed(asked)}" if asked else ""
    models = (
        "Every family of tests keeps its own error rate. The verdict names a difference only at "
        f"{model_share(study):.2g} for the best model, by the highest standardised AUC of all models under the same "
        "permutations"
    )
    if study.measure.exploratory:
        return f"{models}. Connections are exploratory: it names none, single or together, and no target."
    return (
        f"{models}, and at {connection_share(study):.2g} for connections{shared}, by the smallest p over single "
        "connections, components, circuits and pairs of systems under the same permutations (Westfall and Young 1993)."
        f"{_targets_text(study)}"
    )


def _targets_text(study: Study) -> str:
    """When the verdict names a target; empty where nobody asked for one."""
    if not study.results.stimulation:
        return ""
    return (
        " A target of virtual stimulation is named only beside such a difference, by its family-wise p at the part of "
        "the error rate that the named questions have used, so that nothing is named more often where nothing differs."
    )


def asked_p(asked: Asked) -> float:
    """Family-wise p of a further question; NaN where it was not tested."""
    return float(asked.edges["p_fwer"].min()) if len(asked.edges) else float("nan")


def held_back(study: Study, p: float, name: str = "") -> str:
    """Why something that passes its family's own error rate is not called a finding."""
    families = len(study.results.summary["families"])
    several = f"; {p:.2g} once the {families} families of tests are allowed for" if name else ""
    own = family(study.results.summary, name).p if name else p
    if study.measure.exploratory:
        return f"p = {own:.2g} at its own error rate{several}; exploratory, and not counted as a finding"
    return (
        f"p = {own:.2g} at its own error rate{several}, where the error rate of the page asks for "
        f"{connection_share(study):.2g}: not counted as a finding"
    )


def differences(study: Study) -> list[tuple[str, float]]:
    """What the verdict names as a difference: question and corrected p; empty where nothing is there to name."""
    models = study.results.scores.query("metric == 'auc'").set_index("experiment")["p_best"]
    found = [(name, p) for name, p in models.items() if p <= model_share(study)]
    passing = {name: p for name, p in _of_connections(study).items() if p <= connection_share(study)}
    return found + [(name, p) for name, p in passing.items() if name != "component" or may_name(study, name)]


def _of_connections(study: Study) -> dict[str, float]:
    """Corrected p of all families and further questions to the connections."""
    families = {row["name"]: row["p_any"] for row in study.results.summary["families"]}
    return families | {name: asked_p(question) for name, question in study.results.asked.items()}


def passed_on(study: Study) -> float:
    """Error rate of the questions of which the verdict names a difference: what is left for targets."""
    found = {name for name, _ in differences(study)}
    connections = found & set(_of_connections(study))
    asked = len(connections & set(QUESTIONS)) + bool(connections - set(QUESTIONS))
    return model_share(study) * bool(found - connections) + connection_share(study) * asked


def target_share(study: Study) -> float:
    """Largest family-wise p of a target that the verdict names; 0 where it names no difference, or may name none."""
    if study.measure.exploratory:
        return 0.0
    return min(study.cohort["stimulate"]["alpha"] + SLACK, passed_on(study))


def target_held_back(study: Study, p: float) -> str:
    """Why a target that survives its own family-wise error rate is not called a finding."""
    asks = f"the error rate of the page asks for {target_share(study):.2g}"
    none = "a target is named only beside a difference that this page names, and there is none"
    why = asks if passed_on(study) else none
    why = "connections of this kind are exploratory" if study.measure.exploratory else why
    return f"p = {p:.2g} at its own error rate, but {why}: not counted as a finding"


def named(study: Study) -> list[tuple[str, float]]:
    """What the verdict names, differences and targets: question and corrected p."""
    tested, found = study.results.stimulated, differences(study)
    p = tested["p"] if tested.get("permutations") else np.nan
    return found + ([("targets", p)] if p <= target_share(study) else [])
