"""How one sshd is reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

SSH_PORT: Final = 22


@dataclass(frozen=True)
class Sudo:
    """Commands are run as root through sudo; ``password`` is the user's, None where sudo asks for none."""

    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SshTarget:
    """How to reach one sshd.

    ``identity`` is a private key of any type, ``passphrase`` what it is encrypted with; ``agent``: keys of a running
    ssh-agent are offered too. ``host_key`` has the public keys that the host may show, one a line ("ssh-ed25519
    AAAA…"): checked strictly, and refused when there is none. ``known_hosts`` names the file that they came from.
    ``alias`` is the host's name there, where it is not its address.
    """

    host: str
    port: int
    user: str
    identity: Path | None
    host_key: str
    jump: SshTarget | None = None
    passphrase: str | None = field(default=None, repr=False)
    agent: bool = False
    known_hosts: str = ""
    alias: str = ""
    sudo: Sudo | None = None

    @property
    def known_name(self) -> str:
        """The host's name in known_hosts: "192.0.2.7", "[192.0.2.7]:2222"."""
        name = self.alias or self.host
        return name if self.port == SSH_PORT or self.alias else f"[{name}]:{self.port}"
