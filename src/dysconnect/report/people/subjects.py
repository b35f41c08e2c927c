"""A page a person: the scan against those of the cohort, its time course, what it lacks, and why it was left out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from matplotlib.figure import Figure

from dysconnect.data.atlas import SYSTEMS
from dysconnect.paper.carpet import SPIKE, Trace, carpet_figure, motion_trace, region_carpet
from dysconnect.paper.html import Picture, image, picture, template
from dysconnect.paper.style import COLOURS, COLUMN, GREY, INK, LIGHT, evenly, styled
from dysconnect.paper.svg import to_svg
from dysconnect.paper.tables import Column, Row, Table
from dysconnect.paper.text import NONE, RESEARCH_ONLY, number, percent
from dysconnect.progress import track
from dysconnect.quality.scans import LIMITS, Scan, Scans, limits, marked, read_scan, regional_dvars
from dysconnect.report.measures import MEASURES, Measure, measured, written

EFFECTS = {
    "dvars": "DVARS of regions",
    "fd_dvars": "r of DVARS and FD",
}
TOLD = {
    "volumes_left_out": "Volumes left out at the start",
    "slice_timing": "Slice timing corrected",
    "susceptibility": "Susceptibility distortion",
    "template": "Template",
}
WHOLE = 0.95  # of a region: less is listed
MANY = 20  # rows of a table, beyond which it is folded
LINES = 200  # of other scans in a figure; a line each would make pages, and the time for them, grow with the cohort
BATCH = 8  # people a process, so that a small cohort starts none


def write_pages(
    rows: Sequence[tuple[Mapping, Path, str]],
    scans: Scans,
    participants: pd.DataFrame,
    nodes: pd.DataFrame,
    spec: Mapping,
    folder: Path,
    date: str,
    workers: int = 1,
) -> None:
    """Write a page for everybody who was preprocessed.

    Parameters
    ----------
    rows : sequence
        Of `dysconnect.quality.scans.scan_rows`.
    scans : Scans
    participants : DataFrame
        After the `timeseries` stage.
    nodes : DataFrame, [N rows]
    spec : mapping
        The `quality` section, and `title` and `contrast` of the dataset, `fd_threshold` (mm or None) and
        `min_coverage`.
    folder : path
        Where the pages go, ``sub-X.html``.
    date : str
        As it is to be printed.
    workers : int
        Processes.
    """
    people = participants.set_index("participant_id")
    folder.mkdir(parents=True, exist_ok=True)
    jobs = (
        delayed(_write_page)(given, scans, people.loc[given[0]["participant_id"]], nodes, spec, folder, date)
        for given in rows
    )
    processes = max(1, min(workers, len(rows) // BATCH))
    list(track(Parallel(n_jobs=processes, return_as="generator")(jobs), "pages of people", total=len(rows)))
    list_pages(folder, [given[0]["participant_id"] for given in rows])


def list_pages(folder: Path, names: Sequence[str]) -> None:
    """Write ``index.txt``, which names the page of everybody; pages of others are removed."""
    files = [f"{name}.html" for name in names]
    for old in {path.name for path in folder.glob("*.html")} - set(files):
        (folder / old).unlink()
    (folder / "index.txt").write_text("".join(f"{file}\n" for file in files), encoding="utf-8")


def _write_page(
    given: tuple[Mapping, Path, str], scans: Scans, person: pd.Series, nodes: pd.DataFrame, spec: Mapping, folder: Path,
    date: str,
) -> None:  # fmt: skip
    page = render_subject(read_scan(*given, nodes), scans, person, nodes, spec, date)
    (folder / f"{given[0]['participant_id']}.html").write_text(page, encoding="utf-8")


def render_subject(scan: Scan, scans: Scans, person: pd.Series, nodes: pd.DataFrame, spec: Mapping, date: str) -> str:
    """Make the page of one person, as HTML that stands alone; parameters as of `write_pages`."""
    measured = bool(scan.measures)
    return template("subject.html", __file__).render(
        **opening(scans.table, person, scan.row, spec, date, measured),
        topic="scans",
        pictures=(),
        brain=image(scan.pictures["brain"]) if "brain" in scan.pictures else "",
        regions=_time_course(scan, nodes, spec),
        coverage=coverage_tables(scan.coverage, nodes, spec["min_coverage"]) if measured else None,
        many=MANY,
        registration=image(scan.pictures["registration"]) if "registration" in scan.pictures else "",
        engine=engine_rows(scan.engine),
        report=engine_report(scan.row),
    )


def opening(
    table: pd.DataFrame, person: pd.Series, left: Mapping, spec: Mapping, date: str, measured: bool
) -> dict[str, object]:
    """What every page of a person begins with: who this is, neighbours, notes that a stage left, and measures."""
    name = left["participant_id"]
    ids = table["participant_id"].tolist()
    place = ids.index(name)
    row = table.iloc[place]
    return {
        "title": spec["title"],
        "name": name,
        "date": date,
        "before": ids[place - 1] if place else "",
        "after": ids[place + 1] if place + 1 < len(ids) else "",
        "facts": person_facts(person),
        "failed": row["problem"],
        "left_out": "" if row["included"] else row["exclusion_reason"],
        "notes": [note for note in left.get("note", "").split("; ") if note],
        "measures": measure_table(table, place, spec) if measured else None,
        "position": position(table, place, spec) if measured else None,
        "research_only": RESEARCH_ONLY,
    }


def person_facts(person: pd.Series) -> list[tuple[str, str]]:
    """Who this is: group, age, sex and site, as far as they are known."""
    age = pd.to_numeric(person.get("age"), errors="coerce")
    facts = {"Group": person["group"], "Age": number(age, 0) if np.isfinite(age) else "", "Sex": person.get("sex", "")}
    facts["Site"] = person.get("site", "")
    return [(name, str(value)) for name, value in facts.items() if isinstance(value, str) and value]


def percentile(values: np.ndarray, value: float) -> float:
    """Share of the known values below this one, those equal counting half, in percent."""
    known = values[np.isfinite(values)]
    return float(100 * ((known < value).mean() + 0.5 * (known == value).mean()))


def measure_table(table: pd.DataFrame, place: int, spec: Mapping) -> Table:
    """Measures of one person beside those of the cohort.

    Parameters
    ----------
    table : DataFrame, [n rows]
        Of `dysconnect.quality.scans.scan_table`.
    place : int
        Row of the person.
    spec : mapping
        The `quality` section.
    """
    row, beyond, levels = table.iloc[place], marked(table, spec).iloc[place], limits(table, spec)
    rows = []
    for name, measure in _known(table, place).items():
        flag, limit = bool(beyond.get(name, False)), levels.get(name, np.nan)
        words = "" if np.isnan(limit) else f"{'≤' if LIMITS[name].sign > 0 else '≥'} {measure.write(limit)}"
        cells = [measure.title, written(name, row[name], flag), *_in_cohort(table[name], row[name], measure.write)]
        rows.append(Row([*cells, words or NONE], "beyond" if flag else "", beyond=[1] if flag else ()))
    for name, title in EFFECTS.items():
        for when in ("before", "after"):
            value = row.get(f"{name}_{when}", np.nan)
            if np.isfinite(value):
                cells = [f"{title}, {when}", number(value)]
                rows.append(Row([*cells, *_in_cohort(table[f"{name}_{when}"], value, number), NONE]))
    columns = [
        Column("Measure", False), Column("This scan"), Column("Cohort"), Column("Percentile"),
        Column("Limit"),
    ]  # fmt: skip
    caption = (
        f"Measures of this scan, and the median and middle 90% of all {len(table):,}; the percentile is the share of "
        "scans below."
    )
    if "dvars_before" in table:
        caption += (
            " Before and after denoising: DVARS of regions, in standard deviations, and its correlation with framewise "
            "displacement (FD)."
        )
    return Table(caption, columns, rows)


def _known(table: pd.DataFrame, place: int) -> dict[str, Measure]:
    """Measures that are known of one person."""
    return {name: MEASURES[name] for name in measured(table) if np.isfinite(table[name].iloc[place])}


def _in_cohort(values: pd.Series, value: float, write) -> tuple[tuple[str, str], str]:
    known = values.dropna()
    low, high = known.quantile([0.05, 0.95])
    return (write(known.median()), f"{write(low)} to {write(high)}"), f"{percentile(values.to_numpy(float), value):.0f}"


def position(table: pd.DataFrame, place: int, spec: Mapping) -> Picture:
    """Where one scan stands among those of the cohort; parameters as of `measure_table`."""
    caption = (
        "This scan (diamond) among those of the cohort (lines), each measure from the least to the largest; dashed: "
        "its limit."
    )
    if len(table) > LINES:
        caption += f" Of {len(table):,} scans {LINES} are drawn, evenly through their ranks."
    return picture("position", to_svg(position_figure(table, place, spec)), caption)


@styled
def position_figure(table: pd.DataFrame, place: int, spec: Mapping) -> Figure:
    """Where one scan stands among those of the cohort, a row a measure; parameters as of `measure_table`."""
    names = list(_known(table, place))
    beyond, levels = marked(table, spec).iloc[place], limits(table, spec)
    figure = Figure(figsize=(COLUMN, 0.5 + 0.27 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    for row, name in enumerate(names):
        values, limit = table[name].to_numpy(float), levels.get(name, np.nan)
        low, high = np.nanmin(values), np.nanmax(values)
        scale = (high - low) or 1.0
        axes.plot([0, 1], [row, row], color=LIGHT, linewidth=0.8, zorder=0)
        axes.vlines(
            (values[evenly(values, LINES)] - low) / scale, row - 0.22, row + 0.22, color=GREY, linewidth=0.7, alpha=0.6
        )
        if low <= limit <= high:
            line = {"color": INK, "linewidth": 0.9, "linestyle": (0, (2, 1.5))}
            axes.vlines((limit - low) / scale, row - 0.42, row + 0.42, **line)
        colour = COLOURS[1] if beyond.get(name, False) else COLOURS[0]
        axes.plot((values[place] - low) / scale, row, "D", color=colour, markeredgecolor="white", markersize=7)
    axes.set_yticks(range(len(names)), [MEASURES[name].title for name in names])
    axes.set(xlim=(-0.04, 1.04), ylim=(len(names) - 0.4, -0.6), xticks=(0, 1))
    axes.set_xticks((0, 1), ["least", "largest"])
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    return figure


def _time_course(scan: Scan, nodes: pd.DataFrame, spec: Mapping) -> Picture | None:
    if scan.before is None:
        return None
    caption = (
        "Regional series over time. FD: framewise displacement. DVARS: change from volume to volume, in standard "
        "deviations. Below, every row is a region by system, from -2 (black) to 2 (white) standard deviations"
    )
    left_out = scan.after is not None and bool(np.isnan(scan.after).any())
    caption += "; tinted where volumes were left out." if left_out else "."
    if scan.after is None:
        caption += " There are no denoised series: the scan was left out before."
    caption = caption.replace("-2", "−2")
    return picture("regions", to_svg(time_course_figure(scan, nodes, spec["fd_threshold"])), caption, wide=True)


def time_course_figure(scan: Scan, nodes: pd.DataFrame, fd_threshold: float | None = None) -> Figure:
    """Displacement, regional DVARS and carpets of regions before and after denoising, on one axis of time."""
    both = {"Before denoising": scan.before, "After denoising": scan.after}
    series = {title: values for title, values in both.items() if values is not None}
    if "system" not in nodes:
        nodes = nodes.assign(system=SYSTEMS[0])
    carpets = {title: region_carpet(values, nodes) for title, values in series.items()}
    changes = {title.split()[0].lower(): regional_dvars(values) for title, values in series.items()}
    traces = [motion_trace(scan.displacement, fd_threshold or SPIKE), Trace("DVARS (sd)", changes)]
    shown = {title: carpet for title, carpet in carpets.items() if len(carpet.groups)}
    return carpet_figure(shown, scan.seconds, traces)


def coverage_tables(coverage: pd.DataFrame, nodes: pd.DataFrame, least: float) -> dict[str, Table | None]:
    """Coverage by system, and the regions that are not wholly there (None where all are).

    Parameters
    ----------
    coverage : DataFrame, [N rows]
        `name`, `coverage`, `voxels`, `tsnr`.
    nodes : DataFrame, [N rows]
    least : float
        Share of a region that must be there to be averaged.
    """
    regions = coverage.merge(nodes[["name", *(["system"] if "system" in nodes else [])]], on="name", how="left")
    regions = regions if "system" in regions else regions.assign(system="regions")
    rows = []
    for system in [name for name in (*SYSTEMS, "regions") if (regions["system"] == name).any()]:
        part = regions[regions["system"] == system]
        cells = [f"{len(part):,}", f"{(part['coverage'] < least).sum():,}", percent(part["coverage"].mean())]
        rows.append(Row([system.replace("_", " "), *cells, number(part["tsnr"].median(), 1)]))
    columns = [
        Column("System", False), Column("Regions"), Column("Without signal"), Column("Mean coverage"),
        Column("Median tSNR"),
    ]  # fmt: skip
    return {"systems": Table("Coverage by system.", columns, rows), "regions": _partial_regions(regions, least)}


def _partial_regions(regions: pd.DataFrame, least: float) -> Table | None:
    part = regions[regions["coverage"] < WHOLE].sort_values(["coverage", "name"], kind="stable")
    if part.empty:
        return None
    rows = []
    for name, system, covered, voxels, tsnr in part[["name", "system", "coverage", "voxels", "tsnr"]].to_numpy():
        lost = covered < least
        numbers = [percent(covered), f"{voxels:,.0f}", number(tsnr, 1)]
        cells = [name, system.replace("_", " "), *numbers, "no signal taken" if lost else "averaged"]
        rows.append(Row(cells, "beyond" if lost else ""))
    columns = [
        Column("Region", False), Column("System", False), Column("Coverage"), Column("Voxels"), Column("tSNR"),
        Column("Use", False),
    ]  # fmt: skip
    caption = (
        f"Regions of which less than {WHOLE:.0%} was measured ({len(part):,} of {len(regions):,}), the least first."
    )
    return Table(caption, columns, rows)


def engine_rows(engine: Mapping) -> list[tuple[str, str]]:
    """What the engine says it did and measured, as far as it says it."""
    measures, seconds = engine.get("measures", {}), engine.get("seconds", {})
    rows = []
    for name, value in measures.items():
        stem, after = name.removesuffix("_before"), measures.get(f"{name.removesuffix('_before')}_after")
        if name.endswith("_before") and after is not None:
            rows.append((_title(stem), f"{number(float(value), 3)} before, {number(float(after), 3)} after"))
        elif not (name.endswith("_after") and f"{name.removesuffix('_after')}_before" in measures):
            rows.append((_title(name), number(float(value), 3)))
    for name in ("volumes_left_out", "slice_timing", "susceptibility", "template"):
        if name in engine:
            rows.append((TOLD[name], _answer(engine[name])))
    if seconds:
        slowest = max(seconds, key=seconds.get)
        rows.append(("Time", f"{sum(seconds.values()):,.0f} s, most of it in “{slowest}” ({seconds[slowest]:,.0f} s)"))
    if "peak_memory_mb" in engine:
        rows.append(("Peak memory", f"{engine['peak_memory_mb']:,} MB"))
    return rows


def engine_report(row: Mapping) -> str:
    """Where fMRIPrep's own report lies, seen from the page; empty where it is not among the results."""
    path = row.get("report", "")
    return f"../../preprocess/{path}" if path and not Path(path).is_absolute() else ""


def _title(name: str) -> str:
    """``mi_bold_t1w`` as ``Mutual information, BOLD T1w``."""
    words = {"bold": "BOLD", "dwi": "DWI", "t1w": "T1w", "mi": "mutual information,", "dice": "Dice,"}
    text = " ".join(words.get(word, word) for word in name.split("_"))
    return text[:1].upper() + text[1:]


def _answer(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
