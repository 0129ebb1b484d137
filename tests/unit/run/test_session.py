"""A session on a cluster in memory: what is connected, what is written, what one step leaves to the next."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import asdict, replace
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.agent.node import AGENT
from proxybench.deadline import Deadline
from proxybench.errors import ApiError, ConnectionLostError, LateError, ProxierError, RunError
from proxybench.experiment.matrix import Step
from proxybench.hosts.fleet import Fleet
from proxybench.kube.base import Kind
from proxybench.model import ServicePath
from proxybench.nodes.answers import Hello
from proxybench.nodes.cluster import Traits
from proxybench.nodes.kernel.capture import Tools
from proxybench.nodes.kernel.state import KernelState
from proxybench.nodes.requests import AskHello, Connect, SetApi
from proxybench.nodes.zipapp import build_zipapp, zipapp_name
from proxybench.run import restore
from proxybench.run.budget import Budget
from proxybench.run.session import Assignment, ClusterSession, Sessions
from proxybench.run.testbed import lend
from proxybench.scenarios.population import Populator
from proxybench.testing.hosts import FakeExecutor, FakeSession, Line, Open, Run, Sent, done
from proxybench.testing.kube import FakeServiceApi
from tests.factories import make_cluster, make_node
from tests.unit.nodes.kernel.looks import look
from tests.unit.run.world import CELL, CLUSTER, FakeNode, World, connected
from tests.unit.subjects.rig import together

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.hosts.inventory import SshTarget
    from proxybench.kube.base import ServiceApi
    from proxybench.model import Subject
    from proxybench.nodes.cluster import ApiAccess, Cluster
    from proxybench.run.testbed import Testbed

STEPS = [Step(number, number, CELL) for number in (1, 2)]
LOST = ConnectionLostError("the connection broke")
HELLO = asdict(Hello(AGENT, "3.11.2", "6.1.0", "cpu", 2))
UNPRIVILEGED = "no real-time priority for probes: what else runs there may take its turn within a connection"


class Site:
    """A session on a world's testbed, and what it noted."""

    def __init__(self, *, warmup: bool = False) -> None:
        self.world = World({"cpu": True})
        self.notes: list[str] = []
        self.lacks: dict[Subject, str] = defaultdict(str)
        self.budget = Budget()
        experiment = self.world.experiment.model_copy(update={"warmup": warmup})
        self.assignment = Assignment("run-1", experiment, STEPS, self.world.clock, self.notes.append)
        testbed = replace(self.world.bench, experiment=experiment)
        self.session = self.on(testbed)
        self.whole = Deadline(self.world.clock, 600, "the run")

    def on(self, testbed: Testbed) -> ClusterSession:
        lack = self.lacks.__getitem__
        populator = Populator(testbed.api, *testbed.plans)
        return ClusterSession(testbed, self.assignment, populator, lambda _: self.world.proxies(), lack, self.budget)

    @property
    def services(self) -> int:
        return len(self.world.api.list(Kind.SERVICE))


def answered(number: int, op: str, result: Mapping[str, object], **fields: object) -> list[Sent | Line]:
    """Expect one request to an agent, and answer it."""
    asked = {**fields, "id": number, "op": op}
    return [
        Sent(json.dumps(asked, separators=(",", ":"))),
        Line(json.dumps({"id": number, "ok": True, "result": result})),
    ]


def agent_path() -> str:
    """Return where the agent lies on a node."""
    return f"/run/pb/{zipapp_name(build_zipapp())}"


def reachable(name: str, *more: Sent | Line, real_time: bool = False) -> tuple[FakeExecutor, FakeSession]:
    """Return a node that has the agent already, which is greeted and asked for ``more``."""
    path = agent_path()
    agent = FakeSession([*answered(1, "hello", {**HELLO, "real_time": real_time}), *more])
    found = Run(["sha256sum", path], done(f"{hashlib.sha256(build_zipapp()).hexdigest()}  {path}\n"))
    return FakeExecutor(name, [found, Open(["/python", "-I", "-S", path, "serve"], agent)]), agent


