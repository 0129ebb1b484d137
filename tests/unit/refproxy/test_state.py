from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refproxy.plane import Endpoint, ServicePort, ServicePortKey
from refproxy.state import Changes, ServiceState

KEY = ServicePortKey("ns", "a", "http", "tcp")
Object = dict[str, Any]


def service(name: str = "a", **spec: Any) -> Object:
    base = {"clusterIP": "10.96.0.1", "type": "ClusterIP", "ports": [{"name": "http", "port": 80}]}
    return {"metadata": {"namespace": "ns", "name": name}, "spec": base | spec}


def slice_(*addresses: str, name: str = "a-1", owner: str = "a", port: int = 8080, **meta: Any) -> Object:
    return {
        "metadata": {
            "namespace": "ns",
            "name": name,
            "labels": {"kubernetes.io/service-name": owner},
            **meta,
        },
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": True}, "nodeName": "node"} for address in addresses
        ],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    }


def test_a_service_with_its_slice_becomes_a_port() -> None:
    state = ServiceState("node")
    assert state.apply_service("ADDED", service())
    assert state.apply_slice("ADDED", slice_("10.244.0.2", "10.244.0.1"))
    assert state.pending == (1, 1)
    assert state.take() == Changes(frozenset({KEY}), (), 1, 1)
    both = (Endpoint("10.244.0.1", 8080, local=True), Endpoint("10.244.0.2", 8080, local=True))
    assert state.ports == {KEY: ServicePort(KEY, "10.96.0.1", 80, both)}
    assert state.take() == Changes(frozenset(), (), 0, 0)


def test_a_slice_may_come_before_its_service() -> None:
    state = ServiceState("node")
    state.apply_slice("ADDED", slice_("10.244.0.1"))
    assert state.take().keys == frozenset()
    state.apply_service("ADDED", service())
    assert state.take().keys == {KEY}
    assert len(state.ports[KEY].endpoints) == 1


@pytest.mark.parametrize("order", [("a-1", "a-2"), ("a-2", "a-1")])
def test_an_endpoint_of_two_slices_is_local_if_one_of_them_says_so(order: tuple[str, str]) -> None:
    state = ServiceState("node")
    state.apply_service("ADDED", service())
    slices = {name: slice_("10.244.0.1", "10.244.0.2", name=name) for name in order}
    for endpoint in slices["a-2"]["endpoints"]:
        del endpoint["nodeName"]
    for name in order:
        state.apply_slice("ADDED", slices[name])
    state.take()
    both = (Endpoint("10.244.0.1", 8080, local=True), Endpoint("10.244.0.2", 8080, local=True))
    assert state.ports[KEY].endpoints == both


def leaving(*addresses: str, **conditions: bool) -> Object:
    obj = slice_(*addresses)
    for endpoint in obj["endpoints"]:
        endpoint["conditions"] = {"ready": False, "serving": True, "terminating": True} | conditions
    return obj


def test_endpoints_that_terminate_and_still_serve_stand_in_where_no_other_is_ready() -> None:
    state = ServiceState("node")
    state.apply_service("ADDED", service())
    state.apply_slice("ADDED", leaving("10.244.0.2", "10.244.0.1"))
    old = (Endpoint("10.244.0.1", 8080, local=True), Endpoint("10.244.0.2", 8080, local=True))
    state.take()
    assert (state.ports[KEY].endpoints, state.ports[KEY].leaving) == (old, ())
    assert state.endpoints == 2
    state.apply_slice("ADDED", slice_("10.244.0.2", "10.244.0.3", name="a-2"))
    assert state.take().keys == {KEY}
    assert [end.ip for end in state.ports[KEY].endpoints] == ["10.244.0.2", "10.244.0.3"]
    assert state.ports[KEY].leaving == old[:1]  # the other one is ready, by the other slice
    state.apply_slice("DELETED", slice_())
    state.take()
    assert state.ports[KEY].leaving == ()


@pytest.mark.parametrize(
    "conditions", [{"serving": False}, {"terminating": False}], ids=["no longer serving", "not terminating"]
)
def test_who_is_not_ready_and_does_not_serve_to_the_end_gets_nothing(conditions: dict[str, bool]) -> None:
    state = ServiceState("node")
    state.apply_service("ADDED", service())
    state.apply_slice("ADDED", leaving("10.244.0.1", **conditions))
    state.take()
    assert (state.ports[KEY].endpoints, state.ports[KEY].leaving) == ((), ())


