"""A person's file becomes that person's reason; the machine's troubles stop the job, however libraries wrap them."""

import errno
import os

import nibabel as nib
import pytest

from dysconnect.problems import LONGEST, MachineError, reason, refuse_gone


def raised(error: BaseException, cause: BaseException | None = None) -> Exception:
    """An error as `except` sees it, with what it came from."""
    try:
        raise error from cause
    except type(error) as caught:
        return caught


PERSONS = {
    "value": ValueError("line 3 holds 'x'"),
    "page that says so": ValueError("line 1 holds '<h1>Permission denied: No space left on device</h1>'"),
    "key": KeyError("trans_x"),
    "a bug's kind": TypeError("unsupported operand"),
    "recursion": RecursionError("maximum recursion depth exceeded"),
    "folder": IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), "/data/sub-01.tsv"),
    "seek before the start": OSError(errno.EINVAL, os.strerror(errno.EINVAL)),
    "no gzip": OSError("Not a gzipped file (b'ab')"),
    "no text": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    "image": nib.filebasedimages.ImageFileError("Cannot work out file type"),
    "20 MB": ValueError("could not convert " + "x" * 20_000_000),
    "lines": ValueError("one\ttwo\r\nthree\x00"),
    "empty": ValueError(),
}


@pytest.mark.parametrize("name", PERSONS)
def test_what_a_file_raises_is_a_reason(name):
    told = reason(raised(PERSONS[name]))
    assert 0 < len(told) <= LONGEST and not set(told) & set("\t\n\r\x00")


def machine(code: str) -> OSError:
    return OSError(getattr(errno, code), os.strerror(getattr(errno, code)), "/scratch/x")


CODES = (
    "ENOSPC",
    "EDQUOT",
    "EROFS",
    "EFBIG",
    "EMFILE",
    "ENFILE",
    "ENOMEM",
    "EIO",
    "ESTALE",
    "EACCES",
    "EPERM",
    "ENOENT",
)
MACHINES = {
    **{code: machine(code) for code in CODES},
    "memory": MemoryError(),
    "numpy's memory": MemoryError("Unable to allocate 64.0 TiB"),
    "nibabel's absent file": FileNotFoundError("No such file or no access: 'x.nii'"),
    "HDF5": OSError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')"),
    "ITK": RuntimeError("ITK ERROR: ImageFileWriter: No space left on device"),
    "torch": RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
    "threads": RuntimeError("can't start new thread"),
    "a package that is missing": ModuleNotFoundError("No module named 'ants'"),
    "stopped further down": MachineError("memory is used up"),
}


@pytest.mark.parametrize("wrapped", [False, True, "twice"])
@pytest.mark.parametrize("name", MACHINES)
def test_what_the_machine_raises_goes_on(name, wrapped):
    error = raised(MACHINES[name])
    if wrapped:
        error = raised(ValueError("sub-01_bold.nii.gz cannot be read as an image"), error)
    if wrapped == "twice":
        error = raised(ValueError("sub-01: not usable"), error)
    with pytest.raises(MachineError) as stopped:
        reason(error, "sub-01")
    if name != "stopped further down":
        assert str(stopped.value).startswith("sub-01: ") and "Nobody is left out for this" in str(stopped.value)


def test_an_error_that_was_dealt_with_is_none():
    try:
        try:
            raise machine("ENOENT")
        except OSError:
            raise ValueError("line 3 holds 'x'") from None
    except ValueError as error:
        assert reason(error) == "line 3 holds 'x'"


@pytest.mark.parametrize(
    ("folder", "remedy"),
    [
        ("results/study/acquire/series", "add --forcerun acquire to"),
        ("results/study/timeseries/sub-1/func", "add --forcerun timeseries to"),
        ("results/study/preprocess/series", "add --forcerun preprocess to"),
        ("results/data/study/sub-1/func", "add --forcerun download to"),
        ("data/study", "put them back, or, if they are gone for good, add --forcerun acquire"),
    ],
)
def test_files_that_are_gone_are_named_with_what_brings_them_back(tmp_path, folder, remedy):
    (tmp_path / "there.tsv").touch()
    files = [(f"sub-{k}", tmp_path / folder / f"sub-{k}.tsv") for k in range(1, 6)]
    refuse_gone([("sub-0", tmp_path / "there.tsv"), ("sub-0", "")])
    with pytest.raises(MachineError, match=r"5 files .* are gone: sub-1 \(sub-1\.tsv\).*and 2 more") as stopped:
        refuse_gone([("sub-0", tmp_path / "there.tsv"), *files])
    assert remedy in str(stopped.value)


@pytest.mark.parametrize("stage", ["preprocess", "tractography"])
@pytest.mark.parametrize(
    ("jobs", "tables"),
    [
        ({"sub-1": [1], "sub-2": [2], "sub-3": [3]}, ["sub-1", "sub-2"]),
        ({"batch-007": [1, 2], "batch-011": [3]}, ["batch-007"]),
        (
            {"sub-1": [1], "sub-2": [2], "batch-007": [1], "batch-011": [2], "batch-012": [3]},
            ["batch-007", "batch-011"],
        ),
        ({"batch-007": [1, 3], "batch-011": [2]}, None),
        ({"batch-007": [1], "batch-011": [3]}, None),
    ],
)
def test_of_whom_tables_are_gone_the_job_is_named(tmp_path, stage, jobs, tables):
    """Many people may share one; where all are meant, or nobody knows which, the rule is."""
    folder = tmp_path / "results/study" / stage
    (folder / "participants").mkdir(parents=True)
    for when, (job, people) in enumerate(jobs.items()):
        path = folder / f"participants/{job}.tsv"
        path.write_text("participant_id\tn\n" + "".join(f"sub-{person}\t1\n" for person in people))
        os.utime(path, (when, when))
    with pytest.raises(MachineError) as stopped:
        refuse_gone([(f"sub-{person}", folder / f"series/sub-{person}.tsv") for person in (1, 2)])
    paths = [f"results/study/{stage}/participants/{job}.tsv" for job in tables or ()]
    assert f"add --forcerun {' '.join(paths) or stage} to the same command" in str(stopped.value)
