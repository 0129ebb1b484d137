"""What is refused, to the word; through the store, which is where it matters."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from proxybench.kube.resources import ENDPOINT_SLICES, ENDPOINTS, NAMESPACES, NODES, SERVICES, Resource
from proxybench.targets.lab.apiserver import syntax
from proxybench.targets.lab.apiserver.status import StatusError
from proxybench.targets.lab.apiserver.store import Store

Object = dict[str, Any]
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_1035 = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
KEY = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
PORT = "must be between 1 and 65535, inclusive"
INVALID, REQUIRED, WRONG_TYPE = "FieldValueInvalid", "FieldValueRequired", "FieldValueTypeInvalid"


def service(**spec: Any) -> Object:
    return {"metadata": {"name": "a"}, "spec": {"clusterIP": "10.96.1.1", "ports": [{"port": 80}], **spec}}


def slice_(**fields: Any) -> Object:
    ports = [{"name": "http", "port": 8080}]
    endpoints = [{"addresses": ["10.244.1.1"]}]
    return {"metadata": {"name": "a"}, "addressType": "IPv4", "endpoints": endpoints, "ports": ports, **fields}


def causes(resource: Resource, obj: Object, store: Store | None = None) -> list[tuple[str, str, str]]:
    """Return what a create is refused for: reason, field and message of each cause."""
    store = store or Store()
    before = store.version
    with pytest.raises(StatusError) as caught:
        store.create(resource, "default" if resource.namespaced else "", copy.deepcopy(obj))
    assert (caught.value.code, caught.value.reason, store.version) == (422, "Invalid", before)
    return [(cause["reason"], cause["field"], cause["message"]) for cause in caught.value.body["details"]["causes"]]


def accepted(resource: Resource, obj: Object) -> Object:
    made = Store().create(resource, "default" if resource.namespaced else "", copy.deepcopy(obj))
    return made.decoded()


def test_all_causes_are_told_at_once() -> None:
    bad = service(type="Foo", ports=[{"port": 0}])
    bad["metadata"]["labels"] = {"a": "x y"}
    with pytest.raises(StatusError) as caught:
        Store().create(SERVICES, "default", bad)
    assert str(caught.value) == (
        f'Service "a" is invalid: [metadata.labels: Invalid value: "x y": {VALUE}, '
        'spec.type: Unsupported value: "Foo": supported values: "ClusterIP", "ExternalName", "LoadBalancer", '
        f'"NodePort", spec.ports[0].port: Invalid value: 0: {PORT}, '
        f"spec.ports[0].targetPort: Invalid value: 0: {PORT}]"
    )


def test_an_error_of_a_group_names_the_group() -> None:
    with pytest.raises(StatusError) as caught:
        Store().create(ENDPOINT_SLICES, "default", slice_(addressType="IP"))
    assert caught.value.body["details"] == {
        "name": "a",
        "group": "discovery.k8s.io",
        "kind": "EndpointSlice",
        "causes": [
            {
                "reason": "FieldValueNotSupported",
                "message": 'Unsupported value: "IP": supported values: "FQDN", "IPv4", "IPv6"',
                "field": "addressType",
            }
        ],
    }


@pytest.mark.parametrize(
    ("resource", "name", "words"),
    [
        (SERVICES, "a/b c", LABEL_1035),
        (SERVICES, "1a", LABEL_1035),
        (SERVICES, "a.b", LABEL_1035),
        (SERVICES, "a\n", LABEL_1035),
        (SERVICES, "a" * 64, "must be no more than 63 characters"),
        (NAMESPACES, "a.b", LABEL),
        (NAMESPACES, "Ä", LABEL),
        (NODES, "a_b", SUBDOMAIN),
        (ENDPOINT_SLICES, "a/b c", SUBDOMAIN),
        (ENDPOINTS, "a..b", SUBDOMAIN),
        (NODES, "a" * 254, "must be no more than 253 characters"),
    ],
)
def test_names(resource: Resource, name: str, words: str) -> None:
    obj = {**slice_(**service()), "metadata": {"name": name}}
    shown = name.replace("\n", "\\n")
    assert causes(resource, obj) == [(INVALID, "metadata.name", f'Invalid value: "{shown}": {words}')]


@pytest.mark.parametrize(("resource", "name"), [(SERVICES, "a-1"), (NAMESPACES, "1-a"), (NODES, "node-1.example.org")])
def test_names_that_are_fine(resource: Resource, name: str) -> None:
    assert accepted(resource, {**service(), "metadata": {"name": name}})["metadata"]["name"] == name


@pytest.mark.parametrize(
    ("metadata", "reason", "field", "message"),
    [
        ({"labels": ["x"]}, WRONG_TYPE, "metadata.labels", 'Invalid value: "array": must be of type object'),
        ({"labels": {"a": 1}}, WRONG_TYPE, "metadata.labels[a]", 'Invalid value: "integer": must be of type string'),
        ({"labels": {"a": None}}, WRONG_TYPE, "metadata.labels[a]", 'Invalid value: "null": must be of type string'),
        ({"annotations": "x"}, WRONG_TYPE, "metadata.annotations", 'Invalid value: "string": must be of type object'),
        ({"name": 5}, WRONG_TYPE, "metadata.name", 'Invalid value: "integer": must be of type string'),
        ({"finalizers": "x"}, WRONG_TYPE, "metadata.finalizers", 'Invalid value: "string": must be of type array'),
        ({"labels": {"a b": "x"}}, INVALID, "metadata.labels", f'Invalid value: "a b": {KEY}'),
        ({"labels": {"": "x"}}, INVALID, "metadata.labels", 'Invalid value: "": name part must be non-empty'),
        ({"labels": {"A/b": ""}}, INVALID, "metadata.labels", f'Invalid value: "A/b": prefix part {SUBDOMAIN}'),
        ({"labels": {"/b": ""}}, INVALID, "metadata.labels", 'Invalid value: "/b": prefix part must be non-empty'),
        ({"labels": {"a": "-x"}}, INVALID, "metadata.labels", f'Invalid value: "-x": {VALUE}'),
        (
            {"labels": {"a": "x" * 64}},
            INVALID,
            "metadata.labels",
            f'Invalid value: "{"x" * 64}": must be no more than 63 characters',
        ),
        (
            {"labels": {"x" * 64: ""}},
            INVALID,
            "metadata.labels",
            f'Invalid value: "{"x" * 64}": name part must be no more than 63 characters',
        ),
        ({"annotations": {"a b": "x"}}, INVALID, "metadata.annotations", f'Invalid value: "a b": {KEY}'),
        (
            {"annotations": {"a": "x" * 256 * 1024}},
            "FieldValueTooLong",
            "metadata.annotations",
            "Too long: may not be more than 262144 bytes",
        ),
        ({"finalizers": ["a b"]}, INVALID, "metadata.finalizers[0]", f'Invalid value: "a b": {KEY}'),
        (
            {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n"}]},
            REQUIRED,
            "metadata.ownerReferences[0].uid",
            "Required value",
        ),
    ],
)
@pytest.mark.parametrize("resource", [SERVICES, NODES])
def test_metadata(resource: Resource, metadata: Object, reason: str, field: str, message: str) -> None:
    obj = {**service(), "metadata": {"name": "a", **metadata}}
    assert causes(resource, obj) == [(reason, field, message)]


def test_metadata_that_is_fine() -> None:
    metadata = {
        "name": "a",
        "labels": {"app.kubernetes.io/managed-by": "proxybench", "X_y": "", "n": "1.2-3_4"},
        "annotations": {"Example.com/Any": "any text\n at all ü"},
        "finalizers": ["example.com/protect"],
    }
    found = accepted(SERVICES, {**service(), "metadata": metadata})["metadata"]
    assert {key: found[key] for key in metadata} == metadata
    accepted(SERVICES, {**service(), "metadata": {"name": "a", "labels": None, "annotations": None}})


def test_an_object_of_the_cluster_has_no_namespace() -> None:
    assert causes(NODES, {"metadata": {"name": "n", "namespace": "x"}}) == [
        ("FieldValueForbidden", "metadata.namespace", "Forbidden: not allowed on this type")
    ]


@pytest.mark.parametrize(
    ("obj", "field", "reason", "message"),
    [
        ({"spec": None}, "spec.ports", REQUIRED, "Required value"),
        ({"spec": "x"}, "spec", WRONG_TYPE, 'Invalid value: "string": must be of type object'),
        ({"spec": {"ports": ["x"]}}, "spec.ports[0]", WRONG_TYPE, 'Invalid value: "string": must be of type object'),
        ({"spec": {"ports": [None]}}, "spec.ports[0]", WRONG_TYPE, 'Invalid value: "null": must be of type object'),
        ({"spec": {"ports": {}}}, "spec.ports", WRONG_TYPE, 'Invalid value: "object": must be of type array'),
        (
            service(selector={"a": 1}),
            "spec.selector[a]",
            WRONG_TYPE,
            'Invalid value: "integer": must be of type string',
        ),
        (
            service(ports=[{"port": "80"}]),
            "spec.ports[0].port",
            WRONG_TYPE,
            'Invalid value: "string": must be of type integer',
        ),
        (
            service(ports=[{"port": True}]),
            "spec.ports[0].port",
            WRONG_TYPE,
            'Invalid value: "boolean": must be of type integer',
        ),
        (
            service(ports=[{"port": 80, "targetPort": 1.5}]),
            "spec.ports[0].targetPort",
            WRONG_TYPE,
            'Invalid value: "number": must be of type integer or string',
        ),
        (service(clusterIP="banana"), "spec.clusterIPs[0]", INVALID, f'Invalid value: "banana": {IP}'),
        (service(clusterIP="10.96.1.01"), "spec.clusterIPs[0]", INVALID, f'Invalid value: "10.96.1.01": {IP}'),
        (service(clusterIP="10.96.1"), "spec.clusterIPs[0]", INVALID, f'Invalid value: "10.96.1": {IP}'),
        (service(clusterIP="a\0"), "spec.clusterIPs[0]", INVALID, f'Invalid value: "a\\u0000": {IP}'),
        (
            service(clusterIPs=["10.96.1.2"]),
            "spec.clusterIPs",
            INVALID,
            'Invalid value: ["10.96.1.2"]: first value must match `clusterIP`',
        ),
        (
            service(clusterIP=None, clusterIPs=["10.96.1.2"]),
            "spec.clusterIPs",
            INVALID,
            'Invalid value: ["10.96.1.2"]: must be empty when `clusterIP` is not specified',
        ),
        (
            service(clusterIPs=["10.96.1.1", "10.96.1.2"], ipFamilies=["IPv4"]),
            "spec.clusterIPs",
            INVALID,
            'Invalid value: ["10.96.1.1","10.96.1.2"]: may specify no more than one IP for each IP family',
        ),
        (
            service(ipFamilies=["IPv6"]),
            "spec.clusterIPs[0]",
            INVALID,
            'Invalid value: "10.96.1.1": expected an IPv6 value as indicated by `ipFamilies[0]`',
        ),
        (
            service(clusterIP="None", ipFamilies=["IPv4", "IPv4"]),
            "spec.ipFamilies[1]",
            "FieldValueDuplicate",
            'Duplicate value: "IPv4"',
        ),
        (
            service(clusterIP="None", type="NodePort"),
            "spec.clusterIPs[0]",
            INVALID,
            "Invalid value: \"None\": may not be set to 'None' for NodePort services",
        ),
        (
            service(ports=[{"port": 65536, "targetPort": 1}]),
            "spec.ports[0].port",
            INVALID,
            f"Invalid value: 65536: {PORT}",
        ),
        (service(ports=[{"targetPort": 1}]), "spec.ports[0].port", INVALID, f"Invalid value: 0: {PORT}"),
        (
            service(ports=[{"port": 1, "targetPort": 65536}]),
            "spec.ports[0].targetPort",
            INVALID,
            f"Invalid value: 65536: {PORT}",
        ),
        (
            service(ports=[{"port": 1, "targetPort": "a" * 16}]),
            "spec.ports[0].targetPort",
            INVALID,
            f'Invalid value: "{"a" * 16}": must be no more than 15 characters',
        ),
        (
            service(ports=[{"port": 1, "targetPort": "80"}]),
            "spec.ports[0].targetPort",
            INVALID,
            'Invalid value: "80": must contain at least one letter (a-z)',
        ),
        (
            service(ports=[{"port": 1, "protocol": "tcp"}]),
            "spec.ports[0].protocol",
            "FieldValueNotSupported",
            'Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"',
        ),
        (
            service(ports=[{"port": 1, "name": "A"}]),
            "spec.ports[0].name",
            INVALID,
            f'Invalid value: "A": {LABEL}',
        ),
        (
            service(ports=[{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]),
            "spec.ports[1].name",
            "FieldValueDuplicate",
            'Duplicate value: "a"',
        ),
        (
            service(ports=[{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]),
            "spec.ports[1]",
            "FieldValueDuplicate",
            'Duplicate value: {"port":1,"protocol":"TCP"}',
        ),
        (service(ports=[{"port": 1, "name": "a"}, {"port": 2}]), "spec.ports[1].name", REQUIRED, "Required value"),
        (
            service(ports=[{"port": 1, "nodePort": 30000}]),
            "spec.ports[0].nodePort",
            "FieldValueForbidden",
            "Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            service(
                type="NodePort",
                ports=[{"port": 1, "nodePort": 30000, "name": "a"}, {"port": 2, "nodePort": 30000, "name": "b"}],
            ),
            "spec.ports[1].nodePort",
            "FieldValueDuplicate",
            "Duplicate value: 30000",
        ),
        (
            service(type="NodePort", ports=[{"port": 1, "nodePort": 80}]),
            "spec.ports[0].nodePort",
            INVALID,
            "Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
        (
            service(sessionAffinity="Cookie"),
            "spec.sessionAffinity",
            "FieldValueNotSupported",
            'Unsupported value: "Cookie": supported values: "ClientIP", "None"',
        ),
        (
            service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 86401}}),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            INVALID,
            "Invalid value: 86401: must be greater than 0 and less than 86400",
        ),
        (
            service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 0}}),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            INVALID,
            "Invalid value: 0: must be greater than 0 and less than 86400",
        ),
        (
            service(externalTrafficPolicy="Local"),
            "spec.externalTrafficPolicy",
            INVALID,
            'Invalid value: "Local": may only be set for externally-accessible services',
        ),
        (
            service(externalIPs=["127.0.0.1"]),
            "spec.externalIPs[0]",
            INVALID,
            'Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
        ),
        (
            service(loadBalancerSourceRanges=["10.0.0.0"]),
            "spec.loadBalancerSourceRanges[0]",
            INVALID,
            'Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)',
        ),
        ({"spec": {"type": "ExternalName"}}, "spec.externalName", REQUIRED, "Required value"),
        (
            {"spec": {"type": "ExternalName", "externalName": "a b"}},
            "spec.externalName",
            INVALID,
            f'Invalid value: "a b": {SUBDOMAIN}',
        ),
        (
            {"spec": {"type": "ExternalName", "externalName": "a", "clusterIP": "10.96.1.1"}},
            "spec.clusterIP",
            "FieldValueForbidden",
            "Forbidden: may not be set for ExternalName services",
        ),
        (service(selector={"a": "b c"}), "spec.selector", INVALID, f'Invalid value: "b c": {VALUE}'),
    ],
)
def test_services(obj: Object, field: str, reason: str, message: str) -> None:
    assert causes(SERVICES, {"metadata": {"name": "a"}, **obj}) == [(reason, field, message)]


@pytest.mark.parametrize(
    "spec",
    [
        {"clusterIP": None},
        {"clusterIP": "None", "ports": None},
        {"clusterIP": "fd00::1"},
        {"clusterIP": "10.96.1.1", "clusterIPs": ["10.96.1.1", "fd00::1"]},
        {"ports": [{"port": 53, "name": "u", "protocol": "UDP"}, {"port": 53, "name": "t"}]},
        {"ports": [{"port": 80, "targetPort": "http-alt"}]},
        {"type": "NodePort", "externalTrafficPolicy": "Local", "ports": [{"port": 80, "nodePort": 30080}]},
        {"externalIPs": ["192.0.2.10"], "externalTrafficPolicy": "Local"},
        {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"]},
        {"type": "ExternalName", "externalName": "a.example.org.", "clusterIP": None, "ports": None},
        {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86400}}},
        {"unknown": {"stays": [1]}},
    ],
)
def test_services_that_are_fine(spec: Object) -> None:
    accepted(SERVICES, service(**spec))


@pytest.mark.parametrize(
    ("obj", "field", "reason", "message"),
    [
        (slice_(endpoints=["x"]), "endpoints[0]", WRONG_TYPE, 'Invalid value: "string": must be of type object'),
        (
            slice_(endpoints=[{"addresses": ["10.244.1.1"], "conditions": {"ready": "yes"}}]),
            "endpoints[0].conditions.ready",
            WRONG_TYPE,
            'Invalid value: "string": must be of type boolean',
        ),
        (
            slice_(endpoints=[{"addresses": ["10.244.1.1"]}, {"addresses": ["10.244.1.1", "not-an-ip"]}]),
            "endpoints[1].addresses[1]",
            INVALID,
            'Invalid value: "not-an-ip": must be a valid IPv4 address',
        ),
        (
            slice_(endpoints=[{"addresses": ["fd00::1"]}]),
            "endpoints[0].addresses[0]",
            INVALID,
            'Invalid value: "fd00::1": must be an IPv4 address',
        ),
        (
            slice_(addressType="IPv6", endpoints=[{"addresses": ["10.244.1.1"]}]),
            "endpoints[0].addresses[0]",
            INVALID,
            'Invalid value: "10.244.1.1": must be an IPv6 address',
        ),
        (
            slice_(addressType="FQDN", endpoints=[{"addresses": ["a"]}]),
            "endpoints[0].addresses[0]",
            INVALID,
            'Invalid value: "a": should be a domain with at least two segments separated by dots',
        ),
        (
            slice_(endpoints=[{"addresses": []}]),
            "endpoints[0].addresses",
            REQUIRED,
            "Required value: must contain at least 1 address",
        ),
        (
            slice_(endpoints=[{"addresses": ["10.244.1.1"] * 101}]),
            "endpoints[0].addresses",
            "FieldValueTooMany",
            "Too many: 101: must have at most 100 items",
        ),
        (
            slice_(endpoints=[{"addresses": ["10.244.1.1"]}] * 1001),
            "endpoints",
            "FieldValueTooMany",
            "Too many: 1001: must have at most 1000 items",
        ),
        (
            slice_(ports=[{"name": f"p{number}", "port": 1} for number in range(101)]),
            "ports",
            "FieldValueTooMany",
            "Too many: 101: must have at most 100 items",
        ),
        (slice_(ports=[{"port": 0}]), "ports[0].port", INVALID, f"Invalid value: 0: {PORT}"),
        (slice_(ports=[{"port": -1}]), "ports[0].port", INVALID, f"Invalid value: -1: {PORT}"),
        (slice_(ports=[{"port": 1}, {"port": 2}]), "ports[1].name", "FieldValueDuplicate", 'Duplicate value: ""'),
        (
            slice_(ports=[{"port": 1, "protocol": "ICMP"}]),
            "ports[0].protocol",
            "FieldValueNotSupported",
            'Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"',
        ),
        (
            slice_(endpoints=[{"addresses": ["10.244.1.1"], "hostname": "a.b"}]),
            "endpoints[0].hostname",
            INVALID,
            f'Invalid value: "a.b": {LABEL}',
        ),
        (
            slice_(endpoints=[{"addresses": ["10.244.1.1"], "deprecatedTopology": {"a b": ""}}]),
            "endpoints[0].deprecatedTopology",
            INVALID,
            f'Invalid value: "a b": {KEY}',
        ),
    ],
)
def test_slices(obj: Object, field: str, reason: str, message: str) -> None:
    assert causes(ENDPOINT_SLICES, obj) == [(reason, field, message)]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("0.0.0.0", "may not be unspecified (0.0.0.0)"),
        ("127.1.2.3", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        ("169.254.1.1", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        ("224.0.0.1", "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
        ("169.253.1.1", ""),
        ("224.0.1.1", ""),
        ("10.244.0.0", ""),
    ],
)
def test_special_addresses_are_no_endpoints(address: str, words: str) -> None:
    assert syntax.endpoint_ip(address, "IPv4") == words


@pytest.mark.parametrize(
    "fields",
    [
        {"endpoints": None, "ports": None},
        {"endpoints": [{"addresses": ["10.244.1.1"]}] * 1000},
        {"ports": [{"name": "all"}]},
        {"addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"]}]},
        {"addressType": "FQDN", "endpoints": [{"addresses": ["a.example.org"]}]},
    ],
)
def test_slices_that_are_fine(fields: Object) -> None:
    accepted(ENDPOINT_SLICES, slice_(**fields))


def test_the_address_type_of_a_slice_stays() -> None:
    store = Store()
    store.create(ENDPOINT_SLICES, "default", slice_())
    with pytest.raises(StatusError) as caught:
        store.replace(ENDPOINT_SLICES, "default", "a", slice_(addressType="FQDN", endpoints=[]))
    assert str(caught.value) == (
        'EndpointSlice.discovery.k8s.io "a" is invalid: addressType: Invalid value: "FQDN": field is immutable'
    )


@pytest.mark.parametrize(
    ("subsets", "field", "reason", "message"),
    [
        ([{}], "subsets[0]", REQUIRED, "Required value: must specify `addresses` or `notReadyAddresses`"),
        ([{"addresses": [{"ip": "x"}]}], "subsets[0].addresses[0].ip", INVALID, f'Invalid value: "x": {IP}'),
        ([{"addresses": [{}]}], "subsets[0].addresses[0].ip", INVALID, f"Invalid value: null: {IP}"),
        (
            [{"notReadyAddresses": [{"ip": "10.1.1.1"}], "ports": [{"port": 0}]}],
            "subsets[0].ports[0].port",
            INVALID,
            f"Invalid value: 0: {PORT}",
        ),
        ("x", "subsets", WRONG_TYPE, 'Invalid value: "string": must be of type array'),
    ],
)
def test_endpoints(subsets: object, field: str, reason: str, message: str) -> None:
    assert causes(ENDPOINTS, {"metadata": {"name": "a"}, "subsets": subsets}) == [(reason, field, message)]


@pytest.mark.parametrize("field", ["podCIDR", "podCIDRs"])
def test_nodes(field: str) -> None:
    spec = {field: "x" if field == "podCIDR" else ["x"]}
    ((reason, found, message),) = causes(NODES, {"metadata": {"name": "a"}, "spec": spec})
    assert (reason, found.partition("[")[0]) == (INVALID, f"spec.{field}")
    assert message == 'Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'
