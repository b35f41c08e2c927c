"""Diffusion gradients as people's files have them: b values and b vectors of BIDS (FSL's convention).

A ``.bval`` holds one number a volume (s/mm2), a ``.bvec`` three rows of as many, or the same turned round. The vectors
are given along the image's axes, and the first of them counts the other way where the image is right-handed (the
affine's determinant is positive): FSL takes every image for left-handed. (BIDS, "Required gradient orientation
information"; MRtrix3, "Diffusion gradient scheme handling"; Leemans and Jones 2009, doi:10.1002/mrm.21890, on why it
matters.)
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dysconnect.reading.cells import form
from dysconnect.reading.numeric.arrays import read_content, refuse_absent
from dysconnect.reading.tables import TableError, clean, read_text

B0 = 50.0  # s/mm2: up to here a volume counts as not weighted
UNIT = 0.02  # what rounding makes of a length of 1
FEWEST = 6  # directions, for a tensor
MOST = 20_000.0  # s/mm2
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
NOTHING = frozenset(["nan", "n/a", "na"])  # what converters write for the direction of a b0
LOW = 300.0  # s/mm2: weaker weighting shows perfusion more than fibres
HIGH = 2000.0  # s/mm2: one shell so strong is no tensor's
STRONGEST = 1500.0  # s/mm2: a tensor describes the signal up to about here
APART = 150.0  # s/mm2 between two shells
ENOUGH = 15  # directions of a shell that is used alone
SHARP = 28  # directions, for fibre orientations of order 6


@dataclass(frozen=True)
class Gradients:
    """What each volume was weighted with.

    Attributes
    ----------
    bvals : array, [V]
        s/mm2.
    bvecs : array, [V, 3]
        Unit vectors as the file has them; zero where b is at most `B0`.
    notes : tuple of str
        What was made of the files that they do not say themselves, or what to know of them.
    """

    bvals: np.ndarray
    bvecs: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def weighted(self) -> np.ndarray:
        """Which volumes are not b0, [V]."""
        return self.bvals > B0


def read_gradients(bval: str | Path, bvec: str | Path, volumes: int | None = None) -> Gradients:
    """Read b values and b vectors.

    Parameters
    ----------
    bval, bvec : path
    volumes : int, optional
        Of the image, to compare.

    Returns
    -------
    Gradients

    Raises
    ------
    FileNotFoundError
    TableError
        When a file is no table of numbers, both disagree with each other or with the image, units are others, vectors
        have lengths that say something else, or there are too few directions; with the file and the remedy.
    """
    bval, bvec = Path(bval), Path(bvec)
    bvals = one_row(read_rows(bval), bval.name)
    bvecs, notes = _vectors(read_rows(bvec), bvec.name)
    _refuse_counts(bvals, bvecs, volumes, bval.name, bvec.name)
    _refuse_units(bvals, bval.name)
    bvecs, more = _unit(bvecs, bvals > B0, bvec.name)
    _refuse_few(bvecs[bvals > B0], bvec.name)
    return Gradients(bvals, bvecs, (*notes, *more, *_of_shells(bvals, bval.name)))


def shells(bvals: np.ndarray) -> list[np.ndarray]:
    """Places of the weighted volumes of about one b value, by strength; b values [V] in s/mm2."""
    order = np.argsort(bvals, kind="stable")
    order = order[bvals[order] > B0]
    return np.split(order, np.flatnonzero(np.diff(bvals[order]) > APART) + 1)


def for_tensor(bvals: np.ndarray) -> np.ndarray:
    """Volumes to which a tensor is fitted, bool [V]: the b0 and the shells that it describes, if they are enough."""
    weak = (bvals > B0) & (bvals <= STRONGEST)
    return (bvals <= STRONGEST) if weak.sum() >= ENOUGH else np.ones(len(bvals), bool)


def for_fibres(bvals: np.ndarray) -> np.ndarray:
    """Volumes from which orientations of fibres are found, bool [V]: the b0 and one shell.

    It is the strongest of those that have directions enough (`SHARP`), or else the one that has most.

    Raises
    ------
    ValueError
        When no shell has `ENOUGH`.
    """
    every = shells(bvals)
    chosen = next((shell for shell in reversed(every) if len(shell) >= SHARP), max(every, key=len))
    if len(chosen) < ENOUGH:
        raise ValueError(
            f"{len(every)} b values with at most {len(chosen)} directions each: fibres are found from one shell of "
            f"{ENOUGH} or more. Leave the scan out, or bring its matrices (dataset.matrices)"
        )
    kept = bvals <= B0
    kept[chosen] = True
    return kept


def world_vectors(bvecs: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Turn vectors of FSL's convention into the scanner's axes (right, anterior, superior), [V, 3].

    Parameters
    ----------
    bvecs : array, [V, 3]
    affine : array, [4, 4]
        Voxel to mm, of the image that they were written for.
    """
    left, _, right = np.linalg.svd(np.asarray(affine, float)[:3, :3])  # the affine without sizes and shears
    turn = left @ right
    along = np.array(bvecs, float)
    if np.linalg.det(turn) > 0:
        along[:, 0] *= -1
    return along @ turn.T


def _of_shells(bvals: np.ndarray, name: str) -> list[str]:
    """What should be known of the strength of the weighting."""
    strengths = [f"{np.round(np.median(bvals[shell]), -1):g}" for shell in shells(bvals)]
    if len(strengths) == 1 and bvals.max() >= HIGH:
        return [
            f"{name}: all directions have b = {strengths[0]} s/mm2: a tensor fits such signal badly, and its FA cannot "
            "be compared with that of b = 1000"
        ]
    if len(strengths) == 1:
        return []
    weak, used = for_tensor(bvals), for_fibres(bvals)
    return [
        f"{name}: b = {', '.join(strengths)} s/mm2; the tensor is fitted to those up to "
        f"{bvals[weak].max():g}, fibres are found from {np.median(bvals[used & (bvals > B0)]):g}"
    ]


