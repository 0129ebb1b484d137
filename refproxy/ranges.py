"""Ranges of IPv4 addresses as text ("192.0.2.0/24"). Pure, and without ipaddress, which takes a while to import."""

from __future__ import annotations

from socket import inet_aton, inet_ntoa

EVERYBODY = "0.0.0.0/0"
NOBODY = "0.0.0.0/32"  # the range of an address that no client has
_BITS = 32


def canonical(text: str) -> str:
    """Return a range with the bits after its prefix cleared, as the kernel keeps it; raise ValueError for none.

    Numbers with zeros before them are decimal, as kube-proxy reads them, and not octal, as inet_aton does.
    """
    address, slash, prefix = text.strip().partition("/")
    numbers = address.split(".")
    words = [*numbers, prefix]
    if not slash or len(numbers) != 4 or not all(word.isascii() and word.isdigit() for word in words):  # noqa: PLR2004 - an IPv4 address
        raise ValueError(f"not a range of addresses: {text!r}")
    try:
        kept = int.from_bytes(bytes([int(number) for number in numbers])) & _mask(int(prefix))
    except ValueError:  # a number above 255, or a prefix above 32
        raise ValueError(f"not a range of addresses: {text!r}") from None
    return f"{inet_ntoa(kept.to_bytes(4))}/{int(prefix)}"


def contains(canonical_range: str, address: str) -> bool:
    """Tell whether an address is in a range."""
    start, _, prefix = canonical_range.partition("/")
    return int.from_bytes(inet_aton(address)) & _mask(int(prefix)) == int.from_bytes(inet_aton(start))


def _mask(prefix: int) -> int:
    return (0xFFFFFFFF << (_BITS - prefix)) & 0xFFFFFFFF
