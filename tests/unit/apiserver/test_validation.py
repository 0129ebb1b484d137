"""What the server takes a Service proxy can read; anything else it refuses with the field."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.kube.access import Access, Exposure
from proxybench.kube.objects import AddressPlan, Pod, Population, endpoint_slices, endpoints, namespace, node, service
from proxybench.kube.resources import BY_KIND, ENDPOINT_SLICES, SERVICES
from proxybench.targets.lab.apiserver.selectors import parse_selection
from proxybench.targets.lab.apiserver.status import StatusError
from proxybench.targets.lab.apiserver.store import Store
from refproxy.objects import name_of, not_done, parse_service, parse_slice
from refproxy.state import ServiceState

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.kube.resources import Resource
    from proxybench.targets.lab.apiserver.eventlog import Stored
    from refproxy.plane import ServicePort

BALANCED = Access(
    node_port=30080,
    load_balancer_ips=("198.19.0.1",),
    local_only=True,
    source_ranges=("192.0.2.0/24",),
    health_check_port=31000,
)
PLAN = AddressPlan("10.96.0.0/12", (("node1", "10.244.0.0/17"), ("node2", "10.244.128.0/17")), 8080, "198.19.0.0/16")
HERE = "default"
OURS = (
    service("a", "10.96.1.1", 8080, namespace=HERE),
    service("a", "10.96.1.1", 8080, namespace=HERE, access=BALANCED),
    service(
        "a",
        "10.96.1.1",
        8080,
        namespace=HERE,
        access=Access(external_ips=("198.19.0.2",), affinity_s=60, protocols=("TCP", "UDP")),
    ),
    service("a", "fd00::1", 8080, namespace=HERE),
    *endpoint_slices("a", (Pod("10.244.0.7", "node1"), Pod("10.244.0.8", "node1")), 8080, 5, namespace=HERE),
    endpoints("a", (Pod("10.244.0.7", "node1"),), 8080, 5, namespace=HERE),
    node("a", "198.18.1.11", "10.244.0.0/17", ("fd00::11", "fd00:10::/64")),
    namespace("a"),
)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 70_000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "None", "10.0.0.1", "fd00::1", "10.0.0.0/8", "300.1.1.1", "a b", "TCP", "SCTP", "Local", "ü"]),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.sampled_from(["ip", "port", "ready"]), st.integers(0, 3), max_size=2),
)


def resource_of(obj: dict[str, Any]) -> Resource:
    return BY_KIND[obj["kind"]]


def where(obj: dict[str, Any]) -> str:
    return HERE if resource_of(obj).namespaced else ""


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of everything in an object."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([path] if path else []), *(found for key, one in inner for found in places(one, (*path, key)))]


def put(obj: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed: Any = deepcopy(obj)
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return dict(changed)


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[Resource, dict[str, Any]]:
    """Return one of our objects in which up to three things are something else."""
    ours = draw(st.sampled_from(OURS))
    obj = ours
    for _ in range(draw(st.integers(1, 3))):
        inside = [path for path in places(obj) if path[0] not in {"kind", "apiVersion"}]
        obj = put(obj, draw(st.sampled_from(inside)), draw(ODD))
    return resource_of(ours), obj


def answered(ask: Callable[[], Stored]) -> Stored | None:
    """Return what was stored; None where it was refused, with the field."""
    try:
        return ask()
    except StatusError as error:
        refused = error
    assert refused.code in {400, 409, 422}
    assert refused.code != 422 or refused.body["details"]["causes"][0]["field"]
    return None


def ports_of(found: dict[str, Any]) -> tuple[ServicePort, ...]:
    """Return what the reference proxier reads of a Service; it leaves nothing out."""
    left_out: list[str] = []
    ports = parse_service(name_of(found), found, left_out)
    assert left_out == []
    return ports


@given(spoilt())
def test_what_is_taken_is_read_by_the_control_loop(given_: tuple[Resource, dict[str, Any]]) -> None:
    resource, obj = given_
    store = Store()
    place = HERE if resource.namespaced else ""
    stored = answered(lambda: store.create(resource, place, deepcopy(obj)))
    if stored is None:
        return
    assert store.select(resource, "", parse_selection("!nothing,a notin (b)"))
    found = orjson.loads(stored.encoded(resource.versions[-1]))
    state = ServiceState("node1")
    if resource == SERVICES:
        if ports_of(found):
            list(not_done(found["spec"], "userspace"))
        state.apply_service("ADDED", found)
    if resource == ENDPOINT_SLICES:
        parse_slice(found, "node1")
        state.apply_slice("ADDED", found)
    state.take()
    assert [note for note in state.take_notes() if "said once" not in note] == []


@given(spoilt(), st.sampled_from(OURS))
def test_what_replaces_another_is_read_as_well(given_: tuple[Resource, dict[str, Any]], before: dict[str, Any]) -> None:
    resource, obj = given_
    store = Store()
    if resource_of(before) is not resource:
        return
    store.create(resource, where(before), deepcopy(before))
    name = before["metadata"]["name"]
    stored = answered(lambda: store.replace(resource, where(before), name, deepcopy(obj)))
    if stored is not None and resource == SERVICES:
        ports_of(stored.decoded())


@pytest.mark.parametrize("obj", OURS)
def test_what_we_write_is_taken_as_it_is(obj: dict[str, Any]) -> None:
    store = Store()
    found = store.create(resource_of(obj), where(obj), deepcopy(obj)).decoded()
    for field in ("uid", "creationTimestamp", "resourceVersion"):
        del found["metadata"][field]
    assert found == obj


def test_every_exposure_of_a_population_is_taken() -> None:
    store = Store()
    for number, bits in enumerate(range(16)):
        exposure = Exposure(bool(bits & 1), bool(bits & 2), bool(bits & 4), bool(bits & 1 and bits & 8))
        made = Population(PLAN, 2, exposures=(exposure,)).service(number)
        store.create(SERVICES, HERE, {**made, "metadata": {**made["metadata"], "namespace": HERE}})


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("spec", "clusterIP"), "10.96.1", "spec.clusterIP: '10.96.1' must be a valid IP address"),
        (("spec", "ports", 0, "port"), "80", "spec.ports[0].port: Input should be a valid integer"),
        (("spec", "ports", 0, "nodePort"), 30000, "spec.ports[0].nodePort: may not be used when `type` is 'ClusterIP'"),
        (
            ("spec", "healthCheckNodePort"),
            31000,
            "spec.healthCheckNodePort: may only be used when `type` is 'LoadBalancer'",
        ),
        (
            ("spec", "externalTrafficPolicy"),
            "Local",
            "spec.externalTrafficPolicy: may only be set for externally-accessible services",
        ),
        (
            ("status",),
            {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
            "status.loadBalancer.ingress: may only be used when `type` is 'LoadBalancer'",
        ),
    ],
)
def test_a_refusal_names_the_field(path: tuple[Any, ...], value: object, words: str) -> None:
    with pytest.raises(StatusError) as caught:
        Store().create(SERVICES, HERE, put(OURS[0], path, value))
    assert (caught.value.code, caught.value.reason) == (422, "Invalid")
    assert str(caught.value) == f'Service "a" is invalid: {words}'
    field, _, message = words.partition(": ")
    assert caught.value.body["details"] == {
        "name": "a",
        "kind": "Service",
        "causes": [{"reason": "FieldValueInvalid", "message": message, "field": field}],
    }


def test_an_address_of_another_family_is_none_of_the_slices() -> None:
    with pytest.raises(StatusError) as caught:
        Store().create(ENDPOINT_SLICES, HERE, put(OURS[4], ("endpoints", 1, "addresses", 0), "fd00::1"))
    assert (
        str(caught.value) == "EndpointSlice \"a-000\" is invalid: endpoints[1].addresses[0]: 'fd00::1' must be of IPv4"
    )


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort"])
def test_a_load_balancer_that_becomes_something_else_loses_what_it_was_given_as_one(kind: str) -> None:
    store = Store()
    before = store.create(SERVICES, HERE, deepcopy(OURS[1])).decoded()
    (port,) = ports_of(before)
    assert (port.node_port, port.ingress_ips, port.source_ranges) == (30080, ("198.19.0.1",), ("192.0.2.0/24",))
    after = store.replace(SERVICES, HERE, "a", put(before, ("spec", "type"), kind)).decoded()
    (port,) = ports_of(after)
    assert (port.node_port, port.ingress_ips, port.source_ranges) == (30080 if kind == "NodePort" else 0, (), ())
    assert after["status"] == {"loadBalancer": {}}
    gone = {"healthCheckNodePort", "loadBalancerSourceRanges", "allocateLoadBalancerNodePorts"}
    gone |= {"externalTrafficPolicy"} if kind == "ClusterIP" else set()
    assert before["spec"].keys() - after["spec"].keys() == gone
