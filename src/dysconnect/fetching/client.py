"""One worker's connections: requests for bytes, redirects, credentials, proxies, and a mirror folder.

urllib3 moves the bytes (measured: 1,000 small files take 0.7 of the time they take with requests.Session); what
the environment says about proxies, netrc and certificates is read by requests, as users know it.
"""

import base64
import logging
import os
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import url2pathname

import requests
import urllib3
from urllib3.exceptions import HTTPError, InvalidHeader, LocationParseError, SSLError

from dysconnect.fetching.part import BLOCK, Stopped
from dysconnect.fetching.remote import Transport, allowed, redact
from dysconnect.version import __version__

REDIRECTS = 5
SLOWEST = 1000  # bytes per second over `timeout` seconds: less is as good as nothing
LONGEST_WAIT = 120  # seconds; a server may ask for more, we do not sleep longer
BUSY = {408, 425, 429, 500, 502, 503, 504}
AGENT = f"dysconnect/{__version__}"
PLAINLY = {"redirect": False, "retries": urllib3.Retry(False, redirect=False), "preload_content": False}
CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


class Again(Exception):
    """The same source may do better in `wait` seconds or more."""

    def __init__(self, problem: str, wait: float = 0.0):
        super().__init__(problem)
        self.wait = wait


class Useless(Exception):
    """Another try at the source is no use; `permanent`: nor will it be soon."""

    def __init__(self, problem: str, permanent: bool):
        super().__init__(problem)
        self.permanent = permanent


class _HideSecrets(logging.Filter):
    """urllib3 logs whole URLs at level DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_HideSecrets())


def trust() -> ssl.SSLContext:
    """TLS with the certificates the environment names, else those of certifi, as in requests."""
    for name in CERTIFICATES:
        place = os.environ.get(name)
        if place and not os.path.exists(place):
            raise FileNotFoundError(f"{name}={place}: no such file. Correct the variable, or unset it.")
        if place:
            return ssl.create_default_context(**{"capath" if os.path.isdir(place) else "cafile": place})
    return ssl.create_default_context(cafile=requests.certs.where())


class Client:
    """Requests for one worker thread; connections are kept and used again.

    Parameters
    ----------
    transport : Transport
    tls : ssl.SSLContext, optional
        Shared by all workers; None where no source is https.
    """

    def __init__(self, transport: Transport, tls: ssl.SSLContext | None):
        self._tls = tls
        self._plain = (transport.mirror or "").startswith("http:")
        self._folder = _local(transport.mirror or "")
        self._patience = urllib3.Timeout(connect=transport.timeout, read=transport.timeout)
        self._ways: dict[str, tuple[urllib3.PoolManager, str]] = {}  # by origin, with the credentials that netrc has

    def open(self, url: str, offset: int) -> urllib3.HTTPResponse:
        """Ask for a URL from a byte on, following redirects; the body is still to be read.

        Raises
        ------
        Again, Useless
        """
        if url.startswith("file:"):
            return _open_local(self._folder, _local(url), offset)
        secret = _basic(urlsplit(url))
        start, seen = _origin(url), {url}
        for _ in range(REDIRECTS + 1):
            response = self._send(url, offset, secret if _origin(url) == start else "")
            location = response.get_redirect_location()
            if not location:
                return response
            _finish(response)
            url = self._follow(url, location)
            if url in seen:
                raise Useless("redirects in a circle", permanent=False)
            seen.add(url)
        raise Useless(f"more than {REDIRECTS} redirects", permanent=False)

    def _follow(self, url: str, location: str) -> str:
        try:
            target = urljoin(url, location)
            fine = allowed(target, self._plain and url.startswith("http:"))
        except ValueError as problem:
            raise Useless(f"redirects to nowhere: {problem}", permanent=False) from None
        if not fine:
            raise Useless(f"redirects to {redact(target)}, which is not https: refused", permanent=False)
        if url.startswith("https:") and not target.startswith("https:"):
            raise Useless(f"redirects from https to {redact(target)}: refused", permanent=False)
        return target

    def _send(self, url: str, offset: int, secret: str) -> urllib3.HTTPResponse:
        headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        try:
            pools, login = self._way(_origin(url))
            if secret or login:
                headers["Authorization"] = secret or login
            return pools.urlopen("GET", _bare(url), headers=headers, timeout=self._patience, **PLAINLY)
        except SSLError as problem:
            hint = f"Set {CERTIFICATES[0]} if your network uses certificates of its own."
            raise Useless(f"{say(problem)}. {hint}", permanent=False) from None
        except LocationParseError as problem:
            raise Useless(say(problem), permanent=True) from None
        except HTTPError as problem:
            raise Again(say(problem)) from None

    def _way(self, origin: str) -> tuple[urllib3.PoolManager, str]:
        """Way to a host, looked up once: the environment may name a proxy for it, and netrc a user."""
        if origin not in self._ways:
            proxies = requests.utils.get_environ_proxies(origin, no_proxy=None)
            proxy = requests.utils.select_proxy(origin, proxies)
            login = requests.utils.get_netrc_auth(origin)
            if self._tls is None and (proxy or origin.startswith("https:")):
                self._tls = trust()
            pools = self._behind(proxy) if proxy else urllib3.PoolManager(ssl_context=self._tls)
            self._ways[origin] = pools, _encode(*login) if login else ""
        return self._ways[origin]

    def _behind(self, proxy: str) -> urllib3.ProxyManager:
        proxy = proxy if "://" in proxy else f"http://{proxy}"
        secret = _basic(urlsplit(proxy))
        return urllib3.ProxyManager(
            _bare(proxy),
            proxy_headers={"Proxy-Authorization": secret} if secret else None,
            ssl_context=self._tls,
            proxy_ssl_context=self._tls,
        )

    def close(self) -> None:
        """Close all connections."""
        for pools, _ in self._ways.values():
            pools.clear()


def _local(url: str) -> Path:
    return Path(url2pathname(urlsplit(url).path))


def _bare(url: str) -> str:
    """A URL without user, password and fragment, which are for nobody to read."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()


