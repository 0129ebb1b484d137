"""The seam to where is measured: a target opens clusters; nothing outside ``targets.lab`` knows that one is a lab."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from proxybench.model import ClockKind, Mode
    from proxybench.nodes.cluster import Cluster


@dataclass(frozen=True)
class TargetFacts:
    """What a target is, for the manifest: fixed before anything is measured.

    ``kind`` is what the nodes are made of ("netns", "vm"), ``clock`` the kind of clock that their times come from,
    ``kernel`` the name of a kernel that was chosen ("6.12"), None where the nodes have their own. ``why`` is a sentence
    for people: why this target and this clock. ``lacks``: what it was asked for and has not (as in ``Needs.modes``),
    with the reason. ``exclusive`` and ``starts_proxies`` as in ``Traits`` of its clusters.
    """

    kind: str
    clock: ClockKind
    accelerator: str
    why: str
    kernel: str | None = None
    lacks: Mapping[tuple[Mode, str | None], str] = field(default_factory=dict)
    exclusive: bool = True
    starts_proxies: bool = True


@dataclass(frozen=True)
class Needs:
    """What an experiment needs of a target.

    ``modes``: each mode with the backend of iptables, "legacy" or "nft" (None in nftables mode). ``ipv6``: whether
    Services and pods have addresses of IPv6, too. ``release``: the newest of the kube-proxies ("v1.37.2"), than which
    no API server is older; "" where there is none.
    """

    modes: tuple[tuple[Mode, str | None], ...]
    ipv6: bool = False
    release: str = ""


class Target(Protocol):
    """Where is measured."""

    @property
    def facts(self) -> TargetFacts:
        """What it is."""
        ...

    def capacity(self) -> int:
        """Return how many clusters can be had side by side without disturbing each other's numbers."""
        ...

    def open(self, count: int, report: Callable[[str], None]) -> AbstractContextManager[tuple[Cluster, ...]]:
        """Make or reach so many clusters, at once; leaving the context gives back everything, also when it fails.

        To be entered in the main thread. Raises LabError or HostError.
        """
        ...
