"""A full disk: files are there whole or not at all, and the message says what is needed and what is free."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest

from dysconnect.keeping.whole import save_arrays, whole_file

Usage = namedtuple("Usage", "total used free")
FULL = r"is not written, for lack of room: it needs up to [\d,]+ bytes, and [\d,]+ are free in"
# all that writes large files, where a file may have 200 kB; HDF5 crashed here when the process ended
WRITERS = """
import sys
from pathlib import Path
import numpy as np
import pandas as pd
from dysconnect.data.connectomes import Connectomes, write_connectomes
from dysconnect.models.prepare import Preparation
from dysconnect.predict.bundle import write_bundle
from dysconnect.data.cohort import Cohort
from dysconnect.learning.saved import save_folds, save_model

folder, rng = Path(sys.argv[1]), np.random.default_rng(0)
names, values = np.array([f"r{k}" for k in range(100)]), rng.normal(size=(40, 4950)).astype(np.float32)
people = np.array([f"sub-{k}" for k in range(40)])
made = Connectomes(values, np.zeros((40, 100), bool), people, names, "correlation", "x")
cohort = Cohort(pd.DataFrame(), values, made.missing, names, "correlation")

class Fitted:
    spec, measure = {"name": "ridge"}, "correlation"
    def state(self):
        return {"weights": values}

nodes = pd.DataFrame({"name": names})
writers = {
    "c.h5": lambda path: write_connectomes(made, path, {}),
    "model.npz": lambda path: save_model(Fitted(), cohort, path),
    "folds.npz": lambda path: save_folds({(0, 0, 0): Fitted()}, cohort, path),
    "bundle.npz": lambda path: write_bundle(path, {}, nodes, {"a": values}),
}
for name, write in writers.items():
    try:
        write(folder / name)
    except OSError as error:
        print(name, error.errno, error.strerror)
"""


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    (tmp_path / "c.h5").write_text("what was there")
    limit = lambda: (
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
    )
    command = [sys.executable, "-c", WRITERS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        [name, str(errno.EFBIG)] for name in ("c.h5", "model.npz", "folds.npz", "bundle.npz")
    ]
    assert all(str(tmp_path) in line and "for lack of room: it needs up to " in line for line in lines)
    assert [path.name for path in tmp_path.iterdir()] == ["c.h5"]
    assert (tmp_path / "c.h5").read_text() == "what was there"


def test_room_is_asked_for_before_the_first_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100, 90, 10))
    with pytest.raises(OSError, match=rf"m\.npz {FULL}") as told:
        save_arrays(tmp_path / "m.npz", {"a": np.zeros(100)})
    assert told.value.errno == errno.ENOSPC and "10 are free" in str(told.value)
    assert not list(tmp_path.iterdir())


def test_what_fails_in_the_middle_leaves_the_file_of_before(tmp_path):
    path = tmp_path / "table"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), whole_file(path, 10) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1
    with whole_file(path, 10) as file:
        file.write(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"


def test_another_problem_of_the_disk_keeps_its_name(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="Input/output error"):
        save_arrays(tmp_path / "m.npz", {"a": np.zeros(3)})
    assert not list(tmp_path.iterdir())


def test_saved_arrays_are_read_as_numpy_reads_them(tmp_path):
    given = {"a": np.arange(6).reshape(2, 3), "b/c": np.array("text"), "empty": np.empty((0, 2))}
    save_arrays(tmp_path / "m.npz", given)
    with np.load(tmp_path / "m.npz", allow_pickle=False) as file:
        assert set(file.files) == set(given)
        assert all(
            np.array_equal(file[name], value) and file[name].dtype == value.dtype for name, value in given.items()
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_fills_up_while_it_is_written(tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        with pytest.raises(OSError, match=rf"big {FULL}"), whole_file(tmp_path / "big", 0) as file:
            for _ in range(30):
                file.write(bytes(100_000))
        assert not list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", tmp_path], check=True)
