r"""An endpoint that stands for thousands: says at which address it was reached and by whom, then echoes.

It listens on 0.0.0.0 (or ::, of IPv6 alone), TCP and UDP; in a namespace with ``ip route add local RANGE dev lo`` it
is every address of the range. TCP: on accept it sends ``LOCAL_IP PEER_IP PEER_PORT\n`` and then sends back what it
receives. UDP: one datagram in, one out from the address it was sent to: the same line, followed by the payload.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import signal
import socket
import struct
import sys
import time

from proxybench.agent import schedule

BACKLOG = 4096
ACCEPTS_PER_WAKE = 256  # then established connections get their turn
CHUNK = 4096
HIGHEST_PORT = 65_535
IP_PKTINFO = 8  # <linux/in.h>; the socket module has no name for it before Python 3.14
PKTINFO = struct.Struct("=I4s4s")  # interface index, local address to send from, destination of what came
PKTINFO6 = struct.Struct("=16sI")  # destination of what came, or local address to send from; interface index
FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
GONE = (errno.ECONNABORTED, errno.EAGAIN, errno.EINTR, errno.EPROTO, errno.EPERM)
FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
USAGE = "usage: backend --port PORT [--idle-s SECONDS] [--max-connections COUNT] [--family ipv4|ipv6]"


class Connection:
    """One client: its socket, the time of its last sign of life, and at most one chunk not yet sent back."""

    __slots__ = ("seen", "sock", "unsent")

    def __init__(self, sock: socket.socket, seen: float, unsent: bytes) -> None:
        self.sock = sock
        self.seen = seen
        self.unsent = unsent


class Backend:
    """Listens on ``port`` (0: any) from the start; ``run`` serves for ever.

    Memory per connection is bounded: nothing is read while a chunk waits to be sent. Connections idle for
    ``idle_s`` are closed; beyond ``most`` connections, or when descriptors run out, the longest idle one is.
    """

    def __init__(self, port: int, idle_s: float, most: int, family: int = socket.AF_INET) -> None:
        self._family = family
        everywhere = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104 - every address of its namespace
        self._idle_s = idle_s
        self._most = most
        self._epoll = select.epoll()
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._udp = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            for sock in (self._listener, self._udp):
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            self._udp.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        self._listener.bind((everywhere, port))
        self._listener.listen(BACKLOG)
        self._listener.settimeout(0)
        self.port: int = self._listener.getsockname()[1]
        self._udp.bind((everywhere, self.port))
        self._udp.settimeout(0)
        self._connections: dict[int, Connection] = {}  # the longest idle first
        self._epoll.register(self._listener, select.EPOLLIN)
        self._epoll.register(self._udp, select.EPOLLIN)

    def run(self) -> None:
        """Serve until an exception (SystemExit on SIGTERM) ends it."""
        listener, udp = self._listener.fileno(), self._udp.fileno()
        sweep_at = 0.0
        while True:
            events = self._epoll.poll(1.0)
            now = time.monotonic()
            for descriptor, event in events:
                if descriptor == listener:
                    self._accept(now)
                elif descriptor == udp:
                    self._datagrams()
                else:
                    self._serve(descriptor, event, now)
            if now >= sweep_at:
                self._sweep(now)
                sweep_at = now + 1.0

    def _accept(self, now: float) -> None:
        for _ in range(ACCEPTS_PER_WAKE):
            try:
                sock, peer = self._listener.accept()
            except OSError as error:
                if error.errno in FULL and self._connections:
                    self._close(next(iter(self._connections)))
                    continue
                if error.errno in GONE or error.errno in FULL:
                    return
                raise
            self._greet(sock, peer, now)

    def _greet(self, sock: socket.socket, peer: tuple[str, int], now: float) -> None:
        try:
            sock.settimeout(0)
            line = f"{sock.getsockname()[0]} {peer[0]} {peer[1]}\n".encode()
            sock.send(line)  # an empty socket buffer takes a line whole
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            sock.close()  # the client was faster to leave
            return
        if len(self._connections) >= self._most:
            self._close(next(iter(self._connections)))
        self._connections[sock.fileno()] = Connection(sock, now, b"")
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _serve(self, descriptor: int, event: int, now: float) -> None:
        connection = self._connections.pop(descriptor, None)
        if connection is None:
            return  # closed earlier in this round
        connection.seen = now
        self._connections[descriptor] = connection  # at the end: the most recently used
        try:
            if event & select.EPOLLOUT:
                _send(connection)
                if not connection.unsent:
                    self._epoll.modify(descriptor, select.EPOLLIN)
            elif event & select.EPOLLIN and (chunk := connection.sock.recv(CHUNK)):
                connection.unsent = chunk
                _send(connection)
                if connection.unsent:
                    self._epoll.modify(descriptor, select.EPOLLOUT)  # and read no more until it is sent
            else:
                self._close(descriptor)
        except BlockingIOError:
            pass  # nothing there after all
        except OSError:
            self._close(descriptor)

    def _datagrams(self) -> None:
        for _ in range(ACCEPTS_PER_WAKE):
            try:
                payload, extras, _, peer = self._udp.recvmsg(65_535, socket.CMSG_SPACE(PKTINFO6.size))
                local, source = _local(self._family, extras)
                self._udp.sendmsg([f"{local} {peer[0]} {peer[1]}\n".encode(), payload], [source], 0, peer)
            except BlockingIOError:
                return
            except OSError:
                continue  # an earlier reply's ICMP error, or a peer that cannot be reached

    def _sweep(self, now: float) -> None:
        while self._connections:
            descriptor, connection = next(iter(self._connections.items()))
            if now - connection.seen < self._idle_s:
                return
            self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        self._connections.pop(descriptor).sock.close()  # which also takes it off the epoll


def _local(family: int, extras: list[tuple[int, int, bytes]]) -> tuple[str, tuple[int, int, bytes]]:
    """Return the address to which a datagram was sent, and what makes an answer come from there."""
    if family == socket.AF_INET6:
        address = next(PKTINFO6.unpack(data)[0] for _, kind, data in extras if kind == socket.IPV6_PKTINFO)
        source = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, PKTINFO6.pack(address, 0))
    else:
        address = next(PKTINFO.unpack(data)[2] for _, kind, data in extras if kind == IP_PKTINFO)
        source = (socket.IPPROTO_IP, IP_PKTINFO, PKTINFO.pack(0, address, b"\0\0\0\0"))
    return socket.inet_ntop(family, address), source


def _send(connection: Connection) -> None:
    """Send as much of what waits as there is room for."""
    with contextlib.suppress(BlockingIOError):
        connection.unsent = connection.unsent[connection.sock.send(connection.unsent) :]


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM; print ``ready PORT`` once connections are accepted."""
    given = dict(zip(arguments[::2], arguments[1::2]))  # noqa: B905 - strict= is of Python 3.10
    try:
        port = int(given.pop("--port"))
        idle_s = float(given.pop("--idle-s", "60"))
        most = int(given.pop("--max-connections", "20000"))
        family = FAMILIES[given.pop("--family", "ipv4")]
    except (KeyError, ValueError):
        sys.exit(USAGE)
    if given or len(arguments) % 2 or not 0 <= port <= HIGHEST_PORT or not idle_s > 0 or most < 1:
        sys.exit(USAGE)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    # On a single CPU a woken backend would run before the prober's connect() returns, and its work would count as the
    # handshake's. A batch process does not preempt on wake-up (sched(7)); with an idle CPU there is no difference.
    schedule.use(os.SCHED_BATCH)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    backend = Backend(port, idle_s, most, family)
    sys.stdout.write(f"ready {backend.port}\n")
    sys.stdout.flush()
    backend.run()
