from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from proxybench.model import ClockKind
from proxybench.targets.lab import qemu
from proxybench.targets.lab.artifacts import System
from proxybench.targets.lab.qemu import Machine, command, kvm_boots

BEFORE = ["qemu-system-x86_64", "-M", "pc", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
KERNEL = ["-kernel", "/k", "-initrd", "/i", "-append"]
WORDS = "console=ttyS0 quiet panic=-1 random.trust_cpu=on mitigations=off nokaslr"
AFTER = [
    "-serial",
    "file:/c",
    "-virtfs",
    "local,path=/,mount_tag=root,security_model=none,multidevs=remap,readonly=on",
    "-netdev",
    "user,id=net,hostfwd=tcp:127.0.0.1:2222-10.0.2.15:22",
    "-device",
    "virtio-net-pci,netdev=net,romfile=",
]
KEY = f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} 6.1.0-test"


@pytest.mark.parametrize(
    ("accelerator", "clock", "speed"),
    [
        (
            "tcg",
            ClockKind.INSTRUCTIONS,
            ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=on,align=off", "-smp", "1"],
        ),
        ("kvm", ClockKind.WALL, ["-accel", "kvm", "-cpu", "host", "-smp", "2"]),
        ("tcg", ClockKind.WALL, ["-accel", "tcg,thread=multi", "-smp", "2"]),
        # KVM executes the guest's instructions itself and cannot count them.
        (
            "kvm",
            ClockKind.INSTRUCTIONS,
            ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=on,align=off", "-smp", "1"],
        ),
    ],
)
def test_the_command_of_each_speed(accelerator: str, clock: ClockKind, speed: list[str]) -> None:
    machine = Machine(Path("/k"), Path("/i"), Path("/c"), accelerator, clock, 2222)
    words = f"{WORDS} slub_min_order=3 nf_conntrack.hashsize=262144" if clock is ClockKind.INSTRUCTIONS else WORDS
    assert command(machine) == [*BEFORE, "-m", "3072", *speed, *KERNEL, words, *AFTER]


def test_the_memory_is_the_machines() -> None:
    argv = command(Machine(Path("/k"), Path("/i"), Path("/c"), "tcg", ClockKind.WALL, 1, memory_mib=512))
    assert argv[argv.index("-m") + 1] == "512"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    monkeypatch.setenv("PROXYBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "lib/modules/6.1.0-test").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/busybox").touch()
    return System(tmp_path)


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """What stands for /dev/kvm: it may be read and written."""
    (tmp_path / "kvm").touch()
    return tmp_path / "kvm"


def test_without_kvm_nothing_is_tried(system: System, tmp_path: Path) -> None:
    assert not kvm_boots(system, lambda _: True, tmp_path / "absent")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("boots", [True, False])
def test_kvm_is_tried_once_and_remembered(system: System, device: Path, tmp_path: Path, boots: bool) -> None:
    tries: list[System] = []

    def attempt(tried: System) -> bool:
        tries.append(tried)
        return boots

    assert [kvm_boots(system, attempt, device), kvm_boots(system, attempt, device)] == [boots, boots]
    assert tries == [system]
    assert json.loads((tmp_path / "cache/kvm.json").read_text()) == {"key": KEY, "boots": boots}


def test_a_cache_that_cannot_be_written_remembers_nothing(system: System, device: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert kvm_boots(system, lambda _: True, device)


@pytest.mark.parametrize("memory", ["", "no json", '{"key": "another boot 6.1.0-test", "boots": false}'])
def test_an_answer_of_another_boot_or_a_damaged_one_is_forgotten(
    system: System, device: Path, tmp_path: Path, memory: str
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/kvm.json").write_text(memory)
    assert kvm_boots(system, lambda _: True, device)


def test_a_guest_that_never_says_the_mark_does_not_boot(
    system: System, device: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    fake = programs / qemu.BINARY
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    assert not kvm_boots(system, device=device)
    # The same, but it writes to its console what the script would write.
    (tmp_path / "cache/kvm.json").unlink()
    fake.write_text(
        "#!/bin/sh\nfor word; do case $word in file:*) echo 'proxybench: kvm boots' > ${word#file:};; esac; done\n"
    )
    assert kvm_boots(system, device=device)
