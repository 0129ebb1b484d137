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
    monkeypatch.setenv("HOME", str(tmp_path))
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
        agent="/agent",
        only=True,
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
        agent="/agent",
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
    assert (found.identity, found.passphrase, found.agent) == (home / ".ssh/id_ed25519", None, "/agent")
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
    assert str(raised.value) == f"gate: {port} is no port; write user@host:port, and an IPv6 address as [::1]"


@pytest.mark.parametrize(
    ("text", "jump", "proxy"),
    [
        ("ProxyCommand nc %h %p", None, "nc 192.0.2.7 24"),
        ('ProxyCommand = "a b" %r@%n 100%% "c"', None, '"a b" me@near 100% "c"'),
        ("ProxyCommand none\n ProxyJump gate", None, ""),
        ("ProxyCommand nc\n ProxyJump gate", None, "nc"),
        ("ProxyJump gate\n ProxyCommand nc", "gate", ""),
        ("ProxyJump none\n ProxyCommand nc", None, "nc"),
        ("ProxyJump ssh://you@[2001:DB8::1]:2222", "2001:db8::1", ""),
        ("ProxyJump you@[2001:db8::1]", "2001:db8::1", ""),
        ("ProxyJump %h.gate", "192.0.2.7.gate", ""),
    ],
)
def test_the_way_that_is_set_first_counts(home: Path, text: str, jump: str | None, proxy: str) -> None:
    last = "Match originalhost near\n ProxyCommand last\n ProxyJump last\n"
    (home / ".ssh/config").write_text(f"Host near\n HostName 192.0.2.7\n {text}\n{last}")
    found = config(home).target(HostWords("near", 24, "me"))
    assert (found.jump and found.jump.host, found.proxy) == (jump, proxy)
    if jump == "2001:db8::1":
        assert found.jump is not None
        assert (found.jump.user, found.jump.port) == ("you", 2222 if "2222" in text else 22)
    named = config(home).target(HostWords("near", 24, "me", jump="192.0.2.1"))  # as what stands after ssh's -J
    assert (named.jump and named.jump.host, named.proxy) == ("192.0.2.1", "")
    bare = config(home).target(HostWords("near", 24, "me", jump="none"))
    assert (bare.jump, bare.proxy) == (None, "")


def test_a_sign_that_is_none(home: Path) -> None:
    (home / ".ssh/config").write_text("Host near\n ProxyCommand nc %z\n")
    with pytest.raises(UsageError, match=r"^near: ~/\.ssh/config: %z in nc %z is not understood$"):
        config(home).target(HostWords("near", user="me"))


def test_all_keys_that_are_there_are_offered(home: Path) -> None:
    folder = home / ".ssh"
    (folder / "id_rsa").write_text((folder / "near").read_text())
    (folder / "id_ecdsa_sk.pub").write_text(PUBLIC)  # of which an agent may have the other half
    found = config(home).target(HostWords("192.0.2.9"))
    assert (found.identity, found.further) == (folder / "id_ed25519", (folder / "id_rsa", folder / "id_ecdsa_sk"))
    text = f"Host near\n IdentityFile {folder}/id_rsa\n IdentityFile /none\nHost *\n IdentityFile {folder}/near\n"
    (folder / "config").write_text(text)
    found = config(home).target(HostWords("near"))
    assert (found.identity, found.further) == (folder / "id_rsa", (folder / "near",))
    (folder / "me~100%").write_text((folder / "near").read_text())
    (folder / "config").write_text(f"IdentityFile {folder}/%r~100%%\nIdentityAgent none\n")
    found = config(home).target(HostWords("near", user="me"))
    assert (found.identity, found.further, found.agent) == (folder / "me~100%", (), "")
    (folder / "config").write_text("IdentityFile none\nIdentityAgent $SSH_AUTH_SOCK\n")
    found = config(home).target(HostWords("near"))
    assert (found.identity, found.further, found.agent) == (None, (), "/agent")
    assert config(home).target(HostWords("near", key=str(folder / "id_ecdsa_sk"))).identity == folder / "id_ecdsa_sk"


