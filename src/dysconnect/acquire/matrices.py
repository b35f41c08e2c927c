"""A user's folder of matrices of connections, one file a person: their own, or those of other people's tools.

Names are those of BIDS (``_relmat.tsv``, ``_relmat.dense.tsv``), XCP-D, QSIRecon (``_connectivity.mat``),
MRtrix3_connectome (``_connectome.csv``, ``_meanlength.csv``) and micapipe (``_full-connectome.shape.gii``). Which file
is meant is decided before anything is read.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.acquire.find import describe_choice, joined
from dysconnect.acquire.kinds import segmentation
from dysconnect.acquire.matrix_names import LABELS, matrix_files, refuse_key, refuse_several_kinds, said
from dysconnect.acquire.participants_table import people_files
from dysconnect.acquire.people import People, read_people
from dysconnect.data.images.receipts import CHOICES
from dysconnect.data.matrices import CONTENTS, contents_of, matrix_hash
from dysconnect.problems import reason
from dysconnect.reading.bids import (
    Ambiguity,
    Listing,
    Named,
    absent_content,
    asked_entities,
    choose,
    fits,
    folders_above,
    list_folder,
    listed,
    made_by,
    read_name,
    refuse_ambiguities,
    same,
)
from dysconnect.reading.matrices import SPARSE

DESCRIPTION = "dataset_description.json"
LABEL_FILES = (".txt", ".tsv", ".csv", ".json")


@dataclass(frozen=True)
class MatrixFile:
    """One person's matrix.

    Attributes
    ----------
    matrix : Named
    labels : str
        Table of the names of its rows, relative to the folder or absolute; "" where none lies beside it.
    others : tuple of Named
        Matrices that could have been meant.
    problem : str
        Why it cannot be used; "" when all is well.
    description : str
        The ``dataset_description.json`` next above it, relative to the folder; "" where there is none.
    """

    matrix: Named
    labels: str = ""
    others: tuple[Named, ...] = ()
    problem: str = ""
    description: str = ""


@dataclass(frozen=True)
class MatrixPlan:
    """What is read of a user's folder: everybody, their files by `participant_id`, and the folder's listing."""

    people: People
    chosen: Mapping[str, MatrixFile]
    listing: Listing

    @property
    def choices(self) -> pd.DataFrame:
        """What was taken of several: `participant_id`, `what`, `chosen`, `others`, `why`."""
        rows = [
            (name, "matrix", one.matrix.path, joined(one.others), describe_choice(one.matrix, one.others))
            for name, one in self.chosen.items()
            if one.others
        ]
        return pd.DataFrame(rows, columns=list(CHOICES))


def content_of(spec: Mapping, measure: str, listing: Listing) -> str:
    """What the numbers are: as the user says, else as the measure or the names of the files say.

    Parameters
    ----------
    spec : mapping
        The `dataset` section: `matrices` (`content`), and what tells which files are meant.
    measure : str
        Of connectivity.
    listing : Listing

    Raises
    ------
    ValueError
        When nothing says it, or what is said does not give the measure.
    """
    fitting, asked = contents_of(measure), spec["matrices"]["content"]
    _refuse_content(asked, fitting, measure, listing)
    asked_for = asked_entities(spec)
    named = {said(file) for file in matrix_files(listing) if _fits(file, asked_for, spec)} - {""}
    known = [asked] if asked else fitting if len(fitting) == 1 else sorted(named & set(fitting))
    if len(known) == 1:
        refuse_key(spec["matrices"]["key"] or "", known[0])
        return known[0]
    if named and not known:
        raise ValueError(
            f"{listing.root}: the names of the matrices say {' and '.join(sorted(named))}, not {measure}. Add --config "
            f"connectivity={CONTENTS[min(named)].measures[0]}, or say dataset.matrices.content={' or '.join(fitting)}."
        )
    raise ValueError(
        "nothing says what the matrices hold, correlations or their Fisher z: say "
        f"dataset.matrices.content={' or '.join(fitting)}."
    )


def _refuse_content(asked: str | None, fitting: Sequence[str], measure: str, listing: Listing) -> None:
    """Refuse a measure that no matrices give, or those that are there do not."""
    if not fitting:
        given = dict.fromkeys(name for one in CONTENTS.values() for name in one.measures)
        raise ValueError(
            f"{measure} is computed from series, and {listing.root} has matrices. Choose what they give: --config "
            f"connectivity={' or '.join(given)}."
        )
    if asked and asked not in fitting:
        raise ValueError(
            f"dataset.matrices.content={asked} does not give connectivity={measure}. Add --config "
            f"connectivity={' or '.join(CONTENTS[asked].measures)}."
        )


def plan_matrices(spec: Mapping, root: str | Path, listing: Listing | None = None) -> MatrixPlan:
    """Decide whose matrices are read, and which; of the files only the names are looked at.

    Parameters
    ----------
    spec : mapping
        The `dataset` section: `name`, `contrast`, `covariates`, `task`, `session`, `run`, `entities`, `segmentation`,
        `order`, `matrices` (`content`, `key`, `labels`, `scaled`).
    root : path
    listing : Listing, optional
        Of the folder, where it was listed already.

    Raises
    ------
    FileNotFoundError, ValueError
        When the table or all matrices are missing, or matrices could be meant for one another.
    """
    listing = listing or list_folder(root)
    people = read_people(spec, root)
    table = people.table
    wanted = table.loc[table["exclusion_reason"] == "", "participant_id"]
    _refuse_absent_labels(spec["matrices"]["labels"])
    asked, files = asked_entities(spec), matrix_files(listing)
    fitting = [file for file in files if _fits(file, asked, spec)]
    _refuse_several_folders(fitting, spec, listing)
    chosen, unclear = {}, []
    for name in wanted:
        candidates = _of_content([file for file in fitting if file.participant_id == name], spec)
        try:
            choice = choose(candidates, asked)
        except Ambiguity as error:
            unclear.append(error)
            continue
        if choice.file:
            chosen[name] = _with_labels(choice.file, choice.others, spec, listing)
    refuse_ambiguities(unclear, root)
    if not chosen:
        raise FileNotFoundError(_nobody(table, files, fitting, spec, root))
    refuse_several_kinds([one.matrix for one in chosen.values()], {*asked, "seg" if spec["segmentation"] else ""}, root)
    return MatrixPlan(people, chosen, listing)


def _refuse_absent_labels(path: str | None) -> None:
    if path and not Path(path).is_file():
        raise FileNotFoundError(f"dataset.matrices.labels={path}: no such file (seen from {Path.cwd()}).")


def _fits(file: Named, asked: Mapping, spec: Mapping) -> bool:
    """Whether a name fits the session, run and atlas that are asked for; what it leaves out fits all."""
    return fits(file, asked) and (not spec.get("segmentation") or segmentation(file) in ("", spec["segmentation"]))


def _of_content(files: Sequence[Named], spec: Mapping) -> list[Named]:
    """Files of a person whose names say the content; else those whose names say nothing."""
    content = spec["matrices"]["content"]
    fitting = [file for file in files if said(file) == content] or [file for file in files if not said(file)]
    return [file for file in fitting if file.extension != SPARSE] or fitting  # of both forms the one that is read


def _refuse_several_folders(files: Sequence[Named], spec: Mapping, listing: Listing) -> None:
    """Refuse matrices of one content and person in several data sets below one folder, as QSIRecon writes them."""
    by_person: dict[str, set[str]] = {}
    for file in _of_content(files, spec):
        by_person.setdefault(file.participant_id, set()).add(re.split(r"(?:^|(?<=/))sub-", file.path)[0])
    folders = sorted(max(by_person.values(), key=len, default=()))
    if len(folders) > 1:
        roots = [f"dataset.root={(listing.root / folder).as_posix()}" for folder in folders[:3]]
        folders = [folder or "." for folder in folders]
        raise ValueError(
            f"{listing.root}: matrices lie in {len(folders)} folders ({', '.join(folders[:4])}). Say which: "
            f"{' or '.join(roots)}; if that has no participants.tsv, dataset.people=FILE says where it is."
        )


def _nobody(people: pd.DataFrame, files: Sequence[Named], fitting: Sequence[Named], spec: Mapping, root) -> str:
    ids = people["participant_id"].iloc[0]
    if files and not fitting:
        return (
            f"{root}: matrices such as {listed(files, 2)}, but none that is asked for. Check dataset.task, "
            "dataset.session, dataset.run, dataset.entities and dataset.segmentation."
        )
    if files:
        return (
            f"{root}: matrices such as {listed(files, 2)}, but none of anybody in participants.tsv ({ids} and others) "
            f"that holds {spec['matrices']['content']}. Write the ids alike, or say what they hold: "
            "dataset.matrices.content=..."
        )
    return (
        f"{root}: no matrix of anybody in participants.tsv. Expected one file a person, such as {ids}_relmat.tsv, "
        f"{ids}.npy or {ids}_connectivity.mat (also .csv, .txt; not packed, with sub- in the name, and of no other "
        "quantity such as MD), here or in a folder below. Check dataset.root."
    )


def _with_labels(file: Named, others: tuple[Named, ...], spec: Mapping, listing: Listing) -> MatrixFile:
    """A matrix and the table that names its rows; links without content are its owner's problem."""
    asked = spec["matrices"]["labels"]
    try:
        labels = os.path.abspath(asked) if asked else _labels_beside(file, listing)
    except Ambiguity as error:
        return MatrixFile(file, "", others, reason(error))
    dead = [path for path in (file.path, labels) if path in listing.dead]
    problem = absent_content(listing.root, dead) if dead else ""
    return MatrixFile(file, labels, others, problem, _description_above(file, listing))


