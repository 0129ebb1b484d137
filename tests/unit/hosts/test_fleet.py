from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import CommandTimeoutError, ConnectionLostError, HostError
from proxybench.hosts.connect import LinkPool, connect
from proxybench.hosts.fleet import Fleet, reach, together
from proxybench.hosts.keys import load_identities
from proxybench.hosts.ssh import SshExecutor
from proxybench.testing.hosts import FakeExecutor, Run, done

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.hosts.base import Executor
    from proxybench.hosts.connect import ConnectPolicy


def test_nodes_behind_one_jump_host_share_its_connection(new_server: Callable[[], Any], quick: ConnectPolicy) -> None:
    jump, one, two = new_server(), new_server(), new_server()
    nodes = {"jump": jump.target, "one": one.behind(jump), "two": two.behind(jump)}
    with Fleet.connect(nodes, quick) as fleet:
        assert list(fleet) == ["jump", "one", "two"]
        assert len(fleet) == 3
        assert fleet["one"].run(["echo", "1"]).stdout == "1\n"
        assert fleet.fan_out(lambda node: node.run(["echo", node.name]).stdout, timeout=5) == {
            "jump": "jump\n",
            "one": "one\n",
            "two": "two\n",
        }
    assert (jump.connections, one.connections, two.connections) == (1, 1, 1)
    assert jump.commands == ["echo jump"]
    assert sorted(jump.forwards) == sorted((s.target.host, s.target.port) for s in (one, two))


def test_a_connection_whose_jump_host_s_is_being_closed_is_closed_in_silence(
    new_server: Callable[[], Any], quick: ConnectPolicy
) -> None:
    jump, one = new_server(), new_server()
    pool = LinkPool(quick)
    behind = pool.link(one.behind(jump))
    pool.link(jump.target).transport.packetizer.close()  # which is what closing begins with
    behind.close()
    assert not behind.transport.is_active()
    pool.close()


def test_the_jump_hosts_key_is_checked_too(new_server: Callable[[], Any], quick: ConnectPolicy) -> None:
    jump, one = new_server(), new_server()
    target = replace(one.target, jump=replace(jump.target, host_key=one.target.host_key))
    with pytest.raises(ConnectionLostError, match=rf"^one: 127\.0\.0\.1:{jump.target.port} showed another host key"):
        Fleet.connect({"one": target}, quick)
    assert one.connections == 0


def test_a_node_that_the_jump_host_cannot_reach(new_server: Callable[[], Any], quick: ConnectPolicy) -> None:
    jump, one = new_server(), new_server()
    target = replace(one.behind(jump), port=1)
    with pytest.raises(
        ConnectionLostError,
        match=r"^one: cannot connect to 127\.0\.0\.1:1: the jump host could not reach it \(.*\)$",
    ):
        SshExecutor("one", target, policy=quick)


def test_one_bad_node_closes_the_good_ones(new_server: Callable[[], Any], quick: ConnectPolicy) -> None:
    good, bad = new_server(), new_server()
    wrong = replace(bad.target, host_key=good.target.host_key)
    with pytest.raises(ConnectionLostError, match=r"^bad: .* showed another host key"):
        Fleet.connect({"good": good.target, "bad": wrong}, quick)
    good.transports[0].join(3)
    assert not good.transports[0].is_active()


def test_one_that_is_dead_stops_no_other(new_server: Callable[[], Any], quick: ConnectPolicy) -> None:
    jump, one, dead, two = new_server(), new_server(), new_server(), new_server()
    wrong = replace(dead.target, host_key=one.target.host_key)
    nodes = {"one": one.behind(jump), "dead": wrong, "two": two.behind(jump)}
    fleet, lost = reach(nodes, quick, at_once=2)
    with fleet:
        assert list(fleet) == ["one", "two"]
        assert fleet.fan_out(lambda node: node.run(["echo", node.name]).stdout, timeout=5) == {
            "one": "one\n",
            "two": "two\n",
        }
        assert jump.connections == 1
    assert list(lost) == ["dead"]
    assert lost["dead"].startswith(f"dead: 127.0.0.1:{dead.target.port} showed another host key")
    for server in (jump, one, two):
        server.transports[0].join(3)
        assert not server.transports[0].is_active()


