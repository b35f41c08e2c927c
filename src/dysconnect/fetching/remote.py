"""What should be here, how to fetch it and what came of it; and what a list of files may not ask for."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote, urlsplit

SHOWN = {"versionId"}  # query parameters that are no secret; the values of all others are hidden
DIGITS = {"sha256": 64, "md5": 32, "git": 40}
LEDGER = "downloads.tsv"


@dataclass(frozen=True)
class Remote:
    """One file that should be here.

    Parameters
    ----------
    path : str
        Relative POSIX path below the data folder.
    urls : tuple of str
        Sources, tried in order: https, or http on a loopback address. Not used where a mirror is set.
    bytes : int, optional
        Size; None where it is not published.
    hash : str
        ``sha256:HEX``, ``md5:HEX`` or ``git:HEX`` (the id of a git blob). Empty: what comes first is
        recorded and everything later is compared with it.
    """

    path: str
    urls: tuple[str, ...]
    bytes: int | None = None
    hash: str = ""


@dataclass(frozen=True)
class Transport:
    """How to fetch, never what.

    Parameters
    ----------
    connections : int
        Files at a time.
    attempts : int
        Per source; an attempt that brought at least 1 MB or 1 % of the file does not count.
    timeout : float
        Seconds without a byte, or at less than 1 kB/s, after which an attempt is given up.
    backoff : float
        Longest first wait in seconds; doubles with every attempt, at most 60. The wait is drawn between 0 and that.
    mirror : str, optional
        ``file:///...`` or a URL, the one and only source when set: a file is looked up at MIRROR/PATH.
    """

    connections: int = 4
    attempts: int = 5
    timeout: float = 60.0
    backoff: float = 1.0
    mirror: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of one file.

    Parameters
    ----------
    path : str
    state : {"there", "fetched", "failed"}
    bytes : int
    sha256 : str
        Empty when failed.
    source : str
        Where it came from, without secrets; empty when it was there already.
    problem : str
        What every source answered; empty unless failed.
    permanent : bool
        Failed, and trying again soon is useless.
    """

    path: str
    state: str
    bytes: int
    sha256: str
    source: str
    problem: str = ""
    permanent: bool = False


def redact(text: str) -> str:
    """Hide user names, passwords, fragments and query values in every URL of a text."""
    if not re.search("[@?#]", text):
        return text
    text = re.sub(r"(\w+://)[^/?#\s]*@", r"\1", text)
    text = re.sub(r"(\w+://[^\s#]*)#[^\s'\")>]*", r"\1", text)
    return re.sub(r"\?([^\s'\")>]+)", lambda match: "?" + "&".join(map(_hide, match[1].split("&"))), text)


def _hide(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    if name in SHOWN:
        return parameter
    return f"{name}=..." if equals else "..."


def sources(remote: Remote, mirror: str | None) -> tuple[str, ...]:
    """URLs to try, in order."""
    if mirror is None:
        return remote.urls
    parts = urlsplit(mirror)
    return (parts._replace(path=f"{parts.path.rstrip('/')}/{quote(remote.path)}").geturl(),)


def check_list(files: Sequence[Remote], folder: Path, mirror: str | None) -> None:
    """Refuse a list with a path that leaves the folder, a forbidden source or an unreadable checksum.

    Raises
    ------
    ValueError
        Names the offending path and says why.
    """
    paths = [remote.path for remote in files]
    taken = set(paths)
    if len(taken) < len(paths):
        raise ValueError(f"{next(path for path in paths if paths.count(path) > 1)!r}: listed more than once.")
    if mirror is not None:
        _check_mirror(mirror)
    root, safe = os.path.realpath(folder), set()
    for remote in files:
        check_path(remote.path)
        if f"{remote.path}.part" in taken or remote.path == LEDGER:
            raise ValueError(
                f"{remote.path!r}: the name is needed for a file of the download itself. Rename one of them."
            )
        _check_links(root, remote.path, safe)
        _check_facts(remote)
        if mirror is None:
            _check_urls(remote)


def check_path(path: str) -> None:
    """Refuse a path that is not plainly relative and below its folder.

    Raises
    ------
    ValueError
        Absolute, empty, with `..`, `.` or empty parts, backslashes, a drive letter or control characters.
    """
    reasons = {
        "is empty": not path,
        "is absolute": path.startswith("/"),
        "has an empty, '.' or '..' part": any(part in ("", ".", "..") for part in path.split("/")),
        "has a backslash": "\\" in path,
        "has a drive letter": re.match(r"[A-Za-z]:", path) is not None,
        "has a control character": not path.isprintable(),
    }
    for reason, true in reasons.items():
        if true:
            raise ValueError(f"{path!r} {reason}: only files below the data folder are fetched. Correct the manifest.")


def _check_links(root: str, path: str, safe: set[str]) -> None:
    """Refuse a path that a link leads out of the folder; `safe` remembers folders that were looked at."""
    target = f"{root}/{path}"
    if os.path.islink(f"{target}.part"):
        raise ValueError(f"{path!r}: {target}.part is a link; a download never writes through one. Remove it.")
    folder = os.path.dirname(target)
    places = [place for place in (folder,) if place not in safe] + [target] * os.path.islink(target)
    for place in places:
        real = os.path.realpath(place)
        if real != root and not real.startswith(f"{root.rstrip('/')}/"):
            raise ValueError(f"{path!r}: a link leads out of the data folder, to {real}. Remove the link.")
    safe.add(folder)


def _check_facts(remote: Remote) -> None:
    if remote.bytes is not None and remote.bytes < 0:
        raise ValueError(f"{remote.path!r}: {remote.bytes} bytes is no size.")
    if not remote.hash:
        return
    kind, _, digits = remote.hash.partition(":")
    if kind not in DIGITS or not re.fullmatch(f"[0-9a-f]{{{DIGITS[kind]}}}", digits):
        raise ValueError(
            f"{remote.path!r}: {remote.hash!r} is no checksum (expected sha256:, md5: or git: and lower-case hex)."
        )


def _check_urls(remote: Remote) -> None:
    if not remote.urls:
        raise ValueError(f"{remote.path!r}: no source. Add a URL to the manifest, or set acquire.mirror.")
    for url in remote.urls:
        if not allowed(url, plain=False):
            raise ValueError(
                f"{remote.path!r}: {redact(url)} is no https address. Plain http is for loopback, "
                "file:// and http elsewhere only for acquire.mirror."
            )


def _check_mirror(mirror: str) -> None:
    parts = urlsplit(mirror)
    if parts.scheme == "file" and parts.hostname in (None, "localhost") and parts.path.startswith("/"):
        return
    if not allowed(mirror, plain=True):
        raise ValueError(f"mirror {redact(mirror)}: expected file:///absolute/folder, https://... or http://...")


def allowed(url: str, plain: bool) -> bool:
    """Whether a URL is https, or http where that is allowed: on loopback, or anywhere if `plain`."""
    parts = urlsplit(url)
    if not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and (plain or _is_loopback(parts.hostname)))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name
        return False
