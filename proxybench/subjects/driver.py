"""The seam to what is under test: one driver per kind of Service proxy.

A driver knows one kind (kube-proxy, the reference proxier, any command) and acts on one node, through its handle. The
kernel's state is the harness's business (``nodes.kernel``): it is captured before a start, compared after a stop
and put back, whatever the proxy leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.clocks import Instant
    from proxybench.deadline import Deadline
    from proxybench.experiment.requests import SubjectSpec
    from proxybench.nodes.cluster import Cluster
    from proxybench.nodes.node import NodeHandle
    from proxybench.subjects.inventory import Inventory
    from proxybench.subjects.removals import Part


def rule_key(address: str, port: int, protocol: str) -> str:
    """Name what a Service's rule serves: "10.96.0.1 80/tcp"; with the address "", a node port: "30080/tcp"."""
    return f"{address} {port}/{protocol}".strip()


@dataclass(frozen=True)
class Capability:
    """Whether a subject can run on a node; if not, why, and the command or setting that would fix it."""

    supported: bool
    reason: str = ""
    fix: str = ""


@dataclass(frozen=True)
class ProxyMetrics:
    """A proxy's own metrics, totals since its start, summed over labels such as ``ip_family``; times in seconds.

    ``sync_*`` are sum and count of ``kubeproxy_sync_proxy_rules_duration_seconds``, ``full_sync_*`` and
    ``partial_sync_*`` of the histograms that tell full syncs from partial ones (kube-proxy 1.28 and later),
    ``programming_*`` of ``kubeproxy_network_programming_duration_seconds``. ``build``, ``tool``, ``kernel`` and
    ``wait`` split the reference proxier's syncs; ``relay_cpu`` is the CPU time of relaying connections. None: the proxy
    does not say. ``last_sync_utc_ns`` is when the last sync (of IPv4, where they are told apart) ended,
    ``last_sync6_utc_ns`` the last one of IPv6, by the node's UTC clock. ``pending`` is the number of changes that were
    seen and not yet taken up by a sync.
    """

    sync_sum: float
    sync_count: int
    programming_sum: float = 0.0
    programming_count: int = 0
    full_sync_sum: float | None = None
    full_sync_count: int | None = None
    partial_sync_sum: float | None = None
    partial_sync_count: int | None = None
    build: float | None = None
    tool: float | None = None
    kernel: float | None = None
    wait: float | None = None
    relay_cpu: float | None = None
    pending: int = 0
    last_sync_utc_ns: int | None = None
    last_sync6_utc_ns: int | None = None


@dataclass(frozen=True)
class SyncRecord:
    """One sync as the proxy's log tells it. ``ended_utc_ns`` is the log line's time by the node's UTC clock.

    ``full``: whether everything was written anew; None where the release does not say. ``services`` and ``endpoints``
    are the numbers that it worked on. ``made_utc_ns`` is when its rules were made and it began to hand
    them to the kernel; None where the log does not say. ``family`` is "IPv4", "IPv6", or "" where either is possible.
    """

    ended_utc_ns: int
    elapsed_ns: int
    full: bool | None
    family: str
    services: int | None
    endpoints: int | None
    made_utc_ns: int | None = None


class RunningProxy(Protocol):
    """A Service proxy that was started on one node."""

    @property
    def handle(self) -> NodeHandle:
        """The node."""
        ...

    @property
    def started_at(self) -> Instant:
        """When it was started, by the node's clock."""
        ...

    @property
    def cgroup(self) -> str | None:
        """The cgroup v2 folder on the node that holds the proxy and all its children, and nothing else.

        None for one that was found and shares its own with others: then its CPU time and memory are not known.
        """
        ...

    @property
    def no_cpu(self) -> str:
        """Why it has no such cgroup; "" where it has."""
        ...

    @property
    def periods(self) -> tuple[float, float] | None:
        """The least time between two syncs and that after which a full one comes, in seconds, by its own word.

        None for one that was started with what was planned.
        """
        ...

    def wait_ready(self, deadline: Deadline, limit_s: float) -> None:
        """Wait until it reports a finished first sync, and runs in the mode that was asked for.

        Raises ProxierError with the log's tail.
        """
        ...

    def metrics(self) -> ProxyMetrics:
        """Read its metrics. Raises ProxierError."""
        ...

    def rule_ranks(self) -> Mapping[str, int] | None:
        """Return where each Service's rule stands in the order in which the kernel walks them, by ``rule_key``, from 1.

        None where the mode has no order (IPVS and nftables look addresses up). Raises ProxierError.
        """
        ...

    def node_port_ranks(self) -> Mapping[str, int]:
        """Return the same for node ports; empty where the mode has no order. Raises ProxierError."""
        ...

    def endpoint_places(self, vip: str) -> Mapping[str, int]:
        """Return where each endpoint of a Service stands in the chain that a connection walks, from 1, by address.

        Empty where the mode chooses an endpoint at once. Raises ProxierError.
        """
        ...

    def syncs(self) -> tuple[SyncRecord, ...]:
        """Return the syncs that its log tells of, oldest first; empty for a proxy that does not log them."""
        ...

    def inventory(self) -> Inventory | None:
        """Return what it has in the kernel; None where nobody knows. Raises ProxierError."""
        ...

    def removal(self, part: Part, vip: str, port: int) -> tuple[str, ...] | None:
        """Return the command that removes a part of the way to a Service (TCP) from the kernel, behind its back.

        None where it has no such part, or nobody knows it. Raises ProxierError.
        """
        ...

    def check(self) -> None:
        """Look whether it is still what is to be measured; once stopped, nothing is looked at.

        Raises ProxierLostError: it ended, stood still, or left its cgroup. HostError.
        """
        ...

    def stop(self, limit_s: float) -> None:
        """End the process and all its children. It may leave rules: most do.

        Raises ProxierError when it had to be killed.
        """
        ...

    def log(self) -> str:
        """Return the log that it wrote; after ``stop`` the whole one."""
        ...

    def files(self) -> Mapping[str, str]:
        """Return what shaped the run and belongs in its folder, by file name: the rendered configuration."""
        ...


class ProxyDriver(Protocol):
    """One kind of Service proxy."""

    def resolve(self, spec: SubjectSpec) -> SubjectSpec:
        """Return it with its subject's exact version filled in, fetching or building what it needs first.

        Called once per run, before anything starts; the other methods want what it returned. Raises UsageError and
        other ProxybenchErrors when it cannot be had.
        """
        ...

    def source(self, spec: SubjectSpec) -> str:
        """Say in one line where the program of a resolved subject came from."""
        ...

    def check(self, spec: SubjectSpec, handle: NodeHandle) -> Capability:
        """Say whether the subject can run on the node. Raises HostError."""
        ...

    def prepare(self, spec: SubjectSpec) -> None:
        """Make all nodes ready for it, before it is started on any; called for each step. Raises ProxybenchErrors."""
        ...

    def start(self, spec: SubjectSpec, handle: NodeHandle, cluster: Cluster) -> RunningProxy:
        """Start it. Raises ProxierError and HostError."""
        ...

    def cleanup(self, spec: SubjectSpec, handle: NodeHandle) -> None:
        """Let the proxy remove what it made, in its own way (kube-proxy --cleanup); it may leave some of it."""
        ...
