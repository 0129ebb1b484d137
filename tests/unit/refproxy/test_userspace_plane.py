"""Portals equal kube-proxy's by role, and every sync is one restore of what changed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from refproxy.config import LoopConfig
from refproxy.errors import ProxierError
from refproxy.plane import Endpoint, ServicePort, ServicePortKey
from refproxy.relay_wire import Answer, Port
from refproxy.state import ServiceState
from refproxy.tools import ToolResult
from refproxy.udp_flows import Face
from refproxy.userspace_plane import UserspacePlane
from tests import iptables_dump

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refproxy.iptables_save import Rule
    from refproxy.udp_flows import Stale

GOLDEN = Path(__file__).parents[2] / "golden" / "kube-proxy-1.20.2"
CONFIG = LoopConfig("userspace", "node", ("198.18.0.1",), "", "", "", 1.0, 30.0, "/multi")
SAVE = ("/multi", "iptables-save")
RESTORE = ("/multi", "iptables-restore", "-w", "5", "--noflush")


class FakeRunner:
    """Keeps what was restored; gives ``saved`` to whoever reads."""

    def __init__(self) -> None:
        self.saved = b""
        self.restored: list[str] = []
        self.saves = 0
        self.code = 0

    def run(self, argv: Sequence[str], stdin: bytes = b"", *, timeout: float = 60.0) -> ToolResult:
        assert timeout == 120.0
        if tuple(argv) == SAVE:
            self.saves += 1
            return ToolResult(0, self.saved, b"")
        assert tuple(argv) == RESTORE
        self.restored.append(stdin.decode())
        return ToolResult(self.code, b"", b"iptables-restore: line 2 failed\n")


class FakeRelay:
    """Listens on 40000 and up, in the order of asking."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self.opened = 0
        self.calls: list[tuple[tuple[str, ...], tuple[Port, ...]]] = []
        self.errors: dict[str, str] = {}
        self.events: list[str] = []
        self.broken = False
        self.end = ""

    def ended(self) -> str:
        return self.end

    def start(self) -> None:
        self.events.append("start")
        self.end = ""

    def apply(self, removed: Sequence[str], ports: Sequence[Port]) -> Answer:
        if self.broken:
            raise ProxierError("relay: it ended by itself")
        self.calls.append((tuple(removed), tuple(ports)))
        for name in removed:
            del self.ports[name]
        for port in ports:
            if port.name not in self.ports:
                self.ports[port.name] = 40000 + self.opened
                self.opened += 1
        names = [port.name for port in ports if port.name not in self.errors or "NodePort" in self.errors[port.name]]
        return Answer(1, {name: self.ports[name] for name in names}, self.errors)

    def relayed_ns(self) -> int | None:
        return 7

    def stop(self) -> None:
        self.events.append("stop")
        self.ports.clear()


def web(name: str = "a", ip: str = "10.96.0.1", node_port: int = 0) -> ServicePort:
    return ServicePort(
        ServicePortKey("ns", name, "http", "tcp"), ip, 80, (Endpoint("10.244.0.1", 8080, local=True),), node_port
    )


class FakeConnections:
    """Keeps the faces whose flows were dropped; the endpoints behind them are the relay's business."""

    def __init__(self) -> None:
        self.dropped: list[set[Face]] = []

    def drop(self, stale: Stale) -> None:
        assert stale.behind == frozenset()
        self.dropped.append(set(stale.whole))


class Made:
    def __init__(self) -> None:
        self.runner, self.relay = FakeRunner(), FakeRelay()
        self.connections = FakeConnections()
        self.plane = UserspacePlane(self.runner, CONFIG, relay=self.relay, connections=self.connections)
        self.plane.setup()


@pytest.fixture
def made() -> Made:
    return Made()


def by_role(rule: Rule, ports: dict[str, str]) -> str:
    """Write a rule with the Service's name for the random port that the relay has for it."""
    text = iptables_dump.write_rule(rule)
    for number, name in ports.items():
        text = re.sub(rf"\b{number}\b", f"<{name}>", text)
    return text


