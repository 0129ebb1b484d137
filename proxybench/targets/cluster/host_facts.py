"""What is asked of every host of a cluster before anything runs there: one exec, read by pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from proxybench.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.hosts.base import Executor

_LIMIT: Final = 60.0
_COMMAND: Final = re.compile("`.*`", re.DOTALL)
_ASK: Final = r"""
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
echo "boot $(cat /proc/sys/kernel/random/boot_id)"
echo "legacy $(command -v xtables-legacy-multi)"
echo "nft $(command -v xtables-nft-multi)"
"""


@dataclass(frozen=True)
class HostFacts:
    """``boot_id`` tells one running kernel from another; ``iptables`` are multi-call programs by backend."""

    boot_id: str
    iptables: Mapping[str, str] = field(default_factory=dict)


def read_host(executor: Executor) -> HostFacts:
    """Ask a host. Raises HostError."""
    try:
        return parse_host(executor.run(["sh", "-c", _ASK], timeout=_LIMIT).stdout)
    except HostError as error:
        raise type(error)(without_script(error)) from error


def without_script(error: HostError) -> str:
    """Return what an error says of a look at a host, in one line: the script itself is of no use to people."""
    return _COMMAND.sub("the look at it", str(error))


def parse_host(text: str) -> HostFacts:
    """Read what the host printed."""
    words = dict(line.partition(" ")[::2] for line in text.splitlines())
    programs = {backend: words[backend] for backend in ("legacy", "nft") if words.get(backend)}
    return HostFacts(words.get("boot", ""), programs)
