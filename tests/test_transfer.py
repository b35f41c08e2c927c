"""The transfer layer against a server that misbehaves on purpose: what is here is right, and came once."""

import base64
import gzip
import hashlib
import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path

import misbehaving as bad
import pytest
from misbehaving import Misbehaving, in_turn

from dysconnect import fetching as transfer
from dysconnect.fetching import Remote, Transport, check_room, client, fetch, fetch_all, part, plan, redact
from dysconnect.fetching.ledger import Ledger, Record
from dysconnect.fetching.remote import check_path
from dysconnect.progress import Meter

FAST = Transport(connections=1, attempts=4, timeout=2, backoff=0.001)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch, tmp_path):
    """No proxy, certificate or netrc of this machine."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in client.CERTIFICATES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


def data(size: int, seed: int = 0) -> bytes:
    """Content of a file."""
    return random.Random(f"{size} {seed}").randbytes(size)


def checksum(content: bytes, kind: str = "sha256") -> str:
    """Checksum as in a manifest."""
    if kind == "git":
        return "git:" + hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return f"{kind}:{hashlib.new(kind, content).hexdigest()}"


def remote(content: bytes, *servers: Misbehaving, path: str = "a/b.bin", **changes) -> Remote:
    """A file that the servers have."""
    facts = {"urls": tuple(server.url(path) for server in servers), "bytes": len(content), "hash": checksum(content)}
    return Remote(path, **{**facts, **changes})


def offsets(server: Misbehaving, path: str = "a/b.bin") -> list[int | None]:
    """First bytes asked for, request by request."""
    return [request.offset for request in server.asked(path)]


def one(wanted: Remote, folder: Path, transport: Transport = FAST, **more) -> transfer.Outcome:
    """Fetch a single file."""
    return fetch_all([wanted], folder, transport, **more)[0]


def leave_part(folder: Path, content: bytes, path: str = "a/b.bin") -> Path:
    """What a killed download leaves."""
    file = folder / f"{path}.part"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


# --- the plain case -------------------------------------------------------------------------------------------


def test_a_file_arrives_verified_and_only_once(tmp_path):
    content = data(300_000)
    with Misbehaving({"a/b.bin": content}) as server:
        first = one(remote(content, server), tmp_path)
        second = one(remote(content, server), tmp_path)
    assert (tmp_path / "a/b.bin").read_bytes() == content
    assert first.state == "fetched"
    assert first.source == server.url("a/b.bin")
    assert first.sha256 == second.sha256 == hashlib.sha256(content).hexdigest()
    assert (second.state, second.bytes, second.source) == ("there", 300_000, "")
    assert server.sent("a/b.bin") == len(content)
    assert [request.headers["accept-encoding"] for request in server.requests] == ["identity"]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b.bin", "downloads.tsv"]


@pytest.mark.parametrize("kind", ["sha256", "md5", "git"])
@pytest.mark.parametrize("size", [0, 1, 70_000, 9_000_000])
def test_every_kind_of_checksum(tmp_path, kind, size):
    content = data(size)
    with Misbehaving({"a/b.bin": content}) as server:
        right = one(remote(content, server, hash=checksum(content, kind)), tmp_path)
        wrong = one(remote(content, server, hash=checksum(b"x" + content, kind)), tmp_path / "other")
    assert (right.state, right.sha256) == ("fetched", hashlib.sha256(content).hexdigest())
    assert (wrong.state, wrong.permanent) == ("failed", True)
    assert checksum(content, kind).partition(":")[2] in wrong.problem
    assert checksum(b"x" + content, kind).partition(":")[2] in wrong.problem
    assert [p.name for p in (tmp_path / "other").rglob("*") if p.is_file()] == []


def test_git_hash_is_that_of_git(tmp_path):
    with Misbehaving({"a": b"hello world\n"}) as server:
        known = "git:3b18e512dba79e4c8300dd08aeb37f8e728b8dad"  # git hash-object
        assert one(Remote("a", (server.url("a"),), None, known), tmp_path).state == "fetched"


def test_connections_are_kept(tmp_path):
    files = {f"{k}.bin": data(1000, k) for k in range(30)}
    with Misbehaving(files) as server:
        outcomes = fetch_all([remote(c, server, path=p) for p, c in files.items()], tmp_path, FAST)
    assert {outcome.state for outcome in outcomes} == {"fetched"}
    assert [outcome.path for outcome in outcomes] == list(files)
    assert {request.connection for request in server.requests} == {1}


def test_connections_are_bounded_and_used(tmp_path):
    files = {f"{k}.bin": data(20, k) for k in range(6)}
    slow = lambda request: ("drip", bad.drip)
    with Misbehaving(files, slow) as server:
        start = time.monotonic()
        fetch_all([remote(c, server, path=p) for p, c in files.items()], tmp_path, Transport(connections=3))
        seconds = time.monotonic() - start
    assert len({request.connection for request in server.requests}) == 6  # drip closes
    assert 2 * 20 * 0.05 <= seconds < 5 * 20 * 0.05


def test_one_failure_fails_alone(tmp_path):
    files = {f"{k}.bin": data(1000, k) for k in range(5)}
    wanted = [remote(c, path=p) for p, c in files.items()]
    with Misbehaving({p: c for p, c in files.items() if p != "2.bin"}) as server:
        wanted = [Remote(r.path, (server.url(r.path),), r.bytes, r.hash) for r in wanted]
        outcomes = fetch_all(wanted, tmp_path, FAST)
    assert [outcome.state for outcome in outcomes] == ["fetched", "fetched", "failed", "fetched", "fetched"]
    assert outcomes[2].permanent
    assert "404 Not Found" in outcomes[2].problem
    assert server.url("2.bin") in outcomes[2].problem


# --- bringing bytes to the disk while more come ------------------------------------------------------------------


def grown(folder: Path, monkeypatch, blocks: int) -> str:
    """A part of `blocks` of 1 kB, flushed every 2 kB; its seal."""
    monkeypatch.setattr(part, "FLUSH", 2048)
    content = data(1024 * blocks)
    expected = part.Expected(None, checksum(content))
    with part.Part(f"{folder}/b.bin", expected, threading.Event(), lambda *_: None) as growing:
        for k in range(blocks):
            growing.append(content[1024 * k : 1024 * (k + 1)])
        sealed, _ = growing.seal()
        growing.rename()
    assert (folder / "b.bin").read_bytes() == content and f"sha256:{sealed}" == expected.hash
    return sealed


def test_a_large_file_goes_to_the_disk_as_it_grows(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fdatasync", calls.append)
    grown(tmp_path, monkeypatch, 9)
    assert len(calls) == 4


def test_what_the_disk_says_on_the_way_is_not_lost(tmp_path, monkeypatch):
    def broken(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(OSError, match="No space left"):
        grown(tmp_path, monkeypatch, 3)
    assert not (tmp_path / "b.bin").exists() and (tmp_path / "b.bin.part").exists()


# --- resuming -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [bad.cut, bad.reset])
@pytest.mark.parametrize("kind", ["sha256", "md5", "git"])
def test_resumes_where_it_broke_off(tmp_path, fault, kind):
    content = data(400_000)
    with Misbehaving({"a/b.bin": content}, in_turn(fault)) as server:
        outcome = one(remote(content, server, hash=checksum(content, kind)), tmp_path)
    assert outcome.state == "fetched"
    first, second = offsets(server)
    assert first is None
    assert 0 < second <= 200_000
    if fault is bad.cut:
        assert second == 200_000
        assert server.sent("a/b.bin") == len(content)


@pytest.mark.parametrize("size", [400_000, 9_000_000])
def test_resumes_what_a_killed_process_left(tmp_path, size):
    content = data(size)
    leave_part(tmp_path, content[:150_000])
    with Misbehaving({"a/b.bin": content}) as server:
        assert one(remote(content, server), tmp_path).state == "fetched"
    assert offsets(server) == [150_000]
    assert server.sent("a/b.bin") == size - 150_000
    assert (tmp_path / "a/b.bin").read_bytes() == content


@pytest.mark.parametrize("known", [True, False])
def test_a_complete_part_needs_no_request(tmp_path, known):
    content = data(5000)
    leave_part(tmp_path, content)
    with Misbehaving({"a/b.bin": content}) as server:
        wanted = remote(content, server, bytes=len(content) if known else None)
        assert one(wanted, tmp_path).state == "fetched"
    assert server.requests == []


@pytest.mark.parametrize("left", [data(5000, 1), data(6000)])
def test_a_wrong_or_too_long_part_is_thrown_away(tmp_path, left):
    content = data(5000)
    leave_part(tmp_path, left)
    with Misbehaving({"a/b.bin": content}) as server:
        assert one(remote(content, server), tmp_path).state == "fetched"
    assert offsets(server) == [None]


@pytest.mark.parametrize(
    ("fault", "asked"),
    [
        (bad.ignore_range, [1000]),
        (bad.refuse_range, [1000, None]),
        (bad.wrong_range, [1000, None]),
        (bad.shorter, [1000, None]),
        (bad.longer, [1000, None]),
        (bad.changed, [1000, None]),
        (bad.flip, [1000, None]),
        (bad.compressed, [1000]),
    ],
)
def test_a_server_that_does_not_continue_is_asked_anew(tmp_path, fault, asked):
    content = data(50_000)
    leave_part(tmp_path, content[:1000])
    with Misbehaving({"a/b.bin": content}, in_turn(fault)) as server:
        assert one(remote(content, server), tmp_path).state == "fetched"
    assert offsets(server) == asked


@pytest.mark.parametrize("fault", [bad.wrong_range, bad.refuse_range, bad.shorter])
def test_a_refused_continuation_leaves_the_fresh_try(tmp_path, fault):
    content = data(50_000)
    leave_part(tmp_path, content[:1000])
    with Misbehaving({"a/b.bin": content}, in_turn(fault, bad.flip)) as server:
        assert one(remote(content, server), tmp_path).state == "fetched"
    assert offsets(server) == [1000, None, None]


@pytest.mark.parametrize(("known", "asked"), [(True, [None]), (False, [None, 50_000])])
def test_a_whole_part_whose_end_was_not_announced(tmp_path, known, asked):
    content = data(50_000)

    def endless(x):
        x.head(200, Transfer_Encoding="chunked")
        x.body(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        x.close()

    with Misbehaving({"a/b.bin": content}, in_turn(endless)) as server:
        assert one(remote(content, server, bytes=len(content) if known else None), tmp_path).state == "fetched"
    assert offsets(server) == asked


def test_an_object_that_changed_between_parts_is_fetched_once_from_zero_then_elsewhere(tmp_path):
    old, new = data(50_000), data(50_000, 1)
    leave_part(tmp_path, old[:20_000])
    with Misbehaving({"a/b.bin": new}) as changed, Misbehaving({"a/b.bin": old}) as other:
        outcome = one(remote(old, changed, other), tmp_path)
    assert (outcome.state, outcome.source) == ("fetched", other.url("a/b.bin"))
    assert offsets(changed) == [20_000, None]
    assert offsets(other) == [None]


def test_without_a_checksum_nothing_is_resumed(tmp_path):
    content = data(50_000)
    leave_part(tmp_path, content[:20_000])
    with Misbehaving({"a/b.bin": content}, in_turn(bad.cut)) as server:
        assert one(remote(content, server, hash=""), tmp_path).state == "fetched"
    assert offsets(server) == [None, None]


@pytest.mark.parametrize("size", [None, 5000])
def test_without_a_checksum_no_leftover_is_taken_for_the_file(tmp_path, size):
    content = data(5000)
    leave_part(tmp_path, data(5000, 1))
    with Misbehaving({"a/b.bin": content}) as server:
        assert one(remote(content, server, hash="", bytes=size), tmp_path).state == "fetched"
    assert (tmp_path / "a/b.bin").read_bytes() == content


def test_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_return(tmp_path, monkeypatch):
    done, sync, rename = [], os.fsync, os.rename

    def record_sync(file):
        done.append(os.fstat(file).st_ino)
        sync(file)

    def record_rename(old, new):
        done.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "rename", record_rename)
    content = data(5000)
    with Misbehaving({"a/b.bin": content}) as server:
        one(remote(content, server, hash=""), tmp_path)
    file, ledger, folder, root = ((tmp_path / name).stat().st_ino for name in ("a/b.bin", "downloads.tsv", "a", ""))
    assert done[:3] == [file, ledger, "rename"]
    assert {folder, root} <= set(done[3:])


def test_without_length_and_checksum_a_cut_could_not_be_seen(tmp_path):
    content = data(50_000)

    def unmeasured(x):
        x.head(200)
        x.body(content[:30_000])
        x.close()

    with Misbehaving({"a/b.bin": content}, lambda request: ("unmeasured", unmeasured)) as server:
        unknown = one(remote(content, server, hash="", bytes=None), tmp_path)
        known = one(remote(content[:30_000], server, bytes=None), tmp_path)
    assert unknown.state == "failed"
    assert "neither a length nor a checksum" in unknown.problem
    assert known.state == "fetched"


def test_more_than_expected_is_cut_off_at_once(tmp_path):
    content = data(100_000)
    with Misbehaving({"a/b.bin": content}, in_turn(bad.unending, bad.unending)) as server:
        outcome = one(remote(content, server), tmp_path)
    assert outcome.state == "failed"
    assert "more than 100000 bytes" in outcome.problem
    assert server.sent("a/b.bin") < 30 << 20  # of 128 MB; what the sockets buffer is sent in vain


# --- sources, attempts, waiting -------------------------------------------------------------------------------


@pytest.fixture
def pauses(monkeypatch):
    """Waits, recorded instead of slept."""
    seen = []
    monkeypatch.setattr(fetch, "pause", lambda stop, seconds: seen.append(seconds))
    return seen


@pytest.mark.parametrize("status", [401, 403, 404, 410, 451])
def test_refused_goes_to_the_next_source_at_once(tmp_path, pauses, status):
    content = data(5000)
    with (
        Misbehaving({"a/b.bin": content}, in_turn(bad.answer(status))) as first,
        Misbehaving({"a/b.bin": content}) as second,
    ):
        outcome = one(remote(content, first, second), tmp_path)
    assert (outcome.state, outcome.source) == ("fetched", second.url("a/b.bin"))
    assert (len(first.requests), len(second.requests), pauses) == (1, 1, [])


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_overload_is_asked_again(tmp_path, pauses, status):
    content = data(5000)
    with Misbehaving({"a/b.bin": content}, in_turn(*[bad.answer(status)] * 3)) as server:
        assert one(remote(content, server), tmp_path).state == "fetched"
    assert len(server.requests) == 4
    assert len(pauses) == 3
    assert len({request.connection for request in server.requests}) == 1


def test_waits_double_with_full_jitter_up_to_a_minute(tmp_path, pauses, monkeypatch):
    monkeypatch.setattr(fetch.random, "uniform", lambda low, high: (high, low)[low])  # the longest that can be drawn
    content = data(5000)
    with Misbehaving({"a/b.bin": content}, lambda request: ("busy", bad.answer(500))) as server:
        outcome = one(remote(content, server), tmp_path, Transport(connections=1, attempts=9, backoff=1.0))
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert len(server.requests) == 9
    assert (outcome.state, outcome.permanent) == ("failed", False)
    assert "500 Internal Server Error (9 attempts)" in outcome.problem


def test_retry_after_is_honoured(tmp_path, pauses):
    content = data(5000)
    asked = [
        bad.answer(429, Retry_After=7),
        bad.answer(503, Retry_After=bad.retry_date(30)),
        bad.answer(503, Retry_After=100_000),
        bad.answer(503, Retry_After="soon"),
        bad.answer(503, Retry_After=bad.retry_date(-30)),
    ]
    with Misbehaving({"a/b.bin": content}, in_turn(*asked)) as server:
        assert one(remote(content, server), tmp_path, Transport(attempts=9, backoff=0.001)).state == "fetched"
    assert pauses[0] == 7
    assert 27 < pauses[1] <= 30
    assert pauses[2] == 120
    assert max(pauses[3:]) < 0.1


def test_pause_really_waits_and_ends_when_stopped():
    stop = threading.Event()
    start = time.monotonic()
    fetch.pause(stop, 0.2)
    assert time.monotonic() - start >= 0.19
    stop.set()
    with pytest.raises(part.Stopped):
        fetch.pause(stop, 60)
    assert time.monotonic() - start < 5


def test_attempts_that_bring_bytes_do_not_count(tmp_path, pauses):
    content = data(300_000)
    impatient = Transport(connections=1, attempts=2, timeout=2, backoff=0.001)
    with Misbehaving({"a/b.bin": content}, in_turn(*[bad.cut] * 6)) as server:
        assert one(remote(content, server), tmp_path, impatient).state == "fetched"
    assert len(server.requests) == 7
    assert server.sent("a/b.bin") == len(content)
    with Misbehaving({"a/b.bin": content}, in_turn(*[bad.nothing] * 6)) as server:
        assert one(remote(content, server), tmp_path / "2", impatient).state == "failed"
    assert len(server.requests) == 2


def test_a_source_that_always_starts_over_and_breaks_off_comes_to_an_end(tmp_path, pauses):
    content = data(300_000)

    def half(x):
        x.head(200, Content_Length=len(x.content))
        x.body(x.content[:150_000])
        x.close()

    with Misbehaving({"a/b.bin": content}, lambda request: ("half", half)) as server:
        assert one(remote(content, server), tmp_path).state == "failed"
    assert len(server.requests) == 1 + FAST.attempts


@pytest.mark.parametrize("fault", [bad.drip, bad.stall])
def test_a_drip_is_given_up_and_resumed(tmp_path, fault):
    content = data(200_000)
    with Misbehaving({"a/b.bin": content}, in_turn(fault)) as server:
        start = time.monotonic()
        outcome = one(remote(content, server), tmp_path, Transport(connections=1, timeout=0.5, backoff=0.001))
    assert outcome.state == "fetched"
    assert 0.4 < time.monotonic() - start < 2.5
    assert offsets(server)[0] is None
    assert offsets(server)[1] > 0


def test_nobody_listens(tmp_path):
    content = data(50)
    with Misbehaving({}) as server:
        wanted = remote(content, server)
    outcome = one(wanted, tmp_path)
    assert (outcome.state, outcome.permanent) == ("failed", False)
    assert "(4 attempts)" in outcome.problem
    assert not list(tmp_path.rglob("*.part"))


# --- what compression, redirects and TLS can do ---------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
def test_compression_for_the_way_is_undone(tmp_path, known):
    content = b"compressible " * 50_000
    with Misbehaving({"a/b.bin": content}, in_turn(bad.compressed)) as server:
        assert one(remote(content, server, bytes=len(content) if known else None), tmp_path).state == "fetched"
    assert len(server.requests) == 1
    assert server.sent("a/b.bin") < len(content) / 10
    assert (tmp_path / "a/b.bin").read_bytes() == content


def test_a_file_that_is_gzip_itself_stays_so(tmp_path):
    content = gzip.compress(data(200_000))

    def labelled(x):  # as object stores do that were told Content-Encoding at upload
        rest = x.content[x.offset :]
        if x.request.offset is None:
            x.head(200, Content_Length=len(rest), Content_Encoding="gzip")
            x.body(rest[:100_000])
            x.close()
        else:
            span = f"bytes {x.offset}-{len(x.content) - 1}/{len(x.content)}"
            x.head(206, Content_Length=len(rest), Content_Encoding="gzip", Content_Range=span)
            x.body(rest)

    with Misbehaving({"a/b.bin": content}, lambda request: ("labelled", labelled)) as server:
        assert one(remote(content, server), tmp_path).state == "fetched"
    assert offsets(server) == [None, 100_000]
    assert (tmp_path / "a/b.bin").read_bytes() == content


def test_redirects_are_followed_within_bounds(tmp_path):
    content = data(5000)
    with Misbehaving({"a/b.bin": content}) as goal:
        places = {f"{k}": b"x" for k in range(8)}
        steps = {f"{k}": f"/{k - 1}" if k else goal.url("a/b.bin") for k in range(8)}
        hop = lambda request: ("redirect", bad.redirect(steps[request.path], 307))
        with Misbehaving(places, hop) as server:
            near = one(remote(content, urls=(server.url("4"),)), tmp_path)  # five redirects
            far = one(remote(content, urls=(server.url("5"),)), tmp_path / "2")
    assert near.state == "fetched"
    assert far.state == "failed"
    assert "more than 5 redirects" in far.problem
    assert len(goal.requests) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (bad.redirect_loop, "redirects in a circle"),
        (bad.redirect("http://example.org/a?token=geheim"), "not https"),
        (bad.redirect("file:///etc/passwd"), "not https"),
        (bad.redirect("ftp://127.0.0.1/a"), "not https"),
        (bad.redirect("https://[broken"), "redirects to nowhere"),
    ],
)
def test_bad_redirects_are_refused_at_once(tmp_path, fault, words):
    content = data(50)
    with Misbehaving({"a/b.bin": content}, lambda request: ("redirect", fault)) as server:
        outcome = one(remote(content, server), tmp_path)
    assert (outcome.state, outcome.permanent) == ("failed", False)
    assert words in outcome.problem
    assert "geheim" not in outcome.problem
    assert len(server.requests) <= 3


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A throwaway authority and a server's context."""
    return bad.authority(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_https_with_the_certificates_of_the_environment(tmp_path, tls, monkeypatch, variable):
    content = data(300_000)
    with Misbehaving({"a/b.bin": content}, tls=tls[1]) as server:
        stranger = one(remote(content, server), tmp_path)
        monkeypatch.setenv(variable, str(tls[0]))
        friend = one(remote(content, server), tmp_path)
    assert stranger.state == "failed"
    assert "REQUESTS_CA_BUNDLE" in stranger.problem
    assert friend.state == "fetched"
    assert friend.source.startswith("https://")
    monkeypatch.setenv(variable, "/no/such.pem")
    with pytest.raises(FileNotFoundError, match=f"{variable}=/no/such.pem"):
        one(remote(content, server), tmp_path)


def test_a_redirect_from_https_to_http_is_refused_even_on_loopback(tmp_path, tls, monkeypatch):
    content = data(50)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls[0]))
    with Misbehaving({"a/b.bin": content}) as plain:
        away = lambda request: ("redirect", bad.redirect(plain.url("a/b.bin")))
        with Misbehaving({"a/b.bin": content}, away, tls[1]) as server:
            outcome = one(remote(content, server), tmp_path)
    assert "redirects from https" in outcome.problem
    assert plain.requests == []


