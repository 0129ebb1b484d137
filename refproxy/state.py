"""From Kubernetes objects to the Service ports that a data plane programs, one event at a time.

Pure: no clock, no lock, no I/O. How objects are read says ``objects``; EndpointSlices of other address families than
IPv4 are skipped here. Of an object that cannot be read, what was known before stays, and ``take_notes`` tells of it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from refproxy.objects import (
    NO_ENDPOINTS,
    Endpoints,
    PortEndpoints,
    ServiceName,
    name_of,
    not_done,
    parse_service,
    parse_slice,
)
from refproxy.plane import Endpoint, ServicePort, ServicePortKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

DELETED = "DELETED"
SERVICE_NAME_LABEL = "kubernetes.io/service-name"
TRIGGER_ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"

SliceName = tuple[str, str]  # namespace, name of the slice
NOTHING = PortEndpoints(NO_ENDPOINTS, NO_ENDPOINTS)
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)  # UnreadableError, and what nobody thought of


class Changes(NamedTuple):
    """What happened since the last take: keys added, changed or deleted, and when the endpoints were changed.

    ``triggers`` are UTC nanoseconds, one for each EndpointSlice event that said when its cause happened.
    """

    keys: frozenset[ServicePortKey]
    triggers: tuple[int, ...]
    services: int
    endpoints: int


class ServiceState:
    """All Services and EndpointSlices of the cluster, as one node sees them.

    ``ports`` keeps the order in which Services came first: rules stand in the same order. Trigger times
    before ``since_ns`` (UTC) are not counted, since they are older than the loop itself. ``mode`` decides what is told
    to be not served.
    """

    def __init__(self, node_name: str, since_ns: int = 0, mode: str = "") -> None:
        self.ports: dict[ServicePortKey, ServicePort] = {}
        self.endpoints = 0  # of all ports together; counting them for each sync's log line took longer than IPVS's sync
        self.service_changes_total = 0
        self.endpoint_changes_total = 0
        self._node_name = node_name
        self._since_ns = since_ns
        self._mode = mode
        self._services: dict[ServiceName, tuple[ServicePort, ...]] = {}
        self._programmed: dict[ServiceName, tuple[ServicePortKey, ...]] = {}
        self._slices: dict[ServiceName, dict[str, PortEndpoints]] = {}
        self._owners: dict[SliceName, ServiceName] = {}
        self._pending_services: dict[ServiceName, None] = {}
        self._pending_endpoints: dict[ServiceName, None] = {}
        self._triggers: dict[ServiceName, list[int]] = {}
        self._refused: dict[tuple[str, ServiceName], str] = {}
        self._told: set[str] = set()
        self._notes: list[str] = []

    @property
    def pending(self) -> tuple[int, int]:
        """How many Services, and how many Services' endpoints, changed since the last take."""
        return len(self._pending_services), len(self._pending_endpoints)

    def apply_service(self, event: str, obj: Mapping[str, Any]) -> bool:
        """Take in a watch event ("ADDED", "MODIFIED" or "DELETED") of a v1 Service; say if it mattered."""
        left_out: list[str] = []
        try:
            name = name_of(obj)
            new = () if event == DELETED else parse_service(name, obj, left_out)
        except _UNREADABLE as error:
            return self._refuse("Service", obj, error)
        if left_out:
            self._tell("Service", name, f"left out: {'; '.join(left_out)}")
        elif self._refused:
            self._refused.pop(("Service", name), None)
        if new:
            self._note_what_is_not_done(name, obj["spec"])
        if new == self._services.get(name, ()):
            return False
        if new:
            self._services[name] = new
        else:
            del self._services[name]
        self._pending_services[name] = None
        self.service_changes_total += 1
        return True

    def apply_slice(self, event: str, obj: Mapping[str, Any]) -> bool:
        """Take in a watch event of a discovery v1 EndpointSlice; say if it mattered."""
        try:
            slice_name = name_of(obj)
            owner = None if event == DELETED else _owner(slice_name, obj)
            new = NOTHING if owner is None else parse_slice(obj, self._node_name)
            trigger = None if owner is None else _trigger(obj["metadata"])
        except _UNREADABLE as error:
            return self._refuse("EndpointSlice", obj, error)
        if self._refused:
            self._refused.pop(("EndpointSlice", slice_name), None)
        before = self._owners.get(slice_name)
        changed = False
        if before is not None and before != owner:
            changed = self._drop_slice(before, slice_name)
        if owner is not None:
            changed |= self._put_slice(owner, slice_name, new, trigger)
        return changed

    def replace_services(self, items: Iterable[Mapping[str, Any]]) -> bool:
        """Take in a whole list: what is not in it is gone. New Services stand in order of creation."""
        named = list(self._named("Service", items))
        listed = {name for name, _ in named}
        ordered = sorted([item for _, item in named], key=_creation)
        changed = False
        for namespace, name in [known for known in self._services if known not in listed]:
            changed |= self.apply_service(DELETED, {"metadata": {"namespace": namespace, "name": name}})
        for item in ordered:
            changed |= self.apply_service("ADDED", item)
        return changed

    def replace_slices(self, items: Iterable[Mapping[str, Any]]) -> bool:
        """Take in a whole list of EndpointSlices: what is not in it is gone."""
        listed = dict(self._named("EndpointSlice", items))
        changed = False
        for namespace, name in [known for known in self._owners if known not in listed]:
            changed |= self.apply_slice(DELETED, {"metadata": {"namespace": namespace, "name": name}})
        for item in listed.values():
            changed |= self.apply_slice("ADDED", item)
        return changed

    def take(self) -> Changes:
        """Bring ``ports`` up to date and return what changed since the last call."""
        services, endpoints = self.pending
        changed: set[ServicePortKey] = set()
        for name in {**self._pending_services, **self._pending_endpoints}:
            changed |= self._settle(name)
        triggers = tuple(at for times in self._triggers.values() for at in times)
        self._pending_services.clear()
        self._pending_endpoints.clear()
        self._triggers.clear()
        return Changes(frozenset(changed), triggers, services, endpoints)

    def take_notes(self) -> list[str]:
        """Return what there is to tell since the last call, one line each: what cannot be read, or is not served."""
        notes, self._notes = self._notes, []
        return notes

    def _note_what_is_not_done(self, name: ServiceName, spec: Mapping[str, Any]) -> None:
        """Note for each kind once, with the first Service that asks for it."""
        for words in not_done(spec, self._mode):
            if words not in self._told:
                self._told.add(words)
                self._notes.append(f"Service {name[0]}/{name[1]}: {words} (said once for all Services)")

    def _named(self, kind: str, items: Iterable[Mapping[str, Any]]) -> Iterator[tuple[ServiceName, Mapping[str, Any]]]:
        """Yield the objects that have a name, each with it."""
        for item in items:
            try:
                name = name_of(item)
            except _UNREADABLE as error:
                self._refuse(kind, item, error)
            else:
                yield name, item

    def _refuse(self, kind: str, obj: object, error: Exception) -> bool:
        """Note once what is wrong with an object; nothing changes."""
        try:
            name = name_of(obj)
        except ValueError:
            name = ("?", "?")
        words = str(error) if isinstance(error, ValueError) else f"cannot be read: {type(error).__name__}: {error}"
        self._tell(kind, name, words)
        return False

    def _tell(self, kind: str, name: ServiceName, words: str) -> None:
        """Note what is wrong with an object, unless that was the last that was told of it."""
        if self._refused.get((kind, name)) != words:
            self._refused[kind, name] = words
            self._notes.append(f"{kind} {name[0]}/{name[1]}: {words}")

    def _settle(self, name: ServiceName) -> set[ServicePortKey]:
        """Make ``ports`` right for one Service and return the keys that differ."""
        changed: set[ServicePortKey] = set()
        wanted = self._services.get(name, ())
        slices = list(self._slices.get(name, {}).values())
        ready = [part.ready for part in slices]
        leaving = [part.leaving for part in slices if part.leaving]
        for bare in wanted:
            full = _with_endpoints(bare, ready, leaving)
            if (old := self.ports.get(bare.key)) != full:
                self.endpoints += len(full.endpoints) - (len(old.endpoints) if old else 0)
                self.ports[bare.key] = full
                changed.add(bare.key)
        keys = tuple(bare.key for bare in wanted)
        for gone in set(self._programmed.get(name, ())) - set(keys):
            self.endpoints -= len(self.ports.pop(gone).endpoints)
            changed.add(gone)
        if keys:
            self._programmed[name] = keys
        else:
            self._programmed.pop(name, None)
        return changed

    def _put_slice(self, owner: ServiceName, slice_name: SliceName, new: PortEndpoints, trigger: int | None) -> bool:
        slices = self._slices.setdefault(owner, {})
        if slices.get(slice_name[1]) == new:
            return False
        slices[slice_name[1]] = new
        self._owners[slice_name] = owner
        self._note_endpoints(owner)
        if trigger is not None and trigger >= self._since_ns:
            self._triggers.setdefault(owner, []).append(trigger)
        return True

    def _drop_slice(self, owner: ServiceName, slice_name: SliceName) -> bool:
        slices = self._slices[owner]
        del slices[slice_name[1]], self._owners[slice_name]
        if not slices:
            del self._slices[owner]
        self._triggers.pop(owner, None)  # as kube-proxy: a removal makes the pending times meaningless
        self._note_endpoints(owner)
        return True

    def _note_endpoints(self, owner: ServiceName) -> None:
        self._pending_endpoints[owner] = None
        self.endpoint_changes_total += 1


