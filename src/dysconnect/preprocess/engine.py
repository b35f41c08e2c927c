"""The engines of stage `preprocess`: what fMRIPrep left, here or elsewhere, or raw images through ANTs."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dysconnect.keeping.place import portable
from dysconnect.preprocess.subject import preprocess_subject
from dysconnect.problems import reason

FILES = ("confounds", "bold", "mask", "nodes", "image", "engine")  # of the engine `ants`


def run_engine(entry: Mapping, nodes: pd.DataFrame, folder: Path, atlas: Mapping, spec: Mapping) -> dict:
    """Bring one participant's scan to regional series; what goes wrong is written into the row.

    Parameters
    ----------
    entry : mapping
        Row of the index of scans: `participant_id`, `bold`, `mask`, `confounds`, `t1w`, `problem`; where fMRIPrep ran
        here also `report` (`fmriprep_entry`).
    nodes : DataFrame, [N rows]
    folder : path
        Where the series go.
    atlas, spec : mapping
        The `atlas` and `preprocess` sections; `engine` is `derivatives`, `ants` or `fmriprep`.

    Returns
    -------
    dict
        One row of the index of series, as of `preprocess_subject`; of `fmriprep` with the path of its `report`; of a
        task with its `events`, and the `start_time` (s) of the series on their clock.
    """
    if spec["engine"] == "ants" and not entry["problem"]:
        from dysconnect.preprocess.ants import run_subject

        try:
            row = run_subject(entry, nodes, atlas, folder, spec)
            return row | {name: _beside(row[name], folder.parent) for name in (*FILES, "events") if name in row}
        except Exception as problem:  # whatever a person's images raise is their reason; not the machine's troubles
            entry = {**entry, "problem": reason(problem, entry["participant_id"])}
    row = preprocess_subject(entry, nodes, folder, atlas, spec)
    row |= {name: _beside(row[name], folder.parent) for name in ("confounds", "events") if name in row}
    if spec["engine"] == "fmriprep":
        row["report"] = _beside(entry["report"], folder.parent)
    return row


def _beside(path: str, index: Path) -> str:
    """A path relative to the folder that holds the index, so that the results can be moved."""
    inside = path and Path(path).is_relative_to(index)
    return str(Path(path).relative_to(index)) if inside else portable(path, index)