# --- secrets --------------------------------------------------------------------------------------------------


def with_user(server: Misbehaving, path: str = "a/b.bin") -> str:
    """Address with a user's name, a password and secret parameters."""
    return server.url(path).replace("//", "//ada:geh%40im@") + "?X-Amz-Signature=geheim&versionId=v1&token=geheim"


def test_credentials_go_to_their_host_only_and_into_no_text(tmp_path, capsys, caplog):
    caplog.set_level(logging.DEBUG)
    content = data(5000)
    with Misbehaving({"a/b.bin": content}) as stranger:
        away = lambda request: ("redirect", bad.redirect(stranger.url("a/b.bin")))
        with Misbehaving({"a/b.bin": content}, away) as server:
            outcome = one(remote(content, urls=(with_user(server),)), tmp_path)
            lost = one(remote(content[1:], urls=(with_user(server),)), tmp_path / "2")
    expected = "Basic " + base64.b64encode(b"ada:geh@im").decode()
    assert {request.headers["authorization"] for request in server.requests} == {expected}
    assert all("authorization" not in request.headers for request in stranger.requests)
    assert outcome.source == server.url("a/b.bin") + "?X-Amz-Signature=...&versionId=v1&token=..."
    said = capsys.readouterr()
    texts = [outcome.source, lost.problem, (tmp_path / "downloads.tsv").read_text(), said.out, said.err, caplog.text]
    assert lost.state == "failed"
    assert "versionId=v1" in caplog.text  # the connection library did log
    for text in texts:
        assert "geh" not in text
        assert "ada" not in text


