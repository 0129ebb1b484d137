from __future__ import annotations

import pytest

from proxybench.nodes.answers import Hello
from proxybench.nodes.machine import Machine, files, machine, parse_iptables_version

HELLO = Hello("proxybench-agent 7", "3.11.2", "6.1.0-56-amd64", "QEMU Virtual CPU", 2, real_time=True)


# What `iptables --version` of Debian 10 to 12, of Alpine, and of releases before the two backends printed.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("iptables v1.8.9 (legacy)\n", ("1.8.9", "legacy")),
        ("iptables v1.8.9 (nf_tables)\n", ("1.8.9", "nft")),
        ("iptables v1.8.10 (nf_tables)\n", ("1.8.10", "nft")),
        ("iptables v1.6.1\n", ("1.6.1", "unknown")),
        ("ip6tables v1.8.2 (nf_tables)\n", ("1.8.2", "nft")),
        ("sh: iptables: not found\n", ("unknown", "unknown")),
        ("", ("unknown", "unknown")),
    ],
)
def test_what_iptables_says_of_itself(text: str, expected: tuple[str, str]) -> None:
    assert parse_iptables_version(text) == expected


def test_a_machine_is_put_together_from_what_it_says() -> None:
    texts = {
        "/proc/meminfo": "MemTotal:        3047804 kB\nMemFree:         100 kB\n",
        "/proc/sys/net/ipv4/ip_forward": "1\n",
        "/proc/sys/net/ipv4/ip_local_port_range": "1024\t65535\n",
        "/proc/sys/net/core/somaxconn": None,
    }
    backends = {"nft": "iptables v1.8.10 (nf_tables)\n", "legacy": "iptables v1.8.9 (legacy)\n"}
    assert machine(HELLO, texts, backends, "nftables v1.0.6 (Lester Gooch #5)\n") == Machine(
        kernel="6.1.0-56-amd64",
        cpu="QEMU Virtual CPU",
        cpus=2,
        memory=3_120_951_296,
        iptables_version="1.8.9",
        iptables_backend="legacy",
        python="3.11.2",
        sysctls={"net.ipv4.ip_forward": "1", "net.ipv4.ip_local_port_range": "1024 65535"},
        iptables={"nft": "1.8.10", "legacy": "1.8.9"},
        nft_version="1.0.6",
        real_time=True,
    )


def test_what_real_time_depends_on_is_told() -> None:
    texts = {
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        "/sys/devices/system/cpu/smt/active": "1\n",
        "/proc/loadavg": "0.42 0.30 0.25 2/345 6789\n",
        "/proc/stat": "cpu  600 0 200 9000 50 0 50 100 0 0\ncpu0 1 2 3\n",
    }
    assert files(real_time=True)[-4:] == tuple(texts)
    assert machine(HELLO, texts, {}, "").speed == {
        "governor": "powersave",
        "SMT": "on",
        "load": "0.42",
        "steal": "1 % since boot",
    }
    assert machine(HELLO, {"/proc/stat": "cpu  1 2"}, {}, "").speed == {}


def test_a_machine_of_the_backend_nft_alone() -> None:
    found = machine(HELLO, {}, {"nft": "iptables v1.8.10 (nf_tables)\n"}, "")
    assert (found.iptables_version, found.iptables_backend) == ("1.8.10", "nft")
    assert (found.iptables, found.nft_version) == ({"nft": "1.8.10"}, "")


def test_a_machine_that_says_nothing_is_unknown_not_an_error() -> None:
    found = machine(HELLO, {}, {}, "sh: nft: not found")
    assert (found.memory, found.iptables_version, found.iptables_backend, found.sysctls) == (
        0,
        "unknown",
        "unknown",
        {},
    )


def test_all_that_is_read_is_asked_for() -> None:
    names = files(real_time=False)
    assert names[0] == "/proc/meminfo"
    assert len(names) == len(set(names))
    texts = dict.fromkeys(names, "5")
    assert len(machine(HELLO, texts, {}, "").sysctls) == len(names) - 1
