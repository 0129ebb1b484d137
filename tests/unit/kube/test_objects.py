from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.kube import objects
from proxybench.kube.access import Access, Exposure
from proxybench.kube.objects import AddressPlan, Pod, Population
from proxybench.model import Position

if TYPE_CHECKING:
    from collections.abc import Callable

RANGES = (("node1", "10.244.0.0/17"), ("node2", "10.244.128.0/17"))
PLAN = AddressPlan("10.96.0.0/12", RANGES, 8080)
OUTSIDE = AddressPlan("10.96.0.0/12", RANGES, 8080, "198.19.0.0/16")


def test_first_service_to_the_letter(population: Population) -> None:
    assert population.service(0) == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "svc-00000",
            "namespace": "proxybench",
            "labels": {"app.kubernetes.io/managed-by": "proxybench"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "10.96.1.0",
            "clusterIPs": ["10.96.1.0"],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
        },
        "status": {"loadBalancer": {}},
    }


def test_its_slice_to_the_letter(population: Population) -> None:
    ready = {"ready": True, "serving": True, "terminating": False}
    assert population.endpoint_slices(0, 1_700_000_000_123_456_789) == (
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "svc-00000-000",
                "namespace": "proxybench",
                "labels": {
                    "app.kubernetes.io/managed-by": "proxybench",
                    "kubernetes.io/service-name": "svc-00000",
                    "endpointslice.kubernetes.io/managed-by": "proxybench",
                },
                "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2023-11-14T22:13:20.123456789Z"},
            },
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["10.244.1.0"], "conditions": ready, "nodeName": "node1"},
                {"addresses": ["10.244.1.1"], "conditions": ready, "nodeName": "node1"},
            ],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        },
    )


def test_its_endpoints_object_to_the_letter(population: Population) -> None:
    found = population.endpoints(0, 1_000_000_000)
    assert found["metadata"]["name"] == "svc-00000"
    assert found["metadata"]["labels"]["endpointslice.kubernetes.io/skip-mirror"] == "true"
    assert found["metadata"]["annotations"] == {objects.TRIGGER_TIME: "1970-01-01T00:00:01.000000000Z"}
    assert found["subsets"] == [
        {
            "addresses": [
                {"ip": "10.244.1.0", "nodeName": "node1"},
                {"ip": "10.244.1.1", "nodeName": "node1"},
            ],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }
    ]


def test_each_service_has_its_endpoints_on_one_node_every_third_not_on_the_first(population: Population) -> None:
    nodes = [{pod.node for pod in population.pods(index)} for index in range(6)]
    assert nodes == [{"node1"}, {"node2"}, {"node1"}, {"node1"}, {"node2"}, {"node1"}]


@pytest.mark.parametrize(
    ("services", "position", "index"),
    [
        (10, Position.FIRST, 0),
        (10, Position.MIDDLE, 5),
        (10, Position.LAST, 9),
        (9, Position.MIDDLE, 3),
        (11, Position.LAST, 9),
        (10_000, Position.LAST, 9_999),
        (1, Position.LAST, 0),
    ],
)
def test_the_measured_service_is_on_the_first_node(
    population: Population, services: int, position: Position, index: int
) -> None:
    assert population.measured(services, position) == index
    assert population.pods(index)[0].node == "node1"


def test_a_service_without_endpoints_has_one_empty_slice_and_no_subset(plan: AddressPlan) -> None:
    empty = Population(plan, 0)
    (only,) = empty.endpoint_slices(3, 1)
    assert only["endpoints"] is None
    assert "subsets" not in empty.endpoints(3, 1)


def test_ten_thousand_endpoints_of_one_service_fill_a_hundred_slices(plan: AddressPlan) -> None:
    slices = Population(plan, 10_000).endpoint_slices(0, 1)
    assert [len(part["endpoints"]) for part in slices] == [100] * 100
    assert slices[-1]["metadata"]["name"] == "svc-00000-099"
    addresses = {endpoint["addresses"][0] for part in slices for endpoint in part["endpoints"]}
    assert len(addresses) == 10_000


def test_a_hundred_and_one_endpoints_need_two_slices(plan: AddressPlan) -> None:
    assert [len(part["endpoints"]) for part in Population(plan, 101).endpoint_slices(0, 1)] == [100, 1]


def test_ten_thousand_services_share_no_address(population: Population) -> None:
    vips = {population.plan.vip(index) for index in range(10_000)}
    pods = {pod for index in range(10_000) for pod in population.pods(index)}
    assert len(vips) == 10_000
    assert len(pods) == 20_000
    assert sum(pod.node == "node1" for pod in pods) == 13_334


def test_pods_start_again_after_the_documented_number(plan: AddressPlan) -> None:
    assert plan.pod(65_021) == Pod("10.244.255.254", "node2")
    assert plan.pod(65_022) == plan.pod(0) == Pod("10.244.1.0", "node1")


@given(index=st.integers(0, 99_998))
def test_names_sort_as_indices_and_the_canary_last(index: int) -> None:
    assert objects.service_name(index) < objects.service_name(index + 1) < objects.CANARY


@given(number=st.integers(0, 200_000))
def test_a_pod_lies_in_the_range_of_its_node_and_is_never_its_broadcast(number: int) -> None:
    pod = PLAN.pod(number)
    network = ipaddress.IPv4Network(dict(RANGES)[pod.node])
    address = ipaddress.IPv4Address(pod.address)
    assert address in network
    assert address not in {network.network_address, network.broadcast_address}


