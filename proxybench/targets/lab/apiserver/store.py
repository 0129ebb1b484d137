"""The state of the lab's API server: objects, versions and watch events, all in memory and without input or output.

Semantics are those of the Kubernetes API conventions: one counter of resourceVersions for all resources, optimistic
concurrency on replace, events that can be replayed from any version still remembered. What is not done is what only
our own client could ask for, which writes whole objects with every default filled in: objects are stored as they are
sent, if a Service proxy can read them (``validation``). ``tests/lab/test_control_plane.py`` compares with a real API
server.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from proxybench.kube.resources import NAMESPACES
from proxybench.targets.lab.apiserver import status
from proxybench.targets.lab.apiserver.eventlog import Event, EventLog, Stored
from proxybench.targets.lab.apiserver.paths import RESOURCES
from proxybench.targets.lab.apiserver.selectors import EVERYTHING
from proxybench.targets.lab.apiserver.validation import check

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.kube.resources import Resource
    from proxybench.targets.lab.apiserver.eventlog import EventType
    from proxybench.targets.lab.apiserver.selectors import Selection
    from proxybench.targets.lab.apiserver.status import Object

LOG_CAPACITY: Final = 32_768  # three rewrites of 10,000 objects fit between a list and its watch
LOG_BYTES: Final = 128 << 20  # the same of 4 KiB each; slices of 1,000 endpoints have forty times that
_SET_BY_SERVER: Final = ("uid", "creationTimestamp", "resourceVersion")


class Store:
    """All objects of the lab's API server. Not thread-safe: it lives in one event loop."""

    def __init__(
        self,
        *,
        first_version: int = 1,
        log_capacity: int = LOG_CAPACITY,
        log_bytes: int = LOG_BYTES,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Start empty but for the namespace "default".

        A server that may be restarted passes a ``first_version`` above all earlier ones, so that watches from its
        former life end in 410 and not in a gap.
        """
        self._version = first_version
        self._now = now
        self._objects: dict[Resource, dict[tuple[str, str], Stored]] = {item: {} for item in RESOURCES}
        self._logs = {item: EventLog(log_capacity, first_version, log_bytes) for item in RESOURCES}
        self._sorted: dict[Resource, tuple[Stored, ...] | None] = dict.fromkeys(RESOURCES)
        self._listeners: list[Callable[[Resource], None]] = []
        self.create(NAMESPACES, "", {"metadata": {"name": "default"}})

    @property
    def version(self) -> int:
        """The newest resourceVersion."""
        return self._version

    def subscribe(self, listener: Callable[[Resource], None]) -> None:
        """Call ``listener`` after every change."""
        self._listeners.append(listener)

    def create(self, resource: Resource, namespace: str, obj: Object) -> Stored:
        """Add an object, which is the store's from then on.

        Raises StatusError: 400, 404 (no such namespace), 409, 422 (a field that no Service proxy could read).
        """
        metadata = self._accept(resource, namespace, obj)
        name = metadata["name"]
        if resource.namespaced and ("", namespace) not in self._objects[NAMESPACES]:
            raise status.not_found(NAMESPACES, namespace)
        if (namespace, name) in self._objects[resource]:
            raise status.already_exists(resource, name)
        check(resource, obj)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        return self._write(resource, obj, None)

    def get(self, resource: Resource, namespace: str, name: str) -> Stored:
        """Return one object. Raises StatusError (404)."""
        try:
            return self._objects[resource][namespace, name]
        except KeyError:
            raise status.not_found(resource, name) from None

    def replace(self, resource: Resource, namespace: str, name: str, obj: Object) -> Stored:
        """Replace an object by one that is the store's from then on.

        One without a resourceVersion replaces any version. An object that is what it was keeps its version, as on a
        real server; a Service of another type loses what it had by the former one. Raises StatusError: 400, 404, 409
        Conflict, 422.
        """
        before = self.get(resource, namespace, name)
        metadata = self._accept(resource, namespace, obj)
        if metadata["name"] != name:
            raise status.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        old = before.decoded()
        check(resource, obj, old)
        if metadata.get("resourceVersion") not in {None, "", old["metadata"]["resourceVersion"]}:
            raise status.conflict(resource, name)
        metadata.update({field: old["metadata"][field] for field in _SET_BY_SERVER})
        return before if obj == old else self._write(resource, obj, before)

    def delete(self, resource: Resource, namespace: str, name: str) -> Stored:
        """Remove an object; deleting a namespace removes what is in it, at once. Raises StatusError (404)."""
        return self._remove(self.get(resource, namespace, name))

    def delete_collection(self, resource: Resource, namespace: str, selection: Selection) -> list[Stored]:
        """Remove all objects of a namespace ("" for all) that are selected; return their last states."""
        return [self._remove(item) for item in self.select(resource, namespace, selection)]

    def select(self, resource: Resource, namespace: str, selection: Selection) -> list[Stored]:
        """Return the selected objects of a namespace ("" for all), in the order of namespace and name."""
        return [item for item in self._in_order(resource) if item.within(namespace, selection)]

    def events_after(self, resource: Resource, version: int) -> list[Event]:
        """Return what happened to a resource since a version. Raises StatusError (410 Expired)."""
        return self._logs[resource].after(version)

    def _accept(self, resource: Resource, namespace: str, obj: Object) -> Object:
        """Return the metadata of an object that was sent, complete but for what the server sets."""
        metadata = obj.get("metadata")
        if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
            raise status.bad_request("metadata.name: Required value")
        obj.setdefault("apiVersion", resource.api_version(resource.versions[0]))
        obj.setdefault("kind", resource.kind)
        if resource.namespaced and metadata.setdefault("namespace", namespace) != namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        return metadata

    def _write(self, resource: Resource, obj: Object, before: Stored | None) -> Stored:
        obj["metadata"]["resourceVersion"] = str(self._version + 1)
        return self._commit("MODIFIED" if before else "ADDED", Stored(resource, obj, self._version + 1), before)

    def _remove(self, before: Stored) -> Stored:
        if before.resource is NAMESPACES:
            for other in RESOURCES:
                if other.namespaced:
                    self.delete_collection(other, before.name, EVERYTHING)
        obj = before.decoded()
        obj["metadata"]["resourceVersion"] = str(self._version + 1)
        return self._commit("DELETED", Stored(before.resource, obj, self._version + 1), before)

    def _commit(self, kind: EventType, now: Stored, before: Stored | None) -> Stored:
        self._version = now.version
        objects = self._objects[now.resource]
        if kind == "DELETED":
            del objects[now.key]
        else:
            objects[now.key] = now
        self._sorted[now.resource] = None
        self._logs[now.resource].append(Event(now.version, kind, now, before))
        for listener in self._listeners:
            listener(now.resource)
        return now

    def _in_order(self, resource: Resource) -> tuple[Stored, ...]:
        known = self._sorted[resource]
        if known is None:
            objects = self._objects[resource]
            known = self._sorted[resource] = tuple(objects[key] for key in sorted(objects))
        return known
