"""Everybody's matrices as the later stages read them, and the quality of the scans as a table."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dysconnect.data.matrices import matrix_hash
from dysconnect.tractography.written import read_person, write_matrices


def collected(rows: pd.DataFrame, folder: Path, spec: Mapping) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the matrices as tables with names and list them.

    Parameters
    ----------
    rows : DataFrame
        Of `run_person`, all cells as words.
    folder : path
        ``results/DATASET/tractography``.
    spec : mapping
        `dataset.matrices`: `content`, the measure that is read of them, and `scaled`.

    Returns
    -------
    index : DataFrame
        Index of matrices, with `mean_fd` (mm) of the diffusion images.
    quality : DataFrame
        One row a person whose scan could be used.
    """
    entries, quality = [], []
    for row in rows.to_dict("records"):
        entry = {"participant_id": row["participant_id"], "matrix": "", "labels": "", "key": "", "segmentation": ""}
        entry |= {"order": "names", "content": spec["content"], "scaled": str(spec["scaled"]).lower(), "sha256": ""}
        entry |= {"mean_fd": row["mean_fd"], "problem": row["problem"]}
        if not row["problem"]:
            path = folder / row["matrices"]
            written = write_matrices(path, folder / "matrices", row["participant_id"])
            entry["matrix"] = str(written[spec["content"]])
            entry["sha256"] = matrix_hash(entry)
            quality.append({"participant_id": row["participant_id"], **read_person(path)[1]["quality"]})
        entries.append(entry)
    return pd.DataFrame(entries), pd.DataFrame(quality)
