"""Makes the dumps of real kube-proxies again: ``python -m tests.golden.make [RELEASE[=FILE] …]``, or ``make golden``.

A release that can neither be downloaded nor built is given as a file: ``v1.20.2=/path/to/kube-proxy``.

All of it happens in one VM lab, so neither root nor this machine's kernel matters, and by the instruction clock. In
each case of each release all objects but one Service are there when kube-proxy starts, and that one comes when it is
ready, so that full and partial syncs are there. Then everything is read, kube-proxy is stopped and runs ``--cleanup``,
and what that left is noted.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from proxybench.deadline import Deadline
from proxybench.experiment.requests import SubjectSpec
from proxybench.hosts.batch import run_together
from proxybench.hosts.fleet import Fleet
from proxybench.kube.base import Kind
from proxybench.kube.client import KubernetesServiceApi
from proxybench.model import ClockKind, Mode, Subject
from proxybench.nodes.kernel.capture import Tools, capture, commands
from proxybench.nodes.kernel.restore import restore
from proxybench.nodes.kernel.state import diff
from proxybench.nodes.node import NodeHandle
from proxybench.releases.ensure import ensure
from proxybench.subjects.kube_proxy import KubeProxyDriver
from proxybench.targets.lab.common import Settings
from proxybench.targets.lab.vm import VmLab
from proxybench.units import SystemClock
from tests.golden.cases import OBJECTS, READINGS, RELEASES, TABLES, Case, cases_of, folder
from tests.golden.normal import flags, normal
from tests.lab.labs import agents_on

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.nodes.cluster import Cluster
    from proxybench.releases.store import Binary
    from proxybench.subjects.driver import RunningProxy

CLOCK = SystemClock()
NAMESPACE = "bench"
LATE = "extip"  # the Service that comes when kube-proxy is ready
NODE = "node"  # what the objects call the node
PERIODS = (1.0, 600.0)
READY_S, LOOK_S, STOP_S = 180.0, 120.0, 30.0
POLL_S, QUIET_POLLS = 0.5, 5  # longer than minSyncPeriod, which what comes at last waits out
QUIET_SHARE = 0.03  # of a core


class Releases:
    """Official releases: from the cache, downloaded or built."""

    def release(self, version: str) -> Binary:
        return ensure("kube-proxy", version, report=report)

    def checkout(self, folder: Path) -> Binary:
        raise NotImplementedError(folder)


@dataclass(frozen=True)
class Bench:
    """Where it happens."""

    driver: KubeProxyDriver
    handle: NodeHandle
    cluster: Cluster
    api: KubernetesServiceApi


def main(wanted: Sequence[str]) -> None:
    driver = KubeProxyDriver(Releases(), CLOCK)
    files = {release: Path(file) if file else None for release, _, file in (one.partition("=") for one in wanted)}
    specs = {
        (release, case): spec(driver, release, case, file)
        for release, file in files.items()
        for case in cases_of(release)
    }
    lab = VmLab(Settings(ClockKind.INSTRUCTIONS, "tcg"), report)
    cluster = lab.up()
    try:
        api = KubernetesServiceApi(cluster.api.url, cluster.api.token, ca_pem=cluster.api.ca_pem)
        with api, Fleet.connect(cluster.targets) as fleet, agents_on(fleet, cluster, cluster.measured.name) as agents:
            api.ensure_namespace(NAMESPACE)
            name = cluster.measured.name
            bench = Bench(driver, NodeHandle(cluster.measured, fleet[name], agents[name]), cluster, api)
            for (release, case), one in specs.items():
                report(f"{release} {case.name}")
                keep(release, case, record(bench, one, case))
    finally:
        lab.down()


def spec(driver: KubeProxyDriver, release: str, case: Case, file: Path | None) -> SubjectSpec:
    subject = Subject("kube-proxy", "" if file else release, case.mode)
    found = driver.resolve(SubjectSpec(subject, *PERIODS, iptables=case.backend, path=file))
    if found.subject.version != release:
        raise SystemExit(f"{file} is {found.subject.version}, not {release}")
    return found


def record(bench: Bench, spec: SubjectSpec, case: Case) -> dict[str, str]:
    """Run kube-proxy once; return what it made, as the tools print it, by the end of the files' names."""
    found = bench.driver.check(spec, bench.handle)
    if not found.supported:
        raise SystemExit(f"{found.reason}; {found.fix}")
    executor, tools = bench.handle.executor, Tools.of(bench.handle.node)
    early, late = objects(bench.handle.name)
    if case.mode is Mode.USERSPACE:
        early, late = [in_old_words(obj) for obj in early], [in_old_words(obj) for obj in late]
    before = capture(executor, tools)
    bench.api.create_many(early)
    running = bench.driver.start(spec, bench.handle, bench.cluster)
    try:
        running.wait_ready(Deadline(CLOCK, READY_S, "recording"), READY_S)
        quiet(running)
        for obj in late:
            bench.api.create_many([obj])
            quiet(running)
        texts = look(bench.handle, case)
        texts["metrics"] = bench.handle.agent.http_get("http://127.0.0.1:10249/metrics").body
    finally:
        running.stop(STOP_S)
        for kind in (Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.ENDPOINTS):
            bench.api.delete_collection(kind, NAMESPACE, "")
    texts["log"] = running.log()
    texts["config"] = running.files()["kube-proxy.yaml"]
    bench.driver.cleanup(spec, bench.handle)
    left = diff(before, capture(executor, tools))
    restore(executor, before, tools)
    texts["left"] = "".join(f"{line}\n" for line in left)
    return texts


