"""Keys of both sides of an SSH connection: what a host may show, and what we show."""

from __future__ import annotations

import base64
import contextlib
import shlex
import socket
import struct
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Final

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.pkey import UnknownKeyType

from proxybench.errors import ConnectionLostError

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.hosts.inventory import SshTarget

LIST_SECONDS: Final = 10.0
"""For an ssh-agent to say which keys it has."""
SIGN_SECONDS: Final = 60.0
"""For an ssh-agent to sign: somebody may have to touch a key in hardware, or to agree."""
_SIGNING: Final[set[Agent]] = set()
_ONE_AT_A_TIME: Final = Lock()
_UNREADABLE: Final = (
    OSError, ValueError, TypeError, IndexError, paramiko.SSHException, UnknownKeyType, UnsupportedAlgorithm
)  # fmt: skip
"""What reading a key raises. TypeError: it is encrypted, and there is no passphrase."""


def known_keys(target: SshTarget) -> tuple[paramiko.PKey, ...]:
    """Return the public keys that the host may show. Raises ConnectionLostError when none is known, or one is none."""
    lines = target.host_key.splitlines()
    if not lines:
        file = target.known_hosts or "~/.ssh/known_hosts"
        what = f"the host key of {target.place} is not known: {target.known_name} is not in {file}"
        raise ConnectionLostError(f"{what}; compare what it shows, then add it: {mend_unknown(target)}")
    found = []
    for line in lines:  # some may be of a type that we cannot check, such as ssh-dss: the others count
        with contextlib.suppress(ValueError, paramiko.SSHException, UnknownKeyType):
            found.append(_public_key(line))
    if not found:
        raise ConnectionLostError(f"the host key given for {target.place} is not a public key")
    return tuple(found)


@dataclass(frozen=True)
class Identity:
    """A key that a file names. ``private`` is None where we cannot read that half, and ``why`` says the reason.

    ``public`` is what an agent knows it by, None where that is not known; ``locked``: it lacks a passphrase.
    """

    file: Path
    private: paramiko.PKey | None
    public: bytes | None
    why: str = ""
    locked: bool = False


def load_identities(target: SshTarget) -> tuple[Identity, ...]:
    """Return the keys that files name, in order. Raises ConnectionLostError when none is usable, and no agent runs."""
    files = () if target.identity is None else (target.identity, *target.further)
    found = tuple(_load(file, target.passphrase) for file in files)
    if found and not target.agent and not any(one.private for one in found):
        raise ConnectionLostError(f"cannot use {found[0].file} as an identity: {found[0].why}")
    return found


def is_encrypted(file: Path) -> bool:
    """Tell whether a private key needs a passphrase; False for what is no key."""
    return _load(file, None).locked


def _load(file: Path, passphrase: str | None) -> Identity:
    version = 0
    with contextlib.suppress(OSError):
        version = file.stat().st_mtime_ns
    with _ONE_AT_A_TIME:  # all hosts wait for the first, which takes a tenth of a second for an encrypted key
        open_one = _read(file, None, version)
        # A passphrase for a key that has none is an error; one default passphrase may stand beside keys of both kinds.
        return _read(file, passphrase.encode(), version) if open_one.locked and passphrase is not None else open_one


@lru_cache(maxsize=64)
def _read(file: Path, secret: bytes | None, version: int) -> Identity:
    """Read a key of any type as it is in a ``version`` of its file: hundreds of hosts have the same."""
    del version
    public = public_half(file)
    try:
        private = paramiko.PKey.from_path(file, secret)  # type: ignore[arg-type] # the stubs say str, bytes are wanted
    except _UNREADABLE as error:
        why = " ".join(str(error).split()).partition(" See https")[0]
        return Identity(file, None, public, why, locked=isinstance(error, TypeError))
    return Identity(file, private, public or private.asbytes())


def public_half(file: Path) -> bytes | None:
    """Return the public key that a file has, or the one beside it that ssh-keygen wrote; None where neither is."""
    for path in (file, file.with_name(f"{file.name}.pub")):
        with contextlib.suppress(OSError, ValueError):
            kind, text = path.read_text("utf-8", "replace").split()[:2]
            key = base64.b64decode(text, validate=True)
            if paramiko.Message(key).get_text() == kind:
                return key
    return None


