"""Take the pictures of these pages from the report of a finished default run.

python docs/pictures.py            from results/
python docs/pictures.py FOLDER     from the results of a run elsewhere
"""

import sys
from pathlib import Path

NAMES = ("connectome", "forest", "cohort")
LARGEST = 200_000  # bytes


def take(results: str | Path, folder: str | Path) -> list[Path]:
    """Copy the pictures of the simulated cohort, of nobody else's; return their paths.

    Raises
    ------
    ValueError
        When one is too large to be committed.
    """
    copies = []
    for name in NAMES:
        picture = (Path(results) / f"simulated/report/figures/{name}.svg").read_bytes()
        if len(picture) >= LARGEST:
            raise ValueError(f"{name}.svg: {len(picture):,} bytes, not less than {LARGEST:,}. Leave it out of NAMES.")
        copies.append(Path(folder) / f"{name}.svg")
        copies[-1].write_bytes(picture)
    return copies


if __name__ == "__main__":
    for copy in take(sys.argv[1] if len(sys.argv) > 1 else "results", Path(__file__).parent / "figures"):
        print(copy)
