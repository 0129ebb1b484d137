from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxybench.model import LabKind, Mode
from proxybench.targets.lab.capabilities import MODES, Machine, ModeSupport, ask_here, find_program
from proxybench.targets.lab.kernel_probe import Trial
from proxybench.testing.hosts import done

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from proxybench.hosts.base import Completed

GOOD = Trial(0, "")


def having(*names: str) -> Callable[[str], str | None]:
    return lambda name: f"/bin/{name}" if name in names else None


def everything(name: str) -> str | None:
    return f"/bin/{name}"


def new(argv: Sequence[str]) -> Completed:
    return done({"uname": "6.18.44\n", "nft": "nftables v1.0.6 (Lester Gooch #5)\n"}[argv[0]])


def machine(
    find: Callable[[str], str | None] = everything,
    trial: Trial = GOOD,
    *,
    is_root: bool = True,
    architecture: str = "x86_64",
    ask: Callable[[Sequence[str]], Completed] = new,
) -> Machine:
    return Machine(is_root, architecture, find, lambda *_: trial, ask)


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
@pytest.mark.parametrize("backend", ["legacy", "nft"])
def test_what_was_tried_with_success_is_supported(mode: Mode, backend: str) -> None:
    tried: list[tuple[Mode, str]] = []

    def probe(asked: Mode, by: str) -> Trial:
        tried.append((asked, by))
        return GOOD

    here = Machine(is_root=True, architecture="x86_64", find=everything, probe=probe, ask=new)
    assert here.netns(mode, backend) == ModeSupport(LabKind.NETNS, mode, supported=True)
    assert tried == [(mode, backend)]


def test_each_backend_of_iptables_has_its_own_program() -> None:
    lacking = machine(lambda name: None if name == "xtables-nft-multi" else name)
    assert lacking.netns(Mode.IPTABLES).supported
    reason, fix = "xtables-nft-multi not installed", "apt-get install iptables"
    assert lacking.netns(Mode.IPTABLES, "nft") == no(LabKind.NETNS, Mode.IPTABLES, reason, fix)
    assert lacking.vm(Mode.IPVS, "6.1", "nft") == no(LabKind.VM, Mode.IPVS, reason, fix)


def answering(kernel: str, nft: str) -> Machine:
    return machine(ask=lambda argv: done({"uname": kernel, "nft": nft}[argv[0]]))


def test_a_kernel_or_an_nft_that_is_too_old_is_told_without_a_trial() -> None:
    old, fix = answering("5.10.0-33-amd64\n", "nftables v1.0.6\n"), "install nftables 1.0.1 or newer there"
    reason = "nftables mode needs Linux 5.13, it runs 5.10.0"
    assert old.netns(Mode.NFTABLES) == no(LabKind.NETNS, Mode.NFTABLES, reason, "a newer kernel")
    assert old.netns(Mode.IPTABLES).supported
    assert old.vm(Mode.NFTABLES, "6.1").supported  # the guest has its own kernel
    reason = "nftables mode needs nft 1.0.1, it has 0.9.8"
    old = answering("6.18.44\n", "nftables v0.9.8 (E.D.S.)\n")
    assert old.netns(Mode.NFTABLES) == no(LabKind.NETNS, Mode.NFTABLES, reason, fix)
    assert old.vm(Mode.NFTABLES, "6.1") == no(LabKind.VM, Mode.NFTABLES, reason, fix)  # and this machine's programs


def test_a_command_that_cannot_be_run_here_ends_as_in_a_shell() -> None:
    assert ask_here(["no-such-program"]).code == 127
    ended = ask_here(["sh", "-c", "echo word; exit 3"])
    assert (ended.stdout, ended.code) == ("word\n", 3)


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


def test_the_vm_needs_a_kernel_that_apt_knows() -> None:
    problem = ("apt knows none", "apt-get update")
    asked = replace(machine(), kernel_problem=lambda kernel: problem if kernel == "6.12" else None)
    assert asked.vm(Mode.NFTABLES, "6.12") == no(LabKind.VM, Mode.NFTABLES, *problem)


def test_there_is_one_guest_only() -> None:
    found = machine(architecture="aarch64").vm(Mode.IPVS, "6.1")
    assert found == no(LabKind.VM, Mode.IPVS, "no guest for aarch64", "use x86_64")


def test_programs_of_root_are_found_without_roots_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").write_text("#!/bin/sh\n")
    (tmp_path / "mine").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("mine") == str(tmp_path / "mine")
    assert find_program("no-such-program") is None
    assert Machine.this().find is find_program
