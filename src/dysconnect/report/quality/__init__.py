"""Quality: motion, exclusion, and what is missing, in patients and controls."""

from collections.abc import Mapping

from dysconnect.paper.text import compared_text, counted, covariate_names, p_text
from dysconnect.report.quality.figures import distance_figure, qcfc_figure
from dysconnect.report.quality.sentences import (
    lacking_text,
    motion_followers,
    motions,
    processing_text,
    quality_sentence,
)
from dysconnect.report.quality.tables import people_table, qcfc_table, region_table
from dysconnect.report.results import Study
from dysconnect.report.scans import scans_text
from dysconnect.report.section import Drawing, Section


def section(study: Study) -> Section:
    """Who moves, who was left out, which connections follow motion, and which regions are missing."""
    results, quality = study.results, study.results.quality
    survivors, moved = motion_followers(results.edges, results.qcfc, study.alpha)
    return Section(
        "quality",
        "Quality",
        facts=quality_facts(quality, survivors, moved),
        figures=_drawings(quality, f"{study.level:.0%}"),
        tables={"qcfc": qcfc_table(quality), "regions": region_table(quality), "people": people_table(quality)},
        more={"untested": quality["qcfc"]["everybody"].get("reason", "")},  # why motion could not be followed
        verdict=[("Quality", quality_sentence(study))],
        methods=[("Quality", _quality_text(quality, study.cohort) + scans_text(results.scans))],
    )


def _drawings(quality: Mapping, level: str) -> dict[str, Drawing]:
    adjusted = f"Adjusted for {covariate_names([*quality['nuisance'], 'group'])}."
    qcfc = (
        "QC-FC: correlation over people of mean framewise displacement and connectivity, for all connections. Grey: "
        f"the middle {level} where motion is permuted inside sites. Where motion leaves no trace, the observed line "
        f"stays in the grey. {adjusted}"
    )
    distance = (
        "QC-FC by the distance of the two regions, in bins of equally many connections. Dots are means, thin lines the "
        f"middle half of the connections, grey the middle {level} of the means where motion is permuted. Motion that "
        "survives denoising typically lifts short connections and lowers long ones."
    )
    return {
        "qcfc": Drawing(lambda: qcfc_figure(quality), qcfc),
        "qcfc_distance": Drawing(lambda: distance_figure(quality), distance),
    }


def quality_facts(quality: Mapping, survivors: int, moved: int) -> list[tuple[str, str]]:
    """What the section rests on, in numbers.

    Parameters
    ----------
    quality : mapping
        Summary of the `quality` stage.
    survivors, moved : int
        Connections that survive the localization, and those of them that follow motion.
    """
    subjects, edges = quality["subjects"], quality["edges"]
    lost = [
        counted(subjects[side]["total"] - subjects[side]["kept"], one)
        for side, one in (("cases", "patient"), ("controls", "control"))
    ]
    tested = f"{edges['tested']:,} of {counted(edges['total'], 'connection')}"
    untested = [
        (edges["unmeasured"], "measured in nobody"),
        (edges["outside"], "outside the field of view in too many people"),
        (edges["silent"], "without signal in too many people"),
    ]
    why = "; ".join(f"{count:,} {reason}" for count, reason in untested if count)
    facts = [
        *((name, compared_text(each, "mm", 3)) for name, each in motions(quality).items()),
        ("Data kept", compared_text(quality["seconds"], "s", 0)),
        ("Volumes kept", compared_text(quality["volumes"], "volumes", 0)),
        ("Left out", f"{lost[0]}, {lost[1]} (Fisher {p_text(subjects['p'])})"),
        ("Tested for motion", "nothing" if "reason" in quality["qcfc"]["everybody"] else tested),
        ("Matrices", processing_text(quality["processing"]) if quality.get("processing") else ""),
        ("Missing", why),
        ("Regions missing", lacking_text(quality["lacking"]) if quality["lacking"]["regions"] else ""),
    ]
    if survivors and "reason" not in quality["qcfc"]["everybody"]:
        facts.append(("Survivors", f"{moved:,} of {counted(survivors, 'connection')} that survive follow motion"))
    return [(name, text) for name, text in facts if text]


def _quality_text(quality: Mapping, cohort: Mapping) -> str:
    groups = (
        "Exclusion of patients and controls was compared by Fisher's exact test, the amount of data and motion "
        "(by its logarithm) by the t-test, Cohen's d and the interval of the same test."
    )
    if "reason" in quality["qcfc"]["everybody"]:
        return f"{groups} Whether connections follow motion was not tested ({quality['qcfc']['everybody']['reason']})."
    return (
        f"{groups} Over people, every connection was correlated with mean framewise displacement (QC-FC; Ciric et al. "
        f"2017; Parkes et al. 2018), adjusted for {covariate_names([*quality['nuisance'], 'group'])}, and these "
        "correlations with the Euclidean distance of the regions (Spearman). Nulls come from "
        f"{cohort['quality']['permutations']:,} permutations of motion inside sites."
    )
