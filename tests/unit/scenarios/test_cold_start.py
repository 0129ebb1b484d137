from __future__ import annotations

from dataclasses import replace

import pytest

from proxybench.errors import CommandTimeoutError, ProxierError
from proxybench.kube.objects import AddressPlan, Population
from proxybench.model import ClockKind, ServicePath
from proxybench.nodes.answers import AwaitAllResult, AwaitResult, ClockReading
from proxybench.nodes.exchange import Exchange, ExchangeResult, Heard
from proxybench.nodes.requests import AskClocks, AskUsage, AwaitAll, Connect
from proxybench.scenarios.cold_start import first_full_sync, last_to_answer, probed
from proxybench.subjects.driver import SyncRecord
from tests.unit.run.world import PLAN, World, connected, usage
from tests.unit.scenarios.probes import seen

POPULATION = Population(PLAN, 2)
COLD = {"sync": {"scenarios": ["cold-start"]}}
MS = 1_000_000


@pytest.mark.parametrize(
    ("services", "indices"),
    [
        (1, (0,)),
        (2, (0,)),
        (3, (2, 0)),
        (10, (9, 0, 2, 3, 5, 6, 8)),
        (1000, (999, 0, 165, 332, 498, 665, 831, 998)),
    ],
)
def test_the_last_service_is_awaited_alone_and_then_seven_others_evenly_apart(
    services: int, indices: tuple[int, ...]
) -> None:
    assert probed(POPULATION, services) == indices
    assert all(POPULATION.on_first_node(index) for index in indices)


def test_with_one_range_of_pods_all_services_may_be_awaited() -> None:
    plan = AddressPlan("10.96.0.0/12", (("node1", "10.244.0.0/17"),), 8080)
    assert probed(Population(plan, 2), 3) == (2, 0, 1)


@pytest.mark.parametrize(
    ("probes", "last", "more"),
    [
        ([seen(300, gap=10)], 0, 0),
        # Others that answered at their first attempt were no later than that, but perhaps later than the first.
        ([seen(300, gap=10), seen(305, attempts=1), seen(350, attempts=1)], 0, 40),
        ([seen(300, gap=60), seen(350, attempts=1)], 0, 0),
        # Those that had to be tried again were later.
        ([seen(300, gap=10), seen(900, gap=20), seen(800, gap=20), seen(305, attempts=1)], 1, 0),
        # What was given up is later than all.
        ([seen(300), seen(900), seen(None, end=901)], 2, 0),
        ([seen(None, end=500), seen(None, end=500, attempts=0)], 0, 0),
    ],
)
def test_the_last_of_several_to_answer_ends_a_cold_start(probes: list[AwaitResult], last: int, more: int) -> None:
    assert last_to_answer(probes) == (last, more)


def sync(ended: int, *, full: bool | None = True, family: str = "IPv4", services: int | None = 10) -> SyncRecord:
    return SyncRecord(ended, 1, full, family, services, None)


@pytest.mark.parametrize(
    ("syncs", "ended"),
    [
        ([], None),
        ([sync(1, services=0), sync(2), sync(3)], 2),
        ([sync(1, family="IPv6"), sync(2)], 2),
        ([sync(1, full=False), sync(2, services=11)], 2),
        ([sync(1, full=None, services=None)], 1),
        # Of whichever family: if of this one, it is the first; if not, the next one is.
        ([sync(1, full=None, family="", services=None), sync(2)], None),
        ([sync(1, family="", services=9), sync(2)], 2),
        ([sync(1, services=9)], None),
    ],
)
def test_the_first_full_sync_is_the_first_that_wrote_all_services(syncs: list[SyncRecord], ended: int | None) -> None:
    found = first_full_sync(syncs, 10)
    assert (found.ended_utc_ns if found else None) == ended