def _merge(slices: list[Endpoints], port: tuple[str, str]) -> tuple[Endpoint, ...]:
    """Return one port's endpoints of all slices, each once, in kube-proxy's order ("ip:port" as text).

    An endpoint of two slices is local if one of them says so, as for kube-proxy: else their order would decide.
    """
    if len(slices) == 1 and len(slices[0].get(port, ())) < 2:  # noqa: PLR2004 - nothing to sort below two
        return slices[0].get(port, ())
    found = {f"{item.ip}:{item.port}": item for part in slices for item in part.get(port, ())}
    if len(slices) > 1:
        found |= {f"{item.ip}:{item.port}": item for part in slices for item in part.get(port, ()) if item.local}
    return tuple(found[text] for text in sorted(found))


def _with_endpoints(bare: ServicePort, ready: list[Endpoints], leaving: list[Endpoints]) -> ServicePort:
    """Return a port with its endpoints: those that are ready, or else those that terminate and still serve."""
    port = (bare.key.port_name, bare.key.protocol)
    endpoints = _merge(ready, port)
    others: tuple[Endpoint, ...] = ()
    if leaving:
        there = {end[:2] for end in endpoints}
        others = tuple([end for end in _merge(leaving, port) if end[:2] not in there])
        if not endpoints:
            endpoints, others = others, ()
    if not endpoints:
        return bare
    # Spelled out: dataclasses.replace takes four times as long, and this runs for every change.
    return ServicePort(
        bare.key,
        bare.cluster_ip,
        bare.port,
        endpoints,
        bare.node_port,
        bare.external_ips,
        bare.affinity_seconds,
        bare.local_only,
        bare.ingress_ips,
        bare.source_ranges,
        others,
    )


def _owner(slice_name: SliceName, obj: Mapping[str, Any]) -> ServiceName | None:
    """Return the Service of a slice; None for one without, or with addresses that are not IPv4."""
    label = (obj["metadata"].get("labels") or {}).get(SERVICE_NAME_LABEL)
    if not isinstance(label, str) or not label or obj.get("addressType", "IPv4") != "IPv4":
        return None
    return slice_name[0], label


def _creation(obj: Mapping[str, Any]) -> tuple[str, int]:
    """Order by creation; within one second (the timestamp's resolution) by the object's version."""
    meta = obj["metadata"]
    version = str(meta.get("resourceVersion", ""))
    return str(meta.get("creationTimestamp") or ""), int(version) if version.isdigit() else 0


def _trigger(meta: Mapping[str, Any]) -> int | None:
    """Return the annotated time of the cause in UTC nanoseconds, None without or with an unreadable one."""
    text = (meta.get("annotations") or {}).get(TRIGGER_ANNOTATION)
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
