"""What a project has released, beside its results, so that it outlives them: ``released.json``.

Sums can be subtracted from each other, so what may leave depends on what has left. The ledger holds of every release
who was in it, as salted hashes, and how they weighed in its sums; no id, no name of a column, and of a brain a salted
hash. A release that was revoked stays in it: whoever has the file can still subtract.

Hashes of columns would not be enough: one age that was corrected makes another column, and the difference of both is
that person's connections.
"""

import base64
import hashlib
import json
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dysconnect.keeping.whole import whole_file
from dysconnect.share.release import NotSharedError
from dysconnect.share.weights import basis

FILE = "released.json"  # in the project, as the list of those who have withdrawn
FORMAT = "dysconnect ledger 1"
DIFFERENCE = 10  # two releases differ by nobody, or by so many people
KEYS = {
    "release": str, "site": str, "dataset": str, "people": list, "weights": str, "outcomes": int, "revoked": bool,
    "kind": str, "scans": list, "lacking": str, "models": list, "sessions": list,
}  # fmt: skip
NOTHING = {"kind": "", "scans": [], "lacking": "", "models": [], "sessions": []}


class Joined(NamedTuple):
    """All that was and is to be released of some people, and of others together with them.

    Attributes
    ----------
    weights : array, [m, k]
        Rows are people: first those of the new release in their order, then others of earlier ones.
    releases : list of dict
        The earlier ones.
    """

    weights: np.ndarray
    releases: list[dict]


