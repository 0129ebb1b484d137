from __future__ import annotations

from dataclasses import replace

import pytest

from proxybench.errors import ProxierError
from proxybench.model import Mode
from proxybench.subjects.driver import Capability
from proxybench.subjects.node_checks import ABLE, check_files, check_node, iptables_program
from tests.unit.subjects.rig import NODE, handle, together

TABLE = ["/x/legacy", "iptables", "-w", "10", "-t", "nat", "-S", "OUTPUT"]
IPVS = [TABLE, ["sh", "-c", "test -e /proc/net/ip_vs || modprobe ip_vs"], ["ipset", "--version"]]
NFTABLES = [["uname", "-r"], ["nft", "--version"], ["nft", "list", "tables"]]
NFT = "nftables v1.0.6 (Lester Gooch #5)\n"


@pytest.mark.parametrize("mode", [Mode.IPTABLES, Mode.USERSPACE])
def test_the_nat_table_is_enough(mode: Mode) -> None:
    node, executor, _ = handle([together([TABLE], ("-P OUTPUT ACCEPT\n", 0))])
    assert check_node(mode, "legacy", node) == ABLE
    executor.assert_done()


def test_a_kube_proxy_in_userspace_mode_wants_more_files_than_some_nodes_allow() -> None:
    ask = ["sh", "-c", "ulimit -Hn 64000"]
    node, _, _ = handle([together([ask], ("", 0)), together([ask], ("", 2))])
    assert check_files(node) == ABLE
    assert check_files(node) == Capability(
        supported=False,
        reason="node-a: kube-proxy's userspace mode sets its limit of open files to 64,000, which this node does not "
        "allow",
        fix="raise the limit there, or measure in the VM lab",
    )


def test_a_kernel_without_the_backend() -> None:
    node, _, _ = handle([together([TABLE], ("", 3))])
    assert check_node(Mode.IPTABLES, "legacy", node) == Capability(
        supported=False,
        reason="node-a: iptables of the legacy backend cannot read the kernel's nat table",
        fix="a kernel with ip_tables, or the other backend of `iptables:`",
    )


@pytest.mark.parametrize(
    ("programs", "fix"),
    [({"nft": "/x/nft"}, "take `iptables: nft`, or install iptables there"), ({}, "install iptables there")],
)
def test_a_node_without_the_backend(programs: dict[str, str], fix: str) -> None:
    node, _, _ = handle(node=replace(NODE, iptables=programs))
    reason = "node-a: there is no iptables of the legacy backend"
    assert check_node(Mode.IPTABLES, "legacy", node) == Capability(supported=False, reason=reason, fix=fix)
    with pytest.raises(ProxierError) as caught:
        iptables_program(node, "legacy")
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("codes", "reason", "fix"),
    [
        ((0, 0, 0), "", ""),
        ((0, 1, 0), "the kernel has no IPVS (module ip_vs)", "modprobe ip_vs there, or measure in the VM lab"),
        ((0, 0, 127), "IPVS mode needs ipset, which is missing", "install ipset there"),
    ],
)
def test_ipvs(codes: tuple[int, ...], reason: str, fix: str) -> None:
    node, _, _ = handle([together(IPVS, *(("", code) for code in codes))])
    told = reason and f"node-a: {reason}"
    assert check_node(Mode.IPVS, "legacy", node) == Capability(supported=not reason, reason=told, fix=fix)


@pytest.mark.parametrize(
    ("kernel", "nft", "reason"),
    [
        ("6.1.0-40-amd64\n", (NFT, 0), ""),
        ("5.13.0\n", ("nftables v1.0.1 (x)\n", 0), ""),
        ("6.18.44-x\n", ("nftables v1.1 (x)\n", 0), ""),
        ("5.10.0-28-amd64\n", (NFT, 0), "nftables mode needs Linux 5.13, it runs 5.10.0"),
        ("6.1.0\n", ("nftables v1.0 (x)\n", 0), "nftables mode needs nft 1.0.1, it has 1.0"),
        ("6.1.0\n", ("nftables v0.9.8 (E.D.S.)\n", 0), "nftables mode needs nft 1.0.1, it has 0.9.8"),
        ("6.1.0\n", ("", 127), "nftables mode needs nft 1.0.1, it has none"),
    ],
)
def test_nftables(kernel: str, nft: tuple[str, int], reason: str) -> None:
    node, _, _ = handle([together(NFTABLES, (kernel, 0), nft, ("", 0))])
    found = check_node(Mode.NFTABLES, None, node)
    assert (found.supported, found.reason) == (not reason, reason and f"node-a: {reason}")


def test_a_kernel_without_nf_tables() -> None:
    node, _, _ = handle([together(NFTABLES, ("6.1.0\n", 0), (NFT, 0), ("", 1))])
    assert check_node(Mode.NFTABLES, None, node) == Capability(
        supported=False, reason="node-a: nft cannot read the kernel's tables", fix="a kernel with nf_tables"
    )
