from __future__ import annotations

import copy
from typing import Any

import pytest

from proxybench.kube.resources import ENDPOINT_SLICES, ENDPOINTS, NAMESPACES, SERVICES
from proxybench.targets.lab.apiserver.defaults import fill_in

Object = dict[str, Any]
ALWAYS = {
    "type": "ClusterIP",
    "sessionAffinity": "None",
    "internalTrafficPolicy": "Cluster",
    "ipFamilies": ["IPv4"],
    "ipFamilyPolicy": "SingleStack",
}


def filled(spec: Object | None, before: Object | None = None) -> Object:
    obj = {"spec": copy.deepcopy(spec)}
    fill_in(SERVICES, obj, {"spec": before} if before is not None else None)
    found = obj["spec"]
    assert found is not None
    return found


@pytest.mark.parametrize("spec", [None, {}, dict.fromkeys([*ALWAYS, "ports", "clusterIP", "sessionAffinityConfig"])])
def test_nothing_given(spec: Object | None) -> None:
    found = filled(spec)
    assert {key: value for key, value in found.items() if value is not None} == ALWAYS


def test_a_service_gets_what_proxies_rely_on() -> None:
    service: Object = {"spec": {"clusterIP": "10.96.1.1", "ports": [{"port": 80}], "type": "NodePort"}}
    fill_in(SERVICES, service)
    assert service == {
        "spec": {
            **ALWAYS,
            "clusterIP": "10.96.1.1",
            "clusterIPs": ["10.96.1.1"],
            "type": "NodePort",
            "externalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        },
        "status": {"loadBalancer": {}},
    }


@pytest.mark.parametrize(
    "config", [None, {}, {"clientIP": None}, {"clientIP": {}}, {"clientIP": {"timeoutSeconds": None}}]
)
def test_client_ip_affinity_always_has_a_timeout(config: object) -> None:
    found = filled({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config})
    assert found["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


def test_a_timeout_that_is_given_stays() -> None:
    config = {"clientIP": {"timeoutSeconds": 60}}
    assert filled({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config})["sessionAffinityConfig"] == config


def test_no_affinity_has_no_timeout() -> None:
    config = {"clientIP": {"timeoutSeconds": 60}}
    assert "sessionAffinityConfig" not in filled({"sessionAffinity": "None", "sessionAffinityConfig": config})


@pytest.mark.parametrize("target", [None, 0, ""])
def test_a_target_port_that_is_none_is_the_port(target: object) -> None:
    assert filled({"ports": [{"port": 80, "targetPort": target, "protocol": ""}]})["ports"] == [
        {"port": 80, "targetPort": 80, "protocol": "TCP"}
    ]


@pytest.mark.parametrize(
    ("spec", "policy"),
    [
        ({"type": "ClusterIP"}, None),
        ({"type": "ClusterIP", "externalIPs": ["192.0.2.1"]}, "Cluster"),
        ({"type": "NodePort"}, "Cluster"),
        ({"type": "NodePort", "externalTrafficPolicy": "Local"}, "Local"),
        ({"type": "LoadBalancer"}, "Cluster"),
    ],
)
def test_external_traffic_policy(spec: Object, policy: str | None) -> None:
    assert filled(spec).get("externalTrafficPolicy") == policy


def test_a_load_balancer_gets_node_ports_unless_it_says_no() -> None:
    assert filled({"type": "LoadBalancer"})["allocateLoadBalancerNodePorts"] is True
    assert (
        filled({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False})["allocateLoadBalancerNodePorts"]
        is False
    )


@pytest.mark.parametrize(
    ("spec", "families", "policy"),
    [
        ({"clusterIP": "10.96.1.1"}, ["IPv4"], "SingleStack"),
        ({"clusterIP": "fd00::1"}, ["IPv6"], "SingleStack"),
        ({"clusterIP": "fd00::1", "clusterIPs": ["fd00::1", "10.96.1.1"]}, ["IPv6", "IPv4"], "RequireDualStack"),
        ({"clusterIP": "10.96.1.1", "ipFamilyPolicy": "PreferDualStack"}, ["IPv4"], "PreferDualStack"),
        ({"clusterIP": "None", "selector": {"a": "b"}}, ["IPv4"], "SingleStack"),
        ({"clusterIP": "None"}, ["IPv4", "IPv6"], "RequireDualStack"),
        ({"clusterIP": "None", "ipFamilies": ["IPv6"]}, ["IPv6", "IPv4"], "RequireDualStack"),
        ({"clusterIP": "None", "ipFamilyPolicy": "SingleStack"}, ["IPv4"], "SingleStack"),
    ],
)
def test_families(spec: Object, families: list[str], policy: str) -> None:
    found = filled(spec)
    assert (found["ipFamilies"], found["ipFamilyPolicy"]) == (families, policy)


def test_an_external_name_has_no_addresses_and_no_policies() -> None:
    assert filled({"type": "ExternalName", "externalName": "a.example"}) == {
        "type": "ExternalName",
        "externalName": "a.example",
        "sessionAffinity": "None",
    }


BEFORE = {
    **ALWAYS,
    "type": "NodePort",
    "clusterIP": "10.96.1.1",
    "clusterIPs": ["10.96.1.1"],
    "externalTrafficPolicy": "Cluster",
    "ports": [
        {"port": 53, "protocol": "UDP", "targetPort": 53, "nodePort": 30001},
        {"port": 53, "protocol": "TCP", "targetPort": 53, "nodePort": 30002},
    ],
}


def test_a_replace_keeps_what_the_server_had_chosen() -> None:
    sent = {
        "type": "NodePort",
        "ports": [{"port": 53}, {"port": 80}, {"port": 53, "protocol": "UDP", "nodePort": 30009}],
    }
    found = filled(sent, BEFORE)
    assert (found["clusterIP"], found["clusterIPs"]) == ("10.96.1.1", ["10.96.1.1"])
    assert [port.get("nodePort") for port in found["ports"]] == [30002, None, 30009]


def test_a_service_that_is_a_node_port_no_more_loses_its_node_ports() -> None:
    found = filled({**BEFORE, "type": "ClusterIP"}, BEFORE)
    assert "externalTrafficPolicy" not in found
    assert [port.get("nodePort") for port in found["ports"]] == [None, None]


def test_a_service_that_becomes_a_name_loses_its_address() -> None:
    found = filled({**BEFORE, "type": "ExternalName", "externalName": "a.example", "ports": []}, BEFORE)
    assert found == {"type": "ExternalName", "externalName": "a.example", "sessionAffinity": "None", "ports": []}


def test_a_health_check_port_stays() -> None:
    before = {**BEFORE, "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30003}
    sent = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 53}]}
    assert filled(sent, before)["healthCheckNodePort"] == 30003


def test_ports_of_slices_and_endpoints() -> None:
    made: Object = {
        "ports": [{"port": 80}, {"name": "x", "port": 81, "protocol": "UDP"}, {"name": None, "protocol": None}]
    }
    fill_in(ENDPOINT_SLICES, made)
    assert made["ports"] == [
        {"name": "", "port": 80, "protocol": "TCP"},
        {"name": "x", "port": 81, "protocol": "UDP"},
        {"name": "", "protocol": "TCP"},
    ]
    made = {"subsets": [{"ports": [{"port": 80}]}, {}]}
    fill_in(ENDPOINTS, made)
    assert made == {"subsets": [{"ports": [{"port": 80, "protocol": "TCP"}]}, {}]}
    for empty in ({}, {"ports": None}):
        fill_in(ENDPOINT_SLICES, empty)
        assert empty in ({}, {"ports": None})


def test_a_namespace_is_active() -> None:
    made: Object = {"metadata": {"name": "a"}}
    fill_in(NAMESPACES, made)
    assert made["status"] == {"phase": "Active"}
