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
no() {{ echo "sudo: $1" >&2; exit 1; }}
while :; do case $1 in -k) shift;; -n) [ {free} = yes ] || no 'a password is required'; shift;; -S) ask=1; shift;;
-p) shift 2;; --) shift; break;; *) break;; esac; done
[ -z "$ask" ] || {{ read -r given; [ "$given" = "s3 cret" ] || no '1 incorrect password attempt'; }}
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
            (
                "node1: sudo asks root for a password; give one, or let it do without: "
                "root ALL=(root) NOPASSWD: /usr/bin/env, /usr/bin/true (it said: sudo: a password is required)"
            ),
        ),
        (
            "wrong",
            "node1: sudo refuses root with this password (it said: sudo: 1 incorrect password attempt)",
        ),
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


@pytest.mark.parametrize(
    ("password", "said", "code", "refusal"),
    [
        (
            None,
            "env: 'sudo': No such file or directory",
            127,
            "there is no sudo for me; install it, or log in as root without it",
        ),
        (
            None,
            "sudo: sorry, you must have a tty to run sudo",
            1,
            "sudo wants a terminal of me; let it do without: Defaults:me !requiretty",
        ),
        (
            "s3",
            "me is not in the sudoers file.",
            1,
            "sudo does not let me do this; what would: me ALL=(root) /usr/bin/env, /usr/bin/true",
        ),
        (
            "s3",
            "Sorry, user me is not allowed to execute '/usr/bin/env true' as root on far.",
            1,
            "sudo does not let me do this; what would: me ALL=(root) /usr/bin/env, /usr/bin/true",
        ),
        (None, "sudo: effective uid is not 0", 1, "sudo does nothing for me"),
    ],
)
def test_what_sudo_said_is_told_with_what_mends_just_that(
    password: str | None, said: str, code: int, refusal: str
) -> None:
    assert sudo.refused(Sudo(password), "me", said, code) == f"{refusal} (it said: {said})"


def test_a_sudo_that_says_nothing() -> None:
    assert sudo.refused(Sudo(), "me", "", 3) == "sudo does nothing for me (it said nothing, and ended with code 3)"


def test_a_host_without_sudo(
    server: Any, quick: ConnectPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "env").symlink_to("/usr/bin/env")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        CommandFailedError, match=r"^node1: there is no sudo for root; .*\(it said: .*sudo.*No such file"
    ):
        SshExecutor("node1", replace(server.target, sudo=Sudo("s3")), policy=quick)
