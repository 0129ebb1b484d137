"""What this kernel can: the building blocks of each mode, tried for real in a namespace that ends with the try.

A kernel's configuration says little (modules may be missing, a container may forbid them); so each mode's rules are
made once: those that kube-proxy writes for Services with endpoints, without any, with affinity, and for node ports.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxybench.here import run_here
from proxybench.model import Mode
from proxybench.targets.lab import process

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIMIT = 20.0
IPTABLES_PROGRAMS = {"legacy": "xtables-legacy-multi", "nft": "xtables-nft-multi"}
"""The multi-call program of each backend of iptables."""

_NAT = """\
t -t nat -N TRY
t -t nat -A TRY -m comment --comment try -j MARK --or-mark 0x4000
t -t nat -A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully
"""
_DNAT = """\
t -t nat -A TRY -m statistic --mode random --probability 0.5 -j RETURN
t -t nat -A TRY -m recent --name try --rcheck --seconds 60 --reap -j RETURN
t -t nat -A TRY -m addrtype --dst-type LOCAL -j RETURN
t -t nat -A TRY -p tcp -m tcp --dport 80 -j DNAT --to-destination 127.0.0.1:1
t -t filter -A FORWARD -m conntrack --ctstate INVALID -j DROP
t -t filter -A FORWARD -p tcp -j REJECT
"""
_REDIRECT = """\
t -t nat -A TRY -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 1
t -t nat -A TRY -p tcp -m tcp --dport 81 -j DNAT --to-destination 127.0.0.1:1
"""
# Without a single address, IPVS takes no real server.
_IPVS = """\
ip link add try0 type dummy
ip address add 10.96.0.1/32 dev try0
ipset create TRY hash:ip,port
ipset add TRY 10.96.0.1,tcp:80
t -t nat -A TRY -m set --match-set TRY dst,dst -j RETURN
ipvsadm -A -t 10.96.0.1:80 -s rr
ipvsadm -a -t 10.96.0.1:80 -r 127.0.0.1:1 -m
"""
_NFTABLES = """\
nft -f - <<'END'
table ip try {
    set affinity {
        type ipv4_addr
        flags dynamic,timeout
        timeout 60s
    }
    chain endpoint {
        update @affinity { ip saddr }
        ip saddr 10.244.0.1 meta mark set meta mark or 0x4000
        meta l4proto tcp dnat to 127.0.0.1:1
    }
    chain service {
        numgen random mod 1 vmap { 0 : goto endpoint }
    }
    chain refused {
        reject
    }
    map services {
        type ipv4_addr . inet_proto . inet_service : verdict
        elements = { 10.96.0.1 . tcp . 80 : goto service }
    }
    chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        ip daddr . meta l4proto . th dport vmap @services
        fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap { tcp . 30080 : goto service }
    }
    chain forward {
        type filter hook forward priority filter; policy accept;
        ct state new ip daddr 10.96.0.9 goto refused
    }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        meta mark & 0x4000 == 0x4000 masquerade fully-random
    }
}
END
"""
_RULES: Mapping[Mode, str] = {
    Mode.IPTABLES: _NAT + _DNAT,
    Mode.IPVS: _NAT + _IPVS,
    Mode.USERSPACE: _NAT + _REDIRECT,
    Mode.NFTABLES: _NFTABLES,
}
_PACKAGES: Mapping[Mode, Mapping[str, str]] = {
    Mode.IPTABLES: {},
    Mode.IPVS: {"ipset": "ipset", "ipvsadm": "ipvsadm"},
    Mode.USERSPACE: {},
    Mode.NFTABLES: {"nft": "nftables"},
}


@dataclass(frozen=True)
class Trial:
    """What one try ended with: its exit code and the last line that it wrote to standard error."""

    code: int
    message: str


def script(mode: Mode, backend: str = "legacy") -> str:
    """Return what tries a mode, for ``sh -e`` as root in a network namespace of its own.

    ``backend`` is that of iptables, "legacy" or "nft"; nftables mode runs none.
    """
    if mode is Mode.NFTABLES:
        return _RULES[mode]
    return f't() {{ {IPTABLES_PROGRAMS[backend]} iptables -w "$@"; }}\n{_RULES[mode]}'


def programs(mode: Mode, backend: str = "legacy") -> Mapping[str, str]:
    """Return the programs that a mode's script runs besides ``ip``, each with the Debian package that brings it."""
    tables = {} if mode is Mode.NFTABLES else {IPTABLES_PROGRAMS[backend]: "iptables"}
    return {**tables, **_PACKAGES[mode]}


def command(mode: Mode, backend: str = "legacy") -> list[str]:
    """Return the command that tries a mode; it needs root, and leaves nothing."""
    prepare = "mount -t tmpfs run /run; ip link set lo up"
    return ["unshare", "--net", "--mount", "sh", "-e", "-c", f"{prepare}\n{script(mode, backend)}"]


def try_mode(mode: Mode, backend: str = "legacy", limit: float = _LIMIT) -> Trial:
    """Try a mode on this kernel within ``limit`` seconds; needs root."""
    try:
        done = run_here(command(mode, backend), limit, folder=Path("/"), env=process.environment())
    except subprocess.TimeoutExpired:
        return Trial(124, f"no answer in {limit:.0f} s")
    lines = done.stderr.strip().splitlines()
    return Trial(done.returncode, lines[-1].strip() if lines else "")
