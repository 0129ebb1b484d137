"""Relaying UDP: a socket per client towards an endpoint, forgotten when nothing passed for a while."""

from __future__ import annotations

import socket
import time
from functools import partial
from typing import TYPE_CHECKING

from refproxy.relay_loop import READ

if TYPE_CHECKING:
    from refproxy.relay_balance import Address, Balancer
    from refproxy.relay_loop import Loop

_DATAGRAM_BYTES = 65_535


class UdpListener:
    """Receives on one port and relays each client's datagrams, and the answers, through a socket of its own.

    A client that was silent both ways for ``idle_seconds`` is forgotten (after at most one and a half times that).
    Raises OSError when the port is taken.
    """

    def __init__(self, loop: Loop, balancer: Balancer, port: int, idle_seconds: float) -> None:
        self._loop = loop
        self._balancer = balancer
        self._idle = idle_seconds
        self._sessions: dict[Address, Session] = {}
        self._sweeping = False
        self._closed = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.bind(("0.0.0.0", port))  # noqa: S104 - a Service answers on all of the node's addresses
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        loop.add(self._socket, READ, self._receive)

    def close(self) -> None:
        """Stop receiving and forget all clients."""
        self._closed = True
        for client in list(self._sessions):
            self._forget(client)
        self._loop.discard(self._socket)

    def _receive(self, _: int) -> None:
        try:
            data, client = self._socket.recvfrom(_DATAGRAM_BYTES)
        except OSError:
            return  # nothing there after all, or an earlier answer could not be delivered
        session = self._sessions.get(client) or self._open(client)
        if session is None:
            return
        session.used = time.monotonic()
        try:
            session.socket.send(data)
        except BlockingIOError:
            return  # UDP may lose
        except OSError:
            self._forget(client)

    def _open(self, client: Address) -> Session | None:
        endpoint = self._balancer.choose(client[0], time.monotonic())
        if endpoint is None:
            return None
        try:
            upstream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError:
            return None
        if upstream.connect_ex(endpoint):
            upstream.close()
            return None
        session = self._sessions[client] = Session(upstream)
        self._loop.add(upstream, READ, partial(self._reply, client))
        if not self._sweeping:
            self._sweeping = True
            self._loop.later(self._idle / 2, self._sweep)
        return session

    def _reply(self, client: Address, _: int) -> None:
        session = self._sessions[client]
        try:
            data = session.socket.recv(_DATAGRAM_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._forget(client)  # the endpoint refused: the next datagram tries another
            return
        session.used = time.monotonic()
        try:
            self._socket.sendto(data, client)
        except OSError:
            return  # UDP may lose

    def _forget(self, client: Address) -> None:
        self._loop.discard(self._sessions.pop(client).socket)

    def _sweep(self) -> None:
        limit = time.monotonic() - self._idle
        for client in [client for client, session in self._sessions.items() if session.used <= limit]:
            self._forget(client)
        self._sweeping = bool(self._sessions) and not self._closed
        if self._sweeping:
            self._loop.later(self._idle / 2, self._sweep)


class Session:
    """A client's socket and when something last passed."""

    __slots__ = ("socket", "used")

    def __init__(self, upstream: socket.socket) -> None:
        self.socket = upstream
        self.used = 0.0
