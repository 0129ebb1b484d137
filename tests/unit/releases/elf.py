"""Files that look like Linux programs."""

from __future__ import annotations

from typing import Literal

from proxybench.releases.component import ELF_MACHINES


def elf(arch: str, body: bytes = b"program") -> bytes:
    """Return an ELF header (64 bit; s390x is big-endian) of an architecture, and something behind it."""
    big = arch == "s390x"
    identity = b"\x7fELF" + bytes([2, 2 if big else 1, 1]) + bytes(9)
    order: Literal["big", "little"] = "big" if big else "little"
    return identity + (2).to_bytes(2, order) + ELF_MACHINES[arch].to_bytes(2, order) + body
