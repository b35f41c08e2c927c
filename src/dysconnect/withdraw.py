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
from dataclasses import dataclass, field
from pathlib import Path

from dysconnect.acquire.withdrawn import FILE, add_withdrawn, is_of, read_withdrawn

DESCRIPTION = "Remove a person who withdraws from the results, the downloads and MLflow, and keep them out."
TOGETHER = ("acquire", "preprocess")  # stages with files of single people; of the others everything is made again
NO_DATASETS = ("atlas", "benchmarks", "data", "logs", "mlflow-artifacts", "scratch", "sealed")
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
    try:
        return _withdraw(Path(given.directory), given.participant, given.dataset, given.dry_run)
    except (ValueError, OSError) as error:
        print(f"dysconnect withdraw: {error}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """Build the command line of ``dysconnect withdraw``."""
    own = argparse.ArgumentParser("dysconnect withdraw", description=DESCRIPTION)
    own.add_argument("participant", metavar="sub-XX", help="as in participants.tsv")
    own.add_argument("--dataset", metavar="NAME", help="needed where several datasets have somebody of this name")
    own.add_argument("--directory", metavar="DIR", default=".", help="of the project, where snakemake is run")
    own.add_argument("--dry-run", action="store_true", help="say what would be deleted, and delete nothing")
    return own


def _withdraw(project: Path, name: str, dataset: str | None, dry: bool) -> int:
    results = project / "results"
    _refuse_running(project)
    having = [own for own in _datasets(results) if name in people_of(project, own)]
    chosen = _choose(project, name, dataset, having)
    found = find_removal(results, chosen, name)
    if not dry:
        add_withdrawn(project, chosen, name)  # first: whoever is interrupted goes on with the same command
        for path in [*found.downloads, *found.files]:
            path.unlink(missing_ok=True)
        _remove_empty([results / chosen, results / "logs" / chosen, results / "sealed" / chosen])
    runs = _in_mlflow(project, chosen, dry)
    print(told(found, runs, name, chosen, [own for own in having if own != chosen], dry))
    return 0


def _refuse_running(project: Path) -> None:
    """Stop while a run is at work: it would write again what is deleted."""
    locks = project / ".snakemake/locks"
    if locks.is_dir() and any(locks.iterdir()):
        raise ValueError(
            f"snakemake is at work in {project.resolve()}, or was killed there. Wait for its end, or give `snakemake "
            "--unlock` if it is dead, then this command again."
        )


def _datasets(results: Path) -> list[str]:
    if not results.is_dir():
        raise FileNotFoundError(f"{results}: no results here. Name the project's folder with --directory.")
    return sorted(own.name for own in results.iterdir() if own.is_dir() and own.name not in NO_DATASETS)


def people_of(project: Path, dataset: str) -> set[str]:
    """Everybody that the results of a dataset know, and those who have withdrawn."""
    folder = project / "results" / dataset
    names = set(read_withdrawn(project, dataset))
    names |= {path.stem for path in folder.glob("acquire/receipts/*.json")}
    for table in ("acquire", "timeseries"):
        names |= {row.get("participant_id", "") for row in _rows(folder / table / "participants.tsv")}
    return names - {"", "dataset"}


def _rows(path: Path) -> list[dict[str, str]]:
    """Rows of a table of the results, as text."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [dict(zip(lines[0].split("\t"), line.split("\t"))) for line in lines[1:]]


def _choose(project: Path, name: str, dataset: str | None, having: Sequence[str]) -> str:
    """Dataset to withdraw from."""
    if dataset in having:
        return dataset
    if dataset is None and len(having) == 1:
        return having[0]
    if len(having) > 1:
        raise ValueError(f"{', '.join(having)} have a {name}. Say from which to withdraw: --dataset NAME.")
    looked = [dataset] if dataset else _datasets(project / "results")
    known = sorted(set().union(*(people_of(project, own) for own in looked)))
    near = [own for own in known if own.removeprefix("sub-") == name.removeprefix("sub-")]
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
    found = Removal()
    for path in _files(folder):
        place = path.relative_to(folder)
        own = any(is_of(name, part) for part in place.parts)
        if own or place.parts[0] not in TOGETHER or len(place.parts) == 2:
            found.files.append(path)
    for kind in ("logs", "benchmarks", "sealed"):
        found.files += [path for path in _files(results / kind / dataset) if _tells(path, name, results)]
    found.files += [path for path in _files(results.parent / ".snakemake/log") if _tells(path, name, results)]
    found.files += _scratch(results / "scratch", dataset)
    _sort(_named(folder, name), results, name, found)
    return found


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
    return [own / "predictions.tsv" for own in runs if _of_dataset(own / ".hydra/config.yaml", dataset)]


def _of_dataset(config: Path, dataset: str) -> bool:
    import yaml

    if not config.exists():
        return True  # of whom it is cannot be told: rather one file too many
    return (yaml.safe_load(config.read_text()).get("dataset") or {}).get("name") == dataset


def _named(folder: Path, name: str) -> list[Path]:
    """Files that the indices and the receipt of somebody name."""
    rows = [row for path in folder.glob("*/*.tsv") for row in _rows(path) if row.get("participant_id") == name]
    cells = [
        (folder / "acquire", row.get(key, "")) for row in rows for key in ("series", "confounds", "bold", "mask", "t1w")
    ]
    for path in folder.glob("acquire/receipts/*.json"):
        if path.stem == name:
            receipt = json.loads(path.read_text())
            told = [*(file["path"] for file in receipt["files"]), *receipt["scan"].values()]
            cells += [(Path(receipt["folder"]), cell) for cell in told if isinstance(cell, str)]
    return sorted({path for base, cell in cells if cell and (path := base / cell).is_file()})


def _sort(paths: Iterable[Path], results: Path, name: str, found: Removal) -> None:
    """Tell downloads, which the ledger of their folder lists, from the user's own files."""
    from dysconnect.acquire.transfer.remote import LEDGER

    inside = set(found.files)
    for path in paths:
        root = next((own for own in path.parents if (own / LEDGER).exists()), None)
        if path in inside or (root is None and path.is_relative_to(results.resolve())):
            continue
        if root is None:
            found.theirs.append(path)
            continue
        listed = [line.split("\t")[0] for line in (root / LEDGER).read_text(encoding="utf-8").splitlines()[1:]]
        fetched = {root / place for place in listed}
        found.downloads += [path] if path in fetched else []
        found.downloads += [own for own in sorted(fetched) if _is_named(own.relative_to(root), name) and own.exists()]
        found.theirs += [path] if path not in fetched else []
    found.downloads = list(dict.fromkeys(found.downloads))


def _is_named(place: Path, name: str) -> bool:
    """Whether a file of a data folder is named for somebody, as BIDS names files and folders."""
    return any(part == name or part.startswith(f"{name}_") for part in place.parts)


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        for top, _, _ in os.walk(folder, topdown=False):
            if not any(Path(top).iterdir()):
                shutil.rmtree(top)


def _in_mlflow(project: Path, dataset: str, dry: bool) -> list[str]:
    """Remove the dataset's runs, or name them."""
    handle, database = project / "results/tracking.json", project / "results/mlflow.db"
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri and handle.exists():
        uri = json.loads(handle.read_text())["uri"]
    if not uri and not database.exists():
        return []
    uri = uri or f"sqlite:///{database}"
    if uri.startswith("sqlite:///") and not Path(uri[len("sqlite:///") :]).is_absolute():
        uri = f"sqlite:///{project / uri[len('sqlite:///') :]}"
    from dysconnect.tracking.withdraw import remove_dataset  # MLflow takes seconds to load

    return remove_dataset(uri, dataset, dry)


def told(found: Removal, runs: Sequence[str], name: str, dataset: str, others: Sequence[str], dry: bool) -> str:
    """Say what was deleted, what is left to the user, and what to do next."""
    done = "would be deleted" if dry else "deleted"
    lines = [
        f"{name} {'would be withdrawn' if dry else 'is withdrawn'} from {dataset}"
        f"{'' if dry else f'; {FILE} keeps it that way, in every run: keep that file'}.",
        f"{len(found.files)} files of the results {done}: {name}'s own, and all that was made with {name}.",
        f"{len(found.downloads)} downloaded files {done}.",
        f"{len(runs)} MLflow runs of {dataset} {done}, with their artifacts and models.",
    ]
    if found.theirs:
        lines += ["Yours to delete, nothing here touches them:", *_some(found.theirs)]
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
