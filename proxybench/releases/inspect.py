"""Is a file the program that was asked for: its ELF header, and what it answers to ``--version``."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from proxybench.errors import TransferError, UsageError
from proxybench.here import run_here
from proxybench.releases.component import ELF_MACHINES, host_architecture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxybench.releases.component import Component

_HEADER = 20
_LITTLE, _BIG = 1, 2
_LIMIT_S = 60.0


def elf_architecture(path: Path) -> str | None:
    """Return the architecture that a program is built for, in Kubernetes' words; None when it is no known ELF file."""
    with path.open("rb") as file:
        header = file.read(_HEADER)
    if len(header) < _HEADER or header[:4] != b"\x7fELF" or header[5] not in {_LITTLE, _BIG}:
        return None
    machine = int.from_bytes(header[18:20], "little" if header[5] == _LITTLE else "big")
    return next((name for name, number in ELF_MACHINES.items() if number == machine), None)


def reported_version(path: Path, component: Component, limit_s: float = _LIMIT_S) -> str | None:
    """Run a program with ``--version`` and return the version that it names ("v1.37.2"); None when it names none."""
    try:
        done = run_here([str(path.absolute()), "--version"], limit_s)  # its name alone would be looked for on PATH
    except (OSError, subprocess.TimeoutExpired):
        return None
    return component.reported(done.stdout) if done.returncode == 0 else None


def first_line(argv: Sequence[str]) -> str:
    """Run the command that tells a program's version and return the first line that it prints. Raises UsageError."""
    program = argv[0]
    try:
        done = run_here(argv, _LIMIT_S)
    except OSError as error:
        raise UsageError(f"version: {program} cannot be run on this machine: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise UsageError(f"version: {program} did not end within {_LIMIT_S:g} s") from None
    line = done.stdout.strip().partition("\n")[0].strip()
    if done.returncode != 0 or not line:
        raise UsageError(f"version: {program} ended with {done.returncode} and printed {line or 'nothing'}")
    return line


def check_architecture(path: Path, name: str, arch: str) -> None:
    """Refuse a file that is no program for the architecture. Raises TransferError, which calls it ``name``."""
    found = elf_architecture(path)
    if found is None:
        raise TransferError(f"{name} is no Linux program for {arch}: it has no known ELF header")
    if found != arch:
        raise TransferError(f"{name} is a program for {found}, and one for {arch} was asked for")


def check_program(path: Path, component: Component, version: str, arch: str) -> None:
    """Refuse a file that is not the component of that version for that architecture. Raises TransferError.

    The version is only asked for where this machine can run it.
    """
    check_architecture(path, component, arch)
    if arch != host_architecture():
        return
    found = reported_version(path, component)
    if found != version:
        answer = f"says that it is {found}" if found else "does not say its version"
        raise TransferError(f"{component} {version} was asked for, and what came {answer}")
