from __future__ import annotations

from pathlib import Path

from proxybench.nodes.kernel.sysctls import SYSCTLS, path
from refproxy import iptables_plane, ipvs_plane

GOLDEN = Path(__file__).parents[3] / "golden" / "kube-proxy-1.20.2"
# What kube-proxy 1.37 sets, by its flags and its modes; from its reference page and its log.
KUBE_PROXY = {
    *("net.ipv4.ip_forward", "net.ipv4.conf.all.route_localnet"),
    *("net.ipv4.conf.all.arp_ignore", "net.ipv4.conf.all.arp_announce"),
    *(f"net.ipv4.vs.{name}" for name in ("conntrack", "conn_reuse_mode", "expire_nodest_conn")),
    "net.ipv4.vs.expire_quiescent_template",
    *(f"net.netfilter.nf_conntrack_{name}" for name in ("max", "udp_timeout", "udp_timeout_stream")),
    *(f"net.netfilter.nf_conntrack_tcp_{name}" for name in ("timeout_established", "timeout_close_wait", "be_liberal")),
}


def test_the_one_list_has_what_any_proxy_sets() -> None:
    assert set(SYSCTLS) >= set(ipvs_plane.SYSCTLS) | set(iptables_plane.SYSCTLS)
    assert set(SYSCTLS) == KUBE_PROXY


def test_the_one_list_has_what_a_real_kube_proxy_left_behind() -> None:
    found = {line.split(" = ")[0] for file in GOLDEN.glob("*.sysctl") for line in file.read_text().splitlines()}
    assert len(found) == 8
    assert found <= set(SYSCTLS)


def test_files() -> None:
    assert path("net.ipv4.ip_forward") == "/proc/sys/net/ipv4/ip_forward"
