"""A real sshd, sudo and PAM, where a user has a password: in mounts of their own, none of the machine's users."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import CommandFailedError, CommandTimeoutError
from proxybench.hosts.inventory import SshTarget, Sudo
from proxybench.hosts.ssh import SshExecutor
from proxybench.targets.lab import artifacts
from proxybench.targets.lab.sshd import USERS, make_key, sshd_config
from tests.lab.sudoers import PASSWORD, documented, documented_with_password

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Host = Callable[[str], AbstractContextManager[SshTarget]]

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("sudo") is None or shutil.which("chpasswd") is None,
        reason="needs root, and sudo",
    ),
]

KNOWN = ("pam.d", "security", "login.defs", "nsswitch.conf", "ld.so.cache", "hosts")
"""What its /etc has of the machine's: nothing that is secret."""
# $1 its /etc, $2 what is said to chpasswd, $3… sshd.
_HOST = """
set -e
mount --bind "$1" /etc
for own in /run /var/lib/sudo; do mount -t tmpfs own "$own"; done
mkdir /run/sshd /run/sudo
printf '%s\\n' "$2" | chpasswd
shift 2
exec "$@"
"""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Run such a host, whose sudoers has that line and no other."""
    root = artifacts.ensure(None, print).root
    keys = make_key(tmp_path / "client"), make_key(tmp_path / "host")
    etc = tmp_path / "etc"
    etc.mkdir()
    subprocess.run(["cp", "-a", *(f"/etc/{name}" for name in KNOWN), etc], timeout=20, check=True)
    (etc / "passwd").write_text(f"{USERS}ann:x:1000:1000::/:/bin/sh\n")
    (etc / "group").write_text("root:x:0:\nshadow:x:42:\nnogroup:x:65534:\nann:x:1000:\n")
    (etc / "shadow").write_text("root:*:19000::::::\nann:*:19000::::::\n")
    (etc / "shadow").chmod(0o600)
    (etc / "keys").write_text(keys[0].public)

    @contextmanager
    def running(sudoers: str) -> Iterator[SshTarget]:
        (etc / "sudoers").write_text(f"{sudoers}\n")
        (etc / "sudoers").chmod(0o440)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        own = Path("/etc/keys")
        text = sshd_config(host_key=keys[1].private, authorized_keys=own, listen="127.0.0.1", forwards="no")
        (tmp_path / "sshd.conf").write_text(f"Port {port}\n{text}")
        sshd = [str(root / "usr/sbin/sshd"), "-D", "-e", "-f", str(tmp_path / "sshd.conf")]
        argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _HOST, "host", str(etc)]
        environment = {**os.environ, "LD_LIBRARY_PATH": str(root / "usr/lib/x86_64-linux-gnu")}
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen([*argv, f"ann:{PASSWORD}", *sshd], env=environment, stdout=log, stderr=log)
        try:
            await_sshd(port, process, tmp_path / "log")
            yield SshTarget("127.0.0.1", port, "ann", keys[0].private, keys[1].public)
        finally:
            process.terminate()
            process.wait(20)

    return running


def await_sshd(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        with ExitStack() as stack:
            probe = stack.enter_context(socket.socket())
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"sshd does not listen: {log.read_text()}")


@pytest.mark.parametrize("sudo", [Sudo(), Sudo(PASSWORD)], ids=["without", "with"])
def test_the_documented_line_lets_us_do_all_as_root_with_a_password_and_without(host: Host, sudo: Sudo) -> None:
    line = documented() if sudo.password is None else documented_with_password()
    with host(line) as target, SshExecutor("node1", replace(target, sudo=sudo)) as node:
        assert node.run(["sh", "-c", "id -u; cat"], stdin="in\n").stdout == "0\nin\n"
        node.put(b"data", "/run/file")
        assert node.get("/run/file") == b"data"
        assert node.run(["stat", "-c", "%U %a", "/run/file"]).stdout == "root 600\n"
        session = node.open(["cat"])
        session.send_line("hello")
        assert session.read_line(5) == "hello"
        session.close()
        # Who is late is killed, which takes root, too; and no argument of a process ever had the password.
        with pytest.raises(CommandTimeoutError):
            node.run(["sleep", "7531"], timeout=1)
        words = node.run(["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]).stdout
        assert "sleep 7531" not in words
        assert PASSWORD not in words


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        (
            None,
            (
                f"sudo asks ann for a password; give one, or let it do without: {documented()} "
                "(it said: sudo: a password is required)"
            ),
        ),
        (
            "wrong",
            (
                "sudo refuses ann with this password (it said: Sorry, try again. | sudo: no password was provided | "
                "sudo: 1 incorrect password attempt)"
            ),
        ),
    ],
)
def test_who_gives_no_password_or_a_wrong_one_is_refused(host: Host, given: str | None, refusal: str) -> None:
    with host("ann ALL=(root) ALL") as target, pytest.raises(CommandFailedError) as caught:
        SshExecutor("node1", replace(target, sudo=Sudo(given)))
    assert str(caught.value) == f"node1: {refusal}"


@pytest.mark.parametrize(
    ("sudoers", "given", "refusal"),
    [
        (
            "Defaults requiretty\nann ALL=(root) NOPASSWD: ALL",
            None,
            (
                "sudo wants a terminal of ann; let it do without: Defaults:ann !requiretty "
                "(it said: sudo: sorry, you must have a tty to run sudo"
            ),
        ),
        (
            "root ALL=(root) ALL",
            PASSWORD,
            (
                f"sudo does not let ann do this; what would: {documented_with_password()} "
                "(it said: ann is not in the sudoers file."
            ),
        ),
    ],
    ids=["requiretty", "nobody"],
)
def test_what_sudo_lacks_is_told_by_its_own_words(host: Host, sudoers: str, given: str | None, refusal: str) -> None:
    with host(sudoers) as target, pytest.raises(CommandFailedError) as caught:
        SshExecutor("node1", replace(target, sudo=Sudo(given)))
    assert str(caught.value).startswith(f"node1: {refusal}")
