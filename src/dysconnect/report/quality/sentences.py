"""What threatens the claim: motion, exclusion, the amount of data, and regions that are missing."""

from collections.abc import Mapping, Sequence

import pandas as pd

from dysconnect.paper.text import COVARIATES, NONE, counted, difference_text, listed, number, p_text, percent
from dysconnect.report.budget import may_name
from dysconnect.report.results import Study
from dysconnect.report.scans import scan_warnings
from dysconnect.report.tracts import tract_warnings

MOST = 5  # people who are named in a sentence


def quality_sentence(study: Study) -> str:
    """Warn where motion, exclusion or the amount of data threatens the claim; one line where nothing does."""
    results, spec, level = study.results, study.cohort["quality"], study.level
    warnings, link = quality_warnings(results.quality, spec), results.quality["qcfc"]["everybody"]
    if results.scans is not None:
        warnings += scan_warnings(results.scans, study.contrast, spec, level)
    warnings += tract_warnings(study)
    unmeasured = results.quality["motion"].get("reason") == "not measured"
    if unmeasured:
        warnings.append("Head motion was not measured: its part in any difference is unknown")
    if not warnings:
        known = "; how connections follow motion could not be tested"
        if "share" in link:
            known = f", and {percent(link['share']['value'])} of the connections follow motion (5% by chance)"
        return f"No warning: neither motion, exclusion nor the amount of data differs between the groups{known}."
    if unmeasured or not _motion_warned(results.quality, spec):
        return ". ".join(warnings) + "."
    differs = any(each.get("p", 1) <= spec["group_alpha"] for each in motions(results.quality).values())
    return ". ".join([*warnings, _adjusted(results.summary["nuisance"], differs)]) + "."


def _adjusted(nuisance: Sequence[str], differs: bool) -> str:
    """How the tests adjust for motion; and where it differs between the groups, what that leaves."""
    if not any(name.startswith("mean_fd") for name in nuisance):  # of the whole scan, or parts
        return "The tests do not adjust for motion: a difference may be one of motion alone"
    if any(name.startswith("log_mean_fd") for name in nuisance):
        return "Connections are tested with motion and its logarithm as covariates, which removes most, not all"
    said = "Connections are tested with motion as a covariate, which removes what is linear in its mean, not all"
    advice = (
        "with a strong difference, sets of connections were called by mistake in up to 12% of cohorts of real people "
        "where 5% are promised, and in 5% with log_mean_fd in localize.nuisance as well"
    )
    return f"{said}: {advice}" if differs else said


def quality_warnings(quality: Mapping, spec: Mapping) -> list[str]:
    """What threatens the claim, one sentence each (without a full stop), by the limits of the configuration."""
    alpha, subjects, link = spec["group_alpha"], quality["subjects"], quality["qcfc"]["everybody"]
    said = []
    measured = [(what, each, "move more") for what, each in motions(quality).items()]
    for what, each, more in (*measured, ("The amount of data", quality["seconds"], "have more")):
        if each.get("p", 1) <= alpha:
            who = "patients" if each["d"] > 0 else "controls"
            said.append(f"{what} differs between the groups ({difference_text(each)}; {who} {more})")
    if subjects["p"] <= alpha:
        lost = listed(
            f"{side['total'] - side['kept']:,} of {counted(side['total'], one)}"
            for side, one in ((subjects["cases"], "patient"), (subjects["controls"], "control"))
        )
        said.append(f"Exclusion depends on the group: {lost} are left out ({p_text(subjects['p'])})")
    said += _clock_warned(quality.get("off_clock", []))
    said += _processing_warned(quality.get("processing"), alpha)
    said += _missing_warned(quality["lacking"], subjects, alpha)
    if "share" in link and link["share"]["p"] <= spec["qcfc_alpha"]:
        null = f"5% by chance, rarely above {percent(link['share']['high'])} where motion is permuted"
        said.append(
            f"{percent(link['share']['value'])} of the connections follow motion after denoising ({null}; "
            f"{p_text(link['share']['p'])})"
        )
    if "rho" in link and link["rho"]["p"] <= spec["qcfc_alpha"]:
        near = "nearer" if link["rho"]["value"] < 0 else "farther"
        said.append(
            f"Motion acts by distance: the {near} two regions, the more strongly connected in those who move more "
            f"(ρ = {number(link['rho']['value'])}, {p_text(link['rho']['p'])})"
        )
    return said


def _clock_warned(people: list[Mapping]) -> list[str]:
    """Whose events of the task are perhaps on another clock; nobody is left out for it."""
    if not people:
        return []
    when = ["at no time" if row["shift"] is None else f"{row['shift']:+.0f} s" for row in people]
    named = [f"{row['participant_id']} ({then})" for row, then in zip(people[:MOST], when)]
    more = [counted(len(people) - MOST, "other")] if len(people) > MOST else []
    return [
        f"The responses of {listed([*named, *more])} fit the task at another time than the events say, or not at all, "
        "unlike those of the others: their events may count from another moment, or be of another run"
    ]


