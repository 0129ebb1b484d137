"""What a machine is: everything that can change a number measured on it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.nodes.answers import Hello

SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/tcp_congestion_control",
    "net/ipv4/tcp_timestamps",
    "net/core/somaxconn",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_buckets",
    "kernel/sched_autogroup_enabled",
)
_FILES = ("/proc/meminfo", *(f"/proc/sys/{name}" for name in SYSCTLS))
_GOVERNOR, _SMT = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "/sys/devices/system/cpu/smt/active"
_LOAD, _STAT = "/proc/loadavg", "/proc/stat"
_STEAL = 8  # its place among a processor's counters in /proc/stat


@dataclass(frozen=True)
class Machine:
    """One node; ``memory`` in bytes.

    ``iptables_version`` and ``iptables_backend`` are of the legacy backend where there is one. ``iptables`` has the
    version of each backend ("legacy", "nft"), ``nft_version`` is that of the program ``nft``, "" where there is none.
    ``speed`` is what only real time depends on: "governor", "SMT", "load" (runnable tasks, over a minute) when the run
    began, and "steal", the share that a hypervisor has taken since boot. ``real_time`` as in ``Traits``.
    """

    kernel: str
    cpu: str
    cpus: int
    memory: int
    iptables_version: str
    iptables_backend: str
    python: str
    sysctls: dict[str, str] = field(default_factory=dict)
    iptables: dict[str, str] = field(default_factory=dict)
    nft_version: str = ""
    speed: dict[str, str] = field(default_factory=dict)
    real_time: bool = False


def files(*, real_time: bool) -> tuple[str, ...]:
    """Return the files of a node that ``machine`` reads; a guest whose instructions are counted has no speed."""
    return (*_FILES, _GOVERNOR, _SMT, _LOAD, _STAT) if real_time else _FILES


def machine(hello: Hello, texts: Mapping[str, str | None], iptables: Mapping[str, str], nft: str) -> Machine:
    """Put a node's description together.

    ``iptables`` is what ``iptables --version`` of each backend printed, by its name, ``nft`` what ``nft --version``
    did.
    """
    version, backend = parse_iptables_version(iptables.get("legacy") or next(iter(iptables.values()), ""))
    total = re.search(r"MemTotal:\s+(\d+) kB", texts.get("/proc/meminfo") or "")
    found = {name: texts.get(f"/proc/sys/{name}") for name in SYSCTLS}
    return Machine(
        kernel=hello.kernel,
        cpu=hello.cpu_model,
        cpus=hello.online_cpus,
        memory=int(total[1]) * 1024 if total else 0,
        iptables_version=version,
        iptables_backend=backend,
        python=hello.python,
        sysctls={name.replace("/", "."): " ".join(value.split()) for name, value in found.items() if value},
        iptables={name: parse_iptables_version(text)[0] for name, text in iptables.items()},
        nft_version=_version(nft),
        speed=_speed(texts),
        real_time=hello.real_time,
    )


def _speed(texts: Mapping[str, str | None]) -> dict[str, str]:
    governor, smt, load = (" ".join((texts.get(name) or "").split()) for name in (_GOVERNOR, _SMT, _LOAD))
    words = (texts.get(_STAT) or "").partition("\n")[0].split()[1 : _STEAL + 1]
    ticks = [int(word) for word in words]
    whole = sum(ticks)
    steal = f"{100 * ticks[-1] / whole:.2g} % since boot" if len(ticks) == _STEAL and whole else ""
    found = {
        "governor": governor,
        "SMT": {"1": "on", "0": "off"}.get(smt, ""),
        "load": load.partition(" ")[0],
        "steal": steal,
    }
    return {name: word for name, word in found.items() if word}


def parse_iptables_version(text: str) -> tuple[str, str]:
    """Read "iptables v1.8.9 (legacy)" into version and backend; "unknown" for what is not there."""
    match = re.search(r"v\d+(?:\.\d+)+(?: \((\w+)\))?", text)
    if not match:
        return "unknown", "unknown"
    return _version(text), {"nf_tables": "nft"}.get(match[1] or "", match[1] or "unknown")


def _version(text: str) -> str:
    """Return the first version ("1.0.6") that a program's words name; "" without any."""
    match = re.search(r"v(\d+(?:\.\d+)+)", text)
    return match[1] if match else ""
