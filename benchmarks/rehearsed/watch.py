"""What a run of Snakemake takes while it goes: memory by job, disk in all and by person; and when to kill it."""

import json
import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

PAGE, TICK, MB = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK"), 1 << 20
SCRIPT = re.compile(r"/scripts/tmp\w+\.(\w+)\.py")
STARTED, FINISHED = re.compile(r"^Job (\d+): (.*)"), re.compile(r"^Finished jobid: (\d+) ")
PERSON = re.compile(r"sub-[A-Za-z0-9]+")


class Process(NamedTuple):
    """A process: who started it, its command, memory (bytes) and processor time (s)."""

    parent: int
    command: str
    resident: int
    seconds: float


class Watch(threading.Thread):
    """Look at the processes of a session and at folders, over and over.

    Parameters
    ----------
    session : int
        Id of the session whose processes belong to the run.
    places : sequence of path
        Folders whose files count; of files with a person's id in their path also by person.
    scratch : path
        Temporary files: of them it is also kept how many there were at most.
    seconds : float
        Between two looks.
    current : path
        Where what was seen so far is written after each look, for whoever goes on when this process was killed.
    moment : callable, optional
        Given the rules that are at work, says whether now is the time; then `act` is called.
    act : callable, optional
    """

    def __init__(
        self, session: int, places: list[Path], scratch: Path, seconds: float, current: Path, moment=None, act=None
    ):
        super().__init__(daemon=True)
        self.session, self.places, self.scratch, self.seconds, self.current = session, places, scratch, seconds, current
        self.moment: Callable | None = moment
        self.act: Callable | None = act
        self.memory: dict[str, float] = defaultdict(float)  # MB by rule, of one job at most
        self.times: dict[tuple[str, int], float] = {}  # s by rule and process
        self.people: dict[str, float] = defaultdict(float)  # bytes by person at most
        self.disk, self.temporary, self.all_memory = 0.0, 0.0, 0.0
        self.over = threading.Event()

    def run(self) -> None:
        """Look until `over` is set."""
        while not self.over.wait(self.seconds):
            rules = self._processes()
            self._look_at_files()
            if self.moment is not None and self.moment(rules):
                self.moment = None
                self.act()
            part = self.current.with_suffix(".part")
            part.write_text(json.dumps({"session": self.session, **self.summary()}))
            part.replace(self.current)

    def summary(self) -> dict:
        """What was seen: MB of one job by rule and of all, bytes of disk in all, temporary and by person; s by rule."""
        return {
            "cpu_by_rule": {rule: round(seconds, 1) for rule, seconds in self._seconds().items()},
            "memory_mb": {rule: round(mb) for rule, mb in self.memory.items()},
            "all_memory_mb": round(self.all_memory),
            "disk": self.disk,
            "temporary": self.temporary,
            "people": dict(self.people),
        }

    def _processes(self) -> set[str]:
        """Add up memory and processor time of each job's processes; return the rules that are at work."""
        seen = dict(look_at_processes(self.session))
        resident: dict[tuple[str, int], float] = defaultdict(float)
        for pid, process in seen.items():
            rule, job = self._job(pid, seen)
            resident[rule, job] += process.resident / MB
            self.times[rule, pid] = process.seconds
        self.all_memory = max(self.all_memory, sum(resident.values()))
        for (rule, _), held in resident.items():
            self.memory[rule] = max(self.memory[rule], held)
        return {rule for rule, _ in resident}

    @staticmethod
    def _job(pid: int, seen: dict) -> tuple[str, int]:
        """The rule that a process works for, and the process that is its script; else Snakemake itself."""
        while pid in seen:
            if match := SCRIPT.search(seen[pid].command):
                return match[1], pid
            pid = seen[pid].parent
        return "snakemake", 0

    def _seconds(self) -> dict[str, float]:
        """Processor time, as of the last look at each process."""
        sums: dict[str, float] = defaultdict(float)
        for (rule, _), seconds in self.times.items():
            sums[rule] += seconds
        return dict(sums)

    def _look_at_files(self) -> None:
        files = {}
        for place in self.places:
            files.update(sizes(place))
        scratch = sizes(self.scratch)
        self.temporary = max(self.temporary, sum(scratch.values()))
        self.disk = max(self.disk, sum(files.values()) + sum(scratch.values()))
        people: dict[str, int] = defaultdict(int)
        for path, size in files.items():
            if match := PERSON.search(path.as_posix()):
                people[match[0]] += size
        for name, size in people.items():
            self.people[name] = max(self.people[name], size)


def look_at_processes(session: int) -> Iterator[tuple[int, Process]]:
    """Yield the processes of a session by their ids."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            fields = Path(entry, "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) != session or fields[0] == "Z":
                continue
            command = Path(entry, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            resident = int(Path(entry, "statm").read_text().split()[1]) * PAGE
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
        yield int(entry.name), Process(int(fields[1]), command, resident, sum(map(int, fields[11:13])) / TICK)


def sizes(folder: Path) -> dict[Path, int]:
    """Bytes on the disk of every file below a folder."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                found[Path(where, name)] = os.lstat(os.path.join(where, name)).st_blocks * 512
            except FileNotFoundError:
                continue  # gone meanwhile
    return found


def jobs(log: Path) -> tuple[list[str], list[str]]:
    """What was begun and what was finished, in the words of the log."""
    names, begun, done = {}, [], []
    for line in log.read_text().splitlines():
        if match := STARTED.match(line):
            names[match[1]] = match[2]
            begun.append(match[2])
        elif (match := FINISHED.match(line)) and match[1] in names:
            done.append(names[match[1]])
    return begun, done


def now() -> str:
    """The time, for lines of a log."""
    return time.strftime("%H:%M:%S")
