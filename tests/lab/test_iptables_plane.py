"""The real control loop in a throw-away network namespace of this kernel, fed by the lab's own API server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from proxybench.model import LabKind, Mode
from proxybench.nodes.kernel import legacy
from proxybench.subjects.proxy_metrics import parse_metrics
from proxybench.targets.lab.capabilities import Machine, ModeSupport
from refproxy.config import LoopConfig, dump
from tests import iptables_dump
from tests.unit.refproxy.builds import added

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxybench.nodes.kernel.state import Thing

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network namespace"),
]

IPTABLES = "/usr/sbin/xtables-legacy-multi"
GOLDEN = Path(__file__).parents[1] / "golden" / "kube-proxy-1.20.2"
NAMESPACE = f"pbt-ipt-{os.getpid()}"
MANY = 100

# Runs inside the namespace, where the API server's loopback is: does what the lines of its input say.
HELPER = """
import json, sys
from proxybench.kube.base import Kind, Ref
from proxybench.kube.client import KubernetesServiceApi
from proxybench.targets.lab.apiserver.serve_process import ApiServerProcess
with ApiServerProcess() as server, KubernetesServiceApi(server.url, server.token, ca_pem=server.ca_pem) as api:
    api.ensure_namespace("bench")
    print(json.dumps([server.url, server.token, server.ca_pem]), flush=True)
    for line in sys.stdin:
        what, items = json.loads(line)
        if what == "create":
            api.create_many(items)
        elif what == "replace":
            api.replace_many(items)
        else:
            api.delete_many([Ref(Kind(kind), "bench", name) for kind, name in items])
        print("done", flush=True)
"""


class Api:
    """The API server in the namespace, told what to do line by line."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            inside(sys.executable, "-c", HELPER), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url, self.token, self.ca_pem = json.loads(self._line())

    def do(self, what: str, items: list[Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([what, items]) + "\n")
        self.process.stdin.flush()
        assert self._line() == "done\n"

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


class Loop:
    """The control loop's process in the namespace."""

    def __init__(self, folder: Path, api: Api) -> None:
        (folder / "token").write_text(api.token)
        (folder / "ca.pem").write_text(api.ca_pem)
        settings = LoopConfig(
            mode="iptables",
            node_name="node",
            node_ips=("10.1.0.1",),
            api_url=api.url,
            token_file=str(folder / "token"),
            ca_file=str(folder / "ca.pem"),
            cluster_cidr="10.244.0.0/16",
            min_sync_period=0.1,
            sync_period=2.0,
            iptables=IPTABLES,
        )
        (folder / "config.json").write_bytes(dump(settings))
        self.log = folder / "log"
        argv = inside(sys.executable, "-m", "refproxy", "--config", str(folder / "config.json"))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(argv, stderr=log)
        until(lambda: get(10256, "/healthz") == "ok\n", self.log)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def api() -> Iterator[Api]:
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    try:
        subprocess.run(["ip", "-n", NAMESPACE, "link", "set", "lo", "up"], check=True)
        made = Api()
        yield made
        made.close()
    finally:
        subprocess.run(["ip", "netns", "delete", NAMESPACE], check=True)


@pytest.fixture
def loop(tmp_path: Path, api: Api) -> Iterator[Loop]:
    made = Loop(tmp_path, api)
    yield made
    if made.process.poll() is None:
        made.stop()


def inside(*argv: str) -> list[str]:
    return ["ip", "netns", "exec", NAMESPACE, *argv]


def saved() -> dict[str, iptables_dump.Table]:
    return iptables_dump.parse(save())


def save() -> str:
    return subprocess.run(
        inside(IPTABLES, "iptables-save"), capture_output=True, text=True, timeout=20, check=True
    ).stdout


def things_left() -> tuple[Thing, ...]:
    command = inside(*legacy.command("iptables", {"legacy": IPTABLES}))
    shown = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    return legacy.read("iptables", shown).things


def services() -> set[str]:
    rules = saved()["nat"].rules
    return {
        rule.comment.removesuffix(" cluster IP")
        for rule in rules
        if rule.chain == "KUBE-SERVICES" and rule.target.startswith("KUBE-SVC-")
    }


def get(port: int, path: str) -> str:
    code = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode(), end='')"
    url = f"http://127.0.0.1:{port}{path}"
    argv = inside(sys.executable, "-S", "-c", code, url)
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False).stdout


def until(true: Callable[[], bool], log: Path, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def service(number: int) -> list[dict[str, Any]]:
    name = f"s{number:03d}"
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "bench"},
            "spec": {
                "clusterIP": f"10.96.0.{number + 1}",
                "type": "ClusterIP",
                "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-1",
                "namespace": "bench",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [f"10.244.0.{number + 1}"], "conditions": {"ready": True}}],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        },
    ]


