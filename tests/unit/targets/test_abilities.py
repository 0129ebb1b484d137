from __future__ import annotations

import os
import platform
import shutil
from typing import TYPE_CHECKING

import pytest

from proxybench.model import LabKind, Mode
from proxybench.targets.lab import abilities
from proxybench.targets.lab.base import Ability

if TYPE_CHECKING:
    from pathlib import Path

VM_PROGRAMS = ("qemu-system-x86_64", "xtables-legacy-multi", "ip", "setpriv", "apt-get", "dpkg", "depmod")


class Programs:
    """A PATH of our own; the system's sbin folders are hidden, too."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        monkeypatch.setenv("PATH", str(folder))
        which = shutil.which
        monkeypatch.setattr(shutil, "which", lambda name, path: which(name, path=str(folder)))

    def add(self, *names: str, script: str = "exit 0") -> None:
        for name in names:
            (self.folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (self.folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    monkeypatch.setenv("PROXYBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return Programs(tmp_path / "bin", monkeypatch)


def test_netns_needs_root(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert abilities.netns_ability(Mode.IPVS) == Ability(
        LabKind.NETNS, Mode.IPVS, able=False, reason="not root", mend="run it with sudo"
    )


def test_netns_names_each_program_that_is_missing_and_each_package_once(programs: Programs) -> None:
    programs.add("ip")
    found = abilities.netns_ability(Mode.IPTABLES)
    assert (found.able, found.reason, found.mend) == (
        False,
        "xtables-legacy-multi, unshare not installed",
        "apt-get install iptables util-linux",
    )


def test_a_mode_that_was_tried_with_success_is_able(programs: Programs) -> None:
    programs.add("xtables-legacy-multi", "ip")
    programs.add("unshare", script='echo "$@" > "$(/usr/bin/dirname "$0")/tried"')
    for mode in abilities.MODES:
        assert abilities.netns_ability(mode) == Ability(LabKind.NETNS, mode, able=True)
        tried = (programs.folder / "tried").read_text()
        assert tried.startswith("--net --mount sh -c mount -t tmpfs run /run; ")
        assert tried.endswith(f" -m refproxy.trial {mode} xtables-legacy-multi\n")


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (Mode.IPTABLES, "a trial of iptables mode failed: the last line"),
        (Mode.USERSPACE, "a trial of userspace mode failed: the last line"),
        (Mode.IPVS, "a trial of ipvs mode failed: the last line"),
    ],
)
def test_a_mode_that_the_kernel_refused_says_the_programs_last_line(
    programs: Programs, mode: Mode, reason: str
) -> None:
    programs.add("xtables-legacy-multi", "ip")
    programs.add("unshare", script="echo first >&2; echo 'the last line' >&2; exit 3")
    assert abilities.netns_ability(mode) == Ability(
        LabKind.NETNS, mode, able=False, reason=reason, mend="use target.lab.kind: vm"
    )


def test_a_silent_refusal_has_no_colon(programs: Programs) -> None:
    programs.add("xtables-legacy-multi", "ip")
    programs.add("unshare", script="exit 1")
    assert abilities.netns_ability(Mode.IPVS).reason == "a trial of ipvs mode failed"


def test_a_trial_that_hangs_is_given_up(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abilities, "_LIMIT", 0.2)
    programs.add("xtables-legacy-multi", "ip")
    programs.add("unshare", script="exec /bin/sleep 30")
    assert abilities.netns_ability(Mode.IPVS).reason == ("a trial of ipvs mode failed: no answer in 0 s")


def test_the_vm_names_what_is_missing(programs: Programs) -> None:
    programs.add(*(name for name in VM_PROGRAMS if name not in {"qemu-system-x86_64", "depmod"}))
    found = abilities.vm_ability(Mode.IPVS)
    assert (found.able, found.reason, found.mend) == (
        False,
        "qemu-system-x86_64, depmod not installed",
        "apt-get install kmod qemu-system-x86",
    )


def test_the_vm_needs_apt_only_until_its_kernel_is_unpacked(programs: Programs, tmp_path: Path) -> None:
    programs.add(*VM_PROGRAMS[:4])
    assert abilities.vm_ability(Mode.IPVS).reason == "apt-get, dpkg, depmod not installed"
    (tmp_path / "cache/vm").mkdir(parents=True)
    (tmp_path / "cache/vm/.complete").touch()
    assert abilities.vm_ability(Mode.IPVS).able


def test_the_vm_needs_a_kernel_that_apt_knows(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "ubuntu", "PRETTY_NAME": "Ubuntu 24.04"})
    programs.add(*VM_PROGRAMS)
    programs.add("apt-cache", script="echo 'E: No packages found' >&2; exit 100")
    found = abilities.vm_ability(Mode.IPVS)
    assert (found.able, found.reason, found.mend) == (
        False,
        "the guest boots the kernel of Debian's package linux-image-amd64, and apt on Ubuntu 24.04 knows none",
        "use Debian 12, such as a container of debian:12 (docs/ci.md)",
    )
    programs.add("apt-cache", script="echo '  Depends: linux-image-6.1.0-56-amd64'")
    assert abilities.vm_ability(Mode.IPVS).able


def test_there_is_one_guest_only(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    programs.add(*VM_PROGRAMS)
    names = os.uname()
    arm = os.uname_result((names.sysname, names.nodename, names.release, names.version, "aarch64"))
    monkeypatch.setattr(os, "uname", lambda: arm)
    found = abilities.vm_ability(Mode.IPVS)
    assert (found.able, found.reason, found.mend) == (False, "no guest for aarch64", "use x86_64")


def test_all_modes_in_both_kinds_are_examined(programs: Programs) -> None:
    found = [(ability.kind, ability.mode) for ability in abilities.examine()]
    assert found == [
        (kind, mode) for kind in (LabKind.NETNS, LabKind.VM) for mode in (Mode.IPTABLES, Mode.IPVS, Mode.USERSPACE)
    ]
