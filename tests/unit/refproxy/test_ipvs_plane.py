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
