from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import ProxierError
from proxybench.nodes.kernel import legacy, nft, readings
from proxybench.nodes.kernel.state import Thing

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parents[3] / "golden" / "kernel-state"
READINGS: dict[str, tuple[tuple[str, ...], Callable[[str], object]]] = {
    "addresses": (readings.ADDRESS_COMMAND, readings.read_addresses),
    "legacy-iptables": (legacy.command("iptables", {}), lambda text: legacy.read("iptables", text)),
    "legacy-userspace": (legacy.command("iptables", {}), lambda text: legacy.read("iptables", text)),
    "nft-iptables": (nft.command({}), nft.read),
    "nft-nftables": (nft.command({}), nft.read),
    "sets": (readings.SETS_COMMAND, readings.read_sets),
    "sysctls": (readings.SYSCTL_COMMAND, readings.read_sysctls),
}


def as_json(value: object) -> Any:
    return json.loads(json.dumps(value))


def test_every_recording_is_read() -> None:
    assert sorted(READINGS) == sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", READINGS)
def test_what_a_real_kernel_printed(name: str) -> None:
    record = json.loads((FOLDER / f"{name}.json").read_text())
    command, read = READINGS[name]
    assert as_json(command) == record["command"], "another command prints something else: record it again"
    assert as_json(read("\n".join([*record["output"], ""]))) == record["found"]


def test_virtual_servers_of_both_families() -> None:
    text = (
        "TCP  0A600101:0050 rr  \nUDP  0A600106:0035 rr  \nSCTP 7F000001:7A71 rr persistent 10800 FFFFFFFF\n"
        "TCP  [fd00:0096:0000:0000:0000:0000:0000:0001]:0050 rr  \n"
    )
    assert readings.read_servers(text) == tuple(
        Thing("ipvs", "virtual server", name)
        for name in ("TCP 10.96.1.1:80", "UDP 10.96.1.6:53", "SCTP 127.0.0.1:31345", "TCP [fd00:96::1]:80")
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "sh: 1: ipset: not found\nfailed 127\n",
            "ipset is missing, and the kernel may hold sets of IPVS mode: install ipset",
        ),
        ("ipset v7.17: Kernel error received\nfailed 1\n", "ipset failed: ipset v7.17: Kernel error received"),
        ("ipset v7.17: no\nfailed 1\nno ipvs\n", "ipset failed: ipset v7.17: no"),
    ],
)
def test_sets_that_cannot_be_listed(text: str, message: str) -> None:
    with pytest.raises(ProxierError) as caught:
        readings.read_sets(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text",
    [
        "sh: 1: ipset: not found\nfailed 127\nno ipvs\n",
        "ipset v7.17: Cannot open session to kernel.\nfailed 1\n",
        "mine\n",
        "",
    ],
)
def test_sets_that_are_not_there(text: str) -> None:
    assert readings.read_sets(text) == ()


def test_links_that_cannot_be_listed() -> None:
    with pytest.raises(ProxierError) as caught:
        readings.read_addresses("sh: 1: ip: not found\nfailed 127\n")
    assert str(caught.value) == "ip failed: sh: 1: ip: not found"
