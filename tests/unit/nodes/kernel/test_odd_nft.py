"""nft 1.1 of Debian 13 lists what kube-proxy made in other words than 1.0.6 of Debian 12, and is read alike.

Both listed the same kernel's tables (those of the dumps of kube-proxy 1.37.2, loaded into a namespace). 1.1.3 says a
hook's priority by its name where 1.0.6 has a number, and nothing else differs; iptables 1.8.11 writes what 1.8.9 does.
"""

from __future__ import annotations

import subprocess

import pytest

from proxybench.model import Mode
from proxybench.nodes.answers import Hello
from proxybench.nodes.kernel import nft
from proxybench.nodes.kernel.mentions import parse_nft, reachable
from proxybench.nodes.machine import machine
from proxybench.subjects.inventory import read
from tests.golden.cases import RELEASES, cases_of, golden

CHAINS = """\
table ip nat {
	chain KUBE-SERVICES {
	}
	chain INPUT {
		type nat hook input priority 100; policy accept;
	}
	chain OUTPUT {
		type nat hook output priority -100; policy accept;
	}
}
table ip kube-proxy {
	chain filter-output {
		type filter hook output priority -110; policy accept;
	}
}
"""
NAMES = {
    "input priority 100;": "input priority srcnat;",
    "output priority -100;": "output priority dstnat;",
    "output priority -110;": "output priority dstnat - 10;",
}
EVERY = [release for release in RELEASES if any(case.mode is Mode.NFTABLES for case in cases_of(release))]


def newer(listing: str) -> str:
    """Return a listing of nft 1.0.6 as nft 1.1.3 writes it."""
    for old, new in NAMES.items():
        listing = listing.replace(old, new)
    return listing


@pytest.mark.parametrize("release", EVERY)
@pytest.mark.parametrize("family", ["ip", "ip6"])
def test_a_proxys_table_is_read_alike(release: str, family: str) -> None:
    old = golden(release, "nftables", f"list-table.{family}")
    new = newer(old)
    assert new != old
    assert read(Mode.NFTABLES, new) == read(Mode.NFTABLES, old)
    rules = [line for line in reachable(*parse_nft(old)) if " hook " not in line]
    assert [line for line in reachable(*parse_nft(new)) if " hook " not in line] == rules
    assert len(rules) > 10


def test_chains_are_read_alike() -> None:
    awk = nft.command({})[4]
    found = [
        subprocess.run(["awk", awk], input=text, capture_output=True, text=True, timeout=20, check=True).stdout
        for text in (CHAINS, newer(CHAINS))
    ]
    assert found[0] == found[1]
    assert "base ip nat OUTPUT\n" in found[0]


def test_its_version_is_kept() -> None:
    told = machine(
        Hello("agent", "3.13.5", "6.12.38", "CPU", 2),
        {},
        {"nft": "iptables v1.8.11 (nf_tables)\n"},
        "nftables v1.1.3 (Commodore Bullmoose #4)\n",
    )
    assert (told.nft_version, told.iptables, told.iptables_backend) == ("1.1.3", {"nft": "1.8.11"}, "nft")
