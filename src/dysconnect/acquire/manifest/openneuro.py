"""The files of a dataset at a tag, from OpenNeuro's GraphQL interface.

The interface has had two forms. Now the `id` of an annexed file is its annex key and that of a file in git its
blob id; before, both were in `key`. Either way annexed files come with their hash; the few small files of git
itself are fetched and verified by their blob id, so that the manifest can hold their sha256.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter, Retry

from dysconnect.acquire.manifest import ManifestError, safe_path, safe_url
from dysconnect.acquire.manifest.build import ANNEX_KEY, File, Snapshot, parse_key, wanted
from dysconnect.fetching import Remote, Transport, fetch_all

GRAPHQL = "https://openneuro.org/crn/graphql"
STORAGE = "https://s3.amazonaws.com/openneuro.org"
TIMEOUT = (30, 300)  # seconds to connect, and without a byte: large datasets take the server minutes
BUSY = (429, 500, 502, 503, 504)
RETRIES = Retry(5, backoff_factor=1, status_forcelist=BUSY, allowed_methods=("POST",), raise_on_status=False)
QUERY = """
query files($dataset: ID!, $tag: String!) {
  dataset(id: $dataset) { snapshots { tag } }
  snapshot(datasetId: $dataset, tag: $tag) { hexsha files(recursive: true) { FIELDS } }
}
"""
FIELDS = "id filename size annexed directory urls"


def read_openneuro(name: str, tag: str, patterns: Sequence[str], graphql: str = GRAPHQL) -> Snapshot:
    """Ask OpenNeuro for the selected files of a dataset.

    Parameters
    ----------
    name : str
        Accession number: ds006395.
    tag : str
        Snapshot: 1.0.6.
    patterns : sequence of str
        Which files; see `wanted`.
    graphql : str
        Address of the interface.

    Raises
    ------
    ManifestError
        When OpenNeuro cannot be reached, refuses, or does not know the tag.
    """
    if not safe_url(graphql):
        raise ManifestError(f"--graphql {graphql}: expected an https address (http on this machine only).")
    with _session() as session:
        snapshot = _snapshot(session, graphql, name, tag, FIELDS)
        keyed = {file["filename"]: file["id"] for file in _entries(snapshot)}
        if any(file.get("annexed") and not ANNEX_KEY.fullmatch(file["id"]) for file in _entries(snapshot)):
            older = _snapshot(session, graphql, name, tag, f"{FIELDS} key")
            keyed = {file["filename"]: file["key"] for file in _entries(older)}
    entries = {file["filename"]: file for file in _entries(snapshot)}
    needed = wanted(entries, [*patterns, "participants.tsv"])
    _check_paths(needed, name)
    texts = _fetch_texts({path: entries[path] for path in needed if _in_git(keyed[path])}, keyed, name)
    files = [_file(entries[path], keyed[path], texts, name) for path in wanted(entries, patterns)]
    participants = texts.get("participants.tsv", ("", ""))[1]
    return Snapshot(tag, snapshot.get("hexsha") or "", f"{STORAGE}/{name}", files, participants)


def _session() -> requests.Session:
    """Make a session that repeats what may only be busy; proxies and CA files of the environment are honoured."""
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=RETRIES))
    return session


def _snapshot(session: requests.Session, graphql: str, name: str, tag: str, fields: str) -> Mapping:
    """Return the snapshot, or say what OpenNeuro answered instead."""
    query = {"query": QUERY.replace("FIELDS", fields), "variables": {"dataset": name, "tag": tag}}
    try:
        answer = session.post(graphql, json=query, timeout=TIMEOUT, allow_redirects=False)
        document = answer.json()
    except requests.JSONDecodeError:
        raise ManifestError(f"{graphql}: HTTP {answer.status_code} and no JSON. {_otherwise(name)}") from None
    except requests.RequestException as error:
        raise ManifestError(f"{graphql}: {error}. {_otherwise(name)}") from None
    document = document if isinstance(document, dict) else {}
    data = document.get("data") or {}
    if data.get("snapshot"):
        return data["snapshot"]
    said = "; ".join(error.get("message", "?") for error in document.get("errors") or []) or "no such snapshot"
    tags = [each["tag"] for each in (data.get("dataset") or {}).get("snapshots") or []]
    known = f"Known tags: {', '.join(tags)}." if tags else _otherwise(name)
    raise ManifestError(f"{graphql}: {name} {tag}: {said}. {known}")


def _otherwise(name: str) -> str:
    return (
        "Check the network and the dataset's name, or use a clone: "
        f"git clone https://github.com/OpenNeuroDatasets/{name} and --clone {name}."
    )


def _entries(snapshot: Mapping) -> list[Mapping]:
    return [file for file in snapshot["files"] if file and not file.get("directory")]


def _check_paths(paths: Sequence[str], name: str) -> None:
    unsafe = [path for path in paths if not safe_path(path)]
    if unsafe:
        raise ManifestError(f"{name}: OpenNeuro lists {unsafe[0]!r}, which would leave the data folder. Stopped.")


def _in_git(key: str) -> bool:
    return not ANNEX_KEY.fullmatch(key)


def _file(entry: Mapping, key: str, texts: Mapping[str, tuple[str, str]], name: str) -> File:
    path = entry["filename"]
    if _in_git(key):
        return File(path, entry["size"], texts[path][0], _version(entry, name), text=True)
    return File(path, *parse_key(key), _version(entry, name))


def _version(entry: Mapping, name: str) -> str:
    """Take the S3 version from the address; "" when it is that of the same content at another path."""
    for url in entry.get("urls") or []:
        parts = urlsplit(url or "")
        if unquote(parts.path).endswith(f"/{name}/{entry['filename']}"):
            return parse_qs(parts.query).get("versionId", [""])[0]
    return ""


def _fetch_texts(entries: Mapping[str, Mapping], keyed: Mapping[str, str], name: str) -> dict[str, tuple[str, str]]:
    """Fetch the files of git itself: hash by path, and the text of participants.tsv."""
    remotes = [
        Remote(path, tuple(filter(None, entry.get("urls") or ())), entry["size"], f"git:{keyed[path]}")
        for path, entry in entries.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        outcomes = fetch_all(remotes, Path(folder), Transport(), what="small text files")
        failed = [outcome for outcome in outcomes if outcome.state == "failed"]
        if failed:
            raise ManifestError(f"{name}: {failed[0].path}: {failed[0].problem}. {_otherwise(name)}")
        table = Path(folder, "participants.tsv")
        text = table.read_text("utf-8", errors="replace") if table.is_file() else ""
    return {each.path: (f"sha256:{each.sha256}", text * (each.path == "participants.tsv")) for each in outcomes}
