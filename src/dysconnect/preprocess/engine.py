"""The engines of stage `preprocess`: what fMRIPrep left, or raw images through ANTs."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dysconnect.preprocess.subject import preprocess_subject


def run_engine(entry: Mapping, nodes: pd.DataFrame, folder: Path, atlas: Mapping, spec: Mapping) -> dict:
    """Bring one participant's scan to regional series; what goes wrong is written into the row.

    Parameters
    ----------
    entry : mapping
        Row of the index of scans: `participant_id`, `bold`, `mask`, `confounds`, `t1w`, `problem`.
    nodes : DataFrame, [N rows]
    folder : path
        Where the series go.
    atlas, spec : mapping
        The `atlas` and `preprocess` sections; `engine` is `derivatives` or `ants`.

    Returns
    -------
    dict
        One row of the index of series, as of `preprocess_subject`.
    """
    if spec["engine"] == "ants" and not entry["problem"]:
        from dysconnect.preprocess.ants import run_subject

        try:
            row = run_subject(entry, nodes, atlas, folder, spec)
            return row | {"confounds": str(Path(row["confounds"]).relative_to(folder.parent))}  # beside the index
        except (ValueError, OSError, RuntimeError) as problem:
            entry = {**entry, "problem": " ".join(str(problem).split())}
    return preprocess_subject(entry, nodes, folder, atlas, spec)