def test_spares_and_canaries_are_nobody_elses(plan: AddressPlan) -> None:
    spares = {plan.spare(number) for number in range(480)}
    assert len(spares) == 480
    assert spares.isdisjoint(plan.pod(number) for number in range(65_022))
    assert plan.spare(0) == Pod("10.244.0.16", "node1")
    assert plan.spare(1) == Pod("10.244.128.16", "node2")
    assert plan.canary_vip() == "10.96.0.16"
    assert plan.canary_vip(239) == "10.96.0.255"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Population(PLAN, 1).measured(3, Position.NONE), "none is no position of a rule"),
        (lambda: PLAN.vip(-1), "Service -1 does not fit into 10.96.0.0/12"),
        (lambda: PLAN.vip(1_048_319), "Service 1048319 does not fit into 10.96.0.0/12"),
        (lambda: PLAN.canary_vip(240), "there is no spare address 240: there are 240"),
        (lambda: PLAN.spare(480), "there is no spare address 240: there are 240"),
        (lambda: objects.service_name(100_000), "Service 100000 has no name: there are at most 100000"),
        (lambda: AddressPlan("10.96.0.0/12", (), 80), "an address plan needs at least one pod range"),
        (lambda: AddressPlan("10.96.0.1/12", RANGES, 80), "10.96.0.1/12 has host bits set"),
        (
            lambda: AddressPlan("10.96.0.0/12", (("a", "10.96.0.0/16"),), 80),
            "10.96.0.0/16 overlaps 10.96.0.0/12",
        ),
        (
            lambda: AddressPlan("10.96.0.0/23", RANGES, 80),
            "10.96.0.0/23 is too small: more than 512 addresses are needed",
        ),
        (
            lambda: Access(local_only=True),
            "externalTrafficPolicy: Local needs a nodePort, an external IP or a load balancer",
        ),
        (
            lambda: Access(node_port=30080, source_ranges=("192.0.2.0/24",)),
            "source ranges and a health check's port are a load balancer's; give it an address",
        ),
        (
            lambda: PLAN.access(Exposure(external_ip=True), 0),
            "the cluster has no range for external and load balancers' addresses",
        ),
        (lambda: OUTSIDE.access(Exposure(node_port=True), 21_512), "Service 21512 has no node port: there are 21512"),
        (
            lambda: OUTSIDE.access(Exposure(load_balancer_ip=True), 32_511),
            "Service 32511 does not fit into 198.19.128.0/17",
        ),
    ],
)
def test_what_cannot_be_is_refused(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        call()


@pytest.mark.parametrize(("local_only", "policy"), [(False, "Cluster"), (True, "Local")])
def test_a_node_port(local_only: bool, policy: str) -> None:
    access = Access(node_port=30080, local_only=local_only)
    spec = objects.service("np", "10.96.0.17", 8080, access=access)["spec"]
    assert (spec["type"], spec["externalTrafficPolicy"]) == ("NodePort", policy)
    assert spec["ports"] == [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": 30080}]


def test_udp_stands_in_the_service_and_in_its_slice() -> None:
    udp = objects.service("dns", "10.96.0.18", 5353, access=Access(protocols=("UDP",)))
    assert udp["spec"]["ports"][0]["protocol"] == "UDP"
    (part,) = objects.endpoint_slices("dns", [PLAN.pod(0)], 5353, 1, protocols=("UDP",))
    assert part["ports"] == [{"name": "http", "port": 5353, "protocol": "UDP"}]


def test_external_ips_alone_make_no_other_type_but_have_a_policy() -> None:
    spec = objects.service("ext", "10.96.0.19", 8080, access=Access(external_ips=("198.19.0.1",)))["spec"]
    assert (spec["type"], spec["externalIPs"], spec["externalTrafficPolicy"]) == (
        "ClusterIP",
        ["198.19.0.1"],
        "Cluster",
    )
    assert "nodePort" not in spec["ports"][0]


def test_a_load_balancer_has_its_address_in_the_status() -> None:
    access = Access(
        load_balancer_ips=("198.19.128.1",),
        local_only=True,
        affinity_s=10,
        source_ranges=("192.0.2.0/24",),
        health_check_port=30_900,
    )
    found = objects.service("lb", "10.96.0.20", 8080, access=access)
    assert found["status"] == {"loadBalancer": {"ingress": [{"ip": "198.19.128.1", "ipMode": "VIP"}]}}
    wanted = {
        "type": "LoadBalancer",
        "allocateLoadBalancerNodePorts": False,
        "externalTrafficPolicy": "Local",
        "loadBalancerSourceRanges": ["192.0.2.0/24"],
        "healthCheckNodePort": 30_900,
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10}},
    }
    assert wanted.items() <= found["spec"].items()


def test_each_service_has_addresses_of_its_own_and_so_have_canaries() -> None:
    every = Exposure(node_port=True, external_ip=True, load_balancer_ip=True)
    assert OUTSIDE.access(every, 0) == Access(30_256, ("198.19.1.0",), ("198.19.129.0",))
    assert OUTSIDE.canary_access(every) == Access(30_016, ("198.19.0.16",), ("198.19.128.16",))
    ports = [OUTSIDE.access(every, index).node_port for index in range(21_512)]
    assert len(set(ports)) == len(ports)
    assert (min(ports), max(ports)) == (11_000, 32_767)


def test_of_two_exposures_three_services_in_a_row_have_the_same() -> None:
    local, udp = Exposure(node_port=True, local_only=True), Exposure(protocols=("UDP",))
    population = Population(OUTSIDE, 1, exposures=(local, udp))
    assert [population.exposure(index) for index in range(7)] == [local] * 3 + [udp] * 3 + [local]
    assert population.service(2)["spec"]["externalTrafficPolicy"] == "Local"
    assert population.service(3)["spec"]["ports"][0]["protocol"] == "UDP"
    assert population.endpoint_slices(3, 0)[0]["ports"][0]["protocol"] == "UDP"
    assert population.endpoints(3, 0)["subsets"][0]["ports"][0]["protocol"] == "UDP"
