"""What the runs of a rehearsal come to: time, memory, disk, bytes, what was done twice, and what 91 people cost."""

import json
import math
import time
from pathlib import Path

from try_kill import difference, runs  # of tests/

from rehearsed.server import sums
from rehearsed.watch import SCRIPT, jobs, look_at_processes

EVERYBODY = 91  # of ds006395
SHARED = 385.0  # s of what all people share: the default run, of 104 simulated people, on two cores
TRANSFER = {"receipts", "downloads.tsv"}  # days, and whether a file was fetched or there
RULES = ("preprocess", "download", "discard")  # of a person
PREPROCESSING = "Averaging BOLD of "
ENGINE, TIMES = "_desc-engine.json", ("seconds", "peak_memory_mb")


def account(folder: Path) -> dict:
    """Add up all runs of a rehearsal's folder, and what is seen of one that is at work."""
    lines = (folder / "runs.jsonl").read_text().splitlines()
    every = [{"cpu_by_rule": {}} | json.loads(line) for line in lines]
    if (folder / "current").exists():
        every.append(_at_work(folder, len(every)))
    work = [run for run in every if not run["arguments"]]
    looked = [run for run in every if run["cpu_by_rule"]]  # one may have ended before the first look
    seconds = {rule: 0.0 for run in work for rule in sorted(run["cpu_by_rule"])}
    for run in work:
        seconds |= {rule: seconds[rule] + spent for rule, spent in run["cpu_by_rule"].items()}
    sent = folder / "server/sent.jsonl"
    return {
        "finished": any(run["code"] == 0 for run in work),
        "runs": len(work),
        "wall_minutes": round(sum(run["seconds"] for run in work) / 60, 1),
        "core_minutes": round(sum(run["cpu"] for run in work) / 60, 1),
        "core_seconds_by_rule": {rule: round(spent, 1) for rule, spent in seconds.items()},
        **_of_a_person(folder, work),
        "server_core_minutes": round(_server_seconds(sent) / 60, 1),
        "disk_gb": round(max(run["disk"] for run in looked) / 1e9, 2),
        "disk_gb_of_a_person": round(max(max(run["people"].values(), default=0) for run in looked) / 1e9, 2),
        "temporary_gb": round(max(run["temporary"] for run in looked) / 1e9, 3),
        "memory_mb": {rule: max(run["memory_mb"].get(rule, 0) for run in looked) for rule in seconds},
        "memory_mb_in_all": max(run["all_memory_mb"] for run in looked),
        "sent": sums(sent),
        "kills": [_killed(run, work, sent) for run in work if run["code"] < 0],
        "nothing_left_to_do": _last_words(folder, every),
    }


def _at_work(folder: Path, number: int) -> dict:
    """What is seen so far of a run that has not ended; jobs that are under way do not count."""
    seen = json.loads((folder / "current").read_text())
    live = dict(look_at_processes(seen["session"]))
    for process in live.values():
        if match := SCRIPT.search(process.command):
            seen["cpu_by_rule"][match[1]] -= process.seconds
    begun, done = jobs(folder / f"run{number}.log")
    seconds = time.time() - float((folder / "began").read_text())
    told = {"run": number, "arguments": [], "kill": None, "code": 1, "begun": begun, "done": done, "under_way": []}
    return told | {"cpu": sum(seen["cpu_by_rule"].values()), "seconds": seconds} | seen


