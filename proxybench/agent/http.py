"""Just enough HTTP/1.1: requests rendered before the clock starts, sent without ever blocking a prober.

The standard library's client is not used: importing it costs more than a second on an emulated CPU, and its parsing
would stand between the arrival of a response and the reading of the clock.
"""

from __future__ import annotations

import json
import socket
import struct
import time

from proxybench.agent.fields import OpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from proxybench.agent.fields import Fields
    from proxybench.agent.state import State
    from proxybench.agent.tls import Tls

    Messages = list[tuple[int, int, bytes]]

CHUNK = 65_536
METHODS = ("POST", "PUT", "DELETE")
FIRST_ERROR = 400
TOO_MANY = 429
RETRY_S = 1.0  # for an API that says to try again, and not when
# In a body: replaced by this node's UTC time when the request is sent (RFC 3339, as long as what it replaces), so that
# a trigger time and the control loop that reads it go by one clock.
NOW = b"0000-00-00T00:00:00.000000000Z"
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; also the type of the message that carries the stamp
TIMESPEC = struct.Struct("@ll")
NS_PER_S = 1_000_000_000


class Url:
    """A URL in parts; ``path`` keeps the query."""

    def __init__(self, text: str) -> None:
        scheme, _, rest = text.partition("://")
        authority, slash, path = rest.partition("/")
        if authority.startswith("["):  # an address of IPv6
            host, _, tail = authority[1:].partition("]")
            colon, port = tail[:1], tail[1:]
        else:
            host, colon, port = authority.partition(":")
        if (
            scheme not in ("http", "https")
            or not host
            or not (port.isdigit() if colon else True)
            or colon not in ("", ":")
        ):
            raise OpError(f"{text} is not an http or https URL of the form scheme://host:port/path")
        self.tls = scheme == "https"
        self.host = host
        self.port = int(port) if colon else (443 if self.tls else 80)
        self.authority = authority
        self.path = slash + path or "/"


class Api:
    """How to reach the Kubernetes API. The token goes into requests and nowhere else."""

    def __init__(self, url: Url, token: str, authorities: str | None) -> None:
        self.url = url
        self.token = token
        self.authorities = authorities

    def render(self, method: str, path: str, body: dict[str, Any] | None) -> bytes:
        """Return the bytes of a request."""
        headers = [
            f"{method} {self.url.path.rstrip('/')}{path} HTTP/1.1",
            f"Host: {self.url.authority}",
            f"Authorization: Bearer {self.token}",
            "Accept: application/json",
            "User-Agent: proxybench-agent",
        ]
        payload = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        if body is not None:
            headers.append("Content-Type: application/json")
        headers.append(f"Content-Length: {len(payload)}")
        return "\r\n".join(headers).encode() + b"\r\n\r\n" + payload


def api(fields: Fields, state: State) -> dict[str, object]:
    """Remember the API's address and token; ``ca`` is a PEM text of authorities to trust instead of the system's."""
    url = Url(fields.text("url"))
    token = fields.text("token")
    authorities = fields.maybe_text("ca")
    fields.finish()
    if not token.isascii() or not token.isprintable():
        raise OpError("token must be printable ASCII")
    state.api = Api(url, token, authorities)
    return {}


def http_get(fields: Fields, _state: State) -> dict[str, object]:
    """Read an http URL (metrics of this node). Redirections are not followed."""
    url = Url(fields.text("url"))
    timeout_s = fields.number("timeout_s", 0.001, 600, 10)
    max_bytes = fields.whole("max_bytes", 1, 1 << 26, 1 << 24)
    fields.finish()
    if url.tls:
        raise OpError("http_get reads http only")
    request = f"GET {url.path} HTTP/1.1\r\nHost: {url.authority}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    deadline = time.monotonic() + timeout_s
    data = bytearray()
    try:
        with socket.create_connection((url.host, url.port), timeout_s) as sock:
            sock.sendall(request.encode())
            while True:
                sock.settimeout(max(0.001, deadline - time.monotonic()))
                piece = sock.recv(CHUNK)
                data += piece
                if len(data) > max_bytes:
                    raise OpError(f"the response is longer than {max_bytes} bytes")
                response = parse_response(bytes(data), closed=not piece)
                if response is not None:
                    return {"status": response.status, "body": response.body.decode("utf-8", "replace")}
    except socket.timeout:
        raise OpError(f"no whole response within {timeout_s:g} s") from None
    except OSError as error:
        raise OpError(f"cannot read {url.authority}: {error.strerror or error}") from None


