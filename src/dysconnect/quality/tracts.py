"""The diffusion scans of a cohort: what is known of each, in the order of the people."""

from pathlib import Path

import pandas as pd

MEASURED = (
    "mean_displacement", "fd_dwi", "dropped_slices", "neighbour_correlation", "snr_b0", "fa_callosum",
    "regions_without_streamlines", "field_rms", "dice_dwi_t1w",
)  # fmt: skip
DISPLACEMENT = {"mean_fd": "fd_dwi"}  # its limit is not that of BOLD: volumes take longer, and their contrast differs


def read_tracts(index: str | Path, quality: str | Path) -> pd.DataFrame:
    """Read what stage `tractography` measured: a row for everybody of the index, `problem` of whose scan failed."""
    people = pd.read_csv(index, sep="\t", dtype=str, keep_default_na=False)[["participant_id", "problem"]]
    known = pd.read_csv(quality, sep="\t", dtype={"participant_id": str}, na_values=["n/a"], keep_default_na=False)
    return people.merge(known.rename(columns=DISPLACEMENT), on="participant_id", how="left")


def tract_table(tracts: pd.DataFrame, participants: pd.DataFrame) -> pd.DataFrame:
    """Put what is known of every diffusion scan beside the people.

    Parameters
    ----------
    tracts : DataFrame
        Of `read_tracts`.
    participants : DataFrame
        After the `timeseries` stage.

    Returns
    -------
    DataFrame, [n rows]
        `participant_id`, `group`, `included`, `exclusion_reason`; `problem`, why a scan could not be used; `note`,
        which is empty; the measures `MEASURED`, and all else of the quality, NaN where unknown.
    """
    people = participants[["participant_id", "group", "included", "exclusion_reason"]]
    table = people.merge(tracts, on="participant_id").fillna({"exclusion_reason": "", "problem": ""}).assign(note="")
    for name in MEASURED:
        table[name] = pd.to_numeric(table[name], errors="coerce") if name in table else float("nan")
    return table
