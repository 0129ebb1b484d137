"""Making an SSH connection: strict host keys, jump hosts or a ProxyCommand, bounded retries."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

import paramiko
from paramiko.common import MSG_CHANNEL_REQUEST
from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_before_delay, wait_random_exponential

from proxybench.errors import ConnectionLostError
from proxybench.hosts.channels import whatever_the_connection_does
from proxybench.hosts.keys import fingerprint, known_keys, load_identities, mend_changed
from proxybench.hosts.login import log_in
from proxybench.hosts.proxy_command import ProxyCommand
from proxybench.units import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paramiko.message import Message

    from proxybench.hosts.inventory import SshTarget
    from proxybench.hosts.keys import Identity

_MS_PER_S: Final = NS_PER_S // NS_PER_MS
_LOOK_SECONDS: Final = 5.0
"""How often a connection on which nothing comes looks for something to do. paramiko looks ten times a second, which for
500 of them is all that a processor can."""

# Whatever paramiko logs it also raises, and we put that into one line; its log would only repeat it with tracebacks.
_LOG = logging.getLogger("proxybench.hosts.paramiko")
_LOG.setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class ConnectPolicy:
    """How long and how often to try; times in seconds.

    ``step`` bounds each of TCP connect, key exchange, authentication and opening a channel; ``total`` and
    ``attempts`` bound the retries. ``dead`` is after how long without an acknowledgement the kernel gives a peer
    up; ``keepalive`` makes sure that there is something to acknowledge. ``kill`` is what a command that passed its
    limit is given to be ended.
    """

    step: float = 15.0
    total: float = 45.0
    attempts: int = 5
    keepalive: int = 30
    dead: float = 30.0
    kill: float = 5.0


DEFAULT_POLICY: Final = ConnectPolicy()


class Link:
    """One live SSH connection to one sshd."""

    def __init__(self, target: SshTarget, transport: SignalTransport) -> None:
        self.target = target
        self.transport = transport

    def close(self) -> None:
        """End the connection and wait until its thread has let go of the socket. Never raises."""
        self.transport.close()
        self.transport.join(timeout=2.0)


class _Tunnel:
    """A channel through a jump host, in a socket's place: closed without a word.

    The jump host's own connection may be closed at the same moment. ``Channel.close`` says that it closes, and raises
    where it cannot: paramiko's thread would end of it, before it has woken who waits for it.
    """

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> object:
        return getattr(self._channel, name)

    def close(self) -> None:
        """Close it. Never raises."""
        with whatever_the_connection_does():
            self._channel.close()


class SignalTransport(paramiko.Transport):
    """A Transport that remembers which signal ended a remote command (RFC 4254, 6.10).

    paramiko throws an ``exit-signal`` away; reading it needs an inner table.
    """

    def __init__(self, sock: socket.socket | paramiko.Channel) -> None:
        super().__init__(sock)
        self._exit_signals: dict[int, str] = {}
        self._channel_handler_table = {
            **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined] # noqa: SLF001 - inner table
            MSG_CHANNEL_REQUEST: self._channel_request,
        }

    def prefer(self, keys: Iterable[paramiko.PKey]) -> None:
        """Ask the host for a key of a type that is known, where it has several."""
        kinds = {key.get_name() for key in keys}
        kinds |= {"rsa-sha2-512", "rsa-sha2-256"} if "ssh-rsa" in kinds else set()  # which are signatures by such keys
        options = self.get_security_options()
        options.key_types = sorted(options.key_types, key=lambda kind: kind not in kinds)

    def rest(self) -> None:
        """Look less often for something to do, now that it is connected."""
        self.sock.settimeout(_LOOK_SECONDS)

    def close(self) -> None:
        """End the connection, at once: a socket that is shut down wakes the thread that waits for a packet."""
        if isinstance(self.sock, socket.socket):
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
        super().close()

    def exit_signal(self, channel: paramiko.Channel) -> str | None:
        """Return the name ("KILL") of the signal that ended the channel's command, None when there was none."""
        return self._exit_signals.get(channel.chanid)

    def _channel_request(self, channel: paramiko.Channel, message: Message) -> None:
        start = message.packet.tell()
        if message.get_text() == "exit-signal":
            message.get_boolean()
            self._exit_signals[channel.chanid] = message.get_text()
            channel.status_event.set()
        message.packet.seek(start)
        channel._handle_request(message)  # type: ignore[attr-defined] # noqa: SLF001 - what the table held before


def connect(target: SshTarget, jump: Link | None, policy: ConnectPolicy = DEFAULT_POLICY) -> Link:
    """Connect to ``target``, through ``jump`` when given, trying again what may pass (refused, reset, silent).

    Raises ConnectionLostError: at once for a wrong host key, an unusable identity or a refused login, else after
    the last attempt.
    """
    expected = known_keys(target)
    identities = load_identities(target)
    retrying = Retrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_attempt(policy.attempts) | stop_before_delay(policy.total),
        wait=wait_random_exponential(multiplier=0.1, max=2.0),
        reraise=True,
    )
    try:
        return retrying(_connect_once, target, expected, identities, jump, policy)
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise ConnectionLostError(f"cannot connect to {target.place}: {_reason(error, policy)}") from error