class Response:
    """A whole response: its status, its body (decoded from chunks), and in how many seconds it may be tried again."""

    def __init__(self, status: int, body: bytes, retry_after: str = "") -> None:
        self.status = status
        self.body = body
        self.retry_s = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else RETRY_S


def parse_response(data: bytes, *, closed: bool) -> Response | None:
    """Read a response from the bytes received so far; None while it is incomplete.

    ``closed`` tells that no more will come: then a body without a length is whole, and all else that is incomplete
    raises OpError, as does what is not HTTP. Informational (1xx) responses are skipped.
    """
    head, blank, rest = data.partition(b"\r\n\r\n")
    if not blank:
        if closed:
            raise OpError("the server closed the connection before it answered")
        return None
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not (words[1].isascii() and words[1].isdigit()):  # noqa: PLR2004 - version and status
        raise OpError("the server did not answer in HTTP/1")
    status = int(words[1])
    if 100 <= status < 200:  # noqa: PLR2004 - the informational class
        return parse_response(rest, closed=closed)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if status in (204, 304):
        return Response(status, b"")
    body = _body(headers, rest, closed)
    if body is None and closed:
        raise OpError("the server closed the connection in the middle of its answer")
    return None if body is None else Response(status, body, headers.get("retry-after", ""))


def _body(headers: dict[str, str], rest: bytes, closed: bool) -> bytes | None:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _dechunk(rest)
    length = headers.get("content-length")
    if length is None:
        return rest if closed else None
    if not (length.isascii() and length.isdigit()):
        raise OpError("the server's Content-Length is not a number")
    return rest[: int(length)] if len(rest) >= int(length) else None


def _dechunk(rest: bytes) -> bytes | None:
    """Join the chunks; None while the last one is missing."""
    body = bytearray()
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            return None
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError:
            raise OpError("the server's chunks are not well formed") from None
        if size < 0:
            raise OpError("the server's chunks are not well formed")
        if size == 0:
            return bytes(body)
        if len(rest) < size + 2:
            return None
        body += rest[:size]
        rest = rest[size + 2 :]


class Write:
    """One request of a change: its bytes, and what it says about itself in messages."""

    def __init__(self, fields: Fields, api: Api) -> None:
        self.method = fields.text("method")
        self.path = fields.text("path")
        body = fields.maybe_map("body")
        fields.finish()
        if self.method not in METHODS:
            raise OpError(f"method must be one of {', '.join(METHODS)}")
        if not self.path.startswith("/") or any(space in self.path for space in " \r\n"):
            raise OpError("path must begin with / and hold no spaces")
        self.data = api.render(self.method, self.path, body)


def rfc3339(utc_ns: int) -> bytes:
    """Write UTC nanoseconds since 1970 with nine digits of a second."""
    seconds, rest = divmod(utc_ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode() + b".%09dZ" % rest


def arrival(messages: Messages, now: int, utc: int) -> int:
    """Return the monotonic ns at which the kernel received what was just read, ``now`` where it gave no stamp.

    ``now`` and ``utc`` are this moment by both clocks: the stamp is of the real-time clock, as recvmsg's ``messages``
    carry it. One that lies ahead (the clock was set meanwhile) tells nothing.
    """
    for level, kind, data in messages:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) >= TIMESPEC.size:
            stamp: tuple[int, int] = TIMESPEC.unpack_from(data)
            return now - max(0, utc - (stamp[0] * NS_PER_S + stamp[1]))
    return now