def objects(node: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return what is there at the start, and what comes later; ``node`` is the measured node's name."""
    text = OBJECTS.read_text().replace(f"nodeName: {NODE}\n", f"nodeName: {node}\n")
    early: list[dict[str, Any]] = []
    late: list[dict[str, Any]] = []
    for obj in YAML(typ="safe").load_all(text):
        (late if obj["metadata"]["name"].startswith(LATE) else early).append(dict(obj))
    return early, late


def in_old_words(obj: dict[str, Any]) -> dict[str, Any]:
    """Return the Endpoints object of an EndpointSlice, and any other object as it is."""
    if obj["kind"] != "EndpointSlice":
        return obj
    told: dict[str, list[dict[str, str]]] = {"addresses": [], "notReadyAddresses": []}
    for endpoint in obj.get("endpoints") or ():
        where = "addresses" if endpoint["conditions"]["ready"] else "notReadyAddresses"
        told[where] += [{"ip": ip, "nodeName": endpoint["nodeName"]} for ip in endpoint["addresses"]]
    subset = {**{name: found for name, found in told.items() if found}, "ports": obj["ports"]}
    name = obj["metadata"]["labels"]["kubernetes.io/service-name"]
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "subsets": [subset] if any(told.values()) else [],
    }


def quiet(running: RunningProxy) -> None:
    """Wait until nothing is pending and it has not worked for a while: a sync may take seconds under emulation."""
    agent, deadline, polls = running.handle.agent, Deadline(CLOCK, READY_S, "recording"), 0
    cgroup = running.cgroup or ""  # which whatever we start has
    last = agent.usage([cgroup])
    while polls < QUIET_POLLS or running.metrics().pending:
        CLOCK.sleep(deadline.left(POLL_S))
        now = agent.usage([cgroup])
        spent = now.groups[cgroup].usage_ns - last.groups[cgroup].usage_ns
        polls = polls + 1 if spent < QUIET_SHARE * (now.at_ns - last.at_ns) else 0
        last = now


def look(handle: NodeHandle, case: Case) -> dict[str, str]:
    """Read everything by the tools, and as ``capture`` does."""
    program = handle.node.iptables[case.backend or "legacy"]
    argv: dict[str, Sequence[str]] = {
        f"{family}tables-save.{table}": (program, f"{family}tables-save", "-t", table)
        for family in ("ip", "ip6")
        for table in TABLES
    }
    argv |= {f"list-table.{family}": ("nft", "list", "table", family, "kube-proxy") for family in ("ip", "ip6")}
    argv |= {
        "ipvsadm": ("ipvsadm", "-Sn"),
        "ipset": ("ipset", "save"),
        "addr": ("ip", "-br", "address", "show", "kube-ipvs0"),
    }
    readings = dict(zip(READINGS, commands(Tools.of(handle.node)), strict=True))
    looks = run_together(handle.executor, [*argv.values(), *readings.values()], timeout=LOOK_S)
    texts = dict(zip([*argv, *readings], (one.stdout for one in looks), strict=True))
    found = {name: texts[name] for name in argv}
    found["sysctl"] = texts["sysctls"]
    found["readings.json"] = json.dumps({name: texts[name].splitlines() for name in READINGS})
    return found


def keep(release: str, case: Case, texts: Mapping[str, str]) -> None:
    """Write what is not empty without its noise, and remove what was there before."""
    place = folder(release)
    place.mkdir(exist_ok=True)
    for old in place.glob(f"{case.name}.*"):
        old.unlink()
    files = {f"{case.name}.{what}": normal(what, text) for what, text in texts.items()}
    files["flags"] = flags(texts["log"])  # the same in all modes
    for name, text in files.items():
        if text:
            (place / name).write_text(text)


def report(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main(sys.argv[1:] or RELEASES)
