"""What a site answers to a plan: sums of its circuits under secret permutations, masked; and their totals over sites.

``SITE.masked.npz`` holds whole numbers modulo 2^64 that look random, until those of all sites are added.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import blocks
from dysconnect.pooling.masks import LARGEST, NUMBER, is_signed, mask, of_steps, signed, stream, to_steps
from dysconnect.pooling.permuted import centred, exact_products, permuted_products, tested
from dysconnect.pooling.within import within
from dysconnect.reading.archives import DAMAGED
from dysconnect.share.columns import GROUP, SITE, Design
from dysconnect.share.package import Package, npy, zipped
from dysconnect.share.release import Circuits, NotSharedError
from dysconnect.share.session import Kept, Plan, circuit_places, circuit_sums
from dysconnect.share.unpacked import HEADER, PackageError, member_bytes, plain_array, plain_json

AGREE = 1e-9  # of the largest that a product can be: how far the group as it is may be from the sums
MOST_GROWN = 4  # times its sum of squares may a site's group have when the slopes of all people are taken from it
FORMAT = "dysconnect masked sums 1"
ABOUT, MASKED, SIGNATURE = "about.json", "masked.npy", "signature"
COLUMNS = ("circuit", "statistic", "p_fwer", "permutations", "sites", "people")


def circuit_means(cohort: Cohort, rows: np.ndarray, circuits: Circuits) -> np.ndarray:
    """Mean of every circuit's connections in every person, [n, C]; those that somebody lacks are the others' mean."""
    total, seen = np.zeros((2, cohort.values.shape[1]))
    for _, known, lacking in _pieces(cohort, rows):
        total += known.sum(0)
        seen += (~lacking).sum(0)
    mean, made = total / np.maximum(seen, 1), np.empty((len(rows), len(circuits.names)))
    for part, known, lacking in _pieces(cohort, rows):
        filled = np.where(lacking, mean, known)
        made[part] = np.stack([filled[:, inside[seen[inside] > 0]].mean(1) for inside in circuits.edges], 1)
    return made


def _pieces(cohort: Cohort, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Connections of some people at a time, zero where they lack them, and which these are."""
    for part in blocks((len(rows), cohort.values.shape[1])):
        lacking = cohort.lacking(rows[part])
        yield part, np.where(lacking, 0.0, cohort.values[rows[part]]).astype(float), lacking


def products(plan: Plan, kept: Kept, design: Design, means: np.ndarray, package: Package) -> np.ndarray:
    """What a site adds up, in the clear: it must not leave, [1 + B, C + r].

    Parameters
    ----------
    plan : Plan
    kept : Kept
        Its secret makes the permutations.
    design : Design
        Of the n people of the release.
    means : array, [n, C]
        Of the circuits of the plan.
    package : Package
        The release, with which the group as it is must agree.

    Raises
    ------
    NotSharedError
    """
    scanners = design.values[:, [c.kind == SITE for c in design.columns]].argmax(1)
    covariates = np.zeros((len(means), len(plan.shared.covariates)))
    for k, name in enumerate(plan.shared.covariates):
        if name in design.names:
            covariates[:, k] = design.values[:, design.names.index(name)]
    covariates = centred(covariates, scanners)
    alone = centred(design.values[:, design.names.index(GROUP)], scanners)
    group = alone - covariates @ plan.shared.slopes
    _refuse_slopes(plan, group @ group, alone @ alone)
    values = np.column_stack([centred(means, scanners), covariates @ plan.shared.weights])
    draw = stream(kept.secret, "permutations", bytes.fromhex(plan.session))
    made = permuted_products(group, values, scanners, draw, plan.permutations)
    places = circuit_places(package)
    sums = within(package.sums.among(np.array([places[name] for name in plan.circuits])))
    if not _agree(made[0], exact_products(sums, plan.shared), plan):
        raise NotSharedError(
            f"share.plan: the results are no longer those of {package.site}.zip (release "
            f"{package.about['release']}). Make it again, and send it with a new key."
        )
    return made


def _refuse_slopes(plan: Plan, left: float, before: float) -> None:
    """Refuse a model of the group by which one site would outweigh the others, so that totals would be its own.

    A plan may name a level that one site has alone; by a large slope of it, or by the group as its own covariate, the
    sums of all others would be as nothing beside those of that site.
    """
    foreign = [name for name in plan.shared.covariates if name == GROUP or name.startswith(f"{SITE}=")]
    if foreign:
        raise NotSharedError(f"share.plan: {foreign[0]} is no covariate of the group. Ask whoever made the plan.")
    if not left <= MOST_GROWN * before:
        raise NotSharedError(
            "share.plan: what the covariates leave of the group has a sum of squares "
            f"{left / before:.3g} times that of the group, and {MOST_GROWN} times is the most: the totals would be "
            "those of this site alone. Ask whoever made the plan for its slopes."
        )


def _agree(found: np.ndarray, expected: np.ndarray, plan: Plan) -> bool:
    """Whether products of the group as it is with circuits are those of the sums."""
    count = len(plan.circuits)
    return bool((np.abs(found[:count] - expected) <= AGREE * LARGEST * plan.steps[:count]).all())


