"""The chains of IPVS and userspace mode that are always there, and the jumps that lead to them. Bytes in and out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from refproxy.iptables_found import NOTHING, read_jump
from refproxy.tools import check

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from refproxy.iptables_found import FoundTable
    from refproxy.tools import ToolRunner

_TIMEOUT = 120.0
_LOCK_WAIT = "5"


@dataclass(frozen=True, slots=True)
class FixedTable:
    """One table's own chains and jumps.

    ``jumps`` go to the top of the kernel's chains, the first one topmost; ``last_jumps`` to their ends. ``shared``
    chains belong to the kubelet where it runs: they stay when they have rules.
    """

    name: bytes
    chains: tuple[bytes, ...]
    jumps: tuple[bytes, ...] = ()
    last_jumps: tuple[bytes, ...] = ()
    shared: tuple[bytes, ...] = ()


def missing_base(table: FixedTable, found: FoundTable) -> bytes:
    """Return the lines that make the missing chains and jumps; without the table's frame."""
    there = {read_jump(rule) for rule in found.foreign}
    lines = [b":%b - [0:0]\n" % name for name in (*table.chains, *table.shared) if name not in found.chains]
    lines += [b"-I %b\n" % jump for jump in reversed(table.jumps) if read_jump(jump) not in there]
    lines += [b"-A %b\n" % jump for jump in table.last_jumps if read_jump(jump) not in there]
    return b"".join(lines)


def frame(table: FixedTable, lines: bytes) -> bytes:
    """Return the restore input of one table; empty without lines."""
    return b"*%b\n%bCOMMIT\n" % (table.name, lines) if lines else b""


def removal(tables: Iterable[FixedTable], saved: Mapping[bytes, FoundTable]) -> bytes:
    """Return the restore input that removes what is there of the tables' chains and jumps."""
    pieces = []
    for table in tables:
        found = saved.get(table.name, NOTHING)
        ours = [name for name in table.chains if name in found.chains]
        if not found.held:
            ours += [name for name in table.shared if name in found.chains]
        jumps = {read_jump(jump) for jump in (*table.jumps, *table.last_jumps)}
        lines = [b":%b - [0:0]\n" % name for name in ours]
        lines += [b"-D %b\n" % rule for rule in found.foreign if read_jump(rule) in jumps]
        lines += [b"-X %b\n" % name for name in ours]
        pieces.append(frame(table, b"".join(lines)))
    return b"".join(pieces)


@dataclass(frozen=True, slots=True)
class Iptables:
    """iptables-save and iptables-restore of one multi-call binary. Both raise ProxierError."""

    runner: ToolRunner
    path: str

    def save(self) -> bytes:
        """Return all tables that the kernel has, as text."""
        return check(self.runner.run((self.path, "iptables-save"), timeout=_TIMEOUT), "iptables-save")

    def restore(self, content: bytes) -> None:
        """Apply a restore input; chains that it does not name stay."""
        argv = (self.path, "iptables-restore", "-w", _LOCK_WAIT, "--noflush")
        check(self.runner.run(argv, content, timeout=_TIMEOUT), "iptables-restore")
