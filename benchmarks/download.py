"""Downloads side by side, from one loopback server, every byte hashed: ours against curl and against openneuro-py.

python benchmarks/download.py [--repeats 3] [--openneuro /path/to/python]
Writes benchmarks/results/download.json; a ratio above 1 means that ours is faster. `--openneuro` names the Python of an
environment with openneuro-py (it wants other versions than ours); a peer that is not installed is skipped.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

OUT = Path(__file__).parent / "results"
LARGE, SMALL, MANY = 500_000_000, 100_000, 1000

# openneuro-py's own download function with its own settings (5 downloads and 50 HEAD requests at a time); only the
# address of the catalogue is changed. The server's ETag is the md5, so it verifies what it fetched.
OPENNEURO = """
import os, sys, time
from pathlib import Path
from openneuro import _download, download
_download.gql_url = sys.argv[1] + "/graphql"
start = time.perf_counter()
download(dataset="ds000001", target_dir=sys.argv[2], verify_hash=True)
print("seconds", time.perf_counter() - start)
for path in Path(sys.argv[2]).rglob("*.bin"):
    with open(path, "rb+") as file:
        os.fsync(file)
print("synced", time.perf_counter() - start)
"""


def serve(folder: Path) -> None:
    """Serve a folder and its catalogue on loopback with sendfile; ETags are md5, POST is answered like GET."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    port = listener.getsockname()[1]
    write_catalogue(folder, f"http://127.0.0.1:{port}")
    files = {}
    for path in folder.iterdir():
        etag = hashlib.md5(path.read_bytes()).hexdigest()
        files[f"/{path.name}"] = os.open(path, os.O_RDONLY), path.stat().st_size, etag
    print(port, flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_answer, args=(connection, files), daemon=True).start()


def _answer(connection: socket.socket, files: dict[str, tuple[int, int, str]]) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, contextlib.suppress(ConnectionError), connection.makefile("rb") as lines:
        while first := lines.readline().decode():
            method, path, _ = first.split()
            headers = iter(lambda: lines.readline().decode().strip().lower(), "")
            lengths = [int(line.split(":")[1]) for line in headers if line.startswith("content-length")]
            lines.read(sum(lengths))
            file, size, etag = files[path]
            head = f'HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nETag: "{etag}"\r\n\r\n'.encode()
            connection.sendall(head, 0 if method == "HEAD" else socket.MSG_MORE)
            sent = size if method == "HEAD" else 0
            while sent < size:
                sent += os.sendfile(connection.fileno(), file, sent, size - sent)


def make_files(folder: Path, number: int, size: int) -> dict[str, str]:
    """Write random files; return their sha256."""
    folder.mkdir()
    digests = {}
    for k in range(number):
        content = os.urandom(size)
        (folder / f"file{k:04d}.bin").write_bytes(content)
        digests[f"file{k:04d}.bin"] = hashlib.sha256(content).hexdigest()
    return digests


def write_catalogue(folder: Path, address: str) -> None:
    """Answer of OpenNeuro's GraphQL to the query for the latest snapshot."""
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    files = [{"filename": n, "urls": [f"{address}/{n}"], "size": size, "id": n} for n, size in sizes.items()]
    answer = {"data": {"dataset": {"latestSnapshot": {"id": "ds000001:1.0.0", "files": files}}}}
    (folder / "graphql").write_text(json.dumps(answer))


