from __future__ import annotations

import gzip
import lzma
import platform
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import LabError, UsageError
from proxybench.targets.lab import apt, artifacts
from proxybench.targets.lab.artifacts import SSHD_PACKAGES, System, ensure, present

if TYPE_CHECKING:
    from collections.abc import Callable

# Each notes its call. apt-get "downloads" one file per package, dpkg unpacks it into what the tests look for.
PROGRAMS = {
    "apt-cache": 'echo "linux-image-amd64"; echo "  Depends: linux-image-6.1.0-56-amd64"; echo "  Suggests: x"',
    "apt-get": 'for word; do [ -z "$found" ] || : > "$word.deb"; [ "$word" != download ] || found=yes; done',
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
    system = ensure(None, said.append)
    assert system == System(machine.cache / "sshd")
    assert said == [f"fetching {len(SSHD_PACKAGES)} Debian packages into {machine.cache}"]
    packages = " ".join(SSHD_PACKAGES)
    calls = machine.called()
    assert calls[0] == f"apt-get -q -o APT::Sandbox::User=root download {packages}"
    assert [call.split()[:2] for call in calls[1:]] == [["dpkg", "-x"]] * len(SSHD_PACKAGES)
    unpacked = [Path(line).name for line in (system.root / "unpacked").read_text().splitlines()]
    assert unpacked == sorted(f"{name}.deb" for name in SSHD_PACKAGES)
    assert (system.root / ".complete").read_text().split()[:-1] == list(SSHD_PACKAGES)


def test_with_a_kernel_its_newest_package_and_its_modules_index(machine: Machine) -> None:
    system = ensure("6.1")
    assert (system.root, system.release) == (machine.cache / "vm-6.1", "6.1.0-56-amd64")
    assert system.kernel == machine.cache / "vm-6.1/boot/vmlinuz-6.1.0-56-amd64"
    calls = machine.called()
    downloads = [call for call in calls if " download " in call]
    assert calls[0] == "apt-cache depends linux-image-amd64"
    assert downloads[0].endswith(" download linux-image-6.1.0-56-amd64")
    (depmod,) = (call for call in calls if call.startswith("depmod"))
    assert depmod.startswith(f"depmod -b {machine.cache}/vm-6.1.")
    assert depmod.endswith("/root 6.1.0-56-amd64")
    assert [call for call in calls if call.endswith(" busybox-static")] == [
        f"apt-get -q -o APT::Sandbox::User=root download {' '.join(SSHD_PACKAGES)} busybox-static"
    ]


def test_the_second_time_nothing_is_fetched(machine: Machine) -> None:
    first = ensure(None)
    machine.calls.write_text("")
    assert ensure(None, pytest.fail) == first
    assert machine.called() == []
    assert present(None) == first
    assert present("6.1") is None


def test_nothing_but_the_result_and_its_lock_stays(machine: Machine) -> None:
    ensure(None)
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
        ensure("6.1")
    assert str(raised.value) == message
    assert present("6.1") is None
    assert [path.name for path in machine.cache.iterdir()] == ["vm-6.1.lock"]
    machine.add(program, PROGRAMS[program])
    assert ensure("6.1").release == "6.1.0-56-amd64"


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
    fix = "use Debian 12, such as a container of debian:12 (docs/ci.md)"
    assert artifacts.kernel_problem("6.1") == (reason, fix)
    with pytest.raises(LabError) as raised:
        ensure("6.1")
    assert str(raised.value) == f"{reason}; {fix}"


def test_a_kernel_that_apt_knows_is_no_problem(machine: Machine) -> None:
    assert artifacts.kernel_problem("6.1") is None


def test_a_missing_program_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine.programs / "apt-get").unlink()
    monkeypatch.setenv("PATH", str(machine.programs))
    with pytest.raises(LabError) as raised:
        ensure(None)
    assert str(raised.value) == "apt-get is not installed, and the lab needs it to fetch Debian packages"


def test_a_program_that_hangs_is_given_up(machine: Machine) -> None:
    machine.add("apt-get", "exec sleep 30")
    with pytest.raises(LabError) as raised:
        apt.run(["apt-get", "download"], machine.programs, limit_s=0.2)
    assert str(raised.value) == "apt-get did not end within 0 s"