def test_several_services_are_awaited_and_the_last_of_them_counts() -> None:
    world = World(COLD)

    def late(request: AwaitAll) -> object:
        now = world.clock.now
        hosts.extend(probe.host for probe in request.probes)
        at = [now + 20 * MS, now + 90 * MS, *(now + 50 * MS for _ in request.probes[2:])]
        return AwaitAllResult(tuple(seen(first, gap=MS) for first in at))

    hosts: list[str] = []
    world.answers[AwaitAll] = late
    result = world.take()
    assert result.problems == []
    assert hosts == [PLAN.vip(index) for index in (9, 0, 2, 3, 5, 6, 8)]
    (sample,) = [sample for sample in result.samples if sample.metric == "sync.end_to_end"]
    assert (sample.value, sample.uncertainty, sample.rank) == (90 * MS, MS, None)


def test_ranks_are_read_back_after_the_first_sync_and_decide_what_is_connected_to() -> None:
    world = World({**COLD, "forwarding": {"connections": 1, "established": 0}})
    world.running["node1"].ranks = {f"{PLAN.vip(index)} 80/tcp": 10 - index for index in range(10)}
    hosts: list[tuple[str, ...]] = []

    def note(request: Connect) -> object:
        hosts.append(tuple(target.host for target in request.targets))
        return connected(world, request)

    world.answers[Connect] = note
    result = world.take()
    assert result.problems == []
    reverse = (PLAN.vip(9), PLAN.vip(5), PLAN.vip(0))
    assert [vips[:3] for vips in hosts[1:]] == [reverse, reverse]  # hosts[0] was connected to before the start
    ranks = {(str(sample.point.position), sample.rank) for sample in result.samples if sample.rank}
    assert ranks == {("first", 1), ("middle", 5), ("last", 10), ("last", 1)}  # the last one: of the cold start


def test_what_comes_by_another_node_stands_in_that_nodes_order() -> None:
    path = "node_port@other"
    forwarding = {"connections": 1, "established": 0, "paths": [path], "positions": ["first", "last"]}
    world = World({**COLD, "forwarding": forwarding}, nodes="all")
    order = {f"{30256 + index}/tcp": index + 1 for index in range(10)}
    reverse = dict(zip(order, reversed(order.values()), strict=True))
    for name, ports in (("node1", order), ("node2", reverse)):
        world.running[name].ranks = {f"{PLAN.vip(0)} 80/tcp": 1}
        world.running[name].port_ranks = ports
    asked: list[tuple[int, ...]] = []

    def note(request: Connect) -> object:
        asked.append(tuple(target.port for target in request.targets))
        return connected(world, request)

    def heard(request: Exchange) -> ExchangeResult:  # each sees the node, since that puts its address in between
        (pod, *_) = population.pods(request.port - 30256)
        return ExchangeResult((Heard(pod.address, request.host, 4),), {}, 0, 4)

    population = Population(PLAN, 2)
    world.answers |= {Connect: note, Exchange: heard}
    result = world.take(exposed=[ServicePath.parse(path)])
    assert result.problems == []
    assert asked[-1][:2] == (30265, 30256)
    found = {(str(sample.point.position), sample.rank) for sample in result.samples if sample.rank}
    assert found == {("first", 1), ("last", 10)}


def test_ranks_that_cannot_be_read_are_a_note_and_positions_those_of_creation() -> None:
    world = World({**COLD, "forwarding": {"connections": 1, "established": 0}})
    world.running["node1"].fails["ranks"] = ProxierError("node1: the rules of KUBE-SERVICES cannot be read: no")
    result = world.take()
    assert result.problems == []
    assert result.notes == [
        "positions are the order of creation: node1: the rules of KUBE-SERVICES cannot be read: no",
    ]
    assert {sample.rank for sample in result.samples} == {None}


def test_the_end_of_the_first_full_sync_is_told_by_the_log_and_counts_from_the_start() -> None:
    world = World(COLD)
    started = world.clock.now
    world.answers[AskClocks] = lambda _: ClockReading(started + 500 * MS, 7_000_000_000_000 + 500 * MS)
    world.running["node1"].logged = (sync(7_000_000_000_000 + 120 * MS),)
    result = world.take()
    (sample,) = [sample for sample in result.samples if sample.metric == "sync.programmed"]
    assert (sample.value, sample.point.scenario, sample.point.path) == (120 * MS, "cold-start", "none")