def test_netrc_is_used_for_its_host(tmp_path, monkeypatch):
    content = data(50)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password geheim\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with Misbehaving({"a/b.bin": content}) as server:
        one(remote(content, server), tmp_path / "1")
        named = server.url("a/b.bin").replace("127.0.0.1", "localhost")
        one(remote(content, urls=(named,)), tmp_path / "2")
    expected = "Basic " + base64.b64encode(b"ada:geheim").decode()
    assert [request.headers.get("authorization") for request in server.requests] == [expected, None]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://h/p?versionId=a.b", "https://h/p?versionId=a.b"),
        ("https://u:p@h:8/p?token=s&versionId=1#frag", "https://h:8/p?token=...&versionId=1"),
        ("https://u:p@w@h/p", "https://h/p"),
        ("https://h/p?s3cret", "https://h/p?..."),
        ("failed (url: /p?X-Amz-Signature=s) twice", "failed (url: /p?X-Amz-Signature=...) twice"),
        ("see http://u:p@a/x and 'http://b?k=v'", "see http://a/x and 'http://b?k=...'"),
    ],
)
def test_redact(text, clean):
    assert redact(text) == clean


# --- proxies --------------------------------------------------------------------------------------------------


def test_proxies_of_the_environment(tmp_path, monkeypatch, tls):
    content = data(5000)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls[0]))
    with (
        Misbehaving({"a/b.bin": content}) as proxy,
        Misbehaving({"a/b.bin": content}) as plain,
        Misbehaving({"a/b.bin": content}, tls=tls[1]) as secure,
    ):
        monkeypatch.setenv("http_proxy", proxy.address.replace("//", "//ada:geheim@"))
        monkeypatch.setenv("https_proxy", proxy.address)
        assert one(remote(content, plain), tmp_path / "1").state == "fetched"
        assert one(remote(content, secure), tmp_path / "2").state == "fetched"
        monkeypatch.setenv("no_proxy", "127.0.0.0/8")
        assert one(remote(content, plain), tmp_path / "3").state == "fetched"
    assert [request.target for request in proxy.requests] == [plain.url("a/b.bin")]
    assert proxy.requests[0].headers["proxy-authorization"] == "Basic " + base64.b64encode(b"ada:geheim").decode()
    assert proxy.tunnels == [f"127.0.0.1:{secure.port}"]
    assert len(plain.requests) == len(secure.requests) == 1


