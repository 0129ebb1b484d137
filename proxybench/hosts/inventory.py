"""How one sshd is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class SshTarget:
    """How to reach one sshd. ``host_key`` is the public key line ("ssh-ed25519 AAAA…"): checked strictly."""

    host: str
    port: int
    user: str
    identity: Path
    host_key: str
    jump: SshTarget | None = None
