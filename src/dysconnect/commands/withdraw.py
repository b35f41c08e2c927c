"""``dysconnect withdraw``: a person who withdraws leaves the results, the downloads and MLflow, and does not come back.

Tables are not edited, since then they would no longer be what their maker wrote: whatever was made with the person is
deleted, and `snakemake` makes it again without. Only what ``--help`` needs is imported here.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path

from dysconnect.acquire.withdrawn import FILE, add_withdrawn, is_of, read_withdrawn, withdrawals
from dysconnect.keeping.address import LOCAL, choose_uri
from dysconnect.keeping.place import SHARED_FOLDERS
from dysconnect.keeping.remembered import FOLDER, MEMORIES

DESCRIPTION = "Remove a person who withdraws from the results, the downloads and MLflow, and keep them out."
TOGETHER = ("acquire", "preprocess")  # stages with files of single people; of the others everything is made again
SHOWN = 10


@dataclass
class Removal:
    """What a withdrawal deletes, and what it leaves.

    Attributes
    ----------
    files : list of path
        In the results: the person's own, and all that was made of several people.
    downloads : list of path
        The person's, in the data folder.
    theirs : list of path
        The person's, in a folder of the user's: never touched.
    """

    files: list[Path] = field(default_factory=list)
    downloads: list[Path] = field(default_factory=list)
    theirs: list[Path] = field(default_factory=list)


def main(arguments: Sequence[str]) -> int:
    """Run ``dysconnect withdraw``; return the exit status."""
    given = parser().parse_args(arguments)
    if not any(Path(given.directory, kept).exists() for kept in ("results", "released.json")):
        print(
            f"dysconnect withdraw: {given.directory}: no results here. Name the project's folder with --directory.",
            file=sys.stderr,
        )
        return 2
    try:
        with chdir(given.directory):
            return _withdraw(Path("."), given.participant, given.dataset, given.dry_run)
    except (ValueError, OSError) as error:
        print(f"dysconnect withdraw: {error}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """Build the command line of ``dysconnect withdraw``."""
    command = argparse.ArgumentParser("dysconnect withdraw", description=DESCRIPTION)
    command.add_argument("participant", metavar="sub-XX", help="as in participants.tsv")
    command.add_argument("--dataset", metavar="NAME", help="needed where several datasets have somebody of this name")
    command.add_argument("--directory", metavar="DIR", default=".", help="of the project, where snakemake is run")
    command.add_argument("--dry-run", action="store_true", help="say what would be deleted, and delete nothing")
    return command


def _withdraw(project: Path, name: str, dataset: str | None, dry: bool) -> int:
    results = project / "results"
    _refuse_running(project)
    given = _given(project, name)
    having = [
        each for each in sorted({*_datasets(project), *given}) if each in given or name in people_of(project, each)
    ]
    chosen = _choose(project, name, dataset, having)
    removal = find_removal(results, chosen, name)
    revoked = _revoke(project, chosen, name, True)  # a ledger that cannot be read stops before anything is done
    if not dry:
        add_withdrawn(project, chosen, name)  # first: whoever is interrupted goes on with the same command
        _revoke(project, chosen, name, False)
        for path in [*removal.downloads, *removal.files]:
            path.unlink(missing_ok=True)
        _remove_empty([results / chosen, results / "logs" / chosen, results / "sealed" / chosen])
    runs = _in_mlflow(chosen, dry)
    print(describe(removal, runs, name, chosen, [each for each in having if each != chosen], dry))
    print(*_revocations(revoked, dry), sep="\n", end="\n" * bool(revoked))
    return 0


def _given(project: Path, name: str) -> set[str]:
    """Datasets of which a file of sums was given that has somebody; it may be all that is left of them."""
    from dysconnect.share.revoked import datasets_with  # numpy and pandas take a second to load

    return datasets_with(project, name)


def _revoke(project: Path, dataset: str, name: str, dry: bool) -> dict[str, list[str]]:
    """Revoke the files of sums that have somebody; see `revoke_person`."""
    from dysconnect.share.revoked import revoke_person

    return revoke_person(project, dataset, name, dry)


def _revocations(revoked: dict[str, list[str]], dry: bool) -> list[str]:
    """Say which files of sums are revoked, and what the user must do: only they know who has them."""
    return [
        f"{site}.zip {'would be revoked' if dry else 'is revoked and deleted here'} (release {', '.join(numbers)}). "
        f"Send revoked_{site}.json to everybody who has it, and ask them to delete it: `dysconnect combine` refuses it "
        "then. A new release waits until ten people have changed."
        for site, numbers in sorted(revoked.items())
    ]


def _refuse_running(project: Path) -> None:
    """Stop while a run is at work: it would write again what is deleted."""
    locks = project / ".snakemake/locks"
    if locks.is_dir() and any(locks.iterdir()):
        raise ValueError(
            f"snakemake is at work in {project.resolve()}, or was killed there. Wait for its end, or give `snakemake "
            "--unlock` if it is dead, then this command again."
        )


def _datasets(project: Path) -> list[str]:
    """Datasets that have results, or had some when somebody withdrew."""
    folders = (project / "results").iterdir() if (project / "results").is_dir() else ()
    there = {folder.name for folder in folders if folder.is_dir() and folder.name not in SHARED_FOLDERS}
    return sorted(there | {dataset for dataset, _ in withdrawals(project)})


def people_of(project: Path, dataset: str) -> set[str]:
    """Everybody that the results of a dataset know, and those who have withdrawn."""
    folder = project / "results" / dataset
    names = set(read_withdrawn(project, dataset))
    names |= {receipt["unit"] for receipt in _receipts(folder)}
    for table in ("acquire", "timeseries"):
        names |= {row.get("participant_id", "") for row in _rows(folder / table / "participants.tsv")}
    return names - {"", "dataset"}


def _rows(path: Path) -> list[dict[str, str]]:
    """Rows of a table of the results, as text."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [dict(zip(lines[0].split("\t"), line.split("\t"))) for line in lines[1:]]


