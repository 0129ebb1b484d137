from __future__ import annotations

import socket

from proxybench.targets.lab import supervisor


def test_what_the_relay_accepts_sends_at_once() -> None:
    """With Nagle's algorithm the API's answer to a node's write came 40 ms late, when a sync was over."""
    with supervisor.listen("127.0.0.1", 0) as listener:
        listener.settimeout(5)
        with socket.create_connection(listener.getsockname(), 5), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
