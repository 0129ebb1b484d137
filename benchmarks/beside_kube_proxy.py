"""The reference proxier beside a real kube-proxy, at the same time, on the same machine, by the instruction clock.

Run as ``PROXYBENCH_KUBE_PROXY=/path/to/kube-proxy python -m benchmarks.beside_kube_proxy [MODE …] [N …]``. Each figure
comes from a guest of its own, booted for it; the two of a pair run side by side. Both proxiers get the same objects
from a server of the same kind, kube-proxy by https, since it shows its token to nobody else. A Service has 2 endpoints;
the EndpointSlices of all lie in the API from the start, and half of the Services.

- cold: from the start of the process until the last of N/2 Services answers;
- grow: from the first write of the other half until the last of N Services answers;
- cpu: what the process and all it ran spent until it was quiet again.

All figures are seconds of the guest's clock: one instruction is 1 ns, and where the guest waits, real time passes.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from proxybench.hosts.fleet import Fleet
from proxybench.kube.client import KubernetesServiceApi
from proxybench.kube.objects import NAMESPACE, PORT, Population
from proxybench.model import ClockKind, Mode
from proxybench.nodes.cluster import ApiAccess
from proxybench.nodes.requests import Await
from proxybench.run.testbed import address_plan
from proxybench.subjects.base import ProxierConfig
from proxybench.subjects.reference import ReferenceProxier
from proxybench.targets.lab.apiserver.serve_process import ApiServerProcess
from proxybench.targets.lab.common import Settings
from proxybench.targets.lab.vm import VmLab
from proxybench.units import SystemClock
from tests.lab import kube_proxy
from tests.lab.labs import agents_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxybench.nodes.client import AgentClient
    from proxybench.nodes.cluster import Cluster

SIZES = (10, 100, 1000, 10_000)
MODES = (Mode.IPTABLES, Mode.IPVS)
OURS, THEIRS = "reference", "kube-proxy"
LIMIT = 600.0
PATIENCE = 3600.0  # a busy machine's seconds beyond the guest's: an emulated guest is slower than its clock
CONFIG = ProxierConfig(Mode.IPTABLES, min_sync_period=1.0, sync_period=600.0)
QUIET_S, QUIET_SHARE = 2.0, 0.05  # a core's share below which a loop counts as waiting, for so long
NS = 1e9


class Figures(NamedTuple):
    """One proxier's seconds."""

    cold: float
    cold_cpu: float
    grow: float
    grow_cpu: float


def main() -> None:
    if not kube_proxy.BINARY:
        sys.exit("PROXYBENCH_KUBE_PROXY names no kube-proxy binary")
    words = sys.argv[1:]
    sizes = [int(word) for word in words if word.isdigit()] or list(SIZES)
    modes = [Mode(word) for word in words if not word.isdigit()] or list(MODES)
    heads = "".join(f"{name:>10}" for name in Figures._fields)
    print(f"{'mode':<10}{'N/2 to N':>14}  {'proxier':<12}{heads}  s")
    for mode in modes:
        for services in sizes:
            with ThreadPoolExecutor(2) as pool:
                both = pool.map(measure, (mode, mode), (services, services), (OURS, THEIRS))
                for name, figures in zip((OURS, THEIRS), both, strict=True):
                    values = "".join(f"{value:>10.2f}" for value in figures)
                    print(f"{mode:<10}{f'{services // 2} to {services}':>14}  {name:<12}{values}", flush=True)


def measure(mode: Mode, services: int, proxier: str) -> Figures:
    """Boot a guest, and take one proxier from N/2 to N Services."""
    lab = VmLab(Settings(ClockKind.INSTRUCTIONS, "tcg"))
    try:
        cluster = lab.up()
        with (
            Fleet.connect(cluster.targets) as fleet,
            ApiServerProcess(addresses=[kube_proxy.HOST]) as server,
            KubernetesServiceApi(server.url, server.token, ca_pem=server.ca_pem) as api,
            agents_on(fleet, cluster, "client", "node1", margin_s=PATIENCE) as agents,
        ):
            population = Population(address_plan(cluster), endpoints_per_service=2)
            api.put_node("node1", cluster.nodes[1].address, "10.244.0.0/17")
            api.ensure_namespace(NAMESPACE)
            api.create_many([part for index in range(services) for part in population.endpoint_slices(index, 0)])
            half = services // 2
            api.create_many([population.service(index) for index in range(half)])
            with running(proxier, mode, (fleet, cluster, server, agents["node1"])) as (cgroup, started):
                cold = seen(agents["client"], population, half) - started
                cold_cpu = settled(agents["node1"], cgroup)
                before = agents["node1"].ledger([cgroup]).at_ns
                api.create_many([population.service(index) for index in range(half, services)])
                grow = seen(agents["client"], population, services) - before
                grow_cpu = settled(agents["node1"], cgroup) - cold_cpu
            return Figures(cold / NS, cold_cpu / NS, grow / NS, grow_cpu / NS)
    finally:
        lab.down()


@contextmanager
def running(
    proxier: str, mode: Mode, where: tuple[Fleet, Cluster, ApiServerProcess, AgentClient]
) -> Iterator[tuple[str, int]]:
    """Start a proxier on node1; give its cgroup, and the node's ns of the start. It ends with the guest."""
    fleet, cluster, server, agent = where
    node = next(node for node in cluster.nodes if node.name == "node1")
    if proxier == OURS:
        access = ApiAccess(server.url, f"http://{kube_proxy.HOST}:{server.port}", server.ca_pem, server.token)
        ours = ReferenceProxier(agent, fleet["node1"], node, replace(cluster, api=access), SystemClock())
        yield ours.cgroup, ours.start(replace(CONFIG, mode=mode))
        return
    folder, cgroup = f"{node.workdir}/kube-proxy", f"{node.cgroup_root}/kube-proxy"
    kube_proxy.configure(fleet["node1"], folder, str(mode), server, sync_period="600s")
    argv = ["sh", "-c", f"ulimit -n 65536; {kube_proxy.command(folder)}"]
    yield cgroup, agent.spawn(argv, log=f"{folder}/log", cgroup=cgroup).at_ns


def seen(client: AgentClient, population: Population, services: int) -> int:
    """Return the node's ns at which the last of so many Services first answered."""
    pods = tuple(pod.address for pod in population.pods(services - 1))
    found = client.await_(Await(population.plan.vip(services - 1), PORT, "answer", timeout_s=LIMIT, want=pods))
    if found.first_ns is None:
        raise RuntimeError(f"Service {services} did not answer within {LIMIT:.0f} s")
    return found.first_ns


def settled(agent: AgentClient, cgroup: str) -> int:
    """Wait until the proxier is quiet; return the CPU ns that it has spent in all."""
    before = agent.ledger([cgroup])
    while True:
        agent.sleep(QUIET_S)
        now = agent.ledger([cgroup])
        spent = now.groups[cgroup].usage_ns - before.groups[cgroup].usage_ns
        if spent < QUIET_SHARE * (now.at_ns - before.at_ns):
            return now.groups[cgroup].usage_ns
        before = now
        time.sleep(0.1)


if __name__ == "__main__":
    main()
