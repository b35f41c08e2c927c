"""``dysconnect download``: fetch a dataset ahead of the workflow, or only list what would be fetched.

dysconnect download dataset=ds006395 dataset.limit=4 --dry-run

The arguments are those of ``snakemake --config``: ``dataset=NAME``, ``atlas=NAME``, and ``key=value`` of the
configuration. What is here already is verified and not fetched again; `snakemake` finds it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dysconnect.acquire import transport_of
from dysconnect.acquire.images import Plan, plan_images
from dysconnect.acquire.room import room_needed
from dysconnect.fetching import Remote, check_room, fetch_all, plan
from dysconnect.plan.compose import GROUPS, compose_workflow


def main(arguments: Sequence[str]) -> int:
    """Run ``dysconnect download``; return the exit status."""
    given = parser().parse_args(arguments)
    command_line: dict[str, object] = {"experiment": "floor"}
    overrides = []
    for text in given.settings:
        key, _, value = text.partition("=")
        if key in GROUPS:
            command_line[key] = value
        else:
            overrides.append(text)
    command_line["overrides"] = overrides
    root = Path(given.project)
    try:
        cohort, _ = compose_workflow(root / "configs", root / "workflow/schemas/config.schema.json", command_line)
        spec = cohort["dataset"]
        if spec["kind"] not in ("bids", "derivatives") or spec["root"]:
            raise ValueError(
                f"dataset={spec['name']} has no list of files to fetch ahead (its kind is {spec['kind']}"
                f"{', from a folder of yours' if spec.get('root') else ''}): `snakemake --config dataset="
                f"{spec['name']}` collects it."
            )
        wanted = plan_images(spec, cohort["acquire"], root / "configs/manifest")
        files = _list(wanted)
        if given.dry_run:
            return 0
        check_room(room_needed(wanted, keep=True), wanted.folder)
        return _fetch(wanted, files, cohort)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="dysconnect download",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "settings", nargs="+", metavar="key=value", help="dataset=NAME, then any key of the configuration"
    )
    command.add_argument(
        "--dry-run", "-n", action="store_true", help="list files, bytes and what is there; fetch nothing"
    )
    command.add_argument("--project", default=".", help="folder with configs/ and workflow/ (default: here)")
    return command


def _list(wanted: Plan) -> list[Remote]:
    """Print every file with its size and state; return them."""
    files = [
        Remote(file["path"], tuple(file["urls"]), file["bytes"], file["hash"])
        for rows in wanted.units.values()
        for file in rows
    ]
    table = plan(files, wanted.folder)
    for row in table.itertuples():
        print(f"{row.state:8s} {row.bytes or 0:>15,}  {row.path}")
    here = table.loc[table["state"] == "there", "bytes"].sum()
    print(
        f"{len(table)} files of {len(wanted.wanted)} people, {table['bytes'].sum() / 1e9:.2f} GB; "
        f"{here / 1e9:.2f} GB there already, in {wanted.folder}"
    )
    return files


def _fetch(wanted: Plan, files: list[Remote], cohort: dict) -> int:
    """Fetch everything, several files at a time; say which could not be had."""
    transport = transport_of(cohort["acquire"], wanted.folder.name)
    outcomes = fetch_all(files, wanted.folder, transport, what=cohort["dataset"]["name"])
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed:
        print(f"{outcome.path}: {outcome.problem}", file=sys.stderr)
    print(f"{len(files) - len(failed)} of {len(files)} files verified, in {wanted.folder}")
    return 1 if failed else 0
