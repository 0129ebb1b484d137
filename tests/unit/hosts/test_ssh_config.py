from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import UsageError
from proxybench.hosts.inventory import SshTarget, Sudo
from proxybench.hosts.secrets import Secrets
from proxybench.hosts.ssh_config import HostWords, SshConfig

if TYPE_CHECKING:
    from pathlib import Path

PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBmSy6mrzc5/gbyi2UZmqzwcLrOmcLdl4yWfVPfeqIcc"
CONFIG = """
Host near
  HostName 192.0.2.7
  Port 2222
  User me
  IdentityFile {home}/.ssh/near
  ProxyJump gate
Host gate
  HostName 192.0.2.1
  HostKeyAlias the-gate
  IdentitiesOnly yes
Host round
  ProxyJump round
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / ".ssh"
    folder.mkdir()
    (folder / "config").write_text(CONFIG.format(home=tmp_path))
    (folder / "known_hosts").write_text(f"[192.0.2.7]:2222 {PUBLIC}\nthe-gate {PUBLIC}\n")
    for name, phrase in (("near", ""), ("id_ed25519", "secret")):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-f", str(folder / name), "-N", phrase], check=True)
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")
    return tmp_path


def config(home: Path, **environment: str) -> SshConfig:
    return SshConfig(Secrets(environment, lambda _: None), home=home)


def test_what_is_not_said_is_as_ssh_has_it(home: Path) -> None:
    known = str(home / ".ssh/known_hosts")
    found = config(home, PROXYBENCH_SSH_PASSPHRASE="secret").target(HostWords("near"))
    gate = SshTarget(
        host="192.0.2.1",
        port=22,
        user=found.jump.user if found.jump else "",
        identity=home / ".ssh/id_ed25519",
        host_key=PUBLIC,
        passphrase="secret",
        agent=False,
        known_hosts=known,
        alias="the-gate",
    )
    assert found == SshTarget(
        host="192.0.2.7",
        port=2222,
        user="me",
        identity=home / ".ssh/near",
        host_key=PUBLIC,
        jump=gate,
        agent=True,
        known_hosts=known,
    )


def test_what_is_said_counts(home: Path) -> None:
    words = HostWords("near", 23, "root", "~/.ssh/near", "you@gate:24", sudo=True)
    found = config(home, PROXYBENCH_SSH_PASSPHRASE="secret").target(words)
    assert (found.host, found.port, found.user, found.identity) == ("192.0.2.7", 23, "root", home / ".ssh/near")
    assert found.host_key == ""  # of port 23 nothing is known
    assert found.jump is not None
    assert (found.jump.user, found.jump.port) == ("you", 24)
    assert found.sudo == Sudo(None)


def test_an_encrypted_key_that_nobody_named_is_left_to_the_agent(home: Path) -> None:
    found = config(home).target(HostWords("192.0.2.9"))
    assert (found.identity, found.passphrase, found.agent) == (None, None, True)
    told = config(home, PROXYBENCH_SSH_PASSPHRASE="secret").target(HostWords("192.0.2.9"))
    assert (told.identity, told.passphrase) == (home / ".ssh/id_ed25519", "secret")


def test_a_password_of_sudo_is_asked_for_once(home: Path) -> None:
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return "s3"

    secrets = SshConfig(Secrets({}, ask), home=home)
    words = HostWords("192.0.2.9", user="me", key="~/.ssh/near", sudo="password")
    assert [secrets.target(words).sudo for _ in range(2)] == [Sudo("s3")] * 2
    assert asked == ["sudo's password of me: "]


def test_what_cannot_be_had_says_what_would_help(home: Path) -> None:
    key = home / ".ssh/id_ed25519"
    with pytest.raises(UsageError) as caught:
        config(home).target(HostWords("gate"))
    assert str(caught.value) == (
        f"the passphrase of {key} is needed, and nobody can be asked; "
        "set PROXYBENCH_SSH_PASSPHRASE, or use an ssh-agent"
    )
    with pytest.raises(UsageError, match=r"^gate: there is no key /none; make one with ssh-keygen, or name another$"):
        config(home).target(HostWords("gate", key="/none"))
    with pytest.raises(UsageError, match=r"^round: more than 8 jump hosts, or a circle of them$"):
        config(home, PROXYBENCH_SSH_PASSPHRASE="secret").target(HostWords("round"))


@pytest.mark.parametrize("port", ["ssh", "0", "65536", "9" * 5000])
def test_a_port_that_is_none(home: Path, port: str) -> None:
    (home / ".ssh/config").write_text(f"Host near\n  Port {port}\n")
    with pytest.raises(UsageError, match=f"^near: ~/.ssh/config gives it the port {port}, which is none$"):
        config(home).target(HostWords("near"))


def test_a_configuration_that_cannot_be_read(home: Path) -> None:
    (home / ".ssh/config").write_bytes(b"Host \xff\xfe\n")
    with pytest.raises(UsageError, match=r"/\.ssh/config: .*can't decode byte"):
        config(home)


def test_a_key_of_somebody_who_is_not_known(home: Path) -> None:
    (home / ".ssh/config").write_text("Host near\n  IdentityFile ~nobody-of-that-name/key\n")
    assert config(home).target(HostWords("near", user="me")).identity is None  # it is not there: left to ssh's agent


@pytest.mark.parametrize("port", ["ssh", "0", "65536", "\u00b2", "9" * 5000])
def test_a_jump_host_s_port_that_is_none(home: Path, port: str) -> None:
    with pytest.raises(UsageError) as raised:
        config(home).target(HostWords("near", jump=f"me@gate:{port}"))
    assert str(raised.value) == f"gate: {port} is no port; write user@host:port"
