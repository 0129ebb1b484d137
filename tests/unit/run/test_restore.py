from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import ProxierError
from proxybench.hosts import batch
from proxybench.model import Mode
from proxybench.nodes.kernel_state import SYSCTLS, usual_readings
from proxybench.run import restore as module
from proxybench.run.restore import recover, settings
from proxybench.testing.hosts import FakeExecutor, Run, done
from tests.unit.run.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

MARK = "0123456789abcdef"
BEFORE = {"node1": {"/proc/sys/net/ipv4/ip_forward": "0"}}
CHAIN = "*nat\n:KUBE-SVC-X - [0:0]\nCOMMIT\n"
SET = Run(["sh", "-c", module._SYSCTL_SCRIPT, "set", "/proc/sys/net/ipv4/ip_forward", "0"])


@pytest.fixture(autouse=True)
def known_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxybench.hosts.batch.secrets.token_hex", lambda _: MARK)


def members(signal: str, pids: str) -> Run:
    """Expect a look at the control loop's cgroup, with a signal to its members."""
    return Run(["sh", "-c", module._MEMBERS_SCRIPT, "members", signal, "/cgroup/node1"], done(pids))


def look(*outputs: str, ipvs: bool = False) -> Run:
    """Expect a look at what a control loop leaves: iptables, then what IPVS has beside it."""
    argv = [one.argv for one in usual_readings("/xtables", ipvs=ipvs) if one.argv[0] != "grep"]
    said = [*outputs, *[""] * (len(argv) - len(outputs))]
    stdout = "".join(f"{text}\n{MARK} 0\n" for text in said)
    return Run(["sh", "-c", batch.script(argv, MARK)], done(stdout))


def recovered(script: Sequence[Run], *, ipvs: bool = False) -> tuple[World, int]:
    """Recover by that script; return the world, and how often each mode was started once."""
    world = World({"cpu": True})
    executor = FakeExecutor("node1", script)
    handles = {**world.bench.handles, "node1": replace(world.bench.measured, executor=executor)}
    bench = replace(world.bench, handles=handles)
    cleaned: list[str] = []
    modes = [Mode.IPTABLES, Mode.IPVS] if ipvs else [Mode.IPTABLES]
    recover(bench, world.proxiers, modes, BEFORE, lambda: cleaned.append("once"))
    executor.assert_done()
    return world, len(cleaned)


def test_the_settings_of_the_nodes_that_run_a_control_loop_are_read() -> None:
    assert settings(World({"cpu": True}).bench) == {"node1": {f"/proc/sys/{name}": "1" for name in SYSCTLS}}
    assert list(settings(World({"cpu": True}, nodes="all").bench)) == ["node1", "node2"]


def test_a_node_whose_agent_tidied_up_is_only_looked_at() -> None:
    world, cleaned = recovered([members("", ""), look(), SET, look()])
    assert (world.clock.slept, cleaned) == ([], 0)


def test_a_control_loop_that_is_being_ended_is_waited_for() -> None:
    world, _ = recovered([members("", "7 8"), members("", "7"), members("", ""), look(), SET, look()])
    assert world.clock.slept == [0.5, 0.5]


def test_one_that_goes_on_is_told_to_end_once() -> None:
    script = [*[members("", "7")] * 31, members("TERM", "7"), members("", "7"), members("", ""), look(), SET, look()]
    world, _ = recovered(script)
    assert sum(world.clock.slept) == 16.0


def test_one_that_cannot_be_ended_is_an_error() -> None:
    script = [
        *[members("", "7")] * 31,
        *[members("TERM", "7"), *[members("", "7")] * 120],
        *[members("KILL", "7"), *[members("", "7")] * 20],
    ]
    with pytest.raises(ProxierError) as raised:
        recovered(script)
    assert str(raised.value) == "node1: the control loop of the lost connection cannot be ended"


def test_what_was_left_is_cleaned_by_starting_each_mode_once() -> None:
    _, cleaned = recovered([members("", ""), look(CHAIN), SET, look()])
    assert cleaned == 1


def test_what_cannot_be_cleaned_is_named() -> None:
    with pytest.raises(ProxierError) as raised:
        recovered([members("", ""), look(CHAIN), SET, look(CHAIN)])
    words = "node1: could not be cleaned after a lost connection: iptables nat: chain KUBE-SVC-X"
    assert str(raised.value) == words


def test_where_ipvs_runs_its_places_are_looked_at_too() -> None:
    _, cleaned = recovered([members("", ""), look("", "KUBE-CLUSTER-IP\n", ipvs=True), SET, look(ipvs=True)], ipvs=True)
    assert cleaned == 1