class Agent(paramiko.agent.AgentSSH):
    """The ssh-agent at a socket; one that is not there, or does not answer as one, has no keys."""

    def __init__(self, path: str) -> None:
        """Ask for its keys. Raises ConnectionLostError where it does not answer in time."""
        super().__init__()
        self._path = path
        sock = socket.socket(socket.AF_UNIX)
        # Not settimeout: with that an agent that many ask at once refuses further ones instead of letting them wait.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(LIST_SECONDS), 0))
        try:
            sock.connect(path)
            self._connect(sock)  # type: ignore[attr-defined]  # stubs leave it out
        except BlockingIOError:
            sock.close()
            raise self._silent(LIST_SECONDS) from None
        except (OSError, paramiko.SSHException):
            sock.close()
        except ConnectionLostError:
            sock.close()
            raise

    @property
    def signing(self) -> bool:
        """Whether it is signing now, which may wait for somebody's hand."""
        return self in _SIGNING

    def close(self) -> None:
        """Let go of it."""
        self._close()  # type: ignore[attr-defined]  # stubs leave it out

    def _send_message(self, msg: bytes | paramiko.Message) -> object:
        """Ask it something, within a time limit. Raises ConnectionLostError, OSError, SSHException."""
        if isinstance(msg, paramiko.Message):  # the only one that is none is the question for its keys
            _SIGNING.add(self)
        limit = SIGN_SECONDS if _SIGNING else LIST_SECONDS  # an agent that waits for a hand answers nobody else
        try:
            self._conn.settimeout(limit)  # type: ignore[attr-defined]  # stubs leave it out
            return super()._send_message(msg)  # type: ignore[misc]  # stubs leave it out
        except TimeoutError:
            raise self._silent(limit) from None
        finally:
            _SIGNING.discard(self)

    def _silent(self, seconds: float) -> ConnectionLostError:
        mend = "start it anew, or write IdentityAgent none in ~/.ssh/config"
        return ConnectionLostError(f"the ssh-agent at {self._path} did not answer within {seconds:g} s; {mend}")


def keys_of_agent(path: str) -> frozenset[bytes]:
    """Return the public halves of all keys that the ssh-agent at ``path`` has. Raises as ``Agent`` does."""
    with contextlib.closing(Agent(path)) as agent:
        return frozenset(key.blob for key in agent.get_keys())


def fingerprint(key: paramiko.PKey) -> str:
    """Return a key's type and fingerprint, as ssh shows it."""
    return f"{key.get_name()} {key.fingerprint}"


def mend_unknown(target: SshTarget) -> str:
    """Return the command that adds what the host shows now to known_hosts."""
    file = target.known_hosts or "~/.ssh/known_hosts"
    if not (target.jump or target.alias or target.proxy):
        return f"ssh-keyscan -p {target.port} {shlex.quote(target.host)} >> {file}"
    words = ["ssh", "-o", f"UserKnownHostsFile={file}"]
    words += ["-o", f"HostKeyAlias={target.alias}"] if target.alias else []
    words += ["-o", f"ProxyCommand={target.proxy.replace('%', '%%')}"] if target.proxy else []
    words += ["-J", ",".join(_hops(target.jump))] if target.jump else []
    return shlex.join([*words, "-p", str(target.port), f"{target.user}@{target.host}", "true"])


def _hops(target: SshTarget | None) -> list[str]:
    """Return jump hosts as ssh has them after -J: the nearest to us is the first."""
    if target is None:
        return []
    host = f"[{target.host}]" if ":" in target.host else target.host
    return [*_hops(target.jump), f"{target.user}@{host}:{target.port}"]


def mend_changed(target: SshTarget) -> str:
    """Return what to do when a host's key was changed on purpose; "" for keys that are in no known_hosts."""
    if not target.known_hosts:
        return ""
    remove = f"ssh-keygen -f {shlex.quote(target.known_hosts)} -R {shlex.quote(target.known_name)}"
    return f"; somebody may listen in. If it was changed on purpose: {remove} && {mend_unknown(target)}"


def _public_key(line: str) -> paramiko.PKey:
    kind, blob = line.split()[:2]
    return paramiko.PKey.from_type_string(kind, base64.b64decode(blob, validate=True))
