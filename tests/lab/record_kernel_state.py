"""Makes tests/golden/kernel-state again: what the readings print where a real kube-proxy's dumps were loaded.

Run as root with ``python tests/lab/record_kernel_state.py RULESET``, where RULESET is ``nft list ruleset`` of a
kube-proxy in nftables mode. Each file holds a command, its output and what is found in it: read ``found`` before you
commit it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from proxybench.nodes.kernel import legacy, nft, readings

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).parents[1] / "golden"
SOMEBODY_ELSE = "*nat\n:DOCKER - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\nCOMMIT\n"


def inside(namespace: str, *argv: str, stdin: str = "", check: bool = True) -> str:
    command = ["ip", "netns", "exec", namespace, *argv]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=check).stdout


def rules(mode: str) -> str:
    """Return the real rules of a mode, without those that need sets."""
    folder = GOLDEN / "kube-proxy-1.20.2"
    texts = [(folder / f"{mode}.iptables-save.{table}").read_text() for table in ("filter", "mangle", "nat")]
    return "".join(line for text in texts for line in text.splitlines(keepends=True) if "--match-set" not in line)


def record(name: str, command: tuple[str, ...], read: Callable[[str], object], *loads: tuple[str, str]) -> None:
    """Load each (shell command, standard input) into a fresh namespace, run the reading there and write its file."""
    namespace = f"pbt-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", namespace], check=True, timeout=30)
    try:
        for load, stdin in loads:
            inside(namespace, "sh", "-c", load, stdin=stdin)
        output = inside(namespace, *command, check=False)  # some settings are of modules that are not loaded
    finally:
        subprocess.run(["ip", "netns", "del", namespace], check=True, timeout=30)
    data = {"command": command, "output": output.splitlines(), "found": read(output)}
    (GOLDEN / "kernel-state" / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")


def main() -> None:
    by_legacy, by_nft = (f"xtables-{backend}-multi iptables-restore --noflush" for backend in ("legacy", "nft"))
    ruleset = Path(sys.argv[1]).read_text()
    of_legacy = legacy.command("iptables", {})
    record("legacy-iptables", of_legacy, lambda text: legacy.read("iptables", text), (by_legacy, rules("iptables")))
    record("legacy-userspace", of_legacy, lambda text: legacy.read("iptables", text), (by_legacy, rules("userspace")))
    record("nft-iptables", nft.command({}), nft.read, (by_nft, rules("iptables")))
    record("nft-nftables", nft.command({}), nft.read, (by_nft, SOMEBODY_ELSE), ("nft -f -", ruleset))
    sets = (GOLDEN / "kube-proxy-1.20.2" / "ipvs.ipset").read_text()
    record("sets", readings.SETS_COMMAND, readings.read_sets, ("ipset create mine hash:ip; ipset restore", sets))
    link = "ip link add kube-ipvs0 type veth peer name other; ip addr add 10.96.0.1/32 dev kube-ipvs0; "
    more = "ip addr add fd00:96::1/128 dev kube-ipvs0; ip link set lo up"
    record("addresses", readings.ADDRESS_COMMAND, readings.read_addresses, (link + more, ""))
    record("sysctls", readings.SYSCTL_COMMAND, readings.read_sysctls, ("sysctl -w net.ipv4.ip_forward=1", ""))


if __name__ == "__main__":
    main()
