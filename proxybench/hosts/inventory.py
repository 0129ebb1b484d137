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

    ``identity`` is a private key of any type, or the public half of one that an ssh-agent has; ``further`` ones are
    offered after it. ``passphrase`` is what they are encrypted with. ``agent`` is the socket of an ssh-agent whose keys
    are offered, too: in their place those that files name, then the others, or with ``only`` none of these; "" for no
    agent. ``host_key`` has the public keys that the host may show, one a line ("ssh-ed25519 AAAA…"): checked strictly,
    and refused when there is none. ``known_hosts`` names the file that they came from. ``alias`` is the host's name
    there, where it is not its address. ``proxy`` is a command that is talked to in the host's place; "" for none.
    """

    host: str
    port: int
    user: str
    identity: Path | None
    host_key: str
    jump: SshTarget | None = None
    further: tuple[Path, ...] = ()
    passphrase: str | None = field(default=None, repr=False)
    agent: str = ""
    only: bool = False
    known_hosts: str = ""
    alias: str = ""
    proxy: str = ""
    sudo: Sudo | None = None

    @property
    def place(self) -> str:
        """The host and its port, for messages: "192.0.2.7:22", "[2001:db8::7]:22"."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def known_name(self) -> str:
        """The host's name in known_hosts: "192.0.2.7", "[192.0.2.7]:2222"."""
        name = self.alias or self.host
        return name if self.port == SSH_PORT or self.alias else f"[{name}]:{self.port}"
