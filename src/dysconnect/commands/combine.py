"""``dysconnect combine``: the files of several sites in, the report of one cohort out.

Only what ``--help`` needs is imported here: the rest takes seconds.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dysconnect.problems import MachineError
from dysconnect.progress import track

if TYPE_CHECKING:
    from dysconnect.share.session import Plan

FAILED, UNUSABLE = 1, 2
DESCRIPTION = "Analyse the people of several sites as one cohort, from the files of sums that the sites have sent."
EXAMPLES = """
examples:
  dysconnect combine KIEL.zip LUEBECK.zip ROSTOCK.zip --out joined
  dysconnect combine *.zip revoked_KIEL.json --out joined
  dysconnect combine *.zip *.key.json --out joined                      # plans circuits permuted under masks
  dysconnect combine *.zip plan.json *.masked.npz --out joined          # and takes the answers of all sites
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
        help="of at least two sites; among them what sites sent beside it: revoked_SITE.json, whose releases are "
        "refused, SITE.key.json, of which a plan is made, or plan.json with all SITE.masked.npz",
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
    from dysconnect.combined.checks import different_making, refuse_different
    from dysconnect.combined.cohort import join_sites
    from dysconnect.combined.sent import make_plan, permuted_circuits, sort_files
    from dysconnect.combined.words import in_short
    from dysconnect.combined.written import write_joined
    from dysconnect.share.revoked import refuse_revoked
    from dysconnect.share.unpacked import read_package

    sent = sort_files(given.files)
    packages = {path: read_package(path) for path in track(sent.packages, "files of sites")}
    sites = list(packages.values())
    refuse_revoked(sites, sent.revocations)
    refuse_different(packages, given.effects)
    if given.effects and not different_making(sites):
        print("The data of all sites were made alike: the exact analysis is made, and --effects is not needed.")
    plan, p_fwer = make_plan(sites, sent), permuted_circuits(sites, sent)
    joined = join_sites(sites, given.alpha, p_fwer)
    written = write_joined(given.out, joined, sites, plan)
    lines = [*in_short(joined), f"Written: {written[0]} and {', '.join(path.name for path in written[1:])}"]
    return "\n".join([*lines, *_planned(plan)])


def _planned(plan: "Plan | None") -> list[str]:
    """What is to be done with a plan."""
    if plan is None:
        return []
    from dysconnect.share.session import spoken

    how = "Send plan.json to all of them; each compares these by phone, then answers it (share.plan=plan.json):"
    return [how, spoken(plan)]


def _alpha(text: str) -> float:
    value = float(text)
    if not 0 < value < 0.5:
        raise argparse.ArgumentTypeError(f"{text}: an error rate lies between 0 and 0.5")
    return value
