"""Large cohorts: people are dealt to few jobs, in which each is made once."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dysconnect.acquire import fetched_so_far
from dysconnect.data.images.receipts import kept_elsewhere, read_receipts, write_receipts
from dysconnect.keeping.rows import forget, forget_forced, in_order, made_by, receipt_kept, rows_of
from dysconnect.plan.batches import dealt

MANY = [f"sub-{k:04d}" for k in range(600)]


def receipt(name: str, state: str = "fetched", folder: str = "data") -> dict:
    """What was fetched of somebody, described by "d"."""
    digest = "" if state == "failed" else "a" * 64
    files = [{"path": f"{name}.nii.gz", "sha256": digest, "bytes": 10, "state": state, "hash": "md5:" + "c" * 32}]
    known = {"unit": name, "folder": folder, "files": files, "scan": {}, "problem": "", "permanent": True}
    return known | {"described_by": "d"}


# who is in which job


def test_up_to_so_many_people_have_a_job_each():
    assert dealt(MANY[:512], 512) == {name: [name] for name in MANY[:512]}


def test_who_joins_changes_one_job():
    before, after = dealt(MANY[:-1], 512), dealt(MANY, 512)
    changed = {job for job in before.keys() | after.keys() if before.get(job) != after.get(job)}
    assert len(changed) == 1 and MANY[-1] in after[changed.pop()]


def test_everybody_is_dealt_once_and_evenly():
    jobs = dealt(MANY, 20)
    assert sorted(name for names in jobs.values() for name in names) == MANY
    assert min(map(len, jobs.values())) > 15 and max(map(len, jobs.values())) < 50
    assert dealt(MANY[::-1], 20).keys() == jobs.keys() and all(job.startswith("batch-") for job in jobs)


# rows that are kept


@pytest.fixture
def made(tmp_path):
    """Makes rows in a stage's folder, and says whose were made."""

    def make(names, maker="a", change=""):
        whose, table = [], tmp_path / "participants" / f"{names[0] if len(names) == 1 else 'batch-000'}.tsv"
        receipts = [receipt(name) | {"changed": change * (name == names[0])} for name in names]
        rows = rows_of(receipts, table, maker, lambda one: whose.append(one["unit"]) or {"n": np.float64(1.5)})
        assert [row["n"] for row in rows] == [1.5] * len(names)
        return whose

    return make


def test_a_row_is_made_again_only_where_data_or_maker_changed(made):
    assert made(MANY[:3]) == MANY[:3] and made(MANY[:4]) == [MANY[3]]
    assert made(MANY[:4], change="now") == [MANY[0]]
    assert made(MANY[:4], maker="b") == MANY[:4]


def test_a_row_is_made_each_time_where_nobody_knows_by_what(made):
    assert made(MANY[:1], maker=None) == made(MANY[:1], maker=None) == MANY[:1]


@pytest.mark.parametrize("change", [{"state": "there", "source": ""}, {"hash": None}, {"described_by": "e"}])
def test_how_files_came_here_is_no_reason_to_make_a_row_again(tmp_path, change):
    """The images of one who joined a job are fetched, those of the others are there."""
    one, table = receipt(MANY[0]), tmp_path / "participants/batch-000.tsv"
    rows_of([one], table, "a", lambda _: {"n": 1})
    again = one | {"files": [one["files"][0] | change]} if "described_by" not in change else one | change
    assert rows_of([again], table, "a", lambda _: pytest.fail("made again")) == [{"n": 1}]
    other = one | {"files": [one["files"][0] | {"sha256": "b" * 64}]}
    assert rows_of([other], table, "a", lambda _: {"n": 2}) == [{"n": 2}]


def test_more_people_than_jobs_are_dealt_anew_and_only_who_joined_is_made(made, tmp_path):
    """Also in a batch of one; nobody has rows in two tables."""
    for name in MANY[:4]:
        assert made([name]) == [name]
    jobs = dealt(MANY[:6], 5)
    assert 1 in map(len, jobs.values())
    new = []
    for job, names in jobs.items():
        rows = rows_of(
            [receipt(name) | {"changed": ""} for name in names],
            tmp_path / f"participants/{job}.tsv",
            "a",
            lambda one: new.append(one["unit"]) or {"n": 1.5},
        )
        assert len(rows) == len(names)
    assert sorted(new) == MANY[4:6]