# --- mirrors --------------------------------------------------------------------------------------------------


def test_a_mirror_folder_is_the_only_source_and_is_verified(tmp_path):
    content = data(9_000_000)
    mirror, here = tmp_path / "mirror with space", tmp_path / "here"
    (mirror / "a").mkdir(parents=True)
    (mirror / "a/b.bin").write_bytes(content)
    (mirror / "a/bad.bin").write_bytes(b"x" + content[1:])
    (tmp_path / "outside").write_bytes(content)
    (mirror / "a/link.bin").symlink_to(tmp_path / "outside")
    (mirror / "a/inner.bin").symlink_to("b.bin")
    transport = Transport(mirror=mirror.as_uri(), backoff=0.001)
    leave_part(here, content[:1_000_000])
    with Misbehaving({"a/b.bin": content}) as server:
        names = ["a/b.bin", "a/bad.bin", "a/link.bin", "a/inner.bin", "a/none.bin", "a"]
        good, corrupt, link, inner, none, folder = fetch_all(
            [remote(content, server, path=name) for name in names[:-1]], here, transport
        ) + fetch_all([remote(content, path="a")], tmp_path / "there", transport)
    assert server.requests == []
    assert (good.state, inner.state) == ("fetched", "fetched")
    assert (here / "a/b.bin").read_bytes() == content
    assert os.stat(here / "a/b.bin").st_ino != os.stat(mirror / "a/b.bin").st_ino
    assert [o.state for o in (corrupt, link, none, folder)] == ["failed"] * 4
    assert "instead of" in corrupt.problem
    assert "out of the mirror" in link.problem
    assert "No such file" in none.problem
    assert "no plain file" in folder.problem
    assert corrupt.permanent
    assert none.permanent


