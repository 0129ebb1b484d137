"""The chapters of the report: each a figure with its tables, or a sentence why it has none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from proxybench.model import Metric, Mode
from proxybench.report.data import ADDED
from proxybench.report.panels import bar_panels, curve_panels, line_panels
from proxybench.report.tables import full, pivot
from proxybench.report.words import clock_long, join, mode_name

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
    looks: tuple[str, ...] = ()
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


_PLANS = (
    _Plan(
        "sync-end-to-end",
        "Rule sync, end to end",
        "From the API's acknowledgement of a change until a new connection proves that the data plane follows it. "
        "Scales are logarithmic; bars span the 95 % interval over repetitions, cut where it leaves the panel.",
        Metric.SYNC_END_TO_END,
        "sync latency",
    ),
    _Plan(
        "sync-control-loop",
        "Rule sync, the control loop's own word",
        "What the control loop says that its syncs took (sum and count of its metric around the change). What the "
        "figure above has beyond this is queueing, the API and the way to the node.",
        Metric.SYNC_CONTROL_LOOP,
        "sync time",
    ),
    _Plan(
        "connect",
        "Time to connect",
        "connect() of a new connection through the virtual IP whose rule is the first, middle or last one. Grey: "
        "the same endpoint before there were any rules. userspace is not ranked: its connect() ends at a relay on the "
        "same node.",
        Metric.FORWARDING_CONNECT,
        "time to connect",
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
        "Time to the first byte",
        "connect() and the first answer of the endpoint: what a client waits for, and the fair comparison for "
        "userspace, whose relay accepts before it has reached the endpoint.",
        Metric.FORWARDING_FIRST_BYTE,
        "time to first byte",
    ),
    _Plan(
        "established",
        "Round trip on an established connection",
        "The control: conntrack has remembered the way, so the number of Services should not matter.",
        Metric.FORWARDING_ESTABLISHED,
        "round trip",
        unranked=tuple(Mode),
    ),
    _Plan(
        "memory",
        "Memory of the control loop",
        "Peak of its cgroup, children included; of all scenarios the highest.",
        Metric.MEMORY_CONTROL_LOOP,
        "peak memory",
    ),
)
_LEDGER = (
    Metric.CPU_CONTROL_LOOP,
    Metric.CPU_CONTROL_LOOP_USER,
    Metric.CPU_CONTROL_LOOP_SYSTEM,
    Metric.CPU_SOFTIRQ,
    Metric.CPU_AGENT,
)
_SYNC_PARTS = (Metric.SYNC_BUILD, Metric.SYNC_TOOL, Metric.SYNC_KERNEL)


def sections(data: ReportData) -> list[Section]:
    """Return all chapters in the order of reading."""
    made = {plan.name: _lines(plan, data) for plan in _PLANS}
    syncs = (made["sync-end-to-end"], made["sync-control-loop"], _sync_parts(data))
    forwarding = [made[name] for name in ("connect", "added", "first-byte", "established")]
    return [*syncs, _cpu(data), *forwarding, _load(data), made["memory"]]


def _lines(plan: _Plan, data: ReportData) -> Section:
    records = data.of(plan.metric)
    if plan.metric == Metric.MEMORY_CONTROL_LOOP:
        records = _peaks(records)
    if not records:
        return Section(plan.name, plan.heading, plan.lead, "", "", missing=_missing(plan.metric))
    reference = zero_point(data) if plan.reference else []
    panels = line_panels(records, plan.quantity, log=plan.log, reference=reference, jumps=data.jumps)
    clock = _clocks(records)
    return Section(
        plan.name,
        plan.heading,
        plan.lead,
        _alt(plan.heading, records),
        clock,
        tuple(panels),
        pivot(records, f"{plan.heading}: median and 95 % interval ({clock})", unranked=plan.unranked),
        full(records, f"{plan.heading}: every point ({clock})"),
        (*sorted({record.mode for record in records}), *(("no rules",) if reference else ())),
    )


def zero_point(data: ReportData) -> list[SummaryRecord]:
    """Return what a connection costs without rules; for a run that did not measure it, directly beside the rules."""
    return data.of(Metric.FORWARDING_BARE) or data.of(Metric.FORWARDING_DIRECT)


def _cpu(data: ReportData) -> Section:
    heading = "CPU ledger"
    lead = (
        "CPU time per scenario: the control loop's cgroup with all the tools it ran, the node's softirq, and our own "
        "agent. Each size has its own scale; the number is the whole bar."
    )
    records = [record for metric in _LEDGER for record in data.of(metric)]
    if not records:
        return Section("cpu", heading, lead, "", "", missing=_missing("cpu.*"))
    clock = _clocks(records)
    own = data.of(Metric.CPU_CONTROL_LOOP)
    shown = pivot(own, f"CPU of the control loop: median and 95 % interval ({clock})") if own else None
    return Section(
        "cpu",
        heading,
        lead,
        _alt(heading, records),
        clock,
        tuple(bar_panels(records)),
        shown,
        full(records, f"{heading}: every row ({clock})", metric=True),
        tuple(sorted({record.mode for record in records})),
        shades="control loop (user, system), softirq; grey: our agent",
    )


def _sync_parts(data: ReportData) -> Section:
    heading = "Where a sync's time goes"
    lead = (
        "The control loop's own split: making rules or requests, in the programs it ran (iptables-restore, ipset; with "
        "their start), and in netlink and socket calls of its own. Each size has its own scale; the number is the "
        "whole bar."
    )
    records = [record for metric in _SYNC_PARTS for record in data.of(metric)]
    if not records:
        return Section("sync-parts", heading, lead, "", "", missing=_missing("sync.build"))
    clock = _clocks(records)
    return Section(
        "sync-parts",
        heading,
        lead,
        _alt(heading, records),
        clock,
        tuple(bar_panels(records, "sync time")),
        pivot(data.of(Metric.SYNC_BUILD), f"Building rules: median and 95 % interval ({clock})"),
        full(records, f"{heading}: every row ({clock})", metric=True),
        tuple(sorted({record.mode for record in records})),
        shades="building rules, in tools, in system calls",
    )


def _load(data: ReportData) -> Section:
    heading = "Under load"
    lead = (
        "How long concurrent new connections took at a set arrival rate, counted from their intended start: the share"
        " of connections that needed at most the time on the axis. With time-outs a curve ends below 100 %."
    )
    records = data.of(Metric.FORWARDING_LOAD)
    if not records:
        return Section("load", heading, lead, "", "", missing=_missing(Metric.FORWARDING_LOAD))
    clock = _clocks(records)
    return Section(
        "load",
        heading,
        lead,
        _alt(heading, records),
        clock,
        tuple(curve_panels(data.curves)),
        pivot(records, f"{heading}: median and 95 % interval ({clock})"),
        full(records, f"{heading}: every point ({clock})"),
        tuple(sorted({record.mode for record in records})),
    )


def _peaks(records: Sequence[SummaryRecord]) -> list[SummaryRecord]:
    """Keep the scenario with the highest median of each mode and size."""
    highest: dict[tuple[str, str, int, int], SummaryRecord] = {}
    for record in records:
        key = (record.mode, record.proxier, record.services, record.endpoints_per_service)
        if key not in highest or record.median > highest[key].median:
            highest[key] = record
    return [replace(record, scenario="steady") for record in highest.values()]


def _clocks(records: Sequence[SummaryRecord]) -> str:
    return "; ".join(clock_long(clock) for clock in sorted({record.clock for record in records}))


def _alt(heading: str, records: Sequence[SummaryRecord]) -> str:
    """Describe the figure for those who cannot see it; the numbers stand in the table below it."""
    modes = join([mode_name(mode) for mode in sorted({record.mode for record in records})])
    sizes = sorted({record.services for record in records})
    span = f"{sizes[0]:,} to {sizes[-1]:,} Services" if len(sizes) > 1 else f"{sizes[0]:,} Services"
    return f"{heading} of {modes} at {span}; the table below holds the numbers."


def _missing(metric: str) -> str:
    return f"No figure: this run holds no samples of {metric}."