def test_several_slices_are_merged_each_address_once_in_kube_proxys_order() -> None:
    state = ServiceState("node")
    state.apply_service("ADDED", service())
    state.apply_slice("ADDED", slice_("10.244.0.30", "10.244.0.4"))
    state.apply_slice("ADDED", slice_("10.244.0.4", "10.244.0.200", name="a-2"))
    state.take()
    assert [item.ip for item in state.ports[KEY].endpoints] == ["10.244.0.200", "10.244.0.30", "10.244.0.4"]
    state.apply_slice("DELETED", slice_(name="a-1"))
    assert state.take().keys == {KEY}
    assert [item.ip for item in state.ports[KEY].endpoints] == ["10.244.0.200", "10.244.0.4"]


def test_a_slice_that_changes_its_owner_leaves_the_old_one() -> None:
    state = ServiceState("node")
    state.apply_service("ADDED", service())
    state.apply_service("ADDED", service("b", clusterIP="10.96.0.2"))
    state.apply_slice("ADDED", slice_("10.244.0.1"))
    state.take()
    state.apply_slice("MODIFIED", slice_("10.244.0.1", owner="b"))
    assert state.take().keys == {KEY, KEY._replace(name="b")}
    assert state.ports[KEY].endpoints == ()
    assert len(state.ports[KEY._replace(name="b")].endpoints) == 1


def test_only_ready_endpoints_count_and_an_unset_condition_is_ready() -> None:
    state = ServiceState("node")
    state.apply_service("ADDED", service())
    obj = slice_("10.244.0.1", "10.244.0.2", "10.244.0.3")
    obj["endpoints"][0]["conditions"]["ready"] = False
    obj["endpoints"][1]["conditions"] = {}
    obj["endpoints"][2]["nodeName"] = "other"
    state.apply_slice("ADDED", obj)
    state.take()
    assert state.ports[KEY].endpoints == (
        Endpoint("10.244.0.2", 8080, local=True),
        Endpoint("10.244.0.3", 8080, local=False),
    )


@pytest.mark.parametrize(
    "obj",
    [
        service(clusterIP="None"),
        service(clusterIP=""),
        service(clusterIP="fd00::1"),
        service(type="ExternalName", clusterIP="10.96.0.1"),
        service(ports=[{"name": "http", "port": 80, "protocol": "SCTP"}]),
        service() | {"metadata": {"namespace": "ns", "name": "a", "labels": {"service.kubernetes.io/headless": ""}}},
        service()
        | {
            "metadata": {
                "namespace": "ns",
                "name": "a",
                "labels": {"service.kubernetes.io/service-proxy-name": "other"},
            }
        },
    ],
)
def test_services_that_no_proxy_serves_leave_no_trace(obj: Object) -> None:
    state = ServiceState("node")
    assert not state.apply_service("ADDED", obj)
    assert state.take() == Changes(frozenset(), (), 0, 0)
    assert state.ports == {}
    state.apply_service("ADDED", service())
    state.take()
    assert state.apply_service("MODIFIED", obj)
    assert state.take().keys == {KEY}
    assert state.ports == {}


def test_ipv6_slices_leave_no_trace() -> None:
    state = ServiceState("node")
    assert not state.apply_slice("ADDED", slice_("fd00::1") | {"addressType": "IPv6"})


def test_all_settings_of_a_service_are_read() -> None:
    state = ServiceState("node")
    state.apply_service(
        "ADDED",
        service(
            type="NodePort",
            externalTrafficPolicy="Local",
            sessionAffinity="ClientIP",
            externalIPs=["192.0.2.1", "fd00::1"],
            ports=[{"port": 53, "protocol": "UDP", "nodePort": 30053}],
        ),
    )
    state.take()
    key = ServicePortKey("ns", "a", "", "udp")
    assert str(key) == "ns/a"
    assert state.ports[key] == ServicePort(
        key, "10.96.0.1", 53, (), 30053, ("192.0.2.1",), affinity_seconds=10800, local_only=True
    )


def test_the_local_policy_of_a_cluster_ip_service_means_nothing() -> None:
    state = ServiceState("node")
    state.apply_service(
        "ADDED", service(externalTrafficPolicy="Local", ports=[{"name": "http", "port": 80, "nodePort": 30000}])
    )
    state.take()
    assert (state.ports[KEY].local_only, state.ports[KEY].node_port) == (False, 0)


