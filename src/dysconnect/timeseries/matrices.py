"""Decide who can be used where everybody's connections come as a matrix."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dysconnect.data.matrices import read_connections
from dysconnect.data.participants import COVARIATES
from dysconnect.denoising.checks import check_connections
from dysconnect.denoising.regressors import UnusableError
from dysconnect.problems import reason, refuse_gone
from dysconnect.progress import track
from dysconnect.timeseries.cohort import Verdict, check_subject, earlier_reason, with_verdicts


def judge_matrices(
    participants: pd.DataFrame,
    index: pd.DataFrame,
    nodes: pd.DataFrame,
    spec: Mapping,
    covariates: Sequence[str] = COVARIATES,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read and check everybody's matrix; a problem becomes the person's exclusion reason.

    Parameters
    ----------
    participants, index : DataFrame
        From `acquire`; the index is one of matrices.
    nodes : DataFrame, [N rows]
    spec : mapping
        The `denoise` section: `max_mean_fd`, `max_missing_regions`.
    covariates : sequence of str
        What must be known of everybody.

    Returns
    -------
    participants : DataFrame
        As from `prepare_cohort`; there are no volumes.
    index : DataFrame
        Of the included, with a `note` on what was decided about their files.

    Raises
    ------
    ValueError
        When nobody can be used: the reasons of the first people are quoted.
    """
    entries = index.set_index("participant_id", drop=False).to_dict("index")
    read = [entry for entry in entries.values() if not entry["problem"]]
    refuse_gone((entry["participant_id"], entry[key]) for entry in read for key in ("matrix", "labels"))
    rows = [row for _, row in participants.iterrows()]
    verdicts = [
        _verdict(row, entries.get(row["participant_id"]), nodes, spec, covariates)
        for row in track(rows, "reading matrices")
    ]
    table = with_verdicts(participants, verdicts)
    notes = {verdict.participant_id: verdict.note for verdict in verdicts}
    kept = index[index["participant_id"].isin(table.loc[table["included"], "participant_id"])].drop(columns="problem")
    return table, kept.assign(note=kept["participant_id"].map(notes)).reset_index(drop=True)


def _verdict(
    row: pd.Series, entry: Mapping | None, nodes: pd.DataFrame, spec: Mapping, covariates: Sequence[str]
) -> Verdict:
    name, of_scan = row["participant_id"], (entry or {}).get("mean_fd")  # of diffusion images, as they were registered
    mean_fd = float(of_scan or row.get("mean_fd", np.nan))
    if earlier_reason(row):
        return Verdict(name, None, mean_fd, 0, 0.0, earlier_reason(row))
    try:
        if entry is None:
            raise UnusableError("no matrix in the index; check that the file is there and called as the others are")
        if entry["problem"]:
            raise UnusableError(entry["problem"])
        check_subject(row, mean_fd, spec, covariates)
        connections = read_connections(entry, nodes)
        check_connections(connections.missing, spec)
    except Exception as problem:  # whatever a person's files raise is their reason; the machine's troubles go on
        return Verdict(name, None, mean_fd, 0, 0.0, reason(problem, name))
    note = "; ".join(filter(None, [entry.get("note"), connections.note]))
    return Verdict(name, None, mean_fd, 0, 0.0, "", note=note)
