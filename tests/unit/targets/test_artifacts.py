from __future__ import annotations

import platform
import threading
from pathlib import Path

import pytest

from proxybench.errors import LabError
from proxybench.targets.lab import artifacts
from proxybench.targets.lab.artifacts import SSHD_PACKAGES, System, ensure, present

# Each notes its call. apt-get "downloads" one file per package, dpkg unpacks it into what the tests look for.
PROGRAMS = {
    "apt-cache": 'echo "linux-image-amd64"; echo "  Depends: linux-image-6.1.0-56-amd64"; echo "  Suggests: x"',
    "apt-get": 'for word; do case $word in -*|APT::*|download) ;; *) : > "$word.deb";; esac; done',
    "dpkg": 'mkdir -p "$3/lib/modules/6.1.0-56-amd64" "$3/usr/sbin"; echo "$2" >> "$3/unpacked"',
    "depmod": ": done",
}
TOOLS = "/usr/bin:/bin"


class Machine:
    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache = home / "cache"
        self.calls = home / "calls"
        self.programs = home / "bin"
        self.programs.mkdir()
        self.calls.touch()
        for name, script in PROGRAMS.items():
            self.add(name, script)
        monkeypatch.setenv("PATH", f"{self.programs}:{TOOLS}")
        monkeypatch.setenv("PROXYBENCH_CACHE", str(self.cache))

    def add(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.calls}\n{script}\n')
        path.chmod(0o755)

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_packages_are_downloaded_unpacked_and_never_installed(machine: Machine) -> None:
    said: list[str] = []
    system = ensure(kernel=False, say=said.append)
    assert system == System(machine.cache / "sshd")
    assert said == [f"fetching {len(SSHD_PACKAGES)} Debian packages into {machine.cache}"]
    packages = " ".join(SSHD_PACKAGES)
    calls = machine.called()
    assert calls[0] == f"apt-get -q -o APT::Sandbox::User=root download {packages}"
    assert [call.split()[:2] for call in calls[1:]] == [["dpkg", "-x"]] * len(SSHD_PACKAGES)
    unpacked = [Path(line).name for line in (system.root / "unpacked").read_text().splitlines()]
    assert unpacked == sorted(f"{name}.deb" for name in SSHD_PACKAGES)
    assert (system.root / ".complete").read_text().split() == list(SSHD_PACKAGES)


def test_with_a_kernel_its_newest_package_and_its_modules_index(machine: Machine) -> None:
    system = ensure(kernel=True)
    assert (system.root, system.release) == (machine.cache / "vm", "6.1.0-56-amd64")
    assert system.kernel == machine.cache / "vm/boot/vmlinuz-6.1.0-56-amd64"
    calls = machine.called()
    assert calls[0] == "apt-cache depends linux-image-amd64"
    assert calls[1].endswith(" linux-image-6.1.0-56-amd64 busybox-static")
    assert calls[-1].startswith(f"depmod -b {machine.cache}/vm.")
    assert calls[-1].endswith("/root 6.1.0-56-amd64")


def test_the_second_time_nothing_is_fetched(machine: Machine) -> None:
    first = ensure(kernel=False)
    machine.calls.write_text("")
    assert ensure(kernel=False, say=pytest.fail) == first
    assert machine.called() == []
    assert present(kernel=False) == first
    assert present(kernel=True) is None


def test_nothing_but_the_result_and_its_lock_stays(machine: Machine) -> None:
    ensure(kernel=False)
    assert sorted(path.name for path in machine.cache.iterdir()) == ["sshd", "sshd.lock"]


@pytest.mark.parametrize(
    ("program", "script", "message"),
    [
        ("apt-get", "echo first >&2; echo 'E: no network' >&2; exit 100", "apt-get -q failed: E: no network"),
        ("apt-get", "echo 'said on stdout'; exit 1", "apt-get -q failed: said on stdout"),
        ("dpkg", "exit 2", "dpkg -x failed: no output"),
        ("depmod", "echo bad >&2; exit 1", "depmod -b failed: bad"),
        ("apt-cache", "exit 0", "apt knows no kernel for linux-image-amd64; run `apt-get update` and try again"),
        (
            "apt-cache",
            "echo 'E: No packages found' >&2; exit 100",
            "apt knows no kernel for linux-image-amd64; run `apt-get update` and try again",
        ),
    ],
)
def test_a_failure_says_the_programs_last_line_and_leaves_no_half(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, program: str, script: str, message: str
) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "debian"})
    machine.add(program, script)
    with pytest.raises(LabError) as raised:
        ensure(kernel=True)
    assert str(raised.value) == message
    assert present(kernel=True) is None
    assert [path.name for path in machine.cache.iterdir()] == ["vm.lock"]
    machine.add(program, PROGRAMS[program])
    assert ensure(kernel=True).release == "6.1.0-56-amd64"


@pytest.mark.parametrize(
    ("system", "name"),
    [
        ({"ID": "ubuntu", "ID_LIKE": "debian", "PRETTY_NAME": "Ubuntu 24.04 LTS"}, "Ubuntu 24.04 LTS"),
        ({}, "this system"),
    ],
)
def test_a_system_without_debians_kernel_is_told_so(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, system: dict[str, str], name: str
) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: system)
    machine.add("apt-cache", "echo 'E: No packages found' >&2; exit 100")
    reason = f"the guest boots the kernel of Debian's package linux-image-amd64, and apt on {name} knows none"
    mend = "use Debian 12, such as a container of debian:12 (docs/ci.md)"
    assert artifacts.kernel_trouble() == (reason, mend)
    with pytest.raises(LabError) as raised:
        ensure(kernel=True)
    assert str(raised.value) == f"{reason}; {mend}"


def test_a_kernel_that_apt_knows_is_no_trouble(machine: Machine) -> None:
    assert artifacts.kernel_trouble() is None


def test_a_missing_program_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine.programs / "apt-get").unlink()
    monkeypatch.setenv("PATH", str(machine.programs))
    with pytest.raises(LabError) as raised:
        ensure(kernel=False)
    assert str(raised.value) == "apt-get is not installed, and the lab needs it to fetch Debian packages"


def test_a_program_that_hangs_is_given_up(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "_LIMIT", 0.2)
    machine.add("apt-get", "exec sleep 30")
    with pytest.raises(LabError) as raised:
        ensure(kernel=False)
    assert str(raised.value) == "apt-get did not end within 0 s"


def test_of_two_at_once_one_fetches_and_the_other_waits_for_it(machine: Machine) -> None:
    machine.add("apt-get", f"sleep 0.3; {PROGRAMS['apt-get']}")
    found: list[System] = []
    threads = [threading.Thread(target=lambda: found.append(ensure(kernel=False))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [System(machine.cache / "sshd")] * 3
    assert sum(call.startswith("apt-get") for call in machine.called()) == 1


def test_a_half_made_folder_is_made_anew(machine: Machine) -> None:
    (machine.cache / "sshd").mkdir(parents=True)
    (machine.cache / "sshd/stale").touch()
    assert not (ensure(kernel=False).root / "stale").exists()
