from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxybench.clocks import ClockDomain
from proxybench.errors import AgentError, CommandTimeoutError, ConnectionLostError, ProxierError
from proxybench.kube.base import Bulk, Kind
from proxybench.kube.objects import NAMESPACE, Population
from proxybench.model import Position
from proxybench.nodes.answers import AwaitAllResult, ChangeResult, ClockReading, Slept
from proxybench.nodes.requests import AskClocks, AskUsage, AwaitAll, Change, Connect, Established, Sleep
from proxybench.scenarios.result import Checked, StepResult
from proxybench.testing.kube import FakeServiceApi
from proxybench.units import NS_PER_S
from tests.factories import make_node
from tests.unit.run.world import PLAN, World, all_seen, changed, connected, seen, usage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxybench.kube.base import Object

CPU = {"idle": "4s"}
SYNC = {"scenarios": ["cold-start", "add-one", "change-endpoint", "delete-one", "add-batch"], "batch": 5}
FORWARDING = {"connections": 20, "established": 3}
ALL = {"cpu": CPU, "sync": SYNC, "forwarding": FORWARDING}
USAGE = {
    "cpu.control_loop",
    "cpu.control_loop.user",
    "cpu.control_loop.system",
    "cpu.softirq",
    "cpu.node",
    "cpu.agent",
    "cpu.window",
    "memory.control_loop",
}
LOOP = {"sync.control_loop", "sync.count", "sync.build", "sync.tool", "sync.kernel", "sync.wait"}


def refusing(*errors: str) -> object:
    raise AgentError("; ".join(errors))


def test_a_good_step_brings_every_metric_of_its_scenarios() -> None:
    world = World(ALL)
    result = world.take()
    assert result.problems == []
    assert result.checks == [Checked("VIPs answer from the right endpoints", passed=True)]
    assert result.logs == {"004-iptables-node1.log": "log of node1"}
    for scenario in ("cold-start", "add-one", "change-endpoint", "delete-one", "add-batch"):
        assert set(world.metrics(result, scenario)) == {"sync.end_to_end"} | LOOP | USAGE
    assert set(world.metrics(result, "idle")) == USAGE
    steady = world.metrics(result, "steady")
    assert {"forwarding.connect", "forwarding.direct", "forwarding.established", "forwarding.first_byte"} <= set(steady)
    assert {(sample.run, sample.repetition, sample.node) for sample in result.samples} == {("run-1", 2, "node1")}


def test_values_are_those_of_the_agents() -> None:
    world = World(ALL)
    result = world.take()
    assert world.metrics(result, "add-one")["sync.end_to_end"] == [2_000_000]
    assert world.metrics(result, "add-one")["sync.control_loop"] == [500_000_000]
    idle = world.metrics(result, "idle")
    assert idle["cpu.window"] == [4_000_000_000]
    assert idle["cpu.control_loop"] == [40_000_000]
    assert idle["cpu.agent"] == [3 * 4_000_000]  # of three agents
    direct = [s for s in result.samples if s.metric == "forwarding.direct"]
    assert [sample.value for sample in direct] == [100_000] * 20
    positions = {s.point.position for s in result.samples if s.metric == "forwarding.connect"}
    assert positions == {Position.FIRST, Position.MIDDLE, Position.LAST}


def test_the_probe_runs_before_the_loop_starts_and_it_is_stopped_at_the_end() -> None:
    world = World({"cpu": CPU})
    world.take()
    assert world.log == ["client await_all", "node1 start", "node1 ready", "client connect", "node1 stop"]
    assert world.said == ["cold start", "conformance", "idle", "stopping"]
    assert world.kernel_log == ["node1 capture", "node1 restore"]


def test_a_cold_start_that_is_not_asked_for_is_not_recorded() -> None:
    result = World({"cpu": CPU}).take()
    assert {str(sample.point.scenario) for sample in result.samples} == {"idle"}