def _of_a_person(folder: Path, work: list[dict]) -> dict:
    """Core-seconds of a person, of runs that were not stopped in the middle of one; whoever is refused costs little."""
    whole = [run for run in work if not any(name.startswith(PREPROCESSING) for name in run["under_way"])]
    done = [name for run in whole for name in run["done"]]
    engines = folder / "project/results/rehearsal/preprocess/bold"
    people = [name.removeprefix(PREPROCESSING).split()[0] for name in done if name.startswith(PREPROCESSING)]
    people = [name for name in people if (engines / f"{name}{ENGINE}").exists()]
    fetched = sum(name.startswith("Fetching sub-") for name in done)
    spent = {
        rule: sum(run["cpu_by_rule"].get(rule, 0) for run in whole) for rule in ("preprocess", "download", "discard")
    }
    if not people or not fetched:
        return {"preprocessed": len(people)}
    person, around = spent["preprocess"] / len(people), (spent["download"] + spent["discard"]) / fetched
    costs = {f"{cores} cores": estimate(person, around, cores) for cores in (2, 16, 100)}
    told = {"preprocessed": len(people), "person_s": round(person, 1), "around_s": round(around, 1)}
    return told | {"everybody": costs}


def _server_seconds(sent: Path) -> float:
    """Processor time of all server processes, one after the other: each begins at nothing."""
    total = last = 0.0
    for row in map(json.loads, sent.read_text().splitlines()):
        total += row["cpu"] if row["cpu"] < last else row["cpu"] - last
        last = row["cpu"]
    return total


def _killed(run: dict, work: list[dict], sent: Path) -> dict:
    """What was under way, what of the finished was done again, and from where parts of files were asked for."""
    later = [name for other in work if other["run"] > run["run"] for name in other["begun"]]
    again = 0
    for name, size in run["left"].items():
        if name.endswith(".part"):
            again += max(0, size - _asked_from(sent, Path(name).name.removesuffix(".part"), size))
    return {
        "moment": run["kill"],
        "finished_before": len(run["done"]),
        "under_way": run["under_way"],
        "finished_and_done_again": sorted(set(run["done"]) & set(later)),
        "bytes_on_disk_asked_again": again,
        "left_mb": round(sum(size for name, size in run["left"].items() if name.startswith("tmp/")) / 1e6, 1),
    }


def _asked_from(sent: Path, name: str, size: int) -> int:
    """Where the next request began for a file of which `size` bytes were there; `size` where none came."""
    rows = map(json.loads, sent.read_text().splitlines())
    starts = [row["start"] for row in rows if row["path"].endswith(name) and row["sent"] is None]
    return starts[1] if len(starts) > 1 else size


def _last_words(folder: Path, every: list[dict]) -> bool:
    dry = [run["run"] for run in every if "--dry-run" in run["arguments"]]
    return bool(dry) and "Nothing to be done" in (folder / f"run{dry[-1]}.log").read_text()


def estimate(person: float, around: float, cores: int, people: int = EVERYBODY, cohort: float = SHARED) -> dict:
    """What many people cost; without the time of the network.

    Parameters
    ----------
    person, around : float
        Core-seconds of preprocessing a person, and of what else is done for one (fetching, hashing, deleting).
    cores, people : int
    cohort : float
        Seconds of the stages that everybody shares, which hardly go faster with more than two cores.

    Returns
    -------
    dict
        `core_hours`, and `hours` = (ceil(people / cores) (person + around) + cohort) / 3600.
    """
    rounds = math.ceil(people / cores)
    return {
        "core_hours": round((people * (person + around) + 2 * cohort) / 3600, 2),
        "hours": round((rounds * (person + around) + cohort) / 3600, 2),
    }


def differences(one: Path, other: Path) -> list[str]:
    """Files of two rehearsals' results that differ, and runs and models of MLflow; times do not count."""
    places = [folder / "project/results" for folder in (one, other)]
    files = [name for name in difference(*places) if not TRANSFER & set(Path(name.partition(":")[0]).parts)]
    files = [name for name in files if not (name.endswith(ENGINE) and len({_measures(p / name) for p in places}) == 1)]
    held = [runs(place / "mlflow.db") for place in places]
    return files + [f"mlflow.db: {held[0]}, {held[1]}"] * (held[0] != held[1])


def _measures(engine: Path) -> str:
    """What the engine says of a person, without how long it took."""
    return json.dumps({key: value for key, value in json.loads(engine.read_text()).items() if key not in TIMES})