def test_of_two_at_once_one_fetches_and_the_other_waits_for_it(machine: Machine) -> None:
    machine.add("apt-get", f"sleep 0.3; {PROGRAMS['apt-get']}")
    found: list[System] = []
    threads = [threading.Thread(target=lambda: found.append(ensure(None))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [System(machine.cache / "sshd")] * 3
    assert sum(call.startswith("apt-get") for call in machine.called()) == 1


def test_a_half_made_folder_is_made_anew(machine: Machine) -> None:
    (machine.cache / "sshd").mkdir(parents=True)
    (machine.cache / "sshd/stale").touch()
    (machine.cache / "sshd.killed/root").mkdir(parents=True)
    assert not (ensure(None).root / "stale").exists()
    assert sorted(path.name for path in machine.cache.iterdir()) == ["sshd", "sshd.lock"]


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:3])


@pytest.mark.parametrize("spoil", [Path.unlink, _cut])
def test_files_that_are_gone_or_cut_short_are_fetched_anew(machine: Machine, spoil: Callable[[Path], None]) -> None:
    unpacked = ensure(None).root / "unpacked"
    whole = unpacked.read_text()
    spoil(unpacked)
    assert present(None) is None
    said: list[str] = []
    ensure(None, said.append)
    assert said[0] == f"{machine.cache}/sshd: a file is gone or was cut short; it is made anew"
    assert len(unpacked.read_text().splitlines()) == len(whole.splitlines())
    assert present(None)


def test_what_an_older_program_unpacked_is_taken_as_it_is(machine: Machine) -> None:
    complete = ensure(None).root / ".complete"
    complete.write_text("\n".join(complete.read_text().splitlines()[:-1]) + "\n")
    complete.with_name("unpacked").unlink()
    assert present(None)


BACKPORTS = """\
case "$*" in
    *Dir::Etc::sourcelist*) echo "  Depends: linux-image-6.12.95+deb12-amd64";;
    *) echo "  Depends: linux-image-6.1.0-56-amd64";;
esac
"""
APT_GET = f"""\
case "$1" in
    indextargets) echo "http://mirror/debian/ bookworm main"; exit 0;;
esac
case "$*" in
    *" update") cp "$(expr "$4" : "[^=]*=\\(.*\\)")" {{calls}}.sources; exit 0;;
esac
{PROGRAMS["apt-get"]}
"""


@pytest.fixture
def backported(machine: Machine) -> Machine:
    """Return a machine whose own kernel is 6.1, and whose mirror has 6.12 in its backports."""
    machine.add("apt-cache", BACKPORTS)
    machine.add("apt-get", APT_GET.replace("{calls}", str(machine.calls)).replace('"$4"', '"$3"'))
    machine.add("dpkg", PROGRAMS["dpkg"].replace("6.1.0-56-amd64", "6.12.95+deb12-amd64"))
    return machine


def test_another_kernel_comes_from_the_backports_by_an_apt_of_its_own(backported: Machine) -> None:
    said: list[str] = []
    system = ensure("6.12", said.append)
    assert (system.root, system.release) == (backported.cache / "vm-6.12", "6.12.95+deb12-amd64")
    assert said == [f"fetching {len(SSHD_PACKAGES) + 1} Debian packages and Linux 6.12 into {backported.cache}"]
    assert artifacts.kernel_problem("6.12") is None
    sources = Path(f"{backported.calls}.sources").read_text()
    assert sources.startswith("deb ")
    assert sources.endswith("http://mirror/debian/ bookworm-backports main\n")
    downloads = [call for call in backported.called() if " download " in call]
    assert [call.split(" download ")[1].split()[0] for call in downloads] == [
        "linux-image-6.12.95+deb12-amd64",
        "openssh-server",
    ]
    assert ["Dir::State=" in call for call in downloads] == [True, False]
    assert sorted(path.name for path in backported.cache.iterdir()) == ["vm-6.12", "vm-6.12.lock"]
    assert present("6.1") is None


