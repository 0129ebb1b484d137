"""The ``netns`` kind: the lab's nodes are network namespaces on this kernel; needs root."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from proxybench.deadline import wait_until
from proxybench.errors import LabError
from proxybench.interrupts import undisturbed
from proxybench.model import LabKind
from proxybench.targets.lab import artifacts, common, node_script, process, topology
from proxybench.targets.lab.built import BuiltLab
from proxybench.targets.lab.leftovers import cgroup_name, remove_cgroups
from proxybench.targets.lab.networks import Networks
from proxybench.targets.lab.places import NETNS_OWN
from proxybench.targets.lab.plan import Plan, Relay

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.nodes.cluster import Cluster
    from proxybench.targets.lab.artifacts import System

_UP_LIMIT = 60.0
# Everything started below dies when this one does: the PID namespace's process 1 is killed with it, and the rest with
# process 1. The mount namespace keeps the nodes' names, /run and /etc/passwd from being seen outside.
_CONTAINED = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")


class NetnsLab(BuiltLab):
    """A lab of network namespaces; its supervisor holds it."""

    def begin(self) -> None:
        """Do nothing yet: namespaces are made in a moment, by ``up``."""

    def up(self) -> Cluster:
        """Make the namespaces and return how to reach the nodes. Raises LabError."""
        if os.geteuid() != 0:
            raise LabError("a netns lab needs root; use `target.lab.kind: vm`, which does not")
        common.find_iptables()
        system = artifacts.ensure(None, self._report)
        try:
            return self._build(system)
        except BaseException:
            self.down()
            raise

    def _clean(self, state: Path) -> None:
        remove_cgroups(cgroup_name(state))

    def _build(self, system: System) -> Cluster:
        settings, layout = self._settings, self._settings.topology
        prepared, api, port = self._begin(system, NETNS_OWN, topology.CTL_ADDRESS, node_script.API_PORT)
        state = prepared.paths.state
        (state / "network.sh").write_text(topology.script(layout))
        for node in layout.nodes:
            (state / f"{node.name}.sh").write_text(node_script.holder(prepared.paths, proxy="proxy" in node.roles))
            (state / f"{node.name}.connection.sh").write_text(node_script.connection(prepared.paths, node.name))
        plan = Plan(
            network=str(state / "network.sh"),
            start={
                f"the server of {node.pods}, number {number}": ("ip", "netns", "exec", node.pods, *argv)
                for node in layout.nodes
                if node.pods
                for number, argv in enumerate(node_script.backends(prepared.paths, layout), 1)
            },
            holders={node.name: str(state / f"{node.name}.sh") for node in layout.nodes},
            connections={node.name: str(state / f"{node.name}.connection.sh") for node in layout.nodes},
            # TLS ends at the server, whose certificate names the relay's address.
            relay=Relay(topology.CTL, topology.CTL_ADDRESS, node_script.API_PORT, port),
            ready=str(state / "ready.json"),
            ended=str(state / "ended"),
        )
        (state / "plan.json").write_text(plan.to_json())
        argv = [*_CONTAINED, *process.python("proxybench.targets.lab.supervisor", str(state / "plan.json"))]
        self._report("making the namespaces")
        with undisturbed():  # or a signal would leave one that nobody knows
            self._holder = process.start(argv, state / "supervisor.log")
        ports = self._await_ready(state)
        cluster = common.cluster(
            prepared,
            targets={name: common.target(prepared, name, "127.0.0.1", port) for name, port in ports.items()},
            api=api,
            kind=LabKind.NETNS,
            settings=settings,
            cgroup=f"/sys/fs/cgroup/{cgroup_name(state)}",
        )
        return self._guarded(cluster, "supervisor", state / "ended", Networks(self.pid))

    def _await_ready(self, state: Path) -> dict[str, int]:
        ready, log = state / "ready.json", state / "supervisor.log"

        def is_ready() -> bool:
            if not ready.exists() and (self._holder is None or self._holder.poll() is not None):
                raise LabError(f"the namespaces could not be made: {process.tail(log)}")
            return ready.exists()

        if not wait_until(is_ready, _UP_LIMIT, 0.05):
            raise LabError(f"the lab was not ready in {_UP_LIMIT:.0f} s: {process.tail(log)}")
        found: dict[str, int] = json.loads(ready.read_text())
        return found
