"""What every job does first: find the library beside the workflow, send its output to its log."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))


def start(snakemake):
    """Log to the rule's log file; return inputs, outputs and parameters."""
    sys.stdout = sys.stderr = open(snakemake.log[0], "w", buffering=1)  # noqa: SIM115
    return snakemake.input, snakemake.output, snakemake.params
