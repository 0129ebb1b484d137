"""Of what two modes of a real kube-proxy made, exactly what only the one makes is left, and nothing of others' is."""

from __future__ import annotations

from itertools import permutations

import pytest

from proxybench.model import Mode
from proxybench.nodes.kernel.capture import Tools
from proxybench.nodes.kernel.leftovers import left_by, read_node_ports, removal, without
from proxybench.nodes.kernel.state import KernelState, Thing, diff
from tests.golden.cases import CASES, OLD, RELEASES, USERSPACE, Case, cases_of, golden
from tests.unit.nodes.kernel.test_goldens import state_of

IPTABLES, IPTABLES_NFT, IPVS, NFTABLES = CASES
PAIRS = [
    (release, old, new)
    for release in (OLD, *RELEASES)
    for old, new in permutations(cases_of(release), 2)
    if old.mode is not new.mode and {old.backend, new.backend} != {IPTABLES.backend, IPTABLES_NFT.backend}
]
"""Of one backend of iptables each: that is the image's, which stays."""
KEPT = ("KUBE-MARK-MASQ", "KUBE-MARK-DROP")
"""Chains that are the kubelet's and network plugins', too; so is KUBE-FIREWALL, but for that of the table nat."""
OTHERS = (
    Thing("ipset", "set", "KUBE-DST-VRXTH5WFVZTGKOHW"),  # kube-router's
    Thing("ipset", "set", "KUBE-SRC-VRXTH5WFVZTGKOHW"),
    Thing("iptables-legacy filter", "chain", "KUBE-FIREWALL"),
    Thing("iptables-legacy filter", "chain", "KUBE-KUBELET-CANARY"),
    Thing("iptables-legacy filter", "chain", "KUBE-NWPLCY-DEFAULT"),
    Thing("iptables-legacy filter", "chain", "KUBE-POD-FW-2DXJ6BTV5ZX7XYZ2"),
    Thing("iptables-legacy filter", "chain", "KUBE-ROUTER-INPUT"),
    Thing("iptables-legacy filter", "jump", "-A INPUT -j KUBE-FIREWALL"),
    Thing("iptables-legacy filter", "jump", "-A INPUT -m comment --comment kube-router -j KUBE-ROUTER-INPUT"),
    Thing("iptables-legacy mangle", "chain", "KUBE-IPTABLES-HINT"),
    Thing("iptables-legacy mangle", "chain", "KUBE-KUBELET-CANARY"),
    Thing("iptables-legacy nat", "chain", "KUBE-HOSTPORTS"),
    Thing("iptables-legacy nat", "chain", "KUBE-MARK-DROP"),
    Thing("iptables-legacy nat", "chain", "KUBE-MARK-MASQ"),
    Thing("iptables-legacy nat", "chain", "KUBE-SVC-MINE"),
    Thing("iptables-legacy nat", "jump", "-A CNI-HOSTPORT-SETMARK -j KUBE-MARK-MASQ"),
    Thing("iptables-legacy nat", "jump", "-A MINE -d 192.0.2.1/32 -j KUBE-SVC-P3EGTKN5G6ED3WSM"),
    Thing("ipvs", "virtual server", "TCP 192.0.2.200:443"),  # keepalived's
    Thing("ipvs", "virtual server", "UDP 198.18.1.11:30080"),
    Thing("link kube-bridge", "address", "10.244.1.1/24"),
    Thing("links", "link", "kube-bridge"),
    Thing("nft", "table", "inet kube-proxy"),
    Thing("nft", "table", "ip6 mine"),
)


def both(release: str, old: Case, new: Case) -> KernelState:
    """Return what is there when ``new`` runs where ``old`` ran, and nobody has removed anything."""
    states = [state_of(release, case) for case in (old, new)]
    tables = sorted({table for one in states for table in one.tables})
    return KernelState(tuple(sorted({thing for one in states for thing in one.things})), tables=tuple(tables))


def ports(release: str, case: Case) -> frozenset[tuple[str, str]]:
    return read_node_ports(golden(release, case.name, "ipset"))


def is_kept(thing: Thing) -> bool:
    filtered = thing.place.endswith(" filter") and thing.name.endswith("KUBE-FIREWALL")
    return filtered or thing.name.endswith(KEPT)


def test_every_pair_of_modes_is_tried() -> None:
    pairs = {(old.mode, new.mode) for _, old, new in PAIRS}
    assert pairs == {*permutations([Mode.IPTABLES, Mode.IPVS, Mode.NFTABLES], 2)} | {
        pair for mode in (Mode.IPTABLES, Mode.IPVS) for pair in permutations([USERSPACE.mode, mode])
    }


