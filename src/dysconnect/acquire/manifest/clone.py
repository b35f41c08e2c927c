"""The files of a dataset at a tag, from a git clone: annex keys in the tree, S3 versions in the git-annex branch."""

import base64
import binascii
import hashlib
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from dysconnect.acquire.manifest import ManifestError
from dysconnect.acquire.manifest.build import File, Snapshot, parse_key, wanted

SYMLINK = "120000"
POINTER = b"/annex/objects/"  # an annexed file that is unlocked is kept as a text that begins so


class Entry(NamedTuple):
    """One line of a git tree."""

    mode: str
    oid: str
    path: str


class Bucket(NamedTuple):
    """A public special remote in S3."""

    address: str
    prefix: str


def read_clone(folder: str | Path, tag: str, patterns: Sequence[str]) -> Snapshot:
    """Read the selected files of a dataset out of a git clone; the images need not be there.

    Parameters
    ----------
    folder : path
        Clone, bare or with a work tree, that has the git-annex branch (``git clone`` brings it).
    tag : str
        Tag, or commit where the dataset has no tags.
    patterns : sequence of str
        Which files; see `wanted`.

    Raises
    ------
    ManifestError
        When it is no clone, the tag is unknown, or there is no git-annex branch with a public remote.

    References
    ----------
    https://git-annex.branchable.com/internals
    """
    commit, label = _commit(folder, tag)
    tree = {entry.path: entry for entry in _tree(folder, commit)}
    entries = [tree[path] for path in wanted(tree, patterns)]
    contents = _contents(folder, {entry.oid for entry in [*entries, *_participants(tree)]})
    keys = {entry.path: _key(entry, contents[entry.oid]) for entry in entries}
    buckets, logs = _annex(folder, entries, keys)
    files = [_file(entry, keys[entry.path], contents[entry.oid], buckets, logs) for entry in entries]
    participants = [contents[entry.oid].decode(errors="replace") for entry in _participants(tree)]
    return Snapshot(label, commit, _storage(folder, buckets), files, "".join(participants))


def _participants(tree: dict[str, Entry]) -> list[Entry]:
    entry = tree.get("participants.tsv")
    return [entry] if entry and entry.mode != SYMLINK else []


def _file(entry: Entry, key: str, content: bytes, buckets: dict[str, Bucket], logs: dict[str, str]) -> File:
    size, digest = parse_key(key) if key else (len(content), f"sha256:{hashlib.sha256(content).hexdigest()}")
    versions = {}
    for name in _log_names(entry, key):
        versions |= read_versions(logs.get(name, ""), buckets)
    return File(entry.path, size, digest, versions.get(entry.path, ""), text=not key)


def _key(entry: Entry, content: bytes) -> str:
    """Return the annex key of a tree entry; "" when the file itself is in git."""
    if entry.mode != SYMLINK and not content.startswith(POINTER):
        return ""
    key = content.decode().splitlines()[0].rsplit("/", 1)[-1]
    try:
        parse_key(key)
    except ManifestError as problem:
        raise ManifestError(f"{entry.path}: a link that does not lead into the annex. {problem}") from None
    return key


def _log_names(entry: Entry, key: str) -> list[str]:
    """Names of the logs that hold the versions; files of git itself had another key in older git-annex."""
    return [f"{name}.log.rmet" for name in ([key] if key else [f"SHA1--{entry.oid}", f"GIT--{entry.oid}"])]


def read_versions(log: str, buckets: dict[str, Bucket]) -> dict[str, str]:
    """Read the newest version that a public bucket has of every path.

    Parameters
    ----------
    log : str
        Remote metadata of one key: lines ``TIME UUID:V +VERSION#PATH``, the value in base64 after a ``!``; a
        ``-`` unsets. Content that lies at several paths has several values.
    buckets : dict
        Public remotes by uuid; what others hold is passed over.

    Returns
    -------
    dict of str to str
        Version by path in the dataset.
    """
    latest: dict[tuple[str, str], tuple[float, bool]] = {}
    for line in log.splitlines():
        time, field, *values = line.split(" ")
        uuid, _, name = field.rpartition(":")
        if name == "V" and uuid in buckets:
            for value in values:
                said = (float(time.rstrip("s")), value.startswith("+"))
                latest[uuid, value[1:]] = max(said, latest.get((uuid, value[1:]), said))
    newest: dict[str, tuple[float, str]] = {}
    for (uuid, value), (time, is_set) in latest.items():
        version, _, path = _decode(value).partition("#")
        prefix = buckets[uuid].prefix
        if is_set and path.startswith(prefix):
            path = path[len(prefix) :]
            newest[path] = max((time, version), newest.get(path, (time, version)))
    return {path: version for path, (_, version) in newest.items()}


