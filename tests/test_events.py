"""Events of a task run: read in seconds of the scan, or refused with file, line and remedy."""

import numpy as np
import pandas as pd
import pytest

from dysconnect.reading.events import read_events, task_events
from dysconnect.reading.tables import TableError

TAPPING = [(0, 30.018, "bimanual"), (30.018, 31.952, "rest"), (61.97, 30.002, "right"), (91.972, 28.028, "rest")]
HEADER = "onset\tduration\ttrial_type\n"


def write(folder, rows, header=HEADER, encoding="utf-8"):
    path = folder / "sub-01_task-finger_events.tsv"
    path.write_text(header + "".join("\t".join(map(str, row)) + "\n" for row in rows), encoding=encoding)
    return path


def read(folder, rows, kinds=None, start_time=0.0, **how):
    return read_events(write(folder, rows, **how), 60, 2.0, kinds, start_time)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_blocks_are_read_with_their_lines(tmp_path, encoding):
    events, notes = read(tmp_path, TAPPING, encoding=encoding)
    assert notes == []
    assert events.index.tolist() == [2, 3, 4, 5]
    assert events["onset"].tolist() == [0, 30.018, 61.97, 91.972]
    assert events["trial_type"].tolist() == ["bimanual", "rest", "right", "rest"]


def test_columns_in_another_order_and_others_between_are_read(tmp_path):
    rows = [(kind, "x", duration, onset) for onset, duration, kind in TAPPING]
    events, _ = read(tmp_path, rows, header="trial_type\tstim_file\tduration\tonset\n")
    pd.testing.assert_frame_equal(events, read(tmp_path, TAPPING)[0])


def test_rows_out_of_order_are_sorted_and_noted(tmp_path):
    events, notes = read(tmp_path, TAPPING[::-1])
    assert events["onset"].is_monotonic_increasing
    assert events.index.tolist() == [5, 4, 3, 2]
    assert len(notes) == 1
    assert "sorted" in notes[0]


def test_impulses_and_events_that_began_before_the_scan_are_read(tmp_path):
    events, notes = read(tmp_path, [(-10, 30, "tap"), (5, 0, "cue"), (40, 0, "cue"), (80, 30, "tap")])
    assert events["onset"].tolist() == [-10, 5, 40, 80]
    assert notes == []


def test_an_event_that_outlasts_the_scan_is_noted(tmp_path):
    assert "cut at the end of the scan, 10.0 s early" in read(tmp_path, [(0, 30, "tap"), (100, 30, "tap")])[1][0]


@pytest.mark.parametrize(
    "rows",
    [
        [(0, 15, "tap"), (15, 15, "rest"), (30, 15, "tap"), (45, 15, "rest")],  # whole numbers to the 60th volume
        [(1, 15, "tap"), (31, 30, "rest")],  # counted from one
        [(0, 15.5, "tap"), (31.5, 15, "tap")],  # nothing in the second half
    ],
)
def test_times_that_could_be_counted_in_volumes_are_refused_until_somebody_looked(tmp_path, rows):
    with pytest.raises(
        TableError, match=r"60 volumes and 120 s.*counted in volumes, or minutes.*add times: seconds to dataset"
    ):
        read(tmp_path, rows)
    events, notes = read(tmp_path, rows, kinds={"times": "seconds"})
    assert len(events) == len(rows) and not notes


def test_volumes_of_a_fast_scan_are_named_as_such(tmp_path):
    path = write(tmp_path, [(0, 500, "tap"), (500, 300, "rest"), (800, 100, "tap")])
    with pytest.raises(TableError, match="counted in volumes"):
        read_events(path, 900, 0.8)
    assert len(read_events(path, 900, 1.0)[0]) == 3  # the same numbers either way


def test_onsets_count_from_the_first_volume_and_ranges_with_them(tmp_path):
    rows = [(onset + 8, duration, kind) for onset, duration, kind in TAPPING]
    events, notes = read(tmp_path, rows, start_time=8.0)
    assert events["onset"].tolist() == pytest.approx([onset for onset, *_ in TAPPING])
    assert notes == [
        "the first volume is 8 s after the clock of sub-01_task-finger_events.tsv began; onsets count from there"
    ]
    with pytest.raises(TableError, match=r"line 6 .*after the last volume of .*after 8 s\): onset 128 s"):
        read(tmp_path, [*rows, (128, 5, "right")], start_time=8.0)
    with pytest.raises(
        TableError, match=r"line 2 .*is over, and began more than 24 s before the first volume after 55 s: onset 0 s"
    ):
        read(tmp_path, TAPPING, start_time=55.0)


def test_a_long_block_that_began_long_before_is_in_the_scan(tmp_path):
    assert read(tmp_path, [(-40, 60, "tap"), (80, 30, "tap")])[0]["onset"].tolist() == [-40, 80]


def test_rest_lasts_until_something_else_begins_where_it_has_no_duration(tmp_path):
    rows = [(onset, "n/a" if kind == "rest" else duration, kind) for onset, duration, kind in TAPPING]
    with pytest.raises(TableError, match="line 3: duration is missing"):
        read(tmp_path, rows)
    events, _ = read(tmp_path, rows, kinds={"task": ["right", "bimanual"], "rest": ["rest"]})
    assert events["duration"].tolist() == [30.018, 0, 30.002, 0]


def test_what_may_lie_within_others_is_passed_over_once_it_is_named(tmp_path):
    rows = [*TAPPING, *((3 * k + 1, 0.2, "press") for k in range(30)), (70, "n/a", "cue")]
    with pytest.raises(TableError, match=r"ignore: \[KIND\] to dataset.trial_types"):
        read(tmp_path, rows[:-1])
    kinds = {"task": ["right", "bimanual"], "rest": ["rest"], "ignore": ["press", "cue"]}
    events, _ = read(tmp_path, rows, kinds=kinds)
    pd.testing.assert_frame_equal(events, read(tmp_path, TAPPING)[0])
    assert len(task_events(events, kinds, "x")) == 2