def test_some_that_did_not_answer_end_the_step_and_are_censored() -> None:
    world = World(COLD)

    def one_never(request: AwaitAll) -> object:
        now = world.clock.now
        answers = [seen(now + MS) for _ in request.probes]
        answers[3] = replace(seen(None, end=now + 120_000 * MS), start_ns=now)
        return AwaitAllResult(tuple(answers))

    world.answers[AwaitAll] = one_never
    result = world.take()
    assert result.problems == ["cold start: 1 of 7 probed Services did not answer within 120 s of the start"]
    (sample,) = [sample for sample in result.samples if sample.metric == "sync.end_to_end"]
    assert (sample.value, sample.censored) == (120_000 * MS, True)


def test_a_proxy_that_knows_why_nothing_answers_says_so_and_the_latency_is_censored() -> None:
    world = World(COLD)
    world.answers[AwaitAll] = lambda request: AwaitAllResult(tuple(seen(None) for _ in request.probes))
    world.running["node1"].fails["ready"] = ProxierError("node1: it had no first sync within 1 s: Unauthorized")
    result = world.take()
    assert result.problems == ["cold start: node1: it had no first sync within 1 s: Unauthorized"]
    assert [(str(sample.metric), sample.censored) for sample in result.samples] == [("sync.end_to_end", True)]


def hard_at_work(world: World) -> None:
    """Let the proxies spend half of the time."""

    def spent(request: AskUsage) -> object:
        quiet = usage(world, request)
        half = world.clock.now // 2
        return replace(quiet, groups={name: replace(each, usage_ns=half) for name, each in quiet.groups.items()})

    world.answers[AskUsage] = spent


def test_a_proxy_still_at_work_when_its_time_is_up_is_late_and_no_failure() -> None:
    world = World(COLD)
    hard_at_work(world)
    world.answers[AwaitAll] = lambda request: AwaitAllResult(tuple(seen(None) for _ in request.probes))
    result = world.take()
    what = "7 of 7 probed Services did not answer within 120 s of the start, and it was still at work"
    assert (result.late, result.problems) == (f"cold start: {what}", [])
    assert [(str(sample.metric), sample.censored) for sample in result.samples] == [
        ("sync.end_to_end", True),
        ("sync.programmed", True),
    ]


def test_a_proxy_that_answers_and_yet_goes_on_working_is_late_too() -> None:
    world = World(COLD)
    hard_at_work(world)
    world.running["node1"].fails["ready"] = ProxierError("node1: it had no first sync within 120 s")
    world.answers[AskClocks] = lambda _: ClockReading(world.clock.now, world.clock.utc_ns())
    result = world.take()
    assert result.problems == []
    assert (
        result.late == "cold start: the probed Services answered, but it was still at work when the step's time was up"
    )
    answered, written = result.samples
    assert (str(answered.metric), answered.censored) == ("sync.end_to_end", False)
    assert (str(written.metric), written.censored) == ("sync.programmed", True)
    assert written.value > answered.value  # until it was given up, by the node's clock


def test_a_first_full_sync_that_the_log_tells_of_is_measured_though_the_proxy_goes_on_working() -> None:
    world = World(COLD)
    hard_at_work(world)
    ended = world.clock.utc_ns() + 700 * MS
    world.running["node1"].logged = (sync(ended, full=True, services=None),)
    world.running["node1"].fails["ready"] = ProxierError("node1: it had no first sync within 120 s")
    world.answers[AskClocks] = lambda _: ClockReading(world.clock.now, world.clock.utc_ns())
    result = world.take()
    assert result.late != ""
    written = result.samples[-1]
    assert (str(written.metric), written.censored, written.value) == ("sync.programmed", False, 700 * MS)


