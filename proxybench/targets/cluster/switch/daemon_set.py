"""kubeadm's way to run kube-proxy: the DaemonSet kube-proxy with the ConfigMap kube-proxy."""

from __future__ import annotations

import time
from functools import reduce
from typing import TYPE_CHECKING, Final

from proxybench.errors import ApiError, RunError, UsageError
from proxybench.targets.cluster.access import list_pods
from proxybench.targets.cluster.switch.changes import (
    CONFIG_MAP,
    DAEMON_SET,
    IMAGE,
    progress,
    read,
    rolled_out,
    switch_changes,
    written,
)
from proxybench.targets.cluster.switch.deployment import recognise
from proxybench.targets.cluster.switch.obstacles import nodes_away, own_pods, stuck, unmatched, unready
from proxybench.targets.cluster.switch.owners import keeper

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from proxybench.kube.base import Object, ObjectApi
    from proxybench.model import Mode
    from proxybench.targets.cluster.switch.changes import Change
    from proxybench.targets.cluster.switch.deployment import Deployment
    from proxybench.targets.cluster.switch.way import Written

_POLL: Final = 1.0
_DAEMON_SETS: Final = "/apis/apps/v1/namespaces/kube-system/daemonsets"
_CONFIG_MAPS: Final = "/api/v1/namespaces/kube-system/configmaps"
_NODES: Final = "/api/v1/nodes"
_ROLLOUT: Final = "kubectl -n kube-system rollout restart ds/kube-proxy"
_CONFLICT: Final = 409
_REFUSED: Final = {400, 403, 422}
_NO_DRY_RUN: Final = "does not support dry run"  # a webhook, by the API server's words
STUCK_SECONDS: Final = 120.0
"""For a rollout that does not go on while a node is not ready, or a pod does not start, by which it cannot end."""


