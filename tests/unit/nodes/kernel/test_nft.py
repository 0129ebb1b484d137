from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import ProxierError
from proxybench.nodes.kernel import nft
from proxybench.nodes.kernel.state import Thing

if TYPE_CHECKING:
    from pathlib import Path

CHAINS = """table ip nat {
	chain KUBE-SERVICES {
	}
	chain DOCKER {
	}
	chain PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
	}
}
table inet firewalld {
	chain KUBE-NOT-OURS {
	}
}
table ip6 kube-proxy {
	chain services {
	}
}
"""
JUMP = "-A PREROUTING -m comment --comment portals -j KUBE-SERVICES"


def script(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def shell(folder: Path, program: str) -> str:
    """Run the reading by a real shell and awk; ``nft`` is what the folder has, if anything."""
    command = list(nft.command({"nft": program}))
    command[2] = command[2].replace(":/usr/sbin:/sbin", "")
    for tool in ("awk", "grep"):
        if not (folder / tool).exists():
            script(folder, tool, f'exec /usr/bin/{tool} "$@"')
    environment = {**os.environ, "PATH": str(folder)}
    command[0] = "/bin/sh"
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True, env=environment).stdout


def chains(folder: Path) -> None:
    (folder / "chains").write_text(CHAINS)
    script(folder, "nft", f'[ $2 = tables ] && echo "table ip raw" || /bin/cat {folder}/chains')


def test_chains_come_from_nft_and_jumps_from_iptables(tmp_path: Path) -> None:
    chains(tmp_path)
    program = script(tmp_path, "xtables", f'[ "$*" = "iptables -t nat -S PREROUTING" ] && echo "{JUMP}"')
    assert nft.read(shell(tmp_path, program)) == nft.Listed(
        (
            Thing("iptables-nft nat", "chain", "KUBE-SERVICES"),
            Thing("iptables-nft nat", "jump", JUMP),
            Thing("nft", "table", "ip6 kube-proxy"),
        ),
        ("inet firewalld", "ip nat", "ip raw", "ip6 kube-proxy"),
        ("ip nat",),
    )


def test_a_rule_of_somebody_elses_keeps_a_table(tmp_path: Path) -> None:
    chains(tmp_path)
    (tmp_path / "chains").write_text(CHAINS.replace("\tchain DOCKER {\n\t}\n", ""))
    program = script(tmp_path, "xtables", "echo '-A PREROUTING -j ACCEPT'")
    assert nft.read(shell(tmp_path, program)).foreign == ("ip nat",)
    assert nft.read(shell(tmp_path, script(tmp_path, "xtables", "echo '-P PREROUTING ACCEPT'"))).foreign == ()


@pytest.mark.parametrize(("program", "why"), [("exit 3", "cannot read it"), (None, "is missing")])
def test_chains_whose_jumps_cannot_be_read_are_an_error(tmp_path: Path, program: str | None, why: str) -> None:
    chains(tmp_path)
    name = script(tmp_path, "xtables", program) if program else "proxybench-no-such-program"
    with pytest.raises(ProxierError) as caught:
        nft.read(shell(tmp_path, name))
    message = f"nft table ip nat has chains of a Service proxy, and iptables-nft {why}"
    assert str(caught.value) == message


def test_a_table_that_iptables_cannot_read_is_somebody_elses(tmp_path: Path) -> None:
    chains(tmp_path)
    (tmp_path / "chains").write_text(CHAINS.replace("chain KUBE-SERVICES", "chain mine"))
    listed = nft.read(shell(tmp_path, "proxybench-no-such-program"))
    assert (listed.foreign, len(listed.things)) == (("ip nat",), 1)


def test_without_nft_something_may_be_there_where_iptables_speaks_nftables(tmp_path: Path) -> None:
    with pytest.raises(ProxierError) as caught:
        nft.read(shell(tmp_path, script(tmp_path, "xtables", "exit 0")))
    message = "nft is missing, and the kernel may hold tables of nftables mode: install nftables"
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("mnl.c:60: Unable to initialize Netlink socket: Protocol not supported", None),
        ("Error: Operation not permitted", "nft failed: Error: Operation not permitted"),
    ],
)
def test_nft_that_fails(tmp_path: Path, error: str, message: str | None) -> None:
    script(tmp_path, "nft", f'echo "{error}" >&2; exit 1')
    output = shell(tmp_path, "proxybench-no-such-program")
    if message is None:
        assert nft.read(output) == nft.Listed()
        return
    with pytest.raises(ProxierError) as caught:
        nft.read(output)
    assert str(caught.value) == message
