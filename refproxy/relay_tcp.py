"""Relaying TCP: a listener per Service port, and a pair of sockets per connection with a bounded buffer each way."""

from __future__ import annotations

import errno
import socket
import struct
import time
from functools import partial
from typing import TYPE_CHECKING

from refproxy.relay_loop import READ, WRITE

if TYPE_CHECKING:
    from refproxy.relay_balance import Address, Balancer
    from refproxy.relay_loop import Loop, Timer

# kube-proxy's: how long each try to reach an endpoint may take, in seconds.
DIAL_TIMEOUTS = (0.25, 0.5, 1.0, 2.0)
BACKLOG = 4096
BUFFER_BYTES = 64 * 1024
_NO_LINGER = struct.pack("ii", 1, 0)
_REST_WITHOUT_DESCRIPTORS = 0.1


class TcpListener:
    """Accepts on one port and relays each connection to an endpoint of ``balancer``. Raises OSError when taken."""

    def __init__(self, loop: Loop, balancer: Balancer, port: int) -> None:
        self._loop = loop
        self._balancer = balancer
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            if port:
                # Not for a port that the kernel chooses: it would look in half of the range first, and search long.
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(("0.0.0.0", port))  # noqa: S104 - a Service answers on all of the node's addresses
            self._socket.listen(BACKLOG)
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        loop.add(self._socket, READ, self._accept)

    def close(self) -> None:
        """Stop listening; connections that are relayed go on."""
        self._loop.discard(self._socket)

    def _accept(self, _: int) -> None:
        # One connection per turn: a second accept() would most often only find that there is none.
        try:
            client, address = self._socket.accept()
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
                self._rest()
            return  # else that client went away before it was accepted
        client.setblocking(False)  # noqa: FBT003 - the standard library's signature
        Dial(self._loop, self._balancer, client, address[0])

    def _rest(self) -> None:
        """Leave clients in the queue for a moment: nothing more can be opened, and polling would spin."""
        descriptor = self._socket.fileno()
        self._loop.change(descriptor, 0)
        self._loop.later(_REST_WITHOUT_DESCRIPTORS, self._wake)

    def _wake(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.change(self._socket.fileno(), READ)


class Dial:
    """Finds an endpoint that answers for one client, then hands both over to a ``Pair``; else closes the client."""

    __slots__ = ("_address", "_balancer", "_client", "_loop", "_server", "_timer", "_tries")

    def __init__(self, loop: Loop, balancer: Balancer, client: socket.socket, address: str) -> None:
        self._loop = loop
        self._balancer = balancer
        self._client = client
        self._address = address
        self._tries = 0
        self._server: socket.socket | None = None
        self._timer: Timer | None = None
        self._try()

    def _try(self) -> None:
        """Start one try; go through the endpoints until one is under way or all tries are used up."""
        while self._tries < len(DIAL_TIMEOUTS):
            endpoint = self._balancer.choose(self._address, time.monotonic(), forget=self._tries > 0)
            if endpoint is None:
                break
            timeout = DIAL_TIMEOUTS[self._tries]
            self._tries += 1
            if self._start(endpoint, timeout):
                return
        self._client.close()

    def _start(self, endpoint: Address, timeout: float) -> bool:
        try:
            server = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError:
            return False
        code = server.connect_ex(endpoint)
        if code == 0:
            Pair(self._loop, self._client, server)
            return True
        if code != errno.EINPROGRESS:
            server.close()
            return False
        self._server = server
        self._loop.add(server, WRITE, self._answered)
        self._timer = self._loop.later(timeout, self._failed)
        return True

    def _answered(self, _: int) -> None:
        server = self._server
        if server is None:
            return
        if server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._failed()
            return
        self._stop_timer()
        self._loop.remove(server)
        Pair(self._loop, self._client, server)

    def _failed(self) -> None:
        self._stop_timer()
        if self._server is not None:
            self._loop.discard(self._server)
            self._server = None
        self._try()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.call = None
            self._timer = None


class Pair:
    """Two connected sockets: what comes in on one goes out on the other.

    A side is not read while bytes for its peer wait, so a slow reader slows the writer instead of filling memory.
    The end of one side's stream is passed on; the pair is closed when both have ended or one has failed.
    """

    __slots__ = ("_loop", "_sides")

    def __init__(self, loop: Loop, client: socket.socket, server: socket.socket) -> None:
        self._loop = loop
        one, two = Side(client), Side(server)
        one.peer, two.peer = two, one
        self._sides = (one, two)
        for side in self._sides:
            side.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            loop.add(side.socket, READ, partial(self._handle, side))

    def _handle(self, side: Side, events: int) -> None:
        try:
            if side.pending:
                self._flush(side)
            if events & ~WRITE and not side.waiting_peer and not side.ended:
                self._read(side)
        except OSError:
            self._abort()

    def _read(self, side: Side) -> None:
        try:
            data = side.socket.recv(BUFFER_BYTES)
        except BlockingIOError:
            return
        peer = side.peer
        if not data:
            side.ended = True
            if peer.ended:
                self.close()
                return
            peer.socket.shutdown(socket.SHUT_WR)
            self._watch(side)
            return
        try:
            sent = peer.socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            peer.pending = memoryview(data)[sent:]
            side.waiting_peer = True
            self._watch(side)
            self._watch(peer)

    def _flush(self, side: Side) -> None:
        """Send what waits for ``side``; when all is out, read its peer again."""
        try:
            sent = side.socket.send(side.pending)
        except BlockingIOError:
            return
        side.pending = side.pending[sent:]
        if not side.pending:
            side.peer.waiting_peer = False
            self._watch(side)
            self._watch(side.peer)

    def _watch(self, side: Side) -> None:
        reading = READ if not (side.ended or side.waiting_peer) else 0
        self._loop.change(side.descriptor, reading | (WRITE if side.pending else 0))

    def _abort(self) -> None:
        """Pass a reset on as a reset; a plain close would also leave a port in TIME_WAIT for each."""
        for side in self._sides:
            side.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.close()

    def close(self) -> None:
        """Close both sockets, and free them without the help of the garbage collector, which is off here."""
        for side in self._sides:
            self._loop.discard(side.socket)
            del side.peer


class Side:
    """One end of a pair: ``pending`` waits to be sent to it; ``waiting_peer``: its last bytes still wait there."""

    __slots__ = ("descriptor", "ended", "peer", "pending", "socket", "waiting_peer")

    peer: Side

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.descriptor = connected.fileno()
        self.pending: memoryview = memoryview(b"")
        self.waiting_peer = False
        self.ended = False
