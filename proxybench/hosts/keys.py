"""Keys of both sides of an SSH connection: what a host may show, and what we show."""

from __future__ import annotations

import base64
import binascii
import shlex
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Final

import paramiko
from paramiko.pkey import UnknownKeyType

from proxybench.errors import ConnectionLostError

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.hosts.inventory import SshTarget

_ONE_AT_A_TIME: Final = Lock()


def known_keys(target: SshTarget) -> tuple[paramiko.PKey, ...]:
    """Return the public keys that the host may show. Raises ConnectionLostError when none is known, or one is none."""
    place = f"{target.host}:{target.port}"
    lines = target.host_key.splitlines()
    if not lines:
        file = target.known_hosts or "~/.ssh/known_hosts"
        what = f"the host key of {place} is not known: {target.known_name} is not in {file}"
        raise ConnectionLostError(f"{what}; compare what it shows, then add it: {mend_unknown(target)}")
    try:
        return tuple(_public_key(line) for line in lines)
    except (ValueError, binascii.Error, paramiko.SSHException, UnknownKeyType) as error:
        raise ConnectionLostError(f"the host key given for {place} is not a public key") from error


def load_identity(target: SshTarget) -> paramiko.PKey | None:
    """Return the private key that is shown; None where only an agent's are. Raises ConnectionLostError."""
    if target.identity is None:
        return None
    try:
        return read_key(target.identity, target.passphrase)
    except (OSError, ValueError, TypeError, IndexError, paramiko.SSHException, UnknownKeyType) as error:
        why = " ".join(str(error).split()).partition(" See https")[0]
        raise ConnectionLostError(f"cannot use {target.identity} as an identity: {why}") from error


def read_key(path: Path, passphrase: str | None) -> paramiko.PKey:
    """Read a private key of any type. Raises TypeError when it is encrypted and no passphrase is given; others too."""
    # A passphrase for a key that has none is an error; one default passphrase may stand beside keys of both kinds.
    secret = passphrase.encode() if passphrase is not None and is_encrypted(path) else None
    with _ONE_AT_A_TIME:  # all hosts wait for the first, which takes a tenth of a second for an encrypted key
        return _read(path, secret, path.stat().st_mtime_ns)


def is_encrypted(path: Path) -> bool:
    """Tell whether a private key needs a passphrase; False for what is no key."""
    try:
        with _ONE_AT_A_TIME:
            return _asks(path, path.stat().st_mtime_ns)
    except OSError:
        return False


@lru_cache(maxsize=64)
def _read(path: Path, secret: bytes | None, version: int) -> paramiko.PKey:
    """Read a key as it is in a ``version`` of its file: hundreds of hosts have the same."""
    del version
    return paramiko.PKey.from_path(path, secret)  # type: ignore[arg-type] # the stubs say str, what it calls wants bytes


@lru_cache(maxsize=64)
def _asks(path: Path, version: int) -> bool:
    try:
        _read(path, None, version)
    except TypeError:
        return True
    except (OSError, ValueError, IndexError, paramiko.SSHException, UnknownKeyType):
        return False
    return False


def fingerprint(key: paramiko.PKey) -> str:
    """Return a key's type and fingerprint, as ssh shows it."""
    return f"{key.get_name()} {key.fingerprint}"


def mend_unknown(target: SshTarget) -> str:
    """Return the command that adds what the host shows now to known_hosts."""
    file = target.known_hosts or "~/.ssh/known_hosts"
    if target.jump or target.alias:
        return f"ssh -p {target.port} {shlex.quote(f'{target.user}@{target.host}')} true"
    return f"ssh-keyscan -p {target.port} {shlex.quote(target.host)} >> {file}"


def mend_changed(target: SshTarget) -> str:
    """Return what to do when a host's key was changed on purpose; "" for keys that are in no known_hosts."""
    if not target.known_hosts:
        return ""
    remove = f"ssh-keygen -f {shlex.quote(target.known_hosts)} -R {shlex.quote(target.known_name)}"
    return f"; somebody may listen in. If it was changed on purpose: {remove} && {mend_unknown(target)}"


def _public_key(line: str) -> paramiko.PKey:
    kind, blob = line.split()[:2]
    return paramiko.PKey.from_type_string(kind, base64.b64decode(blob, validate=True))
