"""Make a dataset's manifest: `python -m dysconnect.acquire.manifest DATASET TAG`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from dysconnect.acquire.manifest import ManifestError, describe_changes, of_task, read_manifest, write_manifest
from dysconnect.acquire.manifest.build import Snapshot, build_manifest, repository
from dysconnect.acquire.manifest.clone import read_clone
from dysconnect.acquire.manifest.openneuro import GRAPHQL, read_openneuro
from dysconnect.reading.tables import TableError

PEOPLE = "participants.tsv"
EXAMPLES = """
examples:
  python -m dysconnect.acquire.manifest ds006395 1.0.7                  the next tag, from OpenNeuro itself
  git clone https://github.com/OpenNeuroDatasets/ds006395               (without the images)
  python -m dysconnect.acquire.manifest ds006395 1.0.7 --clone ds006395 the same from a clone
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the manifest, say what changed, and write it; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _make(options)
    except (ManifestError, TableError, OSError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dysconnect.acquire.manifest",
        description="Make the manifest (path, bytes, hash, S3 version, addresses) of an OpenNeuro dataset at a tag, "
        "as configs/dataset/DATASET.yaml selects, and say what changed. No image is fetched.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", metavar="DATASET", help="name of a file in configs/dataset/: ds006395")
    parser.add_argument("tag", metavar="TAG", help="snapshot: 1.0.6; with --clone also a commit")
    parser.add_argument("--clone", metavar="DIR", help="git clone of the dataset, instead of asking OpenNeuro")
    parser.add_argument(
        "--select", metavar="PATTERN", nargs="+", help="glob patterns, instead of dataset.select; * stays in a folder"
    )
    parser.add_argument("--output", metavar="FILE", help="default: CONFIGS/manifest/ and the yaml's `manifest`.tsv")
    parser.add_argument("--configs", metavar="DIR", default="configs", help="default: %(default)s")
    parser.add_argument("--graphql", metavar="URL", default=GRAPHQL, help="default: %(default)s")
    return parser


def _make(options: argparse.Namespace) -> None:
    spec = read_spec(Path(options.configs), options.dataset)
    if options.select:
        spec["select"] = options.select
    snapshot = _snapshot(options, spec)
    table = build_manifest(spec, snapshot, _people(spec, Path(options.configs)))
    output = Path(options.output or Path(options.configs, "manifest", f"{spec['manifest']}.tsv"))
    old = read_manifest(output) if output.exists() else None
    write_manifest(table, output)
    print(f"{options.dataset} {snapshot.label} (commit {snapshot.commit[:8] or 'unknown'}): {describe(table)}")
    print("\n".join(describe_changes(old, table)) if old is not None else "a new manifest")
    print(output)
    _remind(spec, snapshot, table)


def read_spec(configs: Path, name: str) -> dict:
    """Read the `dataset` section of a dataset's file.

    Raises
    ------
    ManifestError
        When there is no such file, or it builds on another dataset's and selects nothing itself.
    """
    path = configs / "dataset" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("ds*.yaml"))
        raise ManifestError(f"{path}: no such dataset (known: {', '.join(known) or 'none'}). See --configs.")
    spec = (yaml.safe_load(path.read_text()) or {}).get("dataset") or {}
    missing = [key for key in ("name", "kind", "manifest", "select") if not spec.get(key)]
    if missing:
        raise ManifestError(
            f"{path}: has no {', '.join(missing)}. Where it builds on another dataset (see its `defaults`), make "
            "that one's manifest."
        )
    return {"columns": {}, **spec}


def _snapshot(options: argparse.Namespace, spec: dict) -> Snapshot:
    patterns = [pattern for pattern in spec["select"] if spec["kind"] == "bids" or pattern != PEOPLE]
    if options.clone:
        return read_clone(options.clone, options.tag, patterns)
    if spec["kind"] != "bids":
        place = repository(spec)
        raise ManifestError(
            f"{options.dataset}: OpenNeuro's interface does not list derivatives. Use a clone: "
            f"git clone https://github.com/{place} and --clone {place.split('/')[1]}."
        )
    return read_openneuro(spec["name"], options.tag, patterns, options.graphql)


def _people(spec: dict, configs: Path) -> pd.DataFrame | None:
    """Take the participants table of derivatives, which have none, from the manifest of the raw dataset."""
    if spec["kind"] == "bids" or PEOPLE not in spec["select"]:
        return None
    raw = read_manifest(configs / "manifest" / f"{spec['name'].split('_')[0]}.tsv")
    return raw[raw["path"] == PEOPLE]


def describe(table: pd.DataFrame) -> str:
    """Count files, bytes and participants."""
    groups = table[table["participant_id"] != ""].groupby("group")["participant_id"].nunique()
    people = ", ".join(f"{group} {n}" for group, n in groups.items())
    return f"{len(table)} files, {gigabytes(table)} GB, {groups.sum()} participants ({people})"


def gigabytes(table: pd.DataFrame) -> float:
    """Size of everything in a manifest, in GB (10^9 bytes), to one decimal."""
    return round(int(table["bytes"].fillna(0).sum()) / 1e9, 1)


def _remind(spec: dict, snapshot: Snapshot, table: pd.DataFrame) -> None:
    """Say what the dataset's yaml must say now."""
    now = {"tag": snapshot.label, "size_gb": gigabytes(of_task(table, spec.get("task")))}
    stale = {key: value for key, value in now.items() if str(spec.get(key)) != str(value)}
    for key, value in stale.items():
        print(f"the dataset's yaml has {key}: {spec.get(key)}; set {key}: {value}")
    if "tag" in stale:
        print("check there too: the version in the citation's DOI, exclude, traps")


if __name__ == "__main__":
    sys.exit(main())
