"""A kube-proxy that runs already on a node: found, watched, and left alone."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from proxybench.clocks import Instant
from proxybench.errors import ProxierError
from proxybench.nodes.requests import AskClocks
from proxybench.subjects.process import Process
from proxybench.subjects.proxy_log import log_tail
from proxybench.subjects.serving import METRICS_PORT
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.nodes.node import NodeHandle

WHAT: Final = "the cluster's kube-proxy"
_LIMIT: Final = 60.0
_MOUNT: Final = "/sys/fs/cgroup"
_START: Final = 19  # of what follows the name in /proc/PID/stat: starttime, in ticks

_NAME: Final = "kube-proxy"
# Prints of each kube-proxy in this network namespace its pid, name, cgroup, unit of systemd, log, time zone, and the
# members of its cgroup with their parents. Where no process has its name, it is whoever listens on the port of its
# metrics: k3s runs it inside its own process. Other nodes of one machine, and other machines' containers, have
# namespaces of their own.
# $1 where cgroups are mounted, $2 the port in hexadecimal digits, as /proc/net/tcp has it beside the socket's inode.
_SEARCH: Final = r"""
own=$(readlink /proc/self/ns/net)
pids=
for comm in $(grep -lsx kube-proxy /proc/[0-9]*/comm); do
  pid=${comm#/proc/}; pid=${pid%/comm}
  [ "$(readlink "/proc/$pid/ns/net")" = "$own" ] && pids="$pids $pid"
done
[ "$pids" ] || for inode in $(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | sed -n \
  "s/^ *[0-9]*: [0-9A-F]*:$2 [0-9A-F:]* 0A [^ ]* [^ ]* [^ ]* *[0-9]* *[0-9]* \([0-9]*\) .*/\1/p"); do
  pids="$pids $(ls -l /proc/[0-9]*/fd 2>/dev/null | sed -n \
    -e '/^\/proc\/[0-9]*\/fd:$/h' -e "/socket:\[$inode\]/{g;s/[^0-9]//g;p;}")"
done
for pid in $(printf '%s\n' $pids | sort -un); do
  name=$(cat "/proc/$pid/comm")
  group=$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
  echo "pid $pid"
  echo "name $name"
  echo "cgroup $group"
  echo "unit $(sed -n 's/^.*\/\([^/]*\.service\)$/\1/p' "/proc/$pid/cgroup" | head -n 1)"
  echo "log $(readlink "/proc/$pid/fd/2")"
  zone=$(tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | sed -n 's/^TZ=//p')
  echo "zone $(TZ="${zone:-:/proc/$pid/root/etc/localtime}" date +%z)"
  [ "$name" = kube-proxy ] && for member in $(cat "$1$group/cgroup.procs" 2>/dev/null); do
    echo "member $member $(sed -n 's/^PPid:[^0-9]*//p' "/proc/$member/status" 2>/dev/null)"
  done
done
exit 0
"""
FIND: Final = ("sh", "-c", _SEARCH, "find", _MOUNT, f"{METRICS_PORT:04X}")
"""Searches a node; ``parse_found`` reads what it prints."""
# $1 what its standard error is, $2 bytes to leave out, $3 seconds since 1970, $4 its unit of systemd ("" for none).
# Containers' logs have a prefix (CRI), or are JSON (Docker's).
_LOG: Final = r"""
pod=$(ls -t /var/log/containers/kube-proxy-*_kube-system_*.log 2>/dev/null | head -n 1)
if [ -f "$1" ]; then tail -c "+$2" "$1" | head -c 8000000
elif [ -z "$4" ] && [ -n "$pod" ]; then sed -E -e 's/^[^ ]+ std(out|err) [FP] //' \
  -e '/^\{"log":"/{s/^\{"log":"//;s/(\\n)?","(stream|time|attrs)":.*$//;s/\\"/"/g}' "$pod" | tail -c 8000000
elif command -v journalctl >/dev/null; then
  journalctl -u "${4:-kube-proxy}" -o cat --no-pager --since "@$3" | tail -c 8000000
fi
"""


@dataclass
class _Seen:
    pid: int
    name: str = _NAME
    cgroup: str = ""
    unit: str = ""
    log: str = ""
    zone: str = ""
    members: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """A running kube-proxy: its pid, its cgroup v2 folder, what its standard error is, and its unit of systemd.

    ``cgroup`` is None where none holds kube-proxy and nothing else: ``no_cpu`` says why. ``unit`` is "" for none.
    ``zone_s``: how many seconds its clock is ahead of UTC, in which it logs.
    """

    pid: int
    cgroup: str | None
    log: str
    unit: str = ""
    no_cpu: str = ""
    zone_s: int = 0


def parse_found(text: str) -> Found:
    """Read what the search printed. Raises ProxierError unless there is exactly one."""
    seen = _seen(text)
    if not seen:
        raise ProxierError("no kube-proxy runs in its network namespace")
    if len(seen) > 1:
        raise ProxierError(f"{len(seen)} kube-proxies run there: {', '.join(str(one.pid) for one in seen)}")
    (one,) = seen
    no_cpu = _not_alone(one)
    cgroup = None if no_cpu else f"{_MOUNT}{one.cgroup}".rstrip("/")
    return Found(one.pid, cgroup, one.log, one.unit, no_cpu, _ahead(one.zone))


def _ahead(zone: str) -> int:
    """Read "+0530", as ``date +%z`` prints it, in seconds; 0 for what is none."""
    found = re.fullmatch(r"([+-])(\d\d)(\d\d)", zone)
    return int(f"{found[1]}1") * (int(found[2]) * 3600 + int(found[3]) * 60) if found else 0


def _not_alone(one: _Seen) -> str:
    """Say why its CPU time and memory cannot be told from others'; "" where they can."""
    if one.name != _NAME:
        return f"kube-proxy runs inside {one.name}, which does other work, too"
    if one.pid not in one.members:
        return "kube-proxy is in no cgroup of version 2, so that its CPU time cannot be told from others'"
    strangers = [pid for pid in one.members if not _descends(pid, one)]
    if not strangers:
        return ""
    return f"kube-proxy shares its cgroup {one.cgroup} with {len(strangers)} other processes, such as {strangers[0]}"


def _seen(text: str) -> list[_Seen]:
    seen: list[_Seen] = []
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "pid":
            seen.append(_Seen(int(value)))
        elif key in {"name", "cgroup", "unit", "log", "zone"}:
            setattr(seen[-1], key, value)
        elif key == "member":
            member, _, parent = value.partition(" ")
            if parent:  # else it has ended meanwhile
                seen[-1].members[int(member)] = int(parent)
    return seen


def _descends(pid: int, one: _Seen) -> bool:
    while pid in one.members:
        if pid == one.pid:
            return True
        pid = one.members[pid]
    return pid == one.pid


class AttachedProcess(Process):
    """A kube-proxy that was found. Stopping it means to stop watching."""

    _over: ClassVar = "is not watched any more"

    def __init__(self, handle: NodeHandle, found: Found, skip: int, started: str, now: tuple[int, int]) -> None:
        super().__init__(handle, WHAT, found.cgroup, Instant(now[0], handle.node.clock), log_tail)
        self.no_cpu = found.no_cpu
        self.zone_s = found.zone_s
        self._found = found
        self._skip = skip
        self._started = started
        self._since = now[1] // NS_PER_S

    @classmethod
    def attach(cls, handle: NodeHandle) -> AttachedProcess:
        """Find the kube-proxy of a node. Raises ProxierError, HostError."""
        executor = handle.executor
        try:
            found = parse_found(executor.run(FIND, timeout=_LIMIT).stdout)
        except ProxierError as error:
            raise ProxierError(f"{handle.name}: {error}") from error
        size = executor.run(["stat", "-L", "-c", "%s", found.log], check=False, timeout=_LIMIT)
        skip = int(size.stdout) if size.code == 0 and size.stdout.strip().isdigit() else 0
        now = handle.agent.call(AskClocks())
        return cls(handle, found, skip + 1, _start_of(handle, found.pid), (now.monotonic_ns, now.utc_ns))

    def check_alive(self) -> None:
        """Raise ProxierLostError when it is no longer the process that was found."""
        self.check_running()
        if _start_of(self.handle, self._found.pid) != self._started:
            raise self.lost(self.with_tail("ended, or was started anew, while it was watched"))

    def stop(self, limit_s: float) -> None:
        """Watch it no more."""
        del limit_s
        self._stopped = True

    def log(self) -> str:
        """Return what it logged since it was found, as far as its log can be found."""
        argv = ["sh", "-c", _LOG, "log", self._found.log, str(self._skip), str(self._since), self._found.unit]
        return self.handle.executor.run(argv, check=False, timeout=_LIMIT).stdout


def _start_of(handle: NodeHandle, pid: int) -> str:
    """Return when a process was started, in ticks; "" for one that is gone."""
    files: Mapping[str, str | None] = handle.agent.read((f"/proc/{pid}/stat",))
    words = (files[f"/proc/{pid}/stat"] or "").rpartition(")")[2].split()
    return words[_START] if len(words) > _START else ""
