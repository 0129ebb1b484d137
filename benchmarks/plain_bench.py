"""The independent side of ``agreement``: three namespaces, a real kube-apiserver, and a kube-proxy started by hand.

The client is the machine that connects, node the one with kube-proxy (and the API server, on its loopback), pods
answers for all endpoints. Times are CLOCK_MONOTONIC of this machine; CPU is that of the process and of the children
that it has waited for, in ticks of 10 ms.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import ssl
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import local
from typing import TYPE_CHECKING, Any, Self

from pyroute2 import netns

from proxybench.interrupts import undisturbed
from tests.lab.binaries import ETCD, program
from tests.lab.control_plane import Access, control_plane

if TYPE_CHECKING:
    from collections.abc import Mapping

SUBJECTS = ("iptables legacy", "iptables nft", "nftables")
PORT = 8080
PROBED = 8
ADDITIONS = 2
CONNECTIONS = 300
WARM = 20
WRITERS = 8
COLD_S, CHANGE_S, REST_S = 300.0, 60.0, 1.0
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
ONE_CPU = ("taskset", "-c", "0")  # waking an idle processor costs as much as many rules, and is no forwarding
NETWORK = """\
set -e
ip netns add {client}; ip netns add {node}; ip netns add {pods}
ip link add eth0 netns {client} type veth peer name client netns {node}
ip link add eth0 netns {pods} type veth peer name pods netns {node}
for one in {client} {node} {pods}; do ip -n $one link set lo up; done
ip -n {client} addr add 10.1.0.2/24 dev eth0; ip -n {client} link set eth0 up
ip -n {node} addr add 10.1.0.1/24 dev client; ip -n {node} link set client up
ip -n {node} addr add 10.2.0.1/24 dev pods; ip -n {node} link set pods up
ip -n {pods} addr add 10.2.0.2/24 dev eth0; ip -n {pods} link set eth0 up
ip -n {client} route add default via 10.1.0.1
ip -n {pods} route add default via 10.2.0.1
ip -n {node} route add 10.244.0.0/16 via 10.2.0.2
ip -n {pods} route add local 10.244.0.0/16 dev lo
ip netns exec {node} sysctl -qw net.ipv4.ip_forward=1
"""
FLUSH = """\
for backend in legacy nft; do for family in iptables ip6tables; do for table in nat filter mangle; do
    xtables-$backend-multi $family -w -t $table -F; xtables-$backend-multi $family -w -t $table -X
