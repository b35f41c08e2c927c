"""Large cohorts: people are dealt to few jobs, in which each is made once."""

import json

import numpy as np
import pandas as pd
import pytest

from dysconnect.acquire import fetched_so_far
from dysconnect.data.images.receipts import kept_elsewhere, read_receipts, write_receipts
from dysconnect.keeping.rows import forget, in_order, made_by, receipt_kept, rows_of
from dysconnect.plan.batches import dealt

MANY = [f"sub-{k:04d}" for k in range(600)]


def receipt(name: str, state: str = "fetched", folder: str = "data") -> dict:
    """What was fetched of somebody."""
    files = [{"path": f"{name}.nii.gz", "sha256": "a" * 64, "bytes": 10, "state": state}]
    return {"unit": name, "folder": folder, "files": files, "scan": {}, "problem": "", "permanent": True}


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


def test_the_row_of_one_person_alone_is_made_each_time(made):
    assert made(MANY[:1]) == made(MANY[:1]) == MANY[:1]


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
    assert make("batch-002", MANY[1:3], "a") == [] and there() == ["batch-000", "batch-001", "batch-002"]
    assert make("batch-002", MANY[1:3], "b") == MANY[1:3] and there() == ["batch-002"]


def test_a_row_that_is_cut_or_forgotten_is_made_again(made, tmp_path):
    made(MANY[:3])
    path = tmp_path / f"kept/{MANY[1]}.json"
    path.write_text(path.read_text()[:20])
    forget([MANY[2], "sub-none"], tmp_path)
    assert made(MANY[:3]) == MANY[1:3]


def test_images_need_not_be_fetched_for_a_row_that_is_kept(made, tmp_path):
    made(MANY[:2])
    files = [{"path": f"{MANY[0]}.nii.gz", "hash": "sha256:" + "a" * 64}]
    other = [{"path": f"{MANY[0]}.nii.gz", "hash": "sha256:" + "b" * 64}]
    assert receipt_kept(MANY[0], files, tmp_path, "a")["unit"] == MANY[0]
    assert receipt_kept(MANY[0], files, tmp_path, "b") is None is receipt_kept(MANY[0], other, tmp_path, "a")
    assert receipt_kept(MANY[5], files, tmp_path, "a") is None


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
