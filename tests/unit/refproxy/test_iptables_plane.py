from __future__ import annotations

from base64 import b32encode
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refproxy import userspace_rules
from refproxy.config import LoopConfig
from refproxy.errors import ProxierError
from refproxy.fixed_tables import missing_base, removal
from refproxy.iptables_found import base_input, find, missing_jumps
from refproxy.iptables_plane import IptablesPlane
from refproxy.iptables_rules import JUMPS, build_block, chain_name
from refproxy.plane import Endpoint, ServicePort, ServicePortKey, SyncSplit
from refproxy.sysctl import Sysctls
from refproxy.times import Times
from refproxy.tools import SubprocessRunner, ToolResult
from refproxy.udp_flows import Face, Stale
from tests.iptables_dump import Table, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from refproxy.iptables_save import Rule

CIDR = "10.244.0.0/16"
CONFIG = LoopConfig("iptables", "node", (), "http://127.0.0.1:1", "token", CIDR, 1.0, 30.0, "/xtables")
SAVE = ["/xtables", "iptables-save"]
RESTORE = ["/xtables", "iptables-restore", "-w", "5", "--noflush", "--counters"]
EMPTY = "*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"


@dataclass
class FakeRunner:
    """Expects exactly these commands in this order; keeps what was given to each."""

    script: list[tuple[list[str], ToolResult]] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)

    def expect(self, argv: list[str], stdout: str = "", code: int = 0, stderr: str = "") -> None:
        self.script.append((argv, ToolResult(code, stdout.encode(), stderr.encode())))

    def run(self, argv: Sequence[str], stdin: bytes = b"", *, timeout: float = 60.0) -> ToolResult:
        expected, result = self.script.pop(0)
        assert list(argv) == expected
        self.inputs.append(stdin.decode())
        return result


