from __future__ import annotations

import os
import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import ConnectionLostError
from proxybench.hosts.connect import connect
from proxybench.hosts.inventory import SshTarget
from proxybench.hosts.keys import is_encrypted, load_identities, mend_changed, mend_unknown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import paramiko

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
    assert mend_unknown(target(proxy="exec nc 100%")) == (
        "ssh -o UserKnownHostsFile=/h/known_hosts -o 'ProxyCommand=exec nc 100%%' -p 22 root@192.0.2.7 true"
    )


def test_without_any_key_it_says_so(server: Any, quick: ConnectPolicy) -> None:
    with pytest.raises(ConnectionLostError, match=r"^there is no key to show .*: name one, or use an ssh-agent$"):
        connect(replace(server.target, identity=None), None, quick)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A real ssh-agent without keys, as the user's."""
    socket = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as process:
        end = time.monotonic() + 20
        while not socket.exists():
            assert time.monotonic() < end, "no ssh-agent"
            time.sleep(0.02)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        yield
        process.terminate()


@pytest.mark.usefixtures("agent")
def test_a_key_that_only_a_running_agent_has(server: Any, quick: ConnectPolicy) -> None:
    through = replace(server.target, identity=None, agent=os.environ["SSH_AUTH_SOCK"])
    with pytest.raises(
        ConnectionLostError, match=r"^there is no key to show .*: the ssh-agent has none: ssh-add one, or name one$"
    ):
        connect(through, None, quick)
    server.identity.chmod(0o600)
    subprocess.run(["ssh-add", "-q", server.identity], check=True, stdin=subprocess.DEVNULL)
    server.identity.unlink()  # the agent signs for it
    connect(through, None, quick).close()