def _choose(project: Path, name: str, dataset: str | None, having: Sequence[str]) -> str:
    """Dataset to withdraw from."""
    if dataset in having:
        return dataset
    if dataset is None and len(having) == 1:
        return having[0]
    earlier = set(read_withdrawn(project, dataset)) if dataset else set()
    if earlier and people_of(project, dataset) == earlier:
        print(f"{dataset} is to be made again, and nothing here says whom it has: make sure that {name} is the id.")
        return dataset  # a second person, before the next run
    if len(having) > 1:
        raise ValueError(f"{', '.join(having)} have a {name}. Say from which to withdraw: --dataset NAME.")
    looked = [dataset] if dataset else _datasets(project)
    known = sorted(set().union(*(people_of(project, each) for each in looked)))
    near = [person for person in known if person.removeprefix("sub-") == name.removeprefix("sub-")]
    raise ValueError(
        f"{project / 'results'}: nobody is called {name} in {', '.join(looked) or 'any dataset'}"
        f"{f'; did you mean {near[0]}?' if near else f' (known: {len(known)} people)'}"
    )


def find_removal(results: Path, dataset: str, name: str) -> Removal:
    """Find what a withdrawal deletes.

    Parameters
    ----------
    results : path
    dataset : str
    name : str
        `participant_id`.
    """
    folder = results / dataset
    removal = Removal()
    for path in _files(folder):
        place = path.relative_to(folder)
        personal = any(is_of(name, part) for part in place.parts)
        personal |= place.name.startswith("batch-") and _tells(path, name, results)
        if personal or place.parts[0] not in TOGETHER or len(place.parts) == 2:
            removal.files.append(path)
    for kind in ("logs", "benchmarks", "sealed"):
        removal.files += [path for path in _files(results / kind / dataset) if _tells(path, name, results)]
    remembered = [*_files(results.parent / FOLDER / "log"), *sorted((results.parent / FOLDER).glob(MEMORIES))]
    removal.files += [path for path in remembered if _tells(path, name, results)]
    removal.files += _scratch(results / "scratch", dataset)
    _sort(folder, name, removal)
    return removal


def _files(folder: Path) -> list[Path]:
    """Files below a folder; links are not followed."""
    return sorted(Path(top, file) for top, _, files in os.walk(folder) for file in files)


def _tells(path: Path, name: str, results: Path) -> bool:
    """Whether a file names somebody in its place or in its text."""
    place = str(path.relative_to(results.parent))
    return is_of(name, place) or is_of(name, path.read_text(encoding="utf-8", errors="ignore"))


def _scratch(folder: Path, dataset: str) -> list[Path]:
    """Predictions of scratch runs on a dataset."""
    runs = [path.parent for path in _files(folder) if path.name == "predictions.tsv"]
    return [run / "predictions.tsv" for run in runs if _of_dataset(run / ".hydra/config.yaml", dataset)]


def _of_dataset(config: Path, dataset: str) -> bool:
    import yaml

    if not config.exists():
        return True  # of whom it is cannot be told: rather one file too many
    return (yaml.safe_load(config.read_text()).get("dataset") or {}).get("name") == dataset


def _named(folder: Path, name: str) -> list[Path]:
    """Files that the indices of the stages and the receipt of somebody name, but for events that are everybody's."""
    cells = [
        (path.parent, row.get(key, ""))
        for path in folder.glob("*/*.tsv")
        for row in _rows(path)
        for key in ("series", "confounds", "bold", "mask", "t1w", "events")
        if row.get("participant_id") == name and (key != "events" or is_of(name, row.get(key, "")))
    ]
    receipt = _receipt(folder, name)
    scan = receipt["scan"].items()
    scan = [cell for key, cell in scan if isinstance(cell, str) and (key != "events" or is_of(name, cell))]
    cells += [(Path(receipt["folder"]), cell) for cell in scan]
    return _there(cells)