def test_repeated_events_and_changes_taken_back_are_no_changes() -> None:
    state = ServiceState("node")
    state.apply_service("ADDED", service())
    state.apply_slice("ADDED", slice_("10.244.0.1"))
    state.take()
    assert not state.apply_service("MODIFIED", service())
    assert not state.apply_slice("MODIFIED", slice_("10.244.0.1"))
    assert state.apply_slice("MODIFIED", slice_("10.244.0.2"))
    assert state.apply_slice("MODIFIED", slice_("10.244.0.1"))
    assert state.take() == Changes(frozenset(), (), 0, 1)
    assert (state.service_changes_total, state.endpoint_changes_total) == (1, 3)


def test_a_list_removes_what_it_lacks_and_orders_by_creation() -> None:
    state = ServiceState("node")
    state.apply_service("ADDED", service("gone"))
    state.apply_slice("ADDED", slice_("10.244.0.1", name="gone-1", owner="gone"))
    state.take()
    items = []
    for name, at, version in (("z", "10:00:00", "7"), ("c", "10:00:01", "11"), ("b", "10:00:01", "9")):
        obj = service(name)
        obj["metadata"] |= {"creationTimestamp": f"2026-01-01T{at}Z", "resourceVersion": version}
        items.append(obj)
    assert state.replace_services(items)
    assert state.replace_slices([])
    keys = state.take().keys
    assert sorted(key.name for key in keys) == ["b", "c", "gone", "z"]
    assert [key.name for key in state.ports] == ["z", "b", "c"]
    assert not state.replace_services(items)
    assert not state.replace_slices([])


def test_a_service_keeps_its_place_when_it_changes() -> None:
    state = ServiceState("node")
    for name in ("a", "b", "c"):
        state.apply_service("ADDED", service(name))
    state.take()
    state.apply_service("MODIFIED", service("a", clusterIP="10.96.0.9"))
    state.take()
    assert [key.name for key in state.ports] == ["a", "b", "c"]


def triggered(address: str, at: str) -> Object:
    key = "endpoints.kubernetes.io/last-change-trigger-time"
    return slice_(address, annotations={key: at})


def test_trigger_times_are_told_once_when_they_lie_after_the_start() -> None:
    state = ServiceState("node", since_ns=1_000_000_000)
    state.apply_slice("ADDED", triggered("10.244.0.1", "1970-01-01T00:00:00.5Z"))
    state.apply_slice("MODIFIED", triggered("10.244.0.2", "1970-01-01T00:00:02.000001Z"))
    state.apply_slice("MODIFIED", triggered("10.244.0.3", "1970-01-01T01:00:03+01:00"))
    state.apply_slice("MODIFIED", triggered("10.244.0.4", "yesterday"))
    assert state.take().triggers == (2_000_001_000, 3_000_000_000)
    assert state.take().triggers == ()


def test_the_removal_of_a_slice_forgets_its_services_trigger_times() -> None:
    state = ServiceState("node")
    state.apply_slice("ADDED", triggered("10.244.0.1", "2026-01-01T00:00:00Z"))
    state.apply_slice("DELETED", slice_())
    assert state.take().triggers == ()


names = st.sampled_from("abc")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("service"), names, st.sampled_from(["ADDED", "DELETED"]), st.integers(1, 3)),
        st.tuples(st.just("slice"), names, st.sampled_from(["ADDED", "DELETED"]), st.integers(0, 3)),
        st.tuples(st.just("take"), names, st.just(""), st.just(0)),
    ),
    max_size=40,
)


