"""One node over SSH: commands, line sessions and files through exec channels (no sftp subsystem needed)."""

from __future__ import annotations

import contextlib
import shlex
import signal
import threading
import time
import uuid
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import paramiko

from proxybench.errors import CommandFailedError, CommandTimeoutError, ConnectionLostError
from proxybench.hosts import channels, sudo
from proxybench.hosts.base import Completed
from proxybench.hosts.connect import DEFAULT_POLICY, ConnectPolicy, LinkPool
from proxybench.hosts.forward import forward
from proxybench.hosts.inventory import Sudo
from proxybench.hosts.session import SshSession, tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from proxybench.hosts.base import Executor
    from proxybench.hosts.inventory import SshTarget

_CHUNK: Final = 1 << 18
_TRANSFER_SECONDS: Final = 120.0
_END_SECONDS: Final = 2.0
_MARK: Final = "PROXYBENCH_RUN"
_SIGNAL_BASE: Final = 128  # what a shell adds to the number of the signal that ended a command
_SHOWN: Final = 160
_MOST_COMMANDS: Final = 4
"""Commands on one host at a time. sshd allows a connection 10 sessions, and those that go on need some of them."""

# $1 temporary file, $2 bytes, $3 mode, $4 final path. The size is checked since a connection that breaks half-way
# looks like the end of the input to cat.
_PUT_SCRIPT: Final = (
    "trap 'rm -f -- \"$1\"' EXIT; umask 077; "
    'cat > "$1" && [ $(wc -c < "$1") -eq "$2" ] && chmod "$3" "$1" && mv -f -- "$1" "$4"'
)

# $1 signal, $2 mark: signals every process that has the mark in its environment.
_KILL_SCRIPT: Final = (
    'for file in $(grep -lzsxF -e "$2" /proc/[0-9]*/environ); do '
    'file=${file#/proc/}; kill -s "$1" "${file%/environ}"; done'
)


@dataclass(frozen=True)
class _Raw:
    stdout: bytes
    stderr: bytes
    code: int
    signal: str | None
    seconds: float