def roles(rules: list[Rule]) -> dict[str, str]:
    """Name the relay's ports by the portal rules that lead there."""
    found = {}
    for rule in rules:
        if rule.chain == "KUBE-PORTALS-CONTAINER":
            protocol = next(option.values[0] for option in rule.header if option.name == "--protocol")
            found[rule.target_options[0].values[0]] = f"{rule.comment} {protocol}"
    return found


@pytest.mark.parametrize("table", ["nat", "filter"])
def test_golden(table: str) -> None:
    state = ServiceState("node")
    for obj in YAML(typ="safe").load_all((GOLDEN / "objects.yaml").read_text()):
        (state.apply_service if obj["kind"] == "Service" else state.apply_slice)("ADDED", dict(obj))
    state.take()
    runner, relay = FakeRunner(), FakeRelay()
    plane = UserspacePlane(runner, CONFIG, relay=relay, host_ip="10.2.0.2", connections=FakeConnections())
    plane.sync(state.ports, None)
    theirs = {
        name: iptables_dump.parse((GOLDEN / f"userspace.iptables-save.{name}").read_text())[name]
        for name in ("nat", "filter")
    }
    ours = iptables_dump.parse(runner.restored[0])
    their_roles, our_roles = roles(theirs["nat"].rules), roles(ours["nat"].rules)
    assert sorted(their_roles.values()) == sorted(our_roles.values()) == sorted(relay.ports)
    assert ours[table].own_chains == theirs[table].own_chains
    assert sorted(by_role(rule, our_roles) for rule in ours[table].rules) == sorted(
        by_role(rule, their_roles) for rule in theirs[table].rules
    )
    fixed = ("PREROUTING", "OUTPUT", "INPUT")
    assert [rule for rule in ours[table].rules if rule.chain == fixed[0]] == [
        rule for rule in theirs[table].rules if rule.chain == fixed[0]
    ]


def test_listeners_are_kube_proxys() -> None:
    lines = [line.split() for line in (GOLDEN / "userspace.listen").read_text().splitlines()[1:]]
    theirs = sorted((words[0], int(words[4].rsplit(":", 1)[1])) for words in lines)
    state = ServiceState("node")
    for obj in YAML(typ="safe").load_all((GOLDEN / "objects.yaml").read_text()):
        (state.apply_service if obj["kind"] == "Service" else state.apply_slice)("ADDED", dict(obj))
    state.take()
    relay = FakeRelay()
    UserspacePlane(FakeRunner(), CONFIG, relay=relay, connections=FakeConnections()).sync(state.ports, None)
    asked = relay.calls[0][1]
    assert sorted(port.node_port for port in asked if port.node_port) == [n for _, n in theirs if 30000 <= n < 32768]
    held_and_own = [*[port for port in asked if port.node_port], *asked]
    # 10249 and 10256 are kube-proxy's metrics and health.
    assert sorted(port.protocol for port in held_and_own) == sorted(p for p, n in theirs if n not in (10249, 10256))


def test_new_rules_are_appended_in_one_restore(made: Made) -> None:
    a, b = web("a"), web("b", "10.96.0.2")
    made.plane.sync({a.key: a}, None)
    split = made.plane.sync({a.key: a, b.key: b}, {b.key})
    assert made.runner.saves == 1
    assert len(made.runner.restored) == 2
    assert made.runner.restored[1] == (
        "*nat\n"
        '-A KUBE-PORTALS-CONTAINER -d 10.96.0.2/32 -p tcp -m comment --comment "ns/b:http" -m tcp --dport 80 '
        "-j REDIRECT --to-ports 40001\n"
        '-A KUBE-PORTALS-HOST -d 10.96.0.2/32 -p tcp -m comment --comment "ns/b:http" -m tcp --dport 80 '
        "-j DNAT --to-destination 198.18.0.1:40001\n"
        "COMMIT\n"
    )
    assert min(split.build_ns, split.tool_ns, split.kernel_ns) > 0


def portals(restored: str) -> list[str]:
    """Return the names of the Services in the order of their rules for traffic from elsewhere."""
    lines = [line for line in restored.splitlines() if line.startswith("-A KUBE-PORTALS-CONTAINER")]
    return [line.split('"')[1].removeprefix("ns/").removesuffix(":http") for line in lines]


