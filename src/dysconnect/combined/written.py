"""Files of a joined analysis: the page, its tables, and the norm of all controls."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.combined.checks import NotCombinedError
from dysconnect.combined.cohort import Joined
from dysconnect.combined.page import render_joined
from dysconnect.combined.sent import PLAN, plan_text
from dysconnect.data.dictionary import sidecar
from dysconnect.keeping.whole import save_arrays, whole_file
from dysconnect.pooling.norm import PooledNorm
from dysconnect.share.package import Package
from dysconnect.share.session import Plan

PAGE, NORM = "index.html", "norm.npz"
MADE = b"dysconnect combine"  # stands in every page of a joined analysis


def write_joined(
    folder: str | Path, joined: Joined, packages: Sequence[Package], plan: Plan | None = None
) -> list[Path]:
    """Write a joined analysis; all of it is made before the first file is written.

    Parameters
    ----------
    folder : path
    joined : Joined
    packages : sequence of Package
    plan : Plan, optional
        To permute circuits under masks.

    Returns
    -------
    list of path
        ``index.html``, ``edges.tsv``, ``circuits.tsv``, ``forest.tsv``, ``sites.tsv``, ``power.tsv``, each table with
        its ``.json`` beside it; ``plan.json``; and, where sites gave the sums of their controls, ``norm.npz``.
    """
    folder = Path(folder)
    tables = {"edges": joined.edges, "circuits": joined.circuits, "forest": joined.forest, "sites": joined.sites}
    contents = {PAGE: render_joined(joined, packages).encode()}
    for name, table in {**tables, "power": joined.power}.items():
        contents |= {f"{name}.tsv": _tsv(table), f"{name}.json": _described(name, table)}
    if plan is not None:
        contents[PLAN] = plan_text(plan).encode()
    _refuse_others_files(folder, [*contents, NORM])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NORM).unlink(missing_ok=True)  # of an earlier analysis, of other people
    for name, content in contents.items():
        with whole_file(folder / name, len(content)) as file:
            file.write(content)
    if joined.norm is not None:
        save_arrays(folder / NORM, norm_arrays(joined.norm, packages))
        return [folder / name for name in (*contents, NORM)]
    return [folder / name for name in contents]


def _refuse_others_files(folder: Path, names: Sequence[str]) -> None:
    """Refuse to write over files that are not of an earlier analysis."""
    if folder.exists() and not folder.is_dir():
        raise NotCombinedError(f"--out {folder} is a file. Name a folder.")
    there = [name for name in names if (folder / name).exists()]
    if there and not (PAGE in there and MADE in (folder / PAGE).read_bytes()):
        raise NotCombinedError(
            f"--out {folder} has {', '.join(there[:3])} of something else, which would be lost. Name another folder."
        )


def _described(name: str, table: pd.DataFrame) -> bytes:
    """What the columns of a table mean, as BIDS says it."""
    return json.dumps(sidecar(f"combine/{name}.tsv", list(table)), indent=1, ensure_ascii=False).encode()


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
