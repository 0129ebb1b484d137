"""When the IPVS plane reads the kernel, what it sends, and when it writes rules."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from refproxy.config import LoopConfig
from refproxy.errors import ProxierError
from refproxy.ipvs_plan import Changes, Member, RealServer, ServerId, State, VirtualServer
from refproxy.ipvs_plane import SYSCTLS, IpvsPlane
from refproxy.plane import Endpoint, ServicePort, ServicePortKey
from refproxy.sysctl import Sysctls
from refproxy.times import NO_TIME, Times
from refproxy.tools import ToolResult

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CONFIG = LoopConfig("ipvs", "node", ("198.18.0.1",), "", "", "10.244.0.0/16", 1.0, 30.0, "/multi")
A = ServicePort(ServicePortKey("ns", "a", "", "tcp"), "10.96.0.1", 80, (Endpoint("10.244.1.1", 8080, local=False),))
NAME = ServerId("tcp", "10.96.0.1", 80)
SERVER = VirtualServer("rr", 0, frozenset({RealServer("10.244.1.1", 8080)}))
MEMBER = Member("KUBE-CLUSTER-IP", "tcp", "10.96.0.1", 80)
ALL_OF_A = Changes(
    members_added=(MEMBER,),
    servers_added=((NAME, SERVER),),
    reals_added=((NAME, RealServer("10.244.1.1", 8080)),),
    addresses_added=("10.96.0.1",),
)
EMPTY = State({}, frozenset(), frozenset())


class FakeKernel:
    """Holds what the test says, and keeps what was asked."""

    def __init__(self) -> None:
        self.state = EMPTY
        self.applied: list[Changes] = []
        self.events: list[str] = []
        self.refuse = False
        self.stays: list[str] = []
        self.spent = NO_TIME

    def prepare(self) -> None:
        self.events.append("prepare")

    def held(self) -> State:
        self.events.append("held")
        return self.state

    def apply(self, changes: Changes) -> None:
        if self.refuse:
            raise ProxierError("IPVS tcp/10.96.0.1:80: Operation not permitted")
        self.spent += Times(5, 3)
        self.events.append("apply")
        self.applied.append(changes)

    def remove(self) -> list[str]:
        self.events.append("remove")
        return self.stays


class FakeRunner:
    def __init__(self) -> None:
        self.saved = b""
        self.restored: list[str] = []

    def run(self, argv: Sequence[str], stdin: bytes = b"", *, timeout: float = 60.0) -> ToolResult:
        if argv[1] == "iptables-save":
            return ToolResult(0, self.saved, b"")
        assert argv[1:] == ("iptables-restore", "-w", "5", "--noflush")
        self.restored.append(stdin.decode())
        return ToolResult(0, b"", b"")


class Made:
    def __init__(self, root: Path) -> None:
        self.kernel, self.runner, self.root = FakeKernel(), FakeRunner(), root
        for name in SYSCTLS:
            path = root.joinpath(*name.split("."))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("7\n")
        self.plane = IpvsPlane(self.runner, CONFIG, kernel=self.kernel, sysctls=Sysctls(root))
        self.plane.setup()
        self.kernel.events.clear()

    def sysctls(self) -> dict[str, int]:
        return {name: int(self.root.joinpath(*name.split(".")).read_text()) for name in SYSCTLS}


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_a_full_sync_reads_the_kernel_and_mends_it(made: Made) -> None:
    stranger = ServerId("udp", "10.96.0.9", 53)
    made.kernel.state = State({stranger: SERVER}, frozenset({"10.96.0.9"}), frozenset({MEMBER}))
    made.plane.sync({A.key: A}, None)
    assert made.kernel.events == ["prepare", "held", "apply"]
    assert made.kernel.applied == [
        replace(ALL_OF_A, members_added=(), servers_removed=(stranger,), addresses_removed=("10.96.0.9",))
    ]


def test_a_partial_sync_sends_only_what_changed(made: Made) -> None:
    made.plane.sync({}, None)
    made.kernel.events.clear()
    split = made.plane.sync({A.key: A}, {A.key})
    assert made.kernel.events == ["apply"]
    assert made.kernel.applied[1] == ALL_OF_A
    assert split.kernel_ns == 5
    assert made.plane.sync({A.key: A}, set()).tool_ns == 0


def test_rules_are_written_when_a_set_gets_its_first_member(made: Made) -> None:
    made.plane.sync({}, None)
    made.plane.sync({A.key: A}, {A.key})
    b = replace(A, key=A.key._replace(name="b"), cluster_ip="10.96.0.2")
    made.plane.sync({A.key: A, b.key: b}, {b.key})
    assert len(made.runner.restored) == 2
    assert "-I PREROUTING" in made.runner.restored[0]
    assert "--match-set" not in made.runner.restored[0]
    assert "-I PREROUTING" not in made.runner.restored[1]
    assert made.runner.restored[1].count("--match-set KUBE-CLUSTER-IP") == 2


BALANCED = replace(A, ingress_ips=("203.0.113.1",), source_ranges=("192.0.2.0/24",))
FAR = replace(A, node_port=30080, local_only=True, external_ips=("192.0.2.9",))
JUMP = '-m conntrack --ctstate NEW -m comment --comment "kubernetes service firewall" -j KUBE-PROXY-FIREWALL'


def test_sources_that_are_not_let_in_are_dropped_before_ipvs_takes_them(made: Made) -> None:
    made.plane.sync({A.key: A}, None)
    assert "KUBE-PROXY-FIREWALL" not in made.runner.restored[0]
    made.plane.sync({A.key: BALANCED}, {A.key})
    words = "Kubernetes service load balancer ip + port"
    before, other = made.runner.restored[1].split("*filter\n")
    assert f"-I INPUT {JUMP}\n" in other
    assert [line for line in other.splitlines() if line.startswith(("-A KUBE-P", "-A KUBE-S"))] == [
        (
            f'-A KUBE-PROXY-FIREWALL -m comment --comment "{words} for load balancer with sourceRange" '
            "-m set --match-set KUBE-LOAD-BALANCER-FW dst,dst -j KUBE-SOURCE-RANGES-FIREWALL"
        ),
        (
            f'-A KUBE-SOURCE-RANGES-FIREWALL -m comment --comment "{words} + source cidr for packet filter purpose" '
            "-m set --match-set KUBE-LOAD-BALANCER-SOURCE-CIDR dst,dst,src -j RETURN"
        ),
        "-A KUBE-SOURCE-RANGES-FIREWALL -j DROP",
    ]
    assert "DROP" not in before.replace("KUBE-MARK-DROP", "")
    made.plane.sync({A.key: A}, {A.key})  # the chains stay, without rules
    assert "-I INPUT" not in made.runner.restored[2]
    assert ":KUBE-PROXY-FIREWALL - [0:0]\n" in made.runner.restored[2]
    assert "-A KUBE-PROXY-FIREWALL" not in made.runner.restored[2]


def test_what_is_dropped_for_want_of_a_local_endpoint_follows_the_endpoints(made: Made) -> None:
    made.plane.sync({A.key: FAR}, None)
    assert [line for line in made.runner.restored[0].splitlines() if line.startswith("-A KUBE-PROXY-FIREWALL")] == [
        (
            '-A KUBE-PROXY-FIREWALL -p tcp -m addrtype --dst-type LOCAL -m comment --comment "no local endpoints" '
            "-m tcp --dport 30080 -j DROP"
        ),
        (
            '-A KUBE-PROXY-FIREWALL -d 192.0.2.9/32 -p tcp -m comment --comment "no local endpoints" '
            "-m tcp --dport 80 -j DROP"
        ),
    ]
    near = replace(FAR, endpoints=(*FAR.endpoints, Endpoint("10.244.0.1", 8080, local=False)))
    made.plane.sync({A.key: near}, {A.key})
    assert len(made.runner.restored) == 1
    made.plane.sync({A.key: replace(near, endpoints=(Endpoint("10.244.0.1", 8080, local=True),))}, {A.key})
    assert "-A KUBE-PROXY-FIREWALL" not in made.runner.restored[1]


def test_cleanup_removes_the_firewall(made: Made) -> None:
    made.plane.sync({A.key: FAR}, None)
    made.runner.saved = (
        "*filter\n:INPUT ACCEPT [0:0]\n:KUBE-PROXY-FIREWALL - [0:0]\n:KUBE-SOURCE-RANGES-FIREWALL - [0:0]\n"
        f"-A INPUT {JUMP}\nCOMMIT\n"
    ).encode()
    made.plane.cleanup()
    assert made.runner.restored[-1] == (
        "*filter\n:KUBE-PROXY-FIREWALL - [0:0]\n:KUBE-SOURCE-RANGES-FIREWALL - [0:0]\n"
        f"-D INPUT {JUMP}\n-X KUBE-PROXY-FIREWALL\n-X KUBE-SOURCE-RANGES-FIREWALL\nCOMMIT\n"
    )


def test_after_a_refusal_the_next_sync_is_a_full_one(made: Made) -> None:
    made.plane.sync({}, None)
    made.kernel.refuse = True
    with pytest.raises(ProxierError, match=r"^IPVS tcp/10\.96\.0\.1:80: Operation not permitted$"):
        made.plane.sync({A.key: A}, {A.key})
    made.kernel.refuse = False
    made.kernel.events.clear()
    made.plane.sync({A.key: A}, set())
    assert made.kernel.events == ["prepare", "held", "apply"]
    assert made.kernel.applied[-1] == ALL_OF_A


def test_cleanup_puts_everything_back(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    assert made.sysctls() == SYSCTLS
    made.plane.sync({}, None)
    made.runner.saved = b"*nat\n:OUTPUT ACCEPT [0:0]\n:KUBE-MARK-DROP - [0:0]\n:KUBE-SERVICES - [0:0]\nCOMMIT\n"
    made.kernel.stays = ["set KUBE-CLUSTER-IP: set is in use"]
    made.plane.cleanup()
    assert made.runner.restored[-1] == (
        "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-DROP - [0:0]\n-X KUBE-SERVICES\n-X KUBE-MARK-DROP\nCOMMIT\n"
    )
    assert made.kernel.events[-1] == "remove"
    assert "IPVS: not removed: set KUBE-CLUSTER-IP: set is in use" in caplog.text
    assert set(made.sysctls().values()) == {7}


def test_cleanup_leaves_the_kubelets_chain(made: Made) -> None:
    made.runner.saved = b"*nat\n:KUBE-MARK-DROP - [0:0]\n-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000\nCOMMIT\n"
    made.plane.cleanup()
    assert made.runner.restored == []


def test_a_sysctl_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProxierError, match=r"^sysctl net\.ipv4\.vs\.conntrack=1: No such file or directory$"):
        Sysctls(tmp_path).set({"net.ipv4.vs.conntrack": 1})


def test_sysctls_keep_the_first_value_and_skip_what_is_so_already(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n")
    (tmp_path / "b").write_text("0\n")
    sysctls = Sysctls(tmp_path)
    sysctls.set({"a": 1, "b": 1})
    sysctls.set({"b": 2})
    (tmp_path / "a").write_text("5\n")  # somebody else's, later
    sysctls.restore()
    assert [(tmp_path / name).read_text() for name in "ab"] == ["5\n", "0\n"]
