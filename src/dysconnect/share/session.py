"""A session: sites agree on what they will add up under masks, and each keeps its secret.

Of a site a key leaves (``SITE.key.json``: what is public of its secret). Whoever combines the sites' files makes
``plan.json`` of them: who takes part, with which releases and keys, and what is to be added up. The number of the
session is a hash of all that, so that sites that were sent different plans have masks that do not cancel. The secret
stays in the project, beside the results and not in them, and answers one plan.
"""

import json
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dysconnect.pooling.fit import why_not
from dysconnect.pooling.masks import LARGEST, LENGTH, fingerprint, in_fours, new_secret, public_of
from dysconnect.pooling.permuted import Shared, largest_products, shared_model
from dysconnect.pooling.within import Within, joined, within
from dysconnect.share.package import Package, hash_of
from dysconnect.share.release import NotSharedError
from dysconnect.share.unpacked import CHECKER, PackageError, plain_json, texts_of, why_not_shown

FOLDER = "private"  # in the project
KEY, PLAN = "dysconnect key 1", "dysconnect plan 1"
SCHEMA = Path(__file__).with_name("session.schema.json")
LONGEST = 1_000_000  # bytes of a key or plan
FEWEST_SITES = 3
PERMUTATIONS = 99, 10_000  # at least, so that more is added up than there are values; at most
MOST_CIRCUITS = 20
SPREAD = 0.2  # of the people must be circuits^1.5 at most: see `most_circuits`
MOST_SESSIONS = 3  # answers about one release: sessions of other sites could be subtracted from each other


class Key(NamedTuple):
    """What a site lets others know, and how many people its release has (0 where that is not said)."""

    site: str
    release: str
    public: bytes
    people: int = 0


@dataclass(frozen=True)
class Plan:
    """What is added up in a session.

    Attributes
    ----------
    sites : tuple of Key
    permutations : int
    circuits : tuple of str, [C]
    shared : Shared
        Model of the group by r orthonormal covariates.
    steps : array, [C + r]
        In which products with circuits and covariates are counted.
    """

    sites: tuple[Key, ...]
    permutations: int
    circuits: tuple[str, ...]
    shared: Shared
    steps: np.ndarray

    @property
    def session(self) -> str:
        """Number of the session: that of another plan is another one, [64 hexadecimal digits]."""
        return hash_of(self._content())

    @property
    def shape(self) -> tuple[int, int]:
        """Of what every site adds up: the group as it is and permuted, and values."""
        return 1 + self.permutations, len(self.steps)

    @property
    def publics(self) -> list[bytes]:
        """What is public of all sites' secrets."""
        return [key.public for key in self.sites]

    def described(self) -> dict:
        """Fit for JSON."""
        return {"format": PLAN, "session": self.session, **self._content()}

    def _content(self) -> dict:
        sites = [key._asdict() | {"public": key.public.hex()} for key in self.sites]
        return {
            "sites": sites, "permutations": self.permutations, "circuits": list(self.circuits),
            "covariates": list(self.shared.covariates), "slopes": self.shared.slopes.tolist(),
            "weights": self.shared.weights.tolist(), "steps": self.steps.tolist(),
        }  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """What a site keeps of a session, in a file that only its owner can read.

    Attributes
    ----------
    secret : bytes
    site, release : str
    session : str
        That was answered; empty before.
    answer : str
        Hash of what was answered.
    """

    secret: bytes
    site: str
    release: str
    session: str = ""
    answer: str = ""

    @property
    def key(self) -> Key:
        """What may leave."""
        return Key(self.site, self.release, public_of(self.secret))

    def save(self, folder: str | Path) -> None:
        """Write it, for the eyes of its owner."""
        path = _place(folder, public_of(self.secret))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(vars(self) | {"secret": self.secret.hex()}, file)
        os.replace(part, path)

    @classmethod
    def load(cls, path: Path) -> "Kept":
        """Read one."""
        said = json.loads(path.read_text())
        return cls(**said | {"secret": bytes.fromhex(said["secret"])})

    def answered(self, session: str, answer: str) -> "Kept":
        """The same after an answer.

        Raises
        ------
        NotSharedError
            When something else was answered before: two answers would differ by single permutations.
        """
        if self.session not in ("", session):
            raise NotSharedError(
                f"share.plan: this key has answered another plan (session {self.session[:16]}), and a key answers "
                "one. Make a new key (--forcerun key, with share.key=true), send it, and wait for a plan with it."
            )
        if self.answer not in ("", answer):
            raise NotSharedError(
                "share.plan: this plan was answered before with other numbers, and the difference of two answers would "
                "tell of single people. Send the file that was made first; if it is lost, start a new session."
            )
        return replace(self, session=session, answer=answer)


def _place(folder: str | Path, public: bytes) -> Path:
    return Path(folder, f"{fingerprint(public).replace(' ', '')}.json")


