"""Stage `timeseries`: denoised regional series of everybody, and a verdict on who can be used."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from nilearn import signal

from dysconnect import __version__
from dysconnect.participants import COVARIATES, covariate_problem
from dysconnect.progress import track
from dysconnect.series import has_signal, read_confounds, read_series, write_series

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")


class UnusableError(ValueError):
    """A subject cannot be used; the message is its exclusion reason."""


@dataclass(frozen=True)
class Verdict:
    """What became of one subject; `series` is None for the excluded."""

    participant_id: str
    series: np.ndarray | None
    mean_fd: float
    n_volumes: int
    seconds_kept: float
    exclusion_reason: str


def motion_regressors(confounds: pd.DataFrame | None, spec: str | None) -> np.ndarray | None:
    """Build the motion regressors, [T, 6, 12 or 24] or None.

    Parameters
    ----------
    confounds : DataFrame or None
        With fMRIPrep's column names; None is allowed where `spec` is None.
    spec : {"basic", "derivatives", "full", None}
        6 parameters, with their differences (12), and with all their squares (24; Satterthwaite et al.
        2013, doi:10.1016/j.neuroimage.2012.08.052), as in nilearn's ``load_confounds``.
    """
    if spec is None:
        return None
    absent = [name for name in MOTION if name not in confounds]
    if absent:
        raise UnusableError(f"confounds lack {', '.join(absent)}; set denoise.motion=null to go without")
    basic = np.nan_to_num(confounds[list(MOTION)].to_numpy(float))
    differences = np.diff(basic, axis=0, prepend=basic[:1])
    both = np.hstack([basic, differences])
    return {"basic": basic, "derivatives": both, "full": np.hstack([both, both**2])}[spec]


def denoise(series: np.ndarray, confounds: pd.DataFrame | None, repetition_time: float, spec: dict) -> np.ndarray:
    """Denoise regional series: detrend, band-pass and confound regression in one projection, then z-score.

    Parameters
    ----------
    series : array, [T, N]
        Regions without signal (constant) stay constant.
    confounds : DataFrame or None, [T rows]
    repetition_time : float
        Seconds.
    spec : dict
        The `denoise` section: `motion`, `global_signal`, `detrend`, `high_pass` and `low_pass` (Hz).

    Returns
    -------
    array, [T, N]
        Mean zero, standard deviation one; zero throughout where the region was constant.
    """
    if spec["motion"] and confounds is None:
        raise UnusableError("no confounds file to regress motion on; set denoise.motion=null to go without")
    regressors = motion_regressors(confounds, spec["motion"])
    alive = has_signal(series)
    if spec["global_signal"]:
        shared = signal.clean(series[:, alive], detrend=spec["detrend"], standardize="zscore_sample").mean(1)
        regressors = np.c_[regressors, shared] if regressors is not None else shared[:, None]
    cleaned = np.zeros_like(series)
    cleaned[:, alive] = signal.clean(
        series[:, alive],
        confounds=regressors,
        detrend=spec["detrend"],
        standardize="zscore_sample",
        standardize_confounds=True,
        high_pass=spec["high_pass"],
        low_pass=spec["low_pass"],
        filter="butterworth" if spec["high_pass"] or spec["low_pass"] else False,
        t_r=repetition_time,
    )
    return cleaned


def check_series(series: np.ndarray, repetition_time: float, spec: dict) -> None:
    """Refuse what no denoising can mend: NaN, too few volumes, too many regions without signal."""
    bad = ~np.isfinite(series)
    if bad.any():
        first = int(np.argmax(bad.any(1))) + 1
        raise UnusableError(
            f"{int(bad.any(1).sum())} of {len(series)} volumes hold NaN or infinity (first: volume {first}); "
            "preprocess the scan again"
        )
    seconds = len(series) * repetition_time
    if seconds < spec["min_seconds"]:
        raise UnusableError(
            f"{len(series)} volumes x {repetition_time:g} s = {seconds:.0f} s, fewer than the "
            f"{spec['min_seconds']:g} s asked; set denoise.min_seconds to keep it"
        )
    dead = 1 - has_signal(series).mean()
    if dead > spec["max_missing_regions"]:
        raise UnusableError(
            f"{dead:.0%} of the regions are constant (no signal), more than {spec['max_missing_regions']:.0%}; "
            "set denoise.max_missing_regions to keep it"
        )


def prepare_subject(
    row: pd.Series,
    entry: pd.Series | None,
    nodes: pd.DataFrame,
    spec: dict,
    covariates: Sequence[str] = COVARIATES,
) -> Verdict:
    """Read, check and denoise one subject; a problem becomes the exclusion reason, never an exception.

    Whoever comes with an exclusion reason from `acquire` keeps it, and is not read.

    Parameters
    ----------
    row : Series
        The subject's row of the participants table.
    entry : Series or None
        Its row of the index of series.
    nodes : DataFrame, [N rows]
    spec : dict
        The `denoise` section.
    covariates : sequence of str
        What must be known of everybody.
    """
    name, mean_fd, n_volumes, seconds = row["participant_id"], float(row.get("mean_fd", np.nan)), 0, 0.0
    if earlier_reason(row):
        return Verdict(name, None, mean_fd, n_volumes, seconds, earlier_reason(row))
    try:
        if entry is None:
            raise UnusableError("no series file in the index; check that the scan was acquired")
        if entry.get("problem"):
            raise UnusableError(entry["problem"])
        series = read_series(entry["series"], entry["key"], nodes)
        n_volumes, repetition_time = len(series), float(entry["repetition_time"])
        confounds = read_confounds(entry["confounds"]) if entry["confounds"] else None
        if confounds is not None:
            mean_fd = float(confounds["framewise_displacement"].mean())
            if len(confounds) != n_volumes:
                raise UnusableError(f"{n_volumes} volumes but {len(confounds)} rows of confounds; they must agree")
        check_series(series, repetition_time, spec)
        _check_subject(row, mean_fd, spec, covariates)
        cleaned = denoise(series, confounds, repetition_time, spec)
        seconds = n_volumes * repetition_time
    except (ValueError, OSError, KeyError, np.linalg.LinAlgError) as problem:
        return Verdict(name, None, mean_fd, n_volumes, seconds, str(problem).replace("\t", " ").replace("\n", " "))
    return Verdict(name, cleaned, mean_fd, n_volumes, seconds, "")


def earlier_reason(row: pd.Series) -> str:
    """Return the exclusion reason that a subject brings from `acquire`; an empty string when there is none."""
    reason = row.get("exclusion_reason")
    return reason if isinstance(reason, str) else ""


def _check_subject(row: pd.Series, mean_fd: float, spec: dict, covariates: Sequence[str]) -> None:
    problem = covariate_problem(row, covariates)
    if problem:
        raise UnusableError(problem)
    if "mean_fd" in covariates and not np.isfinite(mean_fd):
        raise UnusableError(
            "mean_fd is missing: without a motion estimate the confound floor cannot see it; give a confounds table, a "
            "column mean_fd (mm) in participants.tsv, or leave mean_fd out of dataset.covariates"
        )
    if mean_fd > spec["max_mean_fd"]:
        raise UnusableError(
            f"mean framewise displacement {mean_fd:.2f} mm, more than {spec['max_mean_fd']:g} mm; "
            "set denoise.max_mean_fd to keep it"
        )


def prepare_cohort(
    participants: pd.DataFrame,
    index: pd.DataFrame,
    nodes: pd.DataFrame,
    spec: dict,
    folder: Path,
    names: dict,
    workers: int = 1,
    covariates: Sequence[str] = COVARIATES,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Prepare everybody and write one series file (and sidecar) for each included subject.

    Parameters
    ----------
    participants, index : DataFrame
        From `acquire`.
    nodes : DataFrame, [N rows]
    spec : dict
        The `denoise` section.
    folder : path
        Where the series go.
    names : dict
        `atlas` and `denoise`, for the file names.
    workers : int
        Processes.
    covariates : sequence of str
        What must be known of everybody.

    Returns
    -------
    participants : DataFrame
        With `mean_fd` (mm), `n_volumes`, `seconds_kept`, `included` and `exclusion_reason`.
    index : DataFrame
        Index of the denoised series of the included.

    Raises
    ------
    ValueError
        When nobody can be used: the reasons of the first subjects are quoted.
    """
    entries = {entry["participant_id"]: entry for _, entry in index.iterrows()}
    jobs = (
        delayed(_prepare_and_write)(row, entries.get(row["participant_id"]), nodes, spec, folder, names, covariates)
        for _, row in participants.iterrows()
    )
    results = Parallel(n_jobs=workers, return_as="generator")(jobs)
    done = list(track(results, "denoising series", total=len(participants)))
    verdicts, rows = [verdict for verdict, _ in done], [row for _, row in done if row is not None]
    return _with_verdicts(participants, verdicts), pd.DataFrame(rows)