def test_a_jump_host_that_never_answers_is_waited_for_once_for_all_behind_it(
    new_server: Callable[[], Any], quick: ConnectPolicy
) -> None:
    """One after the other they would take all the time that there is, and the last ones be told as late."""
    one, policy = new_server(), replace(quick, step=1.0, total=1.0, attempts=1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        gate = silent.getsockname()[1]
        behind = replace(one.target, jump=replace(one.target, port=gate))
        began = time.monotonic()
        fleet, lost = reach({f"n{port}": replace(behind, port=port) for port in range(1, 9)}, policy)
    assert time.monotonic() - began < 3.0
    why = f"cannot connect to 127.0.0.1:{gate}: no answer within 1 s"
    assert (list(fleet), lost) == ([], {f"n{number}": f"n{number}: {why}" for number in range(1, 9)})


def test_who_asks_later_tries_a_jump_host_anew(new_server: Callable[[], Any], quick: ConnectPolicy) -> None:
    jump, one = new_server(), new_server()
    pool = LinkPool(replace(quick, attempts=1))
    right, jump.client_key = jump.client_key, one.key
    with pytest.raises(ConnectionLostError, match=r" refused root with "):
        pool.link(one.behind(jump))
    jump.client_key = right
    assert pool.link(one.behind(jump)).transport.is_active()
    pool.close()


def test_no_more_are_connected_to_at_a_time_than_may_be(new_server: Callable[[], Any], quick: ConnectPolicy) -> None:
    """Two that never greet: by turns, the second one's time begins when the first one's is over."""
    server = new_server()
    policy = replace(quick, step=1.0, total=1.0, attempts=1)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = {"one": one.getsockname()[1], "two": two.getsockname()[1]}
        began = time.monotonic()
        fleet, lost = reach(
            {name: replace(server.target, port=port) for name, port in ports.items()}, policy, at_once=1
        )
    assert time.monotonic() - began >= 2.0
    assert (list(fleet), list(lost)) == ([], ["one", "two"])
    assert lost["two"].startswith(f"two: cannot connect to 127.0.0.1:{ports['two']}: ")


def test_a_connection_at_rest_looks_seldom_for_work_and_ends_at_once(
    new_server: Callable[[], Any], quick: ConnectPolicy
) -> None:
    """Hundreds that look ten times a second take a processor; one that is closed must not wait for its next look."""
    jump, one = new_server(), new_server()
    link = LinkPool(quick).link(jump.target)
    behind = connect(one.behind(jump), link, quick)
    for each in (behind, link):
        assert each.transport.sock.gettimeout() == 5.0
        time.sleep(0.2)  # its thread waits by now
        began = time.monotonic()
        each.close()
        assert time.monotonic() - began < 1.0
        assert not each.transport.is_alive()


def test_a_closed_pool_makes_no_connection(server: Any, quick: ConnectPolicy) -> None:
    pool = LinkPool(quick)
    pool.close()
    with pytest.raises(ConnectionLostError, match=r"the pool was closed while connecting$"):
        pool.link(server.target)


def test_a_fan_out_over_some_nodes() -> None:
    one, two = FakeExecutor("one"), FakeExecutor("two", [Run(["true"], done("yes"))])
    with Fleet({"one": one, "two": two}) as fleet:
        assert fleet.fan_out(lambda node: node.run(["true"]).stdout, timeout=1, nodes=["two"]) == {"two": "yes"}
    assert one.closed
    assert two.closed


def test_a_late_node_is_named_and_cut() -> None:
    one, two = FakeExecutor("one"), FakeExecutor("two")
    release = threading.Event()

    def work(node: Executor) -> None:
        if node.name == "two":
            release.wait(5)

    fleet = Fleet({"one": one, "two": two})
    with pytest.raises(CommandTimeoutError, match=r"^no end within 0\.1 s on two$"):
        fleet.fan_out(work, timeout=0.1)
    time.sleep(0.05)
    assert (one.closed, two.closed) == (False, True)
    release.set()


def test_a_further_node_that_hangs_or_fails_is_left_out_of_the_fleet_and_any_other_is_an_error() -> None:
    hosts = {name: FakeExecutor(name) for name in ("needed", "dead", "hung")}
    release = threading.Event()

    def work(node: Executor) -> str:
        if node.name == "hung":
            release.wait(5)
        if node.name == "dead":
            raise ConnectionLostError("dead: the connection broke")
        return node.name

    fleet = Fleet(hosts)
    found = fleet.ask(work, timeout=0.1, nodes=tuple(hosts), further={"dead", "hung"})
    lost = {"dead": "dead: the connection broke", "hung": "hung: no end within 0.1 s"}
    assert found == ({"needed": "needed"}, lost)
    assert list(fleet) == ["needed"]
    assert {name: host.closed for name, host in hosts.items()} == {"needed": False, "dead": True, "hung": True}
    with pytest.raises(CommandTimeoutError, match=r"^no end within 0\.1 s on hung$"):
        Fleet(hosts).ask(work, timeout=0.1, nodes=tuple(hosts), further={"dead"})
    release.set()
    with pytest.raises(ConnectionLostError, match=r"^dead: the connection broke$"):
        Fleet(hosts).ask(work, timeout=5, nodes=tuple(hosts), further={"hung"})
    with pytest.raises(ZeroDivisionError):
        Fleet(hosts).ask(lambda _: 1 // 0, timeout=5, nodes=tuple(hosts), further=set(hosts))


def test_a_hanging_node_does_not_outlive_its_cut(new_server: Callable[[], Any], quick: ConnectPolicy) -> None:
    server = new_server()
    ended = threading.Event()

    def work(node: Executor) -> None:
        try:
            node.run(["hang"], timeout=60)
        finally:
            ended.set()

    with Fleet.connect({"one": server.target}, quick) as fleet:
        with pytest.raises(CommandTimeoutError):
            fleet.fan_out(work, timeout=0.2)
        assert ended.wait(3)


def test_the_first_nodes_error_is_raised_with_the_others_as_notes() -> None:
    def fail(text: str, seconds: float) -> Callable[[], None]:
        def job() -> None:
            time.sleep(seconds)
            raise HostError(text)

        return job

    with pytest.raises(HostError, match=r"^slow") as caught:
        together({"a": fail("slow", 0.1), "b": lambda: None, "c": fail("quick", 0)}, timeout=3)
    assert caught.value.__notes__ == ["also: quick"]


def test_no_more_are_asked_at_a_time_than_may_be_and_none_when_the_time_is_over() -> None:
    release, running, most = threading.Event(), [0], [0]
    lock = threading.Lock()

    def job() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        release.wait(0.05)
        with lock:
            running[0] -= 1

    together({str(number): job for number in range(9)}, timeout=10, at_once=3)
    assert (most, running) == ([3], [0])
    began: list[str] = []
    cut: list[str] = []

    def slow(name: str) -> Callable[[], object]:
        def job() -> None:
            began.append(name)
            release.wait(5)

        return job

    with pytest.raises(CommandTimeoutError, match=r"^no end within 0\.2 s on a, b$"):
        together({"a": slow("a"), "b": slow("b")}, 0.2, cut.extend, at_once=1)
    release.set()
    time.sleep(0.1)
    assert (began, cut) == (["a"], ["a", "b"])


def test_five_hundred_hosts_are_asked_at_once_and_each_answers() -> None:
    """What takes its time on the hosts takes it once, not once for each round."""
    all_of_them = threading.Barrier(500)

    def work(node: Executor) -> str:
        all_of_them.wait(20)
        return node.run(["id"]).stdout

    names = [f"n{number}" for number in range(500)]
    with Fleet({name: FakeExecutor(name, [Run(["id"], done(name))]) for name in names}) as fleet:
        assert fleet.fan_out(work, timeout=30) == {name: name for name in names}


@pytest.mark.parametrize(("soft", "hard", "after"), [(256, 1000, 1000), (1024, 9000, 4096), (8000, 9000, 8000)])
def test_as_many_files_may_be_open_as_hundreds_of_hosts_take(soft: int, hard: int, after: int) -> None:
    lines = (
        "import resource",
        "from proxybench.hosts.fleet import allow_files",
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))",
        "allow_files()",
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))",
    )
    argv = [sys.executable, "-c", "\n".join(lines)]
    ended = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == f"({after}, {hard})\n"


def test_who_may_open_no_more_files_is_told_how_to(server: Any, quick: ConnectPolicy) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    load_identities(server.target)  # is read then, once for all hosts
    lowest = os.dup(2)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))  # the lowest number that is free is none any more
    try:
        with pytest.raises(ConnectionLostError) as caught:
            connect(server.target, None, replace(quick, attempts=1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert str(caught.value).endswith(": this program may open no more files: ulimit -n 4096")


@pytest.mark.usefixtures("hears_ctrl_c")
def test_an_interrupt_cuts_what_is_running() -> None:
    release = threading.Event()
    cut: list[str] = []

    def interrupted() -> bool:
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)
        return release.wait(5)

    with pytest.raises(KeyboardInterrupt):
        together({"a": interrupted}, timeout=3, cut=cut.extend)
    assert cut == ["a"]
    release.set()


def test_only_connect_imports_paramiko_for_the_package() -> None:
    package = Path(__file__).parents[3] / "proxybench"
    users = {
        path.parent.name for path in package.rglob("*.py") if "import paramiko" in path.read_text(encoding="utf-8")
    }
    assert users == {"hosts"}
