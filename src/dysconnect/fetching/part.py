"""NAME.part: a file on its way, locked, hashed while it grows, renamed when it is what was expected."""

import errno
import fcntl
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

BLOCK = 1 << 18  # of 64 kB to 4 MB the fastest: larger ones cost page faults, smaller ones calls
LARGE = 8 << 20  # from here on hashing in a second thread pays
TOGETHER = 2 * BLOCK  # bytes that are hashed in one task, which costs about 60 us; more cost page faults
FLUSH = 64 << 20  # bytes between two calls that bring what is there to the disk, while more is coming
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Stopped(Exception):
    """The whole download is being stopped."""


@dataclass(frozen=True)
class Expected:
    """What a file must be; `hash` is empty where nothing is known, and `memory` says where a hash came from."""

    bytes: int | None
    hash: str
    memory: str = ""


class Digest:
    """Hash of what has been appended so far: always sha256, and md5 where that is what was published.

    With `thread` the work is done there, a few blocks behind; never two tasks at once.
    """

    def __init__(self, kind: str, thread: ThreadPoolExecutor | None = None):
        self._hashes = {name: hashlib.new(name) for name in {"sha256", kind} & {"sha256", "md5"}}
        self._thread = thread
        self._last: Future | None = None
        self._gathered: list[bytes] = []
        self._size = 0

    def update(self, block: bytes) -> None:
        """Take the next bytes."""
        self._gathered.append(block)
        self._size += len(block)
        if self._thread is None:
            self._hash(self._take())
        elif self._size >= TOGETHER:
            self._wait()
            self._last = self._thread.submit(self._hash, self._take())

    def _take(self) -> list[bytes]:
        gathered, self._gathered, self._size = self._gathered, [], 0
        return gathered

    def _hash(self, blocks: list[bytes]) -> None:
        for one in self._hashes.values():
            for block in blocks:
                one.update(block)

    def _wait(self) -> None:
        if self._last is not None:
            self._last.result()

    def hex(self, kind: str) -> str:
        """Hexadecimal digits."""
        self._wait()
        self._hash(self._take())
        return self._hashes[kind].hexdigest()


def file_blocks(file: int, stop: threading.Event) -> Iterator[bytes]:
    """Read an open file from its start."""
    os.lseek(file, 0, os.SEEK_SET)
    while block := os.read(file, BLOCK):
        if stop.is_set():
            raise Stopped
        yield block


def git_hash(file: int, size: int, stop: threading.Event) -> str:
    """Id of the git blob with a file's content: SHA-1 of ``blob SIZE``, a zero byte and the content."""
    one = hashlib.sha1(b"blob %d\0" % size)
    for block in file_blocks(file, stop):
        one.update(block)
    return one.hexdigest()


def compare(file: int, size: int, digest: Digest, expected: Expected, stop: threading.Event) -> str:
    """Say what is wrong with a file; empty if nothing is."""
    if expected.bytes not in (None, size):
        return f"{size} bytes instead of {expected.bytes}"
    kind, _, wanted = expected.hash.partition(":")
    if not kind:
        return ""
    computed = git_hash(file, size, stop) if kind == "git" else digest.hex(kind)
    return "" if computed == wanted else f"{kind} {computed} instead of {wanted}{expected.memory}"


class Part:
    """An open and locked NAME.part; use as a context.

    Parameters
    ----------
    target : str
        Final name; the part lies beside it.
    expected : Expected
    stop : threading.Event
        Ends waiting and reading.
    grew : callable
        Told about every change of size in bytes, and whether these were bytes that came just now.
    """

    def __init__(self, target: str, expected: Expected, stop: threading.Event, grew: Callable[[int, bool], None]):
        self.target, self.expected = target, expected
        self.path = f"{target}.part"
        self.size = 0
        self._stop, self._grew = stop, grew
        self._thread: ThreadPoolExecutor | None = None
        self._flushed, self._flush = 0, None

    def __enter__(self) -> "Part":
        if self.expected.bytes is None or self.expected.bytes >= LARGE:
            self._thread = ThreadPoolExecutor(2)  # one hashes, one flushes
        self._file = self._open()
        self._digest = self._new_digest()
        return self

    def _new_digest(self) -> Digest:
        return Digest(self.expected.hash.partition(":")[0], self._thread)

    def _open(self) -> int:
        """Open and lock; whoever waited for a part that was renamed meanwhile opens the next one."""
        for _ in range(100):
            file = self._create()
            try:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise OSError(errno.EINVAL, "is no plain file; remove it", self.path)
                self._lock(file)
                if _is_same(file, self.path):
                    return file
            except BaseException:
                os.close(file)
                raise
            os.close(file)
        raise OSError(errno.EBUSY, "is taken away again and again; does another program delete it?", self.path)

    def _create(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self.path, flags, 0o666)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            return os.open(self.path, flags, 0o666)

    def _lock(self, file: int) -> None:
        while True:
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._stop.wait(0.1):
                    raise Stopped from None
            except OSError as problem:
                if problem.errno not in NO_LOCKS:
                    raise
                print(f"{self.path}: this file system has no locks; do not start the same download twice.", flush=True)
                return None

    def take_over(self) -> bool:
        """Hash what an earlier run left, or throw it away; True if it is the whole file already."""
        size = os.fstat(self._file).st_size
        wanted = size if self.expected.bytes is None else self.expected.bytes
        if not self.expected.hash or size > wanted:
            os.ftruncate(self._file, 0)
            return False
        for block in file_blocks(self._file, self._stop):
            self._digest.update(block)
            self.size += len(block)
        self._grew(self.size, False)
        if self.size == 0 or self.size < wanted:
            return False
        whole = not self.problem()
        if self.expected.bytes == self.size and not whole:
            self.start_over()
        return whole

    def append(self, block: bytes) -> None:
        """Write and hash the next bytes."""
        self._digest.update(block)
        rest = memoryview(block)
        while rest:
            written = os.write(self._file, rest)
            self.size += written
            self._grew(written, True)
            rest = rest[written:]
        if self._thread is not None and self.size - self._flushed >= FLUSH:
            self._wait_for_flush()
            self._flushed, self._flush = self.size, self._thread.submit(os.fdatasync, self._file)

    def _wait_for_flush(self) -> None:
        """Raise what the disk said: the system tells an error of writing only once."""
        if self._flush is not None:
            flush, self._flush = self._flush, None
            flush.result()

    def start_over(self) -> None:
        """Throw away what is there, in place."""
        self._wait_for_flush()
        self._grew(-self.size, False)
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self.size, self._flushed, self._digest = 0, 0, self._new_digest()

    def problem(self) -> str:
        """Say why this is not the expected file; empty if it is."""
        return compare(self._file, self.size, self._digest, self.expected, self._stop)

    def seal(self) -> tuple[str, int]:
        """Bring the bytes to the disk; return sha256 and modification time in ns."""
        self._wait_for_flush()
        os.fsync(self._file)
        return self._digest.hex("sha256"), os.fstat(self._file).st_mtime_ns

    def rename(self) -> None:
        """Give the file its final name."""
        os.rename(self.path, self.target)

    def __exit__(self, *problem) -> None:
        """Keep only what can be resumed."""
        if self._thread is not None:
            self._thread.shutdown()
        try:
            useless = not self.expected.hash or os.fstat(self._file).st_size == 0
            if useless and _is_same(self._file, self.path):
                os.unlink(self.path)
        finally:
            os.close(self._file)


def _is_same(file: int, path: str) -> bool:
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(file), there)
