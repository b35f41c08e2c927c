"""``dysconnect combine``: the files of several sites in, the report of one cohort out.

Only what ``--help`` needs is imported here: the rest takes seconds.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dysconnect.problems import MachineError
from dysconnect.progress import track

FAILED, UNUSABLE = 1, 2
DESCRIPTION = "Analyse the people of several sites as one cohort, from the files of sums that the sites have sent."
EXAMPLES = """
examples:
  dysconnect combine KIEL.zip LUEBECK.zip ROSTOCK.zip --out joined
  dysconnect combine *.zip revoked_KIEL.json --out joined
  dysconnect combine KIEL.zip OSLO.zip --effects --out joined

A site makes its file with `snakemake --config share=statistics`: results/DATASET/share/SITE.zip.

exit status: 0 done, 1 the machine failed (room, memory, permission), 2 a file cannot be used, or the files do not
belong together; nothing is written then
"""


def parser() -> argparse.ArgumentParser:
    """Build the command line of ``dysconnect combine``."""
    command = argparse.ArgumentParser(
        "dysconnect combine", description=DESCRIPTION, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.add_argument(
        "files", nargs="+", metavar="SITE.zip",
        help="of at least two sites; a revoked_SITE.json among them names releases that are not to be used",
    )  # fmt: skip
    command.add_argument("--out", required=True, metavar="FOLDER", help="where index.html and the tables are written")
    command.add_argument("--alpha", type=_alpha, default=0.05, metavar="P", help="error rate (0.05)")
    command.add_argument(
        "--effects", action="store_true",
        help="where sites preprocessed differently: a meta-analysis of effect sizes, which is not exact",
    )  # fmt: skip
    return command


def main(arguments: Sequence[str]) -> int:
    """Run ``dysconnect combine``; return the exit status."""
    given = parser().parse_args(arguments)
    try:
        print(_combine(given))
    except (ValueError, OSError) as error:
        print(f"dysconnect combine: {error}", file=sys.stderr)
        return UNUSABLE
    except (MachineError, MemoryError) as error:
        print(f"dysconnect combine: {error}", file=sys.stderr)
        return FAILED
    return 0


def _combine(given: argparse.Namespace) -> str:
    from dysconnect.combined.checks import different_processing, refuse_different, refuse_twice
    from dysconnect.combined.cohort import join_sites
    from dysconnect.combined.words import in_short
    from dysconnect.combined.written import write_joined
    from dysconnect.share.unpacked import read_package

    revoked = [path for path in given.files if Path(path).suffix == ".json"]
    names = [path for path in given.files if path not in revoked]
    refuse_twice(names)
    packages = {path: read_package(path) for path in track(names, "files of sites")}
    if revoked:
        from dysconnect.share.revoked import refuse_revoked

        refuse_revoked(packages, revoked)
    refuse_different(packages, given.effects)
    sites = list(packages.values())
    if given.effects and not different_processing(sites):
        print("All sites preprocessed alike: the exact analysis is made, and --effects is not needed.")
    joined = join_sites(sites, given.alpha)
    written = write_joined(given.out, joined, sites)
    return "\n".join([*in_short(joined), f"Written: {written[0]} and {', '.join(path.name for path in written[1:])}"])


def _alpha(text: str) -> float:
    value = float(text)
    if not 0 < value < 0.5:
        raise argparse.ArgumentTypeError(f"{text}: an error rate lies between 0 and 0.5")
    return value
