"""One node of a cluster: what is known of it before it is reached, and a live handle to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from proxybench.agent.node import VMSTAT, oom_kills
from proxybench.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.clocks import ClockDomain
    from proxybench.hosts.base import Executor
    from proxybench.hosts.inventory import SshTarget
    from proxybench.nodes.client import Agent

_LOOK_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Node:
    """One machine of the cluster.

    ``address`` is its InternalIP (IPv4), ``pod_cidr`` the range of its pods; ``address6`` and ``pod_cidr6`` are those
    of IPv6, where it has them. ``cgroup_root`` is a cgroup v2 folder
    below which groups may be made, ``python`` an interpreter (one that has proxybench installed, in a lab), ``workdir``
    a folder that may be written. ``iptables`` holds the full path of the multi-call program of each backend that the
    node has: "legacy", "nft". ``clock`` names the clock that its monotonic times are read from: two nodes of one
    kernel share a domain.
    """

    name: str
    ssh: SshTarget
    address: str
    pod_cidr: str | None
    clock: ClockDomain
    cgroup_root: str = "/sys/fs/cgroup/proxybench"
    python: str = "python3"
    workdir: str = "/run/proxybench"
    iptables: Mapping[str, str] = field(default_factory=dict)
    address6: str | None = None
    pod_cidr6: str | None = None


@dataclass(frozen=True)
class NodeHandle:
    """A node that is connected: its executor runs programs, its agent measures."""

    node: Node
    executor: Executor
    agent: Agent

    @property
    def name(self) -> str:
        """The node's name."""
        return self.node.name

    def ran_out_of_memory(self) -> str:
        """Say that the node's kernel has killed for want of memory since this was asked last; "" if not, or unknown.

        The kernel is asked beside the agent, which may be what it killed.
        """
        before = self.agent.oom_kills
        try:
            found = self.executor.run(["cat", VMSTAT], timeout=_LOOK_SECONDS)
        except HostError:
            return ""
        self.agent.oom_kills = oom_kills(found.stdout)
        return want_of_memory(f"{self.name}'s kernel", before, self.agent.oom_kills)


def want_of_memory(whose: str, before: int, now: int) -> str:
    """Return the end of a line about a process that was killed; "" where the kernel has killed none meanwhile."""
    return f", for want of memory: oom_kill of {whose} went from {before} to {now}" if now > before else ""