def masked(plan: Plan, kept: Kept, values: np.ndarray) -> bytes:
    """``SITE.masked.npz`` of the products of a site.

    Raises
    ------
    NotSharedError
        For NaN, or a product that is larger than those of all sites together can be.
    """
    try:
        counted = to_steps(values, plan.steps)
        hidden = mask(kept.secret, plan.publics, bytes.fromhex(plan.session), counted.size).reshape(counted.shape)
    except ValueError as error:
        raise NotSharedError(f"share.plan: {error} Nothing is written. Ask whoever made the plan.") from error
    sums = counted + hidden
    signature = signed(kept.secret, _content(plan.session, kept.site, sums))
    about = json.dumps({"format": FORMAT, "session": plan.session, "site": kept.site}).encode()
    return zipped({ABOUT: about, MASKED: npy(sums), SIGNATURE: signature})


def _content(session: str, site: str, sums: np.ndarray) -> bytes:
    """What is signed."""
    return f"{FORMAT} {session} {site} ".encode() + np.ascontiguousarray(sums, NUMBER).tobytes()


def answer_of(content: bytes) -> str:
    """Hash of an answer, for what a site keeps."""
    return hashlib.sha256(content).hexdigest()


def read_masked(path: str | Path, plan: Plan) -> tuple[str, np.ndarray]:
    """Read the answer of a site to a plan: its name, and uint64 [1 + B, C + r].

    Raises
    ------
    PackageError
        When it answers another plan, is of no site of this one, or is not what that site has signed.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as file:
            if sorted(one.filename for one in file.infolist()) != [ABOUT, MASKED, SIGNATURE]:
                raise PackageError("holds other parts than an answer to a plan.")
            said = _about(member_bytes(file, ABOUT, HEADER))
            if said != {"format": FORMAT, "session": plan.session, "site": said.get("site")}:
                raise PackageError(f"answers another plan than that of session {plan.session[:16]}.")
            size = int(np.prod(plan.shape)) * NUMBER.itemsize + HEADER
            sums = plain_array("masked", member_bytes(file, MASKED, size), plan.shape, NUMBER)
            signature = member_bytes(file, SIGNATURE, 64)
    except PackageError as error:
        raise PackageError(f"{path} {error} Ask the site for its file again.") from error
    except (*DAMAGED, OSError) as error:
        raise PackageError(f"{path} is damaged or no zip ({error}). Ask the site for its file again.") from error
    public = next((key.public for key in plan.sites if key.site == said["site"]), None)
    if public is None:
        raise PackageError(f"{path} is of {said['site']!r}, which is no site of this plan.")
    if not is_signed(public, _content(plan.session, said["site"], sums), signature):
        raise PackageError(f"{path} is not what {said['site']} has written: its signature is of other numbers.")
    return said["site"], sums


def _about(content: bytes) -> dict:
    try:
        said = plain_json(content)
    except (ValueError, RecursionError) as error:
        raise PackageError(f"says nothing that can be read of itself ({str(error)[:100]}).") from error
    if not isinstance(said, dict) or not isinstance(said.get("site"), str):
        raise PackageError("does not say of which site it is.")
    return said


def totals(plan: Plan, paths: Sequence[str | Path]) -> np.ndarray:
    """Add the answers of all sites up: all that can be seen of them, [1 + B, C + r].

    Raises
    ------
    PackageError
        When one is lacking or given twice, or the masks do not cancel.
    """
    answers: dict[str, np.ndarray] = {}
    for path in paths:
        site, sums = read_masked(path, plan)
        if site in answers:
            raise PackageError(f"{path} is a second answer of {site}. Give one of every site.")
        answers[site] = sums
    absent = [key.site for key in plan.sites if key.site not in answers]
    if absent:
        raise PackageError(
            f"there is no answer of {', '.join(absent)}, and without all of them the sums are random numbers. Wait for "
            "it; if a site does not answer, start a new session with the others."
        )
    try:
        return of_steps(sum(answers.values()), plan.steps)
    except ValueError as error:
        raise PackageError(
            f"{error} One of the sites answered with the keys of another plan, or its numbers were changed. Compare "
            "the number of the session and the fingerprints by phone."
        ) from error


def circuit_p(packages: Sequence[Package], plan: Plan, added: np.ndarray) -> pd.DataFrame:
    """Family-wise p of circuits over all sites, from totals.

    Parameters
    ----------
    packages : sequence of Package
        The releases of the plan.
    plan : Plan
    added : array, [1 + B, C + r]
        As of `totals`.

    Returns
    -------
    DataFrame
        `COLUMNS`: a row a circuit of the plan, with its t.

    Raises
    ------
    PackageError
        When the releases are others, or the group as it is does not give the t of their sums.
    """
    given = {one.site: one.about["release"] for one in packages}
    wanted = {one.site: one.release for one in plan.sites}
    differing = sorted(name for name in given.keys() | wanted.keys() if given.get(name) != wanted.get(name))
    if differing:
        raise PackageError(f"the plan is for other releases of {', '.join(differing)}. Give the files it was made of.")
    names, sums = circuit_sums(packages)
    if names != list(plan.circuits):
        raise PackageError("the plan names other circuits than the files of the sites give. Make a new plan.")
    expected = exact_products(sums, plan.shared)
    if not _agree(added[0], expected, plan):
        raise PackageError(
            "the totals of the group that was not permuted are not those of the sites' files: a site has answered "
            "for other people than those of its SITE.zip, or changed a number. No p is given."
        )
    result = tested(sums, plan.shared, added)
    numbers = [list(names), result.t, result.p, plan.permutations, len(packages), sums.n]
    return pd.DataFrame(dict(zip(COLUMNS, numbers)))