def test_where_the_log_tells_of_no_syncs_the_metrics_tell_of_the_last() -> None:
    world = World(COLD)
    ended = world.clock.utc_ns() + 700 * MS
    known = world.metrics_now
    world.answers[AskClocks] = lambda _: ClockReading(world.clock.now, world.clock.utc_ns())
    world.running["node1"].read = lambda: replace(known(), last_sync_utc_ns=ended)
    result = world.take()
    (sample,) = [sample for sample in result.samples if sample.metric == "sync.programmed"]
    assert sample.value == 700 * MS


UNTOLD = "cold-start: sync.programmed is not measured: nothing says of which family of addresses each of its syncs was"
BOTH = """\
I1126 04:00:08.123456       1 proxier.go:409] "ipvs sync params" ipFamily="IPv4" minSyncPeriod="1s" burstSyncs=2
I1126 04:00:08.123456       1 proxier.go:409] "ipvs sync params" ipFamily="IPv6" minSyncPeriod="1s" burstSyncs=2
"""


@pytest.mark.parametrize(("six", "measured"), [(None, False), (900 * MS, True)])
def test_metrics_that_may_be_of_either_family_tell_nothing(six: int | None, *, measured: bool) -> None:
    """Up to 1.30 they have no label: the last sync that they tell of is that of IPv6, which has nothing to write."""
    world = World(COLD)
    now, known = world.clock.utc_ns(), world.metrics_now
    world.answers[AskClocks] = lambda _: ClockReading(world.clock.now, world.clock.utc_ns())
    world.running["node1"].read = lambda: replace(
        known(), last_sync_utc_ns=now + 700 * MS, last_sync6_utc_ns=six and now + six
    )
    world.running["node1"].written = BOTH
    result = world.take()
    assert [one.value for one in result.samples if one.metric == "sync.programmed"] == [700 * MS] * measured
    assert result.notes == [UNTOLD] * (not measured)


@pytest.mark.parametrize("late", [False, True])
def test_a_log_that_does_not_tell_the_families_apart_tells_no_end(*, late: bool) -> None:
    world = World(COLD)
    world.answers[AskClocks] = lambda _: ClockReading(world.clock.now, world.clock.utc_ns())
    ended = world.clock.utc_ns() + 700 * MS
    world.running["node1"].logged = tuple(sync(ended + place * MS, full=None, family="") for place in (0, 5))
    if late:
        hard_at_work(world)
        world.running["node1"].fails["ready"] = ProxierError("node1: it had no first sync within 120 s")
    result = world.take()
    assert (bool(result.late), result.problems) == (late, [])
    assert [one for one in result.samples if one.metric == "sync.programmed"] == []
    assert UNTOLD in result.notes


def test_a_proxy_that_is_idle_and_not_ready_has_failed() -> None:
    world = World(COLD)
    world.running["node1"].fails["ready"] = ProxierError("node1: it ended with 1")
    result = world.take()
    assert (result.late, result.problems) == ("", ["cold start: node1: it ended with 1"])


def unheard(_: AwaitAll) -> object:
    raise CommandTimeoutError("client: it said nothing within 185 s")


def test_a_guest_too_busy_to_answer_is_late_by_the_instruction_clock() -> None:
    world = World(COLD)
    world.bench = replace(world.bench, cluster=replace(world.bench.cluster, clock=ClockKind.INSTRUCTIONS))
    world.answers[AwaitAll] = unheard
    world.answers[AskClocks] = lambda _: ClockReading(world.clock.now, world.clock.utc_ns())
    result = world.take()
    assert (result.late, result.problems) == ("cold start: the guest was too busy to say more within its time", [])
    assert [(str(sample.metric), sample.censored) for sample in result.samples] == [
        ("sync.end_to_end", True),
        ("sync.programmed", True),
    ]


def test_a_client_that_says_nothing_by_the_wall_clock_has_failed() -> None:
    world = World(COLD)
    world.answers[AwaitAll] = unheard
    result = world.take()
    assert (result.late, result.problems) == ("", ["cold start: client: it said nothing within 185 s"])
