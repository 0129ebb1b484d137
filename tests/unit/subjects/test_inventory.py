"""What kube-proxy 1.37.2 has in the kernel, read from what it really wrote."""

from __future__ import annotations

from proxybench.model import Family, Mode
from proxybench.subjects.inventory import list_argv, read
from tests.golden.cases import golden

WITH_ENDPOINTS = {f"10.96.1.{number}" for number in (1, 2, 3, 5, 6, 7, 8, 9, 10)}


def test_iptables() -> None:
    assert list_argv(Mode.IPTABLES, "/x", Family.IPV4) == ("/x", "iptables", "-w", "30", "-t", "nat", "-S")
    assert list_argv(Mode.USERSPACE, "/x", Family.IPV6)[1] == "ip6tables"
    saved = golden("1.37.2", "iptables", "iptables-save.nat")
    chains = [f"-N {line[1:].split()[0]}" for line in saved.splitlines() if line.startswith(":KUBE-")]
    found = read(Mode.IPTABLES, "\n".join(["-N OTHER", *chains, saved]))
    assert found.chains == len(chains) > 20
    assert found.vips >= WITH_ENDPOINTS


def test_nftables_knows_services_without_endpoints_too() -> None:
    assert list_argv(Mode.NFTABLES, "", Family.IPV6) == ("nft", "list", "table", "ip6", "kube-proxy")
    listing = golden("1.37.2", "nftables", "list-table.ip")
    found = read(Mode.NFTABLES, listing)
    assert found.vips == {*WITH_ENDPOINTS, "10.96.1.4", "192.0.2.10"}
    assert found.chains == listing.count("\n\tchain ")


def test_ipvs() -> None:
    assert list_argv(Mode.IPVS, "", Family.IPV4) == ("ipvsadm", "-S", "-n")
    found = read(Mode.IPVS, golden("1.37.2", "ipvs", "ipvsadm") + "-A -u [fd00::1]:53 -s rr\n")
    assert found.vips >= {*WITH_ENDPOINTS, "10.96.1.4", "fd00::1"}
    assert found.chains == 0