def test_a_batch_is_written_without_its_last_service_which_the_agent_writes() -> None:
    world = World({"sync": {"scenarios": ["add-batch"], "batch": 5}})
    requests: list[Change] = []

    def note(request: Change) -> object:
        requests.append(request)
        return changed(world, request)

    world.answers[Change] = note
    result = world.take()
    assert result.problems == []
    begun, request = requests
    assert begun.writes[0].body is not None
    assert begun.writes[0].body["metadata"]["name"] == "svc-00010"
    assert begun.probes == ()
    # Number 14 has its endpoints on the measured node; 10 and 13 have not.
    assert request.writes[0].body is not None
    assert request.writes[0].body["metadata"]["name"] == "svc-00014"
    assert request.probes[0].host == "10.96.1.14"
    names = [service["metadata"]["name"] for service in world.api.list(Kind.SERVICE, NAMESPACE)]
    assert names == [f"svc-{index:05d}" for index in (*range(10), 11, 12, 13)]  # the agent's are not in this API


def test_a_batch_counts_from_its_first_write_and_begins_with_all_turns_to_spare() -> None:
    world = World({"sync": {"scenarios": ["add-one", "add-batch"], "batch": 5}})

    def slow(request: Change) -> object:
        result = changed(world, request)
        world.clock.now += 30_000_000  # passes between this write and the next
        return result

    world.answers[Change] = slow
    result = world.take()
    assert world.metrics(result, "add-one")["sync.end_to_end"] == [2_000_000]
    assert world.metrics(result, "add-batch")["sync.end_to_end"] == [32_000_000]
    rests = [seconds for seconds in world.clock.slept if seconds >= 1]
    assert rests == [1.0, 2.0]


def test_that_writes_of_a_batch_were_sent_again_is_noted() -> None:
    class Busy(FakeServiceApi):
        def create_many(self, objects: Sequence[Object], progress: Callable[[int, int], None] | None = None) -> Bulk:
            return replace(super().create_many(objects, progress), retries=2)

    world = World({"sync": {"scenarios": ["add-batch"], "batch": 5}})
    world.use_api(Busy())
    assert world.take().notes == [
        "add-batch: 2 of many writes had to be sent again (429, 5xx or no answer): their time counts the wait"
    ]


def test_a_batch_of_one_is_its_only_write() -> None:
    world = World({"sync": {"scenarios": ["add-batch"], "batch": 1}})
    result = world.take()
    assert world.log.count("client change") == 1
    assert world.metrics(result, "add-batch")["sync.end_to_end"] == [2_000_000]


def test_relaying_is_not_the_control_loops_work() -> None:
    world = World({"cpu": CPU})
    world.relay_cpu = lambda now: now / 1e9 / 200  # half of what the cgroup spends
    idle = world.metrics(world.take(), "idle")
    assert idle["cpu.relay"] == [20_000_000]
    assert idle["cpu.control_loop"] == [20_000_000]


@pytest.mark.parametrize(
    ("kind", "part", "missing"),
    [
        (Established, "established connections", "forwarding.established"),
        (Change, "add-one", "sync.end_to_end"),
    ],
)
def test_a_part_that_fails_is_reported_and_the_others_go_on(kind: type, part: str, missing: str) -> None:
    world = World({**ALL, "sync": {"scenarios": ["add-one"]}})
    world.answers[kind] = lambda request: refusing("no", "such thing")
    result = world.take()
    assert result.problems == [f"{part}: no; such thing"]
    assert missing not in {str(sample.metric) for sample in result.samples}
    assert set(world.metrics(result, "idle")) == USAGE
    assert world.log[-1] == "node1 stop"


def test_each_change_that_fails_is_reported() -> None:
    world = World({"sync": {"scenarios": ["add-one", "delete-one"]}})
    world.answers[Change] = lambda request: refusing("line one\nline two")
    assert world.take().problems == ["add-one: line one line two", "delete-one: line one line two"]


