"""The seam to how a cluster runs its kube-proxy: what a switch changes there, and what makes the change run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxybench.kube.base import Object
    from proxybench.model import Mode
    from proxybench.targets.cluster.switch.changes import Change


START_SECONDS: Final = 180.0
"""For a kube-proxy to answer after its start: two minutes for an API that is away, and one in which it looks for its
Node, again and again, before it answers anybody."""


class Things(Protocol):
    """What holds the fields that are changed, by its path."""

    def settle(self, path: str) -> None:
        """Have no ``put`` that was begun before change it any more, whoever began it. Raises HostError."""
        ...

    def get(self, path: str) -> Object:
        """Return it as it is. Raises ApiError, HostError."""
        ...

    def put(self, path: str, found: Object, made: Object) -> bool:
        """Write it, unless somebody has written it since ``found`` was read; return whether it was written.

        Raises ApiError, HostError.
        """
        ...


@dataclass(frozen=True)
class Written:
    """What became of changes, or of the way back from them.

    ``made`` were made now, ``right`` are as they were to be already; ``edited`` by somebody else, and left alone;
    ``lost`` are of hosts that could not be reached, with the reason.
    """

    made: tuple[Change, ...]
    right: tuple[Change, ...] = ()
    edited: tuple[Change, ...] = ()
    lost: tuple[str, ...] = ()


class Way(Things, Protocol):
    """How kube-proxy runs, over a connection that is good for one switch."""

    def plan(self, mode: Mode, image: str, mark: str) -> tuple[Change, ...]:
        """Return what a switch would change; nothing is changed.

        ``image`` is "" for the one that is there, ``mark`` what no switch before had. Raises UsageError where none can
        be made, ApiError, HostError.
        """
        ...

    def warnings(self) -> tuple[str, ...]:
        """Say who may take a switch back while it lasts, in lines for people. Raises ApiError."""
        ...

    def start_anew(self, written: Written) -> tuple[str, ...]:
        """Have kube-proxy read what was written; return what was done for it, or is left to do, in lines for people.

        Raises ApiError, HostError.
        """
        ...

    def await_running(self, limit_s: float, sleep: Callable[[float], None]) -> None:
        """Wait until what was written runs everywhere; ``sleep`` may raise to have it end.

        Raises RunError when that takes too long, ApiError, HostError.
        """
        ...


def hosts_of(changes: Sequence[Change]) -> tuple[str, ...]:
    """Return the hosts whose files are among changes."""
    return tuple(dict.fromkeys(change.host for change in changes if change.host))
