from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxybench.clocks import Instant
from proxybench.errors import AgentError, CommandFailedError, MeasurementError, ProxierError, ProxierLostError
from proxybench.model import Family, Mode
from proxybench.nodes.answers import Alive, Spawned, Stopped
from proxybench.nodes.requests import ReadFiles
from proxybench.subjects.bundle import Bundle
from proxybench.subjects.driver import ProxyMetrics, SyncRecord
from proxybench.subjects.process import NodeProcess, Program
from proxybench.subjects.proxy_log import log_tail
from proxybench.subjects.serving import Served, ServingProxy
from proxybench.testing.clock import FakeClock
from proxybench.testing.hosts import Get, Run, done
from tests.factories import DOMAIN
from tests.unit.subjects.rig import (
    ALIVE,
    CGROUP,
    FOLDER,
    HEALTHZ,
    METRICS,
    MODE,
    STOP,
    SYNCED,
    YEAR_2026,
    answer,
    deadline,
    ending,
    handle,
    spawn,
    unpack,
)

if TYPE_CHECKING:
    from proxybench.nodes.requests import Request
    from proxybench.subjects.driver import RunningProxy
    from proxybench.testing.hosts import Step

BUNDLE = Bundle({"token": "secret\n"})
PROGRAM = Program(
    "the proxy", ("/proxy", "--config"), BUNDLE, log_tail, env={"TZ": "UTC"}, good_ends=frozenset({0, -15})
)
SPAWN = spawn(PROGRAM.argv, PROGRAM.env)
LOG = Get(f"{FOLDER}/log", b"one\ntwo\n")
FIRST = 'I1126 04:00:08.123456 1 proxier.go:649] "SyncProxyRules complete" ipFamily="IPv4" elapsed="1s"\n'


class Rig:
    def __init__(
        self,
        *requests: tuple[Request[Any], object],
        steps: tuple[Step, ...] = (),
        mode: Mode = Mode.IPTABLES,
        logs_syncs: bool = False,
        counts_syncs: bool = True,
        families: tuple[Family, ...] = (Family.IPV4,),
    ) -> None:
        script = [(SPAWN, Spawned(7, 123)), *requests]
        node, self.executor, self.agent = handle([unpack(BUNDLE), *steps], script)
        self.clock = FakeClock(utc=YEAR_2026)
        served = Served(
            mode,
            "/x/legacy",
            logs_syncs=logs_syncs,
            counts_syncs=counts_syncs,
            files={"config": "a: 1\n"},
            families=families,
        )
        self.proxy = ServingProxy(NodeProcess.start(PROGRAM, node), served, self.clock)

    def done(self) -> None:
        self.executor.assert_done()
        self.agent.verify()


def as_running(proxy: ServingProxy) -> RunningProxy:
    return proxy  # mypy's word that it is one


def test_what_is_known_of_it() -> None:
    rig = Rig()
    assert as_running(rig.proxy).started_at == Instant(123, DOMAIN)
    assert rig.proxy.cgroup == CGROUP
    assert rig.proxy.handle.name == "node-a"
    assert rig.proxy.files() == {"config": "a: 1\n"}
    rig.done()


def test_a_start_that_fails_leaves_no_token() -> None:
    node, executor, _ = handle(
        [unpack(BUNDLE), Run(["rm", "-f", f"{FOLDER}/token"])], [(SPAWN, AgentError("no such cgroup"))]
    )
    with pytest.raises(ProxierError) as caught:
        NodeProcess.start(PROGRAM, node)
    assert str(caught.value) == "node-a: the proxy could not be started: no such cgroup"
    executor.assert_done()


def test_ready_is_healthy_and_synced_with_nothing_pending_and_in_the_mode_asked_for() -> None:
    alive = (ALIVE, Alive(alive=True, code=None))
    pending = SYNCED + "kubeproxy_sync_proxy_rules_service_changes_pending 3\n"
    rig = Rig(
        (HEALTHZ, AgentError("refused")),
        alive,
        (HEALTHZ, answer(status=503)),
        alive,
        (HEALTHZ, answer()),
        (METRICS, answer("")),
        alive,
        (HEALTHZ, answer()),
        (METRICS, answer(SYNCED.replace("count 1", "count 0"))),
        alive,
        (HEALTHZ, answer()),
        (METRICS, answer(pending)),
        alive,
        (HEALTHZ, answer()),
        (METRICS, answer(SYNCED)),
        alive,
        (MODE, answer("iptables")),
    )
    rig.proxy.wait_ready(deadline(rig.clock), 5)
    assert rig.clock.now == 250_000_000
    rig.done()


