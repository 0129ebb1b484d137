from __future__ import annotations

from typing import Any

from proxybench.kube.resources import SERVICES
from proxybench.targets.lab.apiserver.allocation import Allocations
from proxybench.targets.lab.apiserver.defaults import fill_in
from proxybench.targets.lab.apiserver.problems import Problems

Object = dict[str, Any]


def complete(allocations: Allocations, name: str, spec: Object, *, take: bool = True) -> list[str]:
    fill_in(SERVICES, {"spec": spec})
    problems = Problems()
    allocations.complete(("ns", name), spec, problems)
    if take and not problems.causes:
        allocations.take(("ns", name), spec)
    return [f"{cause.field}: {cause.message}" for cause in problems.causes]


def node_port(*ports: Object, **more: Any) -> Object:
    return {"type": "NodePort", "ports": [{"port": 80 + number, **port} for number, port in enumerate(ports)], **more}


def test_addresses_come_from_the_end_of_the_range_around_those_taken() -> None:
    allocations = Allocations("10.96.0.0/29")
    complete(allocations, "chosen", {"clusterIP": "10.96.0.5"})
    specs: list[Object] = [{} for _ in range(6)]
    problems = [complete(allocations, f"s{number}", spec) for number, spec in enumerate(specs)]
    assert [spec.get("clusterIP") for spec in specs] == [f"10.96.0.{last}" for last in (6, 4, 3, 2, 1)] + [None]
    assert specs[0]["clusterIPs"] == ["10.96.0.6"]
    assert problems[-1] == ["spec.clusterIPs: Invalid value: []: failed to allocate a serviceIP: range is full"]
    allocations.release(specs[2])
    again: Object = {}
    assert complete(allocations, "again", again) == []
    assert again["clusterIP"] == "10.96.0.3"


def test_an_address_of_two_services_is_free_when_both_are_gone() -> None:
    allocations = Allocations("10.96.0.0/30")
    specs: list[Object] = [{"clusterIP": "10.96.0.2"}, {"clusterIP": "10.96.0.2"}, {"clusterIP": "10.96.0.1"}]
    assert [complete(allocations, f"s{number}", spec) for number, spec in enumerate(specs)] == [[], [], []]
    for spec in specs[:2]:
        assert complete(allocations, "late", {}) != []
        allocations.release(spec)
    late: Object = {}
    assert complete(allocations, "late", late) == []
    assert late["clusterIP"] == "10.96.0.2"


def test_what_is_not_stored_takes_nothing() -> None:
    allocations = Allocations("10.96.0.0/30")
    for _ in range(5):
        assert complete(allocations, "a", node_port({}), take=False) == []


def test_names_and_headless_services_get_no_address() -> None:
    allocations = Allocations()
    name: Object = {"type": "ExternalName"}
    headless: Object = {"clusterIP": "None"}
    assert complete(allocations, "n", name) == []
    assert complete(allocations, "h", headless) == []
    assert "clusterIP" not in name
    assert headless["clusterIPs"] == ["None"]


def test_families_that_this_cluster_has_not() -> None:
    allocations = Allocations()
    assert complete(allocations, "a", {"ipFamilies": ["IPv6"]}) == [
        'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'
    ]
    assert complete(allocations, "a", {"ipFamilyPolicy": "RequireDualStack"}) == [
        'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services'
    ]
    preferred: Object = {"ipFamilyPolicy": "PreferDualStack"}
    assert complete(allocations, "a", preferred) == []
    assert (preferred["ipFamilies"], len(preferred["clusterIPs"])) == (["IPv4"], 1)


def test_node_ports_come_from_the_end_of_their_range() -> None:
    allocations = Allocations()
    assert complete(allocations, "chosen", node_port({"nodePort": 32766, "protocol": "UDP"})) == []
    assert complete(allocations, "a", spec := node_port({}, {"nodePort": 0}, {"nodePort": 30080})) == []
    assert [port["nodePort"] for port in spec["ports"]] == [32767, 32765, 30080]


def test_node_ports_that_cannot_be() -> None:
    allocations = Allocations()
    assert complete(allocations, "a", node_port({"nodePort": 30080})) == []
    assert complete(allocations, "a", node_port({"nodePort": 30080}), take=False) == []
    assert complete(allocations, "b", node_port({"nodePort": 30080})) == [
        "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"
    ]
    assert complete(allocations, "b", node_port({"nodePort": 30080, "protocol": "UDP"})) == []
    assert complete(allocations, "c", node_port({"nodePort": 80}, {"nodePort": 32768})) == [
        f"spec.ports[{index}].nodePort: Invalid value: {number}: provided port is not in the valid range. "
        "The range of valid ports is 30000-32767"
        for index, number in ((0, 80), (1, 32768))
    ]


def test_all_node_ports_taken() -> None:
    allocations = Allocations()
    everything = node_port(*({"nodePort": number} for number in range(30000, 32767)))
    assert complete(allocations, "a", everything) == []
    assert complete(allocations, "b", last := node_port({})) == []
    assert last["ports"][0]["nodePort"] == 32767
    words = "spec.ports[0].nodePort: Invalid value: 0: failed to allocate a nodePort: range is full"
    assert complete(allocations, "c", node_port({})) == [words]


def test_a_load_balancer() -> None:
    allocations = Allocations()
    local = {**node_port({}), "type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    assert complete(allocations, "a", local) == []
    assert (local["ports"][0]["nodePort"], local["healthCheckNodePort"]) == (32767, 32766)
    without = {**node_port({}), "type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}
    assert complete(allocations, "b", without) == []
    assert "nodePort" not in without["ports"][0]
