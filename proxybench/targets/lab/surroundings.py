"""What on this machine could reach a measurement, or looks as if it could: named, with how far it reaches."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from proxybench.targets.lab.capabilities import ask_here

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

    def influences(self) -> tuple[Influence, ...]:
        """Return all that was found. Rules are seen by root only; reading them loads no table into the kernel."""
        return (*self._rules(), *self._alternative(), *self._environment(), *self._busy())

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
        if self.environ.get("LD_PRELOAD"):
            reach = "what this machine starts has it loaded too, and by the wall clock that may cost time: unset it"
            yield Influence("LD_PRELOAD in the environment", reach)

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