def _description_above(file: Named, listing: Listing) -> str:
    """Description of the data set that a file belongs to: the nearest, in its folder or above."""
    paths = ["/".join(filter(None, (folder, DESCRIPTION))) for folder in folders_above(file.folder)]
    return next((path for path in reversed(paths) if path in listing.present), "")


def _labels_beside(file: Named, listing: Listing) -> str:
    """Table of names in the folder of a matrix or above, all of whose parts are in its name: the nearest, most like it.

    Raises
    ------
    Ambiguity
        When two are equally near.
    """
    tables = [table for table in _label_files(listing) if _belongs(table, file)]
    if not tables:
        return ""
    rank = {table.path: (len(table.folder), len(table.entities)) for table in tables}
    best = [table for table in tables if rank[table.path] == max(rank.values())]
    if len(best) > 1:
        raise Ambiguity(
            f"{file.name}: several tables could name its rows: {listed(best)}. Say which: dataset.matrices.labels=FILE",
            best,
            "",
        )
    return best[0].path


def _label_files(listing: Listing) -> Iterable[Named]:
    for path in listing.files:
        if path.endswith(LABEL_FILES):
            named = read_name(path)
            if named.extension in LABEL_FILES and (LABELS.fullmatch(named.suffix) or _labels_alone(named)):
                yield named