def test_services_come_change_and_go_and_nothing_is_left(api: Api, loop: Loop) -> None:
    api.do("create", [obj for number in range(MANY) for obj in service(number)])
    names = {f"bench/s{number:03d}:http" for number in range(MANY)}
    until(lambda: services() == names, loop.log)
    changed = service(7)[1]
    changed["endpoints"][0]["addresses"] = ["10.244.9.9"]
    api.do("replace", [changed])
    until(lambda: "--to-destination 10.244.9.9:8080" in save(), loop.log)
    assert "--to-destination 10.244.0.8:8080" not in save()
    gone = range(50)
    kinds = (("Service", ""), ("EndpointSlice", "-1"))
    api.do("delete", [(kind, f"s{number:03d}{end}") for number in gone for kind, end in kinds])
    left = {f"bench/s{number:03d}:http" for number in range(50, MANY)}
    until(lambda: services() == left, loop.log)
    chains = [name for name in saved()["nat"].own_chains if name.startswith(("KUBE-SVC-", "KUBE-SEP-"))]
    assert len(chains) == 100
    figures = parse_metrics(get(10249, "/metrics"))
    assert figures.sync_count >= 3
    assert figures.tool is not None
    assert figures.build is not None
    assert 0 < figures.build + figures.tool <= figures.sync_sum
    assert get(10249, "/proxyMode") == "iptables"
    assert loop.stop() == 0, loop.log.read_text()
    assert things_left() == ()
    localnet = inside("cat", "/proc/sys/net/ipv4/conf/all/route_localnet")
    assert subprocess.run(localnet, capture_output=True, text=True, timeout=5, check=True).stdout == "0\n"
    assert api.token not in loop.log.read_text()


def test_the_kernel_holds_what_kube_proxy_programmed_for_the_golden_objects(api: Api, loop: Loop) -> None:
    objects = YAML(typ="safe").load_all((GOLDEN / "objects.yaml").read_text())
    api.do("create", [dict(obj) for obj in objects])
    golden = {
        table: iptables_dump.parse((GOLDEN / f"iptables.iptables-save.{table}").read_text())[table]
        for table in ("nat", "filter", "mangle")
    }

    def equal(table: str) -> bool:
        ours = saved()[table]
        same_chains = ours.own_chains == golden[table].own_chains
        return same_chains and {rule for rule in ours.rules if not added(rule)} == set(golden[table].rules)

    for table in golden:
        until(lambda table=table: equal(table), loop.log)  # type: ignore[misc] # mypy cannot infer a default's lambda


# A UDP client keeps its socket while its Service changes; every step says what answers it. Endpoints say who they are.
KEPT_SOCKET = """
import socket, subprocess, sys, threading
from dataclasses import replace
from refproxy.config import LoopConfig
from refproxy.iptables_plane import IptablesPlane
from refproxy.plane import Endpoint, ServicePort, ServicePortKey
from refproxy.tools import SubprocessRunner
for command in (
    "addr add 198.18.77.1/32 dev lo", "route add local 10.244.0.0/16 dev lo", "route add default dev lo",
):
    subprocess.run(["ip", *command.split()], check=True)
def serve(address):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 5353))
    while True:
        _, peer = server.recvfrom(100)
        server.sendto(address.encode(), peer)
for number in (1, 2):
    threading.Thread(target=serve, args=(f"10.244.0.{number}",), daemon=True).start()
config = LoopConfig("iptables", "node", ("198.18.77.1",), "", "", "", 0, 30, sys.argv[1], "/")
plane = IptablesPlane(SubprocessRunner(), config)
plane.setup()
def program(*ends, **fields):
    ends = tuple(Endpoint(f"10.244.0.{end}", 5353, True) for end in ends)
    port = ServicePort(ServicePortKey("ns", "dns", "dns", "udp"), "10.96.0.10", 53, ends, **fields)
    return plane.sync({port.key: port}, {port.key}).kernel_ns
def client(address, number):
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(0.5)
    made.connect((address, number))
    return made
def ask(kept):
    try:
        kept.send(b"?")
        return kept.recv(100).decode()
    except OSError as error:
        return type(error).__name__
plane.sync({}, None)
vip, node = client("10.96.0.10", 53), client("198.18.77.1", 30053)
print("no Service:", ask(vip), ask(node))
for ends in ((1,), (2,), (1, 2), (1,), (), (2,)):
    spent = program(*ends, node_port=30053)
    print(ends, ask(vip), ask(node), spent > 0)
plane.sync({}, None)
print("no Service:", ask(vip), ask(node))
print(plane.sync({}, set()).kernel_ns)
plane.cleanup()
"""