def test_a_mirror_address_is_the_only_source(tmp_path):
    content = data(5000)
    with Misbehaving({"m/a/b c.bin": content}) as mirror, Misbehaving({}) as server:
        wanted = remote(content, server, path="a/b c.bin")
        outcome = one(wanted, tmp_path, Transport(mirror=mirror.url("m/")))
    assert outcome.state == "fetched"
    assert outcome.source == mirror.url("m/a/b%20c.bin")
    assert server.requests == []


@pytest.mark.parametrize("mirror", ["mirror", "file:mirror", "file://host/mirror", "ftp://host/", "https://"])
def test_a_mirror_that_is_none(tmp_path, mirror):
    with pytest.raises(ValueError, match="expected file:///absolute/folder"):
        one(Remote("a", ()), tmp_path, Transport(mirror=mirror))


# --- paths ----------------------------------------------------------------------------------------------------


CONTROLS = ["a\nb", "a\0b", "a\tb", "a/\x7f", "a\u202eb"]


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../a", "a/../../b", "a//b", "a/", "./a", "a/.", "a\\b", "..\\a", "C:/a", "c:a", *CONTROLS],
)
def test_paths_that_leave_the_folder(tmp_path, path):
    with pytest.raises(ValueError) as problem:
        one(Remote(path, ("https://127.0.0.1/a",)), tmp_path / "data")
    assert repr(path) in str(problem.value)
    assert not (tmp_path / "data").exists()


def test_paths_that_do_not():
    for path in ("a", "a/b..c", "..a", "sub-01/func/sub-01_bold.nii.gz", "ä ö", "a/...", "a/.b"):
        check_path(path)


def test_links_that_leave_the_folder(tmp_path):
    folder, outside = tmp_path / "data", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "x").write_bytes(b"mine")
    (folder / "in").symlink_to(outside)
    (folder / "file").symlink_to(outside / "x")
    (folder / "p.part").symlink_to(outside / "x")
    (folder / "deep").mkdir()
    (folder / "deep/up").symlink_to("../../outside")
    content = data(50)
    with Misbehaving({name: content for name in ("in/x", "file", "p", "deep/up/x", "deep/new/x")}) as server:
        for path in ("in/x", "in/new/x", "file", "p", "deep/up/x"):
            with pytest.raises(ValueError, match=r"link.*[Rr]emove"):
                one(remote(content, server, path=path), folder)
        (folder / "alias").symlink_to("deep")
        (folder / "root").symlink_to(folder)
        assert one(remote(content, urls=(server.url("deep/new/x"),), path="root/alias/x"), folder).state == "fetched"
    assert (outside / "x").read_bytes() == b"mine"
    assert [p.name for p in outside.iterdir()] == ["x"]
    assert len(server.requests) == 1


def test_a_link_that_appears_later_is_not_written_through(tmp_path, monkeypatch):
    content = data(50)
    (tmp_path / "outside").write_bytes(b"mine")
    with Misbehaving({"b": content}) as server:
        wanted = remote(content, server, path="b")
        monkeypatch.setattr(transfer, "check_list", lambda *_: (tmp_path / "d/b.part").symlink_to(tmp_path / "outside"))
        (tmp_path / "d").mkdir()
        assert one(wanted, tmp_path / "d").state == "failed"
    assert (tmp_path / "outside").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([Remote("a", ("https://h/a",)), Remote("a", ("https://h/b",))], "more than once"),
        ([Remote("a", ("https://h/a",)), Remote("a.part", ("https://h/b",))], "needed for a file"),
        ([Remote("downloads.tsv", ("https://h/a",))], "needed for a file"),
        ([Remote("a", ("http://example.org/a?token=geheim",))], r"token=\.\.\. is no https"),
        ([Remote("a", ("file:///etc/passwd",))], "is no https"),
        ([Remote("a", ())], "no source"),
        ([Remote("a", ("https://h/a",), hash="sha256:abc")], "no checksum"),
        ([Remote("a", ("https://h/a",), hash="crc:abc")], "no checksum"),
        ([Remote("a", ("https://h/a",), bytes=-1)], "no size"),
    ],
)
def test_lists_that_make_no_sense(tmp_path, files, words):
    with pytest.raises(ValueError, match=words):
        fetch_all(files, tmp_path, FAST)


# --- what is there --------------------------------------------------------------------------------------------


