"""What every job does first and last: find the library, log to its file, compare what it reads, seal what it made."""

import gc
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "src"))
from dysconnect.data.memory import give_back  # noqa: E402
from dysconnect.keeping.sealed import check, seal  # noqa: E402
from dysconnect.progress import say  # noqa: E402, F401 - for the jobs


def start(snakemake):
    """Log to the rule's log file; compare the inputs with what was written; return inputs, outputs and parameters."""
    gc.freeze()  # what was imported stays: to search it for garbage costs every job a fifth of a second
    sys.stdout = sys.stderr = open(snakemake.log[0], "w", buffering=1)  # noqa: SIM115
    give_back()
    folders = (f"results/{snakemake.wildcards.get('dataset')}/", "results/atlas/")
    check([path for path in snakemake.input if path.startswith(folders)], patience=5)
    return snakemake.input, snakemake.output, snakemake.params


def finish(snakemake):
    """Write down what the outputs are, and what they were made from and by: the last that a job does."""
    seal(snakemake.output, snakemake.input, code=snakemake.params.code)