def test_a_row_whose_file_another_job_wrote_since_is_made_again(tmp_path):
    def make(job, names, maker):
        whose, table = [], tmp_path / "participants" / f"{job}.tsv"

        def row(one):
            path = tmp_path / f"{one['unit']}.txt"
            path.write_text(maker)
            whose.append(one["unit"])
            return {"participant_id": one["unit"], "series": path.name}

        table.parent.mkdir(exist_ok=True)
        pd.DataFrame(rows_of(list(map(receipt, names)), table, maker, row)).to_csv(table, sep="\t", index=False)
        return whose

    def there():
        return sorted(path.stem for path in (tmp_path / "participants").iterdir())

    assert make("batch-000", MANY[:2], "a") == MANY[:2] and make("batch-001", MANY[2:4], "a") == MANY[2:4]
    assert make(MANY[0], MANY[:1], "b") == MANY[:1]
    assert there() == sorted(["batch-001", MANY[0]])  # the batch's table told another file
    assert make("batch-000", MANY[:2], "a") == MANY[:1] and there() == ["batch-000", "batch-001"]
    (tmp_path / f"{MANY[1]}.txt").write_text("somebody else")
    assert make("batch-000", MANY[:2], "a") == [MANY[1]]
    assert make("batch-002", MANY[1:3], "a") == [] and there() == ["batch-002"]  # a person is in one table
    assert make("batch-000", MANY[:1], "a") == [] and there() == ["batch-000", "batch-002"]
    assert make("batch-003", MANY[:3], "b") == MANY[:3] and there() == ["batch-003"]


def test_a_row_that_is_cut_or_forgotten_is_made_again(made, tmp_path):
    made(MANY[:3])
    path = tmp_path / f"kept/{MANY[1]}.json"
    path.write_text(path.read_text()[:20])
    forget([MANY[2], "sub-none"], tmp_path)
    assert made(MANY[:3]) == MANY[1:3]


@pytest.mark.parametrize(
    ("told", "forgotten"),
    [
        ({}, set()),  # cut off in a run before
        ({"forcerun": ["preprocess"]}, set(MANY[:4])),
        ({"forcerun": ["./participants/batch-000.tsv"]}, set(MANY[:2])),
        ({"forcerun": ["receipts/batch-001.json"]}, set(MANY[2:4])),
        ({"forcetargets": True, "targets": ["participants/batch-001.tsv"]}, set(MANY[2:4])),
        ({"targets": ["participants/batch-001.tsv"]}, set()),
        ({"forceall": True}, set(MANY[:4])),
    ],
)
def test_rows_are_forgotten_of_whom_somebody_forces_and_of_nobody_else(tmp_path, told, forgotten):
    jobs = {"batch-000": MANY[:2], "batch-001": MANY[2:4]}
    places = {"preprocess": "participants/{}.tsv", "download": "receipts/{}.json", "discard": "discarded/{}"}
    planned = [
        SimpleNamespace(rule=SimpleNamespace(name=rule), output=[place.format(name)], wildcards=["study", name])
        for rule, place in places.items()
        for name in (*jobs, *["dataset"] * (rule == "download"))
    ]
    cut_off = SimpleNamespace(needrun_jobs=lambda: planned, reason=lambda job: SimpleNamespace(forced=True))
    asked = SimpleNamespace(**{"forcerun": [], "forceall": False, "forcetargets": False, "targets": []} | told)
    for name in MANY[:4]:
        (tmp_path / f"preprocess/kept/{name}.json").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"preprocess/kept/{name}.json").touch()
    forget_forced(SimpleNamespace(dag=cut_off, dag_settings=asked), jobs, tmp_path)
    assert set(MANY[:4]) - {path.stem for path in (tmp_path / "preprocess/kept").iterdir()} == forgotten


