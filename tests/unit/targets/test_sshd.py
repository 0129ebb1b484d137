from __future__ import annotations

import stat
from pathlib import Path

import paramiko
import pytest

from proxybench.targets.lab.sshd import PASSWORDS, USERS, make_key, sshd_config

COMMON = """\
HostKey "/s/node1.key"
AuthorizedKeysFile "/s/identity.pub"
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
UseDNS no
StrictModes no
PidFile none
PrintMotd no
PermitUserRC no
X11Forwarding no
AllowAgentForwarding no
AllowTcpForwarding {forwarding}
MaxStartups 100
MaxSessions 100
LogLevel ERROR
"""


def test_a_node_forwards_nothing() -> None:
    text = sshd_config(
        host_key=Path("/s/node1.key"), authorized_keys=Path("/s/identity.pub"), listen=None, forwards="no"
    )
    assert text == COMMON.format(forwarding="no")


def test_the_jump_host_forwards_outwards_only_and_listens_where_told() -> None:
    text = sshd_config(
        host_key=Path("/s/node1.key"), authorized_keys=Path("/s/identity.pub"), listen="10.0.2.15", forwards="local"
    )
    assert text == COMMON.format(forwarding="local") + "ListenAddress 10.0.2.15\n"


def test_a_path_is_quoted_for_sshd() -> None:
    odd = Path('/a blank/100%s/it\'s "quoted"\\/\u00fc')
    text = sshd_config(host_key=odd / "node1.key", authorized_keys=odd / "identity.pub", listen=None, forwards="no")
    assert text.splitlines()[:2] == [
        r'''HostKey "/a blank/100%s/it's \"quoted\"\\/ü/node1.key"''',
        r'''AuthorizedKeysFile "/a blank/100%%s/it's \"quoted\"\\/ü/identity.pub"''',
    ]


def test_a_key_is_its_owners_alone_and_its_halves_fit(tmp_path: Path) -> None:
    key = make_key(tmp_path / "identity")
    assert key.private == tmp_path / "identity"
    assert stat.S_IMODE(key.private.stat().st_mode) == 0o600
    assert (tmp_path / "identity.pub").read_text() == f"{key.public}\n"
    loaded = paramiko.Ed25519Key.from_private_key_file(str(key.private))
    assert key.public == f"ssh-ed25519 {loaded.get_base64()}"


def test_two_keys_differ(tmp_path: Path) -> None:
    assert make_key(tmp_path / "a").public != make_key(tmp_path / "b").public


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    first = make_key(tmp_path / "identity")
    with pytest.raises(FileExistsError):
        make_key(tmp_path / "identity")
    assert (tmp_path / "identity.pub").read_text() == f"{first.public}\n"


def test_users_are_lines_of_passwd_with_root_first() -> None:
    users = [line.split(":") for line in USERS.splitlines()]
    assert [(user[0], user[2], user[6]) for user in users] == [
        ("root", "0", "/bin/sh"),
        ("sshd", "64999", "/usr/sbin/nologin"),
        ("nobody", "65534", "/usr/sbin/nologin"),
    ]
    assert {len(user) for user in users} == {7}


def test_no_user_has_a_password_or_is_locked() -> None:
    passwords = [line.split(":") for line in PASSWORDS.splitlines()]
    assert [(user[0], user[1]) for user in passwords] == [("root", "*"), ("sshd", "*")]  # sshd: "!" is locked
    assert {len(user) for user in passwords} == {9}
