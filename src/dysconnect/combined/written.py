"""Files of a joined analysis: the page, its tables, and the norm of all controls."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.combined.cohort import Joined
from dysconnect.combined.page import render_joined
from dysconnect.keeping.whole import save_arrays, whole_file
from dysconnect.pooling.norm import PooledNorm
from dysconnect.share.package import Package

PAGE, NORM = "index.html", "norm.npz"


def write_joined(folder: str | Path, joined: Joined, packages: Sequence[Package]) -> list[Path]:
    """Write a joined analysis; what is written is complete before the first file is.

    Returns
    -------
    list of path
        ``index.html``, ``edges.tsv``, ``circuits.tsv``, ``forest.tsv``, ``sites.tsv``, ``power.tsv`` and, where sites
        gave the sums of their controls, ``norm.npz``.
    """
    folder = Path(folder)
    tables = {"edges": joined.edges, "circuits": joined.circuits, "forest": joined.forest, "sites": joined.sites}
    contents = {PAGE: render_joined(joined, packages).encode()}
    contents |= {f"{name}.tsv": _tsv(table) for name, table in {**tables, "power": joined.power}.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        with whole_file(folder / name, len(content)) as file:
            file.write(content)
    if joined.norm is not None:
        save_arrays(folder / NORM, norm_arrays(joined.norm, packages))
        return [folder / name for name in (*contents, NORM)]
    return [folder / name for name in contents]


def _tsv(table: pd.DataFrame) -> bytes:
    return table.to_csv(sep="\t", index=False, na_rep="n/a").encode()


def norm_arrays(norm: PooledNorm, packages: Sequence[Package]) -> Mapping[str, np.ndarray]:
    """The norm as arrays: those of `PooledNorm`, the centre of every column (0 where none), and names of regions."""
    centres = {c["name"]: c.get("centre", 0.0) for package in packages for c in package.about["columns"]}
    return {
        "columns": np.array(norm.columns), "centres": np.array([centres[name] for name in norm.columns]),
        "coefficients": norm.coefficients, "variance": norm.variance, "df": norm.df, "pattern": norm.pattern,
        "inverse": norm.inverse, "regions": packages[0].regions["name"].to_numpy(str),
        "circuits": np.array(packages[0].about["circuits"], str),
    }  # fmt: skip
