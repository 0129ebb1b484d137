from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import paramiko
import pytest

from proxybench.errors import ConnectionLostError, UsageError
from proxybench.hosts import keys
from proxybench.hosts.connect import connect
from proxybench.hosts.fleet import reach
from proxybench.hosts.keys import keys_of_agent
from proxybench.hosts.secrets import Secrets
from proxybench.hosts.ssh_config import HostWords, SshConfig

from .conftest import new_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxybench.hosts.connect import ConnectPolicy
    from proxybench.hosts.inventory import SshTarget


def add(*keys: Path, **how: Any) -> None:
    for key in keys:
        key.chmod(0o600)
    subprocess.run(["ssh-add", "-q", *how.get("options", ()), *keys], check=True, stdin=subprocess.DEVNULL)


def public(key: Path) -> Path:
    """Write the public half beside a key, and take the private one away."""
    said = subprocess.run(["ssh-keygen", "-y", "-f", key], check=True, capture_output=True, text=True).stdout
    file = key.with_name(f"{key.name}.pub")
    file.write_text(said)
    key.unlink()
    return file


def strangers(folder: Path, count: int) -> list[Path]:
    """Return keys that nobody takes."""
    files = [folder / f"stranger{number}" for number in range(count)]
    for file in files:
        file.write_text(new_key()[1])
        file.chmod(0o600)
    return files


def refusal(target: SshTarget, quick: ConnectPolicy) -> str:
    with pytest.raises(ConnectionLostError) as caught:
        connect(target, None, quick)
    return str(caught.value).replace(target.place, "PLACE")


def test_every_key_is_offered_in_turn(server: Any, quick: ConnectPolicy, tmp_path: Path) -> None:
    one, two = strangers(tmp_path, 2)
    connect(replace(server.target, identity=one, further=(server.identity, two)), None, quick).close()
    assert len(server.offered) == 2
    said = refusal(replace(server.target, identity=one, further=(two, tmp_path / "none")), quick)
    assert said == (
        f"PLACE refused root with the key in {one} and the key in {two}; the key in {tmp_path}/none was not offered: "
        f"[Errno 2] No such file or directory: '{tmp_path}/none'"
    )
    assert server.connections == 2