def _with_verdicts(participants: pd.DataFrame, verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Join the verdicts to the participants; refuse a cohort of which nobody is left."""
    table = participants.drop(columns=["mean_fd"], errors="ignore").assign(
        mean_fd=[verdict.mean_fd for verdict in verdicts],
        n_volumes=[verdict.n_volumes for verdict in verdicts],
        seconds_kept=[verdict.seconds_kept for verdict in verdicts],
        included=[verdict.exclusion_reason == "" for verdict in verdicts],
        exclusion_reason=[verdict.exclusion_reason for verdict in verdicts],
    )
    for verdict in verdicts:
        if verdict.exclusion_reason:
            print(f"{verdict.participant_id}: {verdict.exclusion_reason}; excluded.", flush=True)
    if not table["included"].any():
        reasons = "; ".join(table["exclusion_reason"].value_counts().index[:3])
        raise ValueError(f"none of the {len(table)} subjects can be used. Most frequent reasons: {reasons}.")
    return table


def judge_cohort(
    participants: pd.DataFrame, edges: pd.DataFrame, covariates: Sequence[str] = COVARIATES
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Decide who can be used where connections are given as numbers, without series.

    Parameters
    ----------
    participants : DataFrame
        From `acquire`.
    edges : DataFrame
        `participant_id`, `region_a`, `region_b`, `connectivity`; from `acquire`.
    covariates : sequence of str
        What must be known of everybody.

    Returns
    -------
    participants : DataFrame
        As from `prepare_cohort`; there are no volumes.
    edges : DataFrame
        Of the included.
    """
    pairs = edges[["region_a", "region_b"]].drop_duplicates()
    own = edges[np.isfinite(edges["connectivity"])].groupby("participant_id").size()
    verdicts = []
    for _, row in participants.iterrows():
        name, n_missing = row["participant_id"], len(pairs) - int(own.get(row["participant_id"], 0))
        reason = earlier_reason(row) or covariate_problem(row, covariates)
        if not reason and n_missing:
            reason = f"lacks {n_missing} of the {len(pairs)} connections of the table"
        verdicts.append(Verdict(name, None, float(row.get("mean_fd", np.nan)), 0, 0.0, reason))
    table = _with_verdicts(participants, verdicts)
    kept = table.loc[table["included"], "participant_id"]
    return table, edges[edges["participant_id"].isin(kept)].reset_index(drop=True)


def _prepare_and_write(
    row: pd.Series,
    entry: pd.Series | None,
    nodes: pd.DataFrame,
    spec: dict,
    folder: Path,
    names: dict,
    covariates: Sequence[str],
) -> tuple[Verdict, dict | None]:
    verdict = prepare_subject(row, entry, nodes, spec, covariates)
    if verdict.series is None:
        return verdict, None
    stem = f"{verdict.participant_id}_task-rest_seg-{names['atlas']}_desc-{names['denoise']}_timeseries"
    path = folder / f"{stem}.tsv"
    write_series(verdict.series, nodes["name"], path)
    sidecar = {
        "RepetitionTime": float(entry["repetition_time"]),
        "Units": "z-score",
        "Sources": [Path(entry["series"]).name + (f"[{entry['key']}]" if entry["key"] else "")],
        "SourceSHA256": entry["sha256"],
        "Denoising": spec,
        "RegionsWithoutSignal": nodes["name"][~has_signal(verdict.series)].tolist(),
        "GeneratedBy": {"Name": "dysconnect", "Version": __version__},
    }
    path.with_suffix(".json").write_text(json.dumps(sidecar, indent=1))
    located = {
        "participant_id": verdict.participant_id,
        "series": f"{folder.name}/{path.name}",
        "key": "",
        "confounds": "",
        "repetition_time": entry["repetition_time"],
    }
    # the verdict travels back between processes: leave the array, which is on disk now
    return Verdict(**{**verdict.__dict__, "series": np.empty(0)}), located