done; done; done
nft flush ruleset
"""
CONFIG: dict[str, Any] = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "kind": "KubeProxyConfiguration",
    "hostnameOverride": "node",
    "detectLocalMode": "ClusterCIDR",
    "clusterCIDR": "10.244.0.0/16",
    "nodePortAddresses": ["0.0.0.0/0"],
    "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    "iptables": {"minSyncPeriod": "1s", "syncPeriod": "1h"},
    "nftables": {"minSyncPeriod": "1s", "syncPeriod": "1h"},
}


class PlainBench:
    """Made on entering, gone on leaving."""

    def __init__(self, folder: Path, binaries: Mapping[str, Path], *, protobuf: bool) -> None:
        self._folder = folder
        self._binaries = binaries
        self._content = "application/vnd.kubernetes.protobuf" if protobuf else "application/json"
        self._names = {role: f"pb-{os.getpid()}-{role}" for role in ("client", "node", "pods")}
        self._stack = ExitStack()
        self._services = self._added = 0
        self._api: Api
        self._probe: subprocess.Popen[str]

    def __enter__(self) -> Self:
        with self._stack:
            self._stack.callback(self._remove)
            subprocess.run(["sh", "-c", NETWORK.format(**self._names)], check=True, timeout=30)
            backend = self._plain("pods", "backend", str(PORT), first=(*ONE_CPU, "chrt", "-b", "0"))
            assert backend.stdout  # noqa: S101 - asked for
            backend.stdout.readline()
            self._probe = self._plain("client", "probe", first=(*ONE_CPU, "chrt", "-f", "1"))
            here = os.open("/proc/self/ns/net", os.O_RDONLY)
            netns.setns(self._names["node"])  # the API server, kube-proxy and our requests are there
            self._stack.callback(os.close, here)
            self._stack.callback(netns.setns, here)
            place = self._folder / "control"
            place.mkdir()
            plane = control_plane(place, program("etcd", ETCD), self._binaries["kube-apiserver"])
            self._api = Api(self._stack.enter_context(plane))
            status = {"addresses": [{"type": "InternalIP", "address": "10.1.0.1"}]}
            node = {"metadata": {"name": "node"}, "spec": {"podCIDR": "10.244.0.0/16"}, "status": status}
            self._api.post("/api/v1/nodes", node)
            self._api.post("/api/v1/namespaces", {"metadata": {"name": "plain"}})
            self._kept = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    def grow(self, services: int) -> None:
        """Bring the API to so many Services of two endpoints each."""
        with ThreadPoolExecutor(WRITERS) as writers:
            for _ in writers.map(self._make, range(self._services, services)):
                pass
        self._services = services

    def measure(self, subject: str) -> dict[str, float]:
        """Start kube-proxy on clean tables, measure, and stop it; returns medians in ns, by name."""
        subprocess.run(["sh", "-c", FLUSH], check=True, timeout=120)
        started = time.monotonic_ns()
        with self._running(subject) as proxy:
            step = max(1, self._services // PROBED)
            probed = sorted({self._services - 1, *range(0, self._services, step)}, reverse=True)
            answered = max(self._await(vip(index), COLD_S) for index in probed)
            spent = self._rest(proxy)
            found = {"cold start": float(answered - started), "CPU of a cold start": float(spent)}
            found |= self._connections(self._last_vip(subject))
            added = [self._addition(proxy) for _ in range(ADDITIONS)]
            found["one Service added"] = statistics.median(took for took, _ in added)
            found["CPU of one Service added"] = statistics.median(spent for _, spent in added)
        return found

    def _last_vip(self, subject: str) -> str:
        """Return the VIP of the last rule: kube-proxy writes them in no order. nftables mode has a map."""
        _, _, backend = subject.partition(" ")
        if not backend:
            return vip(self._services - 1)
        argv = [find(f"xtables-{backend}-multi"), "iptables-save", "-t", "nat"]
        rules = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout
        vips: list[str] = re.findall(r"^-A KUBE-SERVICES -d (10\.96\.[\d.]+)/32 ", rules, re.MULTILINE)
        return vips[-1]

    def _connections(self, last: str) -> dict[str, float]:
        targets = {"connect VIP": (last, 80), "connect directly": (pod(2 * self._services - 2), PORT)}
        for host, port in targets.values():
            self._ask("connect", host, port, WARM)
        taken: dict[str, list[int]] = {name: [] for name in targets}
        for _ in range(CONNECTIONS // 10):
            for name, (host, port) in targets.items():
                taken[name] += self._ask("connect", host, port, 10)
        return {name: float(statistics.median(values)) for name, values in taken.items()}

    def _addition(self, proxy: subprocess.Popen[bytes]) -> tuple[float, float]:
        """Add a Service, then its EndpointSlice; count from the latter's acknowledgement. Take both away again."""
        time.sleep(REST_S)
        before = cpu_ns(proxy.pid)
        self._added += 1
        index = 60_000 + self._added
        objects = service(index), endpoints(index)
        for path, obj in objects:
            self._api.post(path, obj)
        acknowledged = time.monotonic_ns()
        took = max(0, self._await(vip(index), CHANGE_S) - acknowledged)
        spent = self._rest(proxy) - before
        for path, obj in objects:
            self._api.delete(f"{path}/{obj['metadata']['name']}")
        time.sleep(REST_S)
        self._rest(proxy)
        return took, spent

    def _make(self, index: int) -> None:
        for path, obj in (service(index), endpoints(index)):
            self._api.post(path, obj)

    def _await(self, host: str, seconds: float) -> int:
        found = self._ask("await", host, 80, seconds)
        if found is None:
            raise SystemExit(f"{host} did not answer within {seconds:g} s")
        return int(found)

    def _ask(self, *words: str | float) -> Any:  # noqa: ANN401 - JSON
        assert self._probe.stdin  # noqa: S101 - asked for
        assert self._probe.stdout  # noqa: S101 - asked for
        self._probe.stdin.write(f"{json.dumps(words)}\n")
        self._probe.stdin.flush()
        return json.loads(self._probe.stdout.readline())

    def _rest(self, proxy: subprocess.Popen[bytes]) -> int:
        """Wait until it has spent nothing for a second; return its CPU time since its start."""
        last, since = -1, time.monotonic()
        while time.monotonic() - since < REST_S or running_children(proxy.pid):
            spent = cpu_ns(proxy.pid)
            if spent != last:
                last, since = spent, time.monotonic()
            time.sleep(0.05)
        return last

    def _running(self, subject: str) -> subprocess.Popen[bytes]:
        mode, _, backend = subject.partition(" ")
        tools = self._folder / f"tools-{backend or 'any'}"
        tools.mkdir(exist_ok=True)
        for name in ("iptables", "iptables-save", "iptables-restore"):
            for family in (name, name.replace("ip", "ip6", 1)):
                if not (tools / family).is_symlink():
                    (tools / family).symlink_to(find(f"xtables-{backend or 'nft'}-multi"))
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": self._api.access.url, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "u", "user": {"token": self._api.access.token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (self._folder / "kubeconfig").write_text(json.dumps(kubeconfig))
        connection = {
            "kubeconfig": f"{self._folder}/kubeconfig",
            "contentType": self._content,
            "acceptContentTypes": self._content,
        }
        config = self._folder / "config.json"
        config.write_text(json.dumps({**CONFIG, "mode": mode, "clientConnection": connection}))
        with (self._folder / "kube-proxy.log").open("wb") as log:
            return Killed(
                [str(self._binaries["kube-proxy"]), f"--config={config}", "--v=2"],
                env={"PATH": f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _plain(self, role: str, *words: str, first: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        script = Path(__file__).with_name("plain_sockets.py")
        argv = ["ip", "netns", "exec", self._names[role], *first, sys.executable, str(script), *words]
        with undisturbed():
            process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._stack.callback(process.wait)
            self._stack.callback(process.kill)
        return process

    def _remove(self) -> None:
        for name in self._names.values():
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL, timeout=30)


class Killed(subprocess.Popen[bytes]):
    """A process that ends when its block does."""

    def __exit__(self, *_: object) -> None:
        self.terminate()
        self.wait(30)


class Api:
    """The API by plain requests, one connection per thread."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._own = local()

    def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Create an object."""
        self._send("POST", path, json.dumps(body), 201)

    def delete(self, path: str) -> None:
        """Delete an object."""
        self._send("DELETE", path, None, 200)

    def _send(self, method: str, path: str, body: str | None, wanted: int) -> None:
        if not hasattr(self._own, "connection"):
            context = ssl.create_default_context(cadata=self.access.ca_pem)
            place = self.access.url.removeprefix("https://")
            self._own.connection = http.client.HTTPSConnection(place, context=context, timeout=30)
        headers = {"Authorization": f"Bearer {self.access.token}", "Content-Type": "application/json"}
        self._own.connection.request(method, path, body, headers)
        response = self._own.connection.getresponse()
        text = response.read()
        if response.status != wanted:
            raise SystemExit(f"{method} {path}: {response.status} {text.decode(errors='replace')[:300]}")


def vip(index: int) -> str:
    return f"10.96.{(index + 256) // 256}.{(index + 256) % 256}"


def pod(number: int) -> str:
    return f"10.244.{(number + 256) // 256 % 256}.{number % 256}"


def service(index: int) -> tuple[str, dict[str, Any]]:
    spec = {"clusterIP": vip(index), "ports": [{"port": 80, "targetPort": PORT}]}
    return "/api/v1/namespaces/plain/services", {"metadata": {"name": f"s{index}"}, "spec": spec}


def endpoints(index: int) -> tuple[str, dict[str, Any]]:
    name = f"s{index}"
    obj = {
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [pod(2 * index + one)], "nodeName": "node"} for one in (0, 1)],
        "ports": [{"name": "", "port": PORT, "protocol": "TCP"}],
    }
    return "/apis/discovery.k8s.io/v1/namespaces/plain/endpointslices", obj


def cpu_ns(pid: int) -> int:
    """Return the CPU time of a process and of the children that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) * TICK_NS


def running_children(pid: int) -> bool:
    return any(task.read_text().strip() for task in Path(f"/proc/{pid}/task").glob("*/children"))


def find(tool: str) -> str:
    found = shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise SystemExit(f"{tool} is not installed")
    return found