@dataclass
class _Turn:
    """Who connects to a host, one after the other; ``failed`` counts who could not, ``why`` is of the last."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    failed: int = 0
    why: ConnectionLostError | None = None


class LinkPool:
    """Connections that are shared: one per jump host, however many nodes lie behind it. Thread-safe."""

    def __init__(self, policy: ConnectPolicy = DEFAULT_POLICY) -> None:
        self._policy = policy
        self._lock = threading.Lock()
        self._turns: dict[SshTarget, _Turn] = {}
        self._links: dict[SshTarget, Link] = {}
        self._closed = False

    def link(self, target: SshTarget) -> Link:
        """Return the connection to ``target``, made by the first who asks. Raises ConnectionLostError.

        Where that fails, so it does for all who have waited for it; who asks later tries anew.
        """
        with self._lock:
            own = self._turns.setdefault(target, _Turn())
        failed = own.failed
        with own.lock:  # others wait here for the one connection instead of making their own
            known = self._links.get(target)
            if known is not None and known.transport.is_active():
                return known
            if own.failed != failed:  # while we waited: each would wait for as long, one after the other
                raise ConnectionLostError(str(own.why)) from own.why
            try:
                made = connect(target, self.link(target.jump) if target.jump else None, self._policy)
            except ConnectionLostError as error:
                own.failed, own.why = own.failed + 1, error
                raise
            with self._lock:
                if not self._closed:
                    self._links[target] = made
                    return made
        made.close()
        raise ConnectionLostError(f"{target.place}: the pool was closed while connecting")

    def close(self) -> None:
        """Close every connection, those behind a jump host before it. Never raises."""
        with self._lock:
            self._closed = True
            links = sorted(self._links.values(), key=lambda link: -_hops(link.target))
            self._links.clear()
        for link in links:
            link.close()


def _connect_once(
    target: SshTarget,
    expected: Sequence[paramiko.PKey],
    identities: Sequence[Identity],
    jump: Link | None,
    policy: ConnectPolicy,
) -> Link:
    sock = _dial(target, jump, policy)
    transport = None
    try:
        transport = SignalTransport(sock)
        transport.set_log_channel(_LOG.name)
        transport.banner_timeout = transport.auth_timeout = transport.channel_timeout = policy.step
        transport.prefer(expected)
        transport.start_client(timeout=policy.step)
        _check(target, expected, transport.get_remote_server_key())
        log_in(transport, target, identities)
    except BaseException as error:
        blamed = ""
        if isinstance(sock, ProxyCommand) and isinstance(error, (paramiko.SSHException, OSError, EOFError)):
            blamed = sock.blamed(_reason(error, policy))
        _abandon(transport, sock)
        if blamed:
            raise ConnectionError(blamed) from error
        raise
    transport.set_keepalive(policy.keepalive)
    transport.rest()
    return Link(target, transport)


def _check(target: SshTarget, expected: Sequence[paramiko.PKey], shown: paramiko.PKey) -> None:
    if shown not in expected:
        wanted = ", ".join(fingerprint(key) for key in expected)
        message = f"{target.place} showed another host key: expected {wanted}, found {fingerprint(shown)}"
        raise ConnectionLostError(message + mend_changed(target))


def _dial(target: SshTarget, jump: Link | None, policy: ConnectPolicy) -> socket.socket | paramiko.Channel:
    if jump is not None:
        there, here = (target.host, target.port), ("127.0.0.1", 0)
        tunnel = _Tunnel(jump.transport.open_channel("direct-tcpip", there, here, timeout=policy.step))
        return cast("paramiko.Channel", tunnel)  # it has all that a channel has
    if target.proxy:
        return ProxyCommand(target.proxy)
    sock = socket.create_connection((target.host, target.port), timeout=policy.step)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Without it a write to a peer that vanished (or never reads) would block for a quarter of an hour.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(policy.dead * _MS_PER_S))
    return sock


def _abandon(transport: paramiko.Transport | None, sock: socket.socket | paramiko.Channel) -> None:
    if transport is not None:
        transport.close()
        if transport.is_alive():
            transport.join(timeout=2.0)
    sock.close()


def _may_pass(error: BaseException) -> bool:
    broken = isinstance(error, (OSError, EOFError, paramiko.SSHException))
    return broken and not isinstance(error, socket.gaierror)


def _reason(error: Exception, policy: ConnectPolicy) -> str:
    # paramiko's words for a peer that accepts the connection and then keeps silent.
    silent = ("No existing session", "Error reading SSH protocol banner", "Timeout opening channel")
    if isinstance(error, TimeoutError) or str(error).startswith(silent):
        return f"no answer within {policy.step:g} s"
    if isinstance(error, paramiko.ChannelException):
        return f"the jump host could not reach it ({error.text})"
    if isinstance(error, OSError) and error.errno == errno.EMFILE:
        return "this program may open no more files: ulimit -n 4096"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _hops(target: SshTarget) -> int:
    return 0 if target.jump is None else 1 + _hops(target.jump)