def test_no_metrics_are_read_before_the_log_tells_of_a_sync() -> None:
    alive = (ALIVE, Alive(alive=True, code=None))
    synced = Get(f"{FOLDER}/log", FIRST.encode())
    rig = Rig(
        (HEALTHZ, answer()),
        alive,
        (HEALTHZ, answer()),
        (METRICS, answer(SYNCED)),
        alive,
        (MODE, answer("iptables")),
        steps=(LOG, synced),
        logs_syncs=True,
    )
    rig.proxy.wait_ready(deadline(rig.clock), 5)
    rig.done()


def test_in_userspace_mode_the_log_says_what_metrics_would() -> None:
    line = "I1126 04:00:0{}.500000 1 proxier.go:371] userspace syncProxyRules took {}ms\n"
    log = Get(f"{FOLDER}/log", (line.format(1, 2) + line.format(2, 8)).encode())
    rig = Rig(steps=(LOG, log), mode=Mode.USERSPACE, logs_syncs=True, counts_syncs=False)
    with pytest.raises(ProxierError) as caught:
        rig.proxy.metrics()
    assert str(caught.value) == "node-a: the log tells of no sync: nothing was synced yet"
    ended = 1_795_665_602_500_000_000  # 2026-11-26 04:00:02.5
    assert rig.proxy.metrics() == ProxyMetrics(0.01, 2, last_sync_utc_ns=ended)
    rig.done()


def test_another_mode_than_asked_for() -> None:
    rig = Rig(
        (HEALTHZ, answer()),
        (METRICS, answer(SYNCED)),
        (ALIVE, Alive(alive=True, code=None)),
        (MODE, answer("iptables\n")),
        steps=(LOG,),
        mode=Mode.IPVS,
    )
    with pytest.raises(ProxierError) as caught:
        rig.proxy.wait_ready(deadline(rig.clock), 5)
    message = "node-a: the proxy runs in iptables mode, not in ipvs mode as it was asked to: one | two"
    assert str(caught.value) == message


def test_a_proxy_that_dies() -> None:
    rig = Rig((HEALTHZ, AgentError("refused")), (ALIVE, Alive(alive=False, code=1)), steps=(LOG,))
    with pytest.raises(ProxierError) as caught:
        rig.proxy.wait_ready(deadline(rig.clock), 5)
    assert str(caught.value) == "node-a: the proxy ended with code 1: one | two"


def test_a_proxy_that_never_syncs() -> None:
    once = ((HEALTHZ, answer(status=503)), (ALIVE, Alive(alive=True, code=None)))
    rig = Rig(*once, *once, *once, steps=(LOG,))
    with pytest.raises(ProxierError) as caught:
        rig.proxy.wait_ready(deadline(rig.clock), 0.1)
    assert str(caught.value) == (
        "node-a: the proxy had no first sync within 0.1 s (node-a: /healthz of the proxy: HTTP 503): one | two"
    )


def test_the_deadline_of_the_step_ends_the_wait_too() -> None:
    once = ((HEALTHZ, answer(status=503)), (ALIVE, Alive(alive=True, code=None)))
    rig = Rig(*once, *once)
    with pytest.raises(MeasurementError, match=r"^the step took longer than its limit of 0 s$"):
        rig.proxy.wait_ready(deadline(rig.clock, 0.05), 5)


def test_metrics() -> None:
    rig = Rig((METRICS, answer(SYNCED)), (METRICS, answer("")), (METRICS, AgentError("refused")))
    assert rig.proxy.metrics() == ProxyMetrics(0.5, 1)
    with pytest.raises(ProxierError) as caught:
        rig.proxy.metrics()
    assert str(caught.value) == (
        "node-a: the metrics lack kubeproxy_sync_proxy_rules_duration_seconds: nothing was synced yet"
    )
    with pytest.raises(ProxierError) as caught:
        rig.proxy.metrics()
    assert str(caught.value) == "node-a: /metrics of the proxy: refused"
    rig.done()