BAD = {
    "beyond the last volume": (
        [*TAPPING, (121, 5, "right")],
        r"line 6 \(right\): begins after the .* 121 s .*1 of 5",
    ),
    "just after": ([*TAPPING[:3], (120, 0, "rest")], r"line 5 .*120 s .*cut short"),
    "before the first": ([(-30, 30, "right")], r"line 2 .*more than 24 s before the first volume: onset -30 s"),
    "onsets in milliseconds": ([(1000 * a, b, c) for a, b, c in TAPPING], r"line 3 .*30018 s .*milliseconds\?"),
    "all in milliseconds": ([(1000 * a, 1000 * b, c) for a, b, c in TAPPING], r"line 3 .*milliseconds\?"),
    "durations in milliseconds": ([(a, 1000 * b, c) for a, b, c in TAPPING], r"line 2 .*lasts longer .*milliseconds\?"),
    "short ones": ([(5, 110, "a"), (20, 110, "a"), (70, 110, "a")], r"lines 2 and 3: .*milliseconds\?"),
    "a scan cut short": ([*TAPPING, (150, 30, "right"), (600, 30, "left")], r"line 6 .*150 s \(2 of 6 .*another run"),
    "a scan cut very short": (
        [*TAPPING, *((150 + 60 * k, 30, "right") for k in range(8))],
        r"line 6 .*150 s \(8 of 12 .*another run",
    ),
    "negative duration": ([(0, -30, "right")], r"line 2 \(right\): .*duration -30 s"),
    "one kind overlaps": (
        [(0, 30, "right"), (20, 30, "right")],
        r"lines 2 and 3: right lasts from 0 to 30 s, and",
    ),
    "two kinds overlap": ([(0, 30, "right"), (20, 30, "rest")], r"lines 2 and 3: .*and rest begins at 20 s.*ignore"),
    "the long one overlaps later": ([(0, 60, "a"), (10, 0, "b"), (59, 9, "a")], r"lines 2 and 4"),
    "twice": ([(0, 0, "right"), (0, 0, "right")], r"line 3 .*already"),
    "onset n/a": ([(0, 3, "right"), ("n/a", 3, "right")], r"line 3: onset is missing"),
    "duration n/a": ([(0, "n/a", "right")], r"line 2: duration is missing"),
    "duration empty": ([(0, "", "right")], r"line 2: duration is missing"),
    "kind n/a": ([(0, 3, "right"), (9, 3, "n/a")], r"line 3: trial_type is missing \(1 of 2"),
    "a word": ([("start", 3, "right")], r"line 2: onset 'start' is no number of seconds \(a word\)"),
    "decimal comma": ([("0,5", 3, "right")], r"line 2: onset '0,5' .*decimal comma"),
    "infinite": ([("1e999", 3, "right")], r"line 2: onset .*too large"),
    "with a unit": ([("3 s", 3, "right")], r"line 2: onset '3 s' .*unit"),
    "a cell too few": ([(0, 3)], r"line 2: 2 cells"),
    "none": ([], r"holds no event"),
}


@pytest.mark.parametrize(("rows", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_is_refused_with_file_and_line(tmp_path, rows, message):
    with pytest.raises(TableError, match=rf"(?s)^sub-01_task-finger_events\.tsv.*{message}") as refused:
        read(tmp_path, rows)
    assert len(str(refused.value)) <= 330


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path, absent):
    names = ["onset", "duration", "trial_type"]
    name = names.pop(absent)
    with pytest.raises(TableError, match=rf"missing column {name} \(found: {', '.join(names)}\)"):
        read(tmp_path, [np.delete(np.array(row, object), absent) for row in TAPPING], header="\t".join(names) + "\n")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(TableError, match="commas"):
        read(tmp_path, ["0,3,right"], header="onset,duration,trial_type\n")
    with pytest.raises(TableError, match="UTF-8"):
        read(tmp_path, [(0, 3, "Übung")], encoding="latin-1")
    with pytest.raises(TableError, match="empty"):
        read(tmp_path, [], header="")
    with pytest.raises(FileNotFoundError, match="events file"):
        read_events(tmp_path / "none_events.tsv", 60, 2.0)


def test_events_of_the_task_are_taken(tmp_path):
    events, _ = read(tmp_path, TAPPING)
    assert task_events(events, {"task": ["right", "bimanual"], "rest": ["rest"]}, "x").index.tolist() == [2, 4]
    one_kind, _ = read(tmp_path, [(0, 30, "tap"), (60, 30, "tap")])
    assert len(task_events(one_kind, {"task": ["tap"], "rest": ["rest"]}, "x")) == 2


@pytest.mark.parametrize(
    ("task", "rest", "error", "message"),
    [
        (["left"], ["rest"], TableError, r"no event of trial_type left; there are bimanual \(1\), rest \(2\), right"),
        (["Right"], ["rest"], TableError, r"no event of trial_type Right; .*right differs in case or blanks only"),
        (["right"], ["rest"], TableError, r"x, line 2: trial_type bimanual is not said to be task or rest"),
        (["right"], ["right"], ValueError, r"right is task and rest"),
        ([], ["rest"], ValueError, r"no trial_type is of the task"),
    ],
)  # fmt: skip
def test_kinds_that_nobody_named_are_refused(tmp_path, task, rest, error, message):
    with pytest.raises(error, match=message):
        task_events(read(tmp_path, TAPPING)[0], {"task": task, "rest": rest}, "x")
