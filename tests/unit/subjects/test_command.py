from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxybench.errors import MeasurementError, ProxierError, ProxierLostError, UsageError
from proxybench.experiment.requests import Commands, SubjectSpec
from proxybench.experiment.subjects import Backend
from proxybench.model import Mode, Subject
from proxybench.nodes.answers import Alive, Spawned, Stopped
from proxybench.nodes.requests import ReadFiles
from proxybench.subjects.bundle import Bundle
from proxybench.subjects.command import CommandDriver
from proxybench.subjects.driver import ProxyMetrics
from proxybench.subjects.kube_proxy_config import render_kubeconfig
from proxybench.subjects.node_checks import ABLE
from proxybench.testing.clock import FakeClock
from proxybench.testing.hosts import Get, Run, done
from tests.unit.subjects.rig import (
    ALIVE,
    CGROUP,
    CLUSTER,
    FOLDER,
    STOP,
    deadline,
    ending,
    handle,
    spawn,
    together,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.subjects.driver import ProxyDriver, RunningProxy

PATH = f"PATH={FOLDER}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENV = {"PATH": PATH.removeprefix("PATH="), "TZ": "UTC"}
NAMES = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")
LINKS = {f"bin/{name}": "/x/nft" for name in NAMES}
KUBECONFIG = render_kubeconfig(CLUSTER.api, f"{FOLDER}/ca.pem", f"{FOLDER}/token")
FILES = Bundle({"token": "secret", "ca.pem": "the CA\n", "kubeconfig": KUBECONFIG}, LINKS)
SPAWN = spawn(["/proxy", f"--kubeconfig={FOLDER}/kubeconfig", "--node=node-a", "--period=1s"], ENV)
PROCS = f"{CGROUP}/cgroup.procs"
WELL = ((ALIVE, Alive(alive=True, code=None)), (ReadFiles((PROCS,)), {PROCS: "7\n"}))
START = ("/proxy", "--kubeconfig={kubeconfig}", "--node={node}", "--period={min_sync_period}")
ALL = Commands(
    start=START,
    ready=("ready", "{mode}", "{address}"),
    stop=("stop", "{workdir}"),
    cleanup=("cleanup",),
    version=("/proxy", "--version"),
    synced=("synced",),
    clean=("clean",),
)


def make(commands: Commands | None = ALL) -> SubjectSpec:
    subject = Subject("command", "", Mode.IPTABLES, (("iptables", "nft"), ("name", "mine")))
    return SubjectSpec(subject, 1.0, 600.0, iptables=Backend.NFT, commands=commands)


def on_node(*argv: str, code: int = 0, stderr: str = "", path: str = PATH) -> Run:
    return Run(["env", path, "TZ=UTC", *argv], done(code=code, stderr=stderr))


def driver() -> CommandDriver:
    def ask(argv: Sequence[str]) -> str:
        assert tuple(argv) == ("/proxy", "--version")
        return "mine 0.3"

    return CommandDriver(FakeClock(), ask)


def started(*steps: object, requests: Sequence[object] = (), commands: Commands = ALL) -> RunningProxy:
    node, _, _ = handle([unpack(FILES), *steps], [(SPAWN, Spawned(7, 123)), *requests])  # type: ignore[list-item] # pairs and steps
    return driver().start(make(commands), node, CLUSTER)


def as_driver(one: CommandDriver) -> ProxyDriver:
    return one  # mypy's word that it is one


def test_the_version_is_what_the_command_prints() -> None:
    assert as_driver(driver()).resolve(make()).subject.version == "mine 0.3"
    assert driver().resolve(make(Commands(start=START, ready=("ready",)))).subject.version == ""


def test_a_subject_without_commands() -> None:
    with pytest.raises(UsageError) as caught:
        driver().resolve(make(None))
    assert str(caught.value) == "command iptables (iptables=nft name=mine): has no commands; write start and ready"


def test_the_node_is_asked() -> None:
    argv = ["/x/nft", "iptables", "-w", "10", "-t", "nat", "-S", "OUTPUT"]
    node, _, _ = handle([together([argv], ("", 0))])
    assert driver().check(make(), node) == ABLE


def test_ready_is_asked_until_it_ends_with_0() -> None:
    clock = FakeClock()
    node, executor, agent = handle(
        [
            unpack(FILES),
            on_node("ready", "iptables", "198.18.1.11", code=7),
            on_node("ready", "iptables", "198.18.1.11"),
        ],
        [(SPAWN, Spawned(7, 123)), (ALIVE, Alive(alive=True, code=None)), (ALIVE, Alive(alive=True, code=None))],
    )
    running = CommandDriver(clock).start(make(), node, CLUSTER)
    running.wait_ready(deadline(clock), 5)
    assert clock.slept == [0.1]
    executor.assert_done()
    agent.verify()


def test_a_proxy_that_dies_or_never_gets_ready() -> None:
    asked, log = on_node("ready", "iptables", "198.18.1.11", code=7), Get(f"{FOLDER}/log", b"bye\n")
    running = started(asked, log, requests=[(ALIVE, Alive(alive=False, code=3))])
    with pytest.raises(ProxierError) as caught:
        running.wait_ready(deadline(FakeClock()), 5)
    assert str(caught.value) == "node-a: mine ended with code 3: bye"
    running = started(asked, log, requests=[(ALIVE, Alive(alive=True, code=None))])
    with pytest.raises(ProxierError) as caught:
        running.wait_ready(deadline(FakeClock()), 0)
    assert str(caught.value) == "node-a: mine was not ready within 0 s (ready ended with 7): bye"
    with pytest.raises(MeasurementError):
        started().wait_ready(deadline(FakeClock(), 0.0), 5)


def test_what_is_known_of_it() -> None:
    running = started(on_node("synced", code=1), on_node("synced"))
    assert running.metrics() == ProxyMetrics(0.0, 0, pending=1)
    assert running.metrics() == ProxyMetrics(0.0, 0)
    assert (running.rule_ranks(), running.syncs()) == (None, ())
    assert running.files() == {
        "commands.txt": (
            f"start: /proxy --kubeconfig={FOLDER}/kubeconfig --node=node-a --period=1s\n"
            f"ready: ready iptables 198.18.1.11\nstop: stop {FOLDER}\ncleanup: cleanup\nversion: /proxy --version\n"
            "synced: synced\nclean: clean\n"
        )
    }
    assert running.started_at.ns == 123
    assert (running.cgroup or "").endswith("/proxy")
    assert running.handle.name == "node-a"


def test_without_synced_nothing_is_pending() -> None:
    assert started(commands=Commands(start=START, ready=("ready",))).metrics() == ProxyMetrics(0.0, 0)


def stopped(end: Stopped, *before: tuple[object, object], log: Sequence[object] = ()) -> RunningProxy:
    return started(*log, on_node("stop", FOLDER), ending("bye\n"), requests=[*before, (STOP, end)])


def test_any_end_is_good_but_a_kill() -> None:
    running = stopped(Stopped(3, killed=False, cgroup_removed=True, had_ended=True), *WELL)
    running.stop(20)
    assert running.log() == "bye\n"
    running = stopped(Stopped(-9, killed=True, cgroup_removed=True), *WELL)
    with pytest.raises(ProxierError) as caught:
        running.stop(20)
    assert str(caught.value) == "node-a: mine did not end within 20 s and was killed: bye"


def test_an_end_before_the_stop_is_told_and_the_stop_is_run_all_the_same() -> None:
    end = Stopped(0, killed=False, cgroup_removed=True, had_ended=True)
    log = Get(f"{FOLDER}/log", b"it gave up\n")
    running = stopped(end, (ALIVE, Alive(alive=False, code=0)), log=[log])
    with pytest.raises(ProxierLostError) as caught:
        running.stop(20)
    assert str(caught.value) == "node-a: mine ended with code 0: it gave up"
    assert running.log() == "bye\n"


def test_the_clean_up_and_what_it_left() -> None:
    folder = "/run/pb/proxy-cleanup"
    path, put = PATH.replace(FOLDER, folder), unpack(Bundle({}, LINKS), folder)
    node, executor, _ = handle([put, on_node("cleanup", path=path), on_node("clean", path=path)])
    driver().cleanup(make(), node)
    executor.assert_done()
    left = on_node("clean", code=1, stderr="a rule\n", path=path)
    node, _, _ = handle([put, on_node("cleanup", path=path, code=2), left])
    with pytest.raises(ProxierError) as caught:
        driver().cleanup(make(), node)
    assert str(caught.value) == "node-a: clean ended with 1 after the clean-up: a rule"


def test_no_clean_up_is_none() -> None:
    node, executor, _ = handle([unpack(Bundle({}, LINKS), "/run/pb/proxy-cleanup")])
    driver().cleanup(make(Commands(start=START, ready=("ready",))), node)
    executor.assert_done()