def test_ranks_of_both_families_stand_together() -> None:
    listings = {
        "iptables": "-A KUBE-SERVICES -d 10.96.0.2/32 -p tcp -m tcp --dport 80 -j A\n",
        "ip6tables": "-A KUBE-SERVICES -d fd::2/128 -p tcp -m tcp --dport 80 -j B\n",
    }
    steps = [
        Run(["/x/legacy", applet, "-w", "30", "-t", "nat", "-S", "KUBE-SERVICES"], done(listing))
        for applet, listing in listings.items()
    ]
    rig = Rig(steps=tuple(steps), families=tuple(Family))
    assert rig.proxy.rule_ranks() == {"10.96.0.2 80/tcp": 1, "fd::2 80/tcp": 1}
    rig.done()


def test_ranks_are_read_from_the_kernel() -> None:
    argv = ["/x/legacy", "iptables", "-w", "30", "-t", "nat", "-S", "KUBE-SERVICES"]
    head, port = "-A KUBE-SERVICES -d 10.96.0.", "/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-"
    listing = f"{head}2{port}A\n{head}1{port}B\n"
    rig = Rig(steps=(Run(argv, done(listing)), Run(argv, done(stderr="no chain\n", code=1))))
    assert rig.proxy.rule_ranks() == {"10.96.0.2 80/tcp": 1, "10.96.0.1 80/tcp": 2}
    with pytest.raises(ProxierError) as caught:
        rig.proxy.rule_ranks()
    assert str(caught.value) == "node-a: the rules of KUBE-SERVICES cannot be read: no chain"
    rig.done()


@pytest.mark.parametrize("mode", [Mode.IPVS, Mode.NFTABLES])
def test_a_mode_without_an_order(mode: Mode) -> None:
    assert Rig(mode=mode).proxy.rule_ranks() is None


def test_syncs_are_of_the_year_of_the_start() -> None:
    rig = Rig(steps=(Get(f"{FOLDER}/log", FIRST.encode()),), logs_syncs=True)
    (record,) = rig.proxy.syncs()
    assert record == SyncRecord(
        1_795_665_608_123_456_000, 1_000_000_000, full=None, family="IPv4", services=None, endpoints=None
    )
    assert Rig().proxy.syncs() == ()


def test_a_stop_keeps_the_log_and_removes_the_token() -> None:
    rig = Rig((STOP, Stopped(-15, killed=False, cgroup_removed=True)), steps=(LOG, ending("whole\n")))
    assert rig.proxy.log() == "one\ntwo\n"
    rig.proxy.stop(20)
    rig.proxy.stop(20)
    assert rig.proxy.log() == "whole\n"
    with pytest.raises(ProxierError) as caught:
        rig.proxy.metrics()
    assert str(caught.value) == "node-a: the proxy was stopped"
    rig.done()


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (Stopped(-9, killed=True, cgroup_removed=True), "did not end within 20 s and was killed: x"),
        (Stopped(2, killed=False, cgroup_removed=True), "ended with code 2: x"),
        (Stopped(-9, killed=False, cgroup_removed=True), "was ended by SIGKILL: x"),
    ],
)
def test_a_bad_end(end: Stopped, message: str) -> None:
    rig = Rig((STOP, end), steps=(ending("x\n"),))
    with pytest.raises(ProxierError) as caught:
        rig.proxy.stop(20)
    assert type(caught.value) is ProxierError  # what it did until then counts
    assert str(caught.value) == f"node-a: the proxy {message}"


STOOD = "stood still for a while, since it got SIGSTOP"


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (Stopped(0, killed=False, cgroup_removed=True, had_ended=True), "ended with code 0: x"),
        (Stopped(-15, killed=False, cgroup_removed=True, had_ended=True), "was ended by SIGTERM: x"),
        (Stopped(-15, killed=False, cgroup_removed=True, stood_still=True), STOOD),
    ],
)
def test_an_end_that_nobody_asked_for_however_good(end: Stopped, message: str) -> None:
    rig = Rig((STOP, end), steps=(ending("x\n"),))
    with pytest.raises(ProxierLostError) as caught:
        rig.proxy.stop(20)
    assert str(caught.value) == f"node-a: the proxy {message}"