@given(st.permutations([f"s{number:02d}" for number in range(12)]), st.integers(1, 11))
def test_rules_stand_in_the_order_in_which_services_were_created(names: list[str], first: int) -> None:
    made = Made()
    services = [web(name, f"10.96.0.{number}") for number, name in enumerate(names, start=1)]
    ports = {service.key: service for service in services[:first]}
    made.plane.sync(ports, None)
    assert portals(made.runner.restored[-1]) == names[:first]
    ports |= {service.key: service for service in services[first:]}
    made.plane.sync(ports, {service.key for service in services[first:]})
    assert portals(made.runner.restored[-1]) == names[first:]
    gone = services[0].key
    del ports[gone]
    made.plane.sync(ports, {gone})
    made.plane.sync(ports, None)
    assert portals(made.runner.restored[-1]) == names[1:]


def kept(chains: dict[str, list[str]], restored: str) -> None:
    """Do to ``chains`` what iptables does with the lines of one restore."""
    for line in restored.splitlines():
        verb, _, rule = line.partition(" ")
        chain, _, words = rule.partition(" ")
        if verb.startswith(":"):
            chains[verb[1:]] = []
        elif not chain.startswith("KUBE"):
            continue  # the jumps, and what is no rule
        elif verb == "-A":
            chains[chain].append(words)
        elif verb == "-D":
            chains[chain].remove(words)
        elif verb == "-I":
            place, _, words = words.partition(" ")
            assert 1 <= int(place) <= len(chains[chain]) + 1
            chains[chain].insert(int(place) - 1, words)


step = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["gone", "plain", "node", "outside"]), max_size=6)


@given(st.lists(st.tuples(step, st.booleans()), min_size=1, max_size=8))
def test_after_any_changes_each_chain_is_in_the_order_of_creation(steps: list[tuple[dict[str, str], bool]]) -> None:
    made = Made()
    chains: dict[str, list[str]] = {}
    ports: dict[ServicePortKey, ServicePort] = {}
    made.plane.sync(ports, None)
    kept(chains, made.runner.restored.pop())
    for changes, full in steps:
        for name, kind in changes.items():
            number = "abcdef".index(name) + 1
            port = web(name, f"10.96.0.{number}", 30000 + number if kind == "node" else 0)
            ports[port.key] = replace(port, external_ips=("192.0.2.1",) if kind == "outside" else ())
            if kind == "gone":
                del ports[port.key]
        made.plane.sync(ports, None if full else {web(name).key for name in changes})
        while made.runner.restored:
            kept(chains, made.runner.restored.pop(0))
        order = [key.name for key in ports]
        nodes = [key.name for key, port in ports.items() if port.node_port]
        for chain, names in (
            ("KUBE-PORTALS-CONTAINER", order),
            ("KUBE-PORTALS-HOST", order),
            ("KUBE-NODEPORT-CONTAINER", nodes),
            ("KUBE-NODEPORT-HOST", nodes),
            ("KUBE-NODEPORT-NON-LOCAL", nodes),
        ):
            assert list(dict.fromkeys(rule.split('"')[1][3] for rule in chains[chain])) == names
        rules = sum(2 + 3 * len(port.external_ips) for port in ports.values())
        assert len(chains["KUBE-PORTALS-CONTAINER"]) + len(chains["KUBE-PORTALS-HOST"]) == rules


def test_a_changed_service_keeps_its_place(made: Made) -> None:
    a, b = web("a"), web("b", "10.96.0.2")
    made.plane.sync({a.key: a, b.key: b}, None)
    a = web("a", "10.96.0.9")
    made.plane.sync({a.key: a, b.key: b}, {a.key})
    match = '-d 10.96.0.9/32 -p tcp -m comment --comment "ns/a:http" -m tcp --dport 80'
    assert [line for line in made.runner.restored[1].splitlines() if line.startswith("-I")] == [
        f"-I KUBE-PORTALS-CONTAINER 1 {match} -j REDIRECT --to-ports 40000",
        f"-I KUBE-PORTALS-HOST 1 {match} -j DNAT --to-destination 198.18.0.1:40000",
    ]


