"""A real SSH server on 127.0.0.1, inside the test process: exec runs real programs, direct-tcpip really forwards."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import paramiko
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paramiko.common import MSG_CHANNEL_REQUEST, cMSG_CHANNEL_REQUEST

from proxybench.hosts import channels
from proxybench.hosts.connect import ConnectPolicy
from proxybench.hosts.inventory import SshTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

QUICK = ConnectPolicy(step=8.0, total=10.0, attempts=2, keepalive=30, dead=5.0)


def new_key() -> tuple[paramiko.Ed25519Key, str]:
    """Return a fresh key and its private file's text."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return paramiko.Ed25519Key(file_obj=io.StringIO(pem.decode())), pem.decode()


class _ServerTransport(paramiko.Transport):
    """Starts an accepted command only after the client was told so, as sshd does."""

    _active_check_timeout = 0.02  # how soon its thread notices that the test is over

    def __init__(self, sock: socket.socket, server: SshServer) -> None:
        super().__init__(sock)
        self._ssh_server = server
        self._channel_handler_table = {
            **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]  # inner table
            MSG_CHANNEL_REQUEST: self._request,
        }

    def _request(self, channel: paramiko.Channel, message: paramiko.Message) -> None:
        channel._handle_request(message)  # type: ignore[attr-defined]  # stubs leave inner methods out
        while self._ssh_server.accepted:
            self._ssh_server.spawn(self._ssh_server.accepted.pop())

    def await_channel(self, chanid: int) -> paramiko.Channel:
        """Return the channel that was just allowed; paramiko makes it known a moment later. Raises EOFError."""
        while (channel := self._channels.get(chanid)) is None:  # type: ignore[attr-defined]  # inner table
            if not self.is_active():
                raise EOFError
            time.sleep(0.005)
        return channel  # type: ignore[no-any-return]  # of an inner table


class _Interface(paramiko.ServerInterface):
    def __init__(self, server: SshServer, transport: _ServerTransport) -> None:
        self.server = server
        self.transport = transport

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.server.offered.append(key.get_base64())
        if self.server.silent:
            self.server.released.wait(20)
        good = username == "root" and key == self.server.client_key
        if good and self.server.wants_more:
            return paramiko.AUTH_PARTIALLY_SUCCESSFUL  # type: ignore[attr-defined,no-any-return]
        return paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED  # type: ignore[attr-defined,no-any-return]

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED  # type: ignore[attr-defined,no-any-return]

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        text = command.decode()
        plain = re.sub(r"^(PROXYBENCH_RUN=\w+ )?exec ", "", text)
        self.server.commands.append(plain)
        if plain == "deaf":  # never answers the request itself: keeps the connection's thread busy
            self.server.released.wait(20)
            return False
        self.server.accepted.append(lambda: self.server.execute(channel, text, plain))
        return plain != "refused"

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        try:
            onward = socket.create_connection(destination, timeout=5)
        except OSError:
            return paramiko.OPEN_FAILED_CONNECT_FAILED  # type: ignore[attr-defined,no-any-return]
        self.server.forwards.append(destination)
        self.server.spawn(lambda: self.server.lead_on(self.transport, chanid, onward))
        return paramiko.OPEN_SUCCEEDED  # type: ignore[attr-defined,no-any-return]

    def check_port_forward_request(self, address: str, port: int) -> int:
        if self.server.closed_to_forwards:
            return 0
        listener = socket.create_server((address, port))
        self.server.listeners.append(listener)
        self.server.spawn(lambda: self.server.lead_back(self.transport, listener))
        return int(listener.getsockname()[1])

    def cancel_port_forward_request(self, address: str, port: int) -> None:
        for listener in self.server.listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.server.listeners.clear()


