"""A Python that starts at once: programs run in processes of their own, forked from one that has imported packages.

Half of what a run of the workflow on a tiny cohort costs is imports, of the same packages in a hundred processes. What
`python()` returns takes the arguments of Python (a script, ``-m`` or ``-c``), environment, folder and streams like it,
and ends as the program ends. Nothing of the project itself is imported before the fork: each program reads the files
that its own environment leads to. Linear algebra has one thread, whatever is asked for.
"""

import atexit
import ctypes
import gc
import json
import multiprocessing
import os
import runpy
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE, COMPILED = ROOT / "src", "__pycache__"
SHARED = "DYSCONNECT_WARM_PYTHON"  # of all workers of pytest
PACKAGES = (
    "snakemake.cli", "snakemake.script", "snakemake.logging", "snakemake.notebook", "snakemake.profiles",
    "snakemake.report.html_reporter", "snakemake.storage", "nbformat", "smart_open", "dysconnect.plan.run",
    "dysconnect.acquire.images",
    "dysconnect.connectivity", "dysconnect.evaluate", "dysconnect.localize", "dysconnect.localize.kernels",
    "dysconnect.models.networks", "dysconnect.preprocess", "dysconnect.preprocess.fmriprep", "dysconnect.quality",
    "dysconnect.report", "dysconnect.stimulate", "dysconnect.timeseries", "dysconnect.tracking", "dysconnect.train",
    "dysconnect.learning.graph.run", "dysconnect.validate", "matplotlib.pyplot", "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store", "nilearn.glm.first_level", "nilearn.plotting",
)  # fmt: skip
FORK = multiprocessing.get_context("fork")

CLIENT = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    asked = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode() + b"\\n"
    socket.send_fds(server, [asked[:1]], [0, 1, 2])
    server.sendall(asked[1:])
    code = int(server.makefile().read() or 1)
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@cache
def python() -> str:
    """The program to call in place of ``sys.executable``; it works until this process, or the one above it, ends."""
    if sys.platform != "linux":  # elsewhere packages do not survive a fork
        return sys.executable
    if SHARED in os.environ:
        return os.environ[SHARED]
    folder = Path(tempfile.mkdtemp())  # the server removes it
    program, address = folder / "python", str(folder / "socket")
    program.write_text(CLIENT.format(python=sys.executable, address=address))
    program.chmod(0o700)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE"):
        environment.pop(name, None)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    server = subprocess.Popen([sys.executable, __file__, address], env=environment, **pipes)
    server.stdout.readline()  # it listens
    atexit.register(server.communicate)
    return str(program)


def keep_memory() -> None:
    """Let what an array leaves go to the next, not back to the system, which would clear it each time."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):  # of the GNU C library
        for threshold in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            libc.mallopt(threshold, 1 << 30)


def copy_project(folder: Path) -> None:
    """Copy what runs, so that a test may change it; compiled code is shared: Python and numba look at files' times."""
    for name in ("src", "workflow", "configs", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(COMPILED, "*.egg-info"))
    shutil.copy(ROOT / "Snakefile", folder)
    for module in SOURCE.rglob("__init__.py"):
        place = module.with_name(COMPILED)
        place.mkdir(exist_ok=True)
        (folder / place.relative_to(ROOT)).symlink_to(place)


def move(project: Path, place: Path) -> Path:
    """Copy a project to another place, without the times of its files and so without what was compiled by them."""
    ignored = shutil.ignore_patterns(COMPILED)
    return Path(shutil.copytree(project, place, copy_function=shutil.copyfile, symlinks=True, ignore=ignored))


def serve(address: str) -> None:
    """Import, listen, and fork for each program, until the standard input ends."""
    programs = {}  # by the connections to who asked
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        print("listening", flush=True)
        ready = False
        while sys.stdin not in (heard := wait([listening, sys.stdin, *programs, *ends(programs)])):
            for connection in [one for one, program in programs.items() if one in heard or program.sentinel in heard]:
                finish(connection, programs.pop(connection))
            if listening in heard:
                ready = ready or import_packages()
                connection, _ = listening.accept()
                with suppress(ValueError):  # who asked is gone already
                    programs[connection] = begin(connection, [listening, *programs])
    for connection, program in programs.items():
        finish(connection, program)
    shutil.rmtree(Path(address).parent)


def ends(programs: dict[socket.socket, multiprocessing.Process]) -> list[int]:
    """What can be read when a program has ended."""
    return [program.sentinel for program in programs.values()]


def import_packages() -> bool:
    """Import what the programs need, before the first of them, and forget what of it is the project's own."""
    sys.path[0] = str(SOURCE)
    for name in PACKAGES:
        __import__(name)
    del sys.path[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == "dysconnect"]:
        del sys.modules[name]
    gc.freeze()  # the forks leave it where it is
    keep_memory()
    return True


def begin(connection: socket.socket, others: list[socket.socket]) -> multiprocessing.Process:
    """Fork a program that was asked for."""
    first, streams, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as file:
        asked = json.loads(first + file.readline())
    program = FORK.Process(target=become, args=([connection, *others], streams, *asked))
    program.start()
    for stream in streams:
        os.close(stream)
    return program


def finish(connection: socket.socket, program: multiprocessing.Process) -> None:
    """Tell how a program ended; kill it when nobody waits any more."""
    if not wait([program.sentinel], 0):
        program.kill()
    program.join()
    with suppress(BrokenPipeError), connection:
        connection.sendall(str(program.exitcode).encode())


def become(
    sockets: list[socket.socket], streams: list[int], arguments: list[str], folder: str, environment: dict
) -> None:
    """Take over streams, folder and environment of who asked, and run the program."""
    for one in sockets:  # of the server
        one.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = open(0)  # multiprocessing closes it  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    try:
        run(arguments)
    finally:
        threading._shutdown()  # in the order of Python's own end: joblib ends its processes in the first
        atexit._run_exitfuncs()


def run(arguments: list[str]) -> None:
    """Do what Python does with its arguments."""
    own, what, *more = arguments
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    if what == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *more[1:]]
        exec(compile(more[0], "<string>", "exec"), {"__name__": "__main__"})
    elif what == "-m":
        sys.executable = own  # Snakemake starts its jobs with it
        sys.path.insert(0, os.getcwd())
        sys.argv = more
        runpy.run_module(more[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(what).resolve().parent))
        sys.argv = [what, *more]
        runpy.run_path(what, run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1])
