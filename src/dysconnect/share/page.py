"""The page beside a site's file: what is in it and what is not, in plain words, for whoever decides to send it."""

from dysconnect.paper.html import numbered, template
from dysconnect.paper.tables import Column, Row, Table
from dysconnect.paper.text import NONE, RESEARCH_ONLY, counted, listed, number, percent
from dysconnect.progress import amount
from dysconnect.share.gate import DIFFERENCE, MOST_LEVERAGE, MOST_PARAMETERS, Passed
from dysconnect.share.package import Package
from dysconnect.share.revoked import revocation_file

KINDS = {
    "group": "0 or 1",
    "number": "number",
    "level": "1 where it is so, else 0",
    "site": "1 at this scanner, else 0",
}
MEMBERSHIP = [  # AUC by the same scan, and by another half of it, of groups of so many; NYU of ABIDE, correlations
    (10, 1.00, 0.94),
    (30, 0.98, 0.79),
    (50, 0.93, 0.71),
]
WITHHELD = "too few people have them, or others had them in an earlier release"
OUTSIDE = (
    "No scan, no time series, no connectome of anybody.",
    "No id, name, date or free text, and nothing of which region or scan a single person lacks.",
    "No smallest or largest value, no quantile: those are single people’s.",
    "No sums of permuted labels: from as many of them as there are people, everybody’s connections can be computed.",
)


def page(package: Package, passed: Passed, size: int) -> str:
    """Make the page of a file of `size` bytes, as HTML that asks nothing of the network."""
    about, people = package.about, package.about["people"]
    html = template("share.html", __file__).render(
        site=package.site,
        file=f"{package.site}.zip",
        release=about["release"],
        measure=about["measure"]["name"].replace("_", " "),
        atlas=about["atlas"]["title"],
        people=f"{counted(people['patients'], 'patient')}, {counted(people['controls'], 'control')}",
        size=amount(size),
        inside=_inside(package),
        content=_content(package),
        columns=_columns(package),
        cells=_cells(package),
        outside=OUTSIDE,
        membership=_membership(),
        rules=_rules(passed),
        guessed=percent(passed.leverage),
        contact=about["contact"],
        revocation=revocation_file(package.site),
        hash=about["processing_hash"][:16],
        processing=_processing(package),
        research_only=RESEARCH_ONLY,
        version=about["dysconnect"],
        licence=about["licence"],
    )
    return numbered(html)


def _inside(package: Package) -> str:
    edges, circuits = package.about["edges"], len(package.about["circuits"])
    what = " and ".join(
        text
        for text in (f"{edges:,} connections" if edges else "", counted(circuits, "mean") + " of circuits")
        if text and not (text.startswith("0 "))
    )
    norm = " The same is given of the controls alone, for a norm of healthy connections." if package.norm else ""
    return (
        f"Sums over people, for each of {what}: of its value times every column below, and of its square. With them "
        "go the sums of the columns times one another. From these a linear model of all sites’ people can be fitted "
        f"exactly, as if they lay in one table.{norm}"
    )


def _content(package: Package) -> list[tuple[str, str]]:
    about, sums = package.about, package.sums
    models = about["models"]
    numbers = sums.xy.size + sums.yy.size + sums.xx.size
    if package.norm is not None:
        numbers *= 2
    withheld = int((~sums.given).sum())
    left = [f"{reason}: {count}" for reason, count in about["left_out"].items() if count]
    contrast = about["contrast"]
    return [
        ("Patients", f"{about['people']['patients']} ({listed(contrast['cases'])})"),
        ("Controls", f"{about['people']['controls']} ({listed(contrast['controls'])})"),
        ("Left out", "; ".join(left) or "nobody"),
        ("Numbers", f"{numbers:,}, in double precision"),
        ("Withheld", f"{withheld:,} of {len(sums.given):,} values: {WITHHELD}" if withheld else "nothing"),
        ("Norm", "sums of the controls alone are given too" if package.norm else "not given"),
        ("Models of others", f"{len(models)}, tested here: AUC and counts" if models else "none was tested here"),
    ]


def _columns(package: Package) -> Table:
    rows = [
        Row([
            column["name"],
            KINDS[column["kind"]],
            column.get("unit", NONE),
            f"{column['centre']:g}" if "centre" in column else NONE,
        ])
        for column in package.about["columns"]
    ]  # fmt: skip
    caption = "Columns of the sums. From every number its centre is taken, which is the same at all sites."
    return Table(caption, [Column(name, False) for name in ("Column", "Kind", "Unit")] + [Column("Centre")], rows)


def _cells(package: Package) -> Table:
    rows = [Row([name, f"{a}", f"{b}"]) for name, (a, b) in package.about["people"]["cells"].items()]
    return Table(
        "People of every level and scanner.", [Column("Level", False), Column("Patients"), Column("Controls")], rows
    )


def _membership() -> Table:
    rows = [Row([f"{n} people", number(same), number(half)]) for n, same, half in MEMBERSHIP]
    columns = [Column("Mean of", False), Column("By the same scan"), Column("By another half of the scan")]
    return Table("Telling who is in a published mean (AUC).", columns, rows)


def _rules(passed: Passed) -> Table:
    least, share = passed.least, passed.parameters / passed.people
    before = f", {counted(passed.earlier, 'earlier release')} included" if passed.earlier else ""
    rows = [
        ["People in the smaller group", f"{passed.smallest_group}", f"at least {least['group']}"],
        [
            "People in the smallest group of a level or scanner",
            f"{passed.smallest_cell}",
            f"at least {least['cell']}, or 0",
        ],
        [
            f"Independent columns to people{before}",
            f"{passed.parameters} of {passed.people} ({percent(share)})",
            f"at most {percent(MOST_PARAMETERS)}",
        ],
        [
            "Largest leverage: how much of any mixture of sums is one person’s",
            number(passed.leverage),
            f"at most {MOST_LEVERAGE:g}",
        ],
        ["People who are in only one of this and an earlier release", _changed(passed), f"at least {DIFFERENCE}, or 0"],
        ["Ids, dates, texts among the columns", "none", "none"],
    ]
    columns = [Column("Rule", False), Column("This release"), Column("Limit")]
    return Table("Rules and figures.", columns, [Row(cells) for cells in rows])


def _changed(passed: Passed) -> str:
    return f"{passed.changed}" if passed.earlier else "no earlier one"


def _processing(package: Package) -> Table:
    rows = [Row([key, _written(value)]) for key, value in sorted(package.about["processing"].items())]
    return Table("Processing keys.", [Column("Key", False), Column("Value", False)], rows)


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or NONE
    return NONE if value in (None, "") else str(value)
