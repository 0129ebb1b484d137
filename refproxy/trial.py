"""Whether this kernel can do what a mode programs: one sync of Services that need all of it.

Run as ``python -m refproxy.trial MODE IPTABLES`` in a network namespace that ends with the trial.
It ends with 0, or with 3 and, as its last line, what was refused.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from refproxy.__main__ import make_plane
from refproxy.config import LoopConfig
from refproxy.errors import ProxierError
from refproxy.plane import Endpoint, ServicePort, ServicePortKey

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENDPOINTS = (Endpoint("10.244.0.1", 8080, local=True), Endpoint("10.244.0.2", 8080, local=True))
_ALL = ServicePort(
    ServicePortKey("trial", "all", "http", "tcp"),
    "10.96.0.1",
    80,
    _ENDPOINTS,
    node_port=30080,
    external_ips=("192.0.2.1",),
    affinity_seconds=60,
    ingress_ips=("203.0.113.1",),
    source_ranges=("198.18.0.0/15",),
)
SERVICES = (
    _ALL,
    replace(
        _ALL,
        key=_ALL.key._replace(name="local"),
        cluster_ip="10.96.0.2",
        external_ips=("192.0.2.2",),
        ingress_ips=("203.0.113.2",),
        node_port=30081,
        local_only=True,
    ),
    replace(_ALL, key=_ALL.key._replace(name="empty"), cluster_ip="10.96.0.3", endpoints=(), node_port=30082),
    ServicePort(ServicePortKey("trial", "udp", "", "udp"), "10.96.0.4", 53, _ENDPOINTS, node_port=30083),
)
"""Service ports that make each mode use every match, target, set and kind of message that it knows."""


def main(argv: Sequence[str]) -> int:
    """Try one mode; return the exit code."""
    mode, iptables = argv
    plane = make_plane(
        LoopConfig(mode, "trial", ("198.18.0.1",), "", "", "10.244.0.0/16", 1.0, 30.0, iptables=iptables)
    )
    try:
        plane.setup()
        plane.sync({port.key: port for port in SERVICES}, None)
    except ProxierError as error:
        refused = str(error)
    else:
        refused = ""
    plane.cleanup()  # the relay's process would outlive the namespace's name
    if refused:
        sys.stderr.write(f"{refused}\n")
        return int(ProxierError.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
