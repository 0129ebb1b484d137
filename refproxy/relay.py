"""The relay of userspace mode, a process of its own: building rules never stalls a connection.

Started by the plane as ``python -m refproxy.relay FD PARENT_PID UDP_IDLE_SECONDS`` with one end
of a socket pair as FD. It ends when that socket closes, and the kernel ends it when its parent dies.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

from refproxy.relay_balance import Balancer
from refproxy.relay_loop import READ, Loop
from refproxy.relay_tcp import TcpListener
from refproxy.relay_udp import UdpListener
from refproxy.relay_wire import Answer, Reader, decode_batch, encode_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from refproxy.relay_wire import Batch, Port

_DESCRIPTORS = 1 << 19  # 10,000 Services of two ports, and as many connections as memory holds
_RECEIVE_BYTES = 1 << 20
_SEND_TIMEOUT = 30.0
_PR_SET_PDEATHSIG = 1

Listener = TcpListener | UdpListener


class RelayedPort:
    """One Service port: its balancer, the listener that rules lead to, and the one that holds the NodePort."""

    def __init__(self, loop: Loop, protocol: str, udp_idle: float) -> None:
        self._loop = loop
        self._protocol = protocol
        self._udp_idle = udp_idle
        self._balancer = Balancer()
        self._node: Listener | None = None
        self._wanted: tuple[object, ...] = ()
        self._main = self._listen(0)

    @property
    def port(self) -> int:
        """The port that the kernel chose."""
        return self._main.port

    def update(self, wanted: Port) -> None:
        """Take over endpoints and NodePort; raise OSError when the NodePort is taken (tried again next time)."""
        if wanted[2:] == self._wanted:
            return
        self._wanted = ()
        self._balancer.update(wanted.endpoints, wanted.affinity_seconds)
        held = self._node.port if self._node else 0
        if held != wanted.node_port:
            if self._node:
                self._node.close()
                self._loop.bury()  # the next Service may want this port
                self._node = None
            if wanted.node_port:
                self._node = self._listen(wanted.node_port)
        self._wanted = tuple(wanted[2:])

    def close(self) -> None:
        """Stop listening; TCP connections that are relayed go on."""
        self._main.close()
        if self._node:
            self._node.close()

    def _listen(self, port: int) -> Listener:
        if self._protocol == "udp":
            return UdpListener(self._loop, self._balancer, port, self._udp_idle)
        return TcpListener(self._loop, self._balancer, port)


class Relay:
    """Holds all relayed ports and follows the batches that come over ``control``."""

    def __init__(self, loop: Loop, control: socket.socket, udp_idle: float) -> None:
        self._loop = loop
        self._control = control
        self._udp_idle = udp_idle
        self._started_ns = time.process_time_ns()
        self._reader = Reader()
        self._ports: dict[str, RelayedPort] = {}
        self._read_ns = 0
        control.settimeout(_SEND_TIMEOUT)
        loop.add(control, READ, self._read)

    def _read(self, _: int) -> None:
        begun = time.process_time_ns()
        self._take_in()
        self._read_ns += time.process_time_ns() - begun

    def _take_in(self) -> None:
        try:
            data = self._control.recv(_RECEIVE_BYTES)
        except OSError:
            data = b""
        if not data:
            self._loop.running = False
            return
        for body in self._reader.feed(data):
            self._loop.background(self._follow(decode_batch(body)))

    def _follow(self, batch: Batch) -> Iterator[None]:
        """Make the batch's changes one by one, so that connections are served in between; then answer."""
        listening: dict[str, int] = {}
        errors: dict[str, str] = {}
        for name in batch.removed:
            gone = self._ports.pop(name, None)
            if gone is not None:
                gone.close()
            yield
        self._loop.bury()  # the answer says that it is done
        for wanted in batch.ports:
            try:
                relayed = self._relayed(wanted)
                listening[wanted.name] = relayed.port
                relayed.update(wanted)
            except OSError as error:
                number = wanted.node_port if wanted.name in listening else "any"
                errors[wanted.name] = f"{wanted.protocol} port {number}: {error.strerror}"
            yield
        try:
            self._control.sendall(encode_answer(Answer(batch.number, listening, errors), self._followed_ns))
        except OSError:
            self._loop.running = False  # the plane is gone

    def _followed_ns(self) -> int:
        return self._started_ns + self._read_ns + self._loop.worked_ns

    def _relayed(self, wanted: Port) -> RelayedPort:
        relayed = self._ports.get(wanted.name)
        if relayed is None:
            relayed = self._ports[wanted.name] = RelayedPort(self._loop, wanted.protocol, self._udp_idle)
        return relayed


def serve(control: socket.socket, udp_idle: float) -> None:
    """Relay until ``control`` closes."""
    loop = Loop()
    Relay(loop, control, udp_idle)
    loop.run()
    loop.close()


def main(arguments: list[str]) -> None:
    """Run the relay's process."""
    descriptor, parent, udp_idle = int(arguments[0]), int(arguments[1]), float(arguments[2])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return  # it died before the line above
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the plane decides when this ends
    raise_descriptor_limit(_DESCRIPTORS)
    # A collection over 10,000 listeners would show in the latencies. Connections leave no cycles (see Pair.close).
    gc.collect()
    gc.freeze()
    gc.disable()
    with socket.socket(fileno=descriptor) as control:
        serve(control, udp_idle)


def raise_descriptor_limit(wanted: int) -> None:
    """Let this process open ``wanted`` files, or, without the right to more, as many as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        except (ValueError, OSError):
            wanted = hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))


if __name__ == "__main__":
    main(sys.argv[1:])
