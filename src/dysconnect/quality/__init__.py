"""Stage `quality`: does motion, exclusion or missing data threaten what is said about the groups?"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.data.conditions import POOR
from dysconnect.quality.motion import (
    EdgeMotion,
    UntestableError,
    edge_distances,
    edge_motion,
    known_edges,
    motion_null,
)
from dysconnect.quality.people import compared, lacking, missing_regions, processed, subjects_kept

GROUPS = ("everybody", "cases", "controls")
WITHIN = ("mean_fd_task", "mean_fd_rest")  # motion in parts of a scan: who moves when


def assess(
    cohort: Cohort,
    nodes: pd.DataFrame,
    everybody: pd.DataFrame,
    contrast: Mapping[str, Sequence[str]],
    covariates: Sequence[str],
    spec: Mapping,
    outside: np.ndarray | None = None,
    processing: Sequence[str] = (),
) -> tuple[pd.DataFrame, dict]:
    """Assess a cohort.

    Parameters
    ----------
    cohort : Cohort
        Who is analysed, with `mean_fd` (mm), `seconds_kept` and `n_volumes`, and their Fisher z edges.
    nodes : DataFrame, [N rows]
        `name`, `x`, `y`, `z` (MNI mm).
    everybody : DataFrame
        Participants after the `timeseries` stage, the excluded too.
    contrast : mapping
        `cases` and `controls`: names of groups.
    covariates : sequence of str
        Projected out of motion and connectivity, beside the group; `mean_fd` is ignored.
    spec : mapping
        `permutations`, `distance_bins`, `max_missing` (share of people), `level` (of intervals), `seed`.
    outside : array of bool, [n, N], optional
        Regions outside the field of view, where coverage is known: why a region has no signal.
    processing : sequence of str, [n], optional
        What made each person's matrix, where matrices are read; "" where nothing says it.

    Returns
    -------
    qcfc : DataFrame, [E rows]
        `region_a`, `region_b`, `distance` (mm), `r`, `p`, `p_fdr`, `r_cases`, `r_controls`; NaN where not tested.
    summary : dict
        `subjects`, `excluded`, `motion`, `motion_within` (in parts of a scan, where it is known), `off_clock` (whose
        responses fit the task at another time, and how much later, s), `processing` (of matrices), `seconds`,
        `volumes`, `lacking` (regions),
        `qcfc` (by group), `edges`, `regions`, `people`. Where there is nothing to test, `reason` says why and the
        numbers are left out.
    """
    people, missing, edges = cohort.participants, cohort.missing, known_edges(cohort)
    distance = edge_distances(nodes[["x", "y", "z"]].to_numpy(float), cohort.pairs)
    nuisance, names = [name for name in covariates if name != "mean_fd"], nodes["name"].to_numpy()
    links, tested = _linked_by_group(edges, people, distance, nuisance, spec)
    summary = {
        **subjects_kept(everybody, contrast),
        "nuisance": nuisance,
        "motion": compared(people, "mean_fd", spec["level"]),
        "motion_within": {name: compared(people, name, spec["level"]) for name in WITHIN if name in people},
        "off_clock": _off_clock(people),
        "processing": processed(people, processing),
        "seconds": compared(people, "seconds_kept", spec["level"]),
        "volumes": compared(people, "n_volumes", spec["level"]),
        "lacking": lacking(missing, people, names),
        "qcfc": tested,
        "edges": untested_edges(edges, cohort, spec["max_missing"], outside),
        **missing_regions(missing, people, names, outside),
    }
    return _edge_table(cohort.pairs.named(names).assign(distance=distance), links), summary


def _off_clock(people: pd.DataFrame) -> list[dict]:
    """Whose events are perhaps not theirs, or on another clock: `participant_id`, and `shift` (s) where one fits."""
    if "task_shift" not in people:
        return []
    doubtful = people[(people["task_shift"].fillna(0) != 0) | (people["task_fit"] < POOR)]
    rows = zip(doubtful["participant_id"], doubtful["task_shift"])
    return [{"participant_id": name, "shift": float(shift) or None} for name, shift in rows]


def _linked_by_group(
    edges: np.ndarray, people: pd.DataFrame, distance: np.ndarray, nuisance: Sequence[str], spec: Mapping
) -> tuple[dict[str, EdgeMotion | None], dict[str, dict]]:
    """Motion and edges of everybody, beside the group, and of either side alone; and what the null says of them."""
    cases = people["label"].to_numpy() == 1
    links, tested = {}, {}
    for group, members in zip(GROUPS, (np.ones(len(people), bool), cases, ~cases)):
        names = [*nuisance, "label"] if group == "everybody" else nuisance
        links[group], tested[group] = _linked(edges[members], people[members], distance, names, spec)
    return links, tested


def _edge_table(edges: pd.DataFrame, links: Mapping[str, EdgeMotion | None]) -> pd.DataFrame:
    """Columns of `qcfc` beside those of the edges."""
    whole, blank = links["everybody"], np.full(len(edges), np.nan)
    columns = {"r": whole.r, "p": whole.p, "p_fdr": whole.p_fdr} if whole else dict.fromkeys(("r", "p", "p_fdr"), blank)
    sides = {f"r_{group}": links[group].r if links[group] else blank for group in GROUPS[1:]}
    return edges.assign(**columns, **sides)


def _linked(
    edges: np.ndarray, people: pd.DataFrame, distance: np.ndarray, nuisance: Sequence[str], spec: Mapping
) -> tuple[EdgeMotion | None, dict]:
    try:
        link = edge_motion(edges, people, nuisance, spec["max_missing"])
    except UntestableError as problem:
        return None, {"reason": str(problem)}
    sites = people["site"].to_numpy(str)[link.kept]
    return link, motion_null(link, distance, sites, spec)


def untested_edges(
    edges: np.ndarray, cohort: Cohort, max_missing: float, outside: np.ndarray | None = None
) -> dict[str, int]:
    """Count the edges: `total`, `tested`; not tested as `unmeasured` (in nobody), and in too many people `outside`
    the field of view (most of those who lack it) or `silent`.
    """
    unknown, measured = np.isnan(edges), cohort.measured
    many = measured & (unknown.mean(0) > max_missing)
    cut = np.zeros_like(many) if outside is None else cohort.pairs.touching(outside).sum(0) * 2 > unknown.sum(0)
    counts = {"unmeasured": ~measured, "outside": many & cut, "silent": many & ~cut, "tested": measured & ~many}
    return {"total": edges.shape[1], **{name: int(which.sum()) for name, which in counts.items()}}


def regions_outside(index: str | Path, subjects: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Read which regions lie outside the field of view, [n, N] bool: covered less than `preprocess` asked for.

    Parameters
    ----------
    index : path
        Of the regional series, from `preprocess`: `participant_id`, `series` (its sidecar has MinimumCoverage) and
        `coverage` (table: `name`, `coverage`), both relative to the index.
    subjects, names : sequence of str
        Participants and regions, in the order asked.
    """
    index = Path(index)
    rows = pd.read_csv(index, sep="\t", dtype=str, keep_default_na=False).set_index("participant_id")
    outside = np.zeros((len(subjects), len(names)), bool)
    for k, subject in enumerate(subjects):
        row = rows.loc[subject]
        least = json.loads((index.parent / row["series"]).with_suffix(".json").read_text())["MinimumCoverage"]
        share = pd.read_csv(index.parent / row["coverage"], sep="\t").set_index("name")["coverage"]
        outside[k] = share.reindex(names).to_numpy(float) < least
    return outside
