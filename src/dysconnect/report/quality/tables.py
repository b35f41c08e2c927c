"""Tables of quality: connections that follow motion, regions and people without signal."""

from collections.abc import Mapping, Sequence

from dysconnect.paper.tables import Column, Row, Table, page_link
from dysconnect.paper.text import NONE, number, p_value, percent
from dysconnect.report.quality.figures import MOST


def qcfc_table(quality: Mapping) -> Table:
    """QC-FC of everybody, and of patients and controls alone; numbers in brackets are what permuting motion takes."""
    rows = []
    for group, title in (("everybody", "everybody"), ("cases", "patients"), ("controls", "controls")):
        link = quality["qcfc"][group]
        if "reason" in link:
            rows.append(Row([title, NONE, link["reason"], *[NONE] * 5], "aside"))
            continue
        share = link["share"]
        cells = [f"{link['n']:,}", _with_null(link["median_r"], lambda r: number(r, 3))]
        cells += [_with_null(share, percent), p_value(share["p"]), percent(link["share_fdr"])]
        rho = link.get("rho")
        cells += [_with_null(rho, number), p_value(rho["p"])] if rho else [NONE, NONE]
        rows.append(Row([title, *cells]))
    columns = [
        Column("People", False), Column("n"), Column("Median |r|"), Column("With p < 0.05"), Column("p"),
        Column("After BH"), Column("ρ with distance"), Column("p"),
    ]  # fmt: skip
    caption = (
        "How connections follow motion (QC-FC). Below each number: the middle of its null, motion permuted inside "
        "sites. After BH: share of the connections at a false-discovery rate of 0.05."
    )
    return Table(caption, columns, rows)


def _with_null(estimate: Mapping, write) -> tuple[str, str]:
    return write(estimate["value"]), f"{write(estimate['low'])} to {write(estimate['high'])}"


def region_table(quality: Mapping) -> Table:
    """Regions without signal, how many people lack them, and why where coverage is known."""
    regions = quality["regions"]
    rows = [Row([row["region"], f"{row['cases']:,}", f"{row['controls']:,}", *_outside(row)]) for row in regions[:MOST]]
    more = f" The {MOST} that most people lack are listed." if len(regions) > MOST else ""
    columns = [Column("Region", False), Column("Patients"), Column("Controls"), *_outside_column(regions)]
    return Table(f"Regions without signal in somebody ({len(regions):,}).{more}", columns, rows)


def people_table(quality: Mapping) -> Table:
    """People who lack a region, how many they lack, and why where coverage is known."""
    people = quality["people"]
    rows = [
        Row(
            [row["participant_id"], row["group"], f"{row['regions']:,}", *_outside(row)],
            link=page_link(row["participant_id"]),
        )
        for row in people[:MOST]
    ]
    more = f" The {MOST} who lack most are listed." if len(people) > MOST else ""
    columns = [Column("Subject", False), Column("Group", False), Column("Regions"), *_outside_column(people)]
    return Table(f"Analysed people without signal in a region ({len(people):,}).{more}", columns, rows)


def _outside(row: Mapping) -> list[str]:
    return [f"{row['outside']:,}"] if "outside" in row else []


def _outside_column(rows: Sequence[Mapping]) -> list[Column]:
    return [Column("Of these outside the field of view")] if rows and "outside" in rows[0] else []