@pytest.mark.parametrize(("release", "old", "new"), PAIRS, ids=lambda one: getattr(one, "name", one))
def test_what_only_the_old_mode_made_is_left_and_nothing_else(release: str, old: Case, new: Case) -> None:
    of_old, of_new = (set(state_of(release, case).things) for case in (old, new))
    found = left_by(old.mode, new.mode, both(release, old, new), ports(release, old))
    assert set(found) == {thing for thing in of_old - of_new if not is_kept(thing)}
    assert found == tuple(sorted(found))


@pytest.mark.parametrize(("release", "old", "new"), PAIRS, ids=lambda one: getattr(one, "name", one))
def test_where_the_new_mode_alone_is_nothing_is_left(release: str, old: Case, new: Case) -> None:
    assert left_by(old.mode, new.mode, state_of(release, new), ports(release, new)) == ()


@pytest.mark.parametrize(("old", "new"), list(permutations(Mode, 2)))
def test_what_is_others_is_never_left(old: Mode, new: Mode) -> None:
    assert left_by(old, new, KernelState(OTHERS), {("TCP", "30080")}) == ()


def test_a_mode_that_runs_on_leaves_nothing() -> None:
    assert left_by(Mode.IPVS, Mode.IPVS, both(RELEASES[-1], IPVS, NFTABLES), ports(RELEASES[-1], IPVS)) == ()


def test_node_ports_are_those_of_the_sets() -> None:
    assert ports(RELEASES[-1], IPVS) == {("TCP", "30080"), ("TCP", "30081"), ("TCP", "30082")}
    text = (
        "create KUBE-NODE-PORT-UDP bitmap:port range 0-65535\nadd KUBE-6-NODE-PORT-LOCAL-UDP 30053\n"
        "add KUBE-NODE-PORT-SCTP-HASH 198.18.0.11,sctp:30009\nadd KUBE-CLUSTER-IP 10.96.0.1,tcp:443\n"
    )
    assert read_node_ports(text) == {("UDP", "30053"), ("SCTP", "30009")}


def test_ipvs_without_its_link_keeps_servers_that_nothing_tells_to_be_kube_proxys() -> None:
    servers = tuple(Thing("ipvs", "virtual server", f"TCP {where}") for where in ("10.96.0.1:80", "[fd00::1]:30080"))
    assert left_by(Mode.IPVS, Mode.IPTABLES, KernelState(servers), {("TCP", "30080")}) == servers[1:]


def test_its_removal_waits_for_the_lock_of_iptables_and_drops_no_table_of_it() -> None:
    """From IPVS to iptables: emptied, no longer led to, deleted; then sets, servers and the link."""
    state = both(RELEASES[-1], IPVS, IPTABLES)
    things = left_by(Mode.IPVS, Mode.IPTABLES, state, ports(RELEASES[-1], IPVS))
    commands = removal(state, things, Tools())
    assert [command.argv[4:] for command in commands[:-2]] == [
        *(("xtables-legacy-multi", f"{applet}-restore", "-w", "30", "--noflush") for applet in ("ip6tables",) * 2),
        *(("xtables-legacy-multi", f"{applet}-restore", "-w", "30", "--noflush") for applet in ("iptables",) * 2),
        ("ipset", "restore"),
    ]
    assert commands[3].stdin == (
        "*nat\n:KUBE-LOAD-BALANCER - [0:0]\n:KUBE-NODE-PORT - [0:0]\n-X KUBE-LOAD-BALANCER\n-X KUBE-NODE-PORT\nCOMMIT\n"
    )
    assert commands[-2].argv[-1] == "ipvs"
    assert commands[-1].stdin == "link del kube-ipvs0\n"
    assert diff(without(state, things), state)[-2:] == (
        "link kube-ipvs0: 11 addresses (10.96.1.1/32 …)",
        "links: link kube-ipvs0",
    )


def test_chains_of_iptables_nft_go_and_the_tables_stay() -> None:
    state = both(RELEASES[-1], IPTABLES_NFT, NFTABLES)
    things = left_by(Mode.IPTABLES, Mode.NFTABLES, state)
    lines = [line for command in removal(state, things, Tools()) for line in command.stdin.splitlines()]
    assert "delete chain ip nat KUBE-SERVICES" in lines
    assert not any(line.startswith("delete table") for line in lines)
