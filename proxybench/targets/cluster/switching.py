"""What a run's switching needs, as it becomes known: the run's folder, the cluster, its nodes' modes."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Final

from proxybench.errors import ConnectionLostError, HostError, RunError, UsageError
from proxybench.kube.objects import NAMESPACE
from proxybench.model import Mode
from proxybench.targets.cluster.place import RunPlace
from proxybench.targets.cluster.switch.changes import strangers
from proxybench.targets.cluster.switch.switcher import Switcher
from proxybench.targets.cluster.switch.tidying import leave

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from proxybench.hosts.fleet import Fleet, Reached
    from proxybench.kube.base import Object
    from proxybench.targets.cluster.switch.tidying import Tidy
    from proxybench.targets.cluster.switch.undo import Header
    from proxybench.targets.cluster.switch.way import Way

_SHOWN: Final = 3


class Modes:
    """Asks each node in which mode its kube-proxy runs, over connections that are made anew when one has broken.

    ``ask`` asks the nodes of a fleet, ``reach`` connects to all again. Belongs to one thread.
    """

    def __init__(self, fleet: Fleet, ask: Callable[[Fleet], Mapping[str, str]], reach: Callable[[], Reached]) -> None:
        self._first = fleet
        self._fleet = fleet
        self._ask = ask
        self._reach = reach
        self._lost = False

    def __call__(self) -> Mapping[str, str]:
        """Return each node's mode, "" for a kube-proxy that does not answer.

        Raises HostError for a lost node, also when called again: it is connected to anew each time until it is back.
        """
        if not self._lost:
            try:
                return self._ask(self._fleet)
            except HostError:
                self._lost = True
        self.close()
        self._fleet, lost = self._reach()
        self._fleet.leave_out(set(self._fleet) - set(self._first))
        if gone := [why for name, why in lost.items() if name in set(self._first)]:
            raise ConnectionLostError(gone[0])
        self._lost = False
        return self._ask(self._fleet)

    def close(self) -> None:
        """End the connections that were made anew; the first ones are somebody else's. Never raises."""
        if self._fleet is not self._first:
            self._fleet.close()


@dataclass
class Switching(RunPlace):
    """What a run's switching needs, as it becomes known: ``folder`` with the run, ``switcher`` with the cluster.

    ``interrupts``: it was understood that others' traffic is interrupted. ``over``: the cluster is being given back.
    """

    interrupts: bool = False
    switcher: Switcher | None = None
    over: Event = field(default_factory=Event)

    def refusal(self, services: Sequence[Object]) -> str:
        """Say which Services of others forbid a switch, "" for none; ``services`` are all of the cluster."""
        felt = strangers(services, NAMESPACE)
        if not felt or self.interrupts:
            return ""
        some = ", ".join(felt[:_SHOWN]) + (", …" if len(felt) > _SHOWN else "")
        what = f"{len(felt)} Services of others would feel a switch ({some})"
        return f"{what}; if that is right: --i-understand-this-interrupts-traffic"

    def opened(
        self,
        services: Sequence[Object],
        connect: Callable[[], AbstractContextManager[Way]],
        header: Header,
        modes: Callable[[], Mapping[str, str]],
        report: Callable[[str], None],
        tidy: Tidy = leave,
    ) -> Switcher:
        """Return what switches the cluster, and puts back what an earlier part of the run has left switched.

        ``services`` are all of the cluster; ``tidy`` cleans its nodes of what a mode has left. ``report`` is told who
        may take a switch back. Raises UsageError where it cannot be switched, or others would feel it; HostError,
        ApiError.
        """
        with connect() as way:
            way.plan(Mode.IPTABLES, "", "")  # for what it refuses
            if why := self.refusal(services):
                raise UsageError(why)
            for line in way.warnings():
                report(line)
        self.switcher = Switcher(connect, header, modes, report, folder=self.folder, over=self.over, tidy=tidy)
        return self.switcher

    def to(self, mode: Mode, image: str = "") -> None:
        """Switch the open cluster; ``image`` is "" for its own. Raises UsageError, RunError, ApiError."""
        if self.switcher is None:
            raise RunError("the cluster is not open yet")
        self.switcher.to(mode, image)
