"""The small requests: who is this node, wait, read small files."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from proxybench.agent.fields import Fields
    from proxybench.agent.state import State

AGENT = "proxybench-agent 7"  # raise the number with every change of the protocol
SMALL_FILE = 65_536
VMSTAT = "/proc/vmstat"


def hello(fields: Fields, _state: State) -> dict[str, object]:
    """Say who is here, and whether probes have real-time priority here."""
    from proxybench.agent import schedule  # noqa: PLC0415 - which reads by us

    fields.finish()
    return {
        "agent": AGENT,
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "kernel": os.uname().release,
        "cpu_model": cpu_model(small_file("/proc/cpuinfo") or ""),
        "online_cpus": os.sysconf("SC_NPROCESSORS_ONLN"),
        "oom_kills": oom_kills(small_file(VMSTAT) or ""),
        "real_time": schedule.real_time(),
    }


def clocks(fields: Fields, _state: State) -> dict[str, object]:
    """Read the monotonic clock and UTC at one moment: the log lines of programs carry UTC."""
    fields.finish()
    before = time.monotonic_ns()
    utc = time.time_ns()
    return {"monotonic_ns": (before + time.monotonic_ns()) // 2, "utc_ns": utc}


def sleep(fields: Fields, _state: State) -> dict[str, object]:
    """Do nothing for ``seconds``."""
    seconds = fields.number("seconds", 0, 3600)
    fields.finish()
    start = time.monotonic_ns()
    time.sleep(seconds)
    return {"start_ns": start, "end_ns": time.monotonic_ns()}


def read(fields: Fields, _state: State) -> dict[str, object]:
    """Return the text of each small file (the first 64 KiB), None where it cannot be read."""
    paths = fields.texts("paths")
    fields.finish()
    return {"files": {path: small_file(path) for path in paths}}


def small_file(path: str) -> str | None:
    """Return the first 64 KiB of a file as text, or None when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(SMALL_FILE).decode("utf-8", "replace")
    except OSError:
        return None


def oom_kills(vmstat: str) -> int:
    """Return how many processes the kernel has killed since its start for want of memory; 0 where it does not count.

    It counts those of a cgroup's limit (memory.max), too; the cgroup's own memory.events is not seen from everywhere,
    and goes with it.
    """
    words = vmstat.split()
    return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0


def cpu_model(cpuinfo: str) -> str:
    """Return the first "model name" of /proc/cpuinfo; "unknown" where there is none (not all architectures say)."""
    for line in cpuinfo.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == "model name":
            return value.strip()
    return "unknown"