def test_a_touched_file_is_hashed_and_not_fetched(tmp_path):
    content = data(5000)
    with Misbehaving({"a/b.bin": content}) as server:
        one(remote(content, server), tmp_path)
        os.utime(tmp_path / "a/b.bin", (1, 1))
        assert one(remote(content, server), tmp_path).state == "there"
        (tmp_path / "downloads.tsv").unlink()
        assert one(remote(content, server), tmp_path).state == "there"
        assert one(remote(content, server, hash=checksum(content, "md5")), tmp_path).state == "there"
        assert one(remote(content, server, hash=checksum(content, "git")), tmp_path).state == "there"
    assert len(server.requests) == 1


def test_an_unchanged_file_is_not_hashed_again(tmp_path, monkeypatch):
    content = data(5000)
    with Misbehaving({"a/b.bin": content}) as server:
        one(remote(content, server), tmp_path)
        monkeypatch.setattr(fetch, "file_blocks", None)
        assert one(remote(content, server), tmp_path).state == "there"


@pytest.mark.parametrize("damage", [lambda c: b"x" + c[1:], lambda c: c[:-1], lambda c: c + b"x"])
def test_a_damaged_file_is_replaced_by_a_verified_one_only(tmp_path, damage):
    content = data(5000)
    with Misbehaving({"a/b.bin": content}) as server:
        one(remote(content, server), tmp_path)
        (tmp_path / "a/b.bin").write_bytes(damage(content))
        server.choose = lambda request: ("flip", bad.flip)
        assert one(remote(content, server), tmp_path).state == "failed"
        assert (tmp_path / "a/b.bin").read_bytes() == damage(content)
        server.choose = lambda request: None
        assert one(remote(content, server), tmp_path).state == "fetched"
    assert (tmp_path / "a/b.bin").read_bytes() == content


def test_a_new_version_replaces_the_old(tmp_path):
    old, new = data(5000), data(6000)
    with Misbehaving({"a/b.bin": old}) as server:
        one(remote(old, server), tmp_path)
        server.files["a/b.bin"] = new
        assert one(remote(new, server), tmp_path).state == "fetched"
    assert (tmp_path / "a/b.bin").read_bytes() == new


def test_first_seen_is_trusted_and_ever_after_compared(tmp_path):
    old, new = data(5000), data(5000, 1)
    with Misbehaving({"a/b.bin": old}) as server:
        wanted = remote(old, server, hash="", bytes=None)
        first = one(wanted, tmp_path)
        assert one(wanted, tmp_path).state == "there"
        server.files["a/b.bin"] = new
        (tmp_path / "a/b.bin").unlink()
        changed = one(wanted, tmp_path)
        assert first.state == "fetched"
        assert (changed.state, changed.permanent) == ("failed", True)
        for words in (hashlib.sha256(old).hexdigest(), hashlib.sha256(new).hexdigest(), "first seen on 2", "delete"):
            assert words in changed.problem
        assert not (tmp_path / "a/b.bin").exists()
        ledger = tmp_path / "downloads.tsv"
        ledger.write_text("".join(line for line in ledger.open() if "a/b.bin" not in line))
        assert one(wanted, tmp_path).state == "fetched"
    assert (tmp_path / "a/b.bin").read_bytes() == new


def test_an_unknown_file_of_unknown_origin_is_not_trusted(tmp_path):
    content = data(5000)
    (tmp_path / "b").write_bytes(b"half a download of another program")
    with Misbehaving({"b": content}) as server:
        assert one(remote(content, server, path="b", hash="", bytes=None), tmp_path).state == "fetched"
    assert (tmp_path / "b").read_bytes() == content


def test_the_ledger_survives_a_torn_line_and_many_writers(tmp_path):
    record = lambda k: Record(f"f{k}", k, k, "0" * 64, "", "here", "2026-01-01")
    ledger = Ledger(tmp_path)
    ledger.add(record(1), durable=True)
    with open(tmp_path / "downloads.tsv", "a") as file:
        file.write("f2\t2\t2\t00")  # the disk was full
    Ledger(tmp_path).add(record(3), durable=True)
    assert [Ledger(tmp_path).get(f"f{k}") for k in (1, 2, 3)] == [record(1), None, record(3)]
    assert ledger.get("f3") == record(3)
    writers = [threading.Thread(target=lambda k=k: _write_many(tmp_path, record, k)) for k in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert all(Ledger(tmp_path).get(f"f{k}") == record(k) for k in range(1000, 1400))


def _write_many(folder, record, start):
    ledger = Ledger(folder)
    for k in range(1000 + start, 1400, 4):
        ledger.add(record(k), durable=False)
    ledger.close()


def test_plan_is_cheap_and_says_what_is_missing(tmp_path, monkeypatch):
    content = data(5000)
    files = [remote(content, path=name, urls=("https://h/a",)) for name in ("there", "part", "missing", "short")]
    files.append(Remote("unknown", ("https://h/a",)))
    (tmp_path / "there").write_bytes(content)
    (tmp_path / "short").write_bytes(content[1:])
    (tmp_path / "unknown").write_bytes(content)
    leave_part(tmp_path, content[:100], "part")
    monkeypatch.setattr(part.hashlib, "new", None)
    table = plan(files, tmp_path)
    assert list(table.columns) == ["path", "bytes", "state"]
    assert list(table["state"]) == ["there", "part", "missing", "missing", "missing"]
    assert list(table["bytes"][:4]) == [5000] * 4
    assert table["bytes"].isna().tolist() == [False] * 4 + [True]
    assert len(plan([], tmp_path / "none")) == 0


def test_a_full_disk_is_noticed_before_the_first_byte(tmp_path):
    check_room(1000, tmp_path / "not/yet")
    with pytest.raises(OSError, match=r"1000\.0 TB are needed and .* are free\. Free at least .* or choose"):
        check_room(10**15, tmp_path / "not/yet")
    with Misbehaving({"a/b.bin": b"x"}) as server, pytest.raises(OSError, match="are needed"):
        one(remote(b"x", server, bytes=10**15), tmp_path)
    assert server.requests == []


# --- the caller's check ---------------------------------------------------------------------------------------


def test_a_file_that_does_not_parse_comes_from_the_next_source(tmp_path):
    good, junk = b"good" + data(50), b"junk" + data(50)

    def check(path):
        if not path.read_bytes().startswith(b"good"):
            raise ValueError(f"{path.name} does not start with good")

    with Misbehaving({"a/b.bin": junk}) as first, Misbehaving({"a/b.bin": good}) as second:
        outcome = one(remote(good, first, second, hash=""), tmp_path, check=check)
        lost = one(remote(junk, first, first, hash=""), tmp_path / "2", check=check)
        pinned = one(remote(junk, first, first), tmp_path / "3", check=check)
    assert (outcome.state, outcome.source) == ("fetched", second.url("a/b.bin"))
    assert (lost.state, lost.permanent, pinned.permanent) == ("failed", True, True)
    assert "b.bin.part does not start with good" in lost.problem
    assert len(first.requests) == 1 + 2 + 1  # the same verified bytes are not fetched twice
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "downloads.tsv"] == [tmp_path / "a/b.bin"]