def test_a_change_that_the_api_refuses_is_no_sample() -> None:
    world = World({"sync": {"scenarios": ["add-one"]}})
    world.answers[Change] = lambda request: changed(world, request, status=409)
    result = world.take()
    assert result.problems == ["add-one: the API refused the change with status 409"]
    assert result.samples == []


@pytest.mark.parametrize("asked", [["add-one", "change-endpoint"], ["change-endpoint"]])
def test_a_service_that_was_not_added_is_not_changed_since_nobody_would_answer(asked: list[str]) -> None:
    world = World({"sync": {"scenarios": asked}})
    changes: list[Change] = []

    def refuse_first(request: Change) -> object:
        changes.append(request)
        return changed(world, request, status=409 if len(changes) == 1 else 200)

    world.answers[Change] = refuse_first
    result = world.take()
    assert result.problems == [
        f"{'add-one' if len(asked) > 1 else 'the Service to change'}: the API refused the change with status 409",
        "change-endpoint: not measured: the Service that it changes was not added",
    ]
    assert result.samples == []


def test_a_change_that_the_api_puts_off_is_made_anew_and_noted_and_of_a_batch_no_sample() -> None:
    world = World({"sync": {"scenarios": ["add-one", "add-batch"], "batch": 5}})
    asked: list[Change] = []

    def put_off(request: Change) -> ChangeResult:
        """Put off the write of add-one, and the last one of the batch."""
        asked.append(request)
        result = changed(world, request)
        return replace(result, put_off_s=2.0, statuses=(), acks_ns=()) if len(asked) in {1, 4} else result

    world.answers |= {Change: put_off, Sleep: lambda _: Slept(0, 1)}
    result = world.take()
    assert result.notes == [
        f"{scenario}: the API had too much to do and put a change off once, for 2 s (429); it was made anew, "
        "CPU counts the wait"
        for scenario in ("add-one", "add-batch")
    ]
    busy = "the API has too much to do and put the write off (429, its priority and fairness)"
    assert result.problems == [f"add-batch: {busy} at the end of many, whose time would count the wait"]
    assert len(world.metrics(result, "add-one")["sync.end_to_end"]) == 1
    assert "sync.end_to_end" not in world.metrics(result, "add-batch")
    assert not result.lost


def test_a_batch_that_the_api_refuses_is_a_problem() -> None:
    world = World({"sync": {"scenarios": ["add-batch"], "batch": 3}})

    def take_a_name(request: AwaitAll) -> object:
        world.api.create_many([Population(PLAN, 2).service(11)])
        return all_seen(world, request)

    world.answers[AwaitAll] = take_a_name
    path = "/api/v1/namespaces/proxybench/services"
    assert world.take().problems == [
        f'add-batch: POST {path}: 409 AlreadyExists: services "svc-00011" already exists',
    ]


def test_a_cold_start_that_nobody_saw_is_censored_and_ends_the_step() -> None:
    world = World(ALL)
    world.answers[AwaitAll] = lambda request: AwaitAllResult(
        tuple(seen(world, probe, censored=True) for probe in request.probes)
    )
    result = world.take()
    assert result.problems == ["cold start: 7 of 7 probed Services did not answer within 120 s of the start"]
    (sample,) = [sample for sample in result.samples if sample.metric == "sync.end_to_end"]
    assert (sample.censored, sample.value, sample.point.scenario) == (True, 9_000_000, "cold-start")
    assert result.checks == []
    assert world.log[-1] == "node1 stop"


def test_wrong_answers_stop_the_measuring() -> None:
    world = World({"cpu": CPU, "sync": SYNC})

    def wrong(request: Connect) -> object:
        good = connected(world, request)
        return replace(good, targets={**good.targets, "first": replace(good.targets["first"], wrong=3, timeouts=1)})

    world.answers[Connect] = wrong
    result = world.take()
    detail = "first: 1 without an answer, 3 answered by an endpoint of another Service"
    assert result.checks == [Checked("VIPs answer from the right endpoints", passed=False, detail=detail)]
    assert result.problems == [f"conformance: {detail}"]
    assert not result.lost
    assert {str(sample.point.scenario) for sample in result.samples} == {"cold-start"}
    assert world.log[-1] == "node1 stop"