@dataclass
class SshServer:
    """One sshd; ``target`` says how to reach it."""

    identity: Path
    client_key: paramiko.PKey
    commands: list[str] = field(default_factory=list)
    forwards: list[tuple[str, int]] = field(default_factory=list)
    accepted: list[Callable[[], None]] = field(default_factory=list)
    offered: list[str] = field(default_factory=list)  # public keys, by those who log in
    more_keys: list[paramiko.PKey] = field(default_factory=list)  # of the host
    wants_more: bool = False  # than a key
    silent: bool = False  # to those who log in
    connections: int = 0
    late: float = 0.0  # seconds during which connections are refused
    closed_to_forwards: bool = False
    loses_half: bool = False  # of what commands are to read
    listeners: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key, _ = new_key()
        self.released = threading.Event()
        self.threads: list[threading.Thread] = []
        self.transports: list[_ServerTransport] = []
        self.processes: dict[paramiko.Channel, subprocess.Popen[bytes]] = {}
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        if not self.late:
            self.listener.listen()
        self.spawn(self._accept)

    @property
    def target(self) -> SshTarget:
        host_key = f"ssh-ed25519 {self.key.get_base64()} lab"
        return SshTarget("127.0.0.1", self.listener.getsockname()[1], "root", self.identity, host_key, jump=None)

    def behind(self, jump: SshServer) -> SshTarget:
        return replace(self.target, jump=jump.target)

    def spawn(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self.threads.append(thread)
        thread.start()

    def execute(self, channel: paramiko.Channel, command: str, plain: str) -> None:
        if plain == "drop":
            channel.sendall(b"half a li")
            channel.transport.close()  # type: ignore[union-attr]  # a channel here has one
            return
        if plain in {"hang", "refused"}:
            return
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.processes[channel] = process
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self.spawn(lambda: self._into(channel, process.stdin))
        stderr = threading.Thread(target=self._out, args=(process.stderr, channel.sendall_stderr))
        stderr.start()
        self._out(process.stdout, channel.sendall)
        stderr.join()
        self._report_end(channel, process.wait())

    def lead_on(self, transport: _ServerTransport, chanid: int, onward: socket.socket) -> None:
        with onward, contextlib.suppress(EOFError):
            self.forward(transport.await_channel(chanid), onward)

    def forward(self, channel: paramiko.Channel, onward: socket.socket) -> None:
        back = threading.Thread(target=self._out, args=(onward.makefile("rb", 0), channel.sendall))
        back.start()
        with contextlib.suppress(OSError):
            while data := channel.recv(65536):
                onward.sendall(data)
        with contextlib.suppress(OSError):
            onward.shutdown(socket.SHUT_RDWR)
        back.join()
        onward.close()
        channels.close(channel)

    def lead_back(self, transport: _ServerTransport, listener: socket.socket) -> None:
        with channels.whatever_the_connection_does():
            while True:
                sock, origin = listener.accept()
                try:
                    channel = transport.open_forwarded_tcpip_channel(origin, listener.getsockname())
                except BaseException:
                    sock.close()
                    raise
                self.spawn(lambda channel=channel, sock=sock: self.forward(channel, sock))  # type: ignore[misc]

    def close(self) -> None:
        self.released.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for transport in self.transports:
            transport.close()
            transport.join(5)
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for thread in self.threads:
            thread.join(5)

    def _accept(self) -> None:
        if self.late:
            time.sleep(self.late)
            self.listener.listen()
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            transport = _ServerTransport(sock, self)
            transport.set_log_channel("test.sshd")
            for key in (self.key, *self.more_keys):
                transport.add_server_key(key)
            self.transports.append(transport)
            with channels.whatever_the_connection_does():
                transport.start_server(event=threading.Event(), server=_Interface(self, transport))

    def _into(self, channel: paramiko.Channel, stdin: Any) -> None:
        with contextlib.suppress(OSError, ValueError), stdin:
            while data := channel.recv(65536):
                stdin.write(data[: len(data) // 2] if self.loses_half else data)
                stdin.flush()

    @staticmethod
    def _out(stream: Any, send: Callable[[bytes], None]) -> None:
        with channels.whatever_the_connection_does(), stream:
            while data := stream.read1(65536) if hasattr(stream, "read1") else stream.read(65536):
                send(data)

    @staticmethod
    def _report_end(channel: paramiko.Channel, code: int) -> None:
        with channels.whatever_the_connection_does():
            if code >= 0:
                channel.send_exit_status(code)
            else:
                message = paramiko.Message()
                message.add_byte(cMSG_CHANNEL_REQUEST)
                message.add_int(channel.remote_chanid)
                message.add_string("exit-signal")
                message.add_boolean(False)  # noqa: FBT003 - positional in paramiko
                message.add_string(signal.Signals(-code).name.removeprefix("SIG"))
                message.add_boolean(False)  # noqa: FBT003 - no core dump
                message.add_string("")
                message.add_string("")
                channel.transport._send_user_message(message)  # type: ignore[union-attr]  # inner method
            channel.close()


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[..., SshServer]]:
    """Make servers that share one client key."""
    key, pem = new_key()
    identity = tmp_path / "id_ed25519"
    identity.write_text(pem)
    servers: list[SshServer] = []

    def make(late: float = 0.0) -> SshServer:
        servers.append(SshServer(identity, key, late=late))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def server(new_server: Callable[..., SshServer]) -> SshServer:
    return new_server()


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real ssh-agent without keys, as the user's."""
    socket_file = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket_file], stdout=subprocess.DEVNULL) as process:
        end = time.monotonic() + 20
        while not socket_file.exists():
            assert time.monotonic() < end, "no ssh-agent"
            time.sleep(0.02)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket_file))
        yield str(socket_file)
        process.terminate()


@pytest.fixture
def quick() -> ConnectPolicy:
    return QUICK


@pytest.fixture
def other_identity(tmp_path: Path) -> Path:
    path = tmp_path / "other"
    path.write_text(new_key()[1])
    return path
