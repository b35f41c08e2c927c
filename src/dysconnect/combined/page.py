"""The report of a joined analysis: one page that stands alone."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dysconnect.combined.cohort import Joined
from dysconnect.combined.figures import forest_figure, heterogeneity_figure
from dysconnect.combined.words import (
    cannot_say,
    date_line,
    forest_caption,
    in_short,
    methods,
    names_of_sites,
    site_words,
    why_random,
)
from dysconnect.models.cards import label
from dysconnect.paper.html import numbered, picture, template
from dysconnect.paper.svg import to_svg
from dysconnect.paper.tables import Column, Row, Table, region_cell, significant
from dysconnect.paper.text import NONE, RESEARCH_ONLY, Estimate, number, p_value, percent
from dysconnect.share.package import Package
from dysconnect.version import __version__

STRONGEST = 30  # connections in the table


def render_joined(joined: Joined, packages: Sequence[Package]) -> str:
    """Make the page, as HTML that asks nothing of the network."""
    page = template("combined.html", __file__).render(
        title=names_of_sites(joined),
        date=date_line(joined, packages[0]),
        research_only=RESEARCH_ONLY,
        differing=joined.differing,
        in_short=in_short(joined),
        sites=_sites(joined.sites),
        site_words=site_words(joined, packages),
        edges=_edges(joined, packages[0].regions) if len(joined.edges) else None,
        circuits=_circuits(joined) if len(joined.circuits) else None,
        forests=_forests(joined),
        heterogeneity=_heterogeneity(joined) if len(joined.edges) else None,
        why_random=why_random(joined),
        power=_power(joined),
        models=_models(joined.models) if len(joined.models) else None,
        methods=methods(joined, packages),
        cannot_say=cannot_say(joined),
        version=__version__,
    )
    return numbered(page)


def _sites(sites: pd.DataFrame) -> Table:
    rows = [
        Row(
            [(one.site, one.release), f"{one.n:,}", (f"{one.patients:,}", one.patients_are),
             (f"{one.controls:,}", one.controls_are), one.constant or NONE, f"{one.withheld:,}", one.left_out or NONE,
             one.licence, one.contact],
        )
        for one in sites.itertuples()
    ]  # fmt: skip
    columns = [
        Column("Site and release", False), Column("People"), Column("Patients"), Column("Controls"),
        Column("The same in everybody", False), Column("Connections not given"), Column("Left out", False),
        Column("Licence", False), Column("Contact", False),
    ]  # fmt: skip
    return Table("The sites and what they gave.", columns, rows)


def _effect_columns(joined: Joined) -> list[Column]:
    return [
        Column("t" if joined.exact else "z"), Column(f"d [{_level(joined)}]"), Column("p\u00a0Bonferroni"),
        Column("p\u00a0FDR"), Column("d, random effects"), Column("I²"), Column("Sites that agree"),
    ]  # fmt: skip


def _level(joined: Joined) -> str:
    return f"{percent(1 - joined.alpha)} interval"


def _effect_cells(joined: Joined, row: pd.Series, random: str) -> list[str]:
    return [
        number(row["t" if joined.exact else "z"]), str(Estimate(row["d"], row["d_low"], row["d_high"], row["p"])),
        _small(row["p_bonferroni"]), _small(row["p_fdr"]), random if np.isfinite(row["d_random"]) else NONE,
        percent(row["i2"]) if np.isfinite(row["i2"]) else NONE,
        f"{int(row['agreeing'])} of {int(row['judged'])}" if row["judged"] else NONE,
    ]  # fmt: skip


def _small(p: float) -> str:
    """A p; of a very small one its size."""
    return significant(p, 2) if 0 < p < 0.001 else p_value(p)


def _edges(joined: Joined, regions: pd.DataFrame) -> Table:
    strongest = joined.edges.iloc[joined.edges["p"].fillna(2).argsort(kind="stable")[:STRONGEST]]
    places = regions.set_index("name")[["x", "y", "z"]]
    rows = [
        Row(
            [*(region_cell(str(row[side]), places) for side in ("region_a", "region_b")),
             *_effect_cells(joined, row, number(row["d_random"]))],
            "best" if row["p_bonferroni"] <= joined.alpha else "",
        )
        for _, row in strongest.iterrows()
        if np.isfinite(row["p"])
    ]  # fmt: skip
    caption = (
        f"The {len(rows)} connections of the smallest p; those of a coloured row are significant after Bonferroni "
        "correction. All are in edges.tsv."
    )
    return Table(caption, [Column("Region", False), Column("Region", False), *_effect_columns(joined)], rows)


def _circuits(joined: Joined) -> Table:
    masked = "p_fwer" in joined.circuits
    rows = [
        Row(
            [row["title"], *_effect_cells(joined, row, _random(row)), *([_small(row["p_fwer"])] if masked else [])],
            "best" if row["p_fwer" if masked else "p_bonferroni"] <= joined.alpha else "",
        )
        for _, row in joined.circuits.iterrows()
    ]
    columns = [Column("Circuit", False), *_effect_columns(joined), *([Column("p\u00a0FWER")] if masked else [])]
    return Table("Circuits: the mean of all connections of each is tested.", columns, rows)


def _random(row: pd.Series) -> str:
    return str(Estimate(*(row[name] for name in ("d_random", "d_random_low", "d_random_high", "p_random"))))


def _forests(joined: Joined) -> list:
    return [
        picture(f"forest-{k}", to_svg(forest_figure(joined, row.circuit)), forest_caption(row))
        for k, row in enumerate(joined.circuits.itertuples())
    ]


def _heterogeneity(joined: Joined):
    caption = (
        "How far sites agree. Left, I²: the share of the variance of the sites' effects that chance does not make. "
        "Right, p of Cochran's Q: flat where sites differ by chance alone, high on the left where they differ by more."
    )
    if not (joined.edges["sites_alone"] > 1).any():
        return None
    return picture("heterogeneity", to_svg(heterogeneity_figure(joined)), caption, wide=True)


def _power(joined: Joined) -> Table:
    rows = [
        Row(
            [row.who, f"{row.patients:,}", f"{row.controls:,}", number(row.d_connection), number(row.d_circuit)],
            "best" if k == 0 else "",
        )
        for k, row in enumerate(joined.power.itertuples())
    ]
    columns = [
        Column("Who", False), Column("Patients"), Column("Controls"), Column("d of a connection"),
        Column("d of a circuit's mean"),
    ]  # fmt: skip
    caption = (
        "The smallest difference that is found with a probability of 80% after Bonferroni correction, in standard "
        "deviations of what is left between people: together, and by each site alone."
    )
    return Table(caption, columns, rows)


def _models(models: pd.DataFrame) -> Table:
    rows = [
        Row(
            [(label(one.model), one.checksum[:16]), one.trained_at, one.tested_at, f"{one.n_cases:,}",
             f"{one.n_controls:,}", str(Estimate(one.auc, one.low, one.high, np.nan)), _came_true(one.calibration)],
            "best" if one.low > 0.5 else "",
        )
        for one in models.itertuples()
    ]  # fmt: skip
    columns = [
        Column("Model", False), Column("Trained at", False), Column("Tested at", False), Column("Patients"),
        Column("Controls"), Column("AUC [95% interval]"), Column("Patients among those of each probability", False),
    ]  # fmt: skip
    caption = (
        "Trained here, tested there: each test was made where the people are, and only these numbers travelled. In a "
        "coloured row the interval is above chance (0.50)."
    )
    return Table(caption, columns, rows)


def _came_true(calibration: Sequence[Sequence[float]]) -> str:
    return "; ".join(f"{percent(low)[:-1]}–{percent(high)}: {cases} of {n}" for low, high, n, cases in calibration if n)
