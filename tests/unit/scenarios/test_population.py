from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxybench.kube.base import Kind
from proxybench.kube.objects import NAMESPACE, SELECTOR, AddressPlan, Population, service
from proxybench.kube.replay import Replay
from proxybench.model import Family, Position
from proxybench.scenarios.canary import Canary, second_canary
from proxybench.scenarios.population import Populator
from proxybench.testing.kube import FakeServiceApi
from tests.unit.kube.shapes import MIXED
from tests.unit.run.world import PLAN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxybench.kube.base import Bulk, Object

CANARY = Canary(PLAN)


@pytest.fixture
def api() -> FakeServiceApi:
    return FakeServiceApi()


def plain(obj: Object) -> Object:
    """Return what we wrote of an object, without what the API adds."""
    metadata = {key: obj["metadata"][key] for key in ("name", "namespace", "labels")}
    rest = {key: value for key, value in obj.items() if key not in {"metadata", "apiVersion", "kind", "status"}}
    if "spec" in rest:
        rest["spec"] = {
            key: value for key, value in rest["spec"].items() if key in service("a", "10.96.1.1", 80)["spec"]
        }
    return {**rest, "metadata": metadata}


def held(api: FakeServiceApi, kind: Kind) -> list[Object]:
    return sorted((plain(obj) for obj in api.list(kind, NAMESPACE)), key=lambda obj: str(obj["metadata"]["name"]))


def expected(services: int, endpoints: int, batch: int) -> tuple[list[Object], list[Object]]:
    population = Population(PLAN, endpoints)
    slices = [obj for index in range(services + batch) for obj in population.endpoint_slices(index, 0)]
    slices.append(CANARY.endpoint_slice(CANARY.old))
    return [plain(population.service(index)) for index in range(services)], [plain(obj) for obj in slices]


def check(api: FakeServiceApi, services: int, endpoints: int, batch: int) -> None:
    assert (held(api, Kind.SERVICE), held(api, Kind.ENDPOINT_SLICE)) == expected(services, endpoints, batch)


def quiet(text: str) -> None:
    assert text.startswith("writing objects: ")


def test_another_family_is_another_population(api: FakeServiceApi) -> None:
    plan6 = AddressPlan("fd00:10:96::/108", (("node1", "fd00:10:244:11::/64"),), 8080)
    populator = Populator(api, PLAN, plan6)
    populator.reach(3, 2, 1, quiet)
    population = populator.reach(3, 2, 1, quiet, Family.IPV6)
    assert population.plan == plan6
    assert [one["spec"]["clusterIP"] for one in held(api, Kind.SERVICE)] == [plan6.vip(index) for index in range(3)]
    assert {one["addressType"] for one in held(api, Kind.ENDPOINT_SLICE)} == {"IPv6"}
    populator.reach(3, 2, 1, quiet)
    check(api, 3, 2, 1)


def test_old_service_proxies_find_endpoints_objects_of_all_that_have_slices(api: FakeServiceApi) -> None:
    populator = Populator(api, PLAN, endpoints_too=True)
    population = populator.reach(3, 2, 1, quiet)
    wanted = [plain(population.endpoints(index, 0)) for index in range(4)] + [plain(CANARY.endpoints(CANARY.old))]
    assert held(api, Kind.ENDPOINTS) == wanted
    second = second_canary(PLAN)
    api.create_many([second.service(), second.endpoints(second.old)])
    populator.restore(population, 1)
    assert held(api, Kind.ENDPOINTS) == wanted
    check(api, 3, 2, 1)
    populator.clear()
    assert not held(api, Kind.ENDPOINTS)


def test_a_profile_is_replayed_with_our_own_services_and_a_batch_beside_it(api: FakeServiceApi) -> None:
    plan = replace(PLAN, external_cidr="198.19.0.0/16")
    populator = Populator(api, plan, profile=MIXED)
    population = populator.reach(MIXED.size, MIXED.endpoints_each, 2, quiet)
    assert population == Replay(plan, MIXED.endpoints_each, profile=MIXED)
    assert len(held(api, Kind.SERVICE)) == MIXED.services + MIXED.probed
    own = {population.name(index) for index in (0, MIXED.size - 1, MIXED.size, MIXED.size + 1)}
    told = {one["metadata"]["labels"]["kubernetes.io/service-name"] for one in held(api, Kind.ENDPOINT_SLICE)}
    assert own <= told
    api.create_many([population.service(MIXED.size), population.service(MIXED.size + 1)])
    populator.restore(population, 2)
    assert len(held(api, Kind.SERVICE)) == MIXED.size
    populator.clear()
    assert not held(api, Kind.SERVICE)
    assert not held(api, Kind.ENDPOINT_SLICE)


