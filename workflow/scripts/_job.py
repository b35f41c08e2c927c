"""What every job does first: find the library beside the workflow, send its output to its log."""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "src"))


def start(snakemake):
    """Log to the rule's log file; return inputs, outputs and parameters."""
    sys.stdout = sys.stderr = open(snakemake.log[0], "w", buffering=1)  # noqa: SIM115
    return snakemake.input, snakemake.output, snakemake.params


def say(text, aloud=True):
    """Write to the log and, if `aloud`, to the user's terminal too."""
    print(text)
    if aloud:
        print(text, file=sys.__stderr__, flush=True)