@given(steps)
def test_any_way_of_events_ends_where_a_fresh_list_of_the_rest_ends(
    events: list[tuple[str, str, str, int]],
) -> None:
    state, services, slices = ServiceState("node"), dict[str, Object](), dict[str, Object]()
    before: dict[ServicePortKey, ServicePort] = {}
    for kind, name, event, number in events:
        obj = (
            service(name, clusterIP=f"10.96.0.{number}")
            if kind == "service"
            else slice_(*(f"10.244.0.{index}" for index in range(number)), name=name, owner=name)
        )
        store = services if kind == "service" else slices
        if kind == "take":
            keys = state.take().keys
            assert keys == {
                key for key in before.keys() | state.ports.keys() if before.get(key) != state.ports.get(key)
            }
            before = dict(state.ports)
            continue
        if event == "ADDED":
            store[name] = obj
        else:
            store.pop(name, None)
        (state.apply_service if kind == "service" else state.apply_slice)(event, obj)
    state.take()
    fresh = ServiceState("node")
    fresh.replace_slices(slices.values())
    fresh.replace_services(services.values())
    fresh.take()
    assert state.ports == fresh.ports
    assert state.endpoints == sum(len(port.endpoints) for port in state.ports.values())


def test_a_load_balancers_addresses_and_sources_are_read() -> None:
    state = ServiceState("node")
    obj = service(
        type="LoadBalancer",
        externalTrafficPolicy="Local",
        loadBalancerSourceRanges=[" 192.0.2.7/24 ", "2001:db8::/32", "0.0.0.0/0"],
    )
    ingress = [{"ip": "203.0.113.1"}, {"hostname": "lb.example"}, {"ip": "2001:db8::1"}, {"ip": "203.0.113.2"}]
    state.apply_service("ADDED", obj | {"status": {"loadBalancer": {"ingress": ingress}}})
    state.apply_slice("ADDED", slice_("10.244.0.1"))
    state.take()
    assert state.ports[KEY].ingress_ips == ("203.0.113.1", "203.0.113.2")
    assert state.ports[KEY].source_ranges == ("192.0.2.0/24", "0.0.0.0/0")
    assert state.ports[KEY].local_only
    assert len(state.ports[KEY].endpoints) == 1


@pytest.mark.parametrize(
    ("first", "second", "chosen"),
    [
        ("2001:db8::1", "10.96.0.1", "10.96.0.1"),
        ("10.96.0.1", "2001:db8::1", "10.96.0.1"),
        ("2001:db8::1", None, None),
        ("None", "None", None),
    ],
)
def test_the_ipv4_cluster_ip_is_taken_wherever_it_stands(first: str, second: str | None, chosen: str | None) -> None:
    state = ServiceState("node")
    state.apply_service("ADDED", service(clusterIP=first, clusterIPs=[first, *([second] if second else [])]))
    state.take()
    assert [port.cluster_ip for port in state.ports.values()] == ([chosen] if chosen else [])


def test_what_is_not_served_is_told_with_the_first_service_that_asks_for_it() -> None:
    state = ServiceState("node")
    outside = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "loadBalancerSourceRanges": ["10.0.0.0/8"]}
    state.apply_service("ADDED", service("a", internalTrafficPolicy="Cluster", **outside))
    assert state.take_notes() == []
    more = [{"name": "http", "port": 80}, {"name": "s", "port": 81, "protocol": "SCTP"}]
    for name in ("b", "c"):
        spec = {"healthCheckNodePort": 30000, "internalTrafficPolicy": "Local", "ports": more}
        state.apply_service("ADDED", service(name, **spec))
    assert state.take_notes() == [
        "Service ns/b: spec.healthCheckNodePort: nothing answers there (said once for all Services)",
        "Service ns/b: spec.internalTrafficPolicy: Local is taken for Cluster (said once for all Services)",
        "Service ns/b: spec.ports.protocol: SCTP is not carried (said once for all Services)",
    ]


def test_what_a_relay_cannot_do_is_told_in_userspace_mode() -> None:
    state = ServiceState("node", mode="userspace")
    state.apply_service("ADDED", service(externalTrafficPolicy="Local"))  # which means nothing there
    assert state.take_notes() == []
    outside = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "loadBalancerSourceRanges": ["10.0.0.0/8"]}
    state.apply_service("ADDED", service("b", **outside))
    assert state.take_notes() == [
        (
            "Service ns/b: spec.externalTrafficPolicy: Local is taken for Cluster in userspace mode "
            "(said once for all Services)"
        ),
        (
            "Service ns/b: spec.loadBalancerSourceRanges: userspace mode serves the load balancer's addresses to "
            "nobody (said once for all Services)"
        ),
    ]


def balanced(*ingress: Any, **spec: Any) -> Object:
    return service(type="LoadBalancer", **spec) | {"status": {"loadBalancer": {"ingress": list(ingress)}}}