def test_a_loop_that_does_not_start_leaves_no_probe_behind() -> None:
    world = World(ALL)
    world.running["node1"].fails["start"] = ProxierError("node1: it ended at once")
    result = world.take()
    assert result.problems == ["cold start: node1: it ended at once"]
    assert not any(handle.agent.open for handle in world.bench.handles.values())  # type: ignore[attr-defined] # they are FakeNodes
    assert world.log == ["client connect", "client await_all", "node1 start"]
    assert world.kernel_log == ["node1 capture", "node1 restore"]


def test_a_loop_that_never_gets_ready_is_reported_with_its_log() -> None:
    world = World({"cpu": CPU})
    world.running["node1"].fails["ready"] = ProxierError("node1: not ready in 300 s")
    result = world.take()
    assert result.problems == ["cold start: node1: not ready in 300 s"]
    assert result.logs == {"004-iptables-node1.log": "log of node1"}
    assert result.samples == []


def test_what_is_left_behind_is_noted_and_no_fault_of_the_step() -> None:
    world = World({"cpu": CPU})
    world.kernels.left["node1"] = ("iptables-legacy nat: 9 chains", "sysctl a: 0 became 1")
    result = world.take()
    assert result.problems == []
    log = "logs/004-iptables-node1-left.log"
    assert result.notes == [f"left on node1, and removed: iptables-legacy nat: 9 chains and 1 more, see {log}"]
    assert result.logs["004-iptables-node1-left.log"] == "iptables-legacy nat: 9 chains\nsysctl a: 0 became 1\n"


def test_a_kernel_that_cannot_be_put_back_is_a_problem() -> None:
    world = World({"cpu": CPU})
    world.kernels.fails["restore"] = ProxierError("node1: could not be cleaned")
    assert world.take().problems == ["cleaning node1: node1: could not be cleaned"]


def test_a_kernel_that_cannot_be_read_is_not_measured() -> None:
    world = World({"cpu": CPU})
    world.kernels.fails["capture"] = ProxierError("node1: nft is missing")
    result = world.take()
    assert result.problems == ["step: node1: nft is missing"]
    assert world.log == []


def test_what_shaped_the_proxy_is_kept_with_its_log() -> None:
    world = World({"cpu": CPU})
    world.running["node1"].rendered = {"config.yaml": "a: 1"}
    result = world.take()
    assert result.logs == {"004-iptables-node1.log": "log of node1", "004-iptables-node1-config.yaml": "a: 1"}
    assert (result.config, result.cgroup) == ("004-iptables-node1-config.yaml", "/cgroup/node1")
    assert World({"cpu": CPU}).take().config == ""


def test_the_file_of_the_measured_node_is_the_one() -> None:
    world = World({"cpu": CPU}, nodes="all")
    for name in ("node1", "node2"):
        world.running[name].rendered = {"config.yaml": name, "more.txt": ""}
    assert world.take().config == "004-iptables-node1-config.yaml"


def test_a_stop_that_fails_on_one_node_does_not_keep_the_other_from_being_stopped() -> None:
    world = World({"cpu": CPU}, nodes="all")
    world.running["node1"].fails["stop"] = ProxierError("it had to be killed")
    result = world.take()
    assert result.problems == ["stopping on node1: it had to be killed"]
    assert world.log == [
        "node2 start",
        "node2 ready",
        "client await_all",
        "node1 start",
        "node1 ready",
        "client connect",
        "node2 stop",
        "node1 stop",
    ]
    assert result.logs == {f"004-iptables-{node}.log": f"log of {node}" for node in ("node1", "node2")}


