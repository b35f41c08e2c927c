"""The dress rehearsal is a fair one: people whose traps are seen, a server that counts, kills that lose nothing."""

import importlib
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dysconnect.acquire.scan import describe_scan
from dysconnect.data.images.volumes import open_bold
from dysconnect.fetching import Remote, Transport, fetch_all

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
pytest.importorskip("isal")
SPEC = {"kind": "bids", "task": "rest", "repetition_time": 0.9, "phase_encoding": ["j"], "site": "SoftwareVersions"}
QUICK = Transport(connections=2, attempts=3, timeout=20, backoff=0.0)
FETCH = """
import json, sys
from pathlib import Path
from dysconnect.fetching import Remote, Transport, fetch_all
fetch_all([Remote(**json.loads(sys.argv[1]))], Path(sys.argv[2]), Transport(2, 3, 20, 0.0))
"""


@pytest.fixture(scope="module")
def benchmark():
    """The command, as a module."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module("rehearsal")
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def rehearsal(benchmark, tmp_path_factory):
    """Four people with traps, measured and ready; their images stay, as nobody reads them."""
    benchmark.COARSE = benchmark.COARSE[len(benchmark.USUAL) :]
    made = benchmark.Rehearsal(tmp_path_factory.mktemp("rehearsal"), 4, small=True)
    made.prepare()
    made.set_up()
    return made


@pytest.fixture
def server(benchmark, rehearsal):
    """Their server, in this process; its log begins anew."""
    (rehearsal.folder / "server/sent.jsonl").unlink(missing_ok=True)
    own = benchmark.Server(rehearsal.cohort, rehearsal.folder / "server", 0, 1.0)
    threading.Thread(target=own.serve_forever, daemon=True).start()
    yield own
    own.shutdown()
    own.server_close()


def remote(server, path):
    known, base = server.known[path], f"http://127.0.0.1:{server.server_address[1]}/{path}"
    return {"path": path, "urls": (f"{base}?versionId=v1", base), "bytes": known["bytes"], "hash": known["hash"]}


def sent(rehearsal):
    """The log of the server, complete."""
    time.sleep(0.2)
    return rehearsal.folder / "server/sent.jsonl"


def write(cohort, name, folder):
    paths = [path for path in cohort.files() if path.startswith(name)]
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"".join(cohort.content(path)))
    return paths


@pytest.mark.parametrize(
    ("name", "words", "volumes"),
    [
        ("sub-C01715", "repetition time 2 s", 150),
        ("sub-C01856", "phase encoding i-", 150),
        ("sub-P00987", "", 75),
        ("sub-P00821", "cut short", 0),
        ("sub-C01710", "", 150),
    ],
)
def test_each_trap_is_seen_and_an_ordinary_person_is_none(benchmark, rehearsal, tmp_path, name, words, volumes):
    cohort = benchmark.Cohort(10, benchmark.SMALL, rehearsal.folder / "server/heads")
    scan = describe_scan(tmp_path, write(cohort, name, tmp_path), SPEC)
    assert words in scan["problem"] and bool(words) == bool(scan["problem"]) and scan["volumes"] == volumes


def test_a_person_is_the_same_every_time_and_the_pool_of_noise_does_not_show(benchmark, rehearsal, tmp_path):
    again = benchmark.Cohort(4, benchmark.SMALL, rehearsal.folder / "server/heads")
    bold = "sub-P00987/func/sub-P00987_task-rest_bold.nii.gz"
    known = [json.loads(line) for line in (rehearsal.folder / "server/known.jsonl").read_text().splitlines()]
    assert benchmark.measured(again, bold) == next(row for row in known if row["path"] == bold)
    write(again, "sub-P00987", tmp_path)
    data = np.asarray(open_bold(tmp_path / bold).dataobj).reshape(-1, 75)
    air = data[data.max(1) < 300]
    correlations = np.corrcoef(air[:300].astype(float))
    assert abs(correlations[np.triu_indices(len(correlations), 1)]).mean() < 1.3 / np.sqrt(75)


def test_a_broken_line_is_taken_up_where_it_ended(benchmark, rehearsal, server, tmp_path, monkeypatch):
    bold = "sub-C01809/func/sub-C01809_task-rest_bold.nii.gz"
    monkeypatch.setattr(sys.modules["rehearsed.server"], "BROKEN", "sub-C01809")
    monkeypatch.setattr(sys.modules["rehearsed.server"], "MOVED", "sub-C01809")
    outcome = fetch_all([Remote(**remote(server, bold))], tmp_path, QUICK)[0]
    counted = sys.modules["rehearsed.server"].sums(sent(rehearsal))
    assert outcome.state == "fetched" and counted["twice"] == 0 and counted["bytes"] == outcome.bytes
    assert counted["requests"] == 3 and counted["absent"] == [bold]


def test_a_client_killed_in_the_middle_asks_for_the_rest_only(benchmark, rehearsal, server, tmp_path):
    bold = "sub-P00987/func/sub-P00987_task-rest_bold.nii.gz"
    (rehearsal.folder / "server/stalled").unlink(missing_ok=True)
    (rehearsal.folder / "server/stall").write_text("sub-P00987")
    wanted = remote(server, bold)
    client = subprocess.Popen([sys.executable, "-c", FETCH, json.dumps(wanted), str(tmp_path)])
    while not (rehearsal.folder / "server/stalled").exists():
        time.sleep(0.05)
    time.sleep(0.3)
    client.send_signal(signal.SIGKILL)
    client.wait()
    part = (tmp_path / f"{bold}.part").stat().st_size
    assert 0 < part < wanted["bytes"]
    outcome = fetch_all([Remote(**wanted)], tmp_path, QUICK)[0]
    starts = [row["start"] for row in map(json.loads, sent(rehearsal).read_text().splitlines()) if row["sent"] is None]
    assert outcome.state == "fetched" and starts == [0, part]
    assert sys.modules["rehearsed.server"].sums(sent(rehearsal))["twice"] == 0


def test_what_goes_out_twice_is_counted(benchmark, tmp_path):
    rows = [(0, 100), (100, 50), (140, 30), (300, 10), (300, 10)]
    lines = [{"path": "a", "start": start, "sent": size, "status": 200} for start, size in rows]
    lines += [
        {"path": "b", "start": 0, "sent": None, "status": 200},
        {"path": "c", "start": 0, "sent": 0, "status": 404},
    ]
    (tmp_path / "log").write_text("\n".join(map(json.dumps, lines)))
    counted = sys.modules["rehearsed.server"].sums(tmp_path / "log")
    assert counted == {"requests": 6, "bytes": 200, "twice": 20, "of": {"a": 20}, "absent": ["c"]}


def test_cost_of_everybody_is_people_over_cores_and_what_all_share(benchmark):
    two, many = (sys.modules["rehearsed.account"].estimate(100, 20, cores, people=10, cohort=600) for cores in (2, 100))
    assert two == {"core_hours": round((10 * 120 + 2 * 600) / 3600, 2), "hours": round((5 * 120 + 600) / 3600, 2)}
    assert many == {"core_hours": two["core_hours"], "hours": round((120 + 600) / 3600, 2)}


@pytest.mark.workflow
def test_the_same_command_goes_on_after_a_kill_in_the_download(benchmark, rehearsal):
    """All processes get SIGKILL; then nobody unlocks anything, and nothing that was there is fetched again."""
    log = rehearsal.folder / "server/sent.jsonl"
    for name in ("sent.jsonl", "stall", "stalled"):
        (rehearsal.folder / "server" / name).unlink(missing_ok=True)
    until = ("--until", "acquire")
    with rehearsal.served(cache=1.0):
        killed, after = rehearsal.run(2, "download", *until), rehearsal.run(2, None, *until)
    said = (rehearsal.folder / "run1.log").read_text()
    assert killed["code"] == -signal.SIGKILL and after["code"] == 0, said
    assert "was killed" in said and not set(killed["done"]) & set(after["begun"])
    assert set(killed["under_way"]) <= set(after["done"])
    parts = {path: size for path, size in killed["left"].items() if path.endswith(".part")}
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert parts and set(parts.values()) <= {row["start"] for row in rows}
    again = sys.modules["rehearsed.server"].sums(log)["of"]  # at most what was between the server and the disk
    assert all(any(part.endswith(f"{path}.part") for part in parts) for path in again)
    table = (rehearsal.project / "results/rehearsal/acquire/participants.tsv").read_text()
    assert "repetition time 2 s" in table and "no resting scan" in table