def test_two_usual_keys(server: Any, quick: ConnectPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    folder = tmp_path / ".ssh"
    folder.mkdir()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{server.target.port} {server.target.host_key}\n")
    (folder / "id_ed25519").write_text(new_key()[1])
    (folder / "id_rsa").write_text(server.identity.read_text())
    target = SshConfig(Secrets({}), home=tmp_path).target(HostWords("127.0.0.1", server.target.port, "root"))
    connect(target, None, quick).close()


def test_a_key_that_only_a_running_agent_has(server: Any, quick: ConnectPolicy, agent: str) -> None:
    through = replace(server.target, identity=None, agent=agent)
    assert refusal(through, quick) == "there is no key to show PLACE: the ssh-agent has none: ssh-add one, or name one"
    add(server.identity)
    server.identity.unlink()  # the agent signs for it
    connect(through, None, quick).close()


def test_an_agent_that_is_gone_or_is_none_has_no_keys(server: Any, quick: ConnectPolicy, tmp_path: Path) -> None:
    for path in (tmp_path / "gone", tmp_path):
        assert "the ssh-agent has none" in refusal(replace(server.target, identity=None, agent=str(path)), quick)


def test_of_an_agent_s_keys_those_that_files_name_are_the_first(
    server: Any, quick: ConnectPolicy, agent: str, tmp_path: Path
) -> None:
    """Also where nothing but the public half is here, as of a key in hardware or in a password manager."""
    add(*strangers(tmp_path, 7), server.identity)
    file = public(server.identity)
    for named in (file, server.identity):
        connect(replace(server.target, identity=named, agent=agent), None, quick).close()
    connect(replace(server.target, identity=file, agent=agent, only=True), None, quick).close()
    assert len(server.offered) == 3


def test_with_only_named_keys_no_other_of_the_agent_s_is_offered(
    server: Any, quick: ConnectPolicy, agent: str, tmp_path: Path
) -> None:
    stranger, other = strangers(tmp_path, 2)
    add(stranger, server.identity)
    file = public(stranger)
    only = replace(server.target, identity=file, agent=agent, only=True)
    assert refusal(only, quick) == f"PLACE refused root with the key in {file}"
    assert len(server.offered) == 1
    file = public(other)
    said = refusal(replace(only, identity=file), quick)
    assert said.startswith(
        "there is no key to show PLACE: the ssh-agent has none of those that are named (IdentitiesOnly): ssh-add one, "
        f"or name one; the key in {file} was not offered: "
    )


def test_a_server_that_takes_no_more_tries_is_told_with_what_mends_it(
    server: Any, quick: ConnectPolicy, agent: str, tmp_path: Path
) -> None:
    add(*strangers(tmp_path, 11), server.identity)
    said = refusal(replace(server.target, identity=None, agent=agent), quick)
    assert said.replace("show 11", "show 10") == (  # paramiko's server answers the last one before it ends
        "PLACE let root show 10 of 12 keys (MaxAuthTries of its sshd); "
        "name the right one: `key` in the inventory, or IdentityFile and IdentitiesOnly in ~/.ssh/config"
    )
    assert server.connections == 1


def test_an_agent_that_does_not_sign(server: Any, quick: ConnectPolicy, agent: str) -> None:
    add(server.identity, options=["-c"])  # it asks somebody, and nobody is there
    said = refusal(replace(server.target, identity=None, agent=agent), quick)
    assert said == "cannot log in to PLACE with the agent's keys: key cannot be used for signing"
    assert server.connections == 1


def test_a_server_to_which_a_key_is_not_enough(server: Any, quick: ConnectPolicy) -> None:
    server.wants_more = True
    assert refusal(server.target, quick) == f"PLACE wants more of root than the key in {server.identity}: publickey"


def test_without_any_key_it_says_so(server: Any, quick: ConnectPolicy) -> None:
    said = refusal(replace(server.target, identity=None), quick)
    assert said == "there is no key to show PLACE: name one, or use an ssh-agent"


def test_a_server_that_does_not_answer_a_login(server: Any, quick: ConnectPolicy) -> None:
    server.silent = True
    said = refusal(server.target, replace(quick, step=0.3, attempts=1))
    assert said == "cannot connect to PLACE: no answer within 0.3 s"


def test_of_a_named_key_that_an_agent_has_no_passphrase_is_asked_for(agent: str, tmp_path: Path) -> None:
    folder = tmp_path / ".ssh"
    folder.mkdir()
    (key,) = strangers(folder, 1)
    add(key)
    (folder / "config").write_text(f"IdentityFile {key}\nIdentitiesOnly yes\nIdentityAgent {agent}\n")
    said = subprocess.run(["ssh-keygen", "-y", "-f", key], check=True, capture_output=True, text=True).stdout
    key.with_name(f"{key.name}.pub").write_text(said)
    subprocess.run(["ssh-keygen", "-q", "-p", "-f", key, "-P", "", "-N", "secret"], check=True)
    config = SshConfig(Secrets({}, lambda _: None), home=tmp_path)
    found = config.target(HostWords("near", user="me"))
    assert (found.identity, found.passphrase, found.agent, found.only) == (key, None, agent, True)
    subprocess.run(["ssh-add", "-q", "-D"], check=True)
    with pytest.raises(UsageError, match=f"^the passphrase of {key} is needed, and nobody can be asked; "):
        SshConfig(Secrets({}, lambda _: None), home=tmp_path).target(HostWords("near", user="me"))


@pytest.fixture
def slow_agent(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowAgent]:
    monkeypatch.setattr("proxybench.hosts.keys.LIST_SECONDS", 0.3)
    with SlowAgent(tmp_path / "slow", paramiko.PKey.from_path(server.identity)) as agent:
        yield agent


class SlowAgent:
    """An ssh-agent that takes its time, in seconds; for None it never answers."""

    def __init__(self, path: Path, key: paramiko.PKey) -> None:
        self.path, self._key = str(path), key
        self.lists: float | None = 0
        self.signs: float | None = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._answer, args=self._listener.accept()[:1], daemon=True).start()

    def _answer(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            while head := sock.recv(4):
                question = paramiko.Message(sock.recv(int.from_bytes(head, "big")))
                lists = question.get_byte() == b"\x0b"
                answer = paramiko.Message()
                if lists:
                    answer.add_byte(b"\x0c").add_int(1).add_string(self._key.asbytes()).add_string("slow")
                else:
                    question.get_binary()
                    answer.add_byte(b"\x0e").add_string(self._key.sign_ssh_data(question.get_binary()).asbytes())
                self._ended.wait(self.lists if lists else self.signs)
                sock.sendall(len(answer.asbytes()).to_bytes(4, "big") + answer.asbytes())


MEND = "start it anew, or write IdentityAgent none in ~/.ssh/config"


def test_an_agent_that_does_not_say_which_keys_it_has_is_named(
    server: Any, quick: ConnectPolicy, slow_agent: SlowAgent
) -> None:
    slow_agent.lists = None
    said = f"the ssh-agent at {slow_agent.path} did not answer within 0.3 s; {MEND}"
    assert refusal(replace(server.target, agent=slow_agent.path), quick) == said
    with pytest.raises(ConnectionLostError) as caught:
        keys_of_agent(slow_agent.path)
    assert str(caught.value) == said
    assert server.connections == 1


def test_hosts_behind_a_jump_host_wait_for_such_an_agent_once_and_not_one_after_the_other(
    server: Any, quick: ConnectPolicy, slow_agent: SlowAgent
) -> None:
    slow_agent.lists = None
    jump = replace(server.target, agent=slow_agent.path)
    fleet, lost = reach({f"n{port}": replace(server.target, port=port, jump=jump) for port in range(1, 9)}, quick)
    said = f"the ssh-agent at {slow_agent.path} did not answer within 0.3 s; {MEND}"
    assert (list(fleet), lost) == ([], {f"n{port}": f"n{port}: {said}" for port in range(1, 9)})
    assert server.connections == 1


def test_an_agent_that_takes_no_more_connections_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxybench.hosts.keys.LIST_SECONDS", 1.0)
    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(path)
        listener.listen(0)
        waiting.connect(path)
        with pytest.raises(ConnectionLostError) as caught:
            keys_of_agent(path)
    assert str(caught.value) == f"the ssh-agent at {path} did not answer within 1 s; {MEND}"


def test_an_agent_that_never_signs_is_named(
    server: Any, quick: ConnectPolicy, slow_agent: SlowAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxybench.hosts.keys.SIGN_SECONDS", 0.5)
    slow_agent.signs = None
    said = refusal(replace(server.target, identity=None, agent=slow_agent.path), quick)
    assert said == f"the ssh-agent at {slow_agent.path} did not answer within 0.5 s; {MEND}"
    assert server.connections == 1


def test_an_agent_that_waits_for_somebody_s_hand_may_take_longer_than_a_server(
    server: Any, quick: ConnectPolicy, slow_agent: SlowAgent
) -> None:
    slow_agent.signs = 1.0
    connect(replace(server.target, identity=None, agent=slow_agent.path), None, replace(quick, step=0.5)).close()


def test_while_an_agent_signs_others_wait_longer_for_its_keys(
    server: Any, quick: ConnectPolicy, slow_agent: SlowAgent
) -> None:
    """One that waits for a hand answers nobody else meanwhile."""
    slow_agent.signs = 1.5
    target = replace(server.target, identity=None, agent=slow_agent.path)
    first = threading.Thread(target=lambda: connect(target, None, quick).close())
    first.start()
    while not keys._SIGNING:
        time.sleep(0.01)
    slow_agent.lists = 0.6
    assert len(keys_of_agent(slow_agent.path)) == 1
    first.join()
