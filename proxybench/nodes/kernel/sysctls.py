"""The kernel settings that Service proxies change: one list for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSCTLS: Mapping[str, str | None] = {
    "net.ipv4.ip_forward": None,
    "net.ipv4.conf.all.route_localnet": None,
    "net.ipv4.conf.all.arp_ignore": None,
    "net.ipv4.conf.all.arp_announce": None,
    "net.ipv4.vs.conntrack": "0",
    "net.ipv4.vs.conn_reuse_mode": "1",
    "net.ipv4.vs.expire_nodest_conn": "0",
    "net.ipv4.vs.expire_quiescent_template": "0",
    "net.netfilter.nf_conntrack_max": None,
    "net.netfilter.nf_conntrack_tcp_timeout_established": "432000",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait": "60",
    "net.netfilter.nf_conntrack_tcp_be_liberal": "0",
    "net.netfilter.nf_conntrack_udp_timeout": "30",
    "net.netfilter.nf_conntrack_udp_timeout_stream": "120",
}
"""By name; the value is the kernel's default of a setting that appears with its module, which may be loaded only when
the first proxy starts. None: it is always there, or its default depends on the machine.

Sources: Documentation/networking/ipvs-sysctl.rst and nf_conntrack-sysctl.rst of Linux.
"""


def path(name: str) -> str:
    """Return the file of a setting."""
    return f"/proc/sys/{name.replace('.', '/')}"
