"""One person, one person: by series, by images and to be predicted, and never for what the machine does."""

import errno
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import try_persons as trial
from try_persons import DENOISE, NODES, OUT, SAME, STOPPED, TR, VICTIM, Laboratory, all_breaks, failing

from dysconnect.commands.predict import main
from dysconnect.predict.scan import ScanError, scan_from_bold, scan_from_series
from dysconnect.preprocess.engine import run_engine
from dysconnect.problems import MachineError
from dysconnect.timeseries import prepare_cohort, prepare_subject

SAMPLE = (
    "series: a tab less", "series: quotes in a TSV", "matrix: correlations", "a folder for series", "two alike",
    "confounds: decimal commas", "sidecar: [[[[[[[[[[[[[[[[[[[[", "truncated", "shape of terabytes", "affine of zeros",
    "mask of terabytes", "ENOSPC while reading", "EIO while reading", "EDQUOT while writing", "no memory",
)  # fmt: skip
EVERY = {(one.route, one.name): one for one in all_breaks()}


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory) -> Iterator[Laboratory]:
    """Healthy cohorts of six."""
    with trial.without_pictures():
        yield Laboratory(tmp_path_factory.mktemp("persons"))


@pytest.mark.parametrize(("route", "name"), [key for key in EVERY if key[1] in SAMPLE])
def test_one_persons_files_stop_one_person(laboratory, route, name):
    found, message = laboratory.attempt(EVERY[route, name])
    assert found == EVERY[route, name].expected, message


@pytest.mark.parametrize(("route", "what"), [("series", "series"), ("series", "confounds"), ("images", "image")])
def test_a_file_that_vanished_after_it_was_collected_stops_all(laboratory, route, what):
    found, message = laboratory.vanish(route, what)
    assert found == STOPPED and VICTIM in message and "Nobody is left out" in message


def test_the_campaign_breaks_a_person_in_many_ways():
    assert len(EVERY) >= 90 and {one.expected for one in EVERY.values()} == {OUT, SAME, STOPPED}


def test_a_person_whom_acquire_left_out_needs_no_files(tmp_path):
    people = pd.DataFrame({"participant_id": ["sub-1", "sub-2"], "group": "HC", "age": 40.0, "sex": "F", "site": "A"})
    people["exclusion_reason"], people["mean_fd"] = ["", "left the study"], 0.1
    pd.DataFrame(trial.numbers(1), columns=trial.NAMES).to_csv(tmp_path / "1.tsv", sep="\t", index=False)
    index = pd.DataFrame({"participant_id": ["sub-1", "sub-2"], "series": [str(tmp_path / f"{k}.tsv") for k in (1, 2)]})
    index = index.assign(key="", confounds="", repetition_time=TR, sha256="")
    spec = DENOISE | {"motion": None}
    table, _ = prepare_cohort(people, index, NODES, spec, tmp_path / "out", {"atlas": "a", "denoise": "b"})
    assert table["included"].tolist() == [True, False]
    people["exclusion_reason"] = ""
    with pytest.raises(MachineError, match=r"1 file that was there before is gone: sub-2 \(2\.tsv\)"):
        prepare_cohort(people, index, NODES, spec, tmp_path / "out", {"atlas": "a", "denoise": "b"})


# a full disk, of this machine and pretended


def test_a_full_scratch_disk_stops_the_engine_of_raw_images(tmp_path, monkeypatch):
    entry = {"participant_id": VICTIM, "bold": "b.nii", "mask": "", "confounds": "", "t1w": "t.nii", "problem": ""}
    engine = SimpleNamespace(run_subject=lambda *_: tempfile.mkdtemp())
    monkeypatch.setitem(sys.modules, "dysconnect.preprocess.ants", engine)
    spec, told = {"engine": "ants"}, r"sub-03: No space left on device: /scratch\. Nobody is left out"
    full = failing("tempfile.mkdtemp", lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/scratch"))
    with full, pytest.raises(MachineError, match=told):
        run_engine(entry, NODES, tmp_path / "series", {}, spec)
    engine.run_subject = lambda *_: 1 / 0  # nobody's fault that we know: this person's
    assert run_engine(entry, NODES, tmp_path / "series", {}, spec)["problem"] == "ZeroDivisionError: division by zero"


def test_the_machines_trouble_is_told_as_such_by_the_command(monkeypatch, capsys):
    def fails(_):
        raise MachineError("No space left on device: /scratch")

    monkeypatch.setattr("dysconnect.commands.predict._predict", fails)
    assert main(["--model", "m.npz", "--series", "s.tsv"]) == 1
    assert capsys.readouterr().err == "dysconnect predict: No space left on device: /scratch\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device that is always full")
