"""What the metrics of events are; see ``proxybench.metrics``."""

from __future__ import annotations

from proxybench.about import About, Direction

REPAIR_NEXT_CHANGE = About(
    "Repair by the next change",
    "time to repair",
    "only where nothing was repaired by itself; a change of another Service, which may repair what was removed",
    "its acknowledgement",
    "the first connection that is answered again",
)
OUTAGE = About(
    "Longest time without service",
    "outage",
    "of the watched Service that fared worst, uncertain by the distance of attempts; censored where it did "
    "not come back; 0 where no attempt failed",
    "the first connection in a row that was not answered",
    "the next one that was",
)
LOST = About(
    "Lost connections",
    "lost connections",
    "new connections (UDP: datagrams) of all watched Services, neither answered nor refused: silent for "
    "0.9 s, unreachable, reset, or answered by a wrong endpoint",
    unit="connections",
)
REFUSED = About("Refused connections", "refused connections", unit="connections")
ATTEMPTS = About(
    "Connections tried during the event",
    "connections",
    "what `event.lost` and `event.refused` are a share of",
    unit="connections",
    direction=Direction.CONTROL,
    judged=False,
)
BROKEN = About(
    "Established connections that broke",
    "broken connections",
    "of those that were held over the event: reset, closed, or silent at its end",
    unit="connections",
)
STALL = About(
    "Longest stall of an established connection",
    "stall",
    "of the connections that were held over the event; of one that broke until then, censored where the slowest was "
    "silent to the end",
    "a line sent",
    "the same line received",
)
LEFT = About(
    "Left by the one that went",
    "things left",
    "after a migration: chains, jumps, tables, sets and virtual servers that the old proxy had and that are still "
    "there; what both use under the same name counts, too",
    unit="things",
)
MEMORY_SLOPE = About(
    "Growth of the proxy's memory",
    "growth of memory",
    "resident memory of its processes over the second half of a soak: the median slope of all pairs of readings",
    unit="KiB/h",
    direction=Direction.CONTROL,
    judged=False,
)
STALE_CHAINS = About(
    "Stale chains",
    "stale chains",
    "chains of the proxy after a soak, less those before it: the Services are the same",
    unit="chains",
)
DRIFT = About(
    "Drift between rules and API",
    "drift",
    "addresses that have rules and no Service, or a Service and no rules, when a soak is over and the proxy rests",
    unit="addresses",
)
CHANGES = About(
    "Changes during the soak",
    "changes",
    "one or more writes each",
    unit="changes",
    direction=Direction.CONTROL,
    judged=False,
)
