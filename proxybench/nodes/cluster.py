"""A cluster as data: its nodes, its API, its address ranges, and what it lends to whoever measures it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxybench.hosts.inventory import SshTarget
    from proxybench.model import ClockKind
    from proxybench.nodes.node import Node


@dataclass(frozen=True)
class ApiAccess:
    """The Kubernetes API: as the orchestrator reaches it, and as the nodes do; https, always.

    ``ca_pem`` is the certificate authority that signed the server's certificate, "" for the system's. The token
    is a secret; so is ``client_pem``, a client certificate with its key, by which the orchestrator is known instead.
    ``writes_per_second`` bounds what it writes to a cluster that others use, 0 for as much as the API takes. ``renew``,
    where tokens end, is told which one was refused ("" for none), and returns one that is good, or raises
    ProxybenchError; any thread may ask.
    """

    url: str
    node_url: str
    ca_pem: str
    token: str = field(repr=False)
    client_pem: str = field(default="", repr=False)
    writes_per_second: float = 0.0
    renew: Callable[[str], str] | None = field(default=None, repr=False, compare=False)

    @property
    def good_token(self) -> str:
        """The token, or another one where it ends soon."""
        return self.renew("") if self.renew else self.token


@dataclass(frozen=True)
class Traits:
    """What a cluster lends: whether nobody else uses it (``exclusive``).

    ``starts_proxies``: Service proxies are started and stopped by us, each in a cgroup that is made for it, and what
    they leave in the nodes' kernels is removed; else they are watched as they are, in the cgroups in which they are
    found, and no kernel's state is touched. ``real_time``: on which nodes probes have real-time priority (SCHED_FIFO),
    by name; each node's agent has tried when it was reached, so that it is empty before.
    """

    exclusive: bool
    starts_proxies: bool = True
    real_time: Mapping[str, bool] = field(default_factory=dict)


def untroubled() -> str:
    """Return that nothing has befallen what holds a cluster up."""
    return ""


@dataclass(frozen=True)
class Cluster:
    """A cluster that is there to be measured.

    ``measured`` runs the Service proxy that is measured and passes the client's traffic on; ``client`` sends it;
    ``more_clients`` help with a load. ``others`` are further nodes with pods. ``pod``, where there is one, is a pod on
    the measured node to connect from: a namespace that is reached as a node is. Every pod address answers on
    ``backend_port``, TCP and UDP; where ``endpoints`` (node, address) are given, those do instead. ``taken`` are
    ClusterIPs that others have. ``clock`` is the kind of clock that the nodes' times come from. ``kind`` and
    ``accelerator`` are for the manifest. ``cluster_cidr6`` and ``service_cidr6`` are the ranges of IPv6 of a dual-stack
    cluster, None in any other. ``external_cidr`` is a free range that the client sends to the measured node, "" where
    there is none. ``trouble`` says in one line what has befallen our own programs that hold the cluster up, "" while
    all is well; of what has passed it tells once.
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
    endpoints: tuple[tuple[str, str], ...] = ()
    taken: tuple[str, ...] = ()
    pod: Node | None = None
    external_cidr: str = ""
    trouble: Callable[[], str] = field(default=untroubled, repr=False, compare=False)

    @property
    def clients(self) -> tuple[Node, ...]:
        """The nodes that make a load; what is probed is probed from the first."""
        return (self.client, *self.more_clients)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All that is reached: the client, the measured node, the others, further clients, and the pod."""
        pods = (self.pod,) if self.pod else ()
        return (self.client, self.measured, *self.others, *self.more_clients, *pods)

    @property
    def targets(self) -> dict[str, SshTarget]:
        """How each node is reached, by its name."""
        return {node.name: node.ssh for node in self.nodes}

    @property
    def proxy_nodes(self) -> tuple[Node, ...]:
        """The nodes that may run a Service proxy, the measured one first."""
        return (self.measured, *self.others)