def seconds(run: Callable[[Path], float | None], folder: Path) -> float:
    """Wall time of a download into an empty folder; what it returns, if it keeps the time itself."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.sync()
    start = time.perf_counter()
    own = run(folder)
    return time.perf_counter() - start if own is None else own


def in_turn(runs: dict[str, Callable[[Path], float | None]], folder: Path, repeats: int) -> dict[str, float]:
    """Median seconds of each, run in alternating order after a round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        names = list(runs) if turn % 2 else list(runs)[::-1]
        for name in names:
            times[name].append(seconds(runs[name], folder))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def ours(address: str, digests: dict[str, str], size: int) -> Callable[[Path], None]:
    """Our own downloader with its own settings."""
    from dysconnect.fetching import Remote, Transport, fetch_all

    files = [Remote(name, (f"{address}/{name}",), size, f"sha256:{digest}") for name, digest in digests.items()]

    def run(folder: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            outcomes = fetch_all(files, folder, Transport())
        assert all(outcome.state == "fetched" for outcome in outcomes)

    return run


def curl(address: str, names: list[str], hashed: bool) -> Callable[[Path], None]:
    """One curl for all files, at most four at a time where there are several; with sha256sum afterwards if `hashed`."""
    lines = "".join(f'url = "{address}/{name}"\noutput = "{name}"\n' for name in names)

    def run(folder: Path) -> None:
        parallel = ["--parallel", "--parallel-max", "4"] if len(names) > 1 else []
        subprocess.run(
            ["curl", "-s", "--no-progress-meter", *parallel, "--config", "-"],
            input=lines,
            text=True,
            cwd=folder,
            check=True,
            stderr=subprocess.DEVNULL,
        )
        if hashed:
            subprocess.run(["sha256sum", *names], cwd=folder, check=True, stdout=subprocess.DEVNULL)

    return run


def openneuro(address: str, python: str, until: str) -> Callable[[Path], float]:
    """openneuro-py in its own environment; it keeps the time, so that its imports do not count.

    `until` is "seconds", or "synced": with an fsync of every file afterwards, as ours does for each before it counts.
    """

    def run(folder: Path) -> float:
        home = {**os.environ, "HOME": str(folder.parent), "XDG_CONFIG_HOME": str(folder.parent / "config")}
        command = [python, "-c", OPENNEURO, address, str(folder)]
        said = subprocess.run(command, env=home, check=True, capture_output=True, text=True).stdout
        return float(said.rsplit(f"{until} ", 1)[1].split()[0])

    return run


def openneuro_version(python: str) -> str:
    """Version of openneuro-py; empty where it is not installed."""
    code = "from importlib.metadata import version; print(version('openneuro-py'))"
    try:
        return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def served(folder: Path):
    """Serve a folder from another process; yields the address."""
    process = subprocess.Popen([sys.executable, __file__, "--serve", str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


def compare(place: Path, number: int, size: int, repeats: int, python: str) -> dict[str, float]:
    """Median seconds of all programs that are here, for `number` files of `size` bytes."""
    source = place / f"source{number}"
    digests = make_files(source, number, size)
    with served(source) as address:
        runs: dict[str, Callable] = {"ours": ours(address, digests, size)}
        if shutil.which("curl"):
            runs["curl"] = curl(address, list(digests), hashed=False)
            runs["curl, then sha256sum"] = curl(address, list(digests), hashed=True)
        if openneuro_version(python):
            runs["openneuro-py"] = openneuro(address, python, "seconds")
            runs["openneuro-py, then fsync"] = openneuro(address, python, "synced")
        return in_turn(runs, place / "here", repeats)


def main() -> None:
    """Compare, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--openneuro", default=sys.executable, help="Python of an environment with openneuro-py")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    rows = []
    versions = {"urllib3": version("urllib3"), "openneuro-py": openneuro_version(options.openneuro) or "not installed"}
    versions["curl"] = subprocess.run(["curl", "--version"], capture_output=True, text=True).stdout.split(" ")[1]
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    goals = {(1, "curl"): 1, (MANY, "openneuro-py, then fsync"): 3}
    for number, size in ((1, LARGE), (MANY, SMALL)):
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as place:
            found = compare(Path(place), number, size, options.repeats, options.openneuro)
        for peer, needed in found.items():
            if peer == "ours":
                continue
            what = f"{number:,} x {size / 1e6:g} MB from loopback, sha256 of every byte"
            row = {"what": what, "ours": found["ours"], "peer": needed, "against": peer, "unit": "s"}
            row |= {"ratio": round(needed / found["ours"], 2), "goal": goals.get((number, peer))}
            rows.append({**row, "machine": machine, "versions": versions})
            print(f"{what}: {row['ratio']:.2f} x as fast as {peer} ({found['ours']:.3f} s, {needed:.3f} s)", flush=True)
        if "openneuro-py" not in found:
            print("openneuro-py is not installed: skipped. Name the Python of an environment that has it: --openneuro")
    OUT.mkdir(exist_ok=True)
    (OUT / "download.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
