"""A page a person with diffusion images: the scan among those of the cohort, tensor, field and tracts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dysconnect.paper.html import image, template
from dysconnect.report.people.subjects import engine_rows, list_pages, opening

REGISTERED = ("mi_", "dice_")  # how measures of the registration begin
KINDS = {
    "tensor": (
        "The tensor",
        "Direction in which diffusion is fastest: red from side to side, green from front to back, blue up and down; "
        "as bright as the fractional anisotropy. Red in the corpus callosum, blue in the brain stem and green in the "
        "long tracts between front and back say that the gradients are read rightly.",
        "There is no picture.",
    ),
    "field": (
        "The field",
        "The first b0 and the one of the opposite phase encoding: as scanned, the shift by susceptibility between them "
        "(mm along the phase encoding, of what is encoded as the diffusion images are), and both without it, which "
        "should be alike and fill the outline of the brain.",
        "No b0 of the opposite phase encoding: the distortion by susceptibility was not corrected.",
    ),
    "tracts": (
        "Tracts of the circuits",
        "Streamlines that join two regions of one circuit of dystonia, seen through the whole head: the most in any "
        "voxel along the line of sight, on a logarithmic scale of each circuit, over a slice of the fractional "
        "anisotropy through their middle. Where none was seen a tract may still be there.",
        "By the names of its regions the atlas has no circuit of dystonia.",
    ),
}


class Shown(NamedTuple):
    """A picture on a page, or what is said in its place."""

    name: str
    title: str
    image: str
    caption: str
    missing: str


def read_rows(paths: Sequence[str | Path]) -> list[dict[str, str]]:
    """Read what stage `tractography` left of everybody, pictures with their folder."""
    rows = []
    for path in map(Path, paths):
        (row,) = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False).to_dict("records")
        pictures = {name: row.get(name, "") for name in (f"{kind}_picture" for kind in KINDS)}
        stage = path.parents[1]
        rows.append(row | {name: str(stage / picture) if picture else "" for name, picture in pictures.items()})
    return rows


def write_tract_pages(
    rows: Sequence[Mapping], table: pd.DataFrame, participants: pd.DataFrame, spec: Mapping, folder: Path, date: str
) -> None:
    """Write a page for everybody whose diffusion images were looked at, the failed too.

    Parameters
    ----------
    rows : sequence of mapping
        Of stage `tractography`: `participant_id`, `note`, pictures as paths, "" where there is none.
    table : DataFrame, [n rows]
        Of `dysconnect.quality.tracts.tract_table`.
    participants : DataFrame
        After the `timeseries` stage.
    spec : mapping
        The `quality` section, and `title` of the dataset.
    folder : path
        Where the pages go, ``sub-X.html``.
    date : str
        As it is to be printed.
    """
    people = participants.set_index("participant_id")
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        page = render_tracts(row, table, people.loc[row["participant_id"]], spec, date)
        (folder / f"{row['participant_id']}.html").write_text(page, encoding="utf-8")
    list_pages(folder, [row["participant_id"] for row in rows])


def render_tracts(row: Mapping, table: pd.DataFrame, person: pd.Series, spec: Mapping, date: str) -> str:
    """Make the page of one person, as HTML that stands alone; parameters as of `write_tract_pages`."""
    known = table.set_index("participant_id").loc[row["participant_id"]]
    used = not known["problem"]
    return template("subject.html", __file__).render(
        **opening(table, person, row, spec, date, used),
        topic="tracts",
        pictures=[_shown(kind, row) for kind in KINDS] if used else (),
        brain="",
        regions=None,
        coverage=None,
        many=0,
        registration="",
        engine=engine_rows({"measures": _registered(known)}) if used else (),
        report="",
    )


def _shown(name: str, row: Mapping) -> Shown:
    title, caption, missing = KINDS[name]
    path = row.get(f"{name}_picture", "")
    return Shown(name, title, image(Path(path)) if path else "", caption, missing)


def _registered(known: pd.Series) -> dict[str, float]:
    """What the registrations were worth."""
    return {name: value for name, value in known.items() if name.startswith(REGISTERED) and np.isfinite(value)}
