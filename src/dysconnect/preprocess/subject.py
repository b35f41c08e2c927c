"""One subject of stage `preprocess`: regional averages, coverage and quality; what goes wrong stays in its row."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.data.images.averages import MIN_COVERAGE, Averages
from dysconnect.data.images.regions import regional_series
from dysconnect.data.images.spaces import refuse_other_space, refuse_without_surface, space_of
from dysconnect.data.series import displacement_of, series_hash, write_series
from dysconnect.preprocess.quality import Brain, subject_measures, write_picture
from dysconnect.problems import one_line, reason
from dysconnect.reading.bids import read_sidecars, sidecars_of
from dysconnect.reading.repetition import start_seconds, start_time
from dysconnect.version import __version__


def preprocess_subject(
    entry: Mapping, nodes: pd.DataFrame, folder: Path, atlas: Mapping, spec: Mapping | None = None
) -> dict:
    """Average one subject's BOLD in regions and write the tables; what goes wrong is written into the row.

    Parameters
    ----------
    entry : mapping
        Row of the index of scans: `participant_id`, `bold`, `mask`, `confounds`; `events` of a task that has some;
        and, when it is known that there is no scan to use, `problem`.
    nodes : DataFrame, [N rows]
        In the space of the BOLD.
    folder : path
        Where the series go; coverage and quality go into the folders `coverage` and `quality` beside it.
    atlas : mapping
        The `atlas` section: label image, its template and labels of the cortex, `image`, `space` and `surface`, where
        it has them.
    spec : mapping, optional
        `min_coverage`: share of a region's volume that must be there (0 to 1); 0.5 by default.

    Returns
    -------
    dict
        One row of the index of series: `participant_id`, `series`, `key`, `confounds`, `repetition_time` (s), `sha256`,
        `coverage` (table: name, coverage, voxels, tsnr), `quality` (JSON of `subject_measures`), `picture`, `tsnr`,
        `silent_regions` (number), `note` (doubtful, and used all the same), `problem` ("" when all is well); of a task
        `events` (table) and `start_time` (s) of the series on their clock, or `events_problem`: why there are none.
    """
    name = entry["participant_id"]
    row = {"participant_id": name, "series": "", "key": "", "confounds": entry["confounds"], "repetition_time": 0.0}
    row |= dict.fromkeys(("sha256", "coverage", "quality", "picture", "tsnr", "silent_regions", "note", "problem"), "")
    try:
        if entry.get("problem"):
            raise ValueError(entry["problem"])
        row |= _written(entry, nodes, Path(folder), atlas, (spec or {}).get("min_coverage", MIN_COVERAGE))
        row |= _task(entry, row["repetition_time"])
    except Exception as problem:  # whatever a person's files raise is their reason; the machine's troubles go on
        row["problem"] = reason(problem, name)
        print(f"{name}: {row['problem']}; goes on without.", flush=True)
    if row["note"]:
        print(f"{name}: {row['note']}.", flush=True)
    return row


def _task(entry: Mapping, seconds: float) -> dict:
    """What the row tells of the events of a task; nothing where there is none."""
    if entry.get("events_problem"):
        return {"events": "", "events_problem": entry["events_problem"]}
    if not entry.get("events"):
        return {}
    if "start_time" not in entry:
        entry = {**entry, "start_time": start_time(start_seconds(*read_sidecars(sidecars_of(entry["bold"]))), seconds)}
    return {name: entry[name] for name in ("events", "start_time")}


def _written(entry: Mapping, nodes: pd.DataFrame, folder: Path, atlas: Mapping, min_coverage: float) -> dict:
    """Average, write everything beside each other, and say where."""
    name, bold = entry["participant_id"], entry["bold"]
    refuse_other_space(space_of(bold), atlas.get("space"), Path(bold).name)
    refuse_without_surface(space_of(bold), atlas, Path(bold).name)
    brain = Brain(nodes)
    averages = regional_series(
        bold, entry["mask"] or None, nodes, atlas.get("image"), min_coverage, brain, atlas.get("surface")
    )
    displacement = displacement_of(entry["confounds"], len(averages.series))
    silent = ~averages.series.any(axis=0)
    note = [*averages.notes, *_silent_note(nodes["name"][silent].tolist(), len(nodes), min_coverage)]
    series = folder / f"{name}_desc-regional_timeseries.tsv"
    write_series(averages.series, nodes["name"], series)
    series.with_suffix(".json").write_text(json.dumps(_sidecar(averages, nodes, silent, bold, min_coverage), indent=1))
    coverage = folder.parent / "coverage" / f"{name}_desc-regional_coverage.tsv"
    _write_coverage(averages, nodes, coverage)
    measures = subject_measures(averages, brain, displacement, min_coverage)
    quality = folder.parent / "quality" / f"{name}.json"
    quality.parent.mkdir(parents=True, exist_ok=True)
    quality.write_text(json.dumps({"participant_id": name, **measures, "note": "; ".join(note)}, indent=1))
    write_picture(brain, displacement, averages.repetition_time, quality.with_suffix(".png"))
    return {
        "series": f"{folder.name}/{series.name}",
        "repetition_time": averages.repetition_time,
        "sha256": series_hash(series.read_bytes()),
        "coverage": f"coverage/{coverage.name}",
        "quality": f"quality/{quality.name}",
        "picture": f"quality/{name}.png",
        "tsnr": measures["tsnr"],
        "silent_regions": int(silent.sum()),
        "note": one_line("; ".join(note)),
    }


def _silent_note(names: list[str], n_regions: int, min_coverage: float) -> list[str]:
    if not names:
        return []
    more = ", ..." if len(names) > 3 else ""
    return [
        f"{len(names)} of {n_regions} regions have less than {min_coverage:.0%} of their volume or surface in the "
        f"image and its mask and are left without signal ({', '.join(names[:3])}{more})"
    ]


def _sidecar(averages: Averages, nodes: pd.DataFrame, silent: np.ndarray, bold: str, min_coverage: float) -> dict:
    return {
        "RepetitionTime": averages.repetition_time,
        "Units": "arbitrary",
        "Sources": [Path(bold).name],
        "MinimumCoverage": min_coverage,
        "RegionsWithoutSignal": nodes["name"][silent].tolist(),
        "Notes": list(averages.notes),
        "GeneratedBy": {"Name": "dysconnect", "Version": __version__},
    }


def _write_coverage(averages: Averages, nodes: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame({"name": nodes["name"], "coverage": averages.coverage.round(4), "voxels": averages.voxels})
    table.assign(tsnr=averages.tsnr.round(2)).to_csv(path, sep="\t", index=False, na_rep="n/a")
