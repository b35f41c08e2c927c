"""docs/how-to/files.md: every message that it quotes is what a broken file gets, and every broken file is quoted."""

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from dysconnect.acquire.local import plan_local
from dysconnect.acquire.people import read_people
from dysconnect.acquire.scan import read_header
from dysconnect.data.series import read_confounds, read_regions
from dysconnect.denoising.checks import check_series
from dysconnect.denoising.regressors import columns
from dysconnect.reading import cells, repetition
from dysconnect.reading.bids import absent_content, read_object
from dysconnect.reading.repetition import seconds_of, time_of

PAGE = Path(__file__).resolve().parents[1] / "docs/how-to/files.md"
SPEC = {
    "name": "study", "kind": "local", "contrast": {"cases": ["patient"], "controls": ["control"]}, "task": "rest",
    "covariates": ["age", "sex", "site", "mean_fd"], "session": None, "run": None, "entities": None, "order": "names",
    "segmentation": None, "repetition_time": None,
}  # fmt: skip
PEOPLE = [
    ["participant_id", "group", "age", "sex", "site", "mean_fd"],
    ["sub-01", "patient", "52", "F", "clinic", "0.12"],
    ["sub-02", "control", "49", "M", "clinic", "0.09"],
    ["sub-03", "control", "55", "F", "clinic", "0.15"],
    ["sub-04", "patient", "61", "M", "clinic", "0.21"],
]
NAMES = ("Caudate L", "Caudate R", "Putamen L", "Putamen R")
NODES = pd.DataFrame({"node": [11, 12, 13, 14], "name": NAMES})
SERIES = np.random.default_rng(0).normal(1000, 9, (150, 4)).round(3)
LIMITS = {"min_seconds": 240, "max_missing_regions": 0.1}
CONFOUNDS = {"framewise_displacement": ["n/a", "0.1", "0.2", "0.1"], "trans_x": ["0", "0.1", "n/a", "0.1"]}


def people(line: int = 0, column: str = "", cell: str = "") -> str:
    """The table of people with one other cell; line 0 is that of the names."""
    rows = [list(row) for row in PEOPLE]
    if column:
        rows[line][PEOPLE[0].index(column)] = cell
    return "".join("\t".join(row) + "\n" for row in rows)


def series(values=SERIES, names=NAMES, separator: str = "\t") -> str:
    head = separator.join(names) + "\n" if names else ""
    return head + "".join(separator.join(f"{cell:g}" for cell in row) + "\n" for row in values)


def confounds(**changed) -> str:
    rows = {**CONFOUNDS, **changed}
    rows = {name: cells for name, cells in rows.items() if cells}
    return "\n".join("\t".join(line) for line in [list(rows), *zip(*rows.values())]) + "\n"


def of_people(folder: Path, content: str | bytes) -> str:
    """What is said of a table of people: why it is refused, or the reason of the first who is left out, or a note."""
    content = content.encode() if isinstance(content, str) else content
    (folder / "participants.tsv").write_bytes(content)
    read = read_people(SPEC, folder)
    reasons = [reason for reason in read.table["exclusion_reason"] if reason]
    return reasons[0] if reasons else "\n".join(read.notes)


def of_series(folder: Path, content: str | bytes, name: str = "sub-01_timeseries.tsv") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    check_series(read_regions(path, "", NODES)[0], 2.0, LIMITS)
    return ""


def of_confounds(folder: Path, content: str) -> str:
    path = folder / "sub-01_desc-confounds_timeseries.tsv"
    path.write_text(content)
    columns(read_confounds(path, 4), ("trans_x",), "motion")
    return ""


def of_sidecar(folder: Path, content: str) -> str:
    path = folder / "sub-01_timeseries.json"
    path.write_text(content)
    seconds_of(read_object(path)["RepetitionTime"], path.name)
    return ""


def of_names(folder: Path, *names: str) -> str:
    (folder / "participants.tsv").write_text(people())
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(series())
    plan = plan_local(SPEC, folder)
    return "\n".join(plan.choices["why"])


def of_link(folder: Path) -> str:
    (folder / "sub-01_timeseries.tsv").symlink_to("nowhere")
    return absent_content(folder, ["sub-01_timeseries.tsv"])


def of_image(folder: Path, content: bytes = b"", shape: tuple = (), time: float = 2.0) -> str:
    path = folder / "sub-01_task-rest_bold.nii"
    if shape:
        image = nib.Nifti1Image(np.zeros(shape, np.int16), np.eye(4))
        image.header["pixdim"][4] = time
        nib.save(image, path)
        content = path.read_bytes()[: len(content) or None]
    path.write_bytes(content)
    time_of({}, {}, read_header(path)[1], path.name)
    return ""


