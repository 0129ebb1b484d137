"""setup against a search path and a cache that the tests made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from proxybench.cli.main import cli
from proxybench.targets.lab.install import GUEST_PROGRAMS, PROGRAMS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("PROXYBENCH_CACHE", str(tmp_path))
    for entry in ("sshd", "vm-6.1"):
        (tmp_path / entry).mkdir()
        (tmp_path / entry / ".complete").touch()
    return lambda *args: CliRunner().invoke(cli, ["setup", *args])


def lack(monkeypatch: pytest.MonkeyPatch, *absent: str) -> None:
    known = PROGRAMS.keys() | GUEST_PROGRAMS.keys() | {"apt-get"}
    monkeypatch.setattr("shutil.which", lambda name, path=None: f"/bin/{name}" if name in known - set(absent) else None)


def test_nothing_is_lacking(call: object, monkeypatch: pytest.MonkeyPatch) -> None:
    lack(monkeypatch)
    assert callable(call)
    result: Result = call()
    assert (result.exit_code, result.output) == (0, "nothing is lacking\n")


def test_what_is_lacking_is_printed_and_not_done(call: object, monkeypatch: pytest.MonkeyPatch) -> None:
    lack(monkeypatch, "ipset", "qemu-system-x86_64")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert callable(call)
    result: Result = call()
    assert (result.exit_code, result.stderr) == (3, "to do all that: proxybench setup --yes\n")
    assert result.stdout.splitlines() == [
        "env DEBIAN_FRONTEND=noninteractive apt-get update -q",
        "env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends ipset qemu-system-x86",
    ]


def test_an_experiment_in_namespaces_needs_no_guest(call: object, monkeypatch: pytest.MonkeyPatch) -> None:
    lack(monkeypatch, "qemu-system-x86_64")
    assert callable(call)
    result: Result = call("quickstart", "--set", "target.lab={kind: netns}")
    assert (result.exit_code, result.output) == (0, "nothing is lacking\n")


def test_an_override_takes_an_experiment(call: object) -> None:
    assert callable(call)
    result: Result = call("--set", "name=x")
    assert result.exit_code == 2


def test_of_a_cluster_of_ones_own_nothing_is_brought(call: object) -> None:
    assert callable(call)
    result: Result = call("cluster", "--yes")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: setup brings what a lab needs; `proxybench doctor ")
    assert result.stderr.endswith("cluster.yaml` tells what your hosts lack\n")