def test_a_passphrase_is_asked_for_the_first_key_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK")
    (home / ".ssh/id_ecdsa").write_text((home / ".ssh/near").read_text())
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return "secret"

    secrets = SshConfig(Secrets({}, ask), home=home)
    assert secrets.target(HostWords("192.0.2.9")).passphrase == "secret"
    (home / ".ssh/id_rsa").write_text((home / ".ssh/id_ed25519").read_text())
    (home / ".ssh/id_ed25519").unlink()
    assert secrets.target(HostWords("192.0.2.9")).passphrase is None
    assert asked == [f"the passphrase of {home}/.ssh/id_ed25519: "]


def test_names_are_in_lower_case_as_with_ssh(home: Path) -> None:
    (home / ".ssh/config").write_text("Host gate\n HostKeyAlias The-Gate\n")
    (home / ".ssh/known_hosts").write_text(f"Far,other {PUBLIC}\nthe-gate {PUBLIC}\n")
    found = [config(home).target(HostWords(name, user="me", key="~/.ssh/near")) for name in ("FAR", "gate")]
    assert [(one.known_name, one.host_key) for one in found] == [("far", PUBLIC), ("the-gate", PUBLIC)]


def test_files_of_known_hosts_are_named_by_signs(home: Path) -> None:
    (home / ".ssh/config").write_text("UserKnownHostsFile %d/.ssh/known_%k\n")
    (home / ".ssh/known_far").write_text(f"far {PUBLIC}\n")
    found = config(home).target(HostWords("far", user="me"))
    assert (found.known_hosts, found.host_key) == (f"{home}/.ssh/known_far", PUBLIC)


@pytest.mark.parametrize("host", ["$(id)", "a`id`", "a;id", "a b", "a'b"])
def test_a_name_that_a_shell_would_read_more_in_is_in_no_proxy_command(home: Path, host: str) -> None:
    """Names may come from an inventory that somebody else has drafted."""
    (home / ".ssh/config").write_text("Host *\n ProxyCommand nc %h %p\n")
    with pytest.raises(UsageError) as caught:
        config(home, PROXYBENCH_SSH_PASSPHRASE="secret").target(HostWords(host))
    assert str(caught.value).endswith(f" in {host!r} would be read by ProxyCommand's shell; rename it")


@pytest.mark.parametrize(
    ("command", "host", "user", "proxy"),
    [
        ("nc 192.0.2.1 %p", "$(id)", "me", "nc 192.0.2.1 22"),
        ("nc %h %p", "near", "CORP\\me", "nc near 22"),
        ("nc near 100%%r", "a b", "CORP\\me", "nc near 100%r"),
    ],
)
def test_a_name_that_is_in_no_sign_of_a_proxy_command_does_no_harm_there(
    home: Path, command: str, host: str, user: str, proxy: str
) -> None:
    (home / ".ssh/config").write_text(f"ProxyCommand {command}\nIdentityFile none\n")
    assert config(home).target(HostWords(host, user=user)).proxy == proxy


@pytest.mark.parametrize(("sign", "alias"), [("%r", "a"), ("%%%r", "a"), ("%k", "CORP\\me")])
def test_a_name_that_a_sign_of_a_proxy_command_stands_for_is_looked_at(home: Path, sign: str, alias: str) -> None:
    (home / ".ssh/config").write_text(f"ProxyCommand nc {sign}\nHostKeyAlias {alias}\nIdentityFile none\n")
    with pytest.raises(UsageError) as caught:
        config(home).target(HostWords("near", user="CORP\\me" if alias == "a" else "me"))
    name = "CORP\\me" if alias == "a" else "corp\\me"
    assert str(caught.value) == f"near: '\\\\' in {name!r} would be read by ProxyCommand's shell; rename it"
