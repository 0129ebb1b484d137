"""The lab's own sshd: fresh keys, a configuration of its own, nothing of the host's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Key:
    """An ed25519 key pair: the file of the private half (mode 0600), and the public line."""

    private: Path
    public: str


def make_key(path: Path) -> Key:
    """Make a key pair; the public half lands beside it as ``.pub``."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private)
    path.with_suffix(".pub").write_bytes(public + b"\n")
    return Key(path, public.decode())


def sshd_config(*, host_key: Path, authorized_keys: Path, listen: str | None, forwards: str) -> str:
    """Return a configuration: keys only, no PAM, no user files.

    ``forwards``: what of TCP may be forwarded, sshd's word: "no", "local" (a jump host), or "yes" (a client, whose
    loopback may lead to another's).
    """
    lines = [
        f"HostKey {_word(host_key)}",
        f"AuthorizedKeysFile {_word(authorized_keys).replace('%', '%%')}",  # %h is the user's home there
        "AuthenticationMethods publickey",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        "UsePAM no",
        "UseDNS no",
        "StrictModes no",  # the keys lie on the host's tree, whose owner the guest does not know
        "PidFile none",
        "PrintMotd no",
        "PermitUserRC no",
        "X11Forwarding no",
        "AllowAgentForwarding no",
        f"AllowTcpForwarding {forwards}",
        "MaxStartups 100",
        "MaxSessions 100",
        "LogLevel ERROR",
    ]
    if listen:
        lines.append(f"ListenAddress {listen}")
    return "\n".join(lines) + "\n"


def _word(path: Path) -> str:
    """Quote a path as sshd_config(5) has it: within double quotes, a backslash before what would end them."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


# dash starts faster than bash and reads no file of root's own; the user "sshd" is asked for by sshd itself.
USERS = (
    "root:x:0:0:root:/run/home:/bin/sh\n"
    "sshd:x:64999:65534::/run/sshd:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
)
# Where this machine has locked root's password ("!"), no key opens that account to sshd. And where the user whose guest
# it is may not read this machine's file, libnss-systemd tells of a locked root.
PASSWORDS = "root:*:19000::::::\nsshd:*:19000::::::\n"
"""/etc/shadow: nobody has a password, and nobody is locked."""
