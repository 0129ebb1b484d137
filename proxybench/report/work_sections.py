"""Chapters of work and waiting: latencies taken apart, CPU usage, what rules cost the rest of a node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.model import Metric
from proxybench.report.alt import describe
from proxybench.report.breakdown import METRICS, break_down, breakdown_panels, breakdown_table
from proxybench.report.section import Section, clocks_text, heading_of, left_out
from proxybench.report.stacks import bar_panels, by_path
from proxybench.report.tables import full, pivot
from proxybench.report.tax import tax_panels, tax_table
from proxybench.report.words import IDLE_COUNTS, REFERENCE
from proxybench.units import INSTRUCTIONS

if TYPE_CHECKING:
    from proxybench.report.data import ReportData

USAGE = (
    Metric.CPU_CONTROL_LOOP,
    Metric.CPU_CONTROL_LOOP_USER,
    Metric.CPU_CONTROL_LOOP_SYSTEM,
    Metric.CPU_RELAY,
    Metric.CPU_SOFTIRQ,
    Metric.CPU_AGENT,
)
TAXED = frozenset({Metric.FORWARDING_BARE, Metric.FORWARDING_DIRECT, Metric.FORWARDING_CONNECT})


def breakdown_section(data: ReportData) -> Section:
    """Return what of each latency was waiting and what was work."""
    heading = "Waiting and work"
    lead = (
        "What lies between a change and the first right answer. Grey is no work: the event on its way to the proxy and "
        "the wait for a turn (minSyncPeriod), which kube-proxy's log does not tell apart; at a cold start, all until "
        "its first sync. After a rest no turn has to be waited for, so what a new Service waits beyond an added one is "
        "the rate limiter's. The log does not tell the tool from the kernel below it either; IPVS mode logs no sync, "
        "so a single one is known by its metrics and not split. Faint is what came after the answer: tidying up. "
        "Orange is what no part explains. Each size has its own scale; the number is the whole, until the answer."
    )
    if any(subject.kind == REFERENCE for subject in data.subjects):
        lead += (
            " The reference tells nothing of delivery and, at a cold start, of its start: that is in its orange, and "
            "what it did after the answer is in its faint part."
        )
    found = break_down(data.shown_series)
    if not found:
        return left_out("waiting-and-work", heading, lead, "sync.before or sync.build")
    records = data.shown([record for metric in METRICS for record in data.of(metric)])
    if {record.shown_unit for record in records} == {INSTRUCTIONS}:
        lead += f" {IDLE_COUNTS}"
    panels, clock = breakdown_panels(found), clocks_text(records)
    heading = heading_of(heading, records)
    return Section(
        "waiting-and-work",
        heading,
        lead,
        describe(panels, below="The table below holds each part, and whether they add up."),
        clock,
        tuple(panels),
        breakdown_table(found, clock),
        full(records, f"{heading}: every row ({clock})", metric=True),
    )


def tax_section(data: ReportData) -> Section:
    """Return what rules cost a connection that needs none of them."""
    heading = "The tax on everything else"
    lead = (
        "One and the same endpoint, reached in three ways: on a node without rules (grey), straight to the pod with "
        "all Services' rules present (dashed), and through the Service with the last rule (solid). With iptables every "
        "new connection of the node walks the Services' rules, pod to pod too. The grey lines of all subjects are the "
        "same measurement: what they differ by, the machine did. userspace has no line through the Service, since its "
        "connect() ends at a relay."
    )
    records = [record for metric in sorted(TAXED) for record in data.of(metric)]
    panels, clock = tax_panels(records), clocks_text(records) if records else ""
    heading = heading_of(heading, records)
    table = tax_table(data.shown_series, clock)
    if not records or table is None or not data.of(Metric.FORWARDING_BARE):
        return left_out("tax", heading, lead, Metric.FORWARDING_BARE)
    alt = describe(panels, below="The table below holds all three, and times that without rules.") if panels else ""
    return Section("tax", heading, lead, alt, clock, tuple(panels), table)


def cpu_section(data: ReportData) -> Section:
    """Return CPU usage."""
    heading = "CPU usage"
    relay = data.of(Metric.CPU_RELAY)
    lead = (
        "CPU per scenario: the control loop's cgroup with all the tools it ran"
        + (", userspace's relay, which is data path and no part of the control loop," if relay else ",")
        + " the node's softirq, and our own agent. Each size has its own scale; the number is the control loop's: "
        "the agent is ours, and softirq is of all that the node did. User and system parts are shared out in the "
        "proportion of the kernel's ticks of 10 ms; where no tick fell, nothing is split."
    )
    if any(by_path(record) for record in data.of(Metric.CPU_CONTROL_LOOP)):
        lead += " By path, in the table alone: a Service that has this address and no other comes and goes."
    if any(each.no_cpu for each in data.manifest.subjects):
        lead += " A control loop whose CPU time cannot be told from others' is left out (see the notes above)."
    records = data.shown([record for metric in USAGE for record in data.of(metric)])
    if not records:
        return left_out("cpu", heading, lead, "cpu.*")
    heading, clock = heading_of(heading, records), clocks_text(records)
    panels = bar_panels(records)
    own = data.shown(data.of(Metric.CPU_CONTROL_LOOP))
    shown = pivot(own, f"CPU of the control loop: median and 95 % interval ({clock})") if own else None
    below = "The table below holds the control loop alone, and its list of every row each part."
    below = below if own else "The list of every row below holds each part."
    return Section(
        "cpu",
        heading,
        lead,
        describe(panels, below=below),
        clock,
        tuple(panels),
        shown,
        full(records, f"{heading}: every row ({clock})", metric=True),
    )
