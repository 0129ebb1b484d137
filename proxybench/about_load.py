"""What the metrics of a load are, but for its latencies; see ``proxybench.metrics``."""

from __future__ import annotations

from proxybench.about import About, Direction

LAG = About(
    "Lag of the load's generator",
    "lag",
    "how late the generator itself was; by the wall clock only",
    "a connection's intended start",
    "before connect()",
    direction=Direction.CONTROL,
    judged=False,
)
OFFERED = About(
    "Offered load",
    "connections per second",
    "by the plan",
    unit="connections/s",
    direction=Direction.CONTROL,
    judged=False,
)
ACHIEVED = About(
    "Achieved load",
    "connections per second",
    "good answers over the time until the last of them",
    unit="connections/s",
    direction=Direction.CONTROL,
    judged=False,
)
FAILURE_RATE = About(
    "Failed share of the load",
    "failed share",
    "`load.failed` of all that was offered, in parts per million; above 1 % the point is broken, and none of "
    "its times is kept",
    unit="ppm",
    busy=True,
)
FAILED = About(
    "Failed connections of the load",
    "failed connections",
    "for whatever reason: the kinds below, and others such as a reset",
    unit="connections",
    judged=False,
)
WRONG_ENDPOINT = About(
    "Answered by a wrong endpoint, under load",
    "answered by a wrong endpoint",
    "one that is not the Service's",
    unit="connections",
    judged=False,
)
REFUSED = About("Refused, under load", "refused", "at once, so no latency", unit="connections", judged=False)
UNANSWERED = About(
    "Unanswered, under load",
    "unanswered",
    "timed out: a censored latency, too",
    unit="connections",
    judged=False,
)
UNSERVED = About(
    "Unserved, under load",
    "unserved",
    "never begun before the load ended, since their client was still busy: no latency",
    unit="connections",
    judged=False,
)