class SshExecutor:
    """An ``Executor`` over one SSH connection; may be used from several threads at once, which take turns of four.

    A command that passes its time limit is killed with all its descendants, found by a mark in their environment
    (OpenSSH itself can signal a session, but not one of root's). Then the channel is closed. When the connection
    breaks instead, nobody kills: the command reads EOF and gets SIGPIPE at its next write; without a terminal there
    is no SIGHUP.
    """

    def __init__(
        self,
        name: str,
        target: SshTarget,
        *,
        pool: LinkPool | None = None,
        policy: ConnectPolicy = DEFAULT_POLICY,
    ) -> None:
        """Connect at once, through ``pool`` when connections are to be shared. Raises ConnectionLostError."""
        self._name = name
        self._policy = policy
        links = LinkPool(policy) if pool is None else pool
        try:
            link = links.link(target)
        except ConnectionLostError as error:
            if pool is None:
                links.close()
            raise ConnectionLostError(f"{name}: {error}") from error
        self._transport = link.transport
        self._sudo: Sudo | None = None
        self._turns = threading.BoundedSemaphore(_MOST_COMMANDS)
        self._close = links.close if pool is None else link.close
        if target.sudo is not None:
            try:
                self._sudo = self._become_root(target.sudo, target.user)
            except BaseException:
                self._close()
                raise

    @property
    def name(self) -> str:
        """The node's name."""
        return self._name

    def run(
        self, argv: Sequence[str], *, stdin: str | None = None, timeout: float = 30.0, check: bool = True
    ) -> Completed:
        """Run a command to its end; bytes that are not UTF-8 come back as backslash escapes.

        A command ended by a signal has the code that a shell would give it (128 + number). Raises
        CommandFailedError for a code other than 0 when ``check``, CommandTimeoutError, ConnectionLostError.
        """
        raw = self._exchange(argv, stdin.encode() if stdin is not None else b"", timeout, check=check)
        return Completed(_text(raw.stdout), _text(raw.stderr), raw.code, raw.seconds)

    def open(self, argv: Sequence[str]) -> SshSession:
        """Start a command that goes on. Raises ConnectionLostError, CommandTimeoutError when sshd does not react."""
        mark = _mark()
        channel = self._channel(argv, self._policy.step)
        with self._time_limit(channel, mark, self._policy.step) as expired:
            self._start(channel, argv, mark, expired, self._policy.step)
            if opening := sudo.opening(self._sudo):
                channel.sendall(opening)
        what, signalled = f"{self._name}: `{_shown(argv)}`", partial(self._transport.exit_signal, channel)
        return SshSession(what, channel, lambda: self._cut(channel, mark, "TERM"), signalled)

    def put(self, data: bytes, path: str, *, mode: int = 0o600) -> None:
        """Write a file through a temporary one beside it. Raises CommandFailedError, ConnectionLostError."""
        part = f"{path}.{uuid.uuid4().hex}.part"
        argv = ["sh", "-c", _PUT_SCRIPT, "put", part, str(len(data)), f"{mode:o}", path]
        raw = self._exchange(argv, data, _TRANSFER_SECONDS, check=False)
        if raw.code != 0:
            raise CommandFailedError(f"{self._name}: cannot write {path}: {tail(raw.stderr) or 'cut short'}")

    def get(self, path: str) -> bytes:
        """Read a file, byte by byte as it is. Raises CommandFailedError, ConnectionLostError."""
        raw = self._exchange(["cat", "--", path], b"", _TRANSFER_SECONDS, check=False)
        if raw.code != 0:
            raise CommandFailedError(f"{self._name}: cannot read {path}: {tail(raw.stderr)}")
        return raw.stdout

    @contextlib.contextmanager
    def forward(self, port: int, other: Executor) -> Iterator[int]:
        """Listen on the node's loopback, and lead who connects to ``port`` of the other node's; one at a time."""
        if not isinstance(other, SshExecutor):
            raise TypeError(f"{other.name} is not reached by SSH")
        there = other._transport  # noqa: SLF001 - of the same class
        with forward(self._name, self._transport, there, port) as near:
            yield near

    def close(self) -> None:
        """Close the connection, with the jump hosts' when they are not shared. Never raises."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _become_root(self, wanted: Sudo, user: str) -> Sudo:
        """Return how sudo is to be called here. Raises CommandFailedError when it lets this user do nothing."""
        done = self.run(sudo.NEEDS_NO_PASSWORD, check=False)
        if done.code == 0:
            return Sudo()
        if wanted.password is not None:
            done = self.run(sudo.TAKES_PASSWORD, stdin=f"{wanted.password}\n", check=False)
            if done.code == 0:
                return wanted
        why = sudo.refused(wanted, user, tail(done.stderr.encode()), done.code)
        raise CommandFailedError(f"{self._name}: {why}")

    def _exchange(self, argv: Sequence[str], stdin: bytes, timeout: float, *, check: bool) -> _Raw:
        if not self._turns.acquire(timeout=timeout):
            raise self._too_late(argv, timeout)
        try:
            return self._exchange_now(argv, stdin, timeout, check=check)
        finally:
            self._turns.release()

    def _exchange_now(self, argv: Sequence[str], stdin: bytes, timeout: float, *, check: bool) -> _Raw:
        started = time.monotonic()
        mark = _mark()
        channel = self._channel(argv, timeout)
        with self._time_limit(channel, mark, timeout) as expired:
            self._start(channel, argv, mark, expired, timeout)
            data = sudo.opening(self._sudo) + stdin
            # A thread of its own: a command may write more than 2 MiB (the SSH window) before it reads.
            writer = _thread(lambda: _feed(channel, data)) if data else None
            if writer is None:
                _feed(channel, data)
            output, errors = channels.read_both(channel)
            code = channel.recv_exit_status()
        if writer is not None:
            writer.join(_END_SECONDS)
        raw = _Raw(output, errors, code, self._transport.exit_signal(channel), time.monotonic() - started)
        if expired.is_set():  # whatever it ended with then was our doing
            raise self._too_late(argv, timeout)
        return self._judge(argv, raw, check=check)

    def _judge(self, argv: Sequence[str], raw: _Raw, *, check: bool) -> _Raw:
        if raw.signal is not None:
            number = getattr(signal, f"SIG{raw.signal}", 0)
            raw = _Raw(raw.stdout, raw.stderr, _SIGNAL_BASE + number, raw.signal, raw.seconds)
        elif raw.code < 0:
            raise self._broken(argv)
        if check and raw.code != 0:
            ended = f"was ended by SIG{raw.signal}" if raw.signal else f"ended with code {raw.code}"
            words = tail(raw.stderr)
            raise CommandFailedError(f"{self._name}: `{_shown(argv)}` {ended}{': ' + words if words else ''}")
        return raw

    def _channel(self, argv: Sequence[str], timeout: float) -> paramiko.Channel:
        try:
            return self._transport.open_session(timeout=min(timeout, self._policy.step))
        except (paramiko.SSHException, OSError, EOFError) as error:
            if str(error).startswith("Timeout"):
                raise self._too_late(argv, min(timeout, self._policy.step)) from error
            raise ConnectionLostError(f"{self._name}: sshd opened no channel ({error})") from error

    def _start(
        self, channel: paramiko.Channel, argv: Sequence[str], mark: str, expired: threading.Event, timeout: float
    ) -> None:
        try:
            channel.exec_command(sudo.command(self._sudo, argv, f"{_MARK}={mark}"))
        except (paramiko.SSHException, OSError, EOFError) as error:
            channels.close(channel)
            if expired.is_set():
                raise self._too_late(argv, timeout) from error
            if self._transport.is_active():
                why = f"{self._name}: sshd did not start `{_shown(argv)}` ({error})"
                raise ConnectionLostError(why) from error
            raise self._broken(argv) from error

    def _broken(self, argv: Sequence[str]) -> ConnectionLostError:
        return ConnectionLostError(f"{self._name}: the connection broke while `{_shown(argv)}` was running")

    def _too_late(self, argv: Sequence[str], timeout: float) -> CommandTimeoutError:
        return CommandTimeoutError(f"{self._name}: `{_shown(argv)}` did not end within {timeout:g} s")

    @contextlib.contextmanager
    def _time_limit(self, channel: paramiko.Channel, mark: str, timeout: float) -> Iterator[threading.Event]:
        expired = threading.Event()

        def cut() -> None:
            expired.set()
            self._cut(channel, mark, "KILL")

        watchdog = threading.Timer(timeout, cut)
        watchdog.daemon = True
        watchdog.start()
        try:
            yield expired
        except BaseException:  # Ctrl-C too: leave no command running over there
            self._cut(channel, mark, "KILL")
            raise
        finally:
            watchdog.cancel()

    def _cut(self, channel: paramiko.Channel, mark: str, name: str) -> None:
        """Signal the command and close its channel; when even that does not get through, drop the connection."""
        if not channel.closed and not channel.status_event.is_set():
            _thread(lambda: self._kill(mark, name)).join(self._policy.kill)
        closing = _thread(lambda: channels.close(channel))
        closing.join(_END_SECONDS)
        if closing.is_alive():
            self._transport.close()

    def _kill(self, mark: str, name: str) -> None:
        with channels.whatever_the_connection_does():
            channel = self._transport.open_session(timeout=self._policy.kill)
            try:
                killing = ["sh", "-c", _KILL_SCRIPT, "kill", name, f"{_MARK}={mark}"]
                channel.exec_command(sudo.command(self._sudo, killing))
                channel.sendall(sudo.opening(self._sudo))
                channel.status_event.wait(self._policy.kill)
            finally:
                channel.close()


def _mark() -> str:
    return uuid.uuid4().hex


def _thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _feed(channel: paramiko.Channel, data: bytes) -> None:
    # A command may end without reading its input; its code says whether that was right.
    with channels.whatever_the_connection_does():
        for start in range(0, len(data), _CHUNK):  # sendall copies the rest at each packet: keep the rest small
            channel.sendall(data[start : start + _CHUNK])
        channel.shutdown_write()


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")


def _shown(argv: Sequence[str]) -> str:
    words = shlex.join(argv)
    return words if len(words) <= _SHOWN else words[:_SHOWN] + "…"