def _decode(value: str) -> str:
    if not value.startswith("!"):
        return value
    try:
        return base64.b64decode(value[1:], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ManifestError(f"the git-annex branch has a value that is no base64: {value!r} ({error}).") from None


def _annex(folder: str | Path, entries: list[Entry], keys: dict[str, str]) -> tuple[dict[str, Bucket], dict[str, str]]:
    """Read the public remotes, and the version logs of the entries."""
    branch = next((name for name in ("git-annex", "origin/git-annex") if _resolve(folder, name)), None)
    if branch is None:
        raise ManifestError(
            f"{folder}: no branch git-annex, so no S3 versions. Fetch it: "
            f"git -C {folder} fetch origin git-annex:git-annex."
        )
    names = {name for entry in entries for name in _log_names(entry, keys[entry.path])}
    blobs = {entry.path.rsplit("/", 1)[-1]: entry.oid for entry in _tree(folder, branch)}
    logs = {name: oid for name, oid in blobs.items() if name in names or name in ("remote.log", "trust.log")}
    contents = _contents(folder, logs.values())
    texts = {name: contents[oid].decode() for name, oid in logs.items()}
    return _buckets(texts.get("remote.log", ""), texts.get("trust.log", "")), texts


def _buckets(remotes: str, trust: str) -> dict[str, Bucket]:
    """Read the public S3 remotes that are not declared dead; of several lines of one remote the newest counts."""
    dead = {line.split(" ")[0] for line in trust.splitlines() if " X " in line}
    newest: dict[str, tuple[float, Bucket]] = {}
    for line in remotes.splitlines():
        uuid, *settings = line.split(" ")
        values = dict(setting.partition("=")[::2] for setting in settings)
        if values.get("type") == "S3" and values.get("publicurl") and uuid not in dead:
            time = float(values.get("timestamp", "0s").rstrip("s"))
            bucket = Bucket(values["publicurl"].rstrip("/"), values.get("fileprefix", ""))
            newest[uuid] = max((time, bucket), newest.get(uuid, (time, bucket)))
    return {uuid: bucket for uuid, (_, bucket) in newest.items()}


def _storage(folder: str | Path, buckets: dict[str, Bucket]) -> str:
    addresses = {f"{bucket.address}/{bucket.prefix}".rstrip("/") for bucket in buckets.values()}
    if len(addresses) != 1:
        raise ManifestError(
            f"{folder}: expected one public S3 remote in remote.log of the git-annex branch, found "
            f"{', '.join(sorted(addresses)) or 'none'}. Is it a clone of an OpenNeuro dataset?"
        )
    return addresses.pop()


def _commit(folder: str | Path, tag: str) -> tuple[str, str]:
    """Return the commit, and what to call it: the tag, or the commit itself, for branches move."""
    commit = _resolve(folder, tag)
    if not commit:
        tags = _git(folder, "tag", "--sort=v:refname").decode().split()
        raise ManifestError(
            f"{folder}: no tag {tag!r} (tags: {', '.join(tags[-20:]) or 'none'}). Choose one of them or a commit, "
            f"or fetch newer ones: git -C {folder} fetch --tags."
        )
    return commit, tag if _resolve(folder, f"refs/tags/{tag}") else commit


def _resolve(folder: str | Path, name: str) -> str:
    return _git(folder, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", fails=True).decode().strip()


def _tree(folder: str | Path, commit: str) -> list[Entry]:
    """List the files (no submodules) of a commit."""
    entries = []
    for line in _git(folder, "ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0"):
        facts, _, path = line.partition(b"\t")
        if b" blob " in facts:
            mode, _, oid = facts.decode().split(" ")
            entries.append(Entry(mode, oid, path.decode(errors="surrogateescape")))
    return entries


def _contents(folder: str | Path, oids: Iterable[str]) -> dict[str, bytes]:
    """Read blobs by one process for all."""
    oids = sorted(set(oids))
    out, start, contents = _git(folder, "cat-file", "--batch", given="\n".join(oids).encode()), 0, {}
    for oid in oids:
        end = out.index(b"\n", start)
        header = out[start:end].decode().split(" ")  # OID blob SIZE, or OID missing
        if header[1] != "blob":
            raise ManifestError(f"{folder}: object {oid} is not there. Is it a whole clone? git -C {folder} fsck.")
        size = int(header[2])
        contents[oid] = out[end + 1 : end + 1 + size]
        start = end + 2 + size
    return contents


def _git(folder: str | Path, *arguments: str, given: bytes = b"", fails: bool = False) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], input=given, capture_output=True, check=False)
    except FileNotFoundError:
        raise ManifestError("git is not installed; reading a clone needs it. Install git.") from None
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode and not (fails and not said):
        raise ManifestError(f"{folder}: git {arguments[0]} failed: {said}. Give --clone a git clone of the dataset.")
    return done.stdout