class Rig:
    def __init__(self, root: Path) -> None:
        (root / "net/ipv4/conf/all").mkdir(parents=True)
        self.sysctl = root / "net/ipv4/conf/all/route_localnet"
        self.sysctl.write_text("0\n")
        self.runner = FakeRunner()
        times: Iterator[int] = iter(range(0, 10_000, 10))  # half of each stretch is this thread's own
        self.dropped: list[Stale] = []
        self.plane = IptablesPlane(
            self.runner,
            CONFIG,
            sysctls=Sysctls(root),
            connections=self,
            read_clocks=lambda: Times(at := next(times), at // 2),
        )

    def drop(self, stale: Stale) -> None:
        assert self.runner.script == []  # after the rules are written
        self.dropped.append(stale)

    def full(self, ports: dict[ServicePortKey, ServicePort], saved: str = EMPTY) -> str:
        self.runner.expect(SAVE, saved)
        self.runner.expect(RESTORE)
        self.plane.sync(ports, None)
        return self.runner.inputs[-1]

    def some(self, ports: dict[ServicePortKey, ServicePort], *changed: ServicePort) -> str:
        self.runner.expect(RESTORE)
        self.plane.sync(ports, {port.key for port in changed})
        return self.runner.inputs[-1]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    assert made.runner.script == []


def port(name: str, endpoints: int = 1, first: int = 1) -> ServicePort:
    key = ServicePortKey("ns", name, "http", "tcp")
    items = [Endpoint(f"10.244.{n // 200}.{n % 200}", 8080, local=True) for n in range(first, first + endpoints)]
    return ServicePort(key, "10.96.0.1", 80, tuple(items))


def by_key(*ports: ServicePort) -> dict[ServicePortKey, ServicePort]:
    return {item.key: item for item in ports}


def service_chain(item: ServicePort) -> str:
    return chain_name(b"KUBE-SVC-", item.key).decode()


def test_setup_lays_the_base_once_and_sets_the_sysctl(rig: Rig) -> None:
    rig.runner.expect(SAVE, EMPTY)
    rig.runner.expect(RESTORE)
    rig.plane.setup()
    base = rig.runner.inputs[1]
    tables = parse(base)
    assert [len(tables[name].rules) for name in ("filter", "mangle", "nat")] == [5, 0, 3]
    assert [rule.target for rule in tables["filter"].rules if rule.chain == "FORWARD"] == [
        "KUBE-FORWARD",
        "KUBE-SERVICES",
        "KUBE-EXTERNAL-SERVICES",
    ]
    assert rig.sysctl.read_text() == "1\n"
    rig.runner.expect(SAVE, base.replace("-I ", "-A "))
    rig.plane.setup()


def test_a_full_sync_writes_the_missing_base_too(rig: Rig) -> None:
    text = rig.full(by_key(port("a")))
    assert text.count("*nat\n") == 2
    assert "-I PREROUTING" in text
    again = rig.full(by_key(port("a")), saved=text[: text.rindex("*nat")].replace("-I ", "-A "))
    assert again.count("*nat\n") == 1


def test_a_sync_builds_and_writes_only_the_chains_of_what_changed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []

    def counting(item: ServicePort, cidr: str, node_ip: str, *, comments: bool) -> object:
        built.append(item.key.name)
        return build_block(item, cidr, node_ip, comments=comments)

    monkeypatch.setattr("refproxy.iptables_plane.build_block", counting)
    a, b = port("a"), port("b", first=2)
    rig.full(by_key(a, b))
    changed = port("b", first=3)
    text = rig.some(by_key(a, changed), changed)
    assert sorted(built) == ["a", "b", "b"]
    assert "10.244.0.3:8080" in text
    assert f"-A {service_chain(a)} " not in text
    assert f":{service_chain(a)} " not in text
    assert text.count(f"-j {service_chain(a)}\n") == 1
    idle = rig.some(by_key(a, changed))
    assert [line for line in idle.splitlines() if line[:9] in {":KUBE-SVC", ":KUBE-SEP", "-A KUBE-S"}] == [
        line for line in text.splitlines() if line.startswith("-A KUBE-SERVICES")
    ]
    assert f"-A {service_chain(a)} " in rig.full(by_key(a, changed))
    assert len(built) == 3


class Kernel:
    """Takes what iptables-restore is given, and refuses what the kernel would."""

    def __init__(self) -> None:
        self.inputs: list[str] = []

    def run(self, argv: Sequence[str], stdin: bytes = b"", *, timeout: float = 60.0) -> ToolResult:
        del timeout
        if "iptables-save" in argv:
            return ToolResult(0, EMPTY.encode(), b"")
        self.inputs.append(stdin.decode())
        for table in self.tables().values():
            assert {rule.chain for rule in table.rules} <= table.policies.keys() | BUILT_IN
            assert {rule.target for rule in table.rules} <= table.policies.keys() | BUILT_IN
        return ToolResult(0, b"", b"")

    def tables(self) -> dict[str, Table]:
        """Return what the inputs leave behind, one after the other."""
        return parse("".join(self.inputs))

    def chains(self) -> dict[str, dict[str, list[Rule]]]:
        return {
            name: {chain: [rule for rule in table.rules if rule.chain == chain] for chain in table.own_chains}
            for name, table in self.tables().items()
        }


BUILT_IN = {"INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING"} | {
    "ACCEPT",
    "DNAT",
    "DROP",
    "MARK",
    "MASQUERADE",
    "REJECT",
    "RETURN",
}
COUNTS = st.sampled_from([0, 1, 2, 3, 9])  # with a large one and some small ones, comments go and come back
STEPS = st.lists(st.dictionaries(st.sampled_from("abcd"), st.none() | COUNTS, max_size=3), min_size=1, max_size=5)


def test_udp_flows_end_after_the_rules_are_written_and_their_time_is_the_kernels(rig: Rig) -> None:
    tcp = port("a")
    udp = replace(tcp, key=tcp.key._replace(protocol="udp"))
    rig.full(by_key(tcp, udp))
    moved = replace(udp, endpoints=(Endpoint("10.244.9.9", 8080, local=True),))
    rig.runner.expect(RESTORE)
    assert rig.plane.sync(by_key(tcp, moved), {moved.key}) == SyncSplit(5, 10, 10)
    rig.runner.expect(RESTORE)
    assert rig.plane.sync(by_key(tcp, moved), {tcp.key}) == SyncSplit(5, 10, 0)
    vip = Face("10.96.0.1")
    assert rig.dropped == [Stale(frozenset({vip})), Stale(behind=frozenset({(vip, "10.244.0.1")}))]


def test_udp_flows_that_a_failed_sync_left_end_in_the_next(rig: Rig) -> None:
    tcp = port("a")
    udp = replace(tcp, key=tcp.key._replace(protocol="udp"))
    rig.runner.expect(SAVE, EMPTY)
    rig.runner.expect(RESTORE, code=4)
    with pytest.raises(ProxierError):
        rig.plane.sync(by_key(udp), None)
    assert rig.dropped == []
    rig.full(by_key(udp))
    assert rig.dropped == [Stale(frozenset({Face("10.96.0.1")}))]


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_partial_syncs_leave_what_one_full_sync_leaves(
    tmp_path_factory: pytest.TempPathFactory, steps: list[dict[str, int | None]]
) -> None:
    root = tmp_path_factory.mktemp("proc")
    kernel, fresh = Kernel(), Kernel()
    ports: dict[ServicePortKey, ServicePort] = {}
    plane = IptablesPlane(kernel, CONFIG, sysctls=Sysctls(root), comments_up_to=10)
    plane.sync(ports, None)
    for number, step in enumerate(steps):
        for name, count in step.items():
            item = port(name, count or 0, first=number + 1)
            if count is None:
                ports.pop(item.key, None)
            else:
                ingress = ("203.0.113.1",) if number % 3 == 0 else ()
                ports[item.key] = replace(
                    item, local_only=number % 2 == 0, node_port=30000 + number, ingress_ips=ingress
                )
        plane.sync(ports, {port(name).key for name in step})
    IptablesPlane(fresh, CONFIG, sysctls=Sysctls(root), comments_up_to=10).sync(ports, None)
    assert kernel.chains() == fresh.chains()


def test_chains_that_nothing_needs_are_emptied_and_deleted_in_the_same_input(rig: Rig) -> None:
    a, b = port("a"), port("b", first=2)
    rig.full(by_key(a, b))
    text = rig.some(by_key(a), b)
    stale = [chain_name(b"KUBE-SEP-", b.key, "10.244.0.2:8080").decode(), service_chain(b)]
    assert [line for line in text.splitlines() if line.startswith("-X")] == [f"-X {name}" for name in stale]
    assert all(f":{name} - [0:0]\n" in text for name in stale)
    assert "\n-X" not in rig.some(by_key(a), b)


def test_a_full_sync_deletes_chains_that_another_life_left(rig: Rig) -> None:
    a = port("a")
    name = service_chain(a)
    saved = f"*nat\n:{name} - [0:0]\n:KUBE-SEP-GONE - [0:0]\n:OTHER - [0:0]\nCOMMIT\n"
    text = rig.full(by_key(a), saved)
    assert [line for line in text.splitlines() if line.startswith("-X")] == ["-X KUBE-SEP-GONE"]


def test_the_rules_keep_the_order_of_the_ports(rig: Rig) -> None:
    a, b, c = port("a"), port("b"), port("c")
    rig.full(by_key(a, b, c))
    text = rig.some(by_key(a, b, c), a)
    positions = [text.index(f'"ns/{name}:http cluster IP"') for name in "abc"]
    assert positions == sorted(positions)


def test_comments_go_above_a_thousand_endpoints_and_come_back_below(rig: Rig) -> None:
    a, b = port("a", endpoints=999), port("b", first=2000)
    note = f'-A {service_chain(b)} -m comment --comment "ns/b:http" -j'
    bare = f"-A {service_chain(b)} -j"
    assert note in rig.full(by_key(a, b))
    c = port("c", first=2001)
    text = rig.some(by_key(a, b, c), c)
    assert bare in text
    assert note not in text
    assert '"ns/b:http cluster IP"' in text
    assert note in rig.some(by_key(a, b), c)


def test_after_a_failure_nothing_is_trusted(rig: Rig) -> None:
    a = port("a")
    rig.full(by_key(a))
    rig.runner.expect(RESTORE, code=4, stderr="one\ntwo\nthree\nAnother app holds the lock\n")
    with pytest.raises(ProxierError) as caught:
        rig.plane.sync({}, {a.key})
    assert str(caught.value) == ("iptables-restore ended with code 4: two | three | Another app holds the lock")
    rig.runner.expect(SAVE, f"*nat\n:{service_chain(a)} - [0:0]\nCOMMIT\n")
    rig.runner.expect(RESTORE)
    rig.plane.sync({}, frozenset())
    assert f"-X {service_chain(a)}\n" in rig.runner.inputs[-1]


def test_the_split_counts_reading_the_kernel_as_tool_time(rig: Rig) -> None:
    rig.runner.expect(SAVE, EMPTY)
    rig.runner.expect(RESTORE)
    assert rig.plane.sync({}, None) == SyncSplit(build_ns=5, tool_ns=20, kernel_ns=0)
    rig.runner.expect(RESTORE)
    assert rig.plane.sync({}, frozenset()) == SyncSplit(build_ns=5, tool_ns=10, kernel_ns=0)


def test_cleanup_removes_what_is_ours_and_leaves_what_is_not(rig: Rig) -> None:
    rig.sysctl.write_text("0\n")
    rig.runner.expect(SAVE, EMPTY)
    rig.runner.expect(RESTORE)
    rig.plane.setup()
    rig.runner.expect(
        SAVE,
        "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-DROP - [0:0]\n:KUBE-SVC-X - [0:0]\n"
        ":MINE - [0:0]\n-A PREROUTING -j MINE\n"
        '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES\n'
        "-A KUBE-SERVICES -j KUBE-SVC-X\n-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000\nCOMMIT\n"
        "*raw\n:MINE - [0:0]\nCOMMIT\n",
    )
    rig.runner.expect(RESTORE)
    rig.plane.cleanup()
    assert rig.runner.inputs[-1] == (
        "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-X - [0:0]\n"
        '-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES\n'
        "-X KUBE-SERVICES\n-X KUBE-SVC-X\nCOMMIT\n"
    )
    assert rig.sysctl.read_text() == "0\n"


def test_cleanup_never_raises(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.runner.expect(SAVE, code=1, stderr="broken")
    rig.plane.cleanup()
    assert caplog.messages == ["iptables: not all was removed: iptables-save ended with code 1: broken"]


def test_a_service_without_endpoints_is_refused_everywhere_it_could_be_reached() -> None:
    bare = replace(port("a", endpoints=0), node_port=30080, external_ips=("192.0.2.1",))
    block = build_block(bare, CIDR, comments=True)
    assert (block.names, block.chains, block.services, block.node_ports, block.rules) == ((), b"", b"", b"", b"")
    end = "-j REJECT --reject-with icmp-port-unreachable\n"
    comment = '-m comment --comment "ns/a:http has no endpoints"'
    assert block.filter_services.decode() == (
        f"-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp {comment} -m tcp --dport 80 {end}"
    )
    assert block.filter_external.decode() == (
        f"-A KUBE-EXTERNAL-SERVICES -d 192.0.2.1/32 -p tcp {comment} -m tcp --dport 80 {end}"
        f"-A KUBE-EXTERNAL-SERVICES -p tcp {comment} -m addrtype --dst-type LOCAL -m tcp --dport 30080 {end}"
    )


def test_local_traffic_is_sticky_and_shared_among_local_endpoints_only() -> None:
    item = replace(port("a", endpoints=2), local_only=True, affinity_seconds=60)
    far = Endpoint("10.244.9.9", 8080, local=False)
    block = build_block(replace(item, endpoints=(*item.endpoints, far)), CIDR, comments=False)
    chain = chain_name(b"KUBE-XLB-", item.key).decode()
    lines = [line for line in block.rules.decode().splitlines() if line.startswith(f"-A {chain} ")]
    near = [chain_name(b"KUBE-SEP-", item.key, f"10.244.0.{n}:8080").decode() for n in (1, 2)]
    sticky = "-m recent --rcheck --seconds 60 --reap --name {0} --mask 255.255.255.255 --rsource -j {0}"
    balance = '-m comment --comment "Balancing rule {0} for ns/a:http"'
    chance = "-m statistic --mode random --probability 0.5000000000"
    assert lines[3:] == [
        *[f"-A {chain} {sticky.format(name)}" for name in near],
        f"-A {chain} {balance.format(0)} {chance} -j {near[0]}",
        f"-A {chain} {balance.format(1)} -j {near[1]}",
    ]


def test_without_a_cluster_cidr_nothing_counts_as_outside() -> None:
    block = build_block(port("a"), "", comments=True)
    assert block.services.count(b"\n") == 1
    assert b"! -s" not in block.services


def test_the_real_runner_hands_over_input_and_output() -> None:
    result = SubprocessRunner().run(["/bin/sh", "-c", "cat; echo bad >&2; exit 3"], b"x" * 200_000)
    assert result == ToolResult(3, b"x" * 200_000, b"bad\n")


def test_the_real_runner_tells_what_does_not_run_or_end() -> None:
    with pytest.raises(ProxierError) as caught:
        SubprocessRunner().run(["/does/not/exist", "x"])
    assert str(caught.value) == "/does/not/exist: cannot be run: No such file or directory"
    with pytest.raises(ProxierError) as caught:
        SubprocessRunner().run(["/bin/sleep", "5"], timeout=0.05)
    assert str(caught.value) == "/bin/sleep 5: did not end within 0.05 s"


@given(st.text(max_size=30), st.text(max_size=30))
def test_chain_names_are_the_standard_base32_of_the_digest(name: str, endpoint: str) -> None:
    key = ServicePortKey("ns", name, "", "udp")
    standard = b32encode(sha256(f"ns/{name}udp{endpoint}".encode()).digest())[:16]
    assert chain_name(b"KUBE-SEP-", key, endpoint) == b"KUBE-SEP-" + standard


FOREIGN = b'-A OUTPUT -m comment --comment "caf\xe9" -j ACCEPT\n-A OUTPUT --odd option -j ACCEPT\n'


def test_rules_of_others_need_not_be_understood() -> None:
    found = find(b"*nat\n:OUTPUT ACCEPT [0:0]\n:KUBE-PORTALS-HOST - [0:0]\n" + FOREIGN + b"COMMIT\n")
    assert missing_jumps(found, b"nat") == list(JUMPS[b"nat"])
    assert base_input(found).count(b"-I ") == sum(map(len, JUMPS.values()))
    assert removal((userspace_rules.NAT,), found) == (
        b"*nat\n:KUBE-PORTALS-HOST - [0:0]\n-X KUBE-PORTALS-HOST\nCOMMIT\n"
    )
    lines = missing_base(userspace_rules.NAT, found[b"nat"])
    assert (lines.count(b"-I "), lines.count(b"-A ")) == (2, 2)
