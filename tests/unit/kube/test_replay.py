from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings

from proxybench.kube.access import Exposure
from proxybench.kube.objects import AddressPlan, Population
from proxybench.kube.replay import Replay
from proxybench.model import Position
from proxybench.targets.cluster.profiling.tally import Tally
from tests.unit.kube.shapes import MIXED, profiles

if TYPE_CHECKING:
    from proxybench.experiment.profile import Profile

PLAN = AddressPlan("10.96.0.0/12", (("n1", "10.244.0.0/17"), ("n2", "10.244.128.0/17")), 8080, "198.19.0.0/16")
OWN = Population(PLAN, 5)


def replay(profile: Profile = MIXED, exposures: tuple[Exposure, ...] = (Exposure(),)) -> Replay:
    return Replay(PLAN, profile.endpoints_each, exposures=exposures, profile=profile)


def specs(made: Replay, **wanted: object) -> list[dict[str, Any]]:
    """Return the specs of the profile's own Services that have these values."""
    found = [made.service(index)["spec"] for index in range(made.profile.size) if index not in made.own]
    return [spec for spec in found if all(spec.get(key) == value for key, value in wanted.items())]


@settings(max_examples=60, deadline=None)
@given(profile=profiles())
def test_a_replay_has_the_shape_of_its_profile(profile: Profile) -> None:
    made, tally = replay(profile), Tally()
    theirs = [index for index in range(profile.size) if index not in made.own]
    for index in theirs:
        tally.service(made.service(index))
    for index in theirs:
        for one in made.endpoint_slices(index, 0):
            tally.endpoint_slice(one)
    found, folded = tally.profile()
    assert folded == 0

    def by_words(shapes: Any) -> list[str]:
        return sorted(repr(shape.model_dump()) for shape in shapes)

    assert by_words(found.shapes) == by_words(profile.shapes)


def test_the_same_profile_is_the_same_objects() -> None:
    first, second = replay(), replay()
    for index in range(MIXED.size):
        assert first.service(index) == second.service(index)
        assert first.endpoint_slices(index, 7) == second.endpoint_slices(index, 7)


def test_our_own_services_are_first_last_and_evenly_between_and_as_ever() -> None:
    made = replay()
    assert made.own == (0, 10, 21, 31, 42, 52, 63, 73, 84)
    assert [made.measured(85, position) for position in (Position.FIRST, Position.MIDDLE, Position.LAST)] == [0, 42, 84]
    assert [index for index in range(90) if made.on_first_node(index)] == [*made.own, 85, 86, 87, 88, 89]
    assert made.service(42) == OWN.service(42)
    assert {pod.node for index in (*made.own, 85) for pod in made.pods(index)} == {"n1"}
    assert len({pod.address for index in (*made.own, 85) for pod in made.pods(index)}) == 10 * MIXED.endpoints_each


def test_a_proxy_has_rules_for_each_port_of_those_that_are_proxied() -> None:
    assert replay().service_ports(MIXED.size) == 9 + 60 + 3 * 3 + 2 * 2 + 2 * 2 + 1 + 1
    assert OWN.service_ports(10) == 10


def test_udp_and_several_ports_and_affinity_are_replayed() -> None:
    first, *others = specs(replay(), sessionAffinity="ClientIP")
    assert len(others) == 2
    assert first["ports"] == [
        {"name": "tcp-0", "protocol": "TCP", "port": 80, "targetPort": 8080},
        {"name": "tcp-1", "protocol": "TCP", "port": 81, "targetPort": 8080},
        {"name": "udp-0", "protocol": "UDP", "port": 82, "targetPort": 8080},
    ]
    assert first["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10_800}}


def test_node_ports_and_local_policy_are_replayed_and_no_port_is_given_twice() -> None:
    made = replay(exposures=(Exposure(node_port=True), Exposure(node_port=True, local_only=True)))
    own = [port["nodePort"] for index in (*made.own, 85) for port in made.service(index)["spec"]["ports"]]
    assert own == list(range(30_256, 30_266))
    theirs = [port["nodePort"] for spec in specs(made) for port in spec.get("ports", ()) if "nodePort" in port]
    checks = [spec["healthCheckNodePort"] for spec in specs(made) if "healthCheckNodePort" in spec]
    assert sorted((*theirs, *checks), reverse=True) == list(range(29_999, 29_999 - 10, -1))
    assert {spec["externalTrafficPolicy"] for spec in specs(made, type="NodePort")} == {"Local"}
    assert len(specs(made, externalTrafficPolicy="Local", type="LoadBalancer")) == len(checks) == 2


def test_a_load_balancer_is_replayed_with_and_without_an_address() -> None:
    made = replay()
    found = [made.service(index) for index in range(MIXED.size)]
    balanced = [one for one in found if one["spec"]["type"] == "LoadBalancer"]
    with_address = [one for one in balanced if one["status"]["loadBalancer"]]
    assert [one["spec"]["loadBalancerSourceRanges"] for one in with_address] == [["198.51.100.0/24"]] * 2
    assert all(one["status"]["loadBalancer"]["ingress"][0]["ip"].startswith("198.19.") for one in with_address)
    (without,) = [one for one in balanced if one not in with_address]
    assert without["spec"]["allocateLoadBalancerNodePorts"] is False
    assert "nodePort" not in without["spec"]["ports"][0]


def test_headless_and_external_names_are_no_service_of_a_proxy() -> None:
    made = replay()
    assert len(specs(made, clusterIP="None", clusterIPs=["None"], type="ClusterIP")) == 5
    external = {"type": "ExternalName", "externalName": "replayed.invalid", "sessionAffinity": "None"}
    assert specs(made, type="ExternalName") == [external] * 2


def test_the_first_node_has_the_median_share_of_the_endpoints() -> None:
    made = replay()
    nodes = Counter(pod.node for index in range(MIXED.size) if index not in made.own for pod in made.pods(index))
    assert nodes.total() == MIXED.endpoints
    assert nodes["n1"] / nodes.total() == pytest.approx(0.25, abs=0.05)


def test_a_service_with_most_endpoints_has_most_slices_equally_filled() -> None:
    made = replay()
    slices = max((made.endpoint_slices(index, 0) for index in range(MIXED.size)), key=len)
    assert [len(one["endpoints"]) for one in slices] == [62, 63, 62, 63]
    assert [one["metadata"]["name"][-4:] for one in slices] == ["-000", "-001", "-002", "-003"]
    assert slices[0]["ports"] == [
        {"name": "tcp-0", "port": 8080, "protocol": "TCP"},
        {"name": "tcp-1", "port": 8080, "protocol": "TCP"},
        {"name": "udp-0", "port": 8080, "protocol": "UDP"},
    ]


def test_an_endpoints_object_has_what_is_ready() -> None:
    made = replay()
    sent = sum(
        len(subset["addresses"])
        for index in range(MIXED.size)
        if index not in made.own
        for subset in made.endpoints(index, 0).get("subsets", ())
    )
    assert sent == MIXED.endpoints - 3 - 1
    assert made.endpoints(0, 0)["subsets"][0]["ports"][0]["name"] == "http"
