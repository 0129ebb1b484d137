from __future__ import annotations

import sys
from pathlib import Path

import pytest

from proxybench.errors import TransferError, UsageError
from proxybench.releases.component import ELF_MACHINES, Component, host_architecture
from proxybench.releases.inspect import (
    check_architecture,
    check_program,
    elf_architecture,
    first_line,
    reported_version,
)
from tests.unit.releases.elf import elf

OTHER = "s390x"
PROXY = Component.KUBE_PROXY


def test_this_python_is_a_program_for_this_machine() -> None:
    assert elf_architecture(Path(sys.executable)) == host_architecture()


@pytest.mark.parametrize("arch", ELF_MACHINES)
def test_the_architecture_is_read_from_the_header(arch: str, tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(elf(arch))
    assert elf_architecture(tmp_path / "program") == arch


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>" * 9, elf("amd64")[:19], b"\x7fELF" + bytes(60)])
def test_what_is_no_program(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "kube-proxy"
    path.write_bytes(content)
    with pytest.raises(TransferError) as error:
        check_architecture(path, "kube-proxy", "amd64")
    assert str(error.value) == "kube-proxy is no Linux program for amd64: it has no known ELF header"


def test_a_program_for_another_architecture(tmp_path: Path) -> None:
    path = tmp_path / "kube-proxy"
    path.write_bytes(elf("arm64"))
    with pytest.raises(TransferError) as error:
        check_program(path, PROXY, "v1.37.2", "amd64")
    assert str(error.value) == "kube-proxy is a program for arm64, and one for amd64 was asked for"


def test_a_foreign_program_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "kube-proxy"
    path.write_bytes(elf(OTHER))
    check_program(path, PROXY, "v1.37.2", OTHER)


def test_a_program_that_says_nothing_of_use() -> None:
    with pytest.raises(TransferError) as error:
        check_program(Path(sys.executable), PROXY, "v1.37.2", host_architecture())
    assert str(error.value) == "kube-proxy v1.37.2 was asked for, and what came does not say its version"


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("echo Kubernetes v1.33.13", "v1.33.13"),
        ("echo Kubernetes v1.33.13; exit 1", None),
        ("sleep 20", None),
        ("echo hello", None),
    ],
)
def test_the_version_that_a_program_reports(script: str, version: str | None, tmp_path: Path) -> None:
    path = tmp_path / "kube-proxy"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    assert reported_version(path, PROXY, limit_s=1.0) == version


def test_a_file_of_the_current_folder_is_not_looked_for_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kube proxy").write_text("#!/bin/sh\necho Kubernetes v1.37.2\n")
    (tmp_path / "kube proxy").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert reported_version(Path("kube proxy"), PROXY) == "v1.37.2"


def test_a_file_that_cannot_be_run_reports_nothing(tmp_path: Path) -> None:
    path = tmp_path / "kube-proxy"
    path.write_bytes(elf(OTHER))
    path.chmod(0o755)
    assert reported_version(path, PROXY) is None


def test_a_real_command_is_asked_on_this_machine() -> None:
    assert first_line([sys.executable, "-c", "print('v1\\nsecond')"]) == "v1"
    assert first_line(["printf", r"v\374\n"]) == r"v\xfc"  # a program that speaks Latin-1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["/nowhere/proxy"], "version: /nowhere/proxy cannot be run on this machine: No such file or directory"),
        (["false"], "version: false ended with 1 and printed nothing"),
        (["true"], "version: true ended with 0 and printed nothing"),
        (["cat"], "version: cat ended with 0 and printed nothing"),  # and does not wait for the terminal
    ],
)
def test_a_command_that_tells_no_version(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        first_line(argv)
    assert str(caught.value) == message
