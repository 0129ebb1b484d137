from __future__ import annotations

import inspect

from proxybench.nodes.kernel import netlink
from proxybench.nodes.kernel.capture import Tools
from proxybench.nodes.kernel.removal import Command, commands
from proxybench.nodes.kernel.state import KernelState, Thing

TOOLS = Tools({"legacy": "/sbin/legacy"}, "/bin/python")
RUN = ("sh", "-c", 'PATH=$PATH:/usr/sbin:/sbin; exec "$@"', "remove")
SOURCE = inspect.getsource(netlink)
CHAIN = Thing("ip6tables-legacy nat", "chain", "KUBE-SVC-X")
JUMP = Thing("ip6tables-legacy nat", "jump", '-A OUTPUT -m comment --comment "service portals" -j KUBE-SVC-X')


def removal(*things: Thing, before: KernelState | None = None, **fields: object) -> tuple[Command, ...]:
    after = KernelState(things, **fields)  # type: ignore[arg-type] # the tests name fields
    return commands(before or KernelState(), after, TOOLS)


def on_nft(*lines: str) -> Command:
    return Command((*RUN, "nft", "-f", "-"), "".join(f"{line}\n" for line in lines))


def test_nothing_is_done_for_nothing() -> None:
    assert removal() == ()
    held = KernelState((CHAIN,), sysctls=(("net.ipv4.ip_forward", "1"),), tables=("ip nat",))
    assert commands(held, held, TOOLS) == ()


def test_legacy_chains_go_in_one_transaction_with_their_jumps() -> None:
    assert removal(CHAIN, JUMP) == (
        Command(
            (*RUN, "/sbin/legacy", "ip6tables-restore", "--noflush"),
            "*nat\n:KUBE-SVC-X - [0:0]\n"
            '-D OUTPUT -m comment --comment "service portals" -j KUBE-SVC-X\n-X KUBE-SVC-X\nCOMMIT\n',
        ),
    )


def test_a_table_that_iptables_nft_made_for_the_proxy_goes_as_a_whole() -> None:
    chain = Thing("iptables-nft nat", "chain", "KUBE-X")
    assert removal(chain, tables=("ip nat", "inet mine")) == (on_nft("delete table ip nat"),)


def test_a_table_with_somebody_elses_rules_stays() -> None:
    things = (Thing("iptables-nft nat", "chain", "KUBE-X"), Thing("iptables-nft nat", "jump", "-A INPUT -j KUBE-X"))
    expected = (
        Command((*RUN, "xtables-nft-multi", "iptables-restore", "--noflush"), "*nat\n-D INPUT -j KUBE-X\nCOMMIT\n"),
        on_nft("flush chain ip nat KUBE-X", "delete chain ip nat KUBE-X"),
    )
    assert removal(*things, tables=("ip nat",), foreign=("ip nat",)) == expected
    assert removal(*things, tables=("ip nat",), before=KernelState(tables=("ip nat",))) == expected


def test_all_chains_are_emptied_before_one_is_deleted() -> None:
    things = [Thing("ip6tables-nft nat", "chain", name) for name in ("KUBE-A", "KUBE-B")]
    assert removal(*things, tables=("ip6 nat",), foreign=("ip6 nat",)) == (
        on_nft(*(f"{verb} chain ip6 nat {name}" for verb in ("flush", "delete") for name in ("KUBE-A", "KUBE-B"))),
    )


def test_tables_of_nftables_mode_are_deleted() -> None:
    tables = ("ip kube-proxy", "ip6 kube-proxy", "inet mine")
    things = [Thing("nft", "table", name) for name in tables[:2]]
    assert removal(*things, tables=tables) == (on_nft("delete table ip kube-proxy", "delete table ip6 kube-proxy"),)


def test_sets_servers_and_links() -> None:
    things = (
        Thing("ipset", "set", "KUBE-A"),
        Thing("ipvs", "virtual server", "TCP 10.96.0.1:80"),
        Thing("link kube-ipvs0", "address", "10.96.0.1/32"),
        Thing("link kube-mine", "address", "10.96.0.2/32"),
        Thing("links", "link", "kube-ipvs0"),
    )
    assert removal(*things) == (
        Command((*RUN, "ipset", "restore"), "destroy KUBE-A\n"),
        Command(("/bin/python", "-c", SOURCE, "ipvs"), "TCP 10.96.0.1:80\n"),
        Command((*RUN, "ip", "-force", "-batch", "-"), "link del kube-ipvs0\naddress del 10.96.0.2/32 dev kube-mine\n"),
    )


def test_settings_go_back() -> None:
    before = KernelState(sysctls=(("net.ipv4.ip_forward", "0"),))
    after = {"net.ipv4.ip_forward": "1", "net.ipv4.vs.conn_reuse_mode": "0"}
    (command,) = removal(before=before, sysctls=tuple(after.items()))
    assert command.stdin == "/proc/sys/net/ipv4/ip_forward 0\n/proc/sys/net/ipv4/vs/conn_reuse_mode 1\n"


def test_connections_are_forgotten_only_on_a_node_of_ours() -> None:
    assert removal(tracked=7) == (Command(("/bin/python", "-c", SOURCE, "conntrack"), "", needed=True),)
    shared = Tools(exclusive=False)
    assert commands(KernelState(), KernelState(tracked=7), shared) == ()