@pytest.mark.parametrize("authority", ["the CA", ""])
def test_connecting_tells_the_client_where_the_api_is_and_writes_nothing_to_it(authority: str) -> None:
    cluster = make_cluster(api=replace(CLUSTER.api, ca_pem=authority, writes_per_second=50))
    world = World({"cpu": True})
    api = cluster.api
    known = {"url": api.node_url, "token": api.token, **({"ca": authority} if authority else {})}
    nodes = {
        "client": reachable("client", *answered(2, "api", {}, **known)),
        "node1": reachable("node1"),
        "node2": reachable("node2"),
    }
    reached: list[object] = []

    def fleet(targets: Mapping[str, SshTarget]) -> Fleet:
        reached.append(targets)
        return Fleet({name: executor for name, (executor, _) in nodes.items()})

    def connect_api(access: ApiAccess, stack: ExitStack) -> ServiceApi:
        reached.append(access)
        return world.api

    assignment = Assignment("run-1", world.experiment, STEPS, world.clock, pytest.fail)
    with ExitStack() as stack:
        session = Sessions({}, {}, fleet, connect_api).connect(cluster, assignment, stack)
        assert not session.broken
        assert session._testbed.client.agent.gap_s == 0.02
    assert reached == [cluster.targets, api]
    assert world.api.log == []
    for executor, agent in nodes.values():
        executor.assert_done()
        agent.assert_done()  # which it is only when it was closed


def test_whose_probes_have_real_time_priority_is_a_trait_of_the_cluster_that_is_reached() -> None:
    cluster, world = make_cluster(), World({"cpu": True})
    api = cluster.api
    nodes = {
        "client": reachable("client", *answered(2, "api", {}, url=api.node_url, token=api.token, ca=api.ca_pem)),
        "node1": reachable("node1", real_time=True),
        "node2": reachable("node2"),
    }
    fleet = Fleet({name: executor for name, (executor, _) in nodes.items()})
    sessions = Sessions({}, {}, lambda _: fleet, lambda _access, _stack: world.api)
    with ExitStack() as stack:
        bed = sessions.reach(cluster, "run-1", world.experiment, world.clock, stack)
        granted = {"client": False, "node1": True, "node2": False}
        assert bed.cluster.traits == replace(cluster.traits, real_time=granted)


DEAD = ConnectionLostError("node2: the connection broke")


def dying(**changes: Any) -> tuple[Cluster, Fleet, dict[str, FakeExecutor]]:
    """Return a cluster that others use, whose further node dies before its agent is started."""
    cluster = make_cluster(traits=Traits(exclusive=False, starts_proxies=False), **changes)
    api = cluster.api
    nodes = {
        "client": reachable("client", *answered(2, "api", {}, url=api.node_url, token=api.token, ca=api.ca_pem))[0],
        "node1": reachable("node1")[0],
        "node2": FakeExecutor("node2", [Run(["sha256sum", agent_path()], DEAD)]),
    }
    return cluster, Fleet(nodes), nodes


def test_a_further_node_where_no_agent_starts_is_left_out_and_noted() -> None:
    cluster, fleet, nodes = dying()
    world, notes = World({"cpu": True}), list[str]()
    assignment = Assignment("run-1", world.experiment, STEPS, world.clock, notes.append)
    with ExitStack() as stack:
        session = Sessions({}, {}, lambda _: fleet, lambda *_: world.api).connect(cluster, assignment, stack)
        assert (list(session._testbed.handles), session._testbed.cluster.others) == (["client", "node1"], ())
        assert nodes["node2"].closed
        assert not session.broken
    assert notes == ["goes on without node2: node2: the connection broke"]


def test_a_further_node_that_is_not_reached_any_more_is_left_out_and_noted() -> None:
    cluster, fleet, nodes = dying()
    fleet.leave_out(["node2"])
    world, notes = World({"cpu": True}), list[str]()
    with ExitStack() as stack:
        sessions = Sessions({}, {}, lambda _: fleet, lambda *_: world.api)
        bed = sessions.reach(cluster, "run-1", world.experiment, world.clock, stack, notes.append)
        assert (list(bed.handles), bed.cluster.others) == (["client", "node1"], ())
    assert notes == ["goes on without node2: it is not reached any more"]
    assert nodes["node2"].closed


@pytest.mark.parametrize(
    ("measure", "nodes", "changes"),
    [
        ({"cpu": True}, "all", {}),
        ({"forwarding": {"paths": ["cluster_ip@far"]}}, "measured", {}),
        ({"cpu": True}, "measured", {"endpoints": (("node2", "192.0.2.2"), ("node2", "192.0.2.3"))}),
    ],
)
def test_a_further_node_on_which_numbers_rest_is_needed(
    measure: dict[str, Any], nodes: str, changes: dict[str, Any]
) -> None:
    cluster, fleet, _ = dying(**changes)
    world = World(measure, nodes=nodes)
    sessions = Sessions({}, {}, lambda _: fleet, lambda *_: world.api)
    with ExitStack() as stack, pytest.raises(ConnectionLostError, match=r"^node2: the connection broke$"):
        sessions.reach(cluster, "run-1", world.experiment, world.clock, stack, pytest.fail)


