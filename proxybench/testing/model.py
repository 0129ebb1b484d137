"""Subjects, cells and keys for tests: those of the reference proxier unless asked otherwise."""

from __future__ import annotations

from typing import Any

from proxybench.columns import build
from proxybench.model import Cell, Key, Mode, Subject


def make_subject(
    mode: Mode | str = Mode.IPTABLES, kind: str = "reference", version: str = "0.1.0", **settings: str
) -> Subject:
    """Return a subject, without settings unless some are given."""
    return Subject(kind, version, Mode(mode), tuple(sorted(settings.items())))


def make_cell(
    mode: Mode | str = Mode.IPTABLES, services: int = 10, endpoints_per_service: int = 2, **settings: str
) -> Cell:
    """Return a cell of the reference proxier."""
    return Cell(make_subject(mode, **settings), services, endpoints_per_service)


KEY: dict[str, Any] = {
    "kind": "reference",
    "version": "0.1.0",
    "mode": "iptables",
    "settings": "",
    "services": 10,
    "endpoints_per_service": 2,
    "scenario": "steady",
    "path": "cluster_ip",
    "family": "ipv4",
    "position": "last",
    "metric": "forwarding.connect",
    "unit": "ns",
    "clock": "instructions",
}
"""Columns of a key."""


def make_key(**changes: Any) -> Key:  # noqa: ANN401 - values of columns
    """Return a key; ``changes`` are columns that differ from ``KEY``."""
    return build(Key, {**KEY, **changes})
