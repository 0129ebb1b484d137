from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import ProxierError
from proxybench.model import Mode
from proxybench.nodes.kernel.capture import Tools
from proxybench.nodes.kernel.leftovers import NODE_PORTS_COMMAND
from proxybench.nodes.kernel.tidy import TRIES, tidy
from proxybench.testing.hosts import FakeExecutor, Run, done
from tests.unit.nodes.kernel.looks import look

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.nodes.kernel.removal import Command

RUN = ("sh", "-c", 'PATH=$PATH:/usr/sbin:/sbin; exec "$@"', "remove")
SERVICE = "KUBE-SVC-P3EGTKN5G6ED3WSM"
LEFT = f"*nat\n:KUBE-SERVICES\n:{SERVICE}\n-A OUTPUT -j KUBE-SERVICES\nrules 3\n"
CLEAN = "*nat\n:KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\nrules 1\n"
LINES = (f"iptables-legacy nat: chain {SERVICE}",)
PORTS = Run(NODE_PORTS_COMMAND, done())
pytestmark = pytest.mark.usefixtures("known_mark")


def removed(code: int = 0, stderr: str = "") -> Run:
    argv = (*RUN, "xtables-legacy-multi", "iptables-restore", "-w", "30", "--noflush")
    return Run(argv, done(code=code, stderr=stderr), stdin=f"*nat\n:{SERVICE} - [0:0]\n-X {SERVICE}\nCOMMIT\n")


@dataclass
class Tidied:
    """What was told and awaited while a node was tidied."""

    noted: list[tuple[tuple[str, ...], int]] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def note(self, lines: Sequence[str], commands: Sequence[Command]) -> None:
        self.noted.append((tuple(lines), len(commands)))

    def run(self, *script: Run, old: tuple[Mode, ...] = (Mode.IPTABLES,), new: Mode = Mode.IPVS) -> tuple[str, ...]:
        executor = FakeExecutor("node1", script)
        lines = tidy(executor, Tools(), old, new, self.note, sleep=self.slept.append)
        executor.assert_done()
        return lines


def test_a_node_with_nothing_left_is_looked_at_once_and_nothing_is_noted() -> None:
    tidied = Tidied()
    assert tidied.run(look(iptables=CLEAN)) == ()
    assert tidied == Tidied()


def test_what_was_left_is_noted_removed_and_looked_for_again() -> None:
    tidied = Tidied()
    assert tidied.run(look(iptables=LEFT), removed(), look(iptables=CLEAN)) == LINES
    assert tidied == Tidied([(LINES, 1)], [])


def test_what_rules_still_name_goes_once_they_are_written_anew() -> None:
    tidied = Tidied()
    busy = [look(iptables=LEFT), removed(1, "Too many links\n")]
    assert tidied.run(*busy, *busy, look(iptables=LEFT), removed(), look(iptables=CLEAN)) == LINES
    assert tidied == Tidied([(LINES, 1)], [1.0, 1.0])


def test_what_stays_is_named_with_the_tools_reason() -> None:
    tidied = Tidied()
    with pytest.raises(ProxierError) as caught:
        tidied.run(*[look(iptables=LEFT), removed(1, "Too many\nlinks\n")] * TRIES, look(iptables=LEFT))
    assert str(caught.value) == f"node1: could not be cleaned: {LINES[0]} (Too many links)"
    assert len(tidied.slept) == TRIES - 1


def test_node_ports_are_asked_for_where_ipvs_ran() -> None:
    tidied = Tidied()
    old = (Mode.IPVS, Mode.NFTABLES)
    assert tidied.run(look(iptables=CLEAN), PORTS, old=old, new=Mode.IPTABLES) == ()


def test_a_command_that_says_nothing_is_named() -> None:
    with pytest.raises(ProxierError, match=r"\(--noflush ended with 4\)$"):
        Tidied().run(*[look(iptables=LEFT), removed(4)] * TRIES, look(iptables=LEFT))