@dataclass
class Ledger:
    """Releases of a project.

    Attributes
    ----------
    path : path
    salt : str
        Of the hashes; made with the ledger.
    releases : list of dict
        `release` (number), `site`, `dataset`, `people` (hashes, [n]), `weights` (orthonormal basis of the weights of
        people in the sums [n, rank], as base64 of little-endian doubles), `outcomes` (how many), `revoked`; `kind`,
        `scans` and `lacking` of `earlier.Connections`; `models` (checksums of those that were tested) and `sessions`
        (that were answered about it).
    """

    path: Path
    salt: str
    releases: list[dict] = field(default_factory=list)

    @classmethod
    def read(cls, path: str | Path) -> "Ledger":
        """Read the ledger of a project; a new one where there is none.

        Raises
        ------
        ValueError
            When it is damaged: without it nobody knows what a new release gives away.
        """
        path = Path(path)
        if not path.exists():
            return cls(path, secrets.token_hex(16))
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            problem = _problem(held)
        except (ValueError, RecursionError, zlib.error) as error:
            problem = str(error)
        if problem:
            raise ValueError(
                f"{path} is damaged ({problem}). It says what has left this site, and nothing is shared or revoked "
                "without it: put back a copy of it (a backup)."
            )
        return cls(path, held["salt"], held["releases"])

    def hashed(self, names: Sequence[str]) -> list[str]:
        """Hashes of people, by `participant_id`; whatever the dataset, and with or without ``sub-`` before it."""
        plain = (name.removeprefix("sub-") for name in names)
        return [hashlib.sha256(f"{self.salt} {name}".encode()).hexdigest()[:20] for name in plain]

    def joined(self, names: Sequence[str], weights: np.ndarray) -> Joined:
        """Put the weights [n, k] of people beside those that they, and others with them, had in earlier releases."""
        people = self.hashed(names)
        met, left = [], list(self.releases)
        rows = dict.fromkeys(people)
        while near := [one for one in left if not rows.keys().isdisjoint(one["people"])]:
            left = [one for one in left if one not in near]
            met += near
            rows |= dict.fromkeys(person for one in near for person in one["people"])
        place = {person: row for row, person in enumerate(rows)}
        parts = [(people, weights), *((one["people"], _unpacked(one)) for one in met)]
        joined = [np.zeros((len(place), part.shape[1])) for _, part in parts]
        for whole, (who, part) in zip(joined, parts):
            whole[[place[person] for person in who]] = part
        return Joined(np.hstack(joined), met)

    def changed(self, names: Sequence[str]) -> list[tuple[dict, int]]:
        """Earlier releases that have some of the people, each with how many are in only one of both."""
        people = set(self.hashed(names))
        return [(one, len(people ^ set(one["people"]))) for one in self.releases if people & set(one["people"])]

    def other_than(self, release: str) -> "Ledger":
        """What was released beside a release, which may be made again."""
        return replace(self, releases=[one for one in self.releases if one["release"] != release])

    def add(
        self, release: str, site: str, dataset: str, names: Sequence[str], weights: np.ndarray, n: int, **more
    ) -> None:
        """Write a release down, once: its number, whose it is, and people's weights [n, k] in sums of `n` outcomes.

        `more` are `kind`, `scans`, `lacking` and `models`.

        Raises
        ------
        NotSharedError
            When it was revoked.
        """
        earlier = next((one for one in self.releases if one["release"] == release), None)
        if earlier is not None:
            if earlier["revoked"]:
                raise NotSharedError(
                    f"release {release} was revoked, since somebody in it has withdrawn, and is not made again. Is "
                    "withdrawn.tsv still in the project?"
                )
            return
        packed = base64.b64encode(basis(weights).astype("<f8").tobytes()).decode()
        entry = {"release": release, "site": site, "dataset": dataset, "people": self.hashed(names), "weights": packed}
        self.releases.append(entry | {"outcomes": int(n), "revoked": False} | NOTHING | more)
        self.write()

    def models(self, names: Sequence[str]) -> set[str]:
        """Checksums of the models that were tested on some of these people."""
        people = set(self.hashed(names))
        return {checksum for one in self.releases if people & set(one["people"]) for checksum in one["models"]}

    def answer(self, release: str, session: str, most: int) -> None:
        """Write down that a session about a release is answered; those about other releases of its people count too.

        Raises
        ------
        NotSharedError
            When as many others were answered as may be.
        """
        about = [one for one in self.releases if one["release"] == release]
        people = {person for one in about for person in one["people"]}
        had = {one for entry in self.releases if people & set(entry["people"]) for one in entry["sessions"]}
        if len(had - {session}) >= most:
            raise NotSharedError(
                f"share.plan: {len(had - {session})} sessions were answered about these people, and more would tell of "
                "them by their differences: no more are answered about releases that have any of them."
            )
        for one in about:
            one["sessions"] = sorted({*one["sessions"], session})
        self.write()

    def having(self, name: str) -> list[dict]:
        """Releases that had a person."""
        person = self.hashed([name])[0]
        return [one for one in self.releases if person in one["people"]]

    def revoke(self, name: str, dataset: str) -> list[dict]:
        """Mark every release of a dataset that had a person; return them, also those that were revoked before."""
        having = [one for one in self.having(name) if one["dataset"] == dataset]
        for one in having:
            one["revoked"] = True
        return having

    def write(self) -> None:
        """Write the ledger, whole or not at all."""
        held = {"format": FORMAT, "salt": self.salt, "releases": self.releases}
        content = json.dumps(held, indent=1).encode()
        with whole_file(self.path, len(content)) as file:
            file.write(content)


def _problem(held: object) -> str:
    """What is wrong with the content of a ledger; nothing if all is well."""
    if not isinstance(held, dict) or held.get("format") != FORMAT:
        return f"its format is not {FORMAT!r}"
    if not isinstance(held.get("salt"), str) or not held["salt"] or not isinstance(held.get("releases"), list):
        return "salt or releases are missing"
    for number, one in enumerate(held["releases"], 1):
        if not isinstance(one, dict) or any(not isinstance(one.get(key), kind) for key, kind in KEYS.items()):
            return f"release {number} lacks something"
        if len(set(one["people"])) < len(one["people"]) or not np.isfinite(_unpacked(one)).all():
            return f"release {number} has no weights of its people"
        if one["kind"] and (len(one["scans"]) != len(one["people"]) or not len(lacking_of(one))):
            return f"release {number} does not say what its people lack"
    return ""


def lacking_of(entry: dict) -> np.ndarray:
    """Number of those who lack a connection, of every connection of a release, uint64 [E]."""
    return np.frombuffer(zlib.decompress(base64.b64decode(entry["lacking"], validate=True)), "<u8")


def _unpacked(entry: dict) -> np.ndarray:
    """Weights of the people of a release, [n, rank]."""
    return np.frombuffer(base64.b64decode(entry["weights"], validate=True), "<f8").reshape(len(entry["people"]), -1)