class DaemonSetWay:
    """Implements Way by the API alone: the DaemonSet's controller starts kube-proxy anew."""

    def __init__(
        self, api: ObjectApi, stuck_s: float = STUCK_SECONDS, hosts: Mapping[str, Collection[str]] | None = None
    ) -> None:
        """Take the API; ``stuck_s`` is as ``STUCK_SECONDS``.

        ``hosts`` are the names and addresses of each host that is asked for its mode and cleaned; None for who only
        puts back, which needs none.
        """
        self._api = api
        self._stuck_s = stuck_s
        self._hosts = hosts

    def settle(self, path: str) -> None:
        """Do nothing: the API server does a request at once, and refuses one that knows no newest version."""

    def get(self, path: str) -> Object:
        """Return an object. Raises ApiError."""
        return self._api.ask("GET", path)

    def put(self, path: str, found: Object, made: Object) -> bool:
        """Write an object of the version that was read; return False when another one was written meanwhile."""
        del found  # the version in ``made`` is its own
        try:
            self._api.ask("PUT", path, made)
        except ApiError as error:
            if error.status != _CONFLICT:
                raise
            return False
        return True

    def plan(self, mode: Mode, image: str, mark: str) -> tuple[Change, ...]:
        """Return what a switch would change. Raises UsageError where none can be made, or should be; ApiError."""
        sets, maps, nodes = _objects(self._api)
        found = recognise(sets, maps, nodes)
        if not found.switchable:
            raise UsageError(f"kube-proxy cannot be switched: {found.why}")
        config_map, daemon_set = _named(maps), _named(sets)
        if image and not isinstance(read(daemon_set, IMAGE), str):
            raise UsageError("the DaemonSet kube-proxy has no container kube-proxy, whose image could be another")
        changes = switch_changes(config_map, daemon_set, mode, image, mark)
        pods = self._pods(daemon_set)
        strange = "" if self._hosts is None else unmatched(pods, nodes, self._hosts)
        if why := strange or unready(daemon_set, pods, nodes):
            raise UsageError(f"kube-proxy cannot be switched: {why}")
        for path, there in ((CONFIG_MAP, config_map), (DAEMON_SET, daemon_set)):
            self._try(path, there, [change for change in changes if change.path == path])
        return changes

    def _try(self, path: str, found: Object, changes: Sequence[Change]) -> None:
        """Ask what would be stored, by a dry run. Raises UsageError where that is refused, or something else; ApiError.

        What admission makes of a field, such as an image by its digest, the way back would take for somebody's edit.
        What it changes beside, nobody would put back.
        """
        wanted = reduce(lambda obj, one: written(obj, one.field, one.after), changes, found)
        try:
            stored = self._api.ask("PUT", f"{path}?dryRun=All", wanted)
        except ApiError as error:
            if error.status == _CONFLICT or _NO_DRY_RUN in str(error):
                return
            if error.status not in _REFUSED:
                raise
            raise UsageError(f"kube-proxy cannot be switched: {error}") from error
        for change in changes:
            if read(stored, change.field) != change.after:
                what = f"admission in the API would not store {change.what} as it is written"
                shown = f", but {read(stored, IMAGE)}; name that" if change.field == IMAGE else "; exempt it from that"
                raise UsageError(f"kube-proxy cannot be switched: {what}{shown}")
        if any(stored.get(part) != wanted.get(part) for part in ("spec", "data")):
            now, then = read(found, IMAGE), read(stored, IMAGE)
            shown = f", such as its image: {now} would become {then}" if now != then else ""
            what = f"admission in the API would change more of {changes[0].what.partition(' ')[0]} than is written"
            raise UsageError(f"kube-proxy cannot be switched: {what}{shown}; exempt it from that")

    def warnings(self) -> tuple[str, ...]:
        """Say which of both objects has an owner who may put it back at once. Raises ApiError."""
        found = {path: keeper(self.get(path)) for path in (CONFIG_MAP, DAEMON_SET)}
        what = "has an owner who may take a switch back at once"
        return tuple(
            f"{'/'.join(path.rsplit('/', 2)[-2:])} {what} ({who}); have that pause while the run lasts"
            for path, who in found.items()
            if who
        )

    def start_anew(self, written: Written) -> tuple[str, ...]:
        """Do nothing: a template that was written is rolled out. Where none was, tell what it takes."""
        made, right = ({change.path for change in some} for some in (written.made, written.right))
        if DAEMON_SET in made:
            return ()
        if CONFIG_MAP in made:
            return (f"nothing was rolled out; where kube-proxy was started anew since, it still takes: {_ROLLOUT}",)
        if (
            DAEMON_SET in right and not written.edited
        ):  # by an earlier restore; what it rolled out may have read an edit
            return (f"all was put back before; where kube-proxy was started in between, it still takes: {_ROLLOUT}",)
        return ()

    def await_running(self, limit_s: float, sleep: Callable[[float], None]) -> None:
        """Wait until the DaemonSet's newest template runs everywhere, also while the API is away. Raises RunError."""
        seen, since = "", time.monotonic()
        end = since + limit_s
        while True:
            try:
                found = self.get(DAEMON_SET)
                if rolled_out(found):
                    return
                if time.monotonic() > end:
                    raise RunError(f"kube-proxy's rollout did not end within {limit_s:g} s: {progress(found)}")
                if (now := progress(found)) != seen:
                    seen, since = now, time.monotonic()
                elif time.monotonic() > since + self._stuck_s and (away := self._away(found)):
                    raise RunError(f"kube-proxy's rollout goes on no more: {now}; not ready: {', '.join(away)}")
            except ApiError as error:
                if not error.away or time.monotonic() > end:
                    raise
            sleep(_POLL)

    def _away(self, daemon_set: Object) -> tuple[str, ...]:
        pods = self._pods(daemon_set)
        return (*nodes_away(pods, _items(self._api, _NODES)), *stuck(pods))

    def _pods(self, daemon_set: Object) -> list[Object]:
        labels = (daemon_set["spec"]["selector"].get("matchLabels") or {}).items()
        return own_pods(list_pods(self._api, "kube-system", ",".join(f"{name}={value}" for name, value in labels)))


def look(api: ObjectApi) -> Deployment:
    """Ask the API how kube-proxy runs. Raises ApiError."""
    return recognise(*_objects(api))


def _objects(api: ObjectApi) -> tuple[Sequence[Object], Sequence[Object], Sequence[Object]]:
    """Return the DaemonSets and ConfigMaps of kube-system, and all Nodes."""
    sets, maps, nodes = (_items(api, path) for path in (_DAEMON_SETS, _CONFIG_MAPS, _NODES))
    return sets, maps, nodes


def _items(api: ObjectApi, path: str) -> list[Object]:
    return list(api.ask("GET", path)["items"] or ())


def _named(objects: Sequence[Object]) -> Object:
    return next(one for one in objects if one["metadata"]["name"] == "kube-proxy")
