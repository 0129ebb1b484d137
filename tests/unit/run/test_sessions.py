"""What Sessions make of the drivers: why a subject is refused, what a step measures, what it is migrated to."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import ApiError, RunError
from proxybench.experiment.requests import SubjectSpec
from proxybench.experiment.subjects import Backend
from proxybench.hosts.fleet import Fleet
from proxybench.kube.base import Kind
from proxybench.load.command import locustfile, warm
from proxybench.model import Mode, Subject
from proxybench.nodes.cluster import ApiAccess
from proxybench.nodes.kernel.capture import Tools
from proxybench.run.session import Sessions, connect_api
from proxybench.scenarios.result import StepResult
from proxybench.subjects.driver import Capability
from proxybench.targets.cluster.target import open_api
from proxybench.testing.hosts import FakeExecutor, FakeSession, Line, Open, Put, Run
from proxybench.testing.model import make_subject
from proxybench.testing.proxies import FakeProxy
from tests.factories import make_cluster
from tests.unit.nodes.kernel.looks import look
from tests.unit.run.test_session import answered, reachable
from tests.unit.run.world import CELL, CLUSTER, World

if TYPE_CHECKING:
    from proxybench.nodes.cluster import Cluster
    from proxybench.nodes.node import NodeHandle
    from proxybench.run.testbed import Testbed
    from proxybench.targets.lab.apiserver.serve_process import ApiServerProcess

OWN, OTHER = CELL.subject, make_subject(Mode.NFTABLES)
ABLE = Capability(supported=True)
UNABLE = Capability(supported=False, reason="there is no ipset", fix="apt-get install ipset")
WORDS = "reference 0.1.0 iptables cannot run: there is no ipset; apt-get install ipset"


@dataclass
class Driver:
    """Implements ProxyDriver where all is resolved; notes what is asked. ``unable`` are nodes that lack something."""

    world: World
    unable: tuple[str, ...] = ()
    asked: list[tuple[str, str, SubjectSpec]] = field(default_factory=list)
    clusters: list[Cluster] = field(default_factory=list)

    def resolve(self, spec: SubjectSpec) -> SubjectSpec:
        raise AssertionError(f"{spec} is resolved already")

    def source(self, spec: SubjectSpec) -> str:
        raise AssertionError(f"nobody asks here where {spec} came from")

    def check(self, spec: SubjectSpec, handle: NodeHandle) -> Capability:
        self.asked.append(("check", handle.name, spec))
        return UNABLE if handle.name in self.unable else ABLE

    def prepare(self, spec: SubjectSpec) -> None:
        self.asked.append(("prepare", "", spec))

    def start(self, spec: SubjectSpec, handle: NodeHandle, cluster: Cluster) -> FakeProxy:
        self.asked.append(("start", handle.name, spec))
        self.clusters.append(cluster)
        return FakeProxy(handle, self.world.clock, self.world.log).start()

    def cleanup(self, spec: SubjectSpec, handle: NodeHandle) -> None:
        self.asked.append(("cleanup", handle.name, spec))


def spec_of(subject: Subject, **changes: Any) -> SubjectSpec:
    return SubjectSpec(subject, 1.5, 30.0, **changes)


def made(world: World, driver: Driver, *specs: SubjectSpec) -> Sessions:
    return Sessions({"reference": driver, "kube-proxy": driver}, {spec.subject: spec for spec in specs})


def test_a_subject_that_every_node_can_run_lacks_nothing() -> None:
    world = World({"cpu": True}, nodes="all")
    driver, spec = Driver(world), spec_of(OWN)
    assert made(world, driver, spec).lack(world.bench, OWN) == ""
    assert driver.asked == [("check", "node1", spec), ("check", "node2", spec)]


def test_one_that_must_be_measured_and_cannot_run_ends_the_run() -> None:
    world = World({"cpu": True}, nodes="all")
    with pytest.raises(RunError) as raised:
        made(world, Driver(world, ("node2",)), spec_of(OWN)).lack(world.bench, OWN)
    assert str(raised.value) == WORDS


@pytest.mark.parametrize("changes", [{"optional": True}, {"otherwise": spec_of(OTHER)}])
def test_one_that_may_be_left_out_is_only_told_of(changes: dict[str, Any]) -> None:
    world = World({"cpu": True})
    assert made(world, Driver(world, ("node1",)), spec_of(OWN, **changes)).lack(world.bench, OWN) == WORDS


def test_a_step_starts_the_subject_that_it_is_of_on_the_cluster_that_is_reached() -> None:
    world = World({"cpu": True})
    driver, own, other = Driver(world), spec_of(OWN), spec_of(OTHER)
    proxies = made(world, driver, own, other).proxies(world.bench, OWN)
    assert driver.asked == []
    assert (proxies.min_sync_period, proxies.in_endpoints, proxies.rivals()) == (1.5, False, None)
    assert proxies.start_measured().handle is world.bench.measured
    assert driver.asked == [("start", "node1", own)]
    assert driver.clusters == [CLUSTER]


@pytest.mark.parametrize(
    ("subject", "reads"),
    [
        (Subject("kube-proxy", "v1.18.20", Mode.IPTABLES), True),
        (Subject("kube-proxy", "v1.25.16", Mode.USERSPACE), True),
        (Subject("kube-proxy", "v1.37.2", Mode.IPTABLES), False),
        (make_subject(Mode.USERSPACE), False),
    ],
)
def test_who_reads_endpoints_objects(subject: Subject, reads: bool) -> None:
    world = World({"cpu": True})
    assert made(world, Driver(world), spec_of(subject)).proxies(world.bench, subject).in_endpoints is reads


@pytest.mark.usefixtures("known_mark")
@pytest.mark.parametrize("starts", [True, False])
def test_only_kernels_that_are_ours_are_looked_at(starts: bool) -> None:
    world = World({"cpu": True})
    script = [look(Tools.of(CLUSTER.measured)), look(Tools.of(CLUSTER.measured))] if starts else []
    bench, executor = with_node1(world, script, starts=starts)
    driver = Driver(world)
    proxies = made(world, driver, spec_of(OWN)).proxies(bench, OWN)
    proxies.prepare()
    assert driver.asked == [("prepare", "", spec_of(OWN))]
    result = StepResult()
    proxies.stop(result, "001-iptables")
    assert (result.problems, result.notes) == ([], [])
    executor.assert_done()


def with_node1(world: World, script: list[Run], *, starts: bool) -> tuple[Testbed, FakeExecutor]:
    executor = FakeExecutor("node1", script)
    handles = {**world.bench.handles, "node1": replace(world.bench.measured, executor=executor)}
    cluster = make_cluster(traits=replace(CLUSTER.traits, exclusive=False, starts_proxies=starts))
    return replace(world.bench, handles=handles, cluster=cluster), executor


def test_a_pair_is_the_subject_and_the_one_that_it_is_migrated_to() -> None:
    world = World({"migrate": {"to": "nftables"}})
    driver, own, other = Driver(world), spec_of(OWN, iptables=Backend.NFT), spec_of(OTHER)
    rivals = made(world, driver, own, other).proxies(world.bench, OWN).rivals()
    assert rivals is not None
    assert (rivals.own.label, rivals.other.label) == ("reference 0.1.0 iptables", "reference 0.1.0 nftables")
    assert rivals.other.start().handle is world.bench.measured
    rivals.own.clean()
    # It finds the iptables of the one before on its PATH, by which it removes what that made.
    assert driver.asked == [("start", "node1", replace(other, iptables=Backend.NFT)), ("cleanup", "node1", own)]


def test_a_backend_of_its_own_stays_with_the_one_that_is_migrated_to() -> None:
    world = World({"migrate": {"to": "ipvs"}})
    to = spec_of(make_subject(Mode.IPVS), iptables=Backend.LEGACY)
    driver = Driver(world)
    rivals = made(world, driver, spec_of(OWN, iptables=Backend.NFT), to).proxies(world.bench, OWN).rivals()
    assert rivals is not None
    rivals.other.clean()
    assert driver.asked == [("cleanup", "node1", to)]


@pytest.mark.parametrize("to", ["iptables", "ipvs"])
def test_there_is_no_pair_where_a_subject_would_be_migrated_to_itself_or_to_nobody(to: str) -> None:
    world = World({"migrate": {"to": to}})
    assert made(world, Driver(world), spec_of(OWN), spec_of(OTHER)).proxies(world.bench, OWN).rivals() is None


def test_a_load_is_got_ready_on_the_client_and_ended_with_the_connection() -> None:
    world = World({"cpu": True}, load={"rate": 10, "users": 1, "duration": "1s"})
    api, warmed = CLUSTER.api, FakeSession([Line('{"ready": true}')])
    client, agent = reachable("client", *answered(2, "api", {}, url=api.node_url, token=api.token, ca=api.ca_pem))
    client._script += [
        Run(["mkdir", "-p", "/run/pb/load"]),
        Put("/run/pb/load/locustfile.py", locustfile()),
        Put("/run/pb/load/warm.py", warm()),
        Open(["/python", "/run/pb/load/warm.py"], warmed),
    ]
    nodes = {"client": client, **{name: reachable(name)[0] for name in ("node1", "node2")}}
    sessions = Sessions({}, {}, lambda _: Fleet(nodes), lambda *_: world.api)
    with ExitStack() as stack:
        bench = sessions.reach(CLUSTER, "run-1", world.experiment, world.clock, stack)
        assert bench.load is not None
        bench.load.ready(1)
        assert (bench.run, bench.plans, bench.api) == ("run-1", world.bench.plans, world.api)
        assert not warmed.closed
    for fake in (client, agent, warmed):
        fake.assert_done()


def test_no_load_that_is_not_asked_for() -> None:
    world = World({"cpu": True})
    api = CLUSTER.api
    client, _ = reachable("client", *answered(2, "api", {}, url=api.node_url, token=api.token, ca=api.ca_pem))
    nodes = {"client": client, **{name: reachable(name)[0] for name in ("node1", "node2")}}
    with ExitStack() as stack:
        sessions = Sessions({}, {}, lambda _: Fleet(nodes), lambda *_: world.api)
        assert sessions.reach(CLUSTER, "run-1", world.experiment, world.clock, stack).load is None


def test_the_api_is_connected_to_until_the_stack_is_left(server: ApiServerProcess) -> None:
    access = ApiAccess(server.url, server.url, server.ca_pem, server.token)
    with ExitStack() as stack:
        assert connect_api(access, stack).list(Kind.ENDPOINTS) == []
    with ExitStack() as stack, pytest.raises(ApiError) as raised:
        connect_api(replace(access, token="another"), stack).list(Kind.ENDPOINTS)
    assert raised.value.status == 401
    ended = replace(access, token="ended", renew=lambda refused: access.token if refused else "ended")
    with ExitStack() as stack:
        assert connect_api(ended, stack).list(Kind.ENDPOINTS) == []
        assert open_api(ended, stack).list(Kind.ENDPOINTS) == []