def test_a_broken_check_is_not_taken_for_a_broken_file(tmp_path):
    def check(path):
        raise KeyError("column")

    with Misbehaving({"a/b.bin": b"x"}) as server, pytest.raises(KeyError, match="column"):
        one(remote(b"x", server), tmp_path, check=check)
    assert not (tmp_path / "a/b.bin").exists()


# --- interruptions --------------------------------------------------------------------------------------------


def run_script(text: str, *arguments: object, **options) -> subprocess.CompletedProcess:
    """Run a script in a process of its own, with the files of this folder importable."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=90, **options
    )


def test_two_processes_never_fetch_one_file_twice(tmp_path):
    content = data(300_000)

    def slow(x):
        for start in range(0, len(content), 30_000):
            if start == 0:
                x.partial()
            x.body(content[start : start + 30_000])
            time.sleep(0.05)

    script = """
        import os, sys
        from pathlib import Path
        from dysconnect.fetching import Remote, Transport, fetch_all
        url, digest, folder = sys.argv[1:]
        for _ in range(3):
            if os.fork() == 0:
                outcome = fetch_all([Remote("a/b.bin", (url,), 300_000, digest)], Path(folder), Transport())[0]
                Path(f"{folder}-{os.getpid()}.state").write_text(outcome.state)
                os._exit(0)
        for _ in range(3):
            os.wait()
    """
    with Misbehaving({"a/b.bin": content}, lambda request: ("slow", slow)) as server:
        result = run_script(script, server.url("a/b.bin"), checksum(content), tmp_path / "here")
    states = sorted(path.read_text() for path in tmp_path.glob("*.state"))
    assert states == ["fetched", "there", "there"], result.stdout + result.stderr
    assert len(server.requests) == 1
    assert not list(tmp_path.rglob("*.part"))


@pytest.fixture
def interruptible():
    """Ctrl-C as at a terminal: a shell's background jobs ignore it, and so do the processes that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_stops_at_once_and_leaves_a_part(tmp_path, interruptible):
    content = data(400_000)
    with Misbehaving({"a/b.bin": content}, in_turn(bad.stall)) as server:
        threading.Timer(0.8, signal.raise_signal, [signal.SIGINT]).start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            one(remote(content, server), tmp_path, Transport(connections=1, timeout=60))
        assert time.monotonic() - start < 5
        left = (tmp_path / "a/b.bin.part").stat().st_size
        assert 0 < left <= len(content) // 3
        assert one(remote(content, server), tmp_path, FAST).state == "fetched"
    assert offsets(server)[0] is None
    assert offsets(server)[1] > 0


def test_a_full_disk_stops_everything_and_loses_nothing(tmp_path, monkeypatch):
    files = {f"{k}.bin": data(400_000, k) for k in range(6)}
    with Misbehaving(files) as server:
        wanted = [remote(c, server, path=p) for p, c in files.items()]
        script = """
            import resource, sys
            from pathlib import Path
            from dysconnect.fetching import Remote, Transport, fetch_all
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))  # the kernel refuses what is beyond
            url, digest, folder = sys.argv[1:]
            small = Remote("small.bin", (url.replace("5.bin", "small.bin"),), 1000)
            try:
                fetch_all([small, Remote("5.bin", (url,), 400_000, digest)], Path(folder), Transport(connections=1))
            except OSError as problem:
                print(problem)
        """
        server.files["small.bin"] = data(1000)
        result = run_script(script, server.url("5.bin"), checksum(files["5.bin"]), tmp_path)
        assert "the disk is full" in result.stdout, result.stdout + result.stderr
        assert "100.0 kB are needed" in result.stdout
        assert (tmp_path / "5.bin.part").stat().st_size == 300_000
        assert (tmp_path / "small.bin").read_bytes() == data(1000)
        real, count = os.write, iter(range(1000))

        def write(file, block):  # the disk is full at the third block, in the middle of it
            turn = next(count)
            if turn == 3:
                raise OSError(28, "No space left on device")
            return real(file, bytes(block)[:1000] if turn == 2 else block)

        monkeypatch.setattr(part.os, "write", write)
        with pytest.raises(OSError, match=r"disk is full.*are needed.*free.*parts are resumed"):
            fetch_all(wanted, tmp_path, FAST)
        monkeypatch.undo()
        assert {o.state for o in fetch_all(wanted, tmp_path, FAST)} <= {"fetched", "there"}
    for path, content in files.items():
        assert (tmp_path / path).read_bytes() == content
        assert server.sent(path) <= len(content) + (2 << 20)
    assert 300_000 in offsets(server, "5.bin")


def test_a_write_protected_folder_fails_with_its_name(tmp_path):
    (tmp_path / "a").write_bytes(b"a file where a folder should be")
    with Misbehaving({"a/b.bin": b"x"}) as server:
        outcome = one(remote(b"x", server), tmp_path)
    assert (outcome.state, outcome.permanent) == ("failed", True)
    assert str(tmp_path / "a") in outcome.problem


# --- progress -------------------------------------------------------------------------------------------------


def test_progress_lines_of_a_log(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Meter, "SAY", 0.3)
    content = data(20)
    with Misbehaving({"a/b.bin": content}, in_turn(bad.drip)) as server:
        one(remote(content, server), tmp_path, what="ds000000")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 2
    assert lines[0].startswith("ds000000: ")
    assert "of 20 B" in lines[0]
    assert "0 of 1 files" in lines[0]
    assert lines[-1].startswith("ds000000: 1 fetched, 0 there, 0 failed of 1; 20 B in")


def test_progress_bar_of_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Meter("ds000000", 2, 1000) as meter:
        meter.add(400, fresh=True)
        meter.finished("fetched")
        meter.show()
    shown = capsys.readouterr()
    assert "400 B of 1.0 kB" in shown.err
    assert "1 of 2 files" in shown.err
    assert shown.out.count("\n") == 1


# --- campaigns ------------------------------------------------------------------------------------------------