def test_a_disk_that_is_full_indeed_stops_the_stage(laboratory):
    with laboratory.copy("series") as (root, out):
        (out / VICTIM / "func").mkdir(parents=True)
        (out / VICTIM / "func" / f"{VICTIM}_task-rest_seg-few_desc-plain_timeseries.tsv").symlink_to("/dev/full")
        with pytest.raises(MachineError, match=r"sub-03: No space left on device.*free some room, then run the same"):
            trial.run_series(root, out)


# the routes agree


@pytest.fixture
def bundle() -> SimpleNamespace:
    """What reading a scan needs of a model."""
    about = {"atlas": {"title": "Few regions"}, "denoise": DENOISE, "surface": False, "min_coverage": 0.5}
    about |= {"stored": "correlation", "norm_measure": "correlation"}
    return SimpleNamespace(nodes=NODES, about=about, arrays={})


ALIKE = {
    "well": (lambda x, c: (x, c, TR), ""),
    "NaN": (lambda x, c: (trial.spoiled(x, np.nan, 7), c, TR), "1 of 40 volumes hold NaN or infinity (first: volume 8"),
    "short": (lambda x, c: (x[:8], c[:8], TR), "8 volumes x 5 s = 40 s, fewer than the 60 s asked"),
    "no signal": (lambda x, c: (trial.spoiled(x, 5, np.s_[:, :3]), c, TR), "50% of the regions are constant"),
    "two alike": (lambda x, c: (x[:, [0, 1, 2, 3, 4, 0]], c, TR), "regions 1 and 6 of the atlas have exactly the same"),
    "cut off": (lambda x, c: (np.clip(x, 995, None), c, TR), "of all values are exactly the smallest"),
    "other length": (lambda x, c: (x, c[:-2], TR), "40 volumes but 38 rows of confounds; they must agree"),
    "displacement -1": (lambda x, c: (x, c.assign(framewise_displacement=-1.0), TR), "of volume 1 is -1 mm"),
    "displacement unknown": (lambda x, c: (x, c.assign(framewise_displacement=np.nan), TR), "no number in 40 of 40"),
    "no displacement": (lambda x, c: (x, c.drop(columns="framewise_displacement"), TR), "lacks the column framewise"),
    "no rotation": (lambda x, c: (x, c.drop(columns="rot_x"), TR), "confounds lack rot_x"),
    "hole in the confounds": (lambda x, c: (x, c.assign(rot_x=[0.1] * 20 + [np.nan] * 20), TR), "no number for rot_x"),
    "milliseconds": (lambda x, c: (x, c, 5000.0), "5000"),
    "too few degrees of freedom": (lambda x, c: (x[:12], c[:12], TR), "degrees of freedom"),
}  # fmt: skip


@pytest.mark.parametrize("name", ALIKE)
def test_a_person_is_judged_alike_by_every_route(tmp_path, bundle, monkeypatch, name):
    make, told = ALIKE[name]
    x, confounds, seconds = make(trial.numbers(3), trial.motion(3))
    path, table = tmp_path / "sub-03_timeseries.tsv", tmp_path / "sub-03_desc-confounds_timeseries.tsv"
    pd.DataFrame(x, columns=trial.NAMES).to_csv(path, sep="\t", index=False, na_rep="n/a")
    path.with_suffix(".json").write_text(json.dumps({"RepetitionTime": seconds}))
    confounds.to_csv(table, sep="\t", index=False, na_rep="n/a")
    row = pd.Series({"participant_id": VICTIM, "group": "HC", "age": 40.0, "sex": "F", "site": "A"})
    entry = {"series": str(path), "key": "", "confounds": str(table), "repetition_time": seconds}
    by_series = prepare_subject(row, pd.Series(entry), NODES, DENOISE).exclusion_reason
    averages = SimpleNamespace(series=x, repetition_time=seconds, notes=())  # of an image that holds the same series
    monkeypatch.setattr("dysconnect.data.images.regions.regional_series", lambda *_, **__: averages)
    said = []
    for read in (
        lambda: scan_from_series(path, table, bundle),
        lambda: scan_from_bold(path, table, None, bundle),
    ):
        try:
            read()
            said.append("")
        except ScanError as error:
            said.append(str(error))
    assert told in by_series and bool(told) == bool(by_series)
    for other in said:
        assert told in other and bool(other) == bool(told), other
        first = by_series.split("; ")[0]
        assert first in other or name == "milliseconds"  # told of the sidecar, where it stands
