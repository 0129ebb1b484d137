from __future__ import annotations

import pytest

from proxybench.errors import RunError
from proxybench.kube.address_pool import HostAddressPool
from proxybench.kube.objects import Pod, Population
from proxybench.scenarios.canary import Canary, second_canary

HOSTS = (("b1", "192.0.2.1"), ("b1", "192.0.2.2"), ("b2", "192.0.2.3"))


def pool(**changes: object) -> HostAddressPool:
    known: dict[str, object] = {
        "service_cidr": "10.96.0.0/16",
        "pod_ranges": (("hosts", ""),),
        "backend_port": 8080,
        "hosts": HOSTS,
        "taken": frozenset({"10.96.1.1", "10.96.0.16"}),
    }
    return HostAddressPool(**{**known, **changes})  # type: ignore[arg-type]


def test_services_have_addresses_that_nobody_has() -> None:
    assert [pool().vip(index) for index in range(3)] == ["10.96.1.0", "10.96.1.2", "10.96.1.3"]
    assert pool().canary_vip() == "10.96.0.17"


def test_endpoints_are_the_hosts_by_turns() -> None:
    population = Population(pool(), 2)
    assert population.pods(0) == (Pod("192.0.2.1", "b1"), Pod("192.0.2.2", "b1"))
    assert population.pods(1) == (Pod("192.0.2.3", "b2"), Pod("192.0.2.1", "b1"))
    assert all(population.on_first_node(index) for index in range(10))


@pytest.mark.parametrize("hosts", [HOSTS, HOSTS[:2]])
def test_a_changed_endpoint_is_another_address(hosts: tuple[tuple[str, str], ...]) -> None:
    for canary in (Canary(pool(hosts=hosts)), second_canary(pool(hosts=hosts))):
        assert canary.old != canary.new


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"^at least two addresses of backends are needed: an endpoint changes"):
        pool(hosts=HOSTS[:1])
    small = pool(service_cidr="10.96.0.0/23", taken=frozenset())
    assert small.vip(254) == "10.96.1.254"
    with pytest.raises(RunError) as caught:
        small.vip(255)
    free = "of whose addresses 255 are free from the 257th on"
    assert str(caught.value) == f"Service 256 does not fit into 10.96.0.0/23, {free}"
    with pytest.raises(RunError, match=r"^Service 1 does not fit into 10\.96\.0\.0/24, of whose addresses 0 are free"):
        pool(service_cidr="10.96.0.0/24").vip(0)
    full = frozenset(f"10.96.0.{number}" for number in range(256))
    with pytest.raises(RunError, match=r"^10\.96\.0\.0/16 has no free address among its first 256$"):
        pool(taken=full).canary_vip()
