"""The scan among a participant's files, and whether it is what the dataset promises."""

import gzip
import json
import re

import numpy as np
import pytest
from tiny import write_image

from dysconnect.acquire.scan import describe_scan, find_scan, read_header
from dysconnect.reading.bids import Ambiguity

RAW = {"kind": "bids", "task": "rest", "repetition_time": 0.9, "phase_encoding": ["j"], "site": "SoftwareVersions"}
PREPARED = {"kind": "derivatives", "task": "rest", "space": "MNI152NLin2009cAsym"}
BOLD = "sub-1/func/sub-1_task-rest_bold.nii.gz"


def test_raw_names():
    paths = [BOLD, BOLD.replace("nii.gz", "json"), "sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-1_T1w.json"]
    paths += [path.replace("rest", "finger") for path in paths[:2]]
    found = find_scan(paths, RAW)
    assert found == {"bold": paths[0], "mask": "", "confounds": "", "t1w": paths[2], "choices": []}


def test_names_of_fmriprep():
    stem = "sub-1/func/sub-1_task-rest_"
    space = stem + "space-MNI152NLin2009cAsym_res-2_"
    paths = [
        space + "desc-preproc_bold.nii.gz",
        space + "desc-brain_mask.nii.gz",
        stem + "desc-confounds_timeseries.tsv",
        stem + "desc-preproc_bold.nii.gz",
        stem + "space-T1w_desc-preproc_bold.nii.gz",
        stem + "space-MNI152NLin6Asym_desc-smoothAROMAnonaggr_bold.nii.gz",
        space + "boldref.nii.gz",
    ]
    found = find_scan(paths, PREPARED)
    assert (found["bold"], found["mask"], found["confounds"]) == tuple(paths[:3])


def test_sessions_and_runs():
    paths = [f"sub-1/ses-{s}/func/sub-1_ses-{s}_task-rest_run-{r}_bold.nii.gz" for s in (1, 2) for r in (2, 1)]
    with pytest.raises(Ambiguity, match=r"4 files.*session \(1, 2\): say which.* dataset\.session=ses-1 or "):
        find_scan(paths, RAW)
    assert find_scan(paths, {**RAW, "session": "ses-1"})["bold"] == paths[1]
    assert find_scan(paths, {**RAW, "session": "ses-2"})["bold"] == paths[3]
    assert find_scan(paths, {**RAW, "session": "ses-3"})["bold"] == ""


@pytest.fixture
def raw(tmp_path):
    """One participant with a scan of 20 volumes; returns a function that describes it with another sidecar."""

    def build(sidecar=None, root_sidecar=None, **spec):
        write_image(tmp_path / BOLD, (4, 4, 4, 20), np.eye(4), 0.9, 0)
        told = {"RepetitionTime": 0.9, "PhaseEncodingDirection": "j", "SoftwareVersions": "E11", **(sidecar or {})}
        (tmp_path / BOLD.replace("nii.gz", "json")).write_text(json.dumps(told))
        if root_sidecar:
            (tmp_path / "task-rest_bold.json").write_text(json.dumps(root_sidecar))
        return describe_scan(tmp_path, [BOLD, BOLD.replace("nii.gz", "json")], {**RAW, **spec})

    return build


def test_a_good_scan(raw):
    scan = raw()
    assert (scan["volumes"], scan["repetition_time"], scan["site"], scan["problem"]) == (20, 0.9, "E11", "")


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        ({"RepetitionTime": 2}, "repetition time 2 s, expected 0.9 s"),
        ({"PhaseEncodingDirection": "i-"}, "phase encoding i-, expected j"),
    ],
)
def test_a_scan_that_differs_says_how(raw, sidecar, message):
    assert raw(sidecar)["problem"] == message
    assert raw(sidecar, repetition_time=None, phase_encoding=None)["problem"] == ""


def test_sidecars_inherit_from_the_dataset(raw, tmp_path):
    assert raw(root_sidecar={"SoftwareVersions": "D13D", "RepetitionTime": 3})["site"] == "E11"
    (tmp_path / BOLD.replace("nii.gz", "json")).write_text("{}")
    scan = describe_scan(tmp_path, [BOLD], RAW)
    assert (scan["site"], scan["problem"]) == ("D13D", "repetition time 3 s, expected 0.9 s")


def test_no_scan(tmp_path):
    assert describe_scan(tmp_path, ["sub-1/anat/sub-1_T1w.nii.gz"], RAW)["problem"].startswith("no rest scan")


def test_header_of_a_whole_image(tmp_path):
    for name in ("a.nii.gz", "a.nii"):
        write_image(tmp_path / name, (3, 4, 5, 6), np.eye(4), 1.5, 0)
        assert read_header(tmp_path / name) == ((3, 4, 5, 6), 1.5)


def test_an_image_in_two_gzip_members_is_whole(tmp_path):
    write_image(tmp_path / "a.nii.gz", (3, 4, 5, 6), np.eye(4), 1.5, 0)
    content = gzip.decompress((tmp_path / "a.nii.gz").read_bytes())
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(content[:700]) + gzip.compress(content[700:]))
    assert read_header(tmp_path / "b.nii.gz")[0] == (3, 4, 5, 6)


@pytest.mark.parametrize("how", ["recompressed", "cut", "plain"])
def test_a_cut_image_is_noticed(tmp_path, how):
    path = tmp_path / ("a.nii" if how == "plain" else "a.nii.gz")
    write_image(path, (8, 8, 8, 50), np.eye(4), 1.5, 0)
    content = path.read_bytes()
    if how == "recompressed":
        plain = gzip.decompress(content)
        path.write_bytes(gzip.compress(plain[: len(plain) // 2]))
    else:
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="cut short"):
        read_header(path)


@pytest.mark.parametrize("content", [b"<html>no such key</html>", b"", gzip.compress(b"hello" * 100, mtime=0)])
def test_what_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "sub-1_bold.nii.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"sub-1_bold\.nii\.gz is no NIfTI image"):
        read_header(path)


def test_a_structural_image_is_no_scan(tmp_path):
    write_image(tmp_path / "a.nii.gz", (4, 4, 4), np.eye(4), 0, 0)
    with pytest.raises(ValueError, match="3 dimensions"):
        read_header(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_of_a_stream_that_ends_early_the_bytes_that_came_are_told(tmp_path, share):
    write_image(tmp_path / "bold.nii.gz", (20, 20, 10, 40), np.eye(4), 2.0, 0)
    packed = (tmp_path / "bold.nii.gz").read_bytes()
    (tmp_path / "bold.nii.gz").write_bytes(packed[: int(share * len(packed))])
    with pytest.raises(ValueError, match="cut short") as refused:
        read_header(tmp_path / "bold.nii.gz")
    held, needed = (
        int(number.replace(",", "")) for number in re.findall(r"([\d,]+)(?: of| bytes)", str(refused.value))
    )
    assert abs(held / needed - share) < 0.05