@pytest.mark.parametrize(
    ("measure", "nodes", "changes"),
    [
        ({"cpu": True}, "all", {}),
        ({"forwarding": {"paths": ["cluster_ip@far"]}}, "measured", {}),
        ({"forwarding": {"paths": ["node_port@other"]}}, "all", {}),
        ({"cpu": True}, "measured", {"endpoints": (("node2", "192.0.2.2"), ("node2", "192.0.2.3"))}),
    ],
)
@pytest.mark.parametrize("more", [False, True])
def test_one_on_which_numbers_rest_and_that_is_not_reached_any_more_is_replaced_by_no_other(
    measure: dict[str, Any], nodes: str, changes: dict[str, Any], more: bool
) -> None:
    """No path leads nowhere then, or over the next node."""
    cluster, fleet, _ = dying(**changes)
    if more:
        cluster = replace(cluster, others=(*cluster.others, replace(cluster.others[0], name="node3")))
    fleet = Fleet({name: fleet[name] for name in ("client", "node1")} | {"node3": FakeExecutor("node3")})
    world = World(measure, nodes=nodes)
    sessions = Sessions({}, {}, lambda _: fleet, lambda *_: world.api)
    with ExitStack() as stack, pytest.raises(ConnectionLostError) as caught:
        sessions.reach(cluster, "run-1", world.experiment, world.clock, stack, pytest.fail)
    assert str(caught.value) == "node2: it is not reached any more, and numbers rest on it"


def test_that_probes_have_no_real_time_priority_is_noted_before_the_first_step() -> None:
    site = Site()
    traits = replace(CLUSTER.traits, real_time={"client": False})
    site.on(replace(site.world.bench, cluster=make_cluster(traits=traits))).get_ready(site.whole)
    assert site.notes == [f"client: {UNPRIVILEGED}"]


def test_a_step_finds_its_population_and_leaves_it_for_the_next() -> None:
    site = Site()
    for step in STEPS:
        assert site.session.take(step, site.whole, lambda _: None).problems == []
        assert site.services == 10
    assert [name for name in site.world.log if name.startswith("node1 st")] == ["node1 start", "node1 stop"] * 2


def test_the_client_s_agent_is_told_another_token_before_a_part_of_a_step_when_its_own_ends() -> None:
    site = Site()
    good = chain(["first", "first"], repeat("second"))
    renewed = replace(CLUSTER.api, renew=lambda refused: next(good) if not refused else pytest.fail("refused"))
    told: list[SetApi] = []
    site.world.answers[SetApi] = told.append
    session = site.on(replace(site.world.bench, cluster=make_cluster(api=renewed)))
    session.take(STEPS[0], site.whole, lambda _: None)
    both = [SetApi(renewed.node_url, token, renewed.ca_pem) for token in ("first", "second")]
    assert told == both  # within one step
    session.take(STEPS[1], site.whole, lambda _: None)
    assert told == both


def test_no_step_writes_a_node() -> None:
    site = Site()
    site.session.warm_up(STEPS, site.whole)
    site.session.take(STEPS[0], site.whole, lambda _: None)
    assert not any("/nodes" in write for write in site.world.api.log)
    assert site.world.api.list(Kind.NODE) == []


KILLED = "the lab's API server (process 7 of this machine) was ended by SIGKILL"


def test_nothing_is_reached_of_a_cluster_that_has_lost_what_holds_it_up() -> None:
    assignment = Assignment("run-1", Site().world.experiment, STEPS, Site().world.clock, pytest.fail)
    with ExitStack() as stack, pytest.raises(ConnectionLostError) as raised:
        Sessions({}, {}).connect(make_cluster(trouble=lambda: KILLED), assignment, stack)
    assert str(raised.value) == KILLED


def test_why_the_api_does_not_answer_is_told_rather_than_that() -> None:
    site = Site()
    told = [""]

    class Gone(FakeServiceApi):
        def ensure_namespace(self, name: str) -> None:
            raise ApiError("POST /api/v1/namespaces: cannot reach the Kubernetes API")

    site.world.use_api(Gone())
    session = site.on(replace(site.world.bench, cluster=make_cluster(trouble=lambda: told[0])))
    with pytest.raises(ApiError, match="cannot reach the Kubernetes API"):
        session.take(STEPS[0], site.whole, lambda _: None)
    told[0] = KILLED
    with pytest.raises(ConnectionLostError, match=r"^the lab's API server .* was ended by SIGKILL$"):
        session.take(STEPS[0], site.whole, lambda _: None)