def test_a_lost_connection_ends_the_step() -> None:
    world = World({"cpu": CPU, "forwarding": {"connections": 20, "established": 3}})

    def lose(request: Established) -> object:
        raise ConnectionLostError("client: the connection broke")

    world.answers[Established] = lose
    result = world.take()
    assert result.problems == ["established connections: client: the connection broke"]
    assert result.lost
    assert world.kernel_log == ["node1 capture"]
    assert "idle" not in world.said
    assert world.log[-1] == "node1 stop"


def test_an_agent_that_does_not_answer_in_time_ends_the_step() -> None:
    world = World({"cpu": CPU, "forwarding": FORWARDING})

    def silent(request: Established) -> object:
        world.bench.client.agent.broken = "established got no answer"
        raise CommandTimeoutError("client: `agent` said nothing within 90 s")

    world.answers[Established] = silent
    result = world.take()
    assert result.problems == ["established connections: client: `agent` said nothing within 90 s"]
    assert "idle" not in world.said


def test_an_interrupt_goes_through_after_the_loop_is_stopped() -> None:
    world = World({"cpu": CPU})

    def interrupt(request: Connect) -> object:
        raise KeyboardInterrupt

    world.answers[Connect] = interrupt
    with pytest.raises(KeyboardInterrupt):
        world.take()
    assert world.log[-1] == "node1 stop"


def test_nothing_is_waited_for_beyond_the_limit_of_the_step() -> None:
    world = World({"cpu": {"idle": "60s"}})
    result = world.take(limit=10)
    assert sum(world.clock.slept) == pytest.approx(10)
    assert set(world.metrics(result, "idle")) == USAGE  # what could be watched of it
    assert result.problems == []


def test_a_loop_that_never_rests_ends_the_step_at_its_limit() -> None:
    world = World({"cpu": CPU})

    def busy(request: AskUsage) -> object:
        calm = usage(world, request)
        groups = {name: replace(group, usage_ns=world.clock.now) for name, group in calm.groups.items()}
        return replace(calm, groups=groups)

    world.answers[AskUsage] = busy
    result = world.take(limit=5)
    assert result.problems == []
    assert (
        result.late == "cold start: the probed Services answered, but it was still at work when the step's time was up"
    )
    assert world.log[-1] == "node1 stop"


def test_a_cold_start_across_two_clocks_is_uncertain_by_their_offsets() -> None:
    world = World(ALL)
    client = replace(world.bench.client, node=make_node("client", clock=ClockDomain("its own")))
    apart = replace(world.bench, handles={**world.bench.handles, "client": client})
    asked: list[int] = []

    def clocks(_: AskClocks) -> ClockReading:
        asked.append(world.clock.now)
        return ClockReading(world.clock.now + 100 * len(asked), world.clock.utc_ns())

    world.answers[AskClocks] = clocks
    result = world.take(bench=apart)
    assert (result.problems, result.notes) == ([], [])
    (cold,) = [one for one in result.samples if (one.metric, one.point.scenario) == ("sync.end_to_end", "cold-start")]
    (same,) = [one for one in World(ALL).take().samples if one.metric == cold.metric and one.point == cold.point]
    assert cold.uncertainty > same.uncertainty
    assert len({*asked}) > 1  # before the step, and again when the two clocks were compared
    assert set(world.metrics(result, "cold-start")) == {"sync.end_to_end"} | LOOP | USAGE
    for scenario in ("add-one", "change-endpoint", "delete-one", "add-batch"):
        assert set(world.metrics(result, scenario)) == {"sync.end_to_end"} | LOOP | USAGE
    assert "forwarding.connect" in world.metrics(result, "steady")


def test_a_load_without_locust_is_a_problem_of_the_load_alone() -> None:
    world = World({"cpu": CPU}, load={"rate": 10})
    result = world.take()
    assert len(result.problems) == 1
    assert result.problems[0].startswith("load: ")
    assert set(world.metrics(result, "idle")) == USAGE


def test_a_load_at_other_sizes_is_not_run() -> None:
    world = World({"cpu": CPU}, load={"rate": 10, "at": [1000]})
    assert world.take().problems == []
    assert "load" not in world.said


