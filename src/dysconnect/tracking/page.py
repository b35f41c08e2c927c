"""The report as MLflow can show it.

MLflow puts a page into a frame that may open no other file, so a link to one does nothing there. The page that is
looked at is the copy without such links, and the whole folder, whose links work once it is downloaded, lies beside it.
"""

import shutil
from pathlib import Path

FOLDERS = ("figures", "people", "subjects")
PEOPLE = ("people", "subjects")
MOST = 300e6  # bytes of the pages of people


def lay_out(report: str | Path, folder: str | Path, people: bool = True) -> list[Path]:
    """Copy a report as it is logged: ``index.html`` to look at, and ``report`` with all pages and figures.

    Parameters
    ----------
    report : path
        The report's page; its standalone copy, figures and pages of people lie beside it.
    folder : path
        An empty folder to copy into.
    people : bool
        Whether pages of single people go along; of more than 300 MB they never do.

    Returns
    -------
    list of Path
        What to log.
    """
    report, folder = Path(report), Path(folder)
    whole = folder / "report"
    whole.mkdir()
    beside = [report.parent / name for name in FOLDERS if (report.parent / name).is_dir()]
    pages = [place for place in beside if place.name in PEOPLE]
    size = sum(file.stat().st_size for place in pages for file in place.rglob("*"))
    if pages and people and size > MOST:
        print(
            f"The pages of people have {size / 1e6:.0f} MB and are not logged: they are in {report.parent}", flush=True
        )
    left_out = pages if not people or size > MOST else []
    for place in beside:
        if place not in left_out:
            shutil.copytree(place, whole / place.name)
    for page in report.parent.glob("*.html"):
        shutil.copy(page, whole)
    shutil.copy(report.with_name("standalone.html"), folder / "index.html")
    return [folder / "index.html", whole]