@pytest.fixture
def bare() -> Iterator[None]:
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    try:
        subprocess.run(["ip", "-n", NAMESPACE, "link", "set", "lo", "up"], check=True)
        yield
    finally:
        subprocess.run(["ip", "netns", "delete", NAMESPACE], check=True)


@pytest.mark.usefixtures("bare")
def test_a_udp_client_that_keeps_its_socket_follows_its_service() -> None:
    done = subprocess.run(
        inside(sys.executable, "-c", KEPT_SOCKET, IPTABLES), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second, refused = "10.244.0.1", "10.244.0.2", "ConnectionRefusedError"
    assert done.stdout.splitlines() == [
        f"no Service: TimeoutError {refused}",  # the kernel remembers both, as they are: no address is translated
        f"(1,) {first} {first} True",
        f"(2,) {second} {second} True",
        f"(1, 2) {second} {second} False",
        f"(1,) {first} {first} True",
        f"() PermissionError {refused} True",  # rejected on its way out
        f"(2,) {second} {second} True",
        f"no Service: TimeoutError {refused}",
        "0",
    ]


def test_a_load_balancer_comes_as_it_is_written_and_goes(api: Api, loop: Loop) -> None:
    balanced, ends = service(0)
    balanced["spec"] |= {"type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.7/24", "10.1.0.0/16"]}
    balanced["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
    api.do("create", [balanced, ends])
    until(lambda: "KUBE-FW-" in save(), loop.log)
    chain = next(name for name in saved()["nat"].own_chains if name.startswith("KUBE-FW-"))
    service_chain = chain.replace("FW", "SVC")
    note = '-m comment --comment "bench/s000:http loadbalancer IP"'
    drop = f'-m comment --comment "bench/s000:http traffic not accepted by {chain}" -m tcp --dport 80 -j DROP'
    lines = [line for line in save().splitlines() if chain in line and line.startswith("-A")]
    assert [line for line in lines if line.endswith("-j DROP")] == [
        f"-A KUBE-EXTERNAL-SERVICES -d 203.0.113.1/32 -p tcp {drop}",
        f"-A KUBE-SERVICES -d 203.0.113.1/32 -p tcp {drop}",
    ]
    assert [line for line in lines if not line.endswith("-j DROP")] == [
        f"-A {chain} {note} -j KUBE-MARK-MASQ",
        f"-A {chain} -s 192.0.2.0/24 {note} -j {service_chain}",
        f"-A {chain} -s 10.1.0.0/16 {note} -j {service_chain}",
        f"-A {chain} -s 203.0.113.1/32 {note} -j {service_chain}",
        f"-A {chain} {note} -j MARK --set-xmark 0x0/0x4000",
        f"-A {chain} {note} -j KUBE-MARK-DROP",
        f"-A KUBE-SERVICES -d 203.0.113.1/32 -p tcp {note} -m tcp --dport 80 -j {chain}",
    ]
    api.do("delete", [("Service", "s000")])
    until(lambda: "KUBE-FW-" not in save(), loop.log)
    assert loop.stop() == 0, loop.log.read_text()
    assert things_left() == ()


@pytest.mark.parametrize("mode", [Mode.IPTABLES, Mode.USERSPACE, Mode.NFTABLES])
def test_the_lab_finds_that_this_kernel_can(mode: Mode) -> None:
    assert Machine.this().netns(mode) == ModeSupport(LabKind.NETNS, mode, supported=True)


def test_rules_removed_behind_its_back_come_back(api: Api, loop: Loop) -> None:
    api.do("create", service(0))
    until(lambda: services() == {"bench/s000:http"}, loop.log)
    subprocess.run(inside(IPTABLES, "iptables", "-t", "nat", "-F"), check=True, timeout=20)
    assert services() == set()
    until(lambda: services() == {"bench/s000:http"}, loop.log)
    assert {rule.chain for rule in saved()["nat"].rules} >= {"PREROUTING", "OUTPUT", "POSTROUTING"}


def test_a_new_life_takes_over_what_a_killed_one_left(api: Api, loop: Loop, tmp_path: Path) -> None:
    api.do("create", [*service(0), *service(1)])
    until(lambda: len(services()) == 2, loop.log)
    loop.process.kill()
    loop.process.wait(5)
    assert len(services()) == 2
    api.do("delete", [("Service", "s000")])
    again = Loop(tmp_path, api)
    assert services() == {"bench/s001:http"}
    assert again.stop() == 0
    assert things_left() == ()
