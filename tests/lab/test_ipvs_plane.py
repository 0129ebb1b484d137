"""The IPVS plane in a network namespace of this kernel: what it programs, mends, carries and leaves behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
import uuid
from typing import TYPE_CHECKING

import pytest

from proxybench.model import Mode
from proxybench.targets.lab.capabilities import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab

PROLOGUE = """
import socket, threading
from dataclasses import replace
from refproxy.config import LoopConfig
from refproxy.ipvs_plane import IpvsPlane
from refproxy.plane import Endpoint, ServicePort, ServicePortKey
from refproxy.tools import SubprocessRunner
CONFIG = LoopConfig("ipvs", "node", ("198.18.77.1",), "", "", "10.244.0.0/16", 0, 30, IPTABLES, "/tmp")
def port(number, **fields):
    ends = (Endpoint("10.244.0.1", 8080, True), Endpoint("10.244.0.2", 8080, True))
    key = ServicePortKey("ns", f"s{number}", "http", "tcp")
    return replace(ServicePort(key, f"10.96.{number // 250}.{number % 250 + 1}", 80, ends), **fields)
def ports(*items):
    return {item.key: item for item in items}
plane = IpvsPlane(SubprocessRunner(), CONFIG)
plane.setup()
"""


def tool(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"pbt-ipvs-{uuid.uuid4().hex[:8]}"
    made = tool("ip", "netns", "add", name)
    if made.returncode:
        pytest.skip(f"no network namespace can be made here: {made.stderr.strip()}")
    try:
        for what in (["link", "add", "probe0", "type", "dummy"],):
            if tool("ip", "-n", name, *what).returncode:
                pytest.skip("this kernel has no dummy device; the test runs in the VM lab")
        tool("ip", "-n", name, "link", "del", "probe0")
        if tool("ip", "netns", "exec", name, "ipvsadm", "-Sn").returncode:
            pytest.skip("this kernel has no IPVS, or ipvsadm is missing; the test runs in the VM lab")
        for what in (
            ["link", "set", "lo", "up"],
            ["addr", "add", "198.18.77.1/32", "dev", "lo"],
            ["route", "add", "local", "10.244.0.0/16", "dev", "lo"],
        ):
            assert tool("ip", "-n", name, *what).returncode == 0
        yield name
    finally:
        tool("ip", "netns", "del", name)


def run(namespace: str, body: str) -> str:
    """Run a program in the namespace, the plane being set up and cleaned up around it."""
    multi = shutil.which("xtables-legacy-multi")
    assert multi, "iptables' legacy backend is missing"
    program = (
        f"IPTABLES = {multi!r}\n{PROLOGUE}\ntry:\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
        "finally:\n    plane.cleanup()\n"
    )
    done = tool("ip", "netns", "exec", namespace, sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def left(namespace: str) -> list[str]:
    commands = (["ipvsadm", "-Sn"], ["ipset", "list", "-n"], ["xtables-legacy-multi", "iptables-save"])
    text = "".join(tool("ip", "netns", "exec", namespace, *argv).stdout for argv in commands)
    text += tool("ip", "-n", namespace, "link", "show").stdout
    return [line for line in text.splitlines() if "KUBE" in line or "kube" in line or line.startswith("-A ")]


def test_programs_and_leaves_nothing(namespace: str) -> None:
    out = run(
        namespace,
        """
        import subprocess
        show = lambda *argv: print(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
        np = port(1, node_port=30080, affinity_seconds=60)
        plane.sync(ports(port(0), np), None)
        show("ipvsadm", "-Sn")
        show("ip", "-br", "addr", "show", "kube-ipvs0")
        show("ipset", "list", "KUBE-CLUSTER-IP")
        show("ipset", "list", "KUBE-LOOP-BACK")
        show("ipset", "list", "KUBE-NODE-PORT-TCP")
        """,
    )
    for line in (
        "-A -t 10.96.0.1:80 -s rr",
        "-a -t 10.96.0.1:80 -r 10.244.0.2:8080 -m -w 1",
        "-A -t 10.96.0.2:80 -s rr -p 60",
        "-A -t 127.0.0.1:30080 -s rr -p 60",
        "-A -t 198.18.77.1:30080 -s rr -p 60",
        "10.96.0.2,tcp:80",
        "10.244.0.1,tcp:8080,10.244.0.1",
        "30080",
    ):
        assert line in [found.strip() for found in out.splitlines()]
    assert "kube-ipvs0       DOWN" in out
    assert left(namespace) == []


def test_a_full_sync_mends_what_others_broke_and_then_finds_nothing_to_do(namespace: str) -> None:
    out = run(
        namespace,
        """
        import subprocess
        wanted = ports(*(port(number) for number in range(300)))
        plane.sync(wanted, None)
        for command in (
            "ipvsadm -D -t 10.96.0.1:80", "ipvsadm -d -t 10.96.0.2:80 -r 10.244.0.1:8080",
            "ipvsadm -A -t 10.96.9.9:80 -s rr", "ipvsadm -e -t 10.96.0.3:80 -r 10.244.0.1:8080 -m -w 0",
            "ip addr del 10.96.0.4/32 dev kube-ipvs0", "ipset del KUBE-CLUSTER-IP 10.96.0.5,tcp:80",
            "ipset add KUBE-CLUSTER-IP 10.96.8.8,tcp:80", IPTABLES + " iptables -t nat -F PREROUTING",
        ):
            subprocess.run(command.split(), check=True)
        from refproxy.ipvs_plan import Changes, diff
        changes = diff(plane._kernel.held(), plane._plan.state)
        print(*(len(getattr(changes, name)) for name in Changes.__slots__))
        plane.sync(wanted, None)
        print(diff(plane._kernel.held(), plane._plan.state) == Changes())
        print(subprocess.run([IPTABLES, "iptables", "-t", "nat", "-S", "PREROUTING"], capture_output=True).stdout)
        """,
    )
    numbers, same, prerouting = out.splitlines()
    # Slots in their order; the server that is gone takes two real servers with it, one more was removed.
    assert numbers.split() == ["1", "1", "0", "3", "1", "1", "0", "1", "0", "1"]
    assert same == "True"
    assert "KUBE-SERVICES" in prerouting


def test_load_balancers_are_programmed_and_read_back_as_they_were(namespace: str) -> None:
    out = run(
        namespace,
        """
        import subprocess
        from refproxy.ipvs_plan import Changes, diff
        fields = {"ingress_ips": ("203.0.113.1",), "source_ranges": ("192.0.2.0/24", "198.18.0.0/15", "0.0.0.0/0")}
        wanted = ports(port(0, **fields), port(1, ingress_ips=("203.0.113.2",), local_only=True))
        plane.sync(wanted, None)
        print(diff(plane._kernel.held(), plane._plan.state) == Changes())
        save = subprocess.run(["ipset", "save"], capture_output=True, text=True, check=True).stdout
        print(*sorted(line for line in save.splitlines() if line.startswith("add KUBE-LOAD")), sep="\\n")
        print(subprocess.run(["ipvsadm", "-Sn"], capture_output=True, text=True, check=True).stdout.count("203.0.113"))
        plane.sync({}, set(wanted))
        print(diff(plane._kernel.held(), plane._plan.state) == Changes())
        """,
    )
    assert out.splitlines() == [
        "True",
        "add KUBE-LOAD-BALANCER 203.0.113.1,tcp:80",
        "add KUBE-LOAD-BALANCER 203.0.113.2,tcp:80",
        "add KUBE-LOAD-BALANCER-FW 203.0.113.1,tcp:80",
        "add KUBE-LOAD-BALANCER-LOCAL 203.0.113.2,tcp:80",
        "add KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.1,tcp:80,0.0.0.0/1",
        "add KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.1,tcp:80,128.0.0.0/1",
        "add KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.1,tcp:80,192.0.2.0/24",
        "add KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.1,tcp:80,198.18.0.0/15",
        "add KUBE-LOAD-BALANCER-SOURCE-IP 203.0.113.1,tcp:80,203.0.113.1",
        "6",
        "True",
    ]
    assert left(namespace) == []


def test_what_must_not_be_answered_is_dropped_and_who_leaves_keeps_connections(namespace: str) -> None:
    out = run(
        namespace,
        """
        import subprocess
        far = (Endpoint("10.244.1.1", 8080, False),)
        closed = port(0, ingress_ips=("203.0.113.1",), source_ranges=("192.0.2.0/24",))
        plane.sync(ports(port(0)), None)
        save = lambda: subprocess.run([IPTABLES, "iptables-save", "-t", "filter"], capture_output=True).stdout.decode()
        print("FIREWALL" in save())
        both = ports(closed, port(1, endpoints=far, node_port=30080, local_only=True), port(2, leaving=far))
        plane.sync(both, set(both))
        print(*(line for line in save().splitlines() if line.startswith("-A") and "FIREWALL" in line), sep="\\n")
        servers = subprocess.run(["ipvsadm", "-Sn"], capture_output=True, text=True).stdout
        print(servers.count("10.244.1.1:8080 -m -w 0"))
        """,
    )
    words = "Kubernetes service load balancer ip + port"
    assert out.splitlines() == [
        "False",
        (
            "-A INPUT -m conntrack --ctstate NEW -m comment --comment "
            '"kubernetes service firewall" -j KUBE-PROXY-FIREWALL'
        ),
        (
            f'-A KUBE-PROXY-FIREWALL -m comment --comment "{words} for load balancer with sourceRange" '
            "-m set --match-set KUBE-LOAD-BALANCER-FW dst,dst -j KUBE-SOURCE-RANGES-FIREWALL"
        ),
        (
            '-A KUBE-PROXY-FIREWALL -p tcp -m addrtype --dst-type LOCAL -m comment --comment "no local endpoints" '
            "-m tcp --dport 30080 -j DROP"
        ),
        (
            f'-A KUBE-SOURCE-RANGES-FIREWALL -m comment --comment "{words} + source cidr for packet filter purpose" '
            "-m set --match-set KUBE-LOAD-BALANCER-SOURCE-CIDR dst,dst,src -j RETURN"
        ),
        "-A KUBE-SOURCE-RANGES-FIREWALL -j DROP",
        "1",
    ]
    assert left(namespace) == []


def test_refusals_name_the_object(namespace: str) -> None:
    out = run(
        namespace,
        """
        from refproxy.errors import ProxierError
        plane.sync({}, None)
        try:
            plane._plan.scheduler = "nosuch"
            plane.sync(ports(port(0)), {port(0).key})
        except ProxierError as error:
            print(error)
        plane._plan.scheduler = "rr"
        """,
    )
    assert out == "IPVS tcp/10.96.0.1:80: No such file or directory\n"


def test_each_refusal_in_a_batch_is_counted(namespace: str) -> None:
    out = run(
        namespace,
        """
        from refproxy.errors import ProxierError
        from refproxy.ipvs_plan import Changes, Member, RealServer, ServerId
        def refused(**changes):
            try:
                plane._kernel.apply(Changes(**changes))
            except ProxierError as error:
                print(error)
        plane.sync({}, None)
        refused(members_added=(Member("KUBE-LOAD-BALANCER-SOURCE-CIDR", "tcp", "10.96.0.1", 80, "0.0.0.0/0"),))
        real = RealServer("10.244.0.1", 80)
        refused(reals_added=tuple((ServerId("tcp", "10.96.0.1", number), real) for number in range(1, 2001)))
        """,
    )
    assert out.splitlines() == [
        "members of set KUBE-LOAD-BALANCER-SOURCE-CIDR: the range has a prefix that this kind of set does not take",
        "IPVS tcp/10.96.0.1:1 -> 10.244.0.1:80: No such process (and 1999 more)",
    ]


def test_connections_reach_the_endpoints_in_turn(namespace: str) -> None:
    out = run(
        namespace,
        """
        server = socket.create_server(("0.0.0.0", 8080))
        def serve():
            while True:
                peer, _ = server.accept()
                peer.sendall(peer.getsockname()[0].encode())
                peer.close()
        threading.Thread(target=serve, daemon=True).start()
        def ask(address, number):
            with socket.create_connection((address, number), 5) as client:
                return client.recv(100).decode()
        plane.sync(ports(port(0, node_port=30080)), None)
        print(*sorted(ask("10.96.0.1", 80) for _ in range(4)))
        print(*sorted(ask("198.18.77.1", 30080) for _ in range(2)))
        gone = port(0, endpoints=(Endpoint("10.244.0.9", 8080, False),))
        plane.sync(ports(gone), {gone.key})
        print(ask("10.96.0.1", 80))
        """,
    )
    assert out.splitlines() == [
        "10.244.0.1 10.244.0.1 10.244.0.2 10.244.0.2",
        "10.244.0.1 10.244.0.2",
        "10.244.0.9",
    ]


def test_a_udp_client_that_keeps_its_socket_follows_its_service(namespace: str) -> None:
    out = run(
        namespace,
        """
        def serve(address):
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            server.bind((address, 5353))
            while True:
                _, peer = server.recvfrom(100)
                server.sendto(address.encode(), peer)
        for number in (1, 2):
            threading.Thread(target=serve, args=(f"10.244.0.{number}",), daemon=True).start()
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(0.5)
        def ask():
            for _ in range(3):  # IPVS drops the datagram by which it notices that the real server is gone
                client.send(b"?")
                try:
                    return client.recv(100).decode()
                except TimeoutError:
                    continue
            return "silence"
        key = ServicePortKey("ns", "dns", "dns", "udp")
        plane.sync({}, None)
        for ends in ((1,), (2,), (1, 2), (1,)):
            dns = ServicePort(key, "10.96.0.1", 53, tuple(Endpoint(f"10.244.0.{end}", 5353, True) for end in ends))
            plane.sync(ports(dns), {key})
            if ends == (1,):
                client.connect(("10.96.0.1", 53))  # only now is there a route
            print(ends, ask())
        from refproxy import netlink_conntrack as conntrack
        from refproxy.netlink import NETLINK_NETFILTER, Netlink
        def flows():
            replies = Netlink(NETLINK_NETFILTER).dump(conntrack.GET, conntrack.list_request())
            return [flow[:3] for flow in conntrack.parse_flows(replies) if flow.address == "10.96.0.1"]
        print(flows())
        plane.sync({}, {key})
        print(flows())
        """,
    )
    assert out.splitlines() == [
        "(1,) 10.244.0.1",
        "(2,) 10.244.0.2",
        "(1, 2) 10.244.0.2",
        "(1,) 10.244.0.1",
        "[('10.96.0.1', 53, '10.244.0.1')]",
        "[]",
    ]


@pytest.mark.usefixtures("namespace")  # which skips where there is no IPVS
def test_the_lab_finds_that_this_kernel_can() -> None:
    found = Machine.this().netns(Mode.IPVS)
    assert (found.reason, found.supported) == ("", True)