def npy(values) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


MATRIX = np.corrcoef(np.random.default_rng(1).normal(size=(4, 90)))
BROKEN: dict[str, tuple[Callable, ...]] = {
    "latin": (of_people, people(1, "site", "Münster").encode("latin-1")),
    "workbook": (of_people, b"PK\x03\x04 ..."),
    "nul": (of_people, people().encode("utf-16-le")),
    "commas": (of_people, people().replace("\t", ",")),
    "few": (of_people, people().replace("\tclinic\t0.09", "\t0.09")),
    "twice named": (of_people, people(0, "mean_fd", "age")),
    "nameless": (of_people, people(0, "mean_fd", "")),
    "no age": (of_people, people(0, "age", "Age_years")),
    "bare id": (of_people, people(1, "participant_id", "01")),
    "id twice": (of_people, people(2, "participant_id", "sub-01")),
    "no id": (of_people, people(2, "participant_id", "n/a")),
    "ditto": (of_people, people(2, "site", '"')),
    "sex as numbers": (of_people, people(1, "sex", "2")),
    "sites": (of_people, people(1, "site", "Clinic")),
    "birth": (of_people, people(1, "age", "1971")),
    "months": (of_people, people(1, "age", "624")),
    "comma": (of_people, people(1, "age", "52,5")),
    "range": (of_people, people(1, "age", "50-55")),
    "hidden": (of_people, people(1, "age", "89+")),
    "missing": (of_people, people(1, "age", "n/a")),
    "code": (of_people, people(1, "age", "-99")),
    "sex": (of_people, people(1, "sex", "x")),
    "motion": (of_people, people(1, "mean_fd", "-1")),
    "group": (of_people, people(1, "group", "Patient")),
    "no group": (of_people, people(1, "group", "n/a")),
    "other group": (of_people, people(1, "group", "tremor")),
    "no case": (of_people, people().replace("patient", "DYT")),
    "included": (of_people, people(0, "mean_fd", "included")),
    "names absent": (of_series, series(names=())),
    "npy": (of_series, npy(SERIES), "sub-01.npy"),
    "npy axes": (of_series, npy(SERIES[None]), "sub-01.npy"),
    "npy cut": (of_series, npy(SERIES)[:900], "sub-01.npy"),
    "transposed": (of_series, series(SERIES.T, names=())),
    "decimal": (of_series, series().replace(".", ",")),
    "many": (of_series, "\t\t".join(series().rsplit("\t", 40))),
    "gap": (of_series, series().replace("\n", "\n\n", 2)),
    "word": (of_series, series().replace(f"{SERIES[1, 0]:g}", "bad")),
    "lacks": (of_series, series(SERIES[:, :3], NAMES[:3])),
    "other atlas": (of_series, series(names=("ROI_a", "ROI_b", "ROI_c", "ROI_d"))),
    "spelt": (of_series, series(names=("caudate_l", *NAMES[1:]))),
    "column twice": (of_series, series(names=(*NAMES[:3], "Caudate L"))),
    "matrix": (of_series, series(MATRIX)),
    "twins": (of_series, series(SERIES[:, [0, 1, 2, 1]])),
    "clipped": (of_series, series(np.minimum(SERIES, 1002))),
    "nan": (of_series, series(np.where((np.arange(150) == 6)[:, None] & (np.arange(4) == 1), np.nan, SERIES))),
    "short": (of_series, series(SERIES[:90])),
    "dead": (of_series, series(np.where(np.arange(4) == 1, 0, SERIES))),
    "confounds alone": (of_confounds, "0.1\t0.2\n0.1\t0.3\n"),
    "no displacement": (of_confounds, confounds(framewise_displacement=[])),
    "rows": (of_confounds, "".join(confounds().splitlines(True)[:-1])),
    "below zero": (of_confounds, confounds(framewise_displacement=["n/a", "-0.1", "0.2", "0.1"])),
    "micrometres": (of_confounds, confounds(framewise_displacement=["n/a", "110", "210", "110"])),
    "unknown displacement": (of_confounds, confounds(framewise_displacement=["n/a", "n/a", "n/a", "0.1"])),
    "no motion": (of_confounds, confounds(trans_x=[])),
    "regressor": (of_confounds, confounds()),
    "text": (of_sidecar, '{"RepetitionTime": "2.0"}'),
    "milliseconds": (of_sidecar, '{"RepetitionTime": 2000}'),
    "zero": (of_sidecar, '{"RepetitionTime": 0}'),
    "no JSON": (of_sidecar, '{"RepetitionTime": 2.0,}'),
    "list": (of_sidecar, "[2.0]"),
    "sessions": (of_names, "sub-01/sub-01_ses-1_timeseries.tsv", "sub-01/sub-01_ses-2_timeseries.tsv"),
    "runs": (of_names, "sub-01/sub-01_run-1_timeseries.tsv", "sub-01/sub-01_run-2_timeseries.tsv"),
    "copies": (of_names, "sub-01_timeseries.tsv", "old/sub-01_timeseries.tsv"),
    "atlases": (of_names, "sub-01_seg-A_timeseries.tsv", "sub-01_seg-B_timeseries.tsv"),
    "task": (of_names, "sub-01_task-resting_timeseries.tsv"),
    "others": (of_names, "sub-91_timeseries.tsv"),
    "nothing": (of_names,),
    "link": (of_link,),
    "no image": (of_image, b"no image"),
    "three": (of_image, b"", (4, 4, 4)),
    "cut image": (of_image, b"x" * 400, (4, 4, 4, 9)),
    "no time": (of_image, b"", (4, 4, 4, 9), 0.0),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[str, tuple[str, str]]:
    """What is said of every broken file, and what stops."""
    return {name: said_of(tmp_path_factory.mktemp("broken"), *case) for name, case in BROKEN.items()}


def said_of(folder: Path, what: Callable, *given) -> tuple[str, str]:
    try:
        text, stops = what(folder, *given), "nothing" if what is of_names else "the person"
    except (ValueError, FileNotFoundError) as error:
        text, stops = str(error), "the run" if what in (of_people, of_names) else "the person"
    return text, stops


def quoted() -> Iterator[tuple[str, str]]:
    """Messages of the page, and what they stop."""
    for table in re.findall(
        r"^\| refused \| stops \| what is said \|\n\|[-|]+\n((?:\|.*\n)+)", PAGE.read_text(), re.MULTILINE
    ):
        for row in table.splitlines():
            _, _, stops, message, _ = (cell.strip() for cell in row.split("|"))
            yield message.strip("`"), stops


def fits(message: str, text: str) -> bool:
    """Whether a message stands in a text; `...` stands for anything, but for that of a JSON object."""
    parts = re.split(r"(?<!\{)\.\.\.(?!\})", message)
    return bool(re.search(".*".join(map(re.escape, parts)), text, re.DOTALL))


def test_every_message_of_the_page_is_one_that_is_said(said):
    wrong = [
        own for own in quoted() if not any(fits(own[0], text) and own[1] == stops for text, stops in said.values())
    ]
    assert len(list(quoted())) > 60 and wrong == []


def test_every_broken_file_is_on_the_page(said):
    assert [name for name, (text, _) in said.items() if not any(fits(message, text) for message, _ in quoted())] == []


def test_a_reason_is_short_enough(said):
    assert all(len(text) <= 300 for text, stops in said.values() if stops == "the person")


def test_files_as_the_page_wants_them_are_read(tmp_path):
    assert of_people(tmp_path, people()) == ""
    assert of_series(tmp_path, series()) == of_series(tmp_path, series(names=("11", "12", "13", "14"))) == ""
    assert of_series(tmp_path, "\ufeff" + series(separator=";").replace("\n", ";\r\n"), "sub-01_timeseries.csv") == ""
    assert of_confounds(tmp_path, confounds(trans_x=["0", "0.1", "0.1", "0.1"])) == ""
    assert of_sidecar(tmp_path, '{"RepetitionTime": 2}') == ""
    assert of_image(tmp_path, shape=(4, 4, 4, 9)) == ""


def test_the_lists_of_words_are_those_that_are_read():
    page = PAGE.read_text()
    words = {
        *cells.SEXES,
        *cells.YES,
        *cells.NO,
        *cells.NO_REASON,
        *(word for word in cells.MISSING if word[:1].isalpha()),
    }
    errors = {word for word in words if word.startswith("#")}
    dashes = {"", "--", "---", "-", "–", "—", "??", "???", "<na>", "0.0", "1.0"}
    assert {word for word in words - errors - dashes if f"`{word}`" not in page} == set()
    for low, high, unit in cells.RANGES.values():
        assert re.search(rf"{low} to {high}", page) and unit in page
    assert f"above {repetition.SHORTEST:g} and at most {repetition.LONGEST:g}" in page
