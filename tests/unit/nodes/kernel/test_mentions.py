from __future__ import annotations

import pytest

from proxybench.errors import ProxierError
from proxybench.nodes.kernel.mentions import naming, parse_iptables, parse_nft, reachable, understand
from proxybench.testing.hosts import done
from tests.golden.cases import golden

SAVED = """\
*nat
:PREROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-SVC-B - [0:0]
:KUBE-SEP-B - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -j KUBE-SVC-A
-A KUBE-SVC-A -j DNAT --to-destination 10.244.0.1:8080
-A KUBE-SVC-B ! -s 10.244.0.0/16 -d 10.96.0.11/32 -j KUBE-MARK-MASQ
-A KUBE-SVC-B -j KUBE-SEP-B
-A KUBE-SEP-B -j DNAT --to-destination 10.244.0.2:8080
COMMIT
*filter
:INPUT ACCEPT [0:0]
:KUBE-SVC-B - [0:0]
-A KUBE-SVC-B -d 10.96.0.11/32 -j DROP
COMMIT
"""


def rules(saved: str) -> list[str]:
    return list(reachable(*parse_iptables(saved)))


def test_a_chain_that_nothing_leads_to_does_not_count() -> None:
    assert naming(rules(SAVED), ["10.96.0.1"]) == ["-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -j KUBE-SVC-A"]
    assert naming(rules(SAVED), ["10.244.0.1"]) == ["-A KUBE-SVC-A -j DNAT --to-destination 10.244.0.1:8080"]
    assert naming(rules(SAVED), ["10.96.0.11", "10.244.0.2"]) == []


def test_a_jump_of_one_table_leads_into_no_other() -> None:
    saved = SAVED.replace("-A PREROUTING -j KUBE-SERVICES", "-A PREROUTING -g KUBE-SVC-B")
    assert naming(rules(saved), ["10.96.0.11"]) == [
        "-A KUBE-SVC-B ! -s 10.244.0.0/16 -d 10.96.0.11/32 -j KUBE-MARK-MASQ"
    ]
    assert naming(rules(saved), ["10.244.0.2"]) == ["-A KUBE-SEP-B -j DNAT --to-destination 10.244.0.2:8080"]


def test_every_service_of_a_real_iptables_mode_is_reached() -> None:
    found = rules(golden("v1.37.2", "iptables", "iptables-save.nat"))
    for address in ("10.96.1.1", "10.244.0.11", "10.244.1.52"):
        assert naming(found, [address]), address


def test_what_a_real_nftables_mode_looks_up_and_where_that_leads() -> None:
    chains, roots = parse_nft(golden("v1.37.2", "nftables", "list-table.ip"))
    found = list(reachable(chains, roots))
    assert naming(found, ["192.0.2.10"]) == ["192.0.2.10 . tcp . 80 : goto external-RQQ64LRV-bench/extip/tcp/http }"]
    assert naming(found, ["10.244.1.91"]) == ["meta l4proto tcp dnat to 10.244.1.91:8080"]
    del chains["map service-ips"], chains["map service-nodeports"]
    assert naming(reachable(chains, roots), ["10.244.1.91"]) == []


def test_members_of_sets_servers_and_addresses_of_links_count() -> None:
    looks = [
        done(SAVED),
        done(code=127),
        done(code=1),
        done("create KUBE-CLUSTER-IP hash:ip,port\nadd KUBE-CLUSTER-IP 10.96.0.1,tcp:80\n"),
        done("TCP  0A600001:0050 rr \n  -> 0AF40005:1F90      Masq    1      0          0\n"),
        done("kube-ipvs0 DOWN 10.96.0.1/32 10.96.0.2/32\neth0 UP 10.96.0.1/24\n"),
    ]
    assert understand(looks, ["10.96.0.1"]) == [
        "-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -j KUBE-SVC-A",
        "add KUBE-CLUSTER-IP 10.96.0.1,tcp:80",
        "TCP  10.96.0.1:80 rr",
        "kube-ipvs0 DOWN 10.96.0.1/32 10.96.0.2/32",
    ]
    assert understand(looks, ["10.244.0.5"]) == ["-> 10.244.0.5:8080      Masq    1      0          0"]


def test_not_to_look_is_not_to_find_nothing() -> None:
    with pytest.raises(ProxierError, match="neither iptables nor nft can be asked for rules"):
        understand([done(code=127)] * 6, ["10.96.0.1"])
