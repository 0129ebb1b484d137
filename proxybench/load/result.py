"""From the load's raw records to arrays of nanoseconds."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from proxybench.errors import MeasurementError
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_FORMAT: Final = 1
UNSERVED: Final = "unserved"
TIMEOUT: Final = "timeout"

_Row = tuple[int, int, int, int, int, str]  # slot, intended, started, connected, first byte (ns), kind of failure


@dataclass(frozen=True)
class LoadResult:
    """What became of the connections; arrays are int64 nanoseconds, one value per answered connection, by slot.

    ``connect_ns``: connect() itself; ``first_byte_ns``: from its start to the first byte of the answer (the service
    time); ``lag_ns``: from the intended to the actual start; ``intended_ns``: from the intended start to the first
    byte, so that waiting counts (lag + first_byte; includes the generator's own timer, up to 1 ms late).
    ``failures`` counts the connections without a good answer by kind, with "timeout" for those that waited
    ``timeout_ns`` for one and "unserved" for those whose turn never came; ``slots`` is how many were to be made. Rates
    are connections per second: ``offered`` by the plan, ``achieved`` good answers over the time until the last of them
    (at least the planned time).
    """

    intended_ns: NDArray[np.int64]
    connect_ns: NDArray[np.int64]
    first_byte_ns: NDArray[np.int64]
    lag_ns: NDArray[np.int64]
    slots: int
    timeout_ns: int
    failures: Mapping[str, int]
    offered: float
    achieved: float

    @property
    def failed(self) -> int:
        """How many connections got no good answer, for whatever reason."""
        return sum(self.failures.values())


def parse(*texts: str) -> LoadResult:
    """Read the files that the locustfile wrote, one per client, whose times begin with the same grid.

    Raises MeasurementError when one is not whole, or when two are not of one load.
    """
    heads, rows = zip(*(_read(text, number) for number, text in enumerate(texts, 1)), strict=True)
    together = [row for some in rows for row in some]
    slots = sum(head[0] for head in heads)
    if len({head[1:] for head in heads}) != 1 or len({row[0] for row in together}) != len(together):
        raise MeasurementError("the clients' records are not of one load")
    return _result(sorted(together), slots, *heads[0][1:])


def _read(text: str, number: int) -> tuple[tuple[int, int, int], list[_Row]]:
    """Return number of slots, time-out and duration, and the rows; it is that client's."""
    lines = text.splitlines()
    head, foot = _head_and_foot(lines)
    try:
        rows = [_row(line) for line in lines[1:-1]]
        slots = int(head["slots"])
        timeout_ns, duration_ns = int(head["timeout_ns"]), int(head["duration_ns"])
        whole = foot["records"] == len(rows)
    except (KeyError, TypeError, ValueError) as error:
        raise MeasurementError(f"the load's records cannot be read: {error}") from error
    if head.get("stood_still"):
        raise MeasurementError(f"locust of client {number} stood still for a while: it got SIGSTOP and SIGCONT")
    if head.get("begun") and head.get("early"):
        raise MeasurementError(f"locust of client {number} was told to end before its time, by a signal")
    if not head.get("begun"):
        raise MeasurementError("the load ended before all its users were there")
    if not whole or len({row[0] for row in rows}) != len(rows) or len(rows) > slots:
        raise MeasurementError("the load's records are not whole")
    return (slots, timeout_ns, duration_ns), rows


def _result(rows: list[_Row], slots: int, timeout_ns: int, duration_ns: int) -> LoadResult:
    failures = Counter(row[5] for row in rows if row[5])
    if slots > len(rows):
        failures[UNSERVED] = slots - len(rows)
    good = np.array([row[1:5] for row in rows if not row[5]], dtype=np.int64).reshape(-1, 4)
    intended, started, connected, first_byte = good.T
    last = int(first_byte.max(initial=0))
    return LoadResult(
        intended_ns=first_byte - intended,
        connect_ns=connected - started,
        first_byte_ns=first_byte - started,
        lag_ns=started - intended,
        slots=slots,
        timeout_ns=timeout_ns,
        failures=dict(sorted(failures.items())),
        offered=slots * NS_PER_S / duration_ns,
        achieved=len(good) * NS_PER_S / max(last, duration_ns),
    )


def _head_and_foot(lines: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        head, foot = json.loads(lines[0]), json.loads(lines[-1])
    except (IndexError, ValueError) as error:
        raise MeasurementError("the load's records are not whole") from error
    if not isinstance(head, dict) or not isinstance(foot, dict) or head.get("format") != _FORMAT or head is foot:
        raise MeasurementError("the load's records are of another format")
    return head, foot


def _row(line: str) -> _Row:
    slot, intended, started, connected, first_byte, kind = line.split(",")
    return int(slot), int(intended), int(started), int(connected), int(first_byte), kind
