from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import CommandFailedError
from proxybench.hosts import sudo
from proxybench.hosts.inventory import Sudo
from proxybench.hosts.ssh import SshExecutor

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.hosts.connect import ConnectPolicy

# Behaves as sudo does with these options: asks (-S) unless it may do without, and empties the environment.
_SUDO = """#!/bin/sh
echo "$*" >> {folder}/calls
ask=
while :; do case $1 in -k) shift;; -n) [ {free} = yes ] || exit 1; shift;; -S) ask=1; shift;; -p) shift 2;;
--) shift; break;; *) break;; esac; done
[ -z "$ask" ] || {{ read -r given; [ "$given" = "s3 cret" ] || exit 1; }}
exec env -i PATH="$PATH" ROOT=yes "$@"
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(free: str) -> Path:
        program = tmp_path / "sudo"
        program.write_text(_SUDO.format(folder=tmp_path, free=free))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return tmp_path

    return make


@pytest.mark.parametrize(("free", "password"), [("yes", None), ("yes", "s3 cret"), ("no", "s3 cret")])
def test_commands_and_files_go_through_sudo(
    fake: Any, server: Any, quick: ConnectPolicy, free: str, password: str | None
) -> None:
    folder = fake(free)
    with SshExecutor("node1", replace(server.target, sudo=Sudo(password)), policy=quick) as node:
        assert node.run(["sh", "-c", "echo $ROOT; cat"], stdin="in\n").stdout == "yes\nin\n"
        node.put(b"data", f"{folder}/file")
        assert node.get(f"{folder}/file") == b"data"
        session = node.open(["cat"])
        session.send_line("hello")
        assert session.read_line(5) == "hello"
        session.close()
    assert "s3 cret" not in (folder / "calls").read_text()
    assert not any("s3 cret" in command for command in server.commands)


def test_a_command_that_is_late_is_killed_as_root_too(fake: Any, server: Any, quick: ConnectPolicy) -> None:
    fake("no")
    with SshExecutor("node1", replace(server.target, sudo=Sudo("s3 cret")), policy=quick) as node:
        with pytest.raises(Exception, match=r"did not end within 0\.3 s"):
            node.run(["sleep", "20"], timeout=0.3)
        assert any("kill" in command and command.startswith("sudo -k -S") for command in server.commands)


@pytest.mark.parametrize(
    ("password", "message"),
    [
        (
            None,
            "node1: sudo asks root for a password; give one, or let it do without: root ALL=(ALL) NOPASSWD: ALL",
        ),
        ("wrong", "node1: sudo refuses root with this password"),
    ],
)
def test_a_refusal_says_what_would_be_right(
    fake: Any, server: Any, quick: ConnectPolicy, password: str | None, message: str
) -> None:
    fake("no")
    with pytest.raises(CommandFailedError) as caught:
        SshExecutor("node1", replace(server.target, sudo=Sudo(password)), policy=quick)
    assert str(caught.value) == message
    assert "wrong" not in repr(Sudo("wrong"))


def test_without_sudo_a_command_is_as_it_was() -> None:
    assert sudo.command(None, ["a", "b c"], "M=1") == "M=1 exec a 'b c'"
    assert sudo.command(None, ["a"]) == "exec a"
    assert sudo.opening(None) == sudo.opening(Sudo()) == b""
