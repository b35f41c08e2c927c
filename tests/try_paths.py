"""Run the first stage from checkouts, environments, folders of results and of data with names as people give them.

``python tests/try_paths.py [NAME ...]``: half a minute a name; run before a release.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES = (
    "My Documents",
    "study (1)",
    "Müller",
    "a=b, c",
    "it's",
    "#1 [old]",
    "$HOME & co",
    'say "so"',
    "50%",
    "back\\slash",
)
TINY = "dataset.patients=4 dataset.controls=4 dataset.volumes=30"


def prepare(folder: Path) -> Path:
    """Copy the checkout, and make an environment beside it that borrows the packages of this one; return its Python."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "workflow", "configs", "profiles"):
        shutil.copytree(ROOT / name, folder / "checkout" / name, ignore=ignored)
    shutil.copy(ROOT / "Snakefile", folder / "checkout")
    venv.create(folder / "environment", symlinks=True)
    packages = next((folder / "environment/lib").glob("*/site-packages"))
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "environment/bin/python"


def run(name: str) -> str:
    """Run the first stage below a folder of that name; return what went wrong, empty where nothing did."""
    with tempfile.TemporaryDirectory() as above:
        folder = Path(above, name)
        python = prepare(folder)
        command = [str(python), "-m", "snakemake", "--cores", "1", "--until", "acquire", "--directory"]
        command += [str(folder / "results here"), "--config", f"overrides={TINY} acquire.folder={folder}/fetched"]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(command, cwd=folder / "checkout", env=environment, capture_output=True, text=True)
        made = folder / "results here/results/simulated/acquire/participants.tsv"
        return "" if done.returncode == 0 and made.exists() else done.stdout[-2000:] + done.stderr[-2000:]


def main() -> int:
    """Try the names that are given, or all."""
    wrong = 0
    for name in sys.argv[1:] or NAMES:
        told = run(name)
        wrong += bool(told)
        print(f"{name!r}: {told or 'runs'}", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
