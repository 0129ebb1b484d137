from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import ConnectionLostError
from proxybench.hosts.connect import LinkPool, connect
from proxybench.hosts.proxy_command import ProxyCommand
from proxybench.hosts.ssh import SshExecutor

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.hosts.connect import ConnectPolicy
    from proxybench.hosts.inventory import SshTarget

# Leads its standard input and output to a port, as nc does, and writes its pid down.
_RELAY = """
import os, socket, sys, threading
open(sys.argv[2], "a").write(f"{os.getpid()}\\n")
far = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def back():
    while data := far.recv(65536):
        os.write(1, data)
    os._exit(0)
threading.Thread(target=back, daemon=True).start()
while data := os.read(0, 65536):
    far.sendall(data)
"""


class Relayed:
    """A host that is reached by a relay only, and the relays' pids."""

    def __init__(self, server: Any, folder: Path) -> None:
        (folder / "relay.py").write_text(_RELAY)
        self.pids = folder / "pids"
        words = f"{sys.executable} '{folder}/relay.py' {server.target.port} {self.pids}"
        self.target: SshTarget = replace(server.target, proxy=words)
        # A shell between us and the relay, which knows nothing of what it started.
        self.forked = replace(self.target, proxy=f"3<&0; {words} <&3 & wait")

    def running(self) -> list[int]:
        pids = [int(pid) for pid in self.pids.read_text().split()]
        assert pids
        return [pid for pid in pids if is_there(pid)]


def is_there(pid: int) -> bool:
    """Tell whether a process runs, or is ours and has ended without our asking how."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except FileNotFoundError:
        return False
    return state != "Z" or int(parent) == os.getpid()


@pytest.fixture
def relayed(server: Any, tmp_path: Path) -> Relayed:
    return Relayed(server, tmp_path)


def in_time(tells: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not tells():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_host_is_reached_by_a_command_that_ends_with_the_connection(relayed: Relayed, quick: ConnectPolicy) -> None:
    with SshExecutor("node1", replace(relayed.target, port=1), policy=quick) as node:
        assert node.run(["wc", "-c"], stdin="x" * 3_000_000).stdout.strip() == "3000000"
        assert len(relayed.running()) == 1
    assert relayed.running() == []


def test_all_that_the_command_started_ends_with_it(relayed: Relayed, quick: ConnectPolicy) -> None:
    link = connect(relayed.forked, None, quick)
    assert len(relayed.running()) == 1
    link.close()
    in_time(lambda: relayed.running() == [])


def test_a_refused_login_and_a_wrong_key_leave_no_process(
    relayed: Relayed, new_server: Any, other_identity: Path, quick: ConnectPolicy
) -> None:
    with pytest.raises(ConnectionLostError, match=rf" refused root with the key in {other_identity}$"):
        connect(replace(relayed.target, identity=other_identity), None, quick)
    with pytest.raises(ConnectionLostError, match=r" showed another host key: "):
        connect(replace(relayed.target, host_key=new_server().target.host_key), None, quick)
    assert relayed.running() == []


def test_jump_hosts_may_be_reached_by_a_command_too(
    relayed: Relayed, new_server: Callable[[], Any], quick: ConnectPolicy
) -> None:
    pool = LinkPool(quick)
    link = pool.link(replace(new_server().target, jump=relayed.target))
    assert link.transport.is_active()
    pool.close()
    assert relayed.running() == []


def test_a_connection_whose_command_is_killed_breaks(relayed: Relayed, quick: ConnectPolicy) -> None:
    with SshExecutor("node1", relayed.target, policy=quick) as node:
        os.kill(relayed.running()[0], signal.SIGKILL)
        with pytest.raises(ConnectionLostError):
            node.run(["sleep", "20"])
    assert relayed.running() == []


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("echo no way >&2", "ended with code 0: no way"),
        ("sh -c 'echo one; echo two >&2; exit 3'", "ended with code 3: two"),
        ("sh -c 'kill -9 $$'", "was ended by SIGKILL"),
        ("sh -c 'echo three >&2; exec sleep 30'", "no answer within 0.4 s: three"),
        ("3<&0; trap '' TERM; while :; do sleep 1; done", "no answer within 0.4 s"),
    ],
)
def test_what_the_command_said_is_told(server: Any, quick: ConnectPolicy, command: str, why: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConnectionLostError) as caught:
        connect(replace(server.target, proxy=command), None, replace(quick, step=0.4))
    place = f"127.0.0.1:{server.target.port}"
    assert str(caught.value) == f"cannot connect to {place}: its ProxyCommand `{command}`: {why}"
    assert server.connections == 0
    assert time.monotonic() - began < 10


def test_a_command_without_a_shell_is_no_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/none")
    with pytest.raises(FileNotFoundError):
        ProxyCommand("true")


@pytest.mark.parametrize("ends", ["", "os.kill(os.getpid(), signal.SIGINT)"], ids=["at its end", "Ctrl-C"])
def test_a_program_that_ends_leaves_no_command(tmp_path: Path, ends: str) -> None:
    """Also where the command would not notice: it has closed what we talk by."""
    command = f"3<&0; echo $$ > {tmp_path}/pid; exec sleep 60 3<&- <&- >&-"
    text = "import os, signal, time\nfrom proxybench.hosts.proxy_command import ProxyCommand\n"
    text += f"sock = ProxyCommand('{command}')\n"
    text += (
        f"while not os.path.exists('{tmp_path}/pid') or not open('{tmp_path}/pid').read(): time.sleep(0.01)\n{ends}\n"
    )
    subprocess.run([sys.executable, "-c", text], capture_output=True, check=False, timeout=30)
    assert not is_there(int((tmp_path / "pid").read_text()))


def test_ctrl_c_on_a_terminal_is_not_the_command_s(relayed: Relayed, quick: ConnectPolicy) -> None:
    link = connect(relayed.target, None, quick)
    assert os.getsid(relayed.running()[0]) != os.getsid(0)
    link.close()


def test_a_command_may_put_its_things_in_order(tmp_path: Path) -> None:
    beginning = f"3<&0; trap 'echo > {tmp_path}/told; exit' TERM; echo ready; while :; do sleep 0.05; done"
    sock = ProxyCommand(beginning)
    assert sock.recv(5) == b"ready"
    sock.close()
    assert (tmp_path / "told").exists()
