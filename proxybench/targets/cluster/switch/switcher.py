"""Makes a cluster's kube-proxy run in another mode, and puts everything back."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import TYPE_CHECKING, Final

from proxybench.errors import ConnectionLostError, RunError, UsageError
from proxybench.targets.cluster.switch.changes import CONFIG_MAP, DAEMON_SET, rolled_out, switch_changes
from proxybench.targets.cluster.switch.deployment import recognise
from proxybench.targets.cluster.switch.undo import FILE, UndoLog, make, read_undo, undo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from proxybench.kube.base import ObjectApi
    from proxybench.model import Mode
    from proxybench.targets.cluster.switch.changes import Change
    from proxybench.targets.cluster.switch.deployment import Deployment
    from proxybench.targets.cluster.switch.undo import Header

ROLLOUT_SECONDS: Final = 600.0
_POLL: Final = 1.0
_SYSTEM: Final = "/api/v1/namespaces/kube-system"
_ROLLOUT: Final = "kubectl -n kube-system rollout restart ds/kube-proxy"


@dataclass
class Switcher:
    """Switches one cluster; ``modes`` asks every node that is reached in which mode its kube-proxy runs.

    ``connect`` opens the API by credentials that are good now: a run may outlive those with which it began. ``say`` is
    told what happens. ``folder`` is the run's, in which the undo log lies before anything is changed. Once ``over`` is
    set nothing is switched any more, and who waits for a switch is told so.
    """

    connect: Callable[[], AbstractContextManager[ObjectApi]]
    header: Header
    modes: Callable[[], Mapping[str, str]]
    say: Callable[[str], None]
    limit_s: float = ROLLOUT_SECONDS
    sleep: Callable[[float], None] = time.sleep
    folder: Path | None = None
    over: Event = field(default_factory=Event)
    _lock: Lock = field(default_factory=Lock)  # held while objects are changed

    def to(self, mode: Mode) -> None:
        """Make every node's kube-proxy run in a mode.

        Raises UsageError, RunError, ApiError, and ConnectionLostError once the cluster is being given back.
        """
        if set(self.modes().values()) == {str(mode)}:
            return
        if self.folder is None:
            raise RunError("there is no run folder yet, where an undo log could lie")
        with self.connect() as api:
            with self._lock:
                self._go_on()
                log = UndoLog(self.folder / FILE, self.header)
                self.say(f"switching kube-proxy to {mode} mode, with {self.folder / FILE} for the way back")
                for change in plan(api, mode, uuid.uuid4().hex):
                    make(api, log, change)
            await_rollout(api, self.limit_s, self._pause)
        self._await_mode(mode)

    def put_back(self) -> None:
        """Undo all that was changed, for good. Raises RunError when something could not be put back, ApiError."""
        self.over.set()
        with self._lock:
            if self.folder is None or not (self.folder / FILE).exists():
                return
            with self.connect() as api:
                for line in restore(api, self.folder / FILE, self.limit_s, self.sleep):
                    self.say(line)

    def _go_on(self) -> None:
        if self.over.is_set():
            raise ConnectionLostError("the cluster is being given back; kube-proxy is not switched any more")

    def _pause(self, seconds: float) -> None:
        self._go_on()
        self.sleep(seconds)

    def _await_mode(self, mode: Mode) -> None:
        end = time.monotonic() + self.limit_s
        while True:
            others = {name: found for name, found in self.modes().items() if found != mode}
            if not others:
                return
            if time.monotonic() > end:
                shown = ", ".join(f"{name} in {found or 'none'}" for name, found in others.items())
                raise RunError(f"not every node's kube-proxy runs in {mode} mode within {self.limit_s:g} s: {shown}")
            self._pause(_POLL)


def look(api: ObjectApi) -> Deployment:
    """Ask the API how kube-proxy runs. Raises ApiError."""
    sets = api.ask("GET", "/apis/apps/v1/namespaces/kube-system/daemonsets")["items"]
    maps = api.ask("GET", f"{_SYSTEM}/configmaps")["items"]
    return recognise(sets, maps, api.ask("GET", "/api/v1/nodes")["items"])


def plan(api: ObjectApi, mode: Mode, mark: str) -> tuple[Change, ...]:
    """Return what a switch would change; nothing is changed. Raises UsageError where none can be made, ApiError."""
    found = look(api)
    if not found.switchable:
        raise UsageError(f"kube-proxy cannot be switched: {found.why}")
    return switch_changes(api.ask("GET", CONFIG_MAP), api.ask("GET", DAEMON_SET), mode, mark)


def await_rollout(api: ObjectApi, limit_s: float, sleep: Callable[[float], None]) -> None:
    """Wait until the DaemonSet's newest template runs everywhere. Raises RunError."""
    end = time.monotonic() + limit_s
    while not rolled_out(found := api.ask("GET", DAEMON_SET)):
        if time.monotonic() > end:
            status = found.get("status", {})
            done, wanted = status.get("updatedNumberScheduled", 0), status.get("desiredNumberScheduled", 0)
            raise RunError(f"kube-proxy's rollout did not end within {limit_s:g} s: {done} of {wanted} pods are new")
        sleep(_POLL)


def restore(
    api: ObjectApi, path: Path, limit_s: float = ROLLOUT_SECONDS, sleep: Callable[[float], None] = time.sleep
) -> tuple[str, ...]:
    """Put back what an undo log tells of, as often as it is called; return what was done, in lines for people.

    Raises RunError when something was left alone, since somebody else has edited it, which says what was put back and
    whether a rollout is still needed; ApiError, ResultsError.
    """
    known = read_undo(path.read_text(), str(path))
    if known.done:
        return (f"{path}: all is back already",)
    back, left = undo(api, known.changes)
    if back:
        await_rollout(api, limit_s, sleep)
    lines = [f"put back: {what}" for what in back]
    if back and not any(what.startswith("daemonsets/") for what in back):
        lines.append(f"nothing was rolled out; where kube-proxy was started anew since, it still takes: {_ROLLOUT}")
    if left:
        edited = f"edited by somebody else since, and left as it is: {', '.join(left)}; see {path}"
        raise RunError("; ".join([edited, *lines]))
    UndoLog(path, known.header).finish()
    return tuple(lines) or ("nothing had been changed",)
