from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxybench.errors import LabError
from proxybench.experiment.places import LabChoice, LabSpec
from proxybench.model import ClockKind, LabKind, Mode
from proxybench.targets.base import Needs, TargetFacts
from proxybench.targets.lab.capabilities import ModeSupport
from proxybench.targets.lab.common import Settings
from proxybench.targets.lab.netns import NetnsLab
from proxybench.targets.lab.target import Host, LabTarget, lab_targets, make_lab, this_host
from proxybench.targets.lab.topology import DEFAULT, DUAL_STACK
from proxybench.targets.lab.vm import VmLab
from tests.factories import make_cluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.nodes.cluster import Cluster

WALL = Settings(ClockKind.WALL, "none")
REPEATABLE = Settings(ClockKind.INSTRUCTIONS, "tcg")
GIB = 1 << 30


class FakeLab:
    """Notes what is done with it; the second of a site does not come up."""

    def __init__(self, log: list[str], number: int, *, fails: bool = False) -> None:
        self.log, self.number, self.fails = log, number, fails

    def begin(self) -> None:
        self.log.append(f"begin {self.number}")

    def up(self) -> Cluster:
        self.log.append(f"up {self.number}")
        if self.fails:
            raise LabError("no room")
        return make_cluster(kind=f"lab {self.number}")

    def down(self) -> None:
        self.log.append(f"down {self.number}")


def target(log: list[str], *, failing: int = 0) -> LabTarget:
    made: list[FakeLab] = []

    def make(kind: LabKind, settings: Settings, report: Callable[[str], None]) -> FakeLab:
        assert (kind, settings) == (LabKind.VM, REPEATABLE)
        made.append(FakeLab(log, len(made) + 1, fails=len(made) + 1 == failing))
        return made[-1]

    return LabTarget(LabKind.VM, REPEATABLE, "as asked", make=make)


def test_it_says_what_it_is() -> None:
    assert target([]).facts == TargetFacts("vm", ClockKind.INSTRUCTIONS, "tcg", "as asked", "6.1")
    namespaces = LabTarget(LabKind.NETNS, WALL, "as asked")
    assert namespaces.facts == TargetFacts("netns", ClockKind.WALL, "none", "as asked")


def test_a_lab_follows_from_what_an_experiment_needs() -> None:
    asked = LabSpec(kind=LabChoice.NETNS)
    usual = lab_targets(asked, Needs(()), pytest.fail)[0].settings
    assert (usual.topology, usual.kubernetes_version) == (DEFAULT, "v1.37.2")
    found = lab_targets(asked, Needs((), ipv6=True, release="v1.30.14"), pytest.fail)[0].settings
    assert (found.topology, found.kubernetes_version) == (DUAL_STACK, "v1.30.14")


def test_all_labs_are_begun_before_one_is_waited_for() -> None:
    log: list[str] = []
    with target(log).open(2, pytest.fail) as clusters:
        assert [cluster.kind for cluster in clusters] == ["lab 1", "lab 2"]
        assert log == ["begin 1", "begin 2", "up 1", "up 2"]
    assert log[4:] == ["down 2", "down 1"]


def test_a_second_lab_by_the_wall_clock_is_told_that_it_is_none_alone() -> None:
    said: list[str] = []

    def make(kind: LabKind, settings: Settings, report: Callable[[str], None]) -> FakeLab:
        return FakeLab([], 1)

    native = LabTarget(LabKind.NETNS, WALL, "as asked", make=make)
    with native.open(1, lambda _: None), native.open(1, said.append):
        pass
    assert said == ["another lab on this machine measures by the wall clock: both runs' numbers are worse for it"]
    with target([]).open(1, pytest.fail), target([]).open(1, pytest.fail):
        pass  # instructions are counted as they are


def test_one_that_does_not_come_up_takes_all_down() -> None:
    log: list[str] = []
    with pytest.raises(LabError, match="no room"), target(log, failing=2).open(3, pytest.fail):
        pytest.fail("it is not up")
    assert log == ["begin 1", "begin 2", "begin 3", "up 1", "up 2", "down 3", "down 2", "down 1"]


@pytest.mark.parametrize(
    ("settings", "wanted", "host", "count"),
    [
        (WALL, None, Host(64, 512 * GIB), 1),  # two would disturb each other
        (WALL, 4, Host(64, 512 * GIB), 1),
        (REPEATABLE, 5, Host(1, GIB), 5),
        (REPEATABLE, None, Host(1, 512 * GIB), 2),
        (REPEATABLE, None, Host(2, 512 * GIB), 3),
        (REPEATABLE, None, Host(64, 512 * GIB), 3),
        (REPEATABLE, None, Host(64, 7 * GIB), 2),
        (REPEATABLE, None, Host(64, GIB), 1),
    ],
)
def test_how_many_labs_work_side_by_side(settings: Settings, wanted: int | None, host: Host, count: int) -> None:
    assert LabTarget(LabKind.VM, settings, "", wanted, host=lambda: host).capacity() == count


def test_this_machine_has_room() -> None:
    host = this_host()
    assert host.processors >= 1
    assert host.memory > 1 << 20


def test_both_kinds_are_made() -> None:
    assert isinstance(make_lab(LabKind.NETNS, WALL, pytest.fail), NetnsLab)
    assert isinstance(make_lab(LabKind.VM, REPEATABLE, pytest.fail), VmLab)


class NoIpvs:
    """A machine whose kernel has no IPVS, and no KVM."""

    def netns(self, mode: Mode, backend: str = "legacy") -> ModeSupport:
        return ModeSupport(LabKind.NETNS, mode, mode is not Mode.IPVS, "no ip_vs", "use the VM")

    def vm(self, mode: Mode, kernel: str, backend: str = "legacy") -> ModeSupport:
        return ModeSupport(LabKind.VM, mode, supported=True)

    def accelerator(self, kernel: str, report: Callable[[str], None]) -> str:
        return "tcg"


def test_with_two_clocks_there_are_two_labs() -> None:
    spec = LabSpec.model_validate({"clock": ["wall", "instructions"]})
    native, guest = lab_targets(spec, Needs(((Mode.IPTABLES, None), (Mode.IPVS, None))), pytest.fail, NoIpvs())
    assert native.facts == TargetFacts(
        "netns", ClockKind.WALL, "none", "without ipvs: no ip_vs; no KVM here", lacks={(Mode.IPVS, None): "no ip_vs"}
    )
    assert guest.facts == TargetFacts("vm", ClockKind.INSTRUCTIONS, "tcg", "the instruction clock needs the VM", "6.1")
