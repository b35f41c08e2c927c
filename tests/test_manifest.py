"""Manifests: two routes to one table, everything pinned, nothing unsafe read; what is committed agrees."""

import base64
import hashlib
import json
import os
import re
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import quote

import pandas as pd
import pytest
import yaml

from dysconnect.acquire.manifest import (
    COLUMNS,
    ManifestError,
    describe_changes,
    of_task,
    openneuro,
    read_manifest,
    write_manifest,
)
from dysconnect.acquire.manifest.__main__ import gigabytes, main
from dysconnect.acquire.manifest.build import parse_key, wanted
from dysconnect.acquire.manifest.clone import Bucket, read_versions

ROOT = "https://s3.amazonaws.com/openneuro.org/ds9"
PUBLIC, PRIVATE = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
REMOTES = (
    f"{PUBLIC} bucket=openneuro.org fileprefix=ds9/ name=s3-PUBLIC publicurl=https://s3.amazonaws.com/openneuro.org "
    f"type=S3 versioning=yes timestamp=5.5s\n"
    f"{PUBLIC} fileprefix=old/ publicurl=https://old.example type=S3 timestamp=1s\n"
    f"{PRIVATE} bucket=private fileprefix=ds9/ name=s3-PRIVATE type=S3 timestamp=9s\n"
)
SELECT = [
    "dataset_description.json",
    "participants.tsv",
    "sub-*/func/sub-*_task-rest_bold.json",
    "sub-*/func/sub-*_task-rest_bold.nii.gz",
]
PEOPLE = b"participant_id\tdiagnosis\tage\nsub-01\tULD\t40\nsub-02 \tHC\t41\n"
SIDECAR = b'{"RepetitionTime": 0.9}\n'


def sha256_key(content, name=".nii.gz"):
    """Annex key of an image."""
    return f"SHA256E-s{len(content)}--{hashlib.sha256(content).hexdigest()}{name}"


def bold(subject):
    """Path of a scan."""
    return f"sub-{subject}/func/sub-{subject}_task-rest_bold.nii.gz"


ONE, TWO = sha256_key(b"image of one"), f"MD5E-s12--{hashlib.md5(b'image of two').hexdigest()}.nii.gz"
NEXT = sha256_key(b"another image")