def test_a_load_balancers_address_is_taken_away_when_its_sources_are_limited(made: Made) -> None:
    a = replace(web("a"), ingress_ips=("203.0.113.1",))
    made.plane.sync({a.key: a}, None)
    assert "203.0.113.1" in made.runner.restored[0]
    made.plane.sync({a.key: replace(a, source_ranges=("0.0.0.0/0",))}, {a.key})
    assert "-D KUBE-PORTALS-CONTAINER -d 203.0.113.1/32" in made.runner.restored[1]
    assert "-I KUBE-PORTALS-CONTAINER 2" not in made.runner.restored[1]


def test_a_changed_endpoint_needs_no_restore(made: Made) -> None:
    a = web("a", node_port=30080)
    made.plane.sync({a.key: a}, None)
    moved = replace(a, endpoints=(Endpoint("10.244.1.9", 8080, local=False),))
    assert made.plane.sync({a.key: moved}, {a.key}).tool_ns == 0
    assert len(made.runner.restored) == 1
    assert made.relay.calls[1] == ((), (Port("ns/a:http tcp", "tcp", [("10.244.1.9", 8080)], 30080),))


def test_deleting_removes_exactly_what_was_added(made: Made) -> None:
    a = web("a", node_port=30080)
    made.plane.sync({}, None)
    made.plane.sync({a.key: a}, {a.key})
    made.plane.sync({}, {a.key})
    added, removed = made.runner.restored[1:]
    assert removed == added.replace("-A ", "-D ")
    assert "KUBE-NODEPORT-NON-LOCAL" in removed
    assert made.relay.calls[1] == (("ns/a:http tcp",), ())


def test_after_a_failed_restore_everything_is_written_again(made: Made) -> None:
    a = web("a")
    made.plane.sync({}, None)
    made.runner.code = 1
    with pytest.raises(ProxierError, match=r"^iptables-restore ended with code 1: iptables-restore: line 2 failed$"):
        made.plane.sync({a.key: a}, {a.key})
    made.runner.code = 0
    made.plane.sync({a.key: a}, set())
    assert ":KUBE-PORTALS-HOST - [0:0]\n" in made.runner.restored[-1]
    assert "10.96.0.1/32" in made.runner.restored[-1]
    assert made.runner.saves == 2


def test_a_dead_relay_is_replaced_by_the_next_sync(made: Made) -> None:
    a = web("a")
    made.plane.sync({a.key: a}, None)
    made.relay.broken = True
    with pytest.raises(ProxierError, match=r"^relay: it ended by itself$"):
        made.plane.sync({}, {a.key})
    made.relay.broken = False
    made.plane.sync({a.key: a}, set())
    assert made.relay.events == ["start", "start", "start", "stop", "start"]
    assert made.relay.calls[-1][1][0].name == "ns/a:http tcp"


@pytest.mark.parametrize("changed", [None, frozenset()], ids=["full", "empty"])
def test_every_sync_notices_a_dead_relay_and_fills_a_new_one(
    made: Made, changed: frozenset[ServicePortKey] | None, caplog: pytest.LogCaptureFixture
) -> None:
    port = web()
    made.plane.sync({port.key: port}, None)
    first = made.runner.restored[-1]
    made.relay.end = "process 7 ended with -9"
    made.plane.sync({port.key: port}, changed)
    assert [record.message for record in caplog.records] == ["relay: process 7 ended with -9; starting a new one"]
    assert made.relay.events[-3:] == ["stop", "start", "start"]
    assert made.relay.calls[1] == made.relay.calls[0]
    assert made.runner.restored[-1] == first.replace("40000", "40001")
    made.plane.sync({port.key: port}, frozenset())
    assert len(made.relay.calls) == 2


def test_a_dead_relay_is_replaced_even_when_there_is_nothing_to_relay(made: Made) -> None:
    made.plane.sync({}, None)
    made.relay.end = "process 7 ended with -9"
    made.plane.sync({}, frozenset())
    assert made.relay.events[-2:] == ["stop", "start"]


