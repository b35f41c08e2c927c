"""What counts of null cohorts say: shares with limits, one band for all cells jointly, and a table in Markdown.

A cell is a method in a scenario of a source. The band holds for all cells in which nothing may be called: where all
keep 5 %, the chance that any leaves it is 5 %. Methods that are tried on the same cohorts depend on each other; so
cohorts are drawn again with replacement, and the largest deviation of any cell from its share, in standard errors, has
to be exceeded in 5 % of the draws. That standard deviate is put into binomial limits about 5 %.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from nulls.scenarios import ALPHA, BITS, OUT, SCENARIOS
from scipy.stats import binom, norm

from dysconnect.validate.scores import binomial_limits

FRESH = 1000  # the first of the seeds that are counted again
DRAWS = 2000
FEWEST = 100  # cohorts before anything is judged
ABOVE, BELOW, FAILS, STAYS = "above", "conservative", "fails, as it must", "DOES NOT FAIL"


def read_counts(path: Path) -> pd.DataFrame:
    """Calls by seed, [seeds, methods]: sums of `BITS` of the scenarios; methods that do not fit are left out.

    A line that was cut off by a kill is passed over; of a file that was, there are no methods yet.
    """
    whole = path.read_text().rpartition("\n")[0].splitlines()[1:]
    if len(whole) < 2:
        return pd.DataFrame()
    names, lines = whole[0].removeprefix("# ").split("; "), dict(line.split("\t") for line in whole[2:])
    seeds = sorted(lines, key=int)
    table = pd.DataFrame([list(lines[seed]) for seed in seeds], list(map(int, seeds)), names)
    return table.loc[:, (table != ".").all()].astype(int)


@dataclass(frozen=True)
class Band:
    """How many of `n` cohorts may call, for all cells jointly; `z` is the standard deviate of its limits."""

    z: float

    def limits(self, n: int) -> tuple[int, int]:
        """Fewest and most."""
        tail = norm.sf(self.z)
        return int(binom.ppf(tail, n, ALPHA)), int(binom.isf(tail, n, ALPHA))


def band_of(cells: list[np.ndarray], seed: int = 0) -> Band:
    """Band of cells [cohorts, cells], bool, of one or more sources."""
    rng, largest = np.random.default_rng(seed), np.full(DRAWS, norm.isf(ALPHA / 2))
    for hits in cells:
        n, share = len(hits), hits.mean(0)
        some = (share > 0) & (share < 1)
        if n < 2 or not some.any():
            continue
        units = (hits[:, some] - share[some]) / np.sqrt(n * share[some] * (1 - share[some]))
        drawn = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS)
        largest = np.maximum(largest, np.abs(drawn @ units).max(1))
    return Band(float(np.quantile(largest, 1 - ALPHA)))


def cells_of(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a cell: `source`, `scenario`, `method`, `cohorts`, `calls`, `low` and `high` of the share, `verdict`."""
    quiet = [_hits(table, scenario).to_numpy() for table in tables.values() for scenario in SCENARIOS[:2]]
    pairs = [np.hstack(quiet[k : k + 2]) for k in range(0, len(quiet), 2)]
    band, rows = band_of(pairs), []
    for source, table in tables.items():
        for scenario in SCENARIOS:
            for method, hits in _hits(table, scenario).items():
                low, high = binomial_limits(hits.to_numpy(float), 1 - ALPHA)
                row = {"source": source, "scenario": scenario, "method": method, "cohorts": len(hits)}
                row |= {"calls": int(hits.sum()), "low": low, "high": high}
                rows.append(row | {"verdict": _verdict(row, band)})
    return pd.DataFrame(rows)


def _hits(table: pd.DataFrame, scenario: str) -> pd.DataFrame:
    return (table & BITS[scenario]) > 0


def _verdict(cell: dict, band: Band) -> str:
    fewest, most = band.limits(cell["cohorts"])
    if cell["scenario"] == OUT:
        return FAILS if cell["calls"] > most else STAYS if cell["cohorts"] >= FEWEST else ""
    return ABOVE if cell["calls"] > most else BELOW if cell["calls"] < fewest else ""


def judged(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Cells of the first seeds; of those above the band also `again` and `calls_again`, of the fresh seeds.

    The fresh seeds have a band of their own, for the cells that are counted again, jointly.
    """
    cells = cells_of({name: table[table.index < FRESH] for name, table in tables.items()}).assign(again="")
    fresh = {name: table[table.index >= FRESH] for name, table in tables.items()}
    enough = cells["source"].map({name: len(table) >= FEWEST for name, table in fresh.items()})
    asked = cells[(cells["verdict"] == ABOVE) & enough]
    hits = {at: _hits(fresh[row.source], row.scenario)[row.method] for at, row in zip(asked.index, asked.itertuples())}
    together = [
        np.column_stack([hits[at] for at in rows]) for rows in asked.groupby("source").groups.values()
    ]  # of one source the same cohorts
    band = band_of(together)
    for at, own in hits.items():
        most = band.limits(len(own))[1]
        cells.loc[at, "again"] = f"{int(own.sum())} of {len(own)}, {ABOVE if own.sum() > most else 'inside'}"
    return cells


def troubles(cells: pd.DataFrame, spared: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What is not as it must be: cells above the band with fresh seeds too, methods blind to motion left out.

    `spared` are methods by source that need not see it. It may move connections in one direction, so that tests in the
    other need not either.
    """
    above = cells[cells["again"].str.endswith(ABOVE)]
    must = np.array([method not in spared[source] for source, method in zip(cells["source"], cells["method"])], bool)
    stays = cells[(cells["verdict"] == STAYS) & must & ~cells["method"].map(one_sided)]
    lines = [f"{row.source}, {row.scenario}: {row.method} calls too often: {row.again}" for row in above.itertuples()]
    return lines + [
        f"{row.source}: {row.method} does not fail where motion is left out: {row.calls} of {row.cohorts}"
        for row in stays.itertuples()
    ]


def one_sided(method: str) -> bool:
    """Whether a method looks in one direction only."""
    return ", patients " in method


def words(cells: pd.DataFrame, about: dict[str, str], spared: Mapping[str, Mapping[str, str]], every: bool) -> str:
    """Tables in Markdown, one a source; one-sided methods if asked for, and where they are outside the band."""
    parts = []
    for source, own in cells.groupby("source", sort=False):
        n = int(own["cohorts"].max())
        head = (
            f"**{source}**: {about[source]}; {n:,} cohorts.\n\n| % of cohorts with a call | {' | '.join(SCENARIOS)} |"
        )
        lines = [head, "|---" * (1 + len(SCENARIOS)) + "|"]
        for method, row in own.groupby("method", sort=False):
            outside = row["verdict"].isin([ABOVE]).any()
            if every or outside or not one_sided(method):
                lines.append(f"| {method} | {' | '.join(_cell(one) for one in row.itertuples())} |")
        lines += [f"\n{method} need not see motion that is left out: {why}." for method, why in spared[source].items()]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _cell(one) -> str:
    share = 100 * one.calls / max(one.cohorts, 1)
    text = f"{share:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]"
    if one.scenario == OUT:
        return text if one.verdict != STAYS else f"{text} {STAYS.lower()}"
    mark = f"**{text}**, above the band" if one.verdict == ABOVE else text
    mark += ", conservative" if one.verdict == BELOW else ""
    return f"{mark}; again {one.again}" if one.again else mark