@pytest.mark.parametrize(
    "sizes",
    [
        [(0, 2, 0)],
        [(10, 2, 1)],
        [(10, 2, 1), (30, 2, 3)],
        [(30, 2, 3), (10, 2, 1)],
        [(10, 2, 4), (12, 2, 1)],  # fewer slices than before, more Services
        [(10, 2, 4), (12, 2, 4)],
        [(5, 2, 1), (5, 3, 1)],
        [(1, 150, 0), (1, 20, 0)],
        [(10, 2, 1), (10, 2, 1)],
    ],
)
def test_the_api_holds_what_was_asked_for_and_nothing_else(
    api: FakeServiceApi, sizes: list[tuple[int, int, int]]
) -> None:
    populator = Populator(api, PLAN)
    for services, endpoints, batch in sizes:
        assert populator.reach(services, endpoints, batch, quiet) == Population(PLAN, endpoints)
        check(api, services, endpoints, batch)


def test_growing_writes_only_what_is_new(api: FakeServiceApi) -> None:
    populator = Populator(api, PLAN)
    populator.reach(10, 2, 1, quiet)
    api.log.clear()
    populator.reach(12, 2, 1, quiet)
    services = f"/api/v1/namespaces/{NAMESPACE}/services"
    assert [line for line in api.log if line.endswith(services)] == [f"POST {services}"] * 2
    assert not any("svc-0000" in line for line in api.log)


def test_the_same_size_again_writes_the_canary_only(api: FakeServiceApi) -> None:
    populator = Populator(api, PLAN)
    populator.reach(10, 2, 1, quiet)
    api.log.clear()
    populator.reach(10, 2, 1, quiet)
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
    assert [line for line in api.log if not line.endswith("/namespaces")] == [
        f"DELETE {slices}/svc-canary-000",
        f"POST {slices}",
    ]


def test_what_a_step_changed_is_taken_back(api: FakeServiceApi) -> None:
    populator = Populator(api, PLAN)
    population = populator.reach(10, 2, 3, quiet)
    # A step adds its batch and the canary, and moves the canary's endpoint.
    api.create_many([population.service(index) for index in range(10, 13)] + [CANARY.service()])
    api.replace_many([CANARY.endpoint_slice(CANARY.new)])
    second = second_canary(PLAN)
    api.create_many([second.service(), second.endpoint_slice(second.old)])
    populator.restore(population, 3)
    check(api, 10, 2, 3)


def test_a_step_that_changed_nothing_or_broke_off_is_restored_as_well(api: FakeServiceApi) -> None:
    populator = Populator(api, PLAN)
    population = populator.reach(10, 2, 3, quiet)
    api.create_many([population.service(11)])
    populator.restore(population, 3)
    populator.restore(population, 3)
    check(api, 10, 2, 3)


def test_clearing_leaves_what_is_not_ours(api: FakeServiceApi) -> None:
    populator = Populator(api, PLAN)
    populator.reach(3, 2, 0, quiet)
    stranger = service("stranger", "10.96.200.1", 80)
    stranger["metadata"]["labels"] = {"app": "theirs"}
    api.create_many([stranger])
    populator.clear()
    assert [obj["metadata"]["name"] for obj in api.list(Kind.SERVICE, NAMESPACE)] == ["stranger"]
    assert list(api.list(Kind.ENDPOINT_SLICE, NAMESPACE, SELECTOR)) == []
    populator.reach(2, 2, 0, quiet)
    assert len(api.list(Kind.SERVICE, NAMESPACE, SELECTOR)) == 2


def test_progress_is_told(api: FakeServiceApi) -> None:
    told: list[str] = []
    Populator(api, PLAN).reach(1200, 1, 0, told.append)
    assert "writing objects: 1,200 of 1,200" in told


class Shuffling(FakeServiceApi):
    """Keeps no order within one bulk, as concurrent requests do not."""

    def create_many(self, objects: Sequence[Object], progress: Callable[[int, int], None] | None = None) -> Bulk:
        return super().create_many(list(reversed(objects)), progress)


def test_measured_services_are_created_at_their_place() -> None:
    api = Shuffling()
    populator = Populator(api, PLAN)
    for services in (10, 100):
        population = populator.reach(services, 1, 0, lambda _: None)
    versions = {
        obj["metadata"]["name"]: int(obj["metadata"]["resourceVersion"])
        for obj in api.list(Kind.SERVICE, NAMESPACE, SELECTOR)
    }
    order = sorted(versions, key=versions.__getitem__)
    for position in (Position.FIRST, Position.MIDDLE, Position.LAST):
        index = population.measured(100, position)
        assert order[index] == population.name(index)
    assert order != sorted(order)