def processing_text(processing: Mapping) -> str:
    """Write what made the matrices of how many patients and controls."""
    parts = [
        f"{row['way'] or 'not said'} ({counted(row['cases'], 'patient')}, {counted(row['controls'], 'control')})"
        for row in processing["ways"]
    ]
    return "; ".join(parts)


def _processing_warned(processing: Mapping | None, alpha: float) -> list[str]:
    """Whether matrices were made in several ways, and whether the way goes with the group."""
    if not processing or processing["p"] is None:
        return []
    many, test = counted(len(processing["ways"]), "way"), p_text(processing["p"])
    if processing["p"] <= alpha:
        how = f"How matrices were made goes with the group ({test}), and may be all that differs between the groups"
    else:
        how = f"Matrices were made in {many}, and what differs between these may look like a difference of people"
    remedy = "Make all in one way, leave people out, or write the way into the column site of participants.tsv"
    return [f"{how}: {processing_text(processing)}", remedy]


def _missing_warned(lacking: Mapping, subjects: Mapping, alpha: float) -> list[str]:
    """Whether missing regions go with the group: how many a person lacks, and which."""
    said = []
    if lacking["p"] is not None and lacking["p"] <= alpha:
        said.append(
            f"Missing regions go with the group ({lacking_text(lacking)}): who lacks regions was scanned otherwise, "
            "which may show in the regions that are there"
        )
    named = [row for row in lacking["regions"] if row["p"] <= alpha]
    if named:
        first = named[0]
        more = f" (and {counted(len(named) - 1, 'other region')})" if len(named) > 1 else ""
        said.append(
            f"{first['region']}{more} is missing by group: in {first['cases']:,} of "
            f"{counted(subjects['cases']['kept'], 'patient')} and {first['controls']:,} of "
            f"{counted(subjects['controls']['kept'], 'control')} ({p_text(first['p'])}, adjusted for all regions)"
        )
    return said


def _motion_warned(quality: Mapping, spec: Mapping) -> bool:
    link = quality["qcfc"]["everybody"]
    ps = [link[name]["p"] for name in ("share", "rho") if name in link]
    differs = min(each.get("p", 1) for each in motions(quality).values()) <= spec["group_alpha"]
    return differs or min(ps, default=1) <= spec["qcfc_alpha"]


def motions(quality: Mapping) -> dict[str, Mapping]:
    """Motion of the groups, of the whole scan and of the parts that are known, by what it is called."""
    within = {COVARIATES[name].capitalize(): each for name, each in quality["motion_within"].items()}
    return {"Motion": quality["motion"], **within}


def motion_in_short(study: Study) -> str:
    """Whether motion could be behind what was found."""
    results, spec = study.results, study.cohort["quality"]
    motion, link = results.quality["motion"], results.quality["qcfc"]["everybody"]
    if "p" not in motion:
        return f"Head motion could not be compared ({motion.get('reason', 'not measured')}): its part is unknown."
    part, most = min(motions(results.quality).items(), key=lambda item: item[1].get("p", 1))
    differs = most["p"] <= spec["group_alpha"]
    what, p = (part.lower(), most["p"]) if differs else ("motion", motion["p"])
    follow = min((link[name]["p"] for name in ("share", "rho") if name in link), default=1.0)
    text = f"Head {what} {'differs' if differs else 'is not shown to differ'} between the groups ({p_text(p)})"
    if follow > spec["qcfc_alpha"]:
        return f"{text}, and connections are not shown to follow it." if "share" in link else f"{text}."
    survivors, moved = motion_followers(results.edges, results.qcfc, study.alpha)
    do = f"{moved:,} {'does' if moved == 1 else 'do'}" if moved else "none does"
    words = f"; of the {survivors:,} that differ, {do}" if survivors and may_name(study, "edge") else ""
    return f"{text}, and connections follow it after denoising{words}."


def motion_followers(edges: pd.DataFrame, qcfc: pd.DataFrame, alpha: float) -> tuple[int, int]:
    """Count the connections that survive at `alpha`, and those of them whose QC-FC has p < 0.05."""
    survivors = edges.loc[edges["p_fwer"] <= alpha, ["region_a", "region_b"]]
    return len(survivors), int((survivors.merge(qcfc, on=["region_a", "region_b"])["p"] < 0.05).sum())


def lacking_text(lacking: Mapping) -> str:
    """Write how many regions patients and controls lack."""
    means = [NONE if lacking[side] is None else number(lacking[side]) for side in ("cases", "controls")]
    test = "the same in everybody" if lacking["p"] is None else p_text(lacking["p"])
    return f"{means[0]} a person in patients, {means[1]} in controls; {test}"
