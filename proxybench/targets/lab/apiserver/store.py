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

from proxybench.kube.resources import NAMESPACES, RESOURCES, SERVICES
from proxybench.targets.lab.apiserver import status
from proxybench.targets.lab.apiserver.allocation import Allocations
from proxybench.targets.lab.apiserver.defaults import fill_in
from proxybench.targets.lab.apiserver.eventlog import Event, EventLog, Stored
from proxybench.targets.lab.apiserver.problems import Problems
from proxybench.targets.lab.apiserver.selectors import EVERYTHING
from proxybench.targets.lab.apiserver.shapes import check_shape
from proxybench.targets.lab.apiserver.validation import check

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.kube.resources import Resource
    from proxybench.targets.lab.apiserver.eventlog import EventType
    from proxybench.targets.lab.apiserver.selectors import Selection
    from proxybench.targets.lab.apiserver.status import Object

LOG_CAPACITY: Final = 32_768  # three rewrites of 10,000 objects fit between a list and its watch
_LASTING_NAMESPACE: Final = "default"
_SNAPSHOTS: Final = 8  # lists in pages that may be under way at the same time
_GENERATED_LENGTH: Final = 58  # of a generated name before its suffix
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
        self._allocations = Allocations()
        self.create(NAMESPACES, "", {"metadata": {"name": _LASTING_NAMESPACE}})

    @property
    def version(self) -> int:
        """The newest resourceVersion."""
        return self._version

    def subscribe(self, listener: Callable[[Resource], None]) -> Callable[[], None]:
        """Call ``listener`` after every change; return what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def create(self, resource: Resource, namespace: str, obj: Object, *, dry_run: bool = False) -> Stored:
        """Add an object, which is the store's from then on; a dry run only tells what would be stored.

        Raises StatusError: 400, 404 (no such namespace), 409 AlreadyExists, 422.
        """
        metadata = _metadata(resource, obj)
        self._check_namespace(resource, namespace, metadata)
        if metadata.get("resourceVersion"):
            raise status.bad_request("resourceVersion should not be set on objects to be created")
        name = metadata.get("name") or self._generated(metadata.get("generateName"))
        if not name:
            problems = Problems()
            problems.required("metadata.name", "name or generateName is required")
            raise status.invalid(resource, "", problems.causes)
        if (namespace, name) in self._objects[resource]:
            raise status.already_exists(resource, name)
        metadata["name"] = name
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        self._complete(resource, namespace, obj, None)
        if dry_run:
            return _stored(resource, obj, self._version)
        return self._write(resource, obj, None, None)

    def get(self, resource: Resource, namespace: str, name: str) -> Stored:
        """Return one object. Raises StatusError (404)."""
        try:
            return self._objects[resource][namespace, name]
        except KeyError:
            raise status.not_found(resource, name) from None

    def replace(self, resource: Resource, namespace: str, name: str, obj: Object, *, dry_run: bool = False) -> Stored:
        """Replace an object by one that is the store's from then on; a dry run only tells what would be stored.

        One without a resourceVersion replaces any version. An object that is what it was keeps its version, as on a
        real server. Raises StatusError: 400, 404, 409 Conflict, 422.
        """
        before = self.get(resource, namespace, name)
        metadata = _metadata(resource, obj)
        if (found := metadata.get("name") or name) != name:
            raise status.bad_request(f"the name of the object ({found}) does not match the name on the URL ({name})")
        self._check_namespace(resource, namespace, metadata)
        old = before.decoded()
        kept = old["metadata"]
        if metadata.get("uid") not in {None, "", kept["uid"]}:
            raise status.failed_precondition(resource, name, "UID", metadata["uid"], kept["uid"])
        if metadata.get("resourceVersion") not in {None, "", kept["resourceVersion"]}:
            raise status.conflict(resource, name)
        metadata["name"] = name
        for field in ("uid", "creationTimestamp", "resourceVersion"):
            metadata[field] = kept[field]
        if obj == old:
            return before
        self._complete(resource, namespace, obj, old)
        if obj == old:
            return before
        if dry_run:
            return _stored(resource, obj, before.version)
        return self._write(resource, obj, before, old)

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        conditions: Object | None = None,
        *,
        dry_run: bool = False,
    ) -> Stored:
        """Remove an object, or say what a dry run would remove; deleting a namespace removes what is in it.

        ``conditions`` may hold ``uid`` and ``resourceVersion`` (DeleteOptions.preconditions). Raises StatusError:
        403 (the namespace "default"), 404, 409 Conflict.
        """
        before = self.get(resource, namespace, name)
        metadata = before.decoded()["metadata"]
        for field, words in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            wanted = (conditions or {}).get(field)
            if wanted not in {None, metadata[field]}:
                raise status.failed_precondition(resource, name, words, wanted, metadata[field])
        if resource is NAMESPACES and name == _LASTING_NAMESPACE:
            raise status.forbidden(resource, name, "this namespace may not be deleted")
        return before if dry_run else self._remove(before)

    def delete_collection(
        self, resource: Resource, namespace: str, selection: Selection, *, dry_run: bool = False
    ) -> list[Stored]:
        """Remove all objects of a namespace ("" for all) that are selected; return their last states.

        A dry run only says which they would be.
        """
        doomed = [item for item in self._in_order(resource) if item.within(namespace, selection)]
        return doomed if dry_run else [self._remove(item) for item in doomed]

    def page(
        self,
        resource: Resource,
        namespace: str,
        selection: Selection,
        *,
        limit: int = 0,
        token: str = "",
        version: int = 0,
    ) -> Page:
        """Return the selected objects in the order of namespace and name, all as of one version.

        ``limit`` 0 means no limit; ``token`` continues an earlier page; ``version`` 0 means the newest. Raises
        StatusError: 400, 410, 504.
        """
        if token:
            version, start = self._resume(resource, token)
            snapshot = self._snapshots[resource, version]
        else:
            version, start = version or self._version, 0
            snapshot = self._as_of(resource, version)
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

    def _complete(self, resource: Resource, namespace: str, obj: Object, old: Object | None) -> None:
        """Make an object what would be stored of it, but for its version. Raises StatusError (422)."""
        obj.setdefault("apiVersion", resource.api_version(resource.versions[0]))
        obj.setdefault("kind", resource.kind)
        name = obj["metadata"]["name"]
        if resource.namespaced:
            obj["metadata"]["namespace"] = namespace
        fill_in(resource, obj, old)
        problems = Problems()
        check(resource, obj, old, problems)
        if resource is SERVICES and not problems.causes:
            self._allocations.complete((namespace, name), obj["spec"], problems)
        if problems.causes:
            raise status.invalid(resource, name, problems.causes)

    def _write(self, resource: Resource, obj: Object, before: Stored | None, old: Object | None) -> Stored:
        obj["metadata"]["resourceVersion"] = str(self._version + 1)
        now = _stored(resource, obj, self._version + 1)
        if resource is SERVICES:
            if old is not None:
                self._allocations.release(old["spec"])
            self._allocations.take(now.key, obj["spec"])
        return self._commit("MODIFIED" if before else "ADDED", now, before)

    def _remove(self, before: Stored) -> Stored:
        if before.resource is NAMESPACES:
            for other in RESOURCES:
                if other.namespaced:
                    self.delete_collection(other, before.name, EVERYTHING)
        obj = before.decoded()
        if before.resource is SERVICES:
            self._allocations.release(obj["spec"])
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
        if (metadata.get("namespace") or namespace) != namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        if ("", namespace) not in self._objects[NAMESPACES]:
            raise status.not_found(NAMESPACES, namespace)

    def _generated(self, prefix: str | None) -> str:
        if not prefix:
            return ""
        return prefix[:_GENERATED_LENGTH] + "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(5))

    def _in_order(self, resource: Resource) -> tuple[Stored, ...]:
        known = self._sorted[resource]
        if known is None:
            objects = self._objects[resource]
            known = self._sorted[resource] = tuple(objects[key] for key in sorted(objects))
        return known

    def _as_of(self, resource: Resource, version: int) -> tuple[Stored, ...]:
        """Return what there was at a version, by undoing what has happened since."""
        later = self.events_after(resource, version) if version != self._version else []
        if not later:
            return self._in_order(resource)
        objects = dict(self._objects[resource])
        for event in reversed(later):
            if event.before is None:
                del objects[event.now.key]
            else:
                objects[event.now.key] = event.before
        return tuple(objects[key] for key in sorted(objects))

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


def _metadata(resource: Resource, obj: Object) -> Object:
    """Return the metadata of an object whose fields are all of the right types. Raises StatusError (400, 422)."""
    metadata = obj["metadata"] = {} if obj.get("metadata") is None else obj["metadata"]
    if not isinstance(metadata, dict):
        raise status.bad_request("metadata must be an object")
    problems = Problems()
    check_shape(resource, obj, problems)
    if problems.causes:
        name = metadata.get("name")
        raise status.invalid(resource, name if isinstance(name, str) else "", problems.causes)
    return metadata


def _stored(resource: Resource, obj: Object, version: int) -> Stored:
    try:
        return Stored(resource, obj, version)
    except orjson.JSONEncodeError as error:  # the encoder goes less deep than the decoder
        raise status.bad_request(f"the object cannot be stored: {error}") from error
