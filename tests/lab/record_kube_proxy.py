"""Record what a real kube-proxy writes, in a netns lab: ``python -m tests.lab.record_kube_proxy BINARY`` (needs root).

Makes ``tests/golden/kube-proxy-VERSION-100-services/MODE.{metrics,log,left}``: a cold start with 100 Services of two
endpoints each, then one Service deleted, so that full and partial syncs are there. ``left`` is what ``--cleanup`` left
of iptables. The log's lines are as klog wrote them, headers and all; the metrics lack what is no kubeproxy_ figure.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from proxybench.deadline import Deadline
from proxybench.experiment.requests import SubjectSpec
from proxybench.experiment.subjects import Backend
from proxybench.hosts.fleet import Fleet
from proxybench.kube.base import Kind, Ref
from proxybench.kube.client import KubernetesServiceApi
from proxybench.kube.objects import NAMESPACE, Population
from proxybench.model import ClockKind, Mode, Subject
from proxybench.nodes.node import NodeHandle
from proxybench.run.testbed import address_plan
from proxybench.subjects.kube_proxy import KubeProxyDriver
from proxybench.subjects.kube_proxy_binary import inspect_file
from proxybench.targets.lab.common import Settings
from proxybench.targets.lab.netns import NetnsLab
from proxybench.units import SystemClock
from tests.lab.labs import agents_on

if TYPE_CHECKING:
    from proxybench.nodes.cluster import Cluster
    from proxybench.releases.store import Binary
    from proxybench.subjects.driver import RunningProxy

CLOCK = SystemClock()
MODES = ((Mode.IPTABLES, Backend.LEGACY), (Mode.NFTABLES, None))
SERVICES = 100
SETTLE_S = 3.0  # both families' syncs and minSyncPeriod


class Given:
    """The one binary."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def release(self, version: str) -> Binary:
        """Return it, whatever is asked for."""
        return inspect_file(self._path)

    def checkout(self, folder: Path) -> Binary:
        """Return it."""
        return inspect_file(self._path)


def main(path: str) -> None:
    """Record every mode that the version has."""
    driver = KubeProxyDriver(Given(Path(path)), CLOCK)
    lab = NetnsLab(Settings(ClockKind.WALL, "none"))
    cluster = lab.up()
    try:
        with Fleet.connect(cluster.targets) as fleet, agents_on(fleet, cluster, "node1") as agents:
            handle = NodeHandle(cluster.measured, fleet["node1"], agents["node1"])
            for mode, backend in MODES:
                subject = Subject("kube-proxy", "", mode)
                spec = driver.resolve(SubjectSpec(subject, 1.0, 600.0, iptables=backend))
                found = driver.check(spec, handle)
                if found.supported:
                    record(driver, spec, handle, cluster)
                else:
                    sys.stdout.write(f"{mode}: {found.reason}\n")
    finally:
        lab.down()


def record(driver: KubeProxyDriver, spec: SubjectSpec, handle: NodeHandle, cluster: Cluster) -> None:
    """Record one mode."""
    folder = Path(__file__).parents[1] / "golden" / f"kube-proxy-{spec.subject.version.removeprefix('v')}-100-services"
    folder.mkdir(exist_ok=True)
    population = Population(address_plan(cluster), 2)
    with KubernetesServiceApi(cluster.api.url, cluster.api.token, ca_pem=cluster.api.ca_pem) as api:
        api.ensure_namespace(NAMESPACE)
        api.create_many([population.service(index) for index in range(SERVICES)])
        slices = (population.endpoint_slices(index, CLOCK.utc_ns()) for index in range(SERVICES))
        api.create_many([one for each in slices for one in each])
        running = driver.start(spec, handle, cluster)
        running.wait_ready(Deadline(CLOCK, 120, "recording"), 120)
        time.sleep(SETTLE_S)
        api.delete_many([Ref(Kind.SERVICE, NAMESPACE, population.name(0))])
        time.sleep(SETTLE_S)
        figures = metrics_text(running)
        running.stop(20)
        driver.cleanup(spec, handle)
        for kind in (Kind.SERVICE, Kind.ENDPOINT_SLICE):
            api.delete_collection(kind, NAMESPACE, "")
    (folder / f"{spec.mode}.metrics").write_text(figures)
    (folder / f"{spec.mode}.log").write_text(running.log())
    saved = handle.executor.run([handle.node.iptables["legacy"], "iptables-save"]).stdout.splitlines()
    (folder / f"{spec.mode}.left").write_text("".join(f"{line}\n" for line in saved if "KUBE-" in line))


def metrics_text(running: RunningProxy) -> str:
    """Return the kubeproxy_ lines of its metrics."""
    text = running.handle.agent.http_get("http://127.0.0.1:10249/metrics").body
    return "".join(f"{line}\n" for line in text.splitlines() if "kubeproxy_" in line)


if __name__ == "__main__":
    main(sys.argv[1])
