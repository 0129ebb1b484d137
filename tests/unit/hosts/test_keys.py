from __future__ import annotations

import base64
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import paramiko
import pytest

from proxybench.errors import ConnectionLostError
from proxybench.hosts.connect import connect
from proxybench.hosts.inventory import SshTarget
from proxybench.hosts.keys import is_encrypted, load_identities, mend_changed, mend_unknown, public_half

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.hosts.connect import ConnectPolicy


def keygen(path: Path, kind: str, phrase: str, *more: str) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-f", str(path), "-N", phrase, *more], check=True)
    return path


def target(**changes: Any) -> SshTarget:
    return replace(SshTarget("192.0.2.7", 22, "root", None, "", known_hosts="/h/known_hosts"), **changes)


def private(of: SshTarget) -> paramiko.PKey:
    """Return the private half of the one key that a file names."""
    (found,) = load_identities(of)
    assert found.private is not None
    return found.private


@pytest.mark.parametrize(
    ("kind", "more"), [("ed25519", ()), ("rsa", ()), ("rsa", ("-m", "PEM")), ("ecdsa", ())], ids=str
)
def test_a_key_of_any_type_with_a_passphrase(tmp_path: Path, kind: str, more: tuple[str, ...]) -> None:
    path = keygen(tmp_path / "key", kind, "secret", *more)
    assert is_encrypted(path)
    key = private(target(identity=path, passphrase="secret"))
    assert key.get_base64() == (tmp_path / "key.pub").read_text().split()[1]
    with pytest.raises(ConnectionLostError, match=rf"^cannot use {path} as an identity: "):
        private(target(identity=path, passphrase="other"))
    with pytest.raises(ConnectionLostError, match=r"assword.* (not provided|not given)"):
        private(target(identity=path))
    assert "secret" not in repr(target(passphrase="secret"))


def test_a_passphrase_beside_a_key_that_needs_none(tmp_path: Path) -> None:
    path = keygen(tmp_path / "key", "ed25519", "")
    assert not is_encrypted(path)
    assert private(target(identity=path, passphrase="secret")).can_sign()


def test_a_passphrase_that_is_wrong_is_tried_once_for_all_hosts(tmp_path: Path) -> None:
    path = keygen(tmp_path / "key", "ed25519", "secret")
    wanted = target(identity=path, passphrase="other", agent="/none")
    first = load_identities(wanted)
    assert load_identities(wanted)[0] is first[0]


def test_a_key_of_a_type_that_cannot_be_read_here(server: Any, quick: ConnectPolicy, tmp_path: Path) -> None:
    """As one in hardware (sk-ssh-ed25519) is: an agent may have it, and other keys count."""
    path = keygen(tmp_path / "key", "ed25519", "")
    first, *lines, last = path.read_text().splitlines()
    content = base64.b64decode("".join(lines)).replace(b"ssh-ed25519", b"sk-ed-25519")
    path.write_text("\n".join([first, base64.b64encode(content).decode(), last, ""]))
    assert not is_encrypted(path)
    connect(replace(server.target, identity=path, further=(server.target.identity,)), None, quick).close()
    with pytest.raises(ConnectionLostError, match=rf"^cannot use {path} as an identity: Unsupported key type: "):
        load_identities(target(identity=path))


def test_a_key_that_was_made_anew_is_read_anew(tmp_path: Path) -> None:
    path = keygen(tmp_path / "key", "ed25519", "secret")
    first = private(target(identity=path, passphrase="secret"))
    assert private(target(identity=path, passphrase="secret")) is first
    path.unlink()
    second = private(target(identity=keygen(path, "ed25519", ""), passphrase="secret"))
    assert first.get_base64() != second.get_base64()


def test_an_unknown_host_is_refused_with_the_line_that_mends_it(quick: ConnectPolicy) -> None:
    with pytest.raises(ConnectionLostError) as caught:
        connect(target(port=2222), None, quick)
    assert str(caught.value) == (
        "the host key of 192.0.2.7:2222 is not known: [192.0.2.7]:2222 is not in /h/known_hosts; "
        "compare what it shows, then add it: ssh-keyscan -p 2222 192.0.2.7 >> /h/known_hosts"
    )