def test_a_step_that_lost_something_keeps_what_it_has_and_leaves_the_api_to_whoever_connects_anew() -> None:
    site = Site()
    agent = site.world.bench.client.agent
    assert isinstance(agent, FakeNode)

    def die(request: Connect) -> object:
        agent.ended = "client: the agent was ended by SIGKILL"
        site.world.api.close()  # every request from now on is an AssertionError
        return connected(site.world, request)

    site.world.answers[Connect] = die
    result = site.session.take(STEPS[0], site.whole, lambda _: None)
    assert (result.problems, result.lost) == (["conformance: client: the agent was ended by SIGKILL"], True)
    assert result.logs


def test_a_subject_that_lacks_something_is_skipped_and_named() -> None:
    site = Site()
    site.lacks[CELL.subject] = "it cannot run: no module"
    site.session.get_ready(site.whole)
    site.session.warm_up(STEPS, site.whole)
    result = site.session.take(STEPS[0], site.whole, lambda _: None)
    assert (result.skipped, result.problems, site.world.log) == ("it cannot run: no module", [], [])
    assert site.notes[0] == "it cannot run: no module"


def test_a_size_that_took_too_long_is_not_tried_again() -> None:
    site = Site()
    site.budget.was_late(CELL)
    result = site.session.take(STEPS[0], site.whole, lambda _: None)
    assert result.skipped == "skipped: it was not ready in time at 10 Services"
    assert site.world.log == []


def test_each_mode_is_started_once_before_anything_is_measured() -> None:
    site = Site()
    site.session.warm_up(STEPS, site.whole)
    assert site.notes == ["starting reference 0.1.0 iptables once, unmeasured"]
    assert site.world.log == ["node1 start", "node1 ready", "node1 stop"]


def test_a_mode_that_cannot_be_warmed_up_is_noted_and_left_to_its_steps() -> None:
    site = Site()
    site.world.running["node1"].fails["ready"] = ProxierError("no module")
    site.session.warm_up(STEPS, site.whole)
    assert site.notes[1:] == ["reference 0.1.0 iptables: the warm-up failed: no module"]


def test_a_warm_up_by_steps_takes_each_cell_once() -> None:
    site = Site(warmup=True)
    site.session.warm_up(STEPS, site.whole)
    assert site.notes == ["warming up: reference 0.1.0 iptables, 10 Services, unmeasured"]
    assert site.world.log.count("node1 start") == 1


def test_a_warm_up_by_steps_that_loses_its_connection_says_so() -> None:
    site = Site(warmup=True)
    site.world.running["node1"].fails["start"] = LOST
    with pytest.raises(ConnectionLostError) as raised:
        site.session.warm_up(STEPS, site.whole)
    assert str(raised.value) == f"cold start: {LOST}"


def on_node1(site: Site, *script: Run) -> tuple[ClusterSession, FakeExecutor]:
    """Return a session whose measured node follows that script."""
    executor = FakeExecutor("node1", script)
    handles = {**site.world.bench.handles, "node1": replace(site.world.bench.measured, executor=executor)}
    testbed = replace(site.world.bench, handles=handles)
    return site.on(testbed), executor


@pytest.mark.usefixtures("known_mark")
def test_what_was_there_before_is_read_from_the_nodes_with_a_proxy() -> None:
    found = look(Tools.of(CLUSTER.measured), sysctls="/proc/sys/net/ipv4/ip_forward:1\n")
    session, executor = on_node1(Site(), found)
    assert session.capture() == {"node1": KernelState(sysctls=(("net.ipv4.ip_forward", "1"),))}
    executor.assert_done()


@pytest.mark.usefixtures("known_mark")
def test_restoring_empties_the_api_and_looks_at_the_nodes() -> None:
    members = Run(["sh", "-c", restore._MEMBERS_SCRIPT, "members", "", "/cgroup/node1/proxy"])
    site = Site()
    site.session.take(STEPS[0], site.whole, lambda _: None)
    session, executor = on_node1(site, members, look(Tools.of(CLUSTER.measured)))
    session.restore({"node1": KernelState()}, site.whole)
    executor.assert_done()
    assert site.services == 0


def test_a_session_whose_agent_is_broken_is_broken() -> None:
    site = Site()
    assert not site.session.broken
    site.world.bench.measured.agent.broken = "it answered nonsense"
    assert site.session.broken


POD = make_node("pod1", "10.244.0.2")


