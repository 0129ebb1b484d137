"""What lies between a change and its end, by the proxy's own log: before its sync, making rules, applying them.

kube-proxy does not say when an event reached it, nor how long a sync waited for its turn: both are the time before the
sync, joined. Nor does it tell the tool that it runs from the kernel below it: both are applying, with what it tidies up
afterwards, which a probe need not wait for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxybench.clocks import Instant
from proxybench.errors import MeasurementError
from proxybench.model import Family, Metric
from proxybench.nodes.requests import AskClocks
from proxybench.subjects.driver import SyncRecord
from proxybench.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxybench.model import Scenario
    from proxybench.scenarios.base import StepContext
    from proxybench.subjects.driver import ProxyMetrics


@dataclass(frozen=True)
class Phases:
    """Stretches of time in ns; ``making`` and ``applying`` are None where the log does not tell them apart."""

    before: int
    making: int | None
    applying: int | None


def phases(
    syncs: Iterable[SyncRecord], triggered: int, answered: int, family: Family = Family.IPV4, *, alone: bool = False
) -> Phases | None:
    """Split the way from ``triggered`` to the end of the sync that had begun last when it was ``answered``; all UTC ns.

    What a sync did before the trigger counts as nothing: an event can arrive before its acknowledgement. None where no
    sync of the family fits, or one that may be of another. ``alone``: there was but one sync, of whatever family.
    """
    fitting = [
        one
        for one in syncs
        if one.family.lower() in {"", family}
        and one.ended_utc_ns >= triggered
        and one.ended_utc_ns - one.elapsed_ns <= answered
    ]
    if not fitting or (not alone and not told_apart(fitting)):
        return None
    last = max(fitting, key=lambda one: one.ended_utc_ns)
    begun = max(triggered, last.ended_utc_ns - last.elapsed_ns)
    if last.made_utc_ns is None:
        return Phases(begun - triggered, None, None)
    made = max(begun, last.made_utc_ns)
    return Phases(begun - triggered, made - begun, last.ended_utc_ns - made)


def told_apart(syncs: Iterable[SyncRecord]) -> bool:
    """Tell whether it is known of each sync which family it was of."""
    return all(one.family for one in syncs)


def record_phases(
    step: StepContext, scenario: Scenario, between: tuple[Instant, Instant], metrics: tuple[ProxyMetrics, ProxyMetrics]
) -> None:
    """Record what the log tells of the sync between a trigger and its answer.

    ``metrics`` are those before the trigger and after its sync; where the log tells of no syncs (IPVS mode), a single
    one is known by them. A proxy that splits its syncs by itself, as the reference does, needs none of this. Where the
    families cannot be told apart, the step says so.
    """
    before, after = metrics
    if after.build is not None:
        return
    family = step.cell.family
    syncs = step.proxy.syncs() or _counted(before, after, family)
    if not syncs:
        return
    read = step.measured.agent.call(AskClocks())
    now = Instant(read.monotonic_ns, step.measured.node.clock)
    try:
        spans = [step.clocks.between(now, moment) for moment in between]
    except MeasurementError:
        return  # of clocks that cannot be compared; that the step lacks such times is noted where it starts
    triggered, answered = (read.utc_ns + span.ns for span in spans)
    found = phases(syncs, triggered, answered, family, alone=after.sync_count - before.sync_count == 1)
    if found is None:
        if not told_apart(syncs):
            note_untold(step, scenario, Metric.SYNC_BEFORE, Metric.SYNC_MAKING, Metric.SYNC_APPLYING)
        return
    parts = (
        (Metric.SYNC_BEFORE, found.before),
        (Metric.SYNC_MAKING, found.making),
        (Metric.SYNC_APPLYING, found.applying),
    )
    for metric, value in parts:
        if value is not None:
            step.recorder.add(metric, scenario, value, uncertainty=spans[0].uncertainty_ns)


def note_untold(step: StepContext, scenario: Scenario, *metrics: Metric) -> None:
    """Note what is not measured of a step since nobody knows of which family its syncs were."""
    what = f"{', '.join(metrics)} {'is' if len(metrics) == 1 else 'are'} not measured"
    step.result.notes.append(f"{scenario}: {what}: nothing says of which family of addresses each of its syncs was")


def _counted(before: ProxyMetrics, after: ProxyMetrics, family: Family) -> tuple[SyncRecord, ...]:
    """Return the one sync that the metrics count; nothing where there were several, whose sum tells of none.

    Nor where the one was of another family: then the last one of this family ended before.
    """
    v6 = family is Family.IPV6
    earlier, ended = (one.last_sync6_utc_ns if v6 else one.last_sync_utc_ns for one in (before, after))
    if after.sync_count - before.sync_count != 1 or ended is None or ended == earlier:
        return ()
    elapsed = round((after.sync_sum - before.sync_sum) * NS_PER_S)
    return (SyncRecord(ended, elapsed, None, family, None, None),)
