"""One file: is it there, which source has it, and how often to ask."""

import errno
import os
import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import urllib3

from dysconnect.fetching.client import Again, Client, Useless, blocks, refuse
from dysconnect.fetching.ledger import Ledger, Record, today
from dysconnect.fetching.part import Digest, Expected, Part, Stopped, compare, file_blocks
from dysconnect.fetching.remote import Outcome, Remote, Transport, redact, sources
from dysconnect.progress import Meter

LONGEST_BACKOFF = 60  # seconds
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LASTING = (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)


class _Mismatch(Exception):
    """What came is not the file."""


class _Unfit(Exception):
    """What came is the file, and the caller's check refuses it."""


@dataclass(frozen=True)
class Job:
    """What all files of one download share."""

    folder: Path
    transport: Transport
    check: Callable[[Path], None] | None
    ledger: Ledger
    meter: Meter
    stop: threading.Event


def expectation(remote: Remote, record: Record | None) -> Expected:
    """What a file must be: what is published, else what was seen first."""
    if remote.hash or record is None:
        return Expected(remote.bytes, remote.hash)
    return Expected(
        record.bytes if remote.bytes is None else remote.bytes,
        f"sha256:{record.sha256}",
        f", which is what was first seen on {record.date} at {record.source}. No checksum is published, so the file "
        f"may have been changed on purpose: to accept the new one, delete the line of {remote.path} from downloads.tsv",
    )


def pause(stop: threading.Event, seconds: float) -> None:
    """Wait before the next attempt."""
    if stop.wait(seconds):
        raise Stopped


