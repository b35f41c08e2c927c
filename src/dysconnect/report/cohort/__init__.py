"""The cohort: who there is, who was left out and why, and who was compared."""

from collections.abc import Mapping

from dysconnect.paper.style import drawn_of
from dysconnect.paper.text import counted, listed, p_text
from dysconnect.reading.repetition import times_by_group
from dysconnect.report.cohort.figures import consort_figure, motion_figure, motion_test
from dysconnect.report.cohort.tables import choices_table, cohort_table, excluded_table
from dysconnect.report.results import Results, Study
from dysconnect.report.section import Drawing, Section


def section(study: Study) -> Section:
    """Everybody by group, who was left out and why, motion, and what was taken of several files."""
    results, contrast = study.results, study.contrast
    people, quality = results.participants, results.quality
    limit = study.cohort["denoise"]["max_mean_fd"]
    return Section(
        "cohort",
        "Cohort",
        sentences=times_text(results, contrast),
        figures={
            "cohort": Drawing(lambda: consort_figure(quality, contrast), FLOW_CAPTION, wide=True),
            "motion": Drawing(lambda: motion_figure(people, contrast, limit), _motion_caption(study)),
        },
        tables={
            "cohort": cohort_table(people, contrast),
            "excluded": excluded_table(people, named=study.people),
            "choices": choices_table(results.choices),
        },
        more={"people": study.people},
        verdict=[("Subjects", subjects_sentence(results, contrast))],
    )


FLOW_CAPTION = (
    "From everybody in the data to those who are compared. Numbers before a reason count people; an ellipsis stands "
    "for numbers that differ between them."
)


def _motion_caption(study: Study) -> str:
    people = study.results.participants
    if people["mean_fd"].isna().all():
        return "Head motion was not measured."
    test = motion_test(people, study.contrast, study.level)
    return (
        f"Head motion by group ({p_text(test.p)}, Cohen's d = {test}). Each point is a subject, crosses are excluded "
        "ones; boxes show quartiles of the included, whiskers reach 1.5 interquartile ranges."
    ) + drawn_of(len(people))


def times_text(results: Results, contrast: Mapping) -> list[str]:
    """Repetition times of the included by group, where they differ."""
    people, index = results.participants, results.index
    times = [] if index is None else times_by_group(people[people["included"]], index, contrast)
    return [f"{text[0].upper()}{text[1:]}." for text in times]


def subjects_sentence(results: Results, contrast: Mapping, where: str = ", listed below with the reason") -> str:
    """How many subjects were analysed, left out (and where these stand), or belong to no side of the contrast."""
    everybody = results.participants
    people = results.splits.drop_duplicates("participant_id")
    cases, controls = int((people["label"] == 1).sum()), int((people["label"] == 0).sum())
    text = (
        f"{cases + controls:,} of {counted(len(everybody), 'subject')} were analysed: {counted(cases, 'patient')} "
        f"({listed(contrast['cases'])}) and {counted(controls, 'control')} ({listed(contrast['controls'])})."
    )
    excluded = int((~everybody["included"]).sum())
    if excluded:
        text += f" {excluded:,} {'was' if excluded == 1 else 'were'} excluded{where}."
    others = len(everybody) - excluded - cases - controls
    return text + (f" {others:,} of other groups were not compared." if others > 0 else "")


def banner(cohort: Mapping) -> str:
    """Say that a cohort is simulated or semi-synthetic; empty for real data."""
    dataset = cohort["dataset"]
    if not dataset["simulated"]:
        return ""
    if dataset["plant"] is not None and dataset["plant"]["effect"] == 0:
        what = "No difference was planted in this cohort: whatever is found here is false."
    else:
        what = "The difference was planted by software: nothing here is a finding about patients."
    return f"{'Simulated data.' if dataset['kind'] == 'simulated' else 'Semi-synthetic data: real scans.'} {what}"