def _origin(url: str) -> str:
    parts = urlsplit(_bare(url))
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _basic(parts) -> str:
    if parts.username is None:
        return ""
    return _encode(unquote(parts.username), unquote(parts.password or ""))


def _encode(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def say(problem: Exception) -> str:
    """Describe a network problem in a line without secrets."""
    return redact(f"{type(problem).__name__}: {problem}")


def _finish(response: urllib3.HTTPResponse) -> None:
    """Read a short body, so that the connection can be used again; give up on a long one."""
    try:
        response.read1(BLOCK, decode_content=False)
    except HTTPError:
        pass  # the answer is known already, only the connection is lost
    finally:
        response.close()


def _open_local(root: Path, file: Path, offset: int) -> urllib3.HTTPResponse:
    """Answer for a file of a mirror folder as a server would."""
    real = file.resolve()
    if not real.is_relative_to(root.resolve()):
        raise Useless(f"{file} is a link out of the mirror folder: refused", permanent=True)
    try:
        opened = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as problem:
        raise Useless(f"{problem.strerror} in the mirror folder", isinstance(problem, FileNotFoundError)) from None
    status = os.fstat(opened)
    if not stat.S_ISREG(status.st_mode):
        os.close(opened)
        raise Useless("is no plain file in the mirror folder", permanent=True)
    size = status.st_size
    os.lseek(opened, offset, os.SEEK_SET)
    headers = {"Content-Length": str(max(size - offset, 0)), "Content-Range": f"bytes {offset}-{size - 1}/{size}"}
    code = 416 if offset > size else 206 if offset else 200
    return urllib3.HTTPResponse(open(opened, "rb"), headers, code, preload_content=False)


def refuse(response: urllib3.HTTPResponse) -> None:
    """Turn a status that brings no bytes into an exception."""
    try:
        words = f"{response.status} {HTTPStatus(response.status).phrase}"
    except ValueError:
        words = str(response.status)
    _finish(response)
    if response.status in BUSY:
        raise Again(words, _retry_after(response.headers.get("Retry-After", "")))
    raise Useless(words, permanent=400 <= response.status < 500)


def _retry_after(value: str) -> float:
    """Seconds that a server asks to wait for, given as seconds or as a date; at most `LONGEST_WAIT`."""
    try:
        return min(urllib3.Retry().parse_retry_after(value), LONGEST_WAIT)
    except (InvalidHeader, ValueError, OverflowError):  # absent or nonsense
        return 0.0


def blocks(response: urllib3.HTTPResponse, decode: bool, timeout: float, stop: threading.Event) -> Iterator[bytes]:
    """Read a body as it comes.

    Raises
    ------
    Again
        The body broke off, or came at less than `SLOWEST` for `timeout` seconds.
    Stopped
    """
    began, came = time.monotonic(), 0
    while response.length_remaining != 0 or decode:
        block = _read(response, decode)
        if not block:
            return
        yield block
        came += len(block)
        now = time.monotonic()
        if stop.is_set():
            raise Stopped
        if now - began >= timeout:
            if came < SLOWEST * timeout:
                raise Again(f"{came} bytes in {now - began:.0f} s, less than {SLOWEST} bytes a second")
            began, came = now, 0


def _read(response: urllib3.HTTPResponse, decode: bool) -> bytes:
    try:
        return response.read1(BLOCK, decode_content=decode)
    except HTTPError as problem:
        raise Again(say(problem)) from None
