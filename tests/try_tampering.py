"""Spoil every file that a finished project hands on, and see whether its reader notices.

``python tests/try_tampering.py PROJECT``: a folder in which `snakemake` has made the simulated cohort. Each file is put
back. Minutes; a sample is in the suite (``test_sealed.py``).
"""

import json
import sys
from pathlib import Path

from tampered import Project, read, tamperings, try_one

from dysconnect.data.atlas import load_atlas
from dysconnect.data.series import read_index


def finished(folder: Path, nodes: str) -> Project:
    """The simulated cohort of a project, and what its configuration says."""
    results, name = folder / "results", "correlation_ridge"
    told = json.loads((results / f"simulated/train/{name}/run.json").read_text())
    permutations = dict.fromkeys(("floor", name), told["sections"]["training"]["permutations"])
    contrast = {"cases": ["DYT"], "controls": ["HC"]}
    h5 = "connectivity/seitzman300_correlation.h5"
    return Project(results, "simulated", h5, name, load_atlas(nodes), contrast, permutations)


def main(folder: str, nodes: str = "seitzman300") -> int:
    """Print a line for each; return how many nobody noticed."""
    project = finished(Path(folder), nodes)
    for job in sorted({own.reader for own in tamperings()}):
        read(job, project)  # as it was made, nobody complains
    series = Path(read_index(project.at("timeseries/series.tsv"))["series"][0])
    silent = 0
    for own in tamperings():
        if own.place == "SERIES":
            own = own._replace(place=str(series.relative_to(project.at("").resolve())))
        if not project.at(own.place).exists():
            print(f"absent\t{own.place}")
            continue
        said = try_one(project, own)
        silent += not said
        print(
            "\t".join(("noticed" if said else "SILENT", own.place, own.kind, own.reader, said[:200].replace("\n", " ")))
        )
    print(f"{silent} of {len(tamperings())} were silent")
    return silent


if __name__ == "__main__":
    sys.exit(min(main(*sys.argv[1:]), 1))
