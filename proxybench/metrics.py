"""The registry of metrics: one entry each, from which recorder, gate, report and docs/measurements.md read.

To add a metric, add an entry here and record it; to change how one is measured, raise its ``method``: a gate then
refuses to compare it with numbers of the old way, since a changed probe is not a changed proxy.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from proxybench import about_events, about_load
from proxybench.about import About, Direction


class Metric(StrEnum):
    """Every metric by its name, with what it is in ``about``."""

    about: About

    def __new__(cls, name: str, about: About) -> Self:
        """Make the name the member's value."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.about = about
        return member

    SYNC_END_TO_END = (
        "sync.end_to_end",
        About(
            "Rule sync, end to end",
            "sync latency",
            "0 when the data plane was faster than the acknowledgement; time-outs are censored",
            "the API's acknowledgement (cold start: the control loop's start; a batch: that of its first write)",
            "the first connection that the right endpoint answers; for a delete, the first attempt that fails",
        ),
    )
    SYNC_STALE = (
        "sync.stale",
        About(
            "Answers of the old endpoint",
            "stale for",
            "change-endpoint only",
            "the acknowledgement",
            "the last answer of the old endpoint",
        ),
    )
    SYNC_PROGRAMMED = (
        "sync.programmed",
        About(
            "Rule sync, until the proxy says that it is done",
            "time until programmed",
            "of starts only; the node's clock, read back from the proxy's log; no probe takes part; "
            "censored where it was not there when the step's time was up",
            "the proxy's start",
            "the end of the first sync that wrote all Services",
        ),
    )
    SYNC_CONTROL_LOOP = (
        "sync.control_loop",
        About(
            "Rule sync, the control loop's own word",
            "sync time",
            "difference of `kubeproxy_sync_proxy_rules_duration_seconds_sum`; waits between syncs are not in it",
        ),
    )
    SYNC_COUNT = (
        "sync.count",
        About(
            "Number of syncs",
            "syncs",
            "of any kind, as the proxy counts them; kube-proxy's are those of both families of addresses",
            unit="syncs",
            direction=Direction.CONTROL,
            judged=False,
        ),
    )
    SYNC_FULL = (
        "sync.full",
        About("Full syncs", "time in full syncs", "as the proxy tells them apart"),
    )
    SYNC_FULL_COUNT = (
        "sync.full.count",
        About("Number of full syncs", "full syncs", unit="syncs", direction=Direction.CONTROL, judged=False),
    )
    SYNC_PARTIAL = (
        "sync.partial",
        About("Partial syncs", "time in partial syncs", "as the proxy tells them apart"),
    )
    SYNC_PARTIAL_COUNT = (
        "sync.partial.count",
        About("Number of partial syncs", "partial syncs", unit="syncs", direction=Direction.CONTROL, judged=False),
    )
    SYNC_NETWORK_PROGRAMMING = (
        "sync.network_programming",
        About(
            "Network programming",
            "programming latency",
            "the node's clock at both ends",
            "the trigger time in the EndpointSlice",
            "the end of its sync",
        ),
    )
    SYNC_BUILD = (
        "sync.build",
        About(
            "Building rules",
            "sync time",
            "making rules: CPU time of the loop's thread, so nothing else on the machine counts",
            busy=True,
        ),
    )
    SYNC_TOOL = ("sync.tool", About("In tools", "sync time", "exec'd programs, with their start"))
    SYNC_KERNEL = ("sync.kernel", About("In system calls", "sync time", "netlink and socket calls of its own"))
    SYNC_WAIT = (
        "sync.wait",
        About(
            "Waiting for its turn",
            "waiting time",
            "how long a change was known while the loop let its minimum period pass; in no other part",
        ),
    )
    SYNC_BEFORE = (
        "sync.before",
        About(
            "Before its sync",
            "waiting time",
            "delivery of the event and the wait for a turn, which kube-proxy does not tell apart; at a cold start, all "
            "until its first sync",
            "the acknowledgement (cold start: the proxy's start)",
            "the start of the sync that made the change, by the proxy's log, or its metrics where that has none",
        ),
    )
    SYNC_MAKING = (
        "sync.making",
        About(
            "Making rules, by the log",
            "sync time",
            "kube-proxy in iptables and nftables mode",
            "the start of that sync, the acknowledgement if that is later",
            'the log\'s "Reloading service … data"',
        ),
    )
    SYNC_APPLYING = (
        "sync.applying",
        About(
            "Applying rules, by the log",
            "sync time",
            "the tool, the kernel below it, and tidying up, which kube-proxy does not tell apart",
            'the log\'s "Reloading service … data"',
            'its "SyncProxyRules complete"',
        ),
    )
    REPAIR_NEXT_CHANGE = ("repair.next_change", about_events.REPAIR_NEXT_CHANGE)
    EVENT_OUTAGE = ("event.outage", about_events.OUTAGE)
    EVENT_LOST = ("event.lost", about_events.LOST)
    EVENT_REFUSED = ("event.refused", about_events.REFUSED)
    EVENT_ATTEMPTS = ("event.attempts", about_events.ATTEMPTS)
    EVENT_BROKEN = ("event.broken", about_events.BROKEN)
    EVENT_STALL = ("event.stall", about_events.STALL)
    EVENT_LEFT = ("event.left", about_events.LEFT)
    SOAK_MEMORY_SLOPE = ("soak.memory_slope", about_events.MEMORY_SLOPE)
    SOAK_STALE = ("soak.stale", about_events.STALE_CHAINS)
    SOAK_DRIFT = ("soak.drift", about_events.DRIFT)
    SOAK_CHANGES = ("soak.changes", about_events.CHANGES)
    CPU_CONTROL_LOOP = (
        "cpu.control_loop",
        About(
            "CPU of the control loop",
            "CPU time",
            "CPU time of its cgroup with all it ran, per scenario, without `cpu.relay`",
            busy=True,
        ),
    )
    CPU_CONTROL_LOOP_USER = (
        "cpu.control_loop.user",
        About("CPU of the control loop, user", "CPU time", "of the whole cgroup, split by clock ticks", judged=False),
    )
    CPU_CONTROL_LOOP_SYSTEM = (
        "cpu.control_loop.system",
        About("CPU of the control loop, system", "CPU time", "of the whole cgroup, split by clock ticks", judged=False),
    )
    CPU_RELAY = (
        "cpu.relay",
        About(
            "CPU of the relay",
            "CPU time",
            "userspace mode: CPU time that connections cost the relay, which in other modes the kernel spends on "
            "whoever connects",
        ),
    )
    CPU_SOFTIRQ = (
        "cpu.softirq",
        About("CPU of softirq", "CPU time", "whole machine, in ticks of 10 ms; in a lab all nodes share one kernel"),
    )
    CPU_NODE = (
        "cpu.node",
        About(
            "CPU of the node",
            "CPU time",
            "whole machine, in ticks of 10 ms; in a lab all nodes share one kernel",
            judged=False,
        ),
    )
    CPU_AGENT = (
        "cpu.agent",
        About("CPU of our agents", "CPU time", "the observer", direction=Direction.CONTROL, judged=False),
    )
    CPU_WINDOW = (
        "cpu.window",
        About(
            "Length of the window in which CPU was counted",
            "length of the window",
            "how long usage was counted: what shares of a core are taken of; by the instruction clock the guest's own "
            "time, which goes on by one instruction a nanosecond while it waits",
            direction=Direction.CONTROL,
            judged=False,
            work="Length of the window in which CPU was counted, by the guest's clock (waiting counts)",
        ),
    )
    MEMORY_CONTROL_LOOP = (
        "memory.control_loop",
        About("Memory of the control loop", "peak memory", "peak of its cgroup, where the kernel tells", unit="bytes"),
    )
    MEMORY_RESIDENT = (
        "memory.resident",
        About(
            "Resident memory of the proxy",
            "peak resident memory",
            "the largest resident set (VmHWM) of its processes that are still there; children that ended are not in it",
            unit="bytes",
        ),
    )
    FORWARDING_CONNECT = (
        "forwarding.connect",
        About(
            "Time to connect",
            "time to connect",
            "a new connection to a VIP; positions first, middle, last by the rank of the rule as it was read back, or "
            "by creation where a mode has no order",
            "before connect()",
            "its return",
            busy=True,
        ),
    )
    FORWARDING_FIRST_BYTE = (
        "forwarding.first_byte",
        About(
            "Time to the first byte",
            "time to first byte",
            "position `none`: directly; userspace's relay shows here",
            "before connect()",
            "the endpoint's first byte",
            busy=True,
        ),
    )
    FORWARDING_DIRECT = (
        "forwarding.direct",
        About(
            "Time to connect, past the Service",
            "time to connect",
            "to the endpoint, beside the rules, in turn with the VIPs",
            "before connect()",
            "its return",
            busy=True,
        ),
    )
    FORWARDING_BARE = (
        "forwarding.bare",
        About(
            "Time to connect, without rules",
            "time to connect",
            "to the endpoint, before there were rules: the zero point",
            "before connect()",
            "its return",
            busy=True,
        ),
    )
    FORWARDING_ESTABLISHED = (
        "forwarding.established",
        About(
            "Round trip on an established connection",
            "round trip",
            "the control: conntrack remembers",
            "a line sent",
            "the same line received",
            direction=Direction.CONTROL,
            busy=True,
        ),
    )
    FORWARDING_ENDPOINT = (
        "forwarding.endpoint",
        About(
            "Time to connect, by the endpoint that answered",
            "time to connect",
            "the connections of `forwarding.connect` again, each with its endpoint's place as its rank: in iptables' "
            "chain of the Service as it was read back, in other modes the endpoint's number",
            "before connect()",
            "its return",
            judged=False,
            busy=True,
        ),
    )
    FORWARDING_RTT = (
        "forwarding.rtt",
        About(
            "Handshake",
            "handshake round trip",
            "the kernel's handshake RTT (TCP_INFO) in whole µs; its median is that of grouped data",
            resolution=1000.0,
            busy=True,
        ),
    )
    FORWARDING_LOAD = (
        "forwarding.load",
        About(
            "Under load",
            "time to first byte",
            "under locust's concurrent load",
            "before connect()",
            "the first byte",
            busy=True,
        ),
    )
    FORWARDING_LOAD_INTENDED = (
        "forwarding.load.intended",
        About(
            "Under load, from the intended start",
            "time to first byte",
            "waiting counts; includes the generator's timer, up to 1 ms; by the wall clock only",
            "the intended start",
            "the first byte",
            busy=True,
        ),
    )
    LOAD_LAG = ("load.lag", about_load.LAG)
    LOAD_OFFERED = ("load.offered", about_load.OFFERED)
    LOAD_ACHIEVED = ("load.achieved", about_load.ACHIEVED)
    LOAD_FAILURE_RATE = ("load.failure_rate", about_load.FAILURE_RATE)
    LOAD_FAILED = ("load.failed", about_load.FAILED)
    LOAD_WRONG_ENDPOINT = ("load.wrong_endpoint", about_load.WRONG_ENDPOINT)
    LOAD_REFUSED = ("load.refused", about_load.REFUSED)
    LOAD_UNANSWERED = ("load.unanswered", about_load.UNANSWERED)
    LOAD_UNSERVED = ("load.unserved", about_load.UNSERVED)
