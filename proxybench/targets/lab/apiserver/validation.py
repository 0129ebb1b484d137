"""What the API server refuses: what a real one would refuse, and a proxy would stumble over (pure).

The rules are those of the Kubernetes API reference and concepts ("Service", "EndpointSlices", "Object Names and IDs").
Objects have passed ``check_shape`` and ``fill_in`` before. Paths of fields are written only for what is wrong: these
checks run on every write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proxybench.kube.resources import ENDPOINT_SLICES, ENDPOINTS, NAMESPACES, NODES, SERVICES
from proxybench.targets.lab.apiserver import syntax
from proxybench.targets.lab.apiserver.defaults import EXTERNAL_NAME, HEADLESS, NODE_PORT_TYPES, externally_accessible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from proxybench.kube.resources import Resource
    from proxybench.targets.lab.apiserver.problems import Problems
    from proxybench.targets.lab.apiserver.status import Object

_ANNOTATION_BYTES: Final = 256 * 1024  # of all keys and values
_MOST_ENDPOINTS: Final = 1000  # in a slice
_MOST_ADDRESSES: Final = 100  # of an endpoint
_MOST_PORTS: Final = 100  # of a slice
_MOST_AFFINITY_SECONDS: Final = 86_400

_PROTOCOLS: Final = frozenset({"TCP", "UDP", "SCTP"})
_SERVICE_TYPES: Final = frozenset({"ClusterIP", "NodePort", "LoadBalancer", EXTERNAL_NAME})
_FAMILIES: Final = frozenset({"IPv4", "IPv6"})
_CHOICES: Final = {
    "type": _SERVICE_TYPES,
    "sessionAffinity": frozenset({"None", "ClientIP"}),
    "internalTrafficPolicy": frozenset({"Cluster", "Local"}),
    "externalTrafficPolicy": frozenset({"Cluster", "Local"}),
    "ipFamilyPolicy": frozenset({"SingleStack", "PreferDualStack", "RequireDualStack"}),
}
_ADDRESS_TYPES: Final = frozenset({"IPv4", "IPv6", "FQDN"})
_NAMES: Final[Mapping[Resource, Callable[[str], str]]] = {
    SERVICES: syntax.dns_1035_label,
    NAMESPACES: syntax.dns_label,
}


def check(resource: Resource, obj: Object, before: Object | None, problems: Problems) -> None:
    """Note what is wrong with an object, which replaces ``before`` if that is given."""
    _check_metadata(resource, obj["metadata"], problems)
    if resource is SERVICES:
        _check_service(obj["spec"], before["spec"] if before else None, problems)
    elif resource is ENDPOINT_SLICES:
        _check_slice(obj, before, problems)
    elif resource is ENDPOINTS:
        _check_endpoints(obj, problems)
    elif resource is NODES:
        _check_node(obj.get("spec") or {}, problems)


def _check_metadata(resource: Resource, metadata: Object, problems: Problems) -> None:
    if problem := _NAMES.get(resource, syntax.dns_subdomain)(metadata["name"]):
        problems.invalid("metadata.name", metadata["name"], problem)
    if not resource.namespaced and metadata.get("namespace"):
        problems.forbidden("metadata.namespace", "not allowed on this type")
    if labels := metadata.get("labels"):
        check_labels("metadata.labels", labels, problems)
    if annotations := metadata.get("annotations"):
        _check_annotations(annotations, problems)
    for index, finalizer in enumerate(metadata.get("finalizers") or ()):
        if problem := syntax.qualified_name(finalizer):
            problems.invalid(f"metadata.finalizers[{index}]", finalizer, problem)
    for index, owner in enumerate(metadata.get("ownerReferences") or ()):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                problems.required(f"metadata.ownerReferences[{index}].{field}")


def check_labels(path: str, labels: Mapping[str, str], problems: Problems) -> None:
    """Note the keys and values that a selector could not name."""
    for key, value in labels.items():
        if problem := syntax.qualified_name(key):
            problems.invalid(path, key, problem)
        if value and (problem := syntax.label_value(value)):
            problems.invalid(path, value, problem)


def _check_annotations(annotations: Mapping[str, str], problems: Problems) -> None:
    size = 0
    for key, value in annotations.items():
        size += len(key) + len(value)
        if problem := syntax.qualified_name(key.lower()):
            problems.invalid("metadata.annotations", key, problem)
    if size > _ANNOTATION_BYTES:
        problems.too_long("metadata.annotations", _ANNOTATION_BYTES)


def _check_service(spec: Object, before: Object | None, problems: Problems) -> None:
    for field, choices in _CHOICES.items():
        value = spec.get(field)
        if value and value not in choices:
            problems.unsupported(f"spec.{field}", value, choices)
    if spec["type"] == EXTERNAL_NAME:
        _check_external_name(spec, problems)
    else:
        if not spec.get("ports") and spec.get("clusterIP") != HEADLESS:
            problems.required("spec.ports")
        _check_families(spec["ipFamilies"], problems)
        _check_cluster_ips(spec, problems)
        _check_unmoved(spec, before, problems)
    _check_service_ports(spec, problems)
    _check_outside(spec, problems)
    if spec.get("selector"):
        check_labels("spec.selector", spec["selector"], problems)
    if spec["sessionAffinity"] == "ClientIP":
        seconds = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"]
        if not 0 < seconds <= _MOST_AFFINITY_SECONDS:
            why = f"must be greater than 0 and less than {_MOST_AFFINITY_SECONDS}"
            problems.invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, why)


def _check_outside(spec: Object, problems: Problems) -> None:
    """Check what concerns traffic from outside of the cluster."""
    for index, address in enumerate(spec.get("externalIPs") or ()):
        if problem := syntax.endpoint_ip(address):
            problems.invalid(f"spec.externalIPs[{index}]", address, problem)
    for index, cidr in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        if problem := syntax.network(cidr.strip()):
            problems.invalid(f"spec.loadBalancerSourceRanges[{index}]", cidr, problem)
    if spec.get("externalTrafficPolicy") and not externally_accessible(spec):
        why = "may only be set for externally-accessible services"
        problems.invalid("spec.externalTrafficPolicy", spec["externalTrafficPolicy"], why)


def _check_external_name(spec: Object, problems: Problems) -> None:
    for field in ("clusterIP", "clusterIPs"):
        if spec.get(field):
            problems.forbidden(f"spec.{field}", "may not be set for ExternalName services")
    name = spec.get("externalName") or ""
    if not name:
        problems.required("spec.externalName")
    elif problem := syntax.dns_subdomain(name.removesuffix(".")):
        problems.invalid("spec.externalName", name, problem)


def _check_families(families: Sequence[str], problems: Problems) -> None:
    for index, family in enumerate(families):
        if family not in _FAMILIES:
            problems.unsupported(f"spec.ipFamilies[{index}]", family, _FAMILIES)
        elif family in families[:index]:
            problems.duplicate(f"spec.ipFamilies[{index}]", family)


def _check_cluster_ips(spec: Object, problems: Problems) -> None:
    address, addresses = spec.get("clusterIP"), spec.get("clusterIPs") or []
    if not address:
        if addresses:
            problems.invalid("spec.clusterIPs", addresses, "must be empty when `clusterIP` is not specified")
        return
    if addresses[0] != address:
        problems.invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`")
    if HEADLESS not in addresses:
        _check_addresses(addresses, spec["ipFamilies"], problems)
        return
    if len(addresses) > 1:
        problems.invalid("spec.clusterIPs", addresses, "'None' must be the first and only value")
    if spec["type"] in NODE_PORT_TYPES:
        problems.invalid("spec.clusterIPs[0]", HEADLESS, f"may not be set to 'None' for {spec['type']} services")


def _check_addresses(addresses: Sequence[str], wanted: Sequence[str], problems: Problems) -> None:
    """Check cluster IPs, which are of the families in ``wanted``, in its order."""
    families: list[str] = []
    for index, address in enumerate(addresses):
        if problem := syntax.ip(address):
            problems.invalid(f"spec.clusterIPs[{index}]", address, problem)
            continue
        family = syntax.ip_family(address)
        if index < len(wanted) and family != wanted[index]:
            why = f"expected an {wanted[index]} value as indicated by `ipFamilies[{index}]`"
            problems.invalid(f"spec.clusterIPs[{index}]", address, why)
        if family in families:
            why = "may specify no more than one IP for each IP family"
            problems.invalid("spec.clusterIPs", addresses, why)
        families.append(family)


def _check_unmoved(spec: Object, before: Object | None, problems: Problems) -> None:
    if before is not None and before.get("clusterIP") not in {None, spec.get("clusterIP")}:
        message = f'Invalid value: []string{{"{spec.get("clusterIP")}"}}: may not change once set'
        problems.note("FieldValueInvalid", message, "spec.clusterIPs[0]")


def _check_service_ports(spec: Object, problems: Problems) -> None:
    ports = spec.get("ports") or ()
    _check_port_list("spec.ports", ports, problems, names_needed=len(ports) > 1)
    seen: set[tuple[int, str]] = set()
    for index, port in enumerate(ports):
        target = port["targetPort"]
        problem = syntax.port_name(target) if type(target) is str else syntax.port_number(target)
        if problem:
            problems.invalid(f"spec.ports[{index}].targetPort", target, problem)
        key = (port.get("port", 0), port["protocol"])
        if key in seen:
            problems.duplicate(f"spec.ports[{index}]", {"port": key[0], "protocol": key[1]})
        seen.add(key)
    _check_node_ports(spec["type"], ports, problems)


def _check_node_ports(kind: str, ports: Sequence[Object], problems: Problems) -> None:
    seen: set[tuple[int, str]] = set()
    for index, port in enumerate(ports):
        number = port.get("nodePort")
        if not number:
            continue
        if kind not in NODE_PORT_TYPES:
            problems.forbidden(f"spec.ports[{index}].nodePort", f"may not be used when `type` is '{kind}'")
        if (number, port["protocol"]) in seen:
            problems.duplicate(f"spec.ports[{index}].nodePort", number)
        seen.add((number, port["protocol"]))


def _check_slice(obj: Object, before: Object | None, problems: Problems) -> None:
    kind = obj.get("addressType")
    if not kind:
        problems.required("addressType", 'one of "FQDN", "IPv4", "IPv6"')
    elif kind not in _ADDRESS_TYPES:
        problems.unsupported("addressType", kind, _ADDRESS_TYPES)
    elif before is not None and before["addressType"] != kind:
        problems.invalid("addressType", kind, "field is immutable")
    else:
        _check_slice_endpoints(obj.get("endpoints") or (), kind, problems)
    ports = obj.get("ports") or ()
    if len(ports) > _MOST_PORTS:
        problems.too_many("ports", len(ports), _MOST_PORTS)
    else:
        _check_port_list("ports", ports, problems, unset_port=True)


def _check_slice_endpoints(endpoints: Sequence[Object], kind: str, problems: Problems) -> None:
    if len(endpoints) > _MOST_ENDPOINTS:
        problems.too_many("endpoints", len(endpoints), _MOST_ENDPOINTS)
        return
    for index, endpoint in enumerate(endpoints):
        addresses = endpoint.get("addresses") or ()
        if not addresses:
            problems.required(f"endpoints[{index}].addresses", "must contain at least 1 address")
        elif len(addresses) > _MOST_ADDRESSES:
            problems.too_many(f"endpoints[{index}].addresses", len(addresses), _MOST_ADDRESSES)
        for place, address in enumerate(addresses):
            problem = _domain(address) if kind == "FQDN" else syntax.endpoint_ip(address, kind)
            if problem:
                problems.invalid(f"endpoints[{index}].addresses[{place}]", address, problem)
        if (hostname := endpoint.get("hostname")) and (problem := syntax.dns_label(hostname)):
            problems.invalid(f"endpoints[{index}].hostname", hostname, problem)
        if topology := endpoint.get("deprecatedTopology"):
            check_labels(f"endpoints[{index}].deprecatedTopology", topology, problems)


def _check_endpoints(obj: Object, problems: Problems) -> None:
    for index, subset in enumerate(obj.get("subsets") or ()):
        path = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            problems.required(path, "must specify `addresses` or `notReadyAddresses`")
        for field in ("addresses", "notReadyAddresses"):
            for place, address in enumerate(subset.get(field) or ()):
                if problem := syntax.endpoint_ip(address.get("ip") or ""):
                    problems.invalid(f"{path}.{field}[{place}].ip", address.get("ip"), problem)
        ports = subset.get("ports") or ()
        _check_port_list(f"{path}.ports", ports, problems, names_needed=len(ports) > 1)


def _check_node(spec: Object, problems: Problems) -> None:
    ranges = spec.get("podCIDRs") or ()
    for index, cidr in enumerate(ranges):
        if problem := syntax.network(cidr):
            problems.invalid(f"spec.podCIDRs[{index}]", cidr, problem)
    if (cidr := spec.get("podCIDR")) and (problem := syntax.network(cidr)):
        problems.invalid("spec.podCIDR", cidr, problem)


def _check_port_list(
    path: str, ports: Sequence[Object], problems: Problems, *, names_needed: bool = False, unset_port: bool = False
) -> None:
    """Check what the ports of Services, EndpointSlices and Endpoints share; ``unset_port`` allows for "all ports"."""
    names: set[Any] = set()
    for index, port in enumerate(ports):
        name = port.get("name") or ""
        if name:
            if problem := syntax.dns_label(name):
                problems.invalid(f"{path}[{index}].name", name, problem)
        elif names_needed:
            problems.required(f"{path}[{index}].name")
        if name in names and (name or not names_needed):
            problems.duplicate(f"{path}[{index}].name", name)
        names.add(name)
        number = port.get("port")
        if not (number is None and unset_port) and (problem := syntax.port_number(number)):
            problems.invalid(f"{path}[{index}].port", number or 0, problem)
        if port["protocol"] not in _PROTOCOLS:
            problems.unsupported(f"{path}[{index}].protocol", port["protocol"], _PROTOCOLS)


def _domain(text: str) -> str:
    if "." not in text.removesuffix("."):
        return "should be a domain with at least two segments separated by dots"
    return syntax.dns_subdomain(text.removesuffix("."))