def test_images_need_not_be_fetched_for_a_row_that_is_kept(made, tmp_path):
    made(MANY[:2])
    ask = lambda name, hash, maker="a", described="d": receipt_kept(
        name, [{"path": f"{name}.nii.gz", "hash": hash}], tmp_path, maker, described
    )
    same, as_published = "sha256:" + "a" * 64, "md5:" + "c" * 32
    assert ask(MANY[0], same)["unit"] == MANY[0] == ask(MANY[0], as_published)["unit"]
    assert ask(MANY[0], "sha256:" + "b" * 64) is None is ask(MANY[0], "md5:" + "d" * 32)
    assert ask(MANY[0], "") is None is ask(MANY[5], same)
    assert ask(MANY[0], same, "b") is None is ask(MANY[0], same, "a", "described otherwise")


def test_images_are_fetched_of_whom_they_could_not_be_or_whose_files_are_gone(tmp_path):
    table, ask = tmp_path / "participants/batch-000.tsv", [{"path": "", "hash": "md5:" + "c" * 32}]
    (tmp_path / "series.tsv").write_text("1")
    receipts = [receipt(MANY[0], "failed"), receipt(MANY[1])]
    rows_of(receipts, table, "a", lambda one: {"participant_id": one["unit"], "series": "series.tsv"})
    kept = lambda name: receipt_kept(name, [ask[0] | {"path": f"{name}.nii.gz"}], tmp_path, "a", "d")
    assert kept(MANY[0]) is None and kept(MANY[1])["unit"] == MANY[1]
    (tmp_path / "series.tsv").unlink()
    assert kept(MANY[1]) is None


def test_the_maker_is_settings_and_files(tmp_path):
    file = tmp_path / "atlas.tsv"
    before = made_by({"space": "x"}, [file])
    file.write_text("a")
    assert made_by({"space": "x"}) == before != made_by({"space": "x"}, [file]) != made_by({"space": "y"}, [file])


def test_rows_of_batches_come_in_the_order_of_people():
    rows = pd.DataFrame({"participant_id": ["b", "c", "a"], "n": [2, 3, 1]})
    assert in_order(rows, ["a", "b", "c"])["n"].tolist() == [1, 2, 3]


# receipts


def test_receipts_of_a_job_survive_the_disk(tmp_path):
    one, two = [receipt("sub-1")], [receipt("sub-1"), receipt("sub-2")]
    for receipts in (one, two):
        write_receipts(receipts, tmp_path / "job.json")
        assert read_receipts(tmp_path / "job.json") == receipts
    write_receipts(one, tmp_path / "job.json")
    assert json.loads((tmp_path / "job.json").read_text()) == one[0]


def test_the_retry_names_the_job_of_who_failed(tmp_path):
    jobs = {"dataset": [receipt("dataset")], "batch-001": [receipt("sub-1"), receipt("sub-2", "failed")]}
    for job, receipts in jobs.items():
        write_receipts(receipts, tmp_path / f"{job}.json")
    told = fetched_so_far([str(tmp_path / f"{job}.json") for job in jobs])
    assert told["retry"] == f"--forcerun {tmp_path}/batch-001.json" and told["bytes"] == 20


def test_images_that_another_data_set_still_needs_are_known(tmp_path):
    for place, receipts in {
        "mine/acquire/receipts/sub-1": [receipt("sub-1")],
        "other/acquire/receipts/batch-003": [receipt("sub-1", folder="other"), receipt("sub-9")],
        "done/acquire/receipts/sub-1": [receipt("sub-1")],
    }.items():
        (tmp_path / place).parent.mkdir(parents=True)
        write_receipts(receipts, tmp_path / f"{place}.json")
        if not place.startswith("done"):
            (tmp_path / f"{place}.images").touch()
    found = kept_elsewhere(["sub-1"], tmp_path / "mine/acquire/receipts/sub-1.images", tmp_path)
    assert found == [receipt("sub-1", folder="other")]