class Fetch:
    """One file of a job on its way."""

    def __init__(self, job: Job, client: Client, remote: Remote):
        self.job, self.client, self.remote = job, client, remote
        self.target = f"{job.folder}/{remote.path}"

    def run(self) -> Outcome:
        """Bring the file, or say why not."""
        try:
            return self._run()
        except OSError as problem:
            if problem.errno in FULL:
                raise
            return self._failed(str(problem), isinstance(problem, LASTING))

    def _run(self) -> Outcome:
        look, record = look_at(self.target), self.job.ledger.get(self.remote.path)
        there = self._there(look, record)
        if there is not None:
            return self._outcome("there", there)
        expected = expectation(self.remote, record)
        with Part(self.target, expected, self.job.stop, self.job.meter.add) as self.part:
            now = look_at(self.target)
            if _changed(look, now):  # another process was faster
                there = self._there(now, self.job.ledger.get(self.remote.path))
            return self._complete() if there is None else self._outcome("there", there)

    def _there(self, look: os.stat_result | None, record: Record | None) -> Record | None:
        """Record of the finished file; hashes it only if nobody has since it last changed."""
        if look is None or self.remote.bytes not in (None, look.st_size):
            return None
        if record is not None and record.describes(look) and record.fulfils(self.remote):
            return record
        expected = expectation(self.remote, record)
        if not expected.hash:
            return None
        sha256 = self._verify_finished(expected)
        return None if sha256 is None else self._record(sha256, look.st_mtime_ns, look.st_size, "found here")

    def _verify_finished(self, expected: Expected) -> str | None:
        digest, size = Digest(expected.hash.partition(":")[0]), 0
        file = os.open(self.target, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for block in file_blocks(file, self.job.stop):
                digest.update(block)
                size += len(block)
            return None if compare(file, size, digest, expected, self.job.stop) else digest.hex("sha256")
        finally:
            os.close(file)

    def _record(self, sha256: str, mtime_ns: int, size: int, source: str) -> Record:
        shown = re.sub(r"\s", " ", redact(source))
        record = Record(self.remote.path, size, mtime_ns, sha256, self.remote.hash, shown, today())
        self.job.ledger.add(record, durable=not self.remote.hash)
        return record

    def _complete(self) -> Outcome:
        problems, permanent = [], True
        try:
            url = "an earlier, interrupted download"
            if self.part.take_over():
                self._inspect()
                return self._accept(url)
            for url in sources(self.remote, self.job.transport.mirror):
                try:
                    self._from_source(url)
                    return self._accept(url)
                except Useless as problem:
                    problems.append(f"{redact(url)}: {problem}")
                    permanent &= problem.permanent
        except _Unfit as problem:
            problems.append(f"{redact(url)}: {problem}")
            permanent = True
        return self._failed("; ".join(problems), permanent)

    def _accept(self, source: str) -> Outcome:
        sha256, mtime_ns = self.part.seal()
        record = self._record(sha256, mtime_ns, self.part.size, source)
        self.part.rename()
        return self._outcome("fetched", record)

    def _from_source(self, url: str) -> None:
        """Ask one source until the part is complete and right, or the source has proved useless."""
        part, transport = self.part, self.job.transport
        enough = 1 << 20 if part.expected.bytes is None else max(1, min(1 << 20, part.expected.bytes // 100))
        tries, farthest, fresh = 0, part.size, False
        while True:
            try:
                self._stream(url)
                return self._inspect()
            except _Mismatch as problem:
                part.start_over()
                if fresh:
                    raise Useless(str(problem), permanent=True) from None
                fresh = True
            except Again as problem:
                tries = 0 if part.size - farthest >= enough else tries + 1
                farthest = max(farthest, part.size)
                if tries >= transport.attempts:
                    raise Useless(f"{problem} ({tries} attempts)", permanent=False) from None
                longest = min(LONGEST_BACKOFF, transport.backoff * 2 ** max(tries - 1, 0))
                pause(self.job.stop, max(problem.wait, random.uniform(0, longest)))

    def _stream(self, url: str) -> None:
        """One attempt: append what the source sends from where the part ends."""
        part = self.part
        if part.size and not part.expected.hash:
            part.start_over()  # a splice of two versions could not be noticed
        if part.size and part.size == part.expected.bytes:
            return  # the last byte had come before the connection broke
        response = self._open(url)
        if response is None:
            return
        try:
            decode = self._is_encoded(response)
            for block in blocks(response, decode, self.job.transport.timeout, self.job.stop):
                part.append(block)
                if part.expected.bytes is not None and part.size > part.expected.bytes:
                    raise _Mismatch(f"more than {part.expected.bytes} bytes")
        finally:
            response.close()
        if part.expected.bytes is not None and part.size < part.expected.bytes:
            raise Again(f"ended after {part.size} of {part.expected.bytes} bytes")

    def _open(self, url: str) -> urllib3.HTTPResponse | None:
        """Open a response that continues the part, or else begins the file anew; None if the part is whole."""
        part = self.part
        response = self.client.open(url, part.size)
        if part.size and response.status == 416 and not part.problem():
            response.close()
            return None
        if part.size and (response.status == 416 or (response.status == 206 and not self._continues(response))):
            response.close()
            part.start_over()
            response = self.client.open(url, 0)
        if response.status == 200:
            if part.size:
                part.start_over()
        elif response.status != 206:
            refuse(response)
        elif not part.size:
            response.close()
            raise Again("206 Partial Content, though no part was asked for")
        return response

    def _continues(self, response: urllib3.HTTPResponse) -> bool:
        """Whether a partial response is the rest of the very object, in plain bytes."""
        start, total = _content_range(response)
        wanted = self.part.expected.bytes
        plain = "Content-Encoding" not in response.headers or total == wanted
        return start == self.part.size and (total is None or wanted in (None, total)) and plain

    def _is_encoded(self, response: urllib3.HTTPResponse) -> bool:
        """Whether the body is compressed for the way; refuse one that cannot be the file, before it is read."""
        length, wanted = response.length_remaining, self.part.expected.bytes
        encoded = response.headers.get("Content-Encoding", "identity") != "identity"
        if length is None and not response.chunked and not self.part.expected.hash:
            raise Useless("neither a length nor a checksum: nobody could say whether it is whole", permanent=False)
        if length is None or wanted is None:
            return encoded
        announced = self.part.size + length
        if announced != wanted and not encoded:
            raise _Mismatch(f"{announced} bytes announced instead of {wanted}")
        return announced != wanted

    def _inspect(self) -> None:
        problem = self.part.problem()
        if problem:
            raise _Mismatch(problem)
        if self.job.check is None:
            return
        try:
            self.job.check(Path(self.part.path))
        except ValueError as problem:
            self.part.start_over()
            if self.part.expected.hash:  # every other source has the same bytes
                raise _Unfit(f"not what it should be: {problem}") from None
            raise Useless(f"not what it should be: {problem}", permanent=True) from None

    def _outcome(self, state: str, record: Record) -> Outcome:
        source = record.source if state == "fetched" else ""
        if state == "there":
            self.job.meter.add(record.bytes, fresh=False)
        return Outcome(self.remote.path, state, record.bytes, record.sha256, source)

    def _failed(self, problem: str, permanent: bool) -> Outcome:
        return Outcome(self.remote.path, "failed", 0, "", "", redact(problem), permanent)


def look_at(path: str) -> os.stat_result | None:
    """Status of a file; None if there is none."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _changed(before: os.stat_result | None, now: os.stat_result | None) -> bool:
    """Whether another process put a file there."""
    if before is None or now is None:
        return before is not now
    return (before.st_ino, before.st_mtime_ns) != (now.st_ino, now.st_mtime_ns)


def _content_range(response: urllib3.HTTPResponse) -> tuple[int, int | None]:
    """First byte and total size of ``bytes START-END/TOTAL``; (-1, None) if that is not what it says."""
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if match is None:
        return -1, None
    return int(match[1]), None if match[3] == "*" else int(match[3])
