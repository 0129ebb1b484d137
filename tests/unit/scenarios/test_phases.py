from __future__ import annotations

from dataclasses import replace

import pytest

from proxybench.model import Family
from proxybench.nodes.answers import ClockReading
from proxybench.nodes.requests import AskClocks
from proxybench.scenarios.phases import Phases, phases
from proxybench.subjects.driver import SyncRecord
from tests.unit.run.world import CELL, World

MS = 1_000_000
COLD = {"sync": {"scenarios": ["cold-start"]}}


def sync(begun: int, ended: int, *, made: int | None = None, family: str = "IPv4") -> SyncRecord:
    return SyncRecord(ended, ended - begun, None, family, None, None, made)


FULL = sync(120, 180, made=150)


@pytest.mark.parametrize(
    ("syncs", "found"),
    [
        ([FULL], Phases(20, 30, 30)),
        # The Service's own sync, then its endpoints': the one that had begun when it was answered.
        ([sync(60, 110, made=80), FULL, sync(300, 400, made=350)], Phases(20, 30, 30)),
        ([sync(120, 180)], Phases(20, None, None)),
        # It began before the acknowledgement was read: what it did until then is no part of the latency.
        ([sync(80, 180, made=90)], Phases(0, 0, 80)),
        ([sync(80, 180, made=150)], Phases(0, 50, 30)),
        ([sync(120, 180, made=150, family="IPv6")], None),
        ([sync(10, 90, made=50)], None),
        ([], None),
    ],
)
def test_the_sync_that_made_a_change_is_split_where_its_log_is(syncs: list[SyncRecord], found: Phases | None) -> None:
    assert phases(syncs, 100, 170) == found


def test_a_dual_stack_proxys_syncs_are_told_apart_by_their_family() -> None:
    six = sync(130, 190, made=160, family="IPv6")
    assert phases([FULL, six], 100, 170) == Phases(20, 30, 30)
    assert phases([six, FULL], 100, 170, Family.IPV6) == Phases(30, 30, 30)


def recorded(world: World, family: Family = Family.IPV4) -> dict[str, int]:
    result = world.take(cell=replace(CELL, family=family))
    return {str(one.metric): one.value for one in result.samples if one.metric in PARTS}


PARTS = {"sync.before", "sync.making", "sync.applying"}


def cold_world() -> World:
    """A world whose clocks are read at its beginning, in which a proxy does not split its syncs by itself."""
    world = World(COLD)
    known = world.metrics_now
    world.running["node1"].read = lambda: replace(known(), build=None)
    world.answers[AskClocks] = lambda _: ClockReading(world.clock.now, world.clock.utc_ns())
    return world


def test_a_cold_start_is_split_by_the_proxys_log() -> None:
    world = cold_world()
    began = world.clock.utc_ns()
    world.running["node1"].logged = (sync(began, began + 9 * MS, made=began + 4 * MS),)
    assert recorded(world) == {"sync.before": 0, "sync.making": 4 * MS, "sync.applying": 5 * MS}


def test_one_sync_without_a_log_is_known_by_the_metrics() -> None:
    world = cold_world()
    read = world.running["node1"].read
    ended = world.clock.utc_ns() + 501 * MS
    world.running["node1"].read = lambda: replace(read(), sync_sum=0.5, sync_count=1, last_sync_utc_ns=ended)
    assert recorded(world) == {"sync.before": MS}


@pytest.mark.parametrize(
    ("family", "four", "six", "found"),
    [
        (Family.IPV6, 901 * MS, 501 * MS, {"sync.before": MS}),
        (Family.IPV4, 501 * MS, 901 * MS, {"sync.before": MS}),
        (Family.IPV6, 501 * MS, None, {}),  # it was IPv4's
    ],
)
def test_the_moment_of_the_cells_family_counts(
    family: Family, four: int, six: int | None, found: dict[str, int]
) -> None:
    world = cold_world()
    read, now = world.running["node1"].read, world.clock.utc_ns()
    world.running["node1"].read = lambda: replace(
        read(),
        sync_sum=0.5,
        sync_count=1,
        last_sync_utc_ns=now + four,
        last_sync6_utc_ns=None if six is None else now + six,
    )
    assert recorded(world, family) == found


@pytest.mark.parametrize(("family", "found"), [(Family.IPV4, [0, 4 * MS, 5 * MS]), (Family.IPV6, [0, 6 * MS, MS])])
def test_the_log_of_the_cells_family_counts(family: Family, found: list[int]) -> None:
    world = cold_world()
    began = world.clock.utc_ns()
    four = sync(began, began + 9 * MS, made=began + 4 * MS)
    six = sync(began, began + 7 * MS, made=began + 6 * MS, family="IPv6")
    world.running["node1"].logged = (four, six)
    assert list(recorded(world, family).values()) == found


def test_the_sum_of_two_syncs_tells_of_neither() -> None:
    world = cold_world()
    read = world.running["node1"].read
    ended = world.clock.utc_ns() + 501 * MS
    world.running["node1"].read = lambda: replace(read(), sync_sum=0.5, sync_count=2, last_sync_utc_ns=ended)
    assert recorded(world) == {}


def test_a_proxy_that_splits_its_syncs_by_itself_is_not_asked_again() -> None:
    world = World(COLD)
    world.answers[AskClocks] = lambda _: ClockReading(world.clock.now, world.clock.utc_ns())
    began = world.clock.utc_ns()
    world.running["node1"].logged = (sync(began, began + 9 * MS, made=began + 4 * MS),)
    assert recorded(world) == {}
