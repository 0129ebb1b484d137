from __future__ import annotations

from dataclasses import replace

import pytest

from proxybench.errors import MeasurementError
from proxybench.kube.access import Exposure, exposures
from proxybench.kube.objects import AddressPlan, Population
from proxybench.model import Origin, Position, ServicePath
from proxybench.nodes.requests import Target
from proxybench.scenarios.paths import Paths, groups, paths
from proxybench.scenarios.places import Place, Places
from proxybench.scenarios.recorder import Where

PLAN = AddressPlan(
    "10.96.0.0/12", (("node1", "10.244.0.0/17"), ("node2", "10.244.128.0/17")), 8080, external_cidr="198.19.0.0/16"
)
NODES = ("198.18.1.11", "198.18.1.12")
FIRST, LAST = Position.FIRST, Position.LAST


def ways(*texts: str) -> tuple[ServicePath, ...]:
    return tuple(ServicePath.parse(text) for text in texts)


def places(*texts: str, services: int = 10, ranks: dict[str, int] | None = None) -> Places:
    """Return the places of a population that is exposed for these paths."""
    return Places(Population(PLAN, 2, exposures=exposures(ways(*texts))), services, ranks)


def test_paths_that_begin_at_one_place_over_one_transport_take_turns() -> None:
    asked = ways("cluster_ip", "cluster_ip@pod", "node_port@far", "cluster_ip/udp", "node_port@other", "node_port@pod")
    assert groups(asked) == (
        ways("cluster_ip", "node_port@far", "node_port@other"),
        ways("cluster_ip@pod", "node_port@pod"),
        ways("cluster_ip/udp"),
    )


def test_each_way_to_address_a_service_has_its_target_and_all_share_the_direct_one() -> None:
    texts = ("cluster_ip", "node_port", "external_ip", "load_balancer_ip", "node_port@far", "node_port@other")
    expect = ("10.244.1.0", "10.244.1.1")
    found = paths(places(*texts), (FIRST,), ways(*texts), NODES)
    assert found == Paths(
        (
            (Where("cluster_ip", FIRST), Target("first", "10.96.1.0", 80, expect)),
            (Where("node_port", FIRST), Target("node_port first", "198.18.1.11", 30_256, expect)),
            (Where("external_ip", FIRST), Target("external_ip first", "198.19.1.0", 80, expect)),
            (Where("load_balancer_ip", FIRST), Target("load_balancer_ip first", "198.19.129.0", 80, expect)),
            (
                Where("node_port@far", FIRST),
                Target("node_port@far first", "198.18.1.11", 30_257, ("10.244.129.2", "10.244.129.3")),
            ),
            (Where("node_port@other", FIRST), Target("node_port@other first", "198.18.1.12", 30_256, expect)),
        ),
        Target("direct", "10.244.1.18", 8080, ("10.244.1.18",)),
    )
    assert found.directly == tuple(Where(text) for text in texts)


def test_over_udp_and_from_a_pod_the_direct_one_is_so_too() -> None:
    asked = ways("cluster_ip/udp@pod", "node_port/udp@pod")
    found = paths(places("cluster_ip/udp@pod", "node_port/udp@pod"), (FIRST, LAST), asked, NODES)
    assert found.origin is Origin.POD
    assert found.direct == Target("direct/udp@pod", "10.244.1.18", 8080, ("10.244.1.18",), "udp")
    assert {target.protocol for target in found.targets} == {"udp"}
    assert [target.label for _, target in found.last] == ["cluster_ip/udp@pod last", "node_port/udp@pod last"]
    left = found.without(["cluster_ip/udp@pod last", "node_port/udp@pod first"])
    assert [target.label for _, target in left.vips] == ["cluster_ip/udp@pod first", "node_port/udp@pod last"]
    assert replace(left, vips=found.vips) == found


def test_a_local_policy_is_of_services_of_its_own() -> None:
    both = places("node_port", "node_port_local")
    assert [both.at(position, ServicePath.parse("node_port_local")) for position in (FIRST, LAST)] == [
        Place(3),
        Place(9),
    ]
    assert [both.at(position, ServicePath.parse("node_port")) for position in (FIRST, LAST)] == [Place(0), Place(8)]
    assert places("node_port_local").at(LAST, ServicePath.parse("node_port_local")) == Place(9)


def test_node_ports_have_an_order_of_their_own() -> None:
    order = {"10.96.1.0 80/tcp": 1, "10.96.1.2 80/tcp": 2, "30258/tcp": 1, "30257/tcp": 2, "30256/tcp": 3}
    found = places("cluster_ip", "node_port", services=3, ranks=order)
    assert [found.at(position) for position in (FIRST, LAST)] == [Place(0, 1), Place(2, 2)]
    ports = ServicePath.parse("node_port")
    assert [found.at(position, ports) for position in (FIRST, LAST)] == [Place(2, 1), Place(0, 3)]
    assert found.at(LAST, ServicePath.parse("node_port@far")) == Place(1, 2)
    elsewhere = {"30256/tcp": 1, "30257/tcp": 2, "30258/tcp": 3}
    by_another = ServicePath.parse("node_port@other")
    assert found.at(FIRST, by_another) == Place(0)  # its order is not known
    assert Places(found.population, 3, order, elsewhere).at(FIRST, by_another) == Place(0, 1)
    assert Places(found.population, 3, order, elsewhere).at(LAST, by_another) == Place(2, 3)
    unread = Places(found.population, 3, {"10.96.1.0 80/tcp": 1, "10.96.1.2 80/tcp": 2})
    assert unread.at(LAST, ports) == Place(2)


def test_a_path_that_no_service_has_is_named() -> None:
    with pytest.raises(MeasurementError) as raised:
        places("cluster_ip", services=1).at(FIRST, ServicePath.parse("cluster_ip@far"))
    assert str(raised.value) == "cluster_ip@far: none of 1 Services is reached so; measure more of them"


def test_services_are_exposed_for_what_is_asked_and_no_more() -> None:
    assert exposures(()) == exposures(ways("cluster_ip", "cluster_ip@pod")) == (Exposure(),)
    assert exposures(ways("node_port@other", "external_ip")) == (Exposure(node_port=True, external_ip=True),)
    local = Exposure(node_port=True, local_only=True, protocols=("TCP", "UDP"))
    assert exposures(ways("cluster_ip/udp", "node_port_local")) == (local,)
    both = exposures(ways("load_balancer_ip", "node_port_local/udp"))
    assert both == (Exposure(load_balancer_ip=True, protocols=("TCP", "UDP")), local)


def test_over_two_protocols_a_service_has_a_port_of_each() -> None:
    population = places("node_port/udp").population
    common = {"port": 80, "targetPort": 8080, "nodePort": 30_256}
    assert population.service(0)["spec"]["ports"] == [
        {"name": "http", "protocol": "TCP", **common},
        {"name": "http-udp", "protocol": "UDP", **common},
    ]
    assert population.endpoint_slices(0, 0)[0]["ports"] == [
        {"name": "http", "port": 8080, "protocol": "TCP"},
        {"name": "http-udp", "port": 8080, "protocol": "UDP"},
    ]
