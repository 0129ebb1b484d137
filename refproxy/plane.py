"""The seam between the control loop and what it programs: the state wanted, and one data plane per mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet


class ServicePortKey(NamedTuple):
    """Names one port of one Service, as kube-proxy does ("namespace/name:port" and the protocol)."""

    namespace: str
    name: str
    port_name: str
    protocol: str  # "tcp" or "udp", lower case

    def __str__(self) -> str:
        suffix = f":{self.port_name}" if self.port_name else ""
        return f"{self.namespace}/{self.name}{suffix}"


class Endpoint(NamedTuple):
    """One ready endpoint of a Service port; ``local`` when it runs on this node."""

    ip: str
    port: int
    local: bool


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service that has a ClusterIP, with its ready endpoints in a stable order.

    ``node_port`` is 0 for none; ``affinity_seconds`` is 0 without ClientIP affinity; ``local_only`` stands for
    ``externalTrafficPolicy: Local``. ``ingress_ips`` are the load balancer's addresses, ``source_ranges`` the clients
    that may use them ("192.0.2.0/24"; empty for all). ``leaving`` are terminating endpoints that still serve beside
    those of ``endpoints``; where no other is ready, they are ``endpoints``.
    """

    key: ServicePortKey
    cluster_ip: str
    port: int
    endpoints: tuple[Endpoint, ...]
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    affinity_seconds: int = 0
    local_only: bool = False
    ingress_ips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    leaving: tuple[Endpoint, ...] = ()

    @property
    def outer_endpoints(self) -> tuple[Endpoint, ...]:
        """Those of traffic from outside: with ``local_only`` the local ones, and only without any those that leave."""
        if not self.local_only:
            return self.endpoints
        ready = tuple([end for end in self.endpoints if end.local])
        return ready or tuple([end for end in self.leaving if end.local])


@dataclass(frozen=True, slots=True)
class SyncSplit:
    """Where one sync spent its time, in nanoseconds.

    ``build``: CPU time of the loop's thread making rules or requests. By the monotonic clock: ``tool``, in an exec'd
    program (iptables-restore, ipset), its start included; ``kernel``, waiting for netlink or socket calls of our own.
    """

    build_ns: int
    tool_ns: int
    kernel_ns: int


def in_order(ports: Mapping[ServicePortKey, ServicePort], changed: AbstractSet[ServicePortKey]) -> list[ServicePortKey]:
    """Return the changed keys: the deleted ones sorted, then the others in the order of ``ports``, that of creation.

    A place in the kernel's lists is what a new connection pays for, so a set's order must not decide it.
    """
    if len(changed) == 1:
        return list(changed)
    return [*sorted(key for key in changed if key not in ports), *(key for key in ports if key in changed)]


class Plane(Protocol):
    """One mode's way into the kernel. All methods may block; they are called from one thread only."""

    def setup(self) -> None:
        """Make what does not depend on Services (devices, sysctls, base chains); remember what was changed."""
        ...

    def sync(
        self, ports: Mapping[ServicePortKey, ServicePort], changed: AbstractSet[ServicePortKey] | None
    ) -> SyncSplit:
        """Make the kernel hold exactly ``ports``.

        ``changed`` names what was added, changed or deleted since the last successful sync; None asks for a full
        sync that trusts nothing remembered about the kernel. Raises ProxierError; the next call is then a full one.
        """
        ...

    def relayed_ns(self) -> int | None:
        """Return the CPU time (ns) that relaying connections has cost, None where the kernel forwards them.

        Any thread may ask.
        """
        ...

    def cleanup(self) -> None:
        """Remove everything that was made and put back what was changed. Never raises; logs what would not go."""
        ...
