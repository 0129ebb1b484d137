"""From Kubernetes objects to the Service ports that a data plane programs, one event at a time.

Pure: no clock, no lock, no I/O. What counts and what is skipped follows kube-proxy: headless and ExternalName
Services, those that name another proxy, EndpointSlices of other address families and endpoints that are not
ready leave no trace. SCTP ports are skipped too: none of the planes carries it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from proxybench.proxiers.reference.plane import Endpoint, ServicePort, ServicePortKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DELETED = "DELETED"
SERVICE_NAME_LABEL = "kubernetes.io/service-name"
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
TRIGGER_ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"
PROTOCOLS = {"TCP": "tcp", "UDP": "udp"}

ServiceName = tuple[str, str]  # namespace, name
SliceName = tuple[str, str]  # namespace, name of the slice
PortEndpoints = dict[tuple[str, str], tuple[Endpoint, ...]]  # by port name and protocol


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
    before ``since_ns`` (UTC) are not counted, since they are older than the loop itself.
    """

    def __init__(self, node_name: str, since_ns: int = 0) -> None:
        self.ports: dict[ServicePortKey, ServicePort] = {}
        self.service_changes_total = 0
        self.endpoint_changes_total = 0
        self._node_name = node_name
        self._since_ns = since_ns
        self._services: dict[ServiceName, tuple[ServicePort, ...]] = {}
        self._programmed: dict[ServiceName, tuple[ServicePortKey, ...]] = {}
        self._slices: dict[ServiceName, dict[str, PortEndpoints]] = {}
        self._owners: dict[SliceName, ServiceName] = {}
        self._pending_services: dict[ServiceName, None] = {}
        self._pending_endpoints: dict[ServiceName, None] = {}
        self._triggers: dict[ServiceName, list[int]] = {}

    @property
    def pending(self) -> tuple[int, int]:
        """How many Services, and how many Services' endpoints, changed since the last take."""
        return len(self._pending_services), len(self._pending_endpoints)

    def apply_service(self, event: str, obj: Mapping[str, Any]) -> bool:
        """Take in a watch event ("ADDED", "MODIFIED" or "DELETED") of a v1 Service; say if it mattered."""
        meta = obj["metadata"]
        name = (meta["namespace"], meta["name"])
        new = () if event == DELETED else _parse_service(name, obj)
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
        meta = obj["metadata"]
        slice_name = (meta["namespace"], meta["name"])
        label: str = (meta.get("labels") or {}).get(SERVICE_NAME_LABEL, "")
        gone = event == DELETED or not label or obj.get("addressType", "IPv4") != "IPv4"
        owner: ServiceName | None = None if gone else (meta["namespace"], label)
        before = self._owners.get(slice_name)
        changed = False
        if before is not None and before != owner:
            changed = self._drop_slice(before, slice_name)
        if owner is not None:
            changed |= self._put_slice(owner, slice_name, self._parse_slice(obj), _trigger(meta))
        return changed

    def replace_services(self, items: Iterable[Mapping[str, Any]]) -> bool:
        """Take in a whole list: what is not in it is gone. New Services stand in order of creation."""
        ordered = sorted(items, key=_creation)
        listed = {(item["metadata"]["namespace"], item["metadata"]["name"]) for item in ordered}
        changed = False
        for namespace, name in [known for known in self._services if known not in listed]:
            changed |= self.apply_service(DELETED, {"metadata": {"namespace": namespace, "name": name}})
        for item in ordered:
            changed |= self.apply_service("ADDED", item)
        return changed

    def replace_slices(self, items: Iterable[Mapping[str, Any]]) -> bool:
        """Take in a whole list of EndpointSlices: what is not in it is gone."""
        listed = {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in items}
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

    def _settle(self, name: ServiceName) -> set[ServicePortKey]:
        """Make ``ports`` right for one Service and return the keys that differ."""
        changed: set[ServicePortKey] = set()
        wanted = self._services.get(name, ())
        slices = list(self._slices.get(name, {}).values())
        for bare in wanted:
            endpoints = _merge(slices, (bare.key.port_name, bare.key.protocol))
            full = _with_endpoints(bare, endpoints) if endpoints else bare
            if self.ports.get(bare.key) != full:
                self.ports[bare.key] = full
                changed.add(bare.key)
        keys = tuple(bare.key for bare in wanted)
        for gone in set(self._programmed.get(name, ())) - set(keys):
            del self.ports[gone]
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

    def _parse_slice(self, obj: Mapping[str, Any]) -> PortEndpoints:
        """Return the ready endpoints for each port of the slice; only an endpoint's first address counts."""
        ready = [
            (item["addresses"][0], item.get("nodeName") == self._node_name)
            for item in obj.get("endpoints") or ()
            if (item.get("conditions") or {}).get("ready") is not False and item.get("addresses")
        ]
        found: PortEndpoints = {}
        for port in obj.get("ports") or ():
            number = port.get("port")
            protocol = PROTOCOLS.get(port.get("protocol") or "TCP")
            if number and protocol:
                found[port.get("name") or "", protocol] = tuple(
                    Endpoint(address, number, local) for address, local in ready
                )
        return found


def _parse_service(name: ServiceName, obj: Mapping[str, Any]) -> tuple[ServicePort, ...]:
    """Return the Service's ports without endpoints; none for a Service that no proxy serves."""
    spec = obj["spec"]
    labels = obj["metadata"].get("labels") or {}
    kind = spec.get("type") or "ClusterIP"
    cluster_ip = spec.get("clusterIP") or "None"
    if kind == "ExternalName" or cluster_ip == "None" or ":" in cluster_ip:
        return ()
    if PROXY_NAME_LABEL in labels or HEADLESS_LABEL in labels:
        return ()
    outside = kind in {"NodePort", "LoadBalancer"}
    external_ips = tuple(address for address in spec.get("externalIPs") or () if ":" not in address)
    affinity = _affinity(spec)
    return tuple(
        ServicePort(
            key=ServicePortKey(*name, port.get("name") or "", PROTOCOLS[port.get("protocol") or "TCP"]),
            cluster_ip=cluster_ip,
            port=port["port"],
            endpoints=(),
            node_port=(port.get("nodePort") or 0) if outside else 0,
            external_ips=external_ips,
            affinity_seconds=affinity,
            local_only=outside and spec.get("externalTrafficPolicy") == "Local",
        )
        for port in spec.get("ports") or ()
        if (port.get("protocol") or "TCP") in PROTOCOLS
    )


def _affinity(spec: Mapping[str, Any]) -> int:
    """Return the seconds of ClientIP affinity, by default the API's three hours."""
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    client = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return int(client.get("timeoutSeconds") or 10800)


def _merge(slices: list[PortEndpoints], port: tuple[str, str]) -> tuple[Endpoint, ...]:
    """Return one port's endpoints of all slices, each once, in kube-proxy's order ("ip:port" as text)."""
    if len(slices) == 1 and len(slices[0].get(port, ())) < 2:  # noqa: PLR2004 - nothing to sort below two
        return slices[0].get(port, ())
    found = {f"{item.ip}:{item.port}": item for part in slices for item in part.get(port, ())}
    return tuple(found[text] for text in sorted(found))


def _with_endpoints(bare: ServicePort, endpoints: tuple[Endpoint, ...]) -> ServicePort:
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
    )


def _creation(obj: Mapping[str, Any]) -> tuple[str, int]:
    """Order by creation; within one second (the timestamp's resolution) by the object's version."""
    meta = obj["metadata"]
    version = str(meta.get("resourceVersion", ""))
    return meta.get("creationTimestamp") or "", int(version) if version.isdigit() else 0


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