PROCS = f"{CGROUP}/cgroup.procs"
WELL = (ALIVE, Alive(alive=True, code=None))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (((ALIVE, Alive(alive=False, code=-9)),), "was ended by SIGKILL: one | two"),
        (((ALIVE, Alive(alive=True, code=None, stood_still=True)),), STOOD),
        ((WELL, (ReadFiles((PROCS,)), {PROCS: None})), f"lost its cgroup {CGROUP}"),
        ((WELL, (ReadFiles((PROCS,)), {PROCS: "8\n70\n"})), f"was moved out of its cgroup {CGROUP}"),
    ],
)
def test_what_can_no_longer_be_measured_is_told_once(
    found: tuple[tuple[Request[Any], object], ...], message: str
) -> None:
    end = Stopped(-9, killed=False, cgroup_removed=True, had_ended=True, stood_still=True)
    read = (LOG,) if message.endswith("two") else ()
    rig = Rig(*found, (STOP, end), steps=(*read, ending("x\n")))
    with pytest.raises(ProxierLostError) as caught:
        as_running(rig.proxy).check()
    assert str(caught.value) == f"node-a: the proxy {message}"
    rig.proxy.check()
    rig.proxy.stop(20)
    rig.done()


def test_one_that_is_well_or_was_stopped_by_us() -> None:
    rig = Rig(
        WELL,
        (ReadFiles((PROCS,)), {PROCS: "6\n7\n"}),
        (STOP, Stopped(-15, killed=False, cgroup_removed=True)),
        steps=(ending("x\n"),),
    )
    rig.proxy.check()
    rig.proxy.stop(20)
    rig.proxy.check()
    rig.done()


def test_a_token_that_stays() -> None:
    rig = Rig(
        (STOP, Stopped(0, killed=False, cgroup_removed=True)),
        steps=(ending("x\n", removed=1, stderr="rm: read-only\n"),),
    )
    with pytest.raises(ProxierError) as caught:
        rig.proxy.stop(20)
    assert str(caught.value) == "node-a: its token could not be removed: rm: read-only"


def test_a_log_that_cannot_be_read_does_not_hide_the_end() -> None:
    gone = Get(f"{FOLDER}/log", CommandFailedError("node-a: no log"))
    rig = Rig((STOP, Stopped(2, killed=False, cgroup_removed=True)), steps=(ending("", read=1), gone))
    with pytest.raises(ProxierError) as caught:
        rig.proxy.stop(20)
    assert str(caught.value) == "node-a: the proxy ended with code 2: its log cannot be read: node-a: no log"


def test_ranks_of_node_ports_are_read_from_their_own_chain() -> None:
    argv = ["/x/legacy", "iptables", "-w", "30", "-t", "nat", "-S", "KUBE-NODEPORTS"]
    listing = "-A KUBE-NODEPORTS -p tcp -m tcp --dport 30256 -j KUBE-EXT-A\n"
    rig = Rig(steps=(Run(argv, done(listing)),))
    assert rig.proxy.node_port_ranks() == {"30256/tcp": 1}
    rig.done()
    assert Rig(mode=Mode.NFTABLES).proxy.node_port_ranks() == {}


def test_places_of_endpoints_are_read_from_the_whole_table() -> None:
    argv = ["/x/legacy", "iptables", "-w", "30", "-t", "nat", "-S"]
    listing = (
        "-A KUBE-SEP-A -p tcp -j DNAT --to-destination 10.244.1.0:8080\n"
        "-A KUBE-SERVICES -d 10.96.1.0/32 -p tcp -j KUBE-SVC-X\n"
        "-A KUBE-SVC-X -j KUBE-SEP-A\n"
    )
    rig = Rig(steps=(Run(argv, done(listing)),))
    assert rig.proxy.endpoint_places("10.96.1.0") == {"10.244.1.0": 1}
    rig.done()
    assert Rig(mode=Mode.NFTABLES).proxy.endpoint_places("10.96.1.0") == {}
