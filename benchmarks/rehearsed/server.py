"""A server on loopback that makes its files when they are asked for, and counts every byte by file and range.

What was made is kept up to a limit, oldest first to go. One file's connection breaks in the middle once, one person's
first address has nothing, and one file stalls half way for whoever wants to be killed there.
"""

import json
import re
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rehearsed.people import TRAPS, Cohort

BLOCK = 1 << 18
BROKEN, MOVED = TRAPS[-1], TRAPS[-2]  # whose connection breaks; whose versioned address has nothing


class Server(ThreadingHTTPServer):
    """Files of a cohort; `folder` gets what was made, and the log of what was sent."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address) -> None:
        """Say nothing of clients that are gone: they are killed on purpose."""

    def __init__(self, cohort: Cohort, folder: Path, port: int, cache: float):
        super().__init__(("127.0.0.1", port), Handler)
        self.cohort, self.folder, self.cache = cohort, folder, cache * 1e9
        self.known = {row["path"]: row for row in map(json.loads, (folder / "known.jsonl").read_text().splitlines())}
        self.lock, self.maker = threading.Lock(), threading.Lock()
        (folder / "cache").mkdir(exist_ok=True)

    def note(self, **row) -> None:
        """Write down a request when it is over, with the processor time of this process so far."""
        with self.lock, open(self.folder / "sent.jsonl", "a") as log:
            log.write(json.dumps(row | {"at": time.time(), "cpu": time.process_time()}) + "\n")

    def file(self, path: str) -> Path:
        """A file of the cohort, made unless it is there."""
        place = self.folder / "cache" / path.replace("/", "%")
        with self.maker:  # heads are shared: one at a time
            if not place.exists():
                write_blocks(place, self.cohort.content(path))
                made, measured = place.stat().st_size, self.known[path]["bytes"]
                if made != measured:
                    place.unlink()
                    raise RuntimeError(f"{path}: made with {made} bytes, and measured with {measured}")
            place.touch()
            self._forget(place)
        return place

    def _forget(self, keep: Path) -> None:
        files = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in keep.parent.glob("*[!t]"))
        held = sum(size for _, size, _ in files)
        for _, size, path in files:
            if held > self.cache and path != keep and path.stat().st_size > BLOCK:
                path.unlink(missing_ok=True)  # whoever reads it has it open
                held -= size


def write_blocks(place: Path, blocks: Iterable[bytes]) -> None:
    """Write a file whole or not at all."""
    part = place.with_name(f"{place.name}.part")
    with open(part, "wb") as file:
        for block in blocks:
            file.write(block)
    part.rename(place)


class Handler(BaseHTTPRequestHandler):
    """Answer GET, whole or from a byte on."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Send a file, and write down how much of it went out."""
        parts = urlsplit(self.path)
        path, versioned = unquote(parts.path).lstrip("/"), bool(parts.query)
        known = self.server.known.get(path)
        if known is None or (versioned and path.startswith(MOVED)):
            self.server.note(path=path, start=0, sent=0, status=404)
            self.send_error(404)
            return
        start = int(match[1]) if (match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
        self._send(path, start, known["bytes"])

    def _send(self, path: str, start: int, size: int) -> None:
        status, sent = (206 if start else 200), 0
        self.server.note(path=path, start=start, sent=None, status=status)
        with open(self.server.file(path), "rb") as file:
            self.send_response(status)
            self.send_header("Content-Length", str(size - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.end_headers()
            file.seek(start)
            try:
                while block := file.read(BLOCK):
                    if self._interrupted(path, start, start + sent, size):
                        break
                    self.wfile.write(block)
                    sent += len(block)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            self.server.note(path=path, start=start, sent=sent, status=status)

    def _interrupted(self, path: str, start: int, at: int, size: int) -> bool:
        """Break the line, or keep still until the other side is gone, where that was planned."""
        image, half = path.endswith("bold.nii.gz"), at >= size / 2
        if image and half and path.startswith(BROKEN) and not start:
            self.close_connection = True
            return True
        stall, stalled = self.server.folder / "stall", self.server.folder / "stalled"
        if image and half and stall.exists() and path.startswith(stall.read_text()):
            stall.unlink()
            stalled.write_text(path)
            self.connection.settimeout(300)
            self.connection.recv(1)  # nothing comes until the connection is closed
            raise ConnectionResetError
        return False

    def log_message(self, *args) -> None:
        """Say nothing."""


def sums(log: Path) -> dict:
    """Bytes sent, and those sent more than once, from the log of a server.

    Returns
    -------
    dict
        `requests`, `bytes`, `twice` (bytes of a file that went out again), `of` (those, by file) and `absent` (files
        that were asked for and are none).
    """
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    ranges: dict[str, list[tuple[int, int]]] = {}
    for row in rows:
        if row["sent"]:
            ranges.setdefault(row["path"], []).append((row["start"], row["start"] + row["sent"]))
    of = {path: sum(b - a for a, b in own) - _union(own) for path, own in ranges.items()}
    return {
        "requests": sum(row["sent"] is not None for row in rows),
        "bytes": sum(row["sent"] or 0 for row in rows),
        "twice": sum(of.values()),
        "of": {path: count for path, count in of.items() if count},
        "absent": sorted({row["path"] for row in rows if row["status"] == 404}),
    }


def _union(ranges: list[tuple[int, int]]) -> int:
    total, end = 0, 0
    for first, last in sorted(ranges):
        total += max(0, last - max(first, end))
        end = max(end, last)
    return total