def test_a_changed_key_is_refused_with_the_line_that_mends_it(new_server: Any, quick: ConnectPolicy) -> None:
    server, other = new_server(), new_server()
    wrong = replace(server.target, host_key=other.target.host_key, known_hosts="/h/known_hosts")
    with pytest.raises(ConnectionLostError) as caught:
        connect(wrong, None, quick)
    name = f"[127.0.0.1]:{wrong.port}"
    assert str(caught.value).endswith(
        "; somebody may listen in. If it was changed on purpose: "
        f"ssh-keygen -f /h/known_hosts -R '{name}' && ssh-keyscan -p {wrong.port} 127.0.0.1 >> /h/known_hosts"
    )
    assert mend_changed(target(known_hosts="")) == ""


def test_one_of_several_known_keys_is_enough(server: Any, quick: ConnectPolicy, tmp_path: Path) -> None:
    rsa = keygen(tmp_path / "rsa", "rsa", "").with_suffix(".pub").read_text()
    connect(replace(server.target, host_key=f"{rsa}{server.target.host_key}"), None, quick).close()


def test_behind_a_jump_host_ssh_itself_adds_the_key() -> None:
    """With the jump hosts and the name that it would not know of by itself; so it asks for what we look for."""
    far = target(host="2001:db8::9", port=24, user="you", jump=target(host="gate"))
    assert mend_unknown(target(jump=far, user="me", alias="one")) == (
        "ssh -o UserKnownHostsFile=/h/known_hosts -o HostKeyAlias=one "
        "-J 'root@gate:22,you@[2001:db8::9]:24' -p 22 me@192.0.2.7 true"
    )
    assert mend_unknown(target(proxy="nc 100%")) == (
        "ssh -o UserKnownHostsFile=/h/known_hosts -o 'ProxyCommand=nc 100%%' -p 22 root@192.0.2.7 true"
    )


def test_either_of_two_known_keys_of_one_type_is_enough(
    new_server: Any, server: Any, quick: ConnectPolicy, tmp_path: Path
) -> None:
    other = new_server().target.host_key
    for lines in (f"{other}\n{server.target.host_key}", f"{server.target.host_key}\n{other}"):
        connect(replace(server.target, host_key=lines), None, quick).close()
    with pytest.raises(ConnectionLostError, match=r" expected ssh-ed25519 SHA256:\S+, ssh-ed25519 SHA256:\S+, found "):
        connect(replace(server.target, host_key=f"{other}\n{new_server().target.host_key}"), None, quick)


@pytest.mark.parametrize(("second", "other"), [("ecdsa", "rsa"), ("rsa", "ecdsa")])
def test_a_host_of_several_keys_is_asked_for_one_of_a_type_that_is_known(
    server: Any, quick: ConnectPolicy, tmp_path: Path, second: str, other: str
) -> None:
    server.more_keys.append(paramiko.PKey.from_path(keygen(tmp_path / "second", second, "")))
    keygen(tmp_path / "other", other, "")
    known = (tmp_path / "other.pub").read_text() + (tmp_path / "second.pub").read_text()
    connect(replace(server.target, host_key=known), None, quick).close()


def test_a_known_key_of_a_type_that_cannot_be_checked_is_passed_over(server: Any, quick: ConnectPolicy) -> None:
    lines = f"ssh-dss AAAAB3NzaC1kc3M=\nsk-ssh-ed25519@openssh.com AAAA\n{server.target.host_key}"
    connect(replace(server.target, host_key=lines), None, quick).close()


def test_the_public_half_of_a_key_lies_in_its_file_or_beside_it(tmp_path: Path) -> None:
    path = keygen(tmp_path / "key", "ed25519", "secret", "-C", "büro")
    wanted = base64.b64decode((tmp_path / "key.pub").read_text().split()[1])
    assert public_half(path) == public_half(tmp_path / "key.pub") == wanted
    for text in ("", "ssh-ed25519", "ssh-rsa " + base64.b64encode(wanted).decode(), "ssh-ed25519 !"):
        (tmp_path / "key.pub").write_text(text)
        assert public_half(path) is None
