"""Ranges of IPv4 addresses as text ("192.0.2.0/24"). Pure, and without ipaddress, which takes a while to import."""

from __future__ import annotations

from socket import inet_aton, inet_ntoa

EVERYBODY = "0.0.0.0/0"
_BITS = 32


def canonical(text: str) -> str:
    """Return a range with the bits after its prefix cleared, as the kernel keeps it; raise ValueError for none."""
    address, slash, prefix = text.strip().partition("/")
    if not slash or not (prefix.isascii() and prefix.isdigit()) or int(prefix) > _BITS or address.count(".") != 3:  # noqa: PLR2004 - four numbers
        raise ValueError(f"not a range of addresses: {text!r}")
    try:
        packed = inet_aton(address)
    except OSError:
        raise ValueError(f"not a range of addresses: {text!r}") from None
    kept = int.from_bytes(packed) & _mask(int(prefix))
    return f"{inet_ntoa(kept.to_bytes(4))}/{int(prefix)}"


def contains(canonical_range: str, address: str) -> bool:
    """Tell whether an address is in a range."""
    start, _, prefix = canonical_range.partition("/")
    return int.from_bytes(inet_aton(address)) & _mask(int(prefix)) == int.from_bytes(inet_aton(start))


def _mask(prefix: int) -> int:
    return (0xFFFFFFFF << (_BITS - prefix)) & 0xFFFFFFFF
