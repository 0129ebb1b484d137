"""What on this machine could reach a measurement, or looks as if it could: named, with how far it reaches."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from proxybench.targets.lab.capabilities import ask_here
from proxybench.targets.lab.node_script import FILES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from proxybench.hosts.base import Completed

_RULES = {
    "kube-proxy": ("KUBE-SERVICES", "table ip kube-proxy", "table ip6 kube-proxy"),
    "docker": ("DOCKER",),
    "firewalld": ("firewalld",),
}
"""What shows whose rules they are: names of chains and tables, as their own programs write them."""
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_NO_WAY_IN = "nodes of a lab have namespaces of their own, so no connection of a measurement passes"
_LOADED = ("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GLIBC_TUNABLES")
_OWN_ENVIRONMENT = "what a lab starts, and each command on a node, has an environment of its own"
_TRACKED = 0.5
"""Connections by bucket of the kernel's table from which on a look into it takes noticeably longer."""


@dataclass(frozen=True)
class Influence:
    """One thing that was found, and how far it reaches."""

    what: str
    reach: str


@dataclass(frozen=True)
class Surroundings:
    """This machine around a lab: how a command is run here, its environment, and its files below ``root``."""

    ask: Callable[[Sequence[str]], Completed] = ask_here
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    root: Path = Path("/")
    load: Callable[[], float] = lambda: os.getloadavg()[0]
    processors: int = field(default_factory=lambda: os.cpu_count() or 1)
    usable: Callable[[], int] = lambda: len(os.sched_getaffinity(0))
    niceness: Callable[[], int] = lambda: os.getpriority(os.PRIO_PROCESS, 0)
    files: Callable[[], int] = lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def influences(self) -> tuple[Influence, ...]:
        """Return all that was found. Rules are seen by root only; reading them loads no table into the kernel."""
        return (
            *self._rules(),
            *self._alternative(),
            *self._environment(),
            *self._tracked(),
            *self._share(),
            *self._busy(),
        )

    def _rules(self) -> Iterator[Influence]:
        listing = self.ask(["nft", "list", "chains"]).stdout
        if self._text("proc/net/ip_tables_names"):  # else asking would make the tables
            listing += self.ask(["xtables-legacy-multi", "iptables-save"]).stdout
        for owner, marks in _RULES.items():
            if any(mark in listing for mark in marks):
                yield Influence(f"rules of {owner} in this machine's own network namespace", f"{_NO_WAY_IN} them")
        if any(line.startswith(("TCP", "UDP")) for line in self._text("proc/net/ip_vs").splitlines()):
            yield Influence("IPVS services in this machine's own network namespace", f"{_NO_WAY_IN} them")

    def _alternative(self) -> Iterator[Influence]:
        link = self.root / "etc/alternatives/iptables"
        if link.is_symlink():
            chosen = "nft" if "nft" in link.readlink().name else "legacy"
            reach = "no measurement asks it: each subject finds the backend that its experiment names"
            yield Influence(f"the alternative iptables of this machine is {chosen}", reach)

    def _environment(self) -> Iterator[Influence]:
        names = [name for name in self.environ if name.upper() in _PROXIES and self.environ[name]]
        if names:
            what = f"{', '.join(sorted(names))} in the environment"
            yield Influence(what, "downloads go through that proxy, and nothing that is measured does")
        pythons = [name for name in self.environ if name.startswith("PYTHON") and self.environ[name]]
        loaded = [name for name in _LOADED if self.environ.get(name)]
        for found in (loaded, pythons):
            if found:
                yield Influence(f"{', '.join(sorted(found))} in the environment", _OWN_ENVIRONMENT)
        if preloaded := self._text("etc/ld.so.preload").split():
            reach = "every program has it loaded, those of nodes and guests too, and starts more slowly: remove it"
            yield Influence(f"/etc/ld.so.preload names {', '.join(preloaded)}", reach)

    def _tracked(self) -> Iterator[Influence]:
        count, buckets = (
            int(self._text(f"proc/sys/net/netfilter/nf_conntrack_{name}") or 0) for name in ("count", "buckets")
        )
        if count > buckets * _TRACKED:
            what = f"{count} connections tracked on this machine, in {buckets} buckets"
            reach = "the kernel keeps those of all namespaces in one table, so a netns lab's take longer to find"
            yield Influence(what, f"{reach}: use target.lab.kind: vm")

    def _share(self) -> Iterator[Influence]:
        reach = "what it starts has no more, and by the wall clock that shows: take clock: instructions"
        if (niceness := self.niceness()) > 0:
            yield Influence(f"this shell's niceness is {niceness}", reach)
        if (usable := self.usable()) < self.processors:
            yield Influence(f"this shell may use {usable} of this machine's {self.processors} processors", reach)
        if (files := self.files()) < FILES:
            few = (
                "so many connections at once have pods and clients of a netns lab: raise it (ulimit -n), or use the vm"
            )
            yield Influence(f"programs of this shell may open {files} files", few)
        group = next((line[3:] for line in self._text("proc/self/cgroup").splitlines() if line.startswith("0::")), "/")
        quota, _, period = self._text(f"sys/fs/cgroup/{group}/cpu.max").partition(" ")
        if quota.isdigit() and (given := int(quota) / int(period)) < self.processors:
            yield Influence(f"this shell's cgroup has the time of {given:.2g} processors, then waits", reach)

    def _busy(self) -> Iterator[Influence]:
        load = self.load()
        if load > self.processors / 2:
            what = f"{load:.1f} programs want this machine's {self.processors} processors"
            yield Influence(what, "numbers by the wall clock will be worse for it: wait, or take clock: instructions")

    def _text(self, path: str) -> str:
        try:
            return (self.root / path).read_text()
        except OSError:
            return ""
