"""What happened to one resource, for watches: the newest events, in the order of their versions."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import orjson

from proxybench.targets.lab.apiserver.selectors import selectable_fields
from proxybench.targets.lab.apiserver.status import expired
from proxybench.targets.lab.apiserver.versions import from_stored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.kube.resources import Resource
    from proxybench.targets.lab.apiserver.selectors import Selection
    from proxybench.targets.lab.apiserver.status import Object

EventType = Literal["ADDED", "MODIFIED", "DELETED"]
_SLACK: Final = 1.25  # of the capacity: old events are dropped in lots, not one by one


class Stored:
    """One object at one resourceVersion, as bytes: parsed only when somebody must look inside."""

    __slots__ = ("_converted", "fields", "labels", "name", "namespace", "raw", "resource", "version")

    def __init__(self, resource: Resource, obj: Object, version: int) -> None:
        """Encode the object, whose ``metadata`` must already be whole."""
        metadata = obj["metadata"]
        self.resource = resource
        self.namespace: str = metadata.get("namespace", "")
        self.name: str = metadata["name"]
        self.labels: Mapping[str, str] = metadata.get("labels") or {}
        self.fields = selectable_fields(resource, obj)
        self.version = version
        self.raw = orjson.dumps(obj)
        self._converted: bytes | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name: the order of lists."""
        return self.namespace, self.name

    def decoded(self) -> Object:
        """Return a fresh copy of the object."""
        obj: Object = orjson.loads(self.raw)
        return obj

    def encoded(self, version: str) -> bytes:
        """Return the JSON in an API version; the conversion is done once."""
        if version == self.resource.versions[0]:
            return self.raw
        if self._converted is None:
            self._converted = orjson.dumps(from_stored(self.resource, version, self.decoded()))
        return self._converted

    def within(self, namespace: str, selection: Selection) -> bool:
        """Tell whether a list of this namespace ("" for all) with this selection shows the object."""
        if namespace and namespace != self.namespace:
            return False
        return selection.matches(self.fields, self.labels)


class Event(NamedTuple):
    """One change. ``now`` is the object after it (its last state for DELETED), ``before`` None for ADDED."""

    version: int
    type: EventType
    now: Stored
    before: Stored | None

    def seen_by(self, namespace: str, selection: Selection) -> EventType | None:
        """Return how a watch with this selection sees it: an object may enter or leave the selection."""
        is_in = self.type != "DELETED" and self.now.within(namespace, selection)
        was_in = self.before is not None and self.before.within(namespace, selection)
        if is_in:
            return "MODIFIED" if was_in else "ADDED"
        return "DELETED" if was_in else None


class EventLog:
    """The newest ``capacity`` events of one resource, of so many bytes at most (a quarter more for a while)."""

    def __init__(self, capacity: int, version: int, size: int) -> None:
        """Start at a version: what was before it is not known."""
        self._capacity = capacity
        self._size = size
        self._bytes = 0
        self._oldest = version
        self._events: list[Event] = []

    def append(self, event: Event) -> None:
        """Remember an event, and forget the oldest ones when there are too many."""
        self._events.append(event)
        self._bytes += len(event.now.raw)
        if len(self._events) > self._capacity * _SLACK or self._bytes > self._size * _SLACK:
            surplus = max(len(self._events) - self._capacity, 0)
            left = self._bytes - sum(len(old.now.raw) for old in self._events[:surplus])
            while left > self._size and surplus < len(self._events) - 1:  # the newest is always known
                left -= len(self._events[surplus].now.raw)
                surplus += 1
            self._forget(surplus, left)

    def _forget(self, surplus: int, left: int) -> None:
        if surplus:
            self._oldest = self._events[surplus - 1].version
            del self._events[:surplus]
        self._bytes = left

    def after(self, version: int) -> list[Event]:
        """Return all events later than a version. Raises StatusError (410) when some are forgotten."""
        if version < self._oldest:
            raise expired(version, self._oldest)
        start = bisect_right(self._events, version, key=_version_of)
        return self._events[start:]


def _version_of(event: Event) -> int:
    return event.version
