from __future__ import annotations

from dataclasses import replace

import pytest

from proxybench.model import Family
from proxybench.nodes.answers import ClockReading
from proxybench.nodes.requests import AskClocks
from proxybench.scenarios.phases import Phases, phases
from proxybench.subjects.driver import SyncRecord
from proxybench.subjects.proxy_log import parse_syncs
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


def test_of_syncs_of_nobody_knows_which_family_only_one_that_was_alone_is_the_measured_ones() -> None:
    unknown = sync(120, 180, made=150, family="")
    assert phases([unknown], 100, 170) is None
    assert phases([unknown], 100, 170, alone=True) == Phases(20, 30, 30)
    assert phases([FULL, sync(130, 190, made=160, family="")], 100, 170) is None
    assert phases([FULL, sync(10, 90, made=50, family="")], 100, 170) == Phases(20, 30, 30)


HEAD = "I1126 00:00:{} 1 proxier.go:1]"
TWO_FAMILIES = f"""\
{HEAD.format("00.000000")} "Iptables sync params" ipFamily="IPv4" minSyncPeriod="1s" syncPeriod="10m0s" burstSyncs=2
{HEAD.format("00.000000")} "Iptables sync params" ipFamily="IPv6" minSyncPeriod="1s" syncPeriod="10m0s" burstSyncs=2
{HEAD.format("01.100000")} "Syncing iptables rules" ipFamily="IPv4"
{HEAD.format("01.200000")} "Reloading service iptables data" ipFamily="IPv4" numServices=10 numEndpoints=17
{HEAD.format("01.500000")} "SyncProxyRules complete" ipFamily="IPv4" elapsed="400ms"
{HEAD.format("01.500000")} "Syncing iptables rules" ipFamily="IPv6"
{HEAD.format("01.690000")} "Reloading service iptables data" ipFamily="IPv6" numServices=0 numEndpoints=0
{HEAD.format("01.694000")} "SyncProxyRules complete" ipFamily="IPv6" elapsed="194ms"
"""


@pytest.mark.parametrize("field", [' ipFamily="{}"', ""], ids=["1.33", "1.30"])
def test_the_idle_familys_sync_is_no_part_of_a_cold_start_whether_the_log_names_it_or_not(field: str) -> None:
    """1.30 names the families where it makes them ready only; IPv6 has no Service and syncs last."""
    log = "".join(
        line if "params" in line else line.replace(f' ipFamily="{name}"', field.format(name))
        for line in TWO_FAMILIES.splitlines(keepends=True)
        for name in [line.partition('ipFamily="')[2][:4]]
    )
    trigger = parse_syncs(log, 2026)[0].ended_utc_ns - 500 * MS
    found = phases(parse_syncs(log, 2026), trigger, trigger + 600 * MS)
    assert found == Phases(100 * MS, 100 * MS, 300 * MS)


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


@pytest.mark.parametrize("count", [1, 2])
def test_a_log_that_does_not_tell_the_families_apart_is_split_where_there_was_one_sync(count: int) -> None:
    world = cold_world()
    began, read = world.clock.utc_ns(), world.running["node1"].read
    world.running["node1"].read = lambda: replace(read(), sync_count=count)
    one = sync(began, began + 9 * MS, made=began + 4 * MS, family="")
    world.running["node1"].logged = (one,) * count
    result = world.take(cell=CELL)
    untold = "sync.before, sync.making, sync.applying are not measured"
    assert len([each for each in result.samples if each.metric in PARTS]) == (3 if count == 1 else 0)
    assert [note for note in result.notes if untold in note] == [
        f"cold-start: {untold}: nothing says of which family of addresses each of its syncs was"
    ] * (count - 1)


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