def read_rows(path: Path) -> list[list[float]]:
    """Numbers of a text file, line by line; NaN for the words that mean none."""
    refuse_absent(path)
    rows = []
    for number, line in enumerate(read_text(Path(path.name), read_content(path)).split("\n"), 1):
        cells = [clean(cell) for cell in re.split(r"[\t ;]+|,(?=[\t ])", line.strip(" \t,;\r\x0b\x0c"))]
        if any(cells):
            rows.append([_number(cell, path.name, number) for cell in cells if cell])
    if not rows:
        raise TableError(f"{path.name} is empty; convert the scan again, or fetch the file again")
    return rows


def _number(cell: str, name: str, line: int) -> float:
    if NUMBER.fullmatch(cell):
        return float(cell)
    if cell.casefold() in NOTHING:
        return np.nan
    if "," in cell:
        raise TableError(f"{name}, line {line} has {cell[:40]!r}; write decimal points, and blanks between numbers")
    raise TableError(f"{name}, line {line} has {cell[:40]!r}, {form(cell)}; numbers with blanks between are expected")


def one_row(rows: list[list[float]], name: str) -> np.ndarray:
    """One number a volume, from one row or one column."""
    if len(rows) > 1 and any(len(row) > 1 for row in rows):
        raise TableError(f"{name} has {len(rows)} rows; one row of b values is expected. Are both files exchanged?")
    values = np.array([value for row in rows for value in row])
    if not np.isfinite(values).all():
        raise TableError(f"{name}: no b value for volume {np.argmin(np.isfinite(values)) + 1}; write 0 for a b0")
    return values


def _vectors(rows: list[list[float]], name: str) -> tuple[np.ndarray, list[str]]:
    """[V, 3], and what was turned round."""
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        found = ", ".join(str(len(row)) for row in rows[:5])
        raise TableError(f"{name}: its rows have {found} numbers, all should have as many; fetch or write it again")
    table = np.array(rows)
    if len(table) == 3:
        return table.T, []
    if table.shape[1] == 3:
        return table, [f"{name} has a row a volume instead of three rows; it was read turned round"]
    raise TableError(f"{name} has {len(table)} rows of {table.shape[1]} numbers; three rows are expected, one an axis")


def _refuse_counts(bvals: np.ndarray, bvecs: np.ndarray, volumes: int | None, bval: str, bvec: str) -> None:
    counts = {bval: len(bvals), bvec: len(bvecs)} | ({} if volumes is None else {"the image": volumes})
    if len(set(counts.values())) > 1:
        text = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise TableError(f"volumes disagree: {text}. Take the files of one conversion, or convert the scan again")


def _refuse_units(bvals: np.ndarray, name: str) -> None:
    top = bvals.max()
    if bvals.min() < 0:
        raise TableError(f"{name}: b = {bvals.min():g} is negative; write b values in s/mm2")
    if 0 < top <= 20:
        raise TableError(f"{name}: the largest b is {top:g}; in ms/um2? Write s/mm2: multiply by 1000")
    if B0 < top < LOW:
        raise TableError(
            f"{name}: the largest b is {top:g}, too weak to tell fibres ({LOW:g} s/mm2 or more); in other units? Write "
            "s/mm2"
        )
    if top > MOST:
        raise TableError(f"{name}: the largest b is {top:g}; in s/m2? Write s/mm2 (1000, not 1e9)")
    if top <= B0:
        raise TableError(f"{name}: no volume is weighted, all have b of at most {B0:g} s/mm2; is it a reversed b0's?")
    if bvals.min() > B0:
        raise TableError(f"{name}: no b0, the smallest b is {bvals.min():g} s/mm2; an unweighted volume is needed")


def _unit(bvecs: np.ndarray, weighted: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    """Unit vectors, zero for b0, and what was scaled."""
    lengths = np.linalg.norm(bvecs, axis=1)
    bad = weighted & ~(lengths > 0)  # NaN too
    if bad.any():
        raise TableError(
            f"{name}: no direction for {bad.sum()} weighted volumes (first: {np.argmax(bad) + 1}, from 1); an image of "
            "all directions (trace)? Remove it from image, .bval and .bvec"
        )
    unit = np.where(weighted[:, None], bvecs / np.where(weighted, lengths, 1)[:, None], 0.0)
    of_weighted = lengths[weighted]
    if np.ptp(of_weighted) > 2 * UNIT * of_weighted.mean():
        raise TableError(
            f"{name}: the vectors have lengths from {of_weighted.min():.3g} to {of_weighted.max():.3g}. Write unit "
            "vectors; where the length stood for the strength (b times its square), write that b into the .bval"
        )
    if abs(of_weighted.mean() - 1) <= UNIT:
        return unit, []
    return unit, [f"{name}: the vectors had a length of {of_weighted.mean():.3g}; they were scaled to 1"]


def _refuse_few(bvecs: np.ndarray, name: str) -> None:
    x, y, z = bvecs.T
    rank = np.linalg.matrix_rank(np.column_stack([x * x, y * y, z * z, x * y, x * z, y * z]), tol=0.05)
    if rank < FEWEST:
        raise TableError(
            f"{name}: its {len(bvecs)} vectors hold {rank} directions that are not alike; a tensor needs {FEWEST}. "
            "Is it the file of this scan?"
        )