def test_a_load_balancer_that_is_a_proxy_itself_has_no_address_here() -> None:
    state = ServiceState("node")
    state.apply_service(
        "ADDED", balanced({"ip": "203.0.113.1", "ipMode": "Proxy"}, {"ip": "203.0.113.2", "ipMode": "VIP"})
    )
    state.take()
    assert state.ports[KEY].ingress_ips == ("203.0.113.2",)


LEFT_OUT = [
    (
        balanced({"ip": "203.0.113.1"}, {"ip": "203.0.113.300"}),
        "status.loadBalancer.ingress.ip: expected an IPv4 address, got '203.0.113.300'",
    ),
    (
        balanced({"ip": "203.0.113.1"}, {"ip": "0203.0.113.1"}),
        "status.loadBalancer.ingress.ip: expected an IPv4 address, got '0203.0.113.1'",
    ),
    (service(externalIPs=["192.0.2.1", "here"]), "spec.externalIPs: expected an IPv4 address, got 'here'"),
    (
        service(loadBalancerSourceRanges=["192.0.2.0/33", "192.0.2.0/24"]),
        "spec.loadBalancerSourceRanges: expected a range of addresses, got '192.0.2.0/33'",
    ),
    (service() | {"status": {"loadBalancer": "x"}}, "status.loadBalancer.ingress: expected a list of objects"),
    (service() | {"status": "x"}, "status.loadBalancer.ingress: expected a list of objects"),
    (balanced("x"), "status.loadBalancer.ingress: expected a list of objects"),
]


@pytest.mark.parametrize(("obj", "words"), LEFT_OUT)
def test_an_address_that_cannot_be_read_does_not_take_the_service_away(obj: Object, words: str) -> None:
    state = ServiceState("node")
    for _ in range(2):
        state.apply_service("MODIFIED", obj)
    assert state.take_notes() == [f"Service ns/a: left out: {words}"]
    state.take()
    port = state.ports[KEY]
    assert {*port.external_ips, *port.ingress_ips} <= {"192.0.2.1", "203.0.113.1"}
    assert port.source_ranges in {(), ("192.0.2.0/24",)}
    state.apply_service("MODIFIED", service())
    state.apply_service("MODIFIED", obj)
    assert len(state.take_notes()) == 1


@pytest.mark.parametrize("ranges", [["192.0.2.0/33"], ["2001:db8::/32"]], ids=["unreadable", "of version 6"])
def test_ranges_of_which_none_is_left_let_nobody_in(ranges: list[str]) -> None:
    state = ServiceState("node")
    state.apply_service("ADDED", balanced({"ip": "203.0.113.1"}, loadBalancerSourceRanges=ranges))
    state.take()
    assert state.ports[KEY].source_ranges == ("0.0.0.0/32",)


BAD_SERVICES = [
    ({"clusterIP": "10.96.0.300"}, "spec.clusterIP: expected an IPv4 address, got '10.96.0.300'"),
    ({"clusterIP": "10.96.1"}, "spec.clusterIP: expected an IPv4 address, got '10.96.1'"),
    ({"clusterIP": 7}, "spec.clusterIP: expected an IPv4 address, got 7"),
    ({"ports": [{"port": 70000}]}, "spec.ports.port: expected a number from 1 to 65535, got 70000"),
    ({"ports": [{}]}, "spec.ports.port: expected a number from 1 to 65535, got None"),
    (
        {"type": "NodePort", "ports": [{"port": 80, "nodePort": "30080"}]},
        "spec.ports.nodePort: expected a number from 1 to 65535, got '30080'",
    ),
    ({"loadBalancerSourceRanges": "192.0.2.0/24"}, "spec.loadBalancerSourceRanges: expected a list"),
    (
        {"clusterIP": "2001:db8::1", "clusterIPs": ["2001:db8::1", "10.96.0"]},
        "spec.clusterIPs: expected an IPv4 address, got '10.96.0'",
    ),
    ({"ports": "80"}, "spec.ports: expected a list of objects"),
    (
        {"ports": [{"port": 80, "name": 'a" -j DROP'}]},
        """spec.ports.name: expected letters, digits, dots and dashes, got 'a" -j DROP'""",
    ),
    (
        {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 90_000}}},
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds: expected a number from 1 to 86400, got 90000",
    ),
    (
        {"sessionAffinity": "ClientIP", "sessionAffinityConfig": "x"},
        "cannot be read: AttributeError: 'str' object has no attribute 'get'",
    ),
]


