from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.errors import MeasurementError
from proxybench.kube.objects import AddressPlan, Population
from proxybench.model import Position, ServicePath
from proxybench.scenarios.places import Place, Places, spread

PLAN = AddressPlan("10.96.0.0/12", (("node1", "10.244.0.0/17"), ("node2", "10.244.128.0/17")), 8080)
POPULATION = Population(PLAN, 2)
POSITIONS = (Position.FIRST, Position.MIDDLE, Position.LAST)


def ranks(*order: int) -> dict[str, int]:
    """Return the ranks of Services whose rules stand in this order."""
    return {rule(index): rank for rank, index in enumerate(order, start=1)}


def rule(index: int) -> str:
    return f"{PLAN.vip(index)} 80/tcp"


def test_without_an_order_positions_are_those_of_creation_and_have_no_rank() -> None:
    places = Places(POPULATION, 10)
    assert [places.at(position) for position in POSITIONS] == [Place(0), Place(5), Place(9)]
    assert places.spread(3) == (Place(0), Place(5), Place(9))


def test_with_an_order_positions_are_measured_ranks() -> None:
    places = Places(POPULATION, 6, ranks(3, 5, 0, 2, 1, 4))
    # Services 1 and 4 have their endpoints elsewhere: the last but two is the last that can be measured.
    assert [places.at(position) for position in POSITIONS] == [Place(3, 1), Place(2, 4), Place(2, 4)]
    assert places.spread(9) == (Place(3, 1), Place(5, 2), Place(0, 3), Place(2, 4))


def test_of_two_equally_near_the_one_before_is_taken() -> None:
    assert Places(POPULATION, 4, ranks(0, 3, 1, 2)).at(Position.MIDDLE) == Place(3, 2)


def test_rules_of_others_count_as_ranks() -> None:
    foreign = {"10.96.0.1 443/tcp": 1, "10.96.0.10 53/udp": 2, rule(0): 3, rule(2): 4}
    assert Places(POPULATION, 3, foreign).at(Position.FIRST) == Place(0, 3)


def test_a_services_rule_over_udp_stands_elsewhere_than_that_over_tcp() -> None:
    order = {f"{PLAN.vip(0)} 80/udp": 1, rule(2): 2, f"{PLAN.vip(2)} 80/udp": 3, rule(0): 4}
    places, over_udp = Places(POPULATION, 3, order), ServicePath.parse("cluster_ip/udp")
    assert [places.at(position) for position in (Position.FIRST, Position.LAST)] == [Place(2, 2), Place(0, 4)]
    assert [places.at(position, over_udp) for position in (Position.FIRST, Position.LAST)] == [Place(0, 1), Place(2, 3)]


def test_no_rule_of_ours_is_no_position() -> None:
    with pytest.raises(MeasurementError) as raised:
        Places(POPULATION, 3, {"10.96.0.1 443/tcp": 1}).at(Position.FIRST)
    assert str(raised.value) == "none of the measured Services stands in the order of rules"


def test_none_is_no_position() -> None:
    with pytest.raises(ValueError, match=r"^none is no position of a rule$"):
        Places(POPULATION, 3).at(Position.NONE)


@given(st.integers(1, 300).flatmap(lambda services: st.permutations(range(services))))
def test_the_rank_that_is_recorded_is_that_of_the_service_and_no_other_is_nearer(order: list[int]) -> None:
    known = ranks(*order)
    places = Places(POPULATION, len(order), known)
    near = [known[rule(index)] for index in order if POPULATION.on_first_node(index)]
    for position, wanted in zip(POSITIONS, (1, len(order) // 2 + 1, len(order)), strict=True):
        place = places.at(position)
        assert known[rule(place.index)] == place.rank
        assert POPULATION.on_first_node(place.index)
        assert abs(place.rank - wanted) == min(abs(rank - wanted) for rank in near)


@given(services=st.integers(1, 2_000), position=st.sampled_from(POSITIONS))
def test_rules_in_the_order_of_creation_choose_as_no_order_does(services: int, position: Position) -> None:
    ordered = Places(POPULATION, services, ranks(*range(services))).at(position)
    assert ordered.index == Places(POPULATION, services).at(position).index


@pytest.mark.parametrize(
    ("length", "count", "chosen"),
    [(1, 5, (0,)), (10, 1, (0,)), (10, 2, (0, 9)), (10, 4, (0, 3, 6, 9)), (3, 7, (0, 1, 2))],
)
def test_places_are_spread_evenly(length: int, count: int, chosen: tuple[int, ...]) -> None:
    assert spread(length, count) == chosen
