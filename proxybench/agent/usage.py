"""CPU usage: who spent how much time, as the kernel counted it. Parsers are pure; times in nanoseconds."""

from __future__ import annotations

import os
import time

from proxybench.agent.fields import OpError
from proxybench.agent.node import small_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from proxybench.agent.fields import Fields
    from proxybench.agent.state import State

NS_PER_US = 1_000
NS_PER_S = 1_000_000_000
# Columns of the "cpu" line of /proc/stat, in their order (proc_stat(5)). guest times are part of user and nice.
STAT_COLUMNS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
WORK = ("user", "nice", "system", "irq", "softirq")  # what of it is no idling


def usage(fields: Fields, state: State) -> dict[str, object]:
    """Read all counters, the time first; ``self_ns`` is the agent's own CPU."""
    paths = fields.texts("cgroups")
    fields.finish()
    del state
    at_ns = time.monotonic_ns()
    groups = {path: _group(path) for path in paths}
    stat = parse_stat(_required("/proc/stat"), os.sysconf("SC_CLK_TCK"))
    return {"at_ns": at_ns, "groups": groups, "stat": stat, "self_ns": time.process_time_ns()}


def parse_cpu_stat(text: str) -> dict[str, int]:
    """Read a cgroup's cpu.stat: usage, user and system time in ns. Raises OpError when one is missing."""
    values = _pairs(text, "cpu.stat")
    try:
        return {f"{key}_ns": values[f"{key}_usec"] * NS_PER_US for key in ("usage", "user", "system")}
    except KeyError as error:
        raise OpError(f"cpu.stat has no {error.args[0]}") from None


def parse_stat(text: str, clk_tck: int) -> dict[str, int]:
    """Read the first line of /proc/stat: time of all CPUs together in ns (resolution: one tick).

    Returns busy_ns, in which one did something, and softirq_ns of it. Raises OpError.
    """
    words = text.split("\n", 1)[0].split()
    ticks = words[1 : 1 + len(STAT_COLUMNS)]
    if words[:1] != ["cpu"] or len(ticks) < len(STAT_COLUMNS) or not all(_is_count(tick) for tick in ticks):
        raise OpError("/proc/stat does not begin with a line of CPU times")
    columns = dict(zip(STAT_COLUMNS, map(int, ticks)))  # noqa: B905 - strict= is of Python 3.10
    busy = sum(columns[name] for name in WORK)
    return {"busy_ns": busy * NS_PER_S // clk_tck, "softirq_ns": columns["softirq"] * NS_PER_S // clk_tck}


def parse_bytes(text: str | None) -> int | None:
    """Read memory.peak or memory.current; None where the kernel or the cgroup has no such file."""
    if text is None or not _is_count(text.strip()):
        return None
    return int(text)


def _group(path: str) -> dict[str, int | None]:
    text = small_file(f"{path}/cpu.stat")
    if text is None:
        raise OpError(f"{path} is not a cgroup v2 folder that can be read")
    figures: dict[str, int | None] = dict(parse_cpu_stat(text))
    for name in ("peak", "current"):
        figures[f"memory_{name}"] = parse_bytes(small_file(f"{path}/memory.{name}"))
    members = (small_file(f"{path}/cgroup.procs") or "").split()
    figures["resident_peak"] = sum(parse_resident_peak(small_file(f"/proc/{pid}/status") or "") for pid in members)
    return figures


def parse_resident_peak(text: str) -> int:
    """Read VmHWM of /proc/PID/status in bytes; 0 for a process that is gone or has no memory of its own."""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["VmHWM:"] and words[2:] == ["kB"] and _is_count(words[1]):
            return int(words[1]) * 1024
    return 0


def _pairs(text: str, source: str) -> dict[str, int]:
    values = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if not _is_count(value):
            raise OpError(f"{source} has a line that is not a name and a number")
        values[key] = int(value)
    return values


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _required(path: str) -> str:
    text = small_file(path)
    if text is None:
        raise OpError(f"{path} cannot be read")
    return text