def kept_key(package: Package, folder: str | Path) -> Kept:
    """Secret of a site for its next session: the one that waits for a plan with this release, or a new one.

    Raises
    ------
    NotSharedError
        When as many sessions about this release were answered as may be.
    """
    release = package.about["release"]
    known = [Kept.load(path) for path in sorted(Path(folder).glob("*.json"))]
    known = [kept for kept in known if (kept.site, kept.release) == (package.site, release)]
    waiting = [kept for kept in known if not kept.session]
    if waiting:
        return waiting[0]
    if len(known) >= MOST_SESSIONS:
        raise NotSharedError(
            f"share.key: {len(known)} sessions were answered about release {release}, and more would tell of its "
            "people by their differences. Wait for a new release."
        )
    kept = Kept(new_secret(), package.site, release)
    kept.save(folder)
    return kept


def described_key(key: Key) -> dict:
    """``SITE.key.json``."""
    return {"format": KEY, "site": key.site, "release": key.release, "public": key.public.hex()}


def read_key(path: str | Path) -> Key:
    """Read the key of a site.

    Raises
    ------
    PackageError
    """
    said = _read(path, "key")
    return Key(said["site"], said["release"], bytes.fromhex(said["public"]))


def read_plan(path: str | Path) -> Plan:
    """Read a plan.

    Raises
    ------
    PackageError
        Also when its parts do not fit together, or its number is not that of its content.
    """
    said = _read(path, "plan")
    sites = tuple(Key(**site | {"public": bytes.fromhex(site["public"])}) for site in said["sites"])
    numbers = [np.array(said[name], float) for name in ("slopes", "steps")]
    k, rank = len(said["covariates"]), len(said["steps"]) - len(said["circuits"])
    rows = {len(row) for row in said["weights"]}
    if len(numbers[0]) != k or len(said["weights"]) != k or rows - {rank} or not 0 <= rank <= k:
        raise PackageError(f"{path} has slopes, weights or steps for other covariates and circuits than it names.")
    weights = np.array(said["weights"], float).reshape(k, rank)
    if not all(np.isfinite(values).all() for values in (*numbers, weights)):
        raise PackageError(f"{path} has numbers that are infinite.")
    shared = Shared(said["covariates"], numbers[0], weights)
    plan = Plan(sites, said["permutations"], tuple(said["circuits"]), shared, numbers[1])
    if plan.session != said["session"]:
        raise PackageError(f"{path} is not as it was written: its session has another number. Ask for the plan again.")
    return plan


def _read(path: str | Path, kind: str) -> dict:
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST + 1)
        said = plain_json(content) if len(content) <= LONGEST else None
    except (OSError, ValueError, RecursionError) as error:
        raise PackageError(f"{path} is no {kind} of a session: it cannot be read ({str(error)[:100]}).") from error
    if wrong := why_not_shown(texts_of(said)):
        raise PackageError(f"{path} is no {kind} of a session: {wrong}.")
    definitions = json.loads(SCHEMA.read_text())["$defs"]
    checker = CHECKER({"$defs": definitions, "$ref": f"#/$defs/{kind}"})
    error = next(iter(checker.iter_errors(said)), None)
    if error is not None:
        place = ".".join(map(str, error.absolute_path)) or "it"
        raise PackageError(f"{path} is no {kind} of a session: {place} is not as it must be ({error.message[:150]}).")
    return said


def most_circuits(people: int) -> int:
    """How many circuits may be permuted across so many people.

    Totals over many permutations say how circuits vary together, and whoever is in is nearer to the mean by that than
    others are: with somebody's scan an attacker tells with an AUC of about .5 + .4 circuits^1.5 / people, .57 at .2. Of
    60 people and 20 circuits it is .85 (tests/test_share_masks_attack.py).
    """
    return min(MOST_CIRCUITS, int((SPREAD * people) ** (2 / 3) + 1e-9))


def plan_of(packages: Sequence[Package], keys: Sequence[Key], permutations: int = 5000) -> Plan:
    """Plan the permutation of circuits across sites.

    Parameters
    ----------
    packages : sequence of Package
        Which belong together; a circuit that one of them does not give is left out.
    keys : sequence of Key
        One of every package.
    permutations : int

    Raises
    ------
    PackageError
        When a key is lacking or of another release, or a rule forbids it.
    """
    by_site = {key.site: key for key in keys}
    if len(by_site) < len(keys):
        raise PackageError("two keys are of the same site. Give the newest of every site.")
    sites = []
    for package in sorted(packages, key=lambda one: one.site):
        key = by_site.pop(package.site, None)
        if key is None or key.release != package.about["release"]:
            had = "there is none" if key is None else f"it is of release {key.release}"
            raise PackageError(
                f"{package.site}: a key of release {package.about['release']} is needed, and {had}. Ask the site for "
                f"{package.site}.key.json, made with share.key=true beside the {package.site}.zip that it has sent."
            )
        sites.append(key._replace(people=package.about["people"]["n"]))
    if by_site:
        raise PackageError(f"of {', '.join(sorted(by_site))} there is a key and no SITE.zip. Give both, or neither.")
    circuits, sums = circuit_sums(packages)
    if not circuits or why_not(sums):
        raise PackageError(f"nothing to permute: this cohort {why_not(sums) or 'has no circuit that all sites give'}.")
    steps = np.exp2(np.floor(np.log2(np.maximum(largest_products(sums), 1e-30))) + 1) / LARGEST
    plan = Plan(tuple(sites), permutations, tuple(circuits), shared_model(sums), steps)
    if refused := why_not_planned(plan):
        raise PackageError(refused)
    return plan