def _labels_alone(file: Named) -> bool:
    """Whether a name without parts is of labels: ``labels.txt``, ``lut_schaefer-100.csv``."""
    return bool(file.words) and bool(LABELS.fullmatch(file.words[0])) and not file.entities.get("sub")


def _belongs(table: Named, file: Named) -> bool:
    above = not table.folder or f"{file.folder}/".startswith(f"{table.folder}/")
    return above and all(same(key, file.entities.get(key), value) for key, value in table.entities.items())


def matrix_sources(spec: Mapping, plan: MatrixPlan) -> list[Path]:
    """List the files that are read, so that a change in one of them is noticed; dead links are not."""
    paths = [path for one in plan.chosen.values() for path in (one.matrix.path, one.labels, one.description) if path]
    root, dead = plan.listing.root, plan.listing.dead
    return [*people_files(spec, root), *(root / path for path in dict.fromkeys(paths) if path not in dead)]


def acquire_matrices(spec: Mapping, plan: MatrixPlan) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Collect participants and the index of their matrices; nothing is copied.

    Returns
    -------
    participants : DataFrame
        Everybody, with `exclusion_reason` for those who are not wanted. Copies of one file share a `scan_group`.
    index : DataFrame
        `participant_id`, `matrix`, `labels` (absolute paths), `key`, `segmentation`, `order`, `content`, `scaled`,
        `sha256` (of both files), `processing` (which software made it, where a ``dataset_description.json`` says so),
        `problem`.
    """
    participants = plan.people.table
    index = pd.DataFrame(_entry(name, one, spec, plan.listing.root) for name, one in plan.chosen.items())
    owner = index.groupby(index["sha256"].where(index["sha256"] != "", index["participant_id"]))["participant_id"]
    groups = dict(zip(index["participant_id"], owner.transform("first")))
    names = participants["participant_id"]
    in_table = participants.get("mean_fd", np.nan)
    return participants.assign(scan_group=names.map(groups).fillna(names), mean_fd=in_table), index


def _entry(name: str, one: MatrixFile, spec: Mapping, root: Path) -> dict:
    asked = spec["matrices"]
    row = {"participant_id": name, "matrix": os.path.abspath(root / one.matrix.path)}
    row |= {"labels": os.path.abspath(root / one.labels) if one.labels else "", "key": asked["key"] or ""}
    row |= {"segmentation": spec.get("segmentation") or "", "order": spec["order"], "content": asked["content"]}
    row |= {"scaled": "true" if asked["scaled"] else "false", "sha256": ""}
    row |= {"processing": made_by(root / one.description) if one.description else "", "problem": one.problem}
    try:
        if not one.problem:
            row |= {"problem": absent_content(root, [one.matrix.path]), "sha256": matrix_hash(row)}
    except Exception as error:  # whatever a person's files raise is that person's reason
        row["problem"] = reason(error)
    return row
