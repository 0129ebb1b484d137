"""The words of an experiment file about events; see ``proxybench.experiment.spec``."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field

from proxybench.experiment.words import (
    Batch,
    BatchSize,
    Duration,
    Words,
    distinct,
    one_of,
    parse_duration,
    schema_of,
    within,
)
from proxybench.model import Mode, Scenario

EVENTS = (
    Scenario.REPAIR_SERVICE,
    Scenario.REPAIR_ENDPOINTS,
    Scenario.REPAIR_JUMP,
    Scenario.REPAIR_TABLE,
    Scenario.RESTART,
    Scenario.RESTART_CHANGED,
    Scenario.CHANGE_IDLE,
    Scenario.CHANGE_BUSY,
    Scenario.ADD_ENDPOINT,
    Scenario.REMOVE_ENDPOINT,
    Scenario.ROLL_SERVICE,
    Scenario.ROLL_DEPLOYMENT,
    Scenario.SCALE_TO_ZERO,
    Scenario.SCALE_FROM_ZERO,
    Scenario.CHANGE_UDP,
    Scenario.CHANGE_UDP_TRACKED,
    Scenario.MASS_CREATE,
    Scenario.MASS_DELETE,
    Scenario.FULL_SYNC,
)
"""What ``events`` does."""
MIGRATIONS = (Scenario.MIGRATE, Scenario.MIGRATE_BACK, Scenario.MIGRATE_CLEANED, Scenario.MIGRATE_BACK_CLEANED)
"""What ``migrate`` does."""

_EventWord = Annotated[Scenario, one_of("an event", *EVENTS), schema_of(*EVENTS)]
_Unique = AfterValidator(distinct)


class EventsSpec(Words):
    """What happens to a cluster, watched by connecting again and again over the whole event."""

    scenarios: Annotated[tuple[_EventWord, ...], Field(min_length=1, examples=["[restart, repair-table]"]), _Unique] = (
        EVENTS
    )
    """What happens; always in the order of this list's default."""
    interval: Annotated[Duration, AfterValidator(within("1ms", "10s"))] = 0.005
    """The time between two connections to each watched Service: the resolution of outages."""
    timeout: Annotated[Duration, AfterValidator(within("1s", "2h"))] = 60.0
    """How long a proxy may take to repair what was removed, or to follow a change; then the sample is censored."""
    endpoints: Annotated[int, Field(strict=True, ge=1, le=40)] = 4
    """Endpoints that a rolling update replaces, and those beside which add-endpoint adds one."""
    services: Annotated[int, Field(strict=True, ge=1, le=200)] = 10
    """Services that share the endpoints of roll-deployment."""
    mass: BatchSize = Batch(share=0.1)
    """Services that mass-create makes: a count, or a share such as 10%; at least 2."""
    tracked: Annotated[int, Field(strict=True, ge=1, le=2_000_000)] = 100_000
    """Tracked connections of change-udp-tracked."""


class MigrateSpec(Words):
    """A live node is migrated from each subject to one of them, and back: with the rules there, and cleaned up."""

    to: Annotated[Mode, one_of("a mode", *Mode), schema_of(*Mode), Field(examples=["nftables"])]
    """The mode of the subject that the others are migrated to; there must be exactly one of it."""
    interval: Annotated[Duration, AfterValidator(within("1ms", "10s"))] = 0.005
    """The time between two connections to each watched Service."""


SLICES_EACH: Final = 2.5
"""EndpointSlices that a change of a soak writes, on the average: four, one, four, one."""

_PACES: Final = ("100ms", "10m")


class SoakSpec(Words):
    """Mixed churn for a long time: growth of memory, stale chains, drift between rules and API."""

    duration: Annotated[Duration, AfterValidator(within("10s", "24h"))] = 180.0
    """How long; less than limits.cell."""
    pace: Annotated[Duration, AfterValidator(within(*_PACES))] = 1.0
    """The time from one change to the next; left out with a profile whose slices changed: as often as they did."""
    interval: Annotated[Duration, AfterValidator(within("1ms", "10s"))] = 0.02
    """The time between two connections to each watched Service."""

    def at_rate(self, slices_per_minute: float) -> Self:
        """Return the same at a pace at which so many EndpointSlices change, as far as paces go."""
        least, most = map(parse_duration, _PACES)
        pace = round(SLICES_EACH * 60 / slices_per_minute, 3)  # so that it can be written, and read again
        return self.model_copy(update={"pace": min(most, max(least, pace))})
