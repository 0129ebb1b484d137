"""A cluster as data: its nodes, its API, its address ranges, and what it lends to whoever measures it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxybench.hosts.inventory import SshTarget
    from proxybench.model import ClockKind
    from proxybench.nodes.node import Node


@dataclass(frozen=True)
class ApiAccess:
    """The Kubernetes API: as the orchestrator reaches it, and as the nodes do; https, always.

    ``ca_pem`` is the certificate authority that signed the server's certificate. The token is a secret.
    """

    url: str
    node_url: str
    ca_pem: str
    token: str = field(repr=False)


@dataclass(frozen=True)
class Traits:
    """What a cluster lends: whether nobody else uses it, whether the prober may have real-time priority there.

    ``owns_nodes``: the target registered the Node objects itself. ``control_plane_outside``: the API server's work does
    not land on the measured node.
    """

    exclusive: bool
    may_use_realtime: bool
    owns_nodes: bool


@dataclass(frozen=True)
class Cluster:
    """A cluster that is there to be measured.

    ``measured`` runs the Service proxy that is measured and passes the client's traffic on; ``client`` sends it;
    ``more_clients`` help with a load. ``others`` are further nodes with pods. Every pod address answers on
    ``backend_port``, TCP and UDP. ``clock`` is the kind of clock that the nodes' times come from. ``kind`` and
    ``accelerator`` are for the manifest. ``cluster_cidr6`` and ``service_cidr6`` are the ranges of IPv6 of a dual-stack
    cluster, None in any other.
    """

    client: Node
    measured: Node
    others: tuple[Node, ...]
    api: ApiAccess
    clock: ClockKind
    kind: str
    accelerator: str
    cluster_cidr: str
    service_cidr: str
    backend_port: int
    traits: Traits
    cluster_cidr6: str | None = None
    service_cidr6: str | None = None
    more_clients: tuple[Node, ...] = ()

    @property
    def clients(self) -> tuple[Node, ...]:
        """The nodes that make a load; what is probed is probed from the first."""
        return (self.client, *self.more_clients)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes: the client, the measured one, the others, further clients."""
        return (self.client, self.measured, *self.others, *self.more_clients)

    @property
    def targets(self) -> dict[str, SshTarget]:
        """How each node is reached, by its name."""
        return {node.name: node.ssh for node in self.nodes}

    @property
    def proxy_nodes(self) -> tuple[Node, ...]:
        """The nodes that may run a Service proxy, the measured one first."""
        return (self.measured, *self.others)
