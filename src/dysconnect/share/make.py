"""What the rules of a site do: from connectomes and participants to its file, its key, and its answer to a plan."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.data.atlas import load_atlas
from dysconnect.data.cohort import Cohort
from dysconnect.data.labelled import labelled_cohort
from dysconnect.share.columns import Design
from dysconnect.share.earlier import alike_before, check_scans, connections_of
from dysconnect.share.gate import Passed, check_models, check_release
from dysconnect.share.ledger import Ledger
from dysconnect.share.masked import answer_of, circuit_means, masked, products
from dysconnect.share.package import Package, packed
from dysconnect.share.release import Circuits, NotSharedError, gathered, load_parts, people_of, released
from dysconnect.share.session import MOST_SESSIONS, check_plan, read_plan, spoken
from dysconnect.share.statement import statement
from dysconnect.share.unpacked import read_package, why_not_stated
from dysconnect.share.weights import weights_of
from dysconnect.share.withheld import fit_outcomes


def make_sums(files: Mapping[str, str], spec: Mapping, batch: int) -> dict[str, np.ndarray]:
    """Add up one of the batches of a cohort.

    Parameters
    ----------
    files : mapping
        `connectomes`, `participants`.
    spec : mapping
        `share` (the section), `localize` (`measure`, `prior_circuits`, `max_missing`), `atlas`, `contrast`, `site`.
    batch : int
        From 0.
    """
    cohort, design, rows, circuits = _opened(files, spec)
    start, stop = (len(rows) * k // spec["share"]["batches"] for k in (batch, batch + 1))
    return gathered(cohort, design, rows, circuits, slice(start, stop))


def make_package(
    files: Mapping[str, str], parts: Sequence[str | Path], spec: Mapping, ledger: str | Path
) -> tuple[Package, Passed]:
    """Join the batches to the file of a site, if the gate lets it pass; return it with the figures of the gate.

    Parameters
    ----------
    files, spec
        As of `make_sums`; `files` also `models` where models of other sites were tested, `spec` also `processing`,
        `licence` and `dataset` (its name).
    parts : sequence of path
        Batches.
    ledger : path
        What was released before; this release is written into it before anything is given away.

    Raises
    ------
    NotSharedError
        Names the rule that forbids it.
    """
    cohort, design, rows, circuits = _opened(files, spec)
    share, book, nodes = spec["share"], Ledger.read(ledger), _regions(cohort, spec)
    names = design.people["participant_id"].astype(str).tolist()
    now = connections_of(cohort, rows, nodes, book)
    fit = fit_outcomes(cohort, rows, design, circuits, share)
    fit &= alike_before(cohort, rows, circuits, now, book, names)
    if not fit.any():
        raise NotSharedError(
            f"connectivity={cohort.measure}: there is no connection that enough people have and in which they differ. "
            "Whether two regions are joined, as 0 or 1, is not shared: share another measure."
        )
    everybody, controls = released(load_parts(parts), design, circuits, spec["localize"]["max_missing"], fit)
    if share["edges"] == "circuits":
        last = slice(cohort.values.shape[1], None)
        everybody, controls = everybody.among(last), controls.among(last)
    people, said = pd.read_csv(files["participants"], sep="\t"), spec | {"processing": _processing(spec)}
    about = statement(cohort, design, circuits.names, nodes, people, said)
    about["models"] = json.loads(Path(files["models"]).read_text()) if files.get("models") else []
    package = packed(about, nodes, everybody, controls if share["norm"] else None)
    if wrong := why_not_stated(package.about):
        raise NotSharedError(
            f"what the file would say of itself cannot be sent: {wrong}. Correct it where it is given."
        )
    own, others = package.about["release"], book.other_than(package.about["release"])
    passed = check_release(design, share, others)
    check_scans(now, others, names)
    check_models(about["models"], others, names)
    more = now.described() | {"models": [one["checksum"] for one in about["models"]]}
    book.add(own, package.site, spec["dataset"], names, weights_of(design, share["norm"]), len(package.sums.yy), **more)
    return package, passed


def make_masked(files: Mapping[str, str], spec: Mapping, ledger: str | Path, folder: str | Path) -> tuple[bytes, str]:
    """Answer a plan: ``SITE.masked.npz``, and what the site reads to others by phone before it sends that.

    Parameters
    ----------
    files : mapping
        `connectomes`, `participants`, `package` (the site's newest) and `plan`.
    spec : mapping
        As of `make_sums`.
    ledger : path
        Says which releases are revoked.
    folder : path
        Of the site's secrets; the answer is written down there before it leaves.

    Raises
    ------
    NotSharedError, PackageError
        Names the rule that forbids it, or what is wrong with the plan.
    """
    plan, package = read_plan(files["plan"]), read_package(files["package"])
    book = Ledger.read(ledger)
    revoked = {one["release"] for one in book.releases if one["revoked"]}
    kept = check_plan(plan, package, folder, revoked)
    cohort, design, rows, circuits = _opened(files, spec)
    means = circuit_means(cohort, rows, circuits.among(plan.circuits))
    content = masked(plan, kept, products(plan, kept, design, means, package))
    answered = kept.answered(plan.session, answer_of(content))
    book.answer(kept.release, plan.session, MOST_SESSIONS)
    answered.save(folder)
    return content, spoken(plan)


def _opened(files: Mapping[str, str], spec: Mapping) -> tuple[Cohort, Design, np.ndarray, Circuits]:
    localize = spec["localize"]
    cohort, _ = labelled_cohort(files["connectomes"], files["participants"], spec["contrast"], localize["measure"])
    design, rows = people_of(cohort, spec["share"], spec["site"])
    return cohort, design, rows, Circuits.of_atlas(_regions(cohort, spec), localize["prior_circuits"], cohort.directed)


def _regions(cohort: Cohort, spec: Mapping) -> pd.DataFrame:
    return load_atlas(spec["atlas"]["nodes"]).set_index("name", drop=False).loc[cohort.nodes].reset_index(drop=True)


def _processing(spec: Mapping) -> dict:
    """Settings that must be the same at all sites; the label image by its hash, as other labels have the same name."""
    image = spec["atlas"].get("image")
    labels = {"atlas": {"image": hashlib.sha256(Path(image).read_bytes()).hexdigest()}} if image else {}
    return spec["processing"] | labels
