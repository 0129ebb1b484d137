"""Chapters whose figures are lines over the number of Services."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from proxybench.model import Metric, Mode, Scenario
from proxybench.report.alt import describe
from proxybench.report.panels import line_panels
from proxybench.report.path_section import synced_by_path
from proxybench.report.section import BELOW, Section, clocks_text, heading_of, left_out
from proxybench.report.tables import full, pivot
from proxybench.report.words import HIGHEST, IDLE_COUNTS
from proxybench.units import INSTRUCTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.report.data import ReportData
    from proxybench.stats.summary import SummaryRecord


@dataclass(frozen=True)
class Plan:
    """A chapter of one metric: what it is called, and what its figure shows."""

    name: str
    heading: str
    lead: str
    metric: str
    quantity: str
    log: bool = True
    reference: bool = False
    unranked: tuple[str, ...] = ()
    unranked_scenarios: tuple[str, ...] = ()
    waits: bool = False


PLANS = (
    Plan(
        "sync-end-to-end",
        Metric.SYNC_END_TO_END.about.title,
        "From the API's acknowledgement of a change (a cold start: from the control loop's start) until a new "
        "connection proves that the data plane follows it. For a batch, from the acknowledgement of its first write: "
        "it holds the writing of the batch and, for a mode that syncs faster than that, the wait for its next turn "
        "(minSyncPeriod), so modes are not ranked in it. Scales are logarithmic; bars span the 95 % interval over "
        "repetitions, cut where it leaves the panel.",
        Metric.SYNC_END_TO_END,
        Metric.SYNC_END_TO_END.about.quantity,
        unranked_scenarios=(Scenario.ADD_BATCH,),
        waits=True,
    ),
    Plan(
        "sync-control-loop",
        Metric.SYNC_CONTROL_LOOP.about.title,
        "What the control loop says that its syncs took: by how much the sum of its metric grew around the change. It "
        "holds neither the way of the change to the node nor the wait for its turn. A sync can begin before its write "
        "is acknowledged and go on after the first connection, so it can be more than the figure above.",
        Metric.SYNC_CONTROL_LOOP,
        Metric.SYNC_CONTROL_LOOP.about.quantity,
        waits=True,
    ),
    Plan(
        "connect",
        Metric.FORWARDING_CONNECT.about.title,
        "connect() of a new connection through the virtual IP whose rule is the first, middle or last one. Grey: "
        "the same endpoint before there were any rules. userspace is not ranked: its connect() ends at a relay on the "
        "same node.",
        Metric.FORWARDING_CONNECT,
        Metric.FORWARDING_CONNECT.about.quantity,
        reference=True,
        unranked=(Mode.USERSPACE,),
    ),
    Plan(
        "first-byte",
        Metric.FORWARDING_FIRST_BYTE.about.title,
        "connect() and the first answer of the endpoint: what a client waits for, and the fair comparison for "
        "userspace, whose relay accepts before it has reached the endpoint. “Endpoint directly” passes no Service, but "
        "with iptables such a connection, too, walks the rules of all before it finds that none is for it.",
        Metric.FORWARDING_FIRST_BYTE,
        Metric.FORWARDING_FIRST_BYTE.about.quantity,
    ),
    Plan(
        "established",
        Metric.FORWARDING_ESTABLISHED.about.title,
        "The control: conntrack has remembered the way, so the number of Services should not matter.",
        Metric.FORWARDING_ESTABLISHED,
        Metric.FORWARDING_ESTABLISHED.about.quantity,
        unranked=tuple(Mode),
    ),
    Plan(
        "memory",
        Metric.MEMORY_CONTROL_LOOP.about.title,
        "Peak of its cgroup, children included; of all scenarios the highest. The list of every point has each.",
        Metric.MEMORY_CONTROL_LOOP,
        Metric.MEMORY_CONTROL_LOOP.about.quantity,
    ),
)


def line_section(plan: Plan, data: ReportData) -> Section:
    """Return a number's chapter."""
    every = data.of(plan.metric)
    if plan.metric == Metric.SYNC_END_TO_END:
        by_path = synced_by_path(every)  # these have a chapter of their own
        every = [record for record in every if record not in by_path]
    records = _peaks(every) if plan.metric == Metric.MEMORY_CONTROL_LOOP else every
    if not records:
        return left_out(plan.name, plan.heading, plan.lead, plan.metric)
    reference = zero_point(data) if plan.reference else []
    panels = line_panels(records, plan.quantity, log=plan.log, reference=reference, jumps=data.jumps)
    heading, clock = heading_of(plan.heading, records), clocks_text(records)
    counted = plan.waits and {record.shown_unit for record in records} == {INSTRUCTIONS}
    return Section(
        plan.name,
        heading,
        f"{plan.lead} {IDLE_COUNTS}" if counted else plan.lead,
        describe(panels, below=BELOW),
        clock,
        tuple(panels),
        pivot(
            data.shown(records),
            f"{heading}: median and 95 % interval ({clock})",
            unranked=plan.unranked,
            unranked_scenarios=plan.unranked_scenarios,
        ),
        full(data.shown(every), f"{heading}: every point ({clock})"),
    )


def zero_point(data: ReportData) -> list[SummaryRecord]:
    """Return what a connection costs without rules; for a run that did not measure it, directly beside the rules."""
    return data.of(Metric.FORWARDING_BARE) or data.of(Metric.FORWARDING_DIRECT)


def _peaks(records: Sequence[SummaryRecord]) -> list[SummaryRecord]:
    """Keep the scenario with the highest median of each mode and size."""
    highest: dict[tuple[str, str, int, int], SummaryRecord] = {}
    for record in records:
        key = (record.mode, record.program, record.services, record.endpoints_per_service)
        if key not in highest or record.median > highest[key].median:
            highest[key] = record
    heading = cast("Scenario", HIGHEST)  # no scenario of its own, but a line in the same tables
    return [replace(record, scenario=heading) for record in highest.values()]