BODIES = (bad.cut, bad.reset, bad.nothing, bad.flip, bad.shorter, bad.longer, bad.changed, bad.drip, bad.stall)
ANY = {fault.__name__: fault for fault in (*BODIES, bad.compressed, bad.unending, bad.redirect_loop)} | {
    "404": bad.answer(404),
    "403": bad.answer(403),
    "429": bad.answer(429, Retry_After=0),
    "503": bad.answer(503, Retry_After="Thu, 01 Jan 2026 00:00:00 GMT"),
    "502": bad.answer(502),
    "to http": bad.redirect("http://example.org/plain"),
}
RANGED = {f.__name__: f for f in (bad.ignore_range, bad.refuse_range, bad.wrong_range, bad.changed, bad.cut)}
SIZES = (0, 1, 1000, 70_000, 300_000, 1_200_000)


def signed(size: int, seed: int) -> bytes:
    """Content that carries its own checksum, so that a parser can tell it from a damaged one."""
    content = data(size, seed)
    return content + hashlib.sha256(content).digest()


def check_signed(path: Path) -> None:
    """Parse."""
    content = path.read_bytes()
    if hashlib.sha256(content[:-32]).digest() != content[-32:]:
        raise ValueError("damaged")


class Saboteur:
    """Draws a fault for two in three requests, until every file has had its share; and fills the disk now and then."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.injected = Counter()
        self.full = Counter()
        self._share = Counter()

    def choose(self, request: bad.Request) -> tuple[str, bad.Fault] | None:
        if self._share[request.path] >= 5 or self.random.random() < 0.1:
            return None
        faults = RANGED if request.offset is not None and self.random.random() < 0.6 else ANY
        name = self.random.choice(sorted(faults))
        self._share[request.path] += 1
        self.injected[name] += 1
        return name, faults[name]

    def write(self, file: int, block: bytes) -> int:
        """In place of os.write, for the parts: sometimes there is no room."""
        if self.full["no room"] < 6 and self.random.random() < 0.1:
            self.full["no room"] += 1
            raise OSError(28, "No space left on device")
        return REAL_WRITE(file, block)


REAL_WRITE = os.write


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_campaign(tmp_path, monkeypatch, seed):
    """Faults drawn by seed: nothing wrong ever has a final name, everything gets here, nothing comes twice."""
    kinds = ["sha256", "md5", "git", ""]
    contents = {f"f{k:02d}.bin": signed(SIZES[k % len(SIZES)], k) for k in range(96)}
    saboteur = Saboteur(seed)
    # not os.write itself: the ledger's own tests cover a full disk there
    monkeypatch.setattr(part, "os", _Os(saboteur))
    transport = Transport(connections=4, attempts=4, timeout=0.4, backoff=0.002)
    finished_at: dict[str, int] = {}
    with Misbehaving(contents, saboteur.choose) as first, Misbehaving(contents, saboteur.choose) as second:
        wanted = [
            remote(c, first, second, path=p, hash=checksum(c, kinds[k % 4]) if kinds[k % 4] else "")
            for k, (p, c) in enumerate(contents.items())
        ]
        for _ in range(30):
            try:
                outcomes = fetch_all(wanted, tmp_path, transport, check_signed)
            except OSError as problem:
                assert "parts are resumed" in str(problem)
                outcomes = []
            for path, content in contents.items():
                asked = len(first.asked(path)) + len(second.asked(path))
                if (tmp_path / path).exists():
                    assert (tmp_path / path).read_bytes() == content
                    assert finished_at.setdefault(path, asked) == asked  # finished bytes come only once
            if outcomes and all(outcome.state != "failed" for outcome in outcomes):
                break
        asked = len(first.requests) + len(second.requests)
        again = fetch_all(wanted, tmp_path, transport, check_signed)
        assert {outcome.state for outcome in again} == {"there"}
        assert len(first.requests) + len(second.requests) == asked
    assert set(finished_at) == set(contents)
    assert not list(tmp_path.rglob("*.part"))
    injected = saboteur.injected + saboteur.full
    print(f"seed {seed}: {injected.total()} faults, {dict(injected)}")
    assert injected.total() >= 200
    assert set(ANY) - set(injected) == set()


class _Os:
    """The module os with another write."""

    def __init__(self, saboteur: Saboteur):
        self.write = saboteur.write

    def __getattr__(self, name: str):
        return getattr(os, name)


def test_kill_9_at_random_moments(tmp_path):
    """Twelve kills: after each, what has its final name is right; at the end nothing came much more than once."""
    contents = {f"f{k}.bin": data(1_500_000, k) for k in range(6)}

    def slow(x):
        rest = x.partial()
        for start in range(0, len(rest), 50_000):
            x.body(rest[start : start + 50_000])
            time.sleep(0.06)  # 12 kills come before the last byte

    script = """
        import os, random, signal, sys, time
        from hashlib import sha256
        from pathlib import Path
        from test_transfer import Remote, Transport, checksum, data, fetch_all
        address, folder = sys.argv[1], Path(sys.argv[2])
        contents = {f"f{k}.bin": data(1_500_000, k) for k in range(6)}
        files = [Remote(p, (f"{address}/{p}",), len(c), checksum(c)) for p, c in contents.items()]
        moments = random.Random(9)
        kills = 0
        for _ in range(12):
            child = os.fork()
            if child == 0:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                fetch_all(files, folder, Transport(connections=2))
                os._exit(0)
            time.sleep(moments.uniform(0.05, 0.35))
            os.kill(child, signal.SIGKILL)
            kills += os.waitpid(child, 0)[1] == signal.SIGKILL
            for path, content in contents.items():
                file = folder / path
                assert not file.exists() or file.read_bytes() == content, path
        print("kills", kills, sum((folder / p).exists() for p in contents))
    """
    with Misbehaving(contents, lambda request: ("slow", slow)) as server:
        result = run_script(script, server.address, tmp_path)
        assert result.stdout.startswith("kills 12"), result.stdout + result.stderr
        server.choose = lambda request: None
        outcomes = fetch_all([remote(c, server, path=p) for p, c in contents.items()], tmp_path, FAST)
        asked = len(server.requests)
        fetch_all([remote(c, server, path=p) for p, c in contents.items()], tmp_path, FAST)
        assert len(server.requests) == asked
    assert {outcome.state for outcome in outcomes} <= {"fetched", "there"}
    for path, content in contents.items():
        assert (tmp_path / path).read_bytes() == content
    assert any(request.offset for request in server.requests)
    # a kill may cost what was in flight (here up to 0.5 s and two sockets' buffers), never what was on the disk
    assert sum(server.sent(path) for path in contents) < sum(map(len, contents.values())) + 13 * 2 * 2_000_000