@pytest.mark.parametrize(
    ("path", "changes", "words"),
    [
        ("cluster_ip@pod", {}, "cluster_ip@pod: the cluster has no pod to connect from; leave out paths @pod"),
        (
            "node_port@far",
            {"others": ()},
            "node_port@far: the cluster has one proxy node; leave out paths @other and @far",
        ),
        ("external_ip", {}, "external_ip: the cluster has no range of such addresses; leave it out"),
    ],
)
def test_what_a_cluster_lacks_for_a_path_is_named(path: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RunError) as raised:
        lend(make_cluster(**changes), [ServicePath.parse(path)])
    assert str(raised.value) == words


def test_the_pod_is_reached_only_where_a_path_begins_there() -> None:
    cluster = make_cluster(pod=POD, external_cidr="198.19.0.0/16")
    assert lend(cluster, [ServicePath.parse("load_balancer_ip")]).pod is None
    assert lend(cluster, [ServicePath.parse("cluster_ip@pod")]).nodes[-1] is POD


def observed(site: Site, *, load: Any = None) -> ClusterSession:
    """Return a session on a cluster whose proxies are not ours; a program on a node would be unexpected."""
    cluster = make_cluster(traits=replace(CLUSTER.traits, starts_proxies=False))
    return site.on(replace(site.world.bench, cluster=cluster, load=load))


def test_on_a_cluster_that_is_only_observed_no_node_is_looked_at_or_warmed_up() -> None:
    site = Site()
    session = observed(site)
    assert session.capture() == {}
    session.warm_up(STEPS, site.whole)
    session.take(STEPS[0], site.whole, lambda _: None)
    assert site.services == 10
    session.restore({"node1": KernelState()}, site.whole)
    assert (site.services, site.notes) == (0, [])


class Loaded:
    """Locust on the clients, which is asked once whether it is imported."""

    def __init__(self) -> None:
        self.limits: list[float] = []

    def ready(self, timeout: float) -> None:
        self.limits.append(timeout)


@pytest.mark.parametrize(("spent", "limit"), [(0, 300.0), (500, 100.0)])
def test_locust_is_waited_for_as_long_as_the_run_has(spent: int, limit: float) -> None:
    site, load = Site(), Loaded()
    site.world.clock.advance(spent)
    observed(site, load=load).get_ready(site.whole)
    assert (load.limits, site.notes) == ([limit], [])


@pytest.mark.usefixtures("known_mark")
def test_each_node_is_described_and_those_with_a_proxy_are_named() -> None:
    site = Site()
    site.world.answers[AskHello] = lambda _: Hello(AGENT, "3.11.2", "6.1.0", "cpu", 2)
    versions = together(
        [["/xtables", "iptables", "--version"], ["/xtables-nft", "iptables", "--version"], ["nft", "--version"]],
        ("iptables v1.8.9 (legacy)", 0),
        ("", 127),
        ("nftables v1.0.6 (Lester Gooch #5)", 0),
    )
    bench = site.world.bench
    handles = {name: replace(one, executor=FakeExecutor(name, [versions])) for name, one in bench.handles.items()}
    machines, with_proxy = site.on(replace(bench, handles=handles)).machines()
    assert [(name, one.kernel, one.nft_version) for name, one in machines.items()] == [
        ("client", "6.1.0", "1.0.6"),
        ("node1", "6.1.0", "1.0.6"),
        ("node2", "6.1.0", "1.0.6"),
    ]
    assert with_proxy == ["node1"]

    hung = {**handles, "node2": replace(handles["node2"], executor=FakeExecutor("node2", [Run(versions.argv, DEAD)]))}
    hung |= {name: replace(hung[name], executor=FakeExecutor(name, [versions])) for name in ("client", "node1")}
    with pytest.raises(ConnectionLostError, match=r"^node2: the connection broke$"):  # in a lab all are ours
        site.on(replace(bench, handles=hung)).machines()
    hung |= {
        name: replace(one, executor=FakeExecutor(name, [Run(versions.argv, DEAD) if name == "node2" else versions]))
        for name, one in hung.items()
    }
    cluster = make_cluster(traits=Traits(exclusive=False, starts_proxies=False))
    machines, _ = site.on(replace(bench, cluster=cluster, handles=hung)).machines()
    assert list(machines) == ["client", "node1"]
    assert site.notes == ["node2 is not described: node2: the connection broke"]


def test_a_subject_that_was_late_once_is_not_tried_at_that_size_again() -> None:
    site = Site()
    site.world.running["node1"].fails["start"] = LateError("it was not ready within 300 s")
    first = site.session.take(STEPS[0], site.whole, lambda _: None)
    assert (first.late, first.problems) == ("cold start: it was not ready within 300 s", [])
    again = site.session.take(STEPS[1], site.whole, lambda _: None)
    assert again.skipped == "skipped: it was not ready in time at 10 Services"
    assert site.world.log.count("node1 start") == 1