class Writer:
    """Sends writes one after the other over a connection made beforehand, never blocking.

    The caller waits for ``wants`` with select and then calls ``step``; so one thread both writes and probes, and
    neither a second thread nor a second process competes with the prober. Times are monotonic ns: ``start_ns`` when
    the first byte of the first request is handed to the kernel, ``ack_ns`` when the last byte of a response reached
    this node, by the kernel's stamp. Where node and prober share a CPU with the control loop, the prober reads the
    response long after: a sync would seem to take a part of its time only.

    ``gap_s`` is from the beginning of a write to the next one's, which is waited for: where nobody probes. Where the
    API puts a write off (429), which has changed nothing, no further one is sent, and ``put_off_s`` is for how long.
    """

    def __init__(self, api: Api, writes: list[Write], timeout_s: float, gap_s: float = 0.0) -> None:
        self._writes = writes
        self._gap_s = gap_s
        self._next_s = 0.0
        self.put_off_s: float | None = None
        self._tls: Tls | None = None
        self.sock = self._connect(api, timeout_s)
        self._unsent = memoryview(b"")
        self._received = bytearray()
        self.start_ns: int | None = None
        self.ack_ns: list[int] = []
        self.statuses: list[int] = []

    @property
    def done(self) -> bool:
        """Whether every write was acknowledged, or one was put off."""
        return self.put_off_s is not None or len(self.statuses) == len(self._writes)

    @property
    def spread_s(self) -> float:
        """For how long writes are spaced out."""
        return self._gap_s * len(self._writes)

    @property
    def wants_to_send(self) -> bool:
        """Whether bytes wait for room in the socket's buffer."""
        return len(self._unsent) > 0 or (self._tls is not None and self._tls.unsent)

    def start(self) -> None:
        """Send the first write."""
        self.start_ns = time.monotonic_ns()
        self._begin_next()

    def step(self) -> None:
        """Send and receive what is possible now. Raises OpError when the API refuses or breaks off."""
        try:
            self._send()
            self._receive()
        except BlockingIOError:
            pass
        except OSError as error:
            raise OpError(f"the connection to the API broke: {error.strerror or error}") from None

    def close(self) -> None:
        """Let go of the connection."""
        self.sock.close()

    def _begin_next(self) -> None:
        self._received.clear()
        if self._gap_s:
            time.sleep(max(0.0, self._next_s - time.monotonic()))
            self._next_s = time.monotonic() + self._gap_s
        self._unsent = memoryview(self._writes[len(self.statuses)].data.replace(NOW, rfc3339(time.time_ns())))
        try:
            self._send()
        except BlockingIOError:
            pass  # the rest is sent when there is room
        except OSError as error:
            raise OpError(f"the connection to the API broke: {error.strerror or error}") from None

    def _send(self) -> None:
        if self._tls is None:
            while self._unsent:
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
            return
        if self._unsent:
            self._tls.seal(self._unsent)
            self._unsent = memoryview(b"")
        self._tls.flush()

    def _receive(self) -> None:
        while not self.done:
            piece, arrived_ns = self._read()
            self._received += piece if self._tls is None else self._tls.open(piece)
            response = parse_response(bytes(self._received), closed=not piece)
            if response is None:
                continue
            write = self._writes[len(self.statuses)]
            if response.status == TOO_MANY:
                self.put_off_s = response.retry_s
                return
            if response.status >= FIRST_ERROR:
                text = " ".join(response.body.decode("utf-8", "replace").split())[:300]
                raise OpError(f"the API answered {response.status} to {write.method} {write.path}: {text}")
            self.ack_ns.append(arrived_ns)
            self.statuses.append(response.status)
            if not self.done:
                self._begin_next()

    def _read(self) -> tuple[bytes, int]:
        """Return what is there and when it arrived."""
        piece, messages, _, _ = self.sock.recvmsg(CHUNK, socket.CMSG_SPACE(TIMESPEC.size))
        now, utc = time.monotonic_ns(), time.time_ns()
        return piece, max(arrival(messages, now, utc), self.start_ns or 0)

    def _connect(self, api: Api, timeout_s: float) -> socket.socket:
        try:
            sock = socket.create_connection((api.url.host, api.url.port), timeout_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            if api.url.tls:
                self._tls = self._secure(sock, api)
        except OSError as error:
            raise OpError(f"cannot connect to the API at {api.url.authority}: {error.strerror or error}") from None
        sock.settimeout(0)
        return sock

    def _secure(self, sock: socket.socket, api: Api) -> Tls:
        from proxybench.agent.tls import Tls  # noqa: PLC0415 - slow to load, and most nodes' agents ask no API

        tls = Tls(sock, api.url.host, api.authorities)
        tls.shake_hands()
        return tls
