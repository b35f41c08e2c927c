"""What every job does first and last: find the library, log to its file, compare what it reads, seal what it made."""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "src"))


def start(snakemake):
    """Log to the rule's log file; compare the inputs with what was written; return inputs, outputs and parameters."""
    from dysconnect.keeping.sealed import check

    sys.stdout = sys.stderr = open(snakemake.log[0], "w", buffering=1)  # noqa: SIM115
    own = (f"results/{snakemake.wildcards.get('dataset')}/", "results/atlas/")
    check([path for path in snakemake.input if path.startswith(own)], patience=5)
    return snakemake.input, snakemake.output, snakemake.params


def finish(snakemake):
    """Write down what the outputs are, and what they were made from: the last that a job does."""
    from dysconnect.keeping.sealed import seal

    seal(snakemake.output, snakemake.input)


def say(text, aloud=True):
    """Write to the log and, if `aloud`, to the user's terminal too."""
    print(text)
    if aloud:
        print(text, file=sys.__stderr__, flush=True)