@pytest.mark.parametrize(("spec", "words"), BAD_SERVICES)
def test_a_service_that_cannot_be_read_is_told_once_and_stays_as_it_was(spec: Object, words: str) -> None:
    state = ServiceState("node")
    state.apply_service("ADDED", service())
    state.take()
    for _ in range(2):
        assert not state.apply_service("MODIFIED", service(**spec))
    assert state.take_notes() == [f"Service ns/a: {words}"]
    assert state.take_notes() == []
    assert state.take().keys == frozenset()
    assert set(state.ports) == {KEY}
    state.apply_service("MODIFIED", service())
    state.apply_service("MODIFIED", service(**spec))
    assert state.take_notes() == [f"Service ns/a: {words}"]
    assert state.apply_service("DELETED", service(**spec))


def test_a_slice_that_cannot_be_read_is_told_and_stays_as_it_was() -> None:
    state = ServiceState("node")
    state.apply_service("ADDED", service())
    state.apply_slice("ADDED", slice_("10.244.0.1"))
    state.take()
    assert not state.apply_slice("MODIFIED", slice_("10.244.0.2", "10.244.0.256"))
    assert not state.apply_slice("MODIFIED", slice_("10.244.0.2", port=-1))
    assert state.take_notes() == [
        "EndpointSlice ns/a-1: endpoints.addresses: expected an IPv4 address, got '10.244.0.256'",
        "EndpointSlice ns/a-1: ports.port: expected a number from 1 to 65535, got -1",
    ]
    assert [end.ip for end in state.ports[KEY].endpoints] == ["10.244.0.1"]


def test_a_list_with_bad_objects_is_taken_in_without_them() -> None:
    state = ServiceState("node")
    nameless: Object = {"metadata": {"name": "x"}, "spec": {}}
    assert state.replace_services([service("bad", clusterIP="?"), service(), nameless, {"spec": {}}])
    assert state.replace_slices([slice_("::::"), nameless, slice_("10.244.0.1", name="a-2")])
    assert set(state.take().keys) == {KEY}
    assert [end.ip for end in state.ports[KEY].endpoints] == ["10.244.0.1"]
    assert state.take_notes() == [
        "Service ?/?: metadata.namespace: expected a name, got None",
        "Service ?/?: metadata: expected an object",
        "Service ns/bad: spec.clusterIP: expected an IPv4 address, got '?'",
        "EndpointSlice ?/?: metadata.namespace: expected a name, got None",
        "EndpointSlice ns/a-1: endpoints.addresses: expected an IPv4 address, got '::::'",
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-70_000, 70_000) | st.text(max_size=5) | st.sampled_from(["None", "::1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, inner in items for path in paths(inner, (*here, key)))]


def changed_at(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed_at(value[path[0]], path[1:], new)
    return copy


FULL_SERVICE = service(
    type="LoadBalancer",
    clusterIPs=["10.96.0.1"],
    externalIPs=["192.0.2.1"],
    externalTrafficPolicy="Local",
    loadBalancerSourceRanges=["192.0.2.0/24"],
    sessionAffinity="ClientIP",
    sessionAffinityConfig={"clientIP": {"timeoutSeconds": 60}},
    ports=[{"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"}],
) | {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}}
FULL_SLICE = slice_(
    "10.244.0.1", annotations={"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"}
)


@given(st.data())
def test_whatever_one_value_becomes_only_sound_ports_come_out(data: st.DataObject) -> None:
    state = ServiceState("node")
    for whole, apply in ((FULL_SERVICE, state.apply_service), (FULL_SLICE, state.apply_slice)):
        path = data.draw(st.sampled_from(paths(whole)))
        apply("ADDED", changed_at(whole, path, data.draw(JSON)))
    state.take()
    for key, port in state.ports.items():
        assert all(isinstance(word, str) for word in key)
        for address in (port.cluster_ip, *port.external_ips, *(end.ip for end in port.endpoints)):
            assert str(IPv4Address(address)) == address
        for address in port.ingress_ips:
            assert str(IPv4Address(address)) == address
        for source in port.source_ranges:
            assert str(IPv4Network(source)) == source
        assert 0 < port.port < 65_536
        assert 0 <= port.node_port < 65_536