def circuit_sums(packages: Sequence[Package]) -> tuple[list[str], Within]:
    """Circuits that all sites give, and the sums of all sites over them, about the means of scanners."""
    places = [circuit_places(package) for package in packages]
    names = [name for name in places[0] if all(name in one for one in places)]
    parts = [
        within(package.sums.among(np.array([one[name] for name in names], int)))
        for package, one in zip(packages, places)
    ]
    return names, joined(parts, np.arange(len(names)))


def circuit_places(package: Package) -> dict[str, int]:
    """Circuits that a site gives, and their places among its outcomes."""
    places = {name: package.about["edges"] + k for k, name in enumerate(package.about["circuits"])}
    return {name: place for name, place in places.items() if package.sums.given[place]}


def why_not_planned(plan: Plan) -> str:
    """Which rule forbids a plan, for whoever makes it and for every site; empty where none does."""
    names = [key.site for key in plan.sites]
    halves = [{key.public[half] for key in plan.sites} for half in (slice(LENGTH), slice(LENGTH, None))]
    if len(set(names)) < FEWEST_SITES:
        return f"share.plan: {len(set(names))} sites, and fewer than {FEWEST_SITES} would see each other's sums."
    if len(set(names)) < len(names) or min(map(len, halves)) < len(names):
        return "share.plan: a site or a key stands in the plan twice, so that sums would be seen."
    if not PERMUTATIONS[0] <= plan.permutations <= PERMUTATIONS[1]:
        return (
            f"share.plan: {plan.permutations} permutations, and {PERMUTATIONS[0]} to {PERMUTATIONS[1]:,} are answered."
        )
    others = sum(key.people for key in plan.sites) - max(key.people for key in plan.sites)
    if len(plan.circuits) > most_circuits(others):
        return (
            f"share.plan: {len(plan.circuits)} circuits, and at most {most_circuits(others)} are permuted where all "
            f"sites but the largest (which can take its people away) have {others} people: more would tell who is in. "
            "Add sites, or name fewer in localize.prior_circuits."
        )
    return ""


def check_plan(plan: Plan, package: Package, folder: str | Path, revoked: Collection[str]) -> Kept:
    """Look at a plan before it is answered; return what the site has kept for it.

    Parameters
    ----------
    plan : Plan
    package : Package
        The site's newest release.
    folder : path
        Where its secrets are.
    revoked : collection of str
        Releases that are no longer given.

    Raises
    ------
    NotSharedError
    """
    if refused := why_not_planned(plan):
        raise NotSharedError(refused)
    own = next((key for key in plan.sites if key.site == package.site), None)
    if own is None:
        raise NotSharedError(f"share.plan: {package.site} is not among the sites of this plan.")
    if own.release in revoked:
        raise NotSharedError(f"share.plan: release {own.release} is revoked. Send the new SITE.zip and a new key.")
    if own.release != package.about["release"] or own.people != package.about["people"]["n"]:
        raise NotSharedError(
            f"share.plan: the plan is for release {own.release}, and {package.site}.zip is {package.about['release']}. "
            "Send the newest SITE.zip with a new key, and wait for a plan with them."
        )
    path = _place(folder, own.public)
    if not path.exists():
        raise NotSharedError(
            f"share.plan: the key of {package.site} in the plan ({fingerprint(own.public)}) was not made in this "
            f"project ({path.parent}/ has no secret of it): it was made elsewhere, or replaced on the way. Compare "
            "fingerprints by phone with whoever made the plan."
        )
    absent = set(plan.circuits) - set(circuit_places(package))
    if absent:
        raise NotSharedError(f"share.plan: {package.site} does not give {', '.join(sorted(absent))}.")
    return Kept.load(path)


def spoken(plan: Plan) -> str:
    """What sites read to each other by phone before anything is sent: the session, and everybody's key."""
    lines = [f"  {key.site:20s} {fingerprint(key.public)}   {key.people} people" for key in plan.sites]
    return "\n".join([f"session {in_fours(plan.session)}", *lines])
