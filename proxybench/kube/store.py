"""The state of the lab's API server: objects, versions and watch events, all in memory and without input or output.

Semantics are those of the Kubernetes API conventions: one counter of resourceVersions for all resources, optimistic
concurrency on replace, consistent lists in pages, events that can be replayed from any version still remembered.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import uuid
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from proxybench.kube import status, versions
from proxybench.kube.eventlog import Event, EventLog, Stored
from proxybench.kube.resources import NAMESPACES, RESOURCES
from proxybench.kube.selectors import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.kube.eventlog import EventType
    from proxybench.kube.resources import Resource
    from proxybench.kube.selectors import Selection
    from proxybench.kube.status import Object

LOG_CAPACITY: Final = 32_768  # three rewrites of 10,000 objects fit between a list and its watch
_SNAPSHOTS: Final = 8  # lists in pages that may be under way at the same time
_SUFFIX_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"  # as in Kubernetes: spells no words


class Page(NamedTuple):
    """One page of a list: ``token`` continues it ("" at the end), ``remaining`` counts what is left, if known."""

    items: list[Stored]
    version: int
    token: str
    remaining: int | None


class Store:
    """All objects of the lab's API server. Not thread-safe: it lives in one event loop."""

    def __init__(
        self,
        *,
        first_version: int = 1,
        log_capacity: int = LOG_CAPACITY,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Start empty but for the namespace "default".

        A server that may be restarted passes a ``first_version`` above all earlier ones, so that watches from its
        former life end in 410 and not in a gap.
        """
        self._version = first_version
        self._now = now
        self._objects: dict[Resource, dict[tuple[str, str], Stored]] = {item: {} for item in RESOURCES}
        self._logs = {item: EventLog(log_capacity, first_version) for item in RESOURCES}
        self._sorted: dict[Resource, tuple[Stored, ...] | None] = dict.fromkeys(RESOURCES)
        self._snapshots: OrderedDict[tuple[Resource, int], tuple[Stored, ...]] = OrderedDict()
        self._listeners: list[Callable[[Resource], None]] = []
        self.create(NAMESPACES, "", {"metadata": {"name": "default"}})

    @property
    def version(self) -> int:
        """The newest resourceVersion."""
        return self._version

    def subscribe(self, listener: Callable[[Resource], None]) -> Callable[[], None]:
        """Call ``listener`` after every change; return what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def create(self, resource: Resource, namespace: str, obj: Object) -> Stored:
        """Add an object, which is the store's from then on.

        Raises StatusError: 400, 404 (no such namespace), 409 AlreadyExists, 422.
        """
        metadata = _metadata(obj)
        self._check_namespace(resource, namespace, metadata)
        if metadata.get("resourceVersion"):
            raise status.bad_request("resourceVersion should not be set on objects to be created")
        name = metadata.get("name") or self._generated(metadata.get("generateName"))
        if not name:
            problem = "Required value: name or generateName is required"
            raise status.invalid(resource, "", "metadata.name", "FieldValueRequired", problem)
        if (namespace, name) in self._objects[resource]:
            raise status.already_exists(resource, name)
        metadata["name"] = name
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        return self._write(resource, namespace, name, obj, None)

    def get(self, resource: Resource, namespace: str, name: str) -> Stored:
        """Return one object. Raises StatusError (404)."""
        try:
            return self._objects[resource][namespace, name]
        except KeyError:
            raise status.not_found(resource, name) from None

    def replace(self, resource: Resource, namespace: str, name: str, obj: Object) -> Stored:
        """Replace an object by one that is the store's from then on.

        One without a resourceVersion replaces any version. An object that is what it was keeps its version, as on a
        real server. Raises StatusError: 400, 404, 409 Conflict, 422.
        """
        before = self.get(resource, namespace, name)
        metadata = _metadata(obj)
        if metadata.get("name", name) != name:
            found = metadata["name"]
            raise status.bad_request(f"the name of the object ({found}) does not match the name on the URL ({name})")
        self._check_namespace(resource, namespace, metadata)
        if metadata.get("resourceVersion") not in {None, "", str(before.version)}:
            raise status.conflict(resource, name)
        old = before.decoded()
        metadata["name"] = name
        for field in ("uid", "creationTimestamp", "resourceVersion"):
            metadata[field] = old["metadata"][field]
        if obj == old:
            return before
        return self._write(resource, namespace, name, obj, before)

    def delete(self, resource: Resource, namespace: str, name: str, conditions: Object | None = None) -> Stored:
        """Remove an object; deleting a namespace removes what is in it.

        ``conditions`` may hold ``uid`` and ``resourceVersion`` (DeleteOptions.preconditions). Raises StatusError:
        404, 409 Conflict.
        """
        before = self.get(resource, namespace, name)
        metadata = before.decoded()["metadata"]
        for field, words in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            wanted = (conditions or {}).get(field)
            if wanted not in {None, metadata[field]}:
                cause = (
                    f"Precondition failed: {words} in precondition: {wanted}, {words} in object meta: {metadata[field]}"
                )
                raise status.conflict(resource, name, cause)
        if resource == NAMESPACES:
            for other in RESOURCES:
                if other.namespaced:
                    self.delete_collection(other, name, EVERYTHING)
        return self._remove(before)

    def delete_collection(self, resource: Resource, namespace: str, selection: Selection) -> list[Stored]:
        """Remove all objects of a namespace ("" for all) that are selected; return their last states."""
        doomed = [item for item in self._in_order(resource) if item.within(namespace, selection)]
        return [self._remove(item) for item in doomed]

    def page(
        self, resource: Resource, namespace: str, selection: Selection, *, limit: int = 0, token: str = ""
    ) -> Page:
        """Return the selected objects in the order of namespace and name, all as of one version.

        ``limit`` 0 means no limit; ``token`` continues an earlier page. Raises StatusError: 400, 410.
        """
        version, start = self._resume(resource, token) if token else (self._version, 0)
        snapshot = self._snapshots[resource, version] if token else self._in_order(resource)
        items: list[Stored] = []
        for position in range(start, len(snapshot)):
            item = snapshot[position]
            if not item.within(namespace, selection):
                continue
            if limit and len(items) == limit:
                self._keep(resource, version, snapshot)
                remaining = len(snapshot) - position if selection.everything and not namespace else None
                return Page(items, version, _token(version, position), remaining)
            items.append(item)
        return Page(items, version, "", None)

    def events_after(self, resource: Resource, version: int) -> list[Event]:
        """Return what happened to a resource since a version. Raises StatusError (410 Expired, 504)."""
        if version > self._version:
            raise status.version_too_large(version, self._version)
        return self._logs[resource].after(version)

    def _write(self, resource: Resource, namespace: str, name: str, obj: Object, before: Stored | None) -> Stored:
        obj.setdefault("apiVersion", resource.api_version(resource.versions[0]))
        obj.setdefault("kind", resource.kind)
        versions.fill_in(resource, obj)
        versions.check(resource, name, obj, before.decoded() if before else None)
        if resource.namespaced:
            obj["metadata"]["namespace"] = namespace
        obj["metadata"]["resourceVersion"] = str(self._version + 1)
        return self._commit("MODIFIED" if before else "ADDED", Stored(resource, obj, self._version + 1), before)

    def _remove(self, before: Stored) -> Stored:
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

    def _check_namespace(self, resource: Resource, namespace: str, metadata: Object) -> None:
        if not resource.namespaced:
            return
        if metadata.get("namespace", namespace) != namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        if ("", namespace) not in self._objects[NAMESPACES]:
            raise status.not_found(NAMESPACES, namespace)

    def _generated(self, prefix: str | None) -> str:
        if not prefix:
            return ""
        return prefix + "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(5))

    def _in_order(self, resource: Resource) -> tuple[Stored, ...]:
        known = self._sorted[resource]
        if known is None:
            objects = self._objects[resource]
            known = self._sorted[resource] = tuple(objects[key] for key in sorted(objects))
        return known

    def _keep(self, resource: Resource, version: int, snapshot: tuple[Stored, ...]) -> None:
        self._snapshots[resource, version] = snapshot
        self._snapshots.move_to_end((resource, version))
        while len(self._snapshots) > _SNAPSHOTS:
            self._snapshots.popitem(last=False)

    def _resume(self, resource: Resource, token: str) -> tuple[int, int]:
        try:
            version, start = map(int, orjson.loads(base64.urlsafe_b64decode(token)))
        except (binascii.Error, ValueError, TypeError):
            raise status.bad_request("continue key is not valid") from None
        if (resource, version) not in self._snapshots:
            raise status.continue_expired()
        return version, max(start, 0)


def _token(version: int, start: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([version, start])).decode()


def _metadata(obj: Object) -> Object:
    metadata = obj.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise status.bad_request("metadata must be an object")
    return metadata
