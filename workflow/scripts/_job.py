"""What every job does first: send its output to its log, and hand on what Snakemake knows."""

import sys


def start(snakemake):
    """Log to the rule's log file; return inputs, outputs and parameters."""
    sys.stdout = sys.stderr = open(snakemake.log[0], "w", buffering=1)  # noqa: SIM115
    return snakemake.input, snakemake.output, snakemake.params
