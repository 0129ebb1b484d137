from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxybench.model import LabKind, Mode
from proxybench.targets.lab import artifacts
from proxybench.targets.lab.capabilities import MODES, Machine, ModeSupport, find_program
from proxybench.targets.lab.kernel_probe import Trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GOOD = Trial(0, "")


def having(*names: str) -> Callable[[str], str | None]:
    return lambda name: f"/bin/{name}" if name in names else None


def everything(name: str) -> str | None:
    return f"/bin/{name}"


def machine(
    find: Callable[[str], str | None] = everything,
    trial: Trial = GOOD,
    *,
    is_root: bool = True,
    architecture: str = "x86_64",
) -> Machine:
    return Machine(is_root, architecture, find, lambda _: trial)


def no(kind: LabKind, mode: Mode, reason: str, fix: str) -> ModeSupport:
    return ModeSupport(kind, mode, supported=False, reason=reason, fix=fix)


@pytest.fixture(autouse=True)
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache that holds Linux 6.1, and so needs nothing of apt."""
    monkeypatch.setenv("PROXYBENCH_CACHE", str(tmp_path))
    (tmp_path / "vm-6.1").mkdir()
    (tmp_path / "vm-6.1/.complete").touch()
    return tmp_path


def test_namespaces_need_root() -> None:
    found = machine(is_root=False).netns(Mode.IPVS)
    assert found == no(LabKind.NETNS, Mode.IPVS, "not root", "run it with sudo")


@pytest.mark.parametrize(
    ("mode", "reason", "fix"),
    [
        (Mode.IPTABLES, "xtables-legacy-multi, unshare not installed", "apt-get install iptables util-linux"),
        (Mode.USERSPACE, "xtables-legacy-multi, unshare not installed", "apt-get install iptables util-linux"),
        (
            Mode.IPVS,
            "xtables-legacy-multi, ipset, ipvsadm, unshare not installed",
            "apt-get install ipset iptables ipvsadm util-linux",
        ),
        (
            Mode.NFTABLES,
            "xtables-legacy-multi, nft, unshare not installed",
            "apt-get install iptables nftables util-linux",
        ),
    ],
)
def test_each_program_that_is_missing_is_named_and_each_package_once(mode: Mode, reason: str, fix: str) -> None:
    assert machine(having("ip")).netns(mode) == no(LabKind.NETNS, mode, reason, fix)


@pytest.mark.parametrize("mode", MODES)
def test_what_was_tried_with_success_is_supported(mode: Mode) -> None:
    tried: list[Mode] = []

    def probe(asked: Mode) -> Trial:
        tried.append(asked)
        return GOOD

    assert Machine(is_root=True, architecture="x86_64", find=everything, probe=probe).netns(mode) == ModeSupport(
        LabKind.NETNS, mode, supported=True
    )
    assert tried == [mode]


@pytest.mark.parametrize(
    ("trial", "reason"),
    [
        (Trial(3, "No such device"), "a trial of ipvs mode failed: No such device"),
        (Trial(1, ""), "a trial of ipvs mode failed"),
        (Trial(124, "no answer in 20 s"), "a trial of ipvs mode failed: no answer in 20 s"),
    ],
)
def test_what_the_kernel_refused_says_the_programs_last_line(trial: Trial, reason: str) -> None:
    found = machine(trial=trial).netns(Mode.IPVS)
    assert found == no(LabKind.NETNS, Mode.IPVS, reason, "use target.lab.kind: vm")


def test_the_vm_names_what_is_missing() -> None:
    found = machine(lambda name: None if name in {"qemu-system-x86_64", "ipset"} else name).vm(Mode.IPVS, "6.1")
    reason, fix = "qemu-system-x86_64, ipset not installed", "apt-get install ipset qemu-system-x86"
    assert found == no(LabKind.VM, Mode.IPVS, reason, fix)


def test_the_vm_needs_apt_only_until_its_kernel_is_unpacked(unpacked: Path) -> None:
    without_apt = machine(lambda name: None if name in {"apt-get", "dpkg", "depmod"} else name)
    assert without_apt.vm(Mode.IPVS, "6.1").supported
    assert without_apt.vm(Mode.IPVS, "6.12").reason == "apt-get, dpkg, depmod not installed"
    (unpacked / "vm-6.12").mkdir()
    (unpacked / "vm-6.12/.complete").touch()
    assert without_apt.vm(Mode.IPVS, "6.12").supported


def test_the_vm_needs_a_kernel_that_apt_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = ("apt knows none", "apt-get update")
    monkeypatch.setattr(artifacts, "kernel_problem", lambda kernel: problem if kernel == "6.12" else None)
    assert machine().vm(Mode.NFTABLES, "6.12") == no(LabKind.VM, Mode.NFTABLES, *problem)


def test_there_is_one_guest_only() -> None:
    found = machine(architecture="aarch64").vm(Mode.IPVS, "6.1")
    assert found == no(LabKind.VM, Mode.IPVS, "no guest for aarch64", "use x86_64")


def test_all_modes_in_both_kinds_are_examined() -> None:
    found = [(one.kind, one.mode) for one in machine().examine()]
    assert found == [(kind, mode) for kind in (LabKind.NETNS, LabKind.VM) for mode in Mode]


def test_programs_of_root_are_found_without_roots_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").write_text("#!/bin/sh\n")
    (tmp_path / "mine").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("mine") == str(tmp_path / "mine")
    assert find_program("no-such-program") is None
    assert Machine.this().find is find_program
