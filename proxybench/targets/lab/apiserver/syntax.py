"""What names, labels and addresses may look like (pure).

The rules are those of the Kubernetes documentation: "Object Names and IDs", "Labels and Selectors", "Annotations".
Each function returns "" for what is fine, and else what is wrong, in the words of the Kubernetes API.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from functools import lru_cache
from typing import Final

_LABEL_LENGTH: Final = 63
_SUBDOMAIN_LENGTH: Final = 253
_PORT_NAME_LENGTH: Final = 15
_LAST_PORT: Final = 65535

_1123_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_1123_SUBDOMAIN: Final = rf"{_1123_LABEL}(\.{_1123_LABEL})*"
_1035_LABEL: Final = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_WORD: Final = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE: Final = rf"({_WORD})?"

_matches_label: Final = re.compile(_1123_LABEL, re.ASCII).fullmatch
_matches_subdomain: Final = re.compile(_1123_SUBDOMAIN, re.ASCII).fullmatch
_matches_1035: Final = re.compile(_1035_LABEL, re.ASCII).fullmatch
_matches_word: Final = re.compile(_WORD, re.ASCII).fullmatch
_matches_value: Final = re.compile(_LABEL_VALUE, re.ASCII).fullmatch
_matches_port_name: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII).fullmatch

_PORT_WORDS: Final = f"must be between 1 and {_LAST_PORT}, inclusive"
_IP_WORDS: Final = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def dns_label(text: str) -> str:
    """Check an RFC 1123 label: a namespace, a port name."""
    if _matches_label(text) is None:
        return (
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
            f"end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
            f"'{_1123_LABEL}')"
        )
    return _longest(text, _LABEL_LENGTH)


def dns_subdomain(text: str) -> str:
    """Check an RFC 1123 subdomain: the name of most objects."""
    if _matches_subdomain(text) is None:
        return (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
            "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
            f"'{_1123_SUBDOMAIN}')"
        )
    return _longest(text, _SUBDOMAIN_LENGTH)


def dns_1035_label(text: str) -> str:
    """Check an RFC 1035 label: the name of a Service."""
    if _matches_1035(text) is None:
        return (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
            "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
            f"validation is '{_1035_LABEL}')"
        )
    return _longest(text, _LABEL_LENGTH)


@lru_cache(maxsize=4096)
def qualified_name(text: str) -> str:
    """Check the key of a label or annotation, or a finalizer: ``name`` or ``prefix/name``."""
    prefix, slash, name = text.rpartition("/")
    if slash and (problem := dns_subdomain(prefix) if prefix else "must be non-empty"):
        return f"prefix part {problem}"
    if not name:
        return "name part must be non-empty"
    if _matches_word(name) is None:
        return (
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
            f"'{_WORD}')"
        )
    problem = _longest(name, _LABEL_LENGTH)
    return f"name part {problem}" if problem else ""


def label_value(text: str) -> str:
    """Check the value of a label."""
    if _matches_value(text) is None:
        return (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
            "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
            f"validation is '{_LABEL_VALUE}')"
        )
    return _longest(text, _LABEL_LENGTH)


def port_number(number: object) -> str:
    """Check a port."""
    return "" if type(number) is int and 0 < number <= _LAST_PORT else _PORT_WORDS


def port_name(text: str) -> str:
    """Check an IANA service name: what a targetPort may be besides a number."""
    if len(text) > _PORT_NAME_LENGTH:
        return "must be no more than 15 characters"
    if _matches_port_name(text) is None:
        return (
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-), start and end with one, and have "
            "no two hyphens in a row"
        )
    return "" if any(letter.isalpha() for letter in text) else "must contain at least one letter (a-z)"


def ip(text: str) -> str:
    """Check an IPv4 or IPv6 address."""
    return "" if _packed(text) else _IP_WORDS


def endpoint_ip(text: str, family: str = "") -> str:
    """Check the address of an endpoint, which must be of the family ("IPv4", "IPv6", "" for any) and no special one."""
    packed = _packed(text)
    if not packed:
        return f"must be a valid {family} address" if family else _IP_WORDS
    if family and family != ip_family(text):
        return f"must be an {family} address"
    # Nearly every address is a plain IPv4 one, which its first byte tells.
    if len(packed) == 4 and packed[0] not in {0, 127, 169, 224}:  # noqa: PLR2004 - bytes of an address
        return ""
    return _special(text)


def ip_family(text: str) -> str:
    """Return "IPv4" or "IPv6" for a valid address."""
    return "IPv6" if ":" in text else "IPv4"


def network(text: str) -> str:
    """Check a range of addresses like "10.244.0.0/24"."""
    if "/" in text:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            pass
        else:
            return ""
    return "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def _packed(text: str) -> bytes:
    """Return the bytes of an address, or none; many times as fast as the ipaddress module, and as strict."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):  # ValueError: a zero byte or a surrogate in the text
        return b""


def _special(text: str) -> str:
    address = ipaddress.ip_address(text)
    if address.is_unspecified:
        return f"may not be unspecified ({text})"
    if address.is_loopback:
        return "may not be in the loopback range (127.0.0.0/8, ::1/128)"
    if address.is_link_local:
        return "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
    local_multicast = ipaddress.ip_network("224.0.0.0/24" if address.version == 4 else "ff02::/16")  # noqa: PLR2004
    if address in local_multicast:
        return "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
    return ""


def _longest(text: str, most: int) -> str:
    return f"must be no more than {most} characters" if len(text) > most else ""
