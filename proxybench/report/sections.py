"""The chapters of the report: each a figure with its tables, or a sentence why it has none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from proxybench.model import Metric, Mode, Scenario
from proxybench.report.alt import describe
from proxybench.report.data import ADDED
from proxybench.report.panels import bar_panels, curve_panels, line_panels
from proxybench.report.tables import full, pivot
from proxybench.report.words import HIGHEST, clock_long

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.report.data import ReportData
    from proxybench.report.panels import Panel
    from proxybench.report.tables import Table
    from proxybench.stats.summary import SummaryRecord


@dataclass(frozen=True)
class Section:
    """One figure: ``name`` is its file's; without panels, ``missing`` says why."""

    name: str
    heading: str
    lead: str
    alt: str
    clock: str
    panels: tuple[Panel, ...] = ()
    pivot: Table | None = None
    full: Table | None = None
    shades: str = ""  # what the parts of stacked bars are, dark to light
    missing: str = ""


@dataclass(frozen=True)
class _Plan:
    name: str
    heading: str
    lead: str
    metric: str
    quantity: str
    log: bool = True
    reference: bool = False
    unranked: tuple[str, ...] = ()
    unranked_scenarios: tuple[str, ...] = ()


_PLANS = (
    _Plan(
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
    ),
    _Plan(
        "sync-control-loop",
        Metric.SYNC_CONTROL_LOOP.about.title,
        "What the control loop says that its syncs took: by how much the sum of its metric grew around the change. It "
        "holds neither the way of the change to the node nor the wait for its turn. A sync can begin before its write "
        "is acknowledged and go on after the first connection, so it can be more than the figure above.",
        Metric.SYNC_CONTROL_LOOP,
        Metric.SYNC_CONTROL_LOOP.about.quantity,
    ),
    _Plan(
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
    _Plan(
        "added",
        "Latency added by the Service",
        "Time to connect through the virtual IP minus the same endpoint before there were any rules, paired within "
        "each repetition. (Beside the rules, a connection to an endpoint is no zero: with iptables it walks them all.) "
        "Linear scale: below zero, connect() ended nearer than the endpoint.",
        ADDED,
        "added latency",
        log=False,
        unranked=(Mode.USERSPACE,),
    ),
    _Plan(
        "first-byte",
        Metric.FORWARDING_FIRST_BYTE.about.title,
        "connect() and the first answer of the endpoint: what a client waits for, and the fair comparison for "
        "userspace, whose relay accepts before it has reached the endpoint. “Endpoint directly” passes no Service, but "
        "with iptables such a connection, too, walks the rules of all before it finds that none is for it.",
        Metric.FORWARDING_FIRST_BYTE,
        Metric.FORWARDING_FIRST_BYTE.about.quantity,
    ),
    _Plan(
        "established",
        Metric.FORWARDING_ESTABLISHED.about.title,
        "The control: conntrack has remembered the way, so the number of Services should not matter.",
        Metric.FORWARDING_ESTABLISHED,
        Metric.FORWARDING_ESTABLISHED.about.quantity,
        unranked=tuple(Mode),
    ),
    _Plan(
        "memory",
        Metric.MEMORY_CONTROL_LOOP.about.title,
        "Peak of its cgroup, children included; of all scenarios the highest. The list of every point has each.",
        Metric.MEMORY_CONTROL_LOOP,
        Metric.MEMORY_CONTROL_LOOP.about.quantity,
    ),
)
_USAGE = (
    Metric.CPU_CONTROL_LOOP,
    Metric.CPU_CONTROL_LOOP_USER,
    Metric.CPU_CONTROL_LOOP_SYSTEM,
    Metric.CPU_RELAY,
    Metric.CPU_SOFTIRQ,
    Metric.CPU_AGENT,
)
_SYNC_PARTS = (Metric.SYNC_BUILD, Metric.SYNC_TOOL, Metric.SYNC_KERNEL, Metric.SYNC_WAIT)
_BELOW = "The table below holds medians and 95 % intervals, and its list of every point p90, p99 and counts."


def sections(data: ReportData) -> list[Section]:
    """Return all chapters in the order of reading."""
    made = {plan.name: _lines(plan, data) for plan in _PLANS}
    syncs = (made["sync-end-to-end"], made["sync-control-loop"], _sync_parts(data))
    forwarding = [made[name] for name in ("connect", "added", "first-byte", "established")]
    return [*syncs, _cpu(data), *forwarding, *_load(data), made["memory"]]


def _lines(plan: _Plan, data: ReportData) -> Section:
    every = data.of(plan.metric)
    records = _peaks(every) if plan.metric == Metric.MEMORY_CONTROL_LOOP else every
    if not records:
        return Section(plan.name, plan.heading, plan.lead, "", "", missing=_missing(plan.metric))
    reference = zero_point(data) if plan.reference else []
    panels = line_panels(records, plan.quantity, log=plan.log, reference=reference, jumps=data.jumps)
    clock = _clocks(records)
    return Section(
        plan.name,
        plan.heading,
        plan.lead,
        describe(panels, below=_BELOW),
        clock,
        tuple(panels),
        pivot(
            records,
            f"{plan.heading}: median and 95 % interval ({clock})",
            unranked=plan.unranked,
            unranked_scenarios=plan.unranked_scenarios,
        ),
        full(every, f"{plan.heading}: every point ({clock})"),
    )


def zero_point(data: ReportData) -> list[SummaryRecord]:
    """Return what a connection costs without rules; for a run that did not measure it, directly beside the rules."""
    return data.of(Metric.FORWARDING_BARE) or data.of(Metric.FORWARDING_DIRECT)


def _cpu(data: ReportData) -> Section:
    heading = "CPU usage"
    relay = data.of(Metric.CPU_RELAY)
    lead = (
        "CPU time per scenario: the control loop's cgroup with all the tools it ran"
        + (", userspace's relay, which is data path and no part of the control loop," if relay else ",")
        + " the node's softirq, and our own agent. Each size has its own scale; the number is the whole bar. User and "
        "system parts are shared out in the proportion of the kernel's ticks of 10 ms; where no tick fell, nothing is "
        "split."
    )
    records = [record for metric in _USAGE for record in data.of(metric)]
    if not records:
        return Section("cpu", heading, lead, "", "", missing=_missing("cpu.*"))
    clock = _clocks(records)
    own = data.of(Metric.CPU_CONTROL_LOOP)
    shown = pivot(own, f"CPU of the control loop: median and 95 % interval ({clock})") if own else None
    return Section(
        "cpu",
        heading,
        lead,
        describe(
            bar_panels(records),
            below="The table below holds the control loop alone, and its list of every row each part.",
        ),
        clock,
        tuple(bar_panels(records)),
        shown,
        full(records, f"{heading}: every row ({clock})", metric=True),
        shades=f"control loop (user, system), {'relay, ' if relay else ''}softirq; grey: our agent",
    )


def _sync_parts(data: ReportData) -> Section:
    heading = "Where a sync's time goes"
    waits = data.of(Metric.SYNC_WAIT)
    lead = (
        "The control loop's own split: making rules or requests, in the programs it ran (iptables-restore, ipset; with "
        "their start), and in netlink and socket calls of its own. "
        + ("Grey: how long the change waited for the next turn, because of minSyncPeriod. " if waits else "")
        + "Each size has its own scale; the number is the whole bar."
    )
    records = [record for metric in _SYNC_PARTS for record in data.of(metric)]
    if not records:
        return Section("sync-parts", heading, lead, "", "", missing=_missing("sync.build"))
    clock = _clocks(records)
    built = data.of(Metric.SYNC_BUILD)
    panels = bar_panels(records, "sync time")
    return Section(
        "sync-parts",
        heading,
        lead,
        describe(
            panels, below="The table below holds the building of rules alone, and its list of every row each part."
        ),
        clock,
        tuple(panels),
        pivot(built, f"Building rules: median and 95 % interval ({clock})") if built else None,
        full(records, f"{heading}: every row ({clock})", metric=True),
        shades=f"building rules, in tools, in system calls{'; grey: waiting for its turn' if waits else ''}",
    )


def _load(data: ReportData) -> list[Section]:
    """Return the figure of what connections took, and where the clock allows it, one that counts their waiting."""
    intended = data.of(Metric.FORWARDING_LOAD_INTENDED)
    lead = (
        "How long concurrent new connections took at a set arrival rate, from before connect() to the first byte of "
        "the answer: the share of connections that needed at most the time on the axis. With time-outs a curve ends "
        "below 100 %. "
    )
    lead += "How late they began does not count here" + (", but in the next figure." if intended else ".")
    if not intended and "instructions" in data.clocks:
        lead += (
            " By the instruction clock nothing could be counted from there: the generator's sleep is the host's time."
        )
    sections = [_distribution("load", Metric.FORWARDING_LOAD.about.title, lead, Metric.FORWARDING_LOAD, data)]
    if intended:
        lead = (
            "The same connections from their intended start to the first byte: waiting counts, so a mode that falls "
            "behind the arrival rate shows here. It includes the generator's timer, up to 1 ms."
        )
        heading = Metric.FORWARDING_LOAD_INTENDED.about.title
        sections.append(_distribution("load-intended", heading, lead, Metric.FORWARDING_LOAD_INTENDED, data))
    return sections


def _distribution(name: str, heading: str, lead: str, metric: Metric, data: ReportData) -> Section:
    records = data.of(metric)
    if not records:
        return Section(name, heading, lead, "", "", missing=_missing(metric))
    clock = _clocks(records)
    panels = curve_panels([curve for curve in data.curves if curve.record.metric == metric])
    return Section(
        name,
        heading,
        lead,
        describe(panels, below=_BELOW),
        clock,
        tuple(panels),
        pivot(records, f"{heading}: median and 95 % interval ({clock})"),
        full(records, f"{heading}: every point ({clock})"),
    )


def _peaks(records: Sequence[SummaryRecord]) -> list[SummaryRecord]:
    """Keep the scenario with the highest median of each mode and size."""
    highest: dict[tuple[str, str, int, int], SummaryRecord] = {}
    for record in records:
        key = (record.mode, record.program, record.services, record.endpoints_per_service)
        if key not in highest or record.median > highest[key].median:
            highest[key] = record
    heading = cast("Scenario", HIGHEST)  # no scenario of its own, but a line in the same tables
    return [replace(record, scenario=heading) for record in highest.values()]


def _clocks(records: Sequence[SummaryRecord]) -> str:
    """Return what times are told by; bytes are told by no clock."""
    if all(record.unit == "bytes" for record in records):
        return "bytes; no clock takes part"
    return "; ".join(clock_long(clock) for clock in sorted({record.clock for record in records}))


def _missing(metric: str) -> str:
    return f"No figure: this run holds no samples of {metric}."