def test_a_machine_whose_own_kernel_it_is_needs_no_backports(machine: Machine) -> None:
    machine.add("apt-cache", 'echo "  Depends: linux-image-6.12.57+deb13-amd64"')
    ensure("6.12")
    assert not any("update" in call for call in machine.called())
    fix = 'write kernel: "6.12"'
    reason = "linux-image-amd64 is linux-image-6.12.57+deb13-amd64 here, and no Linux 6.1"
    assert artifacts.kernel_problem("6.1") == (reason, fix)


def test_backports_without_that_kernel_are_an_error(backported: Machine) -> None:
    backported.add("apt-cache", BACKPORTS.replace("6.12.95+deb12", "6.16.3+deb12"))
    with pytest.raises(LabError) as raised:
        ensure("6.12")
    assert str(raised.value) == "Debian's backports hold linux-image-6.16.3+deb12-amd64, and no Linux 6.12"


def test_a_machine_without_a_mirror_of_debian_12_has_no_backports(machine: Machine) -> None:
    machine.add("apt-get", "exit 0")
    assert artifacts.kernel_problem("6.12") == (
        "linux-image-amd64 is linux-image-6.1.0-56-amd64 here, and no Linux 6.12",
        'write kernel: "6.1"',
    )


def test_modules_are_put_into_the_first_root_plain_and_without_those_that_are_built_in(tmp_path: Path) -> None:
    modules = tmp_path / "lib/modules/6.12.95+deb12-amd64/kernel"
    modules.mkdir(parents=True)
    (modules / "netfs.ko").write_bytes(b"plain")
    (modules / "9p.ko.xz").write_bytes(lzma.compress(b"packed"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/busybox").write_bytes(b"busybox")
    archive = gzip.decompress(System(tmp_path).initramfs("/script"))
    assert b"plain" in archive
    assert b"packed" in archive
    assert b"for module in netfs 9p;" in archive
    assert b"modules/virtio.ko" not in archive


def test_a_python_without_lzma_boots_the_kernel_whose_modules_are_not_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lzma", None)
    modules = tmp_path / "lib/modules/6.1.0-56-amd64"
    modules.mkdir(parents=True)
    (modules / "netfs.ko").write_bytes(b"plain")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/busybox").write_bytes(b"busybox")
    assert b"plain" in gzip.decompress(System(tmp_path).initramfs("/script"))
    (modules / "9p.ko.xz").touch()
    with pytest.raises(LabError) as raised:
        System(tmp_path).initramfs("/script")
    assert str(raised.value) == (
        "this Python was built without lzma, and modules of a newer Linux are packed with it; "
        'write kernel: "6.1", or take another Python'
    )


@pytest.mark.parametrize(
    ("targets", "mirror"),
    [
        ("", None),
        ("http://m/debian/ trixie main\n", None),
        ("http://m/debian/ bookworm contrib\n", None),
        (
            "http://s/debian-security/ bookworm-security main\nmirror+file:/m.list bookworm main\n",
            "mirror+file:/m.list",
        ),
        ("http://a/ bookworm main\nhttp://b/ bookworm main\n", "http://a/"),
        ("one two\n\nhttp://a/ bookworm main", "http://a/"),
    ],
)
def test_the_mirror_is_the_one_of_debian_12s_main_archive(targets: str, mirror: str | None) -> None:
    assert apt.parse_mirror(targets) == mirror


def test_a_cache_that_cannot_be_written_is_named(machine: Machine) -> None:
    machine.cache.write_text("a file")
    with pytest.raises(UsageError) as raised:
        ensure(None)
    reason = "cannot be written (File exists); name another folder with PROXYBENCH_CACHE"
    assert str(raised.value) == f"{machine.cache}: {reason}"


def test_apt_is_asked_in_english(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    german = 'case $LC_ALL in C*) echo "  Depends: linux-image-6.1.0-56-amd64" ;; *) echo "  Hängt ab von: x" ;; esac'
    machine.add("apt-cache", german)
    assert apt.Apt().newest_kernel() == "linux-image-6.1.0-56-amd64"
