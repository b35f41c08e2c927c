"""A loopback HTTP server that misbehaves on purpose, and remembers every request and every byte it sent.

A fault is a function of one `Exchange`; `Misbehaving.choose` picks one for a request, or None for a proper answer.
The same server is a proxy: it notes the full address of what it is asked for, and tunnels CONNECT.
"""

import datetime
import email.utils
import gzip
import ipaddress
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass
class Request:
    """What was asked and what was done about it."""

    method: str
    target: str
    headers: dict[str, str]
    connection: int
    fault: str = ""
    sent: int = 0

    @property
    def path(self) -> str:
        """Path without query."""
        return unquote(urlsplit(self.target).path).lstrip("/")

    @property
    def offset(self) -> int | None:
        """First byte asked for; None for the whole file."""
        value = self.headers.get("range")
        return int(value.removeprefix("bytes=").rstrip("-")) if value else None


class Exchange:
    """One request, what the file holds, and ways to answer."""

    def __init__(self, server: "Misbehaving", connection: socket.socket, request: Request):
        self.server, self.connection, self.request = server, connection, request
        self.content = server.files.get(request.path)
        self.offset = request.offset or 0
        self.open = True

    def head(self, status: int, **headers: object) -> None:
        """Send status and headers; underscores become hyphens."""
        lines = [f"HTTP/1.1 {status} X", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
        self.connection.sendall("\r\n".join([*lines, "", ""]).encode())

    def body(self, data: bytes) -> None:
        """Send a part of the body."""
        view = memoryview(data)
        while view:
            number = self.connection.send(view[: 1 << 16])
            self.request.sent += number
            view = view[number:]

    def partial(self, content: bytes | None = None) -> bytes:
        """Send the head of a proper answer; return the bytes that it promises."""
        content = self.content if content is None else content
        rest = content[self.offset :]
        if self.request.offset is None:
            self.head(200, Content_Length=len(rest))
        elif self.offset >= len(content):
            self.head(416, Content_Length=0, Content_Range=f"bytes */{len(content)}")
            return b""
        else:
            span = f"bytes {self.offset}-{len(content) - 1}/{len(content)}"
            self.head(206, Content_Length=len(rest), Content_Range=span)
        return rest

    def proper(self) -> None:
        """Answer as one should."""
        if self.content is None:
            self.head(404, Content_Length=0)
        else:
            self.body(self.partial())

    def close(self) -> None:
        """End the connection after this answer."""
        self.open = False

    def reset(self) -> None:
        """End the connection with RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.open = False


Fault = Callable[[Exchange], None]


def cut(x: Exchange) -> None:
    """Half of what was promised, then the end."""
    rest = x.partial()
    x.body(rest[: len(rest) // 2])
    x.close()


def reset(x: Exchange) -> None:
    """Half of what was promised, then RST."""
    rest = x.partial()
    x.body(rest[: len(rest) // 2])
    time.sleep(0.01)
    x.reset()


def nothing(x: Exchange) -> None:
    """No answer at all."""
    x.close()


def flip(x: Exchange) -> None:
    """One bit is wrong."""
    rest = bytearray(x.partial())
    if rest:
        rest[len(rest) // 2] ^= 1
    x.body(bytes(rest))


def shorter(x: Exchange) -> None:
    """A shorter object."""
    x.body(x.partial(x.content[:-1]))


def longer(x: Exchange) -> None:
    """A longer object, announced."""
    x.body(x.partial(x.content + bytes(1000)))


def unending(x: Exchange) -> None:
    """More bytes than the file has, unannounced, until the other side hangs up (at most 64 MB)."""
    x.head(200, Transfer_Encoding="chunked")
    chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
    x.body(f"{len(x.content):x}\r\n".encode() + x.content + b"\r\n" if x.content else b"")
    for _ in range(1024):
        x.body(chunk)
    x.close()


def changed(x: Exchange) -> None:
    """Another object of the same size."""
    x.body(x.partial(bytes(255 - byte for byte in x.content)))


def drip(x: Exchange) -> None:
    """A byte now and then, for four seconds."""
    for byte in x.partial()[:80]:
        x.body(bytes([byte]))
        if x.server.closing.wait(0.05):
            break
    x.close()


def stall(x: Exchange) -> None:
    """Some bytes, then silence."""
    rest = x.partial()
    x.body(rest[: len(rest) // 3])
    x.server.closing.wait(3)
    x.close()


def ignore_range(x: Exchange) -> None:
    """The whole file, whatever was asked for."""
    x.head(200, Content_Length=len(x.content))
    x.body(x.content)


def refuse_range(x: Exchange) -> None:
    """416, whatever was asked for."""
    x.head(416, Content_Length=0, Content_Range=f"bytes */{len(x.content)}")


def wrong_range(x: Exchange) -> None:
    """Another part than the one asked for."""
    start = max(x.offset - 1, 0)
    rest = x.content[start:]
    x.head(206, Content_Length=len(rest), Content_Range=f"bytes {start}-{len(x.content) - 1}/{len(x.content)}")
    x.body(rest)


def compressed(x: Exchange) -> None:
    """Gzip, though identity was asked for."""
    data = gzip.compress(x.content, 1)
    x.head(200, Content_Length=len(data), Content_Encoding="gzip")
    x.body(data)


def redirect(location: str, status: int = 302) -> Fault:
    """Point elsewhere."""

    def fault(x: Exchange) -> None:
        x.head(status, Content_Length=0, Location=location)

    return fault


def redirect_loop(x: Exchange) -> None:
    """Point to itself by way of a query."""
    x.head(302, Content_Length=0, Location=f"/{x.request.path}?turn={'b' if x.request.target.endswith('a') else 'a'}")


def answer(status: int, **headers: object) -> Fault:
    """Only a status, with a body of ten bytes that is no part of the file."""

    def fault(x: Exchange) -> None:
        x.head(status, **{"Content_Length": 10, **headers})
        x.body(b"no, sorry\n")

    return fault


def retry_date(seconds: float) -> str:
    """An HTTP date in some seconds."""
    return email.utils.format_datetime(
        datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds), usegmt=True
    )


@dataclass
class Misbehaving:
    """Serve `files` on 127.0.0.1; use as a context.

    `choose` returns the fault for a request or None. With `tls` the server speaks https.
    """

    files: dict[str, bytes]
    choose: Callable[[Request], tuple[str, Fault] | None] = lambda request: None
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    tunnels: list[str] = field(default_factory=list)

    def __enter__(self) -> "Misbehaving":
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *problem) -> None:
        self.closing.set()
        self._socket.shutdown(socket.SHUT_RDWR)  # or the thread in accept() would serve one more
        self._socket.close()

    @property
    def address(self) -> str:
        """Scheme, host and port."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        """Address of a file."""
        return f"{self.address}/{path}"

    def asked(self, path: str) -> list[Request]:
        """Requests for a file."""
        return [request for request in self.requests if request.path == path]

    def sent(self, path: str) -> int:
        """Bytes of bodies sent for a file."""
        return sum(request.sent for request in self.asked(path))

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._connections += 1
            threading.Thread(target=self._serve, args=(connection, self._connections), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
            connection.settimeout(20)
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            while self._answer(connection, number):
                pass
        except (OSError, ssl.SSLError):
            pass  # the other side hung up
        finally:
            connection.close()

    def _answer(self, connection: socket.socket, number: int) -> bool:
        head = b""
        while b"\r\n\r\n" not in head:
            data = connection.recv(1 << 16)
            if not data:
                return False
            head += data
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        if method == "CONNECT":
            self.tunnels.append(target)
            return self._tunnel(connection, target)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
        request = Request(method, target, headers, number)
        with self._lock:
            self.requests.append(request)
            name, fault = self.choose(request) or ("", Exchange.proper)
            request.fault = name
        exchange = Exchange(self, connection, request)
        (fault if exchange.content is not None else Exchange.proper)(exchange)
        return exchange.open

    def _tunnel(self, connection: socket.socket, target: str) -> bool:
        host, _, port = target.rpartition(":")
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with socket.create_connection((host, int(port))) as other:
            ways = {connection: other, other: connection}
            while True:
                for ready in select.select(list(ways), [], [], 20)[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return False
                    ways[ready].sendall(data)


def in_turn(*faults: Fault | None) -> Callable[[Request], tuple[str, Fault] | None]:
    """Choose one fault after the other, then none any more."""
    rest = list(faults)

    def choose(request: Request) -> tuple[str, Fault] | None:
        fault = rest.pop(0) if rest else None
        return None if fault is None else (getattr(fault, "__name__", "fault"), fault)

    return choose


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Make a throwaway certificate authority: its certificate, and a server's TLS context for 127.0.0.1."""
    now = datetime.datetime.now(datetime.UTC)
    names = {who: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, who)]) for who in ("ca", "server")}
    keys = {who: ec.generate_private_key(ec.SECP256R1()) for who in names}

    def sign(who: str, extensions: list[tuple[x509.ExtensionType, bool]]) -> x509.Certificate:
        builder = x509.CertificateBuilder(names["ca"], names[who], keys[who].public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(keys["ca"], hashes.SHA256())

    own = x509.AuthorityKeyIdentifier.from_issuer_public_key(keys["ca"].public_key())
    hosts = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    key_id = x509.SubjectKeyIdentifier.from_public_key(keys["ca"].public_key())
    ca = sign("ca", [(x509.BasicConstraints(True, None), True), (usage, True), (key_id, False)])
    server = sign("server", [(x509.SubjectAlternativeName(hosts), False), (own, False)])
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    key = keys["server"].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(key + server.public_bytes(pem))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem")
    return folder / "ca.pem", context
