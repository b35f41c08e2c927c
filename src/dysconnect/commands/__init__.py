"""The doors of the library: ``dysconnect NAME ...`` runs `main` of the module of that name.

Only the door that is asked for is imported: some take seconds.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

DOORS = {
    "predict": "one person's scan in, a calibrated probability with its limits out",
    "combine": "files of several sites in, one cohort's report out",
    "withdraw": "a person who withdraws leaves the results, the downloads and MLflow, and does not come back",
    "download": "fetch a dataset ahead of the workflow, or list what would be fetched",
    "sweep": "train many models on results that are there; also python -m dysconnect -m KEY=VALUE,VALUE",
}
USAGE = "usage: dysconnect NAME ...    (dysconnect NAME --help says more)"
WRONG = 2  # exit status


def console(arguments: Sequence[str] | None = None) -> int:
    """Run a door by its name; return the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given[0] if given else "--help"
    if name in DOORS:
        return import_module(f"dysconnect.commands.{name}").main(given[1:])
    wanted = name in ("-h", "--help")
    print(usage(), file=sys.stdout if wanted else sys.stderr)
    return 0 if wanted else WRONG


def usage() -> str:
    """What there is to ask for."""
    lines = [f"  {name:10s}{purpose}" for name, purpose in DOORS.items()]
    return "\n".join([USAGE, "", *lines, "", "The workflow is `snakemake`."])