def test_udp_flows_end_when_their_way_to_the_relay_is_another(made: Made) -> None:
    vip, external, node = Face("10.96.0.1"), Face("192.0.2.1"), Face("", 30053)
    dns = ServicePort(ServicePortKey("ns", "dns", "", "udp"), "10.96.0.1", 53, ())
    steps: list[tuple[ServicePort | None, list[set[Face]]]] = [
        (dns, [{vip}]),
        (replace(dns, endpoints=(Endpoint("10.244.0.1", 53, local=True),)), []),
        (replace(dns, external_ips=("192.0.2.1",), node_port=30053), [{external, node}]),
        (replace(dns, node_port=30053), [{external}]),
        (None, [{vip, node}]),
        (None, []),
    ]
    for port, expected in steps:
        made.connections.dropped.clear()
        made.plane.sync({dns.key: port} if port else {}, {dns.key})
        assert made.connections.dropped == expected
    made.plane.sync({dns.key: dns, web().key: web()}, None)
    made.connections.dropped.clear()
    made.relay.end = "process 7 ended with -9"
    made.plane.sync({}, None)
    assert made.connections.dropped == [{vip}]


def test_udp_flows_that_a_failed_sync_left_end_in_the_next(made: Made) -> None:
    dns = ServicePort(ServicePortKey("ns", "dns", "", "udp"), "10.96.0.1", 53, ())
    made.runner.code = 2
    with pytest.raises(ProxierError):
        made.plane.sync({dns.key: dns}, None)
    assert made.connections.dropped == []
    made.runner.code = 0
    made.plane.sync({dns.key: dns}, None)
    assert made.connections.dropped == [{Face("10.96.0.1")}]


def test_a_taken_node_port_is_told_and_the_rest_goes_on(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    a = web("a", node_port=30080)
    made.relay.errors = {"ns/a:http tcp": "NodePort: tcp port 30080: Address already in use"}
    made.plane.sync({a.key: a}, None)
    assert "NodePort of ns/a:http tcp is not held, and tried again in each sync" in caplog.text
    made.relay.errors = {"ns/b:http tcp": "tcp port any: Too many open files"}
    b = web("b")
    with pytest.raises(ProxierError, match=r"^relay: ns/b:http tcp: tcp port any: Too many open files$"):
        made.plane.sync({a.key: a, b.key: b}, {b.key})


def test_a_node_port_that_was_not_held_is_tried_again_until_it_is(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    a, b = web("a", node_port=30080), web("b", "10.96.0.2")
    taken = {"ns/a:http tcp": "NodePort: tcp port 30081: Address already in use"}
    made.relay.errors = {}
    made.plane.sync({a.key: a, b.key: b}, None)
    made.plane.sync({a.key: a, b.key: b}, frozenset())
    assert len(made.relay.calls) == 1  # nothing to try
    a = replace(a, node_port=30081)
    made.relay.errors = taken
    made.plane.sync({a.key: a, b.key: b}, {a.key})
    made.plane.sync({a.key: a, b.key: b}, frozenset())
    made.plane.sync({a.key: a, b.key: b}, None)
    assert [[port.name for port in ports] for _, ports in made.relay.calls[1:]] == [["ns/a:http tcp"]] * 3
    assert len(caplog.records) == 1
    made.relay.errors = {}
    made.plane.sync({a.key: a, b.key: b}, frozenset())
    made.plane.sync({a.key: a, b.key: b}, frozenset())
    assert len(made.relay.calls) == 5
    made.relay.errors = taken
    made.plane.sync({a.key: replace(a), b.key: b}, {a.key})
    assert len(caplog.records) == 2
    made.plane.sync({b.key: b}, {a.key})
    made.plane.sync({b.key: b}, frozenset())
    assert len(made.relay.calls) == 7


def test_cleanup_removes_only_our_chains_and_jumps(made: Made) -> None:
    made.plane.sync({}, None)
    base = made.runner.restored[0]
    jump = next(line for line in base.splitlines() if line.startswith("-I OUTPUT"))[3:]
    made.runner.saved = (
        "*nat\n:OUTPUT ACCEPT [0:0]\n:OTHER - [0:0]\n:KUBE-PORTALS-HOST - [0:0]\n"
        f"-A OUTPUT -j OTHER\n-A {jump}\n-A KUBE-PORTALS-HOST -j RETURN\nCOMMIT\n"
    ).encode()
    made.plane.cleanup()
    assert made.runner.restored[-1] == (f"*nat\n:KUBE-PORTALS-HOST - [0:0]\n-D {jump}\n-X KUBE-PORTALS-HOST\nCOMMIT\n")
    assert made.relay.events[-1] == "stop"
