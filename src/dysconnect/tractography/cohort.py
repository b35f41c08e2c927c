"""Everybody's matrices as the later stages read them, and the quality of the scans as a table."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.data.matrices import matrix_hash
from dysconnect.tractography.written import read_person, write_matrices

# An end that is shifted by some mm may lie in another region: its streamline is counted elsewhere, and is longer or
# shorter. FA is a mean over all voxels on the way, of which a shift exchanges a few
BY_ENDS = ("count", "length")
PROCESSING = {True: "distortion corrected", False: "distortion not corrected"}
UNCORRECTED = (
    "no b0 of the opposite phase encoding: distortion stays, and streamlines may end in wrong regions; "
    "connectivity=fa keeps such people, tractography.uncorrected=keep keeps them in all measures"
)


def collected(
    rows: pd.DataFrame, folder: Path, spec: Mapping, uncorrected: str = "exclude"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the matrices as tables with names and list them.

    Parameters
    ----------
    rows : DataFrame
        Of `run_person`, all cells as words.
    folder : path
        ``results/DATASET/tractography``.
    spec : mapping
        `dataset.matrices`: `content`, the measure that is read of them, and `scaled`.
    uncorrected : {"exclude", "keep"}
        What becomes of people whose distortion was not corrected, where the measure depends on where streamlines end.

    Returns
    -------
    index : DataFrame
        Index of matrices, with `mean_fd` (mm) of the diffusion images, `processing`: whether distortion was corrected,
        and the `note` of the person.
    quality : DataFrame
        One row a person whose scan could be used.
    """
    entries, quality = [], []
    for row in rows.to_dict("records"):
        entry = {"participant_id": row["participant_id"], "matrix": "", "labels": "", "key": "", "segmentation": ""}
        entry |= {"order": "names", "content": spec["content"], "scaled": str(spec["scaled"]).lower(), "sha256": ""}
        entry |= {"mean_fd": row["mean_fd"], "processing": "", "note": row["note"], "problem": row["problem"]}
        if not row["problem"]:
            path = folder / row["matrices"]
            written = write_matrices(path, folder / "matrices", row["participant_id"])
            entry["matrix"] = str(written[spec["content"]])
            entry["sha256"] = matrix_hash(entry)
            quality.append({"participant_id": row["participant_id"], **read_person(path)[1]["quality"]})
            corrected = bool(np.isfinite(quality[-1]["field_rms"]))
            entry["processing"] = PROCESSING[corrected]
            if not corrected and uncorrected == "exclude" and spec["content"] in BY_ENDS:
                entry["problem"] = UNCORRECTED
        entries.append(entry)
    return pd.DataFrame(entries), pd.DataFrame(quality)
