"""Virtual stimulation: which targets a model answers to, as a glass brain, tables and one paragraph."""

from collections.abc import Mapping

from dysconnect.paper.text import listed, p_text
from dysconnect.report.budget import passed_on, target_held_back, target_share
from dysconnect.report.prediction.scores import measure_seen
from dysconnect.report.results import Study
from dysconnect.report.section import Drawing, Section
from dysconnect.report.stimulation.evidence import evidence_table
from dysconnect.report.stimulation.figures import stimulation_figure
from dysconnect.report.stimulation.tables import connection_table, node_table, notes, patient_rows, set_table
from dysconnect.report.stimulation.words import (
    aside,
    methods_text,
    model_words,
    not_asked,
    paragraph,
    spoken,
    unit_of,
)

CAUTION = (
    "Hypotheses for research, not for the selection of a treatment: the ranking says what a fitted model answers to, "
    "not what stimulation would do."
)
CAPTION = (
    "Regions whose connections, made normal, move held-out patients furthest towards the controls. The larger, the "
    "further beyond permuted labels; dark: survives the family-wise error rate, blue-grey: p at the same level "
    "uncorrected, light: neither. Seen from the right, from behind and from above."
)
WITHHELD = "No ranking is shown"


def section(study: Study) -> Section | None:
    """What a model answers to; no tables where the ranking is withheld, None where nobody was to be asked."""
    results, experiments, targets = study.results, study.experiments, study.results.targets
    asked, alpha = study.cohort["stimulate"]["experiment"], study.cohort["stimulate"]["alpha"]
    figures = {}
    if targets is not None:
        figures = {"stimulation": Drawing(lambda: stimulation_figure(targets, alpha), CAPTION, wide=True)}
    if not results.stimulation:
        absent = asked is not None and asked not in experiments
        return _shown({}, not_asked(asked, experiments)) if absent else None
    methods = [("Virtual stimulation", methods_text(results, study.cohort))]
    if targets is None or targets.empty:
        said = f"{WITHHELD}; {results.stimulation}. {model_words(study)}".strip()
        return _shown(figures, said, CAUTION, methods=methods)
    ranking, directed = results.stimulated, measure_seen(study, asked).directed
    return _shown(
        figures,
        f"{paragraph(targets, ranking, alpha)}{_held_back(study)} {model_words(study)}".strip(),
        CAUTION,
        tables={
            "nodes": node_table(targets, alpha),
            "sets": set_table(targets, ranking, alpha, directed),
            "evidence": evidence_table(targets, results.joint, study.nodes),
            "connections": connection_table(results.edits, targets, unit_of(study), directed),
            "patients": patient_rows(results.patient_targets, results.edits, directed) if study.people else None,
        },
        more={
            "notes": notes(targets, study.cohort["stimulate"]),
            "aside": aside(results.stimulation, ranking, directed),
        },
        methods=methods,
    )


def _shown(figures: Mapping[str, Drawing], words: str, caution: str = "", **parts) -> Section:
    """The section of one paragraph, and what stands below it."""
    more = {"caution": caution, **parts.pop("more", {})}
    return Section("stimulation", "Virtual stimulation", sentences=[words], figures=figures, more=more, **parts)


def _held_back(study: Study) -> str:
    """What is added where targets survive, but none by the error rate of the page."""
    p = study.results.targets["p_fwer"].min()
    if not target_share(study) < p <= study.cohort["stimulate"]["alpha"]:
        return ""
    return f" The verdict names none of them: {target_held_back(study, p)}."


def stimulation_in_short(study: Study) -> str:
    """Where stimulation might help, in one sentence; empty where nobody was asked."""
    results, alpha = study.results, study.cohort["stimulate"]["alpha"]
    if not results.stimulation:
        return ""
    if results.targets is None or results.targets.empty:
        return f"No target of virtual stimulation is shown; {results.stimulation}."
    first = results.targets.drop_duplicates("kind").sort_values("p_fwer", kind="stable")
    survivors = first[first["p_fwer"] <= target_share(study)]
    named = [f"{spoken(row)} ({p_text(row['p_fwer'])})" for _, row in survivors.iterrows()]
    if named:
        return (
            f"Virtual stimulation points to {listed(named)}, family-wise over all targets: a hypothesis of where "
            "stimulation might help, not a recommendation."
        )
    if not results.stimulated["permutations"]:
        return _untested(study)
    p = first["p_fwer"].iloc[0]
    if p <= alpha:
        return f"Virtual stimulation shows no target: {target_held_back(study, p)}."
    return f"Virtual stimulation shows no target: none survives a family-wise error rate of {alpha:g}."


def _untested(study: Study) -> str:
    """Say which target comes first though none was tested, beside a difference that is named."""
    untested = "no target was tested against permuted labels"
    if study.measure.exploratory:
        return f"Virtual stimulation shows no target: {untested}, and connections of this kind are exploratory."
    if not passed_on(study):
        return f"Virtual stimulation shows no target: {untested}, and no difference is shown beside which to name one."
    first = spoken(study.results.targets.iloc[0])
    return f"Virtual stimulation ranks {first} first, but {untested}: a hypothesis at most."
