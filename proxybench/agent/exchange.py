"""Who answers, and whom does it see? Connections and datagrams whose answers count, not their time.

Every attempt has a source port of its own, so that each is a new connection to the kernel; what was opened by ``talk``
keeps its own until ``hang_up``.
"""

from __future__ import annotations

import errno
import socket
import struct
import time

from proxybench.agent.fields import OpError, family_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from proxybench.agent.fields import Fields
    from proxybench.agent.state import State

NS_PER_S = 1_000_000_000
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: no TIME_WAIT
LINE_LIMIT = 256
TIMED_OUT = "TIMEOUT"
TALKS = 64  # connections that are kept at most


class Place:
    """Where to connect to, over which protocol, from which address (None: whichever the route says)."""

    def __init__(self, fields: Fields) -> None:
        host = fields.text("host")
        self._family = family_of(host)
        self.address = (host, fields.whole("port", 1, 65535))
        self._protocol = fields.text("protocol", "tcp")
        self._source = fields.maybe_text("source") or ""
        if self._source and family_of(self._source) != self._family:
            raise OpError(f"{self._source} and {host} are of two families")
        self._timeout_s = fields.whole("timeout_ms", 1, 60_000, 1000) / 1000
        if self._protocol not in ("tcp", "udp"):
            raise OpError("protocol must be tcp or udp")

    @property
    def stream(self) -> bool:
        """Whether it is TCP."""
        return self._protocol == "tcp"

    def open(self, state: State) -> socket.socket:
        """Return a socket that is connected. Raises OSError, a time-out among them."""
        sock = socket.socket(self._family, socket.SOCK_STREAM if self.stream else socket.SOCK_DGRAM)
        try:
            sock.settimeout(self._timeout_s)
            if self.stream:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            state.ports.bind(sock, self._source)
            sock.connect(self.address)
        except BaseException:
            sock.close()
            raise
        return sock


def exchange(fields: Fields, state: State) -> dict[str, object]:
    """Connect ``count`` times (UDP: send as many datagrams), one after the other, and count who answered whom.

    ``answers`` holds each endpoint, the peer's address as it saw that, and how often; ``errors`` counts by errno name
    (NOLINE: closed without an answer), and ``slowest_error_ns`` is how long the slowest of them took. It ends early
    after ``limit_s``: ``made`` is how many were tried.
    """
    place = Place(fields)
    count = fields.whole("count", 1, 100_000)
    limit_s = fields.number("limit_s", 0.001, 3600, 120)
    fields.finish()
    deadline = time.monotonic_ns() + int(limit_s * NS_PER_S)
    answers: dict[tuple[str, str], int] = {}
    errors: dict[str, int] = {}
    made = timeouts = slowest = 0
    while made < count and time.monotonic_ns() < deadline:
        made += 1
        start = time.monotonic_ns()
        try:
            found = _ask_once(place, state)
        except OSError as error:
            name = _name(error)
            if name == TIMED_OUT:
                timeouts += 1
            else:
                errors[name] = errors.get(name, 0) + 1
                slowest = max(slowest, time.monotonic_ns() - start)
        else:
            answers[found] = answers.get(found, 0) + 1
    listed = [{"by": by, "peer": peer, "count": times} for (by, peer), times in answers.items()]
    return {"answers": listed, "errors": errors, "timeouts": timeouts, "made": made, "slowest_error_ns": slowest}


def talk(fields: Fields, state: State) -> dict[str, object]:
    """Send one line on the connection called ``name``, which is opened the first time, and wait for it to come back.

    ``by`` is the endpoint that answered: of UDP this one, of TCP the one at the other end since it was opened. None:
    there was no answer, for the reason in ``error``. The connection is kept in either case, unless it never was one.
    """
    name = fields.text("name")
    place = Place(fields)
    fields.finish()
    try:
        if name not in state.talks:
            if len(state.talks) >= TALKS:
                raise OpError("too many connections are kept: hang up")
            state.talks[name] = Talk(place, state)
        return {"by": state.talks[name].say(), "error": ""}
    except OSError as error:
        return {"by": None, "error": _name(error)}


def hang_up(fields: Fields, state: State) -> dict[str, object]:
    """Close all that ``talk`` opened."""
    fields.finish()
    for kept in state.talks.values():
        kept.close()
    state.talks.clear()
    return {}


class Talk:
    """A connection that is kept (UDP: a socket with its port). Raises OSError when it cannot be made."""

    def __init__(self, place: Place, state: State) -> None:
        self._stream = place.stream
        self._said = 0
        self._sock = place.open(state)
        self._by = ""
        if self._stream:
            try:
                self._by = _greeting(self._sock)[0]
            except BaseException:
                self._sock.close()
                raise

    def say(self) -> str:
        """Send a line that was not sent before; return who sent it back. Raises OSError."""
        self._said += 1
        line = f"line {self._said}\n".encode()
        self._sock.send(line)
        heard = b""
        while not heard.endswith(line):  # what comes late belongs to a line before
            piece = self._sock.recv(LINE_LIMIT)
            if not piece and self._stream:
                raise ConnectionResetError(errno.ECONNRESET, "closed")
            heard = (heard + piece)[-2 * LINE_LIMIT :] if self._stream else piece
        return self._by if self._stream else _read_greeting(heard)[0]

    def close(self) -> None:
        """Let go of it."""
        self._sock.close()


def _ask_once(place: Place, state: State) -> tuple[str, str]:
    with place.open(state) as sock:
        if place.stream:
            return _greeting(sock)
        sock.send(b"who is there?\n")
        return _read_greeting(sock.recv(LINE_LIMIT))


def _greeting(sock: socket.socket) -> tuple[str, str]:
    heard = b""
    while b"\n" not in heard:
        piece = sock.recv(LINE_LIMIT)
        if not piece or len(heard) > LINE_LIMIT:
            raise NoLineError
        heard += piece
    return _read_greeting(heard)


def _read_greeting(heard: bytes) -> tuple[str, str]:
    """Return the endpoint's address and the peer's, as the backend's first line tells them."""
    words = heard.split(b"\n", 1)[0].decode("ascii", "replace").split()
    if len(words) != 3:  # noqa: PLR2004 - LOCAL_IP PEER_IP PEER_PORT
        raise NoLineError
    return words[0], words[1]


class NoLineError(OSError):
    """Somebody answered, but not with a backend's line."""


def _name(error: OSError) -> str:
    if isinstance(error, NoLineError):
        return "NOLINE"
    if isinstance(error, socket.timeout) or error.errno == errno.ETIMEDOUT:
        return TIMED_OUT
    return errno.errorcode.get(error.errno or 0, "OSError")
