"""Filling a node's table of tracked connections: one datagram for each, from many ports to many addresses."""

from __future__ import annotations

import socket
import time

from proxybench.agent.fields import family_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from proxybench.agent.fields import Fields
    from proxybench.agent.state import State

PAUSE_EVERY = 1000  # datagrams: a burst must not overrun the queues on its way
PAUSE_S = 0.002


def fill(fields: Fields, state: State) -> dict[str, object]:
    """Send a datagram to every host from one port after the other, until ``count`` were sent."""
    hosts = fields.texts("hosts")
    port = fields.whole("port", 1, 65535)
    count = fields.whole("count", 1, 2_000_000)
    fields.finish()
    families = [family_of(host) for host in hosts]
    sent = 0
    while sent < count:
        with socket.socket(families[0], socket.SOCK_DGRAM) as sock:
            state.ports.bind(sock)
            for host in hosts[: count - sent]:
                sock.sendto(b".", (host, port))
                sent += 1
                if sent % PAUSE_EVERY == 0:
                    time.sleep(PAUSE_S)
    return {}