def test_an_error_of_ours_is_no_problem_of_the_step() -> None:
    world = World({"cpu": CPU})

    def mistake(request: Connect) -> object:
        raise ZeroDivisionError

    world.answers[Connect] = mistake
    with pytest.raises(ZeroDivisionError):
        world.take()
    assert world.log[-1] == "node1 stop"


def overrun(*, at_work: bool) -> StepResult:
    """Take a step whose time is up once it was watched at rest; the proxy then works again, or rests."""
    world = World({"cpu": {"idle": "5s"}, "sync": {"scenarios": ["add-one"], "timeout": "4s"}})
    rested = world.clock.now + 4 * NS_PER_S

    def spent(request: AskUsage) -> object:
        quiet = usage(world, request)
        if not at_work or world.clock.now < rested:
            return quiet
        groups = {name: replace(each, usage_ns=world.clock.now // 2) for name, each in quiet.groups.items()}
        return replace(quiet, groups=groups)

    world.answers[AskUsage] = spent
    return world.take(limit=5)


def test_a_step_that_is_still_at_work_when_its_time_is_up_is_late() -> None:
    result = overrun(at_work=True)
    assert (result.late, result.problems) == ("add-one: the step took longer than its limit of 5 s", [])


def test_a_step_that_rests_when_its_time_is_up_has_failed() -> None:
    result = overrun(at_work=False)
    assert (result.late, result.problems) == ("", ["add-one: the step took longer than its limit of 5 s"])


@pytest.mark.parametrize(
    ("limit", "told"),
    [(10, "the step took longer than its limit of 10 s"), (100, "client: it said nothing within 9 s")],
)
def test_what_the_end_of_a_step_cuts_short_is_told_as_that(limit: float, told: str) -> None:
    world = World({"forwarding": {"positions": ["last"]}})

    def silent(_request: Connect) -> object:
        world.clock.sleep(9)
        raise CommandTimeoutError("client: it said nothing within 9 s")

    world.answers[Connect] = silent
    problems = world.take(limit=limit).problems
    assert problems[:2] == ["connecting without rules: client: it said nothing within 9 s", f"conformance: {told}"]


def test_a_path_that_does_not_answer_is_told_and_the_others_are_measured() -> None:
    world = World({"forwarding": {"paths": ["cluster_ip", "node_port"], "positions": ["last"], "established": 0}})

    def silent(request: Connect) -> object:
        good = connected(world, request)
        broken = {
            name: replace(figures, timeouts=4) if name.startswith("node_port") else figures
            for name, figures in good.targets.items()
        }
        return replace(good, targets=broken)

    world.answers[Connect] = silent
    result = world.take(exposed=world.experiment.measure.paths)
    assert result.problems == ["forwarding: node_port last: 4 without an answer"]
    measured = {sample.point.path for sample in result.samples if sample.metric == "forwarding.connect"}
    assert measured == {"cluster_ip"}


@pytest.mark.parametrize(
    ("chains", "places"), [({}, [2, 1]), ({"10.96.1.0": {"10.244.1.1": 7, "10.244.1.0": 9}}, [7, 9])]
)
def test_each_connection_has_the_place_of_the_endpoint_that_answered(
    chains: dict[str, dict[str, int]], places: list[int]
) -> None:
    world = World(
        {"forwarding": {"connections": 2, "block": 2, "positions": ["first"], "established": 0, "by_endpoint": True}}
    )
    world.running["node1"].chains = chains

    def answered(request: Connect) -> object:
        good = connected(world, request)
        order = ("10.244.1.1", "10.244.1.0") if request.ordered else ()
        return replace(good, targets={name: replace(each, order=order) for name, each in good.targets.items()})

    world.answers[Connect] = answered
    found = [sample for sample in world.take().samples if sample.metric == "forwarding.endpoint"]
    assert [(sample.value, sample.rank, sample.point.path) for sample in found] == [
        (100_000, place, "cluster_ip") for place in places
    ]