def _fetched(folder: Path, name: str) -> list[Path]:
    """Files of somebody that were fetched, as the receipt says; none where they are the user's own."""
    receipt = _receipt(folder, name)
    return _there((Path(receipt["folder"]), file["path"]) for file in receipt["files"])


def _receipt(folder: Path, name: str) -> dict:
    """What was fetched for somebody; nothing where images are not fetched one by one."""
    known = (receipt for receipt in _receipts(folder) if receipt["unit"] == name)
    return next(known, {"folder": "", "files": [], "scan": {}})


def _receipts(folder: Path) -> list[dict]:
    """What was fetched for everybody of a dataset, and for the dataset itself."""
    from dysconnect.data.images.receipts import read_receipts  # pandas

    return [receipt for path in folder.glob("acquire/receipts/*.json") for receipt in read_receipts(path)]


def _there(cells: Iterable[tuple[Path, str]]) -> list[Path]:
    """Absolute paths of those files that are there."""
    paths = (Path(os.path.abspath(base / cell)) for base, cell in cells if cell)
    return sorted({path for path in paths if path.is_file()})


def _sort(folder: Path, name: str, removal: Removal) -> None:
    """Tell somebody's downloads from files that are the user's own.

    A download stands in the person's receipt, or lies among the project's data, where a ledger lists it.
    """
    results, downloads = Path(os.path.abspath(folder.parent)), dict.fromkeys(_fetched(folder, name))
    inside = {Path(os.path.abspath(path)) for path in removal.files}
    for path in _named(folder, name):
        if path.is_relative_to(results / "data") and path in _listed(path, ""):
            downloads[path] = None
        elif path not in downloads and path not in inside and not path.is_relative_to(results):
            removal.theirs.append(path)
    for path in list(downloads):
        downloads |= dict.fromkeys(file for file in _listed(path, name) if file.exists())
    removal.downloads = list(downloads)


def _listed(path: Path, name: str) -> list[Path]:
    """What the ledger of the data folder of a file lists: all, or what is named for somebody."""
    from dysconnect.fetching.remote import LEDGER

    root = next((folder for folder in path.parents if (folder / LEDGER).exists()), None)
    if root is None:
        return []
    lines = (root / LEDGER).read_text(encoding="utf-8").splitlines()[1:]
    places = {Path(line.split("\t")[0]) for line in lines}
    return sorted(root / place for place in places if not name or _is_named(place, name))


def _is_named(place: Path, name: str) -> bool:
    """Whether a file of a data folder is named for somebody, as BIDS names files and folders."""
    return any(part == name or part.startswith(f"{name}_") for part in place.parts)


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        for top, _, _ in os.walk(folder, topdown=False):
            if not any(Path(top).iterdir()):
                shutil.rmtree(top)


def _in_mlflow(dataset: str, dry: bool) -> list[str]:
    """Remove the dataset's runs, or name them."""
    handle = Path("results/tracking.json")
    uri = choose_uri(None)
    if uri == LOCAL and handle.exists():  # the configuration may have named another
        uri = json.loads(handle.read_text())["uri"]
    if uri == LOCAL and not Path("results/mlflow.db").exists():
        return []
    from dysconnect.tracking.withdraw import remove_dataset  # MLflow takes seconds to load

    return remove_dataset(uri, dataset, dry)


def describe(removal: Removal, runs: Sequence[str], name: str, dataset: str, others: Sequence[str], dry: bool) -> str:
    """Say what was deleted, what is left to the user, and what to do next."""
    done = "would be deleted" if dry else "deleted"
    lines = [
        f"{name} {'would be withdrawn' if dry else 'is withdrawn'} from {dataset}"
        f"{'' if dry else f'; {FILE} keeps it that way, in every run: keep that file'}.",
        f"{len(removal.files)} files of the results {done}: {name}'s own, and all that was made with {name}.",
        f"{len(removal.downloads)} downloaded files {done}.",
        f"{len(runs)} MLflow runs of {dataset} {done}, with their artifacts and models.",
    ]
    if removal.theirs:
        lines += ["Yours to delete, nothing here touches them:", *_some(removal.theirs)]
    if others:
        lines.append(
            f"{', '.join(others)} also have a {name}: if it is the same person, withdraw there too (--dataset)."
        )
    lines.append(
        f"Next, to make the results again without {name}: snakemake --config dataset={dataset}, with the overrides "
        "that you use. What cannot be undone is in docs/how-to/withdraw.md."
    )
    return "\n".join(lines)


def _some(paths: Sequence[Path]) -> list[str]:
    more = [f"  and {len(paths) - SHOWN} more"] if len(paths) > SHOWN else []
    return [*(f"  {path}" for path in paths[:SHOWN]), *more]