def git(folder, *arguments, given=None):
    """Run git without the settings of whoever runs the tests."""
    plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    names = {f"GIT_{role}_{what}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **plain, **names}
    done = subprocess.run(["git", "-C", str(folder), *arguments], input=given, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def commit(folder, branch, files, tag=None):
    """Write a commit of nothing but these files: bytes, or the text of a link to an annex key."""
    lines = []
    for path, content in files.items():
        mode = "100644"
        if isinstance(content, str):
            mode, content = "120000", f"../../.git/annex/objects/aa/bb/{content}/{content}".encode()
        oid = git(folder, "hash-object", "-w", "--stdin", given=content)
        lines.append(f"{mode} blob {oid}\t{path}")
    git(folder, "read-tree", "--empty")
    git(folder, "update-index", "--index-info", given="\n".join(lines).replace(" blob ", " ").encode())
    made = git(folder, "commit-tree", "-m", branch, git(folder, "write-tree"))
    git(folder, "update-ref", f"refs/heads/{branch}", made)
    if tag:
        git(folder, "tag", tag, made)
    return made


def blob_id(content):
    """Id that git gives to a content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def rmet(key, *lines):
    """A log of versions under its name in the git-annex branch."""
    return {f"abc/def/{key}.log.rmet": "".join(f"{line}\n" for line in lines).encode()}


def said(time, version, path, uuid=PUBLIC, sign="+"):
    """One line of such a log."""
    return f"{time}s {uuid}:V {sign}{version}#ds9/{path}"


TREE = {
    "dataset_description.json": b'{"Name": "nine"}',
    "participants.tsv": PEOPLE,
    "README": b"not selected",
    bold("01"): ONE,
    bold("01").replace(".nii.gz", ".json"): SIDECAR,
    bold("02"): TWO,
    bold("02").replace(".nii.gz", ".json"): SIDECAR,
    "sub-02/anat/sub-02_T1w.nii.gz": ONE,  # the content of another path
}
LOGS = {
    "remote.log": REMOTES.encode(),
    **rmet(
        ONE,
        said("20.5", "new+1", bold("01")),
        said("3", "old1", bold("01")),
        said("99", "secret", bold("01"), uuid=PRIVATE),
        said("30", "t1w", "sub-02/anat/sub-02_T1w.nii.gz"),
    ),
    **rmet(TWO, f"7s {PUBLIC}:V +!{base64.b64encode(b'two#ds9/' + bold('02').encode()).decode()}"),
    **rmet(f"GIT--{blob_id(PEOPLE)}", said("4", "people", "participants.tsv")),
    **rmet(f"SHA1--{blob_id(SIDECAR)}", said("4", "side1", bold("01").replace(".nii.gz", ".json"))),
}


@pytest.fixture
def clone(tmp_path):
    """A clone of a dataset with tags 1.0.0 (everything) and 1.0.1 (one scan changed, one left out)."""
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "--quiet")
    commit(folder, "main", TREE, "1.0.0")
    later = {path: content for path, content in TREE.items() if "sub-02" not in path} | {bold("01"): NEXT}
    commit(folder, "main", later, "1.0.1")
    commit(folder, "git-annex", LOGS)
    return folder


@pytest.fixture
def configs(tmp_path):
    """Configuration of that dataset, to be changed by keywords."""

    def write(**changes):
        spec = {"name": "ds9", "kind": "bids", "manifest": "ds9", "tag": "1.0.0", "size_gb": 0.0, "select": SELECT}
        spec |= {"columns": {"group": "diagnosis"}, "groups": None}
        (tmp_path / "configs/dataset").mkdir(parents=True, exist_ok=True)
        (tmp_path / "configs/dataset/ds9.yaml").write_text(
            yaml.safe_dump({"dataset": {**spec, **changes}}, sort_keys=False)
        )
        return str(tmp_path / "configs")

    return write


@pytest.fixture
def make(configs, tmp_path, capsys):
    """Run the command; return status, the manifest by path (or None) and what was printed."""

    def run(*arguments, spec=None):
        folder = configs(**(spec or {}))
        status = main(["ds9", *map(str, arguments), "--configs", folder])
        path = tmp_path / "configs/manifest/ds9.tsv"
        told = capsys.readouterr()
        return status, read_manifest(path).set_index("path") if path.exists() else None, told.out + told.err

    return run


# from a clone


def test_a_clone_gives_sizes_hashes_versions_groups_and_addresses(make, clone):
    status, table, told = make("1.0.0", "--clone", clone)
    assert status == 0
    assert list(table.index) == sorted(path for path in TREE if wanted([path], SELECT))
    one, two, side = table.loc[bold("01")], table.loc[bold("02")], table.loc[bold("01").replace("nii.gz", "json")]
    assert (one["bytes"], one["hash"]) == (12, f"sha256:{hashlib.sha256(b'image of one').hexdigest()}")
    assert (two["bytes"], two["hash"]) == (12, f"md5:{hashlib.md5(b'image of two').hexdigest()}")
    assert (side["bytes"], side["hash"]) == (len(SIDECAR), f"sha256:{hashlib.sha256(SIDECAR).hexdigest()}")
    assert (one["participant_id"], one["group"]) == ("sub-01", "ULD")
    assert (two["participant_id"], two["group"]) == ("sub-02", "HC")
    assert table.loc["participants.tsv", ["participant_id", "group"]].tolist() == ["", ""]
    assert "6 files" in told and "HC 1, ULD 1" in told and "a new manifest" in told


def test_of_several_versions_the_newest_of_this_path_in_the_public_bucket_wins(make, clone):
    table = make("1.0.0", "--clone", clone)[1]
    assert table.loc[bold("01"), "version_id"] == "new+1"  # neither older, nor private, nor that of the T1w
    assert table.loc[bold("02"), "version_id"] == "two"  # base64 in the log
    assert table.loc["participants.tsv", "version_id"] == "people"
    assert table.loc[bold("01").replace("nii.gz", "json"), "version_id"] == "side1"  # under the older kind of key
    assert table.loc[bold("02").replace("nii.gz", "json"), "version_id"] == ""  # the same content elsewhere


def test_addresses_are_in_the_order_to_try_and_quoted(make, clone):
    table = make("1.0.0", "--clone", clone)[1]
    own = "https://openneuro.org/crn/datasets/ds9/snapshots/1.0.0/files"
    assert table.loc[bold("01"), "urls"].split() == [
        f"{ROOT}/{bold('01')}?versionId=new%2B1",
        f"{ROOT}/{bold('01')}",
        f"{own}/sub-01:func:sub-01_task-rest_bold.nii.gz",
    ]
    assert table.loc["participants.tsv", "urls"].split() == [
        "https://raw.githubusercontent.com/OpenNeuroDatasets/ds9/1.0.0/participants.tsv",
        f"{ROOT}/participants.tsv?versionId=people",
        f"{ROOT}/participants.tsv",
        f"{own}/participants.tsv",
    ]


def test_identical_content_at_two_paths_keeps_its_own_version_at_each(make, clone):
    table = make("1.0.0", "--clone", clone, "--select", "sub-*/*/*.nii.gz")[1]
    assert table.loc["sub-02/anat/sub-02_T1w.nii.gz", "hash"] == table.loc[bold("01"), "hash"]
    assert table.loc["sub-02/anat/sub-02_T1w.nii.gz", "version_id"] == "t1w"


def test_the_next_tag_is_one_command_and_says_what_changed(make, clone):
    make("1.0.0", "--clone", clone)
    _, table, told = make("1.0.1", "--clone", clone)
    assert bold("02") not in table.index
    assert table.loc[bold("01"), "hash"] == parse_key(NEXT)[1]
    assert f"2 files removed:\n  {bold('02')[:-7]}.json\n  {bold('02')}\n" in told
    assert f"1 file with other content:\n  {bold('01')}\n" in told
    assert "added" not in told and "tag: 1.0.0; set tag: 1.0.1" in told
    assert "the same files with the same content" in make("1.0.1", "--clone", clone)[2]


def test_a_commit_will_do_and_a_branch_is_pinned_to_its_commit(make, clone):
    made = git(clone, "rev-parse", "main")
    for name in (made, "main"):
        table = make(name, "--clone", clone)[1]
        assert f"/{made}/participants.tsv" in table.loc["participants.tsv", "urls"]


def test_groups_may_come_from_patterns_of_ids(make, clone):
    table = make("1.0.0", "--clone", clone, spec={"groups": {"sub-01": "PD", "sub-0*": "CTL"}, "columns": {}})[1]
    assert table.loc[[bold("01"), bold("02")], "group"].tolist() == ["PD", "CTL"]


def test_derivatives_borrow_the_participants_table_of_their_raw_dataset(clone, tmp_path, configs, capsys):
    folder = configs()
    assert main(["ds9", "1.0.0", "--clone", str(clone), "--configs", folder]) == 0
    spec = {"name": "ds9_fmriprep", "kind": "derivatives", "manifest": "ds9_fmriprep", "columns": {}}
    spec |= {"groups": {"sub-*": "HC"}, "select": ["participants.tsv", "sub-*/func/*.nii.gz"]}
    (tmp_path / "configs/dataset/ds9_fmriprep.yaml").write_text(yaml.safe_dump({"dataset": spec}))
    assert main(["ds9_fmriprep", "1.0.0", "--clone", str(clone), "--configs", folder]) == 0
    raw, derived = (read_manifest(tmp_path / f"configs/manifest/{name}.tsv") for name in ("ds9", "ds9_fmriprep"))
    people = "participants.tsv"
    assert raw[raw["path"] == people].values.tolist() == derived[derived["path"] == people].values.tolist()
    assert not derived["urls"][derived["path"] != people].str.contains("crn/datasets").any()
    assert main(["ds9_fmriprep", "1.0.0", "--configs", folder]) == 1
    assert "git clone https://github.com/OpenNeuroDerivatives/ds9-fmriprep" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "spec", "message"),
    [
        (["9.9"], {}, r"no tag '9\.9' \(tags: 1\.0\.0, 1\.0\.1\)"),
        (["1.0.0"], {"select": [*SELECT, "sub-*/dwi/*"]}, r"no file matches sub-\*/dwi/\*"),
        (["1.0.0"], {"columns": {"group": "grp"}}, r"no column 'grp' \(found: participant_id, diagnosis, age\)"),
        (["1.0.0"], {"groups": {"sub-01": "PD"}}, r"no group for sub-02 \(1 of 2 participants\)"),
        (["1.0.0"], {"select": None}, "has no select"),
    ],
)
def test_what_cannot_be_made_is_said_and_nothing_is_written(make, clone, arguments, spec, message):
    status, table, told = make(*arguments, "--clone", clone, spec=spec)
    assert status == 1 and table is None
    assert re.search(message, told), told


def test_a_folder_that_is_no_clone_and_a_clone_without_annex_are_refused(make, clone, tmp_path):
    assert "not a git repository" in make("1.0.0", "--clone", tmp_path)[2]
    git(clone, "update-ref", "-d", "refs/heads/git-annex")
    assert "fetch origin git-annex:git-annex" in make("1.0.0", "--clone", clone)[2]


def test_a_link_that_leaves_the_annex_is_refused(make, clone):
    commit(clone, "main", TREE | {bold("01"): "passwd"}, "2")
    assert "a link that does not lead into the annex" in make("2", "--clone", clone)[2]


def test_an_unlocked_annexed_file_is_known_by_its_key(make, clone):
    commit(clone, "main", TREE | {bold("01"): f"/annex/objects/{ONE}\n".encode()}, "2")
    table = make("2", "--clone", clone)[1]
    assert (table.loc[bold("01"), "hash"], table.loc[bold("01"), "version_id"]) == (parse_key(ONE)[1], "new+1")


def test_a_version_that_was_unset_is_none():
    buckets = {PUBLIC: Bucket("https://s3.example", "ds9/")}
    lines = [said(1, "a", "x"), said(2, "b", "x"), said(3, "b", "x", sign="-"), said(4, "c", "y", sign="-")]
    assert read_versions("\n".join(lines), buckets) == {"x": "a"}
    assert read_versions("\n".join(reversed(lines)), buckets) == {"x": "a"}
    both = f"1s {PUBLIC}:V +a#ds9/x -a#ds9/z +b#ds9/y"
    assert read_versions(both, buckets) == {"x": "a", "y": "b"}


def test_keys_of_backends_that_hash_nothing_have_no_hash():
    assert parse_key("URL-s12--http&c%%example") == (12, "")
    assert parse_key("SHA256-s3--" + "a" * 64) == (3, "sha256:" + "a" * 64)
    with pytest.raises(ManifestError, match="no git-annex key"):
        parse_key("passwd")


def test_a_star_stays_within_a_folder():
    paths = ["sub-1/func/a.json", "sub-1/ses-1/func/a.json", "derivatives/sub-1/func/a.json", "a.json"]
    assert wanted(paths, ["sub-*/func/*.json"]) == ["sub-1/func/a.json"]
    assert wanted(paths, ["*.json", "sub-*/*/*.json"]) == ["a.json", "sub-1/func/a.json"]


# from OpenNeuro's interface


class Interface(BaseHTTPRequestHandler):
    """OpenNeuro as far as it is needed; `form` is its older or present form, `sulk` busy answers to begin with."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        server.asked.append(asked)
        if server.sulk:
            server.sulk -= 1
            return self._answer(503, b"", {"Retry-After": "0"})
        if " key " in asked["query"] and server.form == "present":
            return self._answer(400, b'{"errors": [{"message": "Cannot query field \\"key\\""}]}')
        snapshot = None
        if asked["variables"] == {"dataset": "ds9", "tag": "1.0.0"}:
            snapshot = {"hexsha": "c0ffee", "files": [self._file(*item) for item in server.tree.items()]}
        data = {"dataset": {"snapshots": [{"tag": "1.0.0"}]}, "snapshot": snapshot}
        return self._answer(200, json.dumps({"data": data}).encode())

    def do_GET(self):
        path = self.path.partition("?")[0].removeprefix("/openneuro.org/ds9/")
        content = self.server.tree.get(path)
        self._answer(200, content) if isinstance(content, bytes) else self._answer(404, b"")

    def _file(self, path, content):
        annexed = isinstance(content, str)
        key = content if annexed else blob_id(content)
        version = VERSIONS.get(path)
        host = "https://s3.amazonaws.com" if annexed else f"http://127.0.0.1:{self.server.server_port}"
        url = f"{host}/openneuro.org/ds9/{path}" + (f"?versionId={quote(version)}" if version else "")
        told = {"filename": path, "annexed": annexed, "directory": False, "urls": [url]}
        told["size"] = parse_key(content)[0] if annexed else len(content)
        told["id"] = key if self.server.form == "present" else hashlib.sha1(f"{key}:{path}".encode()).hexdigest()
        return told | {"key": key}

    def _answer(self, status, content, headers=()):
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **dict(headers)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        """Keep quiet."""


VERSIONS = {bold("01"): "new+1", bold("02"): "two", "participants.tsv": "people"}
VERSIONS |= {bold("01").replace(".nii.gz", ".json"): "side1"}


@pytest.fixture
def interface(monkeypatch):
    """The interface on a port of its own."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Interface)
    server.form, server.sulk, server.asked, server.tree = "present", 0, [], dict(TREE)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}/crn/graphql"
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("form", ["present", "older"])
def test_openneuro_and_a_clone_give_the_same_table(make, clone, interface, form):
    interface.form = form
    asked = make("1.0.0", "--graphql", interface.url)
    assert asked[0] == 0, asked[2]
    again = make("1.0.0", "--clone", clone)
    pd.testing.assert_frame_equal(asked[1], again[1])
    assert "the same files with the same content" in again[2]
    assert "commit c0ffee" in asked[2]


def test_a_busy_interface_is_asked_again(make, interface):
    interface.sulk = 2
    assert make("1.0.0", "--graphql", interface.url)[0] == 0
    assert len(interface.asked) == 3


def test_the_version_of_another_path_is_not_taken(make, interface, monkeypatch):
    url = "https://s3.amazonaws.com/openneuro.org/ds9/elsewhere.nii.gz?versionId=alien"
    file = Interface._file
    monkeypatch.setattr(
        Interface, "_file", lambda self, *a: file(self, *a) | ({"urls": [url]} if a[0] == bold("02") else {})
    )
    table = make("1.0.0", "--graphql", interface.url)[1]
    assert table.loc[bold("02"), "version_id"] == ""
    assert "alien" not in table.loc[bold("02"), "urls"]


def test_a_text_that_is_not_what_git_has_is_refused(make, interface, monkeypatch):
    file = Interface._file
    change = {"id": "0" * 40}
    monkeypatch.setattr(
        Interface, "_file", lambda self, *a: file(self, *a) | (change if a[0] == "participants.tsv" else {})
    )
    status, table, told = make("1.0.0", "--graphql", interface.url)
    assert status == 1 and table is None and "participants.tsv" in told


def test_an_unknown_tag_lists_the_known_ones(make, interface):
    status, _, told = make("7.7", "--graphql", interface.url)
    assert status == 1 and "Known tags: 1.0.0." in told


def test_what_is_no_interface_is_said_with_another_way(make, interface, monkeypatch):
    monkeypatch.setattr(openneuro, "RETRIES", 0)
    interface.shutdown()
    interface.server_close()
    for url, message in {
        interface.url: "git clone https://github.com/OpenNeuroDatasets/ds9",
        "http://openneuro.org/crn/graphql": "expected an https address",
    }.items():
        status, table, told = make("1.0.0", "--graphql", url)
        assert status == 1 and table is None and message in told, told


def test_a_path_that_leaves_the_folder_is_refused_before_any_fetch(make, interface):
    interface.tree["../evil.json"] = b"x"
    status, table, told = make("1.0.0", "--graphql", interface.url, "--select", "../*.json")
    assert status == 1 and table is None and "leave the data folder" in told


# reading

GOOD = {
    "participant_id": "sub-1",
    "group": "HC",
    "path": "sub-1/a.nii.gz",
    "bytes": "3",
    "hash": "md5:" + "0" * 32,
    "version_id": "v",
    "urls": "https://a.example/x https://b.example/x",
}


def written(folder, *rows, columns=COLUMNS):
    """Write a table without any check."""
    lines = ["\t".join(columns), *["\t".join(row[name] for name in columns) for row in rows]]
    path = folder / "m.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_what_is_written_is_read_again(tmp_path):
    table = read_manifest(
        written(tmp_path, GOOD, GOOD | {"path": "sub-1/b", "bytes": "", "hash": "", "version_id": ""})
    )
    assert table["bytes"].isna().tolist() == [False, True]
    write_manifest(table, tmp_path / "new" / "n.tsv")
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "new" / "n.tsv"), table)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["n.tsv"]


def test_a_bad_table_does_not_replace_a_good_one(tmp_path):
    good = read_manifest(written(tmp_path, GOOD))
    write_manifest(good, tmp_path / "n.tsv")
    with pytest.raises(ManifestError, match="hash"):
        write_manifest(good.assign(hash="sha256:short"), tmp_path / "n.tsv")
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "n.tsv"), good)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.tsv", "n.tsv"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "/etc/passwd"}, "leave the data folder"),
        ({"path": "sub-1/../../x"}, "leave the data folder"),
        ({"path": "sub-1/./x"}, "leave the data folder"),
        ({"path": "sub-1//x"}, "leave the data folder"),
        ({"path": "sub-1\\x"}, "leave the data folder"),
        ({"path": "C:/x"}, "leave the data folder"),
        ({"path": "sub-1/x\x07"}, "leave the data folder"),
        ({"path": ""}, "leave the data folder"),
        ({"path": "sub-2/x"}, "outside of the participant's folder"),
        ({"bytes": "0"}, "bytes is '0'"),
        ({"bytes": "-3"}, "bytes is '-3'"),
        ({"bytes": "3.5"}, "bytes is '3.5'"),
        ({"hash": "0" * 32}, "hash is"),
        ({"hash": "md5:" + "0" * 31}, "hash is"),
        ({"hash": "SHA256:" + "0" * 64}, "hash is"),
        ({"urls": ""}, "url is ''"),
        ({"urls": "http://a.example/x"}, "url is 'http://a.example/x'"),
        ({"urls": "https://a.example/x  https://b.example/x"}, "url is ''"),
        ({"urls": "file:///etc/passwd"}, "url is"),
        ({"urls": "https://me:secret@a.example/x"}, "without credentials"),
        ({"urls": "https:///x"}, "url is"),
        ({"group": ""}, "has group ''"),
        ({"participant_id": "", "path": "x"}, "give both, or neither"),
    ],
)
def test_a_wrong_row_is_refused_with_file_line_and_remedy(tmp_path, change, message):
    path = written(tmp_path, GOOD | {"path": "sub-1/first"}, GOOD | change)
    with pytest.raises(ManifestError, match=r"m\.tsv, line 3: .*" + message.replace("(", r"\(")) as error:
        read_manifest(path)
    assert "Correct the line" in str(error.value)


def test_addresses_on_this_machine_may_be_plain(tmp_path):
    read_manifest(written(tmp_path, GOOD | {"urls": "http://127.0.0.1:8000/x http://localhost/x"}))


def test_what_only_several_rows_show_is_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"line 3: sub-1/a\.nii\.gz is listed twice"):
        read_manifest(written(tmp_path, GOOD, GOOD))
    with pytest.raises(ManifestError, match=r"line 3: sub-1 is in group PD here"):
        read_manifest(written(tmp_path, GOOD, GOOD | {"path": "sub-1/b", "group": "PD"}))
    with pytest.raises(ManifestError, match="no files"):
        read_manifest(written(tmp_path))
    with pytest.raises(ManifestError, match=r"line 1: columns are path; expected participant_id"):
        read_manifest(written(tmp_path, GOOD, columns=("path",)))


def test_a_missing_manifest_gives_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m dysconnect\.acquire\.manifest ds005892 TAG"):
        read_manifest(tmp_path / "ds005892.tsv")


def test_changes_are_counted_and_not_all_listed(tmp_path):
    old = read_manifest(written(tmp_path, *[GOOD | {"path": f"sub-1/{k:02d}"} for k in range(20)]))
    new = old.iloc[:5].assign(version_id=["w", *old["version_id"][1:5]])
    lines = describe_changes(old, new, shown=3)
    assert lines[:5] == ["15 files removed:", "  sub-1/05", "  sub-1/06", "  sub-1/07", "  ..."]
    assert lines[5:] == ["1 file with another S3 version of the same content:", "  sub-1/00"]


# what comes with the project


@pytest.fixture(scope="module")
def datasets(repository):
    """Dataset files that name a manifest of their own."""
    specs = {}
    for path in sorted((repository / "configs/dataset").glob("ds*.yaml")):
        read = yaml.safe_load(path.read_text())
        base = next((specs[name] for name in read.get("defaults", ()) if isinstance(name, str) and name in specs), {})
        if "manifest" in read["dataset"]:
            specs[path.stem] = base | read["dataset"]
    return specs


@pytest.fixture(scope="module")
def manifests(repository):
    """The committed manifests."""
    return {path.stem: read_manifest(path) for path in (repository / "configs/manifest").glob("*.tsv")}


def test_committed_manifests_are_valid_sorted_pinned_and_small(repository, manifests):
    assert set(manifests) == {"ds000245", "ds000245_fmriprep", "ds001907", "ds006395", "ds006395_dwi"}
    for name, table in manifests.items():
        assert table["path"].is_monotonic_increasing, name
        assert table["hash"].ne("").all() and table["bytes"].notna().all(), name
        assert table["version_id"].ne("").all(), name
        limit = 600_000 if name.endswith("_dwi") else 400_000  # bytes; four files of gradients a person
        assert (repository / f"configs/manifest/{name}.tsv").stat().st_size < limit


def test_the_yaml_of_a_dataset_agrees_with_its_manifest(datasets, manifests):
    assert set(datasets) == {*manifests, "ds005892"}
    for name, table in manifests.items():
        spec = datasets[name]
        people = set(table["participant_id"]) - {""}
        groups = set(table["group"]) - {""}
        assert spec["name"] == spec["manifest"] == name
        assert spec["size_gb"] == gigabytes(of_task(table, spec["task"])), name
        assert wanted(table["path"], spec["select"]) == table["path"].tolist(), name
        assert all(wanted(table["path"], [pattern]) for pattern in spec["select"]), name
        assert set(spec["exclude"]) <= people, name
        assert {*spec["contrast"]["cases"], *spec["contrast"]["controls"]} <= groups, name
        assert isinstance(spec["tag"], str), name
        own = table["urls"][table["path"] != "participants.tsv"]
        assert name.startswith("ds000245_") or own.str.contains(f"/{spec['tag']}/").all(), name


def test_counts_of_people_and_scans_are_those_of_the_papers(manifests):
    def groups(name):
        people = manifests[name].drop_duplicates("participant_id")
        return people["group"][people["participant_id"] != ""].value_counts().to_dict()

    def scans(name, ending):
        return int(manifests[name]["path"].str.endswith(ending).sum())

    assert groups("ds006395") == {"HC": 37, "ULD": 29, "CD": 25}
    assert groups("ds000245") == groups("ds000245_fmriprep") == {"CTL": 15, "ODN": 15, "ODP": 15}
    assert groups("ds001907") == {"HC": 25, "PD": 21}
    assert (scans("ds006395", "rest_bold.nii.gz"), scans("ds006395", "T1w.nii.gz")) == (90, 91)
    assert scans("ds006395", "finger_bold.nii.gz") == scans("ds006395", "finger_events.tsv") == 91
    bold = manifests["ds006395"]["path"].str.endswith("finger_bold.nii.gz")
    assert gigabytes(manifests["ds006395"][bold]) == 11.9
    assert (scans("ds001907", "rest_bold.nii.gz"), scans("ds001907", "T1w.nii.gz")) == (92, 92)
    assert scans("ds000245", "rest_bold.nii.gz") == scans("ds000245_fmriprep", "preproc_bold.nii.gz") == 45


def test_the_only_participant_without_a_scan_is_excluded_for_it(datasets, manifests):
    table = manifests["ds006395"]
    scanned = set(table["participant_id"][table["path"].str.endswith("task-rest_bold.nii.gz")])
    without = set(table["participant_id"]) - {""} - scanned
    assert without == {"sub-P00927"}
    assert datasets["ds006395"]["exclude"]["sub-P00927"] == "no resting scan"


def test_ds006395_agrees_with_pins_that_were_made_another_way(real_data, datasets, manifests):
    """Sizes, hashes and versions of all 181 images, and the exclusions, from a table made independently."""
    path = real_data / "ds006395/manifest.tsv"
    if not path.exists():
        pytest.skip(f"no {path.name} of ds006395 in the real data")
    pins = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False).set_index("id")
    table = of_task(manifests["ds006395"], "rest").set_index("path")
    checked = 0
    for name, pin in pins.iterrows():
        for kind, place in (("rest", f"func/{name}_task-rest_bold"), ("t1w", f"anat/{name}_T1w")):
            if pin[f"{kind}_bytes"].isdigit():
                row = table.loc[f"{name}/{place}.nii.gz"]
                assert row["group"] == pin["group"]
                assert int(row["bytes"]) == int(pin[f"{kind}_bytes"])
                assert row["hash"] == f"sha256:{pin[f'{kind}_sha256']}"
                assert row["version_id"] == pin[f"{kind}_vid"]
                checked += 1
    assert checked == 181 == int(table.index.str.endswith(".nii.gz").sum())
    spec = datasets["ds006395"]
    odd = (pins["tr"] != str(spec["repetition_time"])) | ~pins["pe"].isin(spec["phase_encoding"])
    assert set(spec["exclude"]) == set(pins.index[odd])
