"""Index existing fMRIPrep outputs: BOLD in MNI space, brain mask, confounds, and the participants table."""

from pathlib import Path

import pandas as pd

from dysconnect.participants import read_participants


def acquire_derivatives(spec: dict, root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Collect participants and the index of their BOLD files; nothing is copied.

    Parameters
    ----------
    spec : dict
        The `dataset` section: `space` and `task`, as in the file names.
    root : path
        Folder of the derivatives, with `participants.tsv` (`participant_id`, `group`, `age`, `sex`, `site`).

    Returns
    -------
    participants : DataFrame
    index : DataFrame
        `participant_id`, `bold`, `mask`, `confounds` (absolute paths; empty where a file is missing).
    """
    participants = read_participants(root / "participants.tsv")
    participants["scan_group"] = participants["participant_id"]
    index = pd.DataFrame([_files(name, spec, root) for name in participants["participant_id"]])
    found = index["bold"] != ""
    if not found.any():
        raise FileNotFoundError(
            f"{root}: no {_pattern('sub-*', spec, 'desc-preproc_bold.nii.gz')} for any participant. "
            "Check dataset.root, dataset.task and dataset.space."
        )
    return participants, index[found].reset_index(drop=True)


def bold_files(spec: dict, root: Path) -> list[Path]:
    """List the files that the stage reads, so that a change in one of them is noticed."""
    pattern = _pattern("sub-*", spec, "desc-preproc_bold.nii.gz")
    return [root / "participants.tsv", *sorted(root.glob(f"sub-*/**/{pattern}"))]


def _pattern(subject: str, spec: dict, ending: str) -> str:
    return f"{subject}_*task-{spec['task']}_*space-{spec['space']}*{ending}"


def _files(name: str, spec: dict, root: Path) -> dict[str, str]:
    folder = root / name
    bold = sorted(folder.glob(f"**/{_pattern(name, spec, 'desc-preproc_bold.nii.gz')}"))
    mask = sorted(folder.glob(f"**/{_pattern(name, spec, 'desc-brain_mask.nii.gz')}"))
    confounds = sorted(folder.glob(f"**/{name}_*task-{spec['task']}_*desc-confounds_timeseries.tsv"))
    first = [str(files[0].resolve()) if files else "" for files in (bold, mask, confounds)]
    return {"participant_id": name, "bold": first[0], "mask": first[1], "confounds": first[2]}
