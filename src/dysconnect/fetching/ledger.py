"""The ledger of a data folder: what was verified, when, and where it came from.

``downloads.tsv`` lies in the data folder, one line a verified file; the last line of a path counts. It serves
two ends: a file whose size and time still fit its line is not hashed again, and a file without published
checksum must forever be what it was when it was first seen.
"""

import fcntl
import os
import threading
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from dysconnect.fetching.remote import LEDGER, Remote

TOGETHER = 64  # lines


@dataclass(frozen=True)
class Record:
    """One line: `bytes`, `mtime_ns` of the file, its `sha256`, the published `hash` it fulfilled, `source`, `date`."""

    path: str
    bytes: int
    mtime_ns: int
    sha256: str
    hash: str
    source: str
    date: str

    def line(self) -> str:
        """Text of the record."""
        cells = (self.path, self.bytes, self.mtime_ns, self.sha256, self.hash, self.source, self.date)
        return "\t".join(map(str, cells)) + "\n"

    def describes(self, status: os.stat_result) -> bool:
        """Whether the file has been left alone since it was verified."""
        return (self.bytes, self.mtime_ns) == (status.st_size, status.st_mtime_ns)

    def fulfils(self, remote: Remote) -> bool:
        """Whether what was verified is what is wanted now."""
        known = {"", f"sha256:{self.sha256}", self.hash}
        return remote.hash in known and remote.bytes in (None, self.bytes)


HEADER = "\t".join(field.name for field in fields(Record)) + "\n"


class Ledger:
    """Records of a data folder, shared by threads and processes: lines are only ever added.

    Lines are written together under a lock of the file, so that neither a kill nor a second process can mix two of
    them; a line that a full disk tore is not read and is closed by the next one. A kill loses at most `TOGETHER`
    lines of files with a published checksum, which are then hashed once more.
    """

    def __init__(self, folder: Path):
        self.path = folder / LEDGER
        self._records: dict[str, Record] = {}
        self._waiting: list[Record] = []
        self._read = 0
        self._lock = threading.Lock()

    def get(self, path: str) -> Record | None:
        """Latest record of a path, also if another process wrote it just now."""
        with self._lock:
            self._catch_up()
            return self._records.get(path)

    def _catch_up(self) -> None:
        try:
            size = os.stat(self.path).st_size
        except FileNotFoundError:
            size = 0
        if size < self._read:  # somebody deleted a line to make a changed file welcome
            self._records, self._read = {record.path: record for record in self._waiting}, 0
        if size == self._read:
            return
        with open(self.path, "rb") as file:
            file.seek(self._read)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        for line in whole.decode("utf-8", "replace").splitlines():
            record = _parse(line)
            if record is not None:
                self._records[record.path] = record

    def add(self, record: Record, durable: bool) -> None:
        """Append a record; `durable`: on the disk before this returns, as a first sight cannot be repeated."""
        with self._lock:
            self._records[record.path] = record
            self._waiting.append(record)
            if durable or len(self._waiting) >= TOGETHER:
                self._write(durable)

    def close(self) -> None:
        """Write what is waiting."""
        with self._lock:
            if self._waiting:
                self._write(durable=True)

    def _write(self, durable: bool) -> None:
        lines = "".join(record.line() for record in self._waiting).encode()
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            _append(file, lines)
            if durable:
                os.fsync(file)
        finally:
            os.close(file)
        self._waiting.clear()


def _append(file: int, lines: bytes) -> None:
    size = os.fstat(file).st_size
    if size == 0:
        lines = HEADER.encode() + lines
    elif os.pread(file, 1, size - 1) != b"\n":
        lines = b"\n" + lines
    while lines:
        lines = lines[os.write(file, lines) :]


def _parse(line: str) -> Record | None:
    cells = line.split("\t")
    if len(cells) != len(fields(Record)) or not (cells[1].isdigit() and cells[2].isdigit()):
        return None
    return Record(cells[0], int(cells[1]), int(cells[2]), *cells[3:])


def today() -> str:
    """Date of a record."""
    return datetime.now(UTC).strftime("%Y-%m-%d")
